"""Files of Keras: read without Keras to the predictions Keras made; older versions."""

import json
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

import chainrule as cr
from chainrule import interop, nn
from chainrule.domain.errors import ArgumentError, FileFormatError, NotSupportedError, StateError

FIXTURES = Path(__file__).parent / "fixtures"
NETWORK = FIXTURES / "keras_3.15.1_functional.keras"
WHOLE = FIXTURES / "keras_3.15.1_sequential.h5"
ALONE = FIXTURES / "keras_3.15.1_sequential.weights.h5"
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def known():
    """Inputs, and what Keras predicted of them."""
    with np.load(FIXTURES / "keras_3.15.1.npz") as arrays:
        return dict(arrays)


def predicted(model, *inputs):
    with cr.no_grad():
        return model(*[cr.tensor(x) for x in inputs])


def close(a, b):
    np.testing.assert_allclose(a.numpy(), b, rtol=1e-5, atol=1e-5)


def draw(*shape):
    return RNG.standard_normal(shape).astype("float32")


def test_a_functional_model(known, tmp_path):
    model = interop.from_keras(NETWORK)
    assert not model.training and model.output_names == ("digit", "size")
    assert model.input_shapes == ((None, 8, 7, 2), (None, 6)) and model.input_dtypes == ("float32", "int64")
    digit, size = predicted(model, known["image"], known["words"])
    close(digit, known["digit"])
    close(size, known["size"])
    model.save(tmp_path / "ours.safetensors")
    again = predicted(cr.load(tmp_path / "ours.safetensors"), known["image"], known["words"])
    assert np.array_equal(again[0].numpy(), digit.numpy())


def test_it_goes_on_training(known):
    model = interop.from_keras(WHOLE)
    model.compile("mse", cr.optim.Adam(model.parameters(), lr=0.02))
    history = model.fit(known["steps"], -known["out"], epochs=30, verbose=0)
    assert history["loss"][-1] < history["loss"][0] / 2


def test_a_sequential_model(known):
    model = interop.from_keras(str(WHOLE))
    assert [name for name, _ in model.named_children()] == ["past", "leak", "gru", "out", "out_activation"]
    close(predicted(model, known["steps"]), known["out"])


def ours():
    """A model written by hand, with the names of Keras's layers."""
    past = nn.ChannelsLast(nn.Sequential(nn.Pad((2, 0)), nn.Conv1d(4, kernel_size=3)))
    gru = nn.GRU(3, batch_first=True)
    return nn.Sequential({"past": past, "leak": nn.LeakyReLU(0.1), "gru": gru, "out": nn.Linear(2), "tanh": nn.Tanh()})


@pytest.mark.parametrize("path", [WHOLE, ALONE])
@pytest.mark.parametrize("by_name", [True, False])
def test_weights_alone(path, by_name, known):
    model = ours()
    found = interop.load_keras_weights(model, path, by_name=by_name)
    assert found.missing == found.unexpected == []
    close(predicted(model.eval(), known["steps"]), known["out"])


@pytest.mark.parametrize("path", [WHOLE, ALONE])
def test_weights_that_do_not_fit(path):
    model = nn.Sequential({"gru": nn.GRU(4, 3), "gur": nn.Linear(2, 2)})
    before = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    with pytest.raises(StateError, match=r"missing: gur\n  unexpected: (past, out|out, past)"):
        interop.load_keras_weights(model, path)
    assert all(np.array_equal(value.numpy(), before[name]) for name, value in model.state_dict().items())
    found = interop.load_keras_weights(model, path, strict=False)
    assert found.missing == ["gur"] and sorted(found.unexpected) == ["out", "past"]
    model = nn.Sequential({"past": nn.Conv1d(3, 4, 3), "gru": nn.GRU(3, 3)})
    before = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    with pytest.raises(FileFormatError, match=r"kernel of the layer 'gru' has shape \(4, 9\), expected \(3, 9\)"):
        interop.load_keras_weights(model, path, strict=False)
    assert all(np.array_equal(value.numpy(), before[name]) for name, value in model.state_dict().items())
    with pytest.raises(FileFormatError, match="expected kernel"):
        interop.load_keras_weights(nn.Sequential({"gru": nn.GRU(4, 3, bias=False)}), path, strict=False)


