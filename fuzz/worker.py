"""Fuzzes one target in this process: ``python -m fuzz.worker NAME SECONDS MEGABYTES FOLDER``.

With atheris, coverage of chainrule leads the changes; without it, changes are drawn at random. What breaks a reader, or
takes it longer than ``SLOW`` seconds or more memory than it may have, is written to FOLDER as ``crash-...`` (or ``oom-``,
``timeout-``), and the process ends with a status other than 0.
"""

from __future__ import annotations

import hashlib
import random
import resource
import signal
import sys
import time
import traceback
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

SLOW = 20  # seconds that one file may take
LONGEST = 40_000  # bytes of one file
FAST = Path("/dev/shm")  # a folder in memory, where there is one


def main(name: str, seconds: int, megabytes: int, folder: Path) -> int:
    """Fuzz; the exit status."""
    try:
        import atheris
    except ImportError:
        atheris = None
    place = FAST if FAST.is_dir() else None
    with TemporaryDirectory(dir=place) as scratch:
        if atheris is None:
            return by_chance(name, seconds, megabytes, folder, Path(scratch))
        return by_coverage(atheris, name, seconds, megabytes, folder, Path(scratch))


def by_coverage(atheris: Any, name: str, seconds: int, megabytes: int, folder: Path, scratch: Path) -> int:
    """libFuzzer, which keeps what reached new code in ``folder``."""
    with atheris.instrument_imports(include=["chainrule"]):
        from .targets import CORPUS, TARGETS, trial
    target = TARGETS[name]

    def one(data: bytes) -> None:
        trial(target, data, scratch)

    found = folder / "found"
    found.mkdir(parents=True, exist_ok=True)
    options = [f"-max_total_time={seconds}", f"-rss_limit_mb={megabytes}", f"-timeout={SLOW}", f"-max_len={LONGEST}",
               "-print_final_stats=1", "-verbosity=1", f"-artifact_prefix={folder}/", "-detect_leaks=0"]  # fmt: skip
    atheris.Setup([sys.argv[0], *options, str(found), str(CORPUS / name)], one)
    atheris.Fuzz()  # ends the process
    return 0


def by_chance(name: str, seconds: int, megabytes: int, folder: Path, scratch: Path) -> int:
    """Files of the corpus with some bytes changed, put in, left out or taken from elsewhere."""
    from .targets import CORPUS, TARGETS, trial

    resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))
    signal.signal(signal.SIGALRM, too_slow)
    corpus = [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]
    end, tried, read = time.monotonic() + seconds, 0, 0
    while time.monotonic() < end:
        data = changed(random.choice(corpus), corpus)
        signal.alarm(SLOW)
        try:
            read += trial(TARGETS[name], data, scratch)
        except BaseException:
            traceback.print_exc()
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"crash-{hashlib.sha256(data).hexdigest()[:16]}"
            path.write_bytes(data)
            print(f"{path} has what broke it", flush=True)
            return 1
        finally:
            signal.alarm(0)
        tried += 1
    print(f"stat::number_of_executed_units: {tried}, of which {read} were read", flush=True)
    return 0


def too_slow(*_: Any) -> None:
    """A file that takes too long."""
    raise AssertionError(f"one file took more than {SLOW} seconds")


def changed(data: bytes, corpus: list[bytes]) -> bytes:
    """Bytes with one to five changes."""
    content = bytearray(data)
    for _ in range(random.randint(1, 5)):
        at, n = random.randrange(len(content) + 1), 1 << random.randrange(6)
        kind = random.randrange(5)
        if kind == 0 and at < len(content):
            content[at] ^= 1 << random.randrange(8)
        elif kind == 1:
            content[at : at + n] = random.choice((bytes(n), b"\xff" * n, random.randbytes(n)))
        elif kind == 2:
            del content[at : at + n]
        elif kind == 3:
            other = random.choice(corpus)
            start = random.randrange(len(other) + 1)
            content[at:at] = other[start : start + n]
        elif at:
            del content[at:]
    return bytes(content[:LONGEST])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])))
