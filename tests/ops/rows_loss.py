"""Further rows of the loss room, and of nll in the softmax room."""

import math

import numpy as np
from tests.ops import oracles as o
from tests.ops.table import BOTH, row

REDUCTIONS = ({}, {"reduction": "sum"}, {"reduction": "none"})
YES_NO = np.array([[1, 0, 1, 1], [0, 0, 1, 0]])


def each(f):
    """An oracle of elements, reduced."""
    return lambda *args, reduction="mean", **options: o.reduced(f(*args, **options), reduction)


def weighed_bce(x, t, w):
    p = o.sigmoid(x)
    return -(w * t * np.log(p) + (1 - t) * np.log(1 - p))


def huber(x, t, delta=1.0):
    d = np.abs(x - t)
    return np.where(d <= delta, d * d / 2, delta * (d - delta / 2))


def smooth_l1(x, t, beta=1.0):
    return huber(x, t, beta) / beta if beta else np.abs(x - t)


def poisson(x, t, log_input=True, full=False, eps=1e-8):
    found = np.exp(x) - t * x if log_input else x - t * np.log(x + eps)
    stirling = t * np.log(t) - t + np.log(2 * math.pi * t) / 2
    return found + np.where(t > 1, stirling, 0) * full


def gaussian(x, t, v, full=False, eps=1e-6):
    return (np.log(v) + (x - t) ** 2 / v + np.log(2 * math.pi) * full) / 2


def kl(x, t, log_target=False, reduction="mean"):
    t = np.exp(t) if log_target else t
    found = np.where(t > 0, t * np.log(np.where(t > 0, t, 1)), 0) - t * x
    return found.sum() / len(x) if reduction == "batchmean" else o.reduced(found, reduction)


def focal(x, t, alpha=0.25, gamma=2.0):
    p = np.where(t == 1, o.sigmoid(x), 1 - o.sigmoid(x))
    weight = 1 if alpha is None else np.where(t == 1, alpha, 1 - alpha)
    return -weight * (1 - p) ** gamma * np.log(p)


def dice(x, t, smooth=1.0):
    axes = tuple(range(min(2, x.ndim - 1), x.ndim))
    return 1 - (2 * (x * t).sum(axes) + smooth) / (x.sum(axes) + t.sum(axes) + smooth)


def nll(x, t, weight=None, reduction="mean", ignore_index=-100):
    weight = np.ones(x.shape[1]) if weight is None else weight
    counted = t != ignore_index
    places = np.where(counted, t, 0)
    share = weight[places] * counted
    found = -np.take_along_axis(x, places[:, None], 1)[:, 0] * share
    return found.sum() / share.sum() if reduction == "mean" else o.reduced(found, reduction)


def hinge(x, t):
    return np.maximum(1 - np.where(t > 0, 1, -1) * x, 0)


LABELS = np.array([2, 0, 1])
SAMPLES = [
    *[row("bce_with_logits", (3, 4), (3, 4), w, span=(0.2, 0.9), expected=each(weighed_bce), **p)
      for p in REDUCTIONS for w in ((4,), (3, 4))],
    *[row("mae", (3, 4), (3, 4), span=BOTH, expected=each(lambda x, t: np.abs(x - t)), **p) for p in REDUCTIONS],
    *[row("log_cosh", (3, 4), (3, 4), span=BOTH, expected=each(lambda x, t: np.log(np.cosh(x - t))), **p)
      for p in REDUCTIONS],
    *[row("huber", (3, 4), (3, 4), span=BOTH, expected=each(huber), **p) for p in (*REDUCTIONS, {"delta": 0.3})],
    *[row("smooth_l1", (3, 4), (3, 4), span=BOTH, expected=each(smooth_l1), **p)
      for p in (*REDUCTIONS, {"beta": 2.0}, {"beta": 0.0})],
    *[row("poisson_nll", (3, 4), (3, 4), span=(0.5, 3.0), expected=each(poisson), **p)
      for p in (*REDUCTIONS, {"log_input": False}, {"full": True})],
    *[row("gaussian_nll", (3, 4), (3, 4), v, expected=each(gaussian), **p)
      for p in (*REDUCTIONS, {"full": True}) for v in ((3, 4), (3, 1))],
    *[row("kl_div", (2, 4), (2, 4), span=(0.1, 0.9), expected=kl, **p) for p in REDUCTIONS],
    row("kl_div", (2, 4), YES_NO, expected=kl, reduction="batchmean"),
    *[row("kl_div", (2, 4), (2, 4), span=(-2.0, -0.5), expected=kl, log_target=True, **p)
      for p in (*REDUCTIONS, {"reduction": "batchmean"})],
    *[row("hinge", (2, 4), YES_NO, span=BOTH, expected=each(hinge), **p) for p in REDUCTIONS],
    *[row("squared_hinge", (2, 4), 2 * YES_NO - 1, span=BOTH, expected=each(lambda x, t: hinge(x, t) ** 2), **p)
      for p in REDUCTIONS],
    *[row("focal", (2, 4), YES_NO, span=BOTH, expected=each(focal), **p)
      for p in (*REDUCTIONS, {"alpha": None}, {"gamma": 0.5, "alpha": 0.7})],
    *[row("dice", x, x, span=(0.1, 0.9), expected=each(dice), **p)
      for x in ((3, 4), (2, 3, 4), (2, 2, 3, 2)) for p in (*REDUCTIONS, {"smooth": 0.1})],
    *[row("nll", (3, 4), LABELS, w, span=(-2.0, -0.1), expected=nll, **p) for p in REDUCTIONS for w in (None, (4,))],
    row("nll", (2, 3, 2), np.array([[0, 2], [-1, 1]]), expected=nll, ignore_index=-1),
]  # fmt: skip
