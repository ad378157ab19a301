"""Metrics of classifiers that count what is right, or how sure they were."""

from __future__ import annotations

import math
from typing import Any

from ..domain.errors import ArgumentError, ShapeError, unknown
from ..ops.elementwise import log, where
from ..ops.index import gather
from ..ops.memory import cast
from ..ops.softmax import log_softmax
from .base import Metric

LEAST = 2.0**-52  # probabilities count as at least that, as in scikit-learn


class Accuracy(Metric):
    """The share of predictions that are right.

    ``kind`` "multiclass": ``output`` is (n, classes, …), scores or probabilities, of which the largest counts; ``target``
    is the class of each, (n, …), or one-hot in the shape of ``output``. "binary": each element of ``output`` says yes
    above ``threshold``: 0.5 for probabilities; 0 for scores; ``target`` is 0 or 1 for each. "auto": binary if ``output``
    is (n,) or (n, 1), else multiclass. Classes equal to ``ignore_index`` do not count. Errors: ShapeError.

    >>> import chainrule as cr
    >>> accuracy = Accuracy()
    >>> accuracy.update(cr.tensor([[0.1, 0.9], [0.8, 0.2]]), cr.tensor([1, 1]))
    >>> accuracy.update(cr.tensor([[0.3, 0.7]]), cr.tensor([[0, 1]]))
    >>> round(accuracy.result(), 4)
    0.6667
    """

    higher_is_better = True

    def __init__(
        self, kind: str = "auto", *, threshold: float = 0.5, ignore_index: int | None = None, name: str = "accuracy"
    ) -> None:
        if kind not in ("auto", "binary", "multiclass"):
            raise unknown("kind of accuracy", kind, ["auto", "binary", "multiclass"])
        super().__init__(name)
        self.kind, self.threshold, self.ignore_index = kind, threshold, ignore_index

    def measure(self, output: Any, target: Any) -> tuple[Any, Any]:
        """How many are right, of how many."""
        shape = output.shape
        binary = self.kind == "binary" or (self.kind == "auto" and (len(shape) < 2 or shape[1:] == (1,)))
        if binary:
            if target.shape != shape and (target.size != output.size or {*shape[1:], *target.shape[1:]} - {1}):
                raise ShapeError(f"[accuracy] output has shape {shape} and target {target.shape}; they should be equal")
            right = (output > self.threshold) == (target.reshape(shape) > 0.5)
        else:
            expected = shape[:1] + shape[2:]
            if len(shape) < 2 or target.shape not in (shape, expected):
                raise ShapeError(
                    f"[accuracy] output has shape {shape} and target {target.shape}; target should be {expected}, a class "
                    f"each, or {shape}, one-hot"
                    if len(shape) > 1
                    else f"[accuracy] output has shape {shape}; it should be (n, classes, …)"
                )
            classes = target.argmax(axis=1) if target.shape == shape else target
            right = output.argmax(axis=1) == classes
            if self.ignore_index is not None and not classes.is_floating:
                counted = classes != self.ignore_index
                return (right & counted).sum(), counted.sum()
        return right.sum(), right.size


class BinaryAccuracy(Accuracy):
    """The share of elements that are right: each says yes above ``threshold``, and ``target`` is 0 or 1 for each.

    >>> import chainrule as cr
    >>> accuracy = BinaryAccuracy()
    >>> accuracy.update(cr.tensor([[0.9, 0.2], [0.6, 0.7]]), cr.tensor([[1, 0], [0, 1]])); accuracy.result()
    0.75
    """

    def __init__(self, *, threshold: float = 0.5, name: str = "binary_accuracy") -> None:
        super().__init__("binary", threshold=threshold, name=name)


def classes_of(name: str, output: Any, target: Any) -> Any:
    """The class of each, (n, …), of a target that may be one-hot. Errors: ShapeError."""
    shape = output.shape
    expected = shape[:1] + shape[2:]
    if len(shape) < 2 or target.shape not in (shape, expected):
        raise ShapeError(
            f"[{name}] output has shape {shape} and target {target.shape}; they should be (n, classes, …) "
            "and (n, …), a class each, or one-hot"
        )
    return target.argmax(axis=1) if target.shape == shape else target


