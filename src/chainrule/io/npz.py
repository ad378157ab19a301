"""NumPy's ``.npz`` as a file of ours: arrays by name, and a text beside them.

The text is in an array of bytes, ``__metadata__``. NumPy has no bfloat16: such arrays are stored as uint16, and named there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from io import BytesIO
from typing import Any

import ml_dtypes
import numpy as np

from ..domain.dtype import DTYPES
from ..domain.errors import DTypeError, FileFormatError
from .arrayfiles import _npy as npy
from .zipped import Archive, mapped, raw_bytes, write_zip

NOTES = "__metadata__"
BITS = "bfloat16"  # of our texts: the names of arrays that are bits of bfloat16


def write_npz_notes(path: str | os.PathLike[str], arrays: Mapping[str, Any], text: str) -> None:
    """Write C-ordered arrays and a text. Errors: DTypeError, ArgumentError, FileWriteError."""
    for name, array in arrays.items():
        if array.dtype.name not in DTYPES:
            raise DTypeError(f"[save_weights] {path}: {name!r} is of dtype {array.dtype}, which no tensor has")
    bits = [name for name, array in arrays.items() if array.dtype == ml_dtypes.bfloat16]
    note = json.dumps({BITS: bits, "text": text})
    stored = {name: array.view(np.uint16) if name in bits else array for name, array in arrays.items()}
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
    arrays, note = {}, None
    for member in archive:
        name = member.removesuffix(".npy")
        if name == member:
            raise FileFormatError(f"{where} has a member {member!r}; an .npz has arrays, NAME.npy, alone")
        if name == NOTES:
            note = npy(archive.read(member), f"{where}: {name!r}")
        elif with_arrays:
            arrays[name] = npy(archive.read(member), f"{where}: {name!r}")
    if note is None:
        return arrays, {}
    try:
        found = json.loads(note.tobytes())
        text, bits = found["text"], found[BITS]
        for name in bits if with_arrays else ():
            arrays[name] = _bits(arrays[name])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise FileFormatError(f"{where} has a {NOTES!r} that save_weights never writes: {error!r}") from error
    return arrays, {"chainrule": str(text)}


def _bits(array: Any) -> Any:
    """The array of bfloat16 of its bits."""
    if array.dtype != np.uint16:
        raise TypeError(f"bits of bfloat16 in {array.dtype}")
    return array.view(ml_dtypes.bfloat16)
