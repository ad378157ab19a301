"""Losses as some systems have them: summed over the outputs of a sample, then the mean over the batch."""

from __future__ import annotations

from typing import Any

from .. import losses


class MSEOfSamples(losses.MSE):
    """``MSE``, but the squared errors of a sample are summed: for k outputs, k times as much.

    >>> import chainrule as cr
    >>> MSEOfSamples()(cr.tensor([[1.0, 2.0]]), cr.tensor([[1.0, 4.0]]))
    tensor(4.)
    """

    def measure(self, x: Any, target: Any, reduction: str) -> Any:
        """See Loss."""
        return _of_samples(super().measure, x, target, reduction)

    def count(self, x: Any, *rest: Any) -> Any:
        """See Loss."""
        return x.shape[0]


class BCEOfSamples(losses.BCEWithLogits):
    """``BCEWithLogits``, but the cross-entropies of a sample are summed: for k outputs, k times as much.

    >>> import chainrule as cr
    >>> BCEOfSamples()(cr.tensor([[0.0, 1000.0]]), cr.tensor([[1.0, 1.0]]))
    tensor(0.6931)
    """

    def measure(self, x: Any, target: Any, reduction: str) -> Any:
        """See Loss."""
        return _of_samples(super().measure, x, target, reduction)

    def count(self, x: Any, *rest: Any) -> Any:
        """See Loss."""
        return x.shape[0]


def _of_samples(measure: Any, x: Any, target: Any, reduction: str) -> Any:
    return measure(x, target, "sum") / x.shape[0] if reduction == "mean" else measure(x, target, reduction)
