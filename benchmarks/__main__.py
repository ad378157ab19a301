"""``python -m benchmarks [names]``: race chainrule against PyTorch and print ratios.

Each contestant lives in a process of its own and takes turns: one block of ours, one of the peer's, again and again. The
figure is the median of the ratios of neighbouring blocks, so a drifting clock or a busy neighbour touches both alike.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from .workloads import WORKLOADS

HOME = Path(__file__).parent
SPOILED = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")  # settings that would slow a contestant down


class Contestant:
    """A worker process that runs one workload when told to."""

    def __init__(self, python: str, who: str, workload: str, threads: int) -> None:
        env = {k: v for k, v in os.environ.items() if k not in SPOILED}
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "CHAINRULE_NUM_THREADS"):
            env[name] = str(threads)
        env.pop("CHAINRULE_STRICT", None)
        command = [python, "-m", "benchmarks.worker", who, workload, str(threads)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env, cwd=HOME.parent
        )
        self.version = self.ask("ready")

    def ask(self, line: str) -> str:
        """Send a line and wait for the answer."""
        if self.process.stdin is None or self.process.stdout is None:
            raise RuntimeError("the worker has no pipes")
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        if not answer:
            raise RuntimeError(f"the worker stopped: {self.process.args}")
        return answer

    def block(self, steps: int) -> float:
        """Seconds a step took, over ``steps`` of them."""
        return float(self.ask(f"run {steps}")) / steps

    def close(self) -> None:
        """End the process."""
        self.process.communicate("stop\n")


def race(name: str, threads: int, peer_python: str, seconds: float) -> dict[str, Any]:
    """Time per step of both, and the median of their ratios."""
    ours, theirs = (
        Contestant(sys.executable, "chainrule", name, threads),
        Contestant(peer_python, "torch", name, threads),
    )
    try:
        times: dict[str, list[float]] = {"ours": [], "theirs": []}
        contestants = {"ours": ours, "theirs": theirs}
        steps = {}
        for who, c in contestants.items():
            c.block(1)
            steps[who] = max(1, int(0.05 / max(c.block(2), 1e-9)))
        end = time.monotonic() + seconds
        while time.monotonic() < end or len(times["ours"]) < 5:
            for who, c in contestants.items():
                times[who].append(c.block(steps[who]))
        ratios = [t / o for o, t in zip(times["ours"], times["theirs"], strict=True)]
        flops = WORKLOADS[name].flops
        peak = float(ours.ask("peak")) * threads
        return {
            "workload": name,
            "threads": threads,
            "ours_us": round(median(times["ours"]) * 1e6, 2),
            "peer_us": round(median(times["theirs"]) * 1e6, 2),
            "ratio": round(median(ratios), 3),
            "share_of_peak": round(flops / median(times["ours"]) / peak, 3) if flops else None,
            "peak_gflops": round(peak / 1e9),
            "rounds": len(ratios),
            "ours": ours.version,
            "peer": theirs.version,
        }
    finally:
        ours.close()
        theirs.close()


def commit() -> str:
    """The commit the figures belong to."""
    done = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, cwd=HOME)
    return done.stdout.strip() or "unknown"


def machine() -> str:
    """The processor, and how many cores may be used."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), platform.processor())
    return f"{model}, {len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} cores"


def main() -> None:
    """Race the workloads named, or all, and keep the figures in ``benchmarks/results``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *WORKLOADS], help="workloads; all without any")
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--seconds", type=float, default=8.0, help="of racing for each row")
    parser.add_argument("--peer-python", default=sys.executable, help="an interpreter that has torch")
    options = parser.parse_args()
    stamp = {"commit": commit(), "machine": machine(), "date": datetime.now(UTC).isoformat(timespec="seconds")}
    print(f"{'workload':16} {'threads':>7} {'ours':>12} {'torch':>12} {'ratio':>7} {'of peak':>8}")
    with (HOME / "results" / "cpu.jsonl").open("a") as file:
        for name in options.names or WORKLOADS:
            for threads in options.threads:
                row = race(name, threads, options.peer_python, options.seconds)
                share = f"{row['share_of_peak']:8.0%}" if row["share_of_peak"] is not None else "       -"
                print(
                    f"{name:16} {threads:7} {row['ours_us']:9.1f} us {row['peer_us']:9.1f} us {row['ratio']:6.2f}x {share}",
                    flush=True,
                )
                file.write(json.dumps(row | stamp) + "\n")


if __name__ == "__main__":
    main()
