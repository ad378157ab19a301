"""A JSON text as a file of ours, ``chainrule.json.v2``, plain or compressed by gzip: to be read by people and by any program.

``{"format", "checksum", "metadata", "arrays": {name: {"dtype", "shape", "crc32", "base64"}}}``. Values are their bytes, lowest
first, in C order. JSON has no NaN and no infinity: in the metadata they are ``{"$float": "NaN"}``. (The first version of JSON
is that of KeyDNN, ``keydnn.json.ckpt.v1``, see ``keydnn``.)
"""

from __future__ import annotations

import binascii
import gzip
import json
import math
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..domain.errors import ArgumentError, DTypeError, FileFormatError
from .atomic import atomic_write
from .jsontext import parsed
from .migrations import migrated
from .tensors import BITS, KEY, STORED, numpy_dtype
from .zipped import MOST_INFLATED, MOST_RATIO, regular

FORMAT = "chainrule.json.v2"
NUMBER = "$float"  # the key of what stands for a number that JSON has not
NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
PART = 3 << 18  # bytes that are encoded at a time


def write_json_notes(path: str | os.PathLike[str], arrays: Mapping[str, Any], text: str) -> None:
    """Write C-ordered arrays and what ``signed`` made, piece by piece. Errors: DTypeError, ArgumentError, FileWriteError."""
    checksum, _, body = text.partition(" ")
    header = json.loads(body)
    head = {"format": FORMAT, "checksum": checksum, "metadata": written(header["metadata"], path)}
    for name, array in arrays.items():
        if array.dtype.name not in STORED:
            raise DTypeError(
                f"[save_weights] {path}: {name!r} has dtype {array.dtype.name}, a file holds {', '.join(STORED)}"
            )
    with atomic_write(path) as target:
        packed = os.fspath(path).endswith(".gz")
        file: Any = gzip.GzipFile("", "wb", 6, target, mtime=0) if packed else target
        file.write(json.dumps(head, indent=1, allow_nan=False)[:-2].encode() + b',\n "arrays": {')
        for i, (name, array) in enumerate(arrays.items()):
            entry = {"dtype": array.dtype.name, "shape": [*array.shape], "crc32": header["crc32"][name]}
            file.write(b"," * bool(i) + f'\n  {json.dumps(name)}: {json.dumps(entry)[:-1]}, "base64": "'.encode())
            data = array.reshape(-1).view(np.uint8)
            for start in range(0, len(data), PART):
                file.write(binascii.b2a_base64(data[start : start + PART], newline=False))
            file.write(b'"}')
        file.write(b"\n }\n}")
        if packed:
            file.close()


def read_json_notes(path: str | os.PathLike[str], with_arrays: bool) -> tuple[dict[str, Any], dict[str, str]]:
    """The arrays of a file, and its text as that of the key ``chainrule``. Errors: MissingFileError, FileFormatError."""
    where = f"[load_weights] {path}"
    payload, entries = payload_of(path, where)
    sums = {name: entry.get("crc32") for name, entry in entries.items()}
    try:
        metadata = meant(payload.get("metadata"), where)
        text = json.dumps({"crc32": dict(sorted(sums.items())), "metadata": metadata})
    except RecursionError as error:
        raise FileFormatError(f"{where} is damaged: its metadata nest too deep") from error
    arrays = {}
    for name in [*entries] if with_arrays else ():
        arrays[name] = decoded(entries.pop(name), f"{where}: {name!r}")  # one less to hold
    return arrays, {KEY: f"{payload.get('checksum')} {text}"}


def json_headers(path: str | os.PathLike[str], where: str) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The dtype and the shape of each array, by name; the values stay encoded. Errors: MissingFileError, FileFormatError."""
    _, entries = payload_of(path, where)
    return {name: checked(entry, f"{where}: {name!r}") for name, entry in entries.items()}


def payload_of(path: str | os.PathLike[str], where: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is in a file, and the entries of its arrays as they stand there. Errors: MissingFileError, FileFormatError."""
    payload = json_of(path, where)
    found = payload.get("format") if isinstance(payload, dict) else None
    entries = payload.pop("arrays", None) if isinstance(payload, dict) else None
    if isinstance(entries, dict):
        entries, payload = migrated(path, FORMAT, entries, payload, "load_weights")
    if not isinstance(entries, dict) or payload.get("format") != FORMAT:
        known = "; it is of KeyDNN, which cr.load reads" if found == "keydnn.json.ckpt.v1" else ""
        raise FileFormatError(f"{where} has the format {found!r}, expected {FORMAT!r} with its arrays{known}")
    if not all(isinstance(entry, dict) for entry in entries.values()):
        raise FileFormatError(f"{where} is damaged: an array is an object with dtype, shape, crc32 and base64")
    return payload, entries


