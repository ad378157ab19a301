"""ReduceOnPlateau: a learning rate that falls when training no longer gets better."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..domain.errors import ArgumentError, ArgumentTypeError, unknown
from .optimizer import Optimizer


class ReduceOnPlateau:
    """Times ``factor`` when ``step(value)`` has not improved for more than ``patience`` times in a row (as in PyTorch).

    ``mode`` says whether "min" or "max" is better; an improvement is one of more than ``threshold``, as a share of the best
    or, with ``threshold_mode="abs"``, as it is. After a reduction ``cooldown`` values do not count. No rate falls below
    ``min_lr``, nor by less than ``eps``.

    >>> import chainrule as cr
    >>> optimizer = cr.optim.SGD([cr.zeros(1, requires_grad=True)], lr=1.0)
    >>> plateau = ReduceOnPlateau(optimizer, patience=1)
    >>> for loss in (3.0, 2.0, 2.0, 2.0):
    ...     plateau.step(loss)
    >>> optimizer.lr
    0.1
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float = 0.0,
        eps: float = 1e-8,
    ) -> None:
        if not isinstance(optimizer, Optimizer):
            raise ArgumentTypeError(f"ReduceOnPlateau: optimizer is {optimizer!r}, expected one of chainrule.optim")
        for name, value, known in (("mode", mode, ["min", "max"]), ("threshold_mode", threshold_mode, ["rel", "abs"])):
            if value not in known:
                raise unknown(f"{name} of ReduceOnPlateau", value, known)
        if not 0 <= factor < 1:
            raise ArgumentError(f"ReduceOnPlateau: factor is {factor!r}, expected a number from 0 to below 1")
        self.optimizer, self.mode, self.factor, self.patience = optimizer, mode, factor, patience
        self.threshold, self.threshold_mode, self.cooldown = threshold, threshold_mode, cooldown
        self.min_lr, self.eps = min_lr, eps
        self.best = math.inf if mode == "min" else -math.inf
        self.bad, self.cooling = 0, 0

    def step(self, value: float) -> None:
        """Take the value after an epoch."""
        if self._better(float(value)):
            self.best, self.bad = float(value), 0
        else:
            self.bad += 1
        if self.cooling > 0:
            self.cooling, self.bad = self.cooling - 1, 0
        if self.bad > self.patience:
            for group in self.optimizer.param_groups:
                rate = max(group["lr"] * self.factor, self.min_lr)
                if group["lr"] - rate > self.eps:
                    group["lr"] = rate
            self.cooling, self.bad = self.cooldown, 0

    def _better(self, value: float) -> bool:
        sign = 1 if self.mode == "min" else -1
        if math.isinf(self.best):
            return sign * value < sign * self.best
        margin = self.threshold if self.threshold_mode == "abs" else self.threshold * self.best * sign
        return sign * value < sign * self.best - margin

    def state_dict(self) -> dict[str, Any]:
        """The best value, and how long ago it was."""
        return {"best": self.best, "bad": self.bad, "cooling": self.cooling}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; the learning rates are in that of the optimizer."""
        self.best, self.bad, self.cooling = float(state["best"]), int(state["bad"]), int(state["cooling"])
