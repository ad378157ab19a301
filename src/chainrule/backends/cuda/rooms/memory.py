"""The memory room on a GPU: copies, casts, new memory."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..array import DeviceArray
from ..gpu import Gpu, copied, copy_into, layout
from ..sources import ALL, NAMES, c_name, declare
from . import Kernels

KERNELS = Kernels()

declare("memory", *(f"{kernel}<{n}>" for kernel in ("copy", "fill", "transpose") for n in (1, 2, 4, 8)))
declare("memory", *(f"cast<{NAMES[to]}, {NAMES[of]}>" for of in ALL for to in ALL))
declare("memory", *(f"arange<{NAMES[d]}, {'double' if 'float' in d else 'int64_t'}>" for d in ALL if d != "bool"))


def bits(value: Any, dtype: Any) -> int:
    """The bits of one element, as a number."""
    with np.errstate(all="ignore"):
        element = np.asarray(value).astype(dtype)
    return int(element.view(f"i{dtype.itemsize}"))


def each(gpu: Gpu, kernel: str, where: bytes, itemsize: int, *arguments: Any) -> None:
    """Launch a kernel over elements, the last of ``arguments`` their number, where a Layout says."""
    together = int.from_bytes(where[16:24], "little")
    gpu.each("memory", kernel, -(-arguments[-1] // min(together, 16 // itemsize)), *arguments)


def filled(gpu: Gpu, y: DeviceArray, value: Any) -> DeviceArray:
    """``y``, all of whose elements are now ``value``."""
    word = bits(value, y.dtype)
    if y.dense and y.size and (word == 0 or y.itemsize == 1):
        gpu.driver.fill(gpu.index, y.pointer, word & 0xFF, y.nbytes, gpu.stream)
    else:
        where, _ = layout(y.shape, y.steps)
        each(gpu, f"fill<{y.itemsize}>", where, y.itemsize, y, word, where, y.size)
    return y


@KERNELS("full")
def full(gpu: Gpu, *, shape: Any, value: Any, dtype: Any) -> Any:
    return filled(gpu, gpu.empty(tuple(shape), np.dtype(str(dtype))), value)


@KERNELS("arange")
def arange(gpu: Gpu, *, start: Any, stop: Any, step: Any, dtype: Any) -> Any:
    wanted = np.dtype(str(dtype))
    n = max(0, math.ceil((stop - start) / step))
    whole = type(start) is type(step) is int
    if wanted.kind == "b" or (wanted.kind in "iu" and not whole):
        return cast(
            gpu, arange(gpu, start=start, stop=stop, step=step, dtype="int64" if whole else "float64"), dtype=dtype
        )
    y = gpu.empty((n,), wanted)
    if wanted.kind in "iu":
        gpu.each("memory", f"arange<{c_name(wanted)}, int64_t>", n, y, start, step, n)
    else:  # as NumPy has it, steps are as far apart as the first two elements
        first = float(start)
        gpu.each("memory", f"arange<{c_name(wanted)}, double>", n, y, first, float(start + step) - first, n)
    return y


@KERNELS("cast")
def cast(gpu: Gpu, x: DeviceArray, *, dtype: Any) -> Any:
    wanted = np.dtype(str(dtype))
    if wanted == x.dtype:
        return copied(gpu, x)
    y = gpu.empty(x.shape, wanted)
    where, _ = layout(x.shape, y.steps, x.steps)
    kernel = f"cast<{c_name(wanted)}, {c_name(x.dtype)}>"
    each(gpu, kernel, where, max(x.itemsize, y.itemsize), y, x, where, x.size)
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
        copy_into(gpu, place, copied(gpu, v) if v.memory is place.memory else v)  # they may overlap
