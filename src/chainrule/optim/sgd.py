"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from ..domain.errors import ArgumentError
from ..ops.optim import sgd_
from .optimizer import Entry, Group, Optimizer, Penalty


class SGD(Optimizer):
    """``p -= lr · v``: gradient descent, with momentum if given (Sutskever et al., 2013; values as in PyTorch).

    ``g = gradient + weight_decay · p``; ``v = momentum · v + (1 - dampening) · g``, the first time ``g``; with
    ``nesterov`` the step is ``g + momentum · v``. Penalties as in Optimizer. State: ``momentum_buffer`` (v).

    >>> import chainrule as cr
    >>> x = cr.tensor([1.0], requires_grad=True)
    >>> optimizer = SGD([x], lr=0.25)
    >>> (x * x).sum().backward(); optimizer.step()
    >>> x
    tensor([0.5], requires_grad=True)
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        **penalty: Unpack[Penalty],
    ) -> None:
        options = {"momentum": momentum, "dampening": dampening, "weight_decay": weight_decay, "nesterov": nesterov}
        super().__init__(params, {"lr": lr, **options}, penalty)

    def check(self, options: Mapping[str, Any]) -> None:
        """Raise if the options of a group make no sense."""
        super().check(options)
        if options["momentum"] < 0:
            raise ArgumentError(f"SGD: momentum is {options['momentum']!r}, expected 0 or more")
        if options["nesterov"] and (options["momentum"] == 0 or options["dampening"] != 0):
            raise ArgumentError("SGD: nesterov needs a momentum, and no dampening")

    def update(self, group: Group, entries: list[Entry]) -> None:
        """See Optimizer."""
        if not group.options["momentum"]:
            self._launch(group, entries, first=False)
            return
        fresh = [e for e in entries if not e.state]
        self.begin(group, fresh, "momentum_buffer")
        if fresh and group.options["dampening"]:  # which does not apply the first time
            self._launch(group, fresh, first=True)
            entries = [e for e in entries if e not in fresh]
        if entries:
            self._launch(group, entries, first=False)

    def _launch(self, group: Group, entries: list[Entry], first: bool) -> None:
        options = {k: group.options[k] for k in ("momentum", "dampening", "nesterov")}
        states = ["momentum_buffer"] if options["momentum"] else []
        decay, tensors = self.decay(group, entries), self.tensors(group, entries, *states)
        sgd_(group.rate, *tensors, count=len(entries), first=first, weight_decay=decay, **options)
