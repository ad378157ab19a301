"""The atomic writer: what happens to the file that was there, whatever happens to the writer."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from chainrule.domain.errors import FileWriteError
from chainrule.io.atomic import SUFFIX, atomic_write


def written(path: Path, content: bytes) -> None:
    with atomic_write(path) as f:
        f.write(content)


def temporaries(folder: Path) -> list[Path]:
    return list(folder.glob(f".*{SUFFIX}"))


def python(code: str, *args: object) -> subprocess.Popen[str]:
    """A process that runs ``code`` with this environment's chainrule."""
    command = [sys.executable, "-c", code, *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_new_file_in_new_folders(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / "file.bin"
    written(target, b"new")
    assert target.read_bytes() == b"new"
    assert os.listdir(target.parent) == ["file.bin"]


def test_text_is_utf8(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "t", text=True) as f:
        f.write("é\n")
    assert (tmp_path / "t").read_bytes() == b"\xc3\xa9\n"


def test_the_old_file_is_there_until_the_end(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    with atomic_write(target) as f:
        f.write(b"new" * 100_000)
        f.flush()
        assert target.read_bytes() == b"old"
        (temporary,) = temporaries(tmp_path)
        assert temporary.name.startswith(f".file.{os.getpid()}.")
    assert target.read_bytes() == b"new" * 100_000


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_in_the_block_changes_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    with pytest.raises(error, match="mine"), atomic_write(target) as f:
        f.write(b"new")
        raise error("mine")
    assert target.read_bytes() == b"old"
    assert temporaries(tmp_path) == []


def test_permissions(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_bytes(b"")
    old.chmod(0o604)
    before = os.umask(0o027)
    try:
        written(old, b"1")
        written(new, b"1")
    finally:
        os.umask(before)
    assert stat.S_IMODE(old.stat().st_mode) == 0o604, "an existing file keeps its permissions"
    assert stat.S_IMODE(new.stat().st_mode) == 0o640, "a new one follows the umask"


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    real, link = tmp_path / "data" / "real", tmp_path / "link"
    real.write_bytes(b"old")
    link.symlink_to(real)
    written(link, b"new")
    assert link.is_symlink()
    assert real.read_bytes() == b"new"
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "data" / "later")
    written(dangling, b"made")
    assert (tmp_path / "data" / "later").read_bytes() == b"made"


def test_refused_targets(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "plain").write_bytes(b"old")
    for path, reason in {
        tmp_path: "is a folder",
        tmp_path / "pipe": "is a pipe",
        Path("/dev/null"): "is a device",
        Path("/dev/full"): "is a device",
        tmp_path / "loop": "symbolic links",
        tmp_path / "plain" / "file": "not a directory",
    }.items():
        with pytest.raises(FileWriteError, match=reason) as caught:
            written(path, b"new")
        assert str(path) in str(caught.value)
    assert (tmp_path / "plain").read_bytes() == b"old"
    assert temporaries(tmp_path) == []


def test_write_protected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"old")
    monkeypatch.setattr(os, "access", lambda *a: False)  # root may write everywhere
    with pytest.raises(FileWriteError, match="write-protected"):
        written(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"


LIMITED = """
import resource, sys
from chainrule.io.atomic import atomic_write
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
with atomic_write(sys.argv[1]) as f:
    f.write(bytes(1_000_000))
"""


def test_no_room(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    process = python(LIMITED, target)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"FileWriteError: [atomic_write] {target} was not written: file too large" in err
    assert "is unchanged" in err
    assert target.read_bytes() == b"old"
    assert temporaries(tmp_path) == []


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_no_room_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    target = tmp_path / "file"
    target.write_bytes(b"old")
    monkeypatch.setattr(os, moment, full)
    with pytest.raises(FileWriteError, match="no space left on device; free some space") as caught:
        written(target, b"new")
    assert caught.value.errno == errno.ENOSPC
    assert target.read_bytes() == b"old"
    assert temporaries(tmp_path) == []


KILLED = """
import sys, time
from chainrule.io.atomic import atomic_write
with atomic_write(sys.argv[1]) as f:
    f.write(bytes(1_000_000))
    f.flush()
    print("half", flush=True)
    time.sleep(60)
"""


def test_a_killed_writer_leaves_the_old_file_and_is_swept(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    process = python(KILLED, target)
    assert process.stdout is not None and process.stdout.readline() == "half\n"
    (temporary,) = temporaries(tmp_path)
    written(tmp_path / "other", b"1")
    assert temporary.exists(), "the writer lives: its file is left alone"
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert target.read_bytes() == b"old"
    assert temporary.exists()
    written(tmp_path / "other", b"2")
    assert temporaries(tmp_path) == []
    assert target.read_bytes() == b"old"


def test_many_writers_of_one_file(tmp_path: Path) -> None:
    target, contents = tmp_path / "file", [bytes([i]) * 200_000 for i in range(8)]

    def work(content: bytes) -> None:
        for _ in range(5):
            written(target, content)

    threads = [threading.Thread(target=work, args=(c,)) for c in contents]
    for t in threads:
        t.start()
    while any(t.is_alive() for t in threads):
        if target.exists():
            assert target.read_bytes() in contents
    for t in threads:
        t.join()
    assert target.read_bytes() in contents
    assert temporaries(tmp_path) == []


def test_long_names(tmp_path: Path) -> None:
    target = tmp_path / ("é" * 127)
    written(target, b"1")
    assert target.read_bytes() == b"1"
