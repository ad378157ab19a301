"""Kernels for the emulated GPU: compiled by the machine's C++ compiler, a room at a time, and kept."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ...domain.errors import DeviceError
from .sources import MADE_TO_MEASURE, fingerprint, folder, home, kept

FLAGS = ("-std=c++20", "-O1", "-fPIC", "-shared", "-ffp-contract=off", "-fno-math-errno", "-fno-gnu-unique", "-w")
PART = 160  # instances that one run of the compiler is given


def compiler() -> str:
    """A C++ compiler. Errors: DeviceError if there is none."""
    for name in (os.environ.get("CXX"), "g++", "clang++", "c++"):
        if name and (found := shutil.which(name)):
            return found
    raise DeviceError(
        "the emulated CUDA driver compiles kernels with g++ or clang++, and there is none: apt install g++"
    )


def built(room: str, names: list[str]) -> list[tuple[Path, list[str]]]:
    """Libraries of kernels of a room, with their names: compiled now, in parts, or kept from before."""
    size = 1 if room in MADE_TO_MEASURE else PART
    parts = [names[i : i + size] for i in range(0, len(names), size)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda part: (compiled(room, part), part), parts))


def compiled(room: str, names: list[str]) -> Path:
    """The library of some kernels of a room. Errors: DeviceError, with what the compiler says."""
    flags = (*FLAGS, *(os.environ.get("CHAINRULE_CUDA_FLAGS") or "").split())
    own = [path.read_text() for path in sorted((folder() / "core").glob("emulator*.h"))]
    path = kept() / f"emulated-{room}-{fingerprint(room, compiler(), *flags, *names, *own)}.so"
    if path.exists():
        return path
    entries = "\n".join(f'    {{"{name}", &emulator::launcher<&{name}>}},' for name in names)
    source = (
        f'#include "{home(room) / "cuda.cu"}"\nstatic const emulator::Entry chainrule_entries[] = {{\n{entries}\n}};\n'
        '#include "core/emulator_host.h"\n'
    )
    temporary = path.with_suffix(f".{os.getpid()}.{threading.get_ident()}")
    command = [compiler(), *flags, "-x", "c++", "-", "-I", str(folder()), "-o", str(temporary)]
    done = subprocess.run(command, input=source, capture_output=True, text=True)  # noqa: S603
    if done.returncode:
        raise DeviceError(f"{room}/cuda.cu does not compile:\n{done.stderr[:4000]}")
    temporary.replace(path)
    return path
