"""The layers in ONNX that Keras has beside the common ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ... import nn
from ...nn.arrange import axes_sizes, same_ends
from ...ops.shape import flip
from .export_images import at_ends, padded
from .exporters import Value, Writer, exporter


@exporter(nn.Pad)
def _(w: Writer, layer: Any, x: Value) -> Any:
    return padded(w, x, x.ndim, layer.pad, layer.mode, layer.value)


@exporter(nn.SamePad)
def _(w: Writer, layer: Any, x: Value) -> Any:
    ends = same_ends(x.example, layer.kernel_size, layer.stride, layer.dilation, "SamePad")
    return padded(w, x, x.ndim, ends, value=layer.value) if any(ends) else x.name


@exporter(nn.SameAvgPool)
def _(w: Writer, layer: Any, x: Value) -> Any:
    axes = x.ndim - 2
    kernel, stride = (axes_sizes("SameAvgPool", "size", v, axes) for v in (layer.kernel_size, layer.stride))
    ends = same_ends(x.example, kernel, stride, 1, "SameAvgPool")
    before, after = at_ends(ends, axes)
    return w.node("AveragePool", [x], kernel_shape=[*kernel], strides=[*stride], pads=before + after)


@exporter(nn.Flip, composite=True)
def _(w: Writer, layer: Any, x: Value) -> Any:
    def flipped(y: Value) -> Value:
        last, end = w.integers(-1), w.integers(-(1 << 62))
        name = w.node("Slice", [y, last, end, w.integers(layer.axis), w.integers(-1)])
        return Value(name, flip(y.example, axis=layer.axis))

    return replace(flipped(x), mask=flipped(x.mask) if x.mask is not None and layer.axis in (0, 1) else x.mask)


@exporter(nn.RepeatVector)
def _(w: Writer, layer: Any, x: Value) -> Any:
    step = w.node("Unsqueeze", [x, w.integers(1)])
    return w.node("Expand", [step, w.integers(1, layer.times, 1)])


@exporter(nn.Rescaling)
def _(w: Writer, layer: Any, x: Value) -> Any:
    y: Any = x
    dtype = x.example.numpy().dtype
    if not x.example.is_floating:
        y, dtype = w.node("Cast", [x], to=1), np.dtype(np.float32)
    y = w.node("Mul", [y, w.constant(np.asarray(layer.scale, dtype))])
    return w.node("Add", [y, w.constant(np.asarray(layer.offset, dtype))])


@exporter(nn.Dot)
def _(w: Writer, layer: Any, x: Value, y: Value) -> Any:
    a, b = layer.axes
    names: list[Any] = [x, y]
    if layer.normalize:
        for i, (value, axis) in enumerate(((x, a), (y, b))):
            total = w.reduce("ReduceSum", w.node("Mul", [value, value]), [axis])
            least = w.node("Max", [total, w.constant(1e-12, value)])
            names[i] = w.node("Div", [value, w.node("Sqrt", [least])])
    left = [i for i in range(1, x.ndim) if i != a]
    right = [i for i in range(1, y.ndim) if i != b]
    rows, columns = [x.shape[i] for i in left], [y.shape[i] for i in right]
    first = w.reshape(w.transpose(names[0], 0, *left, a), 0, int(np.prod(rows)), x.shape[a])
    second = w.reshape(w.transpose(names[1], 0, b, *right), 0, y.shape[b], int(np.prod(columns)))
    return w.reshape(w.node("MatMul", [first, second]), 0, *(rows + columns or [1]))
