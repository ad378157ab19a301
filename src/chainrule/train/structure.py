"""Data in parts: several inputs and several targets, in tuples, or in dicts by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from inspect import Parameter, signature
from typing import Any

from ..domain.errors import ArgumentError, DataError, unknown
from ..nn import Sequential
from ..nn.containers import Container

POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


def leaves(tree: Any) -> Iterator[Any]:
    """What tuples and dicts hold, in order, however deep; a list is an array.

    >>> [*leaves((1, {"a": 2, "b": (3, 4)}))]
    [1, 2, 3, 4]
    """
    if in_parts(tree):
        for part in tree.values() if isinstance(tree, dict) else tree:
            yield from leaves(part)
    else:
        yield tree


def rebuilt(tree: Any, values: Iterator[Any]) -> Any:
    """``tree`` with its leaves replaced by ``values``.

    >>> rebuilt((1, {"a": 2}), iter("xy"))
    ('x', {'a': 'y'})
    """
    if isinstance(tree, dict):
        return {key: rebuilt(part, values) for key, part in tree.items()}
    return tuple(rebuilt(part, values) for part in tree) if isinstance(tree, tuple) else next(values)


def parted(data: Any, several: bool) -> Any:
    """``data`` with parts in tuples and dicts alone: a list of arrays is one if ``several`` parts are expected."""
    if isinstance(data, dict):
        return {key: parted(part, False) for key, part in data.items()}
    if isinstance(data, tuple) or (several and isinstance(data, list) and all(hasattr(p, "__array__") for p in data)):
        return parted(data[0], False) if len(data) == 1 else tuple(parted(part, False) for part in data)
    return data


def in_parts(data: Any) -> bool:
    """Whether ``data`` has parts."""
    return isinstance(data, (tuple, dict))


def named_leaves(name: str, tree: Any) -> Iterator[tuple[str, Any]]:
    """The leaves with what to call them in errors.

    >>> [name for name, _ in named_leaves("x", ({"a": 1}, 2))]
    ["x[0]['a']", 'x[1]']
    """
    if in_parts(tree):
        for key, part in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from named_leaves(f"{name}[{key!r}]", part)
    else:
        yield name, tree


class Interface:
    """The inputs of a model: their ``names``, and how many there are, from ``least`` to ``most`` (None: any number).

    They are the model's ``input_names``, or the positional arguments of its ``forward``.
    """

    def __init__(self, model: Any) -> None:
        names = getattr(model, "input_names", None)
        self.masks = isinstance(model, (Container, Sequential))  # whether what it can do without is a mask, booleans
        self.most: int | None
        if names is not None:
            self.names, self.least, self.most = tuple(names), len(names), len(names)
            return
        arguments = [*signature(model.forward).parameters.values()]
        taken = [a for a in arguments if a.kind in POSITIONAL]
        self.names = tuple(a.name for a in taken)
        self.least = sum(a.default is a.empty for a in taken)
        self.most = None if any(a.kind is Parameter.VAR_POSITIONAL for a in arguments) else len(taken)

    def ordered(self, name: str, x: Any) -> tuple[Any, ...]:
        """The inputs in order, given as one, in a tuple, or in a dict by name. Errors: ArgumentError, DataError."""
        if isinstance(x, dict):
            if self.most is None:
                return tuple(x.values())
            for key in x:
                if key not in self.names:
                    raise unknown("input of the model", key, self.names)
            first = self.names[: max(len(x), self.least)]
            missing = [key for key in first if key not in x]
            if missing:
                raise ArgumentError(f"[{name}] x has no {missing[0]!r}: the model takes {', '.join(self.names)}")
            return tuple(x[key] for key in first)
        parts = tuple(x) if isinstance(x, tuple) else (x,)
        if len(parts) < self.least or (self.most is not None and len(parts) > self.most):
            raise DataError(f"[{name}] x has {counted(len(parts), 'part')}, but the model takes {self}")
        if self.masks and len(parts) > self.least and str(parts[self.least].dtype) != "bool":
            dtype = parts[self.least].dtype
            raise DataError(
                f"[{name}] x has {len(parts)} parts, the last of {dtype}, but the model takes {self} and a mask, bool"
            )
        return parts

    def most_of(self, row: tuple[Any, ...]) -> int | None:
        """How many inputs at most are in a row of inputs, targets and weights, whose types tell a mask from a target."""
        if self.masks and self.least < len(row) and str(row[self.least].dtype) != "bool":
            return self.least
        return self.most

    def __str__(self) -> str:
        names = self.names[: self.least] if self.masks else self.names
        return f"{counted(len(names), 'input')} ({', '.join(names)})"


def counted(number: int, what: str) -> str:
    """A number of things in words.

    >>> counted(1, "input"), counted(2, "input")
    ('1 input', '2 inputs')
    """
    return f"{number} {what}{'' if number == 1 else 's'}"


def by_name(name: str, what: str, given: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """``given``, if its keys are among ``names``. Errors: ArgumentError with the nearest."""
    known = [*names]
    for key in given:
        if key not in known:
            raise unknown(f"output of the model in {what} of {name}", str(key), known)
    return given
