"""The elementwise room on a GPU: floats by a kernel for each op, integers and bools by one kernel for all."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np

from ....domain.errors import ArgumentError, DTypeError, ShapeError
from ..array import DeviceArray
from ..gpu import Gpu, copied, fault, layout
from ..sources import ALL, FLOATS, INTEGERS, NAMES, c_name, declare
from . import Kernels
from .memory import bits, cast, filled

KERNELS = Kernels()
UNARY = (
    "neg abs sign sqrt floor ceil round exp expm1 log log1p tanh sigmoid erf square reciprocal rsqrt "
    "sin cos tan asin acos atan sinh cosh"
).split()
BINARY = "add sub mul div maximum minimum pow atan2 remainder floor_div".split()

# What the kernel of integers does, by number; of bools only what NumPy defines for them
WHOLE = {
    name: number
    for number, name in enumerate(
        "add sub mul floor_div remainder pow maximum minimum bitwise_and bitwise_or bitwise_xor abs sign".split()
    )
}
NOT_OF_BOOLS = frozenset("neg sub sign floor_div remainder pow".split())
ZERO_DIVISION = "[{}] an integer is divided by zero; cast to a float for inf or nan"
NEGATIVE_POWER = "[pow] an integer to a negative power is no integer; cast it to a float first"
FAULTS = {
    "floor_div": fault(ZeroDivisionError, ZERO_DIVISION.format("floor_div")),
    "remainder": fault(ZeroDivisionError, ZERO_DIVISION.format("remainder")),
    "pow": fault(ArgumentError, NEGATIVE_POWER),
}

# For which of a < b, a == b, a > b, and NaN in one it is true (bits 0 to 3); for which of (0, 0), (0, 1), (1, 0), (1, 1)
RELATIONS = {"lt": 0b0001, "le": 0b0011, "eq": 0b0010, "ne": 0b1101, "ge": 0b0110, "gt": 0b0100}
LOGICAL = {"logical_and": 0b1000, "logical_or": 0b1110, "logical_xor": 0b0110}
PYTHON: dict[str, Callable[[Any, Any], Any]] = {name: getattr(operator, name) for name in RELATIONS}

declare("elementwise", *(f"unary<{name}_f, {NAMES[d]}>" for name in UNARY for d in FLOATS))
declare("elementwise", *(f"unary<isfinite_f, {NAMES[d]}, bool>" for d in FLOATS))
declare("elementwise", *(f"binary<{name}_f, {NAMES[d]}>" for name in BINARY for d in FLOATS))
declare("elementwise", *(f"{name}<{NAMES[d]}>" for name in ("clip", "clip_vjp") for d in FLOATS))
declare("elementwise", *(f"compare<{NAMES[d]}>" for d in ALL))
declare("elementwise", *(f"integers<{NAMES[d]}>" for d in (*INTEGERS, "bool")))
declare("elementwise", *(f"where<{n}>" for n in (1, 2, 4, 8)))


# ---- what is walked together


@lru_cache(8192)
def walk(*arrays: Any) -> tuple[tuple[int, ...], bytes, int, int]:
    """Of operands as (shape, steps), or None for a number: the shape that they broadcast to, a Layout for a new array of it
    and them, the number of elements, and how many neighbours lie together.
    """
    shape = np.broadcast_shapes(*(a[0] for a in arrays if a is not None))
    steps = (stretched(shape, *a) if a is not None else (0,) * len(shape) for a in arrays)
    packed, together = layout(shape, dense(shape), *steps)
    return shape, packed, int(np.prod(shape, dtype=np.int64)), together


def dense(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The steps of elements in row-major order."""
    steps, step = [], 1
    for n in reversed(shape):
        steps.append(step)
        step *= n or 1
    return tuple(reversed(steps))


def stretched(shape: tuple[int, ...], own: tuple[int, ...], steps: tuple[int, ...]) -> tuple[int, ...]:
    """The steps with which an array is broadcast to ``shape``."""
    lead = len(shape) - len(own)
    return (0,) * lead + tuple(0 if n == 1 else s for n, s in zip(own, steps, strict=True))


def walked(name: str, *operands: Any) -> tuple[tuple[int, ...], bytes, int, int]:
    """``walk`` of arrays and numbers. Errors: ShapeError."""
    try:
        return walk(*((v.shape, v.steps) if type(v) is DeviceArray else None for v in operands))
    except ValueError:
        shapes = " and ".join(str(v.shape) for v in operands if type(v) is DeviceArray)
        raise ShapeError(
            f"[{name}] shapes {shapes} do not broadcast: from the last axis on, sizes must be equal or 1"
        ) from None


