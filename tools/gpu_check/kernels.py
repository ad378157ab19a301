"""Every declared kernel, compiled for this GPU by many processes at once, and kept for the stages that follow."""

from __future__ import annotations

import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import chainrule as cr
from chainrule.backends.cuda import kernels, nvrtc
from chainrule.backends.cuda.sources import INSTANCES


def one(job: tuple[str, str, str]) -> tuple[str, str, float, str]:
    """A kernel: its room and name, seconds, and what went wrong."""
    room, instance, architecture = job
    begin, wrong = time.perf_counter(), ""
    try:
        nvrtc.kernel(room, instance, architecture)
    except Exception as error:  # told in the result
        wrong = str(error)[:2000]
    return room, instance, time.perf_counter() - begin, wrong


def main(place: str, tiny: bool) -> None:
    kernels()
    try:
        nvrtc.version()
    except cr.errors.DeviceError as error:
        if not tiny:
            raise
        Path(place).write_text(json.dumps({"left out": str(error)}))
        return
    architecture = "sm_90" if tiny else nvrtc.architecture(cr.cuda.get_device_properties().capability)
    jobs = [(room, name, architecture) for room, names in INSTANCES.items() for name in names]
    begin = time.perf_counter()
    with ProcessPoolExecutor(2 if tiny else os.cpu_count(), get_context("spawn")) as pool:
        done = [*pool.map(one, jobs[:2] if tiny else jobs)]
    slowest = sorted(done, key=lambda row: -row[2])[:5]
    found = {
        "architecture": architecture, "kernels": len(done), "seconds": round(time.perf_counter() - begin, 1),
        "slowest": [{"kernel": f"{room}: {name}", "seconds": round(s, 2)} for room, name, s, _ in slowest],
        "failed": [{"kernel": f"{room}: {name}", "error": wrong} for room, name, _, wrong in done if wrong],
    }  # fmt: skip
    Path(place).write_text(json.dumps(found))
    print(json.dumps(found, indent=1))
    assert not found["failed"]


if __name__ == "__main__":
    main(sys.argv[1], "--tiny" in sys.argv)
