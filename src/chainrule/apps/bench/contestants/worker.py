"""One contestant in a process of its own: ``worker SPEC``, told by lines on its input, answers lines of JSON.

``SPEC`` is JSON: side, mode, case, scale, dtype, threads. ``ready`` answers the version, ``check PATH`` writes results
from a fixed start to an .npz, ``run N`` answers the seconds of N steps, ``memory`` the most bytes held at once, ``stop``
ends it.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from importlib import import_module
from typing import Any

SIDES = {"chainrule": "ours", "torch": "torch_side", "jax": "jax_side", "keras": "keras_side", "numpy": "numpy_side"}


def pin(threads: int) -> None:
    """Leave this process as many cores as it has threads: JAX counts the cores it may use."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def checked(job: Any, steps: int) -> dict[str, Any]:
    """What the first steps give: losses, or the arrays of a call; of large ones about a million numbers."""
    found = {}
    for step in range(steps):
        for i, array in enumerate(job.values(job.step())):
            size = getattr(array, "size", 1)
            found[f"{step}.{i}"] = array if size < 1 << 21 else array.ravel()[:: (size >> 20) | 1]
    return found


def timed(job: Any, steps: int) -> float:
    """Seconds of so many steps, after one that fills the caches if they are short."""
    step = job.step
    if steps > 1:
        job.wait(step())
    begin = time.perf_counter()
    for _ in range(steps):
        last = step()
    job.wait(last)
    return time.perf_counter() - begin


def main() -> None:
    """Answer line by line."""
    spec = json.loads(sys.argv[1])
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # nothing that a step prints is taken for an answer
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115  (as long as the process)
    # an editable installation would come before the folder that is to race
    sys.meta_path[:] = [f for f in sys.meta_path if not getattr(f, "__module__", "").strip("_").startswith("editable")]
    pin(spec["threads"])
    job: Any = None
    for line in sys.stdin:
        command, *rest = line.split(maxsplit=1)
        answer: dict[str, Any] = {}
        try:
            # numpy is not imported before the threads are settled
            from .cases import CASES

            side: Any = import_module(f".{SIDES.get(spec['side'], 'originals_side')}", __package__)
            case = CASES[spec["case"]]

            def build(check: bool = False, side: Any = side, case: Any = case) -> Any:
                return side.build(case, spec, check)

            if command == "stop":
                return
            if command == "ready":
                answer["version"] = side.version(spec)
            elif command == "check":
                import numpy as np

                fresh = build(check=True)
                for _ in range(2 if spec["mode"] == "jit" and case.job in ("call", "grad") else 0):
                    fresh.step()  # what is looked at is a replay
                np.savez(rest[0].strip(), **checked(fresh, 3 if case.job == "train" else 1))
            elif command == "run":
                if job is None:
                    job = build()
                    job.wait(job.step())
                answer["seconds"] = timed(job, int(rest[0]))
            elif command == "memory":
                answer["bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        except Exception as error:  # whatever it is, it is told, and the others race on
            answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0][:300]}
        out.write(json.dumps(answer) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
