"""From convolutions, pooling, padding and resizing of Keras, which have channels last, to modules of ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import nn
from .keras_activations import followed, simple
from .keras_spec import Parts, Spec

LOWEST = float(np.finfo(np.float32).min)


def last(module: nn.Module, first: bool = False) -> nn.Module:
    """A module for channels where Keras has them."""
    return module if first else nn.ChannelsLast(module)


def after(before: nn.Module | None, name: str, module: nn.Module) -> nn.Module:
    """A module, after padding if there is some."""
    return module if before is None else nn.Sequential({"pad": before, name: module})


def padding(s: Spec, kernel: Any, stride: Any, dilation: Any) -> tuple[Any, nn.Module | None]:
    """The padding of a convolution, and what pads before it."""
    kind = s.choice("padding", "valid", ("valid", "same", "causal"))
    if kind == "causal":
        return 0, nn.Pad((dilation[0] * (kernel[0] - 1), 0))
    if kind == "same" and {*stride} != {1}:
        return 0, nn.SamePad(kernel, stride, dilation)
    return kind, None


def conv(axes: int, type_: Callable[..., nn.Module], own: Callable[[Spec], dict[str, Any]]) -> Callable[[Spec], Parts]:
    """Convolutions that have a padding, a stride and a dilation."""

    def convert(s: Spec) -> Parts:
        if s.version == 1 and s.first():
            raise s.refuse('kernels of Keras 1 with dim_ordering "th" are not read')
        kernel = s.sizes("kernel_size", axes)
        stride, dilation = s.sizes("strides", axes, 1), s.sizes("dilation_rate", axes, 1)
        pad, before = padding(s, kernel, stride, dilation)
        layer = type_(
            kernel_size=kernel, stride=stride, dilation=dilation, padding=pad, bias=s.flag("use_bias", True), **own(s)
        )
        return followed(s, last(after(before, "conv", layer), s.first()))

    return convert


def _filters(s: Spec) -> dict[str, Any]:
    return {"out_channels": s.size("filters"), "groups": s.size("groups") if s.get("groups") is not None else 1}


def _multiplied(s: Spec) -> dict[str, Any]:
    return {"depth_multiplier": s.size("depth_multiplier") if s.get("depth_multiplier") is not None else 1}


def transposed(axes: int, type_: Callable[..., nn.Module]) -> Callable[[Spec], Parts]:
    """Transposed convolutions."""

    def convert(s: Spec) -> Parts:
        kernel, stride = s.sizes("kernel_size", axes), s.sizes("strides", axes, 1)
        dilation, more = s.sizes("dilation_rate", axes, 1), s.get("output_padding")
        pad: Any = s.choice("padding", "valid", ("valid", "same"))
        extra: Any = 0
        if {*dilation} != {1}:
            raise s.refuse(f"dilation_rate {dilation} of a transposed convolution is not supported")
        if more not in (None, [None], [None] * axes):
            extra = tuple(more) if isinstance(more, (list, tuple)) else (more,) * axes
            if len(extra) != axes or any(type(n) is not int or not 0 <= n < max(stride) for n in extra):
                raise s.refuse(f"output_padding {str(more)[:60]} is not supported")
            if pad == "same":
                raise s.refuse("output_padding with padding 'same' is not supported")
            pad = 0
        elif pad == "valid":
            extra = tuple(max(t - k, 0) for k, t in zip(kernel, stride, strict=True))
        layer = type_(
            s.size("filters"), kernel_size=kernel, stride=stride, padding=pad, output_padding=extra,
            bias=s.flag("use_bias", True),
        )  # fmt: skip
        return followed(s, last(layer, s.first()))

    return convert


def pool(axes: int, type_: Callable[..., nn.Module], mean: bool) -> Callable[[Spec], Parts]:
    """Pooling by windows."""

    def convert(s: Spec) -> Parts:
        size = s.sizes("pool_size", axes, 2)
        stride = s.sizes("strides", axes, s.get("pool_size", 2))
        same = s.choice("padding", "valid", ("valid", "same")) == "same"
        k, t = (size, stride) if axes > 1 else (size[0], stride[0])
        if same and mean:
            body: nn.Module = nn.SameAvgPool(size, stride)
        else:
            body = after(nn.SamePad(size, stride, value=LOWEST) if same else None, "pool", type_(k, t))
        return [("", last(body, s.first()))]

    return convert


def pool_all(type_: Callable[[], nn.Module]) -> Callable[[Spec], Parts]:
    """Pooling over all of a channel."""

    def convert(s: Spec) -> Parts:
        kept = s.flag("keepdims", False)
        body = type_() if kept else nn.Sequential({"pool": type_(), "flat": nn.Flatten()})
        return [("", last(body, s.first()))]

    return convert


def padded(axes: int, sign: int) -> Callable[[Spec], Parts]:
    """ZeroPadding and Cropping: of (n, ..., channels), or with channels first."""

    def convert(s: Spec) -> Parts:
        ends = s.ends("padding" if sign > 0 else "cropping", axes)
        widths = [sign * n for pair in reversed(ends) for n in pair]
        return [("", nn.Pad(widths if s.first() else [0, 0, *widths]))]

    return convert


def upsampled(axes: int) -> Callable[[Spec], Parts]:
    def convert(s: Spec) -> Parts:
        size: Any = s.sizes("size", axes, 2)
        mode = s.choice("interpolation", "nearest", ("nearest", "bilinear"))
        return [("", last(nn.Upsample(scale_factor=size if axes > 1 else size[0], mode=mode), s.first()))]

    return convert


LAYERS: dict[str, Callable[[Spec], Parts]] = {
    "Conv1D": conv(1, nn.Conv1d, _filters),
    "Conv2D": conv(2, nn.Conv2d, _filters),
    "Conv3D": conv(3, nn.Conv3d, _filters),
    "DepthwiseConv1D": conv(1, nn.DepthwiseConv1d, _multiplied),
    "DepthwiseConv2D": conv(2, nn.DepthwiseConv2d, _multiplied),
    "SeparableConv1D": conv(1, nn.SeparableConv1d, lambda s: {"out_channels": s.size("filters"), **_multiplied(s)}),
    "SeparableConv2D": conv(2, nn.SeparableConv2d, lambda s: {"out_channels": s.size("filters"), **_multiplied(s)}),
    "Conv1DTranspose": transposed(1, nn.ConvTranspose1d),
    "Conv2DTranspose": transposed(2, nn.ConvTranspose2d),
    "MaxPooling1D": pool(1, nn.MaxPool1d, False),
    "MaxPooling2D": pool(2, nn.MaxPool2d, False),
    "AveragePooling1D": pool(1, nn.AvgPool1d, True),
    "AveragePooling2D": pool(2, nn.AvgPool2d, True),
    "GlobalAveragePooling1D": pool_all(nn.GlobalAvgPool1d),
    "GlobalAveragePooling2D": pool_all(nn.GlobalAvgPool2d),
    "GlobalMaxPooling1D": pool_all(nn.GlobalMaxPool1d),
    "GlobalMaxPooling2D": pool_all(nn.GlobalMaxPool2d),
    "ZeroPadding1D": padded(1, 1),
    "ZeroPadding2D": padded(2, 1),
    "ZeroPadding3D": padded(3, 1),
    "Cropping1D": padded(1, -1),
    "Cropping2D": padded(2, -1),
    "Cropping3D": padded(3, -1),
    "UpSampling1D": upsampled(1),
    "UpSampling2D": upsampled(2),
    "SpatialDropout1D": simple(lambda s: last(nn.Dropout1d(s.number("rate")))),
    "SpatialDropout2D": simple(lambda s: last(nn.Dropout2d(s.number("rate")), s.first())),
}
