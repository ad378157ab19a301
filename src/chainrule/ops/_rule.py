"""A rule: the gradient of one argument, as a function that names what it needs."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any

from ..saved import Saved, save, save_output
from ..tensor import Tensor


class Rule:
    """A ``function`` of ``g`` and of what else it names. ``sources`` say where a call has that; ``saves``, if a tensor."""

    __slots__ = ("function", "sources", "saves")

    def __init__(self, op: Any, function: Callable[..., Any]) -> None:
        _, *names = signature(function).parameters
        self.function, self.sources = function, [source(op, name) for name in names]
        self.saves = any(kind in ("tensor", "list", "output") for kind, _ in self.sources)


def source(op: Any, name: str) -> tuple[str, Any]:
    """What kind of thing a rule calls ``name``, and which of its kind."""
    stem, _, attribute = name.rpartition("_")
    if name in op.tensors:
        position = op.tensors.index(name)
        return ("list" if op.variadic and position == op.last else "tensor"), position
    if name in op.outputs:
        return "output", op.outputs.index(name)
    if name in op.params:
        return "param", name
    if stem in op.tensors and attribute in ("shape", "dtype"):
        return attribute, op.tensors.index(stem)
    if name == "i" and op.variadic:
        return "place", op.last
    raise TypeError(f"[{op.name}] a rule names {name}, which is no argument, output or parameter of the op")


def named(sources: list[tuple[str, Any]], args: Any, params: dict[str, Any], result: Any, position: int) -> list[Any]:
    """What the rule of the argument at ``position`` names, ready to be kept."""
    values: list[Any] = []
    for kind, which in sources:
        if kind == "tensor":
            a = args[which]
            values.append(Saved(a, a.edge) if isinstance(a, Tensor) else a)
        elif kind == "param":
            values.append(params[which])
        elif kind == "shape":
            values.append(args[which].array.shape)
        elif kind == "output":
            values.append(save_output(result[which] if type(result) is tuple else result, which))
        elif kind == "dtype":
            values.append(args[which].dtype)
        elif kind == "list":
            values.append(save([*args[which:]]))
        else:
            values.append(position - which)  # the place in the list
    return values
