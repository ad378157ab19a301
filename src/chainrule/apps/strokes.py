"""Strokes of a pen, drawn as a grey picture by NumPy alone: the same pixels from a window, a page, a test.

A stroke is a sequence of points (x, y), x to the right and y down, in any unit; a drawing is a list of strokes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..domain.errors import DataError

LONG = 200  # pixels of the longer side of a drawing, ink and all: ten for each of the 20 of an MNIST digit
PENS = 0.09, 0.16  # of that side: as thin and as thick as pens of MNIST are
NEAR = 3.0  # pixels: points nearer to one another change nothing
MOST, STROKES = 20_000, 500  # points and strokes of a drawing
PATH = 10_000  # pixels that the pen may go: fifty times across


def checked(strokes: Any) -> list[Any]:
    """The strokes as float64 arrays (n, 2), without empty ones. Errors: DataError.

    >>> [s.shape for s in checked([[[0, 0], [5, 5]], [], [(3, 4)]])]
    [(2, 2), (1, 2)]
    """
    found: list[Any] = []
    if not isinstance(strokes, Sequence | np.ndarray) or isinstance(strokes, str):
        raise DataError(f"[strokes] a {type(strokes).__name__} is no drawing: expected a list of strokes [[x, y], ...]")
    for i, stroke in enumerate(strokes):
        try:
            points = np.asarray(stroke, np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            raise DataError(f"[strokes] stroke {i} is no list of points [x, y]: {error}") from None
        if points.size == 0:
            continue
        if points.ndim != 2 or points.shape[1] != 2:
            raise DataError(f"[strokes] stroke {i} has shape {list(points.shape)}, expected points [x, y]: [n, 2]")
        if not (np.abs(points) < 1e6).all():
            raise DataError(f"[strokes] stroke {i} has a coordinate that is NaN, infinite or beyond a million")
        found.append(points)
    if (total := sum(map(len, found))) > MOST:
        raise DataError(f"[strokes] the drawing has {total} points, expected {MOST} at most")
    if len(found) > STROKES:
        raise DataError(f"[strokes] the drawing has {len(found)} strokes, expected {STROKES} at most")
    return found


def render(strokes: Any, shape: tuple[int, int] = (280, 280), pen: float = 20.0) -> Any:
    """The strokes on an empty sheet (height, width): float32, 1 where ink is, grey on its edge, ends and corners round.

    Coordinates and ``pen``, the width of the line, are in pixels; what is outside of the sheet is cut off. A stroke of one
    point is a dot. Errors: DataError.

    >>> sheet = render([[[2, 4], [6, 4]]], (8, 8), pen=2)
    >>> sheet[:, 4].tolist(), sheet.shape
    ([0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0], (8, 8))
    """
    nearest = np.full(shape, np.inf)  # squared distance of the centre of each pixel from the middle of the line
    reach = pen / 2 + 1
    for points in checked(strokes):
        for start, end in zip(points, points[1:] if len(points) > 1 else points, strict=False):
            low, high = np.minimum(start, end) - reach, np.maximum(start, end) + reach
            left, top = np.clip(np.floor(low), 0, shape[::-1]).astype(int)
            right, bottom = np.clip(np.ceil(high), 0, shape[::-1]).astype(int)
            if left >= right or top >= bottom:
                continue
            x, y = np.arange(left, right) + 0.5 - start[0], np.arange(top, bottom)[:, None] + 0.5 - start[1]
            along = end - start
            length = along @ along
            part = np.clip((x * along[0] + y * along[1]) / length, 0, 1) if length else np.float64(0)
            window = nearest[top:bottom, left:right]
            np.minimum(window, (x - part * along[0]) ** 2 + (y - part * along[1]) ** 2, out=window)
    return np.clip(pen / 2 + 0.5 - np.sqrt(nearest), 0, 1).astype(np.float32)


def drawn(strokes: Any, pen: float | None = None) -> Any:
    """A drawing at the size in which it is read: float32, its longer side 200 pixels, whatever its size and place were.

    The pen stays as wide as it was against the drawing, within what is found in MNIST; without ``pen`` it is in the middle
    of that. Errors: DataError for a drawing without points, or one that is hardly more than a dot.

    >>> drawn([[[0, 0], [0, 7]]], pen=1).shape
    (202, 27)
    """
    found = checked(strokes)
    if not found:
        raise DataError("[strokes] there is nothing yet: draw a digit")
    points = np.concatenate(found)
    low = points.min(axis=0)
    long = float((points.max(axis=0) - low).max())
    if pen is not None and not 0 < pen < 1e6:
        raise DataError(f"[strokes] pen is {pen!r}, expected the width of the line")
    if long <= (0 if pen is None else pen * 0.75):
        raise DataError("[strokes] this is hardly more than a dot: draw a digit")
    share = float(np.mean(PENS)) if pen is None else float(np.clip(pen / (long + pen), *PENS))
    width = LONG * share
    scale, shift = (LONG - width) / long, width / 2 + 1
    if sum(np.hypot(*np.diff(stroke, axis=0).T).sum() for stroke in found) * scale > PATH:
        raise DataError("[strokes] this is a scribble, with too many lines over one another: draw a digit")
    placed = [thinned((stroke - low) * scale) + shift for stroke in found]
    across, down = np.ceil((points.max(axis=0) - low) * scale + width + 2 - 1e-9).astype(int)
    return render(placed, (int(down), int(across)), width)


def thinned(points: Any) -> Any:
    """The points without those that are near to the one before; the last stays.

    >>> thinned(np.array([[0.0, 0.0], [1.0, 0.0], [4.0, 0.0], [5.0, 0.0]]))[:, 0].tolist()
    [0.0, 4.0, 5.0]
    """
    kept = [0]
    for i in range(1, len(points) - 1):
        if np.hypot(*(points[i] - points[kept[-1]])) >= NEAR:
            kept.append(i)
    return points[kept + [len(points) - 1] * (len(points) > 1)]
