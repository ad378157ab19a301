"""relu of a convolution, done to what has just been computed while it is in the cache."""

from __future__ import annotations

from .engine import NATIVE
from .passes import Uses
from .recorder import Call, Kind
from .rewrite import parts


def after_convolution(calls: list[Call], kinds: dict[int, Kind], kept: set[int]) -> list[Call]:
    """Do ``conv2d`` and ``relu`` in one call, where nobody else wants what is between.

    The gradient stays as it is: it takes what relu gave.
    """
    if not hasattr(NATIVE, "_conv2d_relu"):  # there is no native module, or it was built without convolutions
        return calls
    uses = Uses(calls, kept)
    found: dict[Call, list[Call]] = {}
    for conv in calls:
        if conv.name != "conv2d" or conv.backend.name != "cpu":
            continue
        between, saved = parts(conv.results)
        users = uses.only(between, "relu")
        relu = users[0] if users is not None else None
        if relu is None or any(kinds[p].dtype not in ("float32", "float64") for p in conv.arguments if p in kinds):
            continue
        call = Call("conv2d relu", conv.backend, conv.arguments, conv.names, conv.line)
        call.function = NATIVE._conv2d_relu
        call.results = (parts(parts(relu.results)[0])[0], -1 if saved is None else saved)
        found[conv], found[relu] = [call], []
    return [new for call in calls for new in found.get(call, [call])]