# ---- files of older versions, in their words


def older(path, version, layers, weights, *, named="{}/{}:0"):
    """A file as Keras 1 and 2 write it: the config of a Sequential is a list, each layer has a group."""
    with h5py.File(path, "w") as root:
        if version is not None:
            root.attrs["keras_version"] = version
        config = [{"class_name": kind, "config": values} for kind, values in layers]
        root.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": config}).encode()
        groups = root.create_group("model_weights")
        groups.attrs["layer_names"] = [values["name"].encode() for _, values in layers]
        for _, values in layers:
            group = groups.create_group(values["name"])
            arrays = weights.get(values["name"], [])
            names = [named.format(values["name"], i) for i in range(len(arrays))]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, array in zip(names, arrays, strict=True):
                group[name] = array
    return path


def test_keras_2(tmp_path):
    kernel, bias, dense = draw(3, 2, 2, 4), draw(4), draw(24, 3)
    layers = [
        ("Conv2D", {"name": "c", "batch_input_shape": [None, 8, 6, 2], "filters": 4, "kernel_size": [3, 2], "strides": [2, 2],
                    "padding": "valid", "data_format": "channels_last", "activation": "hard_sigmoid"}),
        ("BatchNormalization", {"name": "b", "axis": -1, "epsilon": 0.5, "momentum": 0.9, "scale": True, "center": False}),
        ("MaxPooling2D", {"name": "m", "pool_size": [2, 1], "strides": [2, 1], "padding": "same"}),
        ("Flatten", {"name": "f"}),
        ("Dense", {"name": "d", "units": 3, "use_bias": False, "trainable": False, "activation": "softmax"}),
    ]  # fmt: skip
    gamma, mean, variance = draw(4), draw(4), abs(draw(4))
    weights = {"c": [kernel, bias], "b": [gamma, mean, variance], "d": [dense]}
    model = interop.from_keras(older(tmp_path / "m.h5", "2.1.6", layers, weights))
    x = draw(2, 8, 6, 2)
    h = np.zeros((2, 3, 3, 4))
    for i in range(3):
        for j in range(3):
            h[:, i, j] = np.einsum("nhwc,hwco->no", x[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 2], kernel) + bias
    h = (np.clip(0.2 * h + 0.5, 0, 1) - mean) / np.sqrt(variance + 0.5) * gamma
    h = np.stack([h[:, :2].max(1), h[:, 2]], axis=1).reshape(2, -1)
    y = np.exp(h @ dense)
    close(predicted(model, x), y / y.sum(1, keepdims=True))
    norm = next(model["b"].children())
    assert abs(norm.momentum - 0.1) < 1e-12 and not norm.bias.requires_grad and norm.weight.requires_grad
    assert not model["d"].weight.requires_grad


def test_a_recurrent_layer_before_keras_2_3(tmp_path):
    """Its gates are hard: 0.2 x + 0.5 from 0 to 1, in the order i, f, c, o."""
    w, u, b = draw(3, 8), draw(2, 8), draw(8)
    layers = [("LSTM", {"name": "r", "batch_input_shape": [None, 4, 3], "units": 2, "activation": "tanh",
                        "recurrent_activation": "hard_sigmoid", "use_bias": True})]  # fmt: skip
    model = interop.from_keras(older(tmp_path / "m.h5", "2.1.6", layers, {"r": [w, u, b]}))
    x = draw(2, 4, 3)
    h = c = np.zeros((2, 2))
    for t in range(4):
        i, f, g, o = np.split(x[:, t] @ w + h @ u + b, 4, axis=1)
        i, f, o = (np.clip(0.2 * v + 0.5, 0, 1) for v in (i, f, o))
        c = f * c + i * np.tanh(g)
        h = o * np.tanh(c)
    close(predicted(model, x), h)


