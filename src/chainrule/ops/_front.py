"""Ops that users call otherwise than by their tensors and parameters."""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from typing import Any


def front(make: Callable[[Any], Callable[..., Any]]) -> Callable[[Any], Any]:
    """Above an op: what users call is ``make(op)``, under the op's name and with its docstring and rules."""

    def decorate(call: Any) -> Any:
        return update_wrapper(make(call), call)

    return decorate
