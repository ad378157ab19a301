"""The files of a public data set: from the cache, or from the first source that has them whole.

A data set is a list of ``RemoteFile`` and a list of sources to try in order; ``obtain`` does the rest.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory

from ..domain.errors import DownloadError, FileFormatError, FileWriteError
from ..folders import cache_folder
from .idx import unzipped
from .sources import RemoteFile, Source

WORKPLACE = ".fetching-"


@dataclass(frozen=True)
class RemoteData:
    """A public data set: its name, its files as they are when unpacked, where they can be had, and on what terms."""

    name: str
    files: Sequence[RemoteFile]
    sources: Sequence[Source]
    terms: str


def obtain(
    data: RemoteData, folder: str | os.PathLike[str] | None = None, *, download: bool = True, progress: bool = True
) -> dict[str, bytes]:
    """The content of each file of ``data`` by name, every one verified by its SHA-256.

    Files are looked for in ``folder`` (by default a folder of the cache; they may be put there by hand, compressed by
    gzip or not) and fetched into it where they are missing or damaged. Processes that want the same files at the same
    time wait for the one that fetches. Errors: DownloadError, naming all that was tried; FileWriteError.
    """
    root = Path(folder) if folder is not None else cache_folder() / data.name
    found = _kept(root, data.files)
    if len(found) == len(data.files):
        return found
    tried: list[str] = []
    if download:
        _say(progress, f"{data.name}: to be kept in {root} ({data.terms})")
        with _alone(root, progress):
            found |= _kept(root, [f for f in data.files if f.name not in found])  # another process was faster
            for source in data.sources:
                missing = [f for f in data.files if f.name not in found]
                if not missing:
                    break
                _say(progress, f"{data.name}: fetching from {source.label}")
                try:
                    with _workplace(root) as workplace:
                        for file, path in source.fetch(missing, workplace, progress):
                            content = path.read_bytes()
                            verify(file, content)
                            _keep(path, root / file.name)
                            found[file.name] = content
                except DownloadError as error:
                    tried.append(f"{source.label}: {error}")
                    _say(progress, f"{data.name}: {tried[-1]}")
    missing = [f for f in data.files if f.name not in found]
    if missing:
        raise DownloadError(
            f"[{data.name}] "
            + ("could not be fetched. Tried:\n  " + "\n  ".join(tried) if download else "is not there whole.")
            + f"\nPut these files (or the same with .gz) into {root}, or set download=True where there is a network: "
            + ", ".join(f.name for f in missing)
        )
    return found


def _kept(root: Path, files: Sequence[RemoteFile]) -> dict[str, bytes]:
    """The files that lie in ``root`` whole."""
    found = {}
    for file in files:
        for path in (root / file.name, root / f"{file.name}.gz"):
            try:
                content = path.read_bytes() if path.name == file.name else unzipped(path.read_bytes(), path)
                verify(file, content)
            except (OSError, FileFormatError):  # missing or damaged: to be fetched
                continue
            found[file.name] = content
            break
    return found


def verify(file: RemoteFile, content: bytes) -> None:
    """Raise DownloadError unless ``content`` is that of ``file``."""
    if len(content) != file.size:
        raise DownloadError(f"{file.name} has {len(content)} bytes of {file.size}")
    digest = hashlib.sha256(content).hexdigest()
    if digest != file.sha256:
        raise DownloadError(f"{file.name} is damaged: its SHA-256 is {digest[:12]}..., expected {file.sha256[:12]}...")


def _keep(path: Path, target: Path) -> None:
    """Put a whole file in its place at once, safe from a power cut. Errors: FileWriteError."""
    try:
        with open(path, "rb") as file:
            os.fsync(file.fileno())
        os.replace(path, target)
    except OSError as error:
        raise FileWriteError(f"[{target.parent.name}] {target} cannot be written: {error.strerror}") from error


@contextmanager
def _workplace(root: Path) -> Iterator[Path]:
    """An empty folder in ``root`` (so on the disk that has room for the data), removed in the end; with it those that
    processes left behind which were killed: who is here holds the lock."""
    for left in root.glob(f"{WORKPLACE}*"):
        rmtree(left, ignore_errors=True)
    with TemporaryDirectory(prefix=WORKPLACE, dir=root) as folder:
        yield Path(folder).resolve()


@contextmanager
def _alone(root: Path, progress: bool) -> Iterator[None]:
    """Hold the lock of ``root``, so that one process fetches."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = open(root / ".lock", "w")  # noqa: SIM115
    except OSError as error:
        raise FileWriteError(
            f"[{root.name}] data cannot be kept in {root}: {error.strerror}; set CHAINRULE_CACHE to a folder that can "
            "be written"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say(progress, f"waiting for another process that fetches into {root}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _say(progress: bool, line: str) -> None:
    if progress:
        print(line, file=sys.stderr, flush=True)
