"""Running sums and products of the reduction room, along one axis."""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor
from ._axes import kept, one_axis
from ._op import OpCall, primitive
from .index import getitem
from .memory import filled
from .shape import concat, expand, flip


def over_one_axis(call: OpCall) -> OpCall:
    """Give an op of one ``axis`` its canonical axis."""

    @call.normalises
    def _(x: Any, *, axis: Any, **rest: Any) -> dict[str, Any]:
        return {"axis": one_axis(call.__name__, axis, x.shape)}

    return call


@over_one_axis
@primitive
def cumsum(x: Tensor, *, axis: int) -> Any:
    """The sum of each element and those before it along one axis.

    Formula: ``yᵢ = x₀ + … + xᵢ``. Gradient: ``dxᵢ = gᵢ + gᵢ₊₁ + …``. Shapes: any with an axis; ``y`` as ``x``.

    >>> cumsum(Tensor([1.0, 2.0, 3.0]), axis=0)
    tensor([1., 3., 6.])
    """


cumsum.vjp(x=lambda g, axis: flip(cumsum(flip(g, axis=axis), axis=axis), axis=axis))


@over_one_axis
@primitive
def cumprod(x: Tensor, *, axis: int) -> Any:
    """The product of each element and those before it along one axis. Its gradient is right where elements are 0 too.

    Formula: ``yᵢ = x₀ · … · xᵢ``. Gradient: ``dxᵢ = Σ gₖ yₖ / xᵢ`` over k ≥ i. Shapes: any with an axis; ``y`` as ``x``.

    >>> cumprod(Tensor([1.0, 2.0, 3.0]), axis=0)
    tensor([1., 2., 6.])
    """


@cumprod.vjp("x")
def _(g: Any, x: Any, axis: int) -> Any:
    """The gradient is the product before an element, times s, where s[k] = g[k] + x[k + 1] s[k + 1].

    That recurrence is run in steps of 1, 2, 4, ...: s[k] from s[k + step], and the product of the step between.
    """
    n = x.shape[axis]
    first = filled(x, kept(x.shape, axis), 1, x.dtype)
    last = filled(x, kept(x.shape, axis), 0, x.dtype)

    def part(t: Any, start: int, stop: int) -> Any:
        return getitem(t, index=(slice(None),) * axis + (slice(start, stop), ...))

    def ahead(t: Any, step: int) -> Any:
        zeros = expand(last, shape=(*t.shape[:axis], step, *t.shape[axis + 1 :]))
        return concat(part(t, step, n), zeros, axis=axis)

    product = concat(first, part(cumprod(x, axis=axis), 0, n - 1), axis=axis) if n else x
    factor, step = ahead(x, 1) if n else x, 1
    while step < n:
        g = g + factor * ahead(g, step)
        factor = factor * ahead(factor, step)
        step *= 2
    return product * g
