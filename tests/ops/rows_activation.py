"""Rows of the activation room."""

import numpy as np
from tests.ops import oracles as o
from tests.ops.table import BOTH, row, rows

WIDE = (-5.0, 8.0)  # beyond the limits of relu6 and hardswish
ALONE = [[(5,)], [(2, 3)], [()], [(0, 3)]]
SCALE, ALPHA = 1.0507009873554805, 1.6732632423543772


def elu(x, alpha=1.0):
    return np.where(x > 0, x, alpha * (np.exp(np.minimum(x, 0)) - 1))


def hardshrink(x, lambd=0.5):
    return np.where(np.abs(x) > lambd, x, 0)


def softshrink(x, lambd=0.5):
    return np.sign(x) * np.maximum(np.abs(x) - lambd, 0)


def softplus(x, beta=1.0, threshold=20.0):
    return np.where(beta * x > threshold, x, np.log(1 + np.exp(beta * x)) / beta)


def celu(x, alpha=1.0):
    return np.where(x > 0, x, alpha * (np.exp(x / alpha) - 1))


def hardtanh(x, min_val=-1.0, max_val=1.0):
    return np.clip(x, min_val, max_val)


ELEMENTWISE = [
    *rows("relu6", lambda x: np.clip(x, 0, 6), *ALONE, span=WIDE),
    *rows("hardtanh", hardtanh, *ALONE, span=BOTH),
    *rows("hardtanh", hardtanh, [(3, 4)], span=BOTH, min_val=-0.5, max_val=1.5),
    *rows("hardsigmoid", lambda x: np.clip(x + 3, 0, 6) / 6, *ALONE, span=WIDE),
    *rows("hardswish", lambda x: x * np.clip(x + 3, 0, 6) / 6, *ALONE, span=WIDE),
    *rows("threshold", lambda x, threshold, value: np.where(x > threshold, x, value), *ALONE, span=BOTH, threshold=0.5,
          value=-3.0),
    *rows("softshrink", softshrink, *ALONE, span=BOTH),
    *rows("softshrink", softshrink, [(3, 4)], span=BOTH, lambd=1.0),
    *rows("hardshrink", hardshrink, *ALONE, span=BOTH),
    *rows("hardshrink", hardshrink, [(3, 4)], span=BOTH, lambd=1.0),
    *rows("elu", elu, *ALONE, span=BOTH),
    *rows("elu", elu, [(3, 4)], span=BOTH, alpha=0.3),
    *rows("selu", lambda x: SCALE * elu(x, ALPHA), *ALONE, span=BOTH),
    *rows("celu", celu, *ALONE, span=BOTH),
    *rows("celu", celu, [(3, 4)], span=BOTH, alpha=0.3),
    *rows("softplus", softplus, *ALONE, span=BOTH),
    *rows("softplus", softplus, [(3, 4)], span=BOTH, beta=2.0, threshold=1.5),
    *rows("mish", lambda x: x * np.tanh(np.log(1 + np.exp(x))), *ALONE, span=BOTH),
    *rows("softsign", lambda x: x / (1 + np.abs(x)), *ALONE, span=BOTH),
    *rows("logsigmoid", lambda x: np.log(o.sigmoid(x)), *ALONE, span=BOTH),
]  # fmt: skip


def gate(of_a, of_b):
    def expected(x, axis=-1):
        a, b = np.split(x, 2, axis)
        return of_a(a) * of_b(b)

    return expected


def same(x):
    return x


def maxout(x, pieces, axis=1):
    parts = [x.take(range(k, x.shape[axis], pieces), axis) for k in range(pieces)]
    return np.max(parts, axis=0)


def prelu(x, weight):
    return np.where(x > 0, x, x * weight.reshape(-1, *(1,) * max(x.ndim - 2, 0))).reshape(x.shape)


SAMPLES = [
    *[row("glu", shape, expected=gate(same, o.sigmoid), span=BOTH, **p)
      for shape, p in (((4,), {}), ((3, 6), {}), ((2, 4, 3), {"axis": 1}), ((0, 4), {}))],
    *[row("swiglu", shape, expected=gate(lambda a: a * o.sigmoid(a), same), span=BOTH, **p)
      for shape, p in (((4,), {}), ((3, 6), {}), ((2, 4, 3), {"axis": 1}))],
    *[row("maxout", shape, expected=maxout, span=BOTH, **p)
      for shape, p in (((3, 6), {"pieces": 2}), ((2, 6, 2), {"pieces": 3}), ((2, 4), {"pieces": 2, "axis": 0}))],
    *[row("prelu", shape, (n,), expected=prelu, span=BOTH)
      for shape, n in (((2, 3), 3), ((2, 3, 4), 3), ((2, 3, 2, 2), 3), ((5,), 1), ((2, 3, 4), 1), ((), 1))],
]  # fmt: skip

LARGE = [
    *[row(op, (300, 1000), span=BOTH) for op in (
        "elu selu softplus mish hardswish logsigmoid relu6 hardtanh softshrink hardshrink celu".split())],
    *[row(op, (300, 1000), span=BOTH, **p) for op in ("glu", "swiglu") for p in ({}, {"axis": 0})],
    row("swiglu", (7, 40000), span=BOTH),
    row("prelu", (300, 1000), (1,), span=BOTH),
    row("prelu", (3000, 50), (50,), span=BOTH),
    row("prelu", (5, 7, 90, 90), (7,), span=BOTH),
    row("prelu", (2, 3, 40000), (3,), span=BOTH),
]  # fmt: skip
