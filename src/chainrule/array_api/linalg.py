"""Of the extension ``linalg`` of the array API: products, norms, diagonals; no decompositions."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..domain.errors import ArgumentError
from ..ops import matmul as matmul
from ..tensor import Tensor
from .shapes import moveaxis
from .statistics import matrix_transpose as matrix_transpose
from .statistics import sum as _sum
from .statistics import tensordot as tensordot
from .statistics import vecdot as vecdot

__all__ = [
    "diagonal", "matmul", "matrix_norm", "matrix_transpose", "outer", "tensordot", "trace", "vecdot", "vector_norm",
]  # fmt: skip


def diagonal(x: Tensor, /, *, offset: int = 0) -> Any:
    """The elements of a diagonal of the last two axes.

    >>> diagonal(Tensor([[1, 2], [3, 4]]), offset=1)
    tensor([2])
    """
    rows, columns = x.shape[-2:]
    first, start = max(0, -offset), max(0, offset)
    n = max(0, min(rows - first, columns - start))
    places = [Tensor([*range(begin, begin + n)], dtype="int64") for begin in (first, start)]
    return x[(..., *places)]


def trace(x: Tensor, /, *, offset: int = 0, dtype: Any = None) -> Any:
    """The sum of a diagonal."""
    return _sum(diagonal(x, offset=offset), axis=-1, dtype=dtype)


def outer(x1: Tensor, x2: Tensor, /) -> Any:
    """All products of two arrays of one axis."""
    return x1[:, None] * x2[None, :]


def vector_norm(x: Tensor, /, *, axis: Any = None, keepdims: bool = False, ord: float = 2) -> Any:
    """The length of vectors along axes, of all elements without."""
    axes = tuple(range(x.ndim)) if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)
    size = ops.abs(x)
    if ord in (float("inf"), -float("inf")):
        return (ops.amax if ord > 0 else ops.amin)(size, axis=axes, keepdims=keepdims)
    if ord == 0:
        return ops.sum((x != 0).to(dtype=x.dtype), axis=axes, keepdims=keepdims)
    if ord == 2:
        return ops.norm(x, axis=axes, keepdims=keepdims)
    return ops.sum(size**ord, axis=axes, keepdims=keepdims) ** (1 / ord)


def matrix_norm(x: Tensor, /, *, keepdims: bool = False, ord: Any = "fro") -> Any:
    """The norm of the matrices of the last two axes: "fro", or 1, -1, inf, -inf. Errors: ArgumentError for another."""
    if ord == "fro":
        return vector_norm(x, axis=(-2, -1), keepdims=keepdims)
    if ord not in (1, -1, float("inf"), -float("inf")):
        raise ArgumentError(f'matrix_norm got ord={ord!r}, expected "fro", 1, -1, inf or -inf: no decompositions')
    sums = ops.sum(ops.abs(x), axis=-2 if abs(ord) == 1 else -1, keepdims=True)
    found = (ops.amax if ord > 0 else ops.amin)(sums, axis=(-2, -1), keepdims=True)
    return found if keepdims else moveaxis(found, (-2, -1), (0, 1))[0, 0]
