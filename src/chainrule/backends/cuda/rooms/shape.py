"""The shape room on a GPU: views, which cost nothing there, and copies in another order."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from ..array import DeviceArray, row_major
from ..gpu import Gpu, copied, copy_into, layout
from ..sources import declare
from . import Kernels

KERNELS = Kernels()
ROWS = 8  # of a block that makes a triangle

declare("shape", *(f"triangle<{n}>" for n in (1, 2, 4, 8)))


class Stencil:
    """An array of NumPy without memory, to ask which elements an index means."""

    def __init__(self, x: DeviceArray) -> None:
        self.__array_interface__ = {
            "shape": x.shape, "typestr": f"|V{x.itemsize}", "strides": x.strides, "data": (1 << 46, False), "version": 3,
        }  # fmt: skip


@KERNELS("getitem")
def getitem(gpu: Gpu, x: DeviceArray, *, index: Any) -> Any:
    """A view: ``index`` is of integers, slices, None and ``...``."""
    stencil: Any = np.asarray(Stencil(x))
    given = index if type(index) is tuple else (index,)
    if not any(i is Ellipsis for i in given):
        given = (*given, ...)  # or a full index would read
    y = stencil[given]
    return x.view(y.shape, y.strides, y.__array_interface__["data"][0] - (1 << 46) if y.size else 0)


@KERNELS("reshape")
def reshape(gpu: Gpu, x: DeviceArray, *, shape: Any) -> Any:
    """A view where the elements lie so that it can be one, else a copy."""
    shape = completed(x, (shape,) if isinstance(shape, int) else tuple(shape))
    if x.dense:
        return x.view(shape, row_major(shape, x.itemsize))
    strides = reshaped(x, shape)
    if strides is not None:
        return x.view(shape, strides)
    y = copied(gpu, x)
    return DeviceArray(gpu, y.memory, shape, x.dtype)


def completed(x: DeviceArray, shape: tuple[int, ...]) -> tuple[int, ...]:
    """``shape`` with the size in place of a -1. Errors: ValueError if it has not as many elements."""
    if -1 in shape:
        rest = -math.prod(shape)
        shape = tuple(x.size // rest if n == -1 and rest else n for n in shape)
    if math.prod(shape) != x.size or min(shape, default=0) < 0:
        raise ValueError(f"cannot reshape array of size {x.size} into shape {shape}")
    return shape


def reshaped(x: DeviceArray, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """The strides of the view of another shape; None if there is none. Both are split into groups of equal size."""
    old = [(n, s) for n, s in zip(x.shape, x.strides, strict=True) if n != 1]
    strides: list[int] = []
    i = j = 0
    while j < len(shape):
        if shape[j] == 1:
            strides.append(0)
            j += 1
            continue
        group, size, wanted, start = [old[i]], old[i][0], shape[j], j
        i += 1
        j += 1
        while size != wanted:
            if size < wanted:
                group.append(old[i])
                size *= old[i][0]
                i += 1
            else:
                wanted *= shape[j]
                j += 1
        if any(outer != inner * n for (_, outer), (n, inner) in zip(group, group[1:], strict=False)):
            return None
        strides += [group[-1][1] * math.prod(shape[k + 1 : j]) for k in range(start, j)]
    return tuple(strides)


@KERNELS("permute")
def permute(gpu: Gpu, x: DeviceArray, *, axes: Any) -> Any:
    return x.view(tuple(x.shape[a] for a in axes), tuple(x.strides[a] for a in axes))


@KERNELS("expand")
def expand(gpu: Gpu, x: DeviceArray, *, shape: Any) -> Any:
    lead = len(shape) - x.ndim
    strides = [s if n == m else 0 for n, m, s in zip(x.shape, shape[lead:], x.strides, strict=True)]
    return x.view(tuple(shape), (*[0] * lead, *strides))


@KERNELS("windows")
def windows(gpu: Gpu, x: DeviceArray, *, size: Any, stride: Any, dilation: Any) -> Any:
    """The (n, c, p, q, r, s) view of the windows of an image."""
    n, c, h, w = x.shape
    reach = [(k - 1) * d + 1 for k, d in zip(size, dilation, strict=True)]
    p, q = (h - reach[0]) // stride[0] + 1, (w - reach[1]) // stride[1] + 1
    a, b, y, z = x.strides
    return x.view(
        (n, c, p, q, size[0], size[1]), (a, b, y * stride[0], z * stride[1], y * dilation[0], z * dilation[1])
    )


@KERNELS("concat")
def concat(gpu: Gpu, *xs: DeviceArray, axis: int) -> Any:
    axis %= xs[0].ndim
    shape = list(xs[0].shape)
    shape[axis] = sum(x.shape[axis] for x in xs)
    y = gpu.empty(tuple(shape), xs[0].dtype)
    at = 0
    for x in xs:
        copy_into(gpu, y.view(x.shape, y.strides, at * y.strides[axis]), x)
        at += x.shape[axis]
    return y


@KERNELS("stack")
def stack(gpu: Gpu, *xs: DeviceArray, axis: int) -> Any:
    axis %= xs[0].ndim + 1
    return concat(gpu, *(x.view((*x.shape[:axis], 1, *x.shape[axis:]), (*x.strides[:axis], 0, *x.strides[axis:])) for x in xs),
                  axis=axis)  # fmt: skip


@KERNELS("flip")
def flip(gpu: Gpu, x: DeviceArray, *, axis: Any) -> Any:
    axes = {a % x.ndim for a in ((axis,) if isinstance(axis, int) else axis)}
    strides = tuple(-s if d in axes else s for d, s in enumerate(x.strides))
    first = sum((x.shape[d] - 1) * x.strides[d] for d in axes) if x.size else 0
    return copied(gpu, x.view(x.shape, strides, first))


def triangle(gpu: Gpu, x: DeviceArray, *, diagonal: int, lower: bool) -> Any:
    """Matrices without what is above the diagonal, or below it."""
    if x.ndim < 2:
        return NotImplemented
    y = gpu.empty(x.shape, x.dtype)
    if y.size:
        height, columns = x.shape[-2:]
        rows, (where, _) = x.size // columns, layout(x.shape[:-1], x.steps[:-1])
        edge = max(-height, min(diagonal, columns))
        blocks = min(-(-rows // ROWS), 16 * gpu.properties.multiprocessors)
        gpu.launch("shape", f"triangle<{x.itemsize}>", blocks, (32, ROWS), y, x, where, rows, height, columns, x.steps[-1],
                   edge, int(lower))  # fmt: skip
    return y


KERNELS["tril"] = partial(triangle, lower=True)
KERNELS["triu"] = partial(triangle, lower=False)
