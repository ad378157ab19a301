"""Ops mean what PyTorch means: values, dtypes and gradients, also at hard points. Runs where PyTorch is installed."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule import Tensor, backends, grad

torch = pytest.importorskip("torch")
F = torch.nn.functional

R = np.random.default_rng(0)
HARD = np.array([-np.inf, -100.0, -3.5, -1.0, -0.5, -0.0, 0.0, 1e-30, 0.5, 1.0, 2.5, 100.0, np.inf, np.nan])
GRID = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
TIED = np.array([[1.0, 3.0, 3.0, -2.0], [0.0, 0.0, -1.0, 0.0]])
X = R.standard_normal((3, 4))
IMAGES, FILTERS = R.standard_normal((2, 4, 9, 8)), R.standard_normal((6, 4, 3, 2))
CLASSES = np.array([0, 3, 1])

ALONE = (
    "abs acos asin atan ceil cos cosh erf exp expm1 floor isfinite isinf isnan log log10 log1p log2 neg reciprocal relu "
    "round rsqrt sigmoid sign sin sinh sqrt square tan tanh"
).split()
PAIRS = {
    "add": "add", "sub": "sub", "mul": "mul", "div": "div", "maximum": "maximum", "minimum": "minimum", "atan2": "atan2",
    "remainder": "remainder", "pow": "pow", "eq": "eq", "ne": "ne", "lt": "lt", "le": "le", "gt": "gt", "ge": "ge",
    "logical_and": "logical_and", "logical_or": "logical_or", "logical_xor": "logical_xor",
}  # fmt: skip


def case(name, ours, theirs, *args, rtol=1e-11):
    return pytest.param(ours, theirs, args, rtol, id=name)


def method(name, **params):
    """The same method of both, with PyTorch's parameter names."""
    return lambda x: getattr(x, name)(**params)


