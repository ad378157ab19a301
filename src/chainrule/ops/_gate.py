"""Activations that take several values, of the activation room: gates, and what has weights of its own."""

from __future__ import annotations

from typing import Any

from ..domain.errors import ShapeError
from ..tensor import Tensor
from ._axes import one_axis
from ._op import OpCall, op
from ._widened import widened
from .elementwise import gt, sigmoid, where
from .index import getitem
from .reduce import amax
from .shape import reshape


def halves(x: Any, axis: int) -> tuple[Any, Any]:
    """The first and the second half along an axis."""
    axis %= x.ndim
    before, middle = (slice(None),) * axis, x.shape[axis] // 2
    first = getitem(x, index=(*before, slice(0, middle), ...))
    return first, getitem(x, index=(*before, slice(middle, 2 * middle), ...))


@op(promote="float")
@widened
def glu(x: Tensor, *, axis: int = -1) -> Any:
    """Gated linear unit: of the halves a and b of an axis, ``a * sigmoid(b)`` (Dauphin et al., 2016).

    Errors: ShapeError if the axis cannot be halved.

    Formula: ``y = a · σ(b)``. Gradient: ``da = g · σ(b)``, ``db = g · a σ(b) (1 - σ(b))``. Shapes: ``axis`` of ``x`` is 2 n
    long, that of ``y`` n.

    >>> glu(Tensor([1.0, 2.0, 0.0, 100.0]))
    tensor([0.5, 2. ])
    """
    a, b = halves(x, axis)
    return a * sigmoid(b)


@op(promote="float")
@widened
def swiglu(x: Tensor, *, axis: int = -1) -> Any:
    """Of the halves a and b of an axis, ``silu(a) * b`` (Shazeer, 2020): the gate is the first half.

    Errors: ShapeError if the axis cannot be halved.

    Formula: ``y = a · σ(a) · b``. Gradient: ``da = g · b σ(a) (1 + a (1 - σ(a)))``, ``db = g · a σ(a)``. Shapes: ``axis``
    of ``x`` is 2 n long, that of ``y`` n.

    >>> swiglu(Tensor([0.0, 100.0, 3.0, 2.0]))
    tensor([  0., 200.])
    """
    a, b = halves(x, axis)
    return a * sigmoid(a) * b


def along_halves(call: OpCall) -> None:
    """Give a gate its canonical axis, and check that it can be halved."""
    name = call.__name__

    @call.normalises
    def _(x: Any, *, axis: int) -> dict[str, Any]:
        return {"axis": one_axis(name, axis, x.shape)}

    @call.checks
    def _(x: Any, *, axis: int) -> None:
        if not x.ndim or x.shape[axis] % 2:
            place = axis % max(x.ndim, 1)
            raise ShapeError(f"[{name}] axis {place} of x, {x.shape}, cannot be halved: an even number is needed")


along_halves(glu)
along_halves(swiglu)


@op(promote="float")
def maxout(x: Tensor, *, pieces: int, axis: int = 1) -> Any:
    """The largest of every ``pieces`` neighbours along an axis, which gets shorter by that (Goodfellow et al., 2013).

    Errors: ShapeError if ``pieces`` does not divide the axis.

    Formula: ``y[…, j] = max over k < pieces of x[…, pieces · j + k]``. Gradient: ``g`` to the largest of each group, of
    equals the first. Shapes: ``axis`` of ``x`` is n · pieces long, that of ``y`` n.

    >>> maxout(Tensor([[1.0, 5.0, 2.0, 0.0]]), pieces=2)
    tensor([[5., 2.]])
    """
    axis %= x.ndim
    shape = (*x.shape[:axis], x.shape[axis] // pieces, pieces, *x.shape[axis + 1 :])
    return amax(reshape(x, shape=shape), axis=axis + 1)


@maxout.normalises
def _(x: Any, *, pieces: int, axis: int) -> dict[str, Any]:
    return {"axis": one_axis("maxout", axis, x.shape)}


@maxout.checks
def _(x: Any, *, pieces: int, axis: int) -> None:
    if pieces < 1 or x.ndim <= axis or x.shape[axis] % pieces:
        raise ShapeError(f"[maxout] axis {axis} of x, {x.shape}, cannot be divided into pieces of {pieces}")


@op(promote="common")
@widened
def prelu(x: Tensor, weight: Tensor) -> Any:
    """``x`` where it is positive, elsewhere ``weight * x`` (He et al., 2015).

    ``weight`` is (1,), or (c,) for the channels, axis 1 of x. Errors: ShapeError.

    Formula: ``x`` where x > 0, else ``weight · x``. Gradient: ``g`` where x > 0, else ``weight · g``; of a weight
    ``Σ g · min(x, 0)``, over all that it scales. Shapes: (n, c, …) or, with one weight, any; ``y`` as ``x``.

    >>> prelu(Tensor([[-1.0, -1.0, 3.0]]), Tensor([0.5, 0.25, 0.1]))
    tensor([[-0.5 , -0.25,  3.  ]])
    """
    shape = () if weight.shape[0] == 1 else (-1, *(1,) * (x.ndim - 2))
    return where(gt(x, 0.0), x, x * reshape(weight, shape=shape))


@prelu.checks
def _(x: Any, weight: Any) -> None:
    if weight.ndim != 1 or (weight.shape[0] != 1 and (x.ndim < 2 or weight.shape[0] != x.shape[1])):
        raise ShapeError(
            f"[prelu] weight has shape {weight.shape} but x has {x.shape}; it should be (1,), or have one value for each "
            "channel (axis 1 of x)"
        )
