"""From modules of ours to layers of Keras 3: their classes, their arguments, their arrays and where these lie in a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import nn
from .keras_layouts import layout
from .keras_spec import Refusal


class Weight(NamedTuple):
    """An array, and what Keras calls it."""

    name: str
    values: Any


class Written(NamedTuple):
    """A layer of Keras; ``arrays`` by their places in its group."""

    kind: str
    config: dict[str, Any]
    arrays: dict[str, Weight]


ACTIVATIONS: dict[type[nn.Module], str] = {
    nn.ReLU: "relu", nn.ReLU6: "relu6", nn.Sigmoid: "sigmoid", nn.Tanh: "tanh", nn.LogSigmoid: "log_sigmoid",
    nn.SELU: "selu", nn.SiLU: "silu", nn.Mish: "mish", nn.Softsign: "softsign", nn.HardSigmoid: "hard_sigmoid",
    nn.HardSwish: "hard_silu",
}  # fmt: skip
POOLS: dict[type[nn.Module], str] = {
    nn.MaxPool1d: "MaxPooling1D", nn.MaxPool2d: "MaxPooling2D", nn.AvgPool1d: "AveragePooling1D",
    nn.AvgPool2d: "AveragePooling2D", nn.GlobalAvgPool1d: "GlobalAveragePooling1D", nn.GlobalMaxPool1d: "GlobalMaxPooling1D",
    nn.GlobalAvgPool2d: "GlobalAveragePooling2D", nn.GlobalMaxPool2d: "GlobalMaxPooling2D",
}  # fmt: skip
CONVS: dict[type[nn.Module], str] = {
    nn.Conv1d: "Conv1D", nn.Conv2d: "Conv2D", nn.Conv3d: "Conv3D", nn.DepthwiseConv1d: "DepthwiseConv1D",
    nn.DepthwiseConv2d: "DepthwiseConv2D", nn.SeparableConv1d: "SeparableConv1D", nn.SeparableConv2d: "SeparableConv2D",
    nn.ConvTranspose1d: "Conv1DTranspose", nn.ConvTranspose2d: "Conv2DTranspose",
}  # fmt: skip
RECURRENT: dict[type[nn.Module], str] = {nn.RNN: "SimpleRNN", nn.GRU: "GRU", nn.LSTM: "LSTM"}
DROPOUTS: dict[type[nn.Module], str] = {nn.Dropout: "Dropout", nn.AlphaDropout: "AlphaDropout"}
CHANNELS: dict[type[nn.Module], str] = {nn.Dropout1d: "SpatialDropout1D", nn.Dropout2d: "SpatialDropout2D"}


def refuse(module: nn.Module, why: str) -> Refusal:
    """Why a module cannot be written."""
    return Refusal(f"{type(module).__name__}: {why}")


def values(module: nn.Module) -> list[Weight]:
    """The arrays of a module, in Keras's order."""
    state = {name: value.numpy() for name, value in module.state_dict().items()}
    return [Weight(e.name, np.ascontiguousarray(e.write(state), "float32")) for e in layout(module)]


def numbered(arrays: Sequence[Weight], within: str = "") -> dict[str, Weight]:
    """Arrays by their numbers."""
    return {f"{within}vars/{i}": array for i, array in enumerate(arrays)}


