"""Calls that become part of the one before: a product of matrices that applies an activation as it writes its result."""

from __future__ import annotations

import math
from typing import Any

from .engine import NATIVE
from .passes import Uses
from .recorder import Call, Kind
from .rewrite import parts

# What linear_activation calls these ops, and up to how many elements of the result that is faster: it saves a call (0.1 µs, a
# fifth of a product of 16×16×16), and does larger ones tile by tile, 1 to 5 % slower than two calls. Its bits are those of
# the op after linear, for these dtypes. Gradients stay as they are: they take what the activation gave.
ACTIVATIONS = {"relu": ("relu", 1024), "sigmoid": ("sigmoid", 1024), "tanh": ("tanh", 1024)}
DTYPES = ("float32", "float64")


def activated_products(calls: list[Call], values: list[Any], kinds: dict[int, Kind], kept: set[int]) -> list[Call]:
    """``linear`` and one activation, where nobody else wants what is between, as ``linear_activation``."""
    uses = Uses(calls, kept)
    found: dict[Call, list[Call]] = {}
    for linear in calls:
        if NATIVE is None or linear.name != "linear" or linear.backend.name != "cpu":
            continue
        between, saved = parts(linear.results)
        users = uses.users.get(between, ())
        if between in kept or len(users) != 1 or kinds[between].dtype.name not in DTYPES:
            continue
        (activation,) = users
        if activation.name not in ACTIVATIONS or activation.arguments != [between]:
            continue
        name, most = ACTIVATIONS[activation.name]
        if math.prod(kinds[between].shape) > most:
            continue
        values.append(name)
        places = [*linear.arguments, len(values) - 1]
        call = Call("linear_activation", linear.backend, places, ("activation",), linear.line)
        after = parts(activation.results)[0]
        call.results = after if saved is None else (after, (*saved, after))
        found[linear], found[activation] = [call], []
    return [new for call in calls for new in found.get(call, [call])]
