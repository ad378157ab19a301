"""Files of the original systems, both ways: read here they predict what they did there, and ours do there what they do here.

The systems are fetched by ``pip``, unpacked, and run in a process of their own; where they cannot be, the tests are skipped.
"""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import losses, nn, optim
from chainrule.data.packages import pip
from chainrule.interop import load_convnet, load_mpnn, save_convnet, save_mpnn
from chainrule.io import load_json, save_json

PROGRAMS = Path(__file__).parent / "original"
pytestmark = pytest.mark.filterwarnings("ignore:.*no running statistics")
CLOSE = 1e-5


class Original:
    """One of the systems, unpacked, and a folder for files."""

    def __init__(self, name: str, version: str, folder: Path) -> None:
        options = ["--no-deps", "--quiet", "--disable-pip-version-check", "--dest", str(folder)]
        done = subprocess.run(
            [*pip(), "download", *options, f"{name}=={version}"], capture_output=True, text=True, timeout=300
        )
        if done.returncode:
            pytest.skip(f"{name} {version} cannot be fetched: {done.stderr.strip().splitlines()[-1:]}")
        for wheel in folder.glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(folder)
        self.path, self.files = folder, folder / "files"
        self.files.mkdir()

    def run(self, program: str, *arguments: str) -> None:
        path = os.pathsep.join([str(self.path), *sys.path])
        command = [
            sys.executable,
            "-W",
            "ignore",
            str(PROGRAMS / program),
            arguments[0],
            str(self.files),
            *arguments[1:],
        ]
        done = subprocess.run(
            command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr

    def array(self, name: str) -> Any:
        return np.load(self.files / f"{name}.npy")

    def give(self, name: str, x: Any) -> None:
        np.save(self.files / f"{name}_x.npy", x)


def unlike(found: Any, expected: Any) -> float:
    """The largest deviation; of predictions that differ among themselves."""
    found = found.detach().numpy() if isinstance(found, cr.Tensor) else found
    assert found.shape == expected.shape and found.dtype == expected.dtype and expected.std() > 0.03
    return float(abs(found - expected).max())


@pytest.fixture(scope="module")
def keydnn(tmp_path_factory: pytest.TempPathFactory) -> Original:
    system = Original("keydnn", "2.1.0", tmp_path_factory.mktemp("keydnn"))
    system.run("keydnn_files.py", "write")
    return system


def test_keydnn(keydnn: Original, record_property: Any) -> None:
    """All its types of layers, as it wrote them and as they are written again; cells and losses to the byte."""
    names, largest = ["mlp", "norm", "cnn", "rnn", "both"], 0.0
    for name in names:
        model, x = load_json(keydnn.files / f"{name}.json"), keydnn.array(f"{name}_x")
        expected = keydnn.array(f"{name}_found")
        largest = max(largest, unlike(model(cr.tensor(x)), expected))
        save_json(model, keydnn.files / f"{name}_ours.json")
        keydnn.give(f"{name}_ours", x)
    keydnn.run("keydnn_files.py", "read", *(f"{name}_ours" for name in names))
    for name in names:
        largest = max(largest, unlike(keydnn.array(f"{name}_ours_found"), keydnn.array(f"{name}_found")))
    save_json(load_json(keydnn.files / "rest.json"), keydnn.files / "rest_ours.json")
    assert (keydnn.files / "rest_ours.json").read_bytes() == (keydnn.files / "rest.json").read_bytes()
    record_property("largest_deviation", largest)
    assert largest < CLOSE


def test_models_of_ours_in_keydnn(keydnn: Original, record_property: Any) -> None:
    images = [
        nn.Conv2d(1, 8, 3, padding="same"),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.ConvTranspose2d(4, kernel_size=2, stride=2),
    ]
    images += [nn.AvgPool2d(3, 2, 1), nn.Flatten(), nn.Linear(10), nn.LayerNorm(), nn.Softmax()]
    both = nn.Bidirectional(nn.GRU(4, 5, reset_after=False), return_sequences=True)
    steps = [nn.LSTM(3, 4, return_sequences=True), both, nn.RNN(10, 3), nn.Linear(2), nn.LeakyReLU(0.3)]
    models = {"cnn": (nn.Sequential(images), (3, 1, 12, 12)), "rnn": (nn.Sequential(steps), (5, 4, 3))}
    for name, (model, shape) in models.items():
        x = np.random.default_rng(1).standard_normal(shape).astype("f")
        model.eval()(cr.tensor(x))
        save_json(model, keydnn.files / f"own_{name}.json")
        keydnn.give(f"own_{name}", x)
    keydnn.run("keydnn_files.py", "read", *(f"own_{name}" for name in models))
    largest = max(
        unlike(model(cr.tensor(keydnn.array(f"own_{name}_x"))), keydnn.array(f"own_{name}_found"))
        for name, (model, _) in models.items()
    )
    record_property("largest_deviation", largest)
    assert largest < CLOSE


@pytest.fixture(scope="module")
def convnet(tmp_path_factory: pytest.TempPathFactory) -> Original:
    system = Original("convnet", "2.5.3", tmp_path_factory.mktemp("convnet"))
    system.run("convnet_files.py", "write")
    return system


def test_convnet(convnet: Original, record_property: Any) -> None:
    """HDF5 and .npz; with SciPy it turns kernels about, without it does not."""
    names, largest = ["cnn.hdf5", "cnn_plain", "more", "mlp", "flat.hdf5"], 0.0
    for name in names:
        flipped, suffix = "_plain" not in name, "" if name.endswith(".hdf5") else ".npz"
        model, x = load_convnet(convnet.files / name, flipped=flipped), convnet.array(f"{name}_x")
        largest = max(largest, unlike(model(cr.tensor(x)), convnet.array(f"{name}_found")))
        save_convnet(model, convnet.files / f"ours_{name}{suffix}", flipped=flipped)
        convnet.give(f"ours_{name}", x)
    convnet.run("convnet_files.py", "read", *(f"ours_{name}" for name in names))
    for name in names:
        largest = max(largest, unlike(convnet.array(f"ours_{name}_found"), convnet.array(f"{name}_found")))
    record_property("largest_deviation", largest)
    assert largest < CLOSE


def test_models_of_ours_in_convnet(convnet: Original, record_property: Any) -> None:
    """With their channels first, which it gets last."""
    images = [
        nn.Conv2d(2, 3, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.BatchNorm2d(3),
        nn.Conv2d(4, kernel_size=(2, 3)),
    ]
    rest = [nn.Tanh(), nn.Flatten(), nn.Dropout(0.1), nn.Linear(6, activation="sigmoid"), nn.Linear(5), nn.Softmax()]
    model = nn.Sequential(images + rest)
    x = np.random.default_rng(1).standard_normal((4, 2, 9, 8)).astype("f")
    expected = model.eval()(cr.tensor(x)).detach().numpy()
    save_convnet(model, convnet.files / "own_plain.npz")
    convnet.give("own_plain", x.transpose(0, 2, 3, 1))
    convnet.run("convnet_files.py", "read", "own_plain")
    largest = unlike(convnet.array("own_plain_found"), expected)
    record_property("largest_deviation", largest)
    assert largest < CLOSE


@pytest.fixture(scope="module")
def mpnn(tmp_path_factory: pytest.TempPathFactory) -> Original:
    system = Original("mpneuralnetwork", "1.1.1", tmp_path_factory.mktemp("mpnn"))
    system.run("mpnn_files.py", "write")
    return system


def parameters(model: nn.Module) -> dict[str, Any]:
    return {name: p.detach().numpy().copy() for name, p in model.named_parameters()}


def remembered(model: nn.Module) -> dict[str, Any]:
    state = model.compiled.optimizer.state_dict()["state"]
    return {f"{name}.{what}": v.numpy() for name, values in state.items() for what, v in values.items()}


def apart(found: dict[str, Any], expected: dict[str, Any]) -> float:
    assert found.keys() == expected.keys()
    return max((float(abs(found[name] - expected[name]).max()) for name in found), default=0.0)


def test_mpneuralnetwork(mpnn: Original, record_property: Any) -> None:
    """Predictions, and after the next two steps of training the weights and all that the optimizer remembers."""
    names = ["norm_adam", "mlp_adam_l1", "mlp_rmsprop", "mlp_sgd", "cnn_sgd"]
    largest, steps = 0.0, 0.0
    for name in names:
        model, x, y = load_mpnn(mpnn.files / name), mpnn.array(f"{name}_x"), mpnn.array(f"{name}_y")
        largest = max(largest, unlike(model.predict(x), mpnn.array(f"{name}_found")))
        save_mpnn(model, mpnn.files / f"ours_{name}", input_shape=x.shape[1:] if x.ndim == 4 else None)
        for what, value in (("x", x), ("y", y)):
            np.save(mpnn.files / f"ours_{name}_{what}.npy", value)
        before = parameters(model)
        model.fit(x, y, epochs=2, batch_size=len(x), shuffle=False, verbose=0)
        after = load_mpnn(mpnn.files / f"{name}_after")
        assert apart(parameters(model), before) > 1e-3
        steps = max(steps, apart(parameters(model), parameters(after)), apart(remembered(model), remembered(after)))
    mpnn.run("mpnn_files.py", "read", *(f"ours_{name}" for name in names))
    for name in names:
        largest = max(largest, unlike(mpnn.array(f"ours_{name}_found"), mpnn.array(f"{name}_found")))
        ours, theirs = (load_mpnn(mpnn.files / f"{prefix}{name}_after") for prefix in ("ours_", ""))
        steps = max(steps, apart(parameters(ours), parameters(theirs)), apart(remembered(ours), remembered(theirs)))
    record_property("largest_deviation", largest)
    record_property("largest_deviation_after_two_steps", steps)
    assert largest < CLOSE and steps < CLOSE


OPTIMIZERS = {
    "adam": lambda p: optim.AdamW(p, 0.01, weight_decay=0.01, exempt=True),
    "sgd": lambda p: optim.SGD(p, 0.05, momentum=0.9, weight_decay=0.1, exempt=True),
    "rmsprop": lambda p: optim.RMSprop(p, 0.01, alpha=0.8, l1=0.1, exempt=True),
}


def test_models_of_ours_in_mpneuralnetwork(mpnn: Original, record_property: Any) -> None:
    """Made and trained here, trained on there and here."""
    largest, steps, models = 0.0, 0.0, {}
    rng = np.random.default_rng(1)
    for name, make in OPTIMIZERS.items():
        if name == "sgd":
            layers = [
                nn.Conv2d(2, 4, 3, padding=1),
                nn.BatchNorm2d(),
                nn.SiLU(),
                nn.MaxPool2d(3, 2),
                nn.Flatten(),
                nn.Linear(3),
            ]
            x, loss = rng.standard_normal((8, 2, 9, 9)).astype("f"), losses.CrossEntropy()
            model = nn.Sequential(*layers, nn.Softmax())
        else:
            x, loss = rng.standard_normal((8, 5)).astype("f"), losses.BCE() if name == "adam" else losses.CrossEntropy()
            head = nn.Sigmoid() if name == "adam" else nn.Softmax()
            model = nn.Sequential(nn.Linear(7, activation="tanh"), nn.Linear(1 if name == "adam" else 3), head)
        y = rng.integers(0, 2, (8, 1)).astype("f") if name == "adam" else np.eye(3, dtype="f")[rng.integers(0, 3, 8)]
        model(cr.tensor(x))
        model.compile(loss, make(model.parameters()))
        model.fit(x, y, epochs=3, batch_size=8, shuffle=False, verbose=0)
        save_mpnn(model, mpnn.files / f"own_{name}", input_shape=x.shape[1:] if x.ndim == 4 else None)
        for what, value in (("x", x), ("y", y)):
            np.save(mpnn.files / f"own_{name}_{what}.npy", value)
        models[name] = model, x, y, model.predict(x).numpy()
    mpnn.run("mpnn_files.py", "read", *(f"own_{name}" for name in models))
    for name, (model, x, y, predicted) in models.items():
        largest = max(largest, unlike(mpnn.array(f"own_{name}_found"), predicted))
        model.fit(x, y, epochs=2, batch_size=8, shuffle=False, verbose=0)
        after = load_mpnn(mpnn.files / f"own_{name}_after")
        pairs = zip(parameters(model).values(), parameters(after).values(), strict=True)
        steps = max(steps, *(float(abs(a - b).max()) for a, b in pairs))
    record_property("largest_deviation", largest)
    record_property("largest_deviation_after_two_steps", steps)
    assert largest < CLOSE and steps < CLOSE
