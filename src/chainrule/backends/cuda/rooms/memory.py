"""The memory room on a GPU: copies, casts, new memory."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..array import DeviceArray
from ..gpu import Gpu, copied, layout, spread
from ..sources import ALL, NAMES, c_name, declare
from . import Kernels

KERNELS = Kernels()

declare("memory", *(f"{kernel}<{n}>" for kernel in ("copy", "fill") for n in (1, 2, 4, 8)))
declare("memory", *(f"cast<{NAMES[to]}, {NAMES[of]}>" for of in ALL for to in ALL))
declare("memory", *(f"arange<{NAMES[d]}, {'double' if 'float' in d else 'int64_t'}>" for d in ALL if d != "bool"))


def bits(value: Any, dtype: Any) -> int:
    """The bits of one element, as a number."""
    with np.errstate(all="ignore"):
        element = np.asarray(value).astype(dtype)
    return int(element.view(f"i{dtype.itemsize}"))


def filled(gpu: Gpu, y: DeviceArray, value: Any) -> DeviceArray:
    """``y``, all of whose elements are now ``value``."""
    word = bits(value, y.dtype)
    if y.dense and y.size and (word == 0 or y.itemsize == 1):
        gpu.driver.fill(gpu.index, y.pointer, word & 0xFF, y.nbytes, gpu.stream)
    else:
        packed, _ = layout(y.shape, y.steps)
        gpu.each("memory", f"fill<{y.itemsize}>", y.size, y, word, packed, y.size)
    return y


@KERNELS("full")
def full(gpu: Gpu, *, shape: Any, value: Any, dtype: Any) -> Any:
    return filled(gpu, gpu.empty(tuple(shape), np.dtype(str(dtype))), value)


@KERNELS("arange")
def arange(gpu: Gpu, *, start: Any, stop: Any, step: Any, dtype: Any) -> Any:
    wanted = np.dtype(str(dtype))
    n = max(0, math.ceil((stop - start) / step))
    y = gpu.empty((n,), wanted)
    real = "float" in wanted.name
    kind, number = ("double", float) if real else ("int64_t", int)
    gpu.each("memory", f"arange<{c_name(wanted)}, {kind}>", n, y, number(start), number(step), n)
    return y


@KERNELS("cast")
def cast(gpu: Gpu, x: DeviceArray, *, dtype: Any) -> Any:
    wanted = np.dtype(str(dtype))
    if wanted == x.dtype:
        return copied(gpu, x)
    y = gpu.empty(x.shape, wanted)
    packed, _ = layout(x.shape, y.steps, x.steps)
    gpu.each("memory", f"cast<{c_name(wanted)}, {c_name(x.dtype)}>", x.size, y, x, packed, x.size)
    return y


@KERNELS("clone")
def clone(gpu: Gpu, x: DeviceArray) -> Any:
    return copied(gpu, x)


@KERNELS("contiguous")
def contiguous(gpu: Gpu, x: DeviceArray) -> Any:
    return x.view(x.shape, x.strides) if x.dense else copied(gpu, x)


def write(gpu: Gpu, place: DeviceArray, v: Any) -> None:
    """Write a number, or an array of the same dtype that broadcasts, to a view."""
    if type(v) is not DeviceArray:
        filled(gpu, place, v)
    elif place.size:
        source = copied(gpu, v) if v.memory is place.memory else v  # they may overlap
        packed, _ = layout(place.shape, place.steps, spread(source, place.shape))
        gpu.each("memory", f"copy<{place.itemsize}>", place.size, place, source, packed, place.size)
