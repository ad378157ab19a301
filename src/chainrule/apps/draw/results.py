"""What the network says: the digit, ten bars, the three likeliest, and the 28 × 28 pixels that it sees."""

from __future__ import annotations

import tkinter as tk
from typing import Any

from ..predictor import Prediction
from .pixels import bytes_of, enlarged
from .theme import ACCENT, BACK, FAINT, INK, TRACK, WARN, photo, unit_of

LOW, HIGH = 11.5, 26.0  # units of height of a bar and its gap: at least, and where there is room
NARROW = 200  # units: in less a text that is no digit has all the width
SEEN = 84  # units of the side of the picture


class Results(tk.Frame):
    """A column as wide as it is told to be by ``resize``; what does not fit in its height is left out, bars last."""

    def __init__(self, parent: tk.Misc) -> None:
        super().__init__(parent, background=BACK)
        unit = self.unit = unit_of(self)
        self.chances: tuple[float, ...] | None = None
        self.narrow, self.wide = False, 200
        self.image: Any = None
        self.shown: Any = None  # the picture that Tk shows
        head = tk.Frame(self, background=BACK)
        self.digit = tk.Label(head, background=BACK, foreground=ACCENT, font=("TkDefaultFont", 36, "bold"), width=2)
        self.says = tk.Label(head, background=BACK, foreground=INK, justify="left", anchor="w")
        self.bars = tk.Canvas(self, height=int(10 * LOW * unit), background=BACK, highlightthickness=0)
        self.top = tk.Label(self, background=BACK, foreground=FAINT, anchor="w")
        self.foot = tk.Frame(self, background=BACK)
        side = int(SEEN * unit)
        self.seen = tk.Canvas(self.foot, width=side, height=side, background=TRACK, highlightthickness=0)
        self.note = tk.Label(self.foot, background=BACK, foreground=FAINT, anchor="nw", justify="left")
        self.digit.pack(side="left", anchor="n")
        self.says.pack(side="left", fill="x", expand=True)
        self.seen.pack(side="left", anchor="n")
        self.note.pack(side="left", anchor="n", padx=(6, 0), fill="x", expand=True)
        self.columnconfigure(0, weight=1)
        head.grid(row=0, sticky="ew")
        self.bars.grid(row=1, sticky="nsew")
        self.top.grid(row=2, sticky="ew")
        self.foot.grid(row=3, sticky="ew", pady=(4, 0))
        self.bars.bind("<Configure>", lambda _: self.paint_bars())

    def resize(self, width: int, height: int) -> None:
        """Be so wide, and leave out what has no room in the height."""
        self.narrow = width < NARROW * self.unit
        self.wide = width
        self.arrange()
        self.note.configure(wraplength=max(60, width - self.seen.winfo_reqwidth() - 12))
        self.bars.configure(width=width)
        room = height - self.digit.winfo_reqheight() - 10 * LOW * self.unit
        for part, needed in ((self.top, self.top.winfo_reqheight()), (self.foot, self.seen.winfo_reqheight() + 8)):
            part.grid() if room >= needed else part.grid_remove()
            room -= needed if room >= needed else 0
        self.bars.configure(height=int(min(10 * LOW * self.unit + max(room, 0), 10 * HIGH * self.unit)))

    def arrange(self) -> None:
        """Put digit and text beside one another; without a digit, and where it is narrow, the text alone."""
        alone = self.narrow and self.chances is None
        self.digit.pack_forget()
        if not alone:
            self.digit.pack(side="left", anchor="n", before=self.says)
        self.says.configure(wraplength=max(60, self.wide - (0 if alone else self.digit.winfo_reqwidth()) - 6))

    def tell(self, text: str, *, warn: bool = False) -> None:
        """Say something in place of a digit."""
        self.digit.configure(text="?", foreground=FAINT)
        self.says.configure(text=text, foreground=WARN if warn else INK)
        self.top.configure(text="")
        self.put(None, None, "")

    def show(self, read: Prediction, milliseconds: float) -> None:
        """Show an answer."""
        kind = ".0%" if self.narrow else ".1%"
        text = f"This is a {read.digit}." if read.sure else f"Unsure: perhaps a {read.digit}."
        self.digit.configure(text=str(read.digit), foreground=ACCENT if read.sure else FAINT)
        self.says.configure(text=text, foreground=INK)
        self.top.configure(text=" · ".join(f"{digit}: {chance:{kind}}" for digit, chance in read.top()))
        note = f"What the network sees: 28 × 28\n{milliseconds:.1f} ms"
        self.put(read.probabilities, read.steps.image, note)

    def put(self, chances: tuple[float, ...] | None, image: Any, note: str) -> None:
        """Show bars and picture."""
        self.chances, self.image = chances, image
        self.note.configure(text=note)
        self.arrange()
        self.paint_bars()
        self.seen.delete("all")
        if image is not None:
            side = int(self.seen["width"])
            self.shown = photo(enlarged(bytes_of(image), side, side))
            self.seen.create_image(0, 0, image=self.shown, anchor="nw")

    def paint_bars(self) -> None:
        """A bar for each digit, over the height that there is."""
        self.bars.delete("all")
        unit, width, chances = self.unit, self.bars.winfo_width(), self.chances
        step = min(max(self.bars.winfo_height() / 10, LOW * unit), HIGH * unit)
        left, right, half = 18 * unit, width - 60 * unit, 0.27 * step
        for digit in range(10):
            y, chance = (digit + 0.5) * step, chances[digit] if chances else 0.0
            best = chances is not None and chance == max(chances)
            self.bars.create_text(2, y, text=str(digit), anchor="w", fill=INK)
            self.bars.create_rectangle(left, y - half, right, y + half, fill=TRACK, width=0)
            end = left + (right - left) * chance
            if end - left >= 1:
                self.bars.create_rectangle(left, y - half, end, y + half, fill=ACCENT if best else FAINT, width=0)
            if chances:
                self.bars.create_text(width - 2, y, text=f"{chance:.1%}", anchor="e", fill=INK)
