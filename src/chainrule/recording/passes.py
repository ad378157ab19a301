"""What a plan leaves out of a step or does once: none of it changes a bit of what the step gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .engine import store
from .recorder import Call, Kind

CREATE = frozenset({"full", "arange"})


def flat(results: Any) -> list[int]:
    """The places in nested tuples."""
    if isinstance(results, tuple):
        return [place for part in results for place in flat(part)]
    return [] if results == -1 else [results]


def roots(kinds: Mapping[int, Kind]) -> Callable[[int], int]:
    """The place whose memory an array looks at: its own, or that of what it is a view of."""

    def root(place: int) -> int:
        while place in kinds and (base := kinds[place].base) is not None:
            place = base
        return place

    return root


class Uses:
    """Who makes and who uses what is at a place."""

    def __init__(self, calls: list[Call], kept: set[int]) -> None:
        self.kept = kept
        self.users: dict[int, list[Call]] = {}
        for call in calls:
            for place in dict.fromkeys(call.arguments):
                self.users.setdefault(place, []).append(call)

    def outside(self, place: int, inside: set[Call]) -> bool:
        """Whether what is at a place is wanted by others than the calls ``inside``."""
        return place in self.kept or not inside.issuperset(self.users.get(place, ()))

    def only(self, place: int, *names: str) -> list[Call | None] | None:
        """The one user of each of these names, None for a name without; or None if others use the place, too."""
        found: dict[str, Call] = {}
        if place in self.kept:
            return None
        for call in self.users.get(place, ()):
            if call.name not in names or call.name in found or call.writes:
                return None
            found[call.name] = call
        return [found.get(name) for name in names]


def needed(calls: list[Call], kept: set[int]) -> list[Call]:
    """The calls whose results somebody uses, or that write to memory."""
    wanted, found = {*kept}, list[Call]()
    for call in reversed(calls):
        # what a kernel saves of its arguments, it does not make
        made = {*flat(call.results)}.difference(call.arguments)
        if call.writes or not wanted.isdisjoint(made):
            wanted.update(call.arguments)
            found.append(call)
    return found[::-1]


def folded(
    calls: list[Call],
    values: list[Any],
    kinds: Mapping[int, Kind],
    kept: set[int],
    fixed: set[int],
    run: Callable[[Call, list[Any]], Any],
) -> list[Call]:
    """Do now what gives the same each time: numbers made of parameters alone, and views of memory that stays.

    ``fixed`` are places whose arrays stay in place, though their numbers may change. What is written to, or handed out, is
    made anew each time. The rest of the calls comes back; ``values`` has what was done.
    """
    root = roots(kinds)
    lasting = {root(place) for place in kept}
    changed = {root(place) for call in calls if call.writes for place in (*call.arguments, *flat(call.results))}
    constant: set[int] = set()
    rest = []
    for call in calls:
        arrays = [place for place in call.arguments if place in kinds]
        made = flat(call.results)
        same = call.name in CREATE or (bool(arrays) and constant.issuperset(arrays))
        own = not ({root(place) for place in made} & (changed | lasting))
        view = bool(made) and fixed.issuperset(arrays) and all(kinds[place].base is not None for place in made)
        if call.writes or not made or not ((same and own) or (view and lasting.isdisjoint(made))):
            rest.append(call)
            continue
        store(run(call, [values[place] for place in call.arguments]), call.results, values)
        if view:
            fixed.update(made)
        if same and own:
            constant.update(made)
    return rest


def last_uses(calls: list[Call], passing: set[int]) -> list[list[int]]:
    """For each call the places of ``passing`` that no later one uses."""
    seen: set[int] = set()
    found: list[list[int]] = []
    for call in reversed(calls):
        used = {*call.arguments, *flat(call.results)} & passing
        found.append(sorted(used - seen))
        seen |= used
    return found[::-1]
