"""Plots of characters, for terminals and logs: curves in Braille dots, bars, matrices, pictures.

Each returns a text, ``width`` characters wide at most. With ``ascii=True`` it has none beyond ASCII.

>>> print(lines({"loss": [3.0, 2.0, 1.5, 1.2]}, width=32, height=6, ascii=True))
    3 |*
      |       *
  1.2 |               *      *
      +-----------------------
       1                     4
* loss
"""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..domain.errors import DataError

DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])  # of a Braille character, rows and columns
MARKS = "*o+x#@%&"
EIGHTHS = " ▏▎▍▌▋▊▉█"
SHADES = " ░▒▓█"
SHADES_ASCII = " .:-=+*#%@"


def lines(
    series: Mapping[str, Sequence[float]],
    *,
    width: int = 80,
    height: int = 12,
    x: Sequence[float] | None = None,
    ascii: bool = False,
    logarithmic: bool = False,
) -> str:
    """Curves over ``x`` (by default 1, 2, ...), with the range of both axes and a legend; NaN leaves a gap.

    Of several curves each has a letter at its right end. Errors: DataError if there is no finite number.
    """
    data = {name: np.asarray(values, np.float64) for name, values in series.items()}
    longest = max(map(len, data.values()), default=0)
    across = np.arange(1, longest + 1, dtype=np.float64) if x is None else np.asarray(x, np.float64)
    finite = np.concatenate([v[np.isfinite(v)] for v in data.values()]) if data else np.zeros(0)
    if not finite.size:
        raise DataError("[plots.terminal] there is nothing to plot: no finite number")
    low, high = float(finite.min()), float(finite.max())
    labels = [number(high), number(low)]
    side = max(map(len, labels))
    margin = max(side, 5)
    columns, rows = max(width - margin - 4, 8), max(height - 3, 2)
    dots = (1, 1) if ascii else (4, 2)
    canvas = np.zeros((rows * dots[0], columns * dots[1]), int)
    scale = math.log10 if logarithmic else float
    left, right = scale(across[0]), scale(across[-1])
    for k, values in enumerate(data.values()):
        at = [(scale(a), v) for a, v in zip(across, values, strict=False)]
        placed = [
            None
            if not math.isfinite(v)
            else (
                round((a - left) / ((right - left) or 1.0) * (canvas.shape[1] - 1)),
                round((high - v) / ((high - low) or 1.0) * (canvas.shape[0] - 1)),
            )
            for a, v in at
        ]
        _stroke(canvas, placed, 1 << k, joined=not ascii)
    cells = _ascii(canvas) if ascii else _braille(canvas, rows, columns)
    bar, corner, dash = ("|", "+", "-") if ascii else ("│", "└", "─")
    shown = {0: labels[0], rows - 1: labels[1]}
    if not ascii and len(data) > 1:
        ends = _ends(data, low, high, rows)
        cells = [line + (" " + "".join(ends[r]) if r in ends else "") for r, line in enumerate(cells)]
        cells = [line[: columns + 2] for line in cells]
    text = [f"{shown.get(r, ''):>{margin}} {bar}{line}".rstrip() for r, line in enumerate(cells)]
    first, last = number(float(across[0])), number(float(across[-1]))
    text.append(" " * margin + f" {corner}" + dash * columns)
    text.append(" " * (margin + 2) + first + last.rjust(columns - len(first)))
    legend: list[str] = []
    line = ""
    for k, name in enumerate(data):
        entry = f"{MARKS[k % len(MARKS)]} {name}" if ascii else f"{_letter(k)} {name}" if len(data) > 1 else name
        if line and len(line) + 3 + len(entry) > width:
            legend, line = [*legend, line], ""
        line = f"{line}   {entry}" if line else entry
    return "\n".join([*text, *legend, line])


def _letter(k: int) -> str:
    return "abcdefghijklmnopqrstuvwxyz"[k % 26]


def _ends(data: Mapping[str, Any], low: float, high: float, rows: int) -> dict[int, list[str]]:
    """The letters of curves by the row in which each ends."""
    found: dict[int, list[str]] = {}
    for k, values in enumerate(data.values()):
        finite = values[np.isfinite(values)]
        if finite.size:
            row = round((high - finite[-1]) / ((high - low) or 1.0) * (rows - 1))
            found.setdefault(row, []).append(_letter(k))
    return found


def _stroke(canvas: Any, points: Sequence[tuple[int, int] | None], mark: int, *, joined: bool) -> None:
    """Draw points, and what is between neighbours."""
    before: tuple[int, int] | None = None
    for point in points:
        if point is not None:
            canvas[point[1], point[0]] |= mark
            if before is not None and joined:
                n = max(abs(point[0] - before[0]), abs(point[1] - before[1]), 1)
                for s in range(n + 1):
                    column = before[0] + round((point[0] - before[0]) * s / n)
                    canvas[before[1] + round((point[1] - before[1]) * s / n), column] |= mark
        before = point


def _braille(canvas: Any, rows: int, columns: int) -> list[str]:
    blocks = (canvas > 0).reshape(rows, 4, columns, 2)
    codes = 0x2800 + np.einsum("rdcs,ds->rc", blocks.astype(int), DOTS)
    return ["".join(map(chr, row)).replace(chr(0x2800), " ") for row in codes]


def _ascii(canvas: Any) -> list[str]:
    def mark(value: int) -> str:
        return MARKS[(int(value).bit_length() - 1) % len(MARKS)] if value else " "

    return ["".join(map(mark, row)) for row in canvas]


