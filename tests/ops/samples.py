"""One row per use of an op: its arguments, its parameters, and what NumPy says it is. A new op adds a row.

Rows of further rooms stand beside this file, in ``rows_<room>.py``: lists SAMPLES, and perhaps ELEMENTWISE and LARGE.
"""

from importlib import import_module
from pathlib import Path

import numpy as np
from tests.ops import oracles as o
from tests.ops.table import BOTH, Fixed, row, rows

WHOLE = np.array([[7, -7, 3], [-8, 2, 5]])
PAIRS = [[(3, 4), (4,)], [(2, 3), 2], [1.5, (3,)], [(3, 1), (1, 4)], [(0, 3), (3,)], [(), (2,)]]
ALONE = [[(5,)], [(2, 3)], [()], [(0, 3)]]

ELEMENTWISE = [
    *rows("add", np.add, *PAIRS, [WHOLE, 3], span=BOTH),
    *rows("sub", np.subtract, *PAIRS, [WHOLE, 3], span=BOTH),
    *rows("mul", np.multiply, *PAIRS, [WHOLE, 3], span=BOTH),
    *rows("div", np.divide, *PAIRS),
    *rows("floor_div", np.floor_divide, *PAIRS, [WHOLE, 3], [WHOLE, WHOLE[::-1]], span=(0.5, 9.0)),
    *rows("remainder", np.remainder, *PAIRS, [WHOLE, -3], [WHOLE, WHOLE[::-1]], span=(0.5, 9.0)),
    *rows("pow", np.power, *PAIRS, [(3,), 3], [(3,), 0.5], [(3,), 0], [(3,), 1], [2, (3,)], [WHOLE, 2]),
    *rows("maximum", np.maximum, *PAIRS, [WHOLE, 3], span=BOTH),
    *rows("minimum", np.minimum, *PAIRS, [WHOLE, 3], span=BOTH),
    *rows("atan2", np.arctan2, *PAIRS, span=BOTH),
    *rows("neg", np.negative, *ALONE, [WHOLE], span=BOTH),
    *rows("abs", np.abs, *ALONE, [WHOLE], span=BOTH),
    *rows("sign", np.sign, *ALONE, [WHOLE], span=BOTH),
    *rows("floor", np.floor, *ALONE, span=BOTH),
    *rows("ceil", np.ceil, *ALONE, span=BOTH),
    *rows("round", np.round, *ALONE, [WHOLE], span=BOTH),
    *rows("exp", np.exp, *ALONE, span=BOTH),
    *rows("expm1", np.expm1, *ALONE, span=BOTH),
    *rows("log", np.log, *ALONE),
    *rows("log1p", np.log1p, *ALONE),
    *rows("log2", np.log2, *ALONE),
    *rows("log10", np.log10, *ALONE),
    *rows("sqrt", np.sqrt, *ALONE),
    *rows("rsqrt", lambda x: x**-0.5, *ALONE),
    *rows("square", np.square, *ALONE, [WHOLE], span=BOTH),
    *rows("reciprocal", np.reciprocal, *ALONE),
    *rows("sin", np.sin, *ALONE, span=BOTH),
    *rows("cos", np.cos, *ALONE, span=BOTH),
    *rows("tan", np.tan, *ALONE, span=(-1.2, 1.2)),
    *rows("asin", np.arcsin, *ALONE, span=(-0.9, 0.9)),
    *rows("acos", np.arccos, *ALONE, span=(-0.9, 0.9)),
    *rows("atan", np.arctan, *ALONE, span=BOTH),
    *rows("sinh", np.sinh, *ALONE, span=BOTH),
    *rows("cosh", np.cosh, *ALONE, span=BOTH),
    *rows("tanh", np.tanh, *ALONE, span=BOTH),
    *rows("erf", o.erf, *ALONE, span=BOTH),
    *rows("sigmoid", o.sigmoid, *ALONE, span=BOTH),
    *rows("clip", lambda x, min, max: np.clip(x, min, max), *ALONE, span=BOTH, min=-0.5, max=1),
    *rows("clip", lambda x, min: np.maximum(x, min), [(3, 4)], span=BOTH, min=0.25),
    *rows("clip", lambda x, max: np.minimum(x, max), [(3, 4)], span=BOTH, max=0.25),
    *rows("where", np.where, [WHOLE > 0, (2, 3), (3,)], [WHOLE > 0, (2, 3), 1.5], [WHOLE > 0, -1, ()]),
    *[r for name, f in {"add_": np.add, "sub_": np.subtract, "mul_": np.multiply, "div_": np.divide}.items()
      for r in rows(name, f, [Fixed((3, 4)), Fixed((3, 4))], [Fixed((2, 3)), 2], [Fixed((3, 4)), Fixed((4,))],
                    [Fixed(()), 0.5], [Fixed((3, 2)), Fixed((1, 1))])],
    *rows("eq", np.equal, [WHOLE, 3], [WHOLE, WHOLE[::-1]], [(3,), (2, 1)]),
    *rows("ne", np.not_equal, [WHOLE, 3], [WHOLE, WHOLE[::-1]], [(3,), (2, 1)]),
    *rows("lt", np.less, [WHOLE, 3], [WHOLE, WHOLE[::-1]], [(3,), (2, 1)]),
    *rows("le", np.less_equal, [WHOLE, 3], [WHOLE, WHOLE[::-1]], [(3,), (2, 1)]),
    *rows("gt", np.greater, [WHOLE, 3], [WHOLE, WHOLE[::-1]], [(3,), (2, 1)]),
    *rows("ge", np.greater_equal, [WHOLE, 3], [WHOLE, WHOLE[::-1]], [(3,), (2, 1)]),
    *rows("logical_and", np.logical_and, [WHOLE > 0, WHOLE > 2], [WHOLE - 3, True]),
    *rows("logical_or", np.logical_or, [WHOLE > 0, WHOLE > 2], [WHOLE - 3, False]),
    *rows("logical_xor", np.logical_xor, [WHOLE > 0, WHOLE > 2], [WHOLE - 3, True]),
    *rows("bitwise_and", np.bitwise_and, [WHOLE, 5], [WHOLE > 0, WHOLE > 2]),
    *rows("bitwise_or", np.bitwise_or, [WHOLE, 5], [WHOLE > 0, WHOLE > 2]),
    *rows("bitwise_xor", np.bitwise_xor, [WHOLE, 5], [WHOLE > 0, WHOLE > 2]),
    *rows("bitwise_not", np.invert, [WHOLE], [WHOLE > 0]),
    *rows("logical_not", np.logical_not, [WHOLE > 0], [WHOLE - 3], [np.array(0.0)]),
    *rows("isfinite", np.isfinite, [np.array([1.0, np.inf, -np.inf, np.nan])], [WHOLE]),
    *rows("isnan", np.isnan, [np.array([1.0, np.inf, -np.inf, np.nan])]),
    *rows("isinf", np.isinf, [np.array([1.0, np.inf, -np.inf, np.nan])], [WHOLE]),
    *rows("relu", lambda x: np.maximum(x, 0), *ALONE, [WHOLE], span=BOTH),
    *rows("leaky_relu", lambda x: np.where(x > 0, x, 0.01 * x), *ALONE, span=BOTH),
    *rows("leaky_relu", lambda x, negative_slope: np.where(x > 0, x, negative_slope * x), [(3, 4)], span=BOTH,
          negative_slope=0.2),
    *rows("gelu", o.gelu, *ALONE, span=BOTH),
    *rows("gelu", o.gelu, *ALONE, span=BOTH, approximate="tanh"),
    *rows("silu", lambda x: x * o.sigmoid(x), *ALONE, span=BOTH),
]  # fmt: skip

