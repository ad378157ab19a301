"""Sums, extremes, order, sets and products of arrays, as the array API has them."""

from __future__ import annotations

from typing import Any, NamedTuple

from .. import creation as own
from .. import ops
from ..domain.dtype import int64
from ..domain.errors import ArgumentError
from ..ops import argmax as argmax
from ..ops import argmin as argmin
from ..ops import matmul as matmul
from ..ops import where as where
from ..tensor import Tensor
from .shapes import concat

__all__ = [
    "all", "any", "argmax", "argmin", "argsort", "count_nonzero", "cumulative_prod", "cumulative_sum", "diff", "matmul",
    "matrix_transpose", "max", "mean", "min", "nonzero", "prod", "searchsorted", "sort", "std", "sum", "tensordot",
    "unique_all", "unique_counts", "unique_inverse", "unique_values", "var", "vecdot", "where",
]  # fmt: skip


def over(op: Any) -> Any:
    """A reduction, to which no axes are none: each element for itself."""

    def reduce(x: Tensor, /, *, axis: Any = None, keepdims: bool = False, **options: Any) -> Any:
        if axis == ():
            y = ops.unsqueeze(x, axis=0)
            return op(y, axis=0, **options)
        return op(x, axis=axis, keepdims=keepdims, **options)

    reduce.__doc__ = op.__doc__.partition("\n")[0]
    return reduce


max, min = over(ops.amax), over(ops.amin)
any, all = over(ops.any), over(ops.all)  # noqa: A001
mean, _sum, _prod, _std, _var = map(over, (ops.mean, ops.sum, ops.prod, ops.std, ops.var))


