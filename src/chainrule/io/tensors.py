"""Files in the layout of safetensors: written from where the arrays are; read array by array, or mapped.

Eight bytes, the length of the header; the header, JSON: dtype, shape and place of each array; their values without gaps.
Nothing of the header is believed before it is checked, and only what is asked for is read.
"""

from __future__ import annotations

import json
import mmap
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from ..domain.errors import DTypeError, FileFormatError
from .atomic import atomic_write
from .jsontext import parsed
from .zipped import regular

STORED = {
    **{f"float{n}": f"F{n}" for n in (64, 32, 16)},
    "bfloat16": "BF16",
    **{f"{kind}int{n}": f"{kind or 'i'}{n}".upper() for n in (64, 32, 16, 8) for kind in ("", "u")},
    "bool": "BOOL",
}  # dtypes, as the layout calls them
NAMES = {code: name for name, code in STORED.items()}
BITS = {code: 8 * np.dtype(getattr(ml_dtypes, name, name)).itemsize for name, code in STORED.items()}
BITS |= {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "C64": 64}  # of others
NOTES = "__metadata__"
KEY = "chainrule"  # one key of the header, because the order of several changes from file to file
TORCH = (b"PK", b"\x80\x02")  # how a zip archive begins, and an old stream
MOST_HEADER = 100_000_000  # bytes, the most that the layout allows
ALIGNED = 64  # where values begin
BLOCK = 1 << 20  # bytes that are summed at a time: of fewer, threads would wait for one another
AHEAD = 1 << 25  # bytes that are read before they are asked for
SMALL = 1 << 20  # bytes for which no thread is started
POPULATED = getattr(mmap, "MAP_POPULATE", 0)
UNRESERVED = getattr(mmap, "MAP_NORESERVE", 0x4000 if os.uname().sysname == "Linux" else 0)
THREADS = min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


class Place(NamedTuple):
    """What the header says of an array, and where its values begin in the file."""

    code: str
    shape: tuple[int, ...]
    at: int
    nbytes: int

    @property
    def dtype(self) -> str:
        """The name of the dtype; that of the layout if it is none of ours."""
        return NAMES.get(self.code, self.code)


class TensorFile:
    """An open file: ``places`` and ``texts`` at once, values when they are asked for. ``where`` begins the messages.

    Errors: MissingFileError, FileFormatError.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write_tensors(f"{folder}/w.safetensors", {"weight": np.eye(2)}, {})
    ...     with TensorFile(f"{folder}/w.safetensors", "w.safetensors") as file:
    ...         file.places["weight"].shape, file.read("weight")
    ((2, 2), array([[1., 0.],
           [0., 1.]]))
    """

    def __init__(self, path: str | os.PathLike[str], where: str) -> None:
        self.path, self.where = Path(path), where
        self.file: Any = None
        regular(path, where)
        self.file = open(path, "rb", buffering=0)  # noqa: SIM115
        self._map: Any = None
        try:
            self.places, self.texts = self._header()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> TensorFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Read no more; what is mapped stays."""
        if self.file is not None:
            self.file.close()

    __del__ = close

    def read(self, name: str) -> Any:
        """The values of an array, in memory of their own."""
        place = self._known(name)
        array = memory(place.dtype, place.shape)
        self._into(array.reshape(-1).view(np.uint8), place.at)
        return array

    def summed(self, name: str) -> tuple[Any, str]:
        """The same, and their checksum, as ``crc32`` gives it."""
        place = self._known(name)
        array = memory(place.dtype, place.shape)
        return array, self._sum(name, place, array.reshape(-1).view(np.uint8))

    def view(self, name: str) -> Any:
        """The values where they lie in the file, mapped: what is written there stays in this process.

        A copy, if they do not lie as numbers of their size should.
        """
        place = self._known(name)
        if not place.nbytes:
            return self.read(name)
        if self._map is None:
            private = mmap.MAP_PRIVATE | UNRESERVED  # pages that are written to become memory of this process
            self._map = mmap.mmap(self.file.fileno(), 0, flags=private, prot=mmap.PROT_READ | mmap.PROT_WRITE)
        dtype = numpy_dtype(place.dtype)
        array = np.frombuffer(self._map, np.uint8, place.nbytes, place.at).view(dtype).reshape(place.shape)
        return array if array.flags.aligned else self.read(name)

    def checksum(self, name: str) -> str:
        """The checksum of an array; the values are not kept."""
        place = self._known(name)
        return self._sum(name, place, np.empty(min(BLOCK, place.nbytes), np.uint8))

    def _sum(self, name: str, place: Place, data: Any) -> str:
        """Read values into ``data``, or if they are more, one block over the other; each is summed while in the cache."""
        found = zlib.crc32(f"{name} {place.dtype} {place.shape}".encode())
        for start in range(0, place.nbytes, BLOCK):
            count = min(BLOCK, place.nbytes - start)
            part = data[start : start + count] if len(data) == place.nbytes else data[:count]
            self._into(part, place.at + start)
            found = zlib.crc32(part, found)
        return f"{found:08x}"

    def _into(self, data: Any, at: int) -> None:
        """Fill an array of bytes from the file."""
        done = 0
        while done < len(data):
            count = os.preadv(self.file.fileno(), [data[done:]], at + done)
            if not count:
                raise FileFormatError(f"{self.where} was cut short while it was read")
            done += count

    def _known(self, name: str) -> Place:
        place = self.places[name]
        if place.code not in NAMES:
            raise FileFormatError(f"{self.where}: {name!r} is of the dtype {place.code}; known are {', '.join(NAMES)}")
        return place

    def _header(self) -> tuple[dict[str, Place], dict[str, str]]:
        """What is in the file, and its texts."""
        fd = self.file.fileno()
        size, start = os.fstat(fd).st_size, os.pread(fd, 9, 0)
        length = int.from_bytes(start[:8], "little")
        if size < 8 or start[8:] not in (b"{", b"") or length > MOST_HEADER:
            hint = "; it begins as PyTorch's do: end its name in .pt, or read it by interop.load_torch(path)"
            raise FileFormatError(
                f"{self.where} is not a safetensors file ({size} bytes){hint if start[:2] in TORCH else ''}"
            )
        if size < 8 + length:
            raise FileFormatError(
                f"{self.where} is cut short: it has {size} bytes, and its header alone takes {8 + length}"
            )
        try:
            head = bytearray(length)
            self._into(np.frombuffer(head, np.uint8), 8)
            entries = parsed(bytes(head), "the header")
            texts = entries.pop(NOTES, {})
            if type(texts) is not dict or not all(type(text) is str for text in texts.values()):
                raise TypeError("other notes than texts")
            places = {name: place(entry, 8 + length) for name, entry in entries.items()}
        except (FileFormatError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise FileFormatError(
                f"{self.where} is damaged: its header is not what a safetensors file has ({error})"
            ) from error
        end = 8 + length
        for found in sorted(places.values(), key=lambda place: (place.at, place.nbytes)):
            if found.at != end:
                raise FileFormatError(f"{self.where} is damaged: its arrays lie over one another, or leave gaps")
            end += found.nbytes
        if size < end:
            raise FileFormatError(f"{self.where} is cut short: it has {size} bytes of {end}")
        if size > end:
            raise FileFormatError(f"{self.where} is damaged: {size - end} bytes follow the {end} it should have")
        return places, texts


def place(entry: Any, begin: int) -> Place:
    """What an entry of the header says. Errors: KeyError, TypeError, ValueError for anything that cannot be."""
    code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    start, end = offsets
    if len(entry) != 3 or type(shape) is not list or len(shape) > 64:
        raise ValueError(f"an array of {str(entry)[:200]}")
    if not all(type(n) is int and 0 <= n < 1 << 62 for n in [*shape, start, end]):
        raise ValueError(f"sizes of {str(entry)[:200]}")
    if (prod(n for n in shape if n) * BITS[code]) >= 1 << 63 or prod(shape) * BITS[code] != 8 * (end - start):
        raise ValueError(f"{end - start} bytes for {code} of shape {tuple(shape)}")
    return Place(code, tuple(shape), begin + start, end - start)


def numpy_dtype(name: str) -> Any:
    """NumPy's dtype of a name: ``bfloat16``, too."""
    return np.dtype(getattr(ml_dtypes, name, name))


