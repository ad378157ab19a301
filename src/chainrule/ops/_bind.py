"""From the arguments a user gave to those of the op."""

from __future__ import annotations

from typing import Any

from ..domain.errors import ArgumentTypeError
from ..launch import converted
from ..tensor import Tensor

ALIASES = {"dim": "axis", "keepdim": "keepdims"}  # PyTorch's names, taken here and nowhere else


def bind(op: Any, args: Any, params: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Put every argument in its place: tensors given by name, parameters given by position or left out. Then check."""
    if "dim" in params or "keepdim" in params:
        for alias, name in ALIASES.items():
            if alias in params and name in params:
                raise ArgumentTypeError(f"[{op.name}] got {name} twice: as {name} and as {alias}")
        params = {ALIASES.get(name, name) if name not in op.params else name: value for name, value in params.items()}
    if op.variadic:
        args = spread(op, args, params)
    elif len(args) != len(op.tensors):
        args = placed(op, args, params)
    args = converted(op.name, args)
    if op.variadic:
        for x in args[op.last :]:
            if not isinstance(x, Tensor):
                raise ArgumentTypeError(
                    f"[{op.name}] got a {type(x).__name__} among its tensors; make it a tensor first"
                )
    given = bool(params)
    if params.keys() != op.params:
        params = {**op.defaults, **params}
        if params.keys() != op.params:
            raise misfit(op, params)
    if given:
        for name, value in params.items():
            if isinstance(value, Tensor):
                raise ArgumentTypeError(
                    f"[{op.name}] the parameter {name} is a tensor, which would get no gradient; {[*op.params]} are "
                    "Python values"
                )
        if op.normalise is not None:
            params = {**params, **op.normalise(*args, **params)}
    if op.check is not None:
        op.check(*args, **params)
    return args, params


def placed(op: Any, args: Any, params: dict[str, Any]) -> list[Any]:
    """As many arguments as the op has tensors; ``params`` gives those it names and takes those that are too many."""
    n = len(op.tensors)
    if len(args) > n + len(op.params):
        raise ArgumentTypeError(f"[{op.name}] takes {op.tensors} and {[*op.params]}, but got {len(args)} arguments")
    for name, value in zip(op.params, args[n:], strict=False):
        if name in params:
            raise ArgumentTypeError(f"[{op.name}] got {name} twice")
        params[name] = value
    found = list(args[:n])
    for name in op.tensors[len(found) :]:
        if name not in params and name not in op.optional:
            raise ArgumentTypeError(f"[{op.name}] {name} is missing; it takes {op.tensors} and {[*op.params]}")
        found.append(params.pop(name, None))
    return found


def spread(op: Any, args: Any, params: dict[str, Any]) -> list[Any]:
    """The arguments of an op that ends in ``*xs``, where one list may stand for them, with parameters after it."""
    lead = op.last
    if len(args) > lead and isinstance(args[lead], (list, tuple)):
        rest = args[lead + 1 :]
        if len(rest) > len(op.params):
            raise ArgumentTypeError(
                f"[{op.name}] takes a list of tensors and {[*op.params]}, but got {len(args)} arguments"
            )
        for name, value in zip(op.params, rest, strict=False):
            params[name] = value
        args = [*args[:lead], *args[lead]]
    if len(args) < lead:
        raise ArgumentTypeError(f"[{op.name}] {op.tensors[len(args)]} is missing; it takes {op.tensors}")
    return list(args)


def misfit(op: Any, params: dict[str, Any]) -> ArgumentTypeError:
    """The error for parameters that are unknown or missing."""
    unknown = [name for name in params if name not in op.params]
    missing = [name for name in op.params if name not in params]
    what = f"does not know {unknown}" if unknown else f"needs {missing}"
    return ArgumentTypeError(f"[{op.name}] {what}; it takes {op.tensors} and by name {[*op.params]}")
