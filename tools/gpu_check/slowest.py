"""The cases that are slowest beside PyTorch: which kernels they are made of, and how long each takes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from cases import Ours, Torch, cases


def kernels_of(gpu: Any, f: Any) -> list[dict[str, Any]]:
    """What is launched while ``f`` runs, and the microseconds between events before and after each."""
    driver, found = gpu.driver, []
    f()
    f()
    gpu.synchronize()
    plain = {name: getattr(driver, name) for name in ("launch", "copy", "fill")}

    def timed(name: str) -> Any:
        def call(*arguments: Any) -> Any:
            first = driver.record(gpu.stream)
            result = plain[name](*arguments)
            what = f"{arguments[1][2]} {arguments[2]} x {arguments[3]}" if name == "launch" else name
            found.append((what, first, driver.record(gpu.stream)))
            return result

        return call

    for name in plain:
        setattr(driver, name, timed(name))
    try:
        f()
    finally:
        for name in plain:
            delattr(driver, name)
    gpu.synchronize()
    return [{"kernel": what, "us": round(driver.elapsed(first, last) * 1e3, 2)} for what, first, last in found]


def of_torch(torch: Any, f: Any) -> list[dict[str, Any]]:
    """The kernels that PyTorch's profiler sees."""
    f()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as seen:
        f()
        torch.cuda.synchronize()
    return [
        {"kernel": e.name[:120], "us": round(float(e.device_time_total), 2)}
        for e in seen.events()
        if e.device_time_total
    ]


def main(place: str, rows: list[dict[str, Any]], tiny: bool) -> None:
    ours = Ours()
    gpu = ours.lib.cuda.gpu_of(0)

    def behind(row: dict[str, Any]) -> float:
        us = row["us"]
        best = min((us[k] for k in us if k.startswith("torch")), default=row["floor"])
        mine = min((us[k] for k in us if k.startswith("chainrule")), default=0.0)
        return float(mine / max(best, 1e-9))

    worst = {row["name"]: behind(row) for row in sorted(rows, key=behind, reverse=True)[: 2 if tiny else 5]}
    found = []
    for case in cases(tiny):
        if case.name in worst:
            row: dict[str, Any] = {"name": case.name, "behind": round(worst[case.name], 2)}
            row["ours"] = kernels_of(gpu, case.make(ours, 0))
            if tiny:
                row["ours"] = [{**k, "us": None} for k in row["ours"]]
            else:
                try:
                    theirs = Torch()
                    row["torch"] = of_torch(theirs.lib, case.make(theirs, 0))
                except Exception as error:  # told in the row
                    row["torch"] = [{"kernel": f"{type(error).__name__}: {str(error)[:200]}", "us": 0}]
            found.append(row)
            Path(place).write_text(json.dumps(found))
            print(json.dumps(row), flush=True)
    assert found


given = [a for a in sys.argv[1:] if not a.startswith("--")]
main(given[0], json.loads(Path(given[1]).read_text())["rows"], "--tiny" in sys.argv)
