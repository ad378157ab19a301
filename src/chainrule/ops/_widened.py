"""16-bit floats in bodies: computed in float32 from end to end and rounded once, as in kernels."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from ..tensor import Tensor
from .memory import cast


def is_half(x: Any) -> bool:
    """Whether ``x`` is a tensor of 16-bit floats."""
    return isinstance(x, Tensor) and x.is_floating and x.dtype.bits == 16


def wide(x: Any) -> Any:
    """A tensor of 16-bit floats as float32; anything else as it is."""
    return cast(x, dtype="float32") if is_half(x) else x


def widened(body: Callable[..., Any]) -> Callable[..., Any]:
    """Have ``body`` (or a rule, whose first tensor has the dtype that counts) see float32 in place of 16-bit floats."""

    @wraps(body)
    def run(*args: Any, **params: Any) -> Any:
        half = next((x.dtype for x in args if is_half(x)), None)
        if half is None:
            return body(*args, **params)
        y = body(*map(wide, args), **params)
        if isinstance(y, tuple):
            return tuple([cast(v, dtype=half) if v.is_floating else v for v in y])
        return cast(y, dtype=half)

    return run
