"""Weights and models in HDF5: what other programs read, and files that are damaged or of others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import ml_dtypes
import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.apps.contents import contents
from chainrule.domain.errors import ArgumentError, DTypeError, FileFormatError
from chainrule.io import h5, load_metadata, load_weights, save_weights

FIXTURES = Path(__file__).parent / "fixtures"
NAMES = ("a/b", "a", "%", ".", "a%2Fb", "file", "optimizer/0.weight/exp_avg", "nul\0", "é")


def test_other_programs_read_it(tmp_path: Path) -> None:
    half = np.arange(4, dtype="f4").astype(ml_dtypes.bfloat16)
    save_weights(tmp_path / "w.h5", {"fc.weight": np.eye(2), "opt/x": np.ones(3, "f4"), "half": half}, {"epoch": 3})
    with h5py.File(tmp_path / "w.h5") as file:
        assert sorted(file) == ["fc.weight", "half", "opt%2Fx"]
        np.testing.assert_array_equal(file["fc.weight"], np.eye(2))
        np.testing.assert_array_equal(file["half"][()].view(ml_dtypes.bfloat16), half)
        assert '"epoch": 3' in file.attrs["chainrule"] and file.attrs["bfloat16"] == '["half"]'
    found = contents(tmp_path / "w.h5")
    assert {a.name: (a.dtype, a.shape) for a in found.arrays} == {
        "fc.weight": ("float64", (2, 2)),
        "half": ("bfloat16", (4,)),
        "opt/x": ("float32", (3,)),
    }
    assert found.metadata == {"epoch": 3}


def test_names(tmp_path: Path) -> None:
    arrays = {name: np.full(2, i, "f4") for i, name in enumerate(NAMES)}
    save_weights(tmp_path / "w.h5", arrays)
    found = load_weights(tmp_path / "w.h5")
    assert found.keys() == arrays.keys() and all((found[name] == arrays[name]).all() for name in NAMES)
    first = (tmp_path / "w.h5").read_bytes()
    save_weights(tmp_path / "w.h5", arrays)
    assert (tmp_path / "w.h5").read_bytes() == first


def test_metadata_of_any_length(tmp_path: Path) -> None:
    """An attribute of fixed size holds 64 KiB."""
    save_weights(tmp_path / "w.h5", {}, {"text": "x" * 300_000})
    assert len(load_metadata(tmp_path / "w.h5")["text"]) == 300_000


def test_an_optimizer_goes_on(tmp_path: Path) -> None:
    x, y = cr.randn(4, 2), cr.randn(4, 3)
    model = nn.Sequential(nn.Linear(2, 3)).compile("mse", "adam")
    model.train_on_batch(x, y)
    model.save(tmp_path / "m.h5", optimizer=model.compiled.optimizer)
    again = cr.load(tmp_path / "m.h5").compile("mse", "adam")
    cr.io.load_optimizer(tmp_path / "m.h5", again.compiled.optimizer)
    assert again.train_on_batch(x, y) == model.train_on_batch(x, y)


def test_files_of_others(tmp_path: Path) -> None:
    for name in ("keras_3.15.1_sequential.h5", "keras_3.15.1_sequential.weights.h5"):
        with pytest.raises(FileFormatError, match="is of Keras: interop.from_keras"):
            cr.load(FIXTURES / name)
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["0.weight"] = np.ones((3, 2), "f4")
        file["a%2Fb"] = np.ones(1)
    assert sorted(load_weights(tmp_path / "w.h5")) == ["0.weight", "a%2Fb"]
    with pytest.raises(FileFormatError, match="has weights but no model that chainrule wrote"):
        cr.load(tmp_path / "w.h5")


def test_dtypes_that_no_tensor_has(tmp_path: Path) -> None:
    with pytest.raises(DTypeError, match="'a' is of dtype"):
        save_weights(tmp_path / "w.h5", {"a": np.array(["text"])})
    assert not [*tmp_path.iterdir()]


def test_too_many_arrays_are_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(h5, "MOST_NAMES", 2)
    with pytest.raises(ArgumentError, match="takes 2 arrays, not 3"):
        save_weights(tmp_path / "w.h5", {name: np.ones(1) for name in "abc"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("chainrule", 3),
        ("chainrule", ["a", "b"]),
        ("chainrule", "00000000 {}"),
        ("chainrule", np.zeros(3, "u1")),
        ("bfloat16", "[3]"),
        ("bfloat16", "["),
        ("bfloat16", '["0.weight"]'),
        ("bfloat16", None),
    ],
)
def test_attributes_that_are_wrong(tmp_path: Path, name: str, value: Any) -> None:
    model = nn.Sequential(nn.Linear(2, 3))
    model.save(tmp_path / "m.h5")
    before = model.state_dict()["0.weight"].numpy().copy()
    with h5py.File(tmp_path / "m.h5", "a") as file:
        del file.attrs[name]
        if value is not None:
            file.attrs[name] = value
    for call in (cr.load, model.load_weights):
        with pytest.raises(FileFormatError, match=r"\[load_weights\] .*m\.h5"):
            call(tmp_path / "m.h5")
    assert (model.state_dict()["0.weight"].numpy() == before).all()


def test_links_are_not_followed(tmp_path: Path) -> None:
    nn.Sequential(nn.Linear(2, 3)).save(tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5", "a") as file:
        del file["0.weight"]
        file["0.weight"] = h5py.ExternalLink("other.h5", "/x")
    with pytest.raises(FileFormatError, match=r"'0\.weight' is a link that leads elsewhere"):
        cr.load(tmp_path / "m.h5")


def test_a_model_cut_or_changed_anywhere_is_an_error_or_the_same(tmp_path: Path) -> None:
    model, path = nn.Sequential(nn.Linear(2, 3)), tmp_path / "m.h5"
    model.save(path)
    whole = path.read_bytes()
    expected = {name: value.numpy() for name, value in model.state_dict().items()}
    for at in range(0, len(whole), 23):
        path.write_bytes(whole[:at])
        with pytest.raises(FileFormatError, match=r"m\.h5"):
            cr.load(path)
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        try:
            found = cr.load(path).state_dict()
        except FileFormatError:
            continue
        assert found.keys() == expected.keys() and all((found[n].numpy() == expected[n]).all() for n in expected)
