"""Native pooling and its gradients against loops over the windows: layouts, padding, ties, NaN, threads."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule import _native


def normal(shape, dtype, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def channels_last(x):
    return np.ascontiguousarray(np.transpose(x, (0, 2, 3, 1))).transpose(0, 3, 1, 2)


def is_channels_last(x):
    return x.transpose(0, 2, 3, 1).flags.c_contiguous


def windows(x, kernel, stride, padding, dilation):
    """(output row, output column, rows, columns): the positions inside the image that each window covers."""
    sizes = [(x.shape[2 + i] + 2 * padding[i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1 for i in (0, 1)]

    def inside(axis, o):
        taps = o * stride[axis] - padding[axis] + np.arange(kernel[axis]) * dilation[axis]
        return taps[(taps >= 0) & (taps < x.shape[2 + axis])]

    return sizes, [(r, q, inside(0, r), inside(1, q)) for r in range(sizes[0]) for q in range(sizes[1])]


def max_reference(x, g, kernel, stride, padding, dilation):
    sizes, covered = windows(x, kernel, stride, padding, dilation)
    y, gx = np.zeros((*x.shape[:2], *sizes)), np.zeros(x.shape)
    n, c = np.indices(x.shape[:2])
    for r, q, rows, columns in covered:
        values = x[:, :, rows[:, None], columns].reshape(*x.shape[:2], len(rows) * len(columns))
        at = values.argmax(-1)  # the first of equals; the first NaN
        y[:, :, r, q] = np.take_along_axis(values, at[..., None], -1)[..., 0]
        if g is not None:
            np.add.at(gx, (n, c, rows[at // len(columns)], columns[at % len(columns)]), g[:, :, r, q].astype(float))
    return y, gx


def average_reference(x, g, kernel, stride, padding, count_include_pad):
    sizes, covered = windows(x, kernel, stride, padding, (1, 1))
    y, gx = np.zeros((*x.shape[:2], *sizes)), np.zeros(x.shape)
    for r, q, rows, columns in covered:
        count = kernel[0] * kernel[1] if count_include_pad else len(rows) * len(columns)
        y[:, :, r, q] = x[:, :, rows[:, None], columns].astype(float).sum((2, 3)) / count
        if g is not None:
            gx[:, :, rows[:, None], columns] += g[:, :, r, q][..., None, None].astype(float) / count
    return y, gx


SHAPES = [(2, 3, 8, 10), (1, 40, 7, 9), (2, 1, 6, 64), (3, 18, 5, 33), (9, 5, 4, 4), (0, 3, 4, 4)]
KERNELS = [
    ((2, 2), (2, 2), (0, 0), (1, 1)),
    ((3, 3), (2, 2), (1, 1), (1, 1)),
    ((3, 2), (1, 2), (1, 0), (1, 1)),
    ((2, 2), (3, 1), (0, 1), (2, 3)),
    ((4, 4), (4, 4), (0, 0), (1, 1)),
    ((1, 1), (1, 1), (0, 0), (1, 1)),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("last", [False, True], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_max(shape, last, dtype):
    order = channels_last if last else np.ascontiguousarray
    for kernel, stride, padding, dilation in KERNELS:
        settings = {"kernel_size": kernel, "stride": stride, "padding": padding, "dilation": dilation}
        x = order(np.round(normal(shape, dtype) * 2))  # many ties
        x[..., 1, 2] = np.nan
        y, saved = _native.max_pool2d(x, **settings)
        g = normal(y.shape, dtype, 1)
        expected, gx = max_reference(x, g, kernel, stride, padding, dilation)
        np.testing.assert_array_equal(y, expected.astype(dtype))
        assert y.dtype == dtype and (is_channels_last(y) if is_channels_last(x) else y.flags.c_contiguous)
        for gradient in (g, channels_last(g)):
            (actual,) = _native.max_pool2d_vjp(gradient, *saved, needs=(True,), **settings)
            assert actual.dtype == dtype
            np.testing.assert_allclose(actual, gx, rtol=0, atol=1e-5 if dtype == "float32" else 1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("last", [False, True], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_average(shape, last, dtype):
    order = channels_last if last else np.ascontiguousarray
    tolerance = 1e-5 if dtype == "float32" else 1e-14
    for kernel, stride, padding, dilation in KERNELS:
        if dilation != (1, 1):
            continue
        for include in (True, False):
            settings = {"kernel_size": kernel, "stride": stride, "padding": padding, "count_include_pad": include}
            x = order(normal(shape, dtype))
            y, saved = _native.avg_pool2d(x, **settings)
            g = normal(y.shape, dtype, 1)
            expected, gx = average_reference(x, g, kernel, stride, padding, include)
            np.testing.assert_allclose(y, expected, rtol=0, atol=tolerance)
            assert y.dtype == dtype and (is_channels_last(y) if is_channels_last(x) else y.flags.c_contiguous)
            for gradient in (g, channels_last(g)):
                (actual,) = _native.avg_pool2d_vjp(gradient, *saved, needs=(True,), **settings)
                np.testing.assert_allclose(actual, gx, rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("planes", [1, 13])
def test_two_by_two_of_planes_of_every_width(planes, dtype):
    settings = {"kernel_size": (2, 2), "stride": (2, 2), "padding": (0, 0)}
    for width in range(2, 38):
        for height in (2, 4, 5):
            x = np.round(normal((1, planes, height, width), dtype, width) * 2)  # many ties
            inside = x[..., : height // 2 * 2, : width // 2 * 2]
            taps = inside.reshape(1, planes, height // 2, 2, width // 2, 2).transpose(0, 1, 2, 4, 3, 5)
            taps = taps.reshape(*taps.shape[:4], 4)
            y, saved = _native.max_pool2d(x, **settings, dilation=(1, 1))
            np.testing.assert_array_equal(y, taps.max(-1))
            mean, sizes = _native.avg_pool2d(x, **settings, count_include_pad=True)
            np.testing.assert_array_equal(mean, taps.sum(-1) / 4)  # exact: numbers are whole
            g = normal(y.shape, dtype)
            for kernel, rest, share in (
                (_native.max_pool2d_vjp, {"dilation": (1, 1)}, np.arange(4) == taps.argmax(-1)[..., None]),
                (_native.avg_pool2d_vjp, {"count_include_pad": True}, np.full(taps.shape, 0.25, dtype)),
            ):
                kept = saved if "dilation" in rest else sizes
                (gx,) = kernel(g, *kept, needs=(True,), **settings, **rest)
                expected = np.zeros_like(x)
                spread = (g[..., None] * share).reshape(*taps.shape[:4], 2, 2).transpose(0, 1, 2, 4, 3, 5)
                expected[..., : height // 2 * 2, : width // 2 * 2] = spread.reshape(inside.shape)
                np.testing.assert_array_equal(gx, expected)


@pytest.mark.parametrize("last", [False, True], ids=["nchw", "nhwc"])
def test_places_of_the_largest(last):
    order = channels_last if last else np.ascontiguousarray
    kernels = [*KERNELS, ((17, 17), (1, 1), (8, 8), (1, 1))]
    for dtype in ("float32", "float64"):
        for kernel, stride, padding, dilation in kernels:
            settings = {"kernel_size": kernel, "stride": stride, "padding": padding, "dilation": dilation}
            x = order(normal((2, 3, 18, 22), dtype))
            y, places = _native.max_pool2d_with_indices(x, **settings)
            np.testing.assert_array_equal(y, _native.max_pool2d(x, **settings)[0])
            assert places.dtype == np.int64 and places.strides == y.astype(np.int64, order="K").strides
            flat = x.reshape(2, 3, -1)
            found = np.take_along_axis(flat, places.reshape(2, 3, -1), -1)
            np.testing.assert_array_equal(found.reshape(y.shape), y)  # no two elements are equal


def test_window_of_more_than_256_taps():
    x = normal((1, 2, 20, 20), "float32")
    settings = {"kernel_size": (17, 17), "stride": (1, 1), "padding": (8, 8), "dilation": (1, 1)}
    y, saved = _native.max_pool2d(x, **settings)
    expected, gx = max_reference(x, np.ones(y.shape), (17, 17), (1, 1), (8, 8), (1, 1))
    np.testing.assert_array_equal(y, expected.astype("float32"))
    np.testing.assert_array_equal(_native.max_pool2d_vjp(np.ones_like(y), *saved, needs=(True,), **settings)[0], gx)


def test_any_strides():
    x = normal((4, 9, 10, 6), "float32").transpose(0, 3, 2, 1)[::2, ::-1]
    settings = {"kernel_size": (2, 2), "stride": (2, 2), "padding": (0, 0), "dilation": (1, 1)}
    y, saved = _native.max_pool2d(x, **settings)
    g = np.broadcast_to(np.float32(2), y.shape)
    expected, gx = max_reference(x, g, (2, 2), (2, 2), (0, 0), (1, 1))
    np.testing.assert_array_equal(y, expected.astype("float32"))
    np.testing.assert_array_equal(_native.max_pool2d_vjp(g, *saved, needs=(True,), **settings)[0], gx)


def test_infinities_and_negative_padding_value():
    x = np.full((1, 1, 4, 4), -np.inf, "float32")
    settings = {"kernel_size": (3, 3), "stride": (1, 1), "padding": (1, 1), "dilation": (1, 1)}
    y, saved = _native.max_pool2d(x, **settings)
    assert np.isneginf(y).all()
    (gx,) = _native.max_pool2d_vjp(np.ones_like(y), *saved, needs=(True,), **settings)
    np.testing.assert_array_equal(gx, max_reference(x, np.ones(y.shape), (3, 3), (1, 1), (1, 1), (1, 1))[1])
    assert gx.sum() == 16


@pytest.mark.parametrize("shape", [(2, 3, 1, 5), (2, 3, 5, 1), (2, 3, 1, 1)])
def test_windows_around_the_image(shape):
    settings = {"kernel_size": (2, 2), "stride": (1, 1), "padding": (1, 1), "dilation": (2, 2)}
    x = normal(shape, "float32")
    y, saved = _native.max_pool2d(x, **settings)
    g = normal(y.shape, "float32", 1)
    taps = [
        [[o + s in range(n) for s in (-1, 1)] for o in range(m)] for n, m in zip(shape[2:], y.shape[2:], strict=True)
    ]
    meets = np.array([[any(r) and any(c) for c in taps[1]] for r in taps[0]])
    assert not meets.all() and np.isneginf(y[..., ~meets]).all()
    (gx,) = _native.max_pool2d_vjp(g, *saved, needs=(True,), **settings)
    np.testing.assert_allclose(gx.sum((2, 3)), np.where(meets, g, 0).sum((2, 3)), rtol=1e-5, atol=1e-6)


def test_thread_count_changes_no_bit():
    settings = {"kernel_size": (3, 3), "stride": (2, 2), "padding": (1, 1)}
    results = []
    for threads in (1, 2, 3):
        _native.set_num_threads(threads)
        row = []
        for order in (np.ascontiguousarray, channels_last):
            x = order(normal((8, 32, 40, 40), "float32"))
            y, saved = _native.max_pool2d(x, **settings, dilation=(1, 1))
            g = normal(y.shape, "float32")
            row += [y, *_native.max_pool2d_vjp(g, *saved, needs=(True,), **settings, dilation=(1, 1))]
            y, saved = _native.avg_pool2d(x, **settings, count_include_pad=True)
            row += [y, *_native.avg_pool2d_vjp(g, *saved, needs=(True,), **settings, count_include_pad=True)]
        results.append([a.tobytes() for a in row])
    _native.set_num_threads(2)
    assert results[0] == results[1] == results[2]


def test_other_dtypes_and_wrong_windows():
    settings = {"kernel_size": (2, 2), "stride": (2, 2), "padding": (0, 0), "dilation": (1, 1)}
    assert _native.max_pool2d(np.ones((1, 1, 4, 4), "int32"), **settings) is NotImplemented
    with pytest.raises(ValueError, match="does not fit"):
        _native.max_pool2d(np.ones((1, 1, 1, 4), "float32"), **settings)
    with pytest.raises(ValueError, match=r"\[max_pool2d\] x must be"):
        _native.max_pool2d(np.ones((1, 4, 4), "float32"), **settings)
    y, saved = _native.max_pool2d(np.ones((1, 1, 4, 4), "float32"), **settings)
    assert _native.max_pool2d_vjp(y, *saved, needs=(False,), **settings) == (None,)