AXES = [{}, {"axis": 1}, {"axis": -1, "keepdims": True}, {"axis": (0, -1)}, {"axis": [2, 1], "keepdims": True}]


def over_axes(op, expected, *more, **options):
    """A sample for each kind of ``axis``."""
    return [
        row(op, (2, 3, 4), expected=lambda x, axis=None, **p: expected(x, axis=listed(axis), **p), **axes, **options)
        for axes in AXES
    ] + [row(op, *args, expected=expected, **options) for args in more]


def listed(axis):
    """NumPy takes axes as a tuple only."""
    return tuple(axis) if isinstance(axis, list) else axis


REDUCE = [
    *over_axes("sum", np.sum, [()], [(0, 3)], [WHOLE], [WHOLE > 0], span=BOTH),
    *over_axes("prod", np.prod, [()], [(0, 3)], [WHOLE], [np.array([[1.5, 0.0, 2.0], [0.0, 0.0, 3.0]])], span=BOTH),
    row("prod", np.array([[1.5, 0.0, 2.0], [0.5, 1.0, 3.0]]), axis=1, expected=np.prod),
    *over_axes("mean", np.mean, [()], [WHOLE], span=BOTH),
    *over_axes("amax", np.max, [()], [WHOLE], span=BOTH),
    *over_axes("amin", np.min, [()], [WHOLE], span=BOTH),
    *over_axes("any", np.any, [np.zeros((2, 3))], [WHOLE > 9], [np.zeros((0, 2), bool)]),
    *over_axes("all", np.all, [np.ones((2, 3))], [WHOLE > 0], [np.zeros((0, 2), bool)]),
    *over_axes("var", lambda x, *a, **k: o.moments(x, *a, **k)[0], [(4,)], span=BOTH),
    *over_axes("std", lambda x, *a, **k: np.sqrt(o.moments(x, *a, **k)[0]), [(4,)], span=BOTH),
    *over_axes("var_mean", o.moments, [(4,)], span=BOTH),
    row("var", (3, 4), axis=0, correction=0, expected=lambda x, **k: o.moments(x, **k)[0]),
    row("std", (3, 4), axis=0, correction=0, expected=lambda x, **k: np.sqrt(o.moments(x, **k)[0])),
    *over_axes("logsumexp", o.logsumexp, [()], span=BOTH),
    *over_axes("norm", o.norm, [(4,)], span=BOTH),
    *over_axes("norm", o.norm, span=BOTH, ord=1),
    *over_axes("norm", o.norm, span=BOTH, ord=np.inf),
    row("norm", (3, 4), axis=(0, 1), ord="fro", expected=o.norm),
    *[
        row(op, (2, 3, 4), expected=o.first_extreme(argument), span=BOTH, **axes)
        for op, argument in (("max", np.argmax), ("min", np.argmin))
        for axes in ({"axis": 1}, {"axis": -1, "keepdims": True}, {"axis": 0})
    ],
    row("max", np.array([[1, 3, 3], [5, 5, 2]]), axis=1, expected=o.first_extreme(np.argmax)),
    *[
        row(op, x, expected=argument, span=BOTH, **axes)
        for op, argument in (("argmax", np.argmax), ("argmin", np.argmin))
        for x, axes in (((2, 3), {}), ((2, 3, 4), {"axis": 1}), (WHOLE, {"axis": -1, "keepdims": True}))
    ],
    *[
        row(op, x, axis=axis, expected=scan, span=BOTH)
        for op, scan in (("cumsum", np.cumsum), ("cumprod", np.cumprod))
        for x, axis in (((3, 4), 0), ((5,), -1), (WHOLE, 1), ((0,), 0))
    ],
    row("cumprod", np.array([[1.5, 0.0, 2.0, 0.5, 0.0], [0.5, 1.0, 3.0, 2.0, 1.5]]), axis=1, expected=np.cumprod),
]  # fmt: skip


