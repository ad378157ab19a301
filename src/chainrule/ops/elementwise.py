"""The elementwise room: each op is one line of meaning and its gradient. Shapes broadcast as in NumPy, and an operand may
be a Python number. Functions of real numbers make float32 of integers; outside their domain they give nan.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..domain.errors import ArgumentError, DTypeError
from ..tensor import Tensor
from ._op import OpCall, op, primitive
from .memory import filled


def unary(
    name: str,
    meaning: str,
    formula: str,
    gradient: str,
    example: str,
    shows: str,
    rule: Callable[..., Any] | None,
    promote: str | None = "float",
) -> OpCall:
    """A primitive of one tensor, ``x``. Without a ``rule`` it is nondifferentiable."""

    def declaration(x: Tensor) -> Tensor: ...  # type: ignore[empty-body]

    facts = f"{said(formula, {'x': gradient})} Shapes: any; ``y`` as ``x``."
    call = primitive(promote=promote, nondifferentiable=not rule)(
        documented(declaration, name, meaning, facts, example, shows)
    )
    if rule:
        call.vjp(x=rule)
    return call


def binary(
    name: str,
    meaning: str,
    formula: str,
    gradient: str,
    example: str,
    shows: str,
    promote: str = "common",
    **rules: Callable[..., Any],
) -> OpCall:
    """A primitive of two operands, ``a`` and ``b``; their gradients, if any, stand beside a bar. Without ``rules`` for them
    it is nondifferentiable.
    """

    def declaration(a: Tensor | float, b: Tensor | float) -> Tensor: ...  # type: ignore[empty-body]

    of_a, _, of_b = gradient.partition(" | ")
    facts = f"{said(formula, {'a': of_a, 'b': of_b})} Shapes: ``a`` and ``b`` broadcast; ``y`` is as both together."
    call = primitive(promote=promote, nondifferentiable=not rules)(
        documented(declaration, name, meaning, facts, example, shows)
    )
    call.vjp(**rules)
    return call


def said(formula: str, gradients: dict[str, str]) -> str:
    """The formula of an op and the gradients of its operands, as docstrings have them."""
    each = [f"``d{x} = {gradient}``" for x, gradient in gradients.items() if gradient]
    return f"Formula: ``y = {formula}``. Gradient: {', '.join(each) or 'none, the result is no float'}."


def documented(function: Any, name: str, meaning: str, facts: str, example: str, shows: str) -> Any:
    """``function`` with a name and a docstring of its own."""
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{meaning}\n\n{facts}\n\n>>> {example}\n{shows}\n"
    return function


def flat(g: Any) -> Any:
    """Zeros like ``g``: the gradient of a step function."""
    return filled(g, g.shape, 0, g.dtype)


# arithmetic

add = binary("add", "``a + b``; of bools, whether one is true.", "a + b", "g | g", "add(Tensor([1.0, 2.0]), 1)",
             "tensor([2., 3.])", a=lambda g: g, b=lambda g: g)  # fmt: skip
sub = binary("sub", "``a - b``.", "a - b", "g | -g", "sub(Tensor([1.0, 2.0]), Tensor([3]))", "tensor([-2., -1.])",
             a=lambda g: g, b=lambda g: -g)  # fmt: skip
mul = binary("mul", "``a * b``.", "a * b", "g * b | g * a", "mul(Tensor([1.0, 2.0]), 0.5)", "tensor([0.5, 1. ])",
             a=lambda g, b: g * b, b=lambda g, a: g * a)  # fmt: skip
div = binary("div", "``a / b``, of integers too a float.", "a / b", "g / b | -g * y / b", "div(Tensor([1, 2]), 4)",
             "tensor([0.25, 0.5 ])", promote="float", a=lambda g, b: g / b, b=lambda g, y, b: -g * y / b)  # fmt: skip
floor_div = binary("floor_div",
                   "``a // b``, rounded down. Integers by zero raise ZeroDivisionError; the gradient is zero.",
                   "floor(a / b)", "0.0 | 0.0", "floor_div(Tensor([7, -7]), 2)", "tensor([ 3, -4])", a=flat,
                   b=flat)  # fmt: skip
remainder = binary("remainder",
                   "``a - b * (a // b)``, which has the sign of ``b``. Integers by zero raise ZeroDivisionError.",
                   "a - b * floor(a / b)", "g | -g * floor(a / b)", "remainder(Tensor([7, -7]), 3)", "tensor([1, 2])",
                   a=lambda g: g, b=lambda g, a, b: -g * floor_div(a, b))  # fmt: skip


def _pow_a(g: Any, a: Any, b: Any) -> Any:
    if isinstance(b, Tensor):
        return g * (b * pow(a, where(eq(b, 0), 1.0, b - 1)))  # x**0 has derivatives at 0 too
    return flat(g) if b == 0 else g if b == 1 else g * (b * pow(a, b - 1))


def _pow_b(g: Any, y: Any, a: Any, b: Any) -> Any:
    if isinstance(a, Tensor):
        still = logical_and(eq(a, 0), ge(b, 0))  # 0**b stays 0
        return g * y * log(where(still, 1.0, a))
    if a == 0:
        return where(ge(b, 0), 0.0, g * -math.inf)
    return g * y * (math.log(a) if a > 0 else math.nan)


pow = binary("pow", "``a`` to the power ``b``. Integers to a negative power raise ArgumentError.", "a**b",
             "g * b * a ** (b - 1) | g * y * log(a)", "pow(Tensor([1.0, 3.0]), 2)", "tensor([1., 9.])", a=_pow_a,
             b=_pow_b)  # fmt: skip


def _larger(g: Any, a: Any, b: Any) -> Any:
    return where(lt(a, b), 0.0, where(eq(a, b), g * 0.5, g))


def _smaller(g: Any, a: Any, b: Any) -> Any:
    return where(gt(a, b), 0.0, where(eq(a, b), g * 0.5, g))


maximum = binary("maximum",
                 "The larger of ``a`` and ``b``, nan if one is; where they are equal each gets half of the gradient.",
                 "where(a > b, a, b)", "g * (a > b) | g * (b > a)", "maximum(Tensor([1.0, 4.0]), 2)",
                 "tensor([2., 4.])", a=_larger, b=lambda g, a, b: _larger(g, b, a))  # fmt: skip
minimum = binary("minimum",
                 "The smaller of ``a`` and ``b``, nan if one is; where they are equal each gets half of the gradient.",
                 "where(a < b, a, b)", "g * (a < b) | g * (b < a)", "minimum(Tensor([1.0, 4.0]), 2)",
                 "tensor([1., 2.])", a=_smaller, b=lambda g, a, b: _smaller(g, b, a))  # fmt: skip


def _polar(a: Any, b: Any) -> tuple[Any, Any]:
    """``(a, b) / (a² + b²)``, 0 at the origin, and right where the squares overflow: whatever divides both cancels out."""
    size = maximum(abs(a.detach()) if isinstance(a, Tensor) else math.fabs(a),
                   abs(b.detach()) if isinstance(b, Tensor) else math.fabs(b))  # fmt: skip
    size = where(eq(size, 0), 1.0, size)
    u, v = a / size, b / size
    square = u * u + v * v
    square = where(eq(square, 0), 1.0, square)
    return u / square / size, v / square / size


atan2 = binary("atan2", "The angle of the point (b, a), in radians from -π to π.", "arg(b + i a)",
               "g * b / (a * a + b * b) | -g * a / (a * a + b * b)", "atan2(Tensor([1.0, -1.0]), -1)",
               "tensor([ 2.3562, -2.3562])", promote="float", a=lambda g, a, b: g * _polar(a, b)[1],
               b=lambda g, a, b: -g * _polar(a, b)[0])  # fmt: skip

neg = unary("neg", "``-x``.", "-x", "-g", "neg(Tensor([1.0, -2.0]))", "tensor([-1.,  2.])", lambda g: -g,
            None)  # fmt: skip
abs = unary("abs", "``x`` without its sign; the gradient at 0 is 0.", "where(x < 0, -x, x)", "g * sign(x)",
            "abs(Tensor([1.0, -2.0]))", "tensor([1., 2.])", lambda g, x: g * sign(x), None)  # fmt: skip
sign: OpCall = unary("sign", "-1, 0 or 1; nan stays nan.", "where(x > 0, 1, where(x < 0, -1, x))", "0.0",
                     "sign(Tensor([3.0, 0.0, -2.0]))", "tensor([ 1.,  0., -1.])", flat, None)  # fmt: skip
floor = unary("floor", "Rounded down.", "⌊x⌋", "0.0", "floor(Tensor([1.5, -1.5]))", "tensor([ 1., -2.])", flat,
              None)  # fmt: skip
ceil = unary("ceil", "Rounded up.", "⌈x⌉", "0.0", "ceil(Tensor([1.5, -1.5]))", "tensor([ 2., -1.])", flat,
             None)  # fmt: skip
round = unary("round", "Rounded to the nearest integer; halves to the even one.", "⌊x⌉", "0.0",
              "round(Tensor([0.5, 1.5, 2.6]))", "tensor([0., 2., 3.])", flat, None)  # fmt: skip

# functions of a real number

exp = unary("exp", "e to the power ``x``.", "eˣ", "g * y", "exp(Tensor([0, 1]))", "tensor([1.    , 2.7183])",
            lambda g, y: g * y)  # fmt: skip
expm1 = unary("expm1", "``exp(x) - 1``, exact near 0.", "exp(x) - 1", "g * (y + 1)", "expm1(Tensor([0.0, 1.0]))",
              "tensor([0.    , 1.7183])", lambda g, y: g * (y + 1))  # fmt: skip
log = unary("log", "The natural logarithm.", "ln x", "g / x", "log(Tensor([1.0, 10.0]))", "tensor([0.    , 2.3026])",
            lambda g, x: g / x)  # fmt: skip
log1p = unary("log1p", "``log(1 + x)``, exact near 0.", "log(1 + x)", "g / (1 + x)", "log1p(Tensor([0.0, 1.0]))",
              "tensor([0.    , 0.6931])", lambda g, x: g / (x + 1))  # fmt: skip
sqrt = unary("sqrt", "The square root.", "x**0.5", "g / (2 * y)", "sqrt(Tensor([4.0, 9.0]))", "tensor([2., 3.])",
             lambda g, y: g / (2 * y))  # fmt: skip
sin = unary("sin", "The sine of radians.", "sin x", "g * cos(x)", "sin(Tensor([0.0, 1.0]))", "tensor([0.    , 0.8415])",
            lambda g, x: g * cos(x))  # fmt: skip
cos: OpCall = unary("cos", "The cosine of radians.", "cos x", "-g * sin(x)", "cos(Tensor([0.0, 1.0]))",
                    "tensor([1.    , 0.5403])", lambda g, x: -g * sin(x))  # fmt: skip
tan = unary("tan", "The tangent of radians.", "sin(x) / cos(x)", "g * (1 + y * y)", "tan(Tensor([0.0, 1.0]))",
            "tensor([0.    , 1.5574])", lambda g, y: g * (1 + y * y))  # fmt: skip
asin = unary("asin", "The arc sine, in radians.", "arcsin x", "g / sqrt(1 - x * x)", "asin(Tensor([0.0, 1.0]))",
             "tensor([0.    , 1.5708])", lambda g, x: g / sqrt((1 - x) * (1 + x)))  # fmt: skip
acos = unary("acos", "The arc cosine, in radians.", "arccos x", "-g / sqrt(1 - x * x)", "acos(Tensor([0.0, 1.0]))",
             "tensor([1.5708, 0.    ])", lambda g, x: -g / sqrt((1 - x) * (1 + x)))  # fmt: skip
atan = unary("atan", "The arc tangent, in radians.", "arctan x", "g / (1 + x * x)", "atan(Tensor([0.0, 1.0]))",
             "tensor([0.    , 0.7854])", lambda g, x: g / (1 + x * x))  # fmt: skip
sinh = unary("sinh", "The hyperbolic sine.", "(exp(x) - exp(-x)) / 2", "g * cosh(x)", "sinh(Tensor([0.0, 1.0]))",
             "tensor([0.    , 1.1752])", lambda g, x: g * cosh(x))  # fmt: skip
cosh: OpCall = unary("cosh", "The hyperbolic cosine.", "(exp(x) + exp(-x)) / 2", "g * sinh(x)",
                     "cosh(Tensor([0.0, 1.0]))", "tensor([1.    , 1.5431])", lambda g, x: g * sinh(x))  # fmt: skip
tanh = unary("tanh", "The hyperbolic tangent.", "sinh(x) / cosh(x)", "g * (1 - y * y)", "tanh(Tensor([0.0, 1.0]))",
             "tensor([0.    , 0.7616])", lambda g, y: g * (1 - y * y))  # fmt: skip
erf = unary("erf", "The error function, ``2/√π ∫₀ˣ exp(-t²) dt``.", "2/√π ∫₀ˣ exp(-t²) dt",
            "g * 2 / pi**0.5 * exp(-x * x)", "erf(Tensor([0.0, 1.0]))", "tensor([0.    , 0.8427])",
            lambda g, x: g * (2 / math.sqrt(math.pi) * exp(-x * x)))  # fmt: skip
sigmoid = unary("sigmoid", "``1 / (1 + exp(-x))``.", "1 / (1 + exp(-x))", "g * y * (1 - y)",
                "sigmoid(Tensor([0.0, 1.0]))", "tensor([0.5   , 0.7311])", lambda g, y: g * (y * (1 - y)))  # fmt: skip

# comparison and logic: the results are bool

eq = binary("eq", "``a == b``.", "a == b", "", "eq(Tensor([1, 2]), 2)", "tensor([False,  True])")  # fmt: skip
ne = binary("ne", "``a != b``.", "a != b", "", "ne(Tensor([1, 2]), 2)", "tensor([ True, False])")  # fmt: skip
lt = binary("lt", "``a < b``.", "a < b", "", "lt(Tensor([1, 2]), 2)", "tensor([ True, False])")  # fmt: skip
le = binary("le", "``a <= b``.", "a <= b", "", "le(Tensor([1, 2]), 2)", "tensor([ True,  True])")  # fmt: skip
gt = binary("gt", "``a > b``.", "a > b", "", "gt(Tensor([1, 2]), 1)", "tensor([False,  True])")  # fmt: skip
ge = binary("ge", "``a >= b``.", "a >= b", "", "ge(Tensor([1, 2]), 2)", "tensor([False,  True])")  # fmt: skip
logical_and = binary("logical_and", "Whether both are true (not 0).", "(a != 0) & (b != 0)", "",
                     "logical_and(Tensor([1, 0]), True)", "tensor([ True, False])")  # fmt: skip
logical_or = binary("logical_or", "Whether one or both are true (not 0).", "(a != 0) | (b != 0)", "",
                    "logical_or(Tensor([1, 0]), False)", "tensor([ True, False])")  # fmt: skip
logical_xor = binary("logical_xor", "Whether one is true (not 0) and one is not.", "(a != 0) ^ (b != 0)", "",
                     "logical_xor(Tensor([1, 0]), True)", "tensor([False,  True])")  # fmt: skip
logical_not = unary("logical_not", "Whether it is false (0).", "x == 0", "", "logical_not(Tensor([1, 0]))",
                    "tensor([False,  True])", None, None)  # fmt: skip
isfinite = unary("isfinite", "Whether it is neither infinite nor nan.", "abs(x) < inf", "",
                 "isfinite(Tensor([1.0, math.inf]))", "tensor([ True, False])", None, None)  # fmt: skip


def whole(call: OpCall) -> OpCall:
    """Have an op refuse floats: they have no bits to speak of."""

    @call.checks
    def _(*operands: Any) -> None:
        for x in operands:
            if isinstance(x, float) or (isinstance(x, Tensor) and x.is_floating):
                what = x.dtype if isinstance(x, Tensor) else "float"
                raise DTypeError(f"[{call.__name__}] takes integers or bools, not {what}; compare or cast it first")

    return call


bitwise_and = whole(binary("bitwise_and", "``a & b``, bit by bit; of bools, whether both are true.", "a & b", "",
                           "bitwise_and(Tensor([5, 6]), 3)", "tensor([1, 2])"))  # fmt: skip
bitwise_or = whole(binary("bitwise_or", "``a | b``, bit by bit; of bools, whether one or both are true.", "a | b", "",
                          "bitwise_or(Tensor([5, 6]), 3)", "tensor([7, 7])"))  # fmt: skip
bitwise_xor = whole(binary("bitwise_xor", "``a ^ b``, bit by bit; of bools, whether one is true and one is not.",
                           "a ^ b", "", "bitwise_xor(Tensor([5, 6]), 3)", "tensor([6, 5])"))  # fmt: skip
bitwise_not = whole(unary("bitwise_not", "``~x``, every bit turned; of bools, whether it is false.", "~x", "",
                          "bitwise_not(Tensor([5, -1]))", "tensor([-6,  0])", None, None))  # fmt: skip


@op(nondifferentiable=True)
def isnan(x: Tensor) -> Any:
    """Whether it is nan.

    Formula: ``y = x != x``. Gradient: none, the result is bool. Shapes: any; ``y`` as ``x``.

    >>> isnan(Tensor([1.0, math.nan]))
    tensor([False,  True])
    """
    return ne(x, x)


@op(nondifferentiable=True)
def isinf(x: Tensor) -> Any:
    """Whether it is infinite, of either sign.

    Formula: ``y = abs(x) == inf``. Gradient: none, the result is bool. Shapes: any; ``y`` as ``x``.

    >>> isinf(Tensor([1.0, -math.inf, math.nan]))
    tensor([False,  True, False])
    """
    return logical_and(logical_not(isfinite(x)), eq(x, x))


@primitive(promote="rest")
def where(condition: Tensor, a: Tensor | float, b: Tensor | float) -> Any:
    """``a`` where ``condition`` is true, elsewhere ``b``.

    Formula: ``y[i] = a[i]`` if ``condition[i]``, else ``b[i]``. Gradient: ``da = where(condition, g, 0.0)``,
    ``db = where(condition, 0.0, g)``. Shapes: all three broadcast.

    >>> where(Tensor([True, False]), Tensor([1.0, 2.0]), 0)
    tensor([1., 0.])
    """


where.vjp(a=lambda g, condition: where(condition, g, 0.0), b=lambda g, condition: where(condition, 0.0, g))


@op
def clip(x: Tensor, *, min: float | None = None, max: float | None = None) -> Any:
    """``x``, or the nearer limit outside of [min, max]. The gradient passes inside the limits, these included.

    ``min`` and ``max`` are numbers; one of them may be None. Errors: ArgumentError if both are.

    Formula: ``min ≤ y ≤ max``, as near to ``x`` as that allows. Gradient: ``dx = g · [min ≤ x ≤ max]``. Shapes: any; ``y``
    as ``x``.

    >>> clip(Tensor([-1.0, 0.5, 2.0]), min=0, max=1)
    tensor([0. , 0.5, 1. ])
    """
    if min is not None:
        x = maximum(x, min)
    return x if max is None else minimum(x, max)


@clip.vjp("x")
def _(g: Any, x: Any, min: Any, max: Any) -> Any:
    if min is not None:
        g = where(ge(x, min), g, 0.0)
    return g if max is None else where(le(x, max), g, 0.0)


@clip.checks
def _(x: Any, *, min: Any, max: Any) -> None:
    if min is None and max is None:
        raise ArgumentError("[clip] min and max are both None; give at least one limit")


@op(promote="float")
def rsqrt(x: Tensor) -> Any:
    """``1 / sqrt(x)``.

    Formula: ``y = 1 / sqrt(x)``. Gradient: ``dx = -0.5 * g * y**3``. Shapes: any; ``y`` as ``x``.

    >>> rsqrt(Tensor([4.0, 16.0]))
    tensor([0.5 , 0.25])
    """
    return 1.0 / sqrt(x)


rsqrt.vjp(x=lambda g, y: -0.5 * g * y * y * y)


@op
def square(x: Tensor) -> Any:
    """``x * x``.

    Formula: ``y = x * x``. Gradient: ``dx = 2 * g * x``. Shapes: any; ``y`` as ``x``.

    >>> square(Tensor([2.0, -3.0]))
    tensor([4., 9.])
    """
    return x * x


square.vjp(x=lambda g, x: g * (2 * x))


@op(promote="float")
def reciprocal(x: Tensor) -> Any:
    """``1 / x``.

    Formula: ``y = 1 / x``. Gradient: ``dx = -g * y**2``. Shapes: any; ``y`` as ``x``.

    >>> reciprocal(Tensor([2.0, 4.0]))
    tensor([0.5 , 0.25])
    """
    return 1.0 / x


reciprocal.vjp(x=lambda g, y: -g * y * y)


@op(promote="float")
def log2(x: Tensor) -> Any:
    """The logarithm to base 2.

    Formula: ``y = log(x) / log(2)``. Gradient: ``dx = g / (x * log(2))``. Shapes: any; ``y`` as ``x``.

    >>> log2(Tensor([1.0, 8.0]))
    tensor([0., 3.])
    """
    return log(x) * (1 / math.log(2))


@op(promote="float")
def log10(x: Tensor) -> Any:
    """The logarithm to base 10.

    Formula: ``y = log(x) / log(10)``. Gradient: ``dx = g / (x * log(10))``. Shapes: any; ``y`` as ``x``.

    >>> log10(Tensor([1.0, 1000.0]))
    tensor([0., 3.])
    """
    return log(x) * (1 / math.log(10))
