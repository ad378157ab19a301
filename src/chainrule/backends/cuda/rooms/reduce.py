"""The reduction room on a GPU: folds over any axes, and running sums and products."""

from __future__ import annotations

import math
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np

from ..array import DeviceArray
from ..gpu import Gpu, layout
from ..sources import FLOATS, NAMES, c_name, declare
from . import Kernels
from .memory import cast

KERNELS = Kernels()
THREADS = 256

INT64, BOOL = np.dtype(np.int64), np.dtype(np.bool_)
# The dtypes with kernels of their own; what else there is, is cast to int64 before
FOLDED = {"Sum": (*FLOATS, "int64", "int32", "bool"), "Product": (*FLOATS, "int64"),
          "Extreme": (*FLOATS, "int64", "int32")}  # fmt: skip
WORDS = {1: "uint8_t", 2: "uint16_t", 4: "uint32_t", 8: "uint64_t"}
KINDS = ("fold_rows", "fold_columns")
WIDE = 4  # neighbouring results of a thread, where threads lie along the results of these:
WIDER = {"Sum", "Moments", "Slopes"}

declare("reduce", *(f"{k}<{op}<{NAMES[d]}>>" for op, dtypes in FOLDED.items() for d in dtypes for k in KINDS))
declare("reduce", *(f"fold_columns<Sum<{NAMES[d]}>, {WIDE}>" for d in FOLDED["Sum"]))
declare("reduce", *(f"{k}<Truth<{word}>>" for word in WORDS.values() for k in KINDS))
declare("reduce", *(f"{kernel}<{NAMES[d]}>" for d in (*FLOATS, "int64") for kernel in ("scan_rows", "scan_columns")))


class Plan(NamedTuple):
    """How a fold is walked: ``m`` results of ``n`` elements; the fastest folded axis is ``length``, ``stride`` apart."""

    rows: bool
    kept: bytes
    slow: bytes
    m: int
    n: int
    length: int
    stride: int
    t_stride: int
    whole: int  # as many elements may be loaded at once, if the first lies at a multiple of them
    beside: int  # as many neighbouring results may


@lru_cache(4096)
def planned(
    shape: tuple[int, ...], steps: tuple[int, ...], t_steps: tuple[int, ...], axes: tuple[int, ...], ordered: bool
) -> Plan:
    """The plan of a fold over ``axes``; if it is ``ordered``, elements have their place in row-major order as number."""
    kept: list[tuple[int, int, int, int]] = []
    y_step = 1
    for d in reversed(range(len(shape))):
        if d not in axes:
            kept.insert(0, (shape[d], steps[d], y_step, t_steps[d]))
            y_step *= shape[d]
    n = math.prod(shape[d] for d in axes)
    folded = [(shape[d], steps[d], t_steps[d]) for d in axes if shape[d] != 1] if n else []
    kept.sort(key=distance, reverse=True)
    if not ordered:
        folded.sort(key=distance, reverse=True)
    lines: list[tuple[int, int, int]] = []
    for size, step, t_step in folded:
        if lines and lines[-1][1] == size * step and lines[-1][2] == size * t_step:
            lines[-1] = lines[-1][0] * size, step, t_step
        else:
            lines.append((size, step, t_step))
    length, stride, t_stride = lines.pop() if lines else (1, 1, 1)
    kept = [a for a in kept if a[0] != 1]
    near = min((distance(a) for a in kept), default=math.inf)
    places = [s for a in kept for s in (a[1], a[3])] + [s for a in lines for s in a[1:]]
    last, *ahead = kept[::-1] or [(1, 1, 1, 1)]
    beside = math.gcd(
        last[0], stride, t_stride, *(s for a in ahead for s in (a[1], a[3])), *(s for a in lines for s in a[1:])
    )
    return Plan(
        rows=min([abs(stride) or math.inf] + [distance(a) for a in lines]) <= near,
        kept=layout(*transposed(kept, 4))[0],
        slow=layout(*transposed(lines, 3))[0],
        m=y_step,
        n=n,
        length=length,
        stride=stride,
        t_stride=t_stride,
        whole=math.gcd(length, *places) if stride == t_stride == 1 else 1,
        beside=beside if last[1] == last[3] == 1 else 1,
    )


