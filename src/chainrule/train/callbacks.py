"""Callbacks: code that is told of training as it goes, in ``fit`` or in a loop written by hand.

Epochs and batches are counted from 0 where programs see them (hooks, ``History.epoch``), from 1 where people do (the
progress line, file names, tables, plots).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from types import MappingProxyType
from typing import Any

from ..domain.callback import ICallback, Logs
from ..domain.errors import ArgumentError, ArgumentTypeError, unknown
from .snapshot import Snapshot

NO_LOGS: Logs = MappingProxyType({})
MODES = ("auto", "min", "max")
SMALLER_IS_BETTER = ("loss", "error", "mse", "mae", "rmse", "perplexity")
ELSEWHERE = {
    "on_train_batch_begin": "the hook is on_batch_begin",
    "on_train_batch_end": "the hook is on_batch_end",
    **dict.fromkeys(
        (
            f"on_{what}_{when}"
            for what in ("test", "test_batch", "predict", "predict_batch")
            for when in ("begin", "end")
        ),
        "evaluation and prediction have no hooks; on_epoch_end has the logs of validation",
    ),
}  # hooks of Keras that are not here
LARGER_IS_BETTER = ("acc", "accuracy", "precision", "recall", "f1", "auc", "r2", "iou")


class Callback:
    """The base of callbacks: override the hooks you need.

    ``logs`` maps names to numbers. After an epoch it has the averages of the epoch (``loss``, the metrics, the same with
    ``val_``); after a batch the averages so far and ``samples``, read from memory only when asked for. Set
    ``stop_training``, of the callback or of the model, to end training after the epoch. An error raised in a hook ends
    training and reaches the caller.

    >>> class Shout(Callback):
    ...     def on_epoch_end(self, epoch, logs):
    ...         print(f"epoch {epoch + 1} of {self.model}: {logs['loss']:.2f}!")
    >>> shout = Shout()
    >>> shout.set_model("mine")
    >>> shout.on_epoch_end(0, {"loss": 0.5})
    epoch 1 of mine: 0.50!
    """

    model: Any = None
    stop_training: bool = False
    ends_last: bool = False  # whether on_train_end comes after that of all others; they are told in the order given

    def set_model(self, model: Any) -> None:
        """Called first, with the model that is trained."""
        self.model = model

    def on_train_begin(self, logs: Logs) -> None:
        """Before the first epoch."""

    def on_train_end(self, logs: Logs) -> None:
        """After the last epoch, also when training ended early, by Ctrl-C or by an error."""

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        """Before the batches of an epoch."""

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """After the batches of an epoch and its validation."""

    def on_batch_begin(self, batch: int, logs: Logs) -> None:
        """Before a training step."""

    def on_batch_end(self, batch: int, logs: Logs) -> None:
        """After a training step."""

    def state_dict(self) -> dict[str, Any]:
        """What it remembers that a training which goes on from a Checkpoint needs: numbers, texts, arrays, lists, dicts."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state_dict`` gave, after ``on_train_begin`` and, within an epoch, ``on_epoch_begin``."""


