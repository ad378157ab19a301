"""Digits read in a window, as they are drawn."""

from .window import draw

__all__ = ["draw"]
