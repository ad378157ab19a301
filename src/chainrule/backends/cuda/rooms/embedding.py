"""The embedding room on a GPU: rows of a table; an index that is no row is told at the next wait."""

from __future__ import annotations

from typing import Any

from ....domain.errors import IndexRangeError
from ..array import DeviceArray
from ..gpu import Gpu, fault
from ..sources import FLOATS, NAMES, c_name, declare
from . import Kernels
from .index import ordered, whole
from .memory import filled
from .pool import shaped

KERNELS = Kernels()
NO_ROW = fault(IndexRangeError, "[embedding] index {value} is no row: weight has {limit} rows (0 to {last})")

declare("embedding", *(f"rows_of<{n}>" for n in (2, 4, 8, 16)), *(f"add_rows<{NAMES[d]}>" for d in FLOATS))


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
        kernel = f"add_rows<{c_name(g.dtype)}>"
        gpu.each("embedding", kernel, count * width, gw, gpu.dense(g), indices, order, rows, padding, width, count)
    return None, gw
