"""Convolutions, pooling and resizing in ONNX."""

from __future__ import annotations

from math import ceil, floor
from typing import Any

import numpy as np

from ... import nn
from ...domain.errors import NotSupportedError
from ...nn.conv import PADDING_MODES, each
from .exporters import Value, Writer, exporter

MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def at_ends(flat: Any, axes: int) -> tuple[list[int], list[int]]:
    """What comes before and after each axis, of (before, after) of the last axis first."""
    before, after = [0] * axes, [0] * axes
    for i in range(len(flat) // 2):
        before[axes - 1 - i], after[axes - 1 - i] = flat[2 * i], flat[2 * i + 1]
    return before, after


def padded(w: Writer, x: Any, ndim: int, flat: Any, mode: str = "constant", value: float = 0.0) -> Any:
    """x with more at the ends: (before, after) of the last axis first."""
    before, after = at_ends(flat, ndim)
    if mode == "circular" and w.opset < 19:  # Pad knows it since then
        for axis in range(ndim):
            b, a = before[axis], after[axis]
            parts = [w.slice(x, axis, -b, 1 << 62)] if b else []
            parts += [x, w.slice(x, axis, 0, a)] if a else [x]
            x = w.node("Concat", parts, axis=axis) if len(parts) > 1 else x
        return x
    pads = w.integers(*before, *after)
    if mode == "constant":
        return w.node("Pad", [x, pads, w.constant(np.asarray(value, np.float32))] if value else [x, pads])
    return w.node("Pad", [x, pads], mode=MODES[mode])


@exporter(nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.DepthwiseConv1d, nn.DepthwiseConv2d)
def _(w: Writer, layer: Any, x: Value) -> Any:
    y: Any = x
    if layer._before is not None:
        y = padded(w, x, x.ndim, layer._before, PADDING_MODES[layer.padding_mode])
    around = [*each(layer._around)]
    return w.node(
        "Conv", [y, w.tensor(layer.weight), w.tensor(layer.bias)], kernel_shape=[*each(layer.kernel_size)],
        strides=[*each(layer.stride)], dilations=[*each(layer.dilation)], pads=around * 2, group=layer.groups,
    )  # fmt: skip


@exporter(nn.SeparableConv1d, nn.SeparableConv2d, composite=True)
def _(w: Writer, layer: Any, x: Value) -> Any:
    return w.call(layer.pointwise, w.call(layer.depthwise, x))


@exporter(nn.ConvTranspose1d, nn.ConvTranspose2d)
def _(w: Writer, layer: Any, x: Value) -> Any:
    padding, more, cut = (list(part) for part in zip(*layer._pads, strict=True))
    return w.node(
        "ConvTranspose", [x, w.tensor(layer.weight), w.tensor(layer.bias)], kernel_shape=[*each(layer.kernel_size)],
        strides=[*each(layer.stride)], dilations=[*each(layer.dilation)], group=layer.groups, output_padding=more,
        pads=[*padding, *(p + c for p, c in zip(padding, cut, strict=True))],
    )  # fmt: skip


@exporter(nn.MaxPool1d, nn.MaxPool2d)
def _(w: Writer, layer: Any, x: Value) -> Any:
    names = w.node(
        "MaxPool", [x], 2 if layer.return_indices else 1, kernel_shape=[*each(layer.kernel_size)],
        strides=[*each(layer.stride)], dilations=[*each(layer.dilation)], pads=[*each(layer.padding)] * 2,
        ceil_mode=int(layer.ceil_mode),
    )  # fmt: skip
    return (names[0], within(w, x, names[1])) if layer.return_indices else names


def within(w: Writer, x: Value, places: str) -> str:
    """Places in the whole tensor as places in their channel."""
    size = w.constant(np.asarray(np.prod(x.shape[2:]), np.int64))
    return str(w.node("Mod", [places, size]))


@exporter(nn.AvgPool1d, nn.AvgPool2d)
def _(w: Writer, layer: Any, x: Value) -> Any:
    kernel, stride, pads = ([*each(v)] for v in (layer.kernel_size, layer.stride, layer.padding))
    return w.node(
        "AveragePool", [x], kernel_shape=kernel, strides=stride, pads=pads * 2, ceil_mode=int(layer.ceil_mode),
        count_include_pad=int(layer.count_include_pad),
    )  # fmt: skip


@exporter(nn.LPPool1d, nn.LPPool2d)
def _(w: Writer, layer: Any, x: Value) -> Any:
    kernel, stride = [*each(layer.kernel_size)], [*each(layer.stride)]
    p = w.constant(float(layer.norm_type), x)
    mean = w.node(
        "AveragePool", [w.node("Pow", [x, p])], kernel_shape=kernel, strides=stride, ceil_mode=int(layer.ceil_mode)
    )
    total = w.node("Mul", [mean, w.constant(float(np.prod(kernel)), x)])
    return w.node("Pow", [total, w.constant(1 / layer.norm_type, x)])


@exporter(nn.GlobalAvgPool2d)
def _(w: Writer, layer: Any, x: Value) -> Any:
    return w.node("GlobalAveragePool", [x])


@exporter(nn.GlobalMaxPool2d)
def _(w: Writer, layer: Any, x: Value) -> Any:
    return w.node("GlobalMaxPool", [x])


@exporter(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d)
def _(w: Writer, layer: Any, x: Value) -> Any:
    if getattr(layer, "return_indices", False):
        raise NotSupportedError("[to_onnx] an adaptive maximum with return_indices")
    op = "ReduceMax" if isinstance(layer, (nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d)) else "ReduceMean"
    y: Any = x
    wanted = [x.shape[i + 2] if n is None else n for i, n in enumerate(layer.output_size)]
    sizes = x.shape[2:]
    if all(n == 1 for n in wanted):
        return w.node("GlobalMaxPool" if op == "ReduceMax" else "GlobalAveragePool", [x])
    if all(m % n == 0 for m, n in zip(sizes, wanted, strict=True)):
        kernel = [m // n for m, n in zip(sizes, wanted, strict=True)]
        return w.node("MaxPool" if op == "ReduceMax" else "AveragePool", [x], kernel_shape=kernel, strides=kernel)
    for axis, (m, n) in enumerate(zip(sizes, wanted, strict=True), 2):
        cuts = [(floor(i * m / n), ceil((i + 1) * m / n)) for i in range(n)]
        parts = [w.reduce(op, w.slice(y, axis, a, b), [axis]) for a, b in cuts]
        y = w.node("Concat", parts, axis=axis) if len(parts) > 1 else parts[0]
    return y


@exporter(nn.Upsample)
def _(w: Writer, layer: Any, x: Value) -> Any:
    axes = x.ndim - 2
    if layer.size is not None:
        sizes = [layer.size] * axes if isinstance(layer.size, int) else [layer.size[i] for i in range(axes)]
        shape = w.node("Slice", [w.node("Shape", [x]), w.integers(0), w.integers(2)])
        given = [x, None, None, w.node("Concat", [shape, w.integers(*sizes)], axis=0)]
        exact = all(n % m == 0 for n, m in zip(sizes, x.shape[2:], strict=True))
    else:
        factors = (
            [*each(layer.scale_factor)]
            if isinstance(layer.scale_factor, (tuple, list))
            else [layer.scale_factor] * axes
        )
        given = [x, None, w.constant(np.array([1, 1, *factors], np.float32))]
        exact = True
    if layer.mode == "nearest":
        return w.node(
            "Resize", given, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"
        )
    how = "align_corners" if layer.align_corners else "half_pixel" if exact else "pytorch_half_pixel"
    return w.node("Resize", given, mode="linear", coordinate_transformation_mode=how)


@exporter(nn.PixelShuffle)
def _(w: Writer, layer: Any, x: Value) -> Any:
    return w.node("DepthToSpace", [x], blocksize=layer.upscale_factor, mode="CRD")


@exporter(nn.PixelUnshuffle)
def _(w: Writer, layer: Any, x: Value) -> Any:
    (_, c, h, wide), r = x.shape, layer.downscale_factor
    y = w.reshape(x, -1, c, h // r, r, wide // r, r)
    return w.reshape(w.transpose(y, 0, 1, 3, 5, 2, 4), -1, c * r * r, h // r, wide // r)
