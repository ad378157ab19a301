"""Zip archives: written so that members can be mapped; read as untrusted files are, without a trace on the disk.

Source: PKWARE's APPNOTE 6.3. Read are members stored as they are (seen where they lie, without a copy) and deflated ones. Sizes
are limited before they are believed.
"""

from __future__ import annotations

import mmap
import os
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..domain.errors import ArgumentError, FileFormatError, MissingFileError
from .atomic import atomic_write

MOST_DIRECTORY = 32 << 20  # bytes of the directory
MOST_INFLATED = 256 << 20  # bytes that an archive may inflate to, and
MOST_RATIO = 100  # so many times its size
ALIGNED = 64  # where members begin
NARROW = 0x7FFFFFFF  # bytes of a member whose sizes are written in 32 bits


def regular(path: str | os.PathLike[str], where: str) -> None:
    """Raise MissingFileError unless there is a file to read at ``path``. ``where`` begins the message."""
    try:
        if Path(path).is_file():
            return
        what = "is not a regular file" if Path(path).exists() else "does not exist"
    except OSError as error:  # a name that none can have
        raise MissingFileError(f"{where} cannot be looked for: {error.strerror}") from error
    raise MissingFileError(f"{where} {what}")


def mapped(path: str | os.PathLike[str], where: str) -> Any:
    """The bytes of a file, mapped: what is written there is not written to the file. Errors: MissingFileError."""
    regular(path, where)
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if not size:
            raise FileFormatError(f"{where} is empty")
        return np.frombuffer(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY), np.uint8)


class Entry(NamedTuple):
    """What the directory says of a member."""

    name: str
    label: bytes  # the name as it is written
    method: int
    crc: int
    packed: int
    size: int
    at: int


