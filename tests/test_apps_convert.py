"""``chainrule convert``: what is made of a file computes what it computed, and nothing is lost without a word."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import chainrule as cr
from chainrule import nn
from chainrule.apps.cli import app
from chainrule.apps.convert import convert, shape_of, source_format
from chainrule.domain.errors import ArgumentError, FileFormatError, MissingFileError, NotSupportedError
from chainrule.interop import (
    from_keras,
    from_onnx,
    load_convnet,
    load_mpnn,
    load_torch,
    save_convnet,
    save_mpnn,
    to_keras,
    to_onnx,
)
from chainrule.io import load_json, load_metadata, load_optimizer, load_weights, save_training, save_weights

FIXTURES = Path(__file__).parent / "fixtures"
OPEN = {
    "chainrule": cr.load,
    "keydnn": load_json,
    "keras": from_keras,
    "onnx": from_onnx,
    "convnet": load_convnet,
    "mpneuralnetwork": load_mpnn,
}
FILES = {
    "chainrule": "m.safetensors",
    "keydnn": "m.json",
    "keras": "m.keras",
    "onnx": "m.onnx",
    "convnet": "c.hdf5",
    "mpneuralnetwork": "p.npz",
}
WRITE = {
    "chainrule": lambda model, path: model.save(path),
    "keydnn": lambda model, path: model.save_json(path),
    "keras": lambda model, path: to_keras(model, path, input_shape=(4,)),
    "onnx": lambda model, path: to_onnx(model, path, (None, 4)),
    "convnet": save_convnet,
    "mpneuralnetwork": save_mpnn,
}


def mlp():
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3), nn.Softmax()).eval()


@pytest.mark.parametrize("one", [*WRITE])
def test_every_pair_of_formats_computes_the_same(tmp_path, one):
    model, x = mlp(), cr.randn(6, 4)
    source = tmp_path / FILES[one]
    WRITE[one](model, source)
    for other in WRITE:
        target = tmp_path / "to" / FILES[other]
        if one == "onnx" and other not in ("chainrule", "onnx"):  # nodes, not layers
            with pytest.raises((NotSupportedError, ArgumentError), match="Onnx"):
                convert(source, target, to=other, input_shape=(4,))
            continue
        done = convert(source, target, to=other, input_shape=None if one == other == "onnx" else (4,))
        assert (done.source_format, done.target_format, done.content) == (one, other, "model")
        assert done.bytes == target.stat().st_size and done.numbers == 43
        np.testing.assert_allclose(OPEN[other](target)(x).numpy(), model(x).numpy(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("one", [".safetensors", ".npz", ".h5", ".hdf5", ".json", ".json.gz", ""])
def test_all_of_our_files_is_kept(tmp_path, one):
    model = nn.Sequential(nn.Linear(2, 3).to("bfloat16"))
    optimizer = cr.optim.Adam(model.parameters())
    model(cr.ones(1, 2, dtype="bfloat16")).sum().backward()
    optimizer.step()
    model.save(tmp_path / f"m{one}", optimizer=optimizer)
    save_training(tmp_path / f"t{one}", model=model, optimizer=optimizer, epoch=3)
    save_weights(tmp_path / f"w{one}", {"a/b": np.ones(2)}, {"note": "kept"})
    for other in (".safetensors", ".npz", ".h5", ".json", ".json.gz", ""):
        for name, content in (("m", "model"), ("t", "training"), ("w", "weights")):
            source, target = tmp_path / f"{name}{one}", tmp_path / "to" / f"{name}{other}"
            assert convert(source, target).content == content
            assert load_metadata(source) == load_metadata(target)
            before, after = load_weights(source), load_weights(target)
            assert {k: (v.dtype, v.tobytes()) for k, v in before.items()} == {
                k: (v.dtype, v.tobytes()) for k, v in after.items()
            }
    assert convert(tmp_path / f"t{one}", tmp_path / "k.json", to="keydnn").content == "model"
    assert convert(tmp_path / "k.json", tmp_path / "again.json").source_format == "keydnn"
    assert type(cr.load(tmp_path / "again.json")) is nn.Sequential


def test_files_of_the_original_systems(tmp_path):
    x = cr.randn(2, 784)
    done = convert(FIXTURES / "mpnn_1.1.1_dense_bn_adam.npz", tmp_path / "p.safetensors")
    assert done.source_format == "mpneuralnetwork"
    theirs = load_mpnn(FIXTURES / "mpnn_1.1.1_dense_bn_adam.npz")
    again = cr.load(tmp_path / "p.safetensors")
    assert (again(x) == theirs(x)).all()
    penalty = {"decoupled": True, "weight_decay": 1e-3, "exempt": True}
    optimizer = cr.optim.Adam(again.parameters(), 1e-3, **penalty)
    load_optimizer(tmp_path / "p.safetensors", optimizer)
    assert float(optimizer.state_dict()["state"]["0.weight"]["step"]) == 6
    images = cr.randn(2, 28, 28, 1, dtype="float64")
    done = convert(FIXTURES / "nn_cnn_bn.hdf5", tmp_path / "c.h5")
    assert done.source_format == "convnet" and "no running statistics for 3_BatchNorm2D" in done.warnings[0]
    with pytest.warns(UserWarning):
        assert (load_convnet(FIXTURES / "nn_cnn_bn.hdf5")(images) == cr.load(tmp_path / "c.h5")(images)).all()
    done = convert(FIXTURES / "keydnn_2.1.0_cnn.json", tmp_path / "k.npz")
    assert (done.source_format, done.content) == ("keydnn", "model")
    assert (
        cr.load(tmp_path / "k.npz").state_dict().keys()
        == load_json(FIXTURES / "keydnn_2.1.0_cnn.json").state_dict().keys()
    )


@pytest.mark.parametrize("name", ["keras_3.15.1_sequential.h5", "keras_3.15.1_functional.keras"])
def test_files_of_keras(tmp_path, name):
    assert convert(FIXTURES / name, tmp_path / "m.safetensors").source_format == "keras"
    ours, theirs = cr.load(tmp_path / "m.safetensors").state_dict(), from_keras(FIXTURES / name).state_dict()
    assert ours.keys() == theirs.keys() and all((ours[n] == theirs[n]).all() for n in ours)


def test_files_of_pytorch_are_weights(tmp_path):
    done = convert(FIXTURES / "torch_2.13_state.pt", tmp_path / "w.safetensors")
    assert (done.source_format, done.content) == ("pytorch", "weights")
    expected = load_weights(FIXTURES / "torch_2.13_state.pt")
    found = load_weights(tmp_path / "w.safetensors")
    assert found.keys() == expected.keys() and all((found[n] == expected[n]).all() for n in found)
    mlp().save(tmp_path / "m.safetensors")
    done = convert(tmp_path / "m.safetensors", tmp_path / "m.pt")
    assert (done.source_format, done.content) == ("chainrule", "weights")
    assert list(load_torch(tmp_path / "m.pt")) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert convert(tmp_path / "w.safetensors", tmp_path / "w.pth").source_format == "weights"


def test_what_cannot_be(tmp_path):
    mlp().save(tmp_path / "m.safetensors")
    mlp().save_weights(tmp_path / "w.npz")
    (tmp_path / "broken.npz").write_bytes(b"PK")
    (tmp_path / "notes.txt").write_bytes(b"")
    for source, target, options, error, message in (
        ("nowhere.npz", "x.h5", {}, MissingFileError, "does not exist"),
        ("broken.npz", "x.h5", {}, FileFormatError, "no whole zip archive"),
        ("notes.txt", "x.h5", {}, ArgumentError, r"ends in '\.txt'; known are \.safetensors"),
        ("m.safetensors", "x.txt", {}, ArgumentError, r"ends in '\.txt'; what is written ends in \.safetensors"),
        ("m.safetensors", "x", {"to": "keydnn"}, ArgumentError, r"a file of keydnn ends in \.json"),
        ("m.safetensors", "m.safetensors", {}, ArgumentError, "would be replaced"),
        ("m.safetensors", "x.npz", {"to": "convnett"}, ArgumentError, "did you mean 'convnet'"),
        ("m.safetensors", "x.npz", {"to": "keras"}, ArgumentError, r"a file of keras ends in \.keras"),
        ("m.safetensors", "x.keras", {}, ArgumentError, "needs the shape of an input"),
        ("m.safetensors", "x.onnx", {}, ArgumentError, "--input-shape 1,28,28"),
        ("w.npz", "x.json", {"to": "keydnn"}, ArgumentError, "has weights alone, and a file of keydnn needs the model"),
        ("w.npz", "x.keras", {}, ArgumentError, "has weights alone"),
    ):
        with pytest.raises(error, match=message):
            convert(tmp_path / source, tmp_path / target, **options)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["broken.npz", "m.safetensors", "notes.txt", "w.npz"]
    mlp().save_json(tmp_path / "c.json")
    with pytest.raises(ArgumentError, match="c.json would be replaced"):  # ConvNet's layers would be there
        convert(tmp_path / "c.json", tmp_path / "c.hdf5", to="convnet")
    assert source_format(tmp_path / "w.npz") == "weights"
    with pytest.raises(ArgumentError, match="input shape '1,a' should be sizes"):
        shape_of("1,a")


def test_the_command(tmp_path):
    def run(*args):
        return CliRunner().invoke(app, ["convert", *map(str, args)])

    mlp().save(tmp_path / "m.safetensors")
    done = run(tmp_path / "m.safetensors", tmp_path / "m.onnx", "--input-shape", "4")
    assert done.exit_code == 0, done.output
    size = (tmp_path / "m.onnx").stat().st_size
    assert done.stdout == f"{tmp_path / 'm.onnx'}: model, chainrule to onnx, 4 arrays, 43 numbers, {size:,} bytes\n"
    found = json.loads(run(FIXTURES / "nn_cnn_bn.hdf5", tmp_path / "c.npz", "--to", "convnet", "--json").stdout)
    assert found["target_format"] == "convnet" and len(found["warnings"]) == 1 and found["source_format"] == "convnet"
    done = run(FIXTURES / "nn_cnn_bn.hdf5", tmp_path / "c.h5")
    assert done.exit_code == 0 and "chainrule: warning: [load_convnet]" in done.stderr
