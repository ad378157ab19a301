"""From what was recorded to what is run: calls that nobody needs are left out, values are dropped after their last use."""

from __future__ import annotations

from functools import partial
from typing import Any

from ..domain.errors import RecordingError
from ..launch import declined
from ..ops import OPS
from ..tensor import Storage, wrap
from .after_conv import after_convolution
from .after_norm import after_batch_norm
from .chains import chained
from .engine import NATIVE, Engine
from .epilogues import activated_products
from .graph import GraphEngine
from .passes import flat, folded, last_uses, needed
from .recorder import Call, Recorder
from .rewrite import relu_after_pooling


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
        calls = activated_products(calls, self.values, self.kinds, kept)
        calls = after_batch_norm(calls, self.values, self.kinds, kept)
        calls = after_convolution(calls, self.kinds, kept)
        calls = folded(calls, self.values, self.kinds, kept, fixed, run)
        self.calls = chained(calls, self.values, self.kinds, kept)
        passing = {place for call in self.calls for place in flat(call.results)}
        self.drops = last_uses(self.calls, passing - kept)
        self.engine: Any = self.made_for(self.calls[0].backend if self.calls else None, kept)

    def made_for(self, backend: Any, kept: set[int]) -> Any:
        """What runs the calls: a graph on a GPU; else the native module, or Python where there is none."""
        rows, other = self.rows(), partial(fallback, self.calls)
        if backend is not None and backend.device.kind == "cuda":
            written = {place for call in self.calls for place in call.written}
            return GraphEngine(backend.gpu, rows, other, self.values, kept, written)
        return Engine(rows, other) if NATIVE is None else NATIVE._Program(rows, other)

    def rows(self) -> list[Any]:
        """The calls as an engine takes them."""
        pairs = zip(self.calls, self.drops, strict=True)
        return [(call.kernel, call.arguments, call.names, call.results, drops) for call, drops in pairs]

    def explain_error(self, error: Exception) -> None:
        """Note at an error of the engine which call it comes from."""
        number = getattr(error, "call", None)
        if number is not None:
            call = self.calls[number]
            error.add_note(f"in the recorded call {call.name}, made at {call.line}")


def fallback(calls: list[Call], number: int, arguments: list[Any]) -> Any:
    """What a call gives whose kernel declined the arrays. Errors: that of the op for such values; RecordingError."""
    return instead(calls[number], arguments)


def run(call: Call, arguments: list[Any]) -> Any:
    """What a call gives."""
    given, params = call.parted(arguments)
    found = call.kernel(*given, **params)
    return instead(call, arguments) if found is NotImplemented else found


def instead(call: Call, arguments: list[Any]) -> Any:
    """What the reference gives where the kernel of a call declines."""
    given, params = call.parted(arguments)
    found = declined(call.backend, call.name, given, params)
    if found is NotImplemented:
        if call.name in OPS:
            OPS[call.name](*(wrap(x, call.backend, Storage()) if hasattr(x, "dtype") else x for x in given), **params)
        raise RecordingError(f"[{call.name}] the {call.backend} kernel declined what it took when it was recorded")
    return found