def is_ours(path: str | os.PathLike[str], where: str) -> bool:
    """Whether a JSON text is ours or damaged, and not of KeyDNN. Errors: MissingFileError."""
    regular(path, where)
    with open(path, "rb") as file:
        start = file.read(100)
    if b'"chainrule.json.v' in start or start[:2] == b"\x1f\x8b":
        return True
    try:
        payload = json_of(path, where)
    except FileFormatError:
        return True
    return not isinstance(payload, dict) or payload.get("format") != "keydnn.json.ckpt.v1"


def json_of(path: str | os.PathLike[str], where: str) -> Any:
    """What a JSON text says, plain or compressed. Errors: MissingFileError, FileFormatError."""
    regular(path, where)
    data = Path(path).read_bytes()
    if data[:2] == b"\x1f\x8b":
        data = inflated(data, where)
    return parsed(data, where)


def inflated(data: bytes, where: str) -> bytes:
    """What gzip compressed, if it is not suspiciously much. Errors: FileFormatError."""
    most = MOST_INFLATED + MOST_RATIO * len(data)
    inflater = zlib.decompressobj(31)
    try:
        found = inflater.decompress(data, most)
    except zlib.error as error:
        raise FileFormatError(f"{where} is damaged: it does not inflate ({error})") from error
    if inflater.unconsumed_tail:
        raise FileFormatError(f"{where} inflates to more than {MOST_INFLATED} bytes and {MOST_RATIO} times its size")
    if not inflater.eof or inflater.unused_data:
        raise FileFormatError(f"{where} is cut short, or something follows it")
    return found


def checked(entry: Mapping[str, Any], where: str) -> tuple[str, tuple[int, ...]]:
    """The dtype and the shape that an entry says. Errors: FileFormatError."""
    dtype, shape = entry.get("dtype"), entry.get("shape")
    sizes = isinstance(shape, list) and len(shape) <= 64 and all(type(n) is int and 0 <= n < 1 << 62 for n in shape)
    if not isinstance(dtype, str) or dtype not in STORED or not isinstance(shape, list) or not sizes:
        raise FileFormatError(f"{where} has dtype {dtype!r} and shape {shape!r}; expected a dtype and sizes")
    if math.prod(n for n in shape if n) * BITS[STORED[dtype]] >= 1 << 63:
        raise FileFormatError(f"{where} has shape {tuple(shape)}, which no array can have")
    return dtype, tuple(shape)


def decoded(entry: dict[str, Any], where: str) -> Any:
    """The array of an entry. Errors: FileFormatError."""
    dtype, shape = checked(entry, where)
    try:
        data = binascii.a2b_base64(entry.pop("base64"), strict_mode=True)
    except (KeyError, TypeError, ValueError) as error:  # binascii.Error too
        raise FileFormatError(f"{where} is damaged: {error!r}") from error
    size = math.prod(shape) * BITS[STORED[dtype]] // 8
    if len(data) != size:
        raise FileFormatError(f"{where} has {len(data)} bytes, but {dtype} of shape {shape} takes {size}")
    return np.frombuffer(bytearray(data), numpy_dtype(dtype)).reshape(shape)


def written(value: Any, path: str | os.PathLike[str]) -> Any:
    """Metadata as JSON can hold them. Errors: ArgumentError."""
    if isinstance(value, float) and not math.isfinite(value):
        return {NUMBER: "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"}
    if isinstance(value, dict):
        if NUMBER in value:
            raise ArgumentError(f"[save_weights] the metadata for {path} have a key {NUMBER!r}, which JSON files use")
        return {key: written(one, path) for key, one in value.items()}
    return [written(one, path) for one in value] if isinstance(value, list) else value


def meant(value: Any, where: str) -> Any:
    """The opposite. Errors: FileFormatError."""
    if isinstance(value, dict) and NUMBER in value:
        found = value[NUMBER]
        if len(value) > 1 or not isinstance(found, str) or found not in NUMBERS:
            raise FileFormatError(
                f"{where} has {str(value)[:100]} among its metadata, expected one of {', '.join(NUMBERS)}"
            )
        return NUMBERS[found]
    if isinstance(value, dict):
        return {key: meant(one, where) for key, one in value.items()}
    return [meant(one, where) for one in value] if isinstance(value, list) else value
