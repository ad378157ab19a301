"""The native convolution and its gradients against float64 loops over the taps: layouts, strides, dilation, groups."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule import _native

TOLERANCE = {"float32": 4e-6, "float64": 1e-14}


def normal(shape, dtype, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def channels_last(x):
    return np.ascontiguousarray(np.transpose(x, (0, 2, 3, 1))).transpose(0, 3, 1, 2)


def is_channels_last(x):
    return x.transpose(0, 2, 3, 1).flags.c_contiguous


def taps(x, weight, stride, padding, dilation):
    """Every tap with the (padded) input window it multiplies: a view into one padded array."""
    kh, kw = weight.shape[2:]
    padded = np.pad(x.astype(float), ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
    oh, ow = ((padded.shape[2 + i] - dilation[i] * (weight.shape[2 + i] - 1) - 1) // stride[i] + 1 for i in (0, 1))
    for ky in range(kh):
        for kx in range(kw):
            y0, x0 = ky * dilation[0], kx * dilation[1]
            rows = slice(y0, y0 + (oh - 1) * stride[0] + 1, stride[0])
            yield ky, kx, padded, (..., rows, slice(x0, x0 + (ow - 1) * stride[1] + 1, stride[1]))


def reference(x, weight, bias, g, *, stride, padding, dilation, groups):
    """y, gx, gw, gb in float64 (g may be None: y only)."""
    n, c, h, w = x.shape
    out, ins = weight.shape[:2]
    split = weight.astype(float).reshape(groups, out // groups, ins, *weight.shape[2:])
    y, gw, gx = 0, np.zeros(split.shape), np.zeros((n, c, h + 2 * padding[0], w + 2 * padding[1]))
    for ky, kx, padded, window in taps(x, weight, stride, padding, dilation):
        part = padded[window].reshape(n, groups, ins, *padded[window].shape[2:])
        y = y + np.einsum("ngihw,goi->ngohw", part, split[..., ky, kx])
        if g is not None:
            grouped = g.astype(float).reshape(n, groups, out // groups, *g.shape[2:])
            gw[..., ky, kx] = np.einsum("ngihw,ngohw->goi", part, grouped)
            back = np.einsum("ngohw,goi->ngihw", grouped, split[..., ky, kx])
            gx[window] += back.reshape(n, c, *g.shape[2:])
    y = y.reshape(n, out, *y.shape[3:])
    if bias is not None:
        y = y + bias[:, None, None]
    if g is None:
        return y
    inner = gx[:, :, padding[0] : padding[0] + h, padding[1] : padding[1] + w]
    return y, inner, gw.reshape(weight.shape), g.astype(float).sum((0, 2, 3))


def close(actual, expected, dtype):
    assert actual.dtype == dtype and actual.shape == expected.shape
    scale = max(1.0, float(np.abs(expected).max(initial=0)))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE[dtype] * scale)


def check(x, weight, bias, dtype, **params):
    expected = reference(x, weight, bias, None, **params)
    y, saved = _native.conv2d(x, weight, bias, **params)
    close(y, expected, dtype)
    if x.shape[1] > 1:
        assert is_channels_last(y) if is_channels_last(x) else y.flags.c_contiguous
    for g in (normal(y.shape, dtype, 5), channels_last(normal(y.shape, dtype, 5))):
        _, gx, gw, gb = reference(x, weight, bias, g, **params)
        actual = _native.conv2d_vjp(g, *saved, needs=(True, True, True), **params)
        for a, e in zip(actual, (gx, gw, gb), strict=True):
            close(a, e, dtype)


def params(stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
    return {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}


CASES = {
    "3x3 same": ((2, 16, 7, 9), (32, 3, 3), params(padding=(1, 1))),
    "one channel": ((3, 1, 12, 12), (8, 3, 3), params(padding=(1, 1))),
    "one channel, many outputs": ((3, 1, 12, 20), (48, 3, 3), params(padding=(1, 1))),
    "one channel, no padding": ((2, 1, 9, 21), (40, 5, 4), params()),
    "one channel, dilated": ((2, 1, 13, 12), (33, 3, 3), params(stride=(2, 1), padding=(2, 3), dilation=(2, 3))),
    "one channel, stride": ((2, 1, 13, 12), (32, 3, 3), params(stride=(1, 2), padding=(1, 1))),
    "one channel, several bands": ((2, 1, 90, 110), (36, 5, 5), params(padding=(2, 2))),
    "few outputs": ((2, 5, 9, 30), (7, 3, 3), params(padding=(1, 1))),
    "few outputs, dilated": ((1, 20, 9, 11), (8, 3, 2), params(padding=(3, 0), dilation=(3, 2))),
    "one output": ((2, 12, 8, 40), (1, 5, 5), params(padding=(2, 2))),
    "few inputs": ((2, 3, 9, 21), (20, 3, 3), params(padding=(1, 1))),
    "few inputs, stride 2": ((2, 3, 15, 70), (19, 3, 3), params(stride=(2, 2), padding=(1, 1))),
    "few inputs, strides, dilation": ((1, 4, 12, 59), (9, 2, 4), params((2, 3), padding=(0, 2), dilation=(2, 2))),
    "few inputs, groups": ((2, 8, 6, 19), (36, 3, 3), params(padding=(1, 1), groups=4)),
    "few outputs, groups, stride": ((2, 20, 7, 31), (8, 3, 3), params(stride=(1, 2), padding=(1, 1), groups=2)),
    "few inputs, several bands": ((1, 2, 150, 120), (17, 3, 3), params(padding=(1, 1))),
    "small planes, several in a block": ((37, 20, 4, 4), (24, 3, 3), params(padding=(1, 1))),
    "odd planes, several in a block": ((9, 33, 7, 7), (70, 3, 3), params(padding=(1, 1))),
    "sixteen channels": ((2, 16, 12, 15), (16, 3, 3), params(padding=(1, 1))),
    "rows of one image in several blocks": ((1, 16, 5, 130), (49, 3, 3), params(padding=(0, 1))),
    "colour": ((2, 3, 10, 11), (33, 5, 5), params(padding=(2, 2))),
    "no padding": ((2, 5, 8, 8), (7, 3, 2), params()),
    "pointwise": ((2, 20, 6, 5), (40, 1, 1), params()),
    "pointwise, planes": ((2, 20, 9, 10), (40, 1, 1), params()),
    "pointwise, groups of planes": ((3, 36, 8, 9), (30, 1, 1), params(groups=2)),
    "pointwise stride": ((2, 20, 7, 5), (10, 1, 1), params(stride=(2, 2))),
    "pointwise, as large by padding": ((1, 20, 3, 3), (16, 1, 1), params(stride=(3, 2), padding=(3, 1))),
    "one channel, as large by padding": ((2, 1, 3, 3), (16, 1, 1), params(stride=(3, 2), padding=(3, 1))),
    "stride 2": ((2, 6, 9, 11), (17, 3, 3), params(stride=(2, 2), padding=(1, 1))),
    "stride 3 beyond the kernel": ((1, 4, 11, 12), (5, 2, 2), params(stride=(3, 4))),
    "dilation": ((2, 4, 12, 13), (6, 3, 3), params(padding=(2, 2), dilation=(2, 2))),
    "rectangular": ((2, 4, 9, 14), (6, 1, 5), params(stride=(1, 2), padding=(0, 3), dilation=(1, 2))),
    "dilation 2 stride 2": ((1, 3, 13, 15), (4, 3, 3), params(stride=(2, 2), padding=(1, 2), dilation=(2, 2))),
    "dilation 2 stride 3": ((1, 3, 15, 17), (4, 4, 3), params(stride=(3, 2), padding=(3, 1), dilation=(2, 3))),
    "groups, stride beyond the kernel": ((2, 4, 9, 8), (6, 2, 2), params(stride=(3, 4), groups=2)),
    "groups, strides that dilation meets": ((2, 3, 5, 9), (6, 3, 4), params((1, 2), (3, 1), (1, 2), groups=3)),
    "groups": ((2, 8, 7, 7), (12, 3, 3), params(padding=(1, 1), groups=4)),
    "depthwise": ((2, 6, 8, 8), (6, 3, 3), params(padding=(1, 1), groups=6)),
    "depthwise stride": ((2, 40, 9, 9), (80, 3, 3), params(stride=(2, 2), padding=(1, 1), groups=40)),
    "more padding than kernel": ((1, 2, 4, 5), (3, 2, 2), params(padding=(3, 2))),
    "one pixel": ((4, 18, 1, 1), (20, 3, 3), params(padding=(1, 1))),
    "whole image": ((5, 3, 6, 6), (4, 6, 6), params()),
    "wide row": ((1, 2, 3, 50), (34, 3, 3), params(padding=(1, 1))),
    "empty batch": ((0, 3, 6, 6), (4, 3, 3), params()),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("last", [False, True], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("case", CASES)
def test_convolution(case, last, dtype):
    shape, (out, kh, kw), settings = CASES[case]
    x = normal(shape, dtype)
    weight = normal((out, shape[1] // settings["groups"], kh, kw), dtype, 1)
    check(channels_last(x) if last else x, weight, normal((out,), dtype, 2), dtype, **settings)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_any_strides(dtype):
    x = normal((4, 9, 10, 6), dtype).transpose(0, 3, 2, 1)[::2]  # neither order, gaps between images
    weight = normal((5, 3, 6, 3), dtype, 1).transpose(0, 2, 3, 1)[..., ::-1]
    settings = params(padding=(1, 1))
    expected = reference(x, weight, None, None, **settings)
    y, saved = _native.conv2d(x, weight, None, **settings)
    close(y, expected, dtype)
    g = np.broadcast_to(np.asarray(0.5, dtype), y.shape)
    _, *grads = reference(x, weight, None, g, **settings)
    for a, e in zip(_native.conv2d_vjp(g, *saved, needs=(True, True, True), **settings), grads, strict=True):
        close(a, e, dtype)


def test_one_channel_of_any_strides():
    settings = params()
    for x in (normal((2, 1, 12, 9), "float32").swapaxes(2, 3), normal((2, 1, 9, 30), "float32")[..., ::-2]):
        weight = normal((32, 1, 3, 3), "float32", 1)
        y, saved = _native.conv2d(x, weight, None, **settings)
        g = normal(y.shape, "float32", 2)
        expected = reference(x, weight, None, g, **settings)
        close(y, expected[0], "float32")
        for order in (g, channels_last(g), np.repeat(channels_last(g), 2, axis=3)[..., ::2]):
            grads = _native.conv2d_vjp(order, *saved, needs=(True, True, True), **settings)
            for a, e in zip(grads, expected[1:], strict=True):
                close(a, e, "float32")


@pytest.mark.parametrize("last", [False, True], ids=["nchw", "nhwc"])
def test_big_images_are_cut_into_bands(last):
    x, weight = normal((2, 24, 60, 64), "float32"), normal((40, 24, 3, 3), "float32", 1)
    check(channels_last(x) if last else x, weight, normal((40,), "float32", 2), "float32", **params(padding=(1, 1)))


def test_one_channel_comes_out_channels_last_unless_there_are_few():
    x, weight = normal((2, 1, 6, 6), "float32"), normal((9, 1, 3, 3), "float32")
    assert is_channels_last(_native.conv2d(x, weight, None, **params())[0])
    assert _native.conv2d(x, weight[:8], None, **params())[0].flags.c_contiguous


def test_only_what_is_needed():
    x, weight = normal((2, 3, 6, 6), "float32"), normal((4, 3, 3, 3), "float32", 1)
    y, saved = _native.conv2d(x, weight, None, **params())
    assert _native.conv2d_vjp(y, *saved, needs=(False, False, False), **params()) == (None, None, None)
    gx, gw, gb = _native.conv2d_vjp(y, *saved, needs=(True, False, False), **params())
    assert gx.shape == x.shape and gw is None and gb is None


def test_thread_count_changes_no_bit():
    settings = params(padding=(1, 1))
    cases = [
        ((16, 16, 14, 14), (48, 16, 3, 3)),
        ((16, 1, 28, 28), (32, 1, 3, 3)),
        ((1, 8, 70, 70), (8, 8, 3, 3)),
        ((9, 20, 9, 9), (30, 20, 2, 2)),
        ((9, 3, 40, 36), (20, 3, 3, 3)),
        ((9, 70, 4, 5), (40, 70, 3, 3)),
    ]
    results = []
    for threads in (1, 2, 3):
        _native.set_num_threads(threads)
        row = []
        for shape, kernel in cases:
            x, weight = normal(shape, "float32"), normal(kernel, "float32", 1)
            how = settings | {"groups": shape[1] // kernel[1]}
            y, saved = _native.conv2d(x, weight, normal(kernel[:1], "float32", 2), **how)
            grads = _native.conv2d_vjp(normal(y.shape, "float32", 3), *saved, needs=(True, True, True), **how)
            row += [a.tobytes() for a in (y, *grads)]
        results.append(row)
    _native.set_num_threads(2)
    assert results[0] == results[1] == results[2]


def test_other_dtypes_and_wrong_shapes():
    i = np.ones((1, 1, 3, 3), "int64")
    assert _native.conv2d(i, i, None, **params()) is NotImplemented
    x = np.ones((1, 2, 4, 4), "float32")
    with pytest.raises(ValueError, match=r"\[conv2d\]"):
        _native.conv2d(x, np.ones((1, 3, 3, 3), "float32"), None, **params())
    with pytest.raises(ValueError, match="does not fit"):
        _native.conv2d(x, np.ones((1, 2, 5, 5), "float32"), None, **params())


@pytest.mark.parametrize("outs", [1, 2, 5, 9])
@pytest.mark.parametrize("batch", [1, 3])
def test_a_pointwise_kernel_on_one_channel(batch, outs):
    x = np.arange(batch * 6, dtype=np.float32).reshape(batch, 1, 2, 3)
    weight = np.arange(1, outs + 1, dtype=np.float32).reshape(outs, 1, 1, 1)
    y, _ = _native.conv2d(x, weight, None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1)
    np.testing.assert_array_equal(y, x * weight[:, 0])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("order", [np.ascontiguousarray, channels_last], ids=["row-major", "channels-last"])
@pytest.mark.parametrize("dilation", [(2, 2), (3, 1), (1, 2), (2, 3)], ids=str)
def test_dilation_is_a_kernel_with_zeros_between(dilation, order, dtype):
    x, weight, bias = order(normal((3, 20, 25, 22), dtype)), normal((24, 20, 3, 3), dtype, 1), normal((24,), dtype, 2)
    dy, dx = dilation
    spread = np.zeros((24, 20, 2 * dy + 1, 2 * dx + 1))
    spread[:, :, ::dy, ::dx] = weight
    how = {"stride": (1, 1), "padding": (dy, 1), "groups": 1}
    y, saved = _native.conv2d(x, weight, bias, dilation=dilation, **how)
    expected, wide = _native.conv2d(x.astype(float), spread, bias.astype(float), dilation=(1, 1), **how)
    assert [s // y.itemsize for s in y.strides] == [s // 8 for s in expected.strides]
    g = order(normal(y.shape, dtype, 3))
    found = _native.conv2d_vjp(g, *saved, needs=(True, True, True), dilation=dilation, **how)
    gx, gw, gb = _native.conv2d_vjp(g.astype(float), *wide, needs=(True, True, True), dilation=(1, 1), **how)
    for a, e in zip((y, *found), (expected, gx, gw[:, :, ::dy, ::dx], gb), strict=True):
        np.testing.assert_allclose(a, e, rtol=0, atol={"float32": 2e-6, "float64": 1e-13}[dtype] * np.abs(e).max())
