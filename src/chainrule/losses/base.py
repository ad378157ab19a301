"""What losses have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..domain.errors import ShapeError, unknown
from ..nn.module import Module
from ..ops.memory import cast
from ..ops.reduce import mean, sum
from ..tensor import Tensor


class Loss(Module):
    """What losses have in common: ``reduction`` is "mean" or "sum" over the batch, or "none" for a loss each.

    ``yes_above`` is the output above which an element says yes, if the loss takes each for a yes or no; ``of_scores`` says
    whether it takes scores, or probabilities, if it takes either. A call takes
    ``sample_weight`` (n,), too: each loss is multiplied by the weight of its sample before they are reduced, and the mean
    is over their number, as in Keras. A subclass says in ``measure`` what the loss is. One of more than a prediction and a
    target says in ``takes`` how many outputs of a model and how many targets ``fit`` gives it, and in ``arguments`` their
    order, if it is not the outputs and then the targets.

    >>> import chainrule as cr
    >>> cr.losses.MSE()(cr.tensor([1.0, 1.0]), cr.tensor([0.0, 3.0]), sample_weight=cr.tensor([2.0, 0.5]))
    tensor(2.)
    """

    yes_above: float | None = None
    of_scores: bool | None = None
    reductions: tuple[str, ...] = ("mean", "sum", "none")
    takes: tuple[int, int] = (1, 1)

    def __init__(self, reduction: str = "mean") -> None:
        if reduction not in self.reductions:
            raise unknown(f"reduction of {type(self).__name__}", reduction, self.reductions)
        self.reduction = reduction

    def measure(self, *parts: Any) -> Any:
        """The loss of (x, target, reduction), reduced as that says."""
        raise NotImplementedError(f"{type(self).__name__} needs a measure(self, x, target, reduction)")

    def count(self, *parts: Any) -> Any:
        """By what the sum of weighted losses of (x, target) is divided for their mean; None for their number."""
        return None

    def arguments(self, outputs: Sequence[Any], targets: Sequence[Any]) -> Sequence[Any]:
        """The outputs of a model and the targets, as many as ``takes`` says, in the order that a call takes them."""
        return (*outputs, *targets)

    def forward(self, x: Any, target: Any, sample_weight: Any = None) -> Any:
        """See the class."""
        return self.reduced((x, target), sample_weight)

    def reduced(self, parts: tuple[Any, ...], sample_weight: Any = None) -> Any:
        """The loss of all that a call takes but the weights."""
        if sample_weight is None:
            return self.measure(*parts, self.reduction)
        losses = weighted(type(self).__name__, self.measure(*parts, "none"), sample_weight)
        if self.reduction == "none":
            return losses
        count = self.count(*parts) if self.reduction != "sum" else None
        if count is not None:
            return sum(losses) / count
        return sum(losses) if self.reduction == "sum" else mean(losses)

    def extra_repr(self) -> str:
        """The reduction, if it is not the mean."""
        return "" if self.reduction == "mean" else f"reduction={self.reduction!r}"


def weighted(name: str, losses: Any, sample_weight: Any) -> Any:
    """Losses (n, …) times the weights of their samples, (n,) or in the shape of the losses."""
    weight = sample_weight if isinstance(sample_weight, Tensor) else Tensor(sample_weight)
    if weight.shape != losses.shape:
        if weight.shape != losses.shape[:1]:
            raise ShapeError(
                f"[{name}] sample_weight has shape {weight.shape}, expected {losses.shape[:1]}: one for each sample"
            )
        weight = weight.reshape(-1, *(1,) * (losses.ndim - 1))
    return losses * cast(weight, dtype=losses.dtype)


class Elementwise(Loss):
    """A loss that is an op of ``x`` and ``target``: ``function``. ``options`` names the arguments it takes from here."""

    function: Callable[..., Any]
    options: tuple[str, ...] = ()

    def measure(self, x: Any, target: Any, reduction: str) -> Any:
        """See Loss."""
        options = {name: getattr(self, name) for name in self.options}
        return type(self).function(x, target, reduction=reduction, **options)

    def extra_repr(self) -> str:
        """The options, and the reduction if it is not the mean."""
        shown = [f"{name}={getattr(self, name)!r}" for name in self.options]
        return ", ".join([*shown, *filter(None, [super().extra_repr()])])
