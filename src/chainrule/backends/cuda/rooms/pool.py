"""The pooling room on a GPU, and interpolation: images made smaller and larger."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from ..array import DeviceArray
from ..gpu import Gpu, divisor
from ..sources import FLOATS, NAMES, c_name, declare
from . import Kernels

KERNELS = Kernels()
INT64, BYTE, WORD = (
    np.dtype(np.int64),
    np.dtype(np.uint8),
    np.dtype(np.int32),
)  # taps are numbered by a byte where that will do

declare("pool", *(f"max_{way}ward<{NAMES[d]}, {number}>" for way in ("for", "back") for d in FLOATS
                  for number in ("uint8_t", "int32_t")))  # fmt: skip
MEANS = ("mean_forward", "mean_backward", "interpolate", "interpolate_backward")
ADAPTIVE = ("adaptive_max", "adaptive_max_backward", "adaptive_mean", "adaptive_mean_backward")
declare("pool", *(f"{kernel}<{NAMES[d]}>" for kernel in (*MEANS, *ADAPTIVE) for d in FLOATS))


def counts(n: int, size: int, stride: int, padding: int, dilation: int, ceil_mode: bool) -> int:
    """How many windows there are along an axis."""
    room = n + 2 * padding - dilation * (size - 1) - 1
    count = room // stride + 1
    return count + (ceil_mode and room % stride > 0 and count * stride < n + padding)


class Windows:
    """Windows over images of a shape; ``packed`` is a Pool of native/pool/cuda.cu."""

    def __init__(
        self, shape: tuple[int, ...], kernel_size: Any, stride: Any, padding: Any, dilation: Any = (1, 1),
        ceil_mode: bool = False, padded: bool = False,
    ) -> None:  # fmt: skip
        self.shape, self.sizes, self.padded = shape, (kernel_size, stride, padding, dilation), padded
        axes = zip(shape[2:], *self.sizes, strict=True)
        self.out = (*shape[:2], *(counts(*axis, ceil_mode) for axis in axes))
        self.number = BYTE if kernel_size[0] * kernel_size[1] <= 256 else WORD

    def packed(self, steps: tuple[int, ...], made: tuple[int, ...]) -> bytes:
        """``steps`` are those of x, ``made`` is the shape of what a kernel makes."""
        by = [divisor(max(n, 1)) for n in made[1:]]
        sizes = [n for pair in self.sizes for n in pair]
        return struct.pack("21q", *self.shape[1:], *self.out[2:], *sizes, int(self.padded), *steps, *by)


def images(x: DeviceArray) -> bool:
    """Whether the kernels are for it: floats, and no more of them than 32 bits count."""
    return x.dtype.name in FLOATS and x.size < 1 << 31


def shaped(gpu: Gpu, shape: tuple[int, ...]) -> DeviceArray:
    """No elements, in a shape that a gradient will want to know: nothing is copied to the GPU for it."""
    return gpu.empty((0, *shape), BYTE)


def largest(gpu: Gpu, x: DeviceArray, windows: Windows, number: Any, place: Any) -> DeviceArray:
    """The largest elements."""
    y = gpu.empty(windows.out, x.dtype)
    kind = "int32_t" if windows.number is WORD else "uint8_t"
    given = [v for v in (number, place) if v is not None]
    gpu.each(
        "pool", f"max_forward<{c_name(x.dtype)}, {kind}>", y.size, y, number, place, x, windows.packed(x.steps, y.shape),
        y.size, writes=1 + len(given),
    )  # fmt: skip
    return y


@KERNELS("max_pool2d")
def max_pool2d(gpu: Gpu, x: DeviceArray, **sizes: Any) -> Any:
    if not images(x):
        return NotImplemented
    windows = Windows(x.shape, **sizes)
    number = gpu.empty(windows.out, windows.number)
    return largest(gpu, x, windows, number, None), (number, shaped(gpu, x.shape))


@KERNELS("max_pool2d_with_indices")
def max_pool2d_with_indices(gpu: Gpu, x: DeviceArray, **sizes: Any) -> Any:
    if not images(x):
        return NotImplemented
    windows = Windows(x.shape, **sizes)
    place = gpu.empty(windows.out, INT64)
    return largest(gpu, x, windows, None, place), place


@KERNELS("max_pool2d_vjp")
def max_pool2d_vjp(
    gpu: Gpu, g: DeviceArray, number: DeviceArray, shape: DeviceArray, *, needs: Any, **sizes: Any
) -> Any:
    windows = Windows(shape.shape[1:], **sizes)
    gx = gpu.empty(windows.shape, g.dtype)
    kind = "int32_t" if windows.number is WORD else "uint8_t"
    packed = windows.packed((0, 0, 0, 0), gx.shape)
    gpu.each("pool", f"max_backward<{c_name(g.dtype)}, {kind}>", gx.size, gx, gpu.dense(g), number, packed, gx.size)
    return (gx,)


@KERNELS("avg_pool2d")
def avg_pool2d(gpu: Gpu, x: DeviceArray, *, count_include_pad: bool, **sizes: Any) -> Any:
    if not images(x):
        return NotImplemented
    windows = Windows(x.shape, padded=count_include_pad, **sizes)
    y = gpu.empty(windows.out, x.dtype)
    gpu.each("pool", f"mean_forward<{c_name(x.dtype)}>", y.size, y, x, windows.packed(x.steps, y.shape), y.size)
    return y, (shaped(gpu, x.shape),)


@KERNELS("avg_pool2d_vjp")
def avg_pool2d_vjp(
    gpu: Gpu, g: DeviceArray, shape: DeviceArray, *, needs: Any, count_include_pad: bool, **sizes: Any
) -> Any:
    windows = Windows(shape.shape[1:], padded=count_include_pad, **sizes)
    gx = gpu.empty(windows.shape, g.dtype)
    packed = windows.packed((0, 0, 0, 0), gx.shape)
    gpu.each("pool", f"mean_backward<{c_name(g.dtype)}>", gx.size, gx, gpu.dense(g), packed, gx.size)
    return (gx,)


def divided(shape: tuple[int, ...], out: Any, steps: tuple[int, ...], made: tuple[int, ...]) -> bytes:
    """A Pool of windows that divide images among their number, which ``out`` ends with."""
    by = [divisor(max(n, 1)) for n in made[1:]]
    return struct.pack("21q", *shape[1:], *out, *[0] * 9, *steps, *by)


@KERNELS("adaptive_max_pool2d_with_indices")
def adaptive_max_pool2d_with_indices(gpu: Gpu, x: DeviceArray, *, output_size: Any) -> Any:
    if not images(x):
        return NotImplemented
    y = gpu.empty((*x.shape[:2], *output_size), x.dtype)
    place = gpu.empty(y.shape, INT64)
    windows = divided(x.shape, output_size, x.steps, y.shape)
    gpu.each("pool", f"adaptive_max<{c_name(x.dtype)}>", y.size, y, place, x, windows, y.size, writes=2)
    return (y, place), (place, shaped(gpu, x.shape))


@KERNELS("adaptive_max_pool2d")
def adaptive_max_pool2d(gpu: Gpu, x: DeviceArray, *, output_size: Any) -> Any:
    found = adaptive_max_pool2d_with_indices(gpu, x, output_size=output_size)
    return found if found is NotImplemented else (found[0][0], found[1])


@KERNELS("adaptive_max_pool2d_vjp")
def adaptive_max_pool2d_vjp(
    gpu: Gpu, g: DeviceArray, place: DeviceArray, shape: DeviceArray, *, needs: Any, output_size: Any
) -> Any:
    gx = gpu.empty(shape.shape[1:], g.dtype)
    windows = divided(gx.shape, output_size, (0, 0, 0, 0), gx.shape)
    kernel = f"adaptive_max_backward<{c_name(g.dtype)}>"
    gpu.each("pool", kernel, gx.size, gx, gpu.dense(g), place, windows, gx.size)
    return (gx,)


@KERNELS("adaptive_max_pool2d_with_indices_vjp")
def adaptive_max_pool2d_with_indices_vjp(gpu: Gpu, g: DeviceArray, _: Any, *saved: DeviceArray, **params: Any) -> Any:
    return adaptive_max_pool2d_vjp(gpu, g, *saved, **params)


@KERNELS("adaptive_avg_pool2d")
def adaptive_avg_pool2d(gpu: Gpu, x: DeviceArray, *, output_size: Any) -> Any:
    if not images(x):
        return NotImplemented
    y = gpu.empty((*x.shape[:2], *output_size), x.dtype)
    windows = divided(x.shape, output_size, x.steps, y.shape)
    gpu.each("pool", f"adaptive_mean<{c_name(x.dtype)}>", y.size, y, x, windows, y.size)
    return y, (shaped(gpu, x.shape),)


@KERNELS("adaptive_avg_pool2d_vjp")
def adaptive_avg_pool2d_vjp(gpu: Gpu, g: DeviceArray, shape: DeviceArray, *, needs: Any, output_size: Any) -> Any:
    gx = gpu.empty(shape.shape[1:], g.dtype)
    windows = divided(gx.shape, output_size, (0, 0, 0, 0), gx.shape)
    gpu.each("pool", f"adaptive_mean_backward<{c_name(g.dtype)}>", gx.size, gx, gpu.dense(g), windows, gx.size)
    return (gx,)


def resized(shape: tuple[int, ...], size: Any, scale_factor: Any, mode: str, align_corners: bool) -> list[bytes]:
    """Two axes of native/pool/cuda.cu; the first of a sequence is one element."""
    kind = 0 if mode == "nearest" else 2 if align_corners else 1
    ratios = [
        n / m if scale_factor is None else 1 / scale_factor[k] for k, (n, m) in enumerate(zip(shape, size, strict=True))
    ]
    axes = [(n, m, kind, ratio) for n, m, ratio in zip(shape, size, ratios, strict=True)]
    return [struct.pack("3qd", *axis) for axis in ([(1, 1, 0, 1.0)] if len(axes) == 1 else []) + axes]


@KERNELS("interpolate")
def interpolate(gpu: Gpu, x: DeviceArray, *, size: Any, **how: Any) -> Any:
    if not images(x) or max(*x.shape[2:], *size) >= 1 << 31:
        return NotImplemented
    y = gpu.empty((*x.shape[:2], *size), x.dtype)
    axes = resized(x.shape[2:], size, **how)
    gpu.each("pool", f"interpolate<{c_name(x.dtype)}>", y.size, y, gpu.dense(x), *axes, y.size)
    return y, (shaped(gpu, x.shape),)


@KERNELS("interpolate_vjp")
def interpolate_vjp(gpu: Gpu, g: DeviceArray, shape: DeviceArray, *, needs: Any, size: Any, **how: Any) -> Any:
    gx = gpu.empty(shape.shape[1:], g.dtype)
    axes = resized(gx.shape[2:], size, **how)
    gpu.each("pool", f"interpolate_backward<{c_name(g.dtype)}>", gx.size, gx, gpu.dense(g), *axes, gx.size)
    return (gx,)
