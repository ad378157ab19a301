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


def test_losses_of_far_away():
    """Where a formula written down plainly overflows, or has no gradient."""
    x = Tensor([1e4, -1e4], requires_grad=True)
    for loss, value, slope in (
        (cr.log_cosh(x, Tensor([0.0, 0.0]), reduction="none"), [1e4, 1e4], [1.0, -1.0]),
        (cr.huber(x, Tensor([0.0, 0.0]), delta=2.0, reduction="none"), [2e4, 2e4], [2.0, -2.0]),
        (cr.focal(x, Tensor([1.0, 1.0]), alpha=None, reduction="none"), [0.0, 1e4], [0.0, -1.0]),
        (cr.bce_with_logits(x, Tensor([0.0, 1.0]), Tensor(3.0), reduction="none"), [1e4, 3e4], [1.0, -3.0]),
    ):
        assert loss.tolist() == pytest.approx(value, rel=1e-4)
        assert grad(loss.sum(), x)[0].tolist() == pytest.approx(slope)


def test_a_variance_below_eps_is_kept_above_and_still_learns():
    x, t = Tensor([[1.0, 2.0], [0.0, 1.0]]), Tensor([[0.0, 0.0], [0.0, 3.0]])
    low, at = (
        Tensor([[0.1, -1.0], [0.5, 2.0]], requires_grad=True),
        Tensor([[0.25, 0.25], [0.5, 2.0]], requires_grad=True),
    )
    one, other = (cr.gaussian_nll(x, t, var, eps=0.25) for var in (low, at))
    assert one.item() == other.item() and grad(one, low)[0].tolist() == grad(other, at)[0].tolist()
    rows = cr.gaussian_nll(
        x, t, Tensor([0.5, 2.0]), reduction="none"
    )  # one for each row, as in PyTorch, not each column
    assert rows.tolist() == cr.gaussian_nll(x, t, Tensor([[0.5], [2.0]]), reduction="none").tolist()


def test_errors_of_three_tensors():
    x = Tensor([[0.5, 0.5]])
    with pytest.raises(ValueError, match=r"\[bce_with_logits\] pos_weight has shape \(3,\), which does not broadcast"):
        cr.bce_with_logits(x, x, Tensor([1.0, 1.0, 1.0]))
    with pytest.raises(ValueError, match=r"\[gaussian_nll\] var has shape \(2, 2\), which does not broadcast"):
        cr.gaussian_nll(x, x, Tensor([[1.0, 1.0], [1.0, 1.0]]))
    with pytest.raises(ValueError, match="unknown reduction of kl_div"):
        cr.kl_div(x, x, reduction="batch")
    with pytest.raises(ValueError, match=r"\[nll\] x has shape \(1, 2\) and target \(2,\)"):
        cr.nll(x, Tensor([0, 1]))
    with pytest.raises(TypeError, match=r"\[nll\] target is float32"):
        cr.nll(x, Tensor([0.0]))
    with pytest.raises(IndexError, match=r"\[nll\] target 2 at row 0 is not a class: x has 2 classes"):
        cr.nll(x, Tensor([2]))


@pytest.mark.parametrize("op", [cr.mse, cr.bce, cr.bce_with_logits, cr.mae, cr.huber, cr.focal, cr.dice, cr.hinge])
def test_errors(op):
    with pytest.raises(ValueError, match=rf"\[{op.__name__}\] x has shape \(2,\) but target has \(2, 1\)"):
        op(Tensor([0.5, 0.5]), Tensor([[1.0], [0.0]]))
    with pytest.raises(ValueError, match=rf"unknown reduction of {op.__name__} 'men': did you mean 'mean'"):
        op(Tensor([0.5]), Tensor([1.0]), reduction="men")
