"""The attention room on a GPU: tiles of queries and keys that meet in shared memory, without a matrix of weights."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np

from ..array import DeviceArray, row_major
from ..gpu import Gpu, layout, spread
from ..sources import FLOATS, NAMES, c_name, declare
from . import Kernels

KERNELS = Kernels()
SIZES = (64, 128)  # of a key or a value, at most; of float64 the first alone

for _name in ("attention", "attention_of_queries", "attention_of_keys"):
    declare("attention", *(f"{_name}<{NAMES[d]}, {n}>" for d in FLOATS for n in SIZES[: 1 + (d != "float64")]))
declare("attention", *(f"rotary<{NAMES[d]}>" for d in FLOATS))


class Attention:
    """What the kernels are told of a call: where its heads lie, its sizes, its tiles."""

    def __init__(self, q: DeviceArray, k: DeviceArray, v: DeviceArray, mask: Any, y: DeviceArray, g: Any, state: Any, *,
                 is_causal: bool, scale: float | None, dropout: float) -> None:  # fmt: skip
        (self.t, d), (s, e) = q.shape[-2:], v.shape[-2:]
        self.wide = np.dtype("f8" if q.itemsize == 8 else "f4")
        self.size = SIZES[max(d, e) > SIZES[0]]
        self.heads = math.prod(q.shape[:-2])
        self.shared = math.prod(k.shape[:-2])  # heads of k and v
        self.group = self.heads // self.shared
        factor = 1 / math.sqrt(max(1, d)) if scale is None else float(scale)
        threshold = round(dropout * 2.0**32) if state is not None else 0
        keep = 1 / (1 - dropout) if dropout < 1 else 0.0
        kind = 0 if mask is None else 1 if mask.dtype.kind == "b" else 2
        steps = (0,) * q.ndim if mask is None else spread(mask, (*q.shape[:-1], s))
        self.mask = steps[:-2]
        numbers = (
            self.t,
            s,
            d,
            e,
            self.group,
            int(is_causal),
            kind,
            threshold,
            factor,
            keep,
            *q.steps[-2:],
            *k.steps[-2:],
        )
        numbers += (*v.steps[-2:], *steps[-2:], y.steps[-2], *((0, 0) if g is None else g.steps[-2:]))
        self.packed = struct.pack("8q2d11q", *numbers)

    def places(self, q: DeviceArray, *arrays: Any) -> bytes:
        """A Layout over the heads of q. Arrays are like q, or have a head for a group; None is the mask."""
        lead = q.shape[:-2]
        if self.group == 1:
            return layout(lead, *(self.mask if a is None else a.steps[:-2] for a in (q, *arrays)))[0]
        shape = (*lead[:-1], lead[-1] // self.group, self.group)
        strides = []
        for a in (q, *arrays):
            *batch, own = self.mask if a is None else a.steps[:-2]
            few = a is not None and a.shape[-3] != lead[-1]
            strides.append((*batch, own, 0) if few else (*batch, own * self.group, own))
        return layout(shape, *strides)[0]

    def tiles(self) -> tuple[tuple[int, int], ...]:
        """Rows and columns of tiles, as in native/attention/cuda.cu: forward, back for queries, back for keys."""
        small = self.size * self.wide.itemsize <= 256
        return ((64, 32), (32, 32), (32, 32)) if small else ((32, 32), (32, 16), (16, 16))

    def bytes(self, long: int, tiles: int, columns: int) -> int:
        """Of shared memory: so many rows of heads, and rows of tiles of so many columns."""
        piece = 16 // self.wide.itemsize
        return (long * (self.size + piece) + tiles * (columns + piece)) * self.wide.itemsize


def like(gpu: Gpu, x: DeviceArray, rows: int, size: int) -> DeviceArray:
    """New memory for (..., rows, size) with x's leading axes, with heads inside rows if x has them so."""
    shape = (*x.shape[:-2], rows, size)
    if x.ndim > 3 and x.strides[-3] < x.strides[-2]:
        *lead, far, near, last = row_major((*shape[:-3], rows, shape[-3], size), x.itemsize)
        y = gpu.empty(shape, x.dtype)
        return DeviceArray(gpu, y.memory, shape, x.dtype, (*lead, near, far, last))
    return gpu.empty(shape, x.dtype)


