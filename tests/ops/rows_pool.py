"""Rows of the pooling room: ceil_mode, indices, sequences, powers, adaptive sizes."""

import numpy as np
from tests.ops.table import BOTH, row


def sizes(n, k, s, p, d, ceil):
    """The windows along an axis as lists of places in x; those of PyTorch's documentation, one by one."""
    reach = d * (k - 1) + 1
    count = (n + 2 * p - reach) / s
    count = int(np.ceil(count) if ceil else np.floor(count)) + 1
    while ceil and (count - 1) * s >= n + p:
        count -= 1
    return [[i * s - p + t * d for t in range(k)] for i in range(count)]


def pooled(x, k, s, p, d, ceil, f):
    """f(values inside of x, their flat places, how many places are inside of the padded x) for every window."""
    h, w = x.shape[2:]
    rows, columns = (sizes(n, *z, ceil) for n, *z in zip((h, w), k, s or k, p, d, strict=True))
    found = []
    for r in rows:
        for c in columns:
            inside = [(i, j) for i in r if 0 <= i < h for j in c if 0 <= j < w]
            padded = sum(i < h + p[0] for i in r) * sum(j < w + p[1] for j in c)
            values = np.stack([x[:, :, i, j] for i, j in inside], -1)
            found.append(f(values, np.array([i * w + j for i, j in inside]), padded))
    return [np.stack(v, -1).reshape(*x.shape[:2], len(rows), len(columns)) for v in zip(*found, strict=True)]


def max_pool2d_with_indices(x, kernel_size, stride=None, padding=(0, 0), dilation=(1, 1), ceil_mode=False):
    def f(values, places, _):
        return values.max(-1), places[values.argmax(-1)]

    return tuple(pooled(x, kernel_size, stride, padding, dilation, ceil_mode, f))


def max_pool2d(x, **params):
    return max_pool2d_with_indices(x, **params)[0]


def avg_pool2d(x, kernel_size, stride=None, padding=(0, 0), count_include_pad=True, ceil_mode=False):
    def f(values, _, padded):
        return (values.sum(-1) / (padded if count_include_pad else values.shape[-1]),)

    return pooled(x, kernel_size, stride, padding, (1, 1), ceil_mode, f)[0]


def lp_pool2d(x, norm_type, kernel_size, stride=None, ceil_mode=False):
    def f(values, _, padded):
        total = (values**norm_type).sum(-1) * kernel_size[0] * kernel_size[1] / padded
        return (total ** (1 / norm_type),)

    return pooled(x, kernel_size, stride, (0, 0), (1, 1), ceil_mode, f)[0]


def of_sequences(pool):
    """The same of (n, c, length), by images of one row."""

    def expected(x, **params):
        for key, other in (("kernel_size", 1), ("stride", 1), ("padding", 0), ("dilation", 1)):
            if params.get(key) is not None:
                params[key] = (other, params[key])
        y = pool(x[:, :, None], **params)
        return tuple(v[:, :, 0] for v in y) if isinstance(y, tuple) else y[:, :, 0]

    return expected


def adaptive(f):
    def expected(x, output_size):
        given = output_size if isinstance(output_size, tuple) else (output_size,) * (x.ndim - 2)
        for axis, m in enumerate(given, 2):
            n = x.shape[axis]
            m = m or n
            ends = [(int(np.floor(i * n / m)), int(np.ceil((i + 1) * n / m))) for i in range(m)]
            x = np.stack([f(x.take(range(a, b), axis), axis) for a, b in ends], axis)
        return x

    return expected


