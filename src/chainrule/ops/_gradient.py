"""Where the gradient of a call comes from: the rules of its op, a kernel of its backend, or its body."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..autograd import grad
from ..domain.errors import GraphError
from ..launch import caller, launch
from ..modes import enable_grad, modes
from ..saved import restore, save
from ..tape import Flow, Input, Node
from ..tensor import Tensor
from ._rule import named


class Call(NamedTuple):
    """What is kept of a call whose gradient is not left to rules."""

    op: Any
    params: dict[str, Any]
    arity: int  # the number of arguments
    args: list[Any] | None  # saved, if a rule is missing
    saved: list[Any] | None  # by the kernel, for its own gradient


def attach(op: Any, args: Any, params: dict[str, Any], result: Any, kernel_saved: Any) -> Any:
    """Put a call on the tape: a node that keeps what the gradient will need, and an edge to it from each output."""
    inputs: list[Input] = []
    vjp: Any = by_rules
    call = None
    for position, a in enumerate(args):
        if isinstance(a, Tensor) and a.edge is not None:
            rule = op.rules[position if position < op.last else op.last]
            if rule is None:
                vjp = by_body
                inputs.append((position, a.edge, a.array.shape, None, ()))
            else:
                kept = named(rule.sources, args, params, result, position) if rule.sources else ()
                inputs.append((position, a.edge, a.array.shape, rule, kept))
    if vjp is by_body or kernel_saved is not None:
        vjp, call = without_rules(op, args, params, vjp, kernel_saved)
    node = Node(op.name, vjp, inputs, call)
    if modes.anomaly:
        node.line = modes.anomaly.where(caller())
    if type(result) is tuple:
        node.outputs = [(y.shape, y.dtype) if y.is_floating else None for y in result]
        for k, y in enumerate(result):
            y.edge = (node, k) if y.is_floating else None  # an integer has no gradient
    elif result.array.dtype in result.backend.floating:
        result.edge = node, 0
    return result


def without_rules(op: Any, args: Any, params: dict[str, Any], vjp: Any, kernel_saved: Any) -> tuple[Any, Call]:
    """The vjp of a call that has a kernel for its gradient or misses a rule, and the ``Call`` it needs."""
    if vjp is by_body and op.body is None:
        raise GraphError(
            f"[{op.name}] one of {op.tensors} requires a gradient, but the op has none for it; detach() it"
        )
    kept = save([*args]) if vjp is by_body else None
    if kernel_saved is None:
        return by_body, Call(op, params, len(args), kept, None)
    return by_kernel, Call(op, params, len(args), kept, save([*kernel_saved]))


def by_rules(node: Node, inputs: list[Input], g: Any) -> list[Flow]:
    """Ask the rule of each argument."""
    found = []
    for _, edge, shape, rule, values in inputs:
        if rule.saves:
            values = restore(values, node)
        found.append((edge, shape, rule.function(g, *values)))
    return found


def by_kernel(node: Node, inputs: list[Input], g: Any) -> list[Flow]:
    """Ask the backend. But its gradient has no gradient: where that is wanted, or the kernel declines, do without."""
    op, params, arity, args, saved = node.call
    found: Any = NotImplemented
    if not modes.grad:
        wanted = {position for position, *_ in inputs}
        needs = tuple(position in wanted for position in range(arity))
        gs = g if type(g) is tuple else (g,)
        given, half = [*gs, *restore(saved, node)], None
        if gs[0].array.itemsize == 2 and op.vjp_name not in gs[0].backend.half_gradients:
            half = gs[0].dtype
            given = [x.cast(dtype="float32") if isinstance(x, Tensor) and x.is_floating else x for x in given]
        found, *_ = launch(op.vjp_name, given, {**params, "needs": needs})
        if half is not None and found is not NotImplemented:
            found = [None if y is None else y.cast(dtype=half) for y in found]
    if found is NotImplemented:
        return (by_rules if args is None else by_body)(node, inputs, g)
    return [(edge, shape, found[position]) for position, edge, shape, _, _ in inputs if found[position] is not None]


def by_body(node: Node, inputs: list[Input], g: Any) -> list[Flow]:
    """Run the body again, on the tape and on variables of its own, and differentiate it by those."""
    op, params, _, args, _ = node.call
    args, create_graph = restore(args, node), modes.grad
    with enable_grad():
        for position, *_ in inputs:
            args[position] = args[position].reshape(args[position].shape)
        outputs = op.body(*args, **params)
    pairs = zip(outputs, g, strict=True) if isinstance(g, tuple) else [(outputs, g)]
    pairs = [(y, gy) for y, gy in pairs if y.edge is not None and gy is not None]
    variables = [args[position] for position, *_ in inputs]
    found = grad(
        [y for y, _ in pairs], variables, [gy for _, gy in pairs], create_graph=create_graph, allow_unused=True
    )
    return [
        (edge, shape, gradient)
        for (_, edge, shape, _, _), gradient in zip(inputs, found, strict=True)
        if gradient is not None
    ]
