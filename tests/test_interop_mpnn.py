"""Files of MPNeuralNetwork: its own one, ours, the next step of training, and files that are wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import losses, nn, optim
from chainrule.domain.errors import ArgumentError, FileFormatError, MissingFileError, NotSupportedError
from chainrule.interop import load_mpnn, save_mpnn
from chainrule.interop.per_sample import BCEOfSamples, MSEOfSamples
from chainrule.io.arrayfiles import write_npz

ADAM = Path(__file__).parent / "fixtures" / "mpnn_1.1.1_dense_bn_adam.npz"
RNG = np.random.default_rng(0)


def theirs(path: Path = ADAM) -> dict[str, Any]:
    return {name: np.asarray(a, float) if a.dtype.kind == "f" else a for name, a in np.load(path).items()}


def test_their_model_computes_what_numpy_computes() -> None:
    model, a, x = load_mpnn(ADAM), theirs(), RNG.standard_normal((6, 784))
    h = x @ a["layer_0_weights"]
    h = (h - a["layer_1_state_cache_m"]) / np.sqrt(a["layer_1_state_cache_v"] + 1e-8)
    y = np.maximum(h * a["layer_1_gamma"] + a["layer_1_beta"], 0) @ a["layer_4_weights"] + a["layer_4_biases"]
    e = np.exp(y - y.max(1, keepdims=True))
    np.testing.assert_allclose(model.predict(x.astype("f")).numpy(), e / e.sum(1, keepdims=True), rtol=1e-4, atol=1e-6)
    assert not model.training and model[1].momentum == 0.1 and model[3].p == 0.2
    assert repr(model.compiled.loss) == "CrossEntropy()"


def test_its_optimizer_makes_the_next_step() -> None:
    """The seventh of Adam, whose L2 shrinks the weights by lr times decay, and spares biases and norms."""
    model, a = load_mpnn(ADAM), theirs()
    optimizer = model.compiled.optimizer
    assert (optimizer.lr, [g["weight_decay"] for g in optimizer.param_groups]) == (1e-3, [1e-3, 0.0])
    places = {
        "0.weight": "layer_0_weights",
        "1.weight": "layer_1_gamma",
        "1.bias": "layer_1_beta",
        "4.weight": "layer_4_weights",
        "4.bias": "layer_4_biases",
    }
    expected = {}
    for ours, p in model.named_parameters():
        name = places[ours]
        g = RNG.standard_normal(a[name].shape)
        p.grad = cr.tensor(g.T.reshape(p.shape), dtype="float32")
        m = 0.9 * a[f"optimizer_momentums_{name}"] + 0.1 * g
        v = 0.999 * a[f"optimizer_velocities_{name}"] + 0.001 * g**2
        w = a[name] - 1e-3 * (m / (1 - 0.9**7)) / (np.sqrt(v / (1 - 0.999**7)) + 1e-8)
        expected[ours] = (w * (1 - 1e-6) if name.endswith("weights") else w).T.reshape(p.shape)
    optimizer.step()
    for ours, p in model.named_parameters():
        np.testing.assert_allclose(p.detach().numpy(), expected[ours], rtol=1e-5, atol=2e-7, err_msg=ours)
    assert {float(s["step"]) for s in optimizer.state_dict()["state"].values()} == {7}


def test_what_it_wrote_is_written_again(tmp_path: Path) -> None:
    save_mpnn(load_mpnn(ADAM), tmp_path / "again")
    before, after = np.load(ADAM), np.load(tmp_path / "again.npz")
    assert set(before) == set(after)
    for name in before:
        if before[name].dtype.kind == "f":
            assert before[name].dtype == after[name].dtype
            np.testing.assert_array_equal(before[name], after[name], err_msg=name)
    assert json.loads(str(before["model_config"])) == json.loads(str(after["model_config"]))
    first, again = (json.loads(str(f["architecture"])) for f in (before, after))
    for entry in again:
        entry.update({"initialization": "auto"} if "initialization" in entry else {})
    assert first == again


def trained(model: nn.Module, x: Any, y: Any, optimizer: Any, loss: Any) -> nn.Module:
    model(cr.tensor(x))
    model.compile(loss, optimizer(model.parameters()))
    model.fit(x, y, epochs=2, batch_size=8, shuffle=False, verbose=0)
    return model.eval()


OPTIMIZERS = [
    lambda p: optim.Adam(p, 0.01, (0.8, 0.99), 1e-6, weight_decay=0.1, decoupled=True, exempt=True),
    lambda p: optim.AdamW(p, 0.01, l1=0.1, weight_decay=0.0, exempt=True),
    lambda p: optim.SGD(p, 0.05, momentum=0.9, weight_decay=0.1, exempt=True),
    lambda p: optim.SGD(p, 0.05),
    lambda p: optim.RMSprop(p, 0.01, alpha=0.8, l1=0.1, exempt=True),
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=["adam", "adamw", "momentum", "sgd", "rmsprop"])
def test_training_goes_on_to_the_bit(tmp_path: Path, optimizer: Any) -> None:
    x, y = RNG.standard_normal((16, 5)).astype("f"), RNG.integers(0, 3, 16)
    layers = nn.Linear(5, 6, activation="relu"), nn.BatchNorm1d(), nn.Linear(3), nn.Softmax()
    model = trained(nn.Sequential(*layers), x, y, optimizer, "cross_entropy")
    save_mpnn(model, tmp_path / "m.npz")
    again = load_mpnn(tmp_path / "m.npz")
    np.testing.assert_array_equal(again.predict(x).numpy(), model.predict(x).numpy())
    for one in (model, again):
        one.fit(x, y, epochs=2, batch_size=8, shuffle=False, verbose=0)
    if "SGD" in repr(model.compiled.optimizer):  # velocities have the learning rate in them, rounded
        np.testing.assert_allclose(again.predict(x).numpy(), model.predict(x).numpy(), atol=2e-6)
    else:
        np.testing.assert_array_equal(again.predict(x).numpy(), model.predict(x).numpy())


def test_a_cnn(tmp_path: Path) -> None:
    """Images with their channels first, as here; the sizes of pooling are in our files."""
    layers = [nn.Conv2d(2, 4, 3, padding="same", bias=False), nn.BatchNorm2d(4, 1e-3), nn.SiLU(), nn.MaxPool2d(3, 2)]
    layers += [nn.LeakyReLU(0.1), nn.Conv2d(4, 3, 2, stride=2, padding=1), nn.Tanh(), nn.AvgPool2d(2, 1), nn.Flatten()]
    model = nn.Sequential(*layers, nn.Dropout(0.3), nn.Linear(2))
    x = RNG.standard_normal((4, 2, 11, 11)).astype("f")
    y = RNG.standard_normal((4, 2)).astype("f")
    model = trained(model, x, y, optim.SGD, "mse")
    with pytest.raises(ArgumentError, match=r"layer '0' \(Conv2d\) comes first: give input_shape="):
        save_mpnn(model, tmp_path / "m.npz")
    with pytest.raises(ArgumentError, match=r"has 2 in_channels, but input_shape is \(1, 11, 11\)"):
        save_mpnn(model, tmp_path / "m.npz", input_shape=(1, 11, 11))
    save_mpnn(model, tmp_path / "m.npz", input_shape=(2, 11, 11))
    again = load_mpnn(tmp_path / "m.npz")
    np.testing.assert_array_equal(again.predict(x).numpy(), model.predict(x).numpy())
    assert isinstance(again.compiled.loss, MSEOfSamples)
    assert again[0].bias is not None and not again[0].bias.detach().numpy().any(), "one of zeros"


def test_pooling_of_their_own_files_is_of_size_2_or_as_said(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(3), nn.Flatten(), nn.Linear(8, 1))
    save_mpnn(model, tmp_path / "m.npz", input_shape=(1, 8, 8))
    arrays = dict(np.load(tmp_path / "m.npz"))
    said = json.loads(str(arrays["architecture"]))
    assert said[1] == {"type": "MaxPooling2D", "pool_size": 3, "strides": 3}
    said[1] = {"type": "MaxPooling2D"}
    write_npz(tmp_path / "theirs.npz", {**arrays, "architecture": np.array(json.dumps(said))})
    with pytest.raises(
        FileFormatError, match=r"layer 3 \(Dense\) takes 8 inputs, but the layers before give \(18,\).*2 was taken"
    ):
        load_mpnn(tmp_path / "theirs.npz")
    x = cr.randn(2, 1, 8, 8)
    found = load_mpnn(tmp_path / "theirs.npz", pool_size=3)(x)
    np.testing.assert_array_equal(found.numpy(), model(x).detach().numpy())
    with pytest.raises(FileFormatError, match=r"layer 1 \(MaxPooling2D\) of size 9 is larger than its images"):
        load_mpnn(tmp_path / "theirs.npz", pool_size=9)


def test_losses_of_samples() -> None:
    x, t = RNG.standard_normal((4, 3)), RNG.random((4, 3))
    a, b = cr.tensor(x), cr.tensor(t)
    weight = cr.tensor([1.0, 0.0, 2.0, 0.5], dtype="float64")
    squares, entropies = (x - t) ** 2, np.logaddexp(0, x) - t * x
    for loss, expected in ((MSEOfSamples(), squares), (BCEOfSamples(), entropies)):
        assert loss(a, b).item() == pytest.approx(expected.sum() / 4, rel=1e-12)
        weighted = (expected * weight.numpy()[:, None]).sum() / 4
        assert loss(a, b, sample_weight=weight).item() == pytest.approx(weighted, rel=1e-12)
    model = nn.Sequential(nn.Linear(3, 2), nn.Sigmoid()).compile(BCEOfSamples(), "sgd")
    y = RNG.integers(0, 2, (4, 2)).astype("f")
    found = model.evaluate(x.astype("f"), y)["loss"]
    p = model.predict(x.astype("f")).numpy()
    assert found == pytest.approx(-(y * np.log(p) + (1 - y) * np.log(1 - p)).sum() / 4, rel=1e-5)


@pytest.mark.parametrize(
    ("model", "loss"),
    [
        (nn.Sequential(nn.Linear(2, 3), nn.Softmax()), "CategoricalCrossEntropy"),
        (nn.Sequential(nn.Linear(2, 3, activation="sigmoid")), "BinaryCrossEntropy"),
        (nn.Sequential(nn.Linear(2, 3)), "MSE"),
        (nn.Sequential(nn.Linear(2, 3), nn.Sigmoid()).compile(losses.BCE(), "sgd"), "BinaryCrossEntropy"),
        (nn.Sequential(nn.Linear(2, 3), nn.Softmax()).compile("mse", "sgd"), "MSE"),
        (nn.Sequential(nn.Linear(2, 3)).compile("cross_entropy", "rmsprop"), "CategoricalCrossEntropy"),
    ],
)
def test_the_loss_and_the_head(tmp_path: Path, model: nn.Module, loss: str) -> None:
    """A head that the loss stands for is not in the file, and back on what is read."""
    save_mpnn(model, tmp_path / "m.npz")
    arrays = np.load(tmp_path / "m.npz")
    assert json.loads(str(arrays["model_config"]))["loss"] == {"type": loss}
    assert len(json.loads(str(arrays["architecture"]))) == (
        2 if loss == "MSE" and len(list(model.children())) == 2 else 1
    )
    again, x = load_mpnn(tmp_path / "m.npz"), cr.randn(4, 2)
    expected = model(x).softmax(axis=1) if "rmsprop" in repr(model.__dict__.get("compiled")).lower() else model(x)
    np.testing.assert_allclose(again(x).numpy(), expected.detach().numpy(), rtol=1e-6)


BODY = nn.Linear(2, 2)


def compiled(loss: Any = "mse", optimizer: Any = "sgd", **options: Any) -> nn.Module:
    model = nn.Sequential(nn.Linear(2, 2))
    return model.compile(loss, optim.get(optimizer, model.parameters(), **options))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.GELU()), r"layer '0' \(GELU\) is nothing that MPNeuralNetwork has"),
        (nn.Sequential(nn.ReLU(), BODY), r"layer '0' \(ReLU\) comes first; MPNeuralNetwork begins with a Dense or"),
        (nn.Sequential(), "the model has no layers"),
        (nn.Sequential(BODY, nn.Conv2d(2, 2, (2, 3))), r"has kernel_size=\(2, 3\)"),
        (nn.Sequential(BODY, nn.Conv2d(2, 2, 2, padding="same")), "has padding='same'; MPNeuralNetwork pads evenly"),
        (nn.Sequential(BODY, nn.Conv2d(2, 2, 2, groups=2)), "has groups=2"),
        (nn.Sequential(BODY, nn.MaxPool2d(2, padding=1)), r"has padding=\(1, 1\)"),
        (nn.Sequential(BODY, nn.BatchNorm1d(2, affine=False)), "has affine=False"),
        (nn.Sequential(BODY, nn.BatchNorm1d(2, momentum=None)), "has momentum=None"),
        (nn.Sequential(BODY, nn.LeakyReLU(2.0)), "has negative_slope=2.0"),
        (nn.Sequential(BODY, nn.Softmax(temperature=2.0)), "the Softmax at the end has a temperature"),
        (nn.Sequential(BODY, nn.Softmax(2), nn.ReLU()), "has axis=2"),
        (compiled("mae"), r"the loss is MAE\(\)"),
        (compiled(losses.MSE("sum")), "the loss is MSE"),
        (compiled(losses.CrossEntropy(label_smoothing=0.1)), "the loss is CrossEntropy"),
        (compiled(optimizer="adagrad"), "has no Adagrad, only SGD, RMSprop and Adam"),
        (compiled(optimizer="sgd", momentum=0.9, nesterov=True), "SGD of MPNeuralNetwork has no nesterov"),
        (compiled(optimizer="adam", amsgrad=True), "Adam of MPNeuralNetwork has no amsgrad"),
        (compiled(optimizer="rmsprop", momentum=0.5), "RMSprop of MPNeuralNetwork has no momentum"),
        (compiled(optimizer="sgd", weight_decay=0.1), "spares biases and norms from weight decay"),
        (compiled(optimizer="adam", weight_decay=0.1, exempt=True), "has no weight_decay with decoupled=False"),
        (compiled(optimizer="sgd", weight_decay=0.1, l1=0.1, exempt=True), "has no weight_decay with l1"),
    ],
    ids=range(22),
)  # fmt: skip
def test_what_that_system_has_not(tmp_path: Path, model: nn.Module, message: str) -> None:
    with pytest.raises(NotSupportedError, match=rf"\[save_mpnn\] .*m\.npz.*{message}"):
        save_mpnn(model, tmp_path / "m.npz")
    assert list(tmp_path.iterdir()) == []
    if "MPNeuralNetwork has no" in message:
        save_mpnn(model, tmp_path / "m.npz", with_optimizer=False)


def config(**changes: Any) -> Any:
    """A change of the text ``model_config``."""
    return lambda arch, said: said.update(changes)


def entry(index: int, **changes: Any) -> Any:
    """A change of a layer."""
    return lambda arch, said: arch[index].update(changes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arch, said: arch.clear(), r"'architecture' is \[\]; expected a list of layers"),
        (lambda arch, said: arch.insert(0, 3), "layer 0 is 3; expected a dictionary with 'type'"),
        (entry(0, type="Dens"), "layer 0: unknown type 'Dens': did you mean 'Dense'"),
        (entry(0, output_size=-1), r"layer 0 \(Dense\): output_size is -1; expected a size"),
        (entry(0, output_size=2**39), r"'layer_0_weights' has the shape \(784, 16\), expected \(784, 549755813888\)"),
        (entry(0, input_size=783), r"'layer_0_weights' has the shape \(784, 16\), expected \(783, 16\)"),
        (entry(0, unit=3), "unknown entry 'unit'"),
        (entry(0, no_bias=False), "lacks 'layer_0_biases', of shape"),
        (entry(4, input_size=15), r"layer 4 \(Dense\) takes 15 inputs, but the layers before give \(16,\)"),
        (entry(1, epsilon=0), "epsilon is 0; expected a positive number"),
        (entry(3, probability=1.0), "probability is 1.0; expected a number from 0 to below 1"),
        (config(loss={"type": "MAE"}), "the loss: unknown type 'MAE'"),
        (config(loss=3), "loss is 3; expected a dictionary"),
        (config(optimizer={"type": "Adam"}), "learning_rate is missing"),
        (config(optimizer={"type": "Adam", "learning_rate": 0.1, "beta1": 1}), "beta1 is 1; expected a number from 0 to below"),
        (config(optimizer={"type": "SGD", "regularization": "L3"}), "regularization is 'L3'; expected one of L1, L2"),
        (config(optimizer_globals={"t": -1}), "t is -1; expected a number of steps"),
        (config(optimizer_globals={"u": 1}), "unknown entry 'u'"),
    ],
    ids=range(18),
)  # fmt: skip
def test_texts_that_are_wrong(tmp_path: Path, change: Any, message: str) -> None:
    arrays = dict(np.load(ADAM))
    arch, said = (json.loads(str(arrays[name])) for name in ("architecture", "model_config"))
    change(arch, said)
    arrays.update(architecture=np.array(json.dumps(arch)), model_config=np.array(json.dumps(said)))
    write_npz(tmp_path / "m.npz", arrays)
    with pytest.raises(FileFormatError, match=rf"^\[load_mpnn\] .*m\.npz.*{message}"):
        load_mpnn(tmp_path / "m.npz")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("architecture", None, "has no text 'architecture', as files of MPNeuralNetwork have"),
        ("model_config", np.zeros(3), "has no text 'model_config'"),
        ("model_config", np.array('{"loss": NaN}'), "'model_config' is cut short or damaged: NaN is no number of JSON"),
        ("architecture", np.array("[" * 99_999), "'architecture' is cut short or damaged"),
        ("layer_4_weights", None, "lacks 'layer_4_weights', of shape"),
        ("layer_4_weights", np.zeros((16, 10), int), "'layer_4_weights' has the dtype int64; expected float32"),
        ("layer_1_state_cache_v", None, "lacks 'layer_1_state_cache_v'"),
        ("optimizer_momentums_layer_4_biases", None, "lacks 'optimizer_momentums_layer_4_biases'"),
        ("optimizer_velocities_layer_4_biases", np.zeros((1, 9), "f"), r"has the shape \(1, 9\), expected \(1, 10\)"),
    ],
)
def test_arrays_that_are_wrong(tmp_path: Path, name: str, value: Any, message: str) -> None:
    arrays = dict(np.load(ADAM))
    arrays.pop(name)
    write_npz(tmp_path / "m.npz", arrays if value is None else {**arrays, name: value})
    with pytest.raises(FileFormatError, match=rf"^\[load_mpnn\] .*m\.npz.*{message}"):
        load_mpnn(tmp_path / "m.npz")


def test_a_convolution_that_it_did_not_save(tmp_path: Path) -> None:
    save_mpnn(nn.Sequential(nn.Conv2d(1, 2, 3)), tmp_path / "m.npz", input_shape=(1, 5, 5))
    arrays = dict(np.load(tmp_path / "m.npz"))
    del arrays["layer_0_kernels"], arrays["layer_0_biases"]
    said = str(arrays["architecture"]).replace('"no_bias": false', '"no_bias": true')
    write_npz(tmp_path / "m.npz", {**arrays, "architecture": np.array(said)})
    with pytest.raises(
        FileFormatError, match=r"has no bias, and so no kernels in the file: MPNeuralNetwork does not save"
    ):
        load_mpnn(tmp_path / "m.npz")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"\[load_mpnn\] .*nowhere.npz does not exist"):
        load_mpnn(tmp_path / "nowhere")