def test_keras_1(tmp_path):
    kernel, bias, dense = draw(2, 3, 2, 4), draw(4), draw(20, 3)
    layers = [
        ("Convolution2D", {"name": "c_1", "batch_input_shape": [None, 3, 5, 2], "nb_filter": 4, "nb_row": 2, "nb_col": 3,
                           "border_mode": "same", "subsample": [1, 1], "dim_ordering": "tf", "activation": "relu"}),
        ("AveragePooling2D", {"name": "p_1", "pool_size": [3, 1], "strides": [3, 1], "border_mode": "valid",
                              "dim_ordering": "tf"}),
        ("Dropout", {"name": "o_1", "p": 0.25}),
        ("Flatten", {"name": "f_1"}),
        ("Dense", {"name": "d_1", "output_dim": 3, "bias": False, "activation": "linear"}),
    ]  # fmt: skip
    path = older(tmp_path / "m.h5", None, layers, {"c_1": [kernel, bias], "d_1": [dense]}, named="{}_W{}")
    model = interop.from_keras(path)
    assert model["o_1"].p == 0.25
    x = draw(2, 3, 5, 2)
    padded = np.pad(x, [(0, 0), (0, 1), (1, 1), (0, 0)])
    h = np.zeros((2, 3, 5, 4))
    for i in range(3):
        for j in range(5):
            h[:, i, j] = np.einsum("nhwc,hwco->no", padded[:, i : i + 2, j : j + 3], kernel) + bias
    close(predicted(model, x), np.maximum(h, 0).mean(1).reshape(2, -1) @ dense)


def test_doubles_stay_doubles(tmp_path):
    w = RNG.standard_normal((3, 2))
    layers = [("Dense", {"name": "d", "batch_input_shape": [None, 3], "units": 2, "use_bias": False})]
    model = interop.from_keras(older(tmp_path / "m.h5", "2.4.0", layers, {"d": [w]}))
    x = RNG.standard_normal((4, 3))
    assert model["d"].weight.dtype == "float64"
    np.testing.assert_allclose(predicted(model, x).numpy(), x @ w, rtol=1e-14)


def test_channels_first(tmp_path):
    kernel, dense = draw(2, 2, 3, 4), draw(24, 2)
    layers = [
        ("Conv2D", {"name": "c", "batch_input_shape": [None, 3, 3, 4], "filters": 4, "kernel_size": [2, 2], "use_bias": False,
                    "data_format": "channels_first"}),
        ("Flatten", {"name": "f", "data_format": "channels_first"}),
        ("Dense", {"name": "d", "units": 2, "use_bias": False}),
    ]  # fmt: skip
    model = interop.from_keras(older(tmp_path / "m.h5", "2.2.4", layers, {"c": [kernel], "d": [dense]}))
    x = draw(2, 3, 3, 4)
    h = np.zeros((2, 2, 3, 4))
    for i in range(2):
        for j in range(3):
            h[:, i, j] = np.einsum("nchw,hwco->no", x[:, :, i : i + 2, j : j + 2], kernel)
    close(predicted(model, x), h.reshape(2, -1) @ dense)


def functional(tmp_path, layers, ends, weights=(), version="2.3.1"):
    path = tmp_path / "f.h5"
    with h5py.File(path, "w") as root:
        root.attrs["keras_version"] = version
        config = {"name": "m", "layers": layers, "input_layers": [["x", 0, 0]], "output_layers": ends}
        root.attrs["model_config"] = json.dumps({"class_name": "Model", "config": config})
        groups = root.create_group("model_weights")
        groups.attrs["layer_names"] = [str(layer["name"]).encode() for layer in layers]
        for layer in layers:
            group = groups.require_group(layer["name"])
            arrays = dict(weights).get(layer["name"], [])
            group.attrs["weight_names"] = [f"w{i}".encode() for i in range(len(arrays))]
            for i, array in enumerate(arrays):
                group[f"w{i}"] = array
    return path


def step(name, kind, config, *nodes):
    return {"name": name, "class_name": kind, "config": {"name": name, **config}, "inbound_nodes": [*nodes]}


