"""Whole models in files: what is loaded is what was saved, and what is wrong with a file is said."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import chainrule as cr
from chainrule import nn
from chainrule.domain.errors import (
    ArgumentError,
    ArgumentTypeError,
    FileFormatError,
    FileWriteError,
    MissingFileError,
    NotBuiltError,
)
from chainrule.io import load, load_metadata, load_weights, save, save_weights


@nn.register
class Skipping(nn.Module):
    """A layer of the user's own, with parameters, layers, a buffer and arguments."""

    def __init__(self, width: int, scale: float = 0.5) -> None:
        self.inner = nn.Linear(width, width)
        self.gain = nn.Parameter([1.0] * width)
        self.register_buffer("seen", cr.zeros(1))
        self.scale = scale

    def forward(self, x: Any) -> Any:
        return x + self.scale * self.gain * self.inner(x)


def cnn() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(4, kernel_size=3, padding="same"),
        nn.BatchNorm2d(),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Sequential(nn.Flatten(), nn.Dropout(0.2)),
        nn.Linear(8, init="ones"),
        Skipping(8, scale=0.25),
        nn.GELU(approximate="tanh"),
        nn.Linear(3, bias=False),
        nn.Softmax(),
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


@pytest.fixture(params=["model.safetensors", "model.npz", "model.h5", "model.json", "model.json.gz"])
def either(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    return tmp_path / str(request.param)


def test_what_is_loaded_is_what_was_saved(either: Path) -> None:
    model, x = cnn(), cr.randn(5, 1, 8, 8)
    model(x)
    model.save(either)
    again = load(either)
    assert repr(again) == repr(model)
    assert again.state_dict().keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        other = again.state_dict()[name]
        assert other.dtype == tensor.dtype and other.numpy().tobytes() == tensor.numpy().tobytes(), name
    assert not again.training and model.training
    np.testing.assert_array_equal(again(x).numpy(), model.eval()(x).numpy())
    other = either.with_name(either.name.replace("model", "again"))
    again.save(other)
    assert other.read_bytes() == either.read_bytes()


def test_loaded_models_can_be_trained(either: Path) -> None:
    nn.Sequential(nn.Linear(2, 2)).save(either)
    model = load(either).train()
    model(cr.ones(1, 2)).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
def test_dtypes_stay(either: Path, dtype: str) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).to(dtype)
    model.save(either)
    again = load(either)
    for name, tensor in model.state_dict().items():
        assert again.state_dict()[name].dtype == tensor.dtype, name
        assert again.state_dict()[name].numpy().tobytes() == tensor.numpy().tobytes(), name
    assert again.state_dict()["0.weight"].dtype == dtype


def test_shared_layers_stay_shared(either: Path) -> None:
    layer = nn.Linear(2, 2)
    nn.Sequential(layer, nn.ReLU(), layer).save(either)
    again = load(either)
    assert again[0] is again[2]
    assert load_weights(either).keys() == {"0.weight", "0.bias"}


def test_other_programs_can_read_the_weights(path: Path) -> None:
    model = nn.Sequential(nn.Linear(2, 3))
    model.save(path)
    arrays = load_file(path)
    np.testing.assert_array_equal(arrays["0.weight"], model.state_dict()["0.weight"].numpy())


def test_a_model_without_a_sequential(either: Path) -> None:
    Skipping(3, scale=2.0).save(either)
    again = load(either)
    assert type(again) is Skipping and again.scale == 2.0
    assert load_metadata(either)["architecture"] == {"type": "Skipping", "config": {"width": 3, "scale": 2.0}}


SCRIPT = """
import sys
import chainrule as cr
from chainrule.io import load
print(load(sys.argv[1])(cr.ones(1, 2)).tolist())
"""


def test_another_process_gets_the_same_outputs(path: Path) -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh())
    model.save(path)
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(path)], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == str(model(cr.ones(1, 2)).tolist()), done.stderr


def test_a_process_that_does_not_know_the_layer_is_told_how(path: Path) -> None:
    Skipping(2).save(path)
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(path)], capture_output=True, text=True, timeout=60)
    assert "model.safetensors: unknown layer type 'Skipping'" in done.stderr
    assert "decorated with @nn.register" in done.stderr


class Unregistered(nn.Module):
    pass


def test_models_that_cannot_be_saved(path: Path) -> None:
    for model, target, error, message in (
        (nn.Sequential(Unregistered()), path, ArgumentError, "decorate the class with @nn.register"),
        (nn.Sequential(nn.Linear(3)), path, NotBuiltError, "no shape yet"),
        (np.zeros(3), path, ArgumentTypeError, "a ndarray is not a Module; save_weights"),
        (
            nn.ReLU(),
            path.with_suffix(".pt"),
            ArgumentError,
            r"ends in '\.pt': a model file ends in \.safetensors, \.npz, .*\.json\.gz, and a folder in a slash",
        ),
        (nn.ReLU(), path.parent / "d.safetensors", FileWriteError, "is a folder"),
    ):
        (path.parent / "d.safetensors").mkdir(exist_ok=True)
        with pytest.raises(error, match=message):
            save(model, target)  # type: ignore[arg-type]
    assert [p.name for p in path.parent.iterdir()] == ["d.safetensors"]


def test_a_failed_save_keeps_the_old_model(either: Path) -> None:
    nn.Sequential(nn.Linear(1, 1)).save(either)
    before = either.read_bytes()
    with pytest.raises(ArgumentError):
        nn.Sequential(nn.Linear(1, 1), Unregistered()).save(either)
    assert either.read_bytes() == before


def test_files_that_are_wrong(path: Path) -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    model.save(path)
    whole = path.read_bytes()
    for size in (0, 4, 100, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(FileFormatError, match=r"model\.safetensors is (cut short|not a safetensors file)"):
            load(path)
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(FileFormatError, match="is damaged: the values of '0.weight' do not match"):
        load(path)
    save_file({"w": np.ones(2)}, path)
    with pytest.raises(FileFormatError, match=r"has weights but no model .*load_weights\(path\)"):
        load(path)
    save_weights(path, {}, {"format": "chainrule.model.v2", "architecture": {}})
    with pytest.raises(
        FileFormatError, match=r"version 'chainrule\.model\.v2', this chainrule reads 'chainrule\.model\.v1'"
    ):
        load(path)
    architecture = {"type": "Linear", "config": {"in_features": 2, "out_features": 2}}
    save_weights(path, {"weight": np.ones((2, 3))}, {"format": "chainrule.model.v1", "architecture": architecture})
    with pytest.raises(FileFormatError, match=r"(?s)\[load\] .*missing: bias.*weight: \(2, 3\) in the state, \(2, 2\)"):
        load(path)
    linear = {"type": "Linear", "config": {"out_features": 2}, "children": {}}
    for architecture in (
        None, 3, "Linear", [], {"again": {}}, {**linear}, {**linear, "config": None}, {"type": "Sequential", "children": "0"},
        {"type": "Sequential", "children": {"0": linear, "1": []}}, {"type": "Linear", "config": {"width": "a"}},
    ):  # fmt: skip
        save_weights(path, {}, {"format": "chainrule.model.v1", "architecture": architecture})
        with pytest.raises(ArgumentError, match=r"^\[load\] .*layer '"):
            load(path)
    with pytest.raises(ArgumentError, match="a model file ends in .safetensors"):
        load(path.with_suffix(".onnx"))
    with pytest.raises(MissingFileError, match="does not exist"):
        load(path.with_name("nowhere.safetensors"))
