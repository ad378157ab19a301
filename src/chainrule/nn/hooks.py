"""What is called around the forward and the backward of a module."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

from ..function import Function
from ..tensor import Tensor

_keys = count()


class Hooks:
    """The hooks of one module: before forward, after it, and with its gradients."""

    def __init__(self) -> None:
        self.before: dict[int, Callable[..., Any]] = {}
        self.after: dict[int, Callable[..., Any]] = {}
        self.backward: dict[int, Callable[..., Any]] = {}

    def call(self, module: Any, inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Run ``module.forward`` among the hooks."""
        for before in [*self.before.values()]:
            replaced = before(module, inputs)
            if replaced is not None:
                inputs = replaced if isinstance(replaced, tuple) else (replaced,)
        watch = Watch(module, [*self.backward.values()]) if self.backward else None
        if watch is not None:
            inputs = watch.enter(inputs)
        output = module.forward(*inputs, **named)
        for after in [*self.after.values()]:
            replaced = after(module, inputs, output)
            output = output if replaced is None else replaced
        return output if watch is None else watch.leave(output)


class HookHandle:
    """What registering a hook returns: ``remove()`` takes the hook away; again is harmless."""

    def __init__(self, module: Any, kind: str, hook: Callable[..., Any]) -> None:
        if module._hooks is None:
            module._hooks = Hooks()
        self._module, self._kind, self._key = module, kind, next(_keys)
        getattr(module._hooks, kind)[self._key] = hook

    def remove(self) -> None:
        """Take the hook away."""
        hooks = self._module._hooks
        if hooks is None:
            return
        getattr(hooks, self._kind).pop(self._key, None)
        if not (hooks.before or hooks.after or hooks.backward):
            del self._module._hooks  # as before the first one: steps of a module that has hooks are not recorded


class Gate(Function):
    """The tensors as they are; their gradients go through ``see``, which may replace them."""

    @staticmethod
    def forward(ctx: Any, see: Any, *tensors: Any) -> Any:
        ctx.see = see
        return tensors

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return (None, *ctx.see(gradients))


def gated(see: Any, values: tuple[Any, ...]) -> tuple[Any, ...]:
    """``values`` with the tensors among them behind a gate; ``see`` gets one gradient for each value, and returns them.

    What is no tensor (None, a tuple of states) passes as it is, and its gradient counts as None.
    """
    places = [i for i, v in enumerate(values) if isinstance(v, Tensor)]
    if len(places) == len(values):
        return tuple(Gate.apply(see, *values))

    def spread(gradients: tuple[Any, ...]) -> tuple[Any, ...]:
        given = dict(zip(places, gradients, strict=True))
        seen = see(tuple(given.get(i) for i in range(len(values))))
        return tuple(seen[i] for i in places)

    passed = dict(zip(places, Gate.apply(spread, *[values[i] for i in places]), strict=True))
    return tuple(passed.get(i, v) for i, v in enumerate(values))


class Watch:
    """One call of a module with backward hooks, between a gate at its inputs and one at its outputs."""

    def __init__(self, module: Any, hooks: list[Callable[..., Any]]) -> None:
        self.module, self.hooks = module, hooks
        self.inputs: tuple[Any, ...] | None = None  # no gate there, if no input wants a gradient
        self.count = 0
        self.arrived: Any = ()

    def enter(self, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """The inputs, behind their gate."""
        self.count = len(inputs)
        if any(isinstance(x, Tensor) and x.requires_grad for x in inputs):
            self.inputs = inputs
            return gated(self.complete, inputs)
        return inputs

    def leave(self, output: Any) -> Any:
        """The output, behind its gate."""
        outputs = output if isinstance(output, tuple) else (output,)
        passed = gated(self.begin, outputs)
        return passed if isinstance(output, tuple) else passed[0]

    def begin(self, gradients: tuple[Any, ...]) -> tuple[Any, ...]:
        """The gradients of the outputs are here."""
        self.arrived = gradients
        if self.inputs is None:
            self.complete((None,) * self.count)
        return gradients

    def complete(self, gradients: tuple[Any, ...]) -> tuple[Any, ...]:
        """The gradients of the inputs are here: call the hooks."""
        for hook in self.hooks:
            replaced = hook(self.module, gradients, self.arrived)
            if replaced is not None:
                gradients = replaced if isinstance(replaced, tuple) else (replaced,)
        return gradients
