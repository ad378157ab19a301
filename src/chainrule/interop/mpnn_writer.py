"""From a model to what the files of MPNeuralNetwork say."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import losses, nn, optim
from ..domain.errors import ArgumentError, NotSupportedError
from ..nn import Module
from .mpnn_layout import HEADS, STATES

REMEDY = "model.save(path) can write every model"
SIZED = {"initialization": "xavier"}  # with "auto" that system would choose again whether there are biases


class Writer:
    """Gathers the layers of a model and their arrays."""

    def __init__(self, where: str, input_shape: tuple[int, int, int] | None) -> None:
        self.where, self.input_shape = where, input_shape
        self.layers: list[dict[str, Any]] = []
        self.arrays: dict[str, Any] = {}
        self.places: dict[
            str, tuple[str, Callable[[Any], Any]]
        ] = {}  # by our names: theirs, and what makes their shape

    def add(self, module: Module, path: str) -> None:
        """A layer, or those of a Sequential. Errors: NotSupportedError."""
        if type(module) is nn.Sequential:
            for name, child in module.named_children():
                self.add(child, f"{path}.{name}" if path else name)
            return
        where = f"{self.where}: layer {path!r} ({type(module).__name__})"
        write = WRITERS.get(type(module))
        if write is None:
            raise NotSupportedError(f"{where} is nothing that MPNeuralNetwork has; {REMEDY}")
        if not self.layers and type(module) not in (nn.Linear, nn.Conv2d):
            raise NotSupportedError(f"{where} comes first; MPNeuralNetwork begins with a Dense or Convolutional layer")
        write(self, module, path, where)

    def put(self, kind: str, **config: Any) -> None:
        """A layer of theirs."""
        self.layers.append({"type": kind, **config})

    def array(self, module: Any, path: str, ours: str, theirs: str, turned: Callable[[Any], Any]) -> None:
        """An array of the layer that comes next."""
        name = f"layer_{len(self.layers)}_{theirs}"
        self.arrays[name] = np.ascontiguousarray(turned(getattr(module, ours).detach().numpy()), np.float32)
        self.places[f"{path}.{ours}" if path else ours] = name, turned

    def only(self, layer: Any, where: str, **allowed: Any) -> None:
        """Raise NotSupportedError if an argument of a layer is none that their file can say."""
        for name, value in allowed.items():
            found = getattr(layer, name)
            if found != value:
                raise NotSupportedError(f"{where} has {name}={found!r}; MPNeuralNetwork has {value!r} alone; {REMEDY}")

    def close(self, loss: Any) -> str:
        """Their name of the loss, after the last layer; a head that it stands for is taken off. Errors: NotSupportedError."""
        if not self.layers:
            raise NotSupportedError(f"{self.where}: the model has no layers")
        last = self.layers[-1]["type"]
        suiting = next((name for name, (head, _) in HEADS.items() if head == last), "MSE")
        name = suiting if loss is None else self._loss(loss)
        if name in HEADS and HEADS[name][0] == last:
            if self.layers[-1].get("temperature", 1.0) != 1.0:
                raise NotSupportedError(
                    f"{self.where}: the Softmax at the end has a temperature, which MPNeuralNetwork would forget; {REMEDY}"
                )
            self.layers.pop()
        return name

    def _loss(self, loss: Any) -> str:
        plain = getattr(loss, "reduction", None) == "mean" and getattr(loss, "weight", None) is None
        if plain and not getattr(loss, "label_smoothing", 0.0) and getattr(loss, "pos_weight", None) is None:
            if isinstance(loss, losses.MSE):
                return "MSE"
            if isinstance(loss, (losses.BCE, losses.BCEWithLogits)):
                return "BinaryCrossEntropy"
            if isinstance(loss, (losses.CrossEntropy, losses.CategoricalCrossEntropy)):
                return "CategoricalCrossEntropy"
        raise NotSupportedError(
            f"{self.where}: the loss is {loss!r}; MPNeuralNetwork has MSE, BCE and CrossEntropy with their defaults; {REMEDY}"
        )

    def arrays_with(
        self, loss: str, optimizer: tuple[dict[str, Any], dict[str, Any], dict[str, Any]] | None
    ) -> dict[str, Any]:
        """All that the file is to have."""
        plain = {"type": "SGD", "learning_rate": 0.01, "regularization": "L2", "weight_decay": 0.0, "momentum": 0.0}
        config, numbers, arrays = optimizer or (plain, {}, {})
        said = {"loss": {"type": loss}, "optimizer": config, "optimizer_globals": numbers}
        texts = {"architecture": json.dumps(self.layers), "model_config": json.dumps(said)}
        return {**self.arrays, **arrays, **{name: np.array(text) for name, text in texts.items()}}


def _linear(to: Writer, layer: Any, path: str, where: str) -> None:
    to.array(layer, path, "weight", "weights", np.transpose)
    if layer.bias is not None:
        to.array(layer, path, "bias", "biases", lambda a: a[None])
    sizes = {"output_size": layer.out_features, "input_size": layer.in_features}
    to.put("Dense", **sizes, **SIZED, no_bias=layer.bias is None)
    if layer.activation:
        name = {"relu": "ReLU", "sigmoid": "Sigmoid", "tanh": "Tanh", "silu": "Swish"}.get(layer.activation)
        if name is None:
            raise NotSupportedError(f"{where} (Linear) has activation={layer.activation!r}; {REMEDY}")
        to.put(name)


def _conv(to: Writer, layer: Any, path: str, where: str) -> None:
    kernel, stride = layer.kernel_size[0], layer.stride[0]
    to.only(
        layer,
        where,
        kernel_size=(kernel, kernel),
        stride=(stride, stride),
        dilation=(1, 1),
        groups=1,
        padding_mode="zeros",
    )
    around = (
        layer.padding
        if isinstance(layer.padding, tuple)
        else (0, 0)
        if layer.padding == "valid"
        else (kernel // 2,) * 2
    )
    if around[0] != around[1] or (layer.padding == "same" and kernel % 2 == 0):
        raise NotSupportedError(f"{where} has padding={layer.padding!r}; MPNeuralNetwork pads evenly; {REMEDY}")
    image = None if to.layers else to.input_shape
    if image is None and not to.layers:
        raise ArgumentError(f"{where} comes first: give input_shape=(channels, height, width)")
    if image is not None and (len(image) != 3 or image[0] != layer.in_channels):
        raise ArgumentError(f"{where} has {layer.in_channels} in_channels, but input_shape is {image}")
    to.array(layer, path, "weight", "kernels", lambda a: a)
    if layer.bias is not None:
        to.array(layer, path, "bias", "biases", lambda a: a)
    else:
        to.arrays[f"layer_{len(to.layers)}_biases"] = np.zeros(layer.out_channels, np.float32)
    sizes = {"output_depth": layer.out_channels, "kernel_size": kernel, "input_shape": image and [*image]}
    to.put("Convolutional", **sizes, **SIZED, no_bias=False, stride=stride, padding=around[0])


def _norm(to: Writer, layer: Any, path: str, where: str) -> None:
    to.only(layer, where, affine=True, track_running_stats=True)
    if layer.momentum is None:
        raise NotSupportedError(f"{where} has momentum=None; MPNeuralNetwork has a number alone; {REMEDY}")
    images = isinstance(layer, nn.BatchNorm2d)
    shape = (1, -1, 1, 1) if images else (1, -1)
    names = {"weight": "gamma", "bias": "beta", "running_mean": "state_cache_m", "running_var": "state_cache_v"}
    for ours, theirs in names.items():
        to.array(layer, path, ours, theirs, lambda a: a.reshape(shape))
    kind = "BatchNormalization2D" if images else "BatchNormalization"
    to.put(kind, momentum=round(1 - layer.momentum, 12), epsilon=layer.eps)


def _pool(to: Writer, layer: Any, path: str, where: str) -> None:
    size, stride = layer.kernel_size[0], layer.stride[0]
    to.only(layer, where, kernel_size=(size, size), stride=(stride, stride), padding=(0, 0), ceil_mode=False)
    if isinstance(layer, nn.MaxPool2d):
        to.only(layer, where, dilation=(1, 1), return_indices=False)
    to.put("MaxPooling2D" if isinstance(layer, nn.MaxPool2d) else "AveragePooling2D", pool_size=size, strides=stride)


def _flatten(to: Writer, layer: Any, path: str, where: str) -> None:
    to.only(layer, where, start_axis=1, end_axis=-1)
    to.put("Flatten")


def _softmax(to: Writer, layer: Any, path: str, where: str) -> None:
    if layer.axis not in (1, -1):
        to.only(layer, where, axis=1)
    to.put("Softmax", temperature=float(layer.temperature))


def _leaky_relu(to: Writer, layer: Any, path: str, where: str) -> None:
    if not 0 <= layer.negative_slope <= 1:
        raise NotSupportedError(
            f"{where} has negative_slope={layer.negative_slope}; MPNeuralNetwork has 0 to 1; {REMEDY}"
        )
    to.put("PReLU", alpha=layer.negative_slope)


def _plain(kind: str) -> Callable[..., None]:
    return lambda to, layer, path, where: to.put(kind)


WRITERS: dict[type, Callable[..., None]] = {
    nn.Linear: _linear,
    nn.Conv2d: _conv,
    nn.BatchNorm1d: _norm,
    nn.BatchNorm2d: _norm,
    nn.MaxPool2d: _pool,
    nn.AvgPool2d: _pool,
    nn.Flatten: _flatten,
    nn.Softmax: _softmax,
    nn.LeakyReLU: _leaky_relu,
    nn.Dropout: lambda to, layer, path, where: to.put("Dropout", probability=layer.p),
    nn.Identity: lambda to, layer, path, where: None,
    nn.ReLU: _plain("ReLU"),
    nn.Sigmoid: _plain("Sigmoid"),
    nn.Tanh: _plain("Tanh"),
    nn.SiLU: _plain("Swish"),
}


def optimizer_of(optimizer: Any, to: Writer) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The config of an optimizer, its numbers and its arrays. Errors: NotSupportedError."""
    kinds = {optim.SGD: "SGD", optim.RMSprop: "RMSprop", optim.Adam: "Adam", optim.AdamW: "Adam"}
    kind = kinds.get(type(optimizer))
    groups = getattr(optimizer, "param_groups", [])
    remedy = "save_mpnn(..., with_optimizer=False) leaves it out"
    if kind is None:
        raise NotSupportedError(
            f"{to.where}: MPNeuralNetwork has no {type(optimizer).__name__}, only SGD, RMSprop and Adam; {remedy}"
        )
    rates = {
        (group["lr"], *(str(v) for k, v in group.options.items() if k not in ("weight_decay", "l1")))
        for group in groups
    }
    penalties = {
        spared: {(g["weight_decay"], g["l1"]) for g in groups for e in g.entries if (e.param.ndim < 2) == spared}
        for spared in (True, False)
    }
    if len(rates) > 1 or len(penalties[False]) > 1 or penalties[True] - {(0.0, 0.0)}:
        raise NotSupportedError(
            f"{to.where}: MPNeuralNetwork treats all parameters alike, but spares biases and norms from weight decay "
            f"(exempt=True); {remedy}"
        )
    options, (decay, l1) = groups[0].options, next(iter(penalties[False]), (0.0, 0.0))
    forbidden = {key for key in ("nesterov", "dampening", "amsgrad", "centered") if options.get(key)}
    if kind == "RMSprop" and options["momentum"]:
        forbidden.add("momentum")
    if decay and options["decoupled"] != (kind == "Adam"):
        forbidden.add(f"weight_decay with decoupled={options['decoupled']}")
    if decay and l1:
        forbidden.add("weight_decay with l1")
    if forbidden:
        raise NotSupportedError(
            f"{to.where}: {kind} of MPNeuralNetwork has no {', '.join(sorted(forbidden))}; {remedy}"
        )
    lr: float = groups[0]["lr"]
    config = {"type": kind, "learning_rate": lr, "regularization": "L1" if l1 else "L2", "weight_decay": l1 or decay}
    if kind == "SGD":
        config["momentum"] = options["momentum"]
    elif kind == "RMSprop":
        config.update(decay_rate=options["alpha"], epsilon=options["eps"])
    else:
        config.update(beta1=options["betas"][0], beta2=options["betas"][1], epsilon=options["eps"])
    arrays, steps = {}, set()
    for place, values in optimizer.state_dict()["state"].items():
        if place not in to.places:
            raise NotSupportedError(f"{to.where}: the optimizer remembers {place!r}, which the model has not; {remedy}")
        name, turned = to.places[place]
        for theirs, ours in STATES[kind].items():
            if ours in values:
                array = np.asarray(turned(values[ours].numpy()), np.float32)
                arrays[f"optimizer_{theirs}_{name}"] = np.ascontiguousarray(
                    array * np.float32(-lr) if kind == "SGD" else array
                )
        steps.add(int(values["step"].item()) if "step" in values else 0)
    if len(steps) > 1:
        raise NotSupportedError(f"{to.where}: some parameters have made more steps than others; {remedy}")
    return config, {"t": max(steps, default=0)} if kind == "Adam" else {}, arrays