def written(module: nn.Module, first: bool = True, same: nn.SamePad | None = None) -> Iterator[Written]:
    """The layers of a module. ``first``: its channels are; ``same``: the padding before it. Errors: Refusal."""
    kind = type(module)
    if same is not None and kind not in CONVS and kind not in POOLS:
        raise refuse(module, "cannot come after SamePad")
    if isinstance(module, nn.ChannelsLast):
        yield from _channels_last(next(module.children()))
    elif kind in ACTIVATIONS:
        yield Written("Activation", {"activation": ACTIVATIONS[kind]}, {})
    elif kind in CONVS:
        yield from _conv(module, first, same)
    elif kind in POOLS:
        yield from _pool(module, first, same)
    elif kind in RECURRENT:
        yield _recurrent(module)
    elif kind in DROPOUTS or kind in CHANNELS:
        if kind in CHANNELS and first:
            raise refuse(module, "with channels first has no counterpart; put it into nn.ChannelsLast")
        yield Written(DROPOUTS.get(kind) or CHANNELS[kind], {"rate": float(vars(module)["p"])}, {})
    elif kind in SIMPLE:
        yield SIMPLE[kind](module)
    elif isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)):
        if module.running_mean is None or module.momentum is None:
            raise refuse(module, "without running statistics, or with their mean over all batches, has no counterpart")
        config = {"axis": 1 if first else -1, "epsilon": module.eps, "momentum": 1 - module.momentum}
        config |= {"scale": module.weight is not None, "center": module.bias is not None}
        yield Written("BatchNormalization", config, numbered(values(module)))
    elif isinstance(module, nn.GroupNorm):
        affine = module.weight is not None
        config = {"groups": module.num_groups, "axis": 1 if first else -1, "epsilon": module.eps}
        yield Written("GroupNormalization", {**config, "scale": affine, "center": affine}, numbered(values(module)))
    elif isinstance(module, nn.Pad):
        yield _padded(module, first)
    elif isinstance(module, nn.Softmax) and module.temperature == 1:
        axis = module.axis if first or module.axis != 1 else -1
        if not first and module.axis != 1:
            raise refuse(module, "within ChannelsLast is written for the channels only")
        yield Written("Softmax", {"axis": axis}, {})
    elif isinstance(module, nn.Upsample) and module.scale_factor is not None and not module.align_corners:
        size, mode = module.scale_factor, "nearest" if module.mode == "nearest" else "bilinear"
        both = [*size] if isinstance(size, (tuple, list)) else [size, size]
        if module.mode == "linear" or any(int(n) != n for n in both) or len(both) != 2:
            raise refuse(module, "is written for images and whole factors only")
        yield Written("UpSampling2D", {"size": [int(n) for n in both], "interpolation": mode, **formatted(first)}, {})
    else:
        raise refuse(module, "has no counterpart that is written")


def formatted(first: bool) -> dict[str, str]:
    """Where the channels are."""
    return {"data_format": "channels_first" if first else "channels_last"}


def _padded(module: nn.Pad, first: bool) -> Written:
    """Of (n, ..., channels) there is nothing to do at the last axis."""
    ends = [[before, after] for before, after in zip(module.pad[::2], module.pad[1::2], strict=True)][::-1]
    if first and ends[-1] == [0, 0]:
        ends, first = ends[:-1], False
    flat = [n for pair in ends for n in pair]
    if module.mode != "constant" or module.value or not 1 <= len(ends) <= 3 or min(flat) < 0 < max(flat):
        raise refuse(module, "is written for zeros, or for what is cut off, along one to three axes only")
    kind, key, sign = ("Cropping", "cropping", -1) if min(flat) < 0 else ("ZeroPadding", "padding", 1)
    sizes = [[sign * n for n in pair] for pair in ends]
    return Written(f"{kind}{len(ends)}D", {key: sizes if len(sizes) > 1 else sizes[0], **formatted(first)}, {})


def _channels_last(body: nn.Module) -> Iterator[Written]:
    inner = [*body] if isinstance(body, nn.Sequential) else [body]
    same, pooled = None, False
    for module in inner:
        if isinstance(module, nn.SamePad):
            same = module
        elif isinstance(module, nn.Flatten):
            if not pooled:
                raise refuse(module, "within ChannelsLast is written after global pooling only")
            yield Written("Flatten", {}, {})
        else:
            yield from written(module, False, same)
            same, pooled = None, type(module).__name__.startswith("Global")
    if same is not None:
        raise refuse(same, "has no layer after it")


def _fits(same: nn.SamePad | None, kernel: Any, stride: Any, dilation: Any = 1) -> bool:
    """Whether padding is that of a layer."""
    given = [nn.conv.each(v) for v in (kernel, stride, dilation)]
    n = max(map(len, given))
    own = [] if same is None else [same.kernel_size, same.stride, same.dilation]
    return [v * n if len(v) == 1 else v for v in own] == [v * n if len(v) == 1 else v for v in given]


