"""The window of ``chainrule draw``: a sheet on the left, what the network says and sees on the right."""

from __future__ import annotations

import queue
import re
import time
import tkinter as tk
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tkinter import filedialog, messagebox, ttk
from typing import Any, NamedTuple

from ...domain.errors import ArgumentError, ChainruleError, DeviceError
from ..corrections import Corrections, user_file
from ..image import read_grey
from ..predictor import SHIPPED, DigitPredictor, Prediction
from .clipboard import pasted
from .drawing import Answer, Drawing, Question, Reader
from .menus import build_menus, help_window
from .offer import Offer
from .results import Results
from .sheet import PENS, Sheet
from .teaching import Teaching
from .theme import BACK, PAD, photo, root_window, styled, unit_of
from .views import Views, ViewsPanel

PAUSE, LOOK = 40, 15  # milliseconds: after a change before it is read; between looks for an answer
SIDE, PANEL = (164, 250), (170, 300)  # units of width of the two columns, at least and at most
LOW = 400  # units of height: less has no room for hints
HINT = "Draw a digit from 0 to 9."
NO_MODEL = "There is no network yet."


class Reading(NamedTuple):
    """What the reader finds."""

    read: Prediction
    milliseconds: float
    views: Views


def draw(predictor: DigitPredictor | None, *, selftest: bool = False) -> None:
    """Open the window and stay until it is closed; with ``selftest`` it draws by itself, checks what it sees, and ends.

    Corrections are kept for the user, those of the selftest are not. Errors: DeviceError without a display.
    """
    try:
        root = root_window()
    except tk.TclError as error:
        raise DeviceError(f"[draw] no window can be opened ({error}): chainrule serve draws in a browser") from None
    window = Window(root, predictor, keep=not selftest)
    if selftest:
        from .selftest import check

        try:
            check(window)
        finally:
            window.close()
        print("selftest passed: drawn, read, resized, erased, taken back, looked into, taught, cleared")
        return
    root.mainloop()


