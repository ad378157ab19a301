"""Where the time and the memory of a case go: by function, by kernel, by layer, as a flame graph."""

from __future__ import annotations

import cProfile
import json
import pstats
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ... import backends
from ...domain.errors import NotSupportedError
from ...profile import profile
from ..about import set_threads
from ..about import threads as threads_now
from .contestants import ours
from .contestants.cases import Case
from .race import names

PAGE = Path(__file__).with_name("flame.html")
SECONDS = 0.5  # of steps for each kind of profile
MEMRAY = (
    "import json, memray, sys; from chainrule.apps.bench.profiling import steps_of; "
    "tracker = memray.Tracker(sys.argv[2]); tracker.__enter__(); "
    "step, _ = steps_of(json.loads(sys.argv[1])); step(); step(); tracker.__exit__(None, None, None)"
)


@dataclass
class Frame:
    """A node of the flame graph: seconds in itself, and what it called."""

    name: str
    seconds: float = 0.0
    calls: int = 0
    children: dict[str, Frame] = field(default_factory=dict)

    def child(self, name: str) -> Frame:
        """The one that was called, made when it is first."""
        found = self.children.get(name)
        if found is None:
            found = self.children[name] = Frame(name)
        return found

    def total(self) -> float:
        """Seconds with all that was called."""
        return self.seconds + sum(c.total() for c in self.children.values())

    def as_dict(self) -> dict[str, Any]:
        """Plain values, the dearest call first."""
        below = sorted(self.children.values(), key=lambda c: -c.total())
        return {
            "n": self.name, "s": round(self.total(), 7), "c": self.calls, "k": [c.as_dict() for c in below],
        }  # fmt: skip


class Stacks:
    """Every call of a thread as a tree: functions by ``sys.setprofile``, kernels of the backend by a cover over each."""

    def __init__(self) -> None:
        self.root = Frame("all")
        self.stack = [self.root]
        self.last = time.perf_counter()

    def begin(self, name: str) -> None:
        """A call begins; what has passed belongs to whoever was on top."""
        top = self.stack[-1]
        top.seconds += time.perf_counter() - self.last
        found = top.child(name)
        found.calls += 1
        self.stack.append(found)
        self.last = time.perf_counter()

    def end(self) -> None:
        """The call on top ends."""
        now = time.perf_counter()
        if len(self.stack) > 1:
            self.stack.pop().seconds += now - self.last
        self.last = time.perf_counter()

    def event(self, frame: Any, kind: str, what: Any) -> None:
        """What ``sys.setprofile`` tells, but for calls of this class."""
        if frame.f_code in OWN:
            return
        if kind == "call":
            self.begin(f"{frame.f_code.co_qualname} {where(frame.f_code)}")
        elif kind == "c_call":
            self.begin(getattr(what, "__qualname__", str(what)))
        else:
            self.end()

    def covered(self, name: str, kernel: Callable[..., Any]) -> Callable[..., Any]:
        """A kernel whose calls are noted: as a function of C++ it would not be told of."""

        def cover(*arrays: Any, **params: Any) -> Any:
            self.begin(f"[{name}]")
            try:
                return kernel(*arrays, **params)
            finally:
                self.end()

        OWN.add(cover.__code__)
        return cover

    def run(self, f: Callable[[], Any]) -> Frame:
        """Call ``f`` and return the tree."""
        kernels: Any = backends.get().kernels
        before = dict(kernels)
        kernels.update({name: self.covered(name, kernel) for name, kernel in before.items()})
        try:
            self.last = time.perf_counter()
            sys.setprofile(self.event)
            f()
        finally:
            sys.setprofile(None)
            kernels.update(before)
        self.root.children = {n: c for n, c in self.root.children.items() if "setprofile" not in n}
        return self.root


OWN = {f.__code__ for f in (Stacks.begin, Stacks.end, Frame.child)}


def where(code: Any) -> str:
    """File and line of a function, from the package on."""
    parts = Path(code.co_filename).parts
    at = next((i for i, part in enumerate(parts) if part == "chainrule"), len(parts) - 1)
    return f"({'/'.join(parts[at:])}:{code.co_firstlineno})"


