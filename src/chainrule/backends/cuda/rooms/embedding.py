"""The embedding room on a GPU: rows of a table; an index that is no row is told at the next wait."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....domain.errors import IndexRangeError
from ..array import DeviceArray
from ..gpu import Gpu, fault
from ..sources import FLOATS, NAMES, c_name, declare
from . import Kernels
from .index import ordered, whole
from .memory import filled
from .pool import shaped

KERNELS = Kernels()
STRETCH = 32  # in native/embedding/cuda.cu
NO_ROW = fault(IndexRangeError, "[embedding] index {value} is no row: weight has {limit} rows (0 to {last})")

declare(
    "embedding",
    *(f"rows_of<{n}>" for n in (2, 4, 8, 16)),
    *(f"{k}_rows<{NAMES[d]}>" for k in ("add", "join") for d in FLOATS),
)


@KERNELS("embedding")
def embedding(gpu: Gpu, indices: DeviceArray, weight: DeviceArray, *, padding_idx: Any) -> Any:
    if weight.dtype.name not in FLOATS:
        return NotImplemented
    rows, width = weight.shape
    indices, table = gpu.dense(whole(gpu, indices)), gpu.dense(weight)
    y = gpu.empty((*indices.shape, width), weight.dtype)
    nbytes = width * weight.itemsize
    chunk = next(n for n in (16, 8, 4, 2) if nbytes % n == 0 and table.pointer % n == 0)
    n = y.nbytes // chunk
    given = table, indices, NO_ROW, rows, nbytes // chunk, n
    gpu.each("embedding", f"rows_of<{chunk}>", n, y, gpu.reporting(), *given, writes=2)
    return y, (indices, shaped(gpu, weight.shape))


@KERNELS("embedding_vjp")
def embedding_vjp(
    gpu: Gpu, g: DeviceArray, indices: DeviceArray, shape: DeviceArray, *, needs: Any, padding_idx: int | None
) -> Any:
    if not needs[1]:
        return None, None
    rows, width = shape.shape[1:]
    gw = filled(gpu, gpu.empty((rows, width), g.dtype), 0)
    if g.size:
        count = indices.size
        order, _ = ordered(gpu, indices, 1, count)
        padding = -1 if padding_idx is None else padding_idx
        stretches, kind = -(-count // STRETCH), c_name(g.dtype)
        parts = gpu.empty((stretches, 2, width), np.dtype("f8" if g.itemsize == 8 else "f4"))
        given = indices, order, rows, padding, width, count
        gpu.each("embedding", f"add_rows<{kind}>", stretches * width, gw, parts, gpu.dense(g), *given, writes=2)
        gpu.each("embedding", f"join_rows<{kind}>", (stretches - 1) * width, gw, parts, *given)
    return None, gw
