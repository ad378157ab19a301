"""Named arrays in NumPy's ``.npz`` and in HDF5, read without trust: numbers and texts alone, and no more than fits the file.

An ``.npz`` is a zip archive of ``NAME.npy``: a header, which says dtype, order and shape, and the values. Objects, which NumPy
would unpickle, are never read.
"""

from __future__ import annotations

import io
import math
import os
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import ml_dtypes
import numpy as np

from ..domain.errors import DTypeError, FileFormatError, MissingDependencyError
from .atomic import atomic_write
from .h5_texts import largest_heap
from .zipped import MOST_INFLATED, Archive, mapped

HEADER = re.compile(
    r"\{'descr': '([<>|=]?[fiubU]\d{1,9})', 'fortran_order': (True|False), "
    r"'shape': \(((?:\d{1,18}(?:, *\d{1,18})*,? ?)?)\),? ?\} *\n"
)
FILTERS = {1, 2, 3, 32000}  # of HDF5: deflate, shuffle, checksums, LZF
MOST_RATIO = 16  # so many times its size, beside MOST_INFLATED bytes, may an HDF5 file take when read
MOST_NAMES = 1 << 16


def read_npz(path: str | os.PathLike[str], where: str) -> dict[str, Any]:
    """The arrays of an ``.npz`` by name. ``where`` begins the messages. Errors: MissingFileError, FileFormatError."""
    archive = Archive(mapped(path, where), where)
    return {name: npy(archive.read(member), f"{where}: {name!r}") for name, member in npz_members(archive, where)}


def npz_members(archive: Archive, where: str) -> Iterator[tuple[str, str]]:
    """(name of the array, name of the member) of all in an ``.npz``. Errors: FileFormatError."""
    for member in archive:
        name = member.removesuffix(".npy")
        if name == member:
            raise FileFormatError(f"{where} has a member {member!r}; an .npz has arrays, NAME.npy, alone")
        yield name, member


def write_npz(path: str | os.PathLike[str], arrays: Mapping[str, Any], *, compressed: bool = False) -> None:
    """Write arrays as an ``.npz``. Equal arrays give equal bytes. Errors: FileWriteError."""
    method = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with atomic_write(path) as file, zipfile.ZipFile(file, "w", method) as archive:
        for name, array in arrays.items():  # not np.savez, for which no array can be called "file"
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)


def read_h5(path: str | os.PathLike[str], where: str) -> dict[str, Any]:
    """The arrays at the root of an HDF5 file by name. Errors: MissingFileError, FileFormatError, MissingDependencyError."""
    with opened_h5(path, where) as file:
        return datasets_h5(file, where)


@contextmanager
def opened_h5(path: str | os.PathLike[str], where: str) -> Iterator[Any]:
    """The root of an HDF5 file, to read. Errors: those of ``read_h5``, also for what h5py stumbles over in the block."""
    h5py = _h5py(where)
    largest_heap(mapped(path, where), where)
    try:
        with h5py.File(path, "r") as file:
            yield file
    except FileFormatError:
        raise
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, MemoryError) as error:
        raise FileFormatError(f"{where} is cut short, damaged, or no HDF5 file: {error}") from error


def write_h5(
    path: str | os.PathLike[str],
    arrays: Mapping[str, Any],
    where: str,
    *,
    compressed: bool = True,
    attributes: Mapping[str, str] | None = None,
) -> None:
    """Write arrays to the root of an HDF5 file, compressed by gzip, and texts to its attributes.

    The file is made in memory. Errors: FileWriteError, MissingDependencyError.
    """
    memory = io.BytesIO()
    with _h5py(where).File(memory, "w") as file:
        for name, array in arrays.items():
            packed = {"compression": "gzip"} if compressed and np.ndim(array) else {}
            file.create_dataset(name, data=array, track_times=False, **packed)
        for name, text in (attributes or {}).items():
            file.attrs[name] = text
    with atomic_write(path) as target:
        target.write(memory.getbuffer())


def storable(dtype: Any) -> bool:
    """Whether arrays of a dtype can be in our files: booleans, bfloat16, and numbers of up to 64 bits."""
    return dtype.name == "bfloat16" or (dtype.kind in "fiub" and dtype.itemsize <= 8)


def to_bits(arrays: Mapping[str, Any], where: str) -> tuple[dict[str, Any], list[str]]:
    """Arrays as formats without bfloat16 hold them, those as their bits, uint16; and the names of these. Errors: DTypeError."""
    for name, array in arrays.items():
        if not storable(array.dtype):
            raise DTypeError(f"{where}: {name!r} is of dtype {array.dtype}, which no file holds")
    bits = [name for name, array in arrays.items() if array.dtype == ml_dtypes.bfloat16]
    return {**arrays, **{name: arrays[name].view(np.uint16) for name in bits}}, bits


