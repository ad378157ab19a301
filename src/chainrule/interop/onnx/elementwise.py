"""Arithmetic, comparisons and logic of ONNX, element by element."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

from ... import ops
from ...domain.errors import ArgumentError
from .operators import operator


def asinh(x: Any) -> Any:
    """By the logarithm, of the absolute value: no digits are lost below 0."""
    a = ops.abs(x)
    return ops.sign(x) * ops.log1p(a + a * a / (1 + ops.sqrt(a * a + 1)))


def div(a: Any, b: Any) -> Any:
    """The quotient; of integers, cut towards zero."""
    if a.is_floating:
        return ops.div(a, b)
    return ops.floor_div(ops.abs(a), ops.abs(b)) * ops.sign(a) * ops.sign(b)


def power(a: Any, b: Any) -> Any:
    """In the dtype of the base."""
    if a.dtype == b.dtype:
        return ops.pow(a, b)
    if a.is_floating:
        return ops.pow(a, b.to(dtype=a.dtype))
    return ops.pow(a.to(dtype="float64"), b.to(dtype="float64")).to(dtype=a.dtype)


UNARY: dict[str, Callable[[Any], Any]] = {
    "Abs": ops.abs,
    "Acos": ops.acos,
    "Acosh": lambda x: ops.log(x + ops.sqrt(x * x - 1)),
    "Asin": ops.asin,
    "Asinh": asinh,
    "Atan": ops.atan,
    "Atanh": lambda x: (ops.log1p(x) - ops.log1p(-x)) * 0.5,
    "BitwiseNot": ops.bitwise_not,
    "Ceil": ops.ceil,
    "Cos": ops.cos,
    "Cosh": ops.cosh,
    "Erf": ops.erf,
    "Exp": ops.exp,
    "Floor": ops.floor,
    "Identity": lambda x: x,
    "IsNaN": ops.isnan,
    "Log": ops.log,
    "Neg": ops.neg,
    "Not": ops.logical_not,
    "Reciprocal": ops.reciprocal,
    "Round": ops.round,
    "Sign": ops.sign,
    "Sin": ops.sin,
    "Sinh": ops.sinh,
    "Sqrt": ops.sqrt,
    "Tan": ops.tan,
}
BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "Add": ops.add,
    "And": ops.logical_and,
    "BitwiseAnd": ops.bitwise_and,
    "BitwiseOr": ops.bitwise_or,
    "BitwiseXor": ops.bitwise_xor,
    "Div": div,
    "Equal": ops.eq,
    "Greater": ops.gt,
    "GreaterOrEqual": ops.ge,
    "Less": ops.lt,
    "LessOrEqual": ops.le,
    "Mul": ops.mul,
    "Or": ops.logical_or,
    "Pow": power,
    "Sub": ops.sub,
    "Xor": ops.logical_xor,
}


def unary(name: str, function: Callable[[Any], Any]) -> None:
    """An operator of one input."""
    operator(name)(lambda x: function(x))


def binary(name: str, function: Callable[[Any, Any], Any]) -> None:
    """An operator of two inputs, which broadcast; before opset 7, where they are told to, from an axis on."""

    @operator(name)
    def call(a: Any, b: Any, *, broadcast: int = 0, axis: int | None = None) -> Any:
        if axis is not None:
            b = b.reshape(*b.shape, *[1] * (a.ndim - axis % a.ndim - b.ndim))
        return function(a, b)


for _name, _unary in UNARY.items():
    unary(_name, _unary)
for _name, _binary in BINARY.items():
    binary(_name, _binary)


@operator("Mod")
def mod(a: Any, b: Any, *, fmod: int = 0) -> Any:
    """What is left of a division: with the sign of the divisor, or of the dividend with ``fmod``."""
    if not fmod:
        return ops.remainder(a, b)
    rest = ops.remainder(ops.abs(a), ops.abs(b))
    return ops.where(a < 0, -rest, rest)


@operator("BitShift")
def bit_shift(a: Any, b: Any, *, direction: str) -> Any:
    """Times or through a power of two."""
    if direction not in ("LEFT", "RIGHT"):
        raise ArgumentError(f"BitShift in the direction {direction!r}; expected LEFT or RIGHT")
    wide, by = a.to(dtype="int64"), ops.clip(b.to(dtype="int64"), min=0, max=62)
    powers = ops.pow(by * 0 + 2, by)
    return (wide * powers if direction == "LEFT" else ops.floor_div(wide, powers)).to(dtype=a.dtype)


@operator("IsInf")
def is_inf(x: Any, *, detect_negative: int = 1, detect_positive: int = 1) -> Any:
    """Infinite, with one of the signs that are asked for."""
    y = ops.isinf(x)
    if not detect_negative:
        y = ops.logical_and(y, x > 0)
    return y if detect_positive else ops.logical_and(y, x < 0)


@operator("Where")
def where(condition: Any, a: Any, b: Any) -> Any:
    """``a`` where the condition is true, elsewhere ``b``."""
    return ops.where(condition, a, b)


@operator("Sum")
def total(*xs: Any) -> Any:
    """The sum of all inputs."""
    return reduce(ops.add, xs)


@operator("Mean")
def mean(*xs: Any) -> Any:
    """The mean of all inputs."""
    return reduce(ops.add, xs) / len(xs)


@operator("Max")
def largest(*xs: Any) -> Any:
    """The largest of all inputs."""
    return reduce(ops.maximum, xs)


@operator("Min")
def smallest(*xs: Any) -> Any:
    """The smallest of all inputs."""
    return reduce(ops.minimum, xs)


@operator("Clip")
def clip(x: Any, low: Any = None, high: Any = None, *, min_: float | None = None, max_: float | None = None) -> Any:
    """Between limits: attributes before opset 11, inputs since."""
    if min_ is not None or max_ is not None:
        return ops.clip(x, min=min_, max=max_)
    x = x if low is None else ops.maximum(x, low)
    return x if high is None else ops.minimum(x, high)