def einsum(*xs, equation):
    return np.einsum(equation, *xs)


GEMM = [
    *rows("matmul", np.matmul, [(2, 3), (3, 4)], [(2, 3, 4), (4, 5)], [(2, 1, 3, 4), (3, 4, 2)], [(4, 3), (5, 3, 2)],
          [(1, 3), (3, 1)], [(2, 0), (0, 3)], [(0, 2), (2, 3)], [WHOLE, WHOLE.T], span=BOTH),
    *rows("linear", o.linear, [(4, 3), (5, 3), (5,)], [(4, 3), (5, 3), None], [(2, 4, 3), (5, 3), (5,)],
          [(3,), (5, 3), (5,)], [(0, 3), (5, 3), (5,)], span=BOTH),
    *[r for kind in ("relu", "sigmoid", "tanh", "gelu", "silu") for r in rows(
        "linear_activation", o.linear_activation, [(4, 3), (5, 3), (5,)], [(2, 4, 3), (5, 3), None], [(3,), (5, 3), (5,)],
        [(0, 3), (5, 3), (5,)], span=BOTH, activation=kind)],
    row("outer", (3,), (4,), expected=np.outer),
    row("dot", (5,), (5,), expected=np.dot),
    *[row("einsum", *args, equation=e, expected=einsum, span=BOTH) for e, args in {
        "ij,jk->ik": [(2, 3), (3, 4)], "bij,bjk->bik": [(2, 3, 4), (2, 4, 5)], "ij->ji": [(2, 3)], "ii": [(3, 3)],
        "ii->i": [(3, 3)], "i,i->": [(3,), (3,)], "i,j": [(3,), (2,)], "...ij,...jk->...ik": [(2, 3, 4), (4, 5)],
        "b...->...": [(3, 2, 2)], "ij,jk,kl->il": [(2, 3), (3, 4), (4, 2)], "iij,jk->ki": [(3, 3, 2), (2, 4)],
        "ij,ij->ij": [(2, 3), (2, 3)], "bhqd,bhkd->bhqk": [(2, 2, 3, 4), (2, 2, 5, 4)], "ij->": [(2, 3)],
        "ij,j": [(2, 3), (1,)], "...i,...i->...": [(2, 1, 3), (4, 3)],
    }.items()],
]  # fmt: skip

