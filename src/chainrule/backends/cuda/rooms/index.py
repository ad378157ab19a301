"""The index room on a GPU: index tensors are read there; what is out of range is told at the next wait."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from ..array import DeviceArray
from ..gpu import Gpu, copied, layout, out_of_range, spread
from ..sources import ALL, NAMES, c_name, declare
from . import Kernels
from .memory import cast, filled, write
from .reduce import cumsum
from .shape import getitem, permute, reshape

KERNELS = Kernels()
INT64 = np.dtype(np.int64)
MAX_TENSORS = 6  # index tensors at once, in native/index/cuda.cu
RUN = 512  # what one block sorts
MOST = 65535  # blocks along the second axis of a launch
CHECKS = {
    name: out_of_range(name) for name in ("index", "index_scatter", "index_set", "assign", "gather", "ungather", "embedding")
}  # fmt: skip

declare("index", *(f"{kernel}<{n}>" for kernel in ("take", "put", "different") for n in (1, 2, 4, 8)))
declare("index", "places", "latest", "sort_runs", "merge_runs", "coordinates", "changes", "lengths")
declare(
    "index", *(f"{kernel}<{NAMES[d]}>" for kernel in ("keys", "flags", "add_sorted") for d in ALL), "keys<uint64_t>"
)


class Selection:
    """The elements of an array that a pattern with index tensors names: what the kernels are told of them."""

    def __init__(self, gpu: Gpu, name: str, x: DeviceArray, pattern: Any, indices: Any) -> None:
        view, axes, tensors, together, numbers = parted(gpu, x, pattern, [gpu.dense(i) for i in indices])
        if len(tensors) > MAX_TENSORS:
            raise ValueError(f"[{name}] takes at most {MAX_TENSORS} index tensors on a GPU, not {len(tensors)}")
        common = np.broadcast_shapes(*(t.shape for t in tensors))
        rest = [d for d in range(view.ndim) if d not in axes]
        lead = sum(d < axes[0] for d in rest) if together else 0
        before, after = rest[:lead], rest[lead:]
        self.shape = (*(view.shape[d] for d in before), *common, *(view.shape[d] for d in after))
        steps, none = view.steps, (0,) * len(common)
        where = [(*(steps[d] for d in before), *none, *(steps[d] for d in after))]
        where += [(*(0 for _ in before), *spread(t, common), *(0 for _ in after)) for t in tensors]
        where += [(0,) * len(self.shape)] * (MAX_TENSORS - len(tensors))
        self.x, self.size = view, int(np.prod(self.shape, dtype=np.int64))
        missing = MAX_TENSORS - len(tensors)
        sizes = [*(view.shape[d] for d in axes), *[1] * missing]
        strides = [*(steps[d] for d in axes), *[0] * missing]
        packed = struct.pack(f"{2 + 3 * MAX_TENSORS}q", len(tensors), *sizes, *strides, *numbers, *[0] * missing, 1)
        given = [*tensors, *[None] * missing]
        self.arguments = (*given, layout(self.shape, *where)[0], packed, gpu.reporting(), CHECKS[name], self.size)

    def places(self, gpu: Gpu) -> DeviceArray:
        """Where in the memory behind ``x`` they are, in elements from its first."""
        y = gpu.empty((self.size,), INT64)
        gpu.each("index", "places", self.size, y, *self.arguments)
        return y


def parted(gpu: Gpu, x: DeviceArray, pattern: Any, indices: list[DeviceArray]) -> Any:
    """A pattern as a view, which of its axes are indexed by tensors, these, whether they stand together, and their axes of x.

    As in NumPy an integer beside tensors is one of them, and True an axis of one element, False of none.
    """
    used = sum(type(p) in (int, str, slice) for p in pattern)
    basic: list[Any] = []
    axes, tensors, spots, numbers = [], [], [], []
    axis, own, following = 0, 0, iter(indices)  # in the view, and in x
    for spot, p in enumerate(pattern):
        if p is Ellipsis:
            basic.append(p)
            axis += x.ndim - used
            own += x.ndim - used
            continue
        if type(p) is bool:
            basic.append(None)
            tensors.append(filled(gpu, gpu.empty((int(p),), INT64), 0))
        elif type(p) is int:
            basic.append(slice(p, p + 1 or None))
            tensors.append(filled(gpu, gpu.empty((), INT64), 0))
        elif type(p) is str:
            basic.append(slice(None))
            tensors.append(next(following))
        else:
            basic.append(p)
            axis += 1
            own += p is not None
            continue
        axes.append(axis)
        spots.append(spot)
        numbers.append(own)
        axis += 1
        own += type(p) is not bool
    together = spots == [*range(spots[0], spots[0] + len(spots))]
    return getitem(gpu, x, index=tuple(basic)), axes, tensors, together, numbers


@KERNELS("index")
def index(gpu: Gpu, x: DeviceArray, *indices: DeviceArray, pattern: Any) -> Any:
    chosen = Selection(gpu, "index", x, pattern, indices)
    y = gpu.empty(chosen.shape, x.dtype)
    gpu.each("index", f"take<{x.itemsize}>", y.size, y, chosen.x, *chosen.arguments)
    return y


def put(gpu: Gpu, name: str, x: DeviceArray, v: Any, pattern: Any, indices: Any) -> None:
    """Write ``v``, which broadcasts, to the elements that a pattern with tensors names; the last of several counts."""
    chosen = Selection(gpu, name, x, pattern, indices)
    if not chosen.size:
        return
    if type(v) is not DeviceArray:
        v = filled(gpu, gpu.empty((), x.dtype), v)
    elif v.memory is x.memory:
        v = copied(gpu, v)
    places = chosen.places(gpu)
    first = chosen.x.pointer
    start, end = chosen.x.extent()
    low = (first - start) // x.itemsize  # elements before the first, of axes that run backwards
    last = filled(gpu, gpu.empty(((end - start) // x.itemsize,), INT64), -1)
    shifted = last.view((last.size - low,), last.strides, low * INT64.itemsize)
    gpu.each("index", "latest", chosen.size, shifted, places, chosen.size)
    where, _ = layout(chosen.shape, spread(v, chosen.shape))
    gpu.each("index", f"put<{x.itemsize}>", chosen.size, chosen.x, v, places, shifted, where, chosen.size)


@KERNELS("index_set")
def index_set(gpu: Gpu, x: DeviceArray, v: Any, *indices: DeviceArray, pattern: Any) -> Any:
    y = copied(gpu, x)
    put(gpu, "index_set", y, v, pattern, indices)
    return y


@KERNELS("assign")
def assign(gpu: Gpu, x: DeviceArray, v: Any, *indices: DeviceArray, pattern: Any) -> Any:
    if indices or any(type(p) is bool for p in pattern):
        put(gpu, "assign", x, v, pattern, indices)
    else:
        write(gpu, getitem(gpu, x, index=pattern), v)
    return x


@KERNELS("setitem")
def setitem(gpu: Gpu, x: DeviceArray, v: Any, *, index: Any) -> Any:
    y = copied(gpu, x)
    write(gpu, getitem(gpu, y, index=index), v)
    return y


@KERNELS("embed")
def embed(gpu: Gpu, x: DeviceArray, *, index: Any, shape: Any) -> Any:
    y = filled(gpu, gpu.empty(tuple(shape), x.dtype), 0)
    write(gpu, getitem(gpu, y, index=index), x)
    return y


def added(gpu: Gpu, y: DeviceArray, x: DeviceArray, places: DeviceArray) -> DeviceArray:
    """``y``, with each element of ``x`` added at its place, in their order."""
    if places.size:
        ranked, sorted_places = ordered(gpu, places, 1, places.size)
        where, _ = layout(x.shape, x.steps)
        kernel = f"add_sorted<{c_name(x.dtype)}>"
        gpu.each("index", kernel, x.size, y, x, sorted_places, ranked, where, x.size)
    return y


@KERNELS("index_scatter")
def index_scatter(gpu: Gpu, g: DeviceArray, *indices: DeviceArray, pattern: Any, shape: Any) -> Any:
    y = filled(gpu, gpu.empty(tuple(shape), g.dtype), 0)
    chosen = Selection(gpu, "index_scatter", y, pattern, indices)
    shift = (chosen.x.pointer - y.pointer) // y.itemsize
    places = chosen.places(gpu)
    added(gpu, y.view((y.size - shift,), (y.itemsize,), shift * y.itemsize), g, places)
    return y


def along(gpu: Gpu, name: str, x: DeviceArray, indices: DeviceArray, axis: int) -> tuple[Any, ...]:
    """What kernels are told of indices along one axis: every other place is as it is."""
    steps = x.steps
    rest = tuple(0 if d == axis else s for d, s in enumerate(steps))
    none = (0,) * indices.ndim
    where, _ = layout(indices.shape, rest, indices.steps, *[none] * (MAX_TENSORS - 1))
    missing = [0] * (MAX_TENSORS - 1)
    numbers = (x.shape[axis], *missing, steps[axis], *missing, axis, *missing)
    packed = struct.pack(f"{2 + 3 * MAX_TENSORS}q", 1, *numbers, 0)
    more = [None] * (MAX_TENSORS - 1)
    return (indices, *more, where, packed, gpu.reporting(), CHECKS[name], indices.size)


def whole(gpu: Gpu, indices: DeviceArray) -> DeviceArray:
    """Indices as int64."""
    found: DeviceArray = indices if indices.dtype == INT64 else cast(gpu, indices, dtype="int64")
    return found


@KERNELS("gather")
def gather(gpu: Gpu, x: DeviceArray, indices: DeviceArray, *, axis: int) -> Any:
    y = gpu.empty(indices.shape, x.dtype)
    gpu.each("index", f"take<{x.itemsize}>", y.size, y, x, *along(gpu, "gather", x, whole(gpu, indices), axis))
    return y


@KERNELS("ungather")
def ungather(gpu: Gpu, x: DeviceArray, indices: DeviceArray, *, axis: int, shape: Any) -> Any:
    y = filled(gpu, gpu.empty(tuple(shape), x.dtype), 0)
    places = gpu.empty((indices.size,), INT64)
    gpu.each("index", "places", places.size, places, *along(gpu, "ungather", y, whole(gpu, indices), axis))
    return added(gpu, y, x, places)


# order


def in_rows(gpu: Gpu, x: DeviceArray, row: int, descending: bool, kind: str = "") -> tuple[DeviceArray, DeviceArray]:
    """A key for each element, whose order is theirs; and its number in its row."""
    keys, order = gpu.empty((x.size,), INT64), gpu.empty((x.size,), INT64)
    where, _ = layout(x.shape, x.steps)
    kernel = f"keys<{kind or c_name(x.dtype)}>"
    gpu.each("index", kernel, x.size, keys, order, x, where, row, int(descending), x.size, writes=2)
    return keys, order


def ordered(
    gpu: Gpu, x: DeviceArray, rows: int, row: int, descending: bool = False, kind: str = ""
) -> tuple[DeviceArray, DeviceArray]:
    """Where the elements in order of each row are, and their keys; ``x`` is (..., row) in whatever strides.

    ``kind`` is what the elements are, if that is not their dtype.
    """
    keys, order = in_rows(gpu, x, row, descending, kind)
    for first in range(0, rows, MOST):
        some = [a.view(((rows - first) * row,), a.strides, first * row * a.itemsize) for a in (keys, order)]
        gpu.launch(
            "index", "sort_runs", (-(-row // RUN), min(rows - first, MOST)), 256, *some, *some, row, RUN, writes=2
        )
    run = RUN
    while run < row:
        merged = gpu.empty(keys.shape, INT64), gpu.empty(order.shape, INT64)
        gpu.each("index", "merge_runs", x.size, *merged, keys, order, run, row, x.size, writes=2)
        keys, order = merged
        run *= 2
    return order, keys


def first_of(gpu: Gpu, x: DeviceArray, rows: int, row: int, k: int, descending: bool) -> DeviceArray:
    """Where the first k in the order of each row are: of each run its first, until one run is left."""
    if k > RUN // 2 or rows > MOST:
        return ordered(gpu, x, rows, row, descending)[0].view((rows, k), (row * INT64.itemsize, INT64.itemsize))
    keys, order = in_rows(gpu, x, row, descending)
    while True:
        runs = -(-row // RUN)
        best = gpu.empty((rows * runs * k,), INT64), gpu.empty((rows * runs * k,), INT64)
        gpu.launch("index", "sort_runs", (runs, rows), 256, *best, keys, order, row, k, writes=2)
        (keys, order), row = best, runs * k
        if runs == 1:
            return order.view((rows, k), (k * INT64.itemsize, INT64.itemsize))


@KERNELS("sort")
def sort(gpu: Gpu, x: DeviceArray, *, axis: int, descending: bool) -> Any:
    return topk(gpu, x, k=x.shape[axis], axis=axis, largest=descending)


@KERNELS("topk")
def topk(gpu: Gpu, x: DeviceArray, *, k: int, axis: int = -1, largest: bool = True) -> Any:
    axis %= x.ndim
    axes = (*(d for d in range(x.ndim) if d != axis), axis)
    n, shape = x.shape[axis], (*(x.shape[d] for d in axes[:-1]), k)
    if not x.size or not k:
        places = gpu.empty((*x.shape[:axis], k, *x.shape[axis + 1 :]), INT64)
        return gpu.empty(places.shape, x.dtype), places
    rows = permute(gpu, x, axes=axes)
    found = reshape(gpu, first_of(gpu, rows, x.size // n, n, k, largest), shape=shape)
    back = tuple(axes.index(d) for d in range(x.ndim))
    places = copied(gpu, permute(gpu, found, axes=back))
    return gather(gpu, x, places, axis=axis), places


# what depends on values: the host waits for how many there are


def counted(gpu: Gpu, flags: DeviceArray) -> tuple[DeviceArray, int]:
    """How many flags are set up to each, and in all."""
    rank = cumsum(gpu, flags, axis=0)
    last = rank.view((), (), (rank.size - 1) * INT64.itemsize)
    return rank, int(gpu.download(last))


@KERNELS("nonzero")
def nonzero(gpu: Gpu, x: DeviceArray) -> Any:
    if not x.size:
        return gpu.empty((0, x.ndim), INT64)
    where, _ = layout(x.shape, x.steps)
    flags = gpu.empty((x.size,), INT64)
    gpu.each("index", f"flags<{c_name(x.dtype)}>", x.size, flags, x, where, x.size)
    rank, count = counted(gpu, flags)
    y = gpu.empty((count, x.ndim), INT64)
    if y.size:
        shape = struct.pack("13q", x.ndim, *x.shape, *[1] * (12 - x.ndim))
        gpu.each("index", "coordinates", x.size, y, flags, rank, shape, x.size)
    return y


@KERNELS("unique")
def unique(gpu: Gpu, x: DeviceArray) -> Any:
    x_flat = gpu.dense(x)
    n = x.size
    if not n:
        return gpu.empty((0,), x.dtype), gpu.empty(x.shape, INT64), gpu.empty((0,), INT64)
    where, keys = ordered(gpu, DeviceArray(gpu, x_flat.memory, (n,), x.dtype, None, x_flat.offset), 1, n)
    flags = gpu.empty((n,), INT64)
    gpu.each("index", "changes", n, flags, keys, n)
    rank, count = counted(gpu, flags)
    values, begin, counts = gpu.empty((count,), x.dtype), gpu.empty((count,), INT64), gpu.empty((count,), INT64)
    inverse = gpu.empty(x.shape, INT64)
    gpu.each("index", f"different<{x.itemsize}>", n, values, begin, inverse, x_flat, where, flags, rank, n, writes=3)
    gpu.each("index", "lengths", count, counts, begin, count, n)
    return values, inverse, counts
