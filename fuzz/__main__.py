"""Fuzzes every reader of files: ``python -m fuzz [NAME ...] --seconds 60``, the time for all of them together.

One process after the other, each with bounded memory. What broke a reader lies in ``runs/fuzz/NAME`` as ``crash-...``,
``oom-...`` or ``timeout-...``: moved to ``fuzz/corpus/NAME`` it is a test (``tests/test_fuzz_corpus.py``).
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from .targets import TARGETS

RUNS = Path("runs/fuzz")


def main() -> int:
    """Fuzz all that is asked for; 1 if something broke."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(TARGETS)}; all if none is given")
    parser.add_argument("--seconds", type=int, default=60, help="for all of them together (60)")
    parser.add_argument("--megabytes", type=int, default=2048, help="of memory that a process may take (2048)")
    given = parser.parse_args()
    wrong = [name for name in given.names if name not in TARGETS]
    if wrong:
        parser.error(f"no target {', '.join(wrong)}; there are {', '.join(TARGETS)}")
    names = given.names or [*TARGETS]
    each = max(1, given.seconds // len(names))
    guided = find_spec("atheris") is not None
    how = "atheris" if guided else "changes at random (pip install chainrule[fuzz] has atheris, led by coverage)"
    print(f"{len(names)} readers, {each} s each, at most {given.megabytes} MB: {how}", flush=True)
    broken = []
    for name in names:
        folder = RUNS / name
        command = [sys.executable, "-m", "fuzz.worker", name, str(each), str(given.megabytes), str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        said = done.stdout + done.stderr
        count = re.findall(r"number_of_executed_units: *(\d+)", said)
        print(f"{name:15} {count[-1] if count else '?':>9} files", "" if not done.returncode else "BROKEN", flush=True)
        if done.returncode:
            broken.append(name)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "last.txt").write_text(said)
            print(*why(said.splitlines()), sep="\n", flush=True)
    return 1 if broken else 0


def why(lines: list[str]) -> list[str]:
    """What a process said of its end: the exception, or where it was."""
    marks = ("Uncaught Python exception", "Traceback (most recent", "Current thread", "ERROR: libFuzzer")
    start = next((i for mark in marks for i, line in enumerate(lines) if mark in line), max(0, len(lines) - 30))
    return [line[:300] for line in lines[start:] if not line.startswith("#")][:50]


if __name__ == "__main__":
    sys.exit(main())
