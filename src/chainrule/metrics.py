"""Metrics: averages over many batches, kept in small tensors on the device. An update reads nothing back; ``result`` does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .creation import zeros
from .domain.errors import ArgumentError, ArgumentTypeError, ShapeError, unknown
from .modes import no_grad
from .tensor import Tensor


class Metric:
    """An average: a ``total`` and a ``count``, tensors without axes. A subclass says in ``measure`` what a batch adds."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.total: Tensor | None = None  # made on the device of the first batch, and changed in place from then on
        self.count: Tensor | None = None

    def measure(self, output: Any, target: Any) -> tuple[Any, int]:
        """What a batch adds to the total, and to the count."""
        raise NotImplementedError(f"{type(self).__name__} needs a measure(self, output, target)")

    def update(self, output: Any, target: Any) -> None:
        """Add a batch."""
        with no_grad():
            self.add(*self.measure(output, target))

    def add(self, value: Any, n: int) -> None:
        """Add to the total and the count."""
        if self.total is None or self.count is None:
            device = value.device if isinstance(value, Tensor) else None
            self.total, self.count = (zeros(dtype="float64", device=device) for _ in range(2))
        self.total.add_(value)
        self.count.add_(n)

    def reset(self) -> None:
        """Begin again."""
        for tensor in (self.total, self.count):
            if tensor is not None:
                tensor.zero_()

    def result(self) -> float:
        """The average so far; 0 if there is nothing."""
        if self.total is None or self.count is None:
            return 0.0
        return float(self.total.item() / max(self.count.item(), 1.0))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r})"


class Accuracy(Metric):
    """The share of predictions that are right.

    ``kind`` "multiclass": ``output`` is (n, classes, …), scores or probabilities, of which the largest counts; ``target``
    is the class of each, (n, …), or one-hot in the shape of ``output``. "binary": each element of ``output`` says yes
    above ``threshold``: 0.5 for probabilities; 0 for scores; ``target`` is 0 or 1 for each. "auto": binary if ``output``
    is (n,) or (n, 1), else multiclass. Errors: ShapeError.

    >>> import chainrule as cr
    >>> accuracy = Accuracy()
    >>> accuracy.update(cr.tensor([[0.1, 0.9], [0.8, 0.2]]), cr.tensor([1, 1]))
    >>> accuracy.update(cr.tensor([[0.3, 0.7]]), cr.tensor([[0, 1]]))
    >>> round(accuracy.result(), 4)
    0.6667
    """

    def __init__(self, kind: str = "auto", *, threshold: float = 0.5, name: str = "accuracy") -> None:
        if kind not in ("auto", "binary", "multiclass"):
            raise unknown("kind of accuracy", kind, ["auto", "binary", "multiclass"])
        super().__init__(name)
        self.kind, self.threshold = kind, threshold

    def measure(self, output: Any, target: Any) -> tuple[Any, int]:
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
        return right.sum(), right.size


class Mean(Metric):
    """The mean of a function of (output, target) over samples: the function gives the mean over its batch.

    >>> import chainrule as cr
    >>> error = Mean(lambda output, target: (output - target).abs().mean(), "error")
    >>> error.update(cr.tensor([3.0]), cr.tensor([1.0])); error.update(cr.tensor([1.0, 1.0]), cr.tensor([1.0, 1.0]))
    >>> round(error.result(), 4)
    0.6667
    """

    def __init__(self, function: Callable[[Any, Any], Any], name: str | None = None) -> None:
        super().__init__(name or str(getattr(function, "__name__", type(function).__name__)))
        self.function = function

    def measure(self, output: Any, target: Any) -> tuple[Any, int]:
        """The function's value, once for each sample."""
        n = target.shape[0] if target.ndim else 1
        return self.function(output, target) * n, n


NAMES: dict[str, str] = {
    "accuracy": "auto",
    "acc": "auto",
    "binary_accuracy": "binary",
    "categorical_accuracy": "multiclass",
    "sparse_categorical_accuracy": "multiclass",
}


def get(metric: Any, loss: Any = None) -> Any:
    """A metric by name; a metric as it is; a function of (output, target) as its mean.

    ``loss``, that of the outputs, tells accuracy what they are: for BCE each is a yes or no above 0.5, for BCEWithLogits
    above 0. Errors: ArgumentError for an unknown name, with the nearest.

    >>> from chainrule.losses import BCEWithLogits
    >>> get("accuracy").name, get("acc", BCEWithLogits()).threshold
    ('accuracy', 0.0)
    >>> get("acuracy")
    Traceback (most recent call last):
    chainrule.domain.errors.ArgumentError: unknown metric 'acuracy': did you mean 'accuracy'? ...
    """
    if isinstance(metric, str):
        if metric not in NAMES:
            raise unknown("metric", metric, NAMES)
        kind, threshold = NAMES[metric], getattr(loss, "yes_above", None)
        if threshold is not None and kind == "auto":
            kind = "binary"
        name = "accuracy" if metric == "acc" else metric
        return Accuracy(kind, threshold=0.5 if threshold is None else threshold, name=name)
    if isinstance(metric, type) and issubclass(metric, Metric):
        return metric()  # type: ignore[call-arg]
    if hasattr(metric, "update") and hasattr(metric, "result"):
        return metric
    if not callable(metric):
        raise ArgumentTypeError(f"a metric is a name, a Metric or a function of (output, target), not {metric!r}")
    if getattr(metric, "reduction", "mean") != "mean":
        raise ArgumentError(f"a loss as a metric gives the mean over its batch; {metric!r} does not")
    return Mean(metric)