SHAPE = [
    *[row("reshape", (2, 6), shape=shape, expected=lambda x, shape: x.reshape(shape)) for shape in ((3, -1), (2, 2, 3), -1)],
    row("reshape", (), shape=(1, 1), expected=lambda x, shape: x.reshape(shape)),
    row("reshape", (0, 3), shape=(3, 0), expected=lambda x, shape: x.reshape(shape)),
    row("permute", (2, 3, 4), axes=(2, 0, -2), expected=np.transpose),
    row("transpose", (2, 3, 4), axis0=0, axis1=-1, expected=lambda x, axis0, axis1: x.swapaxes(axis0, axis1)),
    row("expand", (3, 1), shape=(2, -1, 4), expected=lambda x, shape: np.broadcast_to(x, (2, 3, 4))),
    row("expand", (), shape=(2, 3), expected=np.broadcast_to),
    *[row("squeeze", (1, 3, 1), expected=lambda x, shape=shape, **_: x.reshape(shape), **axis)
      for shape, axis in (((3,), {}), ((3, 1), {"axis": 0}), ((1, 3, 1), {"axis": 1}), ((1, 3), {"axis": (-1,)}))],
    *[row("unsqueeze", (2, 3), axis=axis, expected=np.expand_dims) for axis in (0, 1, -1)],
    row("flatten", (2, 3, 4), start=1, expected=lambda x, start: x.reshape(2, 12)),
    row("flatten", (), expected=lambda x: x.reshape(1)),
    *[row("flip", (2, 3), axis=axis, expected=np.flip) for axis in (0, -1, (0, 1))],
    *[row("roll", (3, 4), expected=lambda x, shifts, axis=None: np.roll(x, shifts, axis), **p)
      for p in ({"shifts": 2}, {"shifts": -1, "axis": 1}, {"shifts": (1, 2), "axis": (0, -1)}, {"shifts": 4, "axis": 1})],
    *[row("stack", (2, 3), (2, 3), (2, 3), axis=axis, expected=lambda *xs, axis: np.stack(xs, axis)) for axis in (0, 1, -1)],
    row("concat", (2, 3), (2, 1), (2, 0), axis=-1, expected=lambda *xs, axis: np.concatenate(xs, axis)),
    row("concat", (2, 3), WHOLE, expected=lambda *xs: np.concatenate(xs)),
    row("split", (5, 2), sizes=2, expected=lambda x, sizes: (x[:2], x[2:4], x[4:])),
    row("split", (2, 5), sizes=(1, 0, 4), axis=-1, expected=lambda x, sizes, axis: (x[:, :1], x[:, 1:1], x[:, 1:])),
    row("chunk", (5,), chunks=3, expected=lambda x, chunks: (x[:2], x[2:4], x[4:])),
    row("repeat", (2, 3), repeats=(2, 1, 3), expected=lambda x, repeats: np.tile(x, repeats)),
    row("repeat", (), repeats=(2,), expected=lambda x, repeats: np.tile(x, repeats)),
    row("tile", (2, 3), repeats=(2,), expected=lambda x, repeats: np.tile(x, repeats)),
    *[row("pad", (2, 3, 4), expected=o.pad, **p) for p in (
        {"pad": (1, 2)}, {"pad": (1, 2, 0, 3), "value": 1.5}, {"pad": (-1, 2, 1, -1)}, {"pad": (1, 2, 2, 0), "mode": "reflect"},
        {"pad": (5, 1), "mode": "replicate"}, {"pad": (4, 1, 0, 2), "mode": "circular"})],
    *[row(op, (2, 3, 4), expected=lambda x, diagonal=0, f=f: f(x, diagonal), **p)
      for op, f in (("tril", np.tril), ("triu", np.triu)) for p in ({}, {"diagonal": 1}, {"diagonal": -1})],
    row("tril", WHOLE, expected=np.tril),
    row("triu", WHOLE > 0, expected=np.triu),
]  # fmt: skip

