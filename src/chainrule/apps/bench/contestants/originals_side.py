"""The side of earlier systems, in their released packages: KeyDNN 2.1.0, ConvNet 2.5.3, MPNeuralNetwork 1.1.1.

They train in float32 on mlp and cnn_small; each step is the one of their own ``fit``.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import sys
import types
from collections.abc import Iterable
from importlib import import_module
from typing import Any
from unittest.mock import MagicMock

import numpy as np

from .cases import Case, Job, UnavailableError, data, weights

RATE = 1e-3


class Original(Job):
    """Losses that have been read."""

    def array(self, x: Any) -> Any:
        """See Job."""
        return np.float64(x)


def version(spec: Any) -> str:
    """What runs. Errors: UnavailableError if it is not installed."""
    try:
        return f"{spec['side']} {importlib.metadata.version(spec['side'])}"
    except importlib.metadata.PackageNotFoundError as error:
        raise UnavailableError(f"{spec['side']} is not installed: name its folder, {spec['side']}@FOLDER") from error


def build(case: Case, spec: dict[str, Any], check: bool) -> Job:
    """The step of a case."""
    arrays = data(case, spec["scale"], "float32")
    labels = np.eye(10, dtype="float32")[arrays["y"]]
    return {"keydnn": keydnn, "convnet": convnet, "mpneuralnetwork": mpneuralnetwork}[spec["side"]](
        case.what, arrays["x"], labels, list(weights(case.what, "float32").values())
    )


def fill(arrays: Iterable[Any], values: list[Any]) -> None:
    """Copy weights into arrays, in order."""
    for array, value in zip(arrays, values, strict=True):
        array[...] = value.reshape(array.shape)


def keydnn(what: str, x: Any, y: Any, values: list[Any]) -> Job:
    """Layers as in PyTorch; the loss wants probabilities."""
    ctypes.windll = MagicMock()  # type: ignore[attr-defined]  # it is asked for at the import, on every system
    n, tensors = import_module("keydnn.layers"), import_module("keydnn.tensors")
    a = import_module("keydnn.infrastructure.activations._modules")

    def tensor(array: Any) -> Any:
        made = tensors.Tensor(array.shape, tensors.Device("cpu"))
        made.copy_from_numpy(array)
        return made

    if what == "mlp":
        layers = [n.Linear(784, 128), a.ReLU(), n.Linear(128, 10), a.Softmax()]
    else:
        layers = [n.Conv2d(1, 8, 3, padding=1), a.ReLU(), n.MaxPool2d(2), n.Flatten(), n.Linear(1568, 10), a.Softmax()]
    model = import_module("keydnn.models").Sequential(*layers)
    given, labels = tensor(x), tensor(y)
    model.build(given)
    for (_, parameter), value in zip(model.named_parameters(), values, strict=True):
        parameter.copy_from_numpy(value)
    optimizer = import_module("keydnn.optimizers").Adam(model.parameters(), lr=RATE)
    return Original(lambda: model.train_on_batch(given, labels, loss="cce", optimizer=optimizer)["loss"])


def convnet(what: str, x: Any, y: Any, values: list[Any]) -> Job:
    """Channels last, weights (in, out)."""
    sys.modules.setdefault("tqdm", types.SimpleNamespace(tqdm=None))  # type: ignore[arg-type]  # for bars alone
    n = import_module("convnet")
    if what == "mlp":
        layers = [n.Dense(128), n.Activation("relu"), n.Dense(10)]
        values = [v.T if v.ndim == 2 else v for v in values]
    else:
        layers = [n.Conv2D(8, (3, 3)), n.Activation("relu"), n.MaxPool2D(), n.Flatten(), n.Dense(10)]
        x = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
        dense = values[2].reshape(10, 8, 14, 14).transpose(2, 3, 1, 0).reshape(1568, 10)
        values = [values[0].transpose(2, 3, 1, 0), values[1], dense, values[3]]
    model = n.Model(layers)
    model.build(x.shape)
    model.compile("categorical_crossentropy", "adam", lr=RATE)
    left = iter(values)
    for layer in model.layers:
        layer.use_fft = False  # that forward turns kernels about, and its backward does not
        for name in layer.params:
            layer.params[name] = next(left)

    def step() -> Any:
        loss = model.loss.forward(model.forward(x, training=True), y)
        model.backward(model.loss.backward())
        model.optimizer.step(model._params_and_grads())
        return float(loss)

    return Original(step)


def mpneuralnetwork(what: str, x: Any, y: Any, values: list[Any]) -> Job:
    """Weights (in, out); the loss wants scores."""
    n, a = import_module("mpneuralnetwork.layers"), import_module("mpneuralnetwork.activations")
    losses, optimizers = import_module("mpneuralnetwork.losses"), import_module("mpneuralnetwork.optimizers")
    if what == "mlp":
        layers = [n.Dense(128, 784), a.ReLU(), n.Dense(10)]
    else:
        layers = [
            n.Convolutional(8, 3, (1, 28, 28), padding="same"),
            a.ReLU(),
            n.MaxPooling2D(),
            n.Flatten(),
            n.Dense(10),
        ]
    optimizer = optimizers.Adam(RATE, weight_decay=0.0)
    model = import_module("mpneuralnetwork.model").Model(layers, losses.CategoricalCrossEntropy(), optimizer)
    values = [v.T if v.ndim == 2 else v for v in values]
    fill((p for layer in model.layers for p, _ in getattr(layer, "params", {}).values()), values)

    def step() -> Any:
        scores, found = model.evaluate(x, y, training=True, compute_metrics=False)
        grad = model.loss.prime(scores, y)
        for layer in reversed(model.layers):
            grad = layer.backward(grad)
        optimizer.step(model.layers)
        return float(found["loss"])

    return Original(step)
