"""Correct and learn: what a drawing is, told by the user, and what the network makes of it, in a thread of its own."""

from __future__ import annotations

import threading
import tkinter as tk
from collections.abc import Callable
from tkinter import ttk
from typing import Any

from ..corrections import Corrections, Learned
from .theme import BACK, FAINT, WARN

ASK = "Wrong? Say what it is, and it learns your hand."


class Teaching(tk.Frame):
    """A row to say what the drawing is. Ask ``corrections`` from the thread of the window alone; it works in another.

    ``drawing()`` gives what to learn, or None; ``deliver(f)`` has f called in the thread of the window; ``changed()`` is
    called when the network has become another.
    """

    def __init__(
        self,
        parent: tk.Misc,
        drawing: Callable[[], Any],
        deliver: Callable[[Callable[[], None]], None],
        changed: Callable[[], None],
    ) -> None:
        super().__init__(parent, background=BACK)
        self.drawing, self.deliver, self.changed = drawing, deliver, changed
        self.corrections: Corrections | None = None
        self.thread: threading.Thread | None = None
        self.label = tk.StringVar(value="0")
        self.name = ttk.Label(self, text="It is a")
        self.name.grid(row=0, column=0, sticky="w", padx=(0, 4))
        values = [str(digit) for digit in range(10)]
        self.choice = ttk.Combobox(self, textvariable=self.label, values=values, state="readonly", width=2)
        self.learning = ttk.Button(self, text="Learn", command=self.learn)
        self.forgetting = ttk.Button(self, text="Forget", command=self.forget)
        for column, part in enumerate((self.choice, self.learning, self.forgetting), 1):
            part.grid(row=0, column=column, padx=(0, 4))
        self.told = tk.Label(self, background=BACK, anchor="w", justify="left")
        self.told.grid(row=1, column=0, columnspan=5, sticky="ew")
        self.columnconfigure(4, weight=1)
        self.tell(ASK)
        self.enable()

    def tell(self, text: str, *, warn: bool = False) -> None:
        """Say something under the row."""
        self.told.configure(text=text, foreground=WARN if warn else FAINT)

    def resize(self, width: int, *, low: bool) -> None:
        """Be so wide; where the window is ``low``, without the hint."""
        self.told.configure(wraplength=width - 4)
        parts = (self.name, self.choice, self.learning, self.forgetting)
        fits = sum(part.winfo_reqwidth() + 4 for part in parts) <= width
        self.name.grid() if fits else self.name.grid_remove()
        self.told.grid() if not low or self.told["text"] != ASK else self.told.grid_remove()

    def use(self, corrections: Corrections | None, text: str = "") -> None:
        """Teach another network, or none."""
        self.corrections = corrections
        count = len(corrections.examples) if corrections else 0
        known = f"It has learnt {plural(count)} of yours." if count else ASK
        self.tell(text or known, warn=bool(text))
        self.enable()

    @property
    def busy(self) -> bool:
        """Whether it is learning."""
        return self.thread is not None

    def enable(self) -> None:
        """Buttons are there for what is possible."""
        there = self.corrections is not None and not self.busy
        some = there and self.drawing() is not None
        back = there and self.corrections is not None and bool(self.corrections.images)
        self.learning.state(["!disabled" if some else "disabled"])
        self.forgetting.state(["!disabled" if back else "disabled"])
        self.choice.configure(state="readonly" if there else "disabled")

    def learn(self) -> None:
        """Have the drawing learnt as what is chosen."""
        drawing, corrections = self.drawing(), self.corrections
        if drawing is not None and corrections is not None and not self.busy:
            source, pen = drawing
            label = int(self.label.get())
            self.work("Learning…", lambda: told(corrections.learn(source, label, pen)))

    def forget(self) -> None:
        """Have the last drawing forgotten."""
        corrections = self.corrections
        if corrections is not None and corrections.images and not self.busy:
            self.work("Going back…", lambda: gone_back(corrections))

    def work(self, text: str, task: Callable[[], str]) -> None:
        """Run a task in a thread, and say what it gives."""

        def run() -> None:
            try:
                found, failed = task(), False
            except Exception as error:  # noqa: BLE001  (a user's network may raise anything)
                found, failed = str(error), True
            self.deliver(lambda: self.done(found, failed))

        self.tell(text)
        self.thread = threading.Thread(target=run, name="learning", daemon=True)
        self.enable()
        self.thread.start()

    def done(self, text: str, failed: bool) -> None:
        """A task has ended."""
        self.thread = None
        self.tell(text, warn=failed)
        self.enable()
        self.changed()

    def close(self, patience: float = 20.0) -> None:
        """Let what it is at come to its end, so that it is kept."""
        if self.thread is not None:
            self.thread.join(patience)


def plural(count: int) -> str:
    """How many drawings.

    >>> plural(1), plural(3)
    ('1 drawing', '3 drawings')
    """
    return f"{count} drawing{'' if count == 1 else 's'}"


def told(learnt: Learned) -> str:
    """What a correction changed, in words."""
    now, before = learnt.after, learnt.before
    read = f"Read as {now.digit} ({now.probabilities[now.digit]:.0%})"
    was = f", was {before.digit}." if before.digit != now.digit else ", as before."
    lost = f" It now misreads {1 - learnt.known[1]:.0%} of known drawings." if learnt.known[1] < 0.98 else ""
    short = "" if learnt.right else " It could not be learnt: draw it again, and learn that too."
    return f"{read}{was} {plural(learnt.examples)} learnt.{lost}{short}"


def gone_back(corrections: Corrections) -> str:
    """Take the last drawing back, and say so."""
    corrections.undo()
    return f"Forgotten. {plural(len(corrections.examples))} left."
