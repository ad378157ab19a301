"""From a model to what ConvNet's files say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import nn
from ..domain.errors import NotSupportedError
from ..nn import Module
from .convnet_layout import RUNNING, turned

KEPT = ("float32", "float64")
REMEDY = "model.save(path) can write every model"


class Writer:
    """Gathers what ConvNet is to read of the layers of a model."""

    def __init__(self, where: str, flipped: bool = False) -> None:
        self.where, self.flipped = where, flipped
        self.layers: list[dict[str, Any]] = []
        self.arrays: dict[str, Any] = {}
        self.channels: int | None = None  # of images with their channels first, where they are; 0: not known
        self.order: int | None = (
            None  # after their Flatten: their channels, until a Linear takes its inputs in that order
        )
        self.padding: nn.SamePad | None = None

    def add(self, module: Module, path: str, last: bool) -> None:
        """A layer, or those of a container; ``last``: images have their channels last around it."""
        where = f"{self.where}: layer {path!r}"
        if isinstance(module, (nn.Sequential, nn.ChannelsLast)):
            for name, child in module.named_children():
                self.add(child, f"{path}.{name}" if path else name, last or isinstance(module, nn.ChannelsLast))
            return
        if self.padding is not None and not isinstance(module, nn.Conv2d):
            raise NotSupportedError(f"{where} is a {type(module).__name__}, but a Conv2d has to follow SamePad")
        for kinds, write in WRITERS:
            if type(module) in kinds:
                write(self, module, where, last)
                return
        raise NotSupportedError(f"{where} is a {type(module).__name__}, which ConvNet has not; {REMEDY}")

    def close(self) -> None:
        """After the last layer. Errors: NotSupportedError."""
        if self.order or self.channels is not None or self.padding:
            raise NotSupportedError(
                f"{self.where}: the model gives images, or such values, in an order that ConvNet does not: put its image "
                f"layers into ChannelsLast; {REMEDY}"
            )

    def put(self, name: str, config: dict[str, Any], **arrays: Any) -> None:
        """A layer with its config and its arrays."""
        for what, array in arrays.items():
            if array is not None:
                value = array if isinstance(array, np.ndarray) else array.detach().numpy()
                kept = value if value.dtype.name in KEPT else value.astype(np.float32)
                self.arrays[f"{len(self.layers)}_{name}_{what}"] = np.ascontiguousarray(kept)
        self.layers.append({"class": name, "config": config})

    def only(self, layer: Any, where: str, **allowed: Any) -> None:
        """Raise NotSupportedError if an argument of a layer is none that ConvNet can say."""
        for name, value in allowed.items():
            if getattr(layer, name) != value:
                raise NotSupportedError(
                    f"{where} ({type(layer).__name__}) has {name}={getattr(layer, name)!r}; ConvNet has {value!r} alone; "
                    + REMEDY
                )


def _linear(to: Writer, layer: Any, where: str, last: bool) -> None:
    if last or to.channels is not None:
        raise NotSupportedError(f"{where} (Linear) takes the width of images as its features: put a Flatten before it")
    weight = layer.weight.detach().numpy().T
    if to.order:
        if weight.shape[0] % to.order:
            raise NotSupportedError(f"{where} has {weight.shape[0]} inputs, which {to.order} channels do not divide")
        weight = weight.reshape(to.order, -1, weight.shape[1]).swapaxes(0, 1).reshape(weight.shape)
    to.order = None
    to.put("Dense", {"units": layer.out_features, "use_bias": layer.bias is not None}, W=weight, b=layer.bias)
    if layer.activation in ("gelu", "silu"):
        raise NotSupportedError(f"{where} (Linear) has activation={layer.activation!r}; {REMEDY}")
    if layer.activation:
        to.put("Activation", {"func": layer.activation})


def _conv(to: Writer, layer: Any, where: str, last: bool) -> None:
    to.only(layer, where, dilation=(1, 1), groups=1, padding_mode="zeros", stride=(layer.stride[0],) * 2)
    stride, even = layer.stride[0], tuple((k - 1) // 2 for k in layer.kernel_size)
    evenly = stride == 1 and layer.padding == even and all(k % 2 for k in layer.kernel_size)
    padding = "valid" if layer.padding in ("valid", (0, 0)) else "same" if evenly or layer.padding == "same" else None
    if to.padding is not None:
        around = [_twice(n) for n in (to.padding.kernel_size, to.padding.stride)]
        fits = padding == "valid" and around == [layer.kernel_size, layer.stride]
        padding, to.padding = "same" if fits else None, None
    if padding is None:
        raise NotSupportedError(
            f"{where} (Conv2d) has padding={layer.padding!r} at stride {stride}; ConvNet has 'valid', and 'same' as TensorFlow "
            f"has it; {REMEDY}"
        )
    to.channels = None if last else layer.out_channels
    to.put(
        "Conv2D",
        {
            "filters": layer.out_channels,
            "kernel_size": [*layer.kernel_size],
            "stride": stride,
            "padding": padding,
            "use_bias": layer.bias is not None,
        },
        W=turned(layer.weight.detach().numpy().transpose(2, 3, 1, 0), layer.kernel_size, stride, to.flipped),
        b=layer.bias,
    )


def _max_pool(to: Writer, layer: Any, where: str, last: bool) -> None:
    to.only(
        layer,
        where,
        padding=(0, 0),
        dilation=(1, 1),
        ceil_mode=False,
        return_indices=False,
        stride=(layer.stride[0],) * 2,
    )
    if not last and to.channels is None:
        to.channels = 0
    to.put("MaxPool2D", {"pool_size": [*layer.kernel_size], "stride": layer.stride[0]})


def _batch_norm(to: Writer, layer: Any, where: str, last: bool) -> None:
    to.only(layer, where, affine=True, track_running_stats=True)
    if layer.momentum is None:
        raise NotSupportedError(f"{where} (BatchNorm2d) has momentum=None; ConvNet has a number alone; {REMEDY}")
    to.channels = None if last else layer.num_features
    arrays = {name: getattr(layer, name) for name in RUNNING}
    config = {"momentum": round(1 - layer.momentum, 12), "eps": layer.eps}
    to.put("BatchNorm2D", config, gamma=layer.weight, beta=layer.bias, **arrays)


def _flatten(to: Writer, layer: Any, where: str, last: bool) -> None:
    to.only(layer, where, start_axis=1, end_axis=-1)
    if last:
        raise NotSupportedError(
            f"{where} (Flatten) stands in ChannelsLast, where it flattens channels first: put it after"
        )
    if to.channels == 0:
        raise NotSupportedError(f"{where} (Flatten): no layer before it says how many channels its images have")
    to.order, to.channels = None if to.channels == 1 else to.channels, None
    to.put("Flatten", {})


def _softmax(to: Writer, layer: Any, where: str, last: bool) -> None:
    to.only(layer, where, temperature=1.0)
    images = last or to.channels is not None
    if layer.axis != 1 and (images or layer.axis != -1):
        raise NotSupportedError(f"{where} (Softmax) has axis={layer.axis}; ConvNet's is over the channels; {REMEDY}")
    to.put("Activation", {"func": "softmax"})


def _activation(to: Writer, layer: Any, where: str, last: bool) -> None:
    to.put("Activation", {"func": type(layer).__name__.lower()})


def _dropout(to: Writer, layer: Any, where: str, last: bool) -> None:
    to.put("Dropout", {"rate": layer.p})


def _same_pad(to: Writer, layer: Any, where: str, last: bool) -> None:
    to.only(layer, where, dilation=(1,) * len(layer.dilation), value=0.0)
    to.padding = layer


def _twice(sizes: tuple[int, ...]) -> tuple[int, ...]:
    return sizes * 2 if len(sizes) == 1 else sizes


WRITERS: tuple[tuple[tuple[type, ...], Callable[..., None]], ...] = (
    ((nn.Linear,), _linear),
    ((nn.Conv2d,), _conv),
    ((nn.SamePad,), _same_pad),
    ((nn.MaxPool2d,), _max_pool),
    ((nn.BatchNorm2d,), _batch_norm),
    ((nn.Flatten,), _flatten),
    ((nn.ReLU, nn.Sigmoid, nn.Tanh), _activation),
    ((nn.Softmax,), _softmax),
    ((nn.Dropout,), _dropout),
    ((nn.Identity,), lambda to, layer, where, last: None),
)
