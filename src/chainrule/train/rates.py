"""The learning rate in training: callbacks that change it, and a trial run that finds a good one."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..domain.callback import Logs
from ..domain.errors import ArgumentError, ArgumentTypeError, DataError, unknown
from ..modes import no_grad
from ..optim import ReduceOnPlateau
from ..optim.schedules import Schedule
from . import plots
from .batches import training_batches
from .callbacks import Callback, Monitor
from .checks import at_least
from .compiled import compiled
from .mode import mode
from .snapshot import Snapshot
from .step import Step

SMOOTHING = 0.9  # of the losses of lr_find
DIVERGED = 4.0  # times the least loss: lr_find ends


class OfOptimizer(Callback):
    """The base of callbacks of an ``optimizer``: that of the compiled model, if it is None. The logs have its rate."""

    optimizer: Any = None

    def learning_rate(self) -> float:
        """That of the first group, for the logs."""
        return float(self._optimizer().lr)

    def _optimizer(self) -> Any:
        return self.optimizer or compiled(self.model, type(self).__name__).optimizer


class LRScheduler(OfOptimizer):
    """Step a schedule of ``chainrule.optim.schedules`` after each "epoch", or ``every="batch"``.

    Or set the learning rate before each epoch to ``schedule(epoch, lr)``, a function of the number of the epoch (from 0)
    and of the rate until then; ``optimizer`` is that of the compiled model unless it is given. The logs have the rate of
    each epoch as ``lr``.

    >>> import chainrule as cr
    >>> model = cr.nn.Sequential(cr.nn.Linear(2, 1)).compile("mse", "sgd")
    >>> schedule = cr.optim.schedules.Exponential(model.compiled.optimizer, gamma=0.5)
    >>> _ = model.fit([[0.0, 1.0]], [[2.0]], epochs=2, callbacks=LRScheduler(schedule), verbose=0)
    >>> model.compiled.optimizer.lr
    0.00025
    """

    def __init__(
        self, schedule: Schedule | Callable[[int, float], float], every: str = "epoch", optimizer: Any = None
    ) -> None:
        if every not in ("epoch", "batch"):
            raise unknown("every of LRScheduler", every, ["epoch", "batch"])
        if not isinstance(schedule, Schedule) and (isinstance(schedule, type) or not callable(schedule)):
            raise ArgumentTypeError(
                f"[LRScheduler] schedule is {schedule!r}, expected one of chainrule.optim.schedules, made with the "
                "optimizer, or a function of (epoch, lr)"
            )
        if not isinstance(schedule, Schedule) and every == "batch":
            raise ArgumentError(
                "[LRScheduler] a function of (epoch, lr) is called every epoch; a Schedule can be every batch"
            )
        self.schedule, self.every, self.optimizer = schedule, every, optimizer

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        """Ask the function."""
        if not isinstance(self.schedule, Schedule):
            optimizer = self._optimizer()
            optimizer.lr = self.schedule(epoch, optimizer.lr)

    def _optimizer(self) -> Any:
        if isinstance(self.schedule, Schedule):
            return self.schedule.optimizer
        return super()._optimizer()

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Step the schedule."""
        if isinstance(self.schedule, Schedule) and self.every == "epoch":
            self.schedule.step()

    def on_batch_end(self, batch: int, logs: Logs) -> None:
        """Step the schedule."""
        if isinstance(self.schedule, Schedule) and self.every == "batch":
            self.schedule.step()

    def state_dict(self) -> dict[str, Any]:
        """See Callback."""
        return self.schedule.state_dict() if isinstance(self.schedule, Schedule) else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See Callback."""
        if isinstance(self.schedule, Schedule):
            self.schedule.load_state_dict(state)


class ReduceLROnPlateau(OfOptimizer, Monitor):
    """Times ``factor`` when ``monitor`` has not improved for more than ``patience`` epochs in a row.

    An improvement is one of more than ``min_delta``; after a reduction ``cooldown`` epochs do not count; no rate falls
    below ``min_lr``. ``mode`` as in EarlyStopping. ``optimizer`` is that of the compiled model unless it is given. The
    logs have the rate of each epoch as ``lr``.

    >>> plateau = ReduceLROnPlateau("val_loss", factor=0.5, patience=3)
    >>> plateau.monitor, plateau.patience
    ('val_loss', 3)
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
        optimizer: Any = None,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        if patience < 0:
            raise ArgumentError(f"[ReduceLROnPlateau] patience is {patience}, expected a number of at least 0")
        if not 0 <= factor < 1:
            raise ArgumentError(f"[ReduceLROnPlateau] factor is {factor!r}, expected a number from 0 to below 1")
        self.factor, self.patience, self.cooldown, self.min_lr = factor, patience, cooldown, min_lr
        self.optimizer = optimizer

    def on_train_begin(self, logs: Logs) -> None:
        """Forget an earlier training."""
        super().on_train_begin(logs)
        self.plateau = ReduceOnPlateau(
            self._optimizer(), "min" if self.sign == 1 else "max", self.factor, self.patience, self.min_delta, "abs",
            self.cooldown, self.min_lr,
        )  # fmt: skip

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Look at the value, if there is one."""
        if self.missing(logs):
            return
        self.improved(epoch, logs)
        self.plateau.step(logs[self.monitor])

    def state_dict(self) -> dict[str, Any]:
        """See Callback."""
        return {**super().state_dict(), "plateau": self.plateau.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See Callback."""
        super().load_state_dict(state)
        self.plateau.load_state_dict(state["plateau"])


