"""The window of ``chainrule draw``: a sheet on the left, what the network says on the right."""

from __future__ import annotations

import queue
import re
from pathlib import Path
from typing import Any

import numpy as np

from ...domain.errors import ChainruleError, DeviceError, MissingDependencyError
from ..image import read_grey
from ..predictor import DigitPredictor, Prediction
from .drawing import Answer, Drawing, Reader

try:
    import tkinter as tk
    from tkinter import filedialog, messagebox, ttk
except ImportError as error:
    raise MissingDependencyError("[draw] a window needs Tk: on Debian and Ubuntu, apt install python3-tk") from error

PAUSE, LOOK = 40, 15  # milliseconds: after a change before it is read; between looks for an answer
BACK, CARD, INK, FAINT, ACCENT, TRACK, WARN = (
    "#f5f5f2",
    "#ffffff",
    "#1c1c1a",
    "#62625c",
    "#1f5fbf",
    "#e6e6df",
    "#8a4b00",
)
HINT = "Draw a digit from 0 to 9."
NO_MODEL = "There is no network here. Open one by “Model…”, or train one: chainrule train mnist --out runs/mine"


def draw(predictor: DigitPredictor | None, *, selftest: bool = False) -> None:
    """Open the window and stay until it is closed; with ``selftest`` it draws by itself, checks what it sees, and ends.

    Errors: DeviceError without a display.
    """
    try:
        root = tk.Tk()
    except tk.TclError as error:
        raise DeviceError(f"[draw] no window can be opened ({error}): chainrule serve draws in a browser") from None
    window = Window(root, predictor)
    if selftest:
        from .selftest import check

        try:
            check(window)
        finally:
            window.close()
        print("selftest passed: drawn, read, resized, taken back, cleared")
        return
    root.mainloop()


