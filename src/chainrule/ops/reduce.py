"""The reduction room. ``axis`` is an int, a tuple of ints, or None for all axes; ``keepdims`` leaves the axes as ones.

Sums and products of integers and bools are int64. Errors: IndexRangeError for an axis that is not there.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable
from typing import Any

from ..domain.errors import ArgumentError, ShapeError
from ..tensor import Tensor
from ._axes import count, dropped, kept, listed, some_axes
from ._front import front
from ._op import OpCall, op, primitive
from ._scan import cumprod as cumprod
from ._scan import cumsum as cumsum
from ._scan import over_one_axis
from ._widened import widened
from .elementwise import abs, eq, exp, isfinite, log, sign, sqrt, where
from .index import getitem, ungather
from .memory import filled
from .shape import concat, expand, flip, permute, reshape


def over_axes(call: OpCall) -> OpCall:
    """Give an op of ``axis`` and ``keepdims`` its canonical axes."""

    @call.normalises
    def _(x: Any, *, axis: Any, **rest: Any) -> dict[str, Any]:
        return {"axis": some_axes(call.__name__, axis, x.shape)}

    return call


def restored(g: Any, x_shape: Any, axis: Any, keepdims: bool) -> Any:
    """The gradient of a reduction's result, with the axes that it dropped as ones."""
    return g if keepdims or axis is None and not x_shape else reshape.exact(g, shape=kept(x_shape, axis))


def folded(x: Any, axis: Any) -> Any:
    """``x`` with the axes of a reduction last and as one."""
    order = last(axis, x.ndim)
    kept = x.ndim - len(listed(axis, x.ndim))
    x = permute(x, axes=order)
    return reshape(x, shape=(*x.shape[:kept], math.prod(x.shape[kept:])))


def unfolded(rows: Any, shape: Any, axis: Any) -> Any:
    """What ``folded`` makes ``rows`` of."""
    order = last(axis, len(shape))
    x = reshape(rows, shape=tuple([shape[a] for a in order]))
    return permute(x, axes=tuple([order.index(a) for a in range(len(shape))]))


def last(axis: Any, ndim: int) -> tuple[int, ...]:
    """All axes, those of a reduction last."""
    axes = listed(axis, ndim)
    return (*[a for a in range(ndim) if a not in axes], *axes)


# sums and products


@over_axes
@primitive
def sum(x: Tensor, *, axis: Any = None, keepdims: bool = False) -> Any:
    """The sum.

    Formula: ``y = Σᵢ xᵢ`` over ``axis``. Gradient: ``dxᵢ = g``. Shapes: of any ``x``; ``y`` lacks ``axis``, or has ones
    there with ``keepdims``.

    >>> sum(Tensor([[1.0, 2.0], [3.0, 4.0]]), axis=0)
    tensor([4., 6.])
    """


@sum.vjp("x")
def _(g: Any, x_shape: Any, axis: Any, keepdims: bool) -> Any:
    return expand.exact(g if axis is None and not keepdims else restored(g, x_shape, axis, keepdims), shape=x_shape)


def sum_to(x: Tensor, shape: tuple[int, ...]) -> Any:
    """Undo a broadcast: sum ``x`` to the ``shape`` that was broadcast to its own.

    >>> sum_to(Tensor([[1.0, 2.0], [3.0, 4.0]]), (1, 2))
    tensor([[4., 6.]])
    """
    lead = x.ndim - len(shape)
    if lead < 0:  # a value that was assigned may have had more axes, of length 1
        return reshape(sum_to(x, shape[-lead:]), shape=shape)
    axes = tuple(range(lead)) + tuple(i for i in range(lead, x.ndim) if shape[i - lead] == 1 != x.shape[i])
    if axes:
        x = sum(x, axis=axes, keepdims=True)
    return x if x.shape == shape else reshape(x, shape=shape)


@over_axes
@primitive
def prod(x: Tensor, *, axis: Any = None, keepdims: bool = False) -> Any:
    """The product. Its gradient is right where elements are 0 too.

    Formula: ``y = Πᵢ xᵢ`` over ``axis``. Gradient: ``dxᵢ = g · Π x`` of the others. Shapes: as in ``sum``.

    >>> prod(Tensor([[1.0, 2.0], [3.0, 4.0]]), axis=1)
    tensor([ 2., 12.])
    """


@prod.vjp("x")
def _(g: Any, x: Any, axis: Any, keepdims: bool) -> Any:
    """Each element's gradient is the product of those before and those after it."""
    rows = folded(x, axis)
    others = before(rows) * flip(before(flip(rows, axis=-1)), axis=-1)
    return restored(g, x.shape, axis, keepdims) * unfolded(others, x.shape, axis)