def fits(q: DeviceArray, k: DeviceArray, v: DeviceArray, mask: Any) -> bool:
    """Whether the kernels do it: sizes that are not too large; k and v with q's batch and a divisor of its heads."""
    most = SIZES[0 if q.dtype.name == "float64" else 1]
    if q.dtype.name not in FLOATS or not q.size or max(q.shape[-1], v.shape[-1]) > most:
        return False
    if k.shape[:-2] != v.shape[:-2] or (mask is not None and mask.dtype.kind != "b" and mask.dtype != q.dtype):
        return False
    lead = q.ndim - 2 - (q.ndim > 3)
    if k.shape[:lead] != q.shape[:lead]:
        return False
    return q.ndim < 4 or (k.shape[-3] > 0 and q.shape[-3] % k.shape[-3] == 0)


@KERNELS("scaled_dot_product_attention")
def scaled_dot_product_attention(
    gpu: Gpu, q: DeviceArray, k: DeviceArray, v: DeviceArray, mask: Any, state: Any, **options: Any
) -> Any:
    if not fits(q, k, v, mask):
        return NotImplemented
    state = None if state is None or not options["dropout"] else gpu.dense(state)
    y = like(gpu, q, q.shape[-2], v.shape[-1])
    a = Attention(q, k, v, mask, y, None, state, **options)
    logsumexp = gpu.empty(q.shape[:-1], a.wide)
    (rows, columns), *_ = a.tiles()
    where = a.places(q, k, v, None, y)
    gpu.launch("attention", f"attention<{c_name(q.dtype)}, {a.size}>", -(-a.t // rows) * a.heads, 128, y, logsumexp,
               q, k, v, mask, state, where, a.heads, a.packed, writes=2,
               shared=a.bytes(rows + columns, rows, columns))  # fmt: skip
    return y, (q, k, v, mask, state, y, logsumexp)


@KERNELS("scaled_dot_product_attention_vjp")
def scaled_dot_product_attention_vjp(
    gpu: Gpu, g: DeviceArray, q: DeviceArray, k: DeviceArray, v: DeviceArray, mask: Any, state: Any, y: DeviceArray,
    logsumexp: DeviceArray, *, needs: Any, **options: Any,
) -> Any:  # fmt: skip
    if needs[3]:
        return NotImplemented  # a mask's gradient is as large as the scores: the body makes it
    a = Attention(q, k, v, mask, y, g, state, **options)
    dq, dk, dv = (like(gpu, x, *x.shape[-2:]) for x in (q, k, v))
    dots = gpu.empty(logsumexp.shape, logsumexp.dtype)
    where = a.places(q, k, v, None, y, g, dq, dk, dv)
    _, (rows, columns), (keys, queries) = a.tiles()
    name = f"<{c_name(q.dtype)}, {a.size}>"
    gpu.launch("attention", f"attention_of_queries{name}", -(-a.t // rows) * a.heads, 128, dq, dots, g, q, k, v, mask, state,
               y, logsumexp, where, a.heads, dq.steps[-2], a.packed, writes=2,
               shared=a.bytes(2 * rows + columns, rows, columns))  # fmt: skip
    blocks = -(-k.shape[-2] // keys) * a.shared
    if blocks and (needs[1] or needs[2]):
        gpu.launch("attention", f"attention_of_keys{name}", blocks, 128, dk, dv, g, q, k, v, mask, state, dots, logsumexp,
                   where, a.shared, dk.steps[-2], dv.steps[-2], a.packed, writes=2,
                   shared=a.bytes(2 * (keys + queries), 2 * keys, queries))  # fmt: skip
    return (*(x if need else None for x, need in zip((dq, dk, dv), needs[:3], strict=True)), None, None)


@KERNELS("rotary")
def rotary(gpu: Gpu, x: DeviceArray, cos: DeviceArray, sin: DeviceArray) -> Any:
    half = x.shape[-1] // 2 if x.ndim else 0
    if x.dtype.name not in FLOATS or cos.dtype != x.dtype or sin.dtype != x.dtype or max(cos.ndim, sin.ndim) > x.ndim:
        return NotImplemented
    y = gpu.empty(x.shape, x.dtype)
    shape = (*x.shape[:-1], half)
    where, _ = layout(shape, y.steps, x.steps, spread(cos, shape), spread(sin, shape))
    n = x.size // 2
    gpu.each("attention", f"rotary<{c_name(x.dtype)}>", n, y, x, cos, sin, half, x.steps[-1], where, n)
    return y