def transposed(rows: list[Any], width: int) -> list[tuple[int, ...]]:
    """Columns of rows, as many as ``width`` also if there is no row."""
    return [tuple(row[k] for row in rows) for k in range(width)]


def distance(axis: Any) -> float:
    """How far apart the elements of an axis lie; those that are one, as far as can be."""
    return abs(axis[1]) or math.inf


def power(n: int, most: int = THREADS) -> int:
    """The least power of two that is not below ``n``; or ``most``."""
    return min(most, 1 << max(n - 1, 0).bit_length())


def listed(axis: Any, ndim: int) -> tuple[int, ...]:
    """Axes as a tuple, in order."""
    if axis is None:
        return tuple(range(ndim))
    return tuple(sorted(a % ndim for a in axis)) if isinstance(axis, tuple) else (axis % ndim,) if ndim else ()


def left(shape: tuple[int, ...], axes: tuple[int, ...], keepdims: bool) -> tuple[int, ...]:
    """The shape of the result."""
    if keepdims:
        return tuple(1 if d in axes else n for d, n in enumerate(shape))
    return tuple(n for d, n in enumerate(shape) if d not in axes)


def fold(
    gpu: Gpu,
    room: str,
    op: str,
    x: DeviceArray,
    axes: tuple[int, ...],
    y: Any,
    index: Any = None,
    *,
    t: Any = None,
    centres: Any = None,
    how: int = 0,
    number: float = 1.0,
    accumulator: Any = "float64",
    ordered: bool = False,
) -> None:
    """Fold ``x``, or its pairs with ``t``, over ``axes`` into ``y`` and ``index``, of which one may be None.

    ``op`` is the Op of the room's cuda.cu, ``accumulator`` a dtype of the size of its Accumulator; see core/fold.cuh.
    """
    plan = planned(x.shape, x.steps, x.steps if t is None else t.steps, axes, ordered)
    m, n, length, stride, t_stride, packed = plan.m, plan.n, plan.length, plan.stride, plan.t_stride, 0
    if not m:
        return
    machine = gpu.properties.multiprocessors
    outputs = (y is not None) + (index is not None)
    split, wide, columns = 1, "", m
    if plan.rows:
        pack = 16 // x.itemsize
        if plan.whole % pack == 0 and x.pointer % 16 == 0 and (t is None or t.pointer % 16 == 0) and n:
            packed, n, length, stride, t_stride = 1, n // pack, length // pack, pack, pack
        width = power(-(-n // 4))
        if m * width < 2 * THREADS * machine:
            width = power(n)
        if width == THREADS and m < 4 * machine and n > 8 * THREADS:
            split = min(-(-n // (4 * THREADS)), -(-8 * machine // m))
        blocks, threads = rows_of(m * split, width)
        again = rows_of(m, power(split))
    else:
        aligned = all(a is None or a.pointer % (WIDE * a.itemsize) == 0 for a in (x, t))
        if aligned and plan.beside % WIDE == 0 and op.partition("<")[0] in WIDER:
            wide, columns = f", {WIDE}", m // WIDE
        width = power(columns, 32)
        rows = min(THREADS // width, power(n))
        across = -(-columns // width)
        if across < 4 * machine and n > 8 * rows:
            split = min(-(-n // (8 * rows)), -(-8 * machine // across), 65535)
        blocks, threads = (across, split), (width, rows)
        again = (across, 1), (width, min(THREADS // width, power(split)))
    instance = f"{KINDS[not plan.rows]}<{op}{wide}>"
    given = plan.kept, plan.slow, m, n, length, stride, t_stride, split
    if split == 1:
        gpu.launch(
            room,
            instance,
            blocks,
            threads,
            y,
            index,
            None,
            x,
            t,
            centres,
            *given,
            0,
            packed,
            how,
            number,
            writes=outputs,
        )
        return
    parts = gpu.empty((m * split,), accumulator)
    gpu.launch(room, instance, blocks, threads, None, None, parts, x, t, centres, *given, 1, packed, how, number)
    gpu.launch(
        room, instance, *again, y, index, parts, None, None, None, *given, 2, packed, how, number, writes=outputs
    )


def rows_of(groups: int, width: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """The blocks, and threads of a block, for groups of ``width`` threads."""
    return (-(-groups // (THREADS // width)), 1), (width, THREADS // width)


def whole(gpu: Gpu, op: str, x: DeviceArray) -> DeviceArray:
    """``x``, or if the op has no kernel for its dtype, as int64."""
    return x if x.dtype.name in FOLDED[op] else cast(gpu, x, dtype="int64")


def is_float(x: DeviceArray) -> bool:
    return x.dtype.name in FLOATS


def total(gpu: Gpu, x: DeviceArray, *, op: str, axis: Any = None, keepdims: bool = False, how: int = 0,
          mean: bool = False) -> Any:  # fmt: skip
    """A sum or a product: in float64, or int64 of integers."""
    axes = listed(axis, x.ndim)
    real = is_float(x)
    x = whole(gpu, op, x)
    y = gpu.empty(left(x.shape, axes, keepdims), x.dtype if real else INT64)
    divisor = float(math.prod(x.shape[a] for a in axes)) if mean else 1.0
    fold(gpu, "reduce", f"{op}<{c_name(x.dtype)}>", x, axes, y, how=how, number=divisor)
    return y


KERNELS["sum"] = partial(total, op="Sum")
KERNELS["prod"] = partial(total, op="Product")


@KERNELS("mean")
def mean(gpu: Gpu, x: DeviceArray, *, axis: Any = None, keepdims: bool = False) -> Any:
    return total(gpu, x, op="Sum", axis=axis, keepdims=keepdims, mean=True) if is_float(x) else NotImplemented


@KERNELS("norm")
def norm(gpu: Gpu, x: DeviceArray, *, ord: Any = 2, axis: Any = None, keepdims: bool = False) -> Any:
    """Lengths of order 1 and 2; of others, the body's."""
    if ord not in (1, 2, "fro") or not is_float(x):
        return NotImplemented
    return total(gpu, x, op="Sum", axis=axis, keepdims=keepdims, how=1 if ord == 1 else 2)


def extreme(gpu: Gpu, x: DeviceArray, *, axis: Any = None, keepdims: bool = False, how: int, values: bool = True,
            indices: bool = True) -> Any:  # fmt: skip
    """The largest (``how`` 0) or smallest (1) element, where it is, or both."""
    axes = listed(axis, x.ndim)
    if not math.prod(x.shape[a] for a in axes):
        return NotImplemented  # there is none: the body says so
    shape, dtype = left(x.shape, axes, keepdims), x.dtype
    x = whole(gpu, "Extreme", x)
    y = gpu.empty(shape, x.dtype) if values else None
    index = gpu.empty(shape, INT64) if indices else None
    fold(
        gpu, "reduce", f"Extreme<{c_name(x.dtype)}>", x, axes, y, index, how=how, accumulator="complex128", ordered=True
    )
    if y is not None and y.dtype != dtype:
        y = cast(gpu, y, dtype=dtype)
    return (y, index) if values and indices else y if values else index


for _how, _name in enumerate(("max", "min")):
    KERNELS[_name] = partial(extreme, how=_how)
    KERNELS["a" + _name] = partial(extreme, how=_how, indices=False)
    KERNELS["arg" + _name] = partial(extreme, how=_how, values=False)


def truth(gpu: Gpu, x: DeviceArray, *, axis: Any = None, keepdims: bool = False, any_: int) -> Any:
    """Whether any (1) or all (0) elements are not 0."""
    axes = listed(axis, x.ndim)
    y = gpu.empty(left(x.shape, axes, keepdims), BOOL)
    fold(gpu, "reduce", f"Truth<{WORDS[x.itemsize]}>", x, axes, y, how=any_ + 2 * is_float(x), accumulator="int32")
    return y


KERNELS["any"] = partial(truth, any_=1)
KERNELS["all"] = partial(truth, any_=0)


class Lines(NamedTuple):
    """``m`` rows of ``n`` elements along an axis: where each begins, and the steps of arrays along them."""

    where: bytes
    m: int
    n: int
    steps: tuple[int, ...]
    whole: int  # as many elements may be loaded at once, if the first lies at a multiple of them


@lru_cache(4096)
def lines(shape: tuple[int, ...], axis: int, *steps: tuple[int, ...], ordered: bool = False) -> Lines:
    """The rows of arrays along an axis; those that lie side by side in the last array follow each other unless ``ordered``."""
    others = [(n, *(s[d] for s in steps)) for d, n in enumerate(shape) if d != axis]
    if not ordered:
        others.sort(key=lambda a: abs(a[-1]) or math.inf, reverse=True)
    along = tuple(s[axis] for s in steps)
    places = [s for a in others if a[0] != 1 for s in a[1:]]
    return Lines(
        where=layout(*transposed(others, 1 + len(steps)))[0],
        m=math.prod(a[0] for a in others),
        n=shape[axis],
        steps=along,
        whole=math.gcd(shape[axis], *places) if set(along) == {1} else 1,
    )


def packs(rows: Lines, *arrays: DeviceArray) -> int:
    """1 if rows can be read and written 16 bytes at a time, else 0."""
    whole = all(rows.whole % (16 // a.itemsize) == 0 and a.pointer % 16 == 0 for a in arrays)
    return int(whole and len({a.itemsize for a in arrays}) == 1)


def groups(gpu: Gpu, rows: Lines, packed: int = 0, itemsize: int = 4) -> tuple[tuple[int, int], tuple[int, int]]:
    """The blocks, and threads of a block, in which a group of threads takes a row: see core/rows.cuh."""
    n = rows.n * itemsize // 16 if packed else rows.n
    width = power(-(-n // 4)) if rows.steps[-1] == 1 else 1
    enough = 2 * THREADS * gpu.properties.multiprocessors
    if rows.m * width < enough:
        width = min(power(n), max(width, power(enough // rows.m)))
    return rows_of(rows.m, width)


def running(gpu: Gpu, x: DeviceArray, *, axis: int, product: int) -> Any:
    """The sum or product of each element and those before it along an axis: in float64, or int64 of integers."""
    axis %= x.ndim
    real = is_float(x)
    if not real and x.dtype != INT64:
        x = cast(gpu, x, dtype="int64")
    y = gpu.empty(x.shape, x.dtype if real else INT64)
    if not y.size:
        return y
    rows = lines(x.shape, axis, y.steps, x.steps)
    n, count = rows.n, rows.m
    machine = gpu.properties.multiprocessors
    if n <= 32 or (count >= THREADS * machine and rows.steps[-1] != 1):
        gpu.each("reduce", f"scan_columns<{c_name(x.dtype)}>", count, y, x, rows.where, count, n, *rows.steps, product)
        return y
    split = min(-(-n // (8 * THREADS)), -(-4 * machine // count)) if count < 2 * machine else 1
    chunk = -(-n // split)
    split = -(-n // chunk)
    kernel = "reduce", f"scan_rows<{c_name(x.dtype)}>", count * split, power(chunk)
    totals = None
    if split > 1:
        totals = gpu.empty((count * split,), "float64")
        gpu.launch(*kernel, None, totals, x, rows.where, n, *rows.steps, split, chunk, product)
    gpu.launch(*kernel, y, totals, x, rows.where, n, *rows.steps, split, chunk, product)
    return y


@KERNELS("cumsum")
def cumsum(gpu: Gpu, x: DeviceArray, *, axis: int) -> Any:
    return running(gpu, x, axis=axis, product=0)


@KERNELS("cumprod")
def cumprod(gpu: Gpu, x: DeviceArray, *, axis: int) -> Any:
    return running(gpu, x, axis=axis, product=1)
