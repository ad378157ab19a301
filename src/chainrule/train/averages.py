"""Averages of the weights, kept while training goes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..domain.callback import Logs
from ..domain.errors import ArgumentError, ArgumentTypeError, unknown
from ..optim.averaging import WeightAverage
from .callbacks import Callback


class AverageWeights(Callback):
    """Take the weights into an ``optim.EMA`` or ``optim.SWA`` after each "batch", or ``every="epoch"``, from ``start`` on.

    ``start`` is an epoch, counted from 0. When training ends the model has the average, and ``average`` the last weights;
    until then, in validation too, it has its own. With EarlyStopping, in whatever order, ``average.swap()`` then gives the
    model the best weights. A second ``fit`` goes on from the average, weights and average. Batch norms: see
    ``optim.update_bn``.

    >>> import chainrule as cr
    >>> model = cr.nn.Sequential(cr.nn.Linear(2, 1)).compile("mse", "sgd")
    >>> average = cr.optim.EMA(model.parameters(), decay=0.9)
    >>> _ = model.fit([[0.0, 1.0]], [[2.0]], epochs=3, callbacks=AverageWeights(average), verbose=0)
    >>> average.updates
    3
    """

    ends_last = True

    def __init__(self, average: WeightAverage, every: str = "batch", start: int = 0) -> None:
        if not isinstance(average, WeightAverage):
            raise ArgumentTypeError(
                f"[AverageWeights] average is {average!r}, expected an average of parameters: optim.EMA(model.parameters())"
            )
        if every not in ("batch", "epoch"):
            raise unknown("every of AverageWeights", every, ["batch", "epoch"])
        if start < 0:
            raise ArgumentError(f"[AverageWeights] start is {start!r}, expected an epoch, 0 or more")
        self.average, self.every, self.start, self.epoch = average, every, start, 0

    def on_train_begin(self, logs: Logs) -> None:
        """Go on from the average, if the model has it."""
        self.average.settle()

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        """Remember which it is."""
        self.epoch = epoch

    def on_batch_end(self, batch: int, logs: Logs) -> None:
        """Take the weights in."""
        if self.every == "batch" and self.epoch >= self.start:
            self.average.update()

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Take the weights in."""
        if self.every == "epoch" and epoch >= self.start:
            self.average.update()

    def state_dict(self) -> dict[str, Any]:
        """See Callback."""
        return self.average.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See Callback."""
        self.average.load_state_dict(state)

    def on_train_end(self, logs: Logs) -> None:
        """Give the model its average, if there is one."""
        if self.average.updates:
            self.average.swap()
