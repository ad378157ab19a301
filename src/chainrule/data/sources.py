"""Where the files of a public data set can be had on the web.

Modules that open connections are imported where they are needed: ``import chainrule`` does not wait for them.
"""

from __future__ import annotations

import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Protocol

from ..domain.errors import DownloadError
from .archives import CHUNK, gunzip, members

Advance = Callable[[int], None]


@dataclass(frozen=True)
class RemoteFile:
    """A file of a data set as it is when unpacked: its name, its size in bytes, its SHA-256."""

    name: str
    size: int
    sha256: str


class Source(Protocol):
    """Something that may have the files. ``fetch`` puts those that it can give into ``folder``, which is emptied
    afterwards, yields each with its path, and raises DownloadError at the first that it cannot; who asked verifies."""

    @property
    def label(self) -> str: ...
    def fetch(self, files: Sequence[RemoteFile], folder: Path, progress: bool) -> Iterator[tuple[RemoteFile, Path]]: ...


@dataclass(frozen=True)
class Mirror:
    """A folder on the web that holds each file as ``NAME.gz``, or as it is (``suffix=""``).

    It is given up when it does not answer within ``patience`` seconds (name look-up and all its addresses together),
    when nothing comes for as long, or when it sends less than 10 kB/s.
    """

    url: str
    suffix: str = ".gz"
    patience: float = 4.0

    @property
    def label(self) -> str:
        """Its address."""
        return self.url

    def fetch(self, files: Sequence[RemoteFile], folder: Path, progress: bool) -> Iterator[tuple[RemoteFile, Path]]:
        """The files, one after the other."""
        for file in files:
            name = file.name + self.suffix
            path = folder / name
            with failures(name):
                download(self.url + name, path, file.size + CHUNK, self.patience, progress)
                if self.suffix:
                    with open(path, "rb") as packed:
                        path = gunzip(packed, folder / file.name, file.size)
            yield file, path


@dataclass(frozen=True)
class ArchiveMirror:
    """An archive on the web (.tar.gz, .zip, of ``size`` bytes) that holds the files in ``folder``."""

    url: str
    size: int
    folder: str
    patience: float = 4.0

    @property
    def label(self) -> str:
        """Its address."""
        return self.url

    def fetch(self, files: Sequence[RemoteFile], folder: Path, progress: bool) -> Iterator[tuple[RemoteFile, Path]]:
        """The files, from one archive."""
        name = self.url.rpartition("/")[2]
        with failures(name):
            download(self.url, folder / name, self.size + CHUNK, self.patience, progress)
        yield from members(folder / name, self.folder, files, folder)


@contextmanager
def failures(name: str) -> Iterator[None]:
    """What goes wrong with the file ``name``, as DownloadError."""
    from http.client import HTTPException

    try:
        yield
    except (OSError, HTTPException, zlib.error) as error:
        if isinstance(error, DownloadError):
            raise
        raise DownloadError(f"{name}: {getattr(error, 'reason', error)}") from error


def download(url: str, path: Path, limit: int, patience: float, progress: bool) -> None:
    """Write what the address sends to ``path``; more than ``limit`` bytes, or too slow, is a DownloadError."""
    name = url.rpartition("/")[2]
    with opened(url, patience) as response, open(path, "wb") as file:
        total = int(response.headers.get("Content-Length") or 0) or None
        with bar(name, total, progress) as advance:
            start, done = time.monotonic(), 0
            while chunk := response.read1(CHUNK):
                done += file.write(chunk)
                advance(len(chunk))
                seconds = time.monotonic() - start
                if seconds > 2 * patience and done < 10_000 * seconds:
                    raise DownloadError(f"{name}: too slow ({done} bytes in {seconds:.0f} s)")
                if done > limit:
                    raise DownloadError(f"{name}: larger than expected")


def opened(url: str, patience: float) -> Any:
    """The response of the server. In a thread, because the time-out of a socket holds for each address alone."""
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    answer: SimpleQueue[Any] = SimpleQueue()
    given_up: list[bool] = []

    def connect() -> None:
        try:
            response = urlopen(Request(url, headers={"User-Agent": "chainrule"}), timeout=patience)
        except HTTPError as error:
            error.close()
            answer.put(DownloadError(f"{url} answered {error.code} {error.reason}"))
            return
        except Exception as error:
            answer.put(error)
            return
        if given_up:
            response.close()
        answer.put(response)

    Thread(target=connect, daemon=True, name="chainrule-connect").start()
    try:
        found = answer.get(timeout=patience)
    except Empty:
        given_up.append(True)
        found = TimeoutError()
    if isinstance(found, Exception):
        if isinstance(getattr(found, "reason", found), TimeoutError):
            raise DownloadError(f"no answer within {patience:g} s")
        raise found
    return found


@contextmanager
def bar(label: str, total: int | None, progress: bool) -> Iterator[Advance]:
    """A progress bar in bytes on the standard error: by rich, or as a line at each quarter where rich is missing."""
    if not progress:
        yield lambda n: None
        return
    try:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
    except ImportError:
        yield _lines(label, total)
        return
    columns = [TextColumn("  {task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()]
    with Progress(*(columns if total else columns[:2]), console=Console(stderr=True)) as shown:
        task = shown.add_task(label, total=total)
        yield lambda n: shown.advance(task, n)


def _lines(label: str, total: int | None) -> Advance:
    """Progress as plain lines."""
    print(f"  {label}" + (f": {total / 1e6:.1f} MB" if total else ""), file=sys.stderr)
    done = 0

    def advance(n: int) -> None:
        nonlocal done
        before, done = done, done + n
        if total and 4 * before // total < 4 * done // total:
            print(f"  {label}: {100 * done // total} %", file=sys.stderr, flush=True)

    return advance
