"""Reverse mode: one walk back along the tape."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush
from typing import Any

from .domain.errors import GraphError, ShapeError
from .launch import create
from .modes import listening, modes
from .tape import Flow, Hook, Node
from .tensor import Tensor


def backward(
    tensor: Tensor, gradient: Any = None, *, retain_graph: bool | None = None, create_graph: bool = False
) -> None:
    """Add the derivative of ``tensor`` to the ``grad`` of every leaf it depends on.

    ``gradient`` weighs the elements of ``tensor``; it may be left out if there is only one. The tape is consumed
    unless ``retain_graph``. With ``create_graph`` the gradients are on the tape themselves (prefer ``grad`` then: a
    ``grad`` that leads back to its own leaf is a reference cycle). Errors: GraphError if nothing requires a gradient,
    if the tape was consumed, or if a value it needs was changed in place.

    >>> x = Tensor([1.0, 2.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    tensor([2., 4.])
    """
    retain = create_graph if retain_graph is None else retain_graph
    root = rooted(tensor, gradient)
    taken = {root[2]}
    for leaf, gradients in walk([root], (), retain, create_graph).items():
        g = gradients[0]
        if listening and modes.recorder is not None:
            modes.recorder.reads_gradient(leaf)
        if leaf.grad is not None:
            leaf.grad = leaf.grad + g
        elif not g.storage.views and type(g.array.base) is not g.backend.array_type and g not in taken:
            leaf.grad = g
            taken.add(g)
        else:
            leaf.grad = g.clone()  # a leaf owns the memory of its gradient


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Any = None,
    *,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Any, ...]:
    """The derivatives of ``outputs`` (a tensor or several) by ``inputs`` (a tensor or several), as a tuple.

    ``grad_outputs`` weighs the outputs. With ``create_graph`` the result can be differentiated again. An input on
    which no output depends is a GraphError, or None with ``allow_unused``.

    >>> x = Tensor(3.0, requires_grad=True)
    >>> (dy,) = grad(x * x * x, x, create_graph=True)
    >>> dy.item(), grad(dy, x)[0].item()
    (27.0, 18.0)
    """
    outputs, inputs = listed(outputs), listed(inputs)
    seeds = [None] * len(outputs) if grad_outputs is None else listed(grad_outputs)
    for i, x in enumerate(inputs):
        if x.edge is None:
            raise GraphError(f"input {i} does not require a gradient; set requires_grad before it is used")
    roots = [rooted(y, g) for y, g in zip(outputs, seeds, strict=True)]
    retain = create_graph if retain_graph is None else retain_graph
    edges: list[Any] = [x.edge for x in inputs]
    arrived = walk(roots, {node for node, _ in edges}, retain, create_graph)
    found = tuple(arrived.get(node, {}).get(index) for node, index in edges)
    for i, g in enumerate(found):
        if g is None and not allow_unused:
            raise GraphError(f"the outputs do not depend on input {i}; with allow_unused=True its gradient is None")
    return found


def listed(tensors: Any) -> Any:
    """One tensor as a list, several as they are."""
    return [tensors] if isinstance(tensors, Tensor) else tensors


def rooted(tensor: Tensor, gradient: Any) -> Flow:
    """Where a walk begins: the edge of ``tensor``, its shape, and the gradient that enters there."""
    if tensor.edge is None:
        raise GraphError(
            "the tensor does not require a gradient: nothing it was made from does, or it was made under no_grad"
        )
    data = tensor.array
    if gradient is None:
        if data.size != 1:
            raise GraphError(f"the tensor has shape {data.shape}: give its gradient, or reduce it to one element first")
        gradient = create("full", tensor.backend, {"shape": data.shape, "value": 1, "dtype": tensor.dtype})
    elif not isinstance(gradient, Tensor):
        gradient = Tensor(gradient, dtype=tensor.dtype, device=tensor.device)
    if gradient.shape != data.shape:
        raise ShapeError(f"the gradient has shape {gradient.shape} but its tensor has {data.shape}")
    return tensor.edge, data.shape, gradient


def walk(
    roots: list[Flow], targets: Any, retain: bool, create_graph: bool, stop: bool = False
) -> dict[Any, dict[int, Any]]:
    """Carry gradients back from ``roots`` to the leaves, or to ``targets`` only: {node or leaf: {output index: gradient}}.

    With ``stop`` nothing goes through a target to another. A node is younger than its parents, so the youngest that
    waits has all its gradients: a heap, and no recursion.
    """
    path = between(roots, targets, stop) if targets else None
    arrived: dict[Any, dict[int, Any]] = {}
    heap: list[tuple[int, Node]] = []
    hooked: list[Any] = []  # leaves with hooks
    arriving: Any = roots if path is None else [root for root in roots if root[0][0] in path]
    before, modes.grad = modes.grad, create_graph
    watch = modes.anomaly
    autocast, modes.autocast = modes.autocast, None  # gradients have the dtypes of the forward
    try:
        while True:
            for (node, index), shape, g in arriving:
                if g.array.shape != shape:
                    g = g.sum_to(shape)  # broadcasting is undone here, once, for every op
                if node not in arrived:
                    arrived[node] = {index: g}
                    if type(node) is Node:
                        heappush(heap, (-node.number, node))
                    elif node.hooks is not None:
                        hooked.append(node)
                else:
                    gradients = arrived[node]
                    gradients[index] = gradients[index] + g if index in gradients else g
            if not heap:
                for leaf in hooked:
                    apply_hooks(leaf.hooks, arrived[leaf])
                return arrived
            node = heappop(heap)[1]
            if node.hooks is not None:
                apply_hooks(node.hooks, arrived[node])
            gradients = arrived[node] if node in targets else arrived.pop(node)
            inputs: Any = node.inputs if path is None else path[node]
            arriving = ()
            if inputs is None:
                raise spent(node)
            if inputs:  # a target may have nothing beyond it
                arriving = step(node, inputs, gradients, watch)
                if not retain:
                    node.inputs = node.call = None
    finally:
        modes.grad, modes.autocast = before, autocast


def step(node: Node, inputs: Any, gradients: dict[int, Any], watch: Any) -> list[Flow]:
    """From the gradients of a node's outputs to those of its inputs; ``watch``, if any, looks for anomalies in them."""
    g = gradients[0] if node.outputs is None else completed(node, gradients)
    return node.vjp(node, inputs, g) if watch is None else watch.step(node, inputs, g)


def apply_hooks(hooks: dict[int, list[Hook]], gradients: dict[int, Any]) -> None:
    """Show complete gradients to their hooks, and take what they return in their place."""
    for index, functions in hooks.items():
        for function in [*functions]:
            if index in gradients:
                replaced = function(gradients[index])
                if replaced is not None:
                    if not isinstance(replaced, Tensor) or replaced.shape != gradients[index].shape:
                        what = getattr(replaced, "shape", type(replaced).__name__)
                        raise ShapeError(
                            f"a hook returned {what} for a gradient of shape {gradients[index].shape}; return a tensor of "
                            "that shape, or None to leave it"
                        )
                    gradients[index] = replaced


def completed(node: Node, gradients: dict[int, Any]) -> tuple[Any, ...]:
    """One gradient for each of several outputs: zeros where none arrived, None where there can be none."""
    backend = next(iter(gradients.values())).backend
    zeros = [
        create("full", backend, {"shape": o[0], "value": 0, "dtype": o[1]}) if o and k not in gradients else None
        for k, o in enumerate(node.outputs or ())
    ]
    return tuple(gradients.get(k, zero) for k, zero in enumerate(zeros))


def between(roots: list[Flow], targets: Any, stop: bool) -> dict[Any, Any]:
    """The nodes on a way from ``roots`` to ``targets`` (nodes and leaves), each with its inputs on such a way."""
    oldest = min(t.number for t in targets)
    reached: set[Any] = set()
    stack = [edge[0] for edge, _, _ in roots]
    while stack:
        node = stack.pop()
        if node.number < oldest or node in reached:
            continue
        reached.add(node)
        if node in targets and stop:
            continue
        if node.inputs is None and node not in targets:
            raise spent(node)
        stack.extend(edge[0] for _, edge, *_ in node.inputs or ())
    path: dict[Any, Any] = {t: [] for t in targets}
    for node in sorted(reached, key=lambda n: n.number):  # parents first
        if not (stop and node in targets):
            inputs = [i for i in node.inputs or () if i[1][0] in path]
            if inputs:
                path[node] = inputs
    return path


def spent(node: Node) -> GraphError:
    """The error of a second walk."""
    return GraphError(
        f"[{node.name}] backward went through this call before and released what it had saved; "
        "call the first backward with retain_graph=True"
    )
