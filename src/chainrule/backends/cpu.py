"""The native CPU backend: the reference's primitives, and kernels in C++ in their place and beside them."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from typing import Any

import ml_dtypes
import numpy as np

from ..domain.errors import ArgumentError
from . import numpy as reference

_native = import_module("chainrule._native")  # the error of `from .. import` would not say that this is missing

# What the native module has besides kernels: its settings and statistics.
CONTROL = {
    "set_num_threads", "get_num_threads", "simd", "memory_stats", "empty_cache", "set_cache_limit", "set_poison",
    "set_conv_precision",
}  # fmt: skip

threads = os.environ.get("CHAINRULE_NUM_THREADS")
if threads and not (threads.isdecimal() and int(threads)):  # empty is unset, as for OpenMP
    raise ArgumentError(f"CHAINRULE_NUM_THREADS is {threads!r}; it should be a positive integer")

NATIVE = {name: f for name, f in vars(_native).items() if callable(f) and name[0] != "_" and name not in CONTROL}
HALVES = {"float16": np.dtype(np.float16), "bfloat16": np.dtype(ml_dtypes.bfloat16)}


def cast(x: Any, *, dtype: str) -> Any:
    """The native cast; between float32 and the 16-bit floats, which it knows only by their bits, its counterparts."""
    if dtype == "float32" and x.dtype.char in "eE":
        return _native._from_half(x.view(np.int16), x.dtype.char == "E")
    if dtype in HALVES and x.dtype.char == "f":
        return _native._to_half(x, dtype == "bfloat16").view(HALVES[dtype])
    return _native.cast(x, dtype=dtype)


def assign(x: Any, v: Any, *indices: Any, pattern: Any) -> Any:
    """Written natively where all of ``x`` is: by a number, or an array of its shape."""
    if pattern == (...,) and _native._assign(x, v) is not NotImplemented:
        return x
    return reference.KERNELS["assign"](x, v, *indices, pattern=pattern)


KERNELS: dict[str, Callable[..., Any]] = {**reference.KERNELS, **NATIVE, "cast": cast, "assign": assign}
REFERENCE = reference.KERNELS
DECLINES = dict.fromkeys(NATIVE, "float32 and float64 natively; the reference or the body for the rest")
# 16-bit floats go through these as float32; not what only moves numbers, or writes to them. For gradients see ops
WIDENS = frozenset(name for name in NATIVE if not name.endswith(("_", "_vjp"))) - {
    "cast", "clone", "contiguous", "flip", "full", "reshape", "tril", "triu", "batch_norm_train",
} | {"linear_vjp"}  # fmt: skip
# of bfloat16 products with AVX512-BF16; without, gradients are computed in float32 throughout
pairs = getattr(_native, "_bfloat16_products", bool)  # a module that was built before has no such function, nor kernels
HALF_GRADIENTS = frozenset({"linear_vjp"} if pairs() else ())