MEMORY = [
    row("cast", (3,), dtype="float64", expected=lambda x, dtype: x),
    row("cast", (3,), dtype="int64", span=BOTH, expected=lambda x, dtype: np.trunc(x)),
    row("cast", WHOLE, dtype="uint8", expected=lambda x, dtype: x.astype(dtype)),
    row("cast", WHOLE, dtype="bool", expected=lambda x, dtype: x != 0),
    *rows("clone", np.copy, *ALONE, [WHOLE], [(2, 3, 4)]),
    *rows("contiguous", np.copy, *ALONE, [WHOLE], [(2, 3, 4)]),
    row("to_device", (2, 3), device="cpu", expected=lambda x, device: x),
    row("assign", Fixed((4, 3)), 1.5, pattern=(1, ...), expected=o.index_set),
    row("assign", Fixed((4, 3)), Fixed((2, 3)), np.array([3, 1]), pattern=("tensor", ...), expected=o.index_set),
]

PATTERNS = [  # of an array (4, 5): a pattern and its index tensors
    (("tensor", ...), [np.array([3, 1, 1])]),
    ((slice(None), "tensor", ...), [np.array([[0, 4], [2, 2]])]),
    (("tensor", "tensor", ...), [np.array([3, 0, 3]), np.array([1, -1, 1])]),
    (("tensor", None, slice(0, 4, 2), ...), [np.array([0, 2])]),
    ((1, "tensor", ...), [np.array([0, 2, 2])]),
    (("tensor", ...), [np.array(2)]),
    (("tensor", ...), [np.zeros((0,), np.int64)]),
    ((True, ...), []),
]
BASIC = [
    (slice(1, None, 2), -1, ...), (..., None, 2), (slice(None, None, -2), slice(3, 0, -1), ...), (2, 3, ...),
    (slice(2, 2), ...),
]  # fmt: skip
ONE, TWO = ("tensor", ...), ("tensor", "tensor", ...)
ALONG = np.array([[1, 1], [0, 3], [2, 2]])

