"""Keras's side, on JAX: ``train_on_batch`` and ``fit``. Pictures are channels last, as its users have them."""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "jax"
os.environ["JAX_PLATFORMS"] = "cpu"

from typing import Any

import jax
import keras
import numpy as np

from .cases import BATCH, Case, Job, data, weights


class Keras(Job):
    """Losses that have been read."""

    def array(self, x: Any) -> Any:
        """See Job."""
        return np.asarray(x)


def version(spec: Any) -> str:
    """What runs."""
    keras.backend.set_floatx(spec["dtype"])
    if spec["dtype"] == "float64":
        jax.config.update("jax_enable_x64", True)
    return f"keras {keras.__version__} on jax {jax.__version__}"


def network(what: str, dtype: str, check: bool) -> Any:
    """The model of a case, with the weights that all begin with; without Dropout if results are compared."""
    layers, picture = keras.layers, (28, 28, 1)
    if what == "mlp":
        parts = [keras.Input((784,)), layers.Dense(128, "relu"), layers.Dense(10)]
    elif what == "cnn_small":
        parts = [keras.Input(picture), layers.Conv2D(8, 3, padding="same", activation="relu"), layers.MaxPooling2D()]
        parts += [layers.Flatten(), layers.Dense(10)]
    else:
        parts = [keras.Input(picture)]
        for width in (32, 64):
            parts += [layers.Conv2D(width, 3, padding="same"), layers.BatchNormalization(momentum=0.9, epsilon=1e-5)]
            parts += [layers.ReLU(), layers.MaxPooling2D()]
        parts += [layers.Flatten(), layers.Dense(128, "relu"), layers.Dropout(0.0 if check else 0.5), layers.Dense(10)]
    model = keras.Sequential(parts)
    values = [turned(name, a, what) for name, a in weights(what, dtype).items()]
    for variable, value in zip(model.trainable_variables, values, strict=True):
        variable.assign(value)
    return model


def turned(name: str, a: Any, what: str) -> Any:
    """A weight in the layout of Keras: (in, out), kernels before channels, rows of a flat picture channels last."""
    if a.ndim == 4:
        return a.transpose(2, 3, 1, 0)
    flat = {("cnn_small", "4.weight"): (8, 14, 14), ("cnn_bn", "9.weight"): (64, 7, 7)}.get((what, name))
    if flat:
        a = a.reshape(-1, *flat).transpose(0, 2, 3, 1).reshape(len(a), -1)
    return a.T if a.ndim == 2 else a


def build(case: Case, spec: dict[str, Any], check: bool) -> Job:
    """The step of a case."""
    arrays = data(case, spec["scale"], spec["dtype"])
    x, y = arrays["x"], arrays["y"]
    model = network(case.what, spec["dtype"], check)
    if x.ndim == 4:
        x = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    model.compile(
        keras.optimizers.Adam(1e-3, epsilon=5e-10),  # added before the correction of the bias
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"] if case.job == "fit" else None,
    )
    if case.job == "train":
        return Keras(lambda: model.train_on_batch(x, y))
    if check:
        x, y = x[: 10 * BATCH[case.what]], y[: 10 * BATCH[case.what]]

    def epoch() -> Any:
        history = model.fit(x, y, batch_size=BATCH[case.what], shuffle=not check, verbose=0 if check else 1)
        return [history.history["loss"][-1]]

    return Keras(epoch)
