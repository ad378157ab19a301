"""The optimizer room on a GPU: a step of all parameters in few launches, its learning rate and count on the device."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..array import DeviceArray
from ..gpu import THREADS, Gpu
from ..sources import FLOATS, NAMES, c_name, declare
from . import Kernels

KERNELS = Kernels()
CHUNK, MEMBERS, NUMBERS = 32, 5, 8  # in native/optim/cuda.cu
DOUBLE = np.dtype(np.float64)

declare(
    "optim",
    "rates",
    *(f"step<{rule}, {NAMES[d]}>" for rule in ("sgd", "adam", "rmsprop", "adagrad", "lion") for d in FLOATS),
)
declare("optim", *(f"{kernel}<{NAMES[d]}>" for kernel in ("norms", "norm_factor", "scaled") for d in FLOATS))


def by_dtype(groups: Sequence[tuple[Any, ...]]) -> list[list[tuple[Any, ...]]]:
    """Groups of one dtype together, at most CHUNK of them; those without elements are left out."""
    found: dict[Any, list[tuple[Any, ...]]] = {}
    for group in groups:
        if group[0].size:
            found.setdefault(group[0].dtype, []).append(group)
    return [same[i : i + CHUNK] for same in found.values() for i in range(0, len(same), CHUNK)]


def blocks(gpu: Gpu, groups: Sequence[tuple[Any, ...]]) -> tuple[int, int]:
    """Pieces of the largest array, and arrays."""
    largest = max(group[0].size for group in groups)
    return min(-(-largest // THREADS), max(1, 16 * gpu.properties.multiprocessors // len(groups))), len(groups)


def sizes(groups: Sequence[tuple[Any, ...]]) -> bytes:
    """How many elements each has, for a kernel."""
    counts = [group[0].size for group in groups]
    return struct.pack(f"{CHUNK}q", *counts, *[0] * (CHUNK - len(counts)))


def fits(groups: Sequence[tuple[Any, ...]], *numbers: DeviceArray) -> bool:
    """Whether the kernels can do it: members of one dtype, what is written to without gaps, numbers that are floats."""
    for p, g, *states in groups:
        if p.dtype.name not in FLOATS or g.dtype != p.dtype or any(s.dtype != p.dtype for s in states):
            return False
        if not all(x.dense for x in (p, *states)):
            return False
    return all(x.dtype.name in ("float32", "float64") for x in numbers)


def stepped(
    gpu: Gpu, rule: str, step: Any, lr: DeviceArray, tensors: Any, count: int, numbers: Sequence[float], beta1: float = 0.0,
    beta2: float = 0.0,
) -> Any:  # fmt: skip
    """A step of all parameters by a rule; NotImplemented where the body has to do it."""
    groups = list(zip(*[tensors[i : i + count] for i in range(0, len(tensors), count or 1)], strict=True))
    if not fits(groups, lr, *([] if step is None else [step])):
        return NotImplemented
    rates = gpu.empty((3,), DOUBLE)
    wide = [int(x is not None and x.dtype == DOUBLE) for x in (step, lr)]
    gpu.launch("optim", "rates", 1, 32, rates, step, lr, *wide, beta1, beta2, writes=2 if step is not None else 1)
    packed = struct.pack(f"{NUMBERS}d", *numbers, *[0.0] * (NUMBERS - len(numbers)))
    for some in by_dtype(groups):
        columns: list[Any] = []
        for k in range(MEMBERS):
            column = [group[k] if k < len(group) else None for group in some]
            columns += [gpu.dense(x) if k == 1 and x is not None else x for x in column] + [None] * (CHUNK - len(some))
        kernel = f"step<{rule}, {c_name(some[0][0].dtype)}>"
        gpu.launch("optim", kernel, blocks(gpu, some), THREADS, tuple(columns), sizes(some), packed, rates)
    result = lr if step is None else step
    return result.view(result.shape, result.strides)


@KERNELS("sgd_")
def sgd_(gpu: Gpu, lr: DeviceArray, *tensors: DeviceArray, count: int, momentum: float, dampening: float,
         weight_decay: float, nesterov: bool, first: bool) -> Any:  # fmt: skip
    tensors = tensors if momentum else tensors[: 2 * count]
    numbers = (momentum, 1 - dampening, weight_decay, nesterov, first)
    return stepped(gpu, "sgd", None, lr, tensors, count, numbers)


@KERNELS("adam_")
def adam_(gpu: Gpu, step: DeviceArray, lr: DeviceArray, *tensors: DeviceArray, count: int, beta1: float, beta2: float,
          eps: float, weight_decay: float, decoupled: bool, amsgrad: bool) -> Any:  # fmt: skip
    numbers = (beta1, beta2, eps, weight_decay, decoupled, amsgrad)
    return stepped(gpu, "adam", step, lr, tensors, count, numbers, float(beta1), float(beta2))


@KERNELS("rmsprop_")
def rmsprop_(gpu: Gpu, lr: DeviceArray, *tensors: DeviceArray, count: int, alpha: float, eps: float, momentum: float,
             weight_decay: float, centered: bool) -> Any:  # fmt: skip
    return stepped(gpu, "rmsprop", None, lr, tensors, count, (alpha, eps, momentum, weight_decay, centered))


@KERNELS("adagrad_")
def adagrad_(gpu: Gpu, step: DeviceArray, lr: DeviceArray, *tensors: DeviceArray, count: int, lr_decay: float, eps: float,
             weight_decay: float) -> Any:  # fmt: skip
    return stepped(gpu, "adagrad", step, lr, tensors, count, (eps, weight_decay), -1.0, float(lr_decay))


@KERNELS("lion_")
def lion_(gpu: Gpu, lr: DeviceArray, *tensors: DeviceArray, count: int, beta1: float, beta2: float, weight_decay: float,
          decoupled: bool) -> Any:  # fmt: skip
    return stepped(gpu, "lion", None, lr, tensors, count, (beta1, beta2, weight_decay, decoupled))


@KERNELS("clip_norm_")
def clip_norm_(gpu: Gpu, *gradients: DeviceArray, max_norm: float, ord: float) -> Any:
    dtypes = {g.dtype for g in gradients}
    if ord not in (1, 2) or len(dtypes) != 1 or not all(g.dense and g.dtype.name in FLOATS for g in gradients):
        return NotImplemented
    (dtype,) = dtypes
    norm, factor = gpu.empty((), dtype), gpu.empty((1,), DOUBLE)
    some = by_dtype([(g,) for g in gradients])
    grids = [blocks(gpu, groups) for groups in some]
    parts = gpu.empty((sum(pieces * count for pieces, count in grids),), DOUBLE)
    at = 0
    given = [((*(g for (g,) in groups), *[None] * (CHUNK - len(groups))), sizes(groups)) for groups in some]
    for (several, counts), grid in zip(given, grids, strict=True):
        gpu.launch("optim", f"norms<{c_name(dtype)}>", grid, THREADS, parts, several, counts, at, int(ord))
        at += grid[0] * grid[1]
    kernel = f"norm_factor<{c_name(dtype)}>"
    gpu.launch("optim", kernel, 1, THREADS, norm, factor, parts, at, float(max_norm), int(ord), writes=2)
    for (several, counts), grid in zip(given, grids, strict=True):
        gpu.launch("optim", f"scaled<{c_name(dtype)}>", grid, THREADS, several, counts, factor)
    return norm
