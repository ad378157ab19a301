"""Data sets out of archives and packages: what is in them, how they are fetched, that nothing of them runs."""

from __future__ import annotations

import gzip
import io
import os
import sys
import tarfile
import tracemalloc
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from tests.test_data_fetch import CONTENT, FILES, data

from chainrule.data.archives import members
from chainrule.data.fetch import obtain
from chainrule.data.packages import DebianPackage, Package, PypiPackage
from chainrule.data.sources import ArchiveMirror, RemoteFile
from chainrule.domain.errors import DownloadError


def tar(path: Path, contents: dict[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def whl(path: Path, contents: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return path


INSIDE = {"inside/a": CONTENT["a"], "other/b": b"not this", "inside/b.gz": gzip.compress(CONTENT["b"], mtime=0)}


@pytest.mark.parametrize("kind", ["x.tgz", "x.tar", "x.tar.xz", "x.whl", "x.zip"])
def test_files_of_an_archive(tmp_path: Path, kind: str) -> None:
    modes = {"x.tgz": "w:gz", "x.tar": "w", "x.tar.xz": "w:xz"}
    path = tar(tmp_path / kind, INSIDE, modes[kind]) if kind in modes else whl(tmp_path / kind, INSIDE)
    (tmp_path / "to").mkdir()
    found = {file.name: p.read_bytes() for file, p in members(path, "inside", FILES, tmp_path / "to")}
    assert found == CONTENT
    assert sorted(p.name for p in (tmp_path / "to").iterdir()) == ["a", "b"]


def test_an_archive_with_dots_before_its_paths(tmp_path: Path) -> None:
    path = tar(tmp_path / "x.tar", {f"./{name}": content for name, content in INSIDE.items()}, "w")
    assert [file.name for file, _ in members(path, "inside", FILES, tmp_path)] == ["a", "b"]


def test_no_more_is_unpacked_than_is_wanted(tmp_path: Path) -> None:
    bomb = {"inside/a": bytes(900_000), "inside/b.gz": gzip.compress(bytes(900_000))}
    for path in (tar(tmp_path / "x.tgz", bomb), whl(tmp_path / "x.whl", bomb)):
        (to := tmp_path / f"to-{path.suffix}").mkdir()
        assert [p.stat().st_size for _, p in members(path, "inside", FILES, to)] == [512_001, 301]


def test_the_archive_itself_is_a_file(tmp_path: Path) -> None:
    path = tar(tmp_path / "x.tgz", INSIDE)
    wanted = [RemoteFile("x.tgz", 1, ""), *FILES]
    assert [(file.name, p.name) for file, p in members(path, "inside", wanted, tmp_path)] == [
        ("a", "a"), ("b", "b"), ("x.tgz", "x.tgz"),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["x.tgz", "x.whl"])
@pytest.mark.parametrize("damage", ["lacks", "cut", "other", "flipped"])
def test_damaged_archives(tmp_path: Path, name: str, damage: str) -> None:
    contents = {k: v for k, v in INSIDE.items() if damage != "lacks" or k != "inside/b.gz"}
    path = tar(tmp_path / name, contents) if name == "x.tgz" else whl(tmp_path / name, contents)
    whole = path.read_bytes()
    if damage == "cut":
        path.write_bytes(whole[:400])
    elif damage == "other":
        path.write_bytes(b"<html>log in</html>")
    elif damage == "flipped":
        path.write_bytes(whole[:300] + bytes(b ^ 255 for b in whole[300:340]) + whole[340:])
    with pytest.raises(DownloadError, match=r"the archive is damaged or lacks (a, b|b)"):
        list(members(path, "inside", FILES, tmp_path))


def test_a_large_archive_does_not_pass_through_memory(tmp_path: Path) -> None:
    path = tar(tmp_path / "x.tgz", {"other": os.urandom(12_000_000), "inside/a": CONTENT["a"]})
    url = path.as_uri()
    (tmp_path / "to").mkdir()
    mirror = ArchiveMirror(url, path.stat().st_size, "inside")
    tracemalloc.start()
    [(_, found)] = mirror.fetch(FILES[:1], tmp_path / "to", False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.read_bytes() == CONTENT["a"] and peak < 6_000_000  # half the archive


def test_an_archive_from_the_web(tmp_path: Path) -> None:
    path = tar(tmp_path / "x.tar.gz", INSIDE)
    assert obtain(data(ArchiveMirror(path.as_uri(), path.stat().st_size, "inside")), tmp_path / "kept") == CONTENT
    with pytest.raises(DownloadError, match=r"x\.tar\.gz: larger than expected"):
        path.write_bytes(path.read_bytes() + bytes(200_000))
        obtain(data(ArchiveMirror(path.as_uri(), 100, "inside")), tmp_path / "not kept")


class Interrupted:
    """A source that a user stops."""

    label = "nobody"

    def fetch(self, files: Sequence[RemoteFile], folder: Path, progress: bool) -> Iterator[tuple[RemoteFile, Path]]:
        (folder / "half").write_bytes(b"0")
        (folder / "a").write_bytes(CONTENT["a"])
        yield files[0], folder / "a"
        raise KeyboardInterrupt


def test_an_interruption_leaves_whole_files_alone(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        obtain(data(Interrupted()), tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".lock", "a"]


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "kept" / ".fetching-x").mkdir(parents=True)
    (tmp_path / "kept" / ".fetching-x" / "a").write_bytes(b"half")
    path = tar(tmp_path / "x.tar.gz", INSIDE)
    assert obtain(data(ArchiveMirror(path.as_uri(), path.stat().st_size, "inside")), tmp_path / "kept") == CONTENT
    assert sorted(p.name for p in (tmp_path / "kept").iterdir()) == [".lock", "a", "b"]


SETUP = (
    "from pathlib import Path\nPath({marker!r}).touch()\nfrom setuptools import setup\nsetup(name='x', version='1.0')"
)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages, the only place where pip looks."""
    (tmp_path / "index").mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    return tmp_path / "index"


def test_pip_wheel(index: Path, tmp_path: Path) -> None:
    about = {
        "x-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: x\nVersion: 1.0\nRequires-Python: >=99\n",
        "x-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "x-1.0.dist-info/RECORD": b"",
    }
    whl(index / "x-1.0-py3-none-any.whl", INSIDE | about)
    assert obtain(data(PypiPackage("x", "1.0", 1000, "inside")), tmp_path / "kept") == CONTENT


def test_pip_source_archive_does_not_run(index: Path, tmp_path: Path) -> None:
    marker = tmp_path / "it ran"
    inside = {f"x-1.0/{name}": content for name, content in INSIDE.items()}
    tar(index / "x-1.0.tar.gz", inside | {"x-1.0/setup.py": SETUP.format(marker=str(marker)).encode()})
    assert obtain(data(PypiPackage("x", "1.0", 1000, "x-1.0/inside", wheel=False)), tmp_path / "kept") == CONTENT
    assert not marker.exists()
    with pytest.raises(DownloadError, match=r"pip download x==2\.0: ERROR: Could not find a version"):
        obtain(data(PypiPackage("x", "2.0", 1000, "x-1.0/inside", wheel=False)), tmp_path / "not kept")


def program(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_debian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unpacked = tar(tmp_path / "unpacked.tar", {f"./usr/share/{name}": c for name, c in INSIDE.items()}, "w")
    program(tmp_path / "bin", "apt-get", 'echo "W: unsandboxed" >&2; [ "$2" = x ] && echo > "$2_1%3a0_all.deb"')
    program(tmp_path / "bin", "dpkg-deb", f'[ -f "$2" ] && cat "{unpacked}"')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    package = DebianPackage("x", "1:0", 1000, "usr/share/inside")
    assert obtain(data(package), tmp_path / "kept") == CONTENT
    program(tmp_path / "bin", "apt-get", 'echo "W: unsandboxed" >&2; echo "E: Unable to locate package" >&2; exit 100')
    with pytest.raises(DownloadError, match=r"apt-get download x: E: Unable to locate package\n"):
        obtain(data(package), tmp_path / "not kept")


@pytest.mark.parametrize(
    ("package", "error"),
    [
        (DebianPackage("x", "1", 1, ""), "apt-get is not installed"),
        (PypiPackage("x", "1", 1, ""), "pip3 is not installed"),
    ],
)
def test_no_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: Package, error: str) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("chainrule.data.packages.find_spec", lambda name: None)
    with pytest.raises(DownloadError, match=error):
        obtain(data(package), tmp_path)


def test_a_client_that_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    with pytest.raises(DownloadError, match="no-python does not run"):
        obtain(data(PypiPackage("x", "1", 1, "")), tmp_path)
