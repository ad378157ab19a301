"""Ops that users call otherwise than by their tensors and parameters."""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from typing import Any

from ._op import OpCall


def front(make: Callable[[OpCall], Callable[..., Any]]) -> Callable[[OpCall], OpCall]:
    """Above an op: what users call is ``make(op)``, under the op's name and with its docstring and rules."""

    def decorate(call: OpCall) -> OpCall:
        made: Any = update_wrapper(make(call), call)
        return made  # type: ignore[no-any-return]

    return decorate
