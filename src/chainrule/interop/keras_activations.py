"""From activations of Keras, as layers or as arguments of layers, to modules of ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .. import nn
from .keras_spec import Parts, Spec


def simple(make: Callable[[Spec], nn.Module]) -> Callable[[Spec], Parts]:
    """A layer that is one module."""
    return lambda s: [("", make(s))]


def activation(s: Spec, value: Any) -> nn.Module | None:
    """The layer of an activation, None for the linear one."""
    if isinstance(value, Mapping):
        config = value.get("config")
        if value.get("class_name") in LAYERS and isinstance(config, Mapping):  # a layer as an activation
            inner = Spec(value, s.stored, s.rank, s.version, s.where)
            return LAYERS[inner.kind](inner)[0][1]
        value = config if isinstance(config, str) else value.get("class_name")
    if value in (None, "linear"):
        return None
    if value == "hard_sigmoid" and s.version < 3:
        return nn.Sequential({"scale": nn.Rescaling(0.2, 0.5), "clip": nn.HardTanh(0.0, 1.0)})
    if not isinstance(value, str) or value not in ACTIVATIONS:
        raise s.refuse(f"the activation {str(value)[:60]!r} is not supported, only {', '.join(sorted(ACTIVATIONS))}")
    return ACTIVATIONS[value]()


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "softmax": nn.Softmax,
    "log_softmax": nn.LogSoftmax,
    "log_sigmoid": nn.LogSigmoid,
    "elu": nn.ELU,
    "celu": nn.CELU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "swish": nn.SiLU,
    "mish": nn.Mish,
    "softplus": nn.Softplus,
    "softsign": nn.Softsign,
    "leaky_relu": lambda: nn.LeakyReLU(0.2),
    "hard_sigmoid": nn.HardSigmoid,
    "hard_silu": nn.HardSwish,
    "hard_swish": nn.HardSwish,
    "hard_tanh": nn.HardTanh,
    "hard_shrink": nn.Hardshrink,
    "soft_shrink": nn.Softshrink,
}


def followed(s: Spec, module: nn.Module) -> Parts:
    """A module and the activation of its layer."""
    after = activation(s, s.get("activation"))
    return [("", module)] + ([] if after is None else [("activation", after)])


def relu(s: Spec) -> Parts:
    top, slope, threshold = s.get("max_value"), s.number("negative_slope", 0.0), s.number("threshold", 0.0)
    if top is None and not slope:
        return [("", nn.Threshold(threshold, 0.0) if threshold else nn.ReLU())]
    if top is None and not threshold:
        return [("", nn.LeakyReLU(slope))]
    if slope or threshold:
        raise s.refuse(f"max_value={top}, negative_slope={slope}, threshold={threshold} together are not supported")
    return [("", nn.ReLU6() if s.number("max_value") == 6 else nn.HardTanh(0.0, s.number("max_value")))]


def leaky(s: Spec) -> Parts:
    return [("", nn.LeakyReLU(s.number("negative_slope" if "negative_slope" in s.config else "alpha", 0.3)))]


def softmax(s: Spec) -> Parts:
    axis = s.get("axis", -1)
    if type(axis) is not int:
        raise s.refuse(f"axis {str(axis)[:40]} is not supported, only one")
    return [("", nn.Softmax(axis))]


def activated(s: Spec) -> Parts:
    return [("", activation(s, s.get("activation")) or nn.Identity())]


LAYERS: dict[str, Callable[[Spec], Parts]] = {
    "Activation": activated,
    "ReLU": relu,
    "LeakyReLU": leaky,
    "ELU": simple(lambda s: nn.ELU(s.number("alpha", 1.0))),
    "ThresholdedReLU": simple(lambda s: nn.Threshold(s.number("theta", 1.0), 0.0)),
    "Softmax": softmax,
}
