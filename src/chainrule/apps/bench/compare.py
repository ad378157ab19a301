"""Before against after: what became faster, what slower, and whether that is more than chance."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from math import comb, erfc, sqrt
from statistics import median
from typing import Any

import numpy as np

from .results import ours_is

CHANCE, LEAST = 0.01, 0.02  # the p below which a change counts, and the change below which it does not matter


@lru_cache(maxsize=64)
def ways(m: int, n: int) -> tuple[int, ...]:
    """In how many orders of m and n numbers U is 0, 1, ... m n.

    >>> ways(2, 2)
    (1, 1, 2, 1, 1)
    """
    if m == 0 or n == 0:
        return (1,)
    counts = [0] * (m * n + 1)
    for i, c in enumerate(ways(m - 1, n)):
        counts[i + n] += c
    for i, c in enumerate(ways(m, n - 1)):
        counts[i] += c
    return tuple(counts)


def mann_whitney(a: Iterable[float], b: Iterable[float]) -> float:
    """The two-sided p of the test of Mann and Whitney: how likely two samples of one distribution lie so far apart.

    Exact for up to 20 numbers each without ties, else the normal approximation with its correction for ties.

    >>> round(mann_whitney([1, 2, 3, 4, 5], [6, 7, 8, 9, 10]), 4), mann_whitney([1, 2], [1, 2])
    (0.0079, 1.0)
    """
    x, y = np.asarray(list(a), "float64"), np.asarray(list(b), "float64")
    m, n = len(x), len(y)
    u = float((x[:, None] > y).sum() + 0.5 * (x[:, None] == y).sum())
    _, counts = np.unique(np.concatenate([x, y]), return_counts=True)
    if counts.max() == 1 and max(m, n) <= 20:
        tail = sum(ways(m, n)[: int(min(u, m * n - u)) + 1])
        return min(1.0, 2 * tail / comb(m + n, n))
    total = m + n
    ties = float((counts**3 - counts).sum()) / (total * (total - 1))
    deviation = sqrt(m * n / 12 * (total + 1 - ties))
    return erfc(max(0.0, abs(u - m * n / 2) - 0.5) / deviation / sqrt(2)) if deviation else 1.0


def interval(before: list[float], after: list[float], draws: int = 2000) -> tuple[float, float]:
    """Where the ratio of the medians, after by before, lies in 95 of 100 resamplings."""
    r = np.random.default_rng(0)
    a, b = (np.median(np.asarray(x)[r.integers(0, len(x), (draws, len(x)))], axis=1) for x in (before, after))
    low, high = np.quantile(b / a, [0.025, 0.975])
    return float(low), float(high)


@dataclass
class Change:
    """What became of one case. ``ratio`` is after by before: below 1 is faster. ``anchor`` is the peer it was measured by."""

    key: tuple[Any, ...]
    before: float
    after: float
    ratio: float
    low: float
    high: float
    p: float
    anchor: str

    @property
    def verdict(self) -> str:
        """IMPROVEMENT, REGRESSION, or nothing."""
        if self.p > CHANCE or abs(self.ratio - 1) < LEAST:
            return ""
        return "IMPROVEMENT" if self.ratio < 1 else "REGRESSION"


def keyed(rows: Iterable[dict[str, Any]]) -> dict[tuple[Any, ...], tuple[dict[str, Any], str]]:
    """The latest row of each case, size, dtype, number of threads, of hogs, and contestant of ours."""
    return {
        (r["case"], r["scale"], r["dtype"], r["threads"], r.get("hogs", 0), who): (r, who)
        for r in rows for who in r["contestants"] if ours_is(who)
    }  # fmt: skip


def change(key: tuple[Any, ...], before: tuple[Any, str], after: tuple[Any, str]) -> Change:
    """Blocks beside those of a peer in both runs if there is one, so that a slower machine is not a slower program."""
    (old, who), (new, _) = before, after
    times = [r["contestants"][who]["seconds"] for r in (old, new)]
    peers = [p for p in old["contestants"] if not p.startswith("chainrule") and p in new["contestants"]]
    anchor = peers[0] if peers else ""
    if anchor:
        a, b = (
            [x / y for x, y in zip(t, r["contestants"][anchor]["seconds"], strict=False)]
            for t, r in zip(times, (old, new), strict=True)
        )
    else:
        a, b = times
    low, high = interval(a, b)
    return Change(key, median(times[0]), median(times[1]), median(b) / median(a), low, high, mann_whitney(a, b), anchor)


def compare(before: Iterable[dict[str, Any]], after: Iterable[dict[str, Any]]) -> tuple[list[Change], list[str]]:
    """The changes of the cases that both have, and a line for each that one of them lacks."""
    old, new = keyed(before), keyed(after)
    lone = [f"{named(key)}: only {'before' if key in old else 'after'}" for key in sorted({*old} ^ {*new}, key=str)]
    return [change(key, old[key], new[key]) for key in old if key in new], lone


def named(key: tuple[Any, ...]) -> str:
    """A case in words."""
    case, scale, dtype, threads, hogs, who = key
    parts = [case, "" if scale == 1 else f"×{scale:g}", "" if dtype == "float32" else dtype, f"{threads}t", who]
    parts += [f"+{hogs} hogs"] if hogs else []
    return " ".join(p for p in parts if p)
