"""How much samples count in training by their class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..domain.device import Device
from ..domain.errors import ArgumentError
from ..losses import NLL, CategoricalCrossEntropy, CrossEntropy
from ..ops.elementwise import where
from ..ops.memory import cast
from ..ops.reduce import argmax
from ..tensor import Tensor

OF_CLASSES = (CrossEntropy, NLL, CategoricalCrossEntropy)


class ClassWeights:
    """The weight of each sample, by its class: ``given`` is a weight for each class, or a dict of some of them.

    Called with a target: labels, or, if ``loss`` is one of classes, one-hot rows. Classes that a dict does not name, and
    labels that the loss ignores, weigh 1. Errors: ArgumentError for a class that is no integer from 0 on, or a weight
    that is not a finite number from 0 on.

    >>> import chainrule as cr
    >>> ClassWeights({1: 5.0}, cr.losses.CrossEntropy(), "cpu")(cr.tensor([0, 1, 2, -100]))
    tensor([1., 5., 1., 1.])
    """

    def __init__(self, given: Any, loss: Any, device: Device | str) -> None:
        if isinstance(given, str) or not hasattr(given, "__iter__"):
            raise ArgumentError(
                f"[fit] class_weight is {given!r}, expected a weight for each class in a list, or a dict of some: "
                "n / (classes * numpy.bincount(y)) are balanced ones"
            )
        named = dict(given) if isinstance(given, Mapping) else dict(enumerate(given))
        for label, weight in named.items():
            if isinstance(label, bool) or not hasattr(label, "__index__") or label < 0:
                raise ArgumentError(f"[fit] class_weight names the class {label!r}, expected an integer from 0 on")
            if not 0 <= weight < float("inf"):
                raise ArgumentError(f"[fit] class_weight is {weight!r} for class {label}, expected a number from 0 on")
        if not named:
            raise ArgumentError("[fit] class_weight is empty: give a weight for each class, or leave it out")
        self.classes = 1 + max(int(label) for label in named)
        table = [float(named.get(label, 1.0)) for label in range(self.classes)]
        self.complete = not isinstance(given, Mapping)
        self.table = Tensor([*table, 1.0]).to(device)  # the last for any other label
        self.of_classes = isinstance(loss, OF_CLASSES)

    def __call__(self, target: Tensor) -> Tensor:
        """See the class."""
        if self.of_classes and target.ndim > 1 and target.dtype.is_floating:
            target = argmax(target, axis=1)
        labels = cast(target, dtype="int64")
        other = self.classes
        found: Tensor = self.table[where((labels < 0) | (labels > other), other, labels)]
        return found

    def check(self, output: Tensor) -> None:
        """Raise ArgumentError if a model with such an output has other classes than there are weights."""
        count = output.shape[1] if self.of_classes and output.ndim > 1 else None
        if count is not None and (self.classes > count or (self.complete and self.classes < count)):
            raise ArgumentError(
                f"[fit] class_weight goes up to class {self.classes - 1}, but the model has {count} classes (0 to "
                f"{count - 1}): give a weight for each class, or a dict of some"
            )
