"""Arrays put together, turned and picked from, as the array API does it."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from ..domain.errors import ArgumentError, ShapeError
from ..tensor import Tensor
from .dtypes import result_type

__all__ = [
    "astype", "broadcast_arrays", "broadcast_to", "concat", "expand_dims", "flip", "moveaxis", "permute_dims", "repeat",
    "reshape", "roll", "squeeze", "stack", "take", "take_along_axis", "tile", "unstack",
]  # fmt: skip


def astype(x: Tensor, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Any:
    """x in another dtype: a copy, unless ``copy`` is False and it is in that dtype.

    >>> astype(Tensor([1.5, -1.5]), "int32")
    tensor([ 1, -1], dtype=int32)
    """
    return x.to(dtype=dtype, device=device or x.device, copy=copy)


def broadcast_to(x: Tensor, /, shape: Any) -> Any:
    """x, repeated without a copy where an axis has size 1 or is not there."""
    return ops.expand(x, shape=tuple(shape))


def broadcast_arrays(*arrays: Tensor) -> list[Tensor]:
    """All in their common shape."""
    try:
        shape = np.broadcast_shapes(*(x.shape for x in arrays))
    except ValueError as error:
        raise ShapeError(f"[broadcast_arrays] {error}") from None
    return [broadcast_to(x, shape) for x in arrays]


def concat(arrays: Any, /, *, axis: int | None = 0) -> Any:
    """Arrays one after the other along an axis; flat ones if it is None."""
    if axis is None:
        arrays, axis = [x.reshape(-1) for x in arrays], 0
    kind = result_type(*arrays)
    return ops.concat(*(x.to(dtype=kind) for x in arrays), axis=axis)


def stack(arrays: Any, /, *, axis: int = 0) -> Any:
    """Arrays along a new axis."""
    kind = result_type(*arrays)
    return ops.stack(*(x.to(dtype=kind) for x in arrays), axis=axis)


def unstack(x: Tensor, /, *, axis: int = 0) -> tuple[Tensor, ...]:
    """The parts of x along an axis, without it."""
    place = _axis(x, axis)
    return tuple(x[(slice(None),) * place + (i,)] for i in range(x.shape[place]))


def expand_dims(x: Tensor, /, *, axis: int = 0) -> Any:
    """x with an axis of size 1 more. Errors: ShapeError for a place that there is not, an IndexError too."""
    if not -x.ndim - 1 <= axis <= x.ndim:
        raise _NoAxis(f"[expand_dims] axis {axis} of an array of shape {x.shape}")
    return ops.unsqueeze(x, axis=axis)


class _NoAxis(ShapeError, IndexError):
    """As the array API asks for it."""


def _axis(x: Tensor, axis: int) -> int:
    if not -x.ndim <= axis < x.ndim:
        raise _NoAxis(f"axis {axis} of an array of shape {x.shape}")
    return axis % x.ndim


def squeeze(x: Tensor, /, axis: Any) -> Any:
    """x without axes of size 1. Errors: ShapeError (a ValueError) for one of another size."""
    axes = tuple(_axis(x, a) for a in ((axis,) if isinstance(axis, int) else axis))
    wrong = [a for a in axes if x.shape[a] != 1]
    if wrong:
        raise ShapeError(f"[squeeze] axis {wrong[0]} of an array of shape {x.shape} has not size 1")
    return ops.squeeze(x, axis=axes) if axes else ops.clone(x)


def permute_dims(x: Tensor, /, axes: Any) -> Any:
    """x with its axes in another order.

    >>> permute_dims(Tensor([[1.0, 2.0]]), (1, 0)).shape
    (2, 1)
    """
    return ops.permute(x, axes=tuple(axes))


def moveaxis(x: Tensor, source: Any, destination: Any, /) -> Any:
    """x with some axes at other places."""
    given = [[_axis(x, a) for a in ((v,) if isinstance(v, int) else v)] for v in (source, destination)]
    if len(given[0]) != len(given[1]) or any(len({*v}) < len(v) for v in given):
        raise ArgumentError(f"moveaxis got source={source} and destination={destination}: as many axes, each once")
    order = [a for a in range(x.ndim) if a not in given[0]]
    for to, old in sorted(zip(given[1], given[0], strict=True)):
        order.insert(to, old)
    return ops.permute(x, axes=tuple(order))


def reshape(x: Tensor, /, shape: Any, *, copy: bool | None = None) -> Any:
    """x in another shape; ``copy`` forces a copy, or with False forbids it (ArgumentError, a ValueError, if it is needed)."""
    sizes = tuple(shape)
    y = ops.reshape(x, shape=sizes)
    if copy is False and y.size and not np.shares_memory(x.numpy(), y.numpy()):
        raise ArgumentError(f"reshape with copy=False: {x.shape} cannot be seen as {sizes} in this order of the memory")
    return ops.clone(y) if copy else y


def flip(x: Tensor, /, *, axis: Any = None) -> Any:
    """x in reverse along some axes, all if none is named."""
    return ops.flip(x, axis=tuple(range(x.ndim)) if axis is None else axis)


def roll(x: Tensor, /, shift: Any, *, axis: Any = None) -> Any:
    """x with its elements moved on, the last to the front; as if it were flat without an axis."""
    return ops.roll(x, shifts=shift, axis=axis)


def repeat(x: Tensor, repeats: Any, /, *, axis: int | None = None) -> Any:
    """Each element again and again: ``repeats`` is one number, or one for each along the axis; flat if it is None.

    >>> repeat(Tensor([1, 2]), 2)
    tensor([1, 1, 2, 2])
    """
    if axis is None:
        x, axis = x.reshape(-1), 0
    counts = np.asarray(repeats.numpy() if isinstance(repeats, Tensor) else repeats)
    places = np.repeat(np.arange(x.shape[_axis(x, axis)]), counts)
    return take(x, Tensor(places), axis=axis)


def tile(x: Tensor, repetitions: Any, /) -> Any:
    """All of x again and again, along each axis."""
    return ops.tile(x, repeats=tuple(repetitions))


def take(x: Tensor, indices: Tensor, /, *, axis: int | None = None) -> Any:
    """The elements of x at some places along an axis (``indices`` has one axis), which may be left out for one axis only.

    >>> take(Tensor([[1, 2], [3, 4]]), Tensor([1, 0]), axis=1)
    tensor([[2, 1],
            [4, 3]])
    """
    if axis is None:
        if x.ndim != 1:
            raise ArgumentError(f"take needs an axis for an array of shape {x.shape}")
        axis = 0
    return x[(slice(None),) * _axis(x, axis) + (indices,)]


def take_along_axis(x: Tensor, indices: Tensor, /, *, axis: int = -1) -> Any:
    """The elements at places that ``indices``, of as many axes, says along one of them."""
    return ops.take_along_axis(x, indices, axis=axis)
