"""Sequences of tensors in ONNX: here they are lists."""

from __future__ import annotations

from typing import Any

from ... import ops
from ...tensor import Tensor
from .operators import axes_in, constant, integers, operator


def place(position: Any, n: int) -> int:
    """An index, counted from the first."""
    i = integers(position)[0]
    return i + n if i < 0 else i


@operator("SequenceConstruct")
def sequence_construct(*xs: Any) -> Any:
    """The inputs."""
    return [*xs]


@operator("SequenceEmpty")
def sequence_empty(*, dtype: int = 1) -> Any:
    """Nothing."""
    return []


@operator("SequenceAt")
def sequence_at(xs: Any, position: Any) -> Any:
    """One of them."""
    return xs[place(position, len(xs))]


@operator("SequenceInsert")
def sequence_insert(xs: Any, x: Any, position: Any = None) -> Any:
    """One more, at the end unless said."""
    at = len(xs) if position is None else place(position, len(xs))
    return [*xs[:at], x, *xs[at:]]


@operator("SequenceErase")
def sequence_erase(xs: Any, position: Any = None) -> Any:
    """One less, the last unless said."""
    at = len(xs) - 1 if position is None else place(position, len(xs))
    return [*xs[:at], *xs[at + 1 :]]


@operator("SequenceLength")
def sequence_length(xs: Any) -> Any:
    """How many they are."""
    return constant(len(xs), xs[0], "int64") if xs else Tensor(0, dtype="int64")


@operator("ConcatFromSequence")
def concat_from_sequence(xs: Any, *, axis: int, new_axis: int = 0) -> Any:
    """One after the other along an axis, which may be new."""
    return ops.stack(*xs, axis=axis) if new_axis else ops.concat(*xs, axis=axis)


@operator("SplitToSequence")
def split_to_sequence(x: Any, sizes: Any = None, *, axis: int = 0, keepdims: int = 1) -> Any:
    """Parts along an axis."""
    (axis,) = axes_in(x, axis)
    if sizes is None:
        parts = ops.split(x, sizes=1, axis=axis)
        return [*parts] if keepdims else [ops.squeeze(part, axis=axis) for part in parts]
    chosen = integers(sizes)
    return [*ops.split(x, sizes=chosen[0] if sizes.ndim == 0 else tuple(chosen), axis=axis)]


@operator("Optional")
def optional(x: Any = None, *, type_: Any = None) -> Any:
    """What may be there or not."""
    return x


@operator("OptionalHasElement")
def optional_has_element(x: Any = None) -> Any:
    """Whether it is."""
    return Tensor(x is not None, dtype="bool")


@operator("OptionalGetElement")
def optional_get_element(x: Any) -> Any:
    """What is there."""
    return x
