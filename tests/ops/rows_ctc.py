"""Rows of the CTC room, against the sum over all ways to place the labels."""

import itertools

import numpy as np
from tests.ops import oracles as o
from tests.ops.table import row


def said(way, blank):
    """The labels that a way says: repeats are one, blanks are none."""
    return [c for c, _ in itertools.groupby(way) if c != blank]


def ctc(x, target, times, labels, blank=0, reduction="mean", zero_infinity=False):
    found = []
    for i in range(x.shape[1]):
        wanted, total = [*target[i, : labels[i]]], 0.0
        for way in itertools.product(range(x.shape[2]), repeat=int(times[i])):
            if said(way, blank) == wanted:
                total += np.exp(sum(x[t, i, c] for t, c in enumerate(way)))
        found.append(-np.log(total) if total else 0.0 if zero_infinity else np.inf)
    found = np.array(found)
    return (found / np.maximum(labels, 1)).mean() if reduction == "mean" else o.reduced(found, reduction)


TARGET, TIMES, LABELS = np.array([[1, 2], [2, 2], [1, 0]]), np.array([4, 4, 3]), np.array([2, 2, 1])
SAMPLES = [
    *[row("ctc", (4, 3, 3), TARGET, TIMES, LABELS, span=(-3.0, -0.2), expected=ctc, **p)
      for p in ({}, {"reduction": "sum"}, {"reduction": "none"})],
    row("ctc", (4, 3, 3), TARGET % 2, TIMES, np.array([1, 0, 1]), span=(-3.0, -0.2), expected=ctc, blank=2),
    row("ctc", (2, 3, 3), TARGET, np.array([2, 2, 1]), LABELS, expected=ctc, zero_infinity=True, reduction="none"),
    row("ctc", (3, 4, 3), TARGET[[0, 0, 1, 2]], np.array([0, 0, 3, 1]), np.array([0, 1, 2, 2]), span=(-3.0, -0.2), expected=ctc,
        zero_infinity=True, reduction="none"),
    row("ctc", (2, 1, 3), np.zeros((1, 0), int), np.array([2]), np.array([0]), expected=ctc),
]  # fmt: skip

MANY = np.random.default_rng(0).integers(1, 9, (13, 11))
LARGE = [
    row("ctc", (60, 13, 9), MANY, np.arange(13) * 3 + 24, np.arange(13) % 12, span=(-4.0, -0.5), reduction=how)
    for how in ("mean", "none")
]
