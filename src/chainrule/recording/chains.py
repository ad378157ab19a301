"""Elementwise calls in a row become one, which does them piece by piece while the numbers are in the cache; on a GPU one
kernel."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..domain.errors import DeviceError
from .engine import NATIVE
from .passes import Uses, flat
from .recorder import Call, Kind

LEAST = 4096  # elements: fewer take less time than it takes to say what to do with them
MOST = 48  # calls in a chain
MOST_ARRAYS = 12  # that a kernel on a GPU takes and gives
ONE_TO_ONE = frozenset(
    # these kernels give each element from the elements at its place
    "add sub mul div maximum minimum pow neg abs sign sqrt floor ceil round square reciprocal rsqrt exp expm1 log log1p tanh "
    "sigmoid erf sin cos tan eq ne lt le gt ge where clip clip_vjp relu relu_vjp leaky_relu leaky_relu_vjp elu elu_vjp gelu "
    "gelu_vjp silu silu_vjp relu6 relu6_vjp hardsigmoid hardsigmoid_vjp hardswish hardswish_vjp selu selu_vjp softplus "
    "softplus_vjp logsigmoid logsigmoid_vjp hardtanh hardtanh_vjp mish mish_vjp softsign softsign_vjp".split()
)
TWO_NUMBERS = frozenset({"clip", "clip_vjp", "hardtanh", "hardtanh_vjp"})


class Link:
    """A call that can be part of a chain: the place of its ``result``, and how it is run: a kernel, dtypes, operands."""

    def __init__(self, call: Call, result: int, request: Any) -> None:
        self.call, self.result = call, result
        *self.how, self.operands = request


def chained(calls: list[Call], values: list[Any], kinds: dict[int, Kind], kept: set[int]) -> list[Call]:
    """Put neighbouring calls on arrays of one shape and layout together, where one uses what another gives."""
    uses = Uses(calls, kept)
    found: list[Call] = []
    row: list[Link] = []
    made = {place for call in calls for place in flat(call.results)}
    before: set[Call] = set()  # the calls that come before the row

    def ends(place: int, inside: set[Call]) -> bool:
        return place in made and not uses.outside(place, inside | before)

    def close() -> None:
        for part in connected(row):
            found.extend(joined(part, uses, kinds, ends))
        before.update(link.call for link in row)
        row.clear()

    for call in calls:
        link = link_of(call, values, kinds)
        if link is None or (row and (not alike(link, row[0], kinds) or len(row) == MOST)):
            close()
        if link is None:
            found.append(call)
            before.add(call)
        else:
            row.append(link)
    close()
    return found


def alike(a: Link, b: Link, kinds: dict[int, Kind]) -> bool:
    """Whether their results lie alike, on one device."""
    return a.call.backend is b.call.backend and frame(kinds[a.result]) == frame(kinds[b.result])


def frame(kind: Kind) -> Any:
    """The shape and the order of an array in memory."""
    return kind.shape, tuple(s // kind.dtype.itemsize for n, s in zip(kind.shape, kind.strides, strict=True) if n > 1)


def is_dense(kind: Kind) -> bool:
    """Whether each place of its memory is one element."""
    n = 1
    for step, size in sorted(zip(frame(kind)[1], [s for s in kind.shape if s > 1], strict=True)):
        if step != n:
            return False
        n *= size
    return True


def link_of(call: Call, values: list[Any], kinds: dict[int, Kind]) -> Link | None:
    """How a call runs, if each element of its result is of the elements at its place."""
    if call.writes:
        return None
    arrays = [place for place in call.arguments if place in kinds]
    made = dict.fromkeys(place for place in flat(call.results) if place not in arrays)
    if len(made) != 1:
        return None
    (result,) = made
    kind = kinds[result]
    if (
        link := getattr(call.backend, "link", None)
    ) is not None:  # on a GPU, where arrays of any layout are walked together
        request = link(call.name, *call.parted([kinds.get(p, values[p]) for p in call.arguments]))
        return None if request is None or kind.base is not None else Link(call, result, request)
    if NATIVE is None or call.name not in ONE_TO_ONE or call.backend.name != "cpu":
        return None
    if math.prod(kind.shape) < LEAST or kind.base is not None or not is_dense(kind):
        return None
    if not all(math.prod(kinds[p].shape) == 1 or frame(kinds[p]) == frame(kind) for p in arrays):
        return None
    given, params = call.parted(
        [np.zeros(4 if kinds[p].shape == kind.shape else (), kinds[p].dtype) if p in kinds else values[p]
         for p in call.arguments]
    )  # fmt: skip
    request = NATIVE._probe(call.kernel, tuple(given), params, 2 if call.name in TWO_NUMBERS else 1)
    return None if request is None else Link(call, result, request)


def connected(row: list[Link]) -> list[list[Link]]:
    """A row of links in parts that have nothing to do with one another, each in its order."""
    part: dict[int, list[Link]] = {}
    for link in row:
        near = [part[place] for place in link.call.arguments if place in part]
        mine = near[0] if near else []
        for other in near[1:]:
            if other is not mine:
                mine.extend(other)
                part.update({p: mine for p, where in part.items() if where is other})
        mine.append(link)
        part[link.result] = mine
        for place in link.call.arguments:  # those that read the same array belong together, too
            part.setdefault(place, mine)
    order = {id(link): i for i, link in enumerate(row)}
    unique = {id(links): links for links in part.values()}.values()
    return sorted((sorted(links, key=lambda link: order[id(link)]) for links in unique), key=lambda p: order[id(p[0])])


def joined(part: list[Link], uses: Uses, kinds: dict[int, Kind], ends: Callable[[int, set[Call]], bool]) -> list[Call]:
    """One call that does those of ``part``. On a GPU several, if they need too many arrays.

    A single one stays as it is, unless it can write over what it takes: what is at a place that ``ends`` with these calls.
    """
    on_gpu = hasattr(part[0].call.backend, "chain")
    if len(part) < 2 and on_gpu:
        return [part[0].call]
    inside = {link.call for link in part}
    results = {link.result: number for number, link in enumerate(part)}
    outputs = [link.result for link in part if uses.outside(link.result, inside)]
    inputs: dict[int, int] = {}
    steps: list[Any] = []
    for link in part:
        operands: list[Any] = []
        for operand in link.operands:
            if isinstance(operand, bytes | float):
                operands.append(operand)
                continue
            place = link.call.arguments[operand]
            if place in results and results[place] < len(steps):
                operands.append((1, results[place]))
            else:
                operands.append((0, inputs.setdefault(place, len(inputs))))
        output = outputs.index(link.result) if link.result in outputs else -1
        steps.append((*link.how, operands, output))
    first = part[0].call
    if on_gpu:
        if len(inputs) + len(outputs) > MOST_ARRAYS:
            half = len(part) // 2
            return joined(part[:half], uses, kinds, ends) + joined(part[half:], uses, kinds, ends)
        try:
            function = first.backend.chain(steps, [kinds[place].dtype for place in inputs])
        except DeviceError:  # nobody compiles it: one by one
            return [link.call for link in part]
    else:
        into = overwritten(steps, [*inputs], outputs, kinds, {place for place in inputs if ends(place, inside)})
        if not hasattr(NATIVE._Chain, "writes_over"):  # a native module of before
            into = [-1] * len(outputs)
        if len(part) < 2 and into == [-1]:
            return [first]
        function = NATIVE._Chain(steps)
        if max(into, default=-1) >= 0:
            function.writes_over(into)
    names = list(dict.fromkeys(link.call.name for link in part))
    call = Call(" ".join(names[:4]) + " …" * (len(names) > 4), first.backend, [*inputs], (), first.line)
    call.function = function
    call.results = outputs[0] if len(outputs) == 1 else tuple(outputs)
    return [call]


def overwritten(
    steps: list[Any], inputs: list[int], outputs: list[int], kinds: dict[int, Kind], ending: set[int]
) -> list[int]:
    """For each output the number of an input that may lie in the same memory, or -1.

    That is one like it which no later step reads, at a place among ``ending``. An array that somebody else has, too, is
    spared when it runs.
    """
    last = {number: at for at, (*_, operands, _) in enumerate(steps) for kind, number in pairs(operands) if kind == 0}
    found = [-1] * len(outputs)
    for at, (*_, output) in enumerate(steps):
        if output < 0 or kinds[outputs[output]].dtype.kind != "f":
            continue
        like = kinds[outputs[output]]
        for number, place in enumerate(inputs):
            if number not in found and last[number] <= at and kinds[place] == like and place in ending:
                found[output] = number
                break
    return found


def pairs(operands: list[Any]) -> list[tuple[int, int]]:
    """The operands that are no numbers."""
    return [operand for operand in operands if isinstance(operand, tuple)]
