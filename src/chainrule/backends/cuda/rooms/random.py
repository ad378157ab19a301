"""The random room on a GPU: the numbers of every other backend, from a state that stays on the device."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..array import DeviceArray
from ..gpu import Gpu
from ..sources import FLOATS, NAMES, c_name, declare
from . import Kernels
from .index import ordered

KERNELS = Kernels()
FRACTION = {"float32": (8, 2.0**-24), "float16": (21, 2.0**-11), "bfloat16": (24, 2.0**-8)}  # as in backends/_philox.py

declare("random", *(f"uniform<{NAMES[d]}>" for d in FRACTION), *(f"normal<{NAMES[d]}>" for d in FLOATS))
declare("random", *(f"dropout<{NAMES[d]}>" for d in FLOATS))
declare("random", "uniform_double", "integers", "long_words", "bernoulli", "advance")


def drawn(gpu: Gpu, instance: str, y: DeviceArray, state: DeviceArray, words: int, *numbers: Any) -> DeviceArray:
    """``y``, filled by a kernel that uses so many 32-bit words of the stream; the state moves past them."""
    blocks = -(-words // 4)
    if blocks:
        gpu.each("random", instance, blocks, y, state, *numbers, y.size)
        gpu.launch("random", "advance", 1, 32, state, blocks)
    return y


@KERNELS("uniform")
def uniform(gpu: Gpu, state: DeviceArray, *, shape: Any, dtype: Any) -> Any:
    y = gpu.empty(tuple(shape), np.dtype(str(dtype)))
    if dtype == "float64":
        return drawn(gpu, "uniform_double", y, state, 2 * y.size)
    shift, scale = FRACTION[str(dtype)]
    return drawn(gpu, f"uniform<{c_name(y.dtype)}>", y, state, y.size, shift, scale)


@KERNELS("normal")
def normal(gpu: Gpu, state: DeviceArray, *, shape: Any, dtype: Any) -> Any:
    y = gpu.empty(tuple(shape), np.dtype(str(dtype)))
    return drawn(gpu, f"normal<{c_name(y.dtype)}>", y, state, 2 * y.size)


@KERNELS("integers")
def integers(gpu: Gpu, state: DeviceArray, *, low: int, high: int, shape: Any) -> Any:
    if not 0 < high - low < 2**32:
        raise ValueError(f"[integers] low {low} to high {high} is {high - low} integers; give 1 to 2**32 - 1")
    y = gpu.empty(tuple(shape), np.dtype(np.int64))
    return drawn(gpu, "integers", y, state, 2 * y.size, int(low), int(high - low))


@KERNELS("bernoulli")
def bernoulli(gpu: Gpu, state: DeviceArray, *, p: float, shape: Any) -> Any:
    y = gpu.empty(tuple(shape), np.dtype(np.bool_))
    return drawn(gpu, "bernoulli", y, state, y.size, math.floor(p * 2.0**32))


@KERNELS("permutation")
def permutation(gpu: Gpu, state: DeviceArray, *, n: int) -> Any:
    words = drawn(gpu, "long_words", gpu.empty((n,), np.dtype(np.int64)), state, 2 * n)
    return ordered(gpu, words, 1, n, kind="uint64_t")[0] if n else words


@KERNELS("dropout")
def dropout(gpu: Gpu, x: DeviceArray, state: DeviceArray, *, p: float) -> Any:
    x = gpu.dense(x)
    y, mask = gpu.empty(x.shape, x.dtype), gpu.empty(x.shape, np.dtype(np.bool_))
    blocks = -(-x.size // 4)
    if blocks:
        scale = 1.0 / (1.0 - p) if p < 1.0 else 0.0
        threshold = round(p * 2.0**32)
        gpu.each("random", f"dropout<{c_name(x.dtype)}>", blocks, y, mask, x, state, threshold, scale, x.size, writes=2)
        gpu.launch("random", "advance", 1, 32, state, blocks)
    return y, mask
