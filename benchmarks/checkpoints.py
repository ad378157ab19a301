"""``python -m benchmarks.checkpoints``: time and memory to save and load a model of 1 GB, beside safetensors' own functions.

Each run is a process of its own, and the contestants take turns. Printed are medians: the time; its ratio to that of
safetensors in the same round; the time of processors, of all threads; and the most memory beyond what the process had before,
as a share of the model (pages of a file count while they are mapped). Files are in the page cache when they are read. Our files
are on the disk when ``save`` returns, and have checksums, which are verified; ``save_file`` leaves writing to the system: "to
the disk" adds its fsync, "not waiting" takes ours away.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

SIDE = 2048
SAVES = [
    "safetensors.save_file",
    "save_file, to the disk",
    "model.save",
    "model.save, not waiting",
    'model.save("folder/")',
]
LOADS = [
    "safetensors.load_file",
    "cr.io.load_weights",
    "cr.load",
    "cr.load, of a folder",
    "cr.load, mmap=True",
    "model.load_weights",
]


def network(count: int) -> Any:
    """A model of so many layers of 16.8 MB, its weights not drawn yet."""
    from chainrule import nn

    return nn.Sequential(*(nn.Linear(SIDE, SIDE, bias=False) for _ in range(count)))


def drawn(count: int) -> Any:
    """The same with values."""
    import numpy as np

    model = network(count)
    for i, parameter in enumerate(model.parameters()):
        parameter.load(np.arange(i, i + SIDE * SIDE, dtype=np.float32).reshape(SIDE, SIDE))
    return model


def task(what: str, folder: Path, count: int) -> Callable[[], Any]:
    """What is to be measured, made ready."""
    import safetensors.numpy as theirs

    import chainrule as cr

    file, ours = folder / "theirs.safetensors", folder / "ours.safetensors"
    if what in SAVES:
        model = drawn(count)
        arrays = {name: value.numpy() for name, value in model.state_dict().items()}

        def to_disk() -> None:
            theirs.save_file(arrays, file)
            with open(file, "rb") as written:
                os.fsync(written.fileno())

        if what == "model.save, not waiting":
            from chainrule.io import atomic

            atomic.os = type("NoWaiting", (), {**vars(os), "fsync": staticmethod(lambda fd: None)})  # type: ignore[attr-defined]
        return {
            SAVES[0]: lambda: theirs.save_file(arrays, file),
            SAVES[1]: to_disk,
            SAVES[2]: lambda: model.save(ours),
            SAVES[3]: lambda: model.save(ours),
            SAVES[4]: lambda: model.save(f"{folder}/ours/", max_shard_size="256MB"),
        }[what]
    made = network(count)
    return {
        LOADS[0]: lambda: theirs.load_file(file),
        LOADS[1]: lambda: cr.io.load_weights(ours),
        LOADS[2]: lambda: cr.load(ours),
        LOADS[3]: lambda: cr.load(folder / "ours"),
        LOADS[4]: lambda: cr.load(ours, mmap=True),
        LOADS[5]: lambda: (made.load_weights(ours), made)[1],
    }[what]


def measure(what: str, folder: Path, count: int) -> dict[str, float]:
    """Seconds, and bytes of memory at the most beyond those before, of one run in this process."""
    do = task(what, folder, count)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, start, busy = status("VmRSS"), time.perf_counter(), time.process_time()
    kept = do()
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    del kept
    return {"seconds": seconds, "busy": busy, "peak": status("VmHWM") - before}


def status(key: str) -> int:
    """Bytes that the system has counted for this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


def main() -> None:
    """Measure all in turns and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.checkpoints", description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=1.0, help="of the model")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", help="where to write; a temporary one if not given")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    options = parser.parse_args()
    count = max(1, round(options.gigabytes * 1e9 / (4 * SIDE * SIDE)))
    if options.only:
        print(json.dumps(measure(options.only, Path(options.folder), count)))
        return
    folder = Path(tempfile.mkdtemp(dir=options.folder))
    found: dict[str, list[dict[str, float]]] = {what: [] for what in [*SAVES, *LOADS]}
    try:
        for _ in range(options.rounds):
            for what, runs in found.items():
                command = [sys.executable, "-m", "benchmarks.checkpoints", "--only", what, "--folder", str(folder)]
                command += ["--gigabytes", str(options.gigabytes)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                runs.append(json.loads(done.stdout))
    finally:
        shutil.rmtree(folder)
    size = count * 4 * SIDE * SIDE
    print(f"A model of {size / 1e9:.2f} GB, {count} arrays; medians of {options.rounds} rounds\n")
    print("| | seconds | of safetensors' | processor seconds | memory beside |\n|---|--:|--:|--:|--:|")
    for what, runs in found.items():
        peer = found[SAVES[0] if what in SAVES else LOADS[0]]
        ratio = median(run["seconds"] / other["seconds"] for run, other in zip(runs, peer, strict=True))
        seconds, busy, peak = (median(run[key] for run in runs) for key in ("seconds", "busy", "peak"))
        print(f"| `{what}` | {seconds:.2f} | {ratio:.2f} | {busy:.2f} | {peak / size:.2f} |")


if __name__ == "__main__":
    main()
