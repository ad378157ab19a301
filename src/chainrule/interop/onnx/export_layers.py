"""The layers of one op in ONNX: activations, linear layers, norms, shapes, and those that do nothing outside of training."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import nn
from ...domain.errors import NotSupportedError
from .exporters import Value, Writer, exporter


def gelu(w: Writer, x: Value, approximate: str = "none") -> str:
    """Gelu has an operator since opset 20."""
    if w.opset >= 20:
        return str(w.node("Gelu", [x], approximate=approximate))
    if approximate == "tanh":
        cube = w.node("Mul", [w.node("Mul", [x, x]), x])
        inner = w.node("Add", [x, w.node("Mul", [cube, w.constant(0.044715, x)])])
        share = w.node("Tanh", [w.node("Mul", [inner, w.constant(np.sqrt(2 / np.pi), x)])])
    else:
        share = w.node("Erf", [w.node("Mul", [x, w.constant(np.sqrt(0.5), x)])])
    half = w.node("Mul", [x, w.constant(0.5, x)])
    return str(w.node("Mul", [half, w.node("Add", [share, w.constant(1.0, x)])]))


def silu(w: Writer, x: Any) -> str:
    """x times its sigmoid."""
    return str(w.node("Mul", [x, w.node("Sigmoid", [x])]))


def mish(w: Writer, x: Any) -> str:
    """x times the hyperbolic tangent of its softplus."""
    return str(w.node("Mul", [x, w.node("Tanh", [w.node("Softplus", [x])])]))


def activated(w: Writer, name: str | None, x: Any) -> str:
    """An activation by its name, as layers have it for an argument."""
    if name is None:
        return str(x)
    own = {"gelu": gelu, "silu": silu, "swish": silu, "mish": mish}
    plain = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh"}
    if name in own:
        return own[name](w, x)
    if name not in plain:
        raise NotSupportedError(f"[to_onnx] the activation {name!r} inside a layer")
    return str(w.node(plain[name], [x]))


def plain(cls: type[nn.Module], op: str, **attributes: str) -> None:
    """A layer that is an operator; ``attributes`` says which of its attributes are which of the operator's."""

    @exporter(cls)
    def call(w: Writer, layer: Any, x: Value) -> Any:
        return w.node(op, [x], **{key: getattr(layer, name) for key, name in attributes.items()})


plain(nn.ReLU, "Relu")
plain(nn.Sigmoid, "Sigmoid")
plain(nn.Tanh, "Tanh")
plain(nn.LogSoftmax, "LogSoftmax", axis="axis")
plain(nn.LeakyReLU, "LeakyRelu", alpha="negative_slope")
plain(nn.ELU, "Elu", alpha="alpha")
plain(nn.CELU, "Celu", alpha="alpha")
plain(nn.SELU, "Selu")
plain(nn.Softsign, "Softsign")
plain(nn.HardSwish, "HardSwish")


@exporter(nn.GELU)
def _(w: Writer, layer: Any, x: Value) -> Any:
    return gelu(w, x, layer.approximate)


@exporter(nn.SiLU, nn.Swish)
def _(w: Writer, layer: Any, x: Value) -> Any:
    return silu(w, x)


@exporter(nn.Mish)
def _(w: Writer, layer: Any, x: Value) -> Any:
    return mish(w, x)


@exporter(nn.Softmax)
def _(w: Writer, layer: Any, x: Value) -> Any:
    scaled = x if layer.temperature == 1 else w.node("Div", [x, w.constant(layer.temperature, x)])
    return w.node("Softmax", [scaled], axis=layer.axis)


@exporter(nn.Softplus)
def _(w: Writer, layer: Any, x: Value) -> Any:
    beta = w.constant(layer.beta, x)
    return w.node("Div", [w.node("Softplus", [w.node("Mul", [x, beta])]), beta])


@exporter(nn.LogSigmoid)
def _(w: Writer, layer: Any, x: Value) -> Any:
    return w.node("Neg", [w.node("Softplus", [w.node("Neg", [x])])])