def flame(tree: Frame, title: str, path: Path) -> None:
    """Write the tree as a page that needs nothing else."""
    text = PAGE.read_text(encoding="utf-8").replace("{{title}}", title)
    data = json.dumps(tree.as_dict(), ensure_ascii=False).replace("</", "<\\/")
    path.write_text(text.replace("{{data}}", data), encoding="utf-8")


def steps_of(spec: dict[str, Any]) -> tuple[Callable[[], Any], int]:
    """A step of a case, run once; and how many take half a second. Of a ``fit``, its model on ten batches."""
    (case,) = names([spec["case"]])
    job = ours.build(case, spec, case.job == "fit")
    begin = time.perf_counter()
    job.step()
    once = time.perf_counter() - begin
    return job.step, max(1, min(2000, round(SECONDS / max(once, 1e-6))))


def memory(spec: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The most memory of a model and three steps, by memray, or without it by tracemalloc, which our pool escapes."""
    if find_spec("memray") is None:
        tracemalloc.start()
        step, _ = steps_of(spec)
        step()
        step()
        found = tracemalloc.take_snapshot().statistics("lineno")[:20]
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        lines = [f"{s.size / 1024:10.1f} KiB {s.count:8} {s.traceback}" for s in found]
        (folder / "memory.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return {"by": "tracemalloc", "peak_bytes": peak, "file": str(folder / "memory.txt")}
    page = folder / "memory.html"
    with tempfile.TemporaryDirectory() as scratch:
        capture = str(Path(scratch) / "steps.bin")
        for command in (
            ["-c", MEMRAY, json.dumps(spec), capture],
            ["-m", "memray", "flamegraph", "--force", "--output", str(page), capture],
        ):
            done = subprocess.run([sys.executable, *command], capture_output=True, text=True)
            if done.returncode:
                raise NotSupportedError(f"[profile] memray could not do it: {done.stderr.strip().splitlines()[-1]}")
        peak = import_module("memray").FileReader(capture).metadata.peak_memory
    return {"by": "memray", "peak_bytes": int(peak), "file": str(page)}


def profiled(case: Case, folder: Path, threads: int, mode: str) -> dict[str, Any]:
    """Profiles of a case, in ``folder``: ``functions.prof`` and ``.txt``, ``kernels.txt``, ``trace.json``, ``flame.html``,
    ``memory``. Returns what they come to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    spec = {"case": case.name, "scale": 1.0, "dtype": "float32", "threads": threads, "mode": mode}
    before = threads_now()
    try:
        set_threads(threads)
        step, count = steps_of(spec)

        def steps() -> None:
            for _ in range(count):
                step()

        watch = cProfile.Profile()
        watch.runcall(steps)
        watch.dump_stats(folder / "functions.prof")
        with (folder / "functions.txt").open("w", encoding="utf-8") as file:
            pstats.Stats(watch, stream=file).sort_stats("tottime").print_stats(40)
        with profile(trace=True) as p:
            for _ in range(min(count, 50)):
                step()
        (folder / "kernels.txt").write_text(f"{p}\n", encoding="utf-8")
        p.export_chrome_trace(folder / "trace.json")
        flame(Stacks().run(steps), f"{case.name}, {threads} thread{'s' * (threads > 1)}, {mode}", folder / "flame.html")
        found = memory(spec, folder)
    finally:
        set_threads(before)
    top = sorted(p.seconds, key=lambda name: -p.seconds[name])[:3]
    found["arrays_bytes"] = p.peak
    return {"case": case.name, "steps": count, "kernels": top, "memory": found, "folder": str(folder)}


def profile_cases(chosen: Sequence[str] | None, folder: Path, threads: int, mode: str) -> None:
    """Profile cases, one folder for each, and say where they are."""
    for case in names(chosen or ["mlp_b128", "cnn_bn"]):
        row = profiled(case, folder / case.name, threads, mode)
        used = row["memory"]
        peak = f"arrays {used['arrays_bytes'] / 2**20:.1f} MiB at most"
        if used["peak_bytes"] is not None:
            peak += f", {used['by']} {used['peak_bytes'] / 2**20:.1f} MiB"
        print(f"{case.name:16} most in {', '.join(row['kernels'])}; {peak}: {row['folder']}/flame.html", flush=True)
