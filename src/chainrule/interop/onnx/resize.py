"""Resize of ONNX: along each axis, every new element is a weighted sum of old ones."""

from __future__ import annotations

from math import ceil, floor
from typing import Any

import numpy as np

from ... import ops
from ...domain.errors import ArgumentError, NotSupportedError
from .operators import axes_in, constant, integers, operator, sized


def origins(n: int, size: int, scale: float, how: str, roi: tuple[float, float]) -> Any:
    """Where in the old axis (of ``size``) each of ``n`` new elements comes from."""
    i = np.arange(n, dtype=np.float64)
    if how == "half_pixel":
        return (i + 0.5) / scale - 0.5
    if how == "half_pixel_symmetric":
        exact = scale * size
        centre = size / 2 * (1 - n / exact)
        return centre + (i + 0.5) / scale - 0.5
    if how == "pytorch_half_pixel":
        return (i + 0.5) / scale - 0.5 if n > 1 else i * 0.0
    if how == "align_corners":
        exact = scale * size
        return i * (size - 1) / (exact - 1) if exact > 1 else i * 0.0
    if how == "asymmetric":
        return i / scale
    if how == "tf_half_pixel_for_nn":
        return (i + 0.5) / scale
    if how == "tf_crop_and_resize":
        begin, end = roi
        if n == 1:
            return i + 0.5 * (begin + end) * (size - 1)
        return begin * (size - 1) + i * (end - begin) * (size - 1) / (n - 1)
    raise NotSupportedError(f"Resize with the coordinate_transformation_mode {how!r}")


def nearest(x: Any, how: str) -> Any:
    """Rounded as the nearest_mode says."""
    if how == "round_prefer_floor":
        return np.ceil(x - 0.5)
    if how == "round_prefer_ceil":
        return np.floor(x + 0.5)
    if how in ("floor", "ceil"):
        return np.floor(x) if how == "floor" else np.ceil(x)
    raise NotSupportedError(f"Resize with the nearest_mode {how!r}")


def cubic(t: Any, a: float) -> Any:
    """The cubic filter of Keys (1981)."""
    t = np.abs(t)
    near = ((a + 2) * t - (a + 3)) * t * t + 1
    far = ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
    return np.where(t <= 1, near, np.where(t < 2, far, 0.0))


def weights(
    n: int, size: int, scale: float, at: Any, mode: str, a: float, antialias: bool, exclude_outside: bool
) -> Any:
    """The matrix, (n, size), from old elements to new ones."""
    stretch = max(1.0 / scale, 1.0) if antialias else 1.0
    reach = stretch * (2 if mode == "cubic" else 1)
    matrix = np.zeros((n, size))
    for i, x in enumerate(at):
        if x == floor(x):
            places = np.arange(
                int(x - reach) if reach == int(reach) else floor(x - reach) + 1, int(x + ceil(reach)) + 1
            )
        else:
            places = np.arange(floor(x - reach) + 1, ceil(x + reach))
        t = (places - x) / stretch
        share = cubic(t, a) if mode == "cubic" else np.maximum(1 - np.abs(t), 0.0)
        if exclude_outside:
            share = share * ((places >= 0) & (places < size))
        if antialias or exclude_outside:
            share = share / share.sum()
        np.add.at(matrix[i], np.clip(places, 0, size - 1), share)
    return matrix


@operator("Resize")
def resize(
    x: Any, roi: Any = None, scales: Any = None, sizes: Any = None, *, antialias: int = 0, axes: Any = None,
    coordinate_transformation_mode: str | None = None, cubic_coeff_a: float = -0.75, exclude_outside: int = 0,
    extrapolation_value: float = 0.0, keep_aspect_ratio_policy: str = "stretch", mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor", opset: int,
) -> Any:  # fmt: skip
    """Other sizes, by factors or as given."""
    if opset < 11:
        roi, scales, coordinate_transformation_mode, nearest_mode = None, roi, "asymmetric", "floor"
    how = coordinate_transformation_mode or "half_pixel"
    chosen = axes_in(x, range(x.ndim) if axes is None else axes)
    old = [x.shape[i] for i in chosen]
    if sizes is not None and sizes.size:
        new = integers(sizes)
        factors = [n / m for n, m in zip(new, old, strict=True)]
        if keep_aspect_ratio_policy != "stretch":
            factor = min(factors) if keep_aspect_ratio_policy == "not_larger" else max(factors)
            factors = [factor] * len(old)
            new = [floor(factor * m + 0.5) for m in old]
    elif scales is not None and scales.size:
        factors = [float(f) for f in scales.numpy().astype("float64")]
        new = [floor(m * f) for m, f in zip(old, factors, strict=True)]
    else:
        raise ArgumentError("Resize without scales and sizes; expected one of them")
    sized(new)
    regions = [0.0] * len(old) + [1.0] * len(old) if roi is None or not roi.size else [float(v) for v in roi.numpy()]
    outside = []
    for i, axis in enumerate(chosen):
        n, m, f = new[i], old[i], factors[i]
        if n == m and f == 1.0 and how != "tf_crop_and_resize":
            continue
        at = origins(n, m, f, how, (regions[i], regions[i + len(old)]))
        if mode == "nearest":
            places = np.clip(nearest(at, nearest_mode), 0, m - 1).astype(np.int64)
            x = x[(*(slice(None),) * axis, constant(places, x))]
        else:
            matrix = weights(n, m, f, at, mode, cubic_coeff_a, bool(antialias), bool(exclude_outside))
            turned = [*range(x.ndim)]
            turned[axis], turned[-1] = turned[-1], axis
            product = ops.matmul(ops.permute(x, axes=tuple(turned)), constant(matrix.T, x, x.dtype))
            x = ops.permute(product, axes=tuple(turned))
        if how == "tf_crop_and_resize":
            outside.append((axis, (at < 0) | (at > m - 1)))
    for axis, mask in outside:
        shape = [1] * x.ndim
        shape[axis] = len(mask)
        x = ops.where(constant(mask.reshape(shape), x), extrapolation_value, x)
    return x


@operator("Upsample")
def upsample(x: Any, scales: Any = None, *, mode: str = "nearest", scales_: Any = None) -> Any:
    """What Resize was before opset 10."""
    given = constant([*scales_], x, "float32") if scales is None else scales
    return resize(x, given, mode=mode, opset=10)
