"""What each op is in PyTorch, in our parameter names. What PyTorch has no function for is composed of its functions."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch.nn import functional as F

SAME = (
    "abs acos asin atan ceil cos cosh erf exp expm1 floor isfinite isinf isnan log log10 log1p log2 logical_not neg reciprocal "
    "relu round rsqrt sigmoid sign sin sinh sqrt square tan tanh bitwise_not clone outer dot nonzero"
).split()
PAIRS = (
    "add sub mul div maximum minimum atan2 remainder pow eq ne lt le gt ge logical_and logical_or logical_xor bitwise_and "
    "bitwise_or bitwise_xor"
).split()
FUNCTIONAL = (
    "relu6 elu selu mish softplus softsign softshrink hardshrink hardswish hardtanh logsigmoid threshold "
    "leaky_relu gelu silu prelu linear conv1d conv2d conv3d conv_transpose1d conv_transpose2d pixel_shuffle pixel_unshuffle "
    "interpolate avg_pool1d avg_pool2d max_pool1d max_pool2d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_max_pool1d "
    "adaptive_max_pool2d lp_pool1d lp_pool2d embedding pad"
).split()
LOSSES = {
    "mse": "mse_loss", "mae": "l1_loss", "huber": "huber_loss", "smooth_l1": "smooth_l1_loss", "bce": "binary_cross_entropy",
    "poisson_nll": "poisson_nll_loss", "gaussian_nll": "gaussian_nll_loss", "nll": "nll_loss",
    "cross_entropy": "cross_entropy", "cosine_embedding": "cosine_embedding_loss", "triplet_margin": "triplet_margin_loss",
}  # fmt: skip
ALONG = "softmax log_softmax glu cumsum cumprod unsqueeze split chunk flip max min topk".split()
REDUCE = "sum mean amax amin any all argmax argmin var std var_mean".split()


def dims(p):
    """Our ``axis`` and ``keepdims`` in PyTorch's names."""
    return {
        {"axis": "dim", "keepdims": "keepdim"}.get(k, k): tuple(v) if isinstance(v, list) else v for k, v in p.items()
    }


def named(f):
    return lambda *a, **p: f(*a, **dims(p))


def pair(name):
    """Numbers become tensors without axes, which weigh as little."""
    f = getattr(torch, name)
    return lambda a, b: f(torch.as_tensor(a), torch.as_tensor(b))


def reduced(y, reduction="mean"):
    return y.mean() if reduction == "mean" else y.sum() if reduction == "sum" else y


def lengthened(f):
    """Sizes as lists, and axes that are None left out: what reductions of PyTorch take."""

    def call(x, axis=None, keepdims=False, **p):
        axis = tuple(range(x.ndim)) if axis is None else tuple(axis) if isinstance(axis, (tuple, list)) else (axis,)
        return f(x, axis, keepdims, **p)

    return call


def prod(x, axis, keepdims):
    for a in sorted((a % x.ndim for a in axis), reverse=True):
        x = x.prod(a, keepdim=keepdims)
    return x.prod() if not axis else x


def reduce(name):
    f = getattr(torch, name)

    def call(x, axis=None, keepdims=False, **p):
        if name == "mean" and not x.is_floating_point():
            x = x.float()
        if name in ("argmax", "argmin"):
            return f(x, dim=axis, keepdim=keepdims)
        axis = tuple(range(x.ndim)) if axis is None else tuple(axis) if isinstance(axis, (tuple, list)) else axis
        return f(x, dim=axis, keepdim=keepdims, **p)

    return call


def norm(x, axis, keepdims, ord=2):
    return torch.linalg.vector_norm(x, 2 if ord == "fro" else ord, axis, keepdims)


def taken(x, index):
    """``x[index]`` of numbers, slices, None and ...; PyTorch has no negative steps."""
    index = list(index)
    place = next(i for i, v in enumerate(index) if v is Ellipsis)
    used = sum(v is not None and v is not Ellipsis for v in index)
    index[place : place + 1] = [slice(None)] * (x.ndim - used)
    out = 0
    for v in index:
        if v is None:
            x = x.unsqueeze(out)
            out += 1
        elif isinstance(v, slice):
            x = x.index_select(out, torch.arange(x.shape[out])[v] if (v.step or 1) > 0
                               else torch.tensor(range(x.shape[out])[v], dtype=torch.int64))  # fmt: skip
            out += 1
        else:
            x = x.select(out, v)
    return x


