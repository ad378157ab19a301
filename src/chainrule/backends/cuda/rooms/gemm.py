"""The matrix-product room on a GPU: which kernel makes a product, and what is multiplied for a linear map and its gradient."""

from __future__ import annotations

import math
import struct
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ....domain.errors import ShapeError
from ....modes import matmul_precision
from .. import cublas
from ..array import DeviceArray
from ..gpu import Gpu, layout, spread
from ..sources import FLOATS, INTEGERS, NAMES, c_name, declare
from . import Kernels
from .memory import filled
from .reduce import total
from .shape import reshape

KERNELS = Kernels()
ACTIVATIONS = {None: 0, "relu": 1, "sigmoid": 2, "tanh": 3}

# Sides of tiles, by how is multiplied: in a dtype, or float32 in TF32
SIDES = {
    "float32": (32, 64, 128), "float64": (32, 64), "float16": (64, 128), "bfloat16": (64, 128), "tf32": (64, 128)
}  # fmt: skip
TENSOR_CORES = frozenset({"float16", "bfloat16", "tf32"})

declare("gemm", *(f"product<{NAMES.get(kind, kind)}, {side}>" for kind, sides in SIDES.items() for side in sides))
declare("gemm", *(f"product<{NAMES[d]}, 32>" for d in (*INTEGERS, "bool")))
declare("gemm", *(f"{kernel}<{NAMES[d]}>" for kernel in ("combined", "before_activation") for d in FLOATS))


class Tiles(NamedTuple):
    """How blocks share out a product: each a square of side ``tile``, and of k one of ``parts`` pieces of ``chunk``."""

    tile: int
    threads: int
    parts: int
    chunk: int
    blocks: int
    sums: np.dtype  # of parts


def kind_of(x: DeviceArray) -> str:
    """How products of it are computed: cr.cuda.set_float32_matmul_precision chooses for float32."""
    name = x.dtype.name
    return "tf32" if name == "float32" and matmul_precision[0] == "high" else str(name)


