"""NumPy's side: the calls that it has."""

from __future__ import annotations

from typing import Any

import numpy as np

from .cases import Case, Job, data


def version(spec: Any) -> str:
    """What runs."""
    return f"numpy {np.__version__}"


def build(case: Case, spec: dict[str, Any], check: bool) -> Job:
    """The step of a case."""
    f, arguments = getattr(np, case.what), tuple(data(case, spec["scale"], spec["dtype"]).values())
    return Job(lambda: f(*arguments))