def _conv(module: Any, first: bool, same: nn.SamePad | None) -> Iterator[Written]:
    inner = module.depthwise if isinstance(module, (nn.SeparableConv1d, nn.SeparableConv2d)) else module
    kernel, stride, dilation = (nn.conv.each(v) for v in (inner.kernel_size, inner.stride, inner.dilation))
    if inner.padding_mode != "zeros":
        raise refuse(module, f"padding_mode {inner.padding_mode!r} has no counterpart")
    transposed = isinstance(module, (nn.ConvTranspose1d, nn.ConvTranspose2d))
    padding, config = (
        inner.padding,
        {"kernel_size": [*kernel], "strides": [*stride], "use_bias": module.bias is not None},
    )
    if transposed:
        more = nn.conv.each(module.output_padding)
        if module.groups != 1 or {*dilation} != {1} or padding not in ("same", "valid", 0, (0, 0)) or module.axes > 2:
            raise refuse(module, "is written without groups and dilation, with padding 'same', 'valid' or 0 only")
        if padding != "same":
            config["output_padding"] = [*more]
    else:
        config["dilation_rate"] = [*dilation]
        if not isinstance(module, (nn.DepthwiseConv1d, nn.DepthwiseConv2d, nn.SeparableConv1d, nn.SeparableConv2d)):
            config["groups"] = module.groups
    if not isinstance(module, (nn.DepthwiseConv1d, nn.DepthwiseConv2d)):
        config["filters"] = module.out_channels
    if hasattr(inner, "depth_multiplier"):
        config["depth_multiplier"] = inner.depth_multiplier
    if same is not None:
        if not _fits(same, kernel, stride, dilation) or padding not in ("valid", 0, (0,) * len(kernel)) or same.value:
            raise refuse(module, "does not fit the SamePad before it")
        padding = "same"
    if not isinstance(padding, str):
        if any(nn.conv.each(padding)):
            yield Written(
                f"ZeroPadding{len(kernel)}D",
                {
                    "padding": [[n, n] for n in nn.conv.each(padding)] if len(kernel) > 1 else [padding, padding],
                    **formatted(first),
                },
                {},
            )
        padding = "valid"
    yield Written(CONVS[type(module)], {**config, "padding": padding, **formatted(first)}, numbered(values(module)))


def _pool(module: Any, first: bool, same: nn.SamePad | None) -> Iterator[Written]:
    name = POOLS[type(module)]
    if name.startswith("Global"):
        yield Written(name, {"keepdims": True, **formatted(first)}, {})
        return
    if module.ceil_mode or getattr(module, "return_indices", False) or any(nn.conv.each(module.padding)):
        raise refuse(module, "with padding, ceil_mode or return_indices has no counterpart")
    if any(n != 1 for n in nn.conv.each(getattr(module, "dilation", 1))):
        raise refuse(module, "with dilation has no counterpart")
    if same is not None and not (
        _fits(same, module.kernel_size, module.stride) and "Max" in name and same.value < -1e38
    ):
        raise refuse(module, "does not fit the SamePad before it")
    size = {"pool_size": [*nn.conv.each(module.kernel_size)], "strides": [*nn.conv.each(module.stride)]}
    yield Written(name, {**size, "padding": "valid" if same is None else "same", **formatted(first)}, {})


def _recurrent(module: Any) -> Written:
    if not module.batch_first or module.num_layers > 1 or module.bidirectional or not module.keras_compat:
        raise refuse(module, "is written with batch_first=True, one layer and one direction only; see nn.Bidirectional")
    config = {"units": module.hidden_size, "use_bias": module.bias, "return_sequences": bool(module.return_sequences)}
    config["return_state"] = bool(module.return_state)
    if isinstance(module, nn.GRU):
        config["reset_after"] = module.reset_after
    if isinstance(module, nn.RNN):
        config["activation"] = module.nonlinearity
    return Written(RECURRENT[type(module)], config, numbered(values(module), "cell/"))


def _bidirectional(module: Any) -> Written:
    there = _recurrent(module.forward_layer)
    if bool(module.return_sequences) != there.config["return_sequences"] or module.return_state:
        raise refuse(module, "is written as its layer returns, and without the state")
    arrays = values(module)
    half = len(arrays) // 2
    inner = [entry(Written(there.kind, {**there.config, "go_backwards": back}, {}), name) for back, name in
             ((False, "forward_layer"), (True, "backward_layer"))]  # fmt: skip
    return Written(
        "Bidirectional",
        {"merge_mode": module.merge_mode, "layer": inner[0], "backward_layer": inner[1]},
        {**numbered(arrays[:half], "forward_layer/cell/"), **numbered(arrays[half:], "backward_layer/cell/")},
    )


