"""Arrays in files, larger than memory: batches are read from the disk where they are needed."""

from __future__ import annotations

import os
from collections.abc import Callable
from mmap import mmap
from pathlib import Path
from typing import Any

import numpy as np

from ..domain.dtype import DTYPES
from ..domain.errors import DataError, FileFormatError, MissingFileError
from ..random import Generator
from .collate import takes_generator
from .transforms import transformed

RELEASE = 1 << 25  # bytes that are touched before the pages of the file are let go of
AROUND = 1 << 16  # bytes that the system maps around a place that is read


class MemmapDataset:
    """Arrays in ``.npy`` files, or of ``np.memmap``, whose first axis counts the samples: ``MemmapDataset("x.npy", "y.npy")``.

    They are never read as a whole: a batch is gathered from the pages it lies on, and pages are let go of again, so the
    memory in use stays small. Indexing, ``batch`` and ``transform`` are those of ArrayDataset. Worker processes open
    the files anew. Errors: MissingFileError, FileFormatError, DataError.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     np.save(f"{folder}/x.npy", np.arange(6).reshape(3, 2))
    ...     data = MemmapDataset(f"{folder}/x.npy")
    ...     len(data), data.batch([2, 0])[0].tolist()
    (3, [[4, 5], [0, 1]])
    """

    def __init__(
        self, *files: str | os.PathLike[str] | np.memmap[Any, Any], transform: Callable[..., Any] | None = None
    ) -> None:
        if not files:
            raise DataError('[MemmapDataset] no files were given: MemmapDataset("x.npy", "y.npy")')
        self.files = tuple(place_of(f) for f in files)
        self.transform = transform
        self.draws = takes_generator(transform)  # whether a batch needs random numbers
        self._maps = tuple(opened(f) for f in self.files)
        self._touched = 0
        lengths = [len(m) for m in self._maps]
        if len(set(lengths)) > 1:
            raise DataError(f"[MemmapDataset] the files have {lengths} samples: give one of each")

    def __len__(self) -> int:
        return len(self._maps[0])

    def __getitem__(self, index: Any) -> tuple[Any, ...]:
        if isinstance(index, slice) or np.ndim(index):
            return self.batch(np.arange(len(self))[index])
        return tuple(a[0] for a in self.batch([index]))

    def batch(self, indices: Any, generator: Generator | None = None) -> tuple[Any, ...]:
        """The samples at ``indices``, copied from the files, one array for each."""
        arrays = []
        for m in self._maps:
            found = np.asarray(np.take(m, indices, axis=0))
            arrays.append(found.astype(found.dtype.newbyteorder("="), copy=False))
            self._touched += found.nbytes + len(indices) * AROUND
        if self._touched > RELEASE:
            self._touched = 0
            for m in self._maps:
                release(m)
        return transformed(self.transform, tuple(arrays), generator)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_maps"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._maps = tuple(opened(f) for f in self.files)

    def __repr__(self) -> str:
        return f"MemmapDataset({', '.join(f'{Path(f[0]).name}: {m.dtype}{list(m.shape)}' for f, m in self._pairs())})"

    def _pairs(self) -> Any:
        return zip(self.files, self._maps, strict=True)


Place = tuple[str, Any]  # a file, and None for .npy, else the dtype, shape, offset and order of what is in it


def place_of(file: Any) -> Place:
    """Where an array is."""
    if not isinstance(file, np.memmap):
        return os.fspath(Path(file).absolute()), None
    if file.filename is None or file.mode == "c":
        raise DataError("[MemmapDataset] the memmap has changes or parts that no file has: save it, and give the file")
    base: Any = file.base
    if not isinstance(base, mmap):
        raise DataError("[MemmapDataset] a part of a memmap was given: give the whole, and a Subset of the data set")
    order = "C" if file.flags.c_contiguous else "F"
    return os.fspath(Path(file.filename).absolute()), (file.dtype.str, file.shape, file.offset, order)


def opened(place: Place) -> Any:
    """The array in a file, to read."""
    path, layout = place
    try:
        if layout is None:
            array = np.lib.format.open_memmap(path, mode="r")
        else:
            dtype, shape, offset, order = layout
            array = np.memmap(path, dtype, "r", offset, shape, order)
    except FileNotFoundError:
        raise MissingFileError(f"[MemmapDataset] {path} does not exist") from None
    except Exception as error:  # NumPy raises many kinds
        raise FileFormatError(f"[MemmapDataset] {path} cannot be mapped: {error}") from error
    if array.ndim == 0:
        raise DataError(f"[MemmapDataset] {path} holds a single number: its first axis has to count the samples")
    if array.dtype.newbyteorder("=").name not in DTYPES:
        raise DataError(f"[MemmapDataset] {path} has dtype {array.dtype}: convert it to one of {', '.join(DTYPES)}")
    return array


def release(array: Any) -> None:
    """Let go of the pages that were read; they stay in the cache of the system while it has room."""
    advise = getattr(array._mmap, "madvise", None)
    if advise is not None:
        from mmap import MADV_DONTNEED

        advise(MADV_DONTNEED)
