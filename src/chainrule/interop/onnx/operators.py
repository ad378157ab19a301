"""The operators of ONNX by name: each a function of tensors, whose keyword arguments are its attributes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from inspect import Parameter, signature
from typing import Any

from ...domain.errors import ArgumentError, FileFormatError, NotSupportedError
from ...tensor import Tensor

FAMILIES = (
    "elementwise activation reduce shape index scatter resize sample linear conv pool norm recurrent attention generate "
    "control sequence loss"
).split()
DTYPES = {  # the numbers that files have for them
    1: "float32",
    2: "uint8",
    3: "int8",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    16: "bfloat16",
}
MOST_ELEMENTS = 1 << 31  # of one tensor: what is larger was not meant


@dataclass(frozen=True)
class Operator:
    """A function, the attributes it has, and whether it wants to know the opset and how many outputs are wanted."""

    function: Callable[..., Any]
    attributes: dict[str, str]  # the names that files have, and the keywords
    opset: bool
    outputs: bool
    least: int  # inputs
    most: float
    needed: frozenset[str]  # attributes without a default


OPERATORS: dict[str, Operator] = {}


def operator(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate a function as what operators do: inputs by place, None for those left out, attributes by keyword.

    Keywords that end in ``_`` are those attributes whose names Python has taken. ``opset`` is the version of the operator set
    and ``outputs`` how many are wanted, for functions that ask.
    """

    def known(function: Callable[..., Any]) -> Callable[..., Any]:
        given = signature(function).parameters.values()
        named = {p.name for p in given if p.kind is Parameter.KEYWORD_ONLY}
        places = sum(p.kind is Parameter.POSITIONAL_OR_KEYWORD for p in given)
        most = float("inf") if any(p.kind is Parameter.VAR_POSITIONAL for p in given) else places
        least = sum(p.kind is Parameter.POSITIONAL_OR_KEYWORD and p.default is Parameter.empty for p in given)
        attributes = {name.rstrip("_"): name for name in named - {"opset", "outputs"}}
        bare = {p.name for p in given if p.kind is Parameter.KEYWORD_ONLY and p.default is Parameter.empty}
        needed = frozenset(key for key, name in attributes.items() if name in bare)
        for name in names:
            OPERATORS[name] = Operator(function, attributes, "opset" in named, "outputs" in named, least, most, needed)
        return function

    return known


@cache
def operators() -> dict[str, Operator]:
    """All of them.

    >>> len(operators()) >= 150, "Conv" in operators()
    (True, True)
    """
    for family in FAMILIES:
        import_module(f".{family}", __package__)
    return OPERATORS


def integers(x: Any) -> list[int]:
    """The values of a tensor of integers, as sizes and axes are given: a list, also of one."""
    return [int(n) for n in x.reshape(-1).numpy().tolist()]


def axes_in(x: Any, axes: Any) -> tuple[int, ...]:
    """Axes counted from the first. Errors: ArgumentError for one that x has not."""
    found = []
    for axis in (axes,) if isinstance(axes, int) else axes:
        if not -x.ndim <= axis < x.ndim:
            raise ArgumentError(f"axis {axis} of a tensor of shape {x.shape}")
        found.append(axis % x.ndim)
    return tuple(found)


def sized(shape: Any) -> tuple[int, ...]:
    """A shape that can be made. Errors: FileFormatError for negative and gigantic sizes."""
    size = 1
    for n in shape:
        size *= n
        if n < 0 or size > MOST_ELEMENTS:
            raise FileFormatError(
                f"a tensor of shape {tuple(shape)} is to be made, expected at most {MOST_ELEMENTS} elements"
            )
    return tuple(shape)


def dtype_of(number: int) -> str:
    """The dtype of its number. Errors: NotSupportedError for one that chainrule has not."""
    if number not in DTYPES:
        names = {4: "uint16", 8: "string", 12: "uint32", 13: "uint64", 14: "complex64", 15: "complex128"}
        raise NotSupportedError(
            f"the dtype {names.get(number, number)} of ONNX; expected one of {', '.join(DTYPES.values())}"
        )
    return DTYPES[number]


def constant(value: Any, like: Any, dtype: Any = None) -> Tensor:
    """A tensor of values on the device of another."""
    return Tensor(value, dtype=dtype, device=like.device)
