"""The activations of ONNX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ... import ops
from .elementwise import unary
from .operators import axes_in, constant, operator

PLAIN: dict[str, Callable[[Any], Any]] = {
    "HardSwish": ops.hardswish,
    "Mish": ops.mish,
    "Relu": lambda x: ops.relu(x) if x.is_floating else ops.maximum(x, constant(0, x, x.dtype)),
    "Sigmoid": ops.sigmoid,
    "Softplus": ops.softplus,
    "Softsign": ops.softsign,
    "Tanh": ops.tanh,
}
for _name, _function in PLAIN.items():
    unary(_name, _function)


@operator("Elu")
def elu(x: Any, *, alpha: float = 1.0) -> Any:
    """``alpha (eˣ - 1)`` below 0."""
    return ops.elu(x, alpha=alpha)


@operator("Celu")
def celu(x: Any, *, alpha: float = 1.0) -> Any:
    """``alpha (e^(x / alpha) - 1)`` below 0."""
    return ops.celu(x, alpha=alpha)


@operator("Selu")
def selu(x: Any, *, alpha: float = 1.6732632423543772, gamma: float = 1.0507009873554805) -> Any:
    """``gamma`` times elu."""
    return gamma * ops.elu(x, alpha=alpha)


@operator("Gelu")
def gelu(x: Any, *, approximate: str = "none") -> Any:
    """x times the normal distribution function."""
    return ops.gelu(x, approximate=approximate)


@operator("Swish")
def swish(x: Any, *, alpha: float = 1.0) -> Any:
    """``x sigmoid(alpha x)``."""
    return x * ops.sigmoid(alpha * x)


@operator("LeakyRelu")
def leaky_relu(x: Any, *, alpha: float = 0.01) -> Any:
    """``alpha x`` below 0."""
    return ops.leaky_relu(x, negative_slope=alpha)


@operator("PRelu")
def prelu(x: Any, slope: Any, *, opset: int) -> Any:
    """``slope x`` below 0; the slope broadcasts, before opset 7 as one for each channel."""
    if opset < 7 and slope.ndim == 1 and slope.shape[0] > 1:
        slope = slope.reshape(-1, *[1] * (x.ndim - 2))
    return ops.where(x < 0, slope * x, x)


@operator("ThresholdedRelu")
def thresholded_relu(x: Any, *, alpha: float = 1.0) -> Any:
    """x above ``alpha``, else 0."""
    return ops.threshold(x, threshold=alpha, value=0.0)


@operator("HardSigmoid")
def hard_sigmoid(x: Any, *, alpha: float = 0.2, beta: float = 0.5) -> Any:
    """A straight line, between 0 and 1."""
    return ops.clip(alpha * x + beta, min=0.0, max=1.0)


@operator("Shrink")
def shrink(x: Any, *, bias: float = 0.0, lambd: float = 0.5) -> Any:
    """Nearer to 0 by ``bias``, and 0 within ``lambd`` of it."""
    y = ops.where(x > lambd, x - bias, ops.where(x < -lambd, x + bias, x * 0))
    return y.to(dtype=x.dtype)


def flat_from(x: Any, axis: int) -> Any:
    """The axes from ``axis`` on as one: what softmax went over before opset 13."""
    (axis,) = axes_in(x, axis) if axis != x.ndim else (axis,)
    return x.reshape(*x.shape[:axis], -1)


@operator("Softmax")
def softmax(x: Any, *, axis: int | None = None, opset: int) -> Any:
    """Over one axis; before opset 13, over all from ``axis`` on."""
    if opset >= 13:
        return ops.softmax(x, axis=-1 if axis is None else axis)
    return ops.softmax(flat_from(x, 1 if axis is None else axis), axis=-1).reshape(x.shape)


@operator("LogSoftmax")
def log_softmax(x: Any, *, axis: int | None = None, opset: int) -> Any:
    """The logarithm of softmax."""
    if opset >= 13:
        return ops.log_softmax(x, axis=-1 if axis is None else axis)
    return ops.log_softmax(flat_from(x, 1 if axis is None else axis), axis=-1).reshape(x.shape)


@operator("Hardmax")
def hardmax(x: Any, *, axis: int | None = None, opset: int) -> Any:
    """1 at the first largest, else 0."""
    flat = x if opset >= 13 else flat_from(x, 1 if axis is None else axis)
    (along,) = axes_in(flat, -1 if axis is None or opset < 13 else axis)
    places = counted(flat, along)
    return ops.eq(places, ops.argmax(flat, axis=along, keepdims=True)).to(dtype=x.dtype).reshape(x.shape)


def counted(x: Any, axis: int) -> Any:
    """0, 1, ... along one axis of x, shaped to broadcast with it."""
    return constant([*range(x.shape[axis])], x, "int64").reshape(*(-1 if i == axis else 1 for i in range(x.ndim)))
