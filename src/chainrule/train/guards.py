"""Small callbacks: training that ends at a NaN, the time it takes, and callbacks made of functions."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from ..domain.callback import Logs
from ..domain.errors import ArgumentError, ArgumentTypeError, unknown
from .callbacks import Callback

HOOKS = ("on_train_begin", "on_train_end", "on_epoch_begin", "on_epoch_end", "on_batch_begin", "on_batch_end")


class TerminateOnNaN(Callback):
    """End training after an epoch whose loss is NaN or infinite, with a warning that says which.

    One NaN makes the average of the epoch NaN, so this reads nothing more from the device than the logs do.

    >>> guard = TerminateOnNaN()
    >>> guard.on_train_begin({}); guard.on_epoch_end(0, {"loss": 0.5})
    >>> guard.stop_training
    False
    """

    def on_train_begin(self, logs: Logs) -> None:
        """Forget an earlier training."""
        self.stop_training = False

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Look at the loss."""
        if "loss" in logs and not math.isfinite(logs["loss"]):
            self.stop_training = True
            warnings.warn(
                f"[TerminateOnNaN] the loss of epoch {epoch + 1} is {logs['loss']}: training ends. A smaller learning rate "
                "or compile(..., clip_norm=1.0) may help",
                UserWarning,
                stacklevel=2,
            )

    def state_dict(self) -> dict[str, Any]:
        """See Callback."""
        return {"stop": self.stop_training}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See Callback."""
        self.stop_training = state["stop"]


class Timer(Callback):
    """How long training takes: ``epochs``, the seconds of each with its validation, and ``total``, of all since it began.

    With ``limit``, in seconds, training ends after the epoch in which it is reached.

    >>> timer = Timer(limit=3600)
    >>> timer.on_train_begin({}); timer.on_epoch_begin(0, {}); timer.on_epoch_end(0, {})
    >>> len(timer.epochs), timer.total >= timer.epochs[0] >= 0, timer.stop_training
    (1, True, False)
    """

    def __init__(self, limit: float | None = None) -> None:
        if limit is not None and not limit > 0:
            raise ArgumentError(f"[Timer] limit is {limit!r}, expected a positive number of seconds, or None")
        self.limit, self.total = limit, 0.0
        self.epochs: list[float] = []

    def on_train_begin(self, logs: Logs) -> None:
        """Start the clock."""
        self.stop_training, self.total, self.epochs = False, 0.0, []
        self._start = self._epoch = time.perf_counter()

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        """Remember when."""
        self._epoch = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Note the time."""
        now = time.perf_counter()
        self.epochs.append(now - self._epoch)
        self._epoch = now
        self.total = now - self._start
        self.stop_training = self.limit is not None and self.total >= self.limit

    def on_train_end(self, logs: Logs) -> None:
        """Note the time."""
        self.total = time.perf_counter() - self._start

    def state_dict(self) -> dict[str, Any]:
        """See Callback. The time between two runs of a training does not count."""
        now = time.perf_counter()
        return {
            "epochs": [*self.epochs],
            "total": now - self._start,
            "epoch": now - self._epoch,
            "stop": self.stop_training,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See Callback."""
        now = time.perf_counter()
        self.epochs, self.stop_training, self.total = [*state["epochs"]], state["stop"], state["total"]
        self._start, self._epoch = now - state["total"], now - state["epoch"]


class LambdaCallback(Callback):
    """A callback of functions, each by the name of its hook, with the arguments of the hook.

    Errors: ArgumentError for a name that is no hook, with the nearest; ArgumentTypeError for what is no function.

    >>> shout = LambdaCallback(on_epoch_end=lambda epoch, logs: print(f"epoch {epoch + 1}: {logs['loss']}"))
    >>> shout.on_epoch_end(0, {"loss": 0.5})
    epoch 1: 0.5
    """

    def __init__(self, **hooks: Callable[..., Any]) -> None:
        for name, function in hooks.items():
            if name not in HOOKS:
                raise unknown("hook of LambdaCallback", name, HOOKS)
            if not callable(function):
                raise ArgumentTypeError(f"[LambdaCallback] {name} is {function!r}, expected a function")
            setattr(self, name, function)
