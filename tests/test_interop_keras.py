"""Files of Keras: read without Keras to the predictions Keras made; older versions; damaged files and files that do harm."""

import io
import json
import shutil
import zipfile
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import pytest

import chainrule as cr
from chainrule import interop, nn
from chainrule.domain.errors import ArgumentError, FileFormatError, MissingFileError, NotSupportedError, StateError

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


def test_what_is_written_is_read_again(known, tmp_path):
    path = tmp_path / "again.keras"
    model = interop.from_keras(WHOLE)
    interop.to_keras(model, path, input_shape=(5, 3))
    again = predicted(interop.from_keras(path), known["steps"])
    np.testing.assert_array_equal(again.numpy(), predicted(model, known["steps"]).numpy())
    graph = interop.from_keras(NETWORK)
    interop.to_keras(graph, path)
    inputs = known["image"], known["words"]
    for a, b in zip(predicted(interop.from_keras(path), *inputs), predicted(graph, *inputs), strict=True):
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
    with pytest.raises(ArgumentError, match="in .keras"):
        interop.to_keras(nn.Sequential(nn.ReLU()), tmp_path / "m.h5", input_shape=(3,))
    with pytest.raises(ArgumentError, match="is a ReLU"):
        interop.to_keras(nn.ReLU(), path)
    assert not path.exists()


# ---- files that are damaged, or made to do harm


def rewritten(tmp_path, change, name="r.keras"):
    """The archive with other members."""
    with zipfile.ZipFile(NETWORK) as archive:
        members = {n: archive.read(n) for n in archive.namelist()}
    change(members)
    with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as archive:
        for n, data in members.items():
            archive.writestr(n, data)
    return tmp_path / name


def test_files_that_are_none(tmp_path):
    with pytest.raises(MissingFileError, match="does not exist"):
        interop.from_keras(tmp_path / "none.keras")
    with pytest.raises(MissingFileError, match="SavedModel"):
        interop.from_keras(tmp_path)
    for data, said in [(b"", "empty"), (b"hello, this is no file", "neither"), (b"\x89HDF\r\n\x1a\n" + b"\0" * 99, "damaged"),
                       (b"PK\x03\x04", "zip")]:  # fmt: skip
        (tmp_path / "x").write_bytes(data)
        with pytest.raises(FileFormatError, match=said):
            interop.from_keras(tmp_path / "x")
    with pytest.raises(FileFormatError, match="weights without a model"):
        interop.from_keras(ALONE)
    with h5py.File(tmp_path / "x.h5", "w") as root:
        root["x"] = 1.0
    with pytest.raises(FileFormatError, match="no weights of Keras"):
        interop.load_keras_weights(nn.Linear(2), tmp_path / "x.h5")


