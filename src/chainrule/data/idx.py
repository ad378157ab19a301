"""IDX, the format of the MNIST files: a big-endian array behind a header of its type and sizes."""

from __future__ import annotations

import gzip
import math
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from ..domain.errors import DTypeError, FileFormatError, MissingFileError
from ..io.atomic import atomic_write

DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
GZIP = b"\x1f\x8b"


def read_idx(path: str | os.PathLike[str]) -> Any:
    """The array of an IDX file, compressed by gzip or not: uint8, int8, int16, int32, float32 or float64.

    Errors: MissingFileError; FileFormatError if the file is no IDX file, is cut short, damaged or too long.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write_idx(f"{folder}/labels.gz", np.array([5, 0, 4], np.uint8))
    ...     read_idx(f"{folder}/labels.gz")
    array([5, 0, 4], dtype=uint8)
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise MissingFileError(f"[read_idx] {path} does not exist") from None
    return parse_idx(unzipped(data, path), path)


def write_idx(path: str | os.PathLike[str], array: Any) -> None:
    """Write an array as IDX, compressed if the name ends in ``.gz``. Errors: DTypeError, FileWriteError."""
    array = np.asarray(array)
    code = next((c for c, d in DTYPES.items() if np.dtype(d) == array.dtype.newbyteorder(">")), None)
    if code is None or array.ndim > 255:
        raise DTypeError(f"[write_idx] IDX has no {array.dtype}; it has uint8, int8, int16, int32, float32, float64")
    sizes = np.array(array.shape, ">u4").tobytes()
    data = bytes([0, 0, code, array.ndim]) + sizes + np.asarray(array, DTYPES[code]).tobytes()
    with atomic_write(path) as file:
        file.write(gzip.compress(data, 6, mtime=0) if str(path).endswith(".gz") else data)


def unzipped(data: bytes, name: object) -> bytes:
    """``data`` without its gzip compression, if it has one. Errors: FileFormatError."""
    if not data.startswith(GZIP):
        return data
    try:
        return gzip.decompress(data)
    except (EOFError, OSError, zlib.error) as error:
        raise FileFormatError(f"[read_idx] {name} is cut short or damaged: {error}") from error


def parse_idx(data: bytes, name: object = "the data") -> Any:
    """The array of the bytes of an IDX file; ``name`` is for the errors. Errors: FileFormatError."""
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in DTYPES:
        raise FileFormatError(
            f"[read_idx] {name} is not an IDX file: it begins with {data[:4].hex(' ') or 'nothing'}, expected "
            "00 00, a type (08 09 0b 0c 0d 0e) and the number of axes"
        )
    dtype, axes = np.dtype(DTYPES[data[2]]), data[3]
    start = 4 + 4 * axes
    if len(data) < start:
        raise FileFormatError(f"[read_idx] {name} is cut short: {len(data)} bytes, its header alone takes {start}")
    shape = tuple(int(n) for n in np.frombuffer(data, ">u4", axes, 4))
    expected = start + dtype.itemsize * math.prod(shape)
    if len(data) != expected:
        wrong = "is cut short" if len(data) < expected else "is too long"
        raise FileFormatError(f"[read_idx] {name} {wrong}: {len(data)} bytes, {expected} expected for shape {shape}")
    try:
        array = np.frombuffer(data, dtype, offset=start).reshape(shape)
    except ValueError as error:  # too many axes for NumPy, or sizes beyond any memory beside one of 0
        raise FileFormatError(f"[read_idx] {name} has shape {shape}, which no array can have: {error}") from error
    return array.astype(dtype.newbyteorder("="))