class Window:
    """All that is in the window. What is drawn is in ``drawing``; ``answer`` is the last that the network said."""

    def __init__(self, root: tk.Tk, predictor: DigitPredictor | None) -> None:
        self.root, self.predictor, self.drawing = root, predictor, Drawing()
        self.answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self.reader = Reader(self.predict, self.answers.put)
        self.answer: Answer | None = None
        self.asked, self.emptied, self.pending = 0, 0, ""  # numbers: of the last question, of the last empty sheet
        self.kept: Any = None  # the picture that Tk shows: it forgets those that nobody holds
        unit = self.unit = max(1.0, float(root.tk.call("tk", "scaling")) / (96 / 72))
        root.title("chainrule – draw a digit")
        root.configure(background=BACK)
        root.geometry(f"{int(760 * unit)}x{int(560 * unit)}")
        root.protocol("WM_DELETE_WINDOW", self.close)
        self.build()
        root.update_idletasks()
        root.minsize(root.winfo_reqwidth(), root.winfo_reqheight())
        self.bind()
        self.show(None)
        self.look()

    def build(self) -> None:
        """Make the parts and their places."""
        root, unit = self.root, self.unit
        root.columnconfigure(0, weight=1)
        root.rowconfigure(0, weight=1)
        self.sheet = tk.Canvas(
            root,
            width=int(200 * unit),
            height=int(200 * unit),
            background=CARD,
            highlightthickness=2,
            highlightcolor=ACCENT,
            cursor="pencil",
            takefocus=True,
        )
        self.sheet.grid(row=0, column=0, sticky="nsew", padx=8, pady=8)

        side = tk.Frame(root, background=BACK)
        side.grid(row=0, column=1, sticky="ns", padx=(0, 8), pady=8)
        wide = int(230 * unit)
        self.digit = tk.Label(side, background=BACK, foreground=ACCENT, font=("TkDefaultFont", 44, "bold"))
        self.says = tk.Label(
            side, background=BACK, foreground=INK, wraplength=wide, justify="left", anchor="nw", height=4
        )
        self.bars = tk.Canvas(side, width=wide, height=int(200 * unit), background=BACK, highlightthickness=0)
        self.top = tk.Label(side, background=BACK, foreground=FAINT, anchor="w")
        self.seen = tk.Canvas(
            side, width=int(112 * unit), height=int(112 * unit), background="black", highlightthickness=0
        )
        self.note = tk.Label(side, background=BACK, foreground=FAINT, anchor="nw", justify="left", height=2)
        for part in (self.digit, self.says, self.bars, self.top, self.seen, self.note):
            part.pack(anchor="w", fill="x" if part in (self.says, self.top) else "none")

        style = ttk.Style(root)
        style.theme_use("clam")
        style.configure(".", background=BACK, foreground=INK)
        tools = ttk.Frame(root)
        tools.grid(row=1, column=0, columnspan=2, sticky="ew", padx=8, pady=(0, 8))
        self.buttons = {}
        for name, command in (
            ("Undo", self.undo),
            ("Redo", self.redo),
            ("Clear", self.clear),
            ("Open…", self.open),
            ("Save…", self.save),
            ("Model…", self.choose_model),
        ):
            self.buttons[name] = ttk.Button(tools, text=name, command=command, width=8)
            self.buttons[name].pack(side="left", padx=(0, 4))
        ttk.Label(tools, text="Pen").pack(side="left", padx=(8, 4))
        self.pen = tk.DoubleVar(value=7.0)
        ttk.Scale(tools, from_=3, to=14, variable=self.pen).pack(side="left", fill="x", expand=True)

    def bind(self) -> None:
        """Say what pen and keys do."""
        self.sheet.bind("<ButtonPress-1>", self.press)
        self.sheet.bind("<B1-Motion>", self.move)
        self.sheet.bind("<ButtonRelease-1>", self.move)
        self.sheet.bind("<Configure>", lambda _: self.paint())
        for keys, action in (
            ("<Control-z>", self.undo),
            ("<Control-y>", self.redo),
            ("<Control-Shift-Z>", self.redo),
            ("<Escape>", self.clear),
            ("<Control-o>", self.open),
            ("<Control-s>", self.save),
        ):
            self.root.bind(keys, lambda _, act=action: act())  # type: ignore[misc]

    # ---- drawing

    def square(self) -> tuple[float, float, float]:
        """The largest square in the middle of the sheet: its side, left, top, in pixels."""
        width, height = self.sheet.winfo_width(), self.sheet.winfo_height()
        side = max(1, min(width, height))
        return side, (width - side) / 2, (height - side) / 2

    def place(self, event: Any) -> tuple[float, float]:
        """Where an event is, as shares of the square."""
        side, left, top = self.square()
        return (event.x - left) / side, (event.y - top) / side

    def press(self, event: Any) -> None:
        """A stroke begins."""
        self.sheet.focus_set()
        self.drawing.begin(*self.place(event), self.pen.get() / 100)
        self.changed()

    def move(self, event: Any) -> None:
        """It goes on: the new piece is drawn alone."""
        if not self.drawing.strokes:
            return
        points, pen = self.drawing.strokes[-1]
        count = len(points)
        self.drawing.extend(*self.place(event))
        if len(points) > count:
            self.line(points[-2:], pen)
            self.read_soon()

    def undo(self) -> None:
        """Take the last step back."""
        self.drawing.undo()
        self.changed()

    def redo(self) -> None:
        """Take it again."""
        self.drawing.redo()
        self.changed()

    def clear(self) -> None:
        """An empty sheet."""
        self.drawing.clear()
        self.changed()

    def paint(self) -> None:
        """Draw the sheet anew, at its size."""
        self.sheet.delete("all")
        side, left, top = self.square()
        if self.drawing.picture is not None:
            grey = self.drawing.rendered()
            rows, columns = (
                np.arange(int(n * side / max(grey.shape))) * max(grey.shape) // int(side) for n in grey.shape
            )
            self.kept = photo(grey[np.ix_(rows, columns)])
            self.sheet.create_image(left + side / 2, top + side / 2, image=self.kept)
        for points, pen in self.drawing.strokes:
            self.line(points, pen)
        for name, possible in (
            ("Undo", self.drawing.before),
            ("Redo", self.drawing.after),
            ("Clear", not self.drawing.empty),
            ("Save…", not self.drawing.empty),
        ):
            self.buttons[name].state(["!disabled" if possible else "disabled"])

    def line(self, points: list[tuple[float, float]], pen: float) -> None:
        """Draw a line of the pen, or a dot."""
        side, left, top = self.square()
        at = [(left + x * side, top + y * side) for x, y in points]
        if len(at) == 1:
            (x, y), half = at[0], pen * side / 2
            self.sheet.create_oval(x - half, y - half, x + half, y + half, fill=INK, width=0)
        else:
            self.sheet.create_line(*at, width=pen * side, fill=INK, capstyle="round", joinstyle="round")

    def changed(self) -> None:
        """Show the drawing anew, and have it read."""
        self.paint()
        self.read_soon()

    def read_soon(self) -> None:
        """Have the drawing read in a moment, once for all that changes until then."""
        if not self.pending:
            self.pending = self.root.after(PAUSE, self.ask)

    # ---- reading

    def predict(self, source: Any, pen: float | None) -> Prediction:
        """In the reader's thread: the digit."""
        if self.predictor is None:
            raise DeviceError(NO_MODEL)
        return self.predictor(source, pen)

    def ask(self) -> None:
        """Have the drawing read, as it is now."""
        self.pending = ""
        self.asked += 1
        if self.drawing.empty:
            self.emptied = self.asked
            self.show(None)
        else:
            self.reader.ask(self.asked, *self.drawing.source())

    def look(self) -> None:
        """Show answers that came; those to what was drawn before the sheet was emptied are passed over."""
        try:
            while True:
                answer = self.answers.get_nowait()
                if answer.number > self.emptied:
                    self.show(answer)
        except queue.Empty:
            pass
        self.looking = self.root.after(LOOK, self.look)

    def show(self, answer: Answer | None) -> None:
        """What the network says, or that it waits."""
        self.answer = answer
        found = answer.found if answer is not None else None
        read = found if isinstance(found, Prediction) else None
        if read:
            text = f"This is a {read.digit}." if read.sure else f"Unsure: perhaps a {read.digit}."
            self.digit.configure(text=str(read.digit), foreground=ACCENT if read.sure else FAINT)
            self.says.configure(text=text, foreground=INK)
            self.top.configure(text=" · ".join(f"{digit}: {chance:.1%}" for digit, chance in read.top()))
        else:
            told = re.sub(r"^\[\w+\] ", "", str(found)) if found else HINT if self.predictor else NO_MODEL
            self.digit.configure(text="?", foreground=FAINT)
            self.says.configure(
                text=told[:1].upper() + told[1:], foreground=WARN if found or not self.predictor else INK
            )
            self.top.configure(text="")
        spent = f"What the network sees: 28 × 28\n{answer.milliseconds:.1f} ms" if answer and read else ""
        self.note.configure(text=spent)
        self.show_bars(read.probabilities if read else None)
        self.show_seen(read.steps.image if read else None)

    def show_bars(self, chances: tuple[float, ...] | None) -> None:
        """A bar for each digit."""
        self.bars.delete("all")
        unit, width = self.unit, int(self.bars["width"])
        left, right = 20 * unit, width - 60 * unit
        for digit in range(10):
            y, chance = (10 + 19.5 * digit) * unit, chances[digit] if chances else 0.0
            best = chances is not None and chance == max(chances)
            self.bars.create_text(2, y, text=str(digit), anchor="w", fill=INK)
            self.bars.create_rectangle(left, y - 5 * unit, right, y + 5 * unit, fill=TRACK, width=0)
            end = left + (right - left) * chance
            if end - left >= 1:
                self.bars.create_rectangle(
                    left, y - 5 * unit, end, y + 5 * unit, fill=ACCENT if best else FAINT, width=0
                )
            if chances:
                self.bars.create_text(width - 2, y, text=f"{chance:.1%}", anchor="e", fill=INK)

    def show_seen(self, image: Any) -> None:
        """The 28 × 28 pixels."""
        self.seen.delete("all")
        if image is not None:
            size = int(self.seen["width"])
            places = np.arange(size) * 28 // size
            self.shown = photo(np.rint(image[np.ix_(places, places)] * 255).astype(np.uint8))
            self.seen.create_image(0, 0, image=self.shown, anchor="nw")

    # ---- files

    def open(self, path: str | None = None) -> None:
        """Read a picture of a digit in place of the drawing."""
        path = path or filedialog.askopenfilename(parent=self.root, title="Open a picture of a digit")
        if path:
            try:
                self.drawing.change((), read_grey(path))
            except ChainruleError as error:
                messagebox.showerror("This cannot be opened", str(error), parent=self.root)
            self.changed()

    def save(self, path: str | None = None) -> None:
        """Keep the sheet as a PNG picture."""
        if self.drawing.empty:
            return
        path = path or filedialog.asksaveasfilename(parent=self.root, defaultextension=".png", initialfile="digit.png")
        if path:
            try:
                photo(self.drawing.rendered()).write(path, format="png")
            except tk.TclError as error:
                messagebox.showerror("This cannot be saved", str(error), parent=self.root)

    def choose_model(self, path: str | None = None) -> None:
        """Read digits with another model."""
        path = path or filedialog.askopenfilename(
            parent=self.root, title="Open a model", filetypes=[("Models", "*.safetensors")]
        )
        if path:
            try:
                self.predictor = DigitPredictor(Path(path))
            except ChainruleError as error:
                messagebox.showerror("This model cannot be used", str(error), parent=self.root)
            self.changed()

    def close(self) -> None:
        """End the reader and the window."""
        self.reader.close()
        self.root.after_cancel(self.looking)
        if self.pending:
            self.root.after_cancel(self.pending)
        self.root.destroy()


def photo(grey: Any) -> tk.PhotoImage:
    """An image for Tk of uint8 (h, w)."""
    height, width = grey.shape
    return tk.PhotoImage(data=b"P5 %d %d 255\n" % (width, height) + grey.tobytes(), format="PPM")
