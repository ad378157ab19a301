"""The convolution room on a GPU: what each axis of a convolution, and of its gradients, reads and writes."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from itertools import product
from typing import Any, NamedTuple

from ..array import DeviceArray
from ..gpu import Gpu, divisor
from ..sources import ALL, FLOATS, NAMES, c_name, declare
from . import Kernels
from .gemm import kind_of, tiles
from .reduce import total

KERNELS = Kernels()
FEW = 4  # channels and filters of a group, up to which a product is not worth it
TILES = {"float32": (64, 128), "float64": (64,), "float16": (64, 128), "bfloat16": (64, 128), "tf32": (64, 128)}

declare("conv", *(f"unwindow<{NAMES[d]}>" for d in ALL))
declare(
    "conv",
    *(
        f"{k}<{NAMES.get(d, d)}, {n}>"
        for k in ("convolution", "weight_gradient")
        for d, sides in TILES.items()
        for n in sides
    ),
)
declare("conv", *(f"{kernel}<{NAMES[d]}>" for kernel in ("combined", "direct", "direct_weight") for d in FLOATS))


class Axis(NamedTuple):
    """As in native/conv/cuda.cu."""

    out: int
    n: int
    taps: int
    step: int
    tap_step: int
    first: int
    to_step: int = 1
    to_first: int = 0
    w_step: int = 1
    w_first: int = 0


def forward(n: int, size: int, stride: int, padding: int, dilation: int) -> Axis:
    """An axis of ``n`` elements under windows of ``size``."""
    out = (n + 2 * padding - dilation * (size - 1) - 1) // stride + 1
    return Axis(out, n, size, stride, dilation, -padding)


def backward(n: int, out: int, size: int, stride: int, padding: int, dilation: int) -> Iterator[Axis]:
    """The gradient along such an axis, which reads ``out`` elements: for each residue of place + padding modulo the stride, a
    convolution with the taps that meet it, last first."""
    common = math.gcd(stride, dilation)
    for residue in range(stride):
        start = (residue - padding) % stride
        count = -(-(n - start) // stride)
        if count <= 0:
            continue
        taps = [t for t in range(size) if t * dilation % stride == residue]
        if taps:
            first = (start + padding - taps[-1] * dilation) // stride  # exact
            yield Axis(
                count, out, len(taps), 1, dilation // common, first, stride, start, -(stride // common), taps[-1]
            )
        else:
            yield Axis(count, out, 0, 1, 1, 0, stride, start)


def packed(axes: Any, images: int, ins: int, outs: int, groups: int, x: Any, y: Any, w: Any, parts: Any) -> bytes:
    """A Convolution: the steps of x, y and the weight (group, out, in, row)."""
    rows, columns = axes
    by = (rows.out * columns.out, columns.out, rows.taps * columns.taps, columns.taps)
    divisors = [divisor(max(n, 1)) for n in by]
    return struct.pack("42q", *rows, *columns, images, ins, outs, groups, *x, *y, *w, *divisors, *parts)


def too_large(*arrays: DeviceArray) -> bool:
    """Whether places in them take more than 32 bits."""
    return any((a.extent()[1] - a.extent()[0]) // a.itemsize >= 1 << 31 for a in arrays)


def fits(x: DeviceArray, weight: DeviceArray, bias: DeviceArray | None) -> bool:
    """Whether the kernels are for these dtypes."""
    return x.dtype.name in FLOATS and all(v is None or v.dtype == x.dtype for v in (weight, bias))


def convolved(
    gpu: Gpu, x: DeviceArray, weight: DeviceArray, bias: Any, y: DeviceArray, kinds: Any, groups: int, flipped: bool
) -> DeviceArray:
    """Write the convolutions that pairs of axes name to ``y``. ``flipped``: from filters to channels, as the gradient goes."""
    weight = gpu.dense(weight)
    filters, channels, r, s = weight.shape
    ins, outs, w_in, w_out = channels, filters // groups, r * s, channels * r * s
    if flipped:
        ins, outs, w_in, w_out = outs, ins, w_out, w_in
    bias = None if bias is None else gpu.dense(bias)
    name, how, steps = c_name(x.dtype), kind_of(x), (filters // groups * channels * r * s, w_out, w_in, s)
    for axes in kinds:
        pixels = x.shape[0] * axes[0].out * axes[1].out
        depth = ins * axes[0].taps * axes[1].taps
        given = (axes, x.shape[0], ins, outs, groups, x.steps, y.steps[:3], steps)
        if max(ins, outs) <= FEW:
            shape = packed(*given, (1, depth, y.size))
            gpu.each(
                "conv", f"direct<{name}>", pixels * groups * outs, y, x, weight, bias, shape, pixels * groups * outs
            )
            continue
        plan = tiles(how, outs, pixels, depth, groups, gpu.properties.multiprocessors, TILES[how], len(kinds) == 1)
        shape = packed(*given, (plan.parts, plan.chunk, y.size))
        instance = f"convolution<{NAMES.get(how, how)}, {plan.tile}>"
        if plan.parts == 1:
            gpu.launch("conv", instance, plan.blocks, plan.threads, y, None, x, weight, bias, shape)
            continue
        sums = gpu.empty((plan.parts * y.size,), plan.sums)
        gpu.launch("conv", instance, plan.blocks, plan.threads, None, sums, x, weight, None, shape)
        inner = y.shape[2] * y.shape[3]
        gpu.each("conv", f"combined<{name}>", y.size, y, sums, bias, inner, y.shape[1], plan.parts, y.size)
    return y


def forward_axes(shape: Any, weight: DeviceArray, stride: Any, padding: Any, dilation: Any) -> tuple[Axis, Axis]:
    """Both axes of the convolution of images of a shape."""
    sizes = zip(shape[2:], weight.shape[2:], stride, padding, dilation, strict=True)
    rows, columns = (forward(*size) for size in sizes)
    return rows, columns


def images_back(
    gpu: Gpu, g: DeviceArray, weight: DeviceArray, bias: Any, y: DeviceArray, stride: Any, padding: Any, dilation: Any,
    groups: int,
) -> DeviceArray:  # fmt: skip
    """Write to ``y`` what the convolution of it would get as its gradient."""
    if y.size:
        sizes = zip(y.shape[2:], g.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True)
        kinds = [*product(*(backward(*size) for size in sizes))]
        convolved(gpu, g, weight, bias, y, kinds, groups, True)
    return y


def weight_back(
    gpu: Gpu, g: DeviceArray, x: DeviceArray, weight: DeviceArray, stride: Any, padding: Any, dilation: Any, groups: int
) -> DeviceArray:
    """The gradient of the weight."""
    gw = gpu.empty(weight.shape, x.dtype)
    if not gw.size:
        return gw
    g = gpu.dense(g)
    filters, ins, r, s = weight.shape
    outs, name, how = filters // groups, c_name(x.dtype), kind_of(x)
    axes = forward_axes(x.shape, weight, stride, padding, dilation)
    given = axes, x.shape[0], ins, outs, groups, x.steps, g.steps[:3], (0, 0, 0, 0)
    pixels = x.shape[0] * g.shape[2] * g.shape[3]
    if max(ins, outs) <= FEW:
        gpu.launch("conv", f"direct_weight<{name}>", gw.size, 256, gw, x, g, packed(*given, (1, pixels, gw.size)))
        return gw
    multiprocessors, sides = gpu.properties.multiprocessors, TILES[how]
    plan = tiles(how, outs, ins * r * s, pixels, groups, multiprocessors, sides, True)
    shape = packed(*given, (plan.parts, plan.chunk, gw.size))
    instance = f"weight_gradient<{NAMES.get(how, how)}, {plan.tile}>"
    if plan.parts == 1:
        gpu.launch("conv", instance, plan.blocks, plan.threads, gw, None, x, g, shape)
        return gw
    sums = gpu.empty((plan.parts * gw.size,), plan.sums)
    gpu.launch("conv", instance, plan.blocks, plan.threads, None, sums, x, g, shape)
    gpu.each("conv", f"combined<{name}>", gw.size, gw, sums, None, 1, 1, plan.parts, gw.size)
    return gw


@KERNELS("conv2d")
def conv2d(
    gpu: Gpu, x: DeviceArray, weight: DeviceArray, bias: DeviceArray | None, *, stride: Any, padding: Any, dilation: Any,
    groups: int,
) -> Any:  # fmt: skip
    if not fits(x, weight, bias):
        return NotImplemented
    axes = forward_axes(x.shape, weight, stride, padding, dilation)
    y = gpu.empty((x.shape[0], weight.shape[0], axes[0].out, axes[1].out), x.dtype)
    if too_large(x, weight, y):
        return NotImplemented
    if y.size:
        convolved(gpu, x, weight, bias, y, [axes], groups, False)
    return y, (x, weight)


@KERNELS("conv2d_vjp")
def conv2d_vjp(
    gpu: Gpu, g: DeviceArray, x: DeviceArray, weight: DeviceArray, *, needs: Any, stride: Any, padding: Any, dilation: Any,
    groups: int,
) -> Any:  # fmt: skip
    sizes = stride, padding, dilation, groups
    gx = images_back(gpu, g, weight, None, gpu.empty(x.shape, x.dtype), *sizes) if needs[0] else None
    gw = weight_back(gpu, g, x, weight, *sizes) if needs[1] else None
    return gx, gw, total(gpu, g, op="Sum", axis=(0, 2, 3)) if needs[2] else None


@KERNELS("conv_transpose2d")
def conv_transpose2d(
    gpu: Gpu, x: DeviceArray, weight: DeviceArray, bias: DeviceArray | None, *, stride: Any, padding: Any,
    output_padding: Any, groups: int, dilation: Any,
) -> Any:  # fmt: skip
    """The gradient of x of a convolution, as an op; what its windows would not reach is left to the body."""
    if not fits(x, weight, bias) or any(o >= s for o, s in zip(output_padding, stride, strict=True)) or not x.size:
        return NotImplemented
    sizes = zip(x.shape[2:], weight.shape[2:], stride, padding, output_padding, dilation, strict=True)
    shape = [(n - 1) * s - 2 * p + d * (k - 1) + o + 1 for n, k, s, p, o, d in sizes]
    y = gpu.empty((x.shape[0], weight.shape[1] * groups, *shape), x.dtype)
    if too_large(x, weight, y):
        return NotImplemented
    return images_back(gpu, x, weight, bias, y, stride, padding, dilation, groups), (x, weight)


@KERNELS("conv_transpose2d_vjp")
def conv_transpose2d_vjp(
    gpu: Gpu, g: DeviceArray, x: DeviceArray, weight: DeviceArray, *, needs: Any, stride: Any, padding: Any,
    output_padding: Any, groups: int, dilation: Any,
) -> Any:  # fmt: skip
    sizes = stride, padding, dilation
    gx = None
    if needs[0]:
        axes = forward_axes(g.shape, weight, *sizes)
        gx = convolved(gpu, g, weight, None, gpu.empty(x.shape, x.dtype), [axes], groups, False)
    gw = weight_back(gpu, x, g, weight, *sizes, groups) if needs[1] else None
    return gx, gw, total(gpu, g, op="Sum", axis=(0, 2, 3)) if needs[2] else None


@KERNELS("unwindow")
def unwindow(gpu: Gpu, x: DeviceArray, *, shape: Any, stride: Any, dilation: Any) -> Any:
    y = gpu.empty(tuple(shape), x.dtype)
    packed = struct.pack("16q", *shape[2:], *x.shape[2:], *stride, *dilation, *x.steps)
    gpu.each("conv", f"unwindow<{c_name(x.dtype)}>", y.size, y, x, packed, shape[1], y.size)
    return y
