"""Normalization in ONNX."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import ops
from ...creation import rand
from .operators import axes_in, constant, operator
from .shape import padded


@operator("BatchNormalization")
def batch_normalization(
    x: Any, scale: Any, bias: Any, mean: Any, var: Any, *, epsilon: float = 1e-5, momentum: float = 0.9,
    training_mode: int = 0, spatial: int = 1, is_test: int = 1, outputs: int,
) -> Any:  # fmt: skip
    """With the statistics of the file, also while the model is trained; with ``training_mode`` with those of the batch."""
    if not training_mode:
        return ops.batch_norm_eval(x, scale, bias, mean, var, eps=epsilon)
    axes = tuple(i for i in range(x.ndim) if i != 1)
    var_now, mean_now = ops.var_mean(x, axis=axes, correction=0)
    y = ops.batch_norm_eval(x, scale, bias, mean_now, var_now, eps=epsilon)
    now = [old * momentum + new * (1 - momentum) for old, new in ((mean, mean_now), (var, var_now))]
    return (y, *now)[:outputs]


@operator("InstanceNormalization")
def instance_normalization(x: Any, scale: Any, bias: Any, *, epsilon: float = 1e-5) -> Any:
    """Each channel of each sample."""
    return ops.group_norm(x, scale, bias, num_groups=x.shape[1], eps=epsilon)


@operator("GroupNormalization")
def group_normalization(
    x: Any, scale: Any, bias: Any, *, num_groups: int, epsilon: float = 1e-5, stash_type: int = 1, opset: int
) -> Any:
    """Groups of channels of each sample; before opset 21 the scale is that of a group."""
    if opset < 21 and scale.shape[0] == num_groups:
        each = x.shape[1] // num_groups
        scale, bias = (ops.expand(v.reshape(-1, 1), shape=(num_groups, each)).reshape(-1) for v in (scale, bias))
    return ops.group_norm(x, scale, bias, num_groups=num_groups, eps=epsilon)


@operator("LayerNormalization")
def layer_normalization(
    x: Any, scale: Any, bias: Any = None, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1, outputs: int
) -> Any:
    """Over the axes from ``axis`` on; if asked for, also the mean and one over the deviation."""
    (axis,) = axes_in(x, axis)
    shape = x.shape[axis:]
    if outputs == 1 and scale.shape == shape and (bias is None or bias.shape == shape):
        return ops.layer_norm(x, scale, bias, normalized_shape=shape, eps=epsilon)
    axes = tuple(range(axis, x.ndim))
    var, mean = ops.var_mean(x, axis=axes, correction=0, keepdims=True)
    factor = ops.reciprocal(ops.sqrt(var + epsilon))
    y = (x - mean) * factor * scale
    return (y if bias is None else y + bias, mean, factor)[:outputs]


@operator("RMSNormalization")
def rms_normalization(x: Any, scale: Any, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1) -> Any:
    """By the root of the mean square over the axes from ``axis`` on."""
    (axis,) = axes_in(x, axis)
    return ops.rms_norm(x, None, normalized_shape=x.shape[axis:], eps=epsilon) * scale


@operator("LRN")
def lrn(x: Any, *, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0) -> Any:
    """Through a power of the mean square of the neighbouring channels (Krizhevsky et al., 2012)."""
    before, after = (size - 1) // 2, size - 1 - (size - 1) // 2
    squares = padded(x * x, {1: (before, after)})
    total = squares[:, : x.shape[1]]
    for i in range(1, size):
        total = total + squares[:, i : i + x.shape[1]]
    return x / ops.pow(bias + alpha / size * total, beta)


@operator("LpNormalization")
def lp_normalization(x: Any, *, axis: int = -1, p: int = 2) -> Any:
    """By the 1- or 2-norm along an axis; 0 where that is 0."""
    total = ops.sum(ops.abs(x) if p == 1 else x * x, axis=axis, keepdims=True)
    nothing = ops.eq(total, 0)
    safe = ops.where(nothing, 1.0, total)
    y = x / (safe if p == 1 else ops.sqrt(safe))
    return ops.where(nothing, 0.0, y)


@operator("MeanVarianceNormalization")
def mean_variance_normalization(x: Any, *, axes: Any = (0, 2, 3)) -> Any:
    """Mean 0 and deviation 1 over some axes."""
    axes = axes_in(x, axes)
    var, mean = ops.var_mean(x, axis=axes, correction=0, keepdims=True)
    return (x - mean) / (ops.sqrt(var) + 1e-9)


@operator("Dropout")
def dropout(
    x: Any, ratio: Any = None, training_mode: Any = None, *, ratio_: float = 0.5, seed: int = 0, is_test: int = 1,
    outputs: int,
) -> Any:  # fmt: skip
    """Its input, with a mask of True where one is asked for; elements are dropped only where ``training_mode`` is true."""
    share = ratio_ if ratio is None else float(ratio.numpy())
    if training_mode is None or not bool(training_mode.numpy()) or share == 0.0:
        return (x, constant(np.ones(x.shape, bool), x))[:outputs] if outputs > 1 else x
    kept = rand(*x.shape, device=x.device) >= share
    y = ops.where(kept, x / (1 - share), constant(0.0, x, x.dtype))
    return (y, kept)[:outputs]
