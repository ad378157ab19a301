"""Arrays made, as the array API makes them."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import creation as own
from .. import ops
from ..creation import from_dlpack as from_dlpack
from ..domain.dtype import dtype as named
from ..domain.errors import ArgumentError
from ..tensor import Tensor

__all__ = [
    "arange", "asarray", "empty", "empty_like", "eye", "from_dlpack", "full", "full_like", "linspace", "meshgrid", "ones",
    "ones_like", "tril", "triu", "zeros", "zeros_like",
]  # fmt: skip


def asarray(obj: Any, /, *, dtype: Any = None, device: Any = None, copy: bool | None = None) -> Any:
    """A tensor of numbers in lists, of a NumPy array or of whatever speaks DLPack: in its memory unless ``copy`` is True.

    Errors: ArgumentError (a ValueError) if ``copy`` is False and that cannot be.

    >>> asarray([[1, 2], [3, 4]]).dtype, asarray([0.5]).dtype
    (chainrule.int64, chainrule.float32)
    """
    shared = isinstance(obj, (Tensor, np.ndarray)) or hasattr(obj, "__dlpack__")
    if isinstance(obj, (Tensor, np.ndarray)) or not shared:
        made = own.as_tensor(obj, dtype=dtype, device=device)
    else:
        made = own.as_tensor(from_dlpack(obj), dtype=dtype, device=device)
    if copy is False and (not shared or (isinstance(obj, (Tensor, np.ndarray)) and made.size and not _same(made, obj))):
        raise ArgumentError(
            f"asarray with copy=False: a {type(obj).__name__} cannot become such a tensor without a copy"
        )
    return ops.clone(made) if copy and shared else made


def _same(made: Tensor, obj: Any) -> Any:
    """Whether both lie in one memory."""
    return np.shares_memory(made.numpy(), obj.numpy() if isinstance(obj, Tensor) else obj)


def arange(start: Any, /, stop: Any = None, step: Any = 1, *, dtype: Any = None, device: Any = None) -> Any:
    """Numbers from ``start`` (0 if it stands alone) to before ``stop``."""
    return own.arange(start, stop, step, dtype=dtype, device=device)


def linspace(
    start: Any, stop: Any, /, num: int, *, dtype: Any = None, device: Any = None, endpoint: bool = True
) -> Any:
    """``num`` numbers at equal distances; ``stop`` is the last of them unless ``endpoint`` is False."""
    if endpoint:
        return own.linspace(start, stop, num, dtype=dtype, device=device)
    return own.linspace(start, stop, num + 1, dtype=dtype, device=device)[:-1]


def eye(n_rows: int, n_cols: int | None = None, /, *, k: int = 0, dtype: Any = None, device: Any = None) -> Any:
    """Ones on the k-th diagonal."""
    columns = n_rows if n_cols is None else n_cols
    kind = np.dtype(named(dtype or "float32"))
    return own.tensor(np.eye(n_rows, columns, k, dtype=kind), device=device)


def full(shape: Any, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Any:
    """One value everywhere."""
    return own.full(shape, fill_value, dtype=dtype, device=device)


def full_like(x: Tensor, /, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Any:
    """One value in the shape of x."""
    return own.full_like(x, fill_value, dtype=dtype, device=device)


def zeros(shape: Any, *, dtype: Any = None, device: Any = None) -> Any:
    """Zeros."""
    return own.full(shape, 0, dtype=dtype or "float32", device=device)


def ones(shape: Any, *, dtype: Any = None, device: Any = None) -> Any:
    """Ones."""
    return own.full(shape, 1, dtype=dtype or "float32", device=device)


def empty(shape: Any, *, dtype: Any = None, device: Any = None) -> Any:
    """Memory to be written."""
    return zeros(shape, dtype=dtype, device=device)


def zeros_like(x: Tensor, /, *, dtype: Any = None, device: Any = None) -> Any:
    """Zeros in the shape of x."""
    return own.zeros_like(x, dtype=dtype, device=device)


def ones_like(x: Tensor, /, *, dtype: Any = None, device: Any = None) -> Any:
    """Ones in the shape of x."""
    return own.ones_like(x, dtype=dtype, device=device)


def empty_like(x: Tensor, /, *, dtype: Any = None, device: Any = None) -> Any:
    """Memory to be written, in the shape of x."""
    return own.zeros_like(x, dtype=dtype, device=device)


def meshgrid(*arrays: Tensor, indexing: str = "xy") -> list[Tensor]:
    """The coordinates of a grid from those along each axis; with "xy" the first two axes are exchanged."""
    if indexing not in ("xy", "ij"):
        raise ArgumentError(f'meshgrid got indexing={indexing!r}, expected "xy" or "ij"')
    n = len(arrays)
    places = [1, 0, *range(2, n)] if indexing == "xy" and n > 1 else [*range(n)]
    shape = [0] * n
    for i, x in enumerate(arrays):
        shape[places[i]] = x.size
    shaped = [x.reshape([x.size if k == places[i] else 1 for k in range(n)]) for i, x in enumerate(arrays)]
    return [ops.clone(ops.expand(x, shape=tuple(shape))) for x in shaped]


def tril(x: Tensor, /, *, k: int = 0) -> Any:
    """What is above the k-th diagonal becomes 0."""
    return ops.tril(x, diagonal=k)


def triu(x: Tensor, /, *, k: int = 0) -> Any:
    """What is below the k-th diagonal becomes 0."""
    return ops.triu(x, diagonal=k)
