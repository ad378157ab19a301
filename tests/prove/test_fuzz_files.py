"""Damaged and hostile files: every reader gives what was written or raises a chainrule error, and nothing else."""

import copy
import gzip
import json
import warnings
import zlib
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from tests.prove.fuzz import fuzzed

import chainrule as cr
from chainrule import nn
from chainrule.data.idx import read_idx, write_idx
from chainrule.domain.errors import ChainruleError
from chainrule.io import load_json, load_metadata, load_weights, save_weights
from chainrule.io.folders import INDEX
from chainrule.io.weights import KEY

FIXTURES = sorted((Path(__file__).parent.parent / "fixtures").glob("keydnn_*.json"))


def network():
    """A model with most kinds of layers, built."""
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(2, 3, 1, bias=False),
        nn.AvgPool2d(2), nn.Flatten(), nn.Dropout(0.2), nn.Linear(3, 4), nn.LeakyReLU(0.1), nn.Linear(4, 2), nn.Softmax(),
    )  # fmt: skip
    model(cr.ones(1, 1, 4, 4))
    return model


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Good files of every format: their readers and their bytes."""
    folder = tmp_path_factory.mktemp("good")
    network().save(folder / "model.safetensors")
    network().save_json(folder / "model.json")
    for name in ("ours.json", "ours.json.gz"):
        network().save(folder / name)
    save_weights(
        folder / "w.safetensors", {"a": np.arange(6.0).reshape(2, 3), "b": np.zeros(0), "c": np.array(7)}, {"n": 1}
    )
    write_idx(folder / "x.idx", np.arange(24, dtype=np.uint8).reshape(2, 3, 4))
    write_idx(folder / "x.idx.gz", np.arange(24.0).reshape(2, 3, 4))
    readers = [
        (cr.load, "model.safetensors"), (load_weights, "w.safetensors"), (load_metadata, "w.safetensors"),
        (load_json, "model.json"), (cr.load, "ours.json"), (cr.load, "ours.json.gz"),
        (read_idx, "x.idx"), (read_idx, "x.idx.gz"),
    ]  # fmt: skip
    good = [(reader, name, (folder / name).read_bytes()) for reader, name in readers]
    return good + [(load_json, path.name, path.read_bytes()) for path in FIXTURES]


def harmless(reader, path, content):
    """Read a file; tell whether it could be read. Anything but a result or a chainrule error is a failure."""
    path.write_bytes(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader(path)
    except ChainruleError as error:
        assert str(error)
        return False
    return True


@st.composite
def damaged(draw, content):
    """The bytes with some changed, cut out, doubled, put in, or cut off."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        near = draw(st.booleans())  # the head of a file says what the rest is
        at = draw(st.integers(0, min(len(data), 64) if near else len(data)))
        length = draw(st.integers(0, 12))
        kind = draw(st.sampled_from(["flip", "write", "cut", "double", "put", "end"]))
        if kind == "flip" and at < len(data):
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "write":
            data[at : at + length] = draw(st.binary(min_size=length, max_size=length))
        elif kind == "cut":
            del data[at : at + length]
        elif kind == "double":
            data[at:at] = data[at : at + length]
        elif kind == "put":
            data[at:at] = draw(st.binary(max_size=12))
        elif kind == "end":
            del data[at:]
    return bytes(data)


@given(data=st.data())
@fuzzed(2500)
def test_damaged_bytes(data, written, tmp_path_factory):
    reader, name, content = data.draw(st.sampled_from(written))
    harmless(reader, tmp_path_factory.getbasetemp() / name, data.draw(damaged(content)))


@given(data=st.data())
@fuzzed(600)
def test_any_bytes(data, written, tmp_path_factory):
    reader, name, content = data.draw(st.sampled_from(written))
    kept = content[: data.draw(st.integers(0, 40))] if data.draw(st.booleans()) else b""
    harmless(reader, tmp_path_factory.getbasetemp() / name, kept + data.draw(st.binary(max_size=80)))


@given(data=st.data())
@fuzzed(800)
def test_idx_headers(data, tmp_path_factory):
    """Headers that say anything, and as many bytes as they say, or nearly."""
    sizes = data.draw(st.lists(st.sampled_from([0, 1, 1, 1, 2, 3, 2**31, 2**32 - 1]), max_size=255))
    code = data.draw(st.sampled_from([0x08, 0x09, 0x0B, 0x0C, 0x0D, 0x0E, 0x0A]))
    itemsize = {0x08: 1, 0x09: 1, 0x0B: 2, 0x0C: 4, 0x0D: 4, 0x0E: 8}.get(code, 1)
    count = 1
    for n in sizes:
        count = min(count * n, 2000)
    head = bytes([0, 0, code, len(sizes)]) + b"".join(n.to_bytes(4, "big") for n in sizes)
    content = head + bytes(max(0, count * itemsize + data.draw(st.sampled_from([0, 0, 0, 1, -1]))))
    content = gzip.compress(content) if data.draw(st.booleans()) else content
    harmless(read_idx, tmp_path_factory.getbasetemp() / "head.idx", content)