def test_a_functional_model_of_keras_2(tmp_path):
    w = draw(3, 3)
    layers = [
        step("x", "InputLayer", {"batch_input_shape": [None, 3], "dtype": "float32"}),
        step("sum", "Add", {}, [["d", 0, 0, {}], ["d", 1, 0, {}]]),  # its inputs come after it
        step("d", "Dense", {"units": 3, "use_bias": False, "activation": "tanh"}, [["x", 0, 0, {}]], [["d", 0, 0, {}]]),
    ]
    model = interop.from_keras(functional(tmp_path, layers, [["sum", 0, 0], ["d", 0, 0]], {"d": [w]}))
    x = draw(2, 3)
    a, b = predicted(model, x)
    once = np.tanh(x @ w)
    close(a, once + np.tanh(once @ w))
    close(b, once)
    assert [name for name, _ in model.named_parameters()] == ["d.weight"]


X = step("x", "InputLayer", {"batch_input_shape": [None, 3]})
BROKEN = {
    "circle": [X, step("a", "ReLU", {}, [["b", 0, 0, {}]]), step("b", "ReLU", {}, [["a", 0, 0, {}]])],
    "needs call 0 of 'nobody'": [X, step("b", "ReLU", {}, [["nobody", 0, 0, {}]])],
    "needs call 7": [X, step("b", "ReLU", {}, [["x", 7, 0, {}]])],
    "no value of a layer": [X, step("b", "ReLU", {}, [["x", -1, 0, {}]])],
    "no result 2": [X, step("b", "ReLU", {}, [["x", 0, 2, {}]])],
    "two layers of one name": [X, step("b", "ReLU", {}), step("b", "ReLU", {})],
    "has the shape": [
        step("x", "InputLayer", {"batch_input_shape": [None, "3"]}),
        step("b", "ReLU", {}, [["x", 0, 0, {}]]),
    ],
    "has the dtype": [
        step("x", "InputLayer", {"batch_input_shape": [None, 3], "dtype": "string"}),
        step("b", "ReLU", {}, [["x", 0, 0, {}]]),
    ],
    "describes none": [X, {"name": "n", "class_name": "ReLU"}],
    "called with nothing": [X, step("b", "ReLU", {})],
}


@pytest.mark.parametrize("said", BROKEN)
def test_graphs_that_make_no_sense(said, tmp_path):
    path = functional(tmp_path, BROKEN[said], [["b", 0, 0]])
    with pytest.raises(FileFormatError, match=said):
        interop.from_keras(path)


def test_layers_that_cannot_be_converted_are_told_at_once(tmp_path):
    layers = [
        ("Lambda", {"name": "l", "batch_input_shape": [None, 7, 3], "function": ["4wEAAAA=", None, None]}),
        ("ConvLSTM2D", {"name": "c"}),
        ("LSTM", {"name": "r", "units": 2, "activation": "exponential"}),
        ("Dense", {"name": "d", "units": 2, "activation": "os.system"}),
        ("GRU", {"name": "g", "units": 2, "stateful": True}),
    ]
    path = older(tmp_path / "th.h5", "1.2.2", [("Convolution2D", {"name": "c", "dim_ordering": "th"})], {})
    with pytest.raises(NotSupportedError, match='dim_ordering "th"'):
        interop.from_keras(path)
    path = older(tmp_path / "m.h5", "2.4.0", layers, {})
    with pytest.raises(NotSupportedError) as raised:
        interop.from_keras(path)
    text = str(raised.value)
    for part in (
        "5 layers",
        "Lambda 'l': the code in it is not run",
        "ConvLSTM2D 'c'",
        "exponential",
        "os.system",
        "stateful",
    ):
        assert part in text


# ---- written, and read again


