"""What the tape keeps for a gradient: arrays, never the tensor whose own node keeps them."""

from __future__ import annotations

from typing import Any

from .domain.errors import GraphError
from .tape import Edge, Node
from .tensor import Tensor, wrap


class Saved:
    """A tensor as it was: its array, its memory, the version that had, and its edge."""

    __slots__ = ("array", "backend", "storage", "version", "edge")

    def __init__(self, tensor: Tensor, edge: Edge | None) -> None:
        self.array, self.backend, self.edge = tensor.array, tensor.backend, edge
        self.storage = storage = tensor.storage
        self.version = storage.version

    def restore(self, node: Node) -> Tensor:
        """The tensor again, if nobody wrote to its memory since ``node`` saved it."""
        if self.storage.version != self.version:
            raise GraphError(
                f"[{node.name}] its gradient needs a tensor of shape {self.array.shape} that was changed in place after "
                f"the call (version {self.version} then, {self.storage.version} now): write x = x + y, or change it "
                "after backward"
            )
        edge = self.edge
        if edge is not None and edge[0] is None:
            edge = node, edge[1]
        return wrap(self.array, self.backend, self.storage, edge)


def save(value: Any) -> Any:
    """A tensor as ``Saved``, each of a list of them, and anything else as it is."""
    if isinstance(value, Tensor):
        return Saved(value, value.edge)
    return [save(v) for v in value] if isinstance(value, list) else value


def save_output(tensor: Tensor, k: int) -> Saved:
    """Output ``k`` of the node that saves it: its edge is (None, k), because (node, k) would be a reference cycle."""
    return Saved(tensor, (None, k) if tensor.is_floating else None)


def restore(values: Any, node: Node) -> list[Any]:
    """What was saved among ``values``, and in lists among them, as tensors again."""
    restored = []
    for v in values:
        if isinstance(v, Saved):
            v = v.restore(node)
        elif isinstance(v, list):
            v = restore(v, node)
        restored.append(v)
    return restored
