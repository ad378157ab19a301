"""What is drawn, apart from the window that shows it; and the thread that reads it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ...domain.errors import ChainruleError
from ..strokes import render


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
    """

    def __init__(self) -> None:
        self.strokes: tuple[Stroke, ...] = ()
        self.picture: Any = None  # grey (h, w)
        self.before: list[Any] = []  # states to go back to
        self.after: list[Any] = []  # and forward

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


class Answer(NamedTuple):
    """What the reader found: a ``Prediction``, or why there is none; and the number of the question."""

    number: int
    found: Any
    milliseconds: float


class Reader:
    """A thread that reads the newest drawing; those that came while it was busy are passed over.

    ``deliver(answer)`` is called in that thread. ``close`` ends it.
    """

    def __init__(self, predict: Callable[[Any, float | None], Any], deliver: Callable[[Answer], None]) -> None:
        self.predict, self.deliver = predict, deliver
        self.waiting: Any = None
        self.closed = False
        self.changed = threading.Condition()
        self.thread = threading.Thread(target=self.work, name="digits", daemon=True)
        self.thread.start()

    def ask(self, number: int, source: Any, pen: float | None) -> None:
        """Have this read next."""
        with self.changed:
            self.waiting = number, source, pen
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
                if self.closed:
                    return
                (number, source, pen), self.waiting = self.waiting, None
            start = time.perf_counter()
            try:
                found: Any = self.predict(source, pen)
            except ChainruleError as error:
                found = error
            self.deliver(Answer(number, found, (time.perf_counter() - start) * 1000))
