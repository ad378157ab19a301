"""The operators of ONNX that choose elements by their places, and find places."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ... import ops
from ...domain.errors import ArgumentError, IndexRangeError
from .operators import axes_in, constant, integers, operator


def counted_from_first(indices: Any, n: int) -> Any:
    """Indices as int64, those below 0 counted from the end. Errors: IndexRangeError."""
    places = indices.to(dtype="int64")
    values = places.numpy()
    if values.size and (values.min() < -n or values.max() >= n):
        raise IndexRangeError(f"an index of {values.min()} to {values.max()} into an axis of size {n}")
    return ops.where(places < 0, places + n, places) if values.size and values.min() < 0 else places


@operator("Gather")
def gather(x: Any, indices: Any, *, axis: int = 0) -> Any:
    """The slices at places along an axis."""
    (axis,) = axes_in(x, axis)
    places = counted_from_first(indices, x.shape[axis])
    if x.ndim == 2 and axis == 0 and x.is_floating:
        return ops.embedding(places, x)
    return x[(*(slice(None),) * axis, places)]


@operator("GatherElements")
def gather_elements(x: Any, indices: Any, *, axis: int = 0) -> Any:
    """For each place of the result, its element along an axis."""
    (axis,) = axes_in(x, axis)
    return ops.gather(x, counted_from_first(indices, x.shape[axis]), axis=axis)


def flat_places(indices: Any, sizes: tuple[int, ...]) -> Any:
    """Places given by their coordinates (the last axis) as numbers of rows."""
    coordinates = indices.to(dtype="int64").numpy()
    limits = np.array(sizes, dtype=np.int64)
    if coordinates.size and ((coordinates < -limits) | (coordinates >= limits)).any():
        raise IndexRangeError(f"indices outside a tensor of shape {sizes}")
    coordinates = np.where(coordinates < 0, coordinates + limits, coordinates)
    strides = np.array([prod(sizes[i + 1 :]) for i in range(len(sizes))], dtype=np.int64)
    return coordinates @ strides


@operator("GatherND")
def gather_nd(x: Any, indices: Any, *, batch_dims: int = 0) -> Any:
    """The slices at coordinates, which are the last axis of the indices."""
    k, b = indices.shape[-1], batch_dims
    if b + k > x.ndim:
        raise ArgumentError(f"GatherND: indices of shape {indices.shape} into shape {x.shape}, {b} of batch")
    batch, inside = prod(x.shape[:b]), x.shape[b : b + k]
    places = flat_places(indices, inside).reshape(batch, -1)
    places = places + np.arange(batch)[:, None] * prod(inside)
    rows = x.reshape(batch * prod(inside), *x.shape[b + k :])
    return rows[constant(places.reshape(-1), x)].reshape(*indices.shape[:-1], *x.shape[b + k :])


@operator("TopK")
def topk(x: Any, k: Any = None, *, axis: int = -1, largest: int = 1, sorted_: int = 1, k_: int | None = None) -> Any:
    """The largest or smallest elements along an axis, and where they are; the earlier first of equal ones."""
    (axis,) = axes_in(x, axis)
    n = k_ if k is None else integers(k)[0]
    return ops.topk(x, k=n, axis=axis, largest=bool(largest))


@operator("NonZero")
def nonzero(x: Any) -> Any:
    """The places of the elements that are not 0, one row for each axis."""
    return ops.permute(ops.nonzero(x), axes=(1, 0))


@operator("Compress")
def compress(x: Any, condition: Any, *, axis: int | None = None) -> Any:
    """The slices where the condition is true."""
    if axis is None:
        x, axis = x.reshape(-1), 0
    (axis,) = axes_in(x, axis)
    return x[(*(slice(None),) * axis, constant(np.flatnonzero(condition.numpy()), x))]


@operator("OneHot")
def one_hot(indices: Any, depth: Any, values: Any, *, axis: int = -1) -> Any:
    """The second value at the index along a new axis, else the first."""
    n = integers(depth)[0]
    places = indices.to(dtype="int64")
    places = ops.unsqueeze(ops.where(places < 0, places + n, places), axis=axis)
    (axis,) = axes_in(places, axis)
    classes = constant(np.arange(n), places).reshape(*(-1 if i == axis else 1 for i in range(places.ndim)))
    return ops.where(ops.eq(places, classes), values[1], values[0])


@operator("Unique")
def unique(x: Any, *, axis: int | None = None, sorted_: int = 1) -> Any:
    """The different elements or slices; where the first of each is, which each is, how often each comes."""
    found = np.unique(x.numpy(), return_index=True, return_inverse=True, return_counts=True, axis=axis)
    values, first, inverse, counts = found[0], found[1], found[2].reshape(-1), found[3]
    if not sorted_:
        order = np.argsort(first)
        ranks = np.argsort(order)
        values = values[order] if axis is None else np.take(values, order, axis)
        first, inverse, counts = first[order], ranks[inverse], counts[order]
    return tuple(constant(np.ascontiguousarray(v), x) for v in (values, first, inverse, counts))


@operator("NonMaxSuppression")
def non_max_suppression(
    boxes: Any, scores: Any, most: Any = None, overlap: Any = None, least: Any = None, *, center_point_box: int = 0
) -> Any:
    """The best boxes of each class that do not overlap too much: (batch, class, box), of int64."""
    limit = 0 if most is None else integers(most)[0]
    too_much = 0.0 if overlap is None else float(overlap.numpy().reshape(-1)[0])
    floor = None if least is None else float(least.numpy().reshape(-1)[0])
    given, points = boxes.numpy().astype(np.float64), scores.numpy()
    if center_point_box:
        centre, half = given[..., :2], given[..., 2:] / 2
        low, high = centre - half, centre + half
    else:
        low, high = np.minimum(given[..., :2], given[..., 2:]), np.maximum(given[..., :2], given[..., 2:])
    chosen = []
    for n in range(points.shape[0]):
        area = (high[n] - low[n]).prod(-1)
        for c in range(points.shape[1]):
            kept: list[int] = []
            for i in np.argsort(-points[n, c], kind="stable"):
                if len(kept) >= limit or (floor is not None and points[n, c, i] <= floor):
                    break
                shared = np.minimum(high[n, i], high[n, kept]) - np.maximum(low[n, i], low[n, kept])
                common = np.maximum(shared, 0).prod(-1)
                if not (common > too_much * (area[i] + area[kept] - common)).any():
                    kept.append(int(i))
            chosen += [(n, c, i) for i in kept]
    return constant(np.array(chosen, dtype=np.int64).reshape(-1, 3), boxes)
