"""Files of MPNeuralNetwork: a model, its loss, and its optimizer in the middle of training, in one ``.npz``."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import losses, nn, optim
from ..domain.device import Device
from ..domain.errors import FileFormatError
from ..io.arrayfiles import read_npz, write_npz
from ..io.checkpoint import filled
from ..io.jsontext import parsed
from ..nn import Module
from ..train.compiled import compile
from .entries import complete, taken, typed
from .mpnn_layout import ACTIVATIONS, CONFIG, GLOBALS, HEADS, LAYERS, LOSSES, OPTIMIZERS, STATES
from .mpnn_writer import Writer, optimizer_of
from .per_sample import BCEOfSamples, MSEOfSamples


def load_mpnn(path: str | os.PathLike[str], *, pool_size: int = 2, device: str | Device | None = None) -> Module:
    """The model of a file, in evaluation mode and compiled: ``fit`` goes on where training stopped.

    It is a Sequential that ends, as MPNeuralNetwork's predictions do, in Softmax or Sigmoid if the loss is a cross-entropy.
    ``model.compiled`` has the loss (squared errors and binary cross-entropies of a sample are summed there) and the optimizer
    with what it remembers. Adam's L2 shrinks the weights before the step instead of after it: the difference is of the order
    of ``lr² · weight_decay``. PReLU learns nothing there and comes as LeakyReLU. Its own files lack the sizes and
    strides of pooling, which its loader takes for 2: ``pool_size`` says another. Running variances go on as unbiased ones.
    Errors: MissingFileError; FileFormatError.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     save_mpnn(nn.Sequential(nn.Linear(2, 3), nn.Softmax()), f"{folder}/model.npz")
    ...     model = load_mpnn(f"{folder}/model.npz")
    >>> model
    Sequential(
      (0): Linear(in_features=2, out_features=3)
      (1): Softmax()
    )
    >>> model.compiled.loss
    CrossEntropy()
    """
    file = Path(path) if str(path).endswith(".npz") else Path(f"{path}.npz")
    where = f"[load_mpnn] {file}"
    arrays = read_npz(file, where)
    config = complete(_text(arrays, "model_config", where), CONFIG, f"{where}: 'model_config'")
    loss, _ = typed(config["loss"], "type", LOSSES, f"{where}: the loss")
    said = _text(arrays, "architecture", where)
    if not isinstance(said, list) or not said:
        raise FileFormatError(f"{where}: 'architecture' is {repr(said)[:200]}; expected a list of layers")
    reader = Reader(arrays, pool_size, where)
    try:
        for index, entry in enumerate(said):
            reader.add(index, *typed(entry, "type", LAYERS, f"{where}: layer {index}"))
        head, make = HEADS.get(loss, ("", None))
        if make is not None and reader.last != head:
            reader.layers.append(make())
        model = filled(nn.Sequential(reader.layers), reader.state, where, device)
    except (TypeError, ValueError, OverflowError, MemoryError) as error:
        if isinstance(error, FileFormatError):
            raise
        raise FileFormatError(f"{where} has a layer that cannot be made: {error}") from error
    return _compiled(model, loss, config, reader, where)


def save_mpnn(
    model: Module,
    path: str | os.PathLike[str],
    *,
    input_shape: tuple[int, int, int] | None = None,
    with_optimizer: bool = True,
) -> None:
    """Write a model as MPNeuralNetwork can load it, and go on training it if ``model`` is compiled.

    A model that begins with a Conv2d needs ``input_shape``, (channels, height, width). Values are stored as float32. The loss
    is that of ``compile``, or suits the last layer; that system sums squared errors and binary cross-entropies over the
    outputs of a sample, and gives probabilities where the loss is a cross-entropy. A Conv2d without a bias is written with one
    of zeros, as that system loses kernels without. Weight decay has to spare biases and norms (``exempt=True``), and in Adam be
    decoupled. ``with_optimizer=False`` leaves the optimizer out. Errors: NotSupportedError for what that system has not
    (``model.save`` writes every model); ArgumentError; NotBuiltError; FileWriteError.
    """
    target = Path(path) if str(path).endswith(".npz") else Path(f"{path}.npz")
    writer = Writer(f"[save_mpnn] {path}", input_shape)
    writer.add(model, "")
    plan = getattr(model, "compiled", None)
    loss = writer.close(None if plan is None else plan.loss)
    found = optimizer_of(plan.optimizer, writer) if plan is not None and with_optimizer else None
    write_npz(target, writer.arrays_with(loss, found), compressed=True)


def _text(arrays: Mapping[str, Any], name: str, where: str) -> Any:
    """What one of the two texts says. Errors: FileFormatError."""
    text = arrays.get(name)
    if text is None or text.dtype.kind != "U" or text.shape:
        raise FileFormatError(f"{where} has no text {name!r}, as files of MPNeuralNetwork have")
    return parsed(str(text), f"{where}: {name!r}")


def _compiled(model: Module, loss: str, config: dict[str, Any], reader: Reader, where: str) -> Module:
    """The model with its loss, and its optimizer as it was."""
    given = config["optimizer"]
    entry = {"type": given} if isinstance(given, str) else given
    kind, options = typed(entry, "type", OPTIMIZERS, f"{where}: the optimizer")
    steps = complete(config["optimizer_globals"], GLOBALS, f"{where}: 'optimizer_globals'")["t"]
    lr, decay = options["learning_rate"], options["weight_decay"]
    penalty: Any = {"exempt": True} if decay else {}
    if decay and options["regularization"] == "L1":
        penalty["l1"] = decay
    elif decay:
        penalty["weight_decay"] = decay
    parameters = model.parameters()
    optimizer: optim.Optimizer
    if kind == "SGD":
        optimizer = optim.SGD(parameters, lr, options["momentum"], **penalty)
    elif kind == "RMSprop":
        optimizer = optim.RMSprop(parameters, lr, options["decay_rate"], options["epsilon"], **penalty)
    else:
        betas = options["beta1"], options["beta2"]
        optimizer = optim.Adam(parameters, lr, betas, options["epsilon"], decoupled=bool(decay), **penalty)
    state: dict[str, Any] = {}
    for place, _ in model.named_parameters():
        values = {ours: reader.remembered(kind, place, theirs) for theirs, ours in STATES[kind].items()}
        if kind == "SGD":  # velocities have the learning rate in them
            values = {
                ours: -v / np.float32(lr) for ours, v in values.items() if v is not None and lr and options["momentum"]
            }
        if any(v is not None for v in values.values()):
            state[place] = {**values, **({"step": np.array(float(steps))} if kind == "Adam" else {})}
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    kinds: dict[str, Any] = {"MSE": MSEOfSamples, "BinaryCrossEntropy": BCEOfSamples}
    compile(model, kinds.get(loss, losses.CrossEntropy)(), optimizer)
    return model


class Reader:
    """Makes the layers, gathers the state they are to have, and follows the shape of a sample where it is known."""

    def __init__(self, arrays: Mapping[str, Any], pool_size: int, where: str) -> None:
        self.arrays, self.pool_size, self.where = arrays, pool_size, where
        self.layers: list[Module] = []
        self.state: dict[str, Any] = {}
        self.places: dict[str, tuple[str, Any]] = {}  # by our names: theirs, and what brings values into our shape
        self.shape: tuple[int, ...] | None = None
        self.last = ""
        self._hint = f"such files lack the sizes and strides of pooling; {pool_size} was taken, pool_size= says another"

    def add(self, index: int, name: str, config: dict[str, Any]) -> None:
        """A layer with what the file has of it. Errors: FileFormatError."""
        at = f"{self.where}: layer {index} ({name})"
        self.last = name
        if name in ACTIVATIONS:
            self.layers.append(ACTIVATIONS[name]())
        elif name == "PReLU":
            self.layers.append(nn.LeakyReLU(config["alpha"]))
        elif name == "Softmax":
            self.layers.append(
                nn.Softmax(1, config["temperature"] + config["epsilon"] if config["temperature"] != 1 else 1)
            )
        elif name == "Dropout":
            self.layers.append(nn.Dropout(config["probability"]))
        elif name == "Flatten":
            self.layers.append(nn.Flatten())
            self.shape = self.shape and (math.prod(self.shape),)
        elif name == "Dense":
            self._dense(index, config, at)
        elif name == "Convolutional":
            self._convolution(index, config, at)
        elif name.startswith("BatchNormalization"):
            self._norm(index, config, name.endswith("2D"))
        else:
            self._pool(config, nn.MaxPool2d if name == "MaxPooling2D" else nn.AvgPool2d, at)

    def _dense(self, index: int, config: dict[str, Any], at: str) -> None:
        inputs, outputs = config["input_size"], config["output_size"]
        if self.shape is not None and inputs is not None and math.prod(self.shape) != inputs:
            raise FileFormatError(f"{at} takes {inputs} inputs, but the layers before give {self.shape}: {self._hint}")
        weight = self._put(index, "weights", "weight", (inputs, outputs), lambda a: a.T)
        if not config["no_bias"]:
            self._put(index, "biases", "bias", (1, outputs), lambda a: a[0])
        self.layers.append(nn.Linear(weight.shape[1], outputs, not config["no_bias"]))
        self.shape = (outputs,)

    def _convolution(self, index: int, config: dict[str, Any], at: str) -> None:
        kernel, stride, outputs = config["kernel_size"], config["stride"], config["output_depth"]
        image, words = config["input_shape"], {"valid": 0, "same": (kernel - 1) // 2}
        if self.shape is not None and image is not None and self.shape != tuple(image):
            raise FileFormatError(f"{at} takes {tuple(image)}, but the layers before give {self.shape}: {self._hint}")
        if config["no_bias"] and f"layer_{index}_kernels" not in self.arrays:
            raise FileFormatError(
                f"{at} has no bias, and so no kernels in the file: MPNeuralNetwork does not save them then"
            )
        padding = words.get(config["padding"], config["padding"])
        channels = image[0] if image else None
        weight = self._put(index, "kernels", "weight", (outputs, channels, kernel, kernel), lambda a: a)
        if not config["no_bias"]:
            self._put(index, "biases", "bias", (outputs,), lambda a: a)
        self.layers.append(nn.Conv2d(weight.shape[1], outputs, kernel, stride, padding, bias=not config["no_bias"]))
        known = tuple(image) if image else self.shape
        self.shape = known and (outputs, *((n + 2 * padding - kernel) // stride + 1 for n in known[1:]))

    def _norm(self, index: int, config: dict[str, Any], images: bool) -> None:
        shape = (1, None, 1, 1) if images else (1, None)
        gamma = self._put(index, "gamma", "weight", shape, np.ravel)
        whole = (1, gamma.size, *shape[2:])
        self._put(index, "beta", "bias", whole, np.ravel)
        for theirs, ours in (("state_cache_m", "running_mean"), ("state_cache_v", "running_var")):
            self._put(index, theirs, ours, whole, np.ravel)
        self.state[f"{len(self.layers)}.num_batches_tracked"] = np.array(0)
        kind = nn.BatchNorm2d if images else nn.BatchNorm1d
        self.layers.append(kind(gamma.size, config["epsilon"], round(1 - config["momentum"], 12)))

    def _pool(self, config: dict[str, Any], kind: Any, at: str) -> None:
        size = config["pool_size"] or self.pool_size
        stride = config["strides"] or size
        self.layers.append(kind(size, stride))
        if self.shape is not None:
            self.shape = (self.shape[0], *((n - size) // stride + 1 for n in self.shape[1:]))
            if min(self.shape) < 1:
                raise FileFormatError(f"{at} of size {size} is larger than its images: {self._hint}")

    def _put(self, index: int, theirs: str, ours: str, shape: tuple[int | None, ...], turned: Any) -> Any:
        """Take an array of the file for a parameter of the layer that comes next."""
        name, place = f"layer_{index}_{theirs}", f"{len(self.layers)}.{ours}"
        array = turned(self._floats(name, shape))
        self.state[place] = np.ascontiguousarray(array, np.float32)
        self.places[place] = name, turned
        return self.state[place]

    def remembered(self, kind: str, place: str, what: str) -> Any:
        """What an optimizer remembers of a parameter, in our shape; None if it has not met it. Errors: FileFormatError."""
        name, turned = self.places[place]
        if not any(f"optimizer_{one}_{name}" in self.arrays for one in STATES[kind]):
            return None
        array = self._floats(f"optimizer_{what}_{name}", self.arrays[name].shape)
        return np.ascontiguousarray(turned(array), np.float32)

    def _floats(self, name: str, shape: tuple[int | None, ...]) -> Any:
        array = taken(self.arrays, name, shape, self.where)
        if array.dtype.kind != "f":
            raise FileFormatError(f"{self.where}: {name!r} has the dtype {array.dtype}; expected float32")
        return array