def before(x: Any) -> Any:
    """For each element of the last axis, the product of those before it."""
    if not x.shape[-1]:
        return x
    first = filled(x, (*x.shape[:-1], 1), 1, x.dtype)
    return cumprod(concat(first, getitem(x, index=(..., slice(0, -1))), axis=-1), axis=-1)


# the largest and the smallest


def value_alone(call: OpCall) -> Callable[..., Any]:
    """Without an axis, the value only, of all elements."""

    def extreme(x: Tensor, *args: Any, **params: Any) -> Any:
        if (args and args[0] is not None) or params.get("axis", params.get("dim")) is not None:
            return call(x, *args, **params)
        keepdims = args[1] if len(args) > 1 else params.get("keepdims", params.get("keepdim", False))
        y = call(reshape(x, shape=(-1,)), axis=0)[0]
        return reshape(y, shape=(1,) * x.ndim) if keepdims else y

    return extreme


def extreme_rule(g: Any, indices: Any, x_shape: Any, axis: int, keepdims: bool) -> Any:
    g = restored(g[0], x_shape, axis, keepdims)
    return ungather(g, restored(indices, x_shape, axis, keepdims), axis=axis, shape=x_shape)


def something(call: OpCall) -> OpCall:
    """Have an op of one axis refuse an empty one."""

    @call.checks
    def _(x: Any, *, axis: int, **rest: Any) -> None:
        if not x.shape[axis]:
            raise ShapeError(f"[{call.__name__}] axis {axis} of {x.shape} is empty: there is no element to take")

    return call


@front(value_alone)
@something
@over_one_axis
@primitive(outputs=("values", "indices"))
def max(x: Tensor, *, axis: int, keepdims: bool = False) -> Any:
    """The largest elements along one axis, and where they are (int64): of equals the first, which gets the gradient.

    Without an axis: the largest of all elements, alone.

    Formula: ``y = maxᵢ xᵢ``, and the least i that has it. Gradient: ``dxᵢ = g`` at that i, else 0. Shapes: both outputs as
    ``y`` in ``sum``.

    >>> values, indices = max(Tensor([[1.0, 3.0, 3.0]]), axis=1)
    >>> values, indices, max(Tensor([2.0, 5.0]))
    (tensor([3.]), tensor([1]), tensor(5.))
    """


@front(value_alone)
@something
@over_one_axis
@primitive(outputs=("values", "indices"))
def min(x: Tensor, *, axis: int, keepdims: bool = False) -> Any:
    """The smallest elements along one axis, and where they are (int64): of equals the first, which gets the gradient.

    Without an axis: the smallest of all elements, alone.

    Formula: ``y = minᵢ xᵢ``, and the least i that has it. Gradient: ``dxᵢ = g`` at that i, else 0. Shapes: both outputs as
    ``y`` in ``sum``.

    >>> values, indices = min(Tensor([[3.0, 1.0, 1.0]]), axis=1)
    >>> values, indices, min(Tensor([2.0, 5.0]))
    (tensor([1.]), tensor([1]), tensor(2.))
    """


max.vjp(x=extreme_rule)
min.vjp(x=extreme_rule)


def extreme(call: OpCall, x: Any, axis: Any, keepdims: bool, output: int) -> Any:
    """One output of ``max`` or ``min`` over any axes."""
    y = call(folded(x, axis), axis=-1)[output]
    return reshape(y, shape=kept(x.shape, axis)) if keepdims else reshape(y, shape=dropped(x.shape, axis))


@over_axes
@op
def amax(x: Tensor, *, axis: Any = None, keepdims: bool = False) -> Any:
    """The largest element over any axes; of equals the first gets the gradient.

    Formula: ``y = maxᵢ xᵢ`` over ``axis``. Gradient: ``dxᵢ = g`` at the first i that has it, else 0. Shapes: as in ``sum``.

    >>> amax(Tensor([[1.0, 2.0], [3.0, 4.0]]), axis=(0, 1))
    tensor(4.)
    """
    return extreme(max, x, axis, keepdims, 0)


@over_axes
@op
def amin(x: Tensor, *, axis: Any = None, keepdims: bool = False) -> Any:
    """The smallest element over any axes; of equals the first gets the gradient.

    Formula: ``y = minᵢ xᵢ`` over ``axis``. Gradient: ``dxᵢ = g`` at the first i that has it, else 0. Shapes: as in ``sum``.

    >>> amin(Tensor([[1.0, 2.0], [3.0, 4.0]]), axis=0)
    tensor([1., 2.])
    """
    return extreme(min, x, axis, keepdims, 0)