def _attention(module: Any) -> Written:
    if module.num_kv_heads != module.num_heads or module.rotary or not module.batch_first:
        raise refuse(module, "is written with batch_first, without rotary positions and shared heads only")
    arrays, each = values(module), 2 if module.bias else 1
    config = {
        "num_heads": module.num_heads,
        "key_dim": module.head_dim,
        "dropout": module.dropout,
        "use_bias": module.bias,
    }
    found: dict[str, Weight] = {}
    for i, part in enumerate(("query_dense", "key_dense", "value_dense", "output_dense")):
        found |= numbered(arrays[i * each : (i + 1) * each], f"{part}/")
    return Written("MultiHeadAttention", config, found)


def _each_step(module: Any) -> Written:
    inner = [*written(module.layer)]
    if len(inner) != 1:
        raise refuse(module, "around several layers is not written")
    arrays = {f"layer/{place}": array for place, array in inner[0].arrays.items()}
    return Written("TimeDistributed", {"layer": entry(inner[0], "inner")}, arrays)


def _linear(module: Any) -> Written:
    config = {
        "units": module.out_features,
        "use_bias": module.bias is not None,
        "activation": module.activation or "linear",
    }
    return Written("Dense", config, numbered(values(module)))


def _layer_norm(module: Any) -> Written:
    n = len(module.normalized_shape or (0,))
    config = {"axis": [*range(-n, 0)], "epsilon": module.eps, "scale": module.weight is not None}
    return Written("LayerNormalization", {**config, "center": module.bias is not None}, numbered(values(module)))


def _flatten(module: Any) -> Written:
    if (module.start_axis, module.end_axis) != (1, -1):
        raise refuse(module, "is written for all axes but the batch only")
    return Written("Flatten", {}, {})


def _permute(module: Any) -> Written:
    if module.axes[0] != 0:
        raise refuse(module, "is written with the batch first only")
    return Written("Permute", {"dims": [*module.axes[1:]]}, {})


def _embedding(module: Any) -> Written:
    sizes = {"input_dim": module.num_embeddings, "output_dim": module.embedding_dim, "mask_zero": module.mask_zero}
    return Written("Embedding", sizes, numbered(values(module)))


def plain(kind: str, **names: str) -> Callable[[Any], Written]:
    """A layer without weights: its arguments, and ours."""
    return lambda module: Written(kind, {theirs: _json(getattr(module, own)) for theirs, own in names.items()}, {})


def _json(value: Any) -> Any:
    return [*value] if isinstance(value, tuple) else value


def _gelu(module: Any) -> Written:
    if module.approximate == "tanh":
        raise refuse(module, "approximate='tanh' has no name in Keras")
    return Written("Activation", {"activation": "gelu"}, {})


SIMPLE: dict[type[nn.Module], Callable[[Any], Written]] = {
    nn.Linear: _linear,
    nn.Embedding: _embedding,
    nn.LayerNorm: _layer_norm,
    nn.Bidirectional: _bidirectional,
    nn.MultiHeadAttention: _attention,
    nn.TimeDistributed: _each_step,
    nn.Flatten: _flatten,
    nn.Permute: _permute,
    nn.GELU: _gelu,
    nn.Reshape: plain("Reshape", target_shape="shape"),
    nn.RepeatVector: plain("RepeatVector", n="times"),
    nn.Rescaling: plain("Rescaling", scale="scale", offset="offset"),
    nn.LeakyReLU: plain("LeakyReLU", negative_slope="negative_slope"),
    nn.ELU: plain("ELU", alpha="alpha"),
    nn.Masking: plain("Masking", mask_value="mask_value"),
    nn.Identity: plain("Identity"),
}


def entry(layer: Written, name: str) -> dict[str, Any]:
    """A layer as config.json has it."""
    return {
        "module": "keras.layers",
        "class_name": layer.kind,
        "config": {"name": name, "dtype": "float32", **layer.config},
        "registered_name": None,
    }
