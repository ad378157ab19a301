"""What is felt beside the steps: the time of the import, the most memory of a training, the size of what is installed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .race import SPOILED, Contestant, Entrant, Plan, StoppedError

IMPORT = "import sys, time; begin = time.perf_counter(); __import__(sys.argv[1]); print(time.perf_counter() - begin)"
SIZE = (
    "import sys; from importlib.util import find_spec; "
    "print(*[p for n in sys.argv[1:] if (s := find_spec(n)) for p in s.submodule_search_locations or []], sep='\\n')"
)
MODULES = {"chainrule": ["chainrule"], "torch": ["torch"], "jax": ["jax", "jaxlib"], "keras": ["keras"]}


def environment(root: str) -> dict[str, str]:
    """Of a process that finds this chainrule, and JAX under Keras."""
    env = {k: v for k, v in os.environ.items() if k not in SPOILED}
    path = os.pathsep.join(filter(None, [root, env.get("PYTHONPATH")]))
    return env | {"PYTHONPATH": path, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}


def told(python: str, code: str, *arguments: str) -> str:
    """What a short program prints. Errors: StoppedError, with its last line."""
    root = str(Path(__file__).parents[3]) if python == sys.executable else ""
    done = subprocess.run(
        [python, "-W", "ignore", "-c", code, *arguments], capture_output=True, text=True, env=environment(root)
    )
    if done.returncode:
        raise StoppedError(done.stderr.strip().splitlines()[-1])
    return done.stdout


def import_seconds(python: str, name: str) -> float:
    """Of one fresh process, whose files are in the cache after the first."""
    return float(told(python, IMPORT, name))


def installed_bytes(python: str, modules: Sequence[str]) -> int:
    """Of the files of packages, without the caches of Python; dependencies are not counted."""
    folders = told(python, SIZE, *modules).split("\n")[:-1]
    if not folders:
        raise StoppedError(f"{modules[0]} is not installed")
    files = {p for f in folders for p in Path(f).rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    return sum(p.stat().st_size for p in files)


def peak_bytes(python: str, entrant: Entrant, threads: int, steps: int = 20) -> int:
    """The most memory that a process which trains cnn_bn has held, the libraries too."""
    spec = {"case": "cnn_bn", "scale": 1.0, "dtype": "float32", "threads": threads}
    contestant = Contestant(python, entrant, spec)
    try:
        contestant.ask("ready")
        contestant.ask(f"run {steps}")
        return int(contestant.ask("memory")["bytes"])
    finally:
        contestant.close()


def jobs(entrants: Sequence[Entrant], plan: Plan, threads: int = 1, steps: int = 20) -> Iterator[dict[str, Any]]:
    """Rows of one figure for each contestant: ``import_time`` in turns, ``peak_memory``, ``installed_size``."""
    unavailable: dict[str, str] = {}
    sides: dict[str, str] = {}
    for side in dict.fromkeys(e.side for e in entrants if e.side in MODULES):
        python = sys.executable if side == "chainrule" else plan.peer_python
        try:
            import_seconds(python, side)
            sides[side] = python
        except StoppedError as error:
            unavailable[side] = str(error)
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(plan.blocks):
        for side, python in sides.items():
            seconds[side].append(round(import_seconds(python, side), 4))
    yield {"job": "import_time", "unit": "s", "values": seconds, "unavailable": unavailable}
    sizes = {side: [installed_bytes(python, MODULES[side])] for side, python in sides.items()}
    yield {"job": "installed_size", "unit": "bytes", "values": sizes, "unavailable": unavailable}
    memory: dict[str, list[int]] = {}
    lacking = dict(unavailable)
    for entrant in entrants:
        if entrant.side in sides:
            try:
                memory[entrant.label] = [peak_bytes(sides[entrant.side], entrant, threads, steps)]
            except StoppedError as error:
                lacking[entrant.label] = str(error)
    yield {"job": "peak_memory", "unit": "bytes", "threads": threads, "values": memory, "unavailable": lacking}


def job_lines(row: dict[str, Any]) -> list[str]:
    """A row of ``jobs`` for people."""
    from .results import quartiles, shown_seconds

    found = []
    for who, values in row["values"].items():
        low, middle, high = quartiles(values)
        if row["unit"] == "s":
            text = f"{shown_seconds(middle):>9}  {shown_seconds(low)} – {shown_seconds(high)}"
        else:
            text = f"{middle / 1e6:.1f} MB"
        found.append(f"{row['job']:16} {who:22} {text}")
    return found + [f"{row['job']:16} {who:22} {why}" for who, why in row["unavailable"].items()]