@exporter(nn.HardSigmoid)
def _(w: Writer, layer: Any, x: Value) -> Any:
    return w.node("HardSigmoid", [x], alpha=1 / 6, beta=0.5)


@exporter(nn.ReLU6)
def _(w: Writer, layer: Any, x: Value) -> Any:
    return w.node("Clip", [x, w.constant(0.0, x), w.constant(6.0, x)])


@exporter(nn.HardTanh)
def _(w: Writer, layer: Any, x: Value) -> Any:
    return w.node("Clip", [x, w.constant(layer.min_val, x), w.constant(layer.max_val, x)])


@exporter(nn.Threshold)
def _(w: Writer, layer: Any, x: Value) -> Any:
    above = w.node("Greater", [x, w.constant(layer.threshold, x)])
    return w.node("Where", [above, x, w.constant(layer.value, x)])


@exporter(nn.Softshrink, nn.Hardshrink)
def _(w: Writer, layer: Any, x: Value) -> Any:
    bias = layer.lambd if isinstance(layer, nn.Softshrink) else 0.0
    return w.node("Shrink", [x], lambd=layer.lambd, bias=bias)


@exporter(nn.PReLU)
def _(w: Writer, layer: Any, x: Value) -> Any:
    slope = w.tensor(layer.weight)
    if layer.num_parameters > 1 and x.ndim > 2:
        slope = w.reshape(slope, layer.num_parameters, *[1] * (x.ndim - 2))
    return w.node("PRelu", [x, slope])


def halves(w: Writer, layer: Any, x: Value) -> Any:
    """Both halves of an axis."""
    n = x.shape[layer.axis] // 2
    return w.node("Split", [x, w.integers(n, n)], 2, axis=layer.axis)


@exporter(nn.GLU)
def _(w: Writer, layer: Any, x: Value) -> Any:
    a, b = halves(w, layer, x)
    return w.node("Mul", [a, w.node("Sigmoid", [b])])


@exporter(nn.SwiGLU)
def _(w: Writer, layer: Any, x: Value) -> Any:
    a, b = halves(w, layer, x)
    return w.node("Mul", [silu(w, a), b])


