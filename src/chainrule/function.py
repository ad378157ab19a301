"""Operations with a gradient of the user's own, and recomputation in place of memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .autograd import walk
from .domain.errors import ArgumentTypeError, GraphError
from .modes import cast_mode, enable_grad, modes, no_grad
from .random import default_generator
from .saved import restore, save, save_output
from .tape import Flow, Input, Node
from .tensor import Tensor, view, wrap


class Context:
    """What ``Function.forward`` keeps for ``backward``: tensors by ``save_for_backward``, anything else as attributes."""

    needs_input_grad: tuple[bool, ...] = ()

    def __init__(self) -> None:
        self._kept: list[Any] = []
        self._node: Node | None = None

    def save_for_backward(self, *tensors: Any) -> None:
        """Keep tensors for the gradient. If one is changed in place before it, the gradient is refused."""
        self._kept = [*tensors]

    def _settle(self, outputs: tuple[Any, ...]) -> None:
        """Keep arrays for tensors; those of ``outputs`` so that they do not lead back to their own node."""
        places = {id(y): k for k, y in enumerate(outputs)}
        self._kept = [save_output(t, places[id(t)]) if id(t) in places else save(t) for t in self._kept]

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """What was saved."""
        if self._node is None:
            raise GraphError("saved_tensors can be read in backward only")
        return tuple(restore(self._kept, self._node))


class Function:
    """An operation whose gradient the user states. Subclass it and call ``apply``.

    ``forward(ctx, *args)`` returns a tensor or a tuple of them; ``backward(ctx, *gradients)`` returns one gradient (or
    None) for each argument of forward. Tensor code in backward can itself be differentiated.

    >>> class Cube(Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         ctx.save_for_backward(x)
    ...         return x * x * x
    ...     @staticmethod
    ...     def backward(ctx, g):
    ...         (x,) = ctx.saved_tensors
    ...         return g * 3 * x * x
    >>> x = Tensor([2.0], requires_grad=True)
    >>> Cube.apply(x).sum().backward()
    >>> x.grad
    tensor([12.])
    """

    @staticmethod
    def forward(ctx: Any, *args: Any) -> Any:
        """What the operation computes."""
        raise NotImplementedError("a Function needs a forward(ctx, *args)")

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """Its gradient."""
        raise NotImplementedError("a Function needs a backward(ctx, *gradients)")

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Run ``forward`` and put the call on the tape."""
        ctx = Context()
        variables = [(i, a) for i, a in enumerate(args) if isinstance(a, Tensor) and a.edge is not None]
        wanted = {i for i, _ in variables} if modes.grad else set()
        ctx.needs_input_grad = tuple(i in wanted for i in range(len(args)))
        with no_grad():
            result = cls.forward(ctx, *args)
        if not wanted:
            ctx._kept = []
            return result
        outputs = result if isinstance(result, tuple) else (result,)
        for y in outputs:
            if not isinstance(y, Tensor):
                raise ArgumentTypeError(
                    f"[{cls.__name__}] forward returned a {type(y).__name__}; it should return tensors"
                )
        outputs = tuple(view(y, y.array) if any(y is a for a in args) else y for y in outputs)
        ctx._settle(outputs)
        inputs: list[Input] = [(i, a.edge, a.shape, None, ()) for i, a in variables if a.edge is not None]
        node = Node(cls.__name__, cls._vjp, inputs, ctx)
        node.outputs = [(y.shape, y.dtype) if y.is_floating else None for y in outputs]
        for k, y in enumerate(outputs):
            y.edge = (node, k) if y.is_floating else None
        return outputs if isinstance(result, tuple) else outputs[0]

    @classmethod
    def _vjp(cls, node: Node, inputs: list[Input], g: Any) -> list[Flow]:
        ctx = node.call
        ctx._node = node
        try:
            found = cls.backward(ctx, *g)
        finally:
            ctx._node = None  # the node holds the context; the other way round would be a cycle
        found = found if isinstance(found, tuple) else (found,)
        if len(found) < len(ctx.needs_input_grad):
            raise GraphError(
                f"[{cls.__name__}] backward returned {len(found)} gradients for {len(ctx.needs_input_grad)} arguments"
            )
        return [(edge, shape, found[i]) for i, edge, shape, _, _ in inputs if found[i] is not None]


def checkpoint(function: Callable[..., Any], *args: Any) -> Any:
    """``function(*args)`` without keeping what its gradient needs: that is computed again when the gradient is.

    Saves memory for time (Chen et al., 2016). Random numbers of the default generator are drawn again alike. Gradients
    reach ``args`` and every other tensor that the function uses.

    >>> x = Tensor([1.0, 2.0], requires_grad=True)
    >>> checkpoint(lambda x: (x * x).exp(), x).sum().backward()
    >>> x.grad
    tensor([  5.4366, 218.3926])
    """
    if not modes.grad:
        return function(*args)
    generator = default_generator()
    state, autocast = generator.get_state(), modes.autocast
    entered = entrance(args)
    result = function(*entered)
    outputs = result if isinstance(result, tuple) else (result,)
    inputs: list[Input] = [
        (i, a.edge, a.shape, None, ()) for i, a in enumerate(args) if isinstance(a, Tensor) and a.edge is not None
    ]
    inputs += [(-1, edge, shape, None, ()) for edge, shape in frontier(outputs, entered)]
    if not inputs:
        return result

    def vjp(node: Node, inputs: list[Input], g: Any) -> list[Flow]:
        kept, saved_state = node.call
        create_graph, now = modes.grad, generator.get_state()
        generator.set_state(saved_state)
        try:
            with enable_grad(), cast_mode(autocast):
                arguments = entrance(restore(kept, node))
                again = function(*arguments)
        finally:
            generator.set_state(now)
        again = again if isinstance(again, tuple) else (again,)
        roots: list[Flow] = [
            (y.edge, y.shape, gy)
            for y, gy in zip(again, g, strict=True)
            if isinstance(y, Tensor) and y.edge is not None and gy is not None
        ]
        ends: list[Any] = [edge if i < 0 else arguments[i].edge for i, edge, *_ in inputs]
        arrived = walk(roots, {end for end, _ in ends}, True, create_graph, stop=True)
        found = [arrived.get(end, {}).get(index) for end, index in ends]
        return [(edge, shape, g) for (_, edge, shape, _, _), g in zip(inputs, found, strict=True) if g is not None]

    node = Node("checkpoint", vjp, inputs, (save([*args]), state))
    node.outputs = [(y.shape, y.dtype) if isinstance(y, Tensor) and y.edge is not None else None for y in outputs]
    led = tuple(
        wrap(y.array, y.backend, y.storage, (node, k)) if isinstance(y, Tensor) and y.edge is not None else y
        for k, y in enumerate(outputs)
    )
    return led if isinstance(result, tuple) else led[0]


def entrance(args: Any) -> list[Any]:
    """The arguments, each that requires a gradient behind a node of its own, where a walk can stop."""
    return [a.reshape(a.shape) if isinstance(a, Tensor) and a.edge is not None else a for a in args]


def frontier(outputs: Any, entered: list[Any]) -> list[Any]:
    """The leaves, with their shapes, that the graph of ``outputs`` leads to other than through what ``entered``."""
    seen = {a.edge[0] for a in entered if isinstance(a, Tensor) and a.edge is not None}
    stack = [y.edge for y in outputs if isinstance(y, Tensor) and y.edge is not None]
    leaves: dict[Any, Any] = {y.edge: y.shape for y in outputs if isinstance(y, Tensor) and y.edge and y.is_leaf}
    while stack:
        node = stack.pop()[0]
        if node in seen:
            continue
        seen.add(node)
        for _, edge, shape, *_ in node.inputs or ():
            if type(edge[0]) is Node:
                stack.append(edge)
            else:
                leaves[edge] = shape
    return [*leaves.items()]
