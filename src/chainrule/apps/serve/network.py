"""A model for the page's own JavaScript: ``exported`` writes the layers that ``page/network.js`` knows as one binary.

It begins with the length of the header (uint32, little-endian), then comes the header, JSON padded by spaces to a multiple
of four bytes, then all weights as float32. In the header ``layers`` is a list of ``{"kind": ..., ...}``; a weight is
``{"at": first number, "shape": [...]}``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np

from ... import nn
from ...domain.errors import NotSupportedError

Layer = dict[str, Any]


class Weights:
    """The weights of all layers, one after the other."""

    def __init__(self) -> None:
        self.parts: list[Any] = []
        self.length = 0

    def put(self, values: Any) -> dict[str, Any]:
        """Take an array or tensor in, and say where it is."""
        array = np.asarray(values if isinstance(values, np.ndarray) else values.numpy(), "<f4")
        if not np.isfinite(array).all():
            raise NotSupportedError("[serve] the model has a weight that is NaN or infinite: train it anew")
        place = {"at": self.length, "shape": list(array.shape)}
        self.parts.append(array)
        self.length += array.size
        return place


def exported(model: Any, name: str = "") -> bytes:
    """The model in eval mode as the page's JavaScript reads it.

    Errors: NotSupportedError for a layer that the page does not know.

    >>> import chainrule as cr
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.Softmax())
    >>> found = exported(model)
    >>> header = json.loads(found[4 : 4 + int.from_bytes(found[:4], "little")])
    >>> [layer["kind"] for layer in header["layers"]], header["layers"][1]["weight"]
    (['flatten', 'linear', 'softmax'], {'at': 10, 'shape': [10, 784]})
    """
    weights = Weights()
    header = {"name": name, "input": [1, 28, 28], "layers": layers_of(model, "", weights)}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 4)
    return b"".join([len(text).to_bytes(4, "little"), text, *(part.tobytes() for part in weights.parts)])


def layers_of(module: Any, path: str, weights: Weights) -> list[Layer]:
    """The layers of a module, those of a Sequential one after the other, each with its path and class as ``name``."""
    if type(module) is nn.Sequential:
        inner = [
            (f"{path}.{key}".lstrip("."), child) for key, child in module.members() if isinstance(child, nn.Module)
        ]
        return [layer for key, child in inner for layer in layers_of(child, key, weights)]
    write = KINDS.get(type(module))
    layer = write(module, path, weights) if write else None
    if layer is None:
        names = ", ".join(sorted(kind.__name__ for kind in KINDS))
        raise NotSupportedError(
            f"[serve] layer {path or 'model'}, {module!r:.120}, does not run in the browser: let the server read, or use "
            f"plain {names}, Sequential"
        )
    return [layer | {"name": f"{path} {type(module).__name__}".strip()}]


def conv2d(layer: Any, path: str, weights: Weights) -> Layer | None:
    """A convolution; its padding is of zeros."""
    if layer.padding_mode != "zeros":
        return None
    left, right, top, bottom = layer._before or (0, 0, 0, 0)
    down, across = layer._around
    return {
        "kind": "conv2d",
        "weight": weights.put(layer.weight),
        "bias": weights.put(layer.bias) if layer.bias is not None else None,
        "stride": list(layer.stride),
        "dilation": list(layer.dilation),
        "groups": layer.groups,
        "padding": [top + down, bottom + down, left + across, right + across],
    }


def batch_norm(layer: Any, path: str, weights: Weights) -> Layer | None:
    """A batch norm as what it does in eval mode: each channel times a number, and another added."""
    if layer.running_mean is None or layer.running_var is None:
        return None
    scale = 1 / np.sqrt(layer.running_var.numpy().astype(np.float64) + layer.eps)
    if layer.weight is not None:
        scale *= layer.weight.numpy()
    shift = -layer.running_mean.numpy() * scale
    if layer.bias is not None:
        shift += layer.bias.numpy()
    return {"kind": "scale", "scale": weights.put(scale), "shift": weights.put(shift)}


def linear(layer: Any, path: str, weights: Weights) -> Layer:
    """Every output is a weighted sum of the inputs."""
    bias = weights.put(layer.bias) if layer.bias is not None else None
    return {"kind": "linear", "weight": weights.put(layer.weight), "bias": bias}


def max_pool(layer: Any, path: str, weights: Weights) -> Layer | None:
    """The largest value of each window."""
    if layer.ceil_mode or layer.return_indices or layer.dilation != (1, 1):
        return None
    return {"kind": "max_pool"} | windows(layer)


def avg_pool(layer: Any, path: str, weights: Weights) -> Layer | None:
    """The mean of each window."""
    if layer.ceil_mode:
        return None
    return {"kind": "avg_pool", "count_include_pad": layer.count_include_pad} | windows(layer)


def windows(layer: Any) -> Layer:
    """How the windows of a pooling go over its input."""
    return {"size": list(layer.kernel_size), "stride": list(layer.stride), "padding": list(layer.padding)}


def flatten(layer: Any, path: str, weights: Weights) -> Layer | None:
    """All axes as one."""
    return {"kind": "flatten"} if (layer.start_axis, layer.end_axis) == (1, -1) else None


def softmax(layer: Any, path: str, weights: Weights) -> Layer | None:
    """Scores as probabilities."""
    return {"kind": "softmax", "temperature": layer.temperature} if layer.axis in (-1, 1) else None


def residual(layer: Any, path: str, weights: Weights) -> Layer:
    """What two branches make, added."""
    children = {key: layers_of(child, f"{path}.{key}".lstrip("."), weights) for key, child in layer.members()}
    return {"kind": "residual", "body": children["body"], "shortcut": children.get("shortcut", [])}


def pointwise(kind: str, *names: str) -> Callable[..., Layer]:
    """What writes an activation with the numbers it has."""
    return lambda layer, path, weights: {"kind": kind} | {name: getattr(layer, name) for name in names}


KINDS: dict[type, Callable[..., Layer | None]] = {
    nn.Conv2d: conv2d,
    nn.BatchNorm1d: batch_norm,
    nn.BatchNorm2d: batch_norm,
    nn.Linear: linear,
    nn.MaxPool2d: max_pool,
    nn.AvgPool2d: avg_pool,
    nn.GlobalAvgPool2d: pointwise("global_avg_pool"),
    nn.Flatten: flatten,
    nn.Softmax: softmax,
    nn.Residual: residual,
    nn.ReLU: pointwise("relu"),
    nn.LeakyReLU: pointwise("leaky_relu", "negative_slope"),
    nn.ELU: pointwise("elu", "alpha"),
    nn.SiLU: pointwise("silu"),
    nn.Sigmoid: pointwise("sigmoid"),
    nn.Tanh: pointwise("tanh"),
    nn.Dropout: pointwise("identity"),
    nn.Identity: pointwise("identity"),
}
