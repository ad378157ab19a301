"""Pooling of sequences (n, channels, length), and by powers, of the pooling room: a file of its own for its length."""

from __future__ import annotations

from typing import Any

from ..domain.errors import ArgumentError, ShapeError
from ..tensor import Tensor
from ._axes import pair
from ._op import OpCall, op
from ._sequences import flat, one, unflat
from ._widened import widened
from .elementwise import eq, where
from .pool import avg_pool2d, max_pool2d, max_pool2d_with_indices


@op
def max_pool1d(
    x: Tensor, *, kernel_size: int, stride: Any = None, padding: int = 0, dilation: int = 1, ceil_mode: bool = False
) -> Any:
    """``max_pool2d`` of sequences (n, channels, length).

    Formula: as ``max_pool2d`` with one axis. Gradient: as in ``max_pool2d``. Shapes: (n, c, h) → (n, c, p), p as in
    ``max_pool2d``.

    >>> max_pool1d(Tensor([[[1.0, 3.0, 2.0, 0.0]]]), 2)
    tensor([[[3., 2.]]])
    """
    y = max_pool2d(flat(x), **spread(kernel_size, stride, padding), dilation=(1, dilation), ceil_mode=ceil_mode)
    return unflat(y)


@op(outputs=("y", "indices"))
def max_pool1d_with_indices(
    x: Tensor, *, kernel_size: int, stride: Any = None, padding: int = 0, dilation: int = 1, ceil_mode: bool = False
) -> Any:
    """``max_pool1d``, and where the largest elements are (int64).

    Formula: as ``max_pool2d`` with one axis. Gradient: as in ``max_pool2d``. Shapes: (n, c, h) → (n, c, p), p as in
    ``max_pool2d``.

    >>> y, indices = max_pool1d_with_indices(Tensor([[[1.0, 3.0, 2.0, 0.0]]]), 2)
    >>> indices
    tensor([[[1, 2]]])
    """
    sizes = spread(kernel_size, stride, padding)
    y, indices = max_pool2d_with_indices(flat(x), **sizes, dilation=(1, dilation), ceil_mode=ceil_mode)
    return unflat(y), unflat(indices)


@op(promote="float")
def avg_pool1d(
    x: Tensor,
    *,
    kernel_size: int,
    stride: Any = None,
    padding: int = 0,
    count_include_pad: bool = True,
    ceil_mode: bool = False,
) -> Any:
    """``avg_pool2d`` of sequences (n, channels, length).

    Formula: as ``avg_pool2d`` with one axis. Gradient: as in ``avg_pool2d``. Shapes: (n, c, h) → (n, c, p), p as in
    ``max_pool2d``.

    >>> avg_pool1d(Tensor([[[1.0, 3.0, 2.0, 0.0]]]), 2)
    tensor([[[2., 1.]]])
    """
    sizes = spread(kernel_size, stride, padding)
    return unflat(avg_pool2d(flat(x), **sizes, count_include_pad=count_include_pad, ceil_mode=ceil_mode))


@op(promote="float")
@widened
def lp_pool2d(x: Tensor, *, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Any:
    """Of every window the root ``norm_type`` of the sum of the elements to that power; where the sum is 0 so is the gradient.

    ``x`` is (n, c, h, w); sizes as in ``avg_pool2d``. With norm_type 1 it is the sum, with a large one nearly the maximum.

    Formula: ``y[n, c, i, j] = (Σ x^p)^(1 / p)`` over the window, p = norm_type. Gradient: ``g (x / y)^(p - 1)`` added to
    each element of its window. Shapes: as in ``avg_pool2d``.

    >>> lp_pool2d(Tensor([[[[3.0, 4.0]]]]), norm_type=2, kernel_size=(1, 2))
    tensor([[[[5.]]]])
    """
    total = avg_pool2d(x**norm_type, kernel_size=kernel_size, stride=stride, ceil_mode=ceil_mode)
    total = total * (kernel_size[0] * kernel_size[1])
    nothing = eq(total, 0)
    return where(nothing, 0.0, where(nothing, 1.0, total) ** (1 / norm_type))


@lp_pool2d.normalises
def _(x: Any, *, norm_type: float, kernel_size: Any, stride: Any, ceil_mode: bool) -> dict[str, Any]:
    size = pair("lp_pool2d", "kernel_size", kernel_size, 1)
    return {"kernel_size": size, "stride": size if stride is None else pair("lp_pool2d", "stride", stride, 1)}


@op(promote="float")
def lp_pool1d(x: Tensor, *, norm_type: float, kernel_size: int, stride: Any = None, ceil_mode: bool = False) -> Any:
    """``lp_pool2d`` of sequences (n, channels, length).

    Formula: as ``lp_pool2d`` with one axis. Gradient: as in ``lp_pool2d``. Shapes: (n, c, h) → (n, c, p), p as in
    ``max_pool2d``.

    >>> lp_pool1d(Tensor([[[3.0, 4.0]]]), norm_type=2, kernel_size=2)
    tensor([[[5.]]])
    """
    size, step = (1, kernel_size), (1, kernel_size if stride is None else stride)
    return unflat(lp_pool2d(flat(x), norm_type=norm_type, kernel_size=size, stride=step, ceil_mode=ceil_mode))


def spread(kernel_size: int, stride: Any, padding: int) -> dict[str, Any]:
    """The sizes of sequences as those of images of one row."""
    step = kernel_size if stride is None else stride
    return {"kernel_size": (1, kernel_size), "stride": (1, step), "padding": (0, padding)}


def of_sequences(call: OpCall) -> None:
    """Check that an op got sequences, and integers for its sizes."""
    name = call.__name__

    @call.normalises
    def _(x: Any, **params: Any) -> dict[str, Any]:
        return {
            key: one(name, key, params[key], optional=key == "stride")
            for key in ("kernel_size", "stride", "padding", "dilation")
            if key in params
        }

    @call.checks
    def _(x: Any, **params: Any) -> None:
        if x.ndim != 3:
            raise ShapeError(f"[{name}] x has shape {x.shape}; sequences are (n, channels, length)")
        if params.get("norm_type", 1) == 0:
            raise ArgumentError(f"[{name}] norm_type is 0, and a root of that degree is taken; give another number")


for _call in (max_pool1d, max_pool1d_with_indices, avg_pool1d, lp_pool1d):
    of_sequences(_call)


@lp_pool2d.checks
def _(x: Any, *, norm_type: float, kernel_size: Any, stride: Any, ceil_mode: bool) -> None:
    if norm_type == 0:
        raise ArgumentError("[lp_pool2d] norm_type is 0, and a root of that degree is taken; give another number")
