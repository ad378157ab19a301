"""Axes as a user gives them, and as kernels take them: none negative, none twice."""

from __future__ import annotations

from math import prod
from operator import index
from typing import Any

from ..domain.errors import ArgumentError, ArgumentTypeError, IndexRangeError, ShapeError


def one_axis(op: str, axis: Any, shape: tuple[int, ...], *, room: int = 0) -> int:
    """``axis`` counted from the front. ``room`` axes more than there are may be meant (by unsqueeze and stack)."""
    n = len(shape) + room
    try:
        found = index(axis)
    except TypeError:
        raise ArgumentTypeError(f"[{op}] axis is an integer, not {axis!r}") from None
    if not -n <= found < n:
        allowed = f"from {-n} to {n - 1}" if n else "none, for it has no axes"
        raise IndexRangeError(f"[{op}] axis {found} is not an axis of {shape}; allowed: {allowed}")
    return found % n


def some_axes(op: str, axis: Any, shape: tuple[int, ...]) -> Any:
    """One axis as an int, several as a tuple in order, and all (None, or an empty tuple as in PyTorch) as None."""
    if axis is None or (isinstance(axis, (tuple, list)) and not axis):
        return None
    if not isinstance(axis, (tuple, list)):
        return one_axis(op, axis, shape) if shape or axis not in (0, -1) else None
    found = tuple(sorted(one_axis(op, a, shape) for a in axis))
    if len(set(found)) < len(found):
        raise ArgumentError(f"[{op}] axis {tuple(axis)} names one axis of {shape} twice")
    return found


def listed(axis: Any, ndim: int) -> tuple[int, ...]:
    """Canonical axes, None included, as a tuple."""
    if axis is None:
        return tuple(range(ndim))
    return axis if isinstance(axis, tuple) else (axis % ndim,)


def kept(shape: tuple[int, ...], axis: Any) -> tuple[int, ...]:
    """``shape`` after a reduction over ``axis`` that keeps the axes as ones."""
    axes = listed(axis, len(shape))
    return tuple([1 if i in axes else n for i, n in enumerate(shape)])


def dropped(shape: tuple[int, ...], axis: Any) -> tuple[int, ...]:
    """``shape`` after a reduction over ``axis``."""
    axes = listed(axis, len(shape))
    return tuple([n for i, n in enumerate(shape) if i not in axes])


def count(shape: tuple[int, ...], axis: Any) -> int:
    """How many elements a reduction over ``axis`` makes one of."""
    return prod(shape[a] for a in listed(axis, len(shape)))


def pair(op: str, name: str, value: Any, least: int) -> tuple[int, int]:
    """A size for height and width: one integer for both, or two."""
    values = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(values) != 2 or not all(hasattr(v, "__index__") for v in values):
        raise ArgumentTypeError(f"[{op}] {name} is an integer or a pair of them, not {value!r}")
    if min(values) < least:
        raise ArgumentError(f"[{op}] {name} is {value}, but at least {least} is needed")
    if max(values) >= 1 << 31:  # kernels add and multiply these
        raise ArgumentError(f"[{op}] {name} is {value}, but at most {(1 << 31) - 1} can be")
    return index(values[0]), index(values[1])


def sizes(op: str, shape: Any) -> tuple[int, ...]:
    """A shape: a sequence of integers, or one."""
    try:
        return tuple([index(n) for n in shape]) if isinstance(shape, (tuple, list)) else (index(shape),)
    except TypeError:
        raise ArgumentTypeError(f"[{op}] a shape is made of integers, not {shape!r}") from None


def same_shape(op: str, **tensors: Any) -> None:
    """Raise unless the tensors have one shape."""
    (first, a), *rest = tensors.items()
    for name, b in rest:
        if a.shape != b.shape:
            raise ShapeError(f"[{op}] {first} has shape {a.shape} but {name} has {b.shape}; they should be the same")
