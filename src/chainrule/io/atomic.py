"""The one way a file is written: beside its target, to the disk, and then in its place.

POSIX: the rename is atomic, and a lock (flock) on the temporary file says that its writer is alive.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager as Opened
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Literal, overload

from ..domain.errors import FileWriteError

SUFFIX = ".chainrule-tmp"
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@overload
def atomic_write(path: str | os.PathLike[str], *, text: Literal[False] = False) -> Opened[IO[bytes]]: ...
@overload
def atomic_write(path: str | os.PathLike[str], *, text: Literal[True]) -> Opened[IO[str]]: ...
@contextmanager
def atomic_write(path: str | os.PathLike[str], *, text: bool = False) -> Iterator[IO[Any]]:
    """A file to write, binary or UTF-8 ``text``, that takes its place at ``path`` when the block ends well, or never.

    Whatever happens (an error in the block, a full disk, a killed process, a power cut) ``path`` holds all of the old
    content or all of the new. Missing folders are made, the permissions of an existing file stay, a symbolic link
    stays a link and what it points to is replaced. Temporary files (``.NAME.PID.RANDOM.chainrule-tmp``) left behind by
    killed writers in the same folder are removed. Raises FileWriteError if ``path`` is anything but a regular file
    (a folder, a pipe, a device), and if the disk is full.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     with atomic_write(f"{folder}/notes.txt", text=True) as f:
    ...         _ = f.write("kept whole")
    ...     Path(f"{folder}/notes.txt").read_text()
    'kept whole'
    """
    target = Path(os.path.realpath(path))
    mode = _mode(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target.parent)
        fd, temporary = _create(target)
    except OSError as error:
        raise _failed(target, error) from error
    try:
        with os.fdopen(fd, "w" if text else "wb", encoding="utf-8" if text else None) as file:
            yield file
            try:
                file.flush()
                if mode is not None:
                    os.fchmod(fd, mode)
                os.fsync(fd)
                os.replace(temporary, target)  # while the lock is held: nobody sweeps it now
            except OSError as error:
                raise _failed(target, error) from error
    except BaseException as error:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.errno in NO_ROOM and not isinstance(error, FileWriteError):
            raise _failed(target, error) from error
        raise
    _sync_folder(target.parent)


def _mode(target: Path) -> int | None:
    """The permissions of a file that may be replaced; None if there is nothing yet."""
    try:
        found = os.stat(target)
    except FileNotFoundError:
        return None
    except OSError as error:  # a loop of links, a file where a folder should be
        raise _failed(target, error) from error
    if not stat.S_ISREG(found.st_mode):
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}
        kind = kinds.get(stat.S_IFMT(found.st_mode), "no regular file")
        raise FileWriteError(f"[atomic_write] {target} is {kind}: give the path of a regular file, or of nothing yet")
    if not os.access(target, os.W_OK):
        raise FileWriteError(f"[atomic_write] {target} is write-protected: change its permissions or give another path")
    return stat.S_IMODE(found.st_mode)


def _create(target: Path) -> tuple[int, str]:
    """A new, locked temporary file beside ``target``."""
    name = os.fsdecode(os.fsencode(target.name)[:200])  # with the rest within the 255 bytes of a file name
    while True:
        path = str(target.with_name(f".{name}.{os.getpid()}.{secrets.token_hex(4)}{SUFFIX}"))
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)  # less the umask
        with suppress(OSError):  # a file system without locks: then nobody sweeps there
            fcntl.flock(fd, fcntl.LOCK_EX)
        if os.fstat(fd).st_nlink:
            return fd, path
        os.close(fd)  # another writer swept it between the two lines above


def _sweep(folder: Path) -> None:
    """Remove the temporary files in ``folder`` that no living writer holds locked."""
    for path in folder.glob(f".*{SUFFIX}"):
        with suppress(OSError):
            fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(path)
            finally:
                os.close(fd)


def _sync_folder(folder: Path) -> None:
    """Make the rename last through a power cut."""
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:  # some network file systems cannot sync a folder
            raise
    finally:
        os.close(fd)


def _failed(target: Path, error: OSError) -> FileWriteError:
    """``error`` with the name of the file the user meant, and with the errno kept."""
    reason = (error.strerror or str(error)).lower()
    if error.errno in NO_ROOM:
        reason += "; free some space or give another path"
    elif error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        reason += "; change the permissions of its folder or give another path"
    state = " (what was there before is unchanged)" if os.path.lexists(target) else ""
    failed = FileWriteError(f"[atomic_write] {target} was not written: {reason}{state}")
    failed.errno = error.errno
    return failed
