"""Rows of the convolution room: sequences, and transposed."""

import numpy as np
from tests.ops import oracles as o
from tests.ops.table import BOTH, row


def conv3d(x, w, b=None, stride=(1, 1, 1), padding=(0, 0, 0), dilation=(1, 1, 1), groups=1):
    x = np.pad(x, [(0, 0), (0, 0), *[(p, p) for p in padding]])
    sizes = [
        (n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(x.shape[2:], w.shape[2:], stride, dilation, strict=True)
    ]
    y = np.zeros((len(x), len(w), *sizes))
    for f, place in ((f, place) for f in range(len(w)) for place in np.ndindex(*sizes)):
        g, c = f // (len(w) // groups), w.shape[1]
        at = [i * s + np.arange(k) * d for i, s, k, d in zip(place, stride, w.shape[2:], dilation, strict=True)]
        window = x[:, g * c : (g + 1) * c][:, :, at[0][:, None, None], at[1][:, None], at[2]]
        y[:, f, *place] = (window * w[f]).sum((1, 2, 3, 4))
    return y if b is None else y + b[:, None, None, None]


def conv_transpose2d(
    x, w, b=None, stride=(1, 1), padding=(0, 0), output_padding=(0, 0), groups=1, dilation=(1, 1)
):  # element by element
    n, c, h, wd = x.shape
    _, k, r, s = w.shape
    full = [
        (m - 1) * t + d * (i - 1) + 1 + e
        for m, t, d, i, e in zip((h, wd), stride, dilation, (r, s), output_padding, strict=True)
    ]
    y = np.zeros((n, k * groups, *full))
    for channel in range(c):
        group = channel // (c // groups)
        for i, j in np.ndindex(h, wd):
            rows = i * stride[0] + np.arange(r) * dilation[0]
            columns = j * stride[1] + np.arange(s) * dilation[1]
            for f in range(k):
                y[:, group * k + f, rows[:, None], columns] += x[:, channel, i, j][:, None, None] * w[channel, f]
    (v, u) = padding
    y = y[:, :, v : full[0] - v, u : full[1] - u]
    return y if b is None else y + b[:, None, None]


def of_sequences(function):
    others = {"stride": 1, "padding": 0, "dilation": 1, "output_padding": 0}

    def expected(x, w, b=None, groups=1, **params):
        sizes = {key: (others[key], value) for key, value in params.items()}
        return function(x[:, :, None], w[:, :, None], b, groups=groups, **sizes)[:, :, 0]

    return expected


SAMPLES = [
    *[row("conv_transpose2d", x, w, b, span=BOTH, expected=conv_transpose2d, **p) for x, w, b, p in (
        ((2, 3, 3, 4), (3, 2, 3, 2), (2,), {}),
        ((2, 3, 3, 4), (3, 2, 3, 2), None, {"stride": (2, 3), "padding": (1, 1), "output_padding": (1, 0)}),
        ((1, 4, 3, 3), (4, 1, 2, 3), (2,), {"groups": 2, "dilation": (2, 1), "stride": (2, 2)}),
        ((1, 2, 3, 3), (2, 3, 2, 2), (3,), {"dilation": (3, 3), "output_padding": (2, 1), "padding": (1, 2)}),
        ((2, 2, 3, 3), (2, 3, 1, 1), (3,), {"stride": (2, 2), "output_padding": (1, 1)}))],
    *[row("conv3d", x, w, b, span=BOTH, expected=conv3d, **p) for x, w, b, p in (
        ((2, 2, 3, 4, 3), (3, 2, 2, 2, 3), (3,), {}),
        ((1, 2, 4, 4, 5), (3, 2, 2, 1, 2), (3,), {"stride": (2, 1, 3), "padding": (1, 0, 1)}),
        ((2, 2, 2, 3, 4), (3, 2, 3, 3, 2), (3,), {"padding": (1, 1, 0), "dilation": (1, 1, 2)}),
        ((2, 1, 2, 3, 3), (2, 1, 2, 1, 1), None, {"padding": (3, 0, 0)}),
        ((1, 4, 5, 3, 4), (2, 2, 2, 2, 2), None, {"groups": 2, "dilation": (3, 1, 2)}))],
    *[row("conv1d", x, w, b, span=BOTH, expected=of_sequences(o.conv2d), **p) for x, w, b, p in (
        ((2, 3, 7), (4, 3, 3), (4,), {"stride": 2, "padding": 1}), ((2, 4, 7), (6, 2, 2), None, {"groups": 2, "dilation": 2}))],
    *[row("conv_transpose1d", x, w, b, span=BOTH, expected=of_sequences(conv_transpose2d), **p) for x, w, b, p in (
        ((2, 3, 5), (3, 2, 3), (2,), {"stride": 2, "padding": 1, "output_padding": 1}),
        ((2, 4, 5), (4, 1, 2), None, {"groups": 2, "dilation": 2}))],
]  # fmt: skip

LARGE = [
    row("conv_transpose2d", (8, 16, 10, 10), (16, 8, 3, 3), (8,), stride=(2, 2), padding=(1, 1), output_padding=(1, 1),
        span=BOTH),
    row("conv3d", (2, 8, 6, 14, 14), (16, 8, 3, 3, 3), (16,), padding=(1, 1, 1), span=BOTH),
    row("conv1d", (8, 6, 300), (16, 6, 3), (16,), padding=1, span=BOTH),
]  # fmt: skip
