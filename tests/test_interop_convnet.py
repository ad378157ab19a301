"""Files of ConvNet: its own one, ours, what cannot be said, and files that are wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.domain.errors import ArgumentError, ChainruleError, FileFormatError, MissingFileError, NotSupportedError
from chainrule.interop import load_convnet, save_convnet
from chainrule.io.arrayfiles import read_h5, write_npz

pytestmark = pytest.mark.filterwarnings("ignore:.*has no running statistics")
CNN = Path(__file__).parent / "fixtures" / "nn_cnn_bn.hdf5"
RNG = np.random.default_rng(0)


def convolved(x: Any, w: Any, stride: int = 1, same: bool = True) -> Any:
    """What NumPy says of images (n, h, w, c) and a weight (h, w, in, out), padded as TensorFlow does."""
    kernel = w.shape[:2]
    if same:
        totals = [max((-(-n // stride) - 1) * stride + k - n, 0) for n, k in zip(x.shape[1:3], kernel, strict=True)]
        x = np.pad(x, ((0, 0), *((t // 2, t - t // 2) for t in totals), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel, (1, 2))[:, ::stride, ::stride]
    return np.einsum("nhwcij,ijcf->nhwf", windows, w)


def test_their_cnn_computes_what_numpy_computes() -> None:
    """Images with their channels last, flattened so; statistics are not in the file, so mean 0 and variance 1."""
    with pytest.warns(UserWarning, match="no running statistics for 3_BatchNorm2D: until the model has seen data"):
        model = load_convnet(CNN)
    a, x = read_h5(CNN, "[test]"), RNG.standard_normal((5, 28, 28, 1))
    y = np.maximum(convolved(x, a["0_Conv2D_W"]) + a["0_Conv2D_b"], 0).reshape(5, 14, 2, 14, 2, 4).max((2, 4))
    y = y / np.sqrt(1 + 1e-5) * a["3_BatchNorm2D_gamma"] + a["3_BatchNorm2D_beta"]
    y = np.maximum(y.reshape(5, -1) @ a["5_Dense_W"] + a["5_Dense_b"], 0) @ a["8_Dense_W"] + a["8_Dense_b"]
    found = model(cr.tensor(x, dtype="float64"))
    assert found.dtype == "float64", "as wide as the widest of the file"
    np.testing.assert_allclose(found.numpy(), y, rtol=1e-12, atol=1e-12)
    assert y.std() > 0.1 and not model.training
    narrow = load_convnet(CNN, dtype="float32")
    assert {p.dtype for p in narrow.parameters()} == {"float32"}
    np.testing.assert_allclose(narrow(cr.tensor(x, dtype="float32")).numpy(), y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("suffix", [".hdf5", ".npz"])
def test_there_and_back(tmp_path: Path, suffix: str) -> None:
    body = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(3, 1e-3, 0.2), nn.MaxPool2d(2, 1))
    model = nn.Sequential(nn.ChannelsLast(body), nn.Flatten(), nn.Linear(60, 4, activation="tanh"), nn.Softmax())
    x = cr.rand(6, 5, 6, 2)
    model(x)
    model.eval()
    save_convnet(model, tmp_path / f"m{suffix}")
    again = load_convnet(tmp_path / f"m{suffix}")
    np.testing.assert_array_equal(again(x).numpy(), model(x).detach().numpy())
    said = json.loads((tmp_path / "m.json").read_text())
    assert [
        entry["class"] for entry in said
    ] == "Conv2D Activation BatchNorm2D MaxPool2D Flatten Dense Activation Activation".split()
    assert said[0]["config"] == {"filters": 3, "kernel_size": [3, 3], "stride": 1, "padding": "same", "use_bias": True}
    assert said[2]["config"] == {"momentum": 0.8, "eps": 1e-3}
    assert said[3]["config"] == {"pool_size": [2, 2], "stride": 1}
    before = (tmp_path / f"m{suffix}").read_bytes()
    again.save(tmp_path / "m.safetensors")
    assert repr(cr.load(tmp_path / "m.safetensors")) == repr(again)
    if suffix == ".npz":
        save_convnet(again, tmp_path / f"m{suffix}")
        assert (tmp_path / f"m{suffix}").read_bytes() == before


def test_images_with_their_channels_first_are_written_in_the_order_of_theirs(tmp_path: Path) -> None:
    """The weights after Flatten change places; what is read takes the channels last."""
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.1), nn.Flatten(), nn.ReLU(), nn.Linear(4)
    ).eval()
    x = cr.randn(2, 2, 10, 8)
    expected = model(x).detach().numpy()
    save_convnet(model, tmp_path / "m.npz")
    again = load_convnet(tmp_path / "m.npz")
    np.testing.assert_allclose(
        again(cr.tensor(x.numpy().transpose(0, 2, 3, 1))).numpy(), expected, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(
    ("kernel", "stride", "size"),
    [((3, 3), 2, (7, 8)), ((2, 5), 3, (9, 9)), ((4, 1), 2, (5, 5)), ((2, 4), 1, (6, 7)), ((1, 1), 2, (5, 4))],
)
def test_same_is_that_of_tensorflow(tmp_path: Path, kernel: Any, stride: int, size: Any) -> None:
    entry = {
        "class": "Conv2D",
        "config": {"filters": 2, "kernel_size": kernel, "stride": stride, "padding": "same", "use_bias": False},
    }
    (tmp_path / "m.json").write_text(json.dumps([entry]))
    w, x = RNG.standard_normal((*kernel, 3, 2)), RNG.standard_normal((2, *size, 3))
    write_npz(tmp_path / "m.npz", {"0_Conv2D_W": w})
    model = load_convnet(tmp_path / "m.npz")
    np.testing.assert_allclose(model(cr.tensor(x)).numpy(), convolved(x, w, stride), rtol=1e-10, atol=1e-12)
    save_convnet(model, tmp_path / "again.npz")
    assert json.loads((tmp_path / "again.json").read_text()) == json.loads((tmp_path / "m.json").read_text())


def test_kernels_turned_about(tmp_path: Path) -> None:
    """As ConvNet 2 uses them with SciPy: of 3 by 3 and more, at stride 1."""
    layers = [nn.ChannelsLast(nn.Conv2d(1, 2, k, stride=s, bias=False)) for k, s in ((3, 1), ((2, 3), 1), (3, 2))]
    x = RNG.standard_normal((2, 9, 9, 1)).astype("f")
    for layer, turned in zip(layers, (True, False, False), strict=True):
        save_convnet(layer, tmp_path / "m.npz")
        w = layer.state_dict()["body.weight"].numpy().transpose(2, 3, 1, 0)
        found = load_convnet(tmp_path / "m.npz", flipped=True)(cr.tensor(x)).numpy()
        expected = convolved(x, w[::-1, ::-1] if turned else w, layer._layers["body"].stride[0], same=False)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
        save_convnet(layer, tmp_path / "turned.npz", flipped=True)
        again = load_convnet(tmp_path / "turned.npz", flipped=True)
        np.testing.assert_array_equal(again(cr.tensor(x)).numpy(), layer(cr.tensor(x)).detach().numpy())


def test_a_softmax_of_images_is_over_their_channels(tmp_path: Path) -> None:
    said = [
        {"class": "MaxPool2D", "config": {}},
        {"class": "Activation", "config": {"func": "softmax"}},
        {"class": "MaxPool2D", "config": {}},
    ]
    (tmp_path / "m.json").write_text(json.dumps(said))
    write_npz(tmp_path / "m.npz", {})
    x = RNG.standard_normal((2, 4, 4, 3))
    e = np.exp(x.reshape(2, 2, 2, 2, 2, 3).max((2, 4)))
    expected = (e / e.sum(-1, keepdims=True)).max((1, 2), keepdims=True)
    np.testing.assert_allclose(load_convnet(tmp_path / "m.npz")(cr.tensor(x)).numpy(), expected, rtol=1e-10)


def test_where_the_files_are(tmp_path: Path) -> None:
    """As ConvNet finds its own: BASE, BASE.hdf5, and BASE.hdf5.npz where h5py is missing."""
    model = nn.Sequential(nn.Linear(2, 3))
    x = cr.randn(4, 2)
    save_convnet(model, tmp_path / "v1.0.npz")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["v1.0.json", "v1.0.npz"]
    shutil.copy(tmp_path / "v1.0.npz", tmp_path / "w.hdf5.npz")
    shutil.copy(tmp_path / "v1.0.json", tmp_path / "w.json")
    for name in ("v1.0.npz", "v1.0", "w.hdf5", "w.hdf5.npz"):
        np.testing.assert_array_equal(load_convnet(tmp_path / name)(x).numpy(), model(x).detach().numpy())
    with pytest.raises(MissingFileError, match=r"\[load_convnet\] .*nowhere.hdf5 does not exist"):
        load_convnet(tmp_path / "nowhere.hdf5")
    (tmp_path / "w.json").unlink()
    with pytest.raises(MissingFileError, match="w.json, which says the layers of w.hdf5.npz, does not exist"):
        load_convnet(tmp_path / "w.hdf5")
    with pytest.raises(ArgumentError, match="ends in '.h5': ConvNet's files end in .hdf5 or .npz"):
        save_convnet(model, tmp_path / "w.h5")
    with pytest.raises(ArgumentError, match="unknown dtype of weights 'int8'"):
        load_convnet(tmp_path / "v1.0", dtype="int8")


LAST = nn.ChannelsLast


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.GELU()), "layer '0' is a GELU, which ConvNet has not"),
        (LAST(nn.Conv2d(2, 2, 3, groups=2)), r"layer 'body' \(Conv2d\) has groups=2; ConvNet has 1 alone"),
        (LAST(nn.Conv2d(2, 2, 3, stride=(1, 2))), r"has stride=\(1, 2\)"),
        (LAST(nn.Conv2d(2, 2, 3, stride=2, padding=1)), r"has padding=\(1, 1\) at stride 2; ConvNet has 'valid', and 'same'"),
        (LAST(nn.Conv2d(2, 2, 2, padding=1)), r"has padding=\(1, 1\) at stride 1"),
        (LAST(nn.MaxPool2d(2, ceil_mode=True)), "has ceil_mode=True"),
        (LAST(nn.BatchNorm2d(2, affine=False)), "has affine=False"),
        (LAST(nn.BatchNorm2d(2, momentum=None)), "has momentum=None"),
        (LAST(nn.Softmax()), "has axis=-1; ConvNet's is over the channels"),
        (LAST(nn.Flatten()), "stands in ChannelsLast, where it flattens channels first"),
        (LAST(nn.Linear(2, 2)), "takes the width of images as its features"),
        (nn.Sequential(nn.Linear(2, 2), nn.Softmax(temperature=2.0)), "has temperature=2.0"),
        (nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(2, 2)), "no layer before it says how many channels"),
        (nn.Sequential(nn.Conv2d(2, 2, 3)), "gives images, or such values, in an order that ConvNet does not"),
        (nn.Sequential(nn.Conv2d(2, 2, 3), nn.Flatten()), "in an order that ConvNet does not"),
        (nn.Sequential(nn.Conv2d(2, 2, 3), nn.Flatten(), nn.Linear(9, 1)), "has 9 inputs, which 2 channels do not divide"),
        (LAST(nn.Sequential(nn.SamePad(3, 2), nn.Conv2d(2, 2, 2, 2))), "at stride 2; ConvNet has 'valid', and 'same'"),
        (LAST(nn.Sequential(nn.SamePad(2, 2, value=1.0), nn.Conv2d(2, 2, 2, 2))), "has value=1.0"),
        (nn.Sequential(nn.SamePad(2, 2), nn.ReLU()), "is a ReLU, but a Conv2d has to follow SamePad"),
    ],
    ids=range(19),
)  # fmt: skip
def test_what_convnet_has_not(tmp_path: Path, model: nn.Module, message: str) -> None:
    with pytest.raises(NotSupportedError, match=rf"\[save_convnet\] .*m\.npz.*{message}"):
        save_convnet(model, tmp_path / "m.npz")
    assert list(tmp_path.iterdir()) == []


DENSE = [{"class": "Dense", "config": {"units": 3, "use_bias": True}}]
NORM = [{"class": "BatchNorm2D", "config": {}}]


@pytest.mark.parametrize(
    ("said", "arrays", "message"),
    [
        ({}, {}, "has a dict; expected a list of layers"),
        ([3], {}, r"layer 0 is 3; expected a dictionary with 'class'"),
        ([{"class": "Dens", "config": {}}], {}, "layer 0: unknown type 'Dens': did you mean 'Dense'"),
        ([{"class": "Dense", "config": 3}], {}, "layer 0 has the config 3"),
        ([{"class": "Dense", "config": {}}], {}, r"layer 0 \(Dense\): units is missing; expected a size"),
        ([{"class": "Dense", "config": {"units": True}}], {}, "units is True; expected a size"),
        ([{"class": "Dense", "config": {"units": 2**60}}], {}, "units is 1152921504606846976; expected a size"),
        ([{"class": "Dense", "config": {"units": 2, "unit": 3}}], {}, "unknown entry 'unit': did you mean 'units'"),
        ([{"class": "Dropout", "config": {"rate": 1}}], {}, "rate is 1; expected a number from 0 to below 1"),
        ([{"class": "Activation", "config": {"func": ["relu"]}}], {}, r"func is \['relu'\]; expected one of relu"),
        ([{"class": "Conv2D", "config": {"filters": 1, "kernel_size": [3]}}], {}, r"kernel_size is \[3\]; expected two sizes"),
        (DENSE, {}, r"lacks '0_Dense_W', of shape \(\?, 3\); it has nothing"),
        (DENSE, {"0_Dense_W": np.zeros((2, 3))}, r"lacks '0_Dense_b', of shape \(3,\); it has 0_Dense_W"),
        (DENSE, {"0_Dense_W": np.zeros((3, 2))}, r"'0_Dense_W' has the shape \(3, 2\), expected \(\?, 3\)"),
        (DENSE, {"0_Dense_W": np.zeros((0, 3))}, r"'0_Dense_W' has the shape \(0, 3\), expected \(\?, 3\)"),
        (DENSE, {"0_Dense_W": np.zeros((2, 3), int)}, "'0_Dense_W' has the dtype int64; expected one of float16"),
        (NORM, {"0_BatchNorm2D_gamma": np.zeros(2), "0_BatchNorm2D_beta": np.zeros(3)}, r"shape \(3,\), expected \(2,\)"),
        ([{"class": "Conv2D", "config": {"filters": 2**39}}], {"0_Conv2D_W": np.zeros((3, 3, 1, 1))}, r"expected \(3, 3, \?, "),
    ],
    ids=range(18),
)  # fmt: skip
def test_files_that_are_wrong(tmp_path: Path, said: Any, arrays: Any, message: str) -> None:
    (tmp_path / "m.json").write_text(json.dumps(said))
    write_npz(tmp_path / "m.npz", arrays)
    with pytest.raises(FileFormatError, match=rf"\[load_convnet\] .*m\.(json|npz).*{message}"):
        load_convnet(tmp_path / "m.npz")


def test_texts_cut_anywhere(tmp_path: Path) -> None:
    save_convnet(nn.Sequential(nn.Linear(2, 3), nn.ReLU()), tmp_path / "m.npz")
    whole = (tmp_path / "m.json").read_bytes()
    for text in (*(whole[:size] for size in range(len(whole))), b"[" * 100_000, b'[{"class": NaN}]'):
        (tmp_path / "m.json").write_bytes(text)
        with pytest.raises(ChainruleError, match=r"m\.json is cut short or damaged"):
            load_convnet(tmp_path / "m.npz")
