"""Named arrays in one file, safetensors, ``.npz`` or HDF5, with a checksum for each: under every checkpoint."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..domain.errors import ArgumentError, DTypeError, FileFormatError
from .atomic import atomic_write
from .h5 import read_h5_notes, write_h5_notes
from .npz import NOTES, read_npz_notes, write_npz_notes
from .zipped import regular

STORED = {
    **{f"float{n}": f"F{n}" for n in (64, 32, 16)},
    "bfloat16": "BF16",
    **{f"{kind}int{n}": f"{kind or 'i'}{n}".upper() for n in (64, 32, 16, 8) for kind in ("", "u")},
    "bool": "BOOL",
}  # dtypes, as safetensors call them
KEY = "chainrule"  # one key of the header, because the order of several changes from file to file
READERS: dict[str, Callable[[str | os.PathLike[str]], Mapping[str, Any]]] = {}  # of other weights, by suffix
WRITERS: dict[str, Callable[[str | os.PathLike[str], Mapping[str, Any]], None]] = {}
OWN: dict[
    str, tuple[Callable[..., Any], Callable[..., None]]
] = {  # readers and writers of ours; others are safetensors
    ".npz": (read_npz_notes, write_npz_notes),
    ".h5": (read_h5_notes, write_h5_notes),
    ".hdf5": (read_h5_notes, write_h5_notes),
}
FOREIGN = (".json", ".keras", ".onnx")  # names that would say what such a file is not


def save_weights(
    path: str | os.PathLike[str], arrays: Mapping[str, Any], metadata: Mapping[str, Any] | None = None
) -> None:
    """Write ``arrays`` (NumPy arrays or tensors, by name) and ``metadata`` (anything JSON can hold) to one file.

    The file is a plain safetensors file, read by every library that knows the format, or one of NumPy if ``path`` ends in
    ``.npz``, or HDF5 if it ends in ``.h5`` or ``.hdf5`` (both with bfloat16 as its bits, uint16), or PyTorch's if it ends in
    ``.pt`` or ``.pth`` (without metadata). Equal contents give equal bytes. Any shape, any memory order, every dtype of the
    framework. Errors: DTypeError, ArgumentError, FileWriteError; MissingDependencyError for HDF5 without h5py.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     save_weights(f"{folder}/w.safetensors", {"weight": np.eye(2)}, {"epoch": 3})
    ...     load_weights(f"{folder}/w.safetensors"), load_metadata(f"{folder}/w.safetensors")
    ({'weight': array([[1., 0.],
           [0., 1.]])}, {'epoch': 3})
    """
    suffix = Path(path).suffix
    if suffix in FOREIGN or (metadata and suffix in WRITERS):
        what = "no weights" if suffix in FOREIGN else "no metadata"
        raise ArgumentError(f"[save_weights] {path}: {what} are written to a {suffix}; .safetensors and .npz take both")
    if suffix in WRITERS:
        WRITERS[suffix](path, arrays)
        return
    dense = {}
    for name, value in arrays.items():
        if not isinstance(name, str) or name == NOTES or name != name.encode(errors="replace").decode():
            raise ArgumentError(f"[save_weights] {name!r} cannot be the name of an array")
        array = np.asarray(value)
        dense[name] = np.asarray(array, array.dtype.newbyteorder("<"), order="C")  # a 0-d array stays one
    sums = {name: crc32(name, array) for name, array in dense.items()}
    try:
        text = json.dumps({"crc32": dict(sorted(sums.items())), "metadata": dict(metadata or {})})  # in its order
    except TypeError as error:
        raise ArgumentError(f"[save_weights] the metadata for {path} cannot be written as JSON: {error}") from error
    signed = f"{zlib.crc32(text.encode()):08x} {text}"
    OWN.get(suffix, (_safetensors, _write_safetensors))[1](path, dense, signed)


def _write_safetensors(path: str | os.PathLike[str], arrays: Mapping[str, Any], text: str) -> None:
    """Write C-ordered arrays and a text, from where they are: a model that fills the memory can be written."""
    header: dict[str, Any] = {NOTES: {KEY: text}}
    # each begins at a multiple of its size
    order = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))
    end = 0
    for name in order:
        array = arrays[name]
        if array.dtype.name not in STORED:
            raise DTypeError(
                f"[save_weights] {path}: {name!r} has dtype {array.dtype.name}, a file holds {', '.join(STORED)}"
            )
        start, end = end, end + array.nbytes
        header[name] = {"dtype": STORED[array.dtype.name], "shape": [*array.shape], "data_offsets": [start, end]}
    head = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    head += b" " * (-len(head) % 8)
    with atomic_write(path) as file:
        file.write(len(head).to_bytes(8, "little") + head)
        for name in order:
            file.write(arrays[name].reshape(-1).view(np.uint8))


def load_weights(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The arrays of a file, by name: ``.npz``, ``.h5``, ``.hdf5``, PyTorch's ``.pt`` and ``.pth``; any other is safetensors.

    Errors: MissingFileError; FileFormatError if the file is cut short, damaged (checksums are verified where
    ``save_weights`` wrote it) or of another format.
    """
    return read(path)[0]


