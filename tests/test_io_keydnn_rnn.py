"""Recurrent layers in the layout of KeyDNN: its own file, ours, and what cannot be said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.test_io_keydnn import GRU, numbers

import chainrule as cr
from chainrule import nn
from chainrule.domain.errors import ArgumentError, FileFormatError, NotSupportedError
from chainrule.io import load_json, save_json

X = np.random.default_rng(0).standard_normal((5, 4, 2))


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def test_the_bidirectional_gru_computes_what_numpy_computes() -> None:
    """Gates z, r, n; weights (features, gates); the reset gate acts on the state, before the product."""
    model, w = load_json(GRU), numbers(GRU)

    def run(way: str, steps: Any) -> Any:
        wi, wh, bi, bh = (w[f"0.{way}.cell.{k}"] for k in ("W_ih", "W_hh", "b_ih", "b_hh"))
        h, found = np.zeros((4, 3)), []
        for x in steps:
            z = sigmoid(x @ wi[:, :3] + bi[:3] + h @ wh[:, :3] + bh[:3])
            r = sigmoid(x @ wi[:, 3:6] + bi[3:6] + h @ wh[:, 3:6] + bh[3:6])
            n = np.tanh(x @ wi[:, 6:] + bi[6:] + (r * h) @ wh[:, 6:] + bh[6:])
            h = (1 - z) * n + z * h
            found.append(h)
        return np.stack(found)

    expected = np.concatenate([run("forward_layer", X), run("backward_layer", X[::-1])[::-1]], 2)
    y = model(cr.tensor(X, dtype="float32"))
    assert y.shape == (5, 4, 6) and expected.std() > 0.1
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_the_file_of_keydnn_is_written_as_keydnn_wrote_it(tmp_path: Path) -> None:
    load_json(GRU).save_json(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == GRU.read_bytes()


def test_a_file_may_lack_the_doubles(tmp_path: Path) -> None:
    payload = json.loads(GRU.read_text())
    payload["state"] = {k: v for k, v in payload["state"].items() if "_rnn." not in k}
    (tmp_path / "m.json").write_text(json.dumps(payload))
    x = cr.tensor(X, dtype="float32")
    np.testing.assert_array_equal(load_json(tmp_path / "m.json")(x).numpy(), load_json(GRU)(x).numpy())


MODELS = [
    nn.Sequential(nn.LSTM(2, 3, return_sequences=True), nn.RNN(3, 4, bias=False), nn.Linear(4, 1)),
    nn.Sequential(nn.GRU(2, 3, reset_after=False, return_sequences=True), nn.Bidirectional(nn.LSTM(3, 4))),
    nn.Sequential(nn.Bidirectional(nn.RNN(2, 3, bias=False), return_sequences=True), nn.GRU(6, 2, reset_after=False)),
]


@pytest.mark.filterwarnings("ignore:.*KeyDNN computes the last step of Bidirectional otherwise")
@pytest.mark.parametrize("model", MODELS, ids=range(3))
def test_our_own_models_there_and_back(tmp_path: Path, model: nn.Module) -> None:
    x = cr.tensor(X, dtype="float32")
    save_json(model, tmp_path / "m.json")
    again = load_json(tmp_path / "m.json")
    np.testing.assert_array_equal(again(x).numpy(), model(x).detach().numpy())
    again.save_json(tmp_path / "twice.json")
    assert (tmp_path / "twice.json").read_bytes() == (tmp_path / "m.json").read_bytes()


@pytest.mark.parametrize("cell", [nn.RNNCell(2, 3), nn.GRUCell(2, 3, reset_after=False), nn.LSTMCell(2, 3, bias=False)])
def test_cells(tmp_path: Path, cell: nn.Module) -> None:
    save_json(cell, tmp_path / "m.json")
    payload = json.loads((tmp_path / "m.json").read_text())
    assert payload["arch"]["config"].keys() == {"input_size", "hidden_size", "bias"}
    blocks = {"RNNCell": 1, "GRUCell": 3, "LSTMCell": 4}[payload["arch"]["type"]]
    assert payload["state"]["W_ih"]["shape"] == [2, 3 * blocks]
    again, x = load_json(tmp_path / "m.json"), cr.tensor(X[0], dtype="float32")
    found, wanted = again(x), cell(x)
    pairs = zip(found, wanted, strict=True) if isinstance(found, tuple) else [(found, wanted)]
    for a, b in pairs:
        np.testing.assert_array_equal(a.numpy(), b.detach().numpy())


def test_the_tuples_of_keydnn(tmp_path: Path) -> None:
    layer = nn.LSTM(2, 3, keras_compat=False)
    save_json(layer, tmp_path / "m.json")
    config = json.loads((tmp_path / "m.json").read_text())["arch"]["config"]
    assert (config["return_sequences"], config["return_state"], config["keras_compat"]) == (True, True, False)
    y, (h, c) = load_json(tmp_path / "m.json")(cr.tensor(X, dtype="float32"))
    assert (y.shape, h.shape, c.shape) == ((5, 4, 3), (4, 3), (4, 3))


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.GRU(2, 3), "has reset_after=True, which .* cannot say"),
        (nn.GRUCell(2, 3), "has reset_after=True"),
        (nn.RNN(2, 3, nonlinearity="relu"), "has nonlinearity='relu'"),
        (nn.LSTM(2, 3, num_layers=2), "has num_layers=2"),
        (nn.LSTM(2, 3, batch_first=True), "has batch_first=True"),
        (nn.Bidirectional(nn.LSTM(2, 3), merge_mode="sum"), "has merge_mode='sum'; KeyDNN has 'concat' only"),
        (nn.Bidirectional(nn.LSTM(2, 3, batch_first=True)), r"'forward_layer' \(LSTM\) has batch_first=True"),
    ],
    ids=repr,
)
def test_what_the_layout_cannot_say(tmp_path: Path, layer: nn.Module, message: str) -> None:
    with pytest.raises(NotSupportedError, match=message):
        save_json(layer, tmp_path / "m.json")


def test_the_last_step_of_both_ways_is_warned_of(tmp_path: Path) -> None:
    """KeyDNN takes, of the way back, the state after the last step alone."""
    model, message = nn.Sequential(nn.Bidirectional(nn.LSTM(2, 3))), "last step of Bidirectional otherwise .in '0'"
    with pytest.warns(UserWarning, match=message):
        save_json(model, tmp_path / "m.json")
    with pytest.warns(UserWarning, match=message):
        load_json(tmp_path / "m.json")


def test_damaged_files(tmp_path: Path) -> None:
    def load(change: Any) -> None:
        payload = json.loads(GRU.read_text())
        change(payload)
        (tmp_path / "m.json").write_text(json.dumps(payload))
        load_json(tmp_path / "m.json")

    def config(p: Any) -> Any:
        return p["arch"]["children"]["0"]["config"]

    with pytest.raises(ArgumentError, match="layer '0.forward_layer': unknown layer type 'GRUU': did you mean 'GRU'"):
        load(lambda p: config(p).update(layer_type="GRUU"))
    with pytest.raises(FileFormatError, match="layer '0.forward_layer' is"):
        load(lambda p: config(p).update(layer=3))
    with pytest.raises(ArgumentError, match="Bidirectional takes a layer RNN"):
        load(lambda p: config(p).update(layer_type="Linear", layer={"out_features": 3}))
    with pytest.raises(FileFormatError, match=r"missing: 0\.backward_layer\.weight_hh_l0"):
        load(lambda p: [p["state"].pop(f"0.backward_{k}.cell.W_hh") for k in ("layer", "rnn")])
    with pytest.raises(FileFormatError, match=r"weight_ih_l0: \(6, 3\) in the state"):
        load(lambda p: p["state"]["0.forward_layer.cell.W_ih"].update(shape=[3, 6]))
