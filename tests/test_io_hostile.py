"""Files made to do harm, by the kind of harm: refused, in little memory. Bombs are in test_io_arrayfiles."""

import io
import json
import os
import struct
import tracemalloc
import zipfile

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import chainrule as cr
from chainrule import interop, nn
from chainrule.domain.errors import ChainruleError, FileFormatError, MissingFileError
from chainrule.io import load_json
from chainrule.io.weights import load_weights, save_weights

F4 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def tensors(entries, values=bytes(16), length=None):
    """A safetensors file: entries as a dict, or the text of the header."""
    text = entries if isinstance(entries, str) else json.dumps(entries)
    return struct.pack("<Q", len(text) if length is None else length) + text.encode() + values


def npz(members):
    """A zip archive of (name, bytes), names as often as they are given."""
    file = io.BytesIO()
    with (
        zipfile.ZipFile(file, "w") as archive,
        pytest.warns() if len({n for n, _ in members}) < len(members) else io.BytesIO(),
    ):
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data)
    return file.getvalue()


def npy(shape, dtype="<f4", values=bytes(8), order="False"):
    head = f"{{'descr': '{dtype}', 'fortran_order': {order}, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + values


HARM = {
    "a.safetensors": {
        "overlapping offsets": tensors({"a": F4, "b": {**F4, "data_offsets": [4, 12]}}, bytes(12)),
        "a hole between offsets": tensors({"a": F4, "b": {**F4, "data_offsets": [12, 20]}}, bytes(20)),
        "offsets behind the end": tensors({"a": {**F4, "data_offsets": [8, 1 << 62]}}),
        "offsets that run backwards": tensors({"a": {**F4, "data_offsets": [8, 0]}}),
        "a header longer than the file": tensors({"a": F4}, length=1 << 40),
        "a header length that overflows": tensors({"a": F4}, length=(1 << 64) - 1),
        "a negative size": tensors({"a": {**F4, "shape": [-2]}}, bytes(8)),
        "a size that overflows": tensors({"a": {**F4, "shape": [1 << 63, 2]}}, bytes(8)),
        "a gigantic shape": tensors({"a": {**F4, "shape": [1 << 40]}}, bytes(8)),
        "another dtype": tensors({"a": {**F4, "dtype": "F33"}}, bytes(8)),
        "a duplicate key": tensors(f'{{"a": {json.dumps(F4)}, "a": {json.dumps(F4)}}}', bytes(8)),
        "NaN in the header": tensors('{"a": NaN}'),
        "deep nesting": tensors("[" * 100_000 + "]" * 100_000),
    },
    "a.npz": {
        "a duplicate member": npz([("a.npy", npy("(2,)")), ("a.npy", npy("(2,)"))]),
        "a way out": npz([("../a.npy", npy("(2,)"))]),
        "an absolute path": npz([("/etc/a.npy", npy("(2,)"))]),
        "a negative size": npz([("a.npy", npy("(-2,)"))]),
        "a gigantic shape": npz([("a.npy", npy("(99999999999, 99999999999)"))]),
        "pickled objects": npz([("a.npy", npy("(2,)", "|O"))]),
    },
    "a.json": {
        "a duplicate key": '{"format": "keydnn.json.ckpt.v1", "arch": {}, "arch": {}, "state": {}}',
        "NaN": '{"format": "keydnn.json.ckpt.v1", "arch": {"type": "Linear", "config": {"in_features": NaN}}, "state": {}}',
        "Infinity": '{"format": "keydnn.json.ckpt.v1", "arch": {}, "state": {"x": -Infinity}}',
        "a number too large": '{"format": "keydnn.json.ckpt.v1", "arch": {}, "state": {"x": 1e999}}',
        "deep nesting": '{"format": ' + '{"a":' * 200_000 + "1" + "}" * 200_000 + "}",
    },
}  # fmt: skip


@pytest.mark.parametrize(("name", "harm"), [(name, harm) for name, kinds in HARM.items() for harm in kinds])
def test_what_does_harm_is_refused(name, harm, tmp_path):
    data = HARM[name][harm]
    (tmp_path / name).write_bytes(data.encode() if isinstance(data, str) else data)
    model = nn.Sequential(nn.Linear(2, 2))
    before = {key: value.numpy().copy() for key, value in model.state_dict().items()}
    tracemalloc.start()
    try:
        with pytest.raises(FileFormatError, match=name):
            load_json(tmp_path / name) if name.endswith(".json") else load_weights(tmp_path / name)
        with pytest.raises(ChainruleError):
            model.load_weights(tmp_path / name)
        assert tracemalloc.get_traced_memory()[1] < 256 << 20
    finally:
        tracemalloc.stop()
    for key, value in model.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[key])


def test_other_byte_orders_are_read_as_what_they_mean(tmp_path):
    (tmp_path / "a.npz").write_bytes(npz([("a.npy", npy("(2,)", ">f4", np.array([1, 2], ">f4").tobytes()))]))
    assert load_weights(tmp_path / "a.npz")["a"].tolist() == [1, 2]


def test_links_are_followed_to_files_and_not_into_devices(tmp_path):
    save_weights(tmp_path / "a.safetensors", {"a": np.ones(2)})
    os.symlink(tmp_path / "a.safetensors", tmp_path / "link.safetensors")
    assert load_weights(tmp_path / "link.safetensors")["a"].tolist() == [1, 1]
    os.symlink(tmp_path / "circle.safetensors", tmp_path / "circle.safetensors")
    os.symlink("/dev/zero", tmp_path / "zero.npz")
    for name in ("circle.safetensors", "zero.npz"):
        with pytest.raises(MissingFileError, match="not a regular file|does not exist"):
            load_weights(tmp_path / name)
    os.mkfifo(tmp_path / "pipe.pt")
    with pytest.raises(MissingFileError, match="not a regular file"):
        interop.load_torch(tmp_path / "pipe.pt")


def test_members_of_an_archive_that_lie_over_one_another(tmp_path):
    data = bytearray(npz([("a.npy", npy("(2,)")), ("b.npy", npy("(2,)"))]))
    first = data.index(b"PK\x01\x02")
    second = data.index(b"PK\x01\x02", first + 4)
    data[second + 42 : second + 46] = data[first + 42 : first + 46]
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(FileFormatError, match="lie over one another"):
        load_weights(tmp_path / "a.npz")


def nested(depth):
    """A graph in a branch of a graph in a branch ..."""
    info = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "inner", [], [info])
    graph.output[0].name = "y"
    for i in range(depth):
        node = helper.make_node("If", ["c"], [f"y{i}"], then_branch=graph, else_branch=graph if i < 2 else None)
        graph = helper.make_graph([node], "outer", [], [helper.make_tensor_value_info(f"y{i}", TensorProto.FLOAT, [1])])
    starts = [info, helper.make_tensor_value_info("c", TensorProto.BOOL, [])]
    return helper.make_model(helper.make_graph(graph.node, "g", starts, graph.output))


def test_graphs_inside_graphs_too_deep():
    model = nested(30).SerializeToString()
    with pytest.raises(ChainruleError):
        interop.from_onnx(model)(cr.ones(1), cr.tensor(True))
    deep = onnx.ModelProto()
    deep.CopyFrom(nested(2))
    assert interop.from_onnx(deep)(cr.ones(1), cr.tensor(True)).tolist() == [1.0]
