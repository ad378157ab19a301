"""Adaptive pooling, of the pooling room: the size of the result is given, and the windows divide x among it."""

from __future__ import annotations

from math import prod
from typing import Any

from ..domain.errors import ArgumentError, ArgumentTypeError, ShapeError
from ..tensor import Tensor
from ._op import OpCall, op
from ._sequences import flat, unflat
from ._widened import widened
from .elementwise import where
from .index import index
from .memory import like
from .pool import avg_pool2d, max_pool2d, max_pool2d_with_indices
from .reduce import max, sum
from .shape import permute, reshape


def divided(n: int, parts: int) -> list[tuple[int, int]]:
    """Where each of ``parts`` windows over ``n`` elements begins and ends: they cover all, and overlap if they have to."""
    return [(i * n // parts, -(-(i + 1) * n // parts)) for i in range(parts)]


def gathered(x: Any, axis: int, ends: list[tuple[int, int]]) -> Any:
    """Every window along an axis, which becomes two: (windows, elements), the last repeated where a window is shorter."""
    width = sorted(stop - start for start, stop in ends)[-1]
    places = [[start + k if start + k < stop else stop - 1 for k in range(width)] for start, stop in ends]
    return index(x, like(x, places), pattern=(slice(None),) * axis + ("tensor", ...))


def even(x: Any, size: Any) -> Any:
    """The window that divides an image evenly, or None."""
    if any(n % m for n, m in zip(x.shape[2:], size, strict=True)):
        return None
    return tuple([n // m for n, m in zip(x.shape[2:], size, strict=True)])


def patches(x: Any, size: Any) -> tuple[Any, Any]:
    """All windows of an image (n, c, p, r, q, s), and the number of elements that count in each row and column."""
    rows, columns = (divided(n, m) for n, m in zip(x.shape[2:], size, strict=True))
    return gathered(gathered(x, 2, rows), 4, columns), (rows, columns)


def largest(x: Any, size: Any) -> tuple[Any, Any, int, Any]:
    """Of every window the largest element, and its place in the window, of rows so long; where the windows are."""
    y, ends = patches(x, size)
    y = permute(y, axes=(0, 1, 2, 4, 3, 5))
    values, taps = max(reshape(y, shape=(*y.shape[:4], prod(y.shape[4:]))), axis=-1)
    return values, taps, y.shape[5], ends


@op(promote="float")
@widened
def adaptive_avg_pool2d(x: Tensor, *, output_size: Any) -> Any:
    """The mean of every window, as many as ``output_size`` = (p, q) says: window i of an axis is [i h // p, ⌈(i + 1) h / p⌉).

    ``x`` is (n, c, h, w), the result (n, c, p, q). ``output_size`` is an integer or a pair; None keeps the size of x.

    Formula: ``y[n, c, i, j] = mean of x over window (i, j)``. Gradient: ``g / count`` added to each element of its window.
    Shapes: as above.

    >>> adaptive_avg_pool2d(Tensor([[[[1.0, 2.0, 3.0]]]]), output_size=(1, 2))
    tensor([[[[1.5, 2.5]]]])
    """
    window = even(x, output_size)
    if window:
        return avg_pool2d(x, kernel_size=window)
    y, ends = patches(x, output_size)
    for axis, found in zip((3, 5), ends, strict=True):
        counts = [stop - start for start, stop in found]
        inside = [[k < n for k in range(y.shape[axis])] for n in counts]
        tail = (len(found), y.shape[axis], *(1,) * (5 - axis))
        y = where(reshape(like(x, inside, None), shape=tail), y, 0.0)
    counts = [[(b - a) * (d - c) for c, d in ends[1]] for a, b in ends[0]]
    return sum(y, axis=(3, 5)) / like(x, counts, x.dtype)


@op
def adaptive_max_pool2d(x: Tensor, *, output_size: Any) -> Any:
    """The largest element of every window, which are as in ``adaptive_avg_pool2d``; of equals the first gets the gradient.

    Formula: ``y[n, c, i, j] = max of x over window (i, j)``. Gradient: ``g`` added to the first largest of its window.
    Shapes: (n, c, h, w) → (n, c, p, q).

    >>> adaptive_max_pool2d(Tensor([[[[1.0, 2.0, 3.0]]]]), output_size=(1, 2))
    tensor([[[[2., 3.]]]])
    """
    window = even(x, output_size)
    if window:
        return max_pool2d(x, kernel_size=window)
    return largest(x, output_size)[0]


@op(outputs=("y", "indices"))
def adaptive_max_pool2d_with_indices(x: Tensor, *, output_size: Any) -> Any:
    """``adaptive_max_pool2d``, and where the largest elements are: row times width plus column, int64.

    Formula: as ``adaptive_max_pool2d``. Gradient: of the values as there, of the indices none. Shapes: both outputs (n, c,
    p, q).

    >>> adaptive_max_pool2d_with_indices(Tensor([[[[1.0, 2.0, 3.0]]]]), output_size=(1, 2))[1]
    tensor([[[[1, 2]]]])
    """
    window = even(x, output_size)
    if window:
        return max_pool2d_with_indices(x, kernel_size=window)
    values, taps, width, (top, left) = largest(x, output_size)
    across = taps // width  # of an element that is repeated, the first is the largest
    rows = reshape(like(x, [start for start, _ in top]), shape=(len(top), 1)) + across
    return values, rows * x.shape[3] + like(x, [start for start, _ in left]) + (taps - across * width)


@op(promote="float")
def adaptive_avg_pool1d(x: Tensor, *, output_size: Any) -> Any:
    """``adaptive_avg_pool2d`` of sequences (n, channels, length).

    Formula: as ``adaptive_avg_pool2d`` with one axis. Gradient: as there. Shapes: (n, c, h) → (n, c, p).

    >>> adaptive_avg_pool1d(Tensor([[[1.0, 2.0, 3.0]]]), output_size=2)
    tensor([[[1.5, 2.5]]])
    """
    return unflat(adaptive_avg_pool2d(flat(x), output_size=(1, *output_size)))


@op
def adaptive_max_pool1d(x: Tensor, *, output_size: Any) -> Any:
    """``adaptive_max_pool2d`` of sequences (n, channels, length).

    Formula: as ``adaptive_max_pool2d`` with one axis. Gradient: as there. Shapes: (n, c, h) → (n, c, p).

    >>> adaptive_max_pool1d(Tensor([[[1.0, 2.0, 3.0]]]), output_size=2)
    tensor([[[2., 3.]]])
    """
    return unflat(adaptive_max_pool2d(flat(x), output_size=(1, *output_size)))


@op(outputs=("y", "indices"))
def adaptive_max_pool1d_with_indices(x: Tensor, *, output_size: Any) -> Any:
    """``adaptive_max_pool1d``, and where the largest elements are, int64.

    Formula: as ``adaptive_max_pool2d`` with one axis. Gradient: of the values as there, of the indices none. Shapes: both
    outputs (n, c, p).

    >>> adaptive_max_pool1d_with_indices(Tensor([[[1.0, 2.0, 3.0]]]), output_size=2)[1]
    tensor([[[1, 2]]])
    """
    y, indices = adaptive_max_pool2d_with_indices(flat(x), output_size=(1, *output_size))
    return unflat(y), unflat(indices)


def adaptive(call: OpCall, axes: int) -> None:
    """Give an op its output size for each axis, and check what it pools."""
    name = call.__name__

    @call.normalises
    def _(x: Any, *, output_size: Any) -> dict[str, Any]:
        if x.ndim != axes + 2:
            takes = "sequences are (n, channels, length)" if axes == 1 else "images are (n, channels, height, width)"
            raise ShapeError(f"[{name}] x has shape {x.shape}; {takes}")
        sizes = tuple(output_size) if isinstance(output_size, (tuple, list)) else (output_size,) * axes
        if len(sizes) != axes or not all(m is None or hasattr(m, "__index__") for m in sizes):
            expected = "an integer" if axes == 1 else "an integer or a pair of them"
            raise ArgumentTypeError(
                f"[{name}] output_size is {expected}, or None for the size of x, not {output_size!r}"
            )
        sizes = tuple([n if m is None else m for m, n in zip(sizes, x.shape[2:], strict=True)])
        if any(m < 1 for m in sizes):
            raise ArgumentError(f"[{name}] output_size is {output_size}, but at least 1 is needed")
        if not all(x.shape[2:]):
            raise ShapeError(f"[{name}] x has shape {x.shape}, and no elements to pool")
        return {"output_size": sizes}


for _call, _axes in (
    (adaptive_avg_pool1d, 1),
    (adaptive_max_pool1d, 1),
    (adaptive_avg_pool2d, 2),
    (adaptive_max_pool2d, 2),
    (adaptive_max_pool1d_with_indices, 1),
    (adaptive_max_pool2d_with_indices, 2),
):
    adaptive(_call, _axes)
