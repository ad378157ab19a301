"""Rows of the normalisation room: norms of each sample by itself."""

import numpy as np
from tests.ops.table import BOTH, row


def last(x, shape):
    return tuple(range(x.ndim - np.size(shape), x.ndim))


def affine(y, weight, bias):
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def layer_norm(x, weight=None, bias=None, *, normalized_shape, eps=1e-5):
    axes = last(x, normalized_shape)
    y = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)
    return affine(y, weight, bias)


def rms_norm(x, weight=None, *, normalized_shape, eps=2.0**-52):
    return affine(x / np.sqrt((x * x).mean(last(x, normalized_shape), keepdims=True) + eps), weight, None)


def group_norm(x, weight=None, bias=None, *, num_groups, eps=1e-5):
    parts = []
    for part in np.split(x, num_groups, 1):
        axes = tuple(range(1, x.ndim))
        parts.append((part - part.mean(axes, keepdims=True)) / np.sqrt(part.var(axes, keepdims=True) + eps))
    shape = (-1, *(1,) * (x.ndim - 2))
    return affine(np.concatenate(parts, 1), *[None if v is None else v.reshape(shape) for v in (weight, bias)])


SAMPLES = [
    *[row("layer_norm", *args, normalized_shape=shape, expected=layer_norm, span=BOTH, **p) for args, shape, p in (
        ([(4, 5), (5,), (5,)], 5, {}), ([(2, 3, 4), None, None], (3, 4), {}), ([(2, 3, 4), (4,), None], [4], {"eps": 0.1}),
        ([(5,), (5,), (5,)], (5,), {}), ([(2, 3, 4), None, (3, 4)], (3, 4), {}), ([(0, 3), (3,), (3,)], 3, {}))],
    *[row("rms_norm", *args, normalized_shape=shape, expected=rms_norm, span=BOTH, **p) for args, shape, p in (
        ([(4, 5), (5,)], 5, {"eps": 1e-6}), ([(2, 3, 4), None], (3, 4), {"eps": 0.1}), ([(5,), (5,)], (5,), {"eps": 0.1}),
        ([(0, 3), (3,)], 3, {"eps": 0.1}))],
    *[row("group_norm", *args, expected=group_norm, span=BOTH, **p) for args, p in (
        ([(2, 4), (4,), (4,)], {"num_groups": 2}), ([(2, 6, 3), None, None], {"num_groups": 3, "eps": 0.1}),
        ([(2, 4, 3, 2), (4,), (4,)], {"num_groups": 1}), ([(2, 3, 4), (3,), None], {"num_groups": 3}))],
]  # fmt: skip

LARGE = [
    row("layer_norm", (600, 300), (300,), (300,), normalized_shape=300, span=BOTH),
    row("layer_norm", (40, 9000), None, None, normalized_shape=9000, span=BOTH),
    row("rms_norm", (600, 300), (300,), normalized_shape=300, eps=1e-6, span=BOTH),
]