def run(
    gpu: Gpu, room: str, kernel: str, n: int, together: int, y: DeviceArray, *arguments: Any, writes: int = 1
) -> DeviceArray:
    """Launch a kernel over ``n`` elements, ``together`` of which may be one thread's work."""
    gpu.each(room, kernel, -(-n // min(together, 16 // y.itemsize)), y, *arguments, n, writes=writes)
    return y


# ---- floats


def unary(gpu: Gpu, x: DeviceArray, *, name: str) -> Any:
    kind = x.dtype.kind
    if kind in "biu":
        return unary_whole(gpu, x, name)
    shape, where, n, together = walk((x.shape, x.steps))
    kernel = f"unary<{name}_f, {c_name(x.dtype)}>"
    return run(gpu, "elementwise", kernel, n, together, gpu.empty(shape, x.dtype), x, where)


def binary(gpu: Gpu, a: Any, b: Any, *, name: str) -> Any:
    first = a if type(a) is DeviceArray else b
    if first.dtype.kind in "biu":
        return whole(gpu, a, b, name)
    if name == "pow" and type(b) is not DeviceArray and b == 2:
        return unary(gpu, a, name="square")
    shape, where, n, together = walked(name, a, b)
    return into(gpu, gpu.empty(shape, first.dtype), a, b, name, where, n, together)


def into(gpu: Gpu, y: DeviceArray, a: Any, b: Any, name: str, where: bytes, n: int, together: int) -> DeviceArray:
    """Write what a kernel of floats makes of two operands."""
    p, a = (0.0, a) if type(a) is DeviceArray else (float(a), None)
    q, b = (0.0, b) if type(b) is DeviceArray else (float(b), None)
    kernel = f"binary<{name}_f, {c_name(y.dtype)}>"
    return run(gpu, "elementwise", kernel, n, together, y, a, b, p, q, where)


def in_place(gpu: Gpu, x: DeviceArray, v: Any, *, name: str) -> Any:
    """``x = x + v`` and the like, in the memory of ``x``."""
    if x.dtype.kind in "biu" or (type(v) is DeviceArray and v.dtype != x.dtype):
        return NotImplemented
    if type(v) is DeviceArray:
        if len(v.shape) > len(x.shape) or any(
            n not in (1, m) for n, m in zip(v.shape[::-1], x.shape[::-1], strict=False)
        ):
            return NotImplemented
        same = v.offset == x.offset and v.shape == x.shape and v.strides == x.strides
        if v.memory is x.memory and not same:
            v = copied(gpu, v)
    if 0 in x.strides and any(n > 1 and s == 0 for n, s in zip(x.shape, x.strides, strict=True)):
        return NotImplemented  # expanded: one element stands for several
    other = stretched(x.shape, v.shape, v.steps) if type(v) is DeviceArray else (0,) * x.ndim
    where, together = layout(x.shape, x.steps, x.steps, other)
    into(gpu, x, x, v, name, where, x.size, together)
    return x


# ---- integers and bools


def refused(name: str, *operands: Any) -> DTypeError:
    """The error of an op that is not for these dtypes."""
    dtypes = " and ".join(v.dtype.name if type(v) is DeviceArray else type(v).__name__ for v in operands)
    return DTypeError(f"[{name}] is not defined for {dtypes}; cast first")


def unary_whole(gpu: Gpu, x: DeviceArray, name: str) -> Any:
    """Functions of integers and bools."""
    if x.dtype.kind == "b" and name in NOT_OF_BOOLS:
        raise refused(name, x)
    if name in ("floor", "ceil", "round"):
        return copied(gpu, x)
    if name == "neg":
        return whole(gpu, 0, x, "sub")
    if name == "square":
        return whole(gpu, x, x, "mul")
    return whole(gpu, x, 0, name) if name in WHOLE else NotImplemented


def whole(gpu: Gpu, a: Any, b: Any, name: str) -> Any:
    """Ops of integers and bools. Errors: OverflowError for a number that the dtype has not."""
    first = a if type(a) is DeviceArray else b
    dtype = first.dtype
    if name not in WHOLE:
        return NotImplemented
    if dtype.kind == "b" and name in NOT_OF_BOOLS:
        raise refused(name, a, b)
    if name in FAULTS and type(b) is not DeviceArray:
        if name == "pow" and b < 0:
            raise ArgumentError(NEGATIVE_POWER)
        if name != "pow" and b == 0:
            raise ZeroDivisionError(ZERO_DIVISION.format(name))
    for v in (a, b):
        if type(v) is not DeviceArray and dtype.kind != "b":
            limits = np.iinfo(dtype)
            if not limits.min <= v <= limits.max:
                raise OverflowError(f"Python integer {v} out of bounds for {dtype.name}")
    shape, where, n, together = walked(name, a, b)
    p, a = (0, a) if type(a) is DeviceArray else (int(a), None)
    q, b = (0, b) if type(b) is DeviceArray else (int(b), None)
    check, report = (FAULTS[name], gpu.reporting()) if name in FAULTS else (0, None)
    y = gpu.empty(shape, dtype)
    kernel = f"integers<{c_name(dtype)}>"
    return run(gpu, "elementwise", kernel, n, together, y, a, b, p, q, WHOLE[name], check, report, where)


@KERNELS("bitwise_not")
def bitwise_not(gpu: Gpu, x: DeviceArray) -> Any:
    ones = {"b": 1, "u": (1 << 8 * x.itemsize) - 1, "i": -1}.get(x.dtype.kind)
    return NotImplemented if ones is None else whole(gpu, x, ones, "bitwise_xor")


# ---- comparisons and logic


def compared(gpu: Gpu, a: Any, b: Any, *, name: str) -> Any:
    """What is true of two operands: a table of relations."""
    first = a if type(a) is DeviceArray else b
    dtype, logical = first.dtype, name in LOGICAL
    shape, where, n, together = walked(name, a, b)
    y = gpu.empty(shape, np.dtype(bool))
    number: Any = int if dtype.kind in "biu" else float
    values = []
    for v in (a, b):
        if type(v) is DeviceArray:
            values.append(number(0))
        elif logical:
            values.append(number(bool(v)))
        elif dtype.kind in "iu" and not (limits := np.iinfo(dtype)).min <= v <= limits.max:
            return filled(
                gpu, y, PYTHON[name](0, v) if v is b else PYTHON[name](v, 0)
            )  # as 0, it is beyond all of them
        else:
            values.append(number(v))
    arrays = [v if type(v) is DeviceArray else None for v in (a, b)]
    table = LOGICAL[name] if logical else RELATIONS[name]
    return run(
        gpu, "elementwise", f"compare<{c_name(dtype)}>", n, together, y, *arrays, *values, table, int(logical), where
    )


@KERNELS("logical_not")
def logical_not(gpu: Gpu, x: DeviceArray) -> Any:
    return compared(gpu, x, 0, name="eq")


@KERNELS("isfinite")
def isfinite(gpu: Gpu, x: DeviceArray) -> Any:
    y = gpu.empty(x.shape, np.dtype(bool))
    if x.dtype.kind in "biu":
        return filled(gpu, y, True)
    _, where, n, together = walk((x.shape, x.steps))
    return run(gpu, "elementwise", f"unary<isfinite_f, {c_name(x.dtype)}, bool>", n, together, y, x, where)


@KERNELS("where")
def where(gpu: Gpu, condition: DeviceArray, a: Any, b: Any) -> Any:
    first = a if type(a) is DeviceArray else b
    if type(first) is not DeviceArray:
        return NotImplemented
    if condition.dtype.kind != "b":
        condition = cast(gpu, condition, dtype="bool")
    shape, packed, n, together = walked("where", condition, a, b)
    dtype = first.dtype
    p, a = (0, a) if type(a) is DeviceArray else (bits(a, dtype), None)
    q, b = (0, b) if type(b) is DeviceArray else (bits(b, dtype), None)
    y = gpu.empty(shape, dtype)
    return run(gpu, "elementwise", f"where<{dtype.itemsize}>", n, together, y, condition, a, b, p, q, packed)


# ---- clip


def limits(low: Any, high: Any) -> tuple[float, float]:
    """The numbers of ``clip``, infinite for None."""
    return -np.inf if low is None else float(low), np.inf if high is None else float(high)


@KERNELS("clip")
def clip(gpu: Gpu, x: DeviceArray, *, min: Any = None, max: Any = None) -> Any:
    if x.dtype.kind in "biu":
        return NotImplemented
    shape, packed, n, together = walk((x.shape, x.steps))
    y = gpu.empty(shape, x.dtype)
    return run(gpu, "elementwise", f"clip<{c_name(x.dtype)}>", n, together, y, x, *limits(min, max), packed), (x,)


@KERNELS("clip_vjp")
def clip_vjp(gpu: Gpu, g: DeviceArray, x: DeviceArray, *, needs: Any, min: Any = None, max: Any = None) -> Any:
    if not needs[0]:
        return (None,)
    shape, packed, n, together = walk((g.shape, g.steps), (x.shape, x.steps))
    y = gpu.empty(shape, x.dtype)
    return (run(gpu, "elementwise", f"clip_vjp<{c_name(x.dtype)}>", n, together, y, g, x, *limits(min, max), packed),)


for _name in UNARY:
    KERNELS[_name] = partial(unary, name=_name)
for _name in BINARY:
    KERNELS[_name] = partial(binary, name=_name)
for _name in ("bitwise_and", "bitwise_or", "bitwise_xor"):
    KERNELS[_name] = partial(whole, name=_name)
for _name in (*RELATIONS, *LOGICAL):
    KERNELS[_name] = partial(compared, name=_name)
for _name in ("add", "sub", "mul", "div"):
    KERNELS[f"{_name}_"] = partial(in_place, name=_name)
