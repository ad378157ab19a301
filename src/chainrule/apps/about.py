"""What is installed, and what it runs on."""

from __future__ import annotations

import os
import platform
from importlib import import_module
from typing import Any

from .. import backends
from ..domain.errors import ArgumentError, DeviceError, NotSupportedError


def native() -> Any:
    """The module of native kernels, or None where it could not be built."""
    try:
        from .. import _native
    except ImportError:
        return None
    return _native


def version() -> str:
    """The version of chainrule."""
    found: str = import_module("chainrule").__version__
    return found


def threads() -> int:
    """How many threads kernels use."""
    module = native()
    return int(module.get_num_threads()) if module is not None else 1


def set_threads(count: int) -> None:
    """Have kernels use ``count`` threads. Errors: ArgumentError, NotSupportedError without the native module."""
    if count < 1:
        raise ArgumentError(f"[threads] {count} threads were asked for, expected at least 1")
    module = native()
    if module is None:
        raise NotSupportedError("[threads] the NumPy reference has no threads of its own: install the native module")
    module.set_num_threads(count)


def gpu() -> str | None:
    """The first GPU that chainrule can use."""
    try:
        return str(backends.get("cuda").device)
    except DeviceError:
        return None


def about() -> dict[str, Any]:
    """Version, Python, machine, backends, instruction set, threads, memory, GPU: what ``chainrule info`` shows."""
    module = native()
    return {
        "version": version(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "backend": backends.get().name,
        "backends": ["cpu", "numpy"] if module is not None else ["numpy"],
        "simd": module.simd() if module is not None else None,
        "threads": threads(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "gpu": gpu(),
    }
