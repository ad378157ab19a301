"""Digits read in a window, as they are drawn."""

from ...domain.errors import MissingDependencyError

try:
    import tkinter as _  # noqa: F401  (all modules here use it)
except ImportError as error:
    raise MissingDependencyError("[draw] a window needs Tk: on Debian and Ubuntu, apt install python3-tk") from error

from .window import draw

__all__ = ["draw"]
