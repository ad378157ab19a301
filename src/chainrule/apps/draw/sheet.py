"""The sheet of the window: a square of paper that pen and eraser go over, shown at any size."""

from __future__ import annotations

import tkinter as tk
from collections.abc import Callable
from typing import Any

from .drawing import Drawing
from .pixels import enlarged
from .theme import ACCENT, BACK, CARD, FAINT, INK, LINE, photo

PENS = 3.0, 14.0  # widths of the pen in hundredths of the side of the sheet
ERASER = 1.5  # times as wide as the pen


class Sheet(tk.Frame):
    """The paper, always square, in the middle of the room that it has. ``changed`` is called when what is drawn has changed.

    The left button draws, or erases while ``erasing``; the other buttons erase.
    """

    def __init__(self, parent: tk.Misc, drawing: Drawing, pen: tk.DoubleVar, changed: Callable[[], None]) -> None:
        super().__init__(parent, background=BACK)
        self.drawing, self.pen, self.changed = drawing, pen, changed
        self.erasing = False
        self.down = False  # whether the pen is on the paper
        self.rubbed: tuple[float, float] | None = None  # where the eraser was last, while it is down
        self.kept: Any = None  # the picture that Tk shows: it forgets those that nobody holds
        self.paper = tk.Canvas(
            self, background=CARD, highlightthickness=2, highlightcolor=ACCENT, highlightbackground=LINE, takefocus=True
        )
        self.paper.configure(cursor="pencil")
        self.bind("<Configure>", self.fit)
        paper = self.paper
        paper.bind("<Configure>", lambda _: self.paint())
        paper.bind("<ButtonPress-1>", self.press)
        paper.bind("<B1-Motion>", self.move)
        paper.bind("<ButtonRelease-1>", self.release)
        for button in (2, 3):
            paper.bind(f"<ButtonPress-{button}>", self.rub)
            paper.bind(f"<B{button}-Motion>", self.rub_on)
            paper.bind(f"<ButtonRelease-{button}>", self.release)
        paper.bind("<Motion>", lambda event: self.ring(event) if self.erasing else None)
        paper.bind("<Leave>", lambda _: paper.delete("eraser"))

    def fit(self, event: Any) -> None:
        """Keep the paper square as the room changes."""
        side = max(40, min(event.width, event.height))
        self.paper.place(x=(event.width - side) // 2, y=(event.height - side) // 2, width=side, height=side)

    def square(self) -> tuple[float, float, float]:
        """The side of the paper, and where its left and top are, in pixels of the canvas."""
        return max(1, min(self.paper.winfo_width(), self.paper.winfo_height())), 0.0, 0.0

    def place_of(self, event: Any) -> tuple[float, float]:
        """Where an event is, as shares of the paper, which the pen cannot leave."""
        side, left, top = self.square()
        x, y = ((v - start) / side for v, start in ((event.x, left), (event.y, top)))
        return min(max(x, 0.0), 1.0), min(max(y, 0.0), 1.0)

    def use(self, eraser: bool) -> None:
        """Take the eraser, or the pen."""
        self.erasing = eraser
        self.paper.configure(cursor="dotbox" if eraser else "pencil")
        self.paper.delete("eraser")

    # ---- pen and eraser

    def press(self, event: Any) -> None:
        """The left button goes down."""
        self.paper.focus_set()
        if self.erasing:
            self.rub(event)
            return
        self.drawing.begin(*self.place_of(event), self.pen.get() / 100)
        self.down = True
        self.paint()
        self.changed()

    def move(self, event: Any) -> None:
        """It goes on: the new piece of a stroke is drawn alone."""
        if self.rubbed is not None:
            self.rub_on(event)
        elif self.down and self.drawing.strokes:
            points, pen = self.drawing.strokes[-1]
            count = len(points)
            self.drawing.extend(*self.place_of(event))
            if len(points) > count:
                self.line(points[-2:], pen)
                self.changed()

    def release(self, event: Any) -> None:
        """It goes up."""
        if self.rubbed is None:
            self.move(event)
        self.stop()
        if not self.erasing:
            self.paper.delete("eraser")

    def stop(self) -> None:
        """Pen and eraser are off the paper, whatever the buttons do, as after an undo amid a stroke."""
        self.down, self.rubbed = False, None

    def rub(self, event: Any) -> None:
        """The eraser goes down."""
        self.paper.focus_set()
        self.drawing.begin_erasing()
        self.down = False
        self.rubbed = self.place_of(event)
        self.rub_on(event)

    def rub_on(self, event: Any) -> None:
        """It goes on."""
        if self.rubbed is None:
            return
        at = self.place_of(event)
        if self.drawing.erase(self.rubbed, at, ERASER * self.pen.get() / 100):
            self.paint()
            self.changed()
        self.rubbed = at
        self.ring(event)

    def ring(self, event: Any) -> None:
        """Show how large the eraser is."""
        half = ERASER * self.pen.get() / 200 * self.square()[0]
        self.paper.delete("eraser")
        self.paper.create_oval(
            event.x - half, event.y - half, event.x + half, event.y + half, outline=FAINT, tags="eraser"
        )

    # ---- what is seen

    def paint(self) -> None:
        """Draw all anew, at the size of the paper."""
        self.paper.delete("all")
        side, left, top = self.square()
        if self.drawing.picture is not None:
            grey = self.drawing.rendered()
            height, width = (max(1, int(n * side / max(grey.shape))) for n in grey.shape)
            self.kept = photo(enlarged(grey, height, width))
            self.paper.create_image(left + side / 2, top + side / 2, image=self.kept)
        for points, pen in self.drawing.strokes:
            self.line(points, pen)

    def line(self, points: list[tuple[float, float]], pen: float) -> None:
        """Draw a line of the pen, or a dot."""
        side, left, top = self.square()
        at = [(left + x * side, top + y * side) for x, y in points]
        if len(at) == 1:
            (x, y), half = at[0], pen * side / 2
            self.paper.create_oval(x - half, y - half, x + half, y + half, fill=INK, width=0)
        else:
            self.paper.create_line(*at, width=pen * side, fill=INK, capstyle="round", joinstyle="round")
