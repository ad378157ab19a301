"""Calls in another order, where that is less work and gives the same bits."""

from __future__ import annotations

from typing import Any

from .passes import Uses, flat
from .recorder import Call, Kind


def relu_after_pooling(calls: list[Call], values: list[Any], kinds: dict[int, Kind], kept: set[int]) -> list[Call]:
    """relu of the largest is the largest of relu: pool first, and there is a quarter as much to cut off, twice.

    The gradient too is the same: where the largest is not above 0, it is 0 both ways.
    """
    uses = Uses(calls, kept)
    moved: dict[Call, list[Call]] = {}
    for relu in calls:
        if relu.name != "relu" or relu in moved:
            continue
        before, after = relu.arguments[0], flat(relu.results)[0]
        users = uses.only(after, "max_pool2d", "relu_vjp")
        pool, relu_vjp = users if users is not None else (None, None)
        if pool is None or pool.arguments[0] != after:
            continue
        pooled, saved = parts(pool.results)
        pools = None if saved is None else uses.only(flat(saved)[0], "max_pool2d_vjp")
        pool_vjp = None if pools is None else pools[0]
        if (pool_vjp is None) != (relu_vjp is None):
            continue
        if pool_vjp is not None and relu_vjp is not None:
            wide = flat(pool_vjp.results)[0]
            if uses.only(wide, "relu_vjp") != [relu_vjp] or relu_vjp.arguments[:2] != [wide, after]:
                continue
            g, narrow = pool_vjp.arguments[0], flat(relu_vjp.results)[0]
            cut = place_like(g, values, kinds)
            moved[pool_vjp] = [copied(relu_vjp, {wide: g, after: pooled}, {narrow: cut})]
            moved[relu_vjp] = [copied(pool_vjp, {g: cut}, {wide: narrow})]
        small = place_like(pooled, values, kinds)
        rows = [copied(pool, {after: before}, {pooled: small}), Call("relu", relu.backend, [small], (), relu.line)]
        rows[1].results = (pooled, (pooled,)) if isinstance(relu.results, tuple) else pooled
        moved[relu], moved[pool] = [], rows
    return [new for call in calls for new in moved.get(call, [call])]


def parts(results: Any) -> tuple[int, Any]:
    """What a kernel gave and what it saved."""
    return results if isinstance(results, tuple) else (results, None)


def place_like(place: int, values: list[Any], kinds: dict[int, Kind]) -> int:
    """One more place, for an array like another in memory of its own."""
    values.append(None)
    kinds[len(values) - 1] = kinds[place]._replace(base=None)
    return len(values) - 1


def copied(call: Call, arguments: dict[int, int], results: dict[int, int]) -> Call:
    """The same call with other places."""

    def renamed(some: Any) -> Any:
        return tuple(map(renamed, some)) if isinstance(some, tuple) else results.get(some, some)

    found = Call(call.name, call.backend, [arguments.get(p, p) for p in call.arguments], call.names, call.line)
    found.results = renamed(call.results)
    return found