@pytest.mark.parametrize("source", [NETWORK, WHOLE, ALONE], ids=lambda p: p.suffixes[-1])
def test_cut_short(source, tmp_path):
    data, model = source.read_bytes(), ours()
    for size in [*range(0, len(data) - 1, len(data) // 60 + 1), len(data) - 1]:
        path = tmp_path / source.name
        path.write_bytes(data[:size])
        with pytest.raises(FileFormatError, match="load_keras_weights|from_keras"):
            interop.load_keras_weights(model, path) if source == ALONE else interop.from_keras(path)
    assert not model.is_built


def test_archives_that_do_harm(tmp_path):
    def weights(change):
        def changed(members):
            file = io.BytesIO(members["model.weights.h5"])
            with h5py.File(file, "a") as root:
                change(root["layers"])
            members["model.weights.h5"] = file.getvalue()

        return changed

    def huge(layers):
        del layers["dense/vars/0"]
        layers.create_dataset("dense/vars/0", (1 << 20, 1 << 20), "f4", chunks=(1 << 10, 1 << 10))

    def late(layers):
        del layers["dense/vars/0"]
        layers.create_dataset("dense/vars/0", (1 << 20, 1 << 18), "f4")

    def elsewhere(layers):
        del layers["dense/vars/0"]
        layers["dense/vars/0"] = h5py.ExternalLink("/etc/passwd", "/x")

    def soft(layers):
        del layers["dense/vars"]
        layers["dense/vars"] = h5py.SoftLink("/layers/conv2d/vars")

    def outside(layers):
        del layers["dense/vars/0"]
        layers.create_dataset("dense/vars/0", (4,), "u1", external=[("/etc/passwd", 0, 4)])

    def references(layers):
        del layers["dense/vars/0"]
        layers.create_dataset("dense/vars/0", (2,), h5py.ref_dtype)

    def group(layers):
        del layers["dense/vars/0"]
        layers.create_group("dense/vars/0")

    def loop(layers):
        layers["dense/cell"] = layers["dense"]

    cases = [
        (weights(huge), "bytes in the file"), (weights(late), "bytes in the file"), (weights(elsewhere), "link to elsewhere"),
        (weights(soft), "link to elsewhere"), (weights(outside), "in another file"), (weights(references), "expected numbers"),
        (weights(group), "should be an array"), (weights(loop), "lie inside one another|damaged|too deep"),
        (lambda m: m.pop("config.json"), "without config.json"), (lambda m: m.pop("model.weights.h5"), "without model.weights"),
        (lambda m: m.update({"../x": b""}), "leads out"), (lambda m: m.update({"config.json": b"[" * 100_000}), "damaged"),
        (lambda m: m.update({"config.json": b'{"a": NaN}'}), "no number"),
        (lambda m: m.update({"config.json": b"[]"}), "describe"),
        (lambda m: m.update({"metadata.json": b'{"keras_version": "9.1"}'}), "is of Keras '9.1'"),
        (lambda m: m.update({"bomb": b"\0" * (1 << 22)}), None),
    ]  # fmt: skip
    for change, said in cases:
        path = rewritten(tmp_path, change)
        if said is None:  # what is not read does no harm
            interop.from_keras(path)
            continue
        with pytest.raises(FileFormatError, match=said):
            interop.from_keras(path)


def test_texts_that_may_be_one_and_the_same(tmp_path):
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as root:
        root.attrs["layer_names"] = ["d"] * 4000
        root.attrs.create("other", "x" * (1 << 20), dtype=h5py.string_dtype())
    with pytest.raises(FileFormatError, match="layer_names of / has 4000 elements of up to 10"):
        interop.load_keras_weights(nn.Linear(2), path)


def test_configs_that_do_harm(tmp_path):
    """Sizes are not believed before there are weights of them, and models do not go on inside models for ever."""

    def changed(kind, key, value):
        def change(members):
            config = json.loads(members["config.json"])
            for layer in config["config"]["layers"]:
                if layer["class_name"] == kind:
                    layer["config"][key] = value
            members["config.json"] = json.dumps(config).encode()

        return change

    for kind, key, value in [
        ("Dense", "units", 2**31 - 1), ("Dense", "units", 2**70), ("Dense", "units", -1), ("Dense", "units", "9"),
        ("Dense", "use_bias", 3), ("Conv2D", "filters", 10**9), ("Conv2D", "kernel_size", [10**9, 10**9]),
        ("Embedding", "input_dim", 10**9), ("GRU", "units", 10**8), ("GRU", "units", None), ("Conv2D", "strides", [0, 0]),
        ("BatchNormalization", "epsilon", "x"), ("InputLayer", "batch_shape", [None, 10**9, 10**9, 2]),
        ("Bidirectional", "layer", 3), ("Bidirectional", "layer", None), ("Concatenate", "axis", None),
    ]:  # fmt: skip
        path = rewritten(tmp_path, changed(kind, key, value))
        if kind in ("InputLayer", "Concatenate"):
            interop.from_keras(path)
            continue
        with pytest.raises(FileFormatError, match="Keras|expected|describe"):
            interop.from_keras(path)
    inner = {"class_name": "Sequential", "config": {"name": "s", "layers": []}}
    for _ in range(200):
        inner = {"class_name": "Sequential", "config": {"name": "s", "layers": [inner]}}
    with pytest.raises(FileFormatError, match="too deep"):
        interop.from_keras(rewritten(tmp_path, lambda m: m.update({"config.json": json.dumps(inner).encode()})))


def test_flipped_bytes(tmp_path):
    """A file with a byte changed is read, or refused as damaged."""
    path = tmp_path / WHOLE.name
    shutil.copy(WHOLE, path)
    data = bytearray(WHOLE.read_bytes())
    for at in RNG.integers(0, len(data), 60):
        old = data[at]
        data[at] ^= 1 << int(RNG.integers(8))
        path.write_bytes(data)
        data[at] = old
        with suppress(FileFormatError, NotSupportedError):
            interop.from_keras(path)
