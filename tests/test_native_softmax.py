"""Native softmax, log softmax and cross entropy against float64 formulas: axes, extremes, label errors, threads."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule import _native

TOLERANCE = {"float32": 2e-6, "float64": 1e-14}


def normal(shape, dtype, seed=0):
    return (np.random.default_rng(seed).standard_normal(shape) * 3).astype(dtype)


def softmax(x, axis):
    e = np.exp(x - x.max(axis, keepdims=True, initial=-np.inf))
    return e / e.sum(axis, keepdims=True)


def close(actual, expected, dtype):
    assert actual.dtype == dtype and actual.shape == np.shape(expected)
    np.testing.assert_allclose(
        actual, expected, rtol=0, atol=TOLERANCE[dtype] * max(1, np.abs(expected).max(initial=0))
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "shape, axis",
    [
        ((5,), 0),
        ((3, 10), 1),
        ((3, 10), 0),
        ((40, 16), 1),
        ((2, 17, 3), 1),
        ((2, 3, 33), 2),
        ((4, 1000), 1),
        ((1, 1), 1),
    ]
    + [((7, 3 * 128 + 64 + 16 + 5), 0), ((2, 300, 333), 1)]  # columns eight vectors, four and one at a time
    + [((2, 5, 70, 3), 1), ((3, 0), 1), ((0, 4), 1), ((4, 0, 2), 0)],
)
def test_softmax_and_log_softmax(shape, axis, dtype):
    for x in (normal(shape, dtype), np.asfortranarray(normal(shape, dtype))):
        exact, g = softmax(x.astype(float), axis), normal(shape, dtype, 1)
        wide = g.astype(float)
        y, saved = _native.softmax(x, axis=axis)
        close(y, exact, dtype)
        (gx,) = _native.softmax_vjp(g, *saved, needs=(True,), axis=axis)
        close(gx, (wide - (wide * exact).sum(axis, keepdims=True)) * exact, dtype)
        y, saved = _native.log_softmax(x, axis=axis)
        close(y, np.log(exact), dtype)
        (gx,) = _native.log_softmax_vjp(g, *saved, needs=(True,), axis=axis)
        close(gx, wide - exact * wide.sum(axis, keepdims=True), dtype)


def test_a_column_is_the_same_wherever_it_stands():
    x = normal((40, 500), "float32")
    for f in (_native.softmax, _native.log_softmax):
        whole = f(x, axis=0)[0]
        for part in (slice(0, 2), slice(3, 133), slice(200, 500)):
            np.testing.assert_array_equal(f(x[:, part], axis=0)[0], whole[:, part], strict=True)


@pytest.mark.parametrize("axis", [0, 1])
def test_extremes(axis):
    rows = np.array([[1e4, -1e4, 0], [-np.inf, 0, 0], [88, 89, 90], [-3e38, 3e38, 0]], "float32")
    expected = softmax(rows.astype(float), 1)
    x = rows if axis else np.ascontiguousarray(rows.T)
    y = _native.softmax(x, axis=axis)[0]
    close(y if axis else y.T, expected, "float32")
    logs = _native.log_softmax(x, axis=axis)[0]
    assert not np.isnan(logs).any()
    with_nan = x.copy()
    with_nan[(1, 0) if axis else (0, 1)] = np.nan
    y = _native.softmax(with_nan, axis=axis)[0]
    y = y if axis else y.T
    assert np.isnan(y[1]).all() and not np.isnan(y[0]).any()


def settings(reduction="mean", ignore_index=-100):
    return {"reduction": reduction, "label_smoothing": 0.0, "ignore_index": ignore_index}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("rows, classes", [(1, 2), (7, 10), (300, 16), (33, 65), (2000, 100), (5, 1)])
def test_cross_entropy(rows, classes, reduction, dtype):
    x = normal((rows, classes), dtype)
    target = np.random.default_rng(1).integers(0, classes, rows)
    target[::3] = -1  # does not count
    counted = target != -1
    how = settings(reduction, -1)
    loss, saved = _native.cross_entropy(x, target, None, **how)
    probabilities = softmax(x.astype(float), 1)
    losses = -np.log(probabilities[np.arange(rows), target])[counted]
    assert loss.shape == () and loss.dtype == dtype and isinstance(loss, np.ndarray)
    if not counted.any():
        assert np.isnan(loss) if reduction == "mean" else loss == 0
        return
    expected = losses.mean() if reduction == "mean" else losses.sum()
    np.testing.assert_allclose(loss, expected, rtol=TOLERANCE[dtype])
    gradient = (probabilities - np.eye(classes)[target]) * counted[:, None] * 1.5
    if reduction == "mean":
        gradient /= counted.sum()
    gx, none_target, none_weight = _native.cross_entropy_vjp(
        np.asarray(1.5, dtype), *saved, needs=(True, False, False), **how
    )
    assert none_target is None and none_weight is None
    close(gx, gradient, dtype)


def test_cross_entropy_of_nothing():
    empty, labels = np.zeros((0, 3), "float32"), np.zeros(0, "int64")
    assert np.isnan(_native.cross_entropy(empty, labels, None, **settings())[0])
    assert _native.cross_entropy(empty, labels, None, **settings("sum"))[0] == 0


def test_labels_that_are_no_class():
    x = normal((4, 10), "float32")
    message = r"\[cross_entropy\] target 12 at row 3 is not a class: x has 10 classes \(0 to 9\)"
    with pytest.raises(IndexError, match=message):
        _native.cross_entropy(x, np.array([0, 9, 3, 12]), None, **settings())
    with pytest.raises(IndexError, match="target -1 at row 0"):
        _native.cross_entropy(x, np.array([-1, 0, 0, 0]), None, **settings())
    assert np.isfinite(_native.cross_entropy(x, np.array([12, 0, 0, 12]), None, **settings(ignore_index=12))[0])


def test_what_is_left_to_the_body():
    x, target = normal((4, 10), "float32"), np.arange(4)
    for arguments, changed in [
        ((x, x, None), {}),
        ((x, target.astype("int32"), None), {}),
        ((x, target, np.ones(10, "float32")), {}),
        ((x, target, None), {"label_smoothing": 0.1}),
        ((x, target, None), {"reduction": "none"}),
        ((np.ones((4, 10), "int64"), target, None), {}),
        ((np.ones((2, 10, 4), "float32"), np.zeros((2, 4), "int64"), None), {}),
    ]:
        assert _native.cross_entropy(*arguments, **settings() | changed) is NotImplemented
    assert _native.softmax(np.ones((2, 2), "int32"), axis=1) is NotImplemented


def test_thread_count_changes_no_bit():
    x = normal((600, 130), "float32")
    target = np.random.default_rng(0).integers(0, 130, 600)
    results = []
    for threads in (1, 2, 3):
        _native.set_num_threads(threads)
        row = [_native.softmax(x, axis=axis)[0] for axis in (0, 1)]
        row += [_native.log_softmax(x, axis=axis)[0] for axis in (0, 1)]
        loss, saved = _native.cross_entropy(x, target, None, **settings())
        results.append([a.tobytes() for a in (*row, loss, *saved)])
    _native.set_num_threads(2)
    assert results[0] == results[1] == results[2]
