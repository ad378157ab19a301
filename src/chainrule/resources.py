"""What kernels on the CPU may use: threads, faster arithmetic, and memory that is kept for the next results."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from .domain.errors import ArgumentError, NotSupportedError, unknown
from .modes import conv_precision


def native() -> Any:
    """The native module; None where it is not installed."""
    try:
        return import_module("chainrule._native")
    except ImportError:
        return None


def get_num_threads() -> int:
    """How many threads kernels use, the caller's among them: 1 without the native module.

    At first it is ``CHAINRULE_NUM_THREADS`` or ``OMP_NUM_THREADS``, else the cores that this process may run on, by its
    affinity and the quota of its control groups.

    >>> get_num_threads() >= 1
    True
    """
    module = native()
    return int(module.get_num_threads()) if module is not None else 1


def set_num_threads(count: int) -> None:
    """Have kernels use ``count`` threads. It changes no bit of any result, only the time.

    Errors: ArgumentError unless it is from 1 to 1024; NotSupportedError without the native module.

    >>> before = get_num_threads()
    >>> set_num_threads(1); get_num_threads()
    1
    >>> set_num_threads(before)
    """
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= 1024:
        raise ArgumentError(f"[set_num_threads] count is {count!r}; give a number from 1 to 1024")
    module = native()
    if module is None:
        raise NotSupportedError("[set_num_threads] without the native module there is one thread; install that first")
    module.set_num_threads(count)


def set_float32_conv_precision(precision: str) -> None:
    """How the CPU computes 3×3 convolutions of float32, stride 1, and gradients of their input: "highest" or "high".

    "high" is 1.1 to 1.7 times as fast, with tiles of 4×4 results (Winograd) in place of 2×2. Its errors are 2e-6 to 1e-5 of
    the largest result, those of "highest" 2e-7 to 6e-7. Gradients of weights, other convolutions and float64 stay as
    they are. For all threads; steps recorded before are recorded anew. Source: Lavin and Gray, "Fast algorithms for
    convolutional neural networks", 2016. Errors: ArgumentError; NotSupportedError without the native module.

    >>> set_float32_conv_precision("highest")
    >>> get_float32_conv_precision()
    'highest'
    """
    if precision not in ("highest", "high"):
        raise unknown("precision of float32 convolutions", precision, ["highest", "high"])
    module = native()
    if module is None and precision != "highest":
        raise NotSupportedError(
            '[set_float32_conv_precision] without the native module there is only "highest"; install it first'
        )
    if module is not None:
        module.set_conv_precision(precision == "highest")
    conv_precision[0] = precision


def get_float32_conv_precision() -> str:
    """What ``set_float32_conv_precision`` was told; "highest" unless it was."""
    return conv_precision[0]


def memory_stats() -> dict[str, int]:
    """The memory of arrays on the CPU. What is freed is kept, up to ``limit`` bytes, for arrays of about its size.

    In bytes: ``in_use`` by arrays that kernels made, ``peak``, the most so far, ``cached``, kept but not in use, and
    ``limit``, a quarter of the machine's memory unless ``set_cache_limit`` says otherwise. ``allocations`` counts blocks
    that were asked for, ``hits`` those that were there. Empty without the native module.

    >>> import chainrule as cr
    >>> before = memory_stats().get("in_use", 0)
    >>> x = cr.zeros(1024, 1024)
    >>> memory_stats().get("in_use", 4 << 20) - before >= 4 << 20
    True
    """
    module = native()
    return dict(module.memory_stats()) if module is not None else {}


def empty_cache() -> None:
    """Give the memory that is kept but not in use back to the system.

    >>> empty_cache(); memory_stats().get("cached", 0)
    0
    """
    module = native()
    if module is not None:
        module.empty_cache()


def set_cache_limit(size: int) -> None:
    """Keep at most ``size`` bytes that are not in use; what is above goes back to the system. Errors: ArgumentError below 0.

    >>> limit = memory_stats().get("limit", 0)
    >>> set_cache_limit(64 << 20); memory_stats().get("limit", 64 << 20)
    67108864
    >>> set_cache_limit(limit)
    """
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise ArgumentError(f"[set_cache_limit] size is {size!r}; give a number of bytes, 0 or more")
    module = native()
    if module is not None:
        module.set_cache_limit(size)
