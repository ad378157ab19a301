"""Models in folders: what comes back, what Hugging Face's folders hold, and that the last good one is never lost."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

import chainrule as cr
from chainrule import nn
from chainrule.apps.cli import app
from chainrule.domain.errors import ArgumentError, FileFormatError, FileWriteError, MissingFileError
from chainrule.io import atomic, load_metadata, load_weights, save_weights
from chainrule.io.folders import INDEX, discard

ARRAYS = {name: np.full((256,), i, np.float32) for i, name in enumerate("abcde")}  # 1 KiB each


def model() -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 64), nn.BatchNorm1d(64), nn.Linear(64, 64), nn.Linear(64, 3))


def same(one: Any, other: Any) -> bool:
    return list(one) == list(other) and all(
        one[n].dtype == other[n].dtype and np.array_equal(one[n], other[n]) for n in one
    )


def shards(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.glob("*.safetensors"))


@pytest.mark.parametrize("spelt", ["big/", "big", "v1.5/"])
def test_a_model_there_and_back(tmp_path: Path, spelt: str) -> None:
    made, path = model(), f"{tmp_path}/{spelt}"
    made.save(path, max_shard_size="8KiB")
    folder = Path(path)
    assert len(shards(folder)) == 3 and {*os.listdir(folder)} == {INDEX, *shards(folder)}
    assert all((folder / name).stat().st_size < 8192 + 1024 for name in shards(folder)[:1])
    for given in (path, folder):
        again = cr.load(given)
        assert repr(again) == repr(made) and not again.training
        assert (again(cr.ones(2, 8)) == made.eval()(cr.ones(2, 8))).all()
    other = model().to("float64")
    assert other.load_weights(folder) == ([], []) and other[0].weight.dtype == "float64"
    assert (other[2].weight == made[2].weight).all()


def test_the_index_is_that_of_hugging_face(tmp_path: Path) -> None:
    made = model()
    made.save_weights(tmp_path / "w", max_shard_size=5000)
    index = json.loads((tmp_path / "w" / INDEX).read_text())
    state = {name: value.numpy() for name, value in made.state_dict().items()}
    assert index["metadata"]["total_size"] == sum(a.nbytes for a in state.values())
    assert index["weight_map"].keys() == state.keys() and {*index["weight_map"].values()} == {*shards(tmp_path / "w")}
    for name, file in index["weight_map"].items():
        np.testing.assert_array_equal(load_file(tmp_path / "w" / file)[name], state[name])


def test_folders_of_others(tmp_path: Path) -> None:
    made = model()
    state = {name: value.numpy() for name, value in made.state_dict().items()}
    names = [*state]
    parts = {"model-00001-of-00002.safetensors": names[:3], "model-00002-of-00002.safetensors": names[3:]}
    for file, own in parts.items():
        save_file({f"net.{name}": state[name] for name in own}, tmp_path / file, {"format": "pt"})
    places = {f"net.{name}": file for file, own in parts.items() for name in own}
    index = {"metadata": {"total_size": 1}, "weight_map": places}
    for name in (INDEX, "diffusion_pytorch_model.safetensors.index.json"):
        (tmp_path / name).write_text(json.dumps(index))
        other = model()
        other.load_weights(tmp_path, prefix="net.")
        assert (other[3].weight == made[3].weight).all() and load_metadata(tmp_path) == {"total_size": 1}
        with pytest.raises(FileFormatError, match="has weights but no model"):
            cr.load(tmp_path)
        (tmp_path / name).unlink()
    (tmp_path / "single").mkdir()
    save_file(state, tmp_path / "single" / "model.safetensors")
    assert same(load_weights(tmp_path / "single"), dict(sorted(state.items())))


def test_shards_hold_so_much_and_an_array_is_never_cut(tmp_path: Path) -> None:
    for size, count in ((1 << 30, 1), ("1GB", 1), (2048, 3), ("2 KiB", 3), (1023, 5), (1, 5)):
        save_weights(tmp_path / "w", ARRAYS, {"note": 1}, max_shard_size=size)
        assert len(shards(tmp_path / "w")) == count
        assert same(load_weights(tmp_path / "w"), ARRAYS) and load_metadata(tmp_path / "w") == {"note": 1}
    save_weights(tmp_path / "none", {})
    assert load_weights(tmp_path / "none") == {}


def test_equal_contents_give_equal_bytes(tmp_path: Path) -> None:
    contents = []
    for name in ("one", "two"):
        save_weights(tmp_path / name, ARRAYS, {"note": 1}, max_shard_size=2048)
        contents.append({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()})
    save_weights(tmp_path / "one", ARRAYS, {"note": 1}, max_shard_size=2048)
    contents.append({p.name: p.read_bytes() for p in (tmp_path / "one").iterdir()})
    assert contents[0] == contents[1] == contents[2]


def test_what_else_is_in_a_folder_stays(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model-00001-of-00001.safetensors").write_text("no shard of ours, and in no index")
    (tmp_path / "model-00001-of-00001-01234567.safetensors").write_text("left by a killed writer")
    save_weights(f"{tmp_path}/", ARRAYS)
    first = shards(tmp_path)
    assert len(first) == 2 and "model-00001-of-00001.safetensors" in first
    save_weights(f"{tmp_path}/", {"z": np.ones(3)})
    assert shards(tmp_path) != first and len(shards(tmp_path)) == 2
    discard(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["config.json", "model-00001-of-00001.safetensors"]


def test_what_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path, options, error, message in (
        ("x/", {"max_shard_size": "large"}, ArgumentError, "max_shard_size is 'large', expected a number of bytes"),
        ("x/", {"max_shard_size": 0}, ArgumentError, "max_shard_size is 0"),
        ("x/", {"max_shard_size": True}, ArgumentError, "max_shard_size is True"),
        ("x.npz", {"max_shard_size": 9}, ArgumentError, "max_shard_size goes with a folder"),
        ("file", {}, FileWriteError, "cannot be written: there is a file of that name"),
        ("file/x", {}, FileWriteError, "cannot be written: there is a file of that name"),
    ):
        with pytest.raises(error, match=message):
            save_weights(f"{tmp_path}/{path}", ARRAYS, **options)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="ends in 'nothing'"):  # not the folder that one is in
        model().save("")
    many = {str(i): np.ones(1) for i in range(801)}
    with pytest.raises(ArgumentError, match=r"max_shard_size=1 makes 801 files of it, at most 800"):
        save_weights(tmp_path / "many", many, max_shard_size=1)
    with pytest.raises(MissingFileError, match=f"as a folder it has neither {INDEX}"):
        load_weights(tmp_path)
    assert os.listdir(tmp_path) == ["file"]


def broken(folder: Path, change: Any) -> None:
    index = json.loads((folder / INDEX).read_text())
    found = change(index)
    (folder / INDEX).write_text(json.dumps(index if found is None else found))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda i: [], "lacks a weight_map"),
        (lambda i: {"weight_map": []}, "lacks a weight_map"),
        (lambda i: i["weight_map"].update(a="../x.safetensors"), "which is no file of the folder"),
        (lambda i: i["weight_map"].update(a="/etc/x.safetensors"), "which is no file of the folder"),
        (lambda i: i["weight_map"].update(a=3), "which is no file of the folder"),
        (lambda i: i["weight_map"].update(a="config.json"), "which is no file of the folder"),
        (lambda i: i["weight_map"].update({str(n): f"{n}.safetensors" for n in range(900)}), "more than 800 files"),
        (lambda i: i["weight_map"].update(a="none.safetensors"), r"none\.safetensors does not exist"),
        (lambda i: i["weight_map"].update(a=i["weight_map"]["e"]), "lacks 'a', which"),
        (lambda i: i["weight_map"].__delitem__("a"), "the values of 'a' do not match"),
        (lambda i: i["metadata"].update(chainrule="0 {}"), "its header does not match its checksum"),
    ],
)
def test_an_index_that_is_wrong(tmp_path: Path, change: Any, message: str) -> None:
    save_weights(tmp_path / "w", ARRAYS, max_shard_size=2048)
    broken(tmp_path / "w", change)
    for mmap in (False, True):
        with pytest.raises((FileFormatError, MissingFileError), match=message) as caught:
            load_weights(tmp_path / "w", mmap=mmap)
        assert str(caught.value).startswith(f"[load_weights] {tmp_path / 'w'}")


def test_every_truncation_and_every_changed_byte_is_found(tmp_path: Path) -> None:
    arrays = {"a": np.arange(3.0), "b": np.ones(2, np.int8)}
    save_weights(f"{tmp_path}/", arrays, max_shard_size=1)
    for path in sorted(tmp_path.iterdir()):
        whole = path.read_bytes()
        for size in range(0, len(whole), 5):
            path.write_bytes(whole[:size])
            with pytest.raises(FileFormatError):
                load_weights(tmp_path)
        for at in range(0, len(whole), 5):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
            try:
                found = load_weights(tmp_path)
            except (FileFormatError, MissingFileError):
                continue
            # Whose index it is, "total_size", or a name of a file that differs in its case alone: nothing depends on it.
            assert same(found, arrays), (path.name, at)
        path.write_bytes(whole)


def test_shards_of_two_checkpoints_are_told_apart_though_nothing_is_read(tmp_path: Path) -> None:
    for name, step in (("one", 0.0), ("two", 1.0)):
        save_weights(tmp_path / name, {n: a + step for n, a in ARRAYS.items()}, max_shard_size=2048)
    first, second = (sorted((tmp_path / name).glob("model-00001*"))[0] for name in ("one", "two"))
    first.write_bytes(second.read_bytes())
    with pytest.raises(FileFormatError, match="is of another checkpoint: its 'a' is not that of the others"):
        load_weights(tmp_path / "one", mmap=True)


KILLS = """
import os, signal, sys
from pathlib import Path
import numpy as np
from chainrule.io import atomic, folders, load_weights, save_weights
from chainrule.io.folders import INDEX

