"""Pooling in ONNX, over any number of axes."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, prod
from typing import Any

import numpy as np

from ... import ops
from ...domain.errors import ArgumentError, NotSupportedError
from .conv import margins, one
from .operators import constant, operator

LARGE = 256  # elements of a window: above that, one axis after the other is quicker
MOST_PLACES = 1 << 28  # of the windows along one axis
MAX = {1: ops.max_pool1d_with_indices, 2: ops.max_pool2d_with_indices}


def windows(x: Any, axis: int, k: int, s: int, d: int, ends: tuple[int, int], ceil: bool) -> tuple[Any, Any]:
    """Where the elements of each window along an axis lie, (windows, k), and which of them are in the tensor."""
    before, after = ends
    span = x.shape[axis] + before + after - (k - 1) * d - 1
    n = (-(-span // s) if ceil else span // s) + 1
    if ceil and (n - 1) * s >= x.shape[axis] + before:
        n -= 1  # a window that begins after the end
    if n < 1 or n * k > MOST_PLACES:
        raise ArgumentError(
            f"{n} windows of {k} along the axis {axis} of {x.shape}, expected 1 to {MOST_PLACES} elements"
        )
    places = np.arange(n)[:, None] * s + np.arange(k)[None] * d - before
    return places, (places >= 0) & (places < x.shape[axis])


def along(x: Any, axis: int, places: Any, inside: Any, outside: float, reduce: Callable[..., Any]) -> Any:
    """The windows along one axis, each reduced to one element."""
    chosen = x[(*(slice(None),) * axis, constant(np.where(inside, places, 0).reshape(-1), x))]
    chosen = chosen.reshape(*x.shape[:axis], *places.shape, *x.shape[axis + 1 :])
    if not inside.all():
        shape = [1] * (x.ndim + 1)
        shape[axis : axis + 2] = places.shape
        filling = constant(outside if x.is_floating else (0 if x.dtype == "uint8" else -128), x, x.dtype)
        chosen = ops.where(constant(inside.reshape(shape), x), chosen, filling)
    return reduce(chosen, axis=axis + 1)


def laid_out(x: Any, kernel_shape: Any, strides: Any, dilations: Any, pads: Any, auto_pad: str) -> tuple[Any, Any, Any]:
    """Strides, dilations and margins of each axis."""
    n = x.ndim - 2
    strides, dilations = strides or [1] * n, dilations or [1] * n
    for name, sizes in (("kernel_shape", kernel_shape), ("strides", strides), ("dilations", dilations)):
        if len(sizes) != n or min(sizes) < 1:
            raise ArgumentError(f"{name} is {[*sizes]}, expected {n} sizes from 1 on for x of shape {x.shape}")
    return strides, dilations, margins(x.shape[2:], kernel_shape, strides, dilations, pads, auto_pad)


@operator("MaxPool")
def max_pool(
    x: Any, *, kernel_shape: Any, auto_pad: str = "NOTSET", ceil_mode: int = 0, dilations: Any = None, pads: Any = None,
    storage_order: int = 0, strides: Any = None, outputs: int,
) -> Any:  # fmt: skip
    """The largest of each window; if asked for, also where it is in the whole tensor."""
    strides, dilations, ends = laid_out(x, kernel_shape, strides, dilations, pads, auto_pad)
    n = x.ndim - 2
    even = all(b == a and 2 * b <= k for (b, a), k in zip(ends, kernel_shape, strict=True))
    if n in MAX and even and x.is_floating and (outputs > 1 or prod(kernel_shape) <= LARGE):
        both = [before for before, _ in ends]
        y, places = MAX[n](
            x, kernel_size=one(kernel_shape), stride=one(strides), padding=one(both), dilation=one(dilations),
            ceil_mode=bool(ceil_mode),
        )  # fmt: skip
        if outputs < 2:
            return y
        size = prod(x.shape[2:])
        if storage_order and n == 2:
            h, w = x.shape[2:]
            places = ops.remainder(places, w) * h + ops.floor_div(places, w)
        first = np.arange(prod(x.shape[:2])).reshape(*x.shape[:2], *[1] * n) * size
        return y, places + constant(first, x)
    if outputs > 1:
        raise NotSupportedError("MaxPool with indices, over three axes or with uneven margins")
    for i, both in enumerate(ends):
        found = windows(x, i + 2, kernel_shape[i], strides[i], dilations[i], both, bool(ceil_mode))
        x = along(x, i + 2, *found, -inf, ops.amax)
    return x


@operator("AveragePool")
def average_pool(
    x: Any, *, kernel_shape: Any, auto_pad: str = "NOTSET", ceil_mode: int = 0, count_include_pad: int = 0,
    dilations: Any = None, pads: Any = None, strides: Any = None,
) -> Any:  # fmt: skip
    """The mean of each window: of what is in the tensor, or in its margins too."""
    strides, dilations, ends = laid_out(x, kernel_shape, strides, dilations, pads, auto_pad)
    if x.ndim == 4 and not ceil_mode and all(b == a and 2 * b <= k for (b, a), k in zip(ends, kernel_shape, strict=True)) and (
        [*dilations] == [1, 1]
    ):  # fmt: skip
        both = tuple(before for before, _ in ends)
        return ops.avg_pool2d(
            x, kernel_size=tuple(kernel_shape), stride=tuple(strides), padding=both,
            count_include_pad=bool(count_include_pad),
        )  # fmt: skip
    for i, (before, after) in enumerate(ends):
        size = x.shape[i + 2]
        places, inside = windows(x, i + 2, kernel_shape[i], strides[i], dilations[i], (before, after), bool(ceil_mode))
        counted = (places >= -before) & (places < size + after) if count_include_pad else inside
        shape = [1] * x.ndim
        shape[i + 2] = len(places)
        x = along(x, i + 2, places, inside, 0.0, ops.sum) / constant(counted.sum(1).reshape(shape), x, x.dtype)
    return x


@operator("LpPool")
def lp_pool(
    x: Any, *, kernel_shape: Any, auto_pad: str = "NOTSET", ceil_mode: int = 0, dilations: Any = None, p: int = 2,
    pads: Any = None, strides: Any = None,
) -> Any:  # fmt: skip
    """The p-norm of each window."""
    strides, dilations, ends = laid_out(x, kernel_shape, strides, dilations, pads, auto_pad)
    y = ops.pow(ops.abs(x), float(p))
    for i, both in enumerate(ends):
        found = windows(y, i + 2, kernel_shape[i], strides[i], dilations[i], both, bool(ceil_mode))
        y = along(y, i + 2, *found, 0.0, ops.sum)
    return ops.pow(y, 1.0 / p)


def everywhere(x: Any) -> tuple[int, ...]:
    """The axes after batch and channels."""
    return tuple(range(2, x.ndim))


@operator("GlobalAveragePool")
def global_average_pool(x: Any) -> Any:
    """The mean of each channel."""
    return ops.mean(x, axis=everywhere(x), keepdims=True)


@operator("GlobalMaxPool")
def global_max_pool(x: Any) -> Any:
    """The largest of each channel."""
    return ops.amax(x, axis=everywhere(x), keepdims=True)


@operator("GlobalLpPool")
def global_lp_pool(x: Any, *, p: int = 2) -> Any:
    """The p-norm of each channel."""
    return ops.pow(ops.sum(ops.pow(ops.abs(x), float(p)), axis=everywhere(x), keepdims=True), 1.0 / p)


@operator("MaxUnpool")
def max_unpool(
    x: Any, places: Any, shape: Any = None, *, kernel_shape: Any, pads: Any = None, strides: Any = None
) -> Any:
    """Zeros, but for the elements that a MaxPool chose, where it found them."""
    n = x.ndim - 2
    strides, pads = strides or [1] * n, pads or [0] * 2 * n
    made = [
        (m - 1) * s + k - pads[i] - pads[i + n]
        for i, (m, s, k) in enumerate(zip(x.shape[2:], strides, kernel_shape, strict=True))
    ]
    small = (*x.shape[:2], *made)
    full = small if shape is None else tuple(int(v) for v in shape.numpy().tolist())
    coordinates = np.unravel_index(places.numpy().reshape(-1), small if prod(small) > places.numpy().max() else full)
    flat = np.ravel_multi_index(coordinates, full)
    zeros = ops.expand(constant(0.0, x, x.dtype), shape=(prod(full),))
    return ops.scatter_add(zeros, constant(flat, x), x.reshape(-1), axis=0).reshape(full)
