"""Native batch normalisation against float64 formulas: layouts, accuracy far from zero, running statistics, gradients."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from chainrule import _native

TOLERANCE = {"float32": 3e-6, "float64": 1e-13}


def normal(shape, dtype, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def channels_last(x):
    """The same values, channels beside each other in memory."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)


def close(actual, expected, dtype):
    assert actual.dtype == dtype and actual.shape == expected.shape
    scale = max(1.0, float(np.abs(expected).max(initial=0)))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE[dtype] * scale)


def reference(x, weight, bias, mean, var, eps, g, batch):
    """y and the gradients of x, weight, bias, mean, var in float64."""
    axes, c = (0, *range(2, x.ndim)), (1, -1, *(1,) * (x.ndim - 2))
    x, g = x.astype(float), g.astype(float)
    r = 1 / np.sqrt(var + eps)
    w = np.ones(x.shape[1]) if weight is None else weight.astype(float)
    hat = (x - mean.reshape(c)) * r.reshape(c)
    y = hat * w.reshape(c) + (0 if bias is None else bias.reshape(c))
    sums, dots = g.sum(axes), (g * hat).sum(axes)
    gx = g * (w * r).reshape(c)
    if batch:
        n = x.size / x.shape[1]
        gx = (w * r).reshape(c) * (g - sums.reshape(c) / n - hat * dots.reshape(c) / n)
    return y, gx, dots, sums, -w * r * sums, -0.5 * w * r**2 * dots