# JSON that is well formed and says something else

LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 5), st.sampled_from([10**6, 2**50, 2**63, -(2**70), 10**30]),
    st.sampled_from([0.5, -1.0, 1e308, float("nan"), float("inf")]),
    st.sampled_from(["", "0", "1", "Linear", "Conv2d", "ReLU", "Sequential", "same", "float32", "<f8", "A===", "é", "a.b"]),
    st.sampled_from(["BF16", "U16", "F8_E5M2"]),
)  # fmt: skip


def holding(inner):
    """Lists and objects of what ``inner`` gives."""
    keys = st.sampled_from(["type", "config", "children", "0", "again", "x"])
    return st.one_of(inner, st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=3))


VALUES = holding(holding(LEAVES))


def places(value, path=()):
    """Every place in a JSON value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


@st.composite
def changed(draw, value):
    """A JSON value with some of it replaced, removed, renamed or moved."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 3))):
        found = [p for p in places(value) if p]
        if not found:
            return draw(VALUES)
        *path, key = draw(st.sampled_from(found))
        holder = value
        for step in path:
            holder = holder[step]
        kind = draw(st.sampled_from(["replace", "replace", "remove", "copy", "rename"]))
        if kind == "replace":
            holder[key] = draw(VALUES)
        elif kind == "remove":
            del holder[key]
        elif kind == "copy":
            *other_path, other = draw(st.sampled_from(found))
            source = value
            for step in other_path:
                source = source[step]
            holder[key] = copy.deepcopy(source[other])
        elif isinstance(holder, dict):
            holder[draw(st.sampled_from(["type", "config", "children", "x", "", "-1", "00", "weight"]))] = holder.pop(
                key
            )
    return value


@given(data=st.data())
@fuzzed(2500)
def test_changed_json(data, written, tmp_path_factory):
    reader, name, content = data.draw(st.sampled_from([w for w in written if w[1].endswith(".json")]))
    content = json.dumps(data.draw(changed(json.loads(content)))).encode()
    harmless(reader, tmp_path_factory.getbasetemp() / name, content)


@pytest.fixture(scope="module")
def sharded(tmp_path_factory):
    """A model in a folder, and its index."""
    folder = tmp_path_factory.mktemp("sharded")
    network().save(f"{folder}/", max_shard_size=100)
    return folder, json.loads((folder / INDEX).read_text())


@given(data=st.data())
@fuzzed(800)
def test_changed_indices(data, sharded):
    folder, index = sharded
    text = json.dumps(data.draw(changed(index))).encode()
    content = text if data.draw(st.booleans()) else data.draw(damaged(text))
    for reader in (lambda path: cr.load(path.parent), lambda path: load_weights(path.parent, mmap=True)):
        harmless(reader, folder / INDEX, content)


@given(data=st.data())
@fuzzed(2500)
def test_changed_headers_of_models(data, written, tmp_path_factory):
    """The description of a model, changed and signed again: what a hostile file, or another version, would hold."""
    content = next(c for reader, _, c in written if reader is cr.load)
    length = int.from_bytes(content[:8], "little")
    header, body = json.loads(content[8 : 8 + length]), content[8 + length :]
    text = json.loads(header["__metadata__"][KEY].partition(" ")[2])
    kind = data.draw(st.sampled_from(["description", "description", "header"]))
    if kind == "header":
        header = data.draw(changed(header))
    else:
        text["metadata"] = data.draw(changed(text["metadata"]))
        text = text if data.draw(st.booleans()) else data.draw(changed(text))
        signed = json.dumps(text)
        header["__metadata__"] = {KEY: f"{zlib.crc32(signed.encode()):08x} {signed}"}
    head = json.dumps(header).encode()
    harmless(cr.load, tmp_path_factory.getbasetemp() / "m.safetensors", len(head).to_bytes(8, "little") + head + body)


@pytest.mark.parametrize("depth", [10, 100, 200, 300, 400, 500, 800, 5000, 100_000])
def test_deep_json(depth, tmp_path):
    for inner in ("[" * depth + "]" * depth, '{"children": ' * depth + "{}" + "}" * depth):
        text = (
            '{"format": "keydnn.json.ckpt.v1", "arch": {"type": "Sequential", "children": {"0": '
            + inner
            + '}}, "state": {}}'
        )
        assert not harmless(load_json, tmp_path / "deep.json", text.encode())
    nested = '{"type": "Sequential", "config": {}, "children": {"0": ' * depth + '{"type": "ReLU"}' + "}}" * depth
    text = '{"format": "keydnn.json.ckpt.v1", "arch": ' + nested + ', "state": {}}'
    read = harmless(load_json, tmp_path / "deep.json", text.encode())
    assert read if depth == 10 else not read if depth > 5000 else True


def test_good_files_can_be_read(written, tmp_path):
    """What the others damage is not damaged already."""
    for reader, name, content in written:
        if "bidirectional" not in name:
            assert harmless(reader, tmp_path / name, content), name
