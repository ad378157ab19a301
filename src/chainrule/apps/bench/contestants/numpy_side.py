"""NumPy's side: the calls that it has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .cases import Case, data


@dataclass
class Job:
    """A step, and how its result is read."""

    step: Callable[[], Any]

    def wait(self, result: Any) -> None:
        """Nothing is left to wait for."""

    def values(self, result: Any) -> list[Any]:
        """The arrays of a result."""
        return [result]


def version(spec: Any) -> str:
    """What runs."""
    return f"numpy {np.__version__}"


def build(case: Case, spec: dict[str, Any], check: bool) -> Job:
    """The step of a case."""
    f, arguments = getattr(np, case.what), tuple(data(case, spec["scale"], spec["dtype"]).values())
    return Job(lambda: f(*arguments))
