"""Losses: how wrong a prediction is, as one number to make small.

Each is a module, ``CrossEntropy()(scores, target)``, and a function, ``cross_entropy(scores, target)``; ``get`` finds it by
name. A model that ends in Softmax or Sigmoid gives probabilities; losses of the scores before are exact where those of
probabilities overflow, so ``compile`` trains such a model on its scores.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .domain.errors import ArgumentError, ArgumentTypeError, unknown
from .nn.module import Module
from .nn.registry import register
from .ops.loss import bce, bce_with_logits, mse
from .ops.softmax import cross_entropy
from .tensor import Tensor

__all__ = [
    "BCE",
    "MSE",
    "BCEWithLogits",
    "CrossEntropy",
    "Loss",
    "bce",
    "bce_with_logits",
    "cross_entropy",
    "get",
    "mse",
]


class Loss(Module):
    """What losses have in common: ``reduction`` is "mean" or "sum" over the batch, or "none" for a loss each.

    ``yes_above`` is the output above which an element says yes, if the loss takes each for a yes or no.
    """

    yes_above: float | None = None

    def __init__(self, reduction: str = "mean") -> None:
        if reduction not in ("mean", "sum", "none"):
            raise unknown(f"reduction of {type(self).__name__}", reduction, ["mean", "sum", "none"])
        self.reduction = reduction

    def extra_repr(self) -> str:
        """The reduction, if it is not the mean."""
        return "" if self.reduction == "mean" else f"reduction={self.reduction!r}"


@register
class CrossEntropy(Loss):
    """How unlikely scores make the right classes: ``-log softmax(x)[target]``.

    ``x`` is (n, classes) or (n, classes, d, …), scores, not probabilities. ``target`` is a class for each, integers
    (n, d, …); or one-hot or other probabilities in the shape of ``x``. ``weight`` weighs the classes; targets equal to
    ``ignore_index`` do not count; ``label_smoothing`` spreads that share of each target over all classes. Errors:
    ClassIndexError for a target that is no class, DTypeError for classes that are floats, ShapeError.

    >>> import chainrule as cr
    >>> CrossEntropy()(cr.tensor([[0.0, 0.0], [0.0, 1.0]]), cr.tensor([1, 1]))
    tensor(0.5032)
    """

    weight: Tensor | None

    def __init__(
        self,
        weight: Any = None,
        *,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
        ignore_index: int = -100,
    ) -> None:
        super().__init__(reduction)
        if not 0 <= label_smoothing <= 1:
            raise ArgumentError(f"CrossEntropy: label_smoothing is {label_smoothing!r}, expected a share, from 0 to 1")
        weight = weight if weight is None or isinstance(weight, Tensor) else Tensor(weight, dtype="float32")
        self.register_buffer("weight", weight, persistent=False)
        self.label_smoothing, self.ignore_index = label_smoothing, ignore_index

    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        """See the class."""
        loss: Tensor = cross_entropy(
            x,
            target,
            self.weight,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
            ignore_index=self.ignore_index,
        )
        return loss


class Elementwise(Loss):
    """A loss of each element of ``x`` and the element of ``target`` in its place; both have one shape."""

    function: Callable[..., Any]

    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        """See the class."""
        loss: Tensor = type(self).function(x, target, reduction=self.reduction)
        return loss


@register
class MSE(Elementwise):
    """The squared error, ``(x - target)²``.

    >>> import chainrule as cr
    >>> MSE()(cr.tensor([1.0, 2.0]), cr.tensor([1.0, 4.0]))
    tensor(2.)
    """

    function = staticmethod(mse)


@register
class BCE(Elementwise):
    """The cross-entropy of probabilities ``x`` with targets from 0 to 1. ``BCEWithLogits`` is exact for all scores.

    >>> import chainrule as cr
    >>> BCE()(cr.tensor([0.5, 1.0]), cr.tensor([1.0, 1.0]))
    tensor(0.3466)
    """

    yes_above = 0.5
    function = staticmethod(bce)


@register
class BCEWithLogits(Elementwise):
    """``BCE`` of ``sigmoid(x)``, for scores ``x``.

    >>> import chainrule as cr
    >>> BCEWithLogits()(cr.tensor([0.0, 1000.0]), cr.tensor([1.0, 1.0]))
    tensor(0.3466)
    """

    yes_above = 0.0
    function = staticmethod(bce_with_logits)


NAMES: dict[str, Callable[[], Loss]] = {
    "cross_entropy": CrossEntropy,
    "mse": MSE,
    "bce": BCE,
    "bce_with_logits": BCEWithLogits,
    "sse": lambda: MSE("sum"),
    # the names of Keras and KeyDNN
    "crossentropy": CrossEntropy,
    "cce": CrossEntropy,
    "categorical_crossentropy": CrossEntropy,
    "sparse_categorical_crossentropy": CrossEntropy,
    "mean_squared_error": MSE,
    "binary_crossentropy": BCE,
    "binary_cross_entropy": BCE,
    "binary_cross_entropy_with_logits": BCEWithLogits,
}


def get(loss: Any) -> Any:
    """A loss by name; a loss, or any function of (prediction, target), as it is.

    Cross-entropy, under all its names, takes integer and one-hot targets and works on scores: a model ends in them, or
    in a Softmax that training leaves out. Errors: ArgumentError for an unknown name, with the nearest.

    >>> get("sparse_categorical_crossentropy"), get("sse")
    (CrossEntropy(), MSE(reduction='sum'))
    >>> get("crossentrpy")
    Traceback (most recent call last):
    chainrule.domain.errors.ArgumentError: unknown loss 'crossentrpy': did you mean 'crossentropy'? ...
    """
    if isinstance(loss, str):
        if loss not in NAMES:
            raise unknown("loss", loss, NAMES)
        return NAMES[loss]()
    if isinstance(loss, type) and issubclass(loss, Loss):
        return loss()
    if not callable(loss):
        raise ArgumentTypeError(f"a loss is a name or a function of (prediction, target), not {loss!r}")
    return loss
