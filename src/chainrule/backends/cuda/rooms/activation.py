"""The activation room on a GPU. Each returns its value and what is saved; its gradient takes ``g`` and that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..array import DeviceArray
from ..gpu import Gpu, layout
from ..sources import FLOATS, NAMES, c_name, declare
from . import Kernels
from .elementwise import run, walk
from .reduce import total

KERNELS = Kernels()
Numbers = tuple[float, float]

FORWARD = (
    "relu silu gelu gelu_tanh selu hardsigmoid hardswish softplus logsigmoid mish softsign leaky_relu elu celu hardtanh "
    "threshold softshrink hardshrink"
).split()
BACKWARD = (
    "relu silu gelu gelu_tanh selu hardsigmoid hardswish softplus logsigmoid mish softsign leaky_relu elu celu hardtanh "
    "threshold shrink"
).split()
GATES = ("glu", "swiglu")
FUNCTORS: dict[str, tuple[str, Callable[..., Numbers]]] = {}  # of each op and gradient: its functor, and its numbers

declare("activation", *(f"forward<{name}, {NAMES[d]}>" for name in FORWARD for d in FLOATS))
declare("activation", *(f"backward<{name}_vjp, {NAMES[d]}>" for name in BACKWARD for d in FLOATS))
declare("activation", *(f"gate<{name}, {NAMES[d]}>" for name in (*GATES, "leaky_relu", "slope_vjp") for d in FLOATS))
declare("activation", *(f"gate_vjp<{name}_vjp, {NAMES[d]}>" for name in GATES for d in FLOATS))
declare("activation", *(f"prelu_vjp<{NAMES[d]}>" for d in FLOATS))


def place(*arrays: DeviceArray) -> Any:
    """What ``walk`` says of arrays."""
    return walk(*((a.shape, a.steps) for a in arrays))


def forward(gpu: Gpu, name: str, x: DeviceArray, p: float = 0.0, q: float = 0.0) -> Any:
    """The value of an activation of one array and up to two numbers."""
    if x.dtype.kind in "biu":
        return NotImplemented
    shape, where, n, together = place(x)
    y = gpu.empty(shape, x.dtype)
    return run(gpu, "activation", f"forward<{name}, {c_name(x.dtype)}>", n, together, y, x, p, q, where)


def backward(gpu: Gpu, name: str, g: DeviceArray, x: DeviceArray, needs: Any, p: float = 0.0, q: float = 0.0) -> Any:
    """The gradient of it, from what was saved."""
    if not needs[0]:
        return (None,)
    if g.dtype != x.dtype or x.dtype.kind in "biu":
        return NotImplemented
    shape, where, n, together = place(g, x)
    y = gpu.empty(shape, x.dtype)
    return (run(gpu, "activation", f"backward<{name}_vjp, {c_name(x.dtype)}>", n, together, y, g, x, p, q, where),)


def activation(
    name: str,
    value: str,
    gradient: str,
    numbers: Callable[..., Numbers] = lambda: (0.0, 0.0),
    slopes: Callable[..., Numbers] | None = None,
) -> None:
    """Register an op: its functors, and of its parameters the numbers that they take; ``slopes`` if the gradient's differ."""

    def kernel(gpu: Gpu, x: DeviceArray, **params: Any) -> Any:
        y = forward(gpu, value, x, *numbers(**params))
        return y if y is NotImplemented else (y, (y if name == "relu" else x,))

    def kernel_vjp(gpu: Gpu, g: DeviceArray, saved: DeviceArray, *, needs: Any, **params: Any) -> Any:
        return backward(gpu, gradient, g, saved, needs, *(slopes or numbers)(**params))

    KERNELS[name], KERNELS[f"{name}_vjp"] = kernel, kernel_vjp
    FUNCTORS[name] = value, numbers
    FUNCTORS[f"{name}_vjp"] = f"{gradient}_vjp", slopes or numbers


for _name in "relu silu selu hardsigmoid hardswish logsigmoid mish softsign".split():
    activation(_name, _name, _name)
activation("relu6", "hardtanh", "hardtanh", lambda: (0.0, 6.0))
activation("leaky_relu", "leaky_relu", "leaky_relu", lambda negative_slope=0.01: (float(negative_slope), 0.0))
activation("elu", "elu", "elu", lambda alpha=1.0: (float(alpha), 0.0))
activation("celu", "celu", "celu", lambda alpha=1.0: (float(alpha), 1 / alpha), lambda alpha=1.0: (1 / alpha, 0.0))
activation("hardtanh", "hardtanh", "hardtanh", lambda min_val=-1.0, max_val=1.0: (float(min_val), float(max_val)))
activation("threshold", "threshold", "threshold", lambda threshold, value: (float(threshold), float(value)))
activation("softshrink", "softshrink", "shrink", lambda lambd=0.5: (float(lambd), 0.0))
activation("hardshrink", "hardshrink", "shrink", lambda lambd=0.5: (float(lambd), 0.0))


@KERNELS("gelu")
def gelu(gpu: Gpu, x: DeviceArray, *, approximate: str = "none") -> Any:
    y = forward(gpu, "gelu" if approximate == "none" else "gelu_tanh", x)
    return y if y is NotImplemented else (y, (x,))


