"""Activations that bend smoothly, of the activation room: a file of its own for its length."""

from __future__ import annotations

from typing import Any

from ..domain.errors import ArgumentError
from ..tensor import Tensor
from ._op import op
from ._widened import widened
from .elementwise import abs, exp, expm1, gt, log1p, maximum, minimum, sigmoid, tanh, where

SELU_SCALE, SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717


def nonzero(name: str, key: str, value: float) -> None:
    """Raise if ``value``, which something is divided by, is 0."""
    if value == 0:
        raise ArgumentError(f"[{name}] {key} is 0, and something is divided by it; give another number")


@op(promote="float")
@widened
def elu(x: Tensor, *, alpha: float = 1.0) -> Any:
    """``x`` where it is positive, elsewhere ``alpha * (exp(x) - 1)`` (Clevert, Unterthiner and Hochreiter, 2015).

    Formula: ``y = where(x > 0, x, alpha * (exp(x) - 1))``. Gradient: ``dx = where(x > 0, g, g * alpha * exp(x))``. Shapes:
    any; ``y`` as ``x``.

    >>> elu(Tensor([-1.0, 0.0, 2.0]))
    tensor([-0.6321,  0.    ,  2.    ])
    """
    return where(gt(x, 0.0), x, alpha * expm1(minimum(x, 0.0)))


elu.vjp(x=lambda g, x, alpha: where(gt(x, 0.0), g, g * (alpha * exp(minimum(x, 0.0)))))


@op(promote="float")
@widened
def selu(x: Tensor) -> Any:
    """``1.0507 * elu(x, alpha=1.6733)``, which keeps mean 0 and variance 1 (Klambauer et al., 2017).

    Formula: ``y = λ x`` where x > 0, else ``λ α (exp(x) - 1)``, with λ = 1.0507… and α = 1.6733…. Gradient: ``dx = λ g``
    where x > 0, else ``g · (y + λ α)``. Shapes: any; ``y`` as ``x``.

    >>> selu(Tensor([-1.0, 0.0, 1.0]))
    tensor([-1.1113,  0.    ,  1.0507])
    """
    return SELU_SCALE * elu(x, alpha=SELU_ALPHA)


@selu.vjp("x")
def _(g: Any, x: Any) -> Any:
    return where(gt(x, 0.0), g * SELU_SCALE, g * (SELU_SCALE * SELU_ALPHA * exp(minimum(x, 0.0))))


@op(promote="float")
@widened
def celu(x: Tensor, *, alpha: float = 1.0) -> Any:
    """``x`` where it is positive, elsewhere ``alpha * (exp(x / alpha) - 1)`` (Barron, 2017). Errors: ArgumentError.

    Formula: ``y = where(x > 0, x, alpha * (exp(x / alpha) - 1))``. Gradient: ``dx = where(x > 0, g, g * exp(x / alpha))``.
    Shapes: any; ``y`` as ``x``.

    >>> celu(Tensor([-1.0, 0.0, 2.0]), alpha=2.0)
    tensor([-0.7869,  0.    ,  2.    ])
    """
    return where(gt(x, 0.0), x, alpha * expm1(minimum(x, 0.0) * (1 / alpha)))


celu.vjp(x=lambda g, x, alpha: where(gt(x, 0.0), g, g * exp(minimum(x, 0.0) * (1 / alpha))))


@celu.checks
def _(x: Any, *, alpha: float) -> None:
    nonzero("celu", "alpha", alpha)


def logexp(x: Any) -> Any:
    """``log(1 + exp(x))``, which neither overflows nor loses digits."""
    return maximum(x, 0.0) + log1p(exp(-abs(x)))


@op(promote="float")
@widened
def softplus(x: Tensor, *, beta: float = 1.0, threshold: float = 20.0) -> Any:
    """``log(1 + exp(beta x)) / beta``: relu without its corner; ``x`` itself where ``beta x`` is above ``threshold``.

    Formula: ``y = where(beta * x > threshold, x, log(1 + exp(beta * x)) / beta)``. Gradient:
    ``dx = where(beta * x > threshold, g, g * sigmoid(beta * x))``. Shapes: any; ``y`` as ``x``.

    >>> softplus(Tensor([-1e4, 0.0, 1e4]))
    tensor([0.0000e+00, 6.9315e-01, 1.0000e+04])
    """
    z = x * beta
    return where(gt(z, threshold), x, logexp(z) * (1 / beta))


@softplus.vjp("x")
def _(g: Any, x: Any, beta: float, threshold: float) -> Any:
    z = x * beta
    return where(gt(z, threshold), g, g * sigmoid(z))


@softplus.checks
def _(x: Any, *, beta: float, threshold: float) -> None:
    nonzero("softplus", "beta", beta)


@op(promote="float")
@widened
def mish(x: Tensor) -> Any:
    """``x * tanh(softplus(x))`` (Misra, 2019).

    Formula: ``y = x * t``, ``t = tanh(softplus(x))``. Gradient: ``dx = g * (t + x * (1 - t * t) * sigmoid(x))``. Shapes:
    any; ``y`` as ``x``.

    >>> mish(Tensor([-1.0, 0.0, 1.0]))
    tensor([-0.3034,  0.    ,  0.8651])
    """
    return x * tanh(logexp(x))


@mish.vjp("x")
def _(g: Any, x: Any) -> Any:
    t = tanh(logexp(x))
    return g * (t + x * (1 - t * t) * sigmoid(x))


@op(promote="float")
@widened
def softsign(x: Tensor) -> Any:
    """``x / (1 + |x|)``.

    Formula: ``y = x / (1 + abs(x))``. Gradient: ``dx = g / (1 + abs(x))**2``. Shapes: any; ``y`` as ``x``.

    >>> softsign(Tensor([1.0, -3.0]))
    tensor([ 0.5 , -0.75])
    """
    return x / (1 + abs(x))


@softsign.vjp("x")
def _(g: Any, x: Any) -> Any:
    s = 1 / (1 + abs(x))
    return g * (s * s)


@op(promote="float")
@widened
def logsigmoid(x: Tensor) -> Any:
    """``log(sigmoid(x))``, without its overflow.

    Formula: ``y = -softplus(-x)``. Gradient: ``dx = g * sigmoid(-x)``. Shapes: any; ``y`` as ``x``.

    >>> logsigmoid(Tensor([-1000.0, 0.0]))
    tensor([-1.0000e+03, -6.9315e-01])
    """
    return -logexp(-x)


logsigmoid.vjp(x=lambda g, x: g * sigmoid(-x))
