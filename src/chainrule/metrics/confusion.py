"""Metrics that follow from the confusion matrix: how often each class was taken for each."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..creation import ones, zeros
from ..domain.errors import ArgumentError, IndexRangeError, ShapeError, unknown
from ..ops.elementwise import where
from ..ops.index import scatter_add
from ..ops.memory import cast
from .base import Metric
from .classification import classes_of

AVERAGES = ("auto", "binary", "micro", "macro", "weighted", "none")


class Confusion(Metric):
    """A metric of the confusion matrix.

    ``output`` is (n, classes, …), scores or probabilities, of which the largest counts; ``target`` (n, …) or one-hot. Or,
    if ``kind`` is "binary", or "auto" and ``output`` is (n,) or (n, 1): each element says yes above ``threshold``.
    """

    higher_is_better: bool | None = True

    def __init__(self, name: str, kind: str, threshold: float) -> None:
        if kind not in ("auto", "binary", "multiclass"):
            raise unknown(f"kind of {type(self).__name__}", kind, ["auto", "binary", "multiclass"])
        super().__init__(name)
        self.kind, self.threshold = kind, threshold
        self.is_binary = kind == "binary"

    def measure(self, output: Any, target: Any) -> Any:
        """See Metric."""
        shape = output.shape
        self.is_binary = self.kind == "binary" or (self.kind == "auto" and (len(shape) < 2 or shape[1:] == (1,)))
        if self.is_binary:
            if target.size != output.size or {*shape[1:], *target.shape[1:]} - {1} and target.shape != shape:
                raise ShapeError(
                    f"[{self.name}] output has shape {shape} and target {target.shape}; expected one shape"
                )
            said, true, n = output > self.threshold, target > 0.5, 2
        else:
            said, true, n = output.argmax(axis=1), classes_of(self.name, output, target), shape[1]
        counted = None
        if self.ignore_index is not None and not self.is_binary:
            counted = true != self.ignore_index
            true = where(counted, true, 0)
        places = cast(true, dtype="int64").reshape(-1) * n + cast(said, dtype="int64").reshape(-1)
        empty = zeros(n * n, dtype="float64", device=output.device)
        each = ones(places.shape, dtype="float64", device=output.device)
        try:
            found = scatter_add(empty, places, each if counted is None else each * counted.reshape(-1), axis=0)
        except IndexRangeError:
            raise IndexRangeError(
                f"[{self.name}] target has a class that output lacks: it has {n} (0 to {n - 1})"
            ) from None
        return {"matrix": found.reshape(n, n)}

    def matrix(self) -> Any:
        """How often class i (row) was taken for class j: a NumPy array of float64; (0, 0) if there is nothing."""
        return self.sums["matrix"].numpy().copy() if "matrix" in self.sums else np.zeros((0, 0))

    def result(self) -> Any:
        """The value so far; 0 if there is nothing."""
        matrix = self.matrix()
        return self.value(matrix) if matrix.sum() else 0.0

    def value(self, matrix: Any) -> Any:
        """What follows from the matrix."""
        raise NotImplementedError(f"{type(self).__name__} needs a value(self, matrix)")


class ConfusionMatrix(Confusion):
    """How often each class (row) was taken for each (column): a NumPy array of integers. See Confusion.

    >>> import chainrule as cr
    >>> confusion = ConfusionMatrix()
    >>> confusion.update(cr.tensor([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]]), cr.tensor([0, 1, 0])); confusion.result()
    array([[1, 1],
           [0, 1]])
    """

    higher_is_better = None
    is_number = False

    def __init__(self, kind: str = "auto", *, threshold: float = 0.5, name: str = "confusion_matrix") -> None:
        super().__init__(name, kind, threshold)

    def result(self) -> Any:
        """The matrix."""
        return self.matrix().astype(np.int64)


class PerClass(Confusion):
    """A quotient for each class, and how they are averaged.

    ``average``: "binary", that of yes; "micro", of the sums over classes; "macro", the mean over classes; "weighted", the
    same by how often each class is true; "none", a list, one for each class. "auto": "binary" where it is yes or no, else
    "macro". What divides by 0 is 0.
    """

    def __init__(
        self, average: str = "auto", *, kind: str = "auto", threshold: float = 0.5, name: str | None = None
    ) -> None:
        if average not in AVERAGES:
            raise unknown(f"average of {type(self).__name__}", average, AVERAGES)
        super().__init__(name or type(self).__name__.lower(), kind, threshold)
        self.average, self.is_number = average, average != "none"

    def parts(self, right: Any, said: Any, true: Any) -> tuple[Any, Any]:
        """The quotient's numerator and denominator, of how often a class was right, was said, and was true."""
        raise NotImplementedError(f"{type(self).__name__} needs a parts(self, right, said, true)")

    def value(self, matrix: Any) -> Any:
        """See Confusion."""
        counts = matrix.diagonal(), matrix.sum(axis=0), matrix.sum(axis=1)
        average = ("binary" if self.is_binary else "macro") if self.average == "auto" else self.average
        if average == "micro":
            return float(quotient(*self.parts(*(c.sum() for c in counts))))
        each = quotient(*self.parts(*counts))
        if average == "binary":
            if len(each) != 2:
                raise ArgumentError(
                    f'[{self.name}] average="binary" is for yes and no, but there are {len(each)} classes'
                )
            return float(each[1])
        if average == "none":
            return each.tolist()
        there = (counts[1] + counts[2]) > 0  # a class that is neither said nor true has no say
        return float((each * counts[2]).sum() / counts[2].sum() if average == "weighted" else each[there].mean())


