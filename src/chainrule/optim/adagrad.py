"""Adagrad and Adadelta."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from ..domain.errors import ArgumentError
from ..ops.optim import adadelta_, adagrad_
from .optimizer import Entry, Group, Optimizer, Penalty, together


class Adagrad(Optimizer):
    """Steps divided by the root of the sum of all squares of the gradients so far (Duchi et al., 2011; as in PyTorch).

    The learning rate of step t is ``lr / (1 + (t - 1) · lr_decay)``; the sums begin at ``initial_accumulator_value``.
    Penalties as in Optimizer. State: ``step``, ``sum``.

    >>> import chainrule as cr
    >>> x = cr.tensor([1.0], requires_grad=True)
    >>> optimizer = Adagrad([x], lr=0.1)
    >>> (x * x).sum().backward(); optimizer.step()
    >>> x
    tensor([0.9], requires_grad=True)
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        **penalty: Unpack[Penalty],
    ) -> None:
        options = {"lr_decay": lr_decay, "weight_decay": weight_decay, "eps": eps}
        options["initial_accumulator_value"] = initial_accumulator_value
        super().__init__(params, {"lr": lr, **options}, penalty)

    def check(self, options: Mapping[str, Any]) -> None:
        """Raise if the options of a group make no sense."""
        super().check(options)
        for key in ("lr_decay", "initial_accumulator_value"):
            if options[key] < 0:
                raise ArgumentError(f"Adagrad: {key} is {options[key]!r}, expected 0 or more")

    def update(self, group: Group, entries: list[Entry]) -> None:
        """See Optimizer."""
        fresh = [e for e in entries if not e.state]
        self.begin(group, entries, "sum", step=True)
        for entry in fresh:
            entry.state["sum"].fill_(group.options["initial_accumulator_value"])
        options = {k: group.options[k] for k in ("lr_decay", "eps")}
        decay = self.decay(group, entries)
        for step, members in together(group, entries):
            tensors = self.tensors(group, members, "sum")
            adagrad_(step, group.rate, *tensors, count=len(members), weight_decay=decay, **options)


class Adadelta(Optimizer):
    """Steps as large as those before, over the root of the mean square of the gradients (Zeiler, 2012; as in PyTorch).

    ``rho`` is the decay of both means of squares. Penalties as in Optimizer. State: ``square_avg``, ``acc_delta``.

    >>> import chainrule as cr
    >>> x = cr.tensor([1.0], requires_grad=True)
    >>> optimizer = Adadelta([x])
    >>> (x * x).sum().backward(); optimizer.step()
    >>> 0.99 < x.item() < 1
    True
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        **penalty: Unpack[Penalty],
    ) -> None:
        super().__init__(params, {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay}, penalty)

    def check(self, options: Mapping[str, Any]) -> None:
        """Raise if the options of a group make no sense."""
        super().check(options)
        if not 0 <= options["rho"] <= 1:
            raise ArgumentError(f"Adadelta: rho is {options['rho']!r}, expected a number from 0 to 1")

    def update(self, group: Group, entries: list[Entry]) -> None:
        """See Optimizer."""
        states = ("square_avg", "acc_delta")
        self.begin(group, entries, *states, step=True)
        options = {k: group.options[k] for k in ("rho", "eps")}
        decay = self.decay(group, entries)
        for step, members in together(group, entries):
            tensors = self.tensors(group, members, *states)
            adadelta_(step, group.rate, *tensors, count=len(members), weight_decay=decay, **options)
