"""The menus of the window, and its keys: each action once, with its name, its key and what it does."""

from __future__ import annotations

import tkinter as tk
from collections.abc import Callable
from functools import partial
from tkinter import ttk
from typing import TYPE_CHECKING, Any, NamedTuple

from .theme import BACK, CARD, INK, PAD

if TYPE_CHECKING:
    from .window import Window


class Action(NamedTuple):
    """An entry of a menu."""

    menu: str
    name: str
    key: str  #: as Tk has it; "" for none
    shown: str  #: as people have it
    do: Callable[[], Any]
    variable: tk.BooleanVar | None = None  #: what it switches


def actions(window: Window) -> list[Action]:
    """All of them, in the order of the menus."""
    teaching = window.teaching

    def switch(variable: tk.BooleanVar) -> None:
        variable.set(not variable.get())
        window.choose_views()

    return [
        Action("File", "Open a picture…", "<Control-o>", "Ctrl+O", window.open),
        Action("File", "Paste a picture", "<Control-v>", "Ctrl+V", window.paste),
        Action("File", "Save as a picture…", "<Control-s>", "Ctrl+S", window.save),
        Action("File", "Quit", "<Control-q>", "Ctrl+Q", window.close),
        Action("Edit", "Undo", "<Control-z>", "Ctrl+Z", window.undo),
        Action("Edit", "Redo", "<Control-y>", "Ctrl+Y", window.redo),
        Action("Edit", "Clear", "<Escape>", "Esc", window.clear),
        Action("Edit", "Pen", "p", "P", lambda: window.hold(False)),
        Action("Edit", "Eraser", "e", "E", lambda: window.hold(True)),
        Action("Edit", "Thicker", "<bracketright>", "]", lambda: window.thicken(1)),
        Action("Edit", "Thinner", "<bracketleft>", "[", lambda: window.thicken(-1)),
        Action("View", "Feature maps", "m", "M", lambda: switch(window.maps), window.maps),
        Action("View", "Saliency", "s", "S", lambda: switch(window.saliency), window.saliency),
        Action("Network", "Learn the drawing", "<Control-l>", "Ctrl+L", teaching.learn),
        Action("Network", "Forget the last", "<Control-u>", "Ctrl+U", teaching.forget),
        Action("Help", "Keys", "<F1>", "F1", window.help),
    ]


def build_menus(window: Window) -> None:
    """Put menus and keys in their places."""
    root, bar = window.root, tk.Menu(window.root)
    root.option_add("*Menu.tearOff", False)
    menus: dict[str, tk.Menu] = {}
    for name in ("File", "Edit", "View", "Network", "Help"):
        menus[name] = tk.Menu(bar, tearoff=False)
        bar.add_cascade(label=name, menu=menus[name], underline=0)
    for action in actions(window):
        menu = menus[action.menu]
        if action.variable is None:
            menu.add_command(label=action.name, accelerator=action.shown, command=action.do)
        else:
            menu.add_checkbutton(
                label=action.name, accelerator=action.shown, variable=action.variable, command=window.choose_views
            )
        if action.key:
            root.bind(action.key, lambda _, act=action: act.do())  # type: ignore[misc]
    root.bind("<Control-Shift-Z>", lambda _: window.redo())
    for digit in "0123456789":
        root.bind(f"<Key-{digit}>", lambda _, digit=digit: window.teaching.label.set(digit))  # type: ignore[misc]
    menus["Network"].add_separator()
    fixed = menus["Network"].index("end")

    def list_models() -> None:
        menu = menus["Network"]
        menu.delete((fixed or 0) + 1, "end")
        for name, path in window.models():
            choose = partial(window.choose_model, path)
            menu.add_radiobutton(label=name, value=path, variable=window.model, command=choose)
        menu.add_command(label="Open a network…", command=window.choose_model)

    menus["Network"].configure(postcommand=list_models)
    root.configure(menu=bar)


def help_window(window: Window) -> tk.Toplevel:
    """A window with all keys; Escape closes it."""
    shown = tk.Toplevel(window.root, background=BACK, padx=2 * PAD, pady=PAD)
    shown.title("Keys")
    shown.transient(window.root)
    rows = [(action.shown, action.name) for action in actions(window) if action.shown]
    rows += [("0 … 9", "What the drawing is, to learn it"), ("Right button", "Erase")]
    for row, (key, name) in enumerate(rows):
        tk.Label(shown, text=key, background=CARD, foreground=INK, padx=6, relief="solid", borderwidth=1).grid(
            row=row, column=0, sticky="w", pady=1
        )
        tk.Label(shown, text=name, background=BACK, foreground=INK).grid(row=row, column=1, sticky="w", padx=(PAD, 0))
    ttk.Button(shown, text="Close", command=shown.destroy).grid(row=len(rows), column=1, sticky="e", pady=(PAD, 0))
    shown.bind("<Escape>", lambda _: shown.destroy())
    shown.geometry(f"+{window.root.winfo_rootx() + 40}+{window.root.winfo_rooty() + 40}")
    shown.focus_set()
    return shown