def filled(pattern, indices):
    indices = iter(indices)
    return tuple(next(indices) if isinstance(p, str) else p for p in pattern)


def back(f, shape):
    """The gradient of ``f`` at an array of this shape: puts what ``f`` takes back in its place, adding up."""

    def call(g):
        x = torch.zeros(shape, dtype=g.dtype, requires_grad=True)
        return torch.autograd.grad(f(x), x, g, create_graph=True)[0]

    return call


def put(x, v, f):
    """``x`` with ``v`` in the places that ``f`` takes."""
    places = f(torch.arange(x.numel()).reshape(x.shape))
    v = torch.as_tensor(v, dtype=x.dtype).expand(places.shape)
    return x.flatten().index_put((places.flatten(),), v.flatten()).reshape(x.shape)


def windows(x, size, stride=(1, 1), dilation=(1, 1)):
    reach = [d * (k - 1) + 1 for k, d in zip(size, dilation, strict=True)]
    y = x.unfold(2, reach[0], stride[0]).unfold(3, reach[1], stride[1])
    return y[..., :: dilation[0], :: dilation[1]]


def unwindow(g, shape, stride=(1, 1), dilation=(1, 1)):
    return back(lambda x: windows(x, g.shape[-2:], stride, dilation), shape)(g)


def sort(x, axis=-1, descending=False):
    return tuple(torch.sort(x, dim=axis, descending=descending, stable=True))


def unique(x):
    return torch.unique(x, return_inverse=True, return_counts=True)


def with_indices(f):
    return lambda x, **p: f(x, return_indices=True, **p)


def swiglu(x, axis=-1):
    a, b = x.chunk(2, axis)
    return F.silu(a) * b


def maxout(x, pieces, axis=1):
    return x.unflatten(axis, (-1, pieces)).amax(axis % x.ndim + 1)


def log_cosh(x, t, reduction="mean"):
    d = x - t
    return reduced(d + F.softplus(-2 * d) - math.log(2), reduction)


def hinge(x, t, reduction="mean", power=1):
    return reduced((1 - torch.where(t > 0, 1, -1) * x).clamp(min=0) ** power, reduction)


def focal(x, t, alpha=0.25, gamma=2.0, reduction="mean"):
    t = t.to(x.dtype)
    loss = F.binary_cross_entropy_with_logits(x, t, reduction="none")
    p = torch.where(t == 1, x.sigmoid(), (-x).sigmoid())
    weight = 1.0 if alpha is None else alpha * t + (1 - alpha) * (1 - t)
    return reduced(weight * (1 - p) ** gamma * loss, reduction)


def dice(x, t, smooth=1.0, reduction="mean"):
    axes = tuple(range(min(2, x.ndim - 1), x.ndim))
    return reduced(1 - (2 * (x * t).sum(axes) + smooth) / (x.sum(axes) + t.sum(axes) + smooth), reduction)


def contrastive(a, b, t, margin=1.0, reduction="mean"):
    d = F.pairwise_distance(a, b, eps=1e-6)
    return reduced(torch.where(t > 0, d**2, (margin - d).clamp(min=0) ** 2) / 2, reduction)


def bce_with_logits(x, t, pos_weight=None, reduction="mean"):
    return F.binary_cross_entropy_with_logits(x, t, pos_weight=pos_weight, reduction=reduction)


def cross_entropy(x, t, weight=None, **p):
    t = t.to(x.dtype) if t.shape == x.shape else t
    return F.cross_entropy(x, t, weight, **p)


def kl_div(x, t, **p):
    return F.kl_div(x, t.to(x.dtype), **p)


def cosine_loss(x, t, reduction="mean"):
    flat = F.cosine_embedding_loss(*(v.reshape(-1, v.shape[-1]) for v in (x, t)), torch.ones(1), reduction="none")
    return reduced(flat.reshape(x.shape[:-1]), reduction)


