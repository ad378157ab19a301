"""What is in a file of arrays, before its values are read: under every loader.

A ``Source`` says names, dtypes and shapes at once and gives values when they are asked for: of safetensors files one by one,
so that a model can be filled from a file that would not fit into memory beside it; other formats are read whole.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from ..domain.dtype import DTYPES, DType
from ..domain.errors import ArgumentError, FileFormatError
from .tensors import KEY, TensorFile, ahead, crc32, numpy_dtype


class Spec(NamedTuple):
    """What is known of an array without its values; of ``name`` in the file those ``rows`` that are wanted."""

    name: str
    dtype: Any  # a DType, or the name of a dtype that is none of ours
    shape: tuple[int, ...]
    rows: slice | None = None


class Source:
    """Arrays that were read whole, and metadata."""

    mappable = False

    def __init__(self, arrays: Mapping[str, Any], metadata: Mapping[str, Any], where: str) -> None:
        self.arrays, self.metadata, self.where = dict(arrays), dict(metadata), where

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Read no more."""

    @property
    def specs(self) -> dict[str, Spec]:
        """What is there, by name."""
        return {name: Spec(name, known(a.dtype.name), tuple(a.shape)) for name, a in self.arrays.items()}

    def held(self) -> dict[str, Any]:
        """All, by name: arrays, or where values are read when they are asked for, what reads them."""
        return dict(self.arrays)

    def verify(self, names: Iterable[str] | None = None) -> None:
        """Raise FileFormatError unless values are those that were written, as far as the file can tell."""

    def take(self, names: Iterable[str] | None = None, *, verify: bool = True) -> Iterator[tuple[str, Any]]:
        """(name, values) of all, or of those named, in the order of the file. Errors: FileFormatError."""
        yield from self.arrays.items() if names is None else ((name, self.arrays[name]) for name in names)

    def views(self, names: Iterable[str] | None = None) -> Iterator[tuple[str, Any]]:
        """The same, mapped: nothing is read before it is used. Errors: ArgumentError for files that cannot be mapped."""
        raise ArgumentError(f"{self.where}: mmap=True maps .safetensors files, and folders of them; convert it to one")


class Tensors(Source):
    """Arrays in one or several safetensors files, read when they are asked for."""

    mappable = True

    def __init__(
        self, files: Mapping[str, TensorFile], opened: Iterable[TensorFile], texts: Mapping[str, Any], where: str
    ) -> None:
        self.files, self.opened, self.where = dict(files), [*opened], where
        try:
            self.sums, self.metadata = unsigned(texts, where)
            if self.sums is not None:
                self._belong(self.sums, [file for file in self.opened if file.texts is not texts])
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the files."""
        for file in self.opened:
            file.close()

    @property
    def specs(self) -> dict[str, Spec]:
        """What is there, by name."""
        return {
            name: Spec(name, known(file.places[name].dtype), file.places[name].shape)
            for name, file in sorted(self.files.items())
        }

    def held(self) -> dict[str, Any]:
        """See Source."""
        return {name: Held(self, spec) for name, spec in self.specs.items()}

    def verify(self, names: Iterable[str] | None = None) -> None:
        """See Source."""
        if self.sums is not None:
            for _ in ahead(self._verified, self._tasks(names)):
                pass

    def take(self, names: Iterable[str] | None = None, *, verify: bool = True) -> Iterator[tuple[str, Any]]:
        """See Source."""

        def read(name: str) -> tuple[str, Any]:
            if not verify or self.sums is None:
                return name, self.files[name].read(name)
            array, found = self.files[name].summed(name)
            if found != self.sums[name]:
                raise damaged(self.where, name)
            return name, array

        yield from ahead(read, self._tasks(names))

    def views(self, names: Iterable[str] | None = None) -> Iterator[tuple[str, Any]]:
        """See Source."""
        for name, _ in self._tasks(names):
            yield name, self.files[name].view(name)

    def _tasks(self, names: Iterable[str] | None) -> list[tuple[str, int]]:
        """Names with their bytes, in the order in which they lie in the files."""
        wanted = self.files if names is None else {*names}
        order = {file: i for i, file in enumerate(self.opened)}
        found = [(order[self.files[n]], self.files[n].places[n].at, n, self.files[n].places[n].nbytes) for n in wanted]
        return [(name, size) for _, _, name, size in sorted(found)]

    def _verified(self, name: str) -> None:
        if self.sums is not None and self.files[name].checksum(name) != self.sums[name]:
            raise damaged(self.where, name)

    def _belong(self, sums: Mapping[str, Any], shards: list[TensorFile]) -> None:
        """Raise FileFormatError unless the files have the arrays that were written, as their headers say."""
        for name in sums.keys() ^ self.files.keys():
            raise damaged(self.where, name)
        for file in shards:
            where = f"[load_weights] {file.path}"
            own, _ = unsigned(file.texts, where)
            for name in own or {}:
                if own is not None and own[name] != sums.get(name):
                    raise FileFormatError(f"{where} is of another checkpoint: its {name!r} is not that of the others")


class Held:
    """An array of a file that stays open as long as somebody has this; its values are read each time they are asked for.

    They are not verified: ``source.verify()`` says before whether they are what was written.
    """

    def __init__(self, source: Tensors, spec: Spec) -> None:
        self.source, self.spec = source, spec

    @property
    def shape(self) -> tuple[int, ...]:
        """As an array has it."""
        return self.spec.shape

    @property
    def dtype(self) -> Any:
        """That of NumPy."""
        return numpy_dtype(str(self.spec.dtype))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        (pair,) = self.source.take([self.spec.name], verify=False)
        return pair[1] if dtype is None else pair[1].astype(dtype, copy=False)


def known(name: str) -> Any:
    """The DType of a name; the name, if it is none of ours."""
    return DTYPES.get(name, DType(name, 3, 0))


def signed(sums: Mapping[str, str], metadata: Mapping[str, Any], path: str | os.PathLike[str]) -> str:
    """Checksums of arrays, and metadata, as one text behind its own checksum. Errors: ArgumentError."""
    try:
        text = json.dumps({"crc32": dict(sorted(sums.items())), "metadata": dict(metadata)})  # in its order
    except (TypeError, ValueError, RecursionError) as error:
        raise ArgumentError(f"[save_weights] the metadata for {path} cannot be written as JSON: {error}") from error
    return f"{zlib.crc32(text.encode()):08x} {text}"


def unsigned(texts: Mapping[str, Any], where: str) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """Checksums and metadata of what ``signed`` made; of texts of others None, and these texts. Errors: FileFormatError."""
    if KEY not in texts:
        return None, dict(texts)
    own, _, text = str(texts[KEY]).partition(" ")
    if own != f"{zlib.crc32(text.encode(errors='replace')):08x}":
        raise FileFormatError(f"{where} is damaged: its header does not match its checksum")
    try:
        header = json.loads(text)
        return dict(header["crc32"]), dict(header["metadata"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise FileFormatError(f"{where} has a header that save_weights never writes: {error!r}") from error


def verified(arrays: Mapping[str, Any], sums: Mapping[str, Any], where: str) -> None:
    """Raise FileFormatError unless arrays that were read whole are those that were written."""
    for name in sorted(sums.keys() | arrays.keys()):
        if name not in arrays or crc32(name, arrays[name]) != sums.get(name):
            raise damaged(where, name)


def damaged(where: str, name: str) -> FileFormatError:
    """The error of values that are not those that were written."""
    return FileFormatError(
        f"{where} is damaged: the values of {name!r} do not match their checksum; use another copy of the file"
    )
