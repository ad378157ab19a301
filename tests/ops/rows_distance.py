"""Rows of the distance room."""

import numpy as np
from tests.ops import oracles as o
from tests.ops.table import BOTH, row

REDUCTIONS = ({}, {"reduction": "sum"}, {"reduction": "none"})
PAIRS = np.array([1, -1, 1])


def cosine(a, b):
    return (a * b).sum(-1) / np.sqrt((a * a).sum(-1) * (b * b).sum(-1))


def apart(a, b, p=2.0):
    return (np.abs(a - b + 1e-6) ** p).sum(-1) ** (1 / p)


def each(f):
    return lambda *args, reduction="mean", **options: o.reduced(np.asarray(f(*args, **options)), reduction)


def embedding(a, b, t, margin=0.0):
    return np.where(t > 0, 1 - cosine(a, b), np.maximum(cosine(a, b) - margin, 0))


def contrastive(a, b, t, margin=1.0):
    return np.where(t > 0, apart(a, b) ** 2, np.maximum(margin - apart(a, b), 0) ** 2) / 2


def triplet(a, b, c, margin=1.0, p=2.0, swap=False):
    far = np.minimum(apart(a, c, p), apart(b, c, p)) if swap else apart(a, c, p)
    return np.maximum(apart(a, b, p) - far + margin, 0)


SAMPLES = [
    *[row("cosine_loss", x, x, span=BOTH, expected=each(lambda a, b: 1 - cosine(a, b)), **p)
      for p in REDUCTIONS for x in ((3, 4), (2, 3, 4), (4,))],
    *[row("cosine_embedding", (3, 4), (3, 4), PAIRS, span=BOTH, expected=each(embedding), **p)
      for p in (*REDUCTIONS, {"margin": 0.3})],
    *[row("contrastive", (3, 4), (3, 4), PAIRS, span=(0.0, 0.7), expected=each(contrastive), **p)
      for p in (*REDUCTIONS, {"margin": 3.0})],
    *[row("triplet_margin", (3, 4), (3, 4), (3, 4), span=BOTH, expected=each(triplet), **p)
      for p in (*REDUCTIONS, {"margin": 3.0, "swap": True}, {"p": 3.0}, {"p": 1.0})],
]  # fmt: skip