@lru_cache(4096)
def tiles(
    kind: str,
    m: int,
    n: int,
    k: int,
    batch: int,
    multiprocessors: int,
    sides: tuple[int, ...] = (),
    divisible: bool = True,
) -> Tiles:
    """The largest tiles that keep half of the multiprocessors at work; of a long k several parts, if there are few tiles.

    ``sides`` are those of the tiles that there are, if not those of ``product``; ``divisible``: whether k may have parts.
    """
    real = kind in SIDES
    for tile in sorted(sides or SIDES.get(kind, (32,)), reverse=True):
        down, across = -(-m // tile), -(-n // tile)
        if min(m, n) > tile // 2 and 2 * down * across * batch >= multiprocessors:
            break
    parts = 1
    if real and divisible and down * across * batch < multiprocessors:
        parts = max(1, min(2 * multiprocessors // (down * across * batch), k // 256))
    chunk = -(-k // (32 * parts)) * 32
    parts = max(1, -(-k // chunk)) if k else 1
    blocks = down * across * batch * parts
    if blocks >= 1 << 31:
        raise ShapeError(f"a product of ({m}, {k}) and ({k}, {n}), {batch} times, is too large for a GPU")
    threads = 128 if kind in TENSOR_CORES and tile == 64 else 256
    return Tiles(tile, threads, parts, chunk, blocks, np.dtype("f8" if kind == "float64" else "f4"))


def whole(x: DeviceArray) -> int:
    """1 if 8 neighbours, along the axis of step 1, lie at a multiple of 16 bytes in each matrix, else 0."""
    along = 1 if x.steps[-1] == 1 else 0 if x.steps[-2] == 1 else None
    if x.itemsize != 2 or along is None or x.pointer % 16:
        return 0
    apart = (*x.strides[:-2], x.strides[-2 if along else -1])
    return int(all(s % 16 == 0 for s in apart))


def multiplied(
    gpu: Gpu, a: DeviceArray, b: DeviceArray, bias: DeviceArray | None = None, activation: str | None = None
) -> DeviceArray:
    """``a @ b``, of two axes or more, ``+ bias``, and the activation of that."""
    (m, k), n = a.shape[-2:], b.shape[-1]
    try:
        batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        raise ShapeError(f"[matmul] the batches of a, {a.shape}, and b, {b.shape}, do not broadcast") from None
    y = gpu.empty((*batch, m, n), a.dtype)
    if not k and bias is None:
        return filled(gpu, y, 0)
    if not y.size:
        return y
    bias = None if bias is None else gpu.dense(bias)
    if cublas.multiplied(gpu, y, a, b, bias, activation):
        return y
    count, how = math.prod(batch), kind_of(a)
    plan = tiles(how, m, n, k, count, gpu.properties.multiprocessors)
    name, kind = c_name(a.dtype), ACTIVATIONS[activation]
    where, _ = layout(batch, *(spread(x.view(x.shape[:-2], x.strides[:-2]), batch) for x in (a, b)))
    shape = struct.pack("12q", m, n, k, *a.steps[-2:], *b.steps[-2:], whole(a), whole(b), kind, plan.parts, plan.chunk)
    instance = f"product<{NAMES.get(how, how)}, {plan.tile}>"
    if plan.parts == 1:
        gpu.launch("gemm", instance, plan.blocks, plan.threads, y, None, a, b, bias, shape, where)
        return y
    sums = gpu.empty((plan.parts * y.size,), plan.sums)
    gpu.launch("gemm", instance, plan.blocks, plan.threads, None, sums, a, b, None, shape, where)
    gpu.each("gemm", f"combined<{name}>", y.size, y, sums, bias, n, kind, plan.parts, y.size)
    return y


KERNELS["matmul"] = multiplied


def rows(gpu: Gpu, x: DeviceArray) -> DeviceArray:
    """All axes but the last as one."""
    found: DeviceArray = x if x.ndim == 2 else reshape(gpu, x, shape=(math.prod(x.shape[:-1]), x.shape[-1]))
    return found


def flipped(x: DeviceArray) -> DeviceArray:
    """The two axes of a matrix exchanged."""
    return x.view(x.shape[::-1], x.strides[::-1])


def mapped(gpu: Gpu, x: DeviceArray, weight: DeviceArray, bias: Any, activation: str | None) -> DeviceArray:
    """The activation of ``x @ weight.T + bias``."""
    y = multiplied(gpu, rows(gpu, x), flipped(weight), bias, activation)
    return DeviceArray(gpu, y.memory, (*x.shape[:-1], weight.shape[0]), x.dtype)


@KERNELS("linear")
def linear(gpu: Gpu, x: DeviceArray, weight: DeviceArray, bias: DeviceArray | None) -> Any:
    if weight.dtype != x.dtype or (bias is not None and bias.dtype != x.dtype) or x.dtype.name not in FLOATS:
        return NotImplemented
    return mapped(gpu, x, weight, bias, None), (x, weight)


@KERNELS("linear_vjp")
def linear_vjp(gpu: Gpu, g: DeviceArray, x: DeviceArray, weight: DeviceArray, *, needs: Any) -> Any:
    flat = rows(gpu, g)
    gx = None
    if needs[0]:
        y = multiplied(gpu, flat, weight)
        gx = DeviceArray(gpu, y.memory, x.shape, y.dtype)
    gw = multiplied(gpu, flipped(flat), rows(gpu, x)) if needs[1] else None
    return gx, gw, total(gpu, flat, op="Sum", axis=(0,)) if needs[2] else None


@KERNELS("linear_activation")
def linear_activation(
    gpu: Gpu, x: DeviceArray, weight: DeviceArray, bias: DeviceArray | None, *, activation: str
) -> Any:
    if weight.dtype != x.dtype or (bias is not None and bias.dtype != x.dtype) or x.dtype.name not in FLOATS:
        return NotImplemented
    if activation not in ACTIVATIONS:  # gelu and silu: a linear map, and then that
        return NotImplemented
    y = mapped(gpu, x, weight, bias, activation)
    return y, (x, weight, y)


@KERNELS("linear_activation_vjp")
def linear_activation_vjp(
    gpu: Gpu, g: DeviceArray, x: DeviceArray, weight: DeviceArray, y: DeviceArray, *, needs: Any, activation: str
) -> Any:
    inner = gpu.empty(g.shape, g.dtype)
    where, _ = layout(g.shape, inner.steps, g.steps, y.steps)
    kind = f"before_activation<{c_name(g.dtype)}>"
    gpu.each("gemm", kind, g.size, inner, g, y, ACTIVATIONS[activation], where, g.size)
    return linear_vjp(gpu, inner, x, weight, needs=needs)