def scatter_add(x, i, s, axis):
    """The part of ``s`` that has places: of more, PyTorch has no gradient."""
    return x.scatter_add(axis, i, s[tuple(slice(n) for n in i.shape)])


def celu(x, alpha=1.0):
    return torch.where(x > 0, x, alpha * torch.expm1(x.clamp(max=0) / alpha))


def ctc(x, target, times, labels, **p):
    return F.ctc_loss(x.log_softmax(2), target, times, labels, **p)


def batch_norm_train(x, weight, bias, mean, var, momentum=0.1, eps=1e-5):
    mean, var = mean.clone(), var.clone()
    return F.batch_norm(x, mean, var, weight, bias, True, momentum, eps), mean, var


def batch_norm_eval(x, weight, bias, mean, var, eps=1e-5):
    return F.batch_norm(x, mean, var, weight, bias, False, 0.1, eps)


def layer_norm(x, weight=None, bias=None, *, normalized_shape, eps=1e-5):
    return F.layer_norm(x, tuple(np.atleast_1d(normalized_shape)), weight, bias, eps)


def rms_norm(x, weight=None, *, normalized_shape, eps=None):
    return F.rms_norm(x, tuple(np.atleast_1d(normalized_shape)), weight, eps)


def group_norm(x, weight=None, bias=None, *, num_groups, eps=1e-5):
    if weight is None and bias is not None:  # PyTorch asks for both
        weight = torch.ones_like(bias)
    return F.group_norm(x, num_groups, weight, bias, eps)


def attention(q, k, v, mask=None, state=None, is_causal=False, scale=None, dropout=0.0):
    grouped = q.ndim > 3 and q.shape[-3] != k.shape[-3]
    if mask is not None and mask.ndim < 2:
        mask = mask.expand(q.shape[-2], k.shape[-2])
    if is_causal and mask is not None:  # PyTorch takes one of both
        future = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).tril()
        mask = mask & future if mask.dtype == torch.bool else mask.masked_fill(~future, -math.inf)
        is_causal = False
    return F.scaled_dot_product_attention(q, k, v, mask, is_causal=is_causal, scale=scale, enable_gqa=grouped)


def rotary(x, cos, sin):
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


def cell(step, states):
    """One step of a cell: missing biases and states are zeros."""

    def call(x, wi, wh, bi=None, bh=None, *first, nonlinearity="tanh", reset_after=True):
        zeros = torch.zeros(len(wi), dtype=x.dtype)
        first = (*first, None, None)[:states]
        first = [torch.zeros(len(x), wh.shape[1], dtype=x.dtype) if s is None else s for s in first]
        f = getattr(torch, f"rnn_{nonlinearity}_cell") if step is None else step
        state = tuple(first) if states > 1 else first[0]
        return f(x, state, wi, wh, zeros if bi is None else bi, zeros if bh is None else bh)

    return call


def network(step, states):
    """A cell over a sequence; a step that the mask leaves out does not happen."""
    once = cell(step, states)

    def call(x, wi, wh, bi=None, bh=None, *rest, reverse=False, **p):
        *first, mask = [*rest, *[None] * (states + 1 - len(rest))]
        state = [torch.zeros(x.shape[1], wh.shape[1], dtype=x.dtype) if s is None else s for s in first]
        ys = [None] * len(x)
        for t in range(len(x))[:: -1 if reverse else 1]:
            new = once(x[t], wi, wh, bi, bh, *state, **p)
            new = new if isinstance(new, tuple) else (new,)
            if mask is not None:
                seen = mask[t][:, None]
                ys[t] = torch.where(seen, new[0], 0.0)
                state = [torch.where(seen, n, s) for n, s in zip(new, state, strict=True)]
            else:
                ys[t], state = new[0], list(new)
        return torch.stack(ys), *state

    return call


def activated(x, w, b=None, activation="relu"):
    return getattr(torch, activation)(F.linear(x, w, b))


