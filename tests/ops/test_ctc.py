"""The CTC room beyond the table: what cannot be said, long sequences, errors."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import Tensor, grad


def test_what_does_not_fit_costs_infinity_or_nothing():
    x = Tensor(np.zeros((2, 2, 3)), requires_grad=True)
    args = Tensor([[1, 1], [1, 2]]), Tensor([2, 2]), Tensor([2, 2])  # 1 1 needs a blank between
    losses = cr.ctc(x, *args, reduction="none")
    assert losses.tolist() == [float("inf"), 0.0]
    loss = cr.ctc(x, *args, reduction="sum", zero_infinity=True)
    found = grad(loss, x)[0].numpy()
    assert loss.item() == 0.0 and (found[:, 0] == 0).all() and found[:, 1].sum() == -2


def test_a_long_sequence_in_float32():
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((200, 2, 20))
    target = rng.integers(1, 20, (2, 50))
    lengths = Tensor([200, 150]), Tensor([50, 30])
    values = []
    for dtype in ("float32", "float64"):
        x = Tensor(scores, dtype=dtype, requires_grad=True)
        loss = cr.ctc(x.log_softmax(axis=2), Tensor(target), *lengths)
        found = grad(loss, x)[0].numpy()
        assert np.isfinite(found).all() and (found[150:, 1] == 0).all()
        values.append((loss.item(), found))
    assert values[0][0] == pytest.approx(values[1][0], rel=1e-5)
    np.testing.assert_allclose(values[0][1], values[1][1], atol=1e-4)


def test_errors():
    x, target, times, labels = cr.zeros(3, 2, 4), Tensor([[1], [2]]), Tensor([3, 3]), Tensor([1, 1])
    with pytest.raises(ValueError, match=r"\[ctc\] x has shape \(3, 2, 4\) and target \(1, 1\)"):
        cr.ctc(x, target[:1], times, labels)
    with pytest.raises(TypeError, match="target is float32, expected integers"):
        cr.ctc(x, target.to("float32"), times, labels)
    with pytest.raises(IndexError, match=r"x has 4 classes \(0 to 3\)"):
        cr.ctc(x, target + 2, times, labels)
    with pytest.raises(IndexError, match="blank is 4"):
        cr.ctc(x, target, times, labels, blank=4)
    with pytest.raises(ValueError, match=r"input_lengths are \[3, 4\], expected numbers from 0 to 3"):
        cr.ctc(x, target, Tensor([3, 4]), labels)
    with pytest.raises(ValueError, match=r"target_lengths has shape \(1,\), expected \(2,\)"):
        cr.ctc(x, target, times, labels[:1])