def bars(values: Mapping[str, float], *, width: int = 80, ascii: bool = False) -> str:
    """A bar for each name, from 0 to the largest.

    >>> print(bars({"cat": 3, "dog": 1.5}, width=24, ascii=True))
    cat ###############    3
    dog ########         1.5
    """
    if not values:
        return ""
    longest = max(map(len, values))
    numbers = {name: number(value) for name, value in values.items()}
    cell = max(map(len, numbers.values()))
    name_room = min(longest, max(width // 3, 4))
    room = max(width - name_room - cell - 3, 4)
    top = max([abs(v) for v in values.values() if math.isfinite(v)], default=0) or 1.0
    found = []
    for name, value in values.items():
        long = abs(value) / top * room if math.isfinite(value) else 0.0
        bar = "#" * round(long) if ascii else "█" * int(long) + EIGHTHS[int(long % 1 * 8)].strip()
        found.append(f"{shortened(name, name_room):{name_room}} {bar:{room}}  {numbers[name]:>{cell}}")
    return "\n".join(found)


def histogram(values: Any, *, bins: int = 10, width: int = 80, ascii: bool = False) -> str:
    """How values are spread: a bar for each range of them, from a number to the next.

    >>> print(histogram([0.0, 0.1, 0.9, 1.0], bins=2, width=30, ascii=True))
    from 0   ##################  2
    from 0.5 ##################  2
    """
    flat = np.asarray(values, np.float64).reshape(-1)
    flat = flat[np.isfinite(flat)]
    if not flat.size:
        raise DataError("[plots.terminal] there is nothing to plot: no finite number")
    counts, edges = np.histogram(flat, bins=bins)
    texts = [f"from {edge:.3g}" for edge in edges[:-1]]
    return bars(dict(zip(texts, counts.tolist(), strict=True)), width=width, ascii=ascii)


def matrix(counts: Any, names: Sequence[str], *, width: int = 80) -> str:
    """A matrix of counts with names at both sides, as a confusion matrix: rows are true, columns said.

    Where it would be too wide, the pairs that are most often confused are listed.

    >>> print(matrix([[9, 1], [2, 8]], ["cat", "dog"]))
         cat dog
    cat    9   1
    dog    2   8
    >>> print(matrix(np.eye(40, dtype=int) + np.eye(40, k=1, dtype=int), [f"class {k}" for k in range(40)], width=40)[:27])
    class 0 → class 1         1
    """
    table = np.asarray(counts)
    n = len(names)
    long = max([*map(len, names), 3])
    cell = max(len(str(table.max(initial=0))), min(max(map(len, names)), 5)) + 1
    if long + n * cell <= width:
        head = " " * long + "".join(shortened(name, cell - 1).rjust(cell) for name in names)
        body = [
            f"{name:{long}}" + "".join(str(int(v)).rjust(cell) for v in row)
            for name, row in zip(names, table, strict=True)
        ]
        return "\n".join([head, *body])
    wrong = table * (1 - np.eye(n, dtype=int))
    order = np.argsort(-wrong, axis=None, kind="stable")[:20]
    pairs = [(*divmod(int(k), n), int(wrong.ravel()[k])) for k in order if wrong.ravel()[k]]
    if not pairs:
        return "nothing is confused"
    side = (width - 8) // 2 - 2
    texts = [f"{shortened(names[i], side)} → {shortened(names[j], side)}" for i, j, _ in pairs]
    wide = max(map(len, texts))
    return "\n".join(f"{t:{wide}}  {c:>6}" for t, (_, _, c) in zip(texts, pairs, strict=True))


def picture(image: Any, *, width: int = 80, ascii: bool = False) -> str:
    """A grey picture (h, w), or the mean of (channels, h, w), light where numbers are large; two rows in a line of text.

    >>> print(picture(np.eye(4), ascii=True))
    @@
      @@
    """
    grey = np.asarray(image, np.float64)
    grey = grey.mean(axis=0) if grey.ndim == 3 else grey
    if grey.ndim != 2 or not grey.size:
        raise DataError(f"[plots.terminal] the picture has shape {grey.shape}, expected (h, w) or (channels, h, w)")
    step = -(-grey.shape[1] // width)
    grey = np.pad(grey, [(0, -n % (2 * step if k == 0 else step)) for k, n in enumerate(grey.shape)], mode="edge")
    grey = grey.reshape(grey.shape[0] // (2 * step), 2 * step, grey.shape[1] // step, step).mean(axis=(1, 3))
    low, high = grey.min(), grey.max()
    shades = SHADES_ASCII if ascii else SHADES
    levels = ((grey - low) / ((high - low) or 1.0) * (len(shades) - 1)).round().astype(int)
    return "\n".join("".join(shades[v] for v in row).rstrip() for row in levels)


def columns() -> int:
    """How wide the terminal is; 80 where there is none."""
    return shutil.get_terminal_size().columns


def ascii_only() -> bool:
    """Whether what is printed can have no characters beyond ASCII."""
    try:
        "⣿█→".encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return True
    return False


def shortened(text: str, most: int) -> str:
    """A text of so many characters at most."""
    return text if len(text) <= most else text[: max(most - 1, 0)] + "…"


def number(value: float) -> str:
    """A number in few characters; a count as it is.

    >>> number(0.12345), number(1234567.0), number(60000), number(1e-5)
    ('0.1235', '1.235e+06', '60000', '1e-05')
    """
    return str(value) if isinstance(value, int) else f"{value:.4g}"
