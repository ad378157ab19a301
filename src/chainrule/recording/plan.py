"""From what was recorded to what is run: calls that nobody needs are left out, values are dropped after their last use."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import partial
from typing import Any

from ..domain.errors import RecordingError
from ..launch import declined
from ..ops import OPS
from ..tensor import Storage, wrap
from . import engine as reference
from .chains import chained
from .passes import flat, folded, last_uses, needed
from .recorder import Call, Recorder
from .rewrite import relu_after_pooling

Engine: Any = reference.Engine
if importlib.util.find_spec("chainrule._native") is not None:
    Engine = importlib.import_module("chainrule._native")._Program


class Plan:
    """The calls of a step in the order in which they run, and the ``values`` they begin with.

    ``kept`` are the places of results that are wanted in the end. ``drops`` has for each call the places that are empty
    after it.
    """

    def __init__(self, recorder: Recorder, kept: set[int]) -> None:
        self.values, self.kinds = recorder.values, recorder.kinds
        self.recorded = len(recorder.calls)
        calls = needed(recorder.calls, kept)
        fixed = {place for place, value in enumerate(self.values) if hasattr(value, "strides")}
        calls = relu_after_pooling(calls, self.values, self.kinds, kept)
        calls = folded(calls, self.values, self.kinds, kept, fixed, run)
        self.calls = chained(calls, self.values, self.kinds, kept)
        passing = {place for call in self.calls for place in flat(call.results)}
        self.drops = last_uses(self.calls, passing - kept)
        self.functions: list[Callable[..., Any]] = [kernel(call) for call in self.calls]
        self.engine = Engine(self.rows(), partial(fallback, self.calls))

    def rows(self) -> list[Any]:
        """The calls as an engine takes them."""
        rows = zip(self.functions, self.calls, self.drops, strict=True)
        return [(f, c.arguments, c.names, c.results, d) for f, c, d in rows]

    def explain_error(self, error: Exception) -> None:
        """Note at an error of the engine which call it comes from."""
        number = getattr(error, "call", None)
        if number is not None:
            call = self.calls[number]
            error.add_note(f"in the recorded call {call.name}, made at {call.line}")


def kernel(call: Call) -> Callable[..., Any]:
    """What a call runs."""
    found: Callable[..., Any] = call.function or call.backend.kernels[call.name]
    return found


def fallback(calls: list[Call], number: int, arguments: list[Any]) -> Any:
    """What a call gives whose kernel declined the arrays. Errors: that of the op for such values; RecordingError."""
    return instead(calls[number], arguments)


def run(call: Call, arguments: list[Any]) -> Any:
    """What a call gives."""
    count = len(arguments) - len(call.names)
    found = kernel(call)(*arguments[:count], **dict(zip(call.names, arguments[count:], strict=True)))
    return instead(call, arguments) if found is NotImplemented else found


def instead(call: Call, arguments: list[Any]) -> Any:
    """What the reference gives where the kernel of a call declines."""
    count = len(arguments) - len(call.names)
    given, params = arguments[:count], dict(zip(call.names, arguments[count:], strict=True))
    found = declined(call.backend, call.name, given, params)
    if found is NotImplemented:
        if call.name in OPS:
            OPS[call.name](*(wrap(x, call.backend, Storage()) if hasattr(x, "dtype") else x for x in given), **params)
        raise RecordingError(f"[{call.name}] the {call.backend} kernel declined what it took when it was recorded")
    return found
