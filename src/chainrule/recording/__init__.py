"""Recorded steps: a function is run once under a recorder, and from then on as a list of kernel calls, without Python.

``jit`` makes such a function; ``model.compile(..., jit=...)`` trains by one. ``recorder`` hears the calls, ``plan`` makes a
program of them, ``program`` runs it, ``guards`` say when a program may stand for the function.
"""

from __future__ import annotations

from .function import Recorded, jit
from .program import Program

__all__ = ["Program", "Recorded", "jit"]
