"""The CTC room on a GPU: a block for each sequence, which goes through time."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from ..array import DeviceArray
from ..gpu import Gpu
from ..sources import FLOATS, NAMES, c_name, declare
from . import Kernels
from .index import whole
from .memory import filled

KERNELS = Kernels()
FLOAT64 = np.dtype(np.float64)

declare("ctc", *(f"{kernel}<{NAMES[d]}>" for kernel in ("forward", "reduced", "backward") for d in FLOATS))


def sizes(x: DeviceArray, target: DeviceArray, blank: int) -> tuple[bytes, int]:
    """The sizes of a call for the kernels, and how many threads a sequence has."""
    states = 2 * target.shape[1] + 1
    return struct.pack("8q", *x.shape, target.shape[1], blank, *x.steps), min(-(-states // 32) * 32, 256)


@KERNELS("ctc")
def ctc(
    gpu: Gpu, x: DeviceArray, target: DeviceArray, input_lengths: DeviceArray, target_lengths: DeviceArray, *,
    blank: int = 0, reduction: str = "mean", zero_infinity: bool = False,
) -> Any:  # fmt: skip
    if x.dtype.name not in FLOATS or not x.size:
        return NotImplemented
    target, times, lengths = (gpu.dense(whole(gpu, a)) for a in (target, input_lengths, target_lengths))
    time, n, _ = x.shape
    losses, ways = gpu.empty((n,), FLOAT64), gpu.empty((n, time, 2 * target.shape[1] + 1), FLOAT64)
    (packed, threads), name = sizes(x, target, blank), c_name(x.dtype)
    gpu.launch("ctc", f"forward<{name}>", n, threads, losses, ways, x, target, times, lengths, packed, writes=2)
    each = reduction == "none"
    y = gpu.empty((n,) if each else (), x.dtype)
    gpu.each(
        "ctc",
        f"reduced<{name}>",
        y.size,
        y,
        losses,
        lengths,
        int(each),
        int(reduction == "mean"),
        int(zero_infinity),
        n,
    )
    return y, (x, target, times, lengths, losses, ways)


@KERNELS("ctc_vjp")
def ctc_vjp(
    gpu: Gpu, g: DeviceArray, x: DeviceArray, target: DeviceArray, times: DeviceArray, lengths: DeviceArray,
    losses: DeviceArray, ways: DeviceArray, *, needs: Any, blank: int, reduction: str, **_: Any,
) -> Any:  # fmt: skip
    if not needs[0]:
        return None, None, None, None
    n, (packed, threads), each = x.shape[1], sizes(x, target, blank), reduction == "none"
    to = filled(gpu, gpu.empty(x.shape, x.dtype), 0)
    behind, share = gpu.empty((n, 2, ways.shape[2]), FLOAT64), gpu.empty((n, ways.shape[2]), FLOAT64)
    gpu.launch("ctc", f"backward<{c_name(x.dtype)}>", n, threads, to, behind, share, gpu.dense(g), x, losses, ways, target,
               times, lengths, int(each), int(reduction == "mean"), packed, writes=3)  # fmt: skip
    return to, None, None, None
