"""The layout of KeyDNN: files that KeyDNN wrote, our files, and files that are wrong."""

from __future__ import annotations

import base64
import copy
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.domain.errors import ArgumentError, FileFormatError, MissingFileError, NotSupportedError
from chainrule.io import load_json, save_json

FIXTURES = Path(__file__).parent / "fixtures"
CNN, BN, GRU = (FIXTURES / f"keydnn_2.1.0_{name}.json" for name in ("cnn", "linear_bn", "bidirectional_gru"))


def numbers(path: Path) -> dict[str, Any]:
    """The arrays of a file, read without chainrule, in float64."""
    state = json.loads(path.read_text())["state"]
    return {
        k: np.frombuffer(base64.b64decode(v["b64"]), "<f4").reshape(v["shape"]).astype(float) for k, v in state.items()
    }


def test_the_cnn_computes_what_numpy_computes() -> None:
    model, w = load_json(CNN), numbers(CNN)
    x = np.random.default_rng(0).standard_normal((5, 1, 28, 28))
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    y = np.zeros((5, 8, 28, 28))
    for i in range(3):
        for j in range(3):
            y += np.einsum("nchw,oc->nohw", padded[:, :, i : i + 28, j : j + 28], w["0.weight"][:, :, i, j])
    y = np.maximum(y + w["0.bias"][:, None, None], 0)
    y = y.reshape(5, 8, 14, 2, 14, 2).max((3, 5)).reshape(5, -1) @ w["4.weight"].T + w["4.bias"]
    expected = np.exp(y - y.max(1, keepdims=True))
    expected /= expected.sum(1, keepdims=True)
    np.testing.assert_allclose(model(cr.tensor(x, dtype="float32")).numpy(), expected, rtol=2e-5, atol=1e-7)
    assert expected.std() > 0.01, "the comparison can fail"


def test_linear_and_batch_norm_compute_what_numpy_computes() -> None:
    with pytest.warns(UserWarning, match="no running statistics for the batch normalization in 1"):
        model = load_json(BN)
    w, x = numbers(BN), np.random.default_rng(0).standard_normal((6, 4))
    y = x @ w["0.weight"].T + w["0.bias"]
    evaluated = y / np.sqrt(1 + 1e-5) * w["1.gamma"] + w["1.beta"]
    np.testing.assert_allclose(model(cr.tensor(x, dtype="float32")).numpy(), evaluated, rtol=1e-5, atol=1e-6)
    trained = (y - y.mean(0)) / np.sqrt(y.var(0) + 1e-5) * w["1.gamma"] + w["1.beta"]
    np.testing.assert_allclose(
        model.train()(cr.tensor(x, dtype="float32")).detach().numpy(), trained, rtol=1e-4, atol=1e-5
    )


def test_a_file_of_keydnn_is_written_as_keydnn_wrote_it(tmp_path: Path) -> None:
    load_json(CNN).save_json(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == CNN.read_bytes()
    with pytest.warns(UserWarning):
        model = load_json(BN)
    model.save_json(tmp_path / "again.json")
    ours, theirs = json.loads((tmp_path / "again.json").read_text()), json.loads(BN.read_text())
    added = {name: ours["state"].pop(name) for name in ("1.running_mean", "1.running_var")}
    assert ours == theirs
    assert added["1.running_var"] == {"b64": "AACAPwAAgD8AAIA/AACAPw==", "dtype": "<f4", "order": "C", "shape": [4]}


def everything() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=(2, 1), padding=(1, 0)),
        nn.BatchNorm2d(4, eps=1e-3, momentum=0.2),
        nn.LeakyReLU(0.2),
        nn.MaxPool2d(3, 2, 1),
        nn.Sequential(nn.Conv2d(4, 3, 1, bias=False), nn.Tanh(), nn.AvgPool2d((2, 1))),
        nn.GlobalAvgPool2d(),
        nn.Flatten(),
        nn.Linear(3, 5),
        nn.BatchNorm1d(5, affine=False),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Linear(5, 2, bias=False),
        nn.Sigmoid(),
        nn.Softmax(axis=1),
    )


