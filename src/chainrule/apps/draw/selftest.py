"""``chainrule draw --selftest``: the window draws by events, as a hand would, and looks at what comes of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...domain.errors import DataError

if TYPE_CHECKING:
    from .window import Window

PATIENCE = 20.0  # seconds
STROKES = {  # as shares of the sheet
    1: [[(0.5, 0.15), (0.49, 0.5), (0.48, 0.85)]],
    7: [[(0.3, 0.2), (0.7, 0.2), (0.45, 0.85)]],
    4: [[(0.55, 0.15), (0.28, 0.6), (0.75, 0.6)], [(0.6, 0.4), (0.6, 0.88)]],
}


def check(window: Window) -> None:
    """Raise DataError at the first thing that is not as it should be."""
    root = window.root
    root.update()
    wait(window, lambda: window.sheet.paper.winfo_width() > 100, "the window came up")
    for digit, strokes in STROKES.items():
        strike(window, strokes)
        wait(window, lambda digit=digit: reads(window) == digit, f"a {digit} was read")  # type: ignore[misc]
        root.geometry(f"{700 + 20 * digit}x{500 + 10 * digit}")
        root.update()
        window.undo()
        wait(window, lambda: len(window.drawing.strokes) == len(strokes) - 1, "a stroke was taken back")  # noqa: B023
        window.redo()
        wait(window, lambda digit=digit: reads(window) == digit, f"the {digit} was read again")  # type: ignore[misc]
        window.clear()
        wait(window, lambda: window.answer is None and not window.sheet.paper.find_all(), "the sheet was cleared")
    strike(window, STROKES[7])
    strike(window, [[(0.1, 0.5), (0.9, 0.5)]], button=3)
    wait(window, lambda: len(window.drawing.strokes) == 2, "the eraser had cut the stroke")
    window.undo()
    wait(window, lambda: reads(window) == 7, "the 7 was whole again")
    window.maps.set(True)
    window.saliency.set(True)
    window.choose_views()
    wait(window, lambda: len(window.panel.photos) == 2, "feature maps and saliency were shown")
    window.teaching.label.set("7")
    window.teaching.learn()
    wait(window, lambda: not window.teaching.busy and reads(window) == 7, "the drawing was learnt")
    window.teaching.forget()
    wait(window, lambda: not window.teaching.busy and "Forgotten" in window.teaching.told["text"], "it was forgotten")


def strike(window: Window, strokes: list[list[tuple[float, float]]], button: int = 1) -> None:
    """Draw by events of the mouse, in ten steps from point to point."""
    window.root.update_idletasks()
    side, left, top = window.sheet.square()
    for stroke in strokes:
        path = [
            (a[0] + (b[0] - a[0]) * i / 10, a[1] + (b[1] - a[1]) * i / 10)
            for a, b in zip(stroke, stroke[1:], strict=False)
            for i in range(11)
        ]
        for i, (x, y) in enumerate(path):
            ends = {0: f"<ButtonPress-{button}>", len(path) - 1: f"<ButtonRelease-{button}>"}
            at: Any = {"x": round(left + x * side), "y": round(top + y * side)}
            window.sheet.paper.event_generate(ends.get(i, f"<B{button}-Motion>"), **at)
        window.root.update()


def reads(window: Window) -> int | None:
    """The digit that is shown."""
    found = window.answer.found if window.answer else None
    return None if found is None or isinstance(found, Exception) else found.read.digit


def wait(window: Window, done: Callable[[], bool], what: str) -> None:
    """Let the window live until something is so. Errors: DataError after some time."""
    end = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > end:
            raise DataError(f"[draw] the selftest waited in vain until {what}")
        window.root.update()
        time.sleep(0.005)
