"""What the window looks like: its colours, its styles, pictures for Tk, and how large a unit is on this screen."""

from __future__ import annotations

import sys
import tkinter as tk
from tkinter import ttk
from typing import Any

import numpy as np

BACK, CARD, INK, FAINT, LINE = "#f5f5f2", "#ffffff", "#1c1c1a", "#62625c", "#c9c9c0"
ACCENT, TRACK, WARN = "#1f5fbf", "#e6e6df", "#8a4b00"
PAD = 8


def root_window() -> tk.Tk:
    """The root, at the resolution of its screen. Errors: TclError without a display."""
    if sys.platform == "win32":  # unless it is told, Windows enlarges a small picture of the window
        from ctypes import windll

        windll.shcore.SetProcessDpiAwareness(1)
    asked = told_resolution()
    root = tk.Tk(className="Chainrule")
    if asked:
        root.tk.call("tk", "scaling", asked / 72)
    return root


def told_resolution() -> float | None:
    """The dots of an inch that desktops on X11 tell in the resource ``Xft.dpi``; Tk goes by the screen, which often lies.

    Tk gives resources of its own class alone, so a root of that class, which is never shown, asks for it.
    """
    probe = tk.Tk(className="Xft")
    try:
        found = str(probe.tk.call("option", "get", ".", "dpi", "Dpi"))
    finally:
        probe.destroy()
    try:
        return float(found) or None
    except ValueError:
        return None


def unit_of(root: tk.Misc) -> float:
    """Pixels on this screen for each of a common one, of 96 to the inch: what ``tk scaling`` says, at least 1."""
    return max(1.0, float(root.tk.call("tk", "scaling")) / (96 / 72))


def styled(root: tk.Misc) -> None:
    """Give all widgets the colours of the window."""
    unit = unit_of(root)
    style = ttk.Style(root)
    style.theme_use("clam")
    style.configure(".", background=BACK, foreground=INK)
    style.configure("TButton", padding=int(3 * unit), width=0)
    style.configure("Toolbutton", padding=int(4 * unit))
    style.map("Toolbutton", background=[("selected", ACCENT), ("active", TRACK)], foreground=[("selected", CARD)])
    style.configure("Horizontal.TScale", sliderlength=int(18 * unit), arrowsize=int(14 * unit))
    style.configure("TCombobox", arrowsize=int(13 * unit), padding=int(2 * unit))
    style.map("TCombobox", fieldbackground=[("readonly", CARD)])
    style.configure("Faint.TLabel", foreground=FAINT)
    style.configure("Warn.TLabel", foreground=WARN)


def photo(pixels: Any) -> tk.PhotoImage:
    """An image for Tk of uint8, grey (h, w) or red, green and blue (h, w, 3)."""
    kind = b"P5" if pixels.ndim == 2 else b"P6"
    data = b"%s %d %d 255\n" % (kind, pixels.shape[1], pixels.shape[0]) + np.ascontiguousarray(pixels).tobytes()
    return tk.PhotoImage(data=data, format="PPM")
