"""Sampling of pictures at any places, in ONNX."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from ... import ops
from ...domain.errors import NotSupportedError
from .operators import constant, integers, operator


def unnormalized(g: Any, size: int, align_corners: int) -> Any:
    """From [-1, 1] to places of elements."""
    return (g + 1) * ((size - 1) / 2) if align_corners else ((g + 1) * size - 1) * 0.5


def reflected(g: Any, low: float, high: float) -> Any:
    """Mirrored at both ends until it lies between."""
    span = high - low
    if span == 0:
        return g * 0 + low
    away = ops.abs(g - low)
    rest = ops.remainder(away, 2 * span)
    return low + ops.where(rest > span, 2 * span - rest, rest)


def keys(t: Any) -> tuple[Any, Any, Any, Any]:
    """The weights of four neighbours of a cubic filter with a = -0.75."""
    a = -0.75

    def far(s: Any) -> Any:
        return ((a * s - 5 * a) * s + 8 * a) * s - 4 * a

    def near(s: Any) -> Any:
        return ((a + 2) * s - (a + 3)) * s * s + 1

    return far(t + 1), near(t), near(1 - t), far(2 - t)


@operator("GridSample")
def grid_sample(x: Any, grid: Any, *, align_corners: int = 0, mode: str = "linear", padding_mode: str = "zeros") -> Any:
    """The values of x at the places of the grid, which gives the last axis first."""
    mode = {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode)
    if mode not in ("linear", "nearest", "cubic"):
        raise NotSupportedError(f"GridSample with the mode {mode!r}")
    sizes, n = x.shape[2:], x.ndim - 2
    where = [unnormalized(grid[..., n - 1 - i], size, align_corners) for i, size in enumerate(sizes)]
    if mode == "linear" and padding_mode != "zeros":
        where = [bounded(w, size, padding_mode, align_corners) for w, size in zip(where, sizes, strict=True)]
    if mode == "nearest":
        taps = [[(ops.round(w), None)] for w in where]
    else:
        taps = []
        for w in where:
            first = ops.floor(w).detach()
            t = w - first
            if mode == "linear":
                taps.append([(first, 1 - t), (first + 1, t)])
            else:
                taps.append([*zip((first - 1, first, first + 1, first + 2), keys(t), strict=True)])
    rows = ops.permute(x, axes=(0, *range(2, x.ndim), 1))  # channels last
    batch = constant(np.arange(x.shape[0]).reshape(-1, *[1] * (grid.ndim - 2)), x)
    y: Any = 0.0
    for corner in product(*taps):
        weight: Any = 1.0
        key = [batch]
        for (place, share), size in zip(corner, sizes, strict=True):
            if padding_mode == "zeros":
                inside = ops.logical_and(place >= 0, place <= size - 1)
                weight = weight * inside.to(dtype=x.dtype)
            else:
                place = bounded(place, size, padding_mode, align_corners)
            key.append(ops.clip(ops.round(place.detach()), min=0.0, max=size - 1.0).to(dtype="int64"))
            weight = weight if share is None else weight * share
        values = rows[tuple(key)]
        y = y + (values if isinstance(weight, float) else values * ops.unsqueeze(weight, axis=-1))
    return ops.permute(y, axes=(0, y.ndim - 1, *range(1, y.ndim - 1)))


def bounded(place: Any, size: int, padding_mode: str, align_corners: int) -> Any:
    """A place inside the axis: the nearest, or mirrored."""
    if padding_mode == "reflection":
        place = reflected(place, 0.0, size - 1.0) if align_corners else reflected(place, -0.5, size - 0.5)
    return ops.clip(place, min=0.0, max=size - 1.0)


@operator("AffineGrid")
def affine_grid(theta: Any, shape: Any, *, align_corners: int = 0) -> Any:
    """The places for GridSample that a linear map gives."""
    sizes = integers(shape)[2:]
    steps = [np.linspace(-1, 1, n) if align_corners else (2 * np.arange(n) + 1) / n - 1 for n in sizes]
    mesh = [*np.meshgrid(*steps, indexing="ij")][::-1]
    points = constant(np.stack([*mesh, np.ones_like(mesh[0])], axis=-1).reshape(-1, len(sizes) + 1), theta, theta.dtype)
    return ops.matmul(points, ops.permute(theta, axes=(0, 2, 1))).reshape(theta.shape[0], *sizes, len(sizes))