@over_axes
@op(nondifferentiable=True)
def argmax(x: Tensor, *, axis: Any = None, keepdims: bool = False) -> Any:
    """Where the largest element is (int64), the first of equals; without an axis, its place among all elements.

    Formula: the least i with ``xᵢ = max x``. Gradient: none, the result is an integer. Shapes: as in ``sum``.

    >>> argmax(Tensor([[1.0, 3.0], [4.0, 2.0]]), axis=1)
    tensor([1, 0])
    """
    return extreme(max, x, axis, keepdims, 1)


@over_axes
@op(nondifferentiable=True)
def argmin(x: Tensor, *, axis: Any = None, keepdims: bool = False) -> Any:
    """Where the smallest element is (int64), the first of equals; without an axis, its place among all elements.

    Formula: the least i with ``xᵢ = min x``. Gradient: none, the result is an integer. Shapes: as in ``sum``.

    >>> argmin(Tensor([[1.0, 3.0], [4.0, 2.0]]), axis=1)
    tensor([0, 1])
    """
    return extreme(min, x, axis, keepdims, 1)


@over_axes
@primitive(nondifferentiable=True)
def any(x: Tensor, *, axis: Any = None, keepdims: bool = False) -> Any:
    """Whether an element is true (not 0).

    Formula: ``y = ⋁ᵢ (xᵢ ≠ 0)`` over ``axis``. Gradient: none, the result is bool. Shapes: as in ``sum``.

    >>> any(Tensor([[True, False], [False, False]]), axis=1)
    tensor([ True, False])
    """


@over_axes
@primitive(nondifferentiable=True)
def all(x: Tensor, *, axis: Any = None, keepdims: bool = False) -> Any:
    """Whether every element is true (not 0).

    Formula: ``y = ⋀ᵢ (xᵢ ≠ 0)`` over ``axis``. Gradient: none, the result is bool. Shapes: as in ``sum``.

    >>> all(Tensor([[True, False], [True, True]]), axis=1)
    tensor([False,  True])
    """


# statistics


@over_axes
@op(promote="float")
@widened
def mean(x: Tensor, *, axis: Any = None, keepdims: bool = False) -> Any:
    """The mean; nan of no elements.

    Formula: ``y = Σᵢ xᵢ / n`` over ``axis``. Gradient: ``dxᵢ = g / n``. Shapes: as in ``sum``.

    >>> mean(Tensor([[1, 2], [3, 5]]), axis=1)
    tensor([1.5, 4. ])
    """
    return sum(x, axis=axis, keepdims=keepdims) / count(x.shape, axis)


@mean.vjp("x")
def _(g: Any, x_shape: Any, axis: Any, keepdims: bool) -> Any:
    return expand(restored(g, x_shape, axis, keepdims) / count(x_shape, axis), shape=x_shape)


def root(x: Any) -> Any:
    """The square root, whose gradient at 0 is 0."""
    zero = eq(x, 0)
    return where(zero, 0.0, sqrt(where(zero, 1.0, x)))


def deviation(x: Any, axis: Any, correction: float) -> tuple[Any, float]:
    """``x`` less its mean, and by what a sum over ``axis`` is divided for the variance."""
    return x - mean(x, axis=axis, keepdims=True), builtins.max(count(x.shape, axis) - correction, 0)


@over_axes
@op(promote="float")
@widened
def var(x: Tensor, *, axis: Any = None, correction: float = 1, keepdims: bool = False) -> Any:
    """The variance: the sum of squared deviations from the mean, divided by the number of elements less ``correction``.

    Formula: ``y = Σᵢ (xᵢ - m)² / (n - correction)``, m the mean. Gradient: ``dxᵢ = 2 g (xᵢ - m) / (n - correction)``.
    Shapes: as in ``sum``.

    >>> var(Tensor([1.0, 2.0, 6.0])), var(Tensor([1.0, 2.0, 6.0]), correction=0)
    (tensor(7.), tensor(4.6667))
    """
    d, n = deviation(x, axis, correction)
    return sum(d * d, axis=axis, keepdims=keepdims) / n


@var.vjp("x")
def _(g: Any, x: Any, axis: Any, correction: float, keepdims: bool) -> Any:
    d, n = deviation(x, axis, correction)
    return restored(g, x.shape, axis, keepdims) * d * (2 / n if n else math.nan)


