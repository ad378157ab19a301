"""What the machine can do at most, and whether something else is at work on it."""

from __future__ import annotations

import atexit
import math
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).with_name("limits.cpp")
TICK = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
OTHERS, SLOWER, STOLEN = 0.2, 0.9, 0.02  # cores others may use, share of the peak to be left, time lost to other guests


@lru_cache(maxsize=1)
def program() -> Path | None:
    """``limits.cpp``, compiled for this machine; None where there is no compiler."""
    compiler = next(filter(None, map(shutil.which, [os.environ.get("CXX", ""), "c++", "g++", "clang++"])), None)
    if compiler is None:
        return None
    folder = tempfile.mkdtemp(prefix="chainrule-limits-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    target = Path(folder) / "limits"
    command = [compiler, "-O3", "-march=native", "-std=c++20", "-pthread", str(SOURCE), "-o", str(target)]
    return target if subprocess.run(command, capture_output=True).returncode == 0 else None


def told(*arguments: object) -> dict[str, float]:
    """The lines that the program prints; nothing without it."""
    path = program()
    if path is None:
        return {}
    done = subprocess.run([path, *map(str, arguments)], capture_output=True, text=True, check=True)
    return {name: float(value) for name, value in (line.split() for line in done.stdout.splitlines())}


class Limits:
    """Operations and bytes a second that ``threads`` threads reach. Without a compiler all are unknown, and no share is told.

    >>> limits = Limits(1, {"flops32": 1e11, "bytes:1000": 1e11, "bytes:1000000": 1e10})
    >>> limits.seconds(1e9, 0, "float32"), limits.seconds(1e8, 1e6, "float32"), limits.seconds(0, 0, "float32")
    (0.01, 0.001, None)
    """

    def __init__(self, threads: int, found: dict[str, float] | None = None, *, seconds: float = 0.15) -> None:
        self.threads = threads
        self.found = told(threads, seconds) if found is None else found

    def bandwidth(self, moved: float) -> float | None:
        """Bytes a second over so many bytes: of the nearest size measured, with the better kind of stores."""
        sizes = {int(name.split(":")[1]) for name in self.found if ":" in name}
        if not sizes or moved <= 0:
            return None
        near = min(sizes, key=lambda size: abs(math.log(size / moved)))
        return max(value for name, value in self.found.items() if name.endswith(f":{near}"))

    def seconds(self, flops: float, moved: float, dtype: str) -> float | None:
        """The least time of a step, or None if that is not known."""
        peak, rate = self.found.get("flops64" if dtype == "float64" else "flops32"), self.bandwidth(moved)
        least = max(flops / peak if peak else 0.0, moved / rate if rate else 0.0)
        return least or None


def machine_seconds() -> tuple[float, float]:
    """Seconds that all cores have worked, and that were stolen by other guests; zeros where nobody counts them."""
    try:
        with open("/proc/stat", encoding="ascii") as file:
            user, nice, system, _, _, irq, soft, steal, *_ = map(int, file.readline().split()[1:])
    except OSError:
        return 0.0, 0.0
    return (user + nice + system + irq + soft) / TICK, steal / TICK


def own_seconds(processes: Iterable[int]) -> float:
    """Seconds that these processes have worked; this one and what it has waited for are counted, too."""
    total = sum(os.times()[:4])
    for process in processes:
        try:
            with open(f"/proc/{process}/stat", encoding="utf-8") as file:
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            continue
        total += (int(fields[11]) + int(fields[12])) / TICK
    return total


class Sentinel:
    """Tells whether the machine was busy with something else between ``begin`` and ``end``.

    What others used is what all cores have worked, less what the contestants have; and the peak is looked at again.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits

    def begin(self, processes: Iterable[int]) -> None:
        """Look at the clocks."""
        self.processes = list(processes)
        self.start, self.own, self.all = time.monotonic(), own_seconds(self.processes), machine_seconds()

    def end(self) -> dict[str, Any]:
        """``others`` in cores, ``stolen`` in parts of a core, ``peak`` now beside that of the start, ``busy``: any too much."""
        wall = max(time.monotonic() - self.start, 1e-3)
        worked, stolen = (now - then for now, then in zip(machine_seconds(), self.all, strict=True))
        others = max(0.0, worked - (own_seconds(self.processes) - self.own)) / wall if worked else 0.0
        before, now = self.limits.found.get("flops32"), told(self.limits.threads, 0.05, "quick").get("flops32")
        peak = now / before if now and before else 1.0
        busy = others > OTHERS or peak < SLOWER or stolen / wall > STOLEN
        return {
            "others": round(others, 2), "stolen": round(stolen / wall, 3), "peak": round(peak, 3), "busy": bool(busy),
        }  # fmt: skip