def memory(dtype: str, shape: tuple[int, ...]) -> Any:
    """A new array, which begins where a line of the cache does, as kernels like it.

    A large one is of pages as they come. NumPy asks for huge ones, and where memory is in pieces the system then moves
    others about to make them: that took two to three times as long as reading the values.
    """
    wanted = numpy_dtype(dtype)
    size = prod(shape) * wanted.itemsize
    if size >= SMALL:
        try:
            pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | POPULATED)
        except OSError as error:
            raise MemoryError(f"there is no room for an array of {dtype} and shape {shape}, {size} bytes") from error
        return np.frombuffer(pages, wanted).reshape(shape)
    found = np.empty(size + ALIGNED, np.uint8)
    start = -found.ctypes.data % ALIGNED
    return found[start : start + size].view(wanted).reshape(shape)


def write_tensors(path: str | os.PathLike[str], arrays: Mapping[str, Any], texts: Mapping[str, str]) -> None:
    """Write C-ordered arrays and texts, from where they are: a model that fills the memory can be written.

    Equal contents give equal bytes. Errors: DTypeError, FileWriteError.
    """
    header: dict[str, Any] = {NOTES: dict(texts)} if texts else {}
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
    head += b" " * (-(len(head) + 8) % ALIGNED)
    with atomic_write(path) as file:
        file.write(len(head).to_bytes(8, "little") + head)
        for name in order:
            file.write(arrays[name].reshape(-1).view(np.uint8))


def crc32(name: str, array: Any) -> str:
    """The checksum of a C-ordered array with its name, dtype and shape, as eight hexadecimal digits."""
    start = zlib.crc32(f"{name} {array.dtype.name} {array.shape}".encode())
    return f"{zlib.crc32(array.reshape(-1).view(np.uint8), start):08x}"


def ahead(do: Any, tasks: Iterable[tuple[Any, int]]) -> Iterator[Any]:
    """``do`` of each of ``tasks``, (argument, bytes), in their order: by threads, so many bytes ahead as AHEAD says."""
    pending = [*tasks]
    if len(pending) < 2 or sum(size for _, size in pending) < SMALL:
        yield from (do(one) for one, _ in pending)
        return
    with ThreadPoolExecutor(THREADS, "chainrule-io") as pool:
        while pending:
            count, room = 0, AHEAD
            while count < len(pending) and (not count or room >= pending[count][1]):
                room -= pending[count][1]
                count += 1
            batch, pending = pending[:count], pending[count:]
            yield from pool.map(do, [one for one, _ in batch])
