"""The normalisation room on a GPU: batch, layer and root-mean-square normalisation, and their gradients."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..array import DeviceArray, row_major
from ..gpu import Gpu, layout
from ..sources import FLOATS, NAMES, c_name, declare
from . import Kernels
from .elementwise import run
from .memory import cast
from .reduce import KINDS, THREADS, WIDE, fold, power, rows_of

KERNELS = Kernels()
SHARED = 48 * 1024  # bytes that a block may have

SAMPLES = ("layer_norm", "layer_norm_slopes", "channels", "batch_norm", "batch_norm_slopes")

declare("norm", *(f"{kernel}<{NAMES[d]}>" for d in FLOATS for kernel in SAMPLES))
declare("norm", *(f"{kernel}<{op}<{NAMES[d]}>>" for d in FLOATS for op in ("Moments", "Slopes") for kernel in KINDS))
declare("norm", *(f"fold_columns<{op}<{NAMES[d]}>, {WIDE}>" for d in FLOATS for op in ("Moments", "Slopes")))
declare("norm", "channel_slopes<float>", "channel_slopes<double>")


def wide(x: DeviceArray) -> Any:
    """The dtype in which elements of ``x`` are computed."""
    return np.dtype(np.float32) if x.itemsize == 2 else x.dtype


# ---- samples


def packs(n: int, *arrays: Any) -> int:
    """1 if dense rows of ``n`` can be read 16 bytes at a time, else 0."""
    given = [a for a in arrays if a is not None]
    return int(all(n % (16 // a.itemsize) == 0 and a.pointer % 16 == 0 for a in given))


def sample_norm(
    gpu: Gpu, x: DeviceArray, weight: Any, bias: Any, normalized_shape: Any, eps: float, centred: bool
) -> Any:
    """y, and x, weight, rstd and mean. ``weight`` and ``bias`` are both of the dtype of ``x``, or of that it is computed in."""
    kinds = {v.dtype for v in (weight, bias) if v is not None} or {x.dtype}
    if not x.size or len(kinds) > 1 or not kinds <= {x.dtype, wide(x)} or (weight is None and kinds != {x.dtype}):
        return NotImplemented
    n = math.prod(normalized_shape)
    m = x.size // n
    rows = gpu.dense(x)
    given = [None if v is None else gpu.dense(v) for v in (weight, bias)]
    y = gpu.empty(x.shape, x.dtype)
    rstd = gpu.empty((m,), wide(x))
    mean = gpu.empty((m,), wide(x)) if centred else None
    packed = packs(n, rows, y, *given)
    units = n * x.itemsize // 16 if packed else n
    width = power(-(-units // 4))
    if m * width < 2 * THREADS * gpu.properties.multiprocessors:
        width = power(units)
    both = (*given, None, None) if kinds == {x.dtype} else (None, None, *given)
    kernel = f"layer_norm<{c_name(x.dtype)}>"
    gpu.launch("norm", kernel, *rows_of(m, width), y, rstd, mean, rows, *both, m, n, packed, eps, writes=2 + centred)
    return y, (x, weight, rstd, mean)


def sample_norm_vjp(gpu: Gpu, g: DeviceArray, saved: Any, needs: Any, shape: tuple[int, ...]) -> Any:
    """The gradients by x, weight and bias, the last two in ``shape``."""
    x, weight, rstd, mean = saved
    kind = x.dtype if weight is None else weight.dtype
    m, n = rstd.size, math.prod(shape)
    g, x, weight = gpu.dense(g), gpu.dense(x), None if weight is None else gpu.dense(weight)
    gx = gpu.empty(x.shape, x.dtype) if needs[0] else None
    packed = packs(n, g, x, gx, weight)
    (blocks, _), threads = rows_of(m, power(n * x.itemsize // 16 if packed else n))
    parts, shared = None, 0
    if any(needs[1:]):
        blocks = min(blocks, 4 * gpu.properties.multiprocessors)
        parts = gpu.empty((blocks, 2 * n), rstd.dtype)
        shared = threads[1] * 2 * n * rstd.itemsize
        shared = shared if shared <= SHARED else 0
    both = (weight, None) if kind == x.dtype else (None, weight)
    gpu.launch(
        "norm", f"layer_norm_slopes<{c_name(x.dtype)}>", blocks, threads, gx, parts, g, x, *both, rstd, mean, m, n, packed,
        int(shared > 0), shared=shared, writes=(gx is not None) + (parts is not None),
    )  # fmt: skip
    if parts is None:
        return (gx, *(None for _ in needs[1:]))
    sums = gpu.empty((2, n), rstd.dtype)
    fold(gpu, "reduce", f"Sum<{c_name(rstd.dtype)}>", parts, (0,), sums)
    sums = narrowed(gpu, sums, kind)
    each = (DeviceArray(gpu, sums.memory, shape, kind, None, sums.offset + k * n * kind.itemsize) for k in (0, 1))
    return (gx, *(v if wanted else None for v, wanted in zip(each, needs[1:], strict=False)))


def narrowed(gpu: Gpu, v: DeviceArray, dtype: Any) -> DeviceArray:
    """``v`` in a dtype."""
    return v if v.dtype == dtype else cast(gpu, v, dtype=dtype)


@KERNELS("layer_norm")
def layer_norm(gpu: Gpu, x: DeviceArray, weight: Any, bias: Any, *, normalized_shape: Any, eps: float) -> Any:
    return sample_norm(gpu, x, weight, bias, normalized_shape, eps, True)


@KERNELS("layer_norm_vjp")
def layer_norm_vjp(gpu: Gpu, g: DeviceArray, *saved: Any, needs: Any, normalized_shape: Any, eps: float) -> Any:
    return sample_norm_vjp(gpu, g, saved, needs, normalized_shape)


@KERNELS("rms_norm")
def rms_norm(gpu: Gpu, x: DeviceArray, weight: Any, *, normalized_shape: Any, eps: float) -> Any:
    return sample_norm(gpu, x, weight, None, normalized_shape, eps, False)


@KERNELS("rms_norm_vjp")
def rms_norm_vjp(gpu: Gpu, g: DeviceArray, *saved: Any, needs: Any, normalized_shape: Any, eps: float) -> Any:
    return sample_norm_vjp(gpu, g, saved, needs, normalized_shape)


# ---- channels


def others(x: DeviceArray) -> tuple[int, ...]:
    """All axes but that of the channels."""
    return (0, *range(2, x.ndim))


def like(gpu: Gpu, x: DeviceArray) -> DeviceArray:
    """New memory, with the strides of ``x`` if its elements lie without gaps in any order of the axes."""
    y = gpu.empty(x.shape, x.dtype)
    order = sorted(range(x.ndim), key=lambda d: (x.strides[d], x.shape[d]), reverse=True)
    if tuple(x.strides[d] for d in order) == row_major(tuple(x.shape[d] for d in order), x.itemsize):
        y.strides = x.strides
    return y


def channelwise(gpu: Gpu, kernel: str, y: DeviceArray, *given: Any) -> DeviceArray:
    """Run an elementwise kernel of arrays in the shape of ``y``, of arrays (c,), and of None."""
    order = sorted(range(y.ndim), key=lambda d: y.strides[d], reverse=True)

    def along(a: Any) -> tuple[int, ...]:
        if a is None or a.ndim == 1:
            return tuple(int(a is not None and d == 1) for d in order)
        return tuple(a.steps[d] for d in order)

    where, together = layout(tuple(y.shape[d] for d in order), *map(along, (y, *given)))
    return run(gpu, "norm", kernel, y.size, together, y, *given, where)


def parameters(gpu: Gpu, x: DeviceArray, *given: Any) -> Any:
    """Arrays (c,) without gaps, in the dtype in which ``x`` is computed; NotImplemented unless all have that, or that of x."""
    kinds = {v.dtype for v in given if v is not None}
    if len(kinds) > 1 or not kinds <= {x.dtype, wide(x)}:
        return NotImplemented
    return [None if v is None else gpu.dense(narrowed(gpu, v, wide(x))) for v in given]


def normalised(gpu: Gpu, x: DeviceArray, weight: Any, bias: Any, means: DeviceArray, factors: DeviceArray) -> Any:
    """y, and what the gradient needs: of ``weight`` the dtype, in which are those of all parameters."""
    y = channelwise(gpu, f"batch_norm<{c_name(x.dtype)}>", like(gpu, x), x, row(factors, 0), row(factors, 2), bias)
    return y, (x, weight, means, factors)


def row(table: DeviceArray, k: int) -> DeviceArray:
    """A row of a table (rows, c)."""
    return table.view(table.shape[1:], table.strides[1:], k * table.strides[0])


@KERNELS("batch_norm_train")
def batch_norm_train(gpu: Gpu, x: DeviceArray, weight: Any, bias: Any, running_mean: DeviceArray, running_var: DeviceArray,
                     *, momentum: float, eps: float) -> Any:  # fmt: skip
    given = parameters(gpu, x, weight, bias)
    if not x.size or given is NotImplemented or not running_mean.dtype == running_var.dtype == wide(x):
        return NotImplemented
    if weight is None and bias is not None and bias.dtype != x.dtype:
        return NotImplemented  # nothing would tell the gradient the dtype of bias
    c = x.shape[1]
    sums, means = gpu.empty((c, 2), "float64"), gpu.empty((c,), "float64")
    factors = gpu.empty((3, c), wide(x))
    fold(gpu, "norm", f"Moments<{c_name(x.dtype)}>", x, others(x), sums, accumulator="complex128")
    gpu.each(
        "norm", f"channels<{c_name(x.dtype)}>", c, means, factors, running_mean, running_var, sums, x, given[0], None, None, c,
        x.steps[1], running_mean.steps[0], running_var.steps[0], float(x.size // c), float(momentum), float(eps), writes=4,
    )  # fmt: skip
    return normalised(gpu, x, weight, given[1], means, factors)


@KERNELS("batch_norm_eval")
def batch_norm_eval(
    gpu: Gpu, x: DeviceArray, weight: Any, bias: Any, mean: DeviceArray, var: DeviceArray, *, eps: float
) -> Any:
    given = parameters(gpu, x, weight, bias, mean, var)
    if not x.size or given is NotImplemented or (weight is None and mean.dtype != x.dtype):
        return NotImplemented
    c = x.shape[1]
    means, factors = gpu.empty((c,), "float64"), gpu.empty((3, c), wide(x))
    gpu.each(
        "norm", f"channels<{c_name(x.dtype)}>", c, means, factors, None, None, None, x, given[0], *given[2:], c, 0, 0, 0, 0.0,
        0.0, float(eps), writes=2,
    )  # fmt: skip
    return normalised(gpu, x, weight, given[1], means, factors)


def batch_norm_vjp(gpu: Gpu, g: DeviceArray, saved: Any, needs: Any, batch: bool) -> Any:
    """The gradients of either, by x, weight, bias, and the statistics that were given."""
    x, weight, means, factors = saved
    c, name, kind = x.shape[1], c_name(x.dtype), x.dtype if weight is None else weight.dtype
    slopes: Any = None
    own: list[Any] = [None] * 4
    if batch or any(needs[1:]):
        sums, slopes = gpu.empty((c, 2), "float64"), gpu.empty((2, c), factors.dtype)
        fold(gpu, "norm", f"Slopes<{name}>", x, others(x), sums, t=g, centres=means, accumulator="complex128")
        own = [
            gpu.empty((c,), factors.dtype) if wanted and (k < 2 or not batch) else None
            for k, wanted in enumerate(needs[1:])
        ]
        count = float(x.size // c) if batch else 0.0
        written = 1 + sum(v is not None for v in own)
        gpu.each(
            "norm", f"channel_slopes<{c_name(factors.dtype)}>", c, slopes, *own, sums, factors, c, count, writes=written
        )
        own = [None if v is None else narrowed(gpu, v, kind) for v in own]
    gx = None
    if needs[0]:
        arrays = (x, row(factors, 0), row(slopes, 0), row(slopes, 1)) if batch and slopes is not None else (None,) * 4
        gx = channelwise(gpu, f"batch_norm_slopes<{name}>", like(gpu, x), g, row(factors, 2), *arrays)
    return (gx, *own)


@KERNELS("batch_norm_train_vjp")
def batch_norm_train_vjp(gpu: Gpu, g: DeviceArray, *saved: Any, needs: Any, momentum: float, eps: float) -> Any:
    return batch_norm_vjp(gpu, g, saved, needs, True)


@KERNELS("batch_norm_eval_vjp")
def batch_norm_eval_vjp(gpu: Gpu, g: DeviceArray, *saved: Any, needs: Any, eps: float) -> Any:
    return batch_norm_vjp(gpu, g, saved, needs, False)
