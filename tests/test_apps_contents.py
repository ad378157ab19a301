"""``chainrule inspect``: what a file holds, of every format, without its values."""

import json
import tracemalloc

import numpy as np
import pytest
from typer.testing import CliRunner

import chainrule as cr
from chainrule import nn
from chainrule.apps.cli import app
from chainrule.apps.contents import contents
from chainrule.domain.errors import ArgumentError, FileFormatError, MissingFileError
from chainrule.interop import save_torch, to_keras, to_onnx
from chainrule.io import save_weights

EXPECTED = {
    "0.weight": ("bfloat16", (3, 4), 24),
    "0.bias": ("bfloat16", (3,), 6),
    "1.0.weight": ("bfloat16", (3,), 6),
    "1.0.bias": ("bfloat16", (3,), 6),
    "1.0.running_mean": ("bfloat16", (3,), 6),
    "1.0.running_var": ("bfloat16", (3,), 6),
    "1.0.num_batches_tracked": ("int64", (), 8),
}


def model():
    return nn.Sequential(nn.Linear(4, 3), nn.Sequential(nn.BatchNorm1d(3), nn.ReLU())).to("bfloat16")


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pt"])
def test_every_format_has_the_same_arrays(tmp_path, suffix):
    path = tmp_path / f"m{suffix}"
    save_torch(path, {"model": model().state_dict(), "epoch": 3}) if suffix == ".pt" else model().save(path)
    found = contents(path)
    begin = "model." if suffix == ".pt" else ""
    assert {a.name.removeprefix(begin): (a.dtype, a.shape, a.nbytes) for a in found.arrays} == EXPECTED
    assert found.numbers == 28 and found.bytes == path.stat().st_size
    if suffix == ".pt":
        assert found.metadata == {"epoch": 3}
    else:
        assert found.types() == {
            "": "Sequential",
            "0": "Linear",
            "1": "Sequential",
            "1.0": "BatchNorm1d",
            "1.1": "ReLU",
        }


def test_keydnn_and_foreign_files(tmp_path):
    nn.Sequential(nn.Linear(4, 3)).save_json(tmp_path / "m.json")
    assert [(a.name, a.shape) for a in contents(tmp_path / "m.json").arrays] == [("0.bias", (3,)), ("0.weight", (3, 4))]
    np.savez_compressed(tmp_path / "x.npz", a=np.ones((2, 3), "f4"), b=np.array(["text"]))
    assert [(a.name, a.shape, a.nbytes) for a in contents(tmp_path / "x.npz").arrays] == [
        ("a", (2, 3), 24),
        ("b", (1,), 16),
    ]


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_unsigned_integers(tmp_path, suffix):
    save_weights(tmp_path / f"u{suffix}", {f"u{8 * n}": np.ones(3, f"u{n}") for n in (1, 2, 4, 8)})
    found = {a.name: (a.dtype, a.nbytes) for a in contents(tmp_path / f"u{suffix}").arrays}
    assert found == {"u8": ("uint8", 3), "u16": ("uint16", 6), "u32": ("uint32", 12), "u64": ("uint64", 24)}


def test_hdf5(tmp_path):
    import h5py

    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["layer/w"] = np.ones((2, 3), "f4")
        file["elsewhere"] = h5py.ExternalLink("other.h5", "/x")
        file.attrs["note"] = "kept"
    found = contents(tmp_path / "x.h5")
    assert [(a.name, a.shape) for a in found.arrays] == [("layer/w", (2, 3))] and found.metadata == {"note": "kept"}


def test_values_are_not_read(tmp_path):
    arrays = {"w": np.zeros(3_000_000, "float32")}
    save_weights(tmp_path / "a.npz", arrays)
    np.savez_compressed(tmp_path / "b.npz", **arrays)
    save_weights(tmp_path / "c.safetensors", arrays)
    save_torch(tmp_path / "d.pt", arrays)
    contents(tmp_path / "c.safetensors")  # what is imported for it is not counted
    tracemalloc.start()
    for path in sorted(tmp_path.iterdir()):
        assert contents(path).numbers == 3_000_000
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_onnx(tmp_path):
    to_onnx(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), tmp_path / "m.onnx", (None, 4))
    found = contents(tmp_path / "m.onnx")
    assert {a.name: (a.dtype, a.shape, a.nbytes) for a in found.arrays} == {
        "0.weight": ("float32", (3, 4), 48), "0.bias": ("float32", (3,), 12),
        "2.weight": ("float32", (2, 3), 24), "2.bias": ("float32", (2,), 8),
    }  # fmt: skip
    assert found.metadata == {
        "producer": "chainrule", "opset": {"ai.onnx": 17}, "inputs": {"input": "float32 x batch x 4"},
        "outputs": {"output": "float32 x batch x 2"}, "operators": {"Gemm": 2, "Relu": 1},
    }  # fmt: skip


def test_keras(tmp_path):
    to_keras(nn.Sequential({"dense": nn.Linear(4, 3), "relu": nn.ReLU()}), tmp_path / "m.keras", input_shape=(4,))
    found = contents(tmp_path / "m.keras")
    assert {(a.dtype, a.shape) for a in found.arrays} == {("float32", (4, 3)), ("float32", (3,))}
    assert found.metadata["model"] == "Sequential" and "Dense" in found.metadata["layers"]
    assert found.metadata["keras_version"]


def test_files_that_are_wrong(tmp_path):
    with pytest.raises(ArgumentError, match=r"ends in '.txt'; known are .safetensors"):
        contents("notes.txt")
    for suffix in (".safetensors", ".npz", ".pt", ".json", ".h5", ".keras", ".onnx"):
        path = tmp_path / f"x{suffix}"
        with pytest.raises(MissingFileError, match="does not exist"):
            contents(path)
        path.write_bytes(b"PK" + bytes(range(100)))
        with pytest.raises(FileFormatError):
            contents(path)


def test_the_command(tmp_path):
    cr.manual_seed(0)
    model().save(tmp_path / "m.npz")
    done = CliRunner().invoke(app, ["inspect", str(tmp_path / "m.npz")])
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[0].endswith("7 arrays, 28 numbers, Sequential") and "npz, chainrule.model.v1" in lines[0]
    assert lines[1:4] == ["├── 0  Linear", "│   ├── weight  bfloat16  3 x 4  24 B", "│   └── bias  bfloat16  3  6 B"]
    found = json.loads(CliRunner().invoke(app, ["inspect", str(tmp_path / "m.npz"), "--json"]).stdout)
    assert found["arrays"][0] == {"name": "0.weight", "dtype": "bfloat16", "shape": [3, 4], "bytes": 24}
    assert found["metadata"]["architecture"]["type"] == "Sequential" and found["numbers"] == 28


def test_names_do_not_steer_the_terminal(tmp_path):
    save_weights(tmp_path / "x.npz", {"a\x1b[31m[red]": np.ones(1), ".".join("b" * 2000): np.ones(1)})
    done = CliRunner().invoke(app, ["inspect", str(tmp_path / "x.npz")])
    assert done.exit_code == 0 and "\x1b" not in done.stdout and "a\\x1b[31m[red]" in done.stdout
