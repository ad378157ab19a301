"""RMSprop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from ..domain.errors import ArgumentError
from ..ops.optim import rmsprop_
from .optimizer import Entry, Group, Optimizer, Penalty


class RMSprop(Optimizer):
    """Steps divided by the root of the mean square of the gradients (Hinton, 2012; values as in PyTorch).

    ``alpha`` is the decay of that mean; ``centered`` takes the variance in place of the mean square (Graves, 2013).
    Penalties as in Optimizer. State: ``square_avg``, ``grad_avg`` if centered, ``momentum_buffer`` with momentum.

    >>> import chainrule as cr
    >>> x = cr.tensor([1.0], requires_grad=True)
    >>> optimizer = RMSprop([x], lr=0.01)
    >>> (x * x).sum().backward(); optimizer.step()
    >>> x
    tensor([0.9], requires_grad=True)
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        **penalty: Unpack[Penalty],
    ) -> None:
        options = {"alpha": alpha, "eps": eps, "weight_decay": weight_decay, "momentum": momentum, "centered": centered}
        super().__init__(params, {"lr": lr, **options}, penalty)

    def check(self, options: Mapping[str, Any]) -> None:
        """Raise if the options of a group make no sense."""
        super().check(options)
        if not 0 <= options["alpha"] <= 1:
            raise ArgumentError(f"RMSprop: alpha is {options['alpha']!r}, expected a number from 0 to 1")
        if options["momentum"] < 0:
            raise ArgumentError(f"RMSprop: momentum is {options['momentum']!r}, expected 0 or more")

    def update(self, group: Group, entries: list[Entry]) -> None:
        """See Optimizer."""
        options = {k: group.options[k] for k in ("alpha", "eps", "momentum", "centered")}
        states = ["square_avg", *["grad_avg"] * bool(options["centered"])]
        states += ["momentum_buffer"] * bool(options["momentum"])
        self.begin(group, entries, *states)
        decay, tensors = self.decay(group, entries), self.tensors(group, entries, *states)
        rmsprop_(group.rate, *tensors, count=len(entries), weight_decay=decay, **options)
