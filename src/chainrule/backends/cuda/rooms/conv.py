"""The convolution room on a GPU."""

from __future__ import annotations

import struct
from typing import Any

from ..array import DeviceArray
from ..gpu import Gpu
from ..sources import ALL, NAMES, c_name, declare
from . import Kernels

KERNELS = Kernels()

declare("conv", *(f"unwindow<{NAMES[d]}>" for d in ALL))


@KERNELS("unwindow")
def unwindow(gpu: Gpu, x: DeviceArray, *, shape: Any, stride: Any, dilation: Any) -> Any:
    y = gpu.empty(tuple(shape), x.dtype)
    packed = struct.pack("16q", *shape[2:], *x.shape[2:], *stride, *dilation, *x.steps)
    gpu.each("conv", f"unwindow<{c_name(x.dtype)}>", y.size, y, x, packed, shape[1], y.size)
    return y
