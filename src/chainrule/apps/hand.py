"""Digits as a hand writes them: three styles of each, as strokes, and pictures of them that vary at random.

They are here so that a network that learns somebody's hand keeps what it knew: see ``corrections``. No data set is needed.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from .image import preprocess

# Corners that a smooth curve goes through, x from 0 to 60 and y, down, from 0 to 100; "|" parts strokes, and a stroke
# that begins with "-" goes straight from corner to corner.
STYLES = {
    0: ["30 0 8 20 2 55 14 92 36 98 54 72 57 34 46 8 30 0", "44 6 20 4 4 40 8 84 30 100 52 86 58 44 48 12 34 2 24 6"]
    + ["26 2 4 30 0 62 20 96 44 94 60 62 56 22 38 4 20 6"],
    1: ["-30 0 30 100", "-40 0 26 100", "-16 26 34 2 34 100"],
    2: ["6 26 14 6 34 0 52 14 48 40 26 68 4 98|-4 98 58 98", "4 20 24 0 50 12 46 46 20 80 2 96 14 88 34 94 58 92"]
    + ["10 12 36 2 54 22 40 52 8 94 22 100 42 94 60 98"],
    3: ["6 12 30 0 52 16 44 38 22 48 48 58 56 80 34 100 4 90", "-6 2 52 2 24 40|24 40 50 54 54 82 30 100 2 92"]
    + ["12 8 36 0 50 20 38 42 24 46 46 54 54 76 40 96 16 98 2 86"],
    4: ["-38 0 2 66 60 66|-46 34 44 100", "-10 4 6 56 56 56|-48 0 46 100", "-44 98 44 0 0 70 58 70"],
    5: ["-52 2 14 2 10 44|10 44 34 38 56 58 50 88 24 100 2 90", "-50 4 16 4 12 42|12 42 40 40 56 66 40 96 4 94"]
    + ["54 0 20 4 14 40 38 40 56 62 46 92 20 100 4 92"],
    6: ["46 0 18 32 6 68 20 98 46 94 54 70 38 54 12 66", "36 2 12 44 6 82 28 100 52 86 50 62 28 54 8 74"]
    + ["54 8 30 6 10 40 6 78 24 98 48 92 52 66 32 54 10 66"],
    7: ["-2 4 58 4 22 100", "-4 6 56 2 34 50 26 100", "-4 4 58 4 24 100|-18 52 50 50"],
    8: ["50 14 30 0 10 16 18 38 44 58 54 82 30 100 8 84 16 60 46 38 52 18"]
    + ["28 46 8 28 28 0 50 22 28 46 4 74 28 100 56 76 28 46", "30 0 12 20 28 44 48 22 30 0|28 44 4 72 30 100 56 76 28 44"],
    9: ["52 22 34 0 8 16 10 42 32 52 52 34 54 18 52 60 44 100", "50 12 26 2 8 24 18 48 42 44 52 16|-52 14 46 100"]
    + ["54 26 38 2 12 8 6 36 26 50 50 36 56 20 54 64 38 96 10 92"],
}  # fmt: skip


def stroke(text: str) -> Any:
    """The points (n, 2) of a stroke: straight, or a curve of Catmull and Rom (1974), which leaves each corner in the
    direction from the one before to the one after.

    >>> stroke("-0 0 3 4").tolist()
    [[0.0, 0.0], [3.0, 4.0]]
    >>> stroke("0 0 5 5 10 0").shape
    (17, 2)
    """
    corners = np.array(text.removeprefix("-").split(), np.float64).reshape(-1, 2)
    if text.startswith("-"):
        return corners
    before = np.concatenate([corners[:1], corners[:-2]])
    after = np.concatenate([corners[2:], corners[-1:]])
    part = (np.arange(8) / 8)[:, None]
    pieces = []
    for a, b, c, d in zip(before, corners[:-1], corners[1:], after, strict=True):
        leaving, arriving = (c - a) / 2, (d - b) / 2
        bend = part * (1 - part)
        pieces.append(b + (c - b) * part**2 * (3 - 2 * part) + bend * ((1 - part) * leaving - part * arriving))
    return np.concatenate([*pieces, corners[-1:]])


@lru_cache(maxsize=2)
def pictures(count: int = 200, seed: int = 0) -> tuple[Any, Any]:
    """Drawings of all digits in turn: pictures float32 (count, 1, 28, 28) by way of ``preprocess``, and labels int64 (count,).

    Each is turned by up to 10 degrees, slanted by up to 14, up to 15 % wider or narrower, and shaky; its pen is as pens of
    MNIST are. The same seed gives the same. Do not write into them.

    >>> x, y = pictures(20)
    >>> x.shape, y.tolist()[:12]
    ((20, 1, 28, 28), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1])
    """
    draw = np.random.default_rng(seed)
    images = []
    for i in range(count):
        turn, slant, wide = draw.uniform(-0.17, 0.17), draw.uniform(-0.25, 0.25), draw.uniform(0.85, 1.15)
        shape = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ [[wide, -slant], [0, 1]]
        styles = STYLES[i % 10]
        points = [stroke(text) for text in styles[i // 10 % len(styles)].split("|")]
        shaken = [p @ shape.T + draw.normal(0, 0.6, p.shape) for p in points]
        images.append(preprocess(shaken, pen=float(draw.uniform(8, 16))).image[None])
    return np.stack(images), np.arange(count) % 10
