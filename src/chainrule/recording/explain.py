"""A plan as a table: each call with its arrays, bytes, operations and time."""

from __future__ import annotations

import math
from functools import partial
from html import escape
from time import perf_counter
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..profile import FLOPS
from .engine import Engine
from .passes import flat
from .plan import Plan, fallback
from .recorder import Call

ROUNDS = 5


class Row:
    """One call: ``shapes`` of its arguments and results, ``bytes`` read and written, ``flops`` (None: not known), ``line``;
    ``seconds`` the least of some runs, None if it was not timed."""

    def __init__(self, plan: Plan, call: Call) -> None:
        given = [plan.kinds[place] for place in call.arguments if place in plan.kinds]
        new = dict.fromkeys(place for place in flat(call.results) if place not in call.arguments)
        made = [plan.kinds[place] for place in new]
        self.name, self.line = call.name, call.line
        self.shapes = [k.shape for k in given], [k.shape for k in made]
        self.view = bool(made) and all(k.base is not None for k in made)
        self.bytes = 0 if self.view else sum(math.prod(k.shape) * k.dtype.itemsize for k in (*given, *made))
        self.flops: int | None = None
        if call.name in FLOPS:
            _, params = call.parted([plan.values[place] for place in call.arguments])
            like = [[SimpleNamespace(shape=k.shape, size=math.prod(k.shape)) for k in some] for some in (given, made)]
            self.flops = FLOPS[call.name](*like, params)
        self.seconds: float | None = None

    def cells(self) -> tuple[str, str, str, str, str, str, str]:
        """name, shapes, KiB, MFLOP, µs, the rate, line"""
        given, made = (" ".join("×".join(map(str, s)) or "()" for s in some[:4]) for some in self.shapes)
        more = " …" if len(self.shapes[0]) > 4 else ""
        rate = ""
        if self.seconds:
            each, unit = (self.flops, "GFLOP/s") if self.flops else (self.bytes, "GB/s")
            rate = "" if self.view else f"{each / self.seconds / 1e9:.1f} {unit}"
        return (
            self.name,
            f"{given}{more} → {made}",
            "view" if self.view else f"{self.bytes / 1024:.1f}",
            f"{self.flops / 1e6:.2f}" if self.flops else "",
            "" if self.seconds is None else f"{self.seconds * 1e6:.1f}",
            rate,
            self.line.rpartition("/")[2],
        )


class Explanation:
    """The calls of a program, in their order. Printed it is a table, in a notebook too.

    ``recorded`` is how many calls there were before the plan left some out; ``rows`` are those that are made.
    """

    head = ("call", "arguments → results", "KiB", "MFLOP", "µs", "rate", "line")

    def __init__(self, plan: Plan, time: bool) -> None:
        self.recorded, self.rows = plan.recorded, [Row(plan, call) for call in plan.calls]
        if time:
            for row, seconds in zip(self.rows, timed(plan), strict=True):
                row.seconds = seconds

    @property
    def seconds(self) -> float | None:
        """Of all calls."""
        found = [row.seconds for row in self.rows if row.seconds is not None]
        return sum(found) if found else None

    def __str__(self) -> str:
        table = [self.head, *[row.cells() for row in self.rows]]
        wide = [max(len(line[i]) for line in table) for i in range(len(self.head))]
        sides = [str.rjust if 1 < i < 6 else str.ljust for i in range(len(wide))]
        lines = ["  ".join(s(c, w) for s, c, w in zip(sides, line, wide, strict=True)).rstrip() for line in table]
        whole = "" if self.seconds is None else f", {self.seconds * 1e6:.1f} µs"
        return "\n".join([*lines, f"{len(self.rows)} calls ({self.recorded} recorded){whole}"])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        def line(cells: Any, tag: str) -> str:
            return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

        rows = "".join(line(row.cells(), "td") for row in self.rows)
        return f"<table>{line(self.head, 'th')}{rows}</table>"


def timed(plan: Plan) -> list[float]:
    """The seconds of each call, on zeros and on copies of what is there: nothing outside is changed."""
    engine = Engine(plan.rows(), partial(fallback, plan.calls))
    best = [math.inf] * len(plan.calls)
    backend: Any = plan.calls[0].backend if plan.calls else None
    gpu = getattr(backend, "gpu", None)
    with np.errstate(all="ignore"):
        for _ in range(ROUNDS):
            values = [backend.kernels["clone"](v) if hasattr(v, "strides") else v for v in plan.values]
            for place, kind in plan.kinds.items():
                if values[place] is None:
                    values[place] = backend.asarray(np.zeros(kind.shape, kind.dtype))
            for number in range(len(best)):
                begin = perf_counter()
                engine.step(number, values)
                if gpu is not None:
                    gpu.driver.synchronize(gpu.stream)
                best[number] = min(best[number], perf_counter() - begin)
    return best
