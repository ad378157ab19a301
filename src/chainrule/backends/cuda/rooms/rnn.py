"""The recurrent room on a GPU: a product and a cell for each step, and one product each for what all steps share."""

from __future__ import annotations

import struct
from functools import partial
from typing import Any

from ..array import DeviceArray
from ..gpu import Gpu, copied, copy_into
from ..sources import NAMES, c_name, declare
from . import Kernels
from .elementwise import binary
from .gemm import flipped, multiplied, rows
from .memory import cast, filled
from .reduce import total

KERNELS = Kernels()
BLOCKS = {"rnn": 1, "gru": 3, "lstm": 4}  # of the weights
DTYPES = ("float32", "float64")  # 16-bit floats are float32 throughout, and rounded once

declare(
    "rnn", *(f"{kernel}<{NAMES[d]}, {kind}>" for kernel in ("cell", "cell_back") for d in DTYPES for kind in BLOCKS)
)


def widened(gpu: Gpu, *arrays: Any) -> list[Any]:
    """Dense arrays, 16-bit floats as float32."""
    found = [x if x is None or x.itemsize > 2 else cast(gpu, x, dtype="float32") for x in arrays]
    return [None if x is None else gpu.dense(x) for x in found]


def narrowed(gpu: Gpu, dtype: Any, *arrays: Any) -> tuple[Any, ...]:
    """Arrays in a dtype."""
    return tuple(x if x is None or x.dtype == dtype else cast(gpu, x, dtype=dtype.name) for x in arrays)


def at(x: DeviceArray, t: int, count: int = 1) -> DeviceArray:
    """Some steps of (steps, batch, n), as rows."""
    _, batch, n = x.shape
    return x.view((count * batch, n), x.strides[1:], t * x.strides[0])


def order(steps: int, reverse: bool) -> list[tuple[int, int]]:
    """The steps in their order, each with the one before it, -1 for none."""
    numbers = [*range(steps)][:: -1 if reverse else 1]
    return [*zip(numbers, [-1, *numbers], strict=False)]


def forward(
    gpu: Gpu, x: DeviceArray, wi: DeviceArray, wh: DeviceArray, bi: Any, bh: Any, h0: Any, c0: Any, mask: Any, *,
    kind: str, relu: bool, reverse: bool,
) -> Any:  # fmt: skip
    """The outputs of all steps and the last states; and what the gradient needs."""
    if not x.size or not wh.size or x.dtype.kind not in "fV" or any(
        a is not None and a.dtype != x.dtype for a in (wi, wh, bi, bh, h0, c0, mask)
    ):  # fmt: skip
        return NotImplemented
    narrow, (steps, batch, _), h = x.dtype, x.shape, wh.shape[1]
    x, wi, wh, bi, bh, h0, c0, mask = widened(gpu, x, wi, wh, bi, bh, h0, c0, mask)
    dtype, is_lstm = x.dtype, kind == "lstm"
    sums = multiplied(gpu, rows(gpu, x), flipped(wi), bi)
    gates = gpu.empty((steps, batch, 4 * h), dtype) if kind == "gru" else sums.view((steps, batch, sums.shape[1]), (
        batch * sums.strides[0], *sums.strides))  # fmt: skip
    y = states = gpu.empty((steps, batch, h), dtype)
    if mask is not None:
        y = gpu.empty(states.shape, dtype)
    cells = gpu.empty((steps, batch, h), dtype) if is_lstm else None
    name, weights = f"cell<{c_name(dtype)}, {kind}>", flipped(wh)
    for t, before in order(steps, reverse):
        old = h0 if before < 0 else at(states, before)
        product = None if old is None else multiplied(gpu, old, weights)
        step = struct.pack("5q", t, before, batch, h, int(relu))
        gpu.each("rnn", name, batch * h, gates, states, cells, y, sums, product, bh, h0, c0, mask, step, writes=4)
    end = 0 if reverse else steps - 1
    last = [copied(gpu, at(s, end)) for s in (states, cells) if s is not None]
    return narrowed(gpu, narrow, y, *last), (x, wi, wh, h0, c0, gates, states, cells, mask)


def flowing(gpu: Gpu, g: Any, like: DeviceArray) -> DeviceArray:
    """A state's gradient on its way back through time; at its end, that of the last state."""
    d = gpu.empty(like.shape[1:], like.dtype)
    if g is None:
        return filled(gpu, d, 0)
    copy_into(gpu, d, g)
    return d


