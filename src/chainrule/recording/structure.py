"""Tensors inside tuples, lists and dicts: out of them, and back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..tensor import Tensor, from_array

TENSOR = object()  # where a tensor was
NUMBERS = frozenset({bool, int, float})


def flatten(value: Any, found: list[Tensor], arrays: bool = False) -> Any:
    """Append the tensors in ``value`` to ``found``; what is around them comes back, hashable where its parts are.

    With ``arrays`` NumPy's are tensors too.
    """
    kind = type(value)
    if kind is Tensor or isinstance(value, Tensor):
        found.append(value)
        return TENSOR
    if isinstance(value, (tuple, list)):
        return (kind, *[flatten(v, found, arrays) for v in value])
    if kind is dict:
        return (dict, tuple(value), *[flatten(v, found, arrays) for v in value.values()])
    if arrays and hasattr(value, "__array_interface__"):
        if value.shape == ():
            return flatten(value.item(), found)
        found.append(from_array(value))
        return TENSOR
    return exact(value) if kind in NUMBERS else value


def exact(value: Any) -> Any:
    """A value that no other is equal to: 1, 1.0 and True are equal otherwise, 0.0 and -0.0 too."""
    return type(value), value, None if value else str(value)


def unflatten(around: Any, tensors: Iterator[Any]) -> Any:
    """The value that ``flatten`` took apart, of other tensors."""
    if around is TENSOR:
        return next(tensors)
    if type(around) is tuple and around and isinstance(around[0], type):
        kind = around[0]
        if kind in NUMBERS:
            return around[1]
        if kind is dict:
            return dict(zip(around[1], [unflatten(v, tensors) for v in around[2:]], strict=True))
        values = [unflatten(v, tensors) for v in around[1:]]
        return kind(*values) if hasattr(kind, "_fields") else kind(values)
    return around