def largest(x, output_size):
    """The largest of each window, and its place, window by window."""
    n, c, h, w = x.shape
    sizes = [given or n for given, n in zip(np.broadcast_to(np.array(output_size, object), 2), (h, w), strict=True)]
    found = np.empty((n, c, *sizes), dtype=int)
    for i, j in np.ndindex(*sizes):
        a, b, s, t = i * h // sizes[0], -(-(i + 1) * h // sizes[0]), j * w // sizes[1], -(-(j + 1) * w // sizes[1])
        at = x[:, :, a:b, s:t].reshape(n, c, -1).argmax(-1)
        found[:, :, i, j] = (a + at // (t - s)) * w + s + at % (t - s)
    return np.take_along_axis(x.reshape(n, c, -1), found.reshape(n, c, -1), 2).reshape(found.shape), found


def largest_of_sequences(x, output_size):
    return tuple(v[:, :, 0] for v in largest(x[:, :, None], (1, output_size)))


X = (2, 3, 6, 7)
CEIL = [
    {"kernel_size": (2, 2), "ceil_mode": True}, {"kernel_size": (3, 2), "stride": (2, 3), "ceil_mode": True},
    {"kernel_size": (3, 3), "stride": (2, 4), "padding": (1, 1), "ceil_mode": True},
]  # fmt: skip
LINES = [
    {"kernel_size": 2}, {"kernel_size": 3, "stride": 2, "padding": 1}, {"kernel_size": 3, "stride": 3, "ceil_mode": True},
]  # fmt: skip

SAMPLES = [
    *[row("max_pool2d", X, span=BOTH, expected=max_pool2d, **p)
      for p in (*CEIL, {"kernel_size": (2, 2), "dilation": (2, 3), "stride": (2, 2), "ceil_mode": True})],
    *[row("max_pool2d_with_indices", X, span=BOTH, expected=max_pool2d_with_indices, **p)
      for p in (*CEIL, {"kernel_size": (2, 3)}, {"kernel_size": (2, 2), "dilation": (2, 3), "padding": (1, 1)})],
    *[row("avg_pool2d", X, span=BOTH, expected=avg_pool2d, **p) for p in CEIL],
    row("avg_pool2d", X, span=BOTH, expected=avg_pool2d, count_include_pad=False, **CEIL[2]),
    *[row("max_pool1d", (2, 3, 8), span=BOTH, expected=of_sequences(max_pool2d), **p)
      for p in (*LINES, {"kernel_size": 2, "dilation": 2})],
    *[row("max_pool1d_with_indices", (2, 3, 8), span=BOTH, expected=of_sequences(max_pool2d_with_indices), **p) for p in LINES],
    *[row("avg_pool1d", (2, 3, 8), span=BOTH, expected=of_sequences(avg_pool2d), **p)
      for p in (*LINES, {"kernel_size": 2, "padding": 1, "count_include_pad": False})],
    *[row("lp_pool2d", X, expected=lp_pool2d, **p) for p in (
        {"norm_type": 2, "kernel_size": (2, 2)}, {"norm_type": 3.0, "kernel_size": (3, 2), "stride": (2, 1)},
        {"norm_type": 2, "kernel_size": (4, 4), "ceil_mode": True})],
    *[row("lp_pool1d", (2, 3, 8), expected=of_sequences(lp_pool2d), **p)
      for p in ({"norm_type": 2, "kernel_size": 2}, {"norm_type": 2, "kernel_size": 3, "stride": 2})],
    *[row(f"adaptive_{name}_pool2d", X, output_size=size, expected=adaptive(f), span=BOTH)
      for name, f in (("avg", np.mean), ("max", np.max)) for size in ((3, 7), (4, 5), 1, (None, 2), (8, 9))],
    *[row(f"adaptive_{name}_pool1d", (2, 3, 8), output_size=size, expected=adaptive(f), span=BOTH)
      for name, f in (("avg", np.mean), ("max", np.max)) for size in (4, 3)],
    *[row("adaptive_max_pool2d_with_indices", X, output_size=size, expected=largest, span=BOTH)
      for size in ((3, 7), (4, 5), (None, 2), (8, 9))],
    *[row("adaptive_max_pool1d_with_indices", (2, 3, 8), output_size=size, expected=largest_of_sequences, span=BOTH)
      for size in (4, 3)],
]  # fmt: skip

LARGE = [row("max_pool2d", (4, 16, 41, 41), kernel_size=(2, 2), ceil_mode=True, span=BOTH)]
