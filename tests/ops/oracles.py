"""What the ops are, said once more and independently: NumPy in float64, loops where they are clearer."""

import itertools
import math
from statistics import NormalDist

import numpy as np

erf = np.vectorize(math.erf, otypes=[float])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gelu(x, approximate="none"):
    if approximate == "tanh":
        return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    return x * 0.5 * (1 + erf(x / np.sqrt(2)))


def first_extreme(argument):
    """``max`` or ``min`` along an axis, from ``np.argmax`` or ``np.argmin``."""

    def extreme(x, axis, keepdims=False):
        where = argument(x, axis, keepdims=True)
        values = np.take_along_axis(x, where, axis)
        return (values, where) if keepdims else (values.squeeze(axis), where.squeeze(axis))

    return extreme


def moments(x, axis=None, correction=1, keepdims=False):
    return x.var(axis, ddof=correction, keepdims=keepdims), x.mean(axis, keepdims=keepdims)


def logsumexp(x, axis=None, keepdims=False):
    return np.log(np.exp(x).sum(axis, keepdims=keepdims))


def norm(x, ord=2, axis=None, keepdims=False):
    size = np.abs(x)
    if ord == 1:
        return size.sum(axis, keepdims=keepdims)
    return size.max(axis, keepdims=keepdims) if ord == np.inf else np.sqrt((size**2).sum(axis, keepdims=keepdims))


def linear(x, w, b=None):
    return x @ w.T + (0 if b is None else b)


def linear_activation(x, w, b=None, activation="relu"):
    kinds = {
        "relu": lambda y: np.maximum(y, 0), "sigmoid": sigmoid, "tanh": np.tanh,
        "gelu": lambda y: y * (1 + np.vectorize(math.erf, otypes=[float])(y * math.sqrt(0.5))) / 2,
        "silu": lambda y: y * sigmoid(y),
    }  # fmt: skip
    return kinds[activation](linear(x, w, b))


def pad(x, pad, mode="constant", value=0.0):
    ends = [(0, 0)] * (x.ndim - len(pad) // 2) + [pad[i : i + 2] for i in range(0, len(pad), 2)][::-1]
    if min(pad) < 0:
        x = x[tuple(slice(-min(b, 0), n + min(a, 0)) for n, (b, a) in zip(x.shape, ends, strict=True))]
        ends = [(max(b, 0), max(a, 0)) for b, a in ends]
    names = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}
    if mode == "constant":
        return np.pad(x, ends, constant_values=value)
    return np.pad(x, ends, names[mode])


def put(x, v, index):
    x = x.copy()
    x[index] = v
    return x


def filled(pattern, indices):
    indices = iter(indices)
    return tuple(next(indices) if isinstance(p, str) else p for p in pattern)


def index_set(x, v, *indices, pattern):
    return put(x, v, filled(pattern, indices))


def index_scatter(g, *indices, pattern, shape):
    y = np.zeros(shape)
    np.add.at(y, filled(pattern, indices), g)
    return y


def gather(x, indices, axis):
    y = np.empty(indices.shape)
    for place in np.ndindex(*indices.shape):
        source = list(place)
        source[axis] = indices[place]
        y[place] = x[tuple(source)]
    return y


def scatter_add(x, indices, src, axis):
    y = x.copy()
    for place in np.ndindex(*indices.shape):
        to = list(place)
        to[axis] = indices[place]
        y[tuple(to)] += src[place]
    return y


def sort(x, axis=-1, descending=False):
    where = np.argsort(-x if descending else x, axis, kind="stable")
    return np.take_along_axis(x, where, axis), where


def topk(x, k, axis=-1, largest=True):
    values, where = sort(x, axis, largest)
    return values.take(range(k), axis), where.take(range(k), axis)


def window_places(size, height, width, stride, padding, dilation):
    """(p, q, rows, columns) of every window of a padded image."""
    (r, s), (d, e) = size, dilation
    p = (height + 2 * padding[0] - d * (r - 1) - 1) // stride[0] + 1
    q = (width + 2 * padding[1] - e * (s - 1) - 1) // stride[1] + 1
    for i, j in itertools.product(range(p), range(q)):
        yield i, j, np.arange(r) * d + i * stride[0], np.arange(s) * e + j * stride[1]


def pooled(function, x, size, stride, padding, dilation, value):
    x = np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2), constant_values=value)
    found = {}
    for i, j, rows, columns in window_places(size, *x.shape[2:], stride, (0, 0), dilation):
        found[i, j] = function(x[:, :, rows[:, None], columns])
    p, q = (max(k) + 1 for k in zip(*found, strict=True))
    return np.stack([np.stack([found[i, j] for j in range(q)], -1) for i in range(p)], -2)


