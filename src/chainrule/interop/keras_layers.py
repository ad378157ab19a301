"""From a layer of Keras to modules of ours: what it computes. Keras has channels last, and so have these."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .. import nn
from ..domain.errors import FileFormatError
from . import keras_activations, keras_windows
from .keras_activations import followed, simple
from .keras_spec import Parts, Spec
from .keras_windows import last


def dense(s: Spec) -> Parts:
    return followed(s, nn.Linear(s.size("units"), bias=s.flag("use_bias", True)))


def batch_norm(s: Spec) -> Parts:
    if s.version == 1:
        s.only(mode=0)
    s.only(renorm=False)
    rank, axis = s.axes(), s.axis()
    if rank not in (2, 3, 4, 5) or axis not in (1, rank - 1):
        raise s.refuse(f"axis {axis} of {rank} axes is not supported, only the channels, first or last")
    type_ = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}[rank]
    affine = s.flag("scale", True) or s.flag("center", True)
    layer = type_(eps=s.number("epsilon", 1e-3), momentum=1 - s.number("momentum", 0.99), affine=affine)
    return [("", last(layer, rank == 2 or axis == 1))]


def layer_norm(s: Spec) -> Parts:
    s.only(rms_scaling=False)
    given = s.get("axis", -1)
    axes = [*given] if isinstance(given, (list, tuple)) else [given]
    if any(type(a) is not int for a in axes) or not axes:
        raise s.refuse(f"axis {str(given)[:60]} is not supported")
    if axes != [*range(-len(axes), 0)]:
        axes = sorted(a - s.axes() if a >= 0 else a for a in axes)
    if axes != [*range(-len(axes), 0)]:
        raise s.refuse(f"axis {given} is not supported, only the last axes")
    scale, center = s.flag("scale", True), s.flag("center", True)
    affine, arrays = scale or center, s.arrays()
    if len(axes) > 1 and not arrays:
        raise s.refuse("without weights the shape of its axes is not known")
    shape = arrays[0].shape if len(axes) > 1 else None
    layer = nn.LayerNorm(shape, s.number("epsilon", 1e-3), affine, affine and center)
    return [("", layer)]


def group_norm(s: Spec) -> Parts:
    rank, axis, groups = s.axes(), s.axis(), s.get("groups", 32)
    if axis not in (1, rank - 1):
        raise s.refuse(f"axis {axis} of {rank} axes is not supported, only the channels, first or last")
    if groups == -1:
        if not s.arrays():
            raise s.refuse("groups=-1 without weights is not supported: the number of channels is not known")
        groups = s.arrays()[0].shape[0]
    affine = s.flag("scale", True) or s.flag("center", True)
    if type(groups) is not int or groups < 1:
        raise s.refuse(f"groups {groups!r} is not supported")
    return [("", last(nn.GroupNorm(groups, eps=s.number("epsilon", 1e-3), affine=affine), rank == 2 or axis == 1))]


def recurrent(s: Spec) -> Parts:
    """LSTM, GRU, SimpleRNN."""
    s.only(stateful=False, time_major=False)
    if s.get("dropout", 0) or s.get("recurrent_dropout", 0):
        warned(s, "its dropout inside the steps is left out")
    options: dict[str, Any] = {
        "bias": s.flag("use_bias", True),
        "return_sequences": s.flag("return_sequences", False),
        "return_state": s.flag("return_state", False),
        "batch_first": True,
    }
    units, inner = s.size("units"), s.get("activation", "tanh")
    inner = inner.get("config") if isinstance(inner, Mapping) else inner
    if s.kind == "SimpleRNN":
        if inner not in ("tanh", "relu"):
            raise s.refuse(f"the activation {str(inner)[:60]!r} is not supported, only tanh and relu")
        layer: nn.Module = nn.RNN(units, nonlinearity=inner, **options)
    else:
        gate = s.get("recurrent_activation", "sigmoid" if s.version > 2 else "hard_sigmoid")
        gate = gate.get("config") if isinstance(gate, Mapping) else gate
        plain = inner == "tanh" and gate == "sigmoid"
        if not plain:
            gate = "hard_sigmoid_fifth" if gate == "hard_sigmoid" and s.version < 3 else gate
            inner = "hard_sigmoid_fifth" if inner == "hard_sigmoid" and s.version < 3 else inner
            for name in (inner, gate):
                if not isinstance(name, str) or name not in nn.gated.FUNCTIONS:
                    raise s.refuse(f"the activation {str(name)[:60]!r} is not supported in a recurrent layer")
            options |= {"activation": inner, "recurrent_activation": gate}
        if s.kind == "GRU":
            options["reset_after"] = s.flag("reset_after", s.version > 2)
        kinds: dict[str, Any] = {"GRU": (nn.GRU, nn.GatedGRU), "LSTM": (nn.LSTM, nn.GatedLSTM)}
        layer = kinds[s.kind][0 if plain else 1](units, **options)
    return ([("reversed", nn.Flip(1))] if s.flag("go_backwards", False) else []) + [("", layer)]


def bidirectional(s: Spec) -> Parts:
    inside = Spec(s.get("layer"), s.stored, s.rank, s.version, s.where)
    if inside.kind not in ("LSTM", "GRU", "SimpleRNN"):
        raise s.refuse(f"around a {inside.written} is not supported, only LSTM, GRU and SimpleRNN")
    parts = recurrent(inside)
    if len(parts) > 1:
        raise s.refuse("its forward layer goes backwards")
    if "backward_layer" in s.config:
        back = Spec(s.config["backward_layer"], s.stored, s.rank, s.version, s.where)
        same = ("units", "activation", "recurrent_activation", "use_bias", "reset_after", "return_sequences")
        if back.kind != inside.kind or any(back.get(key) != inside.get(key) for key in same):
            raise s.refuse("its two layers differ in more than their weights")
        s.only(return_state=False)
    mode = s.config.get("merge_mode", "concat")
    if mode not in ("concat", "sum", "mul", "ave"):
        raise s.refuse(f"merge_mode {str(mode)[:40]} is not supported, only concat, sum, mul, ave")
    layer: Any = parts[0][1]
    return [("", nn.Bidirectional(layer, merge_mode=mode))]


def embedding(s: Spec) -> Parts:
    if s.get("embeddings_constraint") is not None:
        warned(s, "its constraint is left out")
    if s.get("lora_rank") is not None or s.get("dropout", 0):
        raise s.refuse("lora_rank and dropout are not supported")
    size = s.size("output_dim"), s.size("input_dim")
    if sum(a.shape == size[::-1] for a in s.arrays()) != 1:  # before memory is taken
        raise FileFormatError(f"{s.where}: {s.known} has {[a.shape for a in s.arrays()]}, expected one {size[::-1]}")
    return [("", nn.Embedding(size[1], size[0], mask_zero=s.flag("mask_zero", False)))]


def prelu(s: Spec) -> Parts:
    rank, arrays = s.axes(), s.arrays()
    if not arrays:
        raise s.refuse("without weights the number of its slopes is not known")
    shape = arrays[0].shape
    if len(shape) != rank - 1 or any(n != 1 for n in shape[:-1]):
        raise s.refuse(f"slopes of shape {shape} are not supported, only one for each channel (shared_axes)")
    return [("", last(nn.PReLU(shape[-1]), rank == 2))]


def flat(s: Spec) -> Parts:
    if not s.first() or s.rank == 2:
        return [("", nn.Flatten())]
    rank = s.axes()
    return [("channels", nn.Permute((0, *range(2, rank), 1))), ("", nn.Flatten())]


def normalization(s: Spec) -> Parts:
    axis = s.get("axis", -1)
    axes = [*axis] if isinstance(axis, (list, tuple)) else [axis]
    s.only(invert=False)
    if axes not in ([-1], []) and (s.rank is None or axes != [s.rank - 1]):
        raise s.refuse(f"axis {axis} is not supported, only the last")
    if "mean" in s.config and s.config["mean"] is not None:
        mean, variance = (np.array(s.config.get(key), dtype=float).ravel() for key in ("mean", "variance"))
    else:
        arrays = s.arrays()
        if len(arrays) not in (2, 3):
            raise FileFormatError(f"{s.where}: {s.known} has {len(arrays)} arrays, expected mean, variance and count")
        mean, variance = (np.array(a.read(), dtype=float).ravel() for a in arrays[:2])
    if mean.shape != variance.shape or not mean.size:
        raise FileFormatError(f"{s.where}: {s.known} has means {mean.shape} and variances {variance.shape}")
    scale = 1 / np.maximum(np.sqrt(variance), 1e-7)
    return [("", nn.Rescaling(scale.tolist(), (-mean * scale).tolist()))]


def attention(s: Spec) -> Parts:
    s.only(use_gate=False, sliding_window=None, flash_attention=None)
    heads, size, rank = s.size("num_heads"), s.size("key_dim"), len(s.arrays()) and len(s.arrays()[0].shape)
    arrays, bias = s.arrays(), s.flag("use_bias", True)
    if len(arrays) != (8 if bias else 4) or rank != 3:
        raise FileFormatError(f"{s.where}: {s.known} has {len(arrays)} arrays, expected {8 if bias else 4}")
    query, key, value, out = arrays[:: 2 if bias else 1]
    width = heads * size
    if s.get("value_dim", size) != size or query.shape[0] != width or out.shape != (heads, size, width):
        raise s.refuse(
            f"queries of {query.shape[0]} features, {heads} heads of {size} and of {s.get('value_dim', size)} for values, "
            f"results of {out.shape[-1:]} are not supported: queries and results need num_heads * key_dim features"
        )
    options = {"kdim": key.shape[0], "vdim": value.shape[0]}
    return [("", nn.MultiHeadAttention(width, heads, s.number("dropout", 0.0), bias, **options))]


def warned(s: Spec, what: str) -> None:
    """Say what is left out because it changes training alone."""
    warnings.warn(f"{s.where}: {s.known}: {what}", stacklevel=2)


def noise(s: Spec) -> Parts:
    warned(s, "left out; it acts in training alone")
    return [("", nn.Identity())]


def dropout(s: Spec) -> Parts:
    if s.get("noise_shape") is not None:
        raise s.refuse("noise_shape is not supported")
    return [("", nn.Dropout(s.number("rate")))]


def reshaped(s: Spec) -> nn.Module:
    return nn.Reshape(tuple(-1 if n is None else n for n in s.get("target_shape") or ()))


def rescaled(s: Spec) -> nn.Module:
    values = [s.get(key, default) for key, default in (("scale", 1.0), ("offset", 0.0))]
    if any(not isinstance(n, (int, float)) for v in values for n in (v if isinstance(v, list) else [v])):
        raise s.refuse(f"scale {str(values[0])[:40]} and offset {str(values[1])[:40]} are not supported")
    return nn.Rescaling(*values)


LAYERS: dict[str, Callable[[Spec], Parts]] = {
    **keras_activations.LAYERS,
    **keras_windows.LAYERS,
    "Dense": dense,
    "BatchNormalization": batch_norm,
    "LayerNormalization": layer_norm,
    "GroupNormalization": group_norm,
    "LSTM": recurrent,
    "GRU": recurrent,
    "SimpleRNN": recurrent,
    "Bidirectional": bidirectional,
    "Embedding": embedding,
    "Masking": simple(lambda s: nn.Masking(s.number("mask_value", 0.0))),
    "PReLU": prelu,
    "Flatten": flat,
    "Reshape": simple(reshaped),
    "Permute": simple(lambda s: nn.Permute((0, *s.integers("dims")))),
    "RepeatVector": simple(lambda s: nn.RepeatVector(s.size("n"))),
    "Dropout": dropout,
    "AlphaDropout": simple(lambda s: nn.AlphaDropout(s.number("rate"))),
    "GaussianDropout": noise,
    "GaussianNoise": noise,
    "ActivityRegularization": noise,
    "Identity": simple(lambda s: nn.Identity()),
    "Rescaling": simple(rescaled),
    "Normalization": normalization,
    "MultiHeadAttention": attention,
}


def made(s: Spec) -> Parts:
    """The modules of a layer. Errors: Refusal; FileFormatError for arguments that no Keras writes."""
    if s.kind in ("Lambda", "TFOpLambda", "SlicingOpLambda"):
        raise s.refuse(
            "the code in it is not run; rebuild it from layers, and take its weights with load_keras_weights"
        )
    if s.kind not in LAYERS or str(s.entry.get("module", "keras.layers")).split(".")[0] not in ("keras", "tensorflow"):
        raise s.refuse("is not supported")
    return LAYERS[s.kind](s)


def rank_after(s: Spec, rank: int | None) -> int | None:
    """How many axes the result has, of an input with ``rank``."""
    if s.kind in ("Flatten",) or (s.kind.startswith("Global") and not s.get("keepdims", False)):
        return 2
    if s.kind == "Reshape":
        return 1 + len(s.get("target_shape") or ())
    if s.kind == "Embedding" and rank is not None:
        return rank + 1
    if s.kind in ("LSTM", "GRU", "SimpleRNN", "Bidirectional"):
        inner = s.get("layer")
        config = inner.get("config", {}) if isinstance(inner, Mapping) else s.config
        return 3 if isinstance(config, Mapping) and config.get("return_sequences") else 2
    return 3 if s.kind == "RepeatVector" else rank