@KERNELS("gelu_vjp")
def gelu_vjp(gpu: Gpu, g: DeviceArray, x: DeviceArray, *, needs: Any, approximate: str = "none") -> Any:
    return backward(gpu, "gelu" if approximate == "none" else "gelu_tanh", g, x, needs)


@KERNELS("softplus")
def softplus(gpu: Gpu, x: DeviceArray, *, beta: float = 1.0, threshold: float = 20.0) -> Any:
    """Of other parameters than the usual ones it is left to its body."""
    y = forward(gpu, "softplus", x) if beta == 1 and threshold == 20 else NotImplemented
    return y if y is NotImplemented else (y, (x,))


@KERNELS("softplus_vjp")
def softplus_vjp(gpu: Gpu, g: DeviceArray, x: DeviceArray, *, needs: Any, **_: Any) -> Any:
    return backward(gpu, "softplus", g, x, needs)


# ---- of several values


def halves(x: DeviceArray, axis: int) -> tuple[DeviceArray, DeviceArray]:
    """The two halves of an axis, as views."""
    axis %= x.ndim
    shape = (*x.shape[:axis], x.shape[axis] // 2, *x.shape[axis + 1 :])
    return x.view(shape, x.strides), x.view(shape, x.strides, shape[axis] * x.strides[axis] if x.size else 0)


def gated(gpu: Gpu, name: str, x: DeviceArray, axis: int) -> Any:
    if x.dtype.kind in "biu" or not x.ndim or x.shape[axis] % 2:
        return NotImplemented
    a, b = halves(x, axis)
    shape, where, n, together = place(a, b)
    y = gpu.empty(shape, x.dtype)
    return run(gpu, "activation", f"gate<{name}, {c_name(x.dtype)}>", n, together, y, a, b, where), (x,)


def gated_vjp(gpu: Gpu, name: str, g: DeviceArray, x: DeviceArray, needs: Any, axis: int) -> Any:
    if not needs[0]:
        return (None,)
    if g.dtype != x.dtype:
        return NotImplemented
    to = gpu.empty(x.shape, x.dtype)
    (a, b), (ga, gb) = halves(x, axis), halves(to, axis)
    where, together = layout(ga.shape, ga.steps, g.steps, a.steps, b.steps)
    kernel = f"gate_vjp<{name}_vjp, {c_name(x.dtype)}>"
    run(gpu, "activation", kernel, g.size, together, ga, gb, g, a, b, where, writes=2)
    return (to,)


@KERNELS("glu")
def glu(gpu: Gpu, x: DeviceArray, *, axis: int = -1) -> Any:
    return gated(gpu, "glu", x, axis)


@KERNELS("glu_vjp")
def glu_vjp(gpu: Gpu, g: DeviceArray, x: DeviceArray, *, needs: Any, axis: int = -1) -> Any:
    return gated_vjp(gpu, "glu", g, x, needs, axis)


@KERNELS("swiglu")
def swiglu(gpu: Gpu, x: DeviceArray, *, axis: int = -1) -> Any:
    return gated(gpu, "swiglu", x, axis)


@KERNELS("swiglu_vjp")
def swiglu_vjp(gpu: Gpu, g: DeviceArray, x: DeviceArray, *, needs: Any, axis: int = -1) -> Any:
    return gated_vjp(gpu, "swiglu", g, x, needs, axis)


def sloped(x: DeviceArray, weight: DeviceArray) -> DeviceArray:
    """The slopes as they lie along ``x``: one for all, or one for each channel, axis 1."""
    if weight.size == 1:
        return weight.view((1,) * x.ndim, (0,) * x.ndim)
    rest = x.ndim - 2
    return weight.view((1, weight.size, *(1,) * rest), (0, weight.strides[0], *(0,) * rest))


@KERNELS("prelu")
def prelu(gpu: Gpu, x: DeviceArray, weight: DeviceArray) -> Any:
    if x.dtype.kind in "biu" or weight.dtype != x.dtype:
        return NotImplemented
    slope = sloped(x, weight)
    shape, where, n, together = place(x, slope)
    y = gpu.empty(shape, x.dtype)
    return run(gpu, "activation", f"gate<leaky_relu, {c_name(x.dtype)}>", n, together, y, x, slope, where), (x, weight)


@KERNELS("prelu_vjp")
def prelu_vjp(gpu: Gpu, g: DeviceArray, x: DeviceArray, weight: DeviceArray, *, needs: Any) -> Any:
    if g.dtype != x.dtype or weight.dtype != x.dtype:
        return NotImplemented
    gx = gw = None
    if needs[0]:
        slope = sloped(x, weight)
        shape, where, n, together = place(g, x, slope)
        gx = gpu.empty(shape, x.dtype)
        run(gpu, "activation", f"prelu_vjp<{c_name(x.dtype)}>", n, together, gx, g, x, slope, where)
    if needs[1]:
        shape, where, n, together = place(g, x)
        parts = gpu.empty(shape, x.dtype)
        run(gpu, "activation", f"gate<slope_vjp, {c_name(x.dtype)}>", n, together, parts, g, x, where)
        axes = tuple(d for d in range(x.ndim) if d != 1 or weight.size == 1)
        gw = total(gpu, parts, op="Sum", axis=axes, keepdims=False)
        gw = gw.view(weight.shape, (gw.itemsize,))
    return gx, gw
