"""The softmax room on a GPU beyond the table: any axis, sizes and strides, the losses of classes and what they report."""

import math

import ml_dtypes
import numpy as np
import pytest
from tests.cuda.test_reduce import orders
from tests.ops import test_softmax as shared

import chainrule as cr
from chainrule import Tensor, backends, grad
from chainrule.domain.errors import IndexRangeError

SHAPES = [(40, 128), (3, 5000), (2, 7), (500, 3), (4, 30, 50), (3, 700, 1)]


def softmax(x, axis):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def test_as_on_the_cpu():
    with backends.use("cuda"):
        shared.test_large_scores("cuda")
        shared.test_ignored_targets("cuda")
        shared.test_targets_as_probabilities_and_one_hot()
        shared.test_errors_of_x()
        for shape in ((0,), (3, 0), (0, 3)):
            for op in ("softmax", "log_softmax"):
                shared.test_nothing_to_choose_from(op, shape, "cuda")


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_axes(shape):
    x, g = (np.random.default_rng(k).standard_normal(shape) * 3 for k in (0, 1))
    with backends.use("cuda"):
        for dtype, rtol, atol in (("float32", 1e-5, 1e-6), ("float64", 1e-12, 1e-14)):
            for axis in range(len(shape)):
                wanted = softmax(x, axis)
                for op, y in ((cr.softmax, wanted), (cr.log_softmax, np.log(wanted))):
                    t = Tensor(x, dtype=dtype, requires_grad=True)
                    found = op(t, axis=axis)
                    np.testing.assert_allclose(found.numpy(), y, rtol=rtol, atol=10 * atol)
                    slope = y * (g - (g * y).sum(axis, keepdims=True))
                    if op is cr.log_softmax:
                        slope = g - wanted * g.sum(axis, keepdims=True)
                    found.backward(Tensor(g, dtype=dtype))
                    np.testing.assert_allclose(t.grad.numpy(), slope, rtol=10 * rtol, atol=20 * atol)


