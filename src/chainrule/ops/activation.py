"""The activation room: functions of each element that are bent where layers need them to be."""

from __future__ import annotations

from math import pi, sqrt
from typing import Any

from ..domain.errors import unknown
from ..tensor import Tensor
from ._gate import glu as glu
from ._gate import maxout as maxout
from ._gate import prelu as prelu
from ._gate import swiglu as swiglu
from ._op import op
from ._piecewise import hardshrink as hardshrink
from ._piecewise import hardsigmoid as hardsigmoid
from ._piecewise import hardswish as hardswish
from ._piecewise import hardtanh as hardtanh
from ._piecewise import relu6 as relu6
from ._piecewise import softshrink as softshrink
from ._piecewise import threshold as threshold
from ._smooth import celu as celu
from ._smooth import elu as elu
from ._smooth import logsigmoid as logsigmoid
from ._smooth import mish as mish
from ._smooth import selu as selu
from ._smooth import softplus as softplus
from ._smooth import softsign as softsign
from ._widened import widened
from .elementwise import erf, exp, gt, le, maximum, sigmoid, tanh, where


@op
def relu(x: Tensor) -> Any:
    """``x`` where it is positive, elsewhere 0; the gradient at 0 is 0.

    Formula: ``y = maximum(x, 0)``. Gradient: ``dx = g * (x > 0)``. Shapes: any; ``y`` as ``x``.

    >>> relu(Tensor([-1.0, 0.0, 2.0]))
    tensor([0., 0., 2.])
    """
    return maximum(x, 0)


relu.vjp(x=lambda g, y: where(le(y, 0), 0.0, g))


@op(promote="float")
def leaky_relu(x: Tensor, *, negative_slope: float = 0.01) -> Any:
    """``x`` where it is positive, elsewhere ``negative_slope * x`` (Maas, Hannun and Ng, 2013).

    Formula: ``y = where(x > 0, x, negative_slope * x)``. Gradient: ``dx = where(x > 0, g, negative_slope * g)``. Shapes:
    any; ``y`` as ``x``.

    >>> leaky_relu(Tensor([-1.0, 0.0, 2.0]))
    tensor([-0.01,  0.  ,  2.  ])
    """
    return where(gt(x, 0), x, x * negative_slope)


leaky_relu.vjp(x=lambda g, x, negative_slope: where(gt(x, 0), g, g * negative_slope))


def inner(x: Any) -> Any:
    """What the tanh form of gelu takes the tanh of."""
    return sqrt(2 / pi) * (x + 0.044715 * x * x * x)


@op(promote="float")
@widened
def gelu(x: Tensor, *, approximate: str = "none") -> Any:
    """Gaussian error linear unit, ``x`` times the probability that a standard normal is below it (Hendrycks and Gimpel, 2016).

    ``approximate="tanh"`` gives ``x/2 · (1 + tanh(√(2/π)(x + 0.044715 x³)))``.

    Formula: ``y = x · Φ(x)``, Φ(x) = (1 + erf(x / √2)) / 2. Gradient: ``dx = g · (Φ(x) + x φ(x))``, φ(x) = exp(-x² / 2) /
    √(2π); with "tanh" that of its formula. Shapes: any; ``y`` as ``x``.

    >>> gelu(Tensor([-1.0, 0.0, 1.0]))
    tensor([-0.1587,  0.    ,  0.8413])
    """
    return 0.5 * x * (1 + (erf(x * sqrt(0.5)) if approximate == "none" else tanh(inner(x))))


@gelu.vjp("x")
def _(g: Any, x: Any, approximate: str) -> Any:
    if approximate == "none":
        return g * (0.5 * (1 + erf(x * sqrt(0.5))) + x * exp(-0.5 * x * x) * (1 / sqrt(2 * pi)))
    t = tanh(inner(x))
    return g * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * (sqrt(2 / pi) * (1 + 3 * 0.044715 * x * x)))


@gelu.checks
def _(x: Any, *, approximate: str) -> None:
    if approximate not in ("none", "tanh"):
        raise unknown("approximation of gelu", approximate, ["none", "tanh"])


@op(promote="float")
@widened
def silu(x: Tensor) -> Any:
    """``x * sigmoid(x)``, also called swish (Elfwing, Uchibe and Doya, 2017).

    Formula: ``y = x * sigmoid(x)``. Gradient: ``dx = g * (y + sigmoid(x) * (1 - y))``. Shapes: any; ``y`` as ``x``.

    >>> silu(Tensor([-1.0, 0.0, 1.0]))
    tensor([-0.2689,  0.    ,  0.7311])
    """
    return x * sigmoid(x)


@silu.vjp("x")
def _(g: Any, x: Any) -> Any:
    s = sigmoid(x)
    return g * (s * (1 + x * (1 - s)))
