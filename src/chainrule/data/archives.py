"""Files out of archives, written to the disk in pieces: .tar (.gz, .xz, ...), .zip and .whl, and files within in .gz."""

from __future__ import annotations

import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ..domain.errors import DownloadError

if TYPE_CHECKING:
    from .sources import RemoteFile

CHUNK = 1 << 16


def members(archive: Path, inside: str, files: Sequence[RemoteFile], folder: Path) -> Iterator[tuple[RemoteFile, Path]]:
    """The ``files`` that lie, as NAME or NAME.gz, in the folder ``inside`` of the archive, each copied into ``folder``.

    They come in the order of the archive, and in the end the archive itself if a file has its name. Of none is more written
    than one byte past its size. Errors: DownloadError, if the archive is damaged or lacks a file.
    """
    wanted = {file.name: file for file in files}
    itself = wanted.pop(archive.name, None)
    try:
        for path, content in _contents(archive) if wanted else ():
            parent, _, name = path.removeprefix("./").rpartition("/")
            if parent != inside or name.removesuffix(".gz") not in wanted:
                continue
            file = wanted[name.removesuffix(".gz")]
            target = folder / file.name
            with content:
                (gunzip if name != file.name else copy)(content, target, file.size)
            del wanted[file.name]
            yield file, target
            if not wanted:
                break
    except DownloadError:
        raise
    except Exception as error:  # zipfile and tarfile stumble over damaged archives with errors of many kinds
        raise DownloadError(f"the archive is damaged or lacks {', '.join(wanted)}: {error}") from error
    if wanted:
        raise DownloadError(f"the archive is damaged or lacks {', '.join(wanted)}")
    if itself:
        yield itself, archive


def _contents(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """The files of an archive with their paths, in one pass."""
    if archive.suffix in (".zip", ".whl"):
        with zipfile.ZipFile(archive) as packed:
            for info in packed.infolist():
                yield info.filename, packed.open(info)
    else:
        with tarfile.open(archive, "r|*") as tar:
            for member in tar:
                if member.isfile() and (content := tar.extractfile(member)):
                    yield member.name, content


def copy(source: IO[bytes], target: Path, size: int) -> Path:
    """Write ``source`` to ``target``, and no more than one byte past ``size``: enough to see that it is too long."""
    left = size + 1
    with open(target, "wb") as file:
        while left and (chunk := source.read(min(CHUNK, left))):
            left -= file.write(chunk)
    return target


def gunzip(source: IO[bytes], target: Path, size: int) -> Path:
    """Write what ``source`` holds compressed by gzip to ``target``, at most one byte past ``size``. Errors: zlib.error.

    A stream that is cut short gives a short file: its checksum tells.
    """
    unpack, left = zlib.decompressobj(31), size + 1  # 31: gzip
    with open(target, "wb") as file:
        while left and (chunk := source.read(CHUNK)):
            left -= file.write(unpack.decompress(chunk, left))
    return target