INDEX = [
    *[row("getitem", (4, 5), index=i, expected=lambda x, index: x[index]) for i in BASIC],
    *[row("embed", np.empty((4, 5))[i].shape, index=i, shape=(4, 5),
          expected=lambda x, index, shape: o.put(np.zeros(shape), x, index)) for i in BASIC],
    *[row("setitem", (4, 5), np.empty((4, 5))[i].shape, index=i, expected=o.put) for i in BASIC],
    row("setitem", (4, 3), 0.5, index=(1, ...), expected=o.put),
    row("setitem", (4, 3), (), index=(slice(1, 3), ...), expected=o.put),
    *[row("index", (4, 5), *i, pattern=p, expected=lambda x, *i, pattern: x[o.filled(pattern, i)]) for p, i in PATTERNS],
    *[row("index_scatter", np.empty((4, 5))[o.filled(p, i)].shape, *i, pattern=p, shape=(4, 5), expected=o.index_scatter)
      for p, i in PATTERNS],
    row("index_set", (4, 5), 2, np.array([0, 2]), pattern=ONE, expected=o.index_set),
    row("index_set", (4, 5), (2, 5), np.array([0, 2]), pattern=ONE, expected=o.index_set),
    row("index_set", (4, 5), (3,), np.array([3, 0, 1]), np.array([1, 1, 0]), pattern=TWO, expected=o.index_set),
    row("gather", (3, 4), ALONG, axis=1, expected=o.gather),
    row("gather", (4, 3), ALONG.T, axis=-2, expected=o.gather),
    row("gather", (5, 4), ALONG, axis=1, expected=o.gather),
    row("ungather", (3, 2), ALONG, axis=-1, shape=(3, 4),
        expected=lambda x, i, axis, shape: o.scatter_add(np.zeros(shape), i, x, axis)),
    row("scatter_add", (3, 4), ALONG, (3, 2), axis=1, expected=o.scatter_add),
    row("scatter_add", (4, 4), ALONG, (3, 5), axis=1, expected=o.scatter_add),
    row("take_along_axis", (3, 4), ALONG, axis=1, expected=np.take_along_axis),
    row("take_along_axis", (3, 1), ALONG[:1, :1] * 0, axis=1, expected=np.take_along_axis),
    row("take_along_axis", (2, 3, 4), np.array([[[1], [3], [0]]]), axis=-1, expected=np.take_along_axis),
    *[row("sort", (3, 4), expected=o.sort, span=BOTH, **p) for p in ({}, {"axis": 0}, {"descending": True})],
    row("sort", np.array([2, 1, 2, 1, 3]), descending=True, expected=o.sort),
    *[row("argsort", (3, 4), expected=lambda x, **p: o.sort(x, **p)[1], **p) for p in ({}, {"axis": 0}, {"descending": True})],
    *[row("topk", (3, 4), expected=o.topk, **p) for p in ({"k": 2}, {"k": 3, "axis": 0}, {"k": 1, "largest": False}, {"k": 0})],
    row("nonzero", WHOLE > 2, expected=np.argwhere),
    row("nonzero", np.zeros((2, 2)), expected=np.argwhere),
    row("unique", np.array([[3, 1, 3], [2, 1, 1]]),
        expected=lambda x: ([1, 2, 3], [[2, 0, 2], [1, 0, 0]], [3, 1, 2])),
]  # fmt: skip

CONV = [
    row("windows", (1, 2, 4, 5), size=(2, 3), stride=(2, 1), expected=o.windows),
    row("windows", (1, 2, 5, 5), size=(2, 3), dilation=(2, 1), expected=o.windows),
    row("unwindow", (1, 2, 2, 3, 2, 3), shape=(1, 2, 4, 5), stride=(2, 1), expected=o.unwindow),
    row("unwindow", (1, 1, 3, 3, 2, 3), shape=(1, 1, 5, 5), dilation=(2, 1), expected=o.unwindow),
    row("conv2d", (2, 3, 6, 5), (4, 3, 3, 2), (4,), stride=(2, 1), padding=(1, 0), span=BOTH, expected=o.conv2d),
    row("conv2d", (1, 1, 3, 3), (1, 1, 3, 3), None, span=BOTH, expected=o.conv2d),
    row("conv2d", (2, 3, 8, 8), (5, 3, 3, 3), (5,), padding=(1, 1), span=BOTH, expected=o.conv2d),
    row("conv2d", (2, 4, 7, 6), (6, 2, 2, 3), (6,), groups=2, dilation=(2, 1), span=BOTH, expected=o.conv2d),
    row("conv2d", (2, 4, 5, 5), (4, 1, 3, 3), None, groups=4, padding=(1, 1), span=BOTH, expected=o.conv2d),
    row("conv2d", (2, 3, 5, 5), (4, 3, 1, 1), (4,), span=BOTH, expected=o.conv2d),
]