class LearningRateMonitor(OfOptimizer):
    """Have the logs of each epoch, and so the history and the loggers, tell the learning rate: ``lr``.

    LRScheduler and ReduceLROnPlateau do this themselves. ``optimizer`` is that of the compiled model unless it is given.

    >>> import chainrule as cr
    >>> model = cr.nn.Sequential(cr.nn.Linear(2, 1)).compile("mse", "sgd")
    >>> model.fit([[0.0, 1.0]], [[2.0]], epochs=2, callbacks=LearningRateMonitor(), verbose=0)["lr"]
    [0.001, 0.001]
    """

    def __init__(self, optimizer: Any = None) -> None:
        self.optimizer = optimizer


@dataclass
class Trial:
    """What ``lr_find`` saw: learning rates, the smoothed losses at them, and the ``suggestion``."""

    rates: list[float]
    losses: list[float]

    @property
    def suggestion(self) -> float:
        """A tenth of the rate at which the loss was least: there it still falls, and steadily."""
        return self.rates[self.losses.index(min(self.losses))] / 10

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """The loss over the learning rate, with the suggestion. Returns the matplotlib figure, as ``History.plot``."""
        if not self.rates:
            raise DataError("[Trial.plot] there is nothing to plot: the first loss was no number")
        figure, (axes,) = plots.panels("Trial.plot", ["smoothed loss"])
        axes.plot(self.rates, self.losses)
        axes.axvline(self.suggestion, linestyle="--", label=f"suggestion {self.suggestion:.1e}")
        axes.set(xlabel="learning rate", xscale="log")
        axes.legend()
        return plots.written(figure, path)

    def _repr_html_(self) -> str:
        return plots.html(self)


def lr_find(
    model: Any,
    x: Any,
    y: Any = None,
    *,
    start: float = 1e-6,
    stop: float = 1.0,
    steps: int = 100,
    batch_size: int | None = None,
) -> Trial:
    """Train a compiled model for up to ``steps`` batches, each with a larger learning rate, from ``start`` to ``stop``.

    It ends when the loss is four times its least (Smith, 2015). Weights, buffers and the optimizer are then as they were.
    Data is given as to ``fit``. Errors: ArgumentError unless 0 < start < stop, and for LBFGS; those of ``fit``.

    >>> import chainrule as cr
    >>> model = cr.nn.Sequential(cr.nn.Linear(2, 1)).compile("mse", "sgd")
    >>> trial = lr_find(model, cr.randn(64, 2), cr.ones(64, 1), steps=20)
    >>> trial.rates[0] == 1e-6 and trial.suggestion <= 0.1
    True
    """
    plan = compiled(model, "lr_find")
    at_least("lr_find", "steps", steps, 2)
    if plan.uses_closure:
        raise ArgumentError(
            f"[lr_find] {type(plan.optimizer).__name__} finds how far to go by itself: compile the model with another optimizer"
        )
    if not 0 < start < stop < math.inf:
        raise ArgumentError(f"[lr_find] start is {start!r} and stop {stop!r}, expected 0 < start < stop")
    batches, _ = training_batches(model, x, y, batch_size)
    made = Step(model, "lr_find", accumulate=1)
    if not model.is_built:
        with no_grad(), mode(model, training=False):
            made.measure(next(iter(batches)))
    before, trial, average = Snapshot(model), Trial([], []), 0.0
    try:
        with mode(model, training=True):
            for number, batch in enumerate(repeated(batches, steps)):
                rate = start * (stop / start) ** (number / (steps - 1))
                plan.optimizer.lr = rate
                loss = made.measure(batch).total
                average = SMOOTHING * average + (1 - SMOOTHING) * loss.item()
                smooth = average / (1 - SMOOTHING ** (number + 1))
                if not smooth <= DIVERGED * min([*trial.losses, math.inf]):
                    break
                trial.rates.append(rate)
                trial.losses.append(smooth)
                plan.optimizer.zero_grad()
                plan.precision.scaled(loss).backward()
                plan.step()
    finally:
        plan.optimizer.zero_grad()
        before.restore()
    return trial


def repeated(batches: Iterable[Any], steps: int) -> Any:
    """So many batches, of as many epochs as they take."""
    while True:
        for batch in batches:
            yield batch
            steps -= 1
            if not steps:
                return
