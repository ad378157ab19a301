"""NumPy's ``.npz`` as a file of ours: arrays by name, and a text beside them.

The text is in an array of bytes, ``__metadata__``. NumPy has no bfloat16: such arrays are stored as uint16, and named there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from io import BytesIO
from typing import Any

import numpy as np

from ..domain.errors import FileFormatError
from .arrayfiles import HEADER, from_bits, npy, npz_members, to_bits
from .zipped import Archive, mapped, raw_bytes, write_zip

NOTES = "__metadata__"
BITS = "bfloat16"  # of our texts: the names of arrays that are bits of bfloat16


def write_npz_notes(path: str | os.PathLike[str], arrays: Mapping[str, Any], text: str) -> None:
    """Write C-ordered arrays and a text. Errors: DTypeError, ArgumentError, FileWriteError."""
    stored, bits = to_bits(arrays, f"[save_weights] {path}")
    note = json.dumps({BITS: bits, "text": text})
    stored[NOTES] = np.frombuffer(note.encode(), np.uint8)
    write_zip(path, _members(stored))


def _members(arrays: Mapping[str, Any]) -> Iterator[tuple[str, list[Any]]]:
    for name, array in arrays.items():
        head = BytesIO()
        descr = array.dtype.newbyteorder("<").str
        np.lib.format.write_array_header_1_0(head, {"descr": descr, "fortran_order": False, "shape": array.shape})
        yield f"{name}.npy", [head.getvalue(), raw_bytes(array)]


def read_npz_notes(path: str | os.PathLike[str], with_arrays: bool) -> tuple[dict[str, Any], dict[str, str]]:
    """The arrays of an ``.npz``, ours or not, and our text as that of the key ``chainrule``, if it is there.

    Errors: MissingFileError, FileFormatError.
    """
    where = f"[load_weights] {path}"
    archive = Archive(mapped(path, where), where)
    text, bits = _note(archive, where)
    members = _arrays(archive, where) if with_arrays else ()
    arrays = {name: npy(archive.read(member), f"{where}: {name!r}") for name, member in members}
    return from_bits(arrays, bits, where), {} if text is None else {"chainrule": text}


def npz_headers(path: str | os.PathLike[str], where: str) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The dtype and the shape of each array, by name; the arrays are not read. Errors: MissingFileError, FileFormatError."""
    archive = Archive(mapped(path, where), where)
    _, bits = _note(archive, where)
    found = {}
    for name, member in _arrays(archive, where):
        start = archive.head(member, 1 << 12)
        first = 10 if start[6:7] == b"\x01" else 12
        header = HEADER.fullmatch(start[first : first + int.from_bytes(start[8:first], "little")].decode("latin-1"))
        if header is None or start[:6] != b"\x93NUMPY":
            raise FileFormatError(f"{where} has {name!r}, which is no array of numbers")
        shape = tuple(int(n) for n in header[3].replace(",", " ").split())
        found[name] = "bfloat16" if name in bits else _named(header[1]), shape
    return found


def _arrays(archive: Archive, where: str) -> Iterator[tuple[str, str]]:
    """(name, member) of all arrays but our text."""
    return ((name, member) for name, member in npz_members(archive, where) if name != NOTES)


def _note(archive: Archive, where: str) -> tuple[str | None, list[str]]:
    """Our text, if it is there, and the names of arrays that are bits of bfloat16."""
    member = f"{NOTES}.npy"
    if member not in archive:
        return None, []
    note = npy(archive.read(member), f"{where}: {NOTES!r}")
    try:
        found = json.loads(note.tobytes())
        text, bits = found["text"], found[BITS]
        if type(text) is not str or type(bits) is not list:
            raise TypeError("another kind of text")
        if any(type(name) is not str or f"{name}.npy" not in archive for name in bits):
            raise TypeError("another kind of text")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise FileFormatError(f"{where} has a {NOTES!r} that save_weights never writes: {error!r}") from error
    return text, bits


def _named(text: str) -> str:
    """The name of a dtype of numbers; of others what NumPy writes for it."""
    try:
        return np.dtype(text).name if text[1] != "U" else text
    except TypeError:
        return text
