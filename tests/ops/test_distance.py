"""The distance room beyond the table: equal vectors, errors."""

import pytest

import chainrule as cr
from chainrule import Tensor, grad


def test_equal_vectors_have_a_gradient():
    a = Tensor([[1.0, 2.0]], requires_grad=True)
    b = Tensor([[1.0, 2.0]])
    for loss in (
        cr.contrastive(a, b, Tensor([0])),
        cr.triplet_margin(a, b, b),
        cr.cosine_loss(a * 0, b),
        cr.cosine_embedding(a * 0, b, Tensor([-1])),
    ):
        assert grad(loss, a)[0].isfinite().all()


def test_errors():
    x = cr.ones(2, 3)
    with pytest.raises(ValueError, match=r"\[contrastive\] target has shape \(2, 1\), expected \(2,\)"):
        cr.contrastive(x, x, cr.ones(2, 1))
    with pytest.raises(ValueError, match=r"\[cosine_embedding\] x1 has shape \(2, 3\) but x2 has \(2, 2\)"):
        cr.cosine_embedding(x, x[:, :2], cr.ones(2))
    with pytest.raises(ValueError, match=r"\[triplet_margin\] p is 0"):
        cr.triplet_margin(x, x, x, p=0)
    with pytest.raises(ValueError, match=r"\[cosine_loss\] a number is given"):
        cr.cosine_loss(Tensor(1.0), Tensor(1.0))