def backward(
    gpu: Gpu, gy: Any, gh: Any, gc: Any, x: DeviceArray, wi: DeviceArray, wh: DeviceArray, h0: Any, c0: Any,
    gates: DeviceArray, states: DeviceArray, cells: Any, mask: Any, *, needs: Any, kind: str, relu: bool, reverse: bool,
) -> Any:  # fmt: skip
    """The gradients of x, the weights, the biases and the states."""
    narrow = next(g.dtype for g in (gy, gh, gc) if g is not None)
    gy, gh, gc = widened(gpu, gy, gh, gc)
    (steps, batch, h), dtype, is_lstm = states.shape, x.dtype, kind == "lstm"
    width = BLOCKS[kind] * h
    dstate, dcell = flowing(gpu, gh, states), flowing(gpu, gc, states) if is_lstm else None
    dsums = gpu.empty((steps, batch, width), dtype)
    dproduct = gpu.empty(dsums.shape, dtype) if kind == "gru" else dsums
    name, product, following = f"cell_back<{c_name(dtype)}, {kind}>", None, order(steps, reverse)
    for t, before in reversed(following):
        step = struct.pack("5q", t, before, batch, h, int(relu))
        gpu.each("rnn", name, batch * h, dstate, dcell, dsums, dproduct, gy, product, gates, states, cells, h0, c0, mask, step,
                 writes=4)  # fmt: skip
        product = multiplied(gpu, at(dproduct, t), wh) if before >= 0 or needs[5] else None
    flat, of_state = rows(gpu, dsums), rows(gpu, dproduct)
    gx = gwi = gwh = gbi = gbh = None
    if needs[0]:
        gx = multiplied(gpu, flat, wi)
        gx = DeviceArray(gpu, gx.memory, x.shape, dtype)
    if needs[1]:
        gwi = multiplied(gpu, flipped(flat), rows(gpu, x))
    if needs[2]:
        gwh = recurrent(gpu, dproduct, states, h0, reverse)
    if needs[3]:
        gbi = total(gpu, flat, op="Sum", axis=(0,))
    if needs[4]:
        gbh = total(gpu, of_state, op="Sum", axis=(0,))
    gh0 = binary(gpu, dstate, product, name="add") if needs[5] else None
    found = narrowed(gpu, narrow, gx, gwi, gwh, gbi, gbh, gh0)
    return (*found, *narrowed(gpu, narrow, dcell if needs[6] else None), None) if is_lstm else (*found, None)


def recurrent(gpu: Gpu, d: DeviceArray, states: DeviceArray, h0: Any, reverse: bool) -> DeviceArray:
    """The gradient of the recurrent weights: of each step's sums with the state before it."""
    steps, batch, h = states.shape
    first, later = (steps - 1, 0) if reverse else (0, 1)
    if h0 is None:  # of the first step there is none
        return multiplied(gpu, flipped(at(d, later, steps - 1)), at(states, int(reverse), steps - 1))
    before = gpu.empty(states.shape, states.dtype)
    copy_into(gpu, at(before, first), h0)
    copy_into(gpu, at(before, later, steps - 1), at(states, int(reverse), steps - 1))
    return multiplied(gpu, flipped(rows(gpu, d)), rows(gpu, before))


@KERNELS("rnn")
def rnn(
    gpu: Gpu, x: Any, wi: Any, wh: Any, bi: Any, bh: Any, h0: Any, mask: Any, *, nonlinearity: str, reverse: bool
) -> Any:
    relu = nonlinearity == "relu"
    return forward(gpu, x, wi, wh, bi, bh, h0, None, mask, kind="rnn", relu=relu, reverse=reverse)


@KERNELS("rnn_vjp")
def rnn_vjp(gpu: Gpu, gy: Any, gh: Any, *saved: Any, needs: Any, nonlinearity: str, reverse: bool) -> Any:
    relu = nonlinearity == "relu"
    return backward(gpu, gy, gh, None, *saved, needs=needs, kind="rnn", relu=relu, reverse=reverse)


@KERNELS("gru")
def gru(
    gpu: Gpu, x: Any, wi: Any, wh: Any, bi: Any, bh: Any, h0: Any, mask: Any, *, reset_after: bool, reverse: bool
) -> Any:
    if not reset_after:
        return NotImplemented
    return forward(gpu, x, wi, wh, bi, bh, h0, None, mask, kind="gru", relu=False, reverse=reverse)


@KERNELS("gru_vjp")
def gru_vjp(gpu: Gpu, gy: Any, gh: Any, *saved: Any, needs: Any, reset_after: bool, reverse: bool) -> Any:
    return backward(gpu, gy, gh, None, *saved, needs=needs, kind="gru", relu=False, reverse=reverse)


KERNELS["lstm"] = partial(forward, kind="lstm", relu=False)
KERNELS["lstm_vjp"] = partial(backward, kind="lstm", relu=False)