@exporter(nn.Maxout)
def _(w: Writer, layer: Any, x: Value) -> Any:
    axis = layer.axis % x.ndim
    parts = w.reshape(x, *[0] * axis, x.shape[axis] // layer.pieces, layer.pieces, *x.shape[axis + 1 :])
    return w.reduce("ReduceMax", parts, [axis + 1], keepdims=0)


@exporter(nn.Linear)
def _(w: Writer, layer: Any, x: Value) -> Any:
    weight, bias = w.tensor(layer.weight), w.tensor(layer.bias)
    if x.ndim == 2:
        y = w.node("Gemm", [x, weight, bias], transB=1)
    else:
        y = w.node("MatMul", [x, w.transpose(weight, 1, 0)])
        y = y if bias is None else w.node("Add", [y, bias])
    return activated(w, layer.activation, y)


@exporter(nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.DropPath, nn.AlphaDropout, nn.Identity)
def _(w: Writer, layer: Any, x: Value) -> Any:
    return x.name


@exporter(nn.Flatten)
def _(w: Writer, layer: Any, x: Value) -> Any:
    start, end = (axis % max(x.ndim, 1) for axis in (layer.start_axis, layer.end_axis))
    if start == 1 and end == x.ndim - 1:
        return w.node("Flatten", [x])
    return w.reshape(x, *[0] * start, -1, *x.shape[end + 1 :])


@exporter(nn.Unflatten)
def _(w: Writer, layer: Any, x: Value) -> Any:
    axis = layer.axis % x.ndim
    if axis == 0 and -1 in layer.sizes:
        return w.reshape(x, *layer.sizes, *x.shape[1:])
    size = x.shape[axis]
    known = int(np.prod([n for n in layer.sizes if n != -1]))
    return w.reshape(x, *[0] * axis, *(size // known if n == -1 else n for n in layer.sizes), *x.shape[axis + 1 :])


@exporter(nn.Reshape)
def _(w: Writer, layer: Any, x: Value) -> Any:
    return w.reshape(x, 0, *layer.shape)


@exporter(nn.Permute)
def _(w: Writer, layer: Any, x: Value) -> Any:
    return w.transpose(x, *(axis % x.ndim for axis in layer.axes))


@exporter(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
def _(w: Writer, layer: Any, x: Value) -> Any:
    if layer.running_mean is None:
        raise NotSupportedError("[to_onnx] a batch norm without running statistics: it needs track_running_stats=True")
    return normalized(w, layer, x)


def scale_and_shift(w: Writer, layer: Any, x: Value) -> tuple[str, str]:
    """The weight and the bias of each channel, 1 and 0 where the layer has none."""
    n = x.shape[1]
    weight = w.tensor(layer.weight) or w.constant(np.ones(n), x)
    return weight, w.tensor(layer.bias) or w.constant(np.zeros(n), x)


def normalized(w: Writer, layer: Any, x: Value) -> Any:
    """By running statistics."""
    weight, bias = scale_and_shift(w, layer, x)
    stats = [w.tensor(layer.running_mean), w.tensor(layer.running_var)]
    return w.node("BatchNormalization", [x, weight, bias, *stats], epsilon=layer.eps)


@exporter(nn.InstanceNorm1d, nn.InstanceNorm2d)
def _(w: Writer, layer: Any, x: Value) -> Any:
    if layer.running_mean is not None:
        return normalized(w, layer, x)
    weight, bias = scale_and_shift(w, layer, x)
    return w.node("InstanceNormalization", [x, weight, bias], epsilon=layer.eps)


@exporter(nn.GroupNorm)
def _(w: Writer, layer: Any, x: Value) -> Any:
    groups, channels = layer.num_groups, x.shape[1]
    one, zero = w.constant(np.ones(groups), x), w.constant(np.zeros(groups), x)
    y = w.node("InstanceNormalization", [w.reshape(x, 0, groups, -1), one, zero], epsilon=layer.eps)
    y = w.node("Reshape", [y, w.node("Shape", [x])])
    for op, tensor in (("Mul", layer.weight), ("Add", layer.bias)):
        if tensor is not None:
            y = w.node(op, [y, w.reshape(w.tensor(tensor), channels, *[1] * (x.ndim - 2))])
    return y


@exporter(nn.LayerNorm)
def _(w: Writer, layer: Any, x: Value) -> Any:
    shape = x.shape[x.ndim - len(layer.normalized_shape) :]
    weight = w.tensor(layer.weight) or w.constant(np.ones(shape), x)
    return w.node("LayerNormalization", [x, weight, w.tensor(layer.bias)], axis=-len(shape), epsilon=layer.eps)


@exporter(nn.RMSNorm)
def _(w: Writer, layer: Any, x: Value) -> Any:
    axes = [*range(-len(layer.normalized_shape), 0)]
    eps = float(np.finfo(x.example.numpy().dtype).eps) if layer.eps is None else layer.eps
    mean = w.reduce("ReduceMean", w.node("Mul", [x, x]), axes)
    y = w.node("Div", [x, w.node("Sqrt", [w.node("Add", [mean, w.constant(eps, x)])])])
    return y if layer.weight is None else w.node("Mul", [y, w.tensor(layer.weight)])


@exporter(nn.Merge)
def _(w: Writer, layer: Any, *xs: Value) -> Any:
    return merged(w, xs, layer.merge, layer.axis)


def merged(w: Writer, xs: Any, merge: str, axis: int) -> Any:
    """Several values as one."""
    if merge == "concat":
        return w.node("Concat", xs, axis=axis)
    if merge in ("sum", "mean", "max"):
        return w.node({"sum": "Sum", "mean": "Mean", "max": "Max"}[merge], xs)
    y: Any = xs[0]
    for x in xs[1:]:
        y = w.node("Mul", [y, x])
    return y if len(xs) > 1 else xs[0].name