def quotient(a: Any, b: Any) -> Any:
    """``a / b``, and 0 where b is."""
    return np.divide(a, b, out=np.zeros(np.shape(a)), where=np.asarray(b) != 0)


class Precision(PerClass):
    """Of what was said to be of a class, the share that is. See PerClass.

    >>> import chainrule as cr
    >>> precision = Precision()
    >>> precision.update(cr.tensor([0.9, 0.8, 0.1]), cr.tensor([1, 0, 1])); precision.result()
    0.5
    """

    def parts(self, right: Any, said: Any, true: Any) -> tuple[Any, Any]:
        """See PerClass."""
        return right, said


class Recall(PerClass):
    """Of what is of a class, the share that was said to be. See PerClass.

    >>> import chainrule as cr
    >>> recall = Recall("none")
    >>> recall.update(cr.tensor([0.9, 0.8, 0.1, 0.7]), cr.tensor([1, 0, 1, 1])); [round(v, 2) for v in recall.result()]
    [0.0, 0.67]
    """

    def parts(self, right: Any, said: Any, true: Any) -> tuple[Any, Any]:
        """See PerClass."""
        return right, true


class FBeta(PerClass):
    """The harmonic mean of precision and recall, in which recall weighs ``beta²`` times as much. See PerClass.

    >>> import chainrule as cr
    >>> score = FBeta(2.0)
    >>> score.update(cr.tensor([0.9, 0.8, 0.1, 0.7]), cr.tensor([1, 0, 1, 1])); round(score.result(), 4)
    0.6667
    """

    def __init__(
        self,
        beta: float = 1.0,
        average: str = "auto",
        *,
        kind: str = "auto",
        threshold: float = 0.5,
        name: str | None = None,
    ) -> None:
        if not beta > 0:
            raise ArgumentError(f"FBeta: beta is {beta!r}, expected a positive number")
        super().__init__(average, kind=kind, threshold=threshold, name=name or f"f{beta:g}")
        self.beta = beta

    def parts(self, right: Any, said: Any, true: Any) -> tuple[Any, Any]:
        """See PerClass."""
        square = self.beta**2
        return (1 + square) * right, said + square * true


class F1(FBeta):
    """The harmonic mean of precision and recall. See PerClass.

    >>> import chainrule as cr
    >>> score = F1("macro")
    >>> score.update(cr.tensor([[0.9, 0.1], [0.8, 0.2]]), cr.tensor([0, 1])); round(score.result(), 4)
    0.3333
    """

    def __init__(self, average: str = "auto", *, kind: str = "auto", threshold: float = 0.5, name: str = "f1") -> None:
        super().__init__(1.0, average, kind=kind, threshold=threshold, name=name)


class IoU(PerClass):
    """The intersection over the union of what was said to be of a class and what is (Jaccard). See PerClass.

    >>> import chainrule as cr
    >>> overlap = IoU(kind="binary")
    >>> overlap.update(cr.tensor([[0.9, 0.8], [0.1, 0.7]]), cr.tensor([[1, 0], [0, 1]])); round(overlap.result(), 4)
    0.6667
    """

    def parts(self, right: Any, said: Any, true: Any) -> tuple[Any, Any]:
        """See PerClass."""
        return right, said + true - right


class MatthewsCorrCoef(Confusion):
    """The correlation of what was said with what is (Matthews, 1975; of several classes: Gorodkin, 2004): from -1 to 1.

    >>> import chainrule as cr
    >>> correlation = MatthewsCorrCoef()
    >>> correlation.update(cr.tensor([0.9, 0.1, 0.8]), cr.tensor([1, 0, 0])); correlation.result()
    0.5
    """

    def __init__(self, kind: str = "auto", *, threshold: float = 0.5, name: str = "matthews_corrcoef") -> None:
        super().__init__(name, kind, threshold)

    def value(self, matrix: Any) -> float:
        """See Confusion."""
        n, right, said, true = matrix.sum(), matrix.trace(), matrix.sum(axis=0), matrix.sum(axis=1)
        spread = (n * n - said @ said) * (n * n - true @ true)
        return float((right * n - said @ true) / np.sqrt(spread)) if spread else 0.0


class CohenKappa(Confusion):
    """How far what was said agrees with what is, beyond chance (Cohen, 1960). See Confusion.

    ``weights``: None, or "linear" or "quadratic": mistakes count by how far apart the classes are.

    >>> import chainrule as cr
    >>> kappa = CohenKappa()
    >>> kappa.update(cr.tensor([0.9, 0.1, 0.8]), cr.tensor([1, 0, 0])); round(kappa.result(), 4)
    0.4
    """

    def __init__(
        self, weights: str | None = None, kind: str = "auto", *, threshold: float = 0.5, name: str = "cohen_kappa"
    ) -> None:
        if weights not in (None, "linear", "quadratic"):
            raise unknown("weights of CohenKappa", str(weights), ["linear", "quadratic"])
        super().__init__(name, kind, threshold)
        self.weights = weights

    def value(self, matrix: Any) -> float:
        """See Confusion."""
        places = np.arange(len(matrix))
        apart = np.abs(places[:, None] - places).astype(float)
        cost = apart**2 if self.weights == "quadratic" else apart if self.weights else apart > 0
        chance = np.outer(matrix.sum(axis=1), matrix.sum(axis=0)) / matrix.sum()
        wrong = float((cost * chance).sum())
        return 1 - float((cost * matrix).sum()) / wrong if wrong else 0.0
