"""Metrics of numbers. ``output`` and ``target`` have one shape; (n,) and (n, 1) count as one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..creation import zeros
from ..domain.errors import ShapeError
from ..modes import no_grad
from ..ops.elementwise import maximum, sqrt
from ..ops.memory import cast
from ..ops.shape import stack
from .base import Metric

LEAST = 2.0**-52  # the size of a target counts as at least that, as in scikit-learn


def both(name: str, output: Any, target: Any) -> tuple[Any, Any]:
    """Both as float64, in one shape. Errors: ShapeError."""
    if output.shape != target.shape:
        if output.size != target.size or {*output.shape[1:], *target.shape[1:]} - {1}:
            raise ShapeError(
                f"[{name}] output has shape {output.shape} and target {target.shape}; they should be equal"
            )
        target = target.reshape(output.shape)
    return cast(output, dtype="float64"), cast(target, dtype="float64")


class Error(Metric):
    """The mean of an error over all elements."""

    higher_is_better = False

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name or type(self).__name__.lower())

    def measure(self, output: Any, target: Any) -> Any:
        """See Metric."""
        output, target = both(self.name, output, target)
        return self.error(output, target).sum(), output.size

    def error(self, output: Any, target: Any) -> Any:
        """The error of each element."""
        raise NotImplementedError(f"{type(self).__name__} needs an error(self, output, target)")


class MAE(Error):
    """The mean absolute error.

    >>> import chainrule as cr
    >>> error = MAE()
    >>> error.update(cr.tensor([1.0, 2.0]), cr.tensor([1.0, 5.0])); error.result()
    1.5
    """

    def error(self, output: Any, target: Any) -> Any:
        """See Error."""
        return (output - target).abs()


class MSE(Error):
    """The mean squared error.

    >>> import chainrule as cr
    >>> error = MSE()
    >>> error.update(cr.tensor([1.0, 2.0]), cr.tensor([1.0, 5.0])); error.result()
    4.5
    """

    def error(self, output: Any, target: Any) -> Any:
        """See Error."""
        return (output - target) ** 2


class RMSE(MSE):
    """The root of the mean squared error.

    >>> import chainrule as cr
    >>> error = RMSE()
    >>> error.update(cr.tensor([1.0, 2.0]), cr.tensor([4.0, 5.0])); error.result()
    3.0
    """

    def result(self) -> float:
        """See Metric."""
        return math.sqrt(super().result())


class MAPE(Error):
    """The mean absolute error as a share of the target's size; not in percent.

    >>> import chainrule as cr
    >>> error = MAPE()
    >>> error.update(cr.tensor([1.0, 2.0]), cr.tensor([2.0, 4.0])); error.result()
    0.5
    """

    def error(self, output: Any, target: Any) -> Any:
        """See Error."""
        return (output - target).abs() / maximum(target.abs(), LEAST)


class CosineSimilarity(Metric):
    """The mean cosine of the angle between vectors along the last axis; 0 for one of length 0.

    >>> import chainrule as cr
    >>> similarity = CosineSimilarity()
    >>> similarity.update(cr.tensor([[1.0, 0.0], [1.0, 1.0]]), cr.tensor([[2.0, 0.0], [-1.0, 1.0]])); similarity.result()
    0.5
    """

    higher_is_better = True

    def __init__(self, name: str = "cosine_similarity") -> None:
        super().__init__(name)

    def measure(self, output: Any, target: Any) -> Any:
        """See Metric."""
        output, target = both(self.name, output, target)
        lengths = sqrt((output * output).sum(axis=-1) * (target * target).sum(axis=-1))
        cosines = (output * target).sum(axis=-1) / maximum(lengths, 2.0**-1000)
        return cosines.sum(), cosines.size


class Moments(Metric):
    """Means and squared deviations of targets and errors, one column for each output; exact however large the means."""

    higher_is_better = True

    def __init__(self, name: str) -> None:
        super().__init__(name)

    def update(self, output: Any, target: Any) -> None:
        """Add a batch."""
        with no_grad():
            output, target = both(self.name, output, target)
            n = len(target)
            if n:
                x = stack(target.reshape(n, -1), (target - output).reshape(n, -1), axis=0)
                mean = x.mean(axis=1)
                self.add({"n": mean[0, 0] * 0 + n, "mean": mean, "squares": ((x - mean.unsqueeze(1)) ** 2).sum(axis=1)})

    def add(self, values: Any) -> None:
        """Take in other moments (Chan et al., 1979)."""
        if not values:
            return
        if not self.sums:
            self.sums = {key: zeros(v.shape, dtype="float64", device=v.device) for key, v in values.items()}
        s, old = self.sums, self.sums["n"].clone()
        apart = values["mean"] - s["mean"]
        s["n"].add_(values["n"])
        share = values["n"] / maximum(s["n"], 1.0)
        s["mean"].add_(apart * share)
        s["squares"].add_(values["squares"] + apart * apart * (old * share))

    def result(self) -> float:
        """The mean over outputs; 0 if there is nothing. An output whose target is constant gives 1 if it is hit, else 0."""
        if not self.sum_of("n"):
            return 0.0
        left, spread = self.left(), self.sums["squares"][0].numpy()
        each = np.where(left == 0, 1.0, 0.0)
        np.divide(left, spread, out=each, where=spread != 0)
        return float(np.where(spread != 0, 1 - each, each).mean())

    def left(self) -> Any:
        """What is left of the squared deviations, for each output."""
        raise NotImplementedError(f"{type(self).__name__} needs a left(self)")


class R2(Moments):
    """The share of the variance of the target that is explained: 1 - squared errors / squared deviations.

    >>> import chainrule as cr
    >>> score = R2()
    >>> score.update(cr.tensor([1.0, 2.0, 4.0]), cr.tensor([1.0, 2.0, 3.0])); score.result()
    0.5
    """

    def __init__(self, name: str = "r2") -> None:
        super().__init__(name)

    def left(self) -> Any:
        """See Moments."""
        return self.sums["squares"][1].numpy() + self.sum_of("n") * self.sums["mean"][1].numpy() ** 2


class ExplainedVariance(Moments):
    """``R2`` that forgives a constant error: 1 - variance of the errors / variance of the target.

    >>> import chainrule as cr
    >>> score = ExplainedVariance()
    >>> score.update(cr.tensor([2.0, 3.0, 4.0]), cr.tensor([1.0, 2.0, 3.0])); score.result()
    1.0
    """

    def __init__(self, name: str = "explained_variance") -> None:
        super().__init__(name)

    def left(self) -> Any:
        """See Moments."""
        return self.sums["squares"][1].numpy()
