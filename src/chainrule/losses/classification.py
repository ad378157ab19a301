"""Losses of classifiers: of classes, of yes and no, of masks."""

from __future__ import annotations

from typing import Any

from ..domain.errors import ArgumentError
from ..nn.registry import register
from ..ops.elementwise import log, where
from ..ops.loss import bce, bce_with_logits, dice, focal, hinge, squared_hinge
from ..ops.memory import cast
from ..ops.reduce import mean, sum
from ..ops.softmax import cross_entropy, known_reduction, nll, reduced
from ..tensor import Tensor
from .base import Elementwise, Loss

LEAST = -100.0  # a logarithm counts as at least that, as in ``bce``


def tensor_or_none(weight: Any) -> Tensor | None:
    """A weight as a tensor."""
    return weight if weight is None or isinstance(weight, Tensor) else Tensor(weight, dtype="float32")


class Classes(Loss):
    """A loss of classes, with weights for them and a target that does not count."""

    weight: Tensor | None

    def __init__(self, weight: Any, reduction: str, ignore_index: int) -> None:
        super().__init__(reduction)
        self.register_buffer("weight", tensor_or_none(weight), persistent=False)
        self.ignore_index = ignore_index

    def count(self, x: Any, target: Any) -> Any:
        """The weights of the targets, as the mean without sample weights has it."""
        if target.ndim == x.ndim:
            return None
        counted = target != self.ignore_index
        if self.weight is None:
            return sum(
                cast(counted, dtype="float64" if x.dtype == "float64" else "float32")
            )  # not float16: it ends at 65504
        return sum(where(counted, self.weight[where(counted, target, 0)], 0.0))


@register
class CrossEntropy(Classes):
    """How unlikely scores make the right classes: ``-log softmax(x)[target]``.

    ``x`` is (n, classes) or (n, classes, d, …), scores, not probabilities. ``target`` is a class for each, integers
    (n, d, …); or one-hot or other probabilities in the shape of ``x``. ``weight`` weighs the classes; targets equal to
    ``ignore_index`` do not count; ``label_smoothing`` spreads that share of each target over all classes. Errors:
    IndexRangeError for a target that is no class, DTypeError for classes that are floats, ShapeError.

    >>> import chainrule as cr
    >>> CrossEntropy()(cr.tensor([[0.0, 0.0], [0.0, 1.0]]), cr.tensor([1, 1]))
    tensor(0.5032)
    """

    of_scores = True

    def __init__(
        self,
        weight: Any = None,
        *,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
        ignore_index: int = -100,
    ) -> None:
        super().__init__(weight, reduction, ignore_index)
        if not 0 <= label_smoothing <= 1:
            raise ArgumentError(f"CrossEntropy: label_smoothing is {label_smoothing!r}, expected a share, from 0 to 1")
        self.label_smoothing = label_smoothing

    def measure(self, x: Any, target: Any, reduction: str) -> Any:
        """See Loss."""
        return cross_entropy(
            x,
            target,
            self.weight,
            reduction=reduction,
            label_smoothing=self.label_smoothing,
            ignore_index=self.ignore_index,
        )


@register
class NLL(Classes):
    """How unlikely log-probabilities (n, classes, …) make the right classes (n, …): ``-x[target]``.

    ``weight`` and ``ignore_index`` as in CrossEntropy, which is this after LogSoftmax.

    >>> import chainrule as cr
    >>> NLL()(cr.tensor([[0.25, 0.75]]).log(), cr.tensor([1]))
    tensor(0.2877)
    """

    def __init__(self, weight: Any = None, *, reduction: str = "mean", ignore_index: int = -100) -> None:
        super().__init__(weight, reduction, ignore_index)

    def measure(self, x: Any, target: Any, reduction: str) -> Any:
        """See Loss."""
        return nll(x, target, self.weight, reduction=reduction, ignore_index=self.ignore_index)


@register
class CategoricalCrossEntropy(Loss):
    """The cross-entropy of probabilities (n, classes, …) that come out of a softmax: ``-log(x)[target]``.

    ``target`` is a class for each, integers (n, …), or one-hot or other probabilities in the shape of ``x``. Each logarithm
    counts as at least -100. ``CrossEntropy``, on scores, is exact where this is not.

    >>> import chainrule as cr
    >>> CategoricalCrossEntropy()(cr.tensor([[0.25, 0.75], [0.0, 1.0]]), cr.tensor([[0.0, 1.0], [1.0, 0.0]]))
    tensor(50.1438)
    """

    of_scores = False

    def measure(self, x: Any, target: Any, reduction: str) -> Any:
        """See Loss."""
        return categorical_cross_entropy(x, target, reduction=reduction)


