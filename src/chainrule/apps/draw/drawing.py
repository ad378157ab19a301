"""What is drawn, apart from the window that shows it; and the thread that reads it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..strokes import render

FINE = 0.004  # of the side of the sheet: points on a stroke that an eraser meets are so near to one another


class Stroke(NamedTuple):
    """Points (x, y) and the width of the pen, as shares of the side of the sheet."""

    points: list[tuple[float, float]]
    pen: float


class Drawing:
    """Strokes that can be taken back, or a picture in their place. Coordinates go from 0 to 1, whatever the window's size.

    >>> drawing = Drawing()
    >>> drawing.begin(0.5, 0.1, pen=0.07); drawing.extend(0.5, 0.9)
    >>> drawing.clear(); drawing.empty
    True
    >>> drawing.undo(); drawing.strokes[0].points
    [(0.5, 0.1), (0.5, 0.9)]
    >>> drawing.begin_erasing(); drawing.erase((0.4, 0.5), (0.6, 0.5), width=0.1)
    True
    >>> [[round(y, 1) for _, y in (stroke.points[0], stroke.points[-1])] for stroke in drawing.strokes]
    [[0.1, 0.4], [0.6, 0.9]]
    """

    def __init__(self) -> None:
        self.strokes: tuple[Stroke, ...] = ()
        self.picture: Any = None  # grey (h, w)
        self.before: list[Any] = []  # states to go back to
        self.after: list[Any] = []  # and forward
        self.erased = False  # whether the eraser has met anything since it was put down

    @property
    def empty(self) -> bool:
        """Whether nothing is there."""
        return not self.strokes and self.picture is None

    def change(self, strokes: tuple[Stroke, ...], picture: Any = None) -> None:
        """Put this in the place of what is there; ``undo`` brings it back."""
        self.before.append((self.strokes, self.picture))
        self.after.clear()
        self.strokes, self.picture = strokes, picture

    def begin(self, x: float, y: float, pen: float) -> None:
        """Begin a stroke. A picture gives way to it."""
        self.change((*self.strokes, Stroke([(x, y)], pen)))

    def extend(self, x: float, y: float) -> None:
        """Go on with the last stroke."""
        if self.strokes and self.strokes[-1].points[-1] != (x, y):
            self.strokes[-1].points.append((x, y))

    def begin_erasing(self) -> None:
        """The eraser is put down: what it takes until the next time is one step to undo."""
        self.erased = False

    def erase(self, start: tuple[float, float], end: tuple[float, float], width: float) -> bool:
        """Move the eraser from a point to another: strokes are cut where it meets their ink, a picture gets paper there.

        Returns whether anything was there.
        """
        if self.picture is not None:
            strokes, picture = self.strokes, papered(self.picture, start, end, width)
            same = np.array_equal(picture, self.picture)
        else:
            strokes = tuple(piece for stroke in self.strokes for piece in cut(stroke, start, end, width))
            picture = None
            same = len(strokes) == len(self.strokes) and all(a is b for a, b in zip(strokes, self.strokes, strict=True))
        if same:
            return False
        if not self.erased:
            self.change(strokes, picture)
            self.erased = True
        else:
            self.strokes, self.picture = strokes, picture
        return True

    def clear(self) -> None:
        """Take all away."""
        if not self.empty:
            self.change(())

    def undo(self) -> None:
        """Take the last step back."""
        if self.before:
            self.after.append((self.strokes, self.picture))
            self.strokes, self.picture = self.before.pop()

    def redo(self) -> None:
        """Take back that it was taken back."""
        if self.after:
            self.before.append((self.strokes, self.picture))
            self.strokes, self.picture = self.after.pop()

    def source(self) -> tuple[Any, float | None]:
        """What ``DigitPredictor`` is called with: a copy that later strokes leave alone."""
        if self.picture is not None:
            return self.picture, None
        if not self.strokes:
            return [], None
        return [list(stroke.points) for stroke in self.strokes], float(np.mean([stroke.pen for stroke in self.strokes]))

    def rendered(self, side: int = 560) -> Any:
        """The sheet as uint8 (side, side), dark on light; a picture as it is."""
        if self.picture is not None:
            grey = self.picture / max(1.0, float(self.picture.max()))
        else:
            sheet = np.zeros((side, side), np.float32)
            for stroke in self.strokes:
                points = np.array(stroke.points) * side
                np.maximum(sheet, render([points], (side, side), stroke.pen * side), out=sheet)
            grey = 1 - sheet
        return np.rint(np.clip(grey, 0, 1) * 255).astype(np.uint8)


def distances(points: Any, start: Any, end: Any) -> Any:
    """How far points (..., 2) are from a line between two points.

    >>> distances(np.array([[0.0, 3.0], [4.0, 0.0]]), (0, 0), (1, 0)).tolist()
    [3.0, 3.0]
    """
    start = np.asarray(start, np.float64)
    along = np.asarray(end, np.float64) - start
    length = along @ along
    part = np.clip((points - start) @ along / length, 0, 1) if length else np.zeros(points.shape[:-1])
    return np.linalg.norm(points - start - part[..., None] * along, axis=-1)


def cut(stroke: Stroke, start: tuple[float, float], end: tuple[float, float], width: float) -> list[Stroke]:
    """What an eraser leaves of a stroke: itself where they do not meet, else the pieces, perhaps none."""
    corners = np.asarray(stroke.points, np.float64)
    reach = (width + stroke.pen) / 2  # the middle of the line is so far away where their edges touch
    dense = corners[:1]
    if len(corners) > 1:
        counts = np.maximum(np.ceil(np.linalg.norm(np.diff(corners, axis=0), axis=1) / FINE), 1).astype(int)
        parts = [
            a + (b - a) * (np.arange(n) / n)[:, None] for a, b, n in zip(corners, corners[1:], counts, strict=False)
        ]
        dense = np.concatenate([*parts, corners[-1:]])
    left = distances(dense, start, end) > reach
    if left.all():
        return [stroke]
    edges = np.flatnonzero(np.diff(np.concatenate([[False], left, [False]]).astype(np.int8)))
    return [Stroke([*map(tuple, dense[a:b].tolist())], stroke.pen) for a, b in edges.reshape(-1, 2)]


def papered(picture: Any, start: tuple[float, float], end: tuple[float, float], width: float) -> Any:
    """A picture (h, w) with its paper, as its edge tells, where an eraser went; it is as large as the sheet allows."""
    most = max(picture.shape)
    y, x = (np.arange(n) + 0.5 + (most - n) / 2 for n in picture.shape)
    pixels = np.stack(np.broadcast_arrays(x, y[:, None]), axis=-1) / most
    edge = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    return np.where(distances(pixels, start, end) <= width / 2, np.median(edge), picture)


class Question(NamedTuple):
    """A drawing to read, and what else is asked about it."""

    number: int
    source: Any
    pen: float | None
    maps: bool = False  #: whether feature maps are wanted
    saliency: bool = False


class Answer(NamedTuple):
    """What was found: anything the reader gave, or the error that says why there is nothing; and the number of the question."""

    number: int
    found: Any
    milliseconds: float


class Reader:
    """A thread that reads the newest drawing; those that came while it was busy are passed over.

    ``read(question)`` is called in that thread, and then ``deliver(answer)``. ``close`` ends it.
    """

    def __init__(self, read: Callable[[Question], Any], deliver: Callable[[Answer], None]) -> None:
        self.read, self.deliver = read, deliver
        self.waiting: Question | None = None
        self.closed = False
        self.changed = threading.Condition()
        self.thread = threading.Thread(target=self.work, name="digits", daemon=True)
        self.thread.start()

    def ask(self, question: Question) -> None:
        """Have this read next."""
        with self.changed:
            self.waiting = question
            self.changed.notify()

    def close(self) -> None:
        """End the thread, after the drawing that it is at."""
        with self.changed:
            self.closed = True
            self.changed.notify()
        self.thread.join()

    def work(self) -> None:
        """Read until closed."""
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self.closed or self.waiting is not None)
                if self.closed or self.waiting is None:
                    return
                question, self.waiting = self.waiting, None
            start = time.perf_counter()
            try:
                found: Any = self.read(question)
            except Exception as error:  # noqa: BLE001  (a user's network may raise anything, and reading goes on)
                found = error
            self.deliver(Answer(question.number, found, (time.perf_counter() - start) * 1000))
