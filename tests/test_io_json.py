"""JSON of ours: all that a file can hold comes back to the bit, and what is wrong with a text is said."""

from __future__ import annotations

import base64
import gzip
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.domain.errors import ArgumentError, FileFormatError
from chainrule.io import load_json, load_metadata, load_weights, migration, save_weights
from chainrule.io.migrations import MIGRATIONS

NAN = np.array([0x7FC00001, 0xFFC00000, 0x7F800000, 0xFF800000, 0x80000000, 1], np.uint32).view(np.float32)


@pytest.fixture(params=["m.json", "m.json.gz"])
def path(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    return tmp_path / str(request.param)


def text_of(path: Path) -> Any:
    content = path.read_bytes()
    text = gzip.decompress(content) if path.suffix == ".gz" else content
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def write(path: Path, payload: Any) -> None:
    text = json.dumps(payload).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)


def test_any_program_can_read_it(path: Path) -> None:
    made = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    made.save(path)
    found = text_of(path)
    assert [*found] == ["format", "checksum", "metadata", "arrays"] and found["format"] == "chainrule.json.v2"
    assert found["metadata"]["architecture"]["children"]["0"]["type"] == "Linear"
    entry = found["arrays"]["0.weight"]
    values = np.frombuffer(base64.b64decode(entry["base64"]), entry["dtype"]).reshape(entry["shape"])
    np.testing.assert_array_equal(values, made[0].weight.numpy())
    assert found["arrays"].keys() == made.state_dict().keys()


def test_numbers_that_json_has_not(path: Path) -> None:
    notes = {
        "nan": math.nan,
        "list": [math.inf, -math.inf, {"deep": math.nan}],
        "zero": -0.0,
        "large": 10**30,
        "é": None,
    }
    save_weights(path, {"w": NAN}, notes)
    text_of(path)  # is JSON
    assert load_weights(path)["w"].tobytes() == NAN.tobytes()
    found: Any = load_metadata(path)
    assert repr(found) == repr(notes)
    with pytest.raises(ArgumentError, match="have a key '\\$float'"):
        save_weights(path, {}, {"a": [{"$float": "NaN"}]})
    assert load_weights(path)["w"].tobytes() == NAN.tobytes()


def test_the_optimizer_is_kept(path: Path) -> None:
    made = nn.Sequential(nn.Linear(3, 2)).compile("mse", "adam")
    made.train_on_batch(cr.ones(4, 3), cr.ones(4, 2))
    made.save(path, optimizer=made.compiled.optimizer)
    again = cr.load(path).compile("mse", "adam")
    cr.io.load_optimizer(path, again)
    for _ in range(3):
        assert made.train_on_batch(cr.ones(4, 3), cr.ones(4, 2)) == again.train_on_batch(cr.ones(4, 3), cr.ones(4, 2))
    assert (made[0].weight == again[0].weight).all()


def test_the_json_of_keydnn_is_told_apart(tmp_path: Path) -> None:
    made, path = nn.Sequential(nn.Linear(3, 2), nn.Softmax()), tmp_path / "m.json"
    made.save_json(path)
    for again in (cr.load(path), load_json(path)):
        assert (again(cr.ones(1, 3)) == made(cr.ones(1, 3))).all()
    with pytest.raises(
        FileFormatError, match=r"format 'keydnn\.json\.ckpt\.v1', .* it is of KeyDNN, which cr\.load reads"
    ):
        load_weights(path)
    made.save(path)
    assert (cr.load(path)(cr.ones(1, 3)) == made(cr.ones(1, 3))).all()
    with pytest.raises(FileFormatError, match=r"expected 'keydnn\.json\.ckpt\.v1'; cr\.load reads it"):
        load_json(path)
    write(path, dict(sorted(text_of(path).items())))  # by another program
    assert (cr.load(path)(cr.ones(1, 3)) == made(cr.ones(1, 3))).all()


def test_equal_contents_give_equal_bytes_and_compressed_ones_fewer(tmp_path: Path) -> None:
    for name in ("a.json", "b.json", "a.json.gz", "b.json.gz"):
        save_weights(tmp_path / name, {"w": np.zeros(10_000)}, {"n": 1})
    for suffix in (".json", ".json.gz"):
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()
    assert (tmp_path / "a.json.gz").stat().st_size < 2000 < 100_000 < (tmp_path / "a.json").stat().st_size


