"""The source files of kernels, and what of them is compiled: the instances that each room asks for."""

from __future__ import annotations

import hashlib
import os
import re
import threading
from functools import cache
from pathlib import Path

import numpy as np

from ...domain.errors import DeviceError
from ...folders import cache_folder

INSTANCES: dict[str, dict[str, None]] = {}  # by room: ``unary<exp_f, float>``; in order
ELSEWHERE: dict[str, Path] = {}  # folders of rooms that are not ours
MADE_TO_MEASURE = frozenset({"chain"})  # rooms whose instances are declared one by one, as they are needed
UNFUSED = frozenset({"elementwise", "activation", "chain"})  # a * b + c is rounded twice there, in one kernel as in two

# dtypes as kernels call them
NAMES = {
    "bool": "bool", "uint8": "uint8_t", "int8": "int8_t", "int16": "int16_t", "int32": "int32_t", "int64": "int64_t",
    "float16": "f16", "bfloat16": "bf16", "float32": "float", "float64": "double",
}  # fmt: skip
FLOATS = ("float32", "float64", "float16", "bfloat16")
INTEGERS = ("uint8", "int8", "int16", "int32", "int64")
ALL = (*FLOATS, *INTEGERS, "bool")


def declare(room: str, *instances: str, folder: Path | None = None) -> None:
    """Say which instances of the kernels of a room there are: the emulator compiles them together.

    ``folder`` is where its ``cuda.cu`` is, for kernels of a user's own.
    """
    if folder is not None:
        ELSEWHERE[room] = Path(folder)
    INSTANCES.setdefault(room, {}).update(dict.fromkeys(instances))


@cache
def c_name(dtype: np.dtype) -> str:
    """What kernels call a dtype.

    >>> c_name(np.dtype(np.float32))
    'float'
    """
    return NAMES[dtype.name]


@cache
def folder() -> Path:
    """Where the sources are: in the installed package, or beside it in a working tree. Errors: DeviceError."""
    package = Path(__file__).parents[2]
    for place in (package / "_cuda", package.parents[1] / "native"):
        if (place / "core" / "device.cuh").is_file():
            return place
    raise DeviceError(f"the sources of the CUDA kernels are not in {package / '_cuda'}: install chainrule again")


def home(room: str) -> Path:
    """The folder of a room."""
    return ELSEWHERE.get(room) or folder() / room


def headers(text: str, room: str, found: dict[str, bytes]) -> dict[str, bytes]:
    """The files that a source of a room includes, and those that they do, by the name under which; not the emulator."""
    for name in re.findall(r'^#include "([^"]+)"', text, re.MULTILINE):
        path = next((p for p in (home(room) / name, folder() / name) if p.is_file()), None)
        if path is not None and name not in found and "emulator" not in name:
            found[name] = path.read_bytes()
            headers(found[name].decode(), room, found)
    return found


@cache
def files_of(room: str) -> tuple[bytes, dict[str, bytes]]:
    """The source of a room's kernels, and the headers that it takes."""
    source = (home(room) / "cuda.cu").read_text()
    return source.encode(), headers(source, room, {})


def fingerprint(room: str, *more: str) -> str:
    """A name for what compiling a room gives: it changes with its files, and with ``more``: options, the compiler."""
    source, files = files_of(room)
    digest = hashlib.sha256(source)
    for name, text in files.items():
        digest.update(name.encode() + b"\0" + text)
    for part in more:
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()[:24]


def kept() -> Path:
    """The folder of what was compiled."""
    place = cache_folder() / "kernels"
    place.mkdir(parents=True, exist_ok=True)
    return place


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that others may read at the same time."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}")
    temporary.write_bytes(data)
    temporary.replace(path)