POOL = [
    *[row("max_pool2d", (2, 3, 6, 7), span=BOTH, expected=o.max_pool2d, **p) for p in (
        {"kernel_size": (2, 2)}, {"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 1)},
        {"kernel_size": (2, 2), "dilation": (2, 3)})],
    *[row("avg_pool2d", (2, 3, 6, 7), span=BOTH, expected=o.avg_pool2d, **p) for p in (
        {"kernel_size": (2, 2)}, {"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 1)},
        {"kernel_size": (3, 3), "padding": (1, 0), "count_include_pad": False})],
]  # fmt: skip

CLASSES = np.array([0, 2, 1, 2])
SHARES = np.array([[0.2, 0.5, 0.3], [1, 0, 0], [0, 0.5, 0.5], [0.1, 0.1, 0.8]])
WEIGHT = Fixed((3,))
REDUCTIONS = ({}, {"reduction": "sum"}, {"reduction": "none"})

LOSSES = [
    *[row(op, x, span=BOTH, expected=lambda x, axis=-1, f=f: f(o.softmax(x, axis)), **p)
      for op, f in (("softmax", np.asarray), ("log_softmax", np.log))
      for x, p in (((4, 5), {}), ((2, 3, 4), {"axis": 1}), ((5,), {"axis": 0}), ((3, 1), {}))],
    *[row("cross_entropy", (4, 3), *args, span=BOTH, expected=o.cross_entropy, **p) for args, p in (
        ([CLASSES], {}), ([CLASSES], {"reduction": "sum"}), ([CLASSES, WEIGHT], {}), ([CLASSES], {"reduction": "none"}),
        ([CLASSES, WEIGHT], {"label_smoothing": 0.1}), ([CLASSES], {"ignore_index": 2}),
        ([CLASSES, WEIGHT], {"ignore_index": 2, "label_smoothing": 0.1, "reduction": "none"}),
        ([SHARES], {}), ([SHARES, WEIGHT], {"label_smoothing": 0.1}), ([SHARES], {"reduction": "sum"}),
        ([np.eye(3, dtype=np.int64)[CLASSES]], {}))],
    row("cross_entropy", (2, 3, 4), np.array([[0, 1, 2, 1], [2, 2, -1, 0]]), ignore_index=-1, expected=o.cross_entropy),
    *[row("mse", (3, 4), (3, 4), expected=lambda x, t, reduction="mean": o.reduced((x - t) ** 2, reduction), **p)
      for p in REDUCTIONS],
    *[row("bce", (3, 4), (3, 4), span=(0.1, 0.9), expected=o.bce, **p) for p in REDUCTIONS],
    *[row("bce_with_logits", (3, 4), np.linspace(0, 1, 12).reshape(3, 4), span=BOTH,
          expected=lambda x, t, **p: o.bce(o.sigmoid(x), t, **p), **p) for p in REDUCTIONS],
]  # fmt: skip

AFFINE = [
    ((4, 3), [(3,), (3,)]), ((2, 3, 4, 5), [(3,), (3,)]), ((2, 3, 4), [None, None]), ((4, 2), [(2,), None]),
]  # fmt: skip

NORM = [
    *[row("batch_norm_train", x, *affine, Fixed(x[1:2]), Fixed(x[1:2]), expected=o.batch_norm_train, span=BOTH)
      for x, affine in AFFINE],
    row("batch_norm_train", (4, 3), (3,), (3,), Fixed((3,)), Fixed((3,)), momentum=0.5, eps=0.1,
        expected=o.batch_norm_train),
    *[row("batch_norm_eval", x, *affine, x[1:2], x[1:2], expected=o.batch_norm) for x, affine in AFFINE],
    row("batch_norm_eval", (2, 3, 4, 5), (3,), (3,), (3,), (3,), eps=0.1, expected=o.batch_norm),
]  # fmt: skip

STATE = np.array([2**40 + 7, 2**33 + 3])
RANDOM = [
    row("uniform", STATE, shape=(3, 5), expected=o.uniform),
    row("uniform", STATE, shape=(7,), dtype="float64", expected=o.uniform),
    row("uniform", STATE, shape=(0, 2), expected=o.uniform),
    row("normal", STATE, shape=(3, 5), dtype="float64", expected=o.normal),
    row("integers", STATE, low=-3, high=12, shape=(4, 4), expected=o.integers),
    row("bernoulli", STATE, p=0.3, shape=(4, 4), expected=o.bernoulli),
    row("permutation", STATE, n=11, expected=o.permutation),
    *rows("dropout", o.dropout, [(4, 5), STATE], [(), STATE], p=0.3),
]


def descended(lr, p, g, **_):
    return lr


OPTIM = [  # what they write is compared in test_optim.py
    row("sgd_", np.array(0.1), Fixed((3, 2)), Fixed((3, 2)), count=1, expected=descended),
    row(
        "adam_", np.array(3.0), np.array(0.1), *[Fixed((3, 2))] * 4, count=1, expected=lambda step, *_, count: step + 1
    ),
]

SAMPLES = [*ELEMENTWISE, *REDUCE, *GEMM, *SHAPE, *MEMORY, *INDEX, *CONV, *POOL, *LOSSES, *NORM, *RANDOM, *OPTIM]

LARGE = [  # where kernels divide the work among threads; compared with the reference
    *[row(op, (300, 1000), (300, 1000), span=BOTH) for op in ("add", "mul", "maximum")],
    row("add", (300, 1000), (1000,), span=BOTH),
    row("sub", (1000, 300), (1000, 1), span=BOTH),
    *[row(op, (300, 1000), span=BOTH) for op in ("exp", "tanh", "sigmoid", "relu", "gelu", "neg", "silu", "erf")],
    *[row(op, (300, 1000)) for op in ("log", "sqrt")],
    *[row(op, (300, 1000), span=BOTH, **p) for op in ("sum", "mean") for p in ({}, {"axis": 0}, {"axis": 1})],
    *[row(op, (64, 50, 60), span=BOTH, axis=a) for op in ("max", "sum", "var", "cumsum") for a in (0, 1, 2)],
    row("matmul", (150, 170), (170, 190), span=BOTH),
    row("matmul", (5, 70, 80), (5, 80, 90), span=BOTH),
    row("linear", (128, 200), (100, 200), (100,), span=BOTH),
    row("linear_activation", (128, 600), (100, 600), (100,), span=(-0.2, 0.2), activation="tanh"),
    row("conv2d", (8, 6, 20, 20), (16, 6, 3, 3), (16,), padding=(1, 1), span=BOTH),
    row("conv2d", (8, 8, 20, 20), (16, 4, 3, 3), None, groups=2, stride=(2, 2), span=BOTH),
    row("max_pool2d", (8, 16, 40, 40), kernel_size=(2, 2), span=BOTH),
    *[row("topk", np.random.default_rng(0).permutation(120_000).reshape(300, 400) / 1000, axis=a, k=k)
      for a in (0, 1) for k in (3, 200)],
    row("index_scatter", (7, 90, 600), np.arange(90) * 7 % 40 - 20, pattern=(slice(None), *ONE), shape=(7, 40, 600), span=BOTH),
    row("index_scatter", (50, 60, 100), np.arange(3000).reshape(50, 60) % 70, pattern=ONE, shape=(70, 100), span=BOTH),
    *[row("gather", (300, 400), np.arange(60_000).reshape(300, 200) * 7 % 300, axis=a, span=BOTH) for a in (0, 1)],
    row("avg_pool2d", (8, 16, 40, 40), kernel_size=(2, 2), span=BOTH),
    row("softmax", (500, 300), span=BOTH),
    row("log_softmax", (500, 300), span=BOTH),
    row("cross_entropy", (5000, 10), np.arange(5000) % 10, span=BOTH),
    row("batch_norm_train", (16, 8, 30, 30), (8,), (8,), Fixed((8,)), Fixed((8,)), span=BOTH),
    row("batch_norm_eval", (16, 8, 30, 30), (8,), (8,), (8,), (8,)),
    row("dropout", (300, 1000), STATE, p=0.25, span=BOTH),
    row("uniform", STATE, shape=(100_000,)),
    row("normal", STATE, shape=(100_000,)),
    row("bernoulli", STATE, p=0.3, shape=(100_000,)),
    row("integers", STATE, low=0, high=1000, shape=(100_000,)),
    row("permutation", STATE, n=50_000),
]  # fmt: skip

for path in sorted(Path(__file__).parent.glob("rows_*.py")):
    room = import_module(f"tests.ops.{path.stem}")
    alone = getattr(room, "ELEMENTWISE", [])
    ELEMENTWISE += alone
    SAMPLES += [*alone, *room.SAMPLES]
    LARGE += getattr(room, "LARGE", [])