class CallbackList:
    """Several callbacks, told in the order given.

    A loop written by hand uses it like ``fit`` does:

    >>> from chainrule.train import History
    >>> history, stopping = History(), EarlyStopping("loss", restore_best_weights=False)
    >>> callbacks = CallbackList([stopping, history], model=None)
    >>> callbacks.on_train_begin()
    >>> for epoch, loss in enumerate([3.0, 2.0, 2.5, 1.0]):
    ...     callbacks.on_epoch_end(epoch, {"loss": loss})
    ...     if callbacks.stop_training:
    ...         break
    >>> callbacks.on_train_end()
    >>> history["loss"], stopping.best
    ([3.0, 2.0, 2.5], 2.0)
    """

    def __init__(self, callbacks: Iterable[ICallback] | ICallback | None, model: Any) -> None:
        given = [callbacks] if isinstance(callbacks, ICallback) else list(callbacks or [])
        for callback in given:
            if isinstance(callback, type) or not isinstance(callback, ICallback):
                raise ArgumentTypeError(
                    f"[fit] {callback!r} is no callback: give objects of classes that inherit chainrule.train.Callback"
                )
            for name in sorted(set(ELSEWHERE) & set(dir(callback))):
                raise ArgumentError(
                    f"[fit] {type(callback).__name__} has {name}, which is never called: {ELSEWHERE[name]}"
                )
        self.model = model
        self.callbacks: list[ICallback] = []
        self.begun: list[ICallback] = []
        self.add(*given)

    def add(self, *callbacks: ICallback) -> None:
        """Put more after those that are there."""
        for callback in callbacks:
            callback.set_model(self.model)
            self.callbacks.append(callback)

    def expect(self, names: list[str]) -> None:
        """Raise ArgumentError if a callback watches a value that is not among those training will report."""
        names = [*names, "lr"] if self._lr() is not None else names
        for callback in self.callbacks:
            if isinstance(callback, Monitor):
                callback.expect(names)
                callback.reported = tuple(names)

    @property
    def stop_training(self) -> bool:
        """Whether any callback wants training to end, or has told the model so, as in Keras."""
        told = getattr(self.model, "stop_training", False) is True
        return told or any(getattr(callback, "stop_training", False) for callback in self.callbacks)

    def on_train_begin(self, logs: Logs = NO_LOGS) -> None:
        """Tell all."""
        self.begun = []
        if getattr(self.model, "stop_training", False) is True:
            self.model.stop_training = False  # it was of an earlier training
        for callback in self.callbacks:
            callback.on_train_begin(logs)
            self.begun.append(callback)

    def on_train_end(self, logs: Logs = NO_LOGS) -> None:
        """Tell all for whom training began, once, though some of them fail."""
        told = sorted(self.begun, key=lambda callback: getattr(callback, "ends_last", False))
        self.begun = []
        with ExitStack() as every:
            for callback in reversed(told):
                every.callback(callback.on_train_end, logs)

    def on_epoch_begin(self, epoch: int, logs: Logs = NO_LOGS) -> None:
        """Tell all."""
        for callback in self.callbacks:
            callback.on_epoch_begin(epoch, logs)

    def on_epoch_end(self, epoch: int, logs: Logs = NO_LOGS) -> None:
        """Tell all, and the learning rate of the epoch, ``lr``, if one of them changes or wants it.

        Errors: ArgumentError before ``on_train_begin``.
        """
        if self.callbacks and not self.begun:
            raise ArgumentError(
                "[CallbackList] an epoch ended before training began: call on_train_begin() before the loop"
            )
        rate = self._lr()
        logs = logs if rate is None or "lr" in logs else {**logs, "lr": rate()}
        for callback in self.callbacks:
            callback.on_epoch_end(epoch, logs)

    def on_batch_begin(self, batch: int, logs: Logs = NO_LOGS) -> None:
        """Tell all."""
        for callback in self.callbacks:
            callback.on_batch_begin(batch, logs)

    def on_batch_end(self, batch: int, logs: Logs = NO_LOGS) -> None:
        """Tell all."""
        for callback in self.callbacks:
            callback.on_batch_end(batch, logs)

    def _lr(self) -> Any:
        """What tells the learning rate: a method of the first callback that has one."""
        found = (getattr(callback, "learning_rate", None) for callback in self.callbacks)
        return next((rate for rate in found if callable(rate)), None)


