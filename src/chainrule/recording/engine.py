"""What native/core/program.cpp does, in Python: for a machine without the native module, and to be compared with."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np

NATIVE: Any = None  # the native module, where there is one
if importlib.util.find_spec("chainrule._native") is not None:
    NATIVE = importlib.import_module("chainrule._native")


class Engine:
    """Runs calls: (function, places of arguments, names of the last of them, places of results, places to empty after it)."""

    def __init__(self, calls: list[Any], declined: Callable[[int, list[Any]], Any]) -> None:
        self.calls, self.declined = calls, declined

    def run(self, values: list[Any]) -> None:
        """Do it on a list of values, which has a place for each."""
        for number in range(len(self.calls)):
            self.step(number, values)

    def step(self, number: int, values: list[Any]) -> None:
        """Do one call. An error remembers in ``call`` which one it was."""
        function, places, names, results, dropped = self.calls[number]
        given = [values[place] for place in places]
        count = len(given) - len(names)
        try:
            found = function(*given[:count], **dict(zip(names, given[count:], strict=True)))
            if found is NotImplemented:
                found = self.declined(number, given)
        except Exception as error:
            error.call = number  # type: ignore[attr-defined]
            raise
        store(found, results, values)
        for place in dropped:
            values[place] = None


def store(found: Any, results: Any, values: list[Any]) -> None:
    """Put what a function gave into its places."""
    if type(results) is tuple:
        for part, places in zip(found, results, strict=True):
            store(part, places, values)
    elif results >= 0:
        values[results] = found if hasattr(found, "strides") else np.asarray(found)