def test_large_arrays_are_written_in_parts(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chainrule.io.jsonfile.PART", 3)
    arrays = {f"{n}": np.arange(n, dtype=np.uint8) for n in range(9)}
    save_weights(path, arrays)
    found = load_weights(path)
    assert all((found[name] == array).all() and found[name].shape == array.shape for name, array in arrays.items())


def test_later_versions_and_earlier_ones(path: Path) -> None:
    save_weights(path, {"w": np.ones(2)}, {"n": 1})
    found = text_of(path)
    write(path, {**found, "format": "chainrule.json.v3"})
    with pytest.raises(
        FileFormatError, match=r"version 'chainrule\.json\.v3', this chainrule reads 'chainrule\.json\.v2'"
    ):
        load_weights(path)
    write(path, {**found, "format": "chainrule.json.v1"})
    with pytest.raises(FileFormatError, match=r"nothing is registered that makes chainrule\.json\.v1 newer"):
        load_weights(path)
    try:

        @migration("chainrule.json", 1)
        def newer(arrays: Any, metadata: Any) -> Any:
            return arrays, metadata

        assert load_weights(path)["w"].tolist() == [1, 1] and load_metadata(path) == {"n": 1}
    finally:
        MIGRATIONS.pop(("chainrule.json", 1), None)


def test_every_truncation_and_every_changed_byte_is_found(path: Path) -> None:
    arrays = {"a": np.arange(2.0), "b": np.ones(3, np.int8)}
    save_weights(path, arrays, {"epoch": 1})
    whole = path.read_bytes()
    for size in range(0, len(whole), 3):
        path.write_bytes(whole[:size])
        with pytest.raises(FileFormatError, match=r"\[load_weights\] .*m\.json"):
            load_weights(path)
    for at in range(0, len(whole), 2):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 7]) + whole[at + 1 :])
        try:
            found, metadata = load_weights(path), load_metadata(path)
        except FileFormatError:
            continue
        # Spaces, or of gzip its time and its system: nothing depends on them.
        assert metadata == {"epoch": 1} and found.keys() == arrays.keys(), at
        assert all(found[name].tobytes() == arrays[name].tobytes() for name in arrays)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.update(arrays=[]), "expected 'chainrule.json.v2' with its arrays"),
        (lambda p: p.pop("arrays"), "expected 'chainrule.json.v2' with its arrays"),
        (lambda p: p.pop("format"), "has the format None"),
        (lambda p: p["arrays"].update(a=3), "an array is an object with dtype, shape, crc32 and base64"),
        (lambda p: p["arrays"]["a"].update(dtype="object"), "'a' has dtype 'object'"),
        (lambda p: p["arrays"]["a"].update(dtype=["float32"]), "'a' has dtype"),
        (lambda p: p["arrays"]["a"].update(shape=[-2]), "expected a dtype and sizes"),
        (lambda p: p["arrays"]["a"].update(shape=[2.0]), "expected a dtype and sizes"),
        (lambda p: p["arrays"]["a"].update(shape=3), "expected a dtype and sizes"),
        (lambda p: p["arrays"]["a"].update(shape=[1] * 65), "expected a dtype and sizes"),
        (lambda p: p["arrays"]["a"].update(shape=[2**61, 9, 0]), "which no array can have"),
        (lambda p: p["arrays"]["a"].update(shape=[3]), "'a' has 16 bytes, but float64 of shape \\(3,\\) takes 24"),
        (lambda p: p["arrays"]["a"].update(base64="?"), "'a' is damaged"),
        (lambda p: p["arrays"]["a"].update(base64=None), "'a' is damaged"),
        (lambda p: p["arrays"]["a"].update(crc32="00000000"), "header does not match its checksum"),
        (lambda p: p["metadata"].update(epoch=2), "header does not match its checksum"),
        (lambda p: p["metadata"].update(epoch={"$float": "nan"}), "among its metadata, expected one of NaN"),
        (lambda p: p["metadata"].update(epoch={"$float": [], "x": 1}), "among its metadata, expected one of NaN"),
        (lambda p: p.update(metadata=None), "header does not match its checksum"),
    ],
)
def test_texts_that_are_wrong(path: Path, change: Any, message: str) -> None:
    save_weights(path, {"a": np.ones(2)}, {"epoch": 1})
    payload = text_of(path)
    change(payload)
    write(path, payload)
    with pytest.raises(FileFormatError, match=message):
        load_weights(path)


def test_texts_that_are_out_to_do_harm(tmp_path: Path) -> None:
    for name, content, message in (
        ("m.json", b'{"format": "chainrule.json.v2", "metadata": ' + b"[" * 10**6, "cut short or damaged"),
        ("m.json", b'{"format": "chainrule.json.v2", "format": 1}', "the key 'format' comes twice"),
        ("m.json", b'{"format": "chainrule.json.v2", "n": NaN}', "NaN is no number of JSON"),
        ("m.json", b"\xff\xfe", "cut short or damaged"),
        ("m.json.gz", gzip.compress(bytes(10**6)) * 2, "cut short, or something follows it"),
        ("m.json.gz", b"\x1f\x8b\x08\x00", "cut short"),
        ("m.json.gz", b"\x1f\x8b\x07\x00" + bytes(20), "does not inflate"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(FileFormatError, match=message):
            load_weights(tmp_path / name)
    deep = b'{"format": "chainrule.json.v2", "arrays": {}, "metadata": ' + b'{"a":' * 700 + b"1" + b"}" * 701
    (tmp_path / "m.json").write_bytes(deep)
    with pytest.raises(FileFormatError):
        load_weights(tmp_path / "m.json")


def test_a_bomb_is_not_inflated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chainrule.io.jsonfile.MOST_INFLATED", 1000)
    (tmp_path / "m.json.gz").write_bytes(gzip.compress(bytes(10**7)))
    with pytest.raises(FileFormatError, match="inflates to more than 1000 bytes and 100 times its size"):
        load_weights(tmp_path / "m.json.gz")