def test_our_own_models_there_and_back(tmp_path: Path) -> None:
    model, x = everything(), cr.randn(8, 2, 12, 12)
    model(x)  # moves the running statistics
    path = tmp_path / "deep" / "model.json"
    save_json(model, path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = load_json(path)
    assert repr(again) == repr(model)
    assert not again.training
    np.testing.assert_array_equal(again(x).numpy(), model.eval()(x).numpy())
    again.save_json(tmp_path / "twice.json")
    assert (tmp_path / "twice.json").read_bytes() == path.read_bytes()


def test_the_text_of_a_file(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(2), nn.LeakyReLU())
    model(cr.zeros(1, 3))
    save_json(model, tmp_path / "m.json")
    text = (tmp_path / "m.json").read_text()
    payload = json.loads(text)
    assert text == json.dumps(payload, indent=2, sort_keys=True)
    assert payload.keys() == {"format", "arch", "state"} and payload["format"] == "keydnn.json.ckpt.v1"
    assert payload["arch"] == {
        "type": "Sequential",
        "config": {},
        "children": {
            "0": {
                "type": "Linear",
                "config": {
                    "in_features": 3,
                    "out_features": 2,
                    "bias": True,
                    "device": "cpu",
                    "dtype": "float32",
                    "initializer": "xavier_uniform",
                },
                "children": {},
            },
            "1": {"type": "LeakyReLU", "config": {"alpha": 0.01}, "children": {}},
        },
    }
    assert payload["state"]["0.weight"]["shape"] == [2, 3]


def test_words_for_padding(tmp_path: Path) -> None:
    save_json(
        nn.Sequential(nn.Conv2d(1, 1, (3, 5), padding="same"), nn.Conv2d(1, 1, 2, padding="valid")), tmp_path / "m.json"
    )
    first, second = load_json(tmp_path / "m.json").children()
    assert (first.padding, second.padding) == ((1, 2), (0, 0))


class Own(nn.Module):
    pass


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (
            nn.Sequential(nn.Sequential(nn.GELU())),
            NotSupportedError,
            r"layer '0\.0' is a GELU, which .* has no word for",
        ),
        (nn.Sequential(nn.Conv2d(2, 2, 3, dilation=2)), NotSupportedError, r"'0' \(Conv2d\) has dilation=\[2, 2\]"),
        (nn.Sequential(nn.Conv2d(2, 2, 3, groups=2)), NotSupportedError, "has groups=2, which .* cannot say"),
        (nn.Sequential(nn.Conv2d(2, 2, 2, padding="same")), NotSupportedError, "has padding='same'"),
        (nn.Sequential(nn.MaxPool2d(2, dilation=2)), NotSupportedError, "dilation"),
        (nn.Sequential(nn.AvgPool2d(2, count_include_pad=False)), NotSupportedError, "count_include_pad=False"),
        (nn.Sequential(nn.Linear(2, 2, activation="relu")), NotSupportedError, "activation='relu'"),
        (nn.Sequential(nn.Flatten(2)), NotSupportedError, "start_axis=2"),
        (nn.Sequential(nn.BatchNorm1d(2, track_running_stats=False)), NotSupportedError, "track_running_stats=False"),
        (nn.Sequential(*[nn.Linear(2, 2)] * 2), NotSupportedError, "'1' stands in the model twice"),
        (Own(), ArgumentError, "Own cannot be written to a file: decorate the class"),
    ],
)
def test_models_that_the_layout_cannot_say(tmp_path: Path, model: nn.Module, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        save_json(model, tmp_path / "m.json")
    assert list(tmp_path.iterdir()) == []


def test_unknown_layers_are_named(tmp_path: Path) -> None:
    payload = json.loads(GRU.read_text())
    payload["arch"]["children"]["0"]["type"] = "Tridirectional"
    (tmp_path / "m.json").write_text(json.dumps(payload))
    with pytest.raises(ArgumentError, match="m.json: layer '0': unknown layer type 'Tridirectional'.*Linear"):
        load_json(tmp_path / "m.json")


def test_dense_and_named_children(tmp_path: Path) -> None:
    payload = json.loads(BN.read_text())
    dense = payload["arch"]["children"]["0"]
    dense["type"] = "Dense"
    del dense["config"]["in_features"]
    payload["arch"]["children"] = {"first": dense}
    payload["state"] = {f"first.{k}": payload["state"][f"0.{k}"] for k in ("weight", "bias")}
    payload["state"]["of.another.program"] = payload["state"]["first.bias"]
    (tmp_path / "m.json").write_text(json.dumps(payload))
    model = load_json(tmp_path / "m.json")
    assert repr(model) == "Sequential(\n  (first): Linear(in_features=4, out_features=4)\n)"
    np.testing.assert_array_equal(model.state_dict()["first.weight"].numpy(), numbers(BN)["0.weight"])


def test_names_that_sorting_would_bring_into_another_order_become_numbers(tmp_path: Path) -> None:
    inner = nn.Sequential({"z": nn.Linear(3, 3), "a": nn.Tanh()})
    model = nn.Sequential({"first": nn.Linear(2, 3), "act": nn.ReLU(), "body": inner, "1": nn.Linear(3, 2)}).eval()
    model.save_json(tmp_path / "m.json")
    again, x = load_json(tmp_path / "m.json"), cr.randn(5, 2)
    np.testing.assert_array_equal(again(x).numpy(), model(x).detach().numpy())
    assert [*again.state_dict()] == ["0.weight", "0.bias", "2.0.weight", "2.0.bias", "3.weight", "3.bias"]
    kept = nn.Sequential({"a": nn.Linear(2, 3), "b": nn.ReLU()})
    kept.save_json(tmp_path / "m.json")
    assert [*load_json(tmp_path / "m.json").state_dict()] == ["a.weight", "a.bias"]


def test_children_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    save_json(nn.Sequential(*[nn.Linear(n, n + 1) for n in range(1, 13)]), tmp_path / "m.json")
    assert '"10"' in (tmp_path / "m.json").read_text().split('"2"')[0], "as text, 10 stands before 2"
    assert load_json(tmp_path / "m.json")(cr.ones(1, 1)).shape == (1, 13)


def damaged(change: Any) -> dict[str, Any]:
    payload = json.loads(CNN.read_text())
    change(payload)
    return copy.deepcopy(payload)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            lambda p: p.update(format="keydnn.json.ckpt.v2"),
            FileFormatError,
            "has the format 'keydnn.json.ckpt.v2', expected",
        ),
        (lambda p: p.pop("format"), FileFormatError, "has the format None"),
        (lambda p: p.pop("state"), FileFormatError, "lacks 'arch' or 'state'"),
        (lambda p: p["state"].pop("4.weight"), FileFormatError, "missing: 4.weight"),
        (
            lambda p: p["state"]["4.bias"].update(shape=[11]),
            FileFormatError,
            r"'4\.bias' has 40 bytes, but shape \(11,\) takes",
        ),
        (lambda p: p["state"]["4.bias"].update(b64="????"), FileFormatError, r"'4\.bias' is damaged"),
        (lambda p: p["state"]["4.bias"].update(b64=7), FileFormatError, r"'4\.bias' is damaged"),
        (lambda p: p["state"]["4.bias"].update(dtype="object"), FileFormatError, "dtype 'object'"),
        (lambda p: p["state"]["4.bias"].update(order="F"), FileFormatError, "order 'F'"),
        (lambda p: p["state"]["4.bias"].update(shape=[-10]), FileFormatError, r"shape \(-10,\)"),
        (
            lambda p: p["state"]["4.weight"].update(shape=[1568, 10]),
            FileFormatError,
            r"4.weight: \(1568, 10\) in the state",
        ),
        (lambda p: p["arch"]["children"]["1"].update(type="RLeU"), ArgumentError, "unknown layer type 'RLeU': did you"),
        (lambda p: p["arch"]["children"].update({"1": 3}), FileFormatError, "layer '1' is 3"),
        (lambda p: p["arch"].update(children="01"), FileFormatError, "layer '' is"),
        (lambda p: p["arch"]["children"]["1"].update(type={}), ArgumentError, "unknown layer type {}"),
        (lambda p: p["state"]["4.bias"].update(dtype=["<f4"]), FileFormatError, r"dtype \['<f4'\]"),
        (lambda p: p["state"]["4.bias"].update(b64="", shape=[0, 2**62, 8]), FileFormatError, "no array can have"),
        (
            lambda p: p.update(state={}, arch={"type": "BatchNorm1d", "config": {"num_features": 2**60}}),
            FileFormatError,
            "but no values for so many",
        ),
        (lambda p: p["arch"]["children"]["2"]["config"].update(kernel_size=[0, 1]), ArgumentError, "kernel_size is"),
        (lambda p: p["arch"]["children"]["2"]["config"].pop("kernel_size"), ArgumentError, "kernel_size"),
    ],
)
def test_damaged_files(tmp_path: Path, change: Any, error: Any, message: str) -> None:
    path = tmp_path / "m.json"
    path.write_text(json.dumps(damaged(change)))
    with pytest.raises(error, match=rf"(?s)\[load_json\] .*m\.json.*{message}"):
        load_json(path)


def test_truncated_and_missing_files(tmp_path: Path) -> None:
    path, whole = tmp_path / "m.json", CNN.read_bytes()
    for size in (0, 1, 500, 50_000, len(whole) - 2):
        path.write_bytes(whole[:size])
        with pytest.raises(FileFormatError, match="is cut short or damaged"):
            load_json(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FileFormatError, match="is cut short or damaged"):
        load_json(path)
    path.write_bytes(b"[" * 100_000)
    with pytest.raises(FileFormatError, match="is cut short or damaged"):
        load_json(path)
    nested = '{"type": "Sequential", "children": {"0": ' * 3000 + "{}" + "}}" * 3000
    path.write_text('{"format": "keydnn.json.ckpt.v1", "state": {}, "arch": ' + nested + "}")
    with pytest.raises(FileFormatError, match="too deep|cut short or damaged"):
        load_json(path)
    path.write_bytes(b"[1, 2]")
    with pytest.raises(FileFormatError, match="has the format None"):
        load_json(path)
    with pytest.raises(MissingFileError, match="nowhere.json does not exist"):
        load_json(tmp_path / "nowhere.json")