def conv2d(x, w, b=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
    parts = []
    for part, filters in zip(np.split(x, groups, 1), np.split(w, groups), strict=True):

        def dotted(patch, filters=filters):
            return (patch[:, None] * filters).sum((2, 3, 4))

        parts.append(pooled(dotted, part, w.shape[2:], stride, padding, dilation, 0.0))
    y = np.concatenate(parts, 1)
    return y if b is None else y + b[:, None, None]


def max_pool2d(x, kernel_size, stride=None, padding=(0, 0), dilation=(1, 1)):
    return pooled(lambda w: w.max((2, 3)), x, kernel_size, stride or kernel_size, padding, dilation, -np.inf)


def avg_pool2d(x, kernel_size, stride=None, padding=(0, 0), count_include_pad=True):
    mean = np.mean if count_include_pad else np.nanmean
    outside = 0.0 if count_include_pad else np.nan
    return pooled(lambda w: mean(w, (2, 3)), x, kernel_size, stride or kernel_size, padding, (1, 1), outside)


def windows(x, size, stride=(1, 1), dilation=(1, 1)):
    places = {(i, j): (r, c) for i, j, r, c in window_places(size, *x.shape[2:], stride, (0, 0), dilation)}
    p, q = (max(k) + 1 for k in zip(*places, strict=True))
    y = np.empty((*x.shape[:2], p, q, *size))
    for (i, j), (rows, columns) in places.items():
        y[:, :, i, j] = x[:, :, rows[:, None], columns]
    return y


def unwindow(x, shape, stride=(1, 1), dilation=(1, 1)):
    y = np.zeros(shape)
    for i, j, rows, columns in window_places(x.shape[4:], *shape[2:], stride, (0, 0), dilation):
        y[:, :, rows[:, None], columns] += x[:, :, i, j]
    return y


def softmax(x, axis=-1):
    e = np.exp(x)
    return e / e.sum(axis, keepdims=True)


def reduced(losses, reduction):
    return {"mean": np.mean, "sum": np.sum, "none": np.asarray}[reduction](losses)


def cross_entropy(x, target, weight=None, reduction="mean", label_smoothing=0.0, ignore_index=-100):
    """Row by row."""
    classes = x.shape[1]
    logs = np.moveaxis(np.log(softmax(x, 1)), 1, -1).reshape(-1, classes)
    weight = np.ones(classes) if weight is None else weight
    by_class = target.ndim < x.ndim
    targets = target.reshape(-1) if by_class else np.moveaxis(target, 1, -1).reshape(-1, classes)
    losses, shares = np.zeros(len(logs)), np.zeros(len(logs))
    for i, (row, t) in enumerate(zip(logs, targets, strict=True)):
        if by_class and t == ignore_index:
            continue
        share = np.eye(classes)[t] if by_class else t
        share = share * (1 - label_smoothing) + label_smoothing / classes
        losses[i], shares[i] = -(share * weight * row).sum(), weight[t] if by_class else 1
    shape = x.shape[:1] + x.shape[2:]
    return losses.sum() / shares.sum() if reduction == "mean" else reduced(losses.reshape(shape), reduction)


def batch_norm(x, weight, bias, mean, var, eps=1e-5):
    shape = (-1, *(1,) * (x.ndim - 2))
    y = (x - mean.reshape(shape)) / np.sqrt(var.reshape(shape) + eps)
    y = y if weight is None else y * weight.reshape(shape)
    return y if bias is None else y + bias.reshape(shape)


def batch_norm_train(x, weight, bias, running_mean, running_var, momentum=0.1, eps=1e-5):
    axes = (0, *range(2, x.ndim))
    return batch_norm(x, weight, bias, x.mean(axes), x.var(axes), eps)


def bce(x, t, reduction="mean"):
    return reduced(-(t * np.log(x) + (1 - t) * np.log(1 - x)), reduction)


# random: Philox4x32-10 in Python integers

MASK = 2**32 - 1


def words(state, count):
    """The next 32-bit words of a stream."""
    seed, offset = (int(v) for v in state)
    found = []
    for block in range(offset, offset + -(-count // 4)):
        counter, key = [block & MASK, block >> 32, 0, 0], [seed & MASK, seed >> 32]
        for _ in range(10):
            a, b = counter[0] * 0xD2511F53, counter[2] * 0xCD9E8D57
            counter = [b >> 32 ^ counter[1] ^ key[0], b & MASK, a >> 32 ^ counter[3] ^ key[1], a & MASK]
            key = [(key[0] + 0x9E3779B9) & MASK, (key[1] + 0xBB67AE85) & MASK]
        found += counter
    return found[:count]


def pairs(state, count):
    """The next 64-bit words, the low half first."""
    w = words(state, 2 * count)
    return [low | high << 32 for low, high in zip(w[::2], w[1::2], strict=True)]


def uniform(state, shape, dtype="float32"):
    n = math.prod(shape)
    if dtype == "float32":
        values = [(w >> 8) * 2.0**-24 for w in words(state, n)]
    else:
        w = words(state, 2 * n)
        values = [((a >> 5) * 2**26 + (b >> 6)) * 2.0**-53 for a, b in zip(w[::2], w[1::2], strict=True)]
    return np.array(values).reshape(shape)


def normal(state, shape, dtype="float32"):
    fractions = [((w >> 12) + 0.5) * 2.0**-52 for w in pairs(state, math.prod(shape))]
    return np.array([NormalDist().inv_cdf(f) for f in fractions]).reshape(shape)


def integers(state, low, high, shape):
    return np.array([low + (w * (high - low) >> 64) for w in pairs(state, math.prod(shape))]).reshape(shape)


def bernoulli(state, p, shape):
    return np.array([w < math.floor(p * 2**32) for w in words(state, math.prod(shape))]).reshape(shape)


def permutation(state, n):
    return np.argsort(np.array(pairs(state, n), np.uint64), kind="stable")


def dropout(x, state, p=0.5):
    kept = np.array([w >= round(p * 2**32) for w in words(state, x.size)]).reshape(x.shape)
    return np.where(kept, x / (1 - p), 0.0), kept