SHAPES = [
    (7, 5),
    (64, 40),
    (300, 3),
    (4, 6, 9),
    (3, 20, 33),
    (2, 3, 5, 6),
    (5, 33, 4, 7),
    (2, 64, 16, 16),
    (3, 1, 4, 4),
    (70, 3, 4, 4),
    (9, 130, 7, 7),
    (5, 2, 25, 25),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("affine", [True, False], ids=["affine", "plain"])
@pytest.mark.parametrize("order", [np.ascontiguousarray, channels_last], ids=["row-major", "channels-last"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_batch_statistics(shape, order, affine, dtype):
    c = shape[1]
    x = order(normal(shape, dtype) * 2 + 1)
    weight, bias = (normal((c,), dtype, 1), normal((c,), dtype, 2)) if affine else (None, None)
    running = np.zeros(c, dtype), np.ones(c, dtype)
    y, saved = _native.batch_norm_train(x, weight, bias, *running, momentum=0.1, eps=1e-5)
    axes = (0, *range(2, x.ndim))
    mean, var, n = x.astype(float).mean(axes), x.astype(float).var(axes), x.size / c
    close(running[0], 0.1 * mean, dtype)
    close(running[1], 0.9 + 0.1 * var * n / (n - 1), dtype)
    assert y.strides == x.strides
    for g in (normal(shape, dtype, 3), channels_last(normal(shape, dtype, 3))):
        expected, gx, gw, gb, *_ = reference(x, weight, bias, mean, var, 1e-5, g, batch=True)
        close(y, expected, dtype)
        needs = (True, affine, affine, False, False)
        actual = _native.batch_norm_train_vjp(g, *saved, needs=needs, momentum=0.1, eps=1e-5)
        close(actual[0], gx, dtype)
        if affine:
            close(actual[1], gw, dtype)
            close(actual[2], gb, dtype)
        assert actual[3:] == (None, None)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("order", [np.ascontiguousarray, channels_last], ids=["row-major", "channels-last"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_given_statistics(shape, order, dtype):
    c = shape[1]
    x, weight, bias = order(normal(shape, dtype)), normal((c,), dtype, 1), normal((c,), dtype, 2)
    mean, var = normal((c,), dtype, 4), np.abs(normal((c,), dtype, 5)) + np.asarray(0.5, dtype)
    y, saved = _native.batch_norm_eval(x, weight, bias, mean, var, eps=1e-3)
    g = normal(shape, dtype, 3)
    expected, *gradients = reference(x, weight, bias, mean.astype(float), var.astype(float), 1e-3, g, batch=False)
    close(y, expected, dtype)
    assert y.strides == x.strides
    actual = _native.batch_norm_eval_vjp(g, *saved, needs=(True,) * 5, eps=1e-3)
    for a, e in zip(actual, gradients, strict=True):
        close(a, e, dtype)
    close(_native.batch_norm_eval_vjp(g, *saved, needs=(True,) + (False,) * 4, eps=1e-3)[0], gradients[0], dtype)


@pytest.mark.parametrize("order", [np.ascontiguousarray, channels_last], ids=["row-major", "channels-last"])
def test_a_mean_far_from_zero_costs_no_accuracy(order):
    x = order((normal((16, 20, 30, 30), "float64") + 4096).astype("float32"))
    y, (_, mean, rstd, _) = _native.batch_norm_train(x, None, None, None, None, momentum=0.1, eps=0.0)
    exact = x.astype(float)
    np.testing.assert_allclose(mean, exact.mean((0, 2, 3)), rtol=1e-7)
    np.testing.assert_allclose(rstd, 1 / exact.std((0, 2, 3)), rtol=1e-6)
    assert np.abs(y.astype(float).mean((0, 2, 3))).max() < 3e-4  # the mean itself is a float32


def test_constant_channels_and_blocks_of_different_means():
    x = np.repeat(np.arange(6, dtype="float32") * 1000, 100).reshape(-1, 1)  # every block of rows is constant
    _, (_, mean, rstd, _) = _native.batch_norm_train(x, None, None, None, None, momentum=0.1, eps=0.0)
    np.testing.assert_allclose([mean[0], rstd[0]], [x.mean(), 1 / x.astype(float).std()], rtol=1e-6)
    y, _ = _native.batch_norm_train(np.full((50, 3), 0.1, "float32"), None, None, None, None, momentum=0.1, eps=1e-5)
    assert np.abs(y).max() < 1e-5


def test_gradients_by_finite_differences():
    x, weight, bias = normal((6, 3, 2), "float64"), normal((3,), "float64", 1), normal((3,), "float64", 2)
    g = normal((6, 3, 2), "float64", 3)

    def loss(x):
        return (_native.batch_norm_train(x, weight, bias, None, None, momentum=0.1, eps=1e-5)[0] * g).sum()

    _, saved = _native.batch_norm_train(x, weight, bias, None, None, momentum=0.1, eps=1e-5)
    gx = _native.batch_norm_train_vjp(g, *saved, needs=(True,) * 3 + (False,) * 2, momentum=0.1, eps=1e-5)[0]
    numeric = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[i] = 1e-6
        numeric[i] = (loss(x + step) - loss(x - step)) / 2e-6
    np.testing.assert_allclose(gx, numeric, atol=1e-7)


def test_any_strides():
    x = normal((5, 9, 8, 6), "float32").transpose(2, 3, 1, 0)[::2]
    weight = normal((12,), "float32", 1)[::2]
    running = np.zeros(12, "float32")[::2], np.ones(12, "float32")[1::2]
    y, saved = _native.batch_norm_train(x, weight, None, *running, momentum=1.0, eps=1e-5)
    exact = x.astype(float)
    mean, var = exact.mean((0, 2, 3)), exact.var((0, 2, 3))
    g = np.broadcast_to(np.float32(0.25), x.shape)
    expected, gx, *_ = reference(x, weight, None, mean, var, 1e-5, g, batch=True)
    close(y, expected, "float32")
    close(running[0], mean, "float32")
    needs = (True,) + (False,) * 4
    close(_native.batch_norm_train_vjp(g, *saved, needs=needs, momentum=1.0, eps=1e-5)[0], gx, "float32")


def test_thread_count_changes_no_bit():
    results = []
    for threads in (1, 2, 3):
        _native.set_num_threads(threads)
        row = []
        orders = np.ascontiguousarray, channels_last
        for order, shape in product(orders, ((16, 24, 25, 25), (150, 24, 4, 4))):
            x = order(normal(shape, "float32"))
            running = np.zeros(24, "float32"), np.ones(24, "float32")
            y, saved = _native.batch_norm_train(x, None, None, *running, momentum=0.1, eps=1e-5)
            g = order(normal(x.shape, "float32", 1))
            needs = (True,) * 3 + (False,) * 2
            row += [y, *running, *_native.batch_norm_train_vjp(g, *saved, needs=needs, momentum=0.1, eps=1e-5)[:3]]
        results.append([a.tobytes() for a in row])
    _native.set_num_threads(2)
    assert results[0] == results[1] == results[2]


def test_other_dtypes_and_wrong_shapes():
    settings = {"momentum": 0.1, "eps": 1e-5}
    x = np.ones((3, 2), "float32")
    assert _native.batch_norm_train(x.astype("int64"), None, None, None, None, **settings) is NotImplemented
    assert _native.batch_norm_train(x, np.ones(2), None, None, None, **settings) is NotImplemented
    with pytest.raises(ValueError, match=r"\[batch_norm_train\]"):
        _native.batch_norm_train(x, np.ones(3, "float32"), None, None, None, **settings)
    frozen = np.ones(2, "float32")
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        _native.batch_norm_train(x, None, None, frozen, frozen, **settings)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_row_is_normalised_the_same_wherever_it_stands(dtype):
    """Short rows are summed four at once."""
    for n in (1, 7, 128, 250, 256, 257):
        x, g, w = normal((9, n), dtype), normal((9, n), dtype, 1), normal((n,), dtype, 2)
        given = {"normalized_shape": (n,), "eps": 1e-5}
        y, saved = _native.layer_norm(x, w, w, **given)
        back = _native.layer_norm_vjp(g, *saved[:2], *saved[2:], needs=(True, True, True), **given)
        wide, some = x.astype(float), g.astype(float) * w
        r = 1 / np.sqrt(wide.var(1, keepdims=True) + 1e-5)
        unit = (wide - wide.mean(1, keepdims=True)) * r
        close(back[0], (some - some.mean(1, keepdims=True) - unit * (some * unit).mean(1, keepdims=True)) * r, dtype)
        close(back[1], (g * unit).sum(0), dtype)
        close(back[2], g.astype(float).sum(0), dtype)
        for rows in (slice(0, 1), slice(2, 7), slice(8, 9)):
            part, kept = _native.layer_norm(x[rows], w, w, **given)
            np.testing.assert_array_equal(part, y[rows])
            again = _native.layer_norm_vjp(g[rows], *kept, needs=(True, False, False), **given)
            np.testing.assert_array_equal(again[0], back[0][rows])
