"""The softmax room beyond the table: large scores, wrong targets, errors."""

import math

import numpy as np
import pytest

import chainrule as cr
from chainrule import Tensor, grad

on_both = pytest.mark.parametrize("backend", ["numpy", "cpu"])


@on_both
def test_large_scores(backend):
    with cr.backends.use(backend):
        x = Tensor([[1e4, 0.0, -1e4]])
        assert cr.softmax(x, axis=1).tolist() == [[1, 0, 0]]
        assert cr.log_softmax(x, axis=1).tolist() == [[0, -1e4, -2e4]]
        assert cr.softmax(Tensor([-math.inf, 0.0])).tolist() == [0, 1]
        x = Tensor([[1e4, 0.0]], requires_grad=True)
        loss = cr.cross_entropy(x, Tensor([1]))
        assert loss.item() == 1e4 and grad(loss, x)[0].tolist() == [[1, -1]]


@on_both
@pytest.mark.parametrize("op", ["softmax", "log_softmax"])
@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 3)])
def test_nothing_to_choose_from(op, shape, backend):
    with cr.backends.use(backend):
        x = Tensor(np.zeros(shape), requires_grad=True)
        y = getattr(cr, op)(x, axis=0)
        y.sum().backward()
        assert y.shape == x.grad.shape == shape


@on_both
@pytest.mark.parametrize("label", [3, -1, 100])
def test_a_class_that_is_not_there(backend, label):
    with cr.backends.use(backend):
        x, target = Tensor(np.zeros((4, 3), "float32")), Tensor([0, 2, label, 1])
        message = rf"\[cross_entropy\] target {label} at row 2 is not a class: x has 3 classes \(0 to 2\)"
        with pytest.raises(IndexError, match=message):
            cr.cross_entropy(x, target)
        with pytest.raises(IndexError, match=message):
            cr.cross_entropy(x, target, label_smoothing=0.1)


@on_both
def test_ignored_targets(backend):
    with cr.backends.use(backend):
        x = Tensor(np.random.default_rng(0).standard_normal((4, 3)), dtype="float32", requires_grad=True)
        some = cr.cross_entropy(x, Tensor([0, -100, 2, -100]))
        assert some.item() == pytest.approx(cr.cross_entropy(x[::2], Tensor([0, 2])).item(), rel=1e-6)
        assert grad(some, x)[0].tolist()[1] == [0, 0, 0]
        assert math.isnan(cr.cross_entropy(x, Tensor([-100] * 4)).item())  # the mean of nothing


def test_targets_as_probabilities_and_one_hot():
    x = Tensor(np.random.default_rng(0).standard_normal((4, 3)))
    classes, hot = Tensor([0, 2, 1, 1]), np.eye(3)[[0, 2, 1, 1]]
    wanted = cr.cross_entropy(x, classes).item()
    for target in (Tensor(hot), Tensor(hot, dtype="float32"), Tensor(hot, dtype="int64")):
        assert cr.cross_entropy(x, target).item() == pytest.approx(wanted, rel=1e-7)


@pytest.mark.parametrize(
    ("target", "params", "error", "message"),
    [
        (
            np.zeros(3, int),
            {},
            ValueError,
            r"x has shape \(4, 3\) and target \(3,\); target should be \(4,\), a class each",
        ),
        (np.zeros(4), {}, TypeError, r"target of shape \(4,\) is float64; classes are integers: cast it to int64"),
        (np.ones((4, 3)) / 3, {"ignore_index": 1}, ValueError, "ignore_index is 1, but probabilities have no index"),
        (np.zeros(4, int), {"reduction": "avg"}, ValueError, r"unknown reduction of cross_entropy 'avg'"),
        (np.zeros(4, int), {"label_smoothing": 2.0}, ValueError, r"label_smoothing is 2.0; it is a share"),
        (np.zeros(4, int), {"weight": Tensor([1.0, 2.0])}, ValueError, r"weight has shape \(2,\) but x \(4, 3\)"),
    ],
)
def test_errors(target, params, error, message):
    with pytest.raises(error, match=message):
        cr.cross_entropy(Tensor(np.zeros((4, 3))), Tensor(target), **params)


def test_errors_of_x():
    with pytest.raises(ValueError, match=r"x has shape \(3,\); it should be \(n, classes\)"):
        cr.cross_entropy(Tensor([1.0, 2.0, 3.0]), Tensor(1))
    with pytest.raises(TypeError, match=r"x is int64; scores are floats"):
        cr.cross_entropy(Tensor([[1, 2]]), Tensor([1]))
    with pytest.raises(ValueError, match=r"\[softmax\] x is a number"):
        cr.softmax(Tensor(1.0))
    with pytest.raises(IndexError, match=r"\[log_softmax\] axis 2"):
        cr.log_softmax(Tensor([[1.0]]), axis=2)
