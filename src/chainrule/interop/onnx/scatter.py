"""The operators of ONNX that write at places."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from ... import ops
from ...domain.errors import NotSupportedError
from .index import counted_from_first, flat_places
from .operators import axes_in, constant, integers, operator

COMBINED: dict[str, Callable[[Any, Any], Any]] = {
    "add": ops.add,
    "mul": ops.mul,
    "max": ops.maximum,
    "min": ops.minimum,
}


def written(rows: Any, places: Any, values: Any, reduction: str) -> Any:
    """``rows`` with those at ``places`` (a NumPy vector) replaced by values, or combined with them, each in its turn."""
    if reduction == "none":
        last = {int(place): i for i, place in enumerate(places)}  # of several, the last stays
        if len(last) < len(places):
            places, values = np.array([*last]), values[constant(np.array([*last.values()]), rows)]
        y = ops.clone(rows)
        y[constant(places, rows)] = values
        return y
    if reduction not in COMBINED:
        raise NotSupportedError(f"a reduction of {reduction!r} when scattering; expected none or {', '.join(COMBINED)}")
    order = np.argsort(places, kind="stable")
    firsts = np.maximum.accumulate(np.where(np.diff(places[order], prepend=-1) != 0, np.arange(len(places)), 0))
    turn = np.empty(len(places), np.int64)
    turn[order] = np.arange(len(places)) - firsts
    y = rows
    for t in range(int(turn.max(initial=-1)) + 1):
        now = np.flatnonzero(turn == t)
        at = constant(places[now], rows)
        combined = COMBINED[reduction](y[at], values[constant(now, rows)])
        y = ops.clone(y)
        y[at] = combined
    return y


@operator("ScatterElements", "Scatter")
def scatter_elements(x: Any, indices: Any, updates: Any, *, axis: int = 0, reduction: str = "none") -> Any:
    """A copy with an element written for each place of the indices."""
    (axis,) = axes_in(x, axis)
    grid = np.indices(indices.shape)
    grid[axis] = counted_from_first(indices, x.shape[axis]).numpy()
    strides = [prod(x.shape[i + 1 :]) for i in range(x.ndim)]
    places = sum(g * s for g, s in zip(grid, strides, strict=True)).reshape(-1)
    return written(x.reshape(-1), places, updates.reshape(-1), reduction).reshape(x.shape)


@operator("ScatterND")
def scatter_nd(x: Any, indices: Any, updates: Any, *, reduction: str = "none") -> Any:
    """A copy with slices written at coordinates."""
    k = indices.shape[-1]
    places = flat_places(indices, x.shape[:k]).reshape(-1)
    rest = x.shape[k:]
    rows = x.reshape(prod(x.shape[:k]), *rest)
    return written(rows, places, updates.reshape(len(places), *rest), reduction).reshape(x.shape)


@operator("TensorScatter")
def tensor_scatter(past: Any, update: Any, first: Any = None, *, axis: int = -2, mode: str = "linear") -> Any:
    """A cache with new steps written along an axis, from a place of its own for each sample; round, if circular."""
    (axis,) = axes_in(past, axis)
    n, steps = past.shape[axis], update.shape[axis]
    starts = [0] * past.shape[0] if first is None else integers(first)
    rows = []
    for sample, start in enumerate(starts):
        places = start + np.arange(steps)
        row = ops.clone(past[sample])
        key = (*(slice(None),) * (axis - 1), constant(places % n if mode == "circular" else places, past))
        row[key] = update[sample]
        rows.append(row)
    return ops.stack(*rows, axis=0)