folder = Path(sys.argv[1])
real, unlink = os.replace, Path.unlink

def version(n):
    return {name: np.full(256, n, np.float32) for name in "abcde"}

save_weights(folder, version(0), max_shard_size=2048)
ends, seen = 0, set()
for step in range(1, 100):  # the writer is killed at this of its steps
    child = os.fork()
    if child == 0:
        left = [step]
        def tick(real):
            def do(*args, **options):
                left[0] -= 1
                if not left[0]:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*args, **options)
            return do
        os.replace, Path.unlink = tick(real), tick(unlink)
        os.fsync = tick(os.fsync)
        save_weights(folder, version(step), max_shard_size=2048)
        os._exit(0)
    killed = os.waitpid(child, 0)[1]
    found = {float(value) for array in load_weights(folder).values() for value in array}
    assert len(found) == 1, (step, found)
    seen.add(found == {float(step)})
    if not killed:
        break
    save_weights(folder, version(step + 0.5), max_shard_size=2048)
    assert len(os.listdir(folder)) == 4, os.listdir(folder)
assert step > 10 and seen == {True, False}, (step, seen)
print(step)
"""


def test_a_writer_killed_at_any_step_leaves_one_whole_model(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLS, str(tmp_path / "w")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_a_full_disk_leaves_the_model_that_was_there(tmp_path: Path) -> None:
    save_weights(tmp_path / "w", ARRAYS, {"n": 1}, max_shard_size=2048)
    before = {p.name: p.read_bytes() for p in (tmp_path / "w").iterdir()}
    large = {**ARRAYS, "z": np.ones(100_000)}
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
        with pytest.raises(FileWriteError, match="was not written: file too large; free some space"):
            save_weights(tmp_path / "w", large, {"n": 2}, max_shard_size=2048)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert {p.name: p.read_bytes() for p in (tmp_path / "w").iterdir()} == before


def test_readers_see_one_whole_model_while_it_is_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    turn, done, seen = threading.Semaphore(0), threading.Semaphore(0), []
    monkeypatch.setattr(atomic.os, "fsync", lambda fd: turn.release())  # within a write, at each of its steps
    steps, versions = 8, 10  # of three shards and the index: each and the folder after it
    save_weights(tmp_path / "w", ARRAYS, max_shard_size=2048)
    for _ in range(steps):
        turn.acquire()

    def read() -> None:
        for _ in range(steps * versions):
            turn.acquire()
            try:
                seen.append({float(array[0]) - i for i, array in enumerate(load_weights(tmp_path / "w").values())})
            except Exception as error:
                seen.append({repr(error)})
            done.release()

    reader = threading.Thread(target=read)
    reader.start()
    for n in range(1, versions + 1):
        save_weights(tmp_path / "w", {name: a + n for name, a in ARRAYS.items()}, max_shard_size=2048)
        for _ in range(steps):
            done.acquire()
    reader.join()
    assert all(len(one) == 1 for one in seen) and {*map(max, seen)} >= {float(n) for n in range(1, versions + 1)}, seen


def test_many_writers_of_one_folder(tmp_path: Path) -> None:
    def write(n: int) -> None:
        for _ in range(5):
            save_weights(tmp_path / "w", {name: a + n for name, a in ARRAYS.items()}, max_shard_size=2048)

    writers = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    found = load_weights(tmp_path / "w")
    assert len({float(array[0]) - i for i, array in enumerate(found.values())}) == 1
    assert len(os.listdir(tmp_path / "w")) == 4


def test_inspect_and_convert(tmp_path: Path) -> None:
    made = model()
    made.save(tmp_path / "m.npz")
    run = CliRunner()
    done = run.invoke(app, ["convert", str(tmp_path / "m.npz"), f"{tmp_path}/big/"])
    assert done.exit_code == 0 and "big: model, chainrule to chainrule, 11 arrays" in done.stdout, done.output
    assert (cr.load(tmp_path / "big")(cr.ones(2, 8)) == made.eval()(cr.ones(2, 8))).all()
    made.save(tmp_path / "big", max_shard_size="8KiB")
    found = json.loads(run.invoke(app, ["inspect", str(tmp_path / "big"), "--json"]).stdout)
    assert found["format"] == "safetensors in 3 files, chainrule.model.v1" and len(found["arrays"]) == 11
    assert found["bytes"] == sum(p.stat().st_size for p in (tmp_path / "big").iterdir())
    assert run.invoke(app, ["convert", str(tmp_path / "big"), str(tmp_path / "again.npz")]).exit_code == 0
    assert same(load_weights(tmp_path / "again.npz"), load_weights(tmp_path / "m.npz"))
    assert load_metadata(tmp_path / "again.npz") == load_metadata(tmp_path / "m.npz")
    assert run.invoke(app, ["inspect", str(tmp_path)]).exit_code == 1
