"""A race: contestants in processes of their own take turns, block by block.

Ratios are of neighbouring blocks, so a drifting clock or a busy neighbour touches both alike.
"""

from __future__ import annotations

import importlib.util
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .contestants.cases import CASES, Case, unable
from .limits import Limits, Sentinel
from .originals import VERSIONS, fetched

HERE = Path(__file__).parent
# variables that would slow a contestant down
SPOILED = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "CHAINRULE_STRICT", "PYTHONDONTWRITEBYTECODE")
COUNTS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "CHAINRULE_NUM_THREADS")
START = (
    "import runpy, sys; sys.path.append(sys.argv.pop(1)); runpy.run_module('contestants.worker', run_name='__main__')"
)
SPIN = """
import os, sys
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {int(sys.argv[1])})
while True:
    pass
"""
TOLERANCE = {"float32": 1e-4, "float64": 1e-9}


@dataclass(frozen=True)
class Entrant:
    """Who is to race, as written: ``torch``, ``torch:compile``, ``chainrule:jit``, ``chainrule@FOLDER``, ``keydnn``.

    >>> Entrant.of("torch").label, Entrant.of("chainrule:jit").mode, Entrant.of("chainrule@old/src").path
    ('torch:eager', 'jit', 'old/src')
    """

    side: str
    mode: str
    path: str = ""

    @classmethod
    def of(cls, text: str) -> Entrant:
        """Read what was written."""
        name, _, path = text.partition("@")
        path, _, later = path.partition(":")
        side, _, mode = name.partition(":")
        usual = {"jax": "jit", "keras": "jax"}.get(side, "eager")
        return cls(side, mode or later or usual, path)

    @property
    def label(self) -> str:
        """As rows name it."""
        path = f"@{self.path}" if self.path and self.side not in VERSIONS else ""
        return f"{self.side}{path}:{self.mode}"


class StoppedError(Exception):
    """A contestant that cannot go on; says why."""


class Contestant:
    """A process that runs one case when told to."""

    def __init__(self, python: str, entrant: Entrant, spec: dict[str, Any], patience: float = 300.0) -> None:
        self.entrant, self.patience = entrant, patience
        env = {k: v for k, v in os.environ.items() if k not in SPOILED}
        env |= dict.fromkeys(COUNTS, str(spec["threads"]))
        if entrant.side == "chainrule":
            package = importlib.util.find_spec("chainrule")
            places = list(package.submodule_search_locations or []) if package else []
            root = str(Path(entrant.path).resolve()) if entrant.path else str(Path(places[0]).parent)
            env["PYTHONPATH"] = os.pathsep.join(filter(None, [root, env.get("PYTHONPATH")]))
            spec = spec | {"root": root}
        elif entrant.path:
            env["PYTHONPATH"] = os.pathsep.join(filter(None, [entrant.path, env.get("PYTHONPATH")]))
        asked = json.dumps(spec | {"side": entrant.side, "mode": entrant.mode})
        self.process = subprocess.Popen(
            [python, "-W", "ignore", "-c", START, str(HERE), asked],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env,
        )  # fmt: skip
        self.seconds: list[float] = []
        self.steps = 1

    def ask(self, line: str) -> dict[str, Any]:
        """Send a line and wait for the answer. Errors: StoppedError."""
        stdin, stdout = self.process.stdin, self.process.stdout
        if stdin is None or stdout is None:
            raise StoppedError("the process has no pipes")
        try:
            stdin.write(line + "\n")
            stdin.flush()
        except BrokenPipeError:
            raise StoppedError("the process ended") from None
        if not select.select([stdout], [], [], self.patience)[0]:
            self.process.kill()
            raise StoppedError(f"no answer within {self.patience:.0f} s")
        answer = json.loads(stdout.readline() or '{"error": "the process ended"}')
        if "error" in answer:
            raise StoppedError(answer["error"])
        return answer  # type: ignore[no-any-return]

    def block(self) -> float:
        """Seconds of a step, over as many as a block has."""
        return float(self.ask(f"run {self.steps}")["seconds"]) / self.steps

    def close(self) -> None:
        """End the process."""
        try:
            self.process.communicate("stop\n", timeout=10)
        except (subprocess.TimeoutExpired, BrokenPipeError, ValueError):
            self.process.kill()
            self.process.wait()


@dataclass
class Plan:
    """How a race is run: numbers of blocks at least, seconds of a block, of the race; interpreters of the peers."""

    blocks: int = 7
    block_seconds: float = 0.06
    seconds: float = 3.0
    peer_python: str = sys.executable
    check: bool = True
    hogs: int = 0  # processes that spin beside the race, one for each core from the last on