CASES = [
    *[case(name, getattr(cr, name), getattr(torch, name), HARD) for name in ALONE if name not in ("abs", "sign")],
    *[case(name, getattr(cr, name), getattr(torch, name), HARD[:-1]) for name in ("abs", "sign")],  # nan stays nan here
    *[case(f"{a} of pairs", getattr(cr, a), getattr(torch, b), *np.meshgrid(GRID, GRID)) for a, b in PAIRS.items()],
    case("floor_div", cr.floor_div, lambda a, b: torch.div(a, b, rounding_mode="floor"), *np.meshgrid(GRID, GRID[[0, 1, 3]])),
    case("clip", lambda x: cr.clip(x, min=-1, max=1), lambda x: torch.clamp(x, -1, 1), HARD),
    case("where", lambda x: cr.where(x > 0, x, 0.5), lambda x: torch.where(x > 0, x, 0.5), X),
    case("leaky_relu", lambda x: cr.leaky_relu(x), F.leaky_relu, HARD),
    case("gelu", cr.gelu, F.gelu, GRID),
    case("gelu tanh", lambda x: cr.gelu(x, approximate="tanh"), lambda x: F.gelu(x, approximate="tanh"), GRID),
    case("silu", cr.silu, F.silu, GRID),
    *[
        case(f"{name} {params}", method(name, **params), method(name, **params), X)
        for name in ("sum", "mean", "amax", "amin", "var", "std", "any", "all", "norm", "prod", "argmax", "argmin")
        for params in ({}, {"dim": 1}, {"dim": 0, "keepdim": True})
    ],
    case("norm", lambda x: x.norm(), lambda x: x.norm(), np.zeros(3)),
    case("norm 1", lambda x: x.norm(ord=1, axis=1), lambda x: torch.linalg.vector_norm(x, 1, dim=1), X),
    case("norm inf", lambda x: x.norm(ord=np.inf, axis=1), lambda x: torch.linalg.vector_norm(x, torch.inf, dim=1), X),
    case("std of one value", lambda x: x.std(), lambda x: x.std(), np.ones(3)),
    case("var correction", lambda x: x.var(correction=0), lambda x: x.var(correction=0), X),
    case("logsumexp", lambda x: x.logsumexp(1), lambda x: x.logsumexp(1), X),
    case("prod with a zero", lambda x: x.prod(), lambda x: x.prod(), np.array([2.0, 0.0, 3.0])),
    case("prod with zeros", lambda x: x.prod(), lambda x: x.prod(), np.array([0.0, 0.0, 3.0])),
    case("max along an axis", lambda x: x.max(1).values, lambda x: x.max(1).values, TIED),
    case("max indices", lambda x: x.max(1).indices, lambda x: x.max(1).indices, TIED),
    case("min along an axis", lambda x: x.min(1).values, lambda x: x.min(1).values, X),
    case("cumsum", lambda x: x.cumsum(1), lambda x: x.cumsum(1), X),
    case("cumprod", lambda x: x.cumprod(1), lambda x: x.cumprod(1), TIED),
    case("matmul", cr.matmul, torch.matmul, X, X.T),
    case("matmul of batches", cr.matmul, torch.matmul, R.standard_normal((2, 1, 3, 4)), R.standard_normal((5, 4, 2))),
    case("matmul of a vector", cr.matmul, torch.matmul, R.standard_normal((2, 3, 4)), R.standard_normal(4)),
    case("linear", cr.linear, F.linear, X, R.standard_normal((5, 4)), R.standard_normal(5)),
    *[
        case(f"einsum {e}", lambda *x, e=e: cr.einsum(e, *x), lambda *x, e=e: torch.einsum(e, *x), *args)
        for e, args in {"ij,kj->ik": [X, X], "...j,kj": [X, X], "ij->j": [X], "ii->i": [X[:, :3]]}.items()
    ],
    case("outer", cr.outer, torch.outer, X[0], X[:, 0]),
    case("dot", cr.dot, torch.dot, X[0], X[1]),
    case("transpose", lambda x: x.transpose(0, 1), lambda x: x.transpose(0, 1), X),
    case("squeeze", lambda x: x.squeeze(1), lambda x: x.squeeze(1), X[:, None]),
    case("flip", lambda x: x.flip(0, 1), lambda x: x.flip(0, 1), X),
    case("roll", lambda x: x.roll(2), lambda x: x.roll(2), X),
    case("roll an axis", lambda x: x.roll(-1, 1), lambda x: x.roll(-1, 1), X),
    case("tril", lambda x: x.tril(1), lambda x: x.tril(1), X),
    case("triu", lambda x: x.triu(-1), lambda x: x.triu(-1), X),
    case("repeat", lambda x: x.repeat(2, 1, 3), lambda x: x.repeat(2, 1, 3), X),
    case("tile", lambda x: x.tile(3), lambda x: x.tile(3), X),
    case("split", lambda x: x.split(3, 1)[1], lambda x: x.split(3, 1)[1], X),
    case("chunk", lambda x: x.chunk(3, 1)[0], lambda x: x.chunk(3, 1)[0], X),
    *[
        case(f"pad {mode}", lambda x, m=mode: cr.pad(x, (2, 1, 1, 2), m), lambda x, m=mode: F.pad(x, (2, 1, 1, 2), m), IMAGES)
        for mode in ("constant", "reflect", "replicate", "circular")
    ],
    case("pad with a value", lambda x: cr.pad(x, (1, -2), value=3.0), lambda x: F.pad(x, (1, -2), value=3.0), X),
    case("stack", lambda a, b: cr.stack([a, b], 1), lambda a, b: torch.stack([a, b], 1), X, X),
    case("concat", lambda a, b: cr.concat([a, b], 1), lambda a, b: torch.concat([a, b], 1), X, X),
    case("sort", lambda x: x.sort(descending=True).values, lambda x: x.sort(descending=True).values, X),
    case("argsort", lambda x: x.argsort(), lambda x: x.argsort(), X),
    case("topk", lambda x: x.topk(2).values, lambda x: x.topk(2).values, X),
    case("nonzero", lambda x: (x > 0).nonzero(), lambda x: (x > 0).nonzero(), X),
    case("unique", lambda x: x.unique(), lambda x: x.detach().unique(), TIED),
    case("gather", lambda x: x.gather(at(x, [[0, 2], [1, 1]]), axis=1), lambda x: x.gather(1, at(x, [[0, 2], [1, 1]])), X),
    case("scatter_add", lambda x: x.scatter_add(at(x, [[0, 0], [1, 3]]), x[:2, :2], axis=1),
         lambda x: x.scatter_add(1, at(x, [[0, 0], [1, 3]]), x[:2, :2]), X),
    case("indexing", lambda x: x[[0, 2], 1:3][..., None], lambda x: x[[0, 2], 1:3][..., None], X),
    case("masking", lambda x: x[x > 0], lambda x: x[x > 0], X),
    *[
        case(f"conv2d {p}", lambda *x, p=p: cr.conv2d(*x, **p), lambda *x, p=p: F.conv2d(*x, **p), IMAGES, w, b, rtol=1e-9)
        for w, b, p in (
            (FILTERS, R.standard_normal(6), {"stride": (2, 1), "padding": (1, 2)}),
            (FILTERS[:, :2], R.standard_normal(6), {"groups": 2, "dilation": (2, 3)}),
        )
    ],
    *[
        case(f"max_pool2d {p}", lambda x, p=p: cr.max_pool2d(x, **p), lambda x, p=p: F.max_pool2d(x, **p), IMAGES)
        for p in ({"kernel_size": 2}, {"kernel_size": (3, 2), "stride": (2, 1), "padding": 1, "dilation": (1, 2)})
    ],
    case("max_pool2d of ties", lambda x: cr.max_pool2d(x, 2, 1), lambda x: F.max_pool2d(x, 2, 1), np.ones((1, 1, 3, 3))),
    *[
        case(f"avg_pool2d {p}", lambda x, p=p: cr.avg_pool2d(x, **p), lambda x, p=p: F.avg_pool2d(x, **p), IMAGES)
        for p in ({"kernel_size": 2}, {"kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": False})
    ],
    case("softmax", lambda x: x.softmax(1), lambda x: x.softmax(1), X),
    case("log_softmax", lambda x: x.log_softmax(0), lambda x: x.log_softmax(0), X),
    *[
        case(f"cross_entropy {p}", lambda x, p=p: cr.cross_entropy(x, at(x, CLASSES), **p),
             lambda x, p=p: F.cross_entropy(x, at(x, CLASSES), **p), X)
        for p in ({}, {"reduction": "sum"}, {"reduction": "none"}, {"label_smoothing": 0.2}, {"ignore_index": 3},
                  {"ignore_index": 3, "label_smoothing": 0.2, "reduction": "none"})
    ],
    case("cross_entropy with weights", lambda x, w: cr.cross_entropy(x, at(x, CLASSES), w.detach(), label_smoothing=0.1),
         lambda x, w: F.cross_entropy(x, at(x, CLASSES), w.detach(), label_smoothing=0.1), X, np.array([1.0, 2.0, 0.5, 3.0])),
    case("cross_entropy of probabilities", lambda x, t: cr.cross_entropy(x, t, label_smoothing=0.1),
         lambda x, t: F.cross_entropy(x, t, label_smoothing=0.1), X, np.abs(X)),
    case("cross_entropy of places", lambda x: cr.cross_entropy(x, at(x, [[0, 1], [2, 1]])),
         lambda x: F.cross_entropy(x, at(x, [[0, 1], [2, 1]])), R.standard_normal((2, 3, 2))),
    case("mse", cr.mse, F.mse_loss, X, X[::-1].copy()),
    case("bce", lambda x, t: cr.bce(x, t.detach()), lambda x, t: F.binary_cross_entropy(x, t.detach()),
         np.array([0.0, 0.2, 0.9, 1.0]), np.array([0.0, 1.0, 0.3, 1.0])),
    case("bce_with_logits", cr.bce_with_logits, F.binary_cross_entropy_with_logits, GRID, np.array([0.0, 1.0, 0.3, 1.0, 0.0])),
    case("batch_norm_train", lambda x, w, b: cr.batch_norm_train(x, w, b, at(x, np.zeros(4)), at(x, np.ones(4))),
         lambda x, w, b: F.batch_norm(x, at(x, np.zeros(4)), at(x, np.ones(4)), w, b, training=True),
         IMAGES, X[0], X[1], rtol=1e-9),
    case("batch_norm_eval", lambda x, w, b: cr.batch_norm_eval(x, w, b, at(x, X[2]), at(x, np.ones(4))),
         lambda x, w, b: F.batch_norm(x, at(x, X[2]), at(x, np.ones(4)), w, b), IMAGES, X[0], X[1]),
]  # fmt: skip


