"""The elementwise room on a GPU."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ....domain.errors import ShapeError
from ..array import DeviceArray
from ..gpu import Gpu, layout, spread
from ..sources import FLOATS, NAMES, c_name, declare
from . import Kernels

KERNELS = Kernels()
UNARY = "neg exp".split()
BINARY = "add mul".split()

declare("elementwise", *(f"unary<{name}_f, {NAMES[d]}>" for name in UNARY for d in FLOATS))
declare("elementwise", *(f"binary<{name}_f, {NAMES[d]}, double>" for name in BINARY for d in FLOATS))


def unary(gpu: Gpu, x: DeviceArray, *, name: str) -> Any:
    y = gpu.empty(x.shape, x.dtype)
    packed, _ = layout(x.shape, y.steps, x.steps)
    gpu.each("elementwise", f"unary<{name}_f, {c_name(x.dtype)}>", x.size, y, x, packed, x.size)
    return y


def binary(gpu: Gpu, a: Any, b: Any, *, name: str) -> Any:
    given = [v for v in (a, b) if type(v) is DeviceArray]
    try:
        shape = np.broadcast_shapes(*(v.shape for v in given))
    except ValueError:
        shapes = " and ".join(str(v.shape) for v in given)
        raise ShapeError(
            f"[{name}] shapes {shapes} do not broadcast: from the last axis on, sizes must be equal or 1"
        ) from None
    dtype = given[0].dtype
    y = gpu.empty(shape, dtype)
    none = (0,) * len(shape)
    arrays = [v if type(v) is DeviceArray else None for v in (a, b)]
    numbers = [0.0 if type(v) is DeviceArray else float(v) for v in (a, b)]
    packed, _ = layout(shape, y.steps, *(none if v is None else spread(v, shape) for v in arrays))
    gpu.each("elementwise", f"binary<{name}_f, {c_name(dtype)}, double>", y.size, y, *arrays, *numbers, packed, y.size)
    return y


for _name in UNARY:
    KERNELS[_name] = partial(unary, name=_name)
for _name in BINARY:
    KERNELS[_name] = partial(binary, name=_name)
