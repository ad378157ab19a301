"""The loss room beyond the table: certainty, errors."""

import pytest

import chainrule as cr
from chainrule import Tensor, grad


def test_bce_of_certainty():
    x = Tensor([0.0, 1.0, 0.0], requires_grad=True)
    loss = cr.bce(x, Tensor([0.0, 1.0, 1.0]), reduction="none")
    assert loss.tolist() == [0, 0, 100]
    assert all(abs(g) < 1e13 for g in grad(loss.sum(), x)[0].tolist())


def test_logits_of_any_size():
    x = Tensor([1000.0, -1000.0, 1000.0, 0.0], requires_grad=True)
    loss = cr.bce_with_logits(x, Tensor([1.0, 0.0, 0.0, 0.5]), reduction="none")
    assert loss.tolist() == pytest.approx([0, 0, 1000, 0.693147])
    assert grad(loss.sum(), x)[0].tolist() == [0, 0, 1, 0]


@pytest.mark.parametrize("op", [cr.mse, cr.bce, cr.bce_with_logits])
def test_errors(op):
    with pytest.raises(ValueError, match=rf"\[{op.__name__}\] x has shape \(2,\) but target has \(2, 1\)"):
        op(Tensor([0.5, 0.5]), Tensor([[1.0], [0.0]]))
    with pytest.raises(ValueError, match=rf"unknown reduction of {op.__name__} 'men': did you mean 'mean'"):
        op(Tensor([0.5]), Tensor([1.0]), reduction="men")