@pytest.mark.parametrize("kind", ["keras", "h5"])
def test_what_is_written_is_read_again(known, kind, tmp_path):
    path = tmp_path / f"again.{kind}"
    model = interop.from_keras(WHOLE)
    interop.to_keras(model, path, input_shape=(5, 3))
    again = predicted(interop.from_keras(path), known["steps"])
    np.testing.assert_array_equal(again.numpy(), predicted(model, known["steps"]).numpy())
    graph = interop.from_keras(NETWORK)
    interop.to_keras(graph, path)
    inputs = known["image"], known["words"]
    for a, b in zip(predicted(interop.from_keras(path), *inputs), predicted(graph, *inputs), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_a_whole_model_in_hdf5_is_as_keras_has_it(tmp_path):
    model = nn.Sequential(
        {"a": nn.Linear(3, 4), "n": nn.BatchNorm1d(4), "r": nn.ReLU(), "b": nn.Linear(4, 2, bias=False)}
    )
    interop.to_keras(model.eval(), tmp_path / "m.h5", input_shape=(3,))
    with h5py.File(tmp_path / "m.h5") as root:
        assert json.loads(root.attrs["model_config"])["class_name"] == "Sequential"
        weights = root["model_weights"]
        assert weights.attrs["layer_names"].tolist() == [b"a", b"n", b"r", b"b"]
        names = {name: weights[name].attrs["weight_names"].tolist() for name in "anrb"}
        assert names == {
            "a": [b"a/kernel", b"a/bias"], "r": [], "b": [b"b/kernel"],
            "n": [b"n/gamma", b"n/beta", b"n/moving_mean", b"n/moving_variance"],
        }  # fmt: skip
        np.testing.assert_array_equal(weights["a/a/kernel"], model["a"].weight.numpy().T)


def test_weights_alone_are_written(tmp_path):
    model, other = (nn.Sequential({"a": nn.Linear(3, 4), "lstm": nn.Linear(4, 2)}) for _ in range(2))
    interop.to_keras(model, tmp_path / "m.weights.h5")
    for by_name in (True, False):
        interop.load_keras_weights(other, tmp_path / "m.weights.h5", by_name=by_name)
        for name, value in other.state_dict().items():
            np.testing.assert_array_equal(value.numpy(), model.state_dict()[name].numpy())
            value.copy_(cr.zeros_like(value))


def test_many_names_are_cut_into_several_attributes(tmp_path):
    """HDF5 holds 64 kB in an attribute."""
    model = nn.Sequential({f"layer_{'x' * 400}_{i}": nn.Linear(1, 1) for i in range(200)})
    interop.to_keras(model, tmp_path / "m.h5", input_shape=(1,))
    with h5py.File(tmp_path / "m.h5") as root:
        assert "layer_names0" in root["model_weights"].attrs and "layer_names" not in root["model_weights"].attrs
    x = draw(2, 1)
    again = predicted(interop.from_keras(tmp_path / "m.h5"), x)
    np.testing.assert_array_equal(again.numpy(), predicted(model.eval(), x).numpy())


def test_layers_stand_in_the_order_in_which_keras_numbers_them(tmp_path):
    """The farthest from the outputs first: Keras sorts them so, and its files know the layers of a class by number."""
    x = nn.Input((4,), name="x")
    near = nn.Linear(4, 3)(x, name="near")
    far = nn.Linear(5, 2)(nn.Linear(4, 5)(x, name="far"), name="end")
    model = nn.Graph(x, [near, far]).eval()
    interop.to_keras(model, tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        layers = json.loads(archive.read("config.json"))["config"]["layers"]
    assert [layer["name"] for layer in layers] == ["x", "far", "near", "end"]
    batch = draw(3, 4)
    for a, b in zip(predicted(interop.from_keras(tmp_path / "m.keras"), batch), predicted(model, batch), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_layers_that_cannot_be_written_are_told_at_once(tmp_path):
    path = tmp_path / "m.keras"
    x = nn.Input((4, 3))
    graph = nn.Graph(x, nn.GLU()(nn.LSTM(3, 4)(x)) ** 2)
    with pytest.raises(NotSupportedError, match=r"3 layers(.|\n)*batch_first(.|\n)*GLU(.|\n)*operator pow"):
        interop.to_keras(graph, path)
    with pytest.raises(NotSupportedError, match=r"1: MaxPool2d: with padding"):
        interop.to_keras(nn.Sequential(nn.ReLU(), nn.MaxPool2d(3, 2, 1)), path, input_shape=(3, 8, 8))
    with pytest.raises(ArgumentError, match="input_shape"):
        interop.to_keras(nn.Sequential(nn.ReLU()), path)
    with pytest.raises(ArgumentError, match="in .keras, .h5 or .weights.h5"):
        interop.to_keras(nn.Sequential(nn.ReLU()), tmp_path / "m.hdf", input_shape=(3,))
    with pytest.raises(ArgumentError, match="is a ReLU"):
        interop.to_keras(nn.ReLU(), path)
    assert not path.exists()
