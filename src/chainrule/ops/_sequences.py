"""Sequences (n, channels, length) as images of one row, for the ops that are those of images."""

from __future__ import annotations

from typing import Any

from ..domain.errors import ArgumentTypeError
from .shape import reshape


def flat(x: Any) -> Any:
    """Sequences as images of one row."""
    n, c, length = x.shape
    return reshape(x, shape=(n, c, 1, length))


def unflat(y: Any) -> Any:
    """Images of one row as sequences."""
    n, c, _, length = y.shape
    return reshape(y, shape=(n, c, length))


def one(name: str, key: str, value: Any, *, optional: bool = False) -> Any:
    """An integer, also from a list of one; None where that is allowed."""
    found = value[0] if isinstance(value, (tuple, list)) and len(value) == 1 else value
    if found is None and optional:
        return None
    if not hasattr(found, "__index__"):
        raise ArgumentTypeError(f"[{name}] {key} is an integer, not {value!r}")
    return found
