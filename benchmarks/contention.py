"""``python -m benchmarks.contention``: how much slower kernels on two threads are while another process spins on one core.

Each op is timed alone and beside a process that is pinned to one of the cores and never rests, in turns. Of two cores one
is left, so twice the time is what cannot be avoided; much more would mean that threads wait for one another without rest.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import chainrule as cr

ROUNDS = 12


def cases() -> dict[str, Callable[[], Any]]:
    """Ops of some hundred microseconds that are shared out to threads, and one step of many small regions."""
    x, w = cr.randn(1024, 1024), cr.randn(512, 512)
    p = cr.randn(300_000)
    return {
        "exp": lambda: cr.exp(x),
        "sum": lambda: cr.sum(x),
        "softmax": lambda: cr.softmax(x, 1),
        "matmul": lambda: w @ w,
        "twenty adds": lambda: [p + 1.0 for _ in range(20)],
    }


def timed(call: Callable[[], Any], seconds: float) -> list[float]:
    """The times of calls, for so long."""
    found, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        begin = time.perf_counter()
        call()
        found.append(time.perf_counter() - begin)
    return found


def hog(core: int) -> subprocess.Popen[bytes]:
    """A process that spins on a core."""
    return subprocess.Popen(
        [sys.executable, "-c", f"import os\nos.sched_setaffinity(0, [{core}])\nwhile True: pass"], env={**os.environ}
    )


def measure(call: Callable[[], Any], core: int, seconds: float) -> dict[str, float]:
    """Medians and 99th percentiles in microseconds, quiet and contended, and the median of the ratios of the turns."""
    quiet: list[float] = []
    busy: list[float] = []
    ratios = []
    call()
    for _ in range(ROUNDS):
        alone = timed(call, seconds / ROUNDS)
        process = hog(core)
        try:
            time.sleep(0.05)
            beside = timed(call, seconds / ROUNDS)
        finally:
            process.kill()
            process.wait()
        ratios.append(median(beside) / median(alone))
        quiet += alone
        busy += beside

    def late(times: list[float]) -> float:
        return sorted(times)[int(0.99 * len(times))] * 1e6

    return {
        "quiet_us": round(median(quiet) * 1e6, 1), "busy_us": round(median(busy) * 1e6, 1), "ratio": round(median(ratios), 2),
        "quiet_p99_us": round(late(quiet), 1), "busy_p99_us": round(late(busy), 1),
    }  # fmt: skip


def main() -> None:
    """Measure and print a table; ``--out`` keeps the rows as JSON lines."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.contention", description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=3.0, help="of measuring for each op, quiet and again contended"
    )
    parser.add_argument("--out", type=Path, help="a file that the rows are added to")
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        sys.exit("two cores are needed")
    os.sched_setaffinity(0, cores)
    cr.set_num_threads(2)
    print(f"{'op':12} {'quiet':>11} {'busy':>11} {'ratio':>6} {'p99 quiet':>12} {'p99 busy':>12}")
    with cr.no_grad():
        for name, call in cases().items():
            row = measure(call, cores[1], options.seconds)
            print(
                f"{name:12} {row['quiet_us']:8.1f} us {row['busy_us']:8.1f} us {row['ratio']:5.2f}x "
                f"{row['quiet_p99_us']:9.1f} us {row['busy_p99_us']:9.1f} us",
                flush=True,
            )
            if options.out:
                with options.out.open("a") as file:
                    file.write(json.dumps({"op": name, "threads": 2} | row) + "\n")


if __name__ == "__main__":
    main()
