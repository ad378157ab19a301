"""Formula: an optimizer whose step is one formula for each parameter, in tensor language."""

from __future__ import annotations

from typing import Any

from ..ops._widened import wide
from ..ops.memory import cast
from ..ops.optim import write
from .optimizer import Entry, Group, Optimizer, gradient, together


class Formula(Optimizer):
    """A subclass names its ``states``, zeros in the beginning, and says in ``formula`` what becomes of a parameter.

    >>> import chainrule as cr
    >>> class Heavy(Formula):
    ...     states = ("velocity",)
    ...     def __init__(self, params, lr=0.1, weight_decay=0.0):
    ...         super().__init__(params, {"lr": lr, "weight_decay": weight_decay})
    ...     def formula(self, group, t, x, g, v):
    ...         v = 0.9 * v + g
    ...         return x - cast_like(group.rate, x) * v, v
    >>> x = cr.tensor([1.0], requires_grad=True)
    >>> optimizer = Heavy([x])
    >>> (x * x).sum().backward(); optimizer.step()
    >>> x, optimizer.state_dict()["state"]["parameter.0"]["velocity"]
    (tensor([0.8], requires_grad=True), tensor([2.]))
    """

    states: tuple[str, ...] = ()

    def formula(self, group: Group, t: Any, x: Any, g: Any, *states: Any) -> tuple[Any, ...]:
        """The parameter and its states after step ``t`` (1 is the first; float64), from those before and the gradient.

        16-bit floats come in as float32. ``group.rate`` is the learning rate, ``group.options`` has what else was given.
        """
        raise NotImplementedError(f"{type(self).__name__} needs a formula(self, group, t, x, g, *states)")

    def update(self, group: Group, entries: list[Entry]) -> None:
        """See Optimizer."""
        self.begin(group, entries, *self.states, step=True)
        decay = self.decay(group, entries)
        for t, members in together(group, entries):
            t.add_(1)
            for entry in members:
                memory = [entry.param, *[entry.state[name] for name in self.states]]
                x, *states = map(wide, memory)
                g = wide(gradient(group, entry))
                changed = self.formula(group, t, x, g + decay * x if decay else g, *states)
                for old, new in zip(memory, changed, strict=True):
                    write(old, new)


def cast_like(number: Any, x: Any) -> Any:
    """A number in the dtype of ``x``, in which it is multiplied."""
    return cast(number, dtype=x.dtype)