def test_strides_and_gradients_that_are_broadcast():
    x = np.random.default_rng(0).standard_normal((6, 40, 9))
    with backends.use("cuda"):
        for view in (lambda a: a.transpose(2, 0, 1), lambda a: a[:, 1:, 1:], lambda a: a[::-1, ::3]):
            for axis in range(3):
                t = Tensor(x, requires_grad=True)
                part = (
                    t.permute((2, 0, 1))
                    if view(x).shape[0] == 9
                    else t[:, 1:, 1:]
                    if view(x).shape[1] == 39
                    else t[::-1, ::3]
                )
                y = cr.softmax(part, axis=axis)
                np.testing.assert_allclose(y.numpy(), softmax(view(x), axis), rtol=1e-12)
                (y * y).sum().backward()
                p = softmax(view(x), axis)
                slope = np.zeros_like(x)
                view(slope)[...] = 2 * p * (p - (p * p).sum(axis, keepdims=True))
                np.testing.assert_allclose(t.grad.numpy(), slope, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("dtype", [np.dtype("float16"), np.dtype(ml_dtypes.bfloat16)], ids=str)
@pytest.mark.parametrize("n", [64, 61])
def test_16_bits_are_computed_wide_and_rounded_once(n, dtype):
    x = np.random.default_rng(0).standard_normal((5, n)).astype(dtype)
    wide, labels = x.astype("float32"), np.arange(5)
    with backends.use("cuda"):
        for f in (cr.softmax, cr.log_softmax, lambda t: cr.cross_entropy(t, Tensor(labels), reduction="none")):
            y = f(Tensor(x)).numpy()
            assert y.dtype == dtype
            np.testing.assert_array_equal(y, f(Tensor(wide)).numpy().astype(dtype))


def test_infinities_and_nan():
    inf, nan = math.inf, math.nan
    rows = [[-inf, 0.0, -inf, 0.0], [-inf] * 4, [inf, 0.0, 1.0, -inf], [0.0, nan, 1.0, 2.0]]
    for width in (4, 300):  # a thread, or several warps, to a row
        x = np.full((4, width), -inf)
        x[:, :4] = rows
        with backends.use("cpu"):
            wanted = [f(Tensor(x)).numpy() for f in (cr.softmax, cr.log_softmax)]
        with backends.use("cuda"):
            for f, y in zip((cr.softmax, cr.log_softmax), wanted, strict=True):
                np.testing.assert_allclose(f(Tensor(x)).numpy(), y)


def losses(shape, reduction, smoothing, weight, ignore, op, backend, dtype="float64"):
    """A loss and its gradient."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal(shape) * 3, rng.random(shape[1]) if weight else None
    t = rng.integers(0, shape[1], shape[:1] + shape[2:])
    t.reshape(-1)[::3] = t.reshape(-1)[::3] if ignore is None else ignore
    params = {"reduction": reduction, **({} if ignore is None else {"ignore_index": ignore})}
    if op is cr.cross_entropy:
        params["label_smoothing"] = smoothing
    with backends.use(backend):
        x = Tensor(x, dtype=dtype, requires_grad=True)
        y = op(x, Tensor(t), None if w is None else Tensor(w), **params)
        cos = np.cos(np.arange(y.size)).reshape(y.shape)
        return y.numpy(), grad((y * Tensor(cos, dtype=dtype)).sum(), x)[0].numpy()


@pytest.mark.parametrize("shape", [(70, 11), (3, 4100), (2, 5, 7, 6), (600, 4)], ids=str)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_losses_of_classes(shape, reduction):
    for smoothing, weight, ignore in ((0.0, False, None), (0.1, True, None), (0.25, False, 2), (0.0, True, -100)):
        for op in (cr.cross_entropy, cr.nll) if smoothing == 0 else (cr.cross_entropy,):
            given = shape, reduction, smoothing, weight, ignore, op
            for dtype, rtol, atol in (("float64", 1e-11, 1e-14), ("float32", 3e-6, 1e-6)):
                for y, e in zip(losses(*given, "cuda", dtype), losses(*given, "numpy"), strict=True):
                    assert y.dtype == dtype
                    np.testing.assert_allclose(y, e, rtol=rtol, atol=atol)


def test_weights_of_classes_may_want_a_gradient():
    rng = np.random.default_rng(0)
    x, w, t = rng.standard_normal((6, 4)), rng.random(4), rng.integers(0, 4, 6)
    found = []
    for backend in ("cuda", "numpy"):
        with backends.use(backend):
            a, b = Tensor(x, requires_grad=True), Tensor(w, requires_grad=True)
            found.append([v.numpy() for v in grad(cr.cross_entropy(a, Tensor(t), b, label_smoothing=0.1), (a, b))])
    for y, e in zip(*found, strict=True):
        np.testing.assert_allclose(y, e, rtol=1e-10)


@pytest.mark.parametrize("label", [3, -1, 100])
def test_a_class_that_is_not_there_is_reported_by_the_next_wait(label):
    message = rf"target {label} at row 2 is not a class: x has 3 classes \(0 to 2\)"
    with backends.use("cuda"):
        x, target = Tensor(np.zeros((4, 3), "float32"), requires_grad=True), Tensor([0, 2, label, 1])
        for op, params in (
            (cr.cross_entropy, {}),
            (cr.cross_entropy, {"label_smoothing": 0.1, "reduction": "none"}),
            (cr.nll, {}),
        ):
            loss = op(x, target, **params)
            loss.sum().backward()
            with pytest.raises(IndexRangeError, match=rf"\[{op.__name__}\] {message}"):
                loss.numpy()
            assert np.isfinite(x.grad.numpy()).all()  # and nothing is left of it
            assert op(x, Tensor([0, 2, 2, 1]), **params).sum().item() == pytest.approx(
                op(Tensor(np.zeros((4, 3))), Tensor([0, 2, 2, 1]), **params).sum().item(), abs=1e-6
            )


def test_a_loss_takes_a_few_launches_and_no_copy(gpu):
    with backends.use("cuda"):
        x, t = Tensor(np.ones((9, 5), "float32"), requires_grad=True), Tensor(np.arange(9) % 5)
        cr.cross_entropy(x, t).backward()
        before, launches = dict(gpu.copies), getattr(gpu.driver, "launches", 0)
        loss = cr.cross_entropy(x.detach().requires_grad_(), t)
        loss.backward()
        assert gpu.copies == before and getattr(gpu.driver, "launches", 0) - launches <= 4


def test_the_same_bits_in_every_order(gpu):
    x = np.random.default_rng(0).standard_normal((30, 900)).astype("float32")
    calls = [
        lambda x: cr.softmax(x, axis=0),
        lambda x: cr.softmax(x, axis=1),
        lambda x: grad(cr.cross_entropy(x, Tensor(np.arange(30)), label_smoothing=0.1), x)[0],
        lambda x: cr.cross_entropy(x, Tensor(np.arange(30))),
    ]
    with backends.use("cuda"):
        first = [f(Tensor(x, requires_grad=True)).numpy() for f in calls]
        for _ in orders(gpu):
            for f, y in zip(calls, first, strict=True):
                np.testing.assert_array_equal(f(Tensor(x, requires_grad=True)).numpy(), y)