@over_axes
@op(promote="float")
@widened
def std(x: Tensor, *, axis: Any = None, correction: float = 1, keepdims: bool = False) -> Any:
    """The standard deviation, the square root of ``var``; where it is 0, so is its gradient.

    Formula: ``y = √(Σᵢ (xᵢ - m)² / (n - correction))``. Gradient: ``dxᵢ = g (xᵢ - m) / ((n - correction) y)``. Shapes: as
    in ``sum``.

    >>> std(Tensor([1.0, 2.0, 3.0]))
    tensor(1.)
    """
    return root(var(x, axis=axis, correction=correction, keepdims=keepdims))


@over_axes
@op(promote="float", outputs=("var", "mean"))
@widened
def var_mean(x: Tensor, *, axis: Any = None, correction: float = 1, keepdims: bool = False) -> Any:
    """The variance, as ``var`` gives it, and the mean.

    Formula: those of ``var`` and ``mean``. Gradient: the sum of both. Shapes: both outputs as ``y`` in ``sum``.

    >>> v, m = var_mean(Tensor([[1.0, 3.0]]), axis=1)
    >>> v, m
    (tensor([2.]), tensor([2.]))
    """
    v = var(x, axis=axis, correction=correction, keepdims=keepdims)
    return v, mean(x, axis=axis, keepdims=keepdims)


@over_axes
@op(promote="float")
@widened
def logsumexp(x: Tensor, *, axis: Any = None, keepdims: bool = False) -> Any:
    """``log(sum(exp(x)))`` that does not overflow.

    Formula: ``y = log(Σᵢ exp(xᵢ))`` over ``axis``. Gradient: ``dxᵢ = g · exp(xᵢ - y)``, the softmax. Shapes: as in ``sum``.

    >>> logsumexp(Tensor([200.0, 200.0]))
    tensor(200.6931)
    """
    if not count(x.shape, axis):  # of nothing: log(0)
        return log(sum(x, axis=axis, keepdims=keepdims))
    largest = amax(x.detach(), axis=axis, keepdims=True)
    largest = where(isfinite(largest), largest, 0.0)
    y = log(sum(exp(x - largest), axis=axis, keepdims=True)) + largest
    return y if keepdims else reshape(y, shape=dropped(x.shape, axis))


@logsumexp.vjp("x")
def _(g: Any, x: Any, y: Any, axis: Any, keepdims: bool) -> Any:
    y = where(eq(y, -math.inf), 0.0, y)  # of nothing but -inf: no gradient, not nan
    return restored(g, x.shape, axis, keepdims) * exp(x - restored(y, x.shape, axis, keepdims))


@over_axes
@op(promote="float")
@widened
def norm(x: Tensor, *, ord: Any = 2, axis: Any = None, keepdims: bool = False) -> Any:
    """The length of vectors: ``sum(|x|**ord)**(1/ord)``. ``ord`` is 1, 2, ``inf`` (the largest) or "fro" (2, of matrices).

    The gradient of a length 0 is 0. Errors: ArgumentError for another ``ord``.

    Formula: ``y = (Σᵢ |xᵢ|^ord)^(1 / ord)`` over ``axis``. Gradient: ``dxᵢ = g xᵢ / y``; ``g sign(xᵢ)`` for 1; that at the
    first largest for ``inf``. Shapes: as in ``sum``.

    >>> norm(Tensor([3.0, 4.0])), norm(Tensor([3.0, -4.0]), ord=math.inf)
    (tensor(5.), tensor(4.))
    """
    if ord == 1:
        return sum(abs(x), axis=axis, keepdims=keepdims)
    if ord == math.inf:
        return amax(abs(x), axis=axis, keepdims=keepdims)
    return root(sum(x * x, axis=axis, keepdims=keepdims))


@norm.vjp("x")
def _(g: Any, y: Any, x: Any, ord: Any, axis: Any, keepdims: bool) -> Any:
    g = restored(g, x.shape, axis, keepdims)
    if ord == 1:
        return g * sign(x)
    if ord == math.inf:  # of equals the first
        rows = folded(abs(x), axis)
        first = argmax(rows, axis=-1, keepdims=True)
        one = ungather(filled(rows, first.shape, 1, x.dtype), first, axis=x.ndim and rows.ndim - 1, shape=rows.shape)
        return g * sign(x) * unfolded(one, x.shape, axis)
    y = restored(y, x.shape, axis, keepdims)
    return g * (x / where(eq(y, 0), 1.0, y))  # of a length 0 all elements are 0


@norm.checks
def _(x: Any, *, ord: Any, axis: Any, keepdims: bool) -> None:
    if ord not in (1, 2, math.inf, "fro"):
        raise ArgumentError(f"[norm] ord is {ord!r}; it should be 1, 2, inf or 'fro'")
