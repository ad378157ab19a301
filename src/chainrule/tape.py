"""The tape. A tensor knows the node that made it; a node knows its parents, and no tensor. So nothing refers to itself,
and reference counting frees it all.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

_numbers = count()

Edge = tuple[Any, int]  # (node, output index), or (leaf, 0): where the gradient of a tensor goes
Input = tuple[int, Edge, tuple[int, ...], Any, Any]  # (position, edge, shape, rule, what the rule named)
Flow = tuple[Edge, tuple[int, ...], Any]  # (edge, shape of its tensor, gradient)
Hook = Callable[[Any], Any]


class Leaf:
    """The end of the tape: where the gradient of a tensor that requires one adds up."""

    __slots__ = ("number", "grad", "hooks", "__weakref__")
    inputs: tuple[Input, ...] = ()
    outputs = None

    def __init__(self) -> None:
        self.number = next(_numbers)
        self.grad: Any = None
        self.hooks: dict[int, list[Hook]] | None = None


class Node:
    """One call on the tape.

    ``inputs`` has an ``Input`` for each argument that wants a gradient; None once the node is spent.
    ``vjp(node, inputs, g)`` gives a ``Flow`` for each of some inputs, from the gradient ``g`` of the output; or of
    several outputs, whose (shape, dtype) are in ``outputs``, from a tuple. ``call`` is for a vjp that does not use
    rules. ``number`` counts the nodes: a node has a greater one than its parents. ``hooks`` see the gradient of an
    output first; ``line`` is where the call was made, if anomalies are looked for.
    """

    __slots__ = ("number", "name", "vjp", "inputs", "call", "outputs", "hooks", "line", "__weakref__")

    def __init__(
        self,
        name: str,
        vjp: Callable[..., list[Flow]],
        inputs: list[Input] | None,
        call: Any = None,
        outputs: list[Any] | None = None,
    ) -> None:
        self.number, self.name, self.vjp = next(_numbers), name, vjp
        self.inputs, self.call, self.outputs = inputs, call, outputs
        self.hooks: dict[int, list[Hook]] | None = None
        self.line: str | None = None