class TopK(Metric):
    """The share of samples whose class is among the ``k`` with the largest scores; of equal ones the first counts.

    ``output`` is (n, classes, …), ``target`` (n, …) or one-hot.

    >>> import chainrule as cr
    >>> top = TopK(2)
    >>> top.update(cr.tensor([[0.1, 0.2, 0.7], [0.5, 0.3, 0.2]]), cr.tensor([1, 2])); top.result()
    0.5
    """

    higher_is_better = True

    def __init__(self, k: int = 5, name: str | None = None) -> None:
        if k < 1:
            raise ArgumentError(f"TopK: k is {k!r}, expected 1 or more")
        super().__init__(name or f"top_{k}_accuracy")
        self.k = k

    def measure(self, output: Any, target: Any) -> Any:
        """See Metric."""
        classes = cast(classes_of("top_k", output, target), dtype="int64")
        counted = None if self.ignore_index is None else classes != self.ignore_index
        places = (classes if counted is None else where(counted, classes, 0)).unsqueeze(1)
        own = gather(output, places, axis=1)
        before = cast(output * 0 + 1, dtype="int64").cumsum(axis=1) - 1 < places
        ahead = (output > own).logical_or((output == own).logical_and(before)).sum(axis=1)
        if counted is None:
            return (ahead < self.k).sum(), ahead.size
        return (ahead < self.k).logical_and(counted).sum(), counted.sum()


class LogLoss(Metric):
    """The mean of ``-log(p)`` of the right classes: ``output`` are probabilities (n, classes), or (n,) for yes and no.

    With ``from_logits`` they are scores. ``target`` is the class of each, or one-hot.

    >>> import chainrule as cr
    >>> loss = LogLoss()
    >>> loss.update(cr.tensor([0.5, 0.75]), cr.tensor([1, 0])); round(loss.result(), 4)
    1.0397
    """

    higher_is_better = False

    def __init__(self, from_logits: bool = False, name: str = "log_loss") -> None:
        super().__init__(name)
        self.from_logits = from_logits

    def measure(self, output: Any, target: Any) -> Any:
        """See Metric."""
        x = cast(output, dtype="float64")
        if x.ndim < 2 or x.shape[1:] == (1,):
            x, target = x.reshape(-1), target.reshape(-1)
            if x.shape != target.shape:
                raise ShapeError(f"[log_loss] output has shape {output.shape} and target {target.shape}")
            p = x.sigmoid() if self.from_logits else x
            right = where(target > 0.5, p, 1 - p)
        else:
            classes = classes_of("log_loss", x, target)
            p = log_softmax(x, axis=1).exp() if self.from_logits else x / x.sum(axis=1, keepdims=True)
            if self.ignore_index is not None:
                counted = classes != self.ignore_index
                right = gather(p, where(counted, classes, 0).unsqueeze(1), axis=1).reshape(classes.shape)
                return -where(counted, log(right.clip(min=LEAST)), 0.0).sum(), counted.sum()
            right = gather(p, classes.unsqueeze(1), axis=1)
        return -log(right.clip(min=LEAST)).sum(), right.size


class Perplexity(Metric):
    """``exp`` of the mean of ``-log(p)`` of the right tokens: among how many a language model seems to choose.

    ``output`` are scores (n, classes, …), or without ``from_logits`` probabilities; ``target`` (n, …). Targets equal to
    ``ignore_index`` do not count.

    >>> import chainrule as cr
    >>> perplexity = Perplexity()
    >>> perplexity.update(cr.zeros(3, 8), cr.tensor([1, 2, -100])); round(perplexity.result(), 4)
    8.0
    """

    higher_is_better = False

    def __init__(self, ignore_index: int = -100, from_logits: bool = True, name: str = "perplexity") -> None:
        super().__init__(name)
        self.ignore_index, self.from_logits = ignore_index, from_logits

    def measure(self, output: Any, target: Any) -> Any:
        """See Metric."""
        x = cast(output, dtype="float64")
        classes = classes_of("perplexity", x, target)
        logs = log_softmax(x, axis=1) if self.from_logits else log(x.clip(min=LEAST))
        counted = classes != self.ignore_index
        found = gather(logs, where(counted, classes, 0).unsqueeze(1), axis=1).reshape(classes.shape)
        return -where(counted, found, 0.0).sum(), counted.sum()

    def result(self) -> float:
        """See Metric; 1 if there is nothing."""
        return math.exp(super().result())