class Hogs:
    """Processes that do nothing but keep cores busy: ``with Hogs(1): ...``."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __enter__(self) -> list[int]:
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
        places = [str(cores[-1 - i % len(cores)]) for i in range(self.count)]
        self.processes = [subprocess.Popen([sys.executable, "-c", SPIN, place]) for place in places]
        return [p.pid for p in self.processes]

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


def deviation(found: dict[str, Any], expected: dict[str, Any]) -> float:
    """The largest difference of two results, as a part of the largest number expected."""
    worst = 0.0
    for name in expected:
        a, b = np.asarray(found[name], "float64"), np.asarray(expected[name], "float64")
        if a.shape != b.shape:
            return float("inf")
        worst = max(worst, float(np.abs(a - b).max() / max(float(np.abs(b).max()), 1e-30)))
    return worst


def results(contestant: Contestant) -> dict[str, Any]:
    """What a contestant computes from the common start."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "results.npz")
        contestant.ask(f"check {path}")
        with np.load(path, allow_pickle=False) as found:
            return dict(found)


def exact(case: Case, entrants: Sequence[Entrant], plan: Plan, scale: float = 1.0) -> dict[str, Any]:
    """The results in float64: PyTorch's if it takes part and can, else ours. Errors: StoppedError if neither can."""
    spec = {"case": case.name, "scale": scale, "dtype": "float64", "threads": 1}
    judges = [(e, plan.peer_python) for e in entrants if e.side == "torch"][:1]
    for entrant, python in [*judges, (Entrant.of("chainrule"), sys.executable)]:
        judge = Contestant(python, Entrant(entrant.side, "eager", entrant.path), spec)
        try:
            judge.ask("ready")
            return results(judge)
        except StoppedError as error:
            reason = str(error)
        finally:
            judge.close()
    raise StoppedError(reason)


def race(
    case: Case, entrants: Sequence[Entrant], threads: int, plan: Plan, limits: Limits, *, scale: float = 1.0,
    dtype: str = "float32", expected: dict[str, Any] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """One row: the seconds of every block of every contestant, how far each is from ``expected``, what the limit is.

    Whoever cannot take part is told under ``unavailable``; a wrong result makes a contestant one of those.
    """
    spec = {"case": case.name, "scale": scale, "dtype": dtype, "threads": threads}
    flops, numbers = case.cost(scale)
    moved = numbers * (8 if dtype == "float64" else 4)
    row: dict[str, Any] = {**spec, "size": case.scaled(scale), "flops": flops, "bytes": moved, "contestants": {}}
    row |= {"hogs": plan.hogs} if plan.hogs else {}
    row |= {"limit": limits.seconds(flops, moved, dtype), "limits": limits.found, "unavailable": {}}
    running: list[Contestant] = []
    sentinel = Sentinel(limits)
    for entrant in entrants:
        contestant, entry = None, {}
        try:
            reason = unable(entrant.side, case, dtype)
            if not reason and entrant.side in VERSIONS and not entrant.path:
                folder, reason = fetched(entrant.side)
                entrant = replace(entrant, path=str(folder))
            if reason:
                raise StoppedError(reason)
            contestant = Contestant(sys.executable if entrant.side == "chainrule" else plan.peer_python, entrant, spec)
            entry["version"] = contestant.ask("ready")["version"]
            if expected is not None:
                entry["deviation"] = deviation(results(contestant), expected)
                if not entry["deviation"] <= TOLERANCE[dtype]:
                    raise StoppedError(f"its results are {entry['deviation']:.1e} away from those in float64")
            once = contestant.block()
            if once < 0.1:
                contestant.steps = 3
                once = contestant.block()
            contestant.steps = max(1, round(plan.block_seconds / max(once, 1e-9)))
            row["contestants"][entrant.label] = entry
            running.append(contestant)
        except StoppedError as error:
            row["unavailable"][entrant.label] = str(error)
            if contestant is not None:
                contestant.close()
    with Hogs(plan.hogs) as spinning:
        sentinel.begin([*spinning, *(c.process.pid for c in running)])
        turns(running, plan, row)
        row["sentinel"] = sentinel.end() if not plan.hogs else sentinel.end() | {"busy": False}
    for contestant in running:
        contestant.close()
        row["contestants"][contestant.entrant.label]["seconds"] = [float(f"{t:.5g}") for t in contestant.seconds]
    return row


def turns(running: list[Contestant], plan: Plan, row: dict[str, Any]) -> None:
    """Blocks in turns, each round from another contestant on, until there are enough."""
    begin, done = time.monotonic(), 0
    while running and (done < plan.blocks or time.monotonic() - begin < plan.seconds):
        start = done % len(running)
        for contestant in [*running[start:], *running[:start]]:
            contestant.seconds.append(contestant.block())
        done += 1
    for contestant in running:
        row["contestants"][contestant.entrant.label]["peak_memory"] = contestant.ask("memory")["bytes"]


def names(given: Sequence[str] | None) -> list[Case]:
    """Cases by their names, all without any. Errors: ArgumentError, with the nearest name."""
    from ...domain.errors import unknown

    for name in given or ():
        if name not in CASES:
            raise unknown("case", name, CASES)
    return [CASES[name] for name in given or CASES]