PEERS = {
    **{name: (getattr(torch, name), f"torch.{name}") for name in SAME},
    **{name: (pair(name), f"torch.{name}") for name in PAIRS},
    **{name: (getattr(F, name), f"F.{name}") for name in FUNCTIONAL},
    **{name: (getattr(F, peer), f"F.{peer}") for name, peer in LOSSES.items()},
    **{name: (named(getattr(F if hasattr(F, name) else torch, name)), f"torch.{name}") for name in ALONG},
    **{name: (reduce(name), f"torch.{name}") for name in REDUCE},
    "flip": (lambda x, axis: torch.flip(x, (axis,) if isinstance(axis, int) else axis), "torch.flip"),
    "split": (lambda x, sizes, axis=0: x.split(sizes if isinstance(sizes, int) else list(sizes), axis), "torch.split"),
    "floor_div": (lambda a, b: torch.div(torch.as_tensor(a), torch.as_tensor(b), rounding_mode="floor"), "torch.div"),
    "clip": (torch.clamp, "torch.clamp"),
    "where": (torch.where, "torch.where"),
    "prod": (lengthened(prod), "torch.prod"),
    "norm": (lengthened(norm), "torch.linalg.vector_norm"),
    "logsumexp": (lengthened(lambda x, axis, keepdims: x.logsumexp(axis, keepdims)), "torch.logsumexp"),
    "matmul": (torch.matmul, "torch.matmul"),
    "einsum": (lambda *xs, equation: torch.einsum(equation, *xs), "torch.einsum"),
    "linear_activation": (activated, "relu, sigmoid or tanh of F.linear"),
    "reshape": (lambda x, shape: x.reshape(shape), "torch.reshape"),
    "permute": (lambda x, axes: x.permute(axes), "torch.permute"),
    "transpose": (lambda x, axis0=0, axis1=1: x.transpose(axis0, axis1), "torch.transpose"),
    "expand": (lambda x, shape: x.expand(shape), "Tensor.expand"),
    "squeeze": (lambda x, axis=None: x.squeeze() if axis is None else x.squeeze(axis), "torch.squeeze"),
    "flatten": (lambda x, start=0, end=-1: x.flatten(start, end), "torch.flatten"),
    "roll": (lambda x, shifts, axis=None: x.roll(shifts, axis), "torch.roll"),
    "stack": (lambda *xs, axis=0: torch.stack(xs, axis), "torch.stack"),
    "concat": (lambda *xs, axis=0: torch.cat(xs, axis), "torch.cat"),
    "repeat": (lambda x, repeats: x.repeat(repeats), "Tensor.repeat"),
    "tile": (lambda x, repeats: x.tile(repeats), "torch.tile"),
    "tril": (torch.tril, "torch.tril"),
    "triu": (torch.triu, "torch.triu"),
    "cast": (lambda x, dtype: x.to(getattr(torch, dtype)), "Tensor.to"),
    "contiguous": (lambda x: x.contiguous(), "Tensor.contiguous"),
    "to_device": (lambda x, device: x.to(device), "Tensor.to"),
    "assign": (lambda x, v, *i, pattern=(...,): put(x, v, lambda z: z[filled(pattern, i)]), "Tensor.index_put"),
    "getitem": (lambda x, index: taken(x, index), "indexing"),
    "embed": (lambda x, index, shape: back(lambda z: taken(z, index), shape)(x), "gradient of indexing"),
    "setitem": (lambda x, v, index: put(x, v, lambda z: taken(z, index)), "Tensor.index_put"),
    "index": (lambda x, *i, pattern: x[filled(pattern, i)], "indexing"),
    "index_scatter": (
        lambda g, *i, pattern, shape: back(lambda z: z[filled(pattern, i)], shape)(g),
        "gradient of indexing",
    ),
    "index_set": (lambda x, v, *i, pattern: put(x, v, lambda z: z[filled(pattern, i)]), "Tensor.index_put"),
    "gather": (lambda x, i, axis: x.gather(axis, i), "torch.gather"),
    "ungather": (lambda x, i, axis, shape: back(lambda z: z.gather(axis, i), shape)(x), "gradient of torch.gather"),
    "scatter_add": (scatter_add, "torch.scatter_add"),
    "take_along_axis": (lambda x, i, axis: torch.take_along_dim(x, i, axis), "torch.take_along_dim"),
    "sort": (sort, "torch.sort"),
    "argsort": (lambda x, **p: sort(x, **p)[1], "torch.argsort"),
    "unique": (unique, "torch.unique"),
    "windows": (windows, "Tensor.unfold"),
    "unwindow": (unwindow, "gradient of Tensor.unfold"),
    "max_pool1d_with_indices": (with_indices(F.max_pool1d), "F.max_pool1d"),
    "max_pool2d_with_indices": (with_indices(F.max_pool2d), "F.max_pool2d"),
    "adaptive_max_pool1d_with_indices": (with_indices(F.adaptive_max_pool1d), "F.adaptive_max_pool1d"),
    "adaptive_max_pool2d_with_indices": (with_indices(F.adaptive_max_pool2d), "F.adaptive_max_pool2d"),
    "swiglu": (swiglu, "F.silu(a) * b"),
    "maxout": (maxout, "amax of pieces"),
    "bce_with_logits": (bce_with_logits, "F.binary_cross_entropy_with_logits"),
    "cross_entropy": (cross_entropy, "F.cross_entropy"),
    "cosine_loss": (cosine_loss, "F.cosine_embedding_loss"),
    "kl_div": (kl_div, "F.kl_div"),
    "celu": (celu, "composed: F.celu rounds alpha to float32"),
    "hardsigmoid": (lambda x: F.relu6(x + 3) / 6, "F.relu6(x + 3) / 6: F.hardsigmoid rounds 1/6 to float32"),
    "log_cosh": (log_cosh, "composed, with F.softplus"),
    "hinge": (hinge, "composed"),
    "squared_hinge": (lambda x, t, reduction="mean": hinge(x, t, reduction, 2), "composed"),
    "focal": (focal, "composed, with F.binary_cross_entropy_with_logits"),
    "dice": (dice, "composed"),
    "contrastive": (contrastive, "composed, with F.pairwise_distance"),
    "ctc": (ctc, "F.ctc_loss of F.log_softmax"),
    "batch_norm_train": (batch_norm_train, "F.batch_norm"),
    "batch_norm_eval": (batch_norm_eval, "F.batch_norm"),
    "layer_norm": (layer_norm, "F.layer_norm"),
    "rms_norm": (rms_norm, "F.rms_norm"),
    "group_norm": (group_norm, "F.group_norm"),
    "scaled_dot_product_attention": (attention, "F.scaled_dot_product_attention"),
    "rotary": (rotary, "composed"),
    "rnn_cell": (cell(None, 1), "torch.rnn_tanh_cell, rnn_relu_cell"),
    "gru_cell": (cell(torch.gru_cell, 1), "torch.gru_cell"),
    "lstm_cell": (cell(torch.lstm_cell, 2), "torch.lstm_cell"),
    "rnn": (network(None, 1), "torch.rnn_tanh_cell, step by step"),
    "gru": (network(torch.gru_cell, 1), "torch.gru_cell, step by step"),
    "lstm": (network(torch.lstm_cell, 2), "torch.lstm_cell, step by step"),
}

ALONE = {  # op: what shows that it is right
    **dict.fromkeys(
        ("uniform", "normal", "integers", "bernoulli", "permutation", "dropout"),
        "random numbers of a counter (Philox): NumPy says them once more in `tests/ops/oracles.py`",
    ),
    **dict.fromkeys(
        ("sgd_", "adam_", "rmsprop_", "adagrad_", "adamax_", "nadam_", "radam_", "adadelta_"),
        "updates in place: with the optimizers, below",
    ),
    **dict.fromkeys(("add_", "sub_", "mul_", "div_"), "`add`, `sub`, `mul` and `div`, written to their first operand"),
    "clip_norm_": "with `optim.clip_grad_norm_`, below",
    "lion_": "PyTorch has no Lion: formulas in float64 in `tests/optim_formulas.py`",
}

# Arguments that PyTorch has no gradient of.
CONSTANT = {
    "bce": [1],
    "nll": [2],
    "cross_entropy": [2],
    "bce_with_logits": [2],
    "batch_norm_train": [3, 4],
    "batch_norm_eval": [3, 4],
    "assign": [0, 1],
}
