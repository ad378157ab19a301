"""The matrix-product room on a GPU."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np

from ....domain.errors import ShapeError
from ..array import DeviceArray
from ..gpu import Gpu, layout, spread
from ..sources import ALL, NAMES, c_name, declare
from . import Kernels
from .memory import filled

KERNELS = Kernels()
TILE = 64

declare("gemm", *(f"product<{NAMES[d]}>" for d in ALL))


@KERNELS("matmul")
def matmul(gpu: Gpu, a: DeviceArray, b: DeviceArray) -> Any:
    (m, k), n = a.shape[-2:], b.shape[-1]
    try:
        batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        raise ShapeError(f"[matmul] the batches of a, {a.shape}, and b, {b.shape}, do not broadcast") from None
    y = gpu.empty((*batch, m, n), a.dtype)
    if not k:
        return filled(gpu, y, 0)
    if y.size:
        steps = [spread(x.view(x.shape[:-2], x.strides[:-2]), batch) for x in (a, b)]
        product = struct.pack("7q", m, n, k, *a.steps[-2:], *b.steps[-2:])
        blocks = (-(-n // TILE), -(-m // TILE), math.prod(batch))
        gpu.launch("gemm", f"product<{c_name(a.dtype)}>", blocks, 256, y, a, b, product, layout(batch, *steps)[0])
    return y
