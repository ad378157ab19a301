"""Schedules: how the learning rate changes with the number of steps. They write it into the optimizer's tensor in place.

>>> import chainrule as cr
>>> optimizer = cr.optim.SGD([cr.zeros(1, requires_grad=True)], lr=1.0)
>>> schedule = Step(optimizer, step_size=2, gamma=0.1)
>>> for epoch in range(4):
...     print(optimizer.lr, end=" ")
...     schedule.step()
1.0 1.0 0.1 0.1
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..domain.errors import ArgumentError, ArgumentTypeError, StateError, unknown
from .optimizer import Optimizer


class Schedule:
    """The learning rate of each group as a function of its first one and of the number of steps: ``rate(base, n)``.

    ``step`` is called after each epoch, or after each batch: whatever the numbers given to the schedule count. Making a
    schedule sets the rate of step 0. ``bases`` are the learning rates that the optimizer had, one for each group.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, Optimizer):
            raise ArgumentTypeError(
                f"{type(self).__name__}: optimizer is {optimizer!r}, expected one of chainrule.optim; from compile, it is "
                "model.compiled.optimizer"
            )
        self.optimizer = optimizer
        self.bases: list[float] = [group["lr"] for group in optimizer.param_groups]
        self.count = 0
        self._set()

    def rate(self, base: float, n: int) -> float:
        """The learning rate after ``n`` steps, of a group that began with ``base``."""
        raise NotImplementedError(f"{type(self).__name__} needs a rate(self, base, n)")

    def step(self) -> None:
        """One more epoch, or batch."""
        self.count += 1
        self._set()

    def _set(self) -> None:
        for group, base in zip(self.optimizer.param_groups, self.bases, strict=True):
            group["lr"] = self.rate(base, self.count)

    def state_dict(self) -> dict[str, Any]:
        """How many steps were done, and the first learning rates."""
        return {"count": self.count, "bases": list(self.bases)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state. Errors: StateError if the optimizer has other groups."""
        if len(state["bases"]) != len(self.bases):
            raise StateError(
                f"the state does not fit into {type(self).__name__}: {len(state['bases'])} groups in the state, "
                f"{len(self.bases)} here"
            )
        self.count, self.bases = int(state["count"]), [float(base) for base in state["bases"]]
        self._set()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(step={self.count}, lr={self.optimizer.lr!r})"


def at_least_one(schedule: Schedule, **numbers: Any) -> None:
    """Raise unless all are integers of at least 1."""
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ArgumentError(f"{type(schedule).__name__}: {name} is {value!r}, expected an integer of at least 1")


class Step(Schedule):
    """Times ``gamma`` every ``step_size`` steps."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        at_least_one(self, step_size=step_size)
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer)

    def rate(self, base: float, n: int) -> float:
        """See Schedule."""
        return float(base * self.gamma ** (n // self.step_size))


class MultiStep(Schedule):
    """Times ``gamma`` at each of the ``milestones``, which are numbers of steps.

    >>> import chainrule as cr
    >>> schedule = MultiStep(cr.optim.SGD([cr.zeros(1, requires_grad=True)], lr=1.0), [2, 3], gamma=0.5)
    >>> [schedule.rate(1.0, n) for n in range(5)]
    [1.0, 1.0, 0.5, 0.25, 0.25]
    """

    def __init__(self, optimizer: Optimizer, milestones: Sequence[int], gamma: float = 0.1) -> None:
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer)

    def rate(self, base: float, n: int) -> float:
        """See Schedule."""
        return float(base * self.gamma ** bisect_right(self.milestones, n))


class Exponential(Schedule):
    """Times ``gamma`` at every step."""

    def __init__(self, optimizer: Optimizer, gamma: float) -> None:
        self.gamma = gamma
        super().__init__(optimizer)

    def rate(self, base: float, n: int) -> float:
        """See Schedule."""
        return float(base * self.gamma**n)


class Lambda(Schedule):
    """Times ``factor(n)``, a function of the number of steps."""

    def __init__(self, optimizer: Optimizer, factor: Callable[[int], float]) -> None:
        if not callable(factor):
            raise ArgumentTypeError(f"Lambda: factor is {factor!r}, expected a function of the number of steps")
        self.factor = factor
        super().__init__(optimizer)

    def rate(self, base: float, n: int) -> float:
        """See Schedule."""
        return base * self.factor(n)


class Linear(Schedule):
    """From ``start_factor`` to ``end_factor`` times the rate, in ``total`` steps: a warm-up, or a decay.

    >>> import chainrule as cr
    >>> schedule = Linear(cr.optim.SGD([cr.zeros(1, requires_grad=True)], lr=1.0), 0.0, 1.0, total=4)
    >>> [schedule.rate(1.0, n) for n in range(6)]
    [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    """

    def __init__(
        self, optimizer: Optimizer, start_factor: float = 1 / 3, end_factor: float = 1.0, total: int = 5
    ) -> None:
        at_least_one(self, total=total)
        self.start_factor, self.end_factor, self.total = start_factor, end_factor, total
        super().__init__(optimizer)

    def rate(self, base: float, n: int) -> float:
        """See Schedule."""
        share = min(n, self.total) / self.total
        return base * (self.start_factor + (self.end_factor - self.start_factor) * share)


class Polynomial(Schedule):
    """Down to 0, or to ``end``, in ``total`` steps: ``(base - end) · (1 - n / total) ** power + end``."""

    def __init__(self, optimizer: Optimizer, total: int = 5, power: float = 1.0, end: float = 0.0) -> None:
        at_least_one(self, total=total)
        self.total, self.power, self.end = total, power, end
        super().__init__(optimizer)

    def rate(self, base: float, n: int) -> float:
        """See Schedule."""
        return float((base - self.end) * (1 - min(n, self.total) / self.total) ** self.power + self.end)


class InverseSqrt(Schedule):
    """Up in a line for ``warmup`` steps, then down as ``1 / sqrt(n)`` (Vaswani et al., 2017); the top is the rate given.

    >>> import chainrule as cr
    >>> schedule = InverseSqrt(cr.optim.SGD([cr.zeros(1, requires_grad=True)], lr=1.0), warmup=4)
    >>> [schedule.rate(1.0, n) for n in (0, 2, 4, 16)]
    [0.0, 0.5, 1.0, 0.5]
    """

    def __init__(self, optimizer: Optimizer, warmup: int = 4000) -> None:
        at_least_one(self, warmup=warmup)
        self.warmup = warmup
        super().__init__(optimizer)

    def rate(self, base: float, n: int) -> float:
        """See Schedule."""
        return base * (n / self.warmup if n < self.warmup else math.sqrt(self.warmup / n))


class Cosine(Schedule):
    """Down along half a cosine to ``end`` in ``total`` steps (Loshchilov and Hutter, 2016), and there it stays.

    PyTorch's CosineAnnealingLR goes up again after ``total`` steps; up to there both are equal.

    >>> import chainrule as cr
    >>> schedule = Cosine(cr.optim.SGD([cr.zeros(1, requires_grad=True)], lr=1.0), total=4)
    >>> [round(schedule.rate(1.0, n), 3) for n in range(6)]
    [1.0, 0.854, 0.5, 0.146, 0.0, 0.0]
    """

    def __init__(self, optimizer: Optimizer, total: int, end: float = 0.0) -> None:
        at_least_one(self, total=total)
        self.total, self.end = total, end
        super().__init__(optimizer)

    def rate(self, base: float, n: int) -> float:
        """See Schedule."""
        return along_cosine(base, self.end, min(n, self.total) / self.total)


class CosineWarmRestarts(Schedule):
    """``Cosine`` again and again: the first takes ``period`` steps, each after it ``growth`` times as many."""

    def __init__(self, optimizer: Optimizer, period: int, growth: int = 1, end: float = 0.0) -> None:
        at_least_one(self, period=period, growth=growth)
        self.period, self.growth, self.end = period, growth, end
        super().__init__(optimizer)

    def rate(self, base: float, n: int) -> float:
        """See Schedule."""
        period = self.period
        n = n % period if self.growth == 1 else n
        while n >= period:
            n, period = n - period, period * self.growth
        return along_cosine(base, self.end, n / period)


class OneCycle(Schedule):
    """Up to ``max_lr`` and down to nearly nothing in ``total`` batches (Smith and Topin, 2017; values as in PyTorch).

    It begins at ``max_lr / div``, is at the top after the share ``up`` of the steps, and ends at
    ``max_lr / div / final_div``. ``anneal`` is "cos" or "linear"; ``three_phase`` comes down to where it began as fast as
    it went up, before the end. With ``cycle_momentum`` the momentum (or the first beta) goes the other way, between
    ``momenta``. The step after the last batch changes nothing; one more is an error.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float,
        total: int,
        up: float = 0.3,
        anneal: str = "cos",
        div: float = 25.0,
        final_div: float = 1e4,
        three_phase: bool = False,
        cycle_momentum: bool = True,
        momenta: tuple[float, float] = (0.85, 0.95),
    ) -> None:
        at_least_one(self, total=total)
        if not 0 <= up <= 1:
            raise ArgumentError(f"OneCycle: up is {up!r}, expected a share, from 0 to 1")
        if anneal not in ("cos", "linear"):
            raise unknown("anneal of OneCycle", anneal, ["cos", "linear"])
        self.max_lr, self.total, self.div, self.final_div = max_lr, total, div, final_div
        self.cycle_momentum, self.momenta = cycle_momentum, momenta
        self.between = along_cosine if anneal == "cos" else along_line
        first, last = up * total - 1, total - 1
        self.ends = [first, 2 * first, last] if three_phase else [first, last]
        super().__init__(optimizer)

    def rate(self, base: float, n: int) -> float:
        """See Schedule."""
        low = self.max_lr / self.div
        stops = [low, self.max_lr, *[low] * (len(self.ends) - 2), low / self.final_div]
        return self._at(stops, n)

    def _at(self, stops: list[float], n: int) -> float:
        if n > self.total:
            raise ArgumentError(f"OneCycle: step {n} is one too many: total is {self.total}")
        n = min(n, self.total - 1)
        i = min(bisect_left(self.ends, n), len(self.ends) - 1)
        start, end = self.ends[i - 1] if i else 0.0, self.ends[i]
        return self.between(stops[i], stops[i + 1], (n - start) / (end - start) if end > start else 1.0)

    def _set(self) -> None:
        super()._set()
        if not self.cycle_momentum:
            return
        low, high = self.momenta
        momentum = self._at([high, low, *[high] * (len(self.ends) - 1)], self.count)
        for group in self.optimizer.param_groups:
            if "betas" in group.options:
                group["betas"] = (momentum, *group["betas"][1:])
            elif "momentum" in group.options:
                group["momentum"] = momentum
            else:
                raise ArgumentError(
                    f"OneCycle: {type(self.optimizer).__name__} has no momentum: give cycle_momentum=False"
                )


class Chain(Schedule):
    """Several schedules of one optimizer at once, each applied to what those before it give.

    >>> import chainrule as cr
    >>> optimizer = cr.optim.SGD([cr.zeros(1, requires_grad=True)], lr=1.0)
    >>> schedule = Chain([Linear(optimizer, 0.5, 1.0, total=2), Exponential(optimizer, 0.1)])
    >>> [round(schedule.rate(1.0, n), 4) for n in range(4)]
    [0.5, 0.075, 0.01, 0.001]
    """

    def __init__(self, schedules: Sequence[Schedule]) -> None:
        self.schedules = together(self, schedules)
        super().__init__(schedules[0].optimizer)
        self.bases = list(schedules[0].bases)
        self._set()

    def rate(self, base: float, n: int) -> float:
        """See Schedule."""
        for schedule in self.schedules:
            base = schedule.rate(base, n)
        return base


class Sequential(Schedule):
    """One schedule after another: the next begins, from its step 0, at each of the ``milestones``.

    >>> import chainrule as cr
    >>> optimizer = cr.optim.SGD([cr.zeros(1, requires_grad=True)], lr=1.0)
    >>> schedule = Sequential([Linear(optimizer, 0.5, 1.0, total=2), Exponential(optimizer, 0.1)], milestones=[2])
    >>> [round(schedule.rate(1.0, n), 4) for n in range(5)]
    [0.5, 0.75, 1.0, 0.1, 0.01]
    """

    def __init__(self, schedules: Sequence[Schedule], milestones: Sequence[int]) -> None:
        self.schedules, self.milestones = together(self, schedules), list(milestones)
        if len(milestones) != len(schedules) - 1 or self.milestones != sorted(set(milestones)):
            raise ArgumentError(
                f"Sequential: milestones are {milestones!r}, expected {len(schedules) - 1} growing numbers of steps"
            )
        super().__init__(schedules[0].optimizer)
        self.bases = list(schedules[0].bases)
        self._set()

    def rate(self, base: float, n: int) -> float:
        """See Schedule."""
        i = bisect_right(self.milestones, n)
        return self.schedules[i].rate(base, n - self.milestones[i - 1] if i else n)


def together(schedule: Schedule, parts: Sequence[Schedule]) -> list[Schedule]:
    """Schedules of one optimizer, each of which began with the learning rates that the first found."""
    name = type(schedule).__name__
    if not parts or any(not isinstance(part, Schedule) for part in parts):
        raise ArgumentTypeError(f"{name}: schedules are {parts!r}, expected a list of schedules")
    if any(part.optimizer is not parts[0].optimizer for part in parts):
        raise ArgumentError(f"{name}: the schedules are of several optimizers")
    for part in parts:
        if isinstance(part, OneCycle) and part.cycle_momentum:
            raise ArgumentError(f"{name}: OneCycle changes the momentum, too: give it cycle_momentum=False")
    return list(parts)


def along_line(start: float, end: float, share: float) -> float:
    """Between two numbers."""
    return start + (end - start) * share


def along_cosine(start: float, end: float, share: float) -> float:
    """Between two numbers, slowly at both ends."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