def load_metadata(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What was given to ``save_weights`` as metadata; for safetensors files of other libraries the texts of their header."""
    return read(path, with_arrays=False)[1]


def read(path: str | os.PathLike[str], *, with_arrays: bool = True) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arrays and the metadata of one and the same file, though it be replaced meanwhile."""
    suffix = Path(path).suffix
    if suffix in READERS:
        return dict(READERS[suffix](path)) if with_arrays else {}, {}
    arrays, texts = OWN.get(suffix, (_safetensors, _write_safetensors))[0](path, with_arrays)
    if KEY not in texts:
        return arrays, dict(texts)
    own, _, text = texts[KEY].partition(" ")
    if own != f"{zlib.crc32(text.encode()):08x}":
        raise FileFormatError(f"[load_weights] {path} is damaged: its header does not match its checksum")
    try:
        header = json.loads(text)
        sums, metadata = dict(header["crc32"]), dict(header["metadata"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise FileFormatError(
            f"[load_weights] {path} has a header that save_weights never writes: {error!r}"
        ) from error
    for name in sorted(sums.keys() | arrays.keys()) if with_arrays else ():
        if name not in arrays or crc32(name, arrays[name]) != sums.get(name):
            raise FileFormatError(
                f"[load_weights] {path} is damaged: the values of {name!r} do not match their checksum; "
                "use another copy of the file"
            )
    return arrays, metadata


def _safetensors(path: str | os.PathLike[str], with_arrays: bool) -> tuple[dict[str, Any], dict[str, str]]:
    """The arrays of a safetensors file, and the texts of its header."""
    import safetensors

    regular(path, f"[load_weights] {path}")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            texts = dict(file.metadata() or {})
            return {name: file.get_tensor(name) for name in sorted(file.keys())} if with_arrays else {}, texts
    except safetensors.SafetensorError as error:
        raise FileFormatError(f"[load_weights] {path} {_damage(Path(path), error)}") from error


def crc32(name: str, array: Any) -> str:
    """The checksum of a C-ordered array with its name, dtype and shape, as eight hexadecimal digits."""
    start = zlib.crc32(f"{name} {array.dtype.name} {array.shape}".encode())
    return f"{zlib.crc32(array.reshape(-1).view(np.uint8), start):08x}"


def _damage(path: Path, error: Exception) -> str:
    """What is wrong with a file that is not the safetensors file it should be."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        start = file.read(1)
        if size < 8 or start not in (b"{", b"") or length > 100_000_000:  # the most that the format allows
            return f"is not a safetensors file ({size} bytes)"
        if size < 8 + length:
            return f"is cut short: it has {size} bytes, and its header alone takes {8 + length}"
        try:
            entries = json.loads(start + file.read(length - 1))
            ends = [entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__"]
            expected = 8 + length + max(ends, default=0)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
            return "is damaged: its header is not what a safetensors file has"
    if size < expected:
        return f"is cut short: it has {size} bytes of {expected}"
    if size > expected:
        return f"is damaged: {size - expected} bytes follow the {expected} it should have"
    return f"is damaged: {error}"
