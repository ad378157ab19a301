"""Functions of each element, under the names of the array API."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..domain.errors import ArgumentTypeError
from ..ops import abs as abs
from ..ops import acos as acos
from ..ops import add as add
from ..ops import asin as asin
from ..ops import atan as atan
from ..ops import atan2 as atan2
from ..ops import bitwise_and as bitwise_and
from ..ops import bitwise_not as bitwise_invert
from ..ops import bitwise_or as bitwise_or
from ..ops import bitwise_xor as bitwise_xor
from ..ops import ceil as ceil
from ..ops import cos as cos
from ..ops import cosh as cosh
from ..ops import div as divide
from ..ops import eq as equal
from ..ops import exp as exp
from ..ops import expm1 as expm1
from ..ops import floor as floor
from ..ops import floor_div as floor_divide
from ..ops import ge as greater_equal
from ..ops import gt as greater
from ..ops import isfinite as isfinite
from ..ops import isinf as isinf
from ..ops import isnan as isnan
from ..ops import le as less_equal
from ..ops import log as log
from ..ops import log1p as log1p
from ..ops import log2 as log2
from ..ops import log10 as log10
from ..ops import logical_and as logical_and
from ..ops import logical_not as logical_not
from ..ops import logical_or as logical_or
from ..ops import logical_xor as logical_xor
from ..ops import lt as less
from ..ops import maximum as maximum
from ..ops import minimum as minimum
from ..ops import mul as multiply
from ..ops import ne as not_equal
from ..ops import neg as negative
from ..ops import pow as pow
from ..ops import reciprocal as reciprocal
from ..ops import remainder as remainder
from ..ops import round as round
from ..ops import sign as sign
from ..ops import sin as sin
from ..ops import sinh as sinh
from ..ops import sqrt as sqrt
from ..ops import square as square
from ..ops import sub as subtract
from ..ops import tan as tan
from ..ops import tanh as tanh
from ..tensor import Tensor
from .dtypes import result_type

__all__ = [
    "abs", "acos", "acosh", "add", "asin", "asinh", "atan", "atan2", "atanh", "bitwise_and", "bitwise_invert",
    "bitwise_or", "bitwise_xor", "ceil", "clip", "copysign", "cos", "cosh", "divide", "equal", "exp", "expm1",
    "floor", "floor_divide", "greater", "greater_equal", "hypot", "isfinite", "isinf", "isnan", "less",
    "less_equal", "log", "log10", "log1p", "log2", "logaddexp", "logical_and", "logical_not", "logical_or",
    "logical_xor", "maximum", "minimum", "multiply", "negative", "not_equal", "positive", "pow", "reciprocal",
    "remainder", "round", "sign", "signbit", "sin", "sinh", "sqrt", "square", "subtract", "tan", "tanh", "trunc",
]  # fmt: skip


def clip(x: Tensor, /, min: Any = None, max: Any = None) -> Any:
    """x with ``min`` where it is below and ``max`` where it is above: numbers, or arrays that broadcast; in the dtype of x."""
    given = x.dtype
    for limit, closer in ((min, ops.maximum), (max, ops.minimum)):
        if limit is not None:
            x = closer(x, limit)
    return x.to(dtype=given)


def positive(x: Tensor, /) -> Any:
    """x itself."""
    if not isinstance(x, Tensor):
        raise ArgumentTypeError(f"positive takes a tensor, not a {type(x).__name__}")
    return ops.clone(x)


def trunc(x: Tensor, /) -> Any:
    """The whole number that is nearest on the side of 0.

    >>> trunc(Tensor([-1.5, 1.5]))
    tensor([-1.,  1.])
    """
    return ops.where(x < 0, ops.ceil(x), ops.floor(x)) if x.is_floating else ops.clone(x)


def signbit(x: Tensor, /) -> Any:
    """Whether the sign of a number is that of -1, of -0.0 too; the sign of a NaN is not looked at."""
    below = x < 0
    return below | ((x == 0) & (1 / x < 0)) if x.is_floating else below


def copysign(x1: Any, x2: Any, /) -> Any:
    """The size of x1 with the sign of x2.

    >>> copysign(Tensor([1.0, 2.0]), Tensor([-0.0, 3.0]))
    tensor([-1.,  2.])
    """
    size = ops.abs(x1).to(dtype=result_type(x1, x2))
    return ops.where(signbit(x2 if isinstance(x2, Tensor) else Tensor(x2)), -size, size)


def asinh(x: Tensor, /) -> Any:
    """The inverse of sinh."""
    size = ops.abs(x)
    far = size > 1e8  # whose square is too large, or all there is
    near = ops.where(far, 1.0, size)
    root = ops.log1p(near + near * near / (1 + ops.sqrt(1 + near * near)))
    return ops.sign(x) * ops.where(far, ops.log(ops.where(far, size, 1.0)) + 0.6931471805599453, root)


def acosh(x: Tensor, /) -> Any:
    """The inverse of cosh, from 1 on; NaN below."""
    far = x > 1e8
    near = ops.where(far, 2.0, x) - 1
    root = ops.log1p(near + ops.sqrt(near) * ops.sqrt(near + 2))
    return ops.where(far, ops.log(ops.where(far, x, 1.0)) + 0.6931471805599453, root)


def atanh(x: Tensor, /) -> Any:
    """The inverse of tanh, from -1 to 1; NaN beyond."""
    return (ops.log1p(x) - ops.log1p(-x)) / 2


def hypot(x1: Any, x2: Any, /) -> Any:
    """The length of the hypotenuse, where the squares are too large or too small, too."""
    a, b = ops.abs(x1), ops.abs(x2)
    large, small = ops.maximum(a, b), ops.minimum(a, b)
    safe = ops.where((large == 0) | ops.isinf(large), 1.0, large)
    ratio = ops.where(ops.isinf(large), 0.0, small / safe)
    found = large * ops.sqrt(1 + ratio * ratio)
    infinite = ops.isinf(a) | ops.isinf(b)
    return ops.where(infinite, float("inf"), found)


def logaddexp(x1: Any, x2: Any, /) -> Any:
    """log(exp(x1) + exp(x2)), without overflow."""
    high, low = ops.maximum(x1, x2), ops.minimum(x1, x2)
    same = high == low  # infinities of one sign, too
    apart = ops.where(same, 0.0, low - ops.where(same, 0.0, high))
    return high + ops.log1p(ops.exp(ops.where(same, 0.0, apart)))
