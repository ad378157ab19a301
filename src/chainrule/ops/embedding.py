"""The embedding room: rows of a table by their numbers."""

from __future__ import annotations

from typing import Any

from ..domain.dtype import INTEGER
from ..domain.errors import ArgumentError, DTypeError, IndexRangeError, ShapeError
from ..tensor import Tensor
from ._op import op
from .elementwise import lt, ne, where
from .index import index, index_scatter
from .memory import cast
from .shape import reshape


@op
def embedding(indices: Tensor, weight: Tensor, *, padding_idx: int | None = None) -> Any:
    """The rows of ``weight`` (rows, features) that ``indices``, integers of any shape, name: (..., features).

    The row ``padding_idx`` gets no gradient. Errors: IndexRangeError for an index below 0 or beyond the rows.

    Formula: ``y[…] = weight[indices[…]]``. Gradient: ``dweight[indices[…]] += g[…]``. Shapes: as above.

    >>> embedding(Tensor([2, 0]), Tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
    tensor([[5., 6.],
            [1., 2.]])
    """
    rows = weight.shape[0]
    indices = indices if indices.dtype == "int64" else cast(indices, dtype="int64")
    try:
        return index(weight, where(lt(indices, 0), rows, indices), pattern=("tensor", ...))
    except IndexRangeError:
        wrong = next(i for i in reshape(indices, shape=(-1,)).tolist() if not 0 <= i < rows)
        raise IndexRangeError(
            f"[embedding] index {wrong} is no row: weight has {rows} rows (0 to {rows - 1})"
        ) from None


@embedding.vjp("weight")
def _(g: Any, indices: Any, weight_shape: Any, padding_idx: int | None) -> Any:
    if padding_idx is not None:
        g = where(reshape(ne(indices, padding_idx), shape=(*indices.shape, 1)), g, 0.0)
    indices = indices if indices.dtype == "int64" else cast(indices, dtype="int64")
    return index_scatter(g, indices, pattern=("tensor", ...), shape=weight_shape)


@embedding.normalises
def _(indices: Any, weight: Any, *, padding_idx: int | None) -> dict[str, Any]:
    if padding_idx is None or not weight.ndim:
        return {}
    rows = weight.shape[0]
    if not -rows <= padding_idx < rows:
        raise ArgumentError(f"[embedding] padding_idx is {padding_idx}, but weight has {rows} rows")
    return {"padding_idx": padding_idx % rows}


@embedding.checks
def _(indices: Any, weight: Any, *, padding_idx: int | None) -> None:
    if indices.dtype.category != INTEGER:
        raise DTypeError(f"[embedding] indices are {indices.dtype}; they should be integers: cast them to int64")
    if weight.ndim != 2:
        raise ShapeError(f"[embedding] weight has shape {weight.shape}; it should be (rows, features)")
