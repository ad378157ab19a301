"""Named arrays in files, safetensors, ``.npz``, HDF5, JSON or a folder, with a checksum for each: under every checkpoint."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..domain.errors import ArgumentError
from ..nn.registry import READERS, WRITERS
from .folders import is_folder, open_folder, write_folder
from .h5 import read_h5_notes, write_h5_notes
from .jsonfile import read_json_notes, write_json_notes
from .npz import NOTES, read_npz_notes, write_npz_notes
from .source import Source, Tensors, signed, unsigned, verified
from .tensors import KEY, TensorFile, ahead, crc32, write_tensors

OWN: dict[
    str, tuple[Callable[..., Any], Callable[..., None]]
] = {  # of ours that are read whole; others are safetensors
    ".npz": (read_npz_notes, write_npz_notes),
    ".h5": (read_h5_notes, write_h5_notes),
    ".hdf5": (read_h5_notes, write_h5_notes),
    ".json": (read_json_notes, write_json_notes),
    ".json.gz": (read_json_notes, write_json_notes),
}
FOREIGN = (".keras", ".onnx")  # names that would say what such a file is not


def suffix_of(path: str | os.PathLike[str]) -> str:
    """What the name of a file says of its format; of a compressed one both suffixes.

    >>> suffix_of("runs/best.safetensors"), suffix_of("runs/best.json.gz")
    ('.safetensors', '.json.gz')
    """
    return "".join(Path(path).suffixes[-2:]) if os.fspath(path).endswith(".json.gz") else Path(path).suffix


def save_weights(
    path: str | os.PathLike[str],
    arrays: Mapping[str, Any],
    metadata: Mapping[str, Any] | None = None,
    *,
    max_shard_size: int | str | None = None,
) -> None:
    """Write ``arrays`` (NumPy arrays or tensors, by name) and ``metadata`` (anything JSON can hold) to one file, or a folder.

    The file is a plain safetensors file, read by every library that knows the format, or one of NumPy if ``path`` ends in
    ``.npz``, or HDF5 if it ends in ``.h5`` or ``.hdf5`` (both with bfloat16 as its bits, uint16), or JSON if it ends in
    ``.json`` or, compressed, ``.json.gz``, or PyTorch's if it ends in ``.pt`` or ``.pth`` (without metadata). A path that
    ends in a slash, or has no suffix, is a folder of safetensors files of at most ``max_shard_size`` ("1GB"; bytes, or a text)
    with the index of Hugging Face's layout. Equal contents give equal bytes. Any shape, any memory order, every dtype of
    the framework. Errors: DTypeError, ArgumentError, FileWriteError; MissingDependencyError for HDF5 without h5py.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     save_weights(f"{folder}/w.safetensors", {"weight": np.eye(2)}, {"epoch": 3})
    ...     load_weights(f"{folder}/w.safetensors"), load_metadata(f"{folder}/w.safetensors")
    ({'weight': array([[1., 0.],
           [0., 1.]])}, {'epoch': 3})
    """
    suffix, folder = suffix_of(path), is_folder(path)
    if not folder and (suffix in FOREIGN or (metadata and suffix in WRITERS)):
        what = "no weights" if suffix in FOREIGN else "no metadata"
        raise ArgumentError(f"[save_weights] {path}: {what} are written to a {suffix}; .safetensors and .npz take both")
    if max_shard_size is not None and not folder:
        raise ArgumentError(
            f"[save_weights] max_shard_size goes with a folder, and {path} is a file by its suffix: end it in a slash"
        )
    if suffix in WRITERS and not folder:
        WRITERS[suffix](path, arrays)
        return
    dense = {}
    for name, value in arrays.items():
        if not isinstance(name, str) or name == NOTES or name != name.encode(errors="replace").decode():
            raise ArgumentError(f"[save_weights] {name!r} cannot be the name of an array")
        array = np.asarray(value)
        dense[name] = np.asarray(array, array.dtype.newbyteorder("<"), order="C")  # a 0-d array stays one
    found = ahead(lambda name: crc32(name, dense[name]), [(name, array.nbytes) for name, array in dense.items()])
    sums = dict(zip(dense, found, strict=True))
    text = signed(sums, metadata or {}, path)
    if folder:
        write_folder(path, dense, text, sums, max_shard_size)
    elif suffix in OWN:
        OWN[suffix][1](path, dense, text)
    else:
        write_tensors(path, dense, {KEY: text})


def load_weights(path: str | os.PathLike[str], *, mmap: bool = False) -> dict[str, Any]:
    """The arrays of a file, by name: ``.npz``, ``.h5``, ``.hdf5``, ``.json``, ``.json.gz``, PyTorch's ``.pt`` and ``.pth``;
    any other is safetensors; or of a folder of these, as ``save_weights`` and Hugging Face write it.

    With ``mmap`` the arrays of safetensors are the file's own pages, read when they are used; what is written to them stays
    in this process. Their checksums are not verified then, and the file must not be changed in place.

    Errors: MissingFileError; FileFormatError if the file is cut short, damaged (checksums are verified where
    ``save_weights`` wrote it) or of another format.
    """
    with opened(path) as source:
        return dict(sorted(source.views() if mmap else source.take()))


def load_metadata(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What was given to ``save_weights`` as metadata; for safetensors files of other libraries the texts of their header."""
    with opened(path, with_arrays=False) as source:
        return source.metadata


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arrays and the metadata of one and the same file, though it be replaced meanwhile."""
    with opened(path) as source:
        return dict(sorted(source.take())), source.metadata


def opened(path: str | os.PathLike[str], *, with_arrays: bool = True) -> Source:
    """What is in a file, or a folder, before its values are read. Errors: MissingFileError, FileFormatError."""
    where, suffix = f"[load_weights] {path}", suffix_of(path)
    if os.path.isdir(path):
        return open_folder(path, where)
    if suffix in READERS:
        return Source(READERS[suffix](path) if with_arrays else {}, {}, where)
    if suffix not in OWN:
        file = TensorFile(path, where)
        return Tensors(dict.fromkeys(file.places, file), [file], file.texts, where)
    arrays, texts = OWN[suffix][0](path, with_arrays)
    sums, metadata = unsigned(texts, where)
    if sums is not None and with_arrays:
        verified(arrays, sums, where)
    return Source(arrays, metadata, where)
