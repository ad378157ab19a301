"""The softmax room on a GPU: softmax, its logarithm, the losses of classes, and their gradients."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ....domain.errors import IndexRangeError
from ..array import DeviceArray
from ..gpu import Gpu, fault
from ..sources import FLOATS, NAMES, c_name, declare
from . import Kernels
from .memory import cast, filled
from .reduce import INT64, THREADS, groups, lines, packs

KERNELS = Kernels()
WIDE = {"float16": np.dtype(np.float32), "bfloat16": np.dtype(np.float32)}
NO_CLASS = "[{}] target {{value}} at row {{axis}} is not a class: x has {{limit}} classes (0 to {{last}})"
FAULTS = {name: fault(IndexRangeError, NO_CLASS.format(name)) for name in ("cross_entropy", "nll")}

ROWS = "softmax softmax_slopes cross_entropy cross_entropy_slopes nll nll_slopes classes_total".split()

declare("softmax", *(f"{kernel}<{NAMES[d]}>" for d in FLOATS for kernel in ROWS))


def softmax(gpu: Gpu, x: DeviceArray, *, axis: int, logarithm: int) -> Any:
    y = gpu.empty(x.shape, x.dtype)
    if x.size:
        rows = lines(x.shape, axis % x.ndim, y.steps, x.steps)
        packed = packs(rows, y, x)
        kernel = f"softmax<{c_name(x.dtype)}>"
        grid = groups(gpu, rows, packed, x.itemsize)
        gpu.launch("softmax", kernel, *grid, y, x, rows.where, rows.m, rows.n, *rows.steps, packed, logarithm)
    return y, (y,)


def softmax_vjp(gpu: Gpu, g: DeviceArray, y: DeviceArray, *, needs: Any, axis: int, logarithm: int) -> Any:
    gx = gpu.empty(y.shape, y.dtype)
    if y.size:
        rows = lines(y.shape, axis % y.ndim, gx.steps, g.steps, y.steps)
        packed = packs(rows, gx, g, y)
        kernel = f"softmax_slopes<{c_name(y.dtype)}>"
        grid = groups(gpu, rows, packed, y.itemsize)
        gpu.launch("softmax", kernel, *grid, gx, g, y, rows.where, rows.m, rows.n, *rows.steps, packed, logarithm)
    return (gx,)


for _logarithm, _name in enumerate(("softmax", "log_softmax")):
    KERNELS[_name] = partial(softmax, logarithm=_logarithm)
    KERNELS[_name + "_vjp"] = partial(softmax_vjp, logarithm=_logarithm)


def classes(gpu: Gpu, x: DeviceArray, target: DeviceArray, weight: Any) -> tuple[DeviceArray, Any]:
    """Targets as dense int64, weights in the dtype in which losses are computed."""
    target = gpu.dense(target if target.dtype == INT64 else cast(gpu, target, dtype="int64"))
    if weight is not None:
        wide = WIDE.get(x.dtype.name, x.dtype)
        weight = gpu.dense(weight if weight.dtype == wide else cast(gpu, weight, dtype=wide))
    return target, weight


def total(gpu: Gpu, x: DeviceArray, y: DeviceArray, sums: Any, weight: Any, reduction: str) -> DeviceArray:
    """By what the gradient is divided, and the weights of all classes; the loss goes to ``y``, unless that is one of each."""
    shares = gpu.empty((2,), "float64")
    n = x.shape[1]
    mean = int(reduction == "mean")
    if sums is None:
        gpu.launch("softmax", f"classes_total<{c_name(x.dtype)}>", 1, THREADS, None, shares, shares, weight, 0, n, mean)
    else:
        count = sums.shape[1]
        kernel = f"classes_total<{c_name(x.dtype)}>"
        gpu.launch("softmax", kernel, 1, THREADS, y, shares, sums, weight, count, n, mean, writes=2)
    return shares


@KERNELS("cross_entropy")
def cross_entropy(gpu: Gpu, x: DeviceArray, target: DeviceArray, weight: Any, *, reduction: str, label_smoothing: float,
                  ignore_index: int) -> Any:  # fmt: skip
    """The loss, and what its gradient needs. Of targets that are probabilities, and of no scores, it is left to the body."""
    if target.ndim == x.ndim or not x.size:
        return NotImplemented
    labels, weights = classes(gpu, x, target, weight)
    rows = lines(x.shape, 1, x.steps, ordered=True)
    packed = packs(rows, x)
    grid = groups(gpu, rows, packed, x.itemsize)
    each = reduction == "none"
    y = gpu.empty(target.shape if each else (), x.dtype)
    sums = None if each else gpu.empty((2, grid[0][0]), "float64")
    scales = gpu.empty((2, rows.m), WIDE.get(x.dtype.name, x.dtype))
    written = (y, None) if sums is None else (None, sums)
    gpu.launch(
        "softmax", f"cross_entropy<{c_name(x.dtype)}>", *grid, *written, scales, x, labels, weights, rows.where, rows.m,
        rows.n, *rows.steps, packed, ignore_index, float(label_smoothing), gpu.reporting(), FAULTS["cross_entropy"], writes=2,
    )  # fmt: skip
    return y, (x, labels, weights, scales, total(gpu, x, y, sums, weights, reduction))


@KERNELS("cross_entropy_vjp")
def cross_entropy_vjp(
    gpu: Gpu,
    g: DeviceArray,
    x: DeviceArray,
    target: DeviceArray,
    weight: Any,
    scales: DeviceArray,
    shares: DeviceArray,
    *,
    needs: Any,
    reduction: str,
    label_smoothing: float,
    ignore_index: int,
) -> Any:
    """The gradient by x; where weights want one, too, it is left to the body."""
    if needs[2]:
        return NotImplemented
    gx = gpu.empty(x.shape, x.dtype)
    rows = lines(x.shape, 1, gx.steps, x.steps, ordered=True)
    packed = packs(rows, gx, x)
    each = int(reduction == "none")
    if each:
        g = gpu.dense(g)
    gpu.launch(
        "softmax", f"cross_entropy_slopes<{c_name(x.dtype)}>", *groups(gpu, rows, packed, x.itemsize), gx, g, x, target, weight,
        scales, shares, rows.where, rows.m, rows.n, *rows.steps, packed, ignore_index, float(label_smoothing), each,
    )  # fmt: skip
    return gx, None, None


@KERNELS("nll")
def nll(gpu: Gpu, x: DeviceArray, target: DeviceArray, weight: Any, *, reduction: str, ignore_index: int) -> Any:
    """The loss, and what its gradient needs."""
    if not x.size:
        return NotImplemented
    labels, weights = classes(gpu, x, target, weight)
    rows = lines(x.shape, 1, x.steps, ordered=True)
    blocks = -(-rows.m // THREADS)
    each = reduction == "none"
    y = gpu.empty(target.shape if each else (), x.dtype)
    sums = None if each else gpu.empty((2, blocks), "float64")
    written = (y, None) if sums is None else (None, sums)
    gpu.launch(
        "softmax", f"nll<{c_name(x.dtype)}>", blocks, THREADS, *written, x, labels, weights, rows.where, rows.m, rows.n,
        *rows.steps, ignore_index, gpu.reporting(), FAULTS["nll"],
    )  # fmt: skip
    return y, (x, labels, weights, total(gpu, x, y, sums, weights, reduction))


@KERNELS("nll_vjp")
def nll_vjp(gpu: Gpu, g: DeviceArray, x: DeviceArray, target: DeviceArray, weight: Any, shares: DeviceArray, *, needs: Any,
            reduction: str, ignore_index: int) -> Any:  # fmt: skip
    """The gradient by x; where weights want one, too, it is left to the body."""
    if needs[2]:
        return NotImplemented
    gx = filled(gpu, gpu.empty(x.shape, x.dtype), 0)
    rows = lines(x.shape, 1, gx.steps, ordered=True)
    each = int(reduction == "none")
    if each:
        g = gpu.dense(g)
    gpu.each(
        "softmax", f"nll_slopes<{c_name(x.dtype)}>", rows.m, gx, g, target, weight, shares, rows.where, rows.m, rows.n,
        *rows.steps, ignore_index, each,
    )  # fmt: skip
    return gx, None, None