def from_bits(arrays: Mapping[str, Any], bits: Iterable[str], where: str) -> dict[str, Any]:
    """The opposite. Errors: FileFormatError."""
    found, names = dict(arrays), {*bits}
    for name, array in arrays.items():
        if name in names:
            if array.dtype != np.uint16:
                raise FileFormatError(f"{where}: {name!r} is {array.dtype}, expected the bits of bfloat16, uint16")
            found[name] = array.view(ml_dtypes.bfloat16)
    return found


def npy(data: Any, where: str) -> Any:
    """The array of a ``.npy``. Errors: FileFormatError."""
    start = data[:12].tobytes()
    if len(start) < 12 or start[:6] != b"\x93NUMPY" or start[6] not in (1, 2, 3):
        raise FileFormatError(f"{where} is no array of NumPy")
    first, wide = (10, 2) if start[6] == 1 else (12, 4)
    end = first + int.from_bytes(start[8 : 8 + wide], "little")
    text = data[first : min(end, 1 << 16)].tobytes().decode("latin-1")
    header = HEADER.fullmatch(text)
    if header is None:
        kind = "objects, which are never read" if "'|O" in text or "'O" in text else f"{text.strip()[:200]!r}"
        raise FileFormatError(f"{where} has {kind}; expected an array of numbers, or a text")
    try:
        dtype = np.dtype(header[1])
    except TypeError as error:
        raise FileFormatError(f"{where} has the dtype {header[1]!r}, which there is not") from error
    shape = tuple(int(n) for n in header[3].replace(",", " ").split())
    if math.prod(shape) * dtype.itemsize != len(data) - end:
        raise FileFormatError(
            f"{where} has {len(data) - end} bytes of values, but {dtype.str} of shape {shape} takes "
            f"{math.prod(shape) * dtype.itemsize}"
        )
    try:
        values = np.frombuffer(data[end:].tobytes(), dtype) if dtype.itemsize else np.zeros(math.prod(shape), dtype)
        array = values.reshape(shape, order="F" if header[2] == "True" else "C")
    except (ValueError, MemoryError) as error:
        raise FileFormatError(f"{where} has shape {shape}, which no array can have: {error}") from error
    return np.array(array, dtype.newbyteorder("="), order="C")


def datasets_h5(file: Any, where: str) -> dict[str, Any]:
    """The arrays at the root of an open HDF5 file. Errors: FileFormatError."""
    h5py, size = _h5py(where), file.id.get_filesize()
    if len(file) > MOST_NAMES:
        raise FileFormatError(f"{where} has {len(file)} entries at its root; at most {MOST_NAMES} are read")
    found, room = {}, MOST_INFLATED + MOST_RATIO * size
    for name in file:
        link, at = file.get(name, getlink=True), f"{where}: {name!r}"
        if not isinstance(link, h5py.HardLink):
            raise FileFormatError(f"{at} is a link that leads elsewhere ({type(link).__name__}), which is not followed")
        if name != name.encode(errors="replace").decode():  # what is no UTF-8 becomes surrogates
            raise FileFormatError(f"{at} is no name in UTF-8")
        entry = file.get(name)
        if not isinstance(entry, h5py.Dataset):
            raise FileFormatError(f"{at} is a {type(entry).__name__}; expected arrays alone")
        if entry.dtype.kind not in "fiub" or entry.shape is None:
            raise FileFormatError(f"{at} has the dtype {entry.dtype}; expected an array of numbers")
        if entry.external or entry.is_virtual:
            raise FileFormatError(f"{at} has its values in another file, which is not read")
        plan = entry.id.get_create_plist()
        filters = {plan.get_filter(i)[0] for i in range(plan.get_nfilters())}
        if not filters <= FILTERS:
            raise FileFormatError(f"{at} is packed by the filters {sorted(filters)}; deflate and LZF are read")
        room -= entry.dtype.itemsize * math.prod(entry.shape)
        if room < 0 or entry.dtype.itemsize * math.prod(entry.chunks or ()) > MOST_INFLATED:
            raise FileFormatError(
                f"{at}: the arrays take more than {MOST_INFLATED} bytes and {MOST_RATIO} times the {size} of the file"
            )
        found[name] = np.asarray(entry[()], entry.dtype.newbyteorder("="))
    return found


def _h5py(where: str) -> Any:
    try:
        import h5py
    except ImportError as error:
        raise MissingDependencyError(f"{where}: HDF5 files need h5py: pip install 'chainrule[h5]'") from error
    return h5py
