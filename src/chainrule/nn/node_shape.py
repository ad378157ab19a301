"""The shapes of nodes, found by running what leads to them once it is copied."""

from __future__ import annotations

import copy

from ..creation import zeros
from ..domain.errors import ArgumentTypeError
from ..modes import no_grad
from ..random import fork_rng
from ..tensor import Tensor
from .graph import Graph, needed
from .node import Node

TRIED = (2, 8), (3, 9)  # sizes of the batch, and where a size is open: what differs between the two is open, too


def node_shape(node: Node) -> tuple[int | None, ...]:
    """See ``Node.shape``."""
    graph = Graph.__new__(Graph)
    graph._draw([start for start in needed([node]) if start.is_input], node)
    graph, found = copy.deepcopy(graph).eval(), []  # the layers themselves find their sizes with their Graph
    with fork_rng(0), no_grad():
        for batch, size in TRIED:
            shapes = [[batch, *(size if n is None else n for n in shape[1:])] for shape in graph.input_shapes]
            y = graph(*(zeros(*shape, dtype=dtype) for shape, dtype in zip(shapes, graph.input_dtypes, strict=True)))
            if not isinstance(y, Tensor):
                raise ArgumentTypeError(f"{node!r} is several values and has no one shape: take node[0], node[1]")
            found.append(y.shape)
    return tuple(a if a == b else None for a, b in zip(*found, strict=True))
