"""Where files are kept that can be had again: downloaded data, compiled kernels."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Where they are: ``$CHAINRULE_CACHE``, or ``chainrule`` in ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    if own := os.environ.get("CHAINRULE_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "chainrule"
