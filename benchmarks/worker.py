"""One contestant: ``python -m benchmarks.worker chainrule|torch WORKLOAD THREADS``, told by lines on its input.

``ready`` answers the version, ``run N`` the seconds that N steps took, ``peak`` the floating-point operations a second
that one core reaches, ``stop`` ends it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from .workloads import WORKLOADS


def peak() -> float:
    """Floating-point operations a second of one core: a loop of independent fused multiply-adds in registers."""
    source = Path(__file__).with_name("peak.cpp")
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "peak"
        subprocess.run(["g++", "-O3", "-march=native", "-std=c++20", source, "-o", program], check=True)
        return max(
            float(subprocess.run([program], capture_output=True, text=True, check=True).stdout) for _ in range(5)
        )


def main() -> None:
    """Answer line by line."""
    who, name, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
    out = sys.stdout
    sys.stdout = sys.stderr  # nothing that a step prints is taken for an answer
    if who == "torch":
        import torch

        torch.set_num_threads(threads)
        version = f"torch {torch.__version__}"
    else:
        import chainrule as cr

        version = f"chainrule {cr.__version__}"
    step = getattr(WORKLOADS[name], who)()
    for line in sys.stdin:
        command, *rest = line.split()
        if command == "stop":
            return
        if command == "run":
            n = int(rest[0])
            begin = time.perf_counter()
            for _ in range(n):
                step()
            answer = repr(time.perf_counter() - begin)
        else:
            answer = version if command == "ready" else repr(peak())
        out.write(answer + "\n")
        out.flush()


if __name__ == "__main__":
    main()
