"""Calls that become part of the one before: a product of matrices that applies an activation as it writes its result."""

from __future__ import annotations

import math
from typing import Any

from .engine import NATIVE
from .passes import Uses
from .recorder import Call, Kind
from .rewrite import parts

# What linear_activation does after its product, and for which numbers of results that is faster: for few, as it saves a call
# (0.1 µs, a third of a product of 16×16×16), and where relu would go through memory beyond the caches again. Between, two
# calls are 1 to 5 % faster. Its bits are those of the op after linear, for these dtypes. Gradients stay as they are: they take
# what the activation gave, or, if it keeps that too, what it was given.
FEW, MANY = 1024, 1 << 18
ACTIVATIONS = {"relu": MANY, "sigmoid": math.inf, "tanh": math.inf, "gelu": math.inf, "silu": math.inf}
KEEP_BOTH = frozenset({"gelu", "silu"})
DTYPES = ("float32", "float64")


def activated_products(calls: list[Call], values: list[Any], kinds: dict[int, Kind], kept: set[int]) -> list[Call]:
    """``linear`` and an activation, where nobody needs what is between or it is kept, as ``linear_activation``."""
    uses = Uses(calls, kept)
    found: dict[Call, list[Call]] = {}
    for linear in calls:
        if NATIVE is None or linear.name != "linear" or linear.backend.name != "cpu":
            continue
        between, saved = parts(linear.results)
        size = math.prod(kinds[between].shape)
        users = [call for call in uses.users.get(between, ()) if call.name in ACTIVATIONS]
        if saved is None or len(users) != 1 or kinds[between].dtype.name not in DTYPES:
            continue
        (activation,) = users
        both = activation.name in KEEP_BOTH
        alone = not uses.outside(between, {activation})
        exact = {values[place] for place in activation.arguments[1:]} <= {"none"}  # of the kinds of gelu
        if (alone or both) and exact and (size <= FEW or size >= ACTIVATIONS[activation.name]):
            values.append(activation.name)
            places = [*linear.arguments, len(values) - 1]
            call = Call("linear_activation", linear.backend, places, ("activation",), linear.line)
            after = parts(activation.results)[0]
            call.results = after, (*saved, between if both else after)
            found[linear], found[activation] = [call], []
    return [new for call in calls for new in found.get(call, [call])]
