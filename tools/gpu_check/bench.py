"""The cases, call by call and recorded, beside PyTorch in turns: medians of rounds that events of the device timed."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from cases import Case, Ours, Torch, cases

L2 = 60 << 20  # bytes of the cache that one set after another has to be larger than
ROUNDS = 7
ROUND = 20_000  # microseconds of a round, about


def sets(case: Case, lib: Any) -> list[Callable[[], Any]]:
    """As many functions with data of their own as do not fit into the cache."""
    return [case.make(lib, 10 * i) for i in range(min(64, 2 + 2 * L2 // max(case.bytes, 1)))]


def listed(x: Any) -> list[Any]:
    """One tensor or several."""
    return [*x] if isinstance(x, (tuple, list)) else [x]


def all_of(functions: list[Callable[[], Any]]) -> Callable[[], Any]:
    """One call for all sets."""

    def step() -> Any:
        return tuple(x for f in functions for x in listed(f()))  # all: what nobody needs is not done

    return step


class Way:
    """A library's way to do a case: call by call or recorded."""

    def __init__(self, name: str, lib: Any, step: Callable[[], Any], count: int) -> None:
        self.name, self.lib, self.step, self.count = name, lib, step, count
        self.calls, self.times = 1, []
        for _ in range(2):  # warm, and how long it takes
            self.round()
        self.calls = max(1, min(200, int(ROUND / max(self.times[-1] * count, 1))))
        self.times = []

    def round(self) -> None:
        """Time some calls; microseconds of one set."""
        self.lib.wait()
        first = self.lib.event()
        for _ in range(self.calls):
            self.step()
        last = self.lib.event()
        self.times.append(self.lib.elapsed(first, last) / self.calls / self.count)


def some_of(lib: Any, found: Any) -> Any:
    """Enough of the elements of all results to compare."""
    arrays = [lib.numpy(x).reshape(-1) for x in listed(found)]
    return np.concatenate([x[:: max(1, x.size >> 22)] for x in arrays])


def measured(case: Case, libs: list[Any], tiny: bool) -> dict[str, Any]:
    """A row: for each way the median and the quartiles; how far ours is from PyTorch's, or from the CPU's."""
    row: dict[str, Any] = {
        "name": case.name,
        "table": case.table,
        "floor": round(case.floor, 2),
        "us": {},
        "quartiles": {},
    }
    results, ways = {}, []
    for lib in libs:
        try:
            results[lib.name] = some_of(lib, case.make(lib, 0)())
            if tiny:
                again = some_of(lib, lib.recorded(all_of([case.make(lib, 0)]))())
                assert "Adam" in case.name or "training" in case.name or np.array_equal(again, results[lib.name]), (
                    "recorded"
                )
                continue
            functions = sets(case, lib)
            step = all_of(functions)
            for name, make in (("eager", lambda s: s), ("replayed", lib.recorded)):
                try:
                    ways.append(Way(f"{lib.name} {name}", lib, make(step), len(functions)))
                except Exception as error:  # told in the row
                    row.setdefault("errors", {})[f"{lib.name} {name}"] = f"{type(error).__name__}: {str(error)[:300]}"
        except Exception as error:  # told in the row
            row.setdefault("errors", {})[lib.name] = f"{type(error).__name__}: {str(error)[:300]}"
    for _ in range(ROUNDS):
        for way in ways:
            way.round()
    for way in ways:
        low, middle, high = np.quantile(way.times, [0.25, 0.5, 0.75])
        row["us"][way.name] = round(float(middle), 3)
        row["quartiles"][way.name] = [round(float(low), 3), round(float(high), 3)]
    if "chainrule" in results:
        x = results["chainrule"].astype(np.float64)
        row["finite"] = bool(np.isfinite(x).all())
        if "torch" in results:
            e = results["torch"].astype(np.float64)
            row["apart"] = float(np.linalg.norm(x - e) / max(np.linalg.norm(e), 1e-30))
    return row


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--seconds", type=float, default=100)
    options = parser.parse_args()
    begin, found = time.monotonic(), []
    libs: list[Any] = [Ours()]
    try:
        libs.append(Torch())
    except ImportError as error:
        print(f"without PyTorch: {error}")
    late = []
    for case in cases(options.tiny):
        if time.monotonic() - begin > options.seconds:
            late.append(case.name)
            continue
        row = measured(case, libs, options.tiny)
        found.append(row)
        print(row["name"], row["us"], row.get("apart"), row.get("errors", ""), flush=True)
        Path(options.out).write_text(json.dumps({"rows": found, "no time for": late}))
        for lib in libs:
            if not options.tiny and hasattr(lib.lib, "cuda"):
                lib.wait()
                lib.lib.cuda.empty_cache()
    Path(options.out).write_text(json.dumps({"rows": found, "no time for": late}))
    both = [row["us"] for row in found if {"chainrule eager", "torch eager"} <= {*row["us"]}]
    if both:
        middle = median(us["chainrule eager"] / us["torch eager"] for us in both)
        print(f"ours over PyTorch's, call by call: {middle:.2f}, the median of {len(both)}")
    wrong = [row["name"] for row in found if not row.get("finite") or row.get("apart", 0) > 2e-2]
    print("without a result, or with another than PyTorch's:", ", ".join(wrong) or "none")
    assert found and not wrong


main()
