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
from .recorder import Call, Recorder

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
        self.calls = needed(recorder.calls, kept)
        self.drops = last_uses(self.calls, recorder.made.keys() - kept)
        self.functions: list[Callable[..., Any]] = [call.backend.kernels[call.name] for call in self.calls]
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


def fallback(calls: list[Call], number: int, arguments: list[Any]) -> Any:
    """What a call gives whose kernel declined the arrays. Errors: that of the op for such values; RecordingError."""
    call = calls[number]
    count = len(arguments) - len(call.names)
    given, params = arguments[:count], dict(zip(call.names, arguments[count:], strict=True))
    found = declined(call.backend, call.name, given, params)
    if found is NotImplemented:
        if call.name in OPS:
            OPS[call.name](*(wrap(x, call.backend, Storage()) if hasattr(x, "dtype") else x for x in given), **params)
        raise RecordingError(f"[{call.name}] the {call.backend} kernel declined what it took when it was recorded")
    return found


def flat(results: Any) -> list[int]:
    """The places in nested tuples."""
    if isinstance(results, tuple):
        return [place for part in results for place in flat(part)]
    return [] if results == -1 else [results]


def needed(calls: list[Call], kept: set[int]) -> list[Call]:
    """The calls whose results somebody uses, or that write to memory."""
    wanted, found = {*kept}, list[Call]()
    for call in reversed(calls):
        if call.writes or not wanted.isdisjoint(flat(call.results)):
            wanted.update(call.arguments)
            found.append(call)
    return found[::-1]


def last_uses(calls: list[Call], passing: set[int]) -> list[list[int]]:
    """For each call the places of ``passing`` that no later one uses."""
    seen: set[int] = set()
    found: list[list[int]] = []
    for call in reversed(calls):
        used = {*call.arguments, *flat(call.results)} & passing
        found.append(sorted(used - seen))
        seen |= used
    return found[::-1]
