"""Every type of layer that KeyDNN 2.1.0 can write, the old Dense, and files that are out to do harm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.test_io_keydnn import BN, CNN

import chainrule as cr
from chainrule import losses, nn
from chainrule.domain.errors import ChainruleError, FileFormatError, NotSupportedError
from chainrule.io import load_json, save_json
from chainrule.io.keydnn import KINDS

TYPES = """
    AvgPool2d BatchNorm1d BatchNorm2d Bidirectional BinaryCrossEntropy CategoricalCrossEntropy Conv2d Conv2dTranspose Dense
    Dropout Flatten GRU GRUCell GlobalAvgPool2d LSTM LSTMCell LayerNorm LeakyReLU Linear MSE MaxPool2d RNN RNNCell ReLU SSE
    Sequential Sigmoid Softmax Tanh
"""


def test_every_type_of_theirs_is_known() -> None:
    assert KINDS.keys() == {*TYPES.split()} and len(KINDS) == 29


def content(path: Path) -> Any:
    return json.loads(path.read_text())


def test_a_transposed_convolution(tmp_path: Path) -> None:
    """Weights (in, out, height, width), as here; every entry of its config stands there."""
    layer = nn.ConvTranspose2d(2, 3, (3, 2), stride=2, padding=(1, 0), output_padding=1, bias=False)
    save_json(layer, tmp_path / "m.json")
    assert content(tmp_path / "m.json")["arch"] == {
        "type": "Conv2dTranspose",
        "config": {
            "in_channels": 2,
            "out_channels": 3,
            "kernel_size": [3, 2],
            "stride": [2, 2],
            "padding": [1, 0],
            "output_padding": [1, 1],
            "bias": False,
            "device": "cpu",
            "dtype": "float32",
        },
        "children": {},
    }
    assert content(tmp_path / "m.json")["state"]["weight"]["shape"] == [2, 3, 3, 2]
    x = cr.randn(2, 2, 4, 5)
    np.testing.assert_array_equal(load_json(tmp_path / "m.json")(x).numpy(), layer(x).detach().numpy())


@pytest.mark.parametrize("affine", [True, False])
def test_a_layer_norm(tmp_path: Path, affine: bool) -> None:
    layer = nn.LayerNorm((3, 4), eps=1e-3, elementwise_affine=affine)
    if affine:
        layer.weight.load(np.arange(12.0).reshape(3, 4))
    save_json(layer, tmp_path / "m.json")
    payload = content(tmp_path / "m.json")
    assert payload["arch"]["config"] == {"normalized_shape": [3, 4], "eps": 1e-3, "affine": affine, "device": "cpu"}
    assert sorted(payload["state"]) == ["beta", "gamma"] * affine
    x = cr.randn(2, 3, 4)
    np.testing.assert_array_equal(load_json(tmp_path / "m.json")(x).numpy(), layer(x).detach().numpy())


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("MSE", losses.MSE()),
        ("SSE", losses.SSE()),
        ("BinaryCrossEntropy", losses.BCE()),
        ("CategoricalCrossEntropy", losses.CategoricalCrossEntropy()),
    ],
)
def test_losses(tmp_path: Path, name: str, loss: nn.Module) -> None:
    save_json(loss, tmp_path / "m.json")
    assert content(tmp_path / "m.json")["arch"] == {"type": name, "config": {}, "children": {}}
    assert repr(load_json(tmp_path / "m.json")) == repr(loss)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (losses.MSE("sum"), "has reduction='sum'"),
        (nn.ConvTranspose2d(2, 3, 3, dilation=2), r"has dilation=\[2, 2\]"),
        (nn.LayerNorm(3, bias=False), "has bias=False"),
    ],
    ids=repr,
)
def test_what_the_layout_cannot_say(tmp_path: Path, model: nn.Module, message: str) -> None:
    with pytest.raises(NotSupportedError, match=message):
        save_json(model, tmp_path / "m.json")


def test_the_dense_of_an_early_version_has_its_weights_within_and_twice(tmp_path: Path) -> None:
    payload = content(BN)
    payload["arch"]["children"]["0"]["type"] = "Dense"
    for name in ("0.weight", "0.bias"):
        entry = payload["state"].pop(name)
        for inner in ("_linear", "linear"):
            payload["state"][f"0.{inner}.{name[2:]}"] = entry
    (tmp_path / "m.json").write_text(json.dumps(payload))
    x = cr.randn(3, 4)
    with pytest.warns(UserWarning, match="no running statistics"):
        found, wanted = load_json(tmp_path / "m.json"), load_json(BN)
    np.testing.assert_array_equal(found(x).numpy(), wanted(x).numpy())


def test_a_file_cut_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    save_json(nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2), nn.Softmax()), path)
    whole = path.read_bytes()
    for size in range(len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(FileFormatError, match=r"m\.json is cut short or damaged"):
            load_json(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"alpha": 0.01', '"alpha": NaN', "NaN is no number of JSON"),
        ('"alpha": 0.01', '"alpha": -Infinity', "-Infinity is no number"),
        ('"alpha": 0.01', '"alpha": 1e999', "1e999 is larger"),
        ('"alpha": 0.01', '"alpha": 0.01, "alpha": 2', "the key 'alpha' comes twice"),
        ('"alpha": 0.01', '"alpha": ' + "9" * 5000, "Exceeds the limit"),
        ('"in_features": 2', '"in_features": 4611686018427387904', r"weight: \(3, 2\) in the state"),
        ('"out_features": 3', '"out_features": 4611686018427387904', r"weight: \(3, 2\) in the state"),
        ('"out_features": 3', '"out_features": -3', "out_features is -3"),
        ('"out_features": 3', '"out_features": "3"', "out_features is '3'"),
        ('"out_features": 3', '"out_features": [[[3]]]', "out_features"),
    ],
)
def test_numbers_out_to_do_harm(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "m.json"
    save_json(nn.Sequential(nn.Linear(2, 3), nn.LeakyReLU()), path)
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    with pytest.raises(ChainruleError, match=rf"(?s)\[load_json\] .*m\.json.*{message}"):
        load_json(path)


@pytest.mark.parametrize(("features", "layers"), [(1 << 33, 1), (1 << 18, 9)])
def test_statistics_that_no_file_has_take_no_memory(tmp_path: Path, features: int, layers: int) -> None:
    norm = {"type": "BatchNorm1d", "config": {"num_features": features, "affine": False}}
    arch = {"type": "Sequential", "children": {str(i): norm for i in range(layers)}}
    (tmp_path / "m.json").write_text(json.dumps({"format": "keydnn.json.ckpt.v1", "arch": arch, "state": {}}))
    with pytest.raises(
        FileFormatError, match=rf"over {2 * features * layers + layers} features, but no values for so many"
    ):
        load_json(tmp_path / "m.json")


def test_batch_normalization_says_its_features(tmp_path: Path) -> None:
    payload = content(BN)
    del payload["arch"]["children"]["1"]["config"]["num_features"]
    (tmp_path / "m.json").write_text(json.dumps(payload))
    with pytest.raises(FileFormatError, match=r"\[load_json\] .*m.json does not say the num_features of layer '1'"):
        load_json(tmp_path / "m.json")


def test_any_value_anywhere_gives_an_error_that_names_the_file_or_a_model(tmp_path: Path) -> None:
    """Each value of a file in turn is replaced by values of other kinds."""

    def places(tree: Any, path: tuple[str, ...] = ()) -> Any:
        for key, value in tree.items():
            yield (*path, key)
            if isinstance(value, dict):
                yield from places(value, (*path, key))

    whole = content(CNN)
    for entry in whole["state"].values():  # small, so that this is quick
        entry.update(b64="AAAAAA==", shape=[1])
    for where in places(whole):
        for value in (None, True, -1, 2**70, "x", [], {}, [None], {"type": "ReLU"}):
            changed = json.loads(json.dumps(whole))
            inner = changed
            for key in where[:-1]:
                inner = inner[key]
            inner[where[-1]] = value
            (tmp_path / "m.json").write_text(json.dumps(changed))
            try:
                assert isinstance(load_json(tmp_path / "m.json"), nn.Module)  # of fewer layers
            except ChainruleError as error:
                assert str(error).startswith(f"[load_json] {tmp_path / 'm.json'}"), error