def categorical_cross_entropy(x: Any, target: Any, *, reduction: str = "mean") -> Any:
    """What ``CategoricalCrossEntropy`` is.

    >>> import chainrule as cr
    >>> categorical_cross_entropy(cr.tensor([[0.25, 0.75], [0.5, 0.5]]), cr.tensor([1, 0]), reduction="none")
    tensor([0.2877, 0.6931])
    """
    known_reduction("categorical_cross_entropy", reduction)
    some = x > 0
    logs = where(some, log(where(some, x, 1.0)), LEAST).clip(min=LEAST)
    if target.shape != x.shape:
        return nll(logs, target, reduction=reduction)
    losses = -sum(logs * cast(target, dtype=logs.dtype), axis=1)
    return mean(losses) if reduction == "mean" else reduced(losses, reduction)


@register
class BCE(Elementwise):
    """The cross-entropy of probabilities ``x`` with targets from 0 to 1. ``BCEWithLogits`` is exact for all scores.

    >>> import chainrule as cr
    >>> BCE()(cr.tensor([0.5, 1.0]), cr.tensor([1.0, 1.0]))
    tensor(0.3466)
    """

    yes_above = 0.5
    of_scores = False
    function = staticmethod(bce)


@register
class BCEWithLogits(Loss):
    """``BCE`` of ``sigmoid(x)``, for scores ``x``. ``pos_weight``, which broadcasts to ``x``, weighs each yes in the target.

    >>> import chainrule as cr
    >>> BCEWithLogits()(cr.tensor([0.0, 1000.0]), cr.tensor([1.0, 1.0]))
    tensor(0.3466)
    """

    yes_above = 0.0
    of_scores = True
    pos_weight: Tensor | None

    def __init__(self, reduction: str = "mean", *, pos_weight: Any = None) -> None:
        super().__init__(reduction)
        self.register_buffer("pos_weight", tensor_or_none(pos_weight), persistent=False)

    def measure(self, x: Any, target: Any, reduction: str) -> Any:
        """See Loss."""
        return bce_with_logits(x, target, self.pos_weight, reduction=reduction)


@register
class Hinge(Elementwise):
    """``max(0, 1 - target x)`` of scores ``x``; ``target`` is 1, or -1 or 0 for no.

    >>> import chainrule as cr
    >>> Hinge()(cr.tensor([0.5, 2.0]), cr.tensor([-1.0, 1.0]))
    tensor(0.75)
    """

    yes_above = 0.0
    of_scores = True
    function = staticmethod(hinge)


@register
class SquaredHinge(Elementwise):
    """The square of ``Hinge``.

    >>> import chainrule as cr
    >>> SquaredHinge()(cr.tensor([0.5, 2.0]), cr.tensor([-1.0, 1.0]))
    tensor(1.125)
    """

    yes_above = 0.0
    of_scores = True
    function = staticmethod(squared_hinge)


@register
class Focal(Elementwise):
    """``BCEWithLogits`` in which what is right already counts little: times ``(1 - p)^gamma`` (Lin et al., 2017).

    A yes weighs ``alpha``, a no ``1 - alpha``; with None both weigh 1. For classes, targets are one-hot.

    >>> import chainrule as cr
    >>> Focal(alpha=None)(cr.tensor([0.0, 4.0]), cr.tensor([1.0, 1.0]))
    tensor(0.0866)
    """

    yes_above = 0.0
    of_scores = True
    function = staticmethod(focal)
    options = ("alpha", "gamma")

    def __init__(self, alpha: float | None = 0.25, gamma: float = 2.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        if gamma < 0:
            raise ArgumentError(f"Focal: gamma is {gamma!r}, expected 0 or more")
        self.alpha, self.gamma = alpha, gamma


@register
class Dice(Elementwise):
    """How little two masks overlap: ``1 - (2 sum(x target) + smooth) / (sum(x) + sum(target) + smooth)``.

    ``x`` are probabilities (n, channels, d, …), summed over d, …; or (n, d), summed over d.

    >>> import chainrule as cr
    >>> Dice()(cr.tensor([[1.0, 0.0, 1.0]]), cr.tensor([[1.0, 0.0, 0.0]]))
    tensor(0.25)
    """

    yes_above = 0.5
    of_scores = False
    function = staticmethod(dice)
    options = ("smooth",)

    def __init__(self, smooth: float = 1.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.smooth = smooth