def at(x, data):
    """Data as a tensor of the same framework."""
    return Tensor(np.asarray(data)) if isinstance(x, Tensor) else torch.tensor(np.asarray(data))


@pytest.mark.parametrize("backend", ["numpy", "cpu"])
@pytest.mark.parametrize(("ours", "theirs", "args", "rtol"), CASES)
def test_values_and_gradients(ours, theirs, args, rtol, backend):
    with backends.use(backend):
        mine = [Tensor(a, requires_grad=True) for a in args]
        peers = [torch.tensor(a, requires_grad=True) for a in args]
        y, e = ours(*mine), theirs(*peers)
        assert y.shape == tuple(e.shape) and str(y.dtype) == str(e.dtype).removeprefix("torch.")
        np.testing.assert_allclose(y.numpy(), e.detach().numpy(), rtol=rtol, atol=1e-12)
        if not e.requires_grad:
            return
        weights = np.cos(np.arange(y.size)).reshape(y.shape)
        wanted = torch.autograd.grad((e * torch.tensor(weights)).sum(), peers, allow_unused=True)
        found = grad((y * Tensor(weights)).sum(), mine, allow_unused=True) if y.requires_grad else [None] * len(mine)
        for g, w in zip(found, wanted, strict=True):
            g = np.zeros(1) if g is None else g.numpy()
            w = np.zeros(1) if w is None else w.numpy()
            np.testing.assert_allclose(g, w + np.zeros_like(g), rtol=rtol, atol=1e-10)


DTYPES = ("bool", "uint8", "int8", "int32", "int64", "float16", "bfloat16", "float32", "float64")


MIXTURES = [
    (name, a, b)
    for name in ("add", "mul", "div", "maximum", "pow", "where", "lt")
    for a in DTYPES
    for b in (*DTYPES, True, 2, 1.5)
    if not (name == "pow" and a == "bool" and b in ("bool", True))
    and not (name == "maximum" and not isinstance(b, str))
]


@pytest.mark.parametrize(("name", "a", "b"), MIXTURES)
def test_dtypes(name, a, b):
    """Mixtures meet in the dtype that PyTorch gives; only its 0-d tensors, which weigh less, are not followed."""

    def made(framework, x):
        if not isinstance(x, str):
            return x
        return Tensor([1, 1], dtype=x) if framework is cr else torch.tensor([1, 1], dtype=getattr(torch, x))

    def call(framework):
        x, y = made(framework, a), made(framework, b)
        return framework.where(x > 0, x, y) if name == "where" else getattr(framework, name)(x, y)

    assert str(call(cr).dtype) == str(call(torch).dtype).removeprefix("torch.")