class Window:
    """All that is in the window. What is drawn is in ``drawing``; ``answer`` is the last that the network said.

    With ``keep`` corrections are kept in the user's folder, and are there again for the same network.
    """

    def __init__(self, root: tk.Tk, predictor: DigitPredictor | None, *, keep: bool = False) -> None:
        self.root, self.keep, self.drawing = root, keep, Drawing()
        self.predictor: DigitPredictor | None = None
        self.calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()  # from other threads
        self.reader = Reader(self.read, lambda answer: self.calls.put(lambda: self.arrived(answer)))
        self.answer: Answer | None = None
        self.asked, self.emptied, self.pending = 0, 0, ""  # numbers: of the last question, of the last empty sheet
        self.model = tk.StringVar(root)  # the path of the network, or ""
        self.opened: list[str] = []  # networks that were chosen from files
        self.maps, self.saliency = tk.BooleanVar(root), tk.BooleanVar(root)
        self.grown = 0  # pixels that the window grew by for its views
        self.eraser, self.pen = tk.BooleanVar(root), tk.DoubleVar(root, value=7.0)
        unit = self.unit = unit_of(root)
        root.configure(background=BACK)
        width, height = (int(0.9 * n) for n in (root.winfo_screenwidth(), root.winfo_screenheight()))
        root.geometry(f"{min(int(760 * unit), width)}x{min(int(560 * unit), height)}")
        root.protocol("WM_DELETE_WINDOW", self.close)
        styled(root)
        self.build()
        build_menus(self)
        root.minsize(int(360 * unit), int(270 * unit))
        self.use(predictor)
        self.look()

    def build(self) -> None:
        """Make the parts and their places."""
        root = self.root
        root.columnconfigure(0, weight=1)
        root.rowconfigure(1, weight=1)
        self.buttons: dict[str, ttk.Button] = {}
        self.tools().grid(row=0, column=0, columnspan=3, sticky="ew", padx=PAD, pady=(PAD, 0))
        self.sheet = Sheet(root, self.drawing, self.pen, self.touched)
        self.sheet.grid(row=1, column=0, sticky="nsew", padx=PAD, pady=PAD)
        self.column = tk.Frame(root, background=BACK)
        self.column.grid(row=1, column=1, sticky="ns", padx=(0, PAD), pady=PAD)
        self.column.grid_propagate(False)
        self.column.columnconfigure(0, weight=1)
        self.results = Results(self.column)
        self.results.grid(row=0, sticky="ew")
        self.teaching = Teaching(self.column, self.shown, self.calls.put, self.taught)
        self.teaching.grid(row=1, sticky="ew", pady=(6, 0))
        self.offer = Offer(self.column, self.calls.put, lambda path: self.choose_model(str(path)), self.choose_model)
        self.panel = ViewsPanel(root)
        self.panel.grid(row=1, column=2, sticky="ns", padx=(0, PAD), pady=PAD)
        self.panel.grid_propagate(False)
        self.panel.grid_remove()
        root.bind("<Configure>", lambda event: self.share(event.width, event.height) if event.widget is root else None)

    def tools(self) -> ttk.Frame:
        """The row over the sheet."""
        bar = ttk.Frame(self.root)
        for text, value in (("Pen", False), ("Eraser", True)):
            button = ttk.Radiobutton(
                bar, text=text, value=value, variable=self.eraser, command=self.take, style="Toolbutton"
            )
            button.pack(side="left", padx=(0, 2))
        for name, command in (("Undo", self.undo), ("Redo", self.redo), ("Clear", self.clear)):
            self.buttons[name] = ttk.Button(bar, text=name, command=command, takefocus=True)
            self.buttons[name].pack(side="left", padx=(4, 0))
        ttk.Label(bar, text="Size").pack(side="left", padx=(10, 4))
        self.size = ttk.Scale(bar, from_=PENS[0], to=PENS[1], variable=self.pen, length=int(60 * self.unit))
        self.size.pack(side="left")
        return bar

    def share(self, width: int, height: int) -> None:
        """Give the columns their widths, of a window of this size."""
        unit = self.unit
        panel = int(min(max(0.28 * width, PANEL[0] * unit), PANEL[1] * unit))
        rest = width - (panel + PAD if self.panel.grid_info() else 0)
        side = int(min(max(0.33 * rest, SIDE[0] * unit), SIDE[1] * unit))
        self.column.configure(width=side)
        self.panel.configure(width=panel)
        self.size.configure(length=int(min(max(width - 330 * unit, 40 * unit), 180 * unit)))
        self.teaching.resize(side, low=height < LOW * unit)
        self.root.update_idletasks()
        self.results.resize(side, self.column.winfo_height() - self.teaching.winfo_reqheight() - 6)

    # ---- drawing

    def shown(self) -> tuple[Any, float | None] | None:
        """What is drawn, to be learnt; None if nothing is, or it is no digit."""
        found = self.answer.found if self.answer is not None else None
        return self.drawing.source() if isinstance(found, Reading) and not self.drawing.empty else None

    def take(self) -> None:
        """Take the pen or the eraser, as is chosen."""
        self.sheet.use(self.eraser.get())

    def hold(self, eraser: bool) -> None:
        """Choose one of the two."""
        self.eraser.set(eraser)
        self.take()

    def thicken(self, by: float) -> None:
        """Make the pen thicker or thinner."""
        self.pen.set(min(max(self.pen.get() + by, PENS[0]), PENS[1]))

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

    def changed(self) -> None:
        """Show the drawing anew, and have it read."""
        self.sheet.stop()
        self.sheet.paint()
        self.touched()

    def touched(self) -> None:
        """Have the drawing read in a moment, once for all that changes until then."""
        self.enable()
        if not self.pending:
            self.pending = self.root.after(PAUSE, self.ask)

    def taught(self) -> None:
        """The network has learnt, and says so."""
        self.share(self.root.winfo_width(), self.root.winfo_height())
        self.touched()

    def enable(self) -> None:
        """Buttons are there for what is possible."""
        for name, possible in (
            ("Undo", self.drawing.before),
            ("Redo", self.drawing.after),
            ("Clear", not self.drawing.empty),
        ):
            self.buttons[name].state(["!disabled" if possible else "disabled"])

    # ---- reading

    def read(self, question: Question) -> Reading:
        """In the reader's thread: the digit, and what is to be seen of the network."""
        predictor = self.predictor
        if predictor is None:
            raise DeviceError(NO_MODEL)
        start = time.perf_counter()
        read = predictor(question.source, question.pen)
        spent = (time.perf_counter() - start) * 1000
        views = Views()
        if question.maps:
            try:
                views = views._replace(maps=predictor.feature_maps(read.steps.image))
            except ArgumentError as error:
                views = views._replace(maps=plain(error))
        if question.saliency:
            views = views._replace(saliency=predictor.saliency(read.steps.image))
        return Reading(read, spent, views)

    def ask(self) -> None:
        """Have the drawing read, as it is now."""
        self.pending = ""
        self.asked += 1
        if self.drawing.empty:
            self.emptied = self.asked
            self.show(None)
        else:
            self.reader.ask(Question(self.asked, *self.drawing.source(), self.maps.get(), self.saliency.get()))

    def look(self) -> None:
        """Do what other threads have asked for."""
        self.looking = self.root.after(LOOK, self.look)  # first, so that it goes on whatever a call raises
        with suppress(queue.Empty):
            while True:
                self.calls.get_nowait()()

    def arrived(self, answer: Answer) -> None:
        """Show an answer; those to what was drawn before the sheet was emptied are passed over."""
        if answer.number > self.emptied:
            self.show(answer)

    def show(self, answer: Answer | None) -> None:
        """What the network says, or that it waits."""
        self.answer = answer
        found = answer.found if answer is not None else None
        if isinstance(found, Reading):
            self.results.show(found.read, found.milliseconds)
            self.panel.show(found.views, found.read.steps.image)
        else:
            text = plain(found) if found else HINT if self.predictor else NO_MODEL
            self.results.tell(text, warn=bool(found) or not self.predictor)
            self.panel.show(Views(), None)
        self.teaching.enable()

    def choose_views(self) -> None:
        """Show feature maps and saliency, or not, as is chosen; the window grows where it has room to."""
        wanted, there = self.maps.get() or self.saliency.get(), bool(self.panel.grid_info())
        self.panel.choose(maps=self.maps.get(), saliency=self.saliency.get())
        if wanted != there:
            width, height = self.root.winfo_width(), self.root.winfo_height()
            if wanted:
                self.panel.grid()
                change = int(min(max(width * 0.28 / 0.72, PANEL[0] * self.unit), PANEL[1] * self.unit)) + PAD
                self.grown = max(0, min(change, self.root.winfo_screenwidth() - width))
            else:
                self.panel.grid_remove()
            width += self.grown if wanted else -self.grown
            self.root.geometry(f"{max(width, int(360 * self.unit))}x{height}")
        self.touched()

    # ---- files and networks

    def open(self, path: str | None = None) -> None:
        """Read a picture of a digit in place of the drawing."""
        path = path or filedialog.askopenfilename(parent=self.root, title="Open a picture of a digit")
        if path:
            self.picture(lambda: read_grey(path), "This cannot be opened")

    def paste(self) -> None:
        """Read the picture in the clipboard."""
        self.picture(lambda: pasted(self.root), "This cannot be pasted")

    def picture(self, get: Callable[[], Any], failure: str) -> None:
        """Put a picture on the sheet."""
        try:
            self.drawing.change((), get())
        except ChainruleError as error:
            messagebox.showerror(failure, plain(error), parent=self.root)
            return
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

    def models(self) -> list[tuple[str, str]]:
        """Networks to choose from: what they are called, and their files; the empty one is that of chainrule."""
        runs = [str(path) for path in sorted(Path("runs").glob("*/model.safetensors"))]
        own = list(dict.fromkeys([*runs, *self.opened]))
        return [("Comes with chainrule", "")] * SHIPPED.exists() + [(path, path) for path in own]

    def choose_model(self, path: str | None = None) -> None:
        """Read digits with another network: of a file, or with "" with that of chainrule."""
        if path is None:
            path = filedialog.askopenfilename(
                parent=self.root, title="Open a network", filetypes=[("Networks", "*.safetensors"), ("All", "*")]
            )
            if not path:
                return
        try:
            predictor = DigitPredictor(path or None)
        except ChainruleError as error:
            self.model.set(path_of(self.predictor))
            messagebox.showerror("This network cannot be used", plain(error), parent=self.root)
            return
        self.use(predictor)

    def use(self, predictor: DigitPredictor | None) -> None:
        """Read with this from now on; what was learnt with it before is there again."""
        self.predictor, corrections, said = predictor, None, ""
        self.model.set(path := path_of(predictor))
        if path and path not in self.opened:
            self.opened.append(path)
        if predictor is not None:
            try:
                corrections = Corrections(predictor, user_file(predictor) if self.keep else None)
            except ChainruleError as error:
                said = plain(error)
        self.teaching.use(corrections, said)
        for part in (self.results, self.teaching):
            part.grid() if predictor is not None else part.grid_remove()
        if predictor is None:
            self.offer.grid(row=0, sticky="new")
        else:
            self.offer.grid_remove()
        self.root.title("chainrule – draw a digit" + (f" – {predictor.name}" if predictor else ""))
        self.root.update_idletasks()
        self.share(self.root.winfo_width(), self.root.winfo_height())
        self.show(None)
        self.changed()

    def help(self) -> None:
        """Show the keys."""
        help_window(self)

    def close(self) -> None:
        """End the threads and the window."""
        self.root.withdraw()
        self.offer.stop()
        self.teaching.close()
        self.reader.close()
        self.root.after_cancel(self.looking)
        if self.pending:
            self.root.after_cancel(self.pending)
        self.root.destroy()


def path_of(predictor: DigitPredictor | None) -> str:
    """The file of a network; "" of the one that comes with chainrule, and of none."""
    file = predictor.file if predictor else None
    return "" if file in (None, SHIPPED) else str(file)


def plain(error: Exception) -> str:
    """The text of an error for people: without where it comes from, and with a capital.

    >>> plain(ValueError("[digits] this is a speck"))
    'This is a speck'
    """
    text = re.sub(r"^\[\w+\] ", "", str(error))
    return text[:1].upper() + text[1:]