class Monitor(Callback):
    """A callback that watches one of the logs and knows when it is better than ever: ``best``, ``best_epoch``."""

    reported: tuple[str, ...] = ()  # what fit reports, though some of it not after each epoch

    def __init__(self, monitor: str, mode: str, min_delta: float = 0.0) -> None:
        if mode not in MODES:
            raise unknown("mode", mode, MODES)
        if not min_delta >= 0:
            raise ArgumentError(f"[{type(self).__name__}] min_delta is {min_delta}, expected a number of at least 0")
        self.monitor, self.mode, self.min_delta = monitor, mode, min_delta

    def on_train_begin(self, logs: Logs) -> None:
        """Forget an earlier training."""
        self.stop_training = False
        self.forget()

    def forget(self) -> None:
        """Begin anew: nothing was seen."""
        self.sign = self._sign()
        self.best, self.best_epoch = self.sign * math.inf, -1

    def state_dict(self) -> dict[str, Any]:
        """See Callback."""
        return {"sign": self.sign, "best": self.best, "best_epoch": self.best_epoch, "stop": self.stop_training}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See Callback."""
        self.sign, self.best, self.best_epoch = state["sign"], state["best"], state["best_epoch"]
        self.stop_training = state["stop"]

    def expect(self, names: Iterable[str]) -> None:
        """Raise ArgumentError unless the watched value is among ``names``."""
        if self.monitor in names:
            return
        if self.monitor.removeprefix("val_") in names:
            raise ArgumentError(
                f"[{type(self).__name__}] {self.monitor!r} needs validation: give fit validation_data or "
                f"validation_split, or monitor={self.monitor.removeprefix('val_')!r}"
            )
        raise unknown(f"value to monitor in {type(self).__name__}", self.monitor, names)

    def missing(self, logs: Logs) -> bool:
        """Whether the watched value is one that ``fit`` reports, but not after this epoch, which had no validation."""
        return self.monitor in self.reported and self.monitor not in logs

    def better(self, value: float, than: float, by: float = 0.0) -> bool:
        """Whether ``value`` is better, by more than ``by``; NaN never is."""
        return self.sign * value < self.sign * than - by

    def improved(self, epoch: int, logs: Logs) -> bool:
        """Whether the watched value is the best so far, by more than ``min_delta``."""
        Monitor.expect(self, logs)
        value = logs[self.monitor]
        if not self.better(value, self.best, self.min_delta):
            return False
        self.best, self.best_epoch = value, epoch
        return True

    def _sign(self) -> int:
        """1 if smaller is better, -1 if larger is: as ``mode`` says, or the metric, or the name."""
        if self.mode != "auto":
            return 1 if self.mode == "min" else -1
        name = self.monitor.removeprefix("val_")
        compiled = getattr(self.model, "compiled", None)
        for metric in compiled.metrics if compiled is not None else ():
            if metric.name == name and getattr(metric, "higher_is_better", None) is not None:
                return -1 if metric.higher_is_better else 1
        words = name.lower().split("_")
        if any(word in SMALLER_IS_BETTER for word in words):
            return 1
        if any(word in LARGER_IS_BETTER for word in words):
            return -1
        raise ArgumentError(
            f"[{type(self).__name__}] cannot tell whether a smaller or a larger {self.monitor!r} is better: "
            'give mode="min" or mode="max"'
        )


class EarlyStopping(Monitor):
    """End training when ``monitor`` has not improved for more than ``patience`` epochs in a row.

    An improvement is one of more than ``min_delta``; NaN never is one. With ``baseline`` improvements count only once they
    reach it: training ends if ``patience`` runs out before. Epochs before ``start_from_epoch``, counted from 0, are not
    looked at. ``mode`` is "min", "max" or "auto": as the metric or its name says.

    With ``restore_best_weights`` the parameters and buffers of the best epoch, and the optimizer as it was then (moments,
    steps, learning rates), are put back when training ends, for whatever reason: training can go on from there. The
    optimizer is that of the compiled model unless it is given. Errors: ArgumentError for a value that training does not
    report, with those it does.

    >>> stopping = EarlyStopping("val_accuracy", patience=2)
    >>> stopping.monitor, stopping.patience, stopping.restore_best_weights
    ('val_accuracy', 2, True)
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        mode: str = "auto",
        patience: int = 0,
        min_delta: float = 0.0,
        restore_best_weights: bool = True,
        baseline: float | None = None,
        start_from_epoch: int = 0,
        optimizer: Any = None,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        for name, value in (("patience", patience), ("start_from_epoch", start_from_epoch)):
            if value < 0:
                raise ArgumentError(f"[EarlyStopping] {name} is {value}, expected a number of at least 0")
        self.patience, self.restore_best_weights = patience, restore_best_weights
        self.baseline, self.start_from_epoch, self.optimizer = baseline, start_from_epoch, optimizer

    def on_train_begin(self, logs: Logs) -> None:
        """Forget an earlier training."""
        super().on_train_begin(logs)
        self.wait, self.stopped_epoch = 0, -1
        self._kept: Snapshot | None = None

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Remember the best weights, or lose patience; epochs without the value do not count."""
        if epoch < self.start_from_epoch or self.missing(logs):
            return
        improved = self.improved(epoch, logs)
        if improved and self.restore_best_weights:
            self._kept = Snapshot(self.model, self.optimizer)
        if improved and (self.baseline is None or self.better(self.best, self.baseline)):
            self.wait = 0
            return
        self.wait += 1
        if self.wait > self.patience:
            self.stop_training, self.stopped_epoch = True, epoch

    def state_dict(self) -> dict[str, Any]:
        """See Callback."""
        kept = None if self._kept is None else self._kept.state_dict()
        return {**super().state_dict(), "wait": self.wait, "stopped_epoch": self.stopped_epoch, "kept": kept}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See Callback."""
        super().load_state_dict(state)
        self.wait, self.stopped_epoch = state["wait"], state["stopped_epoch"]
        self._kept = None if state["kept"] is None else Snapshot(self.model, self.optimizer, state["kept"])

    def on_train_end(self, logs: Logs) -> None:
        """Put the best weights back."""
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.restore()