def sum(x: Tensor, /, *, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Any:
    """The sum along axes, of integers and bools as int64, or in ``dtype``."""
    return _sum(x if dtype is None else x.to(dtype=dtype), axis=axis, keepdims=keepdims).to(
        dtype=dtype or (x.dtype if x.is_floating else int64)
    )


def prod(x: Tensor, /, *, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Any:
    """The product along axes, of integers and bools as int64, or in ``dtype``."""
    return _prod(x if dtype is None else x.to(dtype=dtype), axis=axis, keepdims=keepdims).to(
        dtype=dtype or (x.dtype if x.is_floating else int64)
    )


def std(x: Tensor, /, *, axis: Any = None, correction: float = 0.0, keepdims: bool = False) -> Any:
    """The standard deviation, of the whole population unless ``correction`` says otherwise."""
    return _std(x, axis=axis, correction=correction, keepdims=keepdims)


def var(x: Tensor, /, *, axis: Any = None, correction: float = 0.0, keepdims: bool = False) -> Any:
    """The variance, of the whole population unless ``correction`` says otherwise."""
    return _var(x, axis=axis, correction=correction, keepdims=keepdims)


def count_nonzero(x: Tensor, /, *, axis: Any = None, keepdims: bool = False) -> Any:
    """How many elements are not 0, along axes."""
    return sum(x != 0, axis=axis, keepdims=keepdims)


def cumulative_sum(x: Tensor, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False) -> Any:
    """The sums up to each element along an axis, which only an array of one axis may leave out.

    >>> cumulative_sum(Tensor([1, 2, 3]), include_initial=True)
    tensor([0, 1, 3, 6])
    """
    return _cumulative(ops.cumsum, 0, x, axis, dtype, include_initial)


def cumulative_prod(x: Tensor, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False) -> Any:
    """The products up to each element."""
    return _cumulative(ops.cumprod, 1, x, axis, dtype, include_initial)


def _cumulative(op: Any, start: int, x: Tensor, axis: int | None, dtype: Any, initial: bool) -> Any:
    if axis is None:
        if x.ndim != 1:
            raise ArgumentError(f"a cumulative sum or product of an array of shape {x.shape} needs an axis")
        axis = 0
    x = x.to(dtype=dtype or (x.dtype if x.is_floating else int64))
    y: Tensor = op(x, axis=axis).to(dtype=x.dtype)
    if not initial:
        return y
    shape = [1 if i == axis % x.ndim else n for i, n in enumerate(x.shape)]
    return concat([own.full(tuple(shape), start, dtype=y.dtype, device=y.device), y], axis=axis)


def diff(x: Tensor, /, *, axis: int = -1, n: int = 1, prepend: Any = None, append: Any = None) -> Any:
    """The differences of neighbours along an axis, n times."""
    given = [part for part in (prepend, x, append) if part is not None]
    x = concat(given, axis=axis) if len(given) > 1 else x
    for _ in range(n):
        at = (slice(None),) * (axis % x.ndim)
        later, sooner = x[(*at, slice(1, None))], x[(*at, slice(None, -1))]
        x = later != sooner if x.dtype == "bool" else later - sooner
    return x


def sort(x: Tensor, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Any:
    """The elements in order along an axis."""
    return ops.sort(x, axis=axis, descending=descending)[0]


def argsort(x: Tensor, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Any:
    """The places of the elements in order along an axis; equals stay as they stand."""
    return ops.argsort(x, axis=axis, descending=descending)


def searchsorted(x1: Tensor, x2: Tensor, /, *, side: str = "left", sorter: Tensor | None = None) -> Any:
    """Where each of x2 would be put into x1, which has one axis and is in order (or is by ``sorter``).

    >>> searchsorted(Tensor([1.0, 3.0]), Tensor([0.0, 3.0, 4.0]))
    tensor([0, 1, 2])
    """
    if side not in ("left", "right"):
        raise ArgumentError(f'searchsorted got side={side!r}, expected "left" or "right"')
    ordered = x1 if sorter is None else x1[sorter]
    before = ordered < x2[..., None] if side == "left" else ordered <= x2[..., None]
    return sum(before, axis=-1)


def nonzero(x: Tensor, /) -> tuple[Tensor, ...]:
    """The places of what is not 0: for each axis an array of indices."""
    if not x.ndim:
        raise ArgumentError("nonzero needs an array with axes")
    places = ops.nonzero(x)
    return tuple(places[:, i] for i in range(x.ndim))


# ---- sets


class unique_all_result(NamedTuple):  # noqa: N801
    """What ``unique_all`` gives."""

    values: Tensor
    indices: Tensor
    inverse_indices: Tensor
    counts: Tensor


class unique_counts_result(NamedTuple):  # noqa: N801
    """What ``unique_counts`` gives."""

    values: Tensor
    counts: Tensor


class unique_inverse_result(NamedTuple):  # noqa: N801
    """What ``unique_inverse`` gives."""

    values: Tensor
    inverse_indices: Tensor


def unique_all(x: Tensor, /) -> unique_all_result:
    """The values in order, where each first is in the flat x, which of them each element is, and how often each is there."""
    flat = x.reshape(-1)
    order = ops.argsort(flat, axis=0)
    ordered = flat[order]
    first = own.ones(flat.size, dtype="bool", device=x.device)
    if flat.size > 1:
        first = concat([first[:1], ordered[1:] != ordered[:-1]])
    starts = ops.nonzero(first).reshape(-1)
    which = ops.cumsum(first.to(dtype=int64), axis=0) - 1
    inverse = own.zeros_like(order)
    inverse[order] = which
    ends = concat([starts, own.full((1,), flat.size, device=x.device)])
    return unique_all_result(ordered[starts], order[starts], inverse.reshape(x.shape), ends[1:] - ends[:-1])


def unique_counts(x: Tensor, /) -> unique_counts_result:
    """The values in order, and how often each is there."""
    found = unique_all(x)
    return unique_counts_result(found.values, found.counts)


def unique_inverse(x: Tensor, /) -> unique_inverse_result:
    """The values in order, and which of them each element is."""
    found = unique_all(x)
    return unique_inverse_result(found.values, found.inverse_indices)


def unique_values(x: Tensor, /) -> Any:
    """The values in order, each once; each NaN for itself."""
    return unique_all(x).values


# ---- products


def matrix_transpose(x: Tensor, /) -> Any:
    """The last two axes exchanged."""
    return x.mT


def vecdot(x1: Tensor, x2: Tensor, /, *, axis: int = -1) -> Any:
    """The sums of products along an axis."""
    kind = (x1 * x2).dtype
    return sum(x1 * x2, axis=axis).to(dtype=kind)


def tensordot(x1: Tensor, x2: Tensor, /, *, axes: Any = 2) -> Any:
    """The sums of products over the last axes of x1 and the first of x2 (``axes`` of them), or over pairs of axes."""
    if isinstance(axes, int):
        axes = ([*range(x1.ndim - axes, x1.ndim)], [*range(axes)])
    left, right = ([a % x.ndim for a in given] for x, given in zip((x1, x2), axes, strict=True))
    kept = [a for a in range(x1.ndim) if a not in left], [a for a in range(x2.ndim) if a not in right]
    shape = [x1.shape[a] for a in kept[0]] + [x2.shape[a] for a in kept[1]]
    count = 1
    for a in left:
        count *= x1.shape[a]
    rows = ops.permute(x1, axes=(*kept[0], *left)).reshape(-1 if x1.size else x1.size // (count or 1), count)
    columns = ops.permute(x2, axes=(*right, *kept[1])).reshape(count, -1 if x2.size else x2.size // (count or 1))
    return matmul(rows, columns).reshape(shape)
