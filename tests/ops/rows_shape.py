"""Rows of the shape room: pixel_shuffle and interpolate."""

import numpy as np
from tests.ops.table import BOTH, row


def pixel_shuffle(x, upscale_factor):
    (n, c, h, w), r = x.shape, upscale_factor
    y = np.empty((n, c // r**2, h * r, w * r))
    for i in range(r):
        for j in range(r):
            y[:, :, i::r, j::r] = x[:, i * r + j :: r**2]
    return y


def pixel_unshuffle(x, downscale_factor):
    r = downscale_factor
    y = np.empty((x.shape[0], x.shape[1] * r**2, x.shape[2] // r, x.shape[3] // r))
    for i in range(r):
        for j in range(r):
            y[:, i * r + j :: r**2] = x[:, :, i::r, j::r]
    return y


def interpolate(x, size=None, scale_factor=None, mode="nearest", align_corners=False):
    for axis in range(2, x.ndim):
        n = x.shape[axis]
        s = np.broadcast_to(scale_factor, x.ndim - 2)[axis - 2] if size is None else None
        m = int(n * s) if size is None else int(np.broadcast_to(size, x.ndim - 2)[axis - 2])
        step = n / m if s is None else 1 / s
        if mode == "nearest":
            x = x.take(np.minimum(np.floor(np.arange(m) * step), n - 1).astype(int), axis)
            continue
        at = np.linspace(0, n - 1, m) if align_corners else (np.arange(m) + 0.5) * step - 0.5
        x = np.apply_along_axis(lambda v, at=at, n=n: np.interp(at, np.arange(n), v), axis, x)
    return x


SAMPLES = [
    row("pixel_shuffle", (2, 8, 3, 2), upscale_factor=2, expected=pixel_shuffle),
    row("pixel_shuffle", (1, 9, 1, 2), upscale_factor=3, expected=pixel_shuffle),
    row("pixel_unshuffle", (2, 2, 4, 6), downscale_factor=2, expected=pixel_unshuffle),
    *[row("interpolate", shape, expected=interpolate, span=BOTH, **p) for shape, p in (
        ((2, 3, 5), {"size": 8}), ((2, 3, 5), {"scale_factor": 2}), ((2, 3, 4, 5), {"size": (7, 3)}),
        ((2, 3, 4, 5), {"scale_factor": (2, 1.5)}), ((2, 3, 5), {"size": 8, "mode": "linear"}),
        ((2, 3, 5), {"size": 3, "mode": "linear", "align_corners": True}),
        ((2, 3, 4, 5), {"size": (7, 3), "mode": "bilinear"}), ((2, 3, 4, 5), {"scale_factor": 2.5, "mode": "bilinear"}),
        ((2, 3, 4, 5), {"size": (7, 3), "mode": "bilinear", "align_corners": True}))],
]  # fmt: skip

LARGE = [
    row("interpolate", (4, 16, 24, 24), span=BOTH, size=(40, 17)),
    row("interpolate", (4, 16, 24, 24), span=BOTH, size=(40, 17), mode="bilinear"),
]
