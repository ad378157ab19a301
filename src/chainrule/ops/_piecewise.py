"""Activations made of pieces of lines, of the activation room: a file of its own for its length."""

from __future__ import annotations

from typing import Any

from ..domain.errors import ArgumentError
from ..tensor import Tensor
from ._op import op
from ._widened import widened
from .elementwise import abs, ge, gt, le, logical_not, logical_or, lt, maximum, minimum, where


def between(x: Any, low: float, high: float) -> Any:
    """Where ``x`` is inside of (low, high); nan counts as inside."""
    return logical_not(logical_or(le(x, low), ge(x, high)))


@op(promote="float")
def relu6(x: Tensor) -> Any:
    """``x`` inside of [0, 6], else the nearer limit (Krizhevsky, 2010); the gradient at the limits is 0.

    Formula: ``y = clip(x, min=0, max=6)``. Gradient: ``dx = g * (x > 0) * (x < 6)``. Shapes: any; ``y`` as ``x``.

    >>> relu6(Tensor([-1.0, 2.0, 9.0]))
    tensor([0., 2., 6.])
    """
    return minimum(maximum(x, 0.0), 6.0)


relu6.vjp(x=lambda g, x: where(between(x, 0.0, 6.0), g, 0.0))


@op(promote="float")
def hardtanh(x: Tensor, *, min_val: float = -1.0, max_val: float = 1.0) -> Any:
    """``x`` inside of [min_val, max_val], else the nearer limit; the gradient at the limits is 0. Errors: ArgumentError.

    Formula: ``y = clip(x, min=min_val, max=max_val)``. Gradient: ``dx = g * (x > min_val) * (x < max_val)``. Shapes: any;
    ``y`` as ``x``.

    >>> hardtanh(Tensor([-2.0, 0.5, 2.0]))
    tensor([-1. ,  0.5,  1. ])
    """
    return minimum(maximum(x, min_val), max_val)


hardtanh.vjp(x=lambda g, x, min_val, max_val: where(between(x, min_val, max_val), g, 0.0))


@hardtanh.checks
def _(x: Any, *, min_val: float, max_val: float) -> None:
    if min_val > max_val:
        raise ArgumentError(f"[hardtanh] min_val {min_val} is above max_val {max_val}; give the lower limit first")


@op(promote="float")
@widened
def hardsigmoid(x: Tensor) -> Any:
    """``relu6(x + 3) / 6``, a sigmoid of three lines.

    Formula: ``y = relu6(x + 3) / 6``. Gradient: ``dx = g * (abs(x) < 3) / 6``. Shapes: any; ``y`` as ``x``.

    >>> hardsigmoid(Tensor([-4.0, 0.0, 1.5, 4.0]))
    tensor([0.  , 0.5 , 0.75, 1.  ])
    """
    return relu6(x + 3.0) / 6.0


hardsigmoid.vjp(x=lambda g, x: where(between(x, -3.0, 3.0), g * (1 / 6), 0.0))


@op(promote="float")
@widened
def hardswish(x: Tensor) -> Any:
    """``x * hardsigmoid(x)`` (Howard et al., 2019).

    Formula: ``y = x * relu6(x + 3) / 6``. Gradient: ``dx = g * where(x < -3, 0.0, where(x > 3, 1.0, x / 3 + 0.5))``.
    Shapes: any; ``y`` as ``x``.

    >>> hardswish(Tensor([-4.0, 0.0, 3.0, 6.0]))
    tensor([-0.,  0.,  3.,  6.])
    """
    return x * hardsigmoid(x)


@hardswish.vjp("x")
def _(g: Any, x: Any) -> Any:
    return where(le(x, -3.0), 0.0, where(lt(x, 3.0), g * (x * (1 / 3) + 0.5), g))


@op(promote="float")
def threshold(x: Tensor, *, threshold: float, value: float) -> Any:
    """``x`` where it is above ``threshold``, elsewhere ``value``.

    Formula: ``y = where(x > threshold, x, value)``. Gradient: ``dx = g * (x > threshold)``. Shapes: any; ``y`` as ``x``.

    >>> threshold(Tensor([0.1, 0.5, 1.0]), threshold=0.5, value=-1.0)
    tensor([-1., -1.,  1.])
    """
    return where(le(x, threshold), value, x)


threshold.vjp(x=lambda g, x, threshold: where(le(x, threshold), 0.0, g))


@op(promote="float")
def softshrink(x: Tensor, *, lambd: float = 0.5) -> Any:
    """``x`` nearer to 0 by ``lambd``, and 0 where it is not as far from it.

    Formula: ``y = sign(x) * relu(abs(x) - lambd)``. Gradient: ``dx = g * (abs(x) > lambd)``. Shapes: any; ``y`` as ``x``.

    >>> softshrink(Tensor([-2.0, 0.25, 2.0]))
    tensor([-1.5,  0. ,  1.5])
    """
    return where(gt(x, lambd), x - lambd, where(lt(x, -lambd), x + lambd, x * 0.0))


softshrink.vjp(x=lambda g, x, lambd: where(le(abs(x), lambd), 0.0, g))


@softshrink.checks
def _(x: Any, *, lambd: float) -> None:
    if not lambd >= 0:
        raise ArgumentError(f"[softshrink] lambd is {lambd}; it should be 0 or more")


@op(promote="float")
def hardshrink(x: Tensor, *, lambd: float = 0.5) -> Any:
    """``x``, but 0 where it is within ``lambd`` of 0.

    Formula: ``y = where(abs(x) > lambd, x, 0.0)``. Gradient: ``dx = g * (abs(x) > lambd)``. Shapes: any; ``y`` as ``x``.

    >>> hardshrink(Tensor([-2.0, 0.25, 2.0]))
    tensor([-2.,  0.,  2.])
    """
    return where(le(abs(x), lambd), 0.0, x)


hardshrink.vjp(x=lambda g, x, lambd: where(le(abs(x), lambd), 0.0, g))