class Archive:
    """A zip archive in ``data``, an array of bytes. ``where`` begins the messages. Errors: FileFormatError.

    >>> from io import BytesIO
    >>> from zipfile import ZipFile
    >>> file = BytesIO()
    >>> with ZipFile(file, "w") as archive:
    ...     archive.writestr("notes.txt", "kept")
    >>> Archive(np.frombuffer(file.getvalue(), np.uint8), "notes.zip").read("notes.txt").tobytes()
    b'kept'
    """

    def __init__(self, data: Any, where: str, *, verify: bool = True) -> None:
        self.data, self.where, self.verify = data, where, verify
        self.room = MOST_INFLATED + MOST_RATIO * len(data)
        self.entries: dict[str, Entry] = {}
        try:
            start, count, directory = self._directory()
            for entry in self._listed(directory, count):
                self._admit(entry)
        except (struct.error, UnicodeDecodeError) as error:
            raise self._error(f"is damaged: its directory makes no sense ({error})") from error
        found = sorted((entry.at, entry.at + 30 + entry.packed) for entry in self.entries.values())
        if any(end > after for (_, end), (after, _) in pairwise([*found, (start, start)])):
            raise self._error("is damaged: its members lie over one another")
        self.end = start

    def __contains__(self, name: object) -> bool:
        return name in self.entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def read(self, name: str) -> Any:
        """The bytes of a member, as an array; those that are stored as they are lie in the archive."""
        entry, found = self.entries[name], self._packed(name)
        if entry.method:
            found = self._inflated(entry, found)
        if (self.verify or entry.method) and zlib.crc32(found) != entry.crc:
            raise self._error(f"is damaged: {name} does not match its checksum")
        return found

    def head(self, name: str, count: int) -> bytes:
        """The first bytes of a member, at most ``count``; nothing is verified."""
        found = self._packed(name)
        if not self.entries[name].method:
            return bytes(found[:count].tobytes())
        try:
            return zlib.decompressobj(-15).decompress(found, count)
        except zlib.error as error:
            raise self._error(f"is damaged: {name} does not inflate ({error})") from error

    def _packed(self, name: str) -> Any:
        """The bytes of a member as they are in the archive."""
        entry = self.entries[name]
        head = self.data[entry.at : entry.at + 30].tobytes()
        if len(head) < 30 or head[:4] != b"PK\x03\x04":
            raise self._error(f"is damaged: {name} is not where its directory says")
        named, extra = struct.unpack("<2H", head[26:])
        if self.data[entry.at + 30 : entry.at + 30 + named].tobytes() != entry.label:
            raise self._error(f"is damaged: {name} has another name where it lies")
        start = entry.at + 30 + named + extra
        if start + entry.packed > self.end:
            raise self._error(f"is damaged: {name} reaches over the end of the members")
        return self.data[start : start + entry.packed]

    def _inflated(self, entry: Entry, packed: Any) -> Any:
        self.room -= entry.size
        if self.room < 0:
            raise self._error(
                f"inflates to more than {MOST_INFLATED} bytes and {MOST_RATIO} times its size; store its members as they are"
            )
        inflater = zlib.decompressobj(-15)
        try:
            found = inflater.decompress(packed, entry.size + 1)
        except zlib.error as error:
            raise self._error(f"is damaged: {entry.name} does not inflate ({error})") from error
        if len(found) != entry.size or not inflater.eof:
            raise self._error(f"is damaged: {entry.name} does not inflate to {entry.size} bytes")
        return np.frombuffer(bytearray(found), np.uint8)

    def _directory(self) -> tuple[int, int, bytes]:
        """Where the directory begins, how many members it has, and its bytes."""
        data = self.data
        tail = data[-(22 + 0xFFFF) :].tobytes()
        mark = tail.rfind(b"PK\x05\x06")
        if mark < 0 or len(tail) < mark + 22:
            raise self._error("is no whole zip archive: it has no end of a directory; it may be cut short")
        *_, count, size, start, comment = struct.unpack("<4s4H2LH", tail[mark : mark + 22])
        last = len(data) - len(tail) + mark
        if last + 22 + comment != len(data):
            raise self._error("is damaged: it does not end where its directory does")
        if last >= 20 and data[last - 20 : last - 16].tobytes() == b"PK\x06\x07":
            _, _, at, _ = struct.unpack("<4sLQL", data[last - 20 : last].tobytes())
            record = data[at : at + 56].tobytes() if at <= last - 76 else b""
            if record[:4] != b"PK\x06\x06":
                raise self._error("is damaged: the end of its directory is not where it says")
            *_, count, size, start = struct.unpack("<4sQ2H2L4Q", record)
            last = at
        if start + size > last:
            raise self._error("is damaged: its directory is not where it says")
        if size > MOST_DIRECTORY:
            raise self._error(f"has a directory of {size} bytes; at most {MOST_DIRECTORY} are read")
        return start, count, data[start : start + size].tobytes()

    def _listed(self, directory: bytes, count: int) -> Iterator[Entry]:
        at = 0
        for _ in range(count):
            head = struct.unpack_from("<4s6H3L5H2L", directory, at)
            sign, _, _, flags, method, _, _, crc, packed, size, named, extra, noted, _, _, _, start = head
            if sign != b"PK\x01\x02":
                raise self._error("is damaged: its directory has something else between its entries")
            at += 46
            raw = directory[at : at + named]
            name = raw.decode("utf-8" if flags & 0x800 else "cp437")
            if flags & 1:
                raise self._error(f"has {name!r} encrypted, which is not read")
            wide = [size, packed, start]
            more = _wide(directory[at + named : at + named + extra])
            for i, value in enumerate(wide):
                if value == 0xFFFFFFFF:
                    (wide[i],) = struct.unpack("<Q", more[:8])
                    more = more[8:]
            at += named + extra + noted
            yield Entry(name, raw, method, crc, wide[1], wide[0], wide[2])
        if at != len(directory):
            raise self._error("is damaged: its directory is not as long as it says")

    def _admit(self, entry: Entry) -> None:
        name = entry.name
        if name in self.entries:
            raise self._error(f"is damaged: it has {name[:200]!r} twice")
        if leads_out(name):
            raise self._error(f"has a member {name[:200]!r}, whose name leads out of it")
        if entry.method not in (0, 8):
            raise self._error(f"has {name!r} compressed by method {entry.method}; stored (0) and deflated (8) are read")
        if not entry.method and entry.packed != entry.size:
            raise self._error(f"is damaged: {name!r} is stored in {entry.packed} bytes, but should have {entry.size}")
        self.entries[name] = entry

    def _error(self, what: str) -> FileFormatError:
        return FileFormatError(f"{self.where} {what}")


def _wide(extra: bytes) -> bytes:
    """The sizes of 64 bits among what follows a name."""
    while len(extra) >= 4:
        kind, size = struct.unpack("<2H", extra[:4])
        if kind == 1:
            return extra[4 : 4 + size]
        extra = extra[4 + size :]
    return b""


def leads_out(name: str) -> bool:
    """Whether a name would be outside of the folder that an archive is unpacked to, or no name at all."""
    return not name or name.startswith("/") or "\\" in name or "\0" in name or ".." in name.split("/")


def write_zip(path: str | os.PathLike[str], members: Iterable[tuple[str, Sequence[Any]]]) -> None:
    """Write members, (name, parts of bytes), stored as they are, each at a place where elements of any dtype may lie.

    Equal contents give equal bytes. Errors: ArgumentError for a name that no archive should have, FileWriteError.
    """
    with atomic_write(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, parts in members:
            if leads_out(name):
                raise ArgumentError(f"{name!r} cannot be a name in the file {path}")
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.file_size = sum(map(len, parts))
            wide = info.file_size > NARROW  # sizes in 64 bits come before ours
            padding = -(file.tell() + 30 + len(name.encode()) + 20 * wide + 4) % ALIGNED
            info.extra = b"FB" + padding.to_bytes(2, "little") + bytes(padding)
            with archive.open(info, "w", force_zip64=wide) as member:
                for part in parts:
                    member.write(part)


def raw_bytes(array: Any) -> Any:
    """The bytes of a C-ordered array as files have them: the lowest byte of an element first."""
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return little.reshape(-1).view(np.uint8).data
