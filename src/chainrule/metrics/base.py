"""What metrics have in common: sums over batches, kept in small tensors on the device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..creation import zeros
from ..domain.errors import ArgumentTypeError
from ..modes import no_grad
from ..tensor import Tensor


class Metric:
    """Sums over batches and what follows from them. A subclass says in ``measure`` what a batch adds.

    ``measure`` returns a dict of names and numbers or tensors, which are added up in ``sums``; or a pair, short for
    ``total`` and ``count``, whose quotient is the result unless the subclass has another. ``merge`` takes in the sums of
    another metric of the kind, so that parts can be counted apart. ``higher_is_better`` says which way is up, for callbacks
    that ask; ``is_number`` whether the result is one. Metrics of classes leave out targets equal to ``ignore_index``; those
    that ``compile`` makes by name have that of the loss.

    >>> import chainrule as cr
    >>> class Above(Metric):
    ...     higher_is_better = True
    ...     def measure(self, output, target):
    ...         return (output > target).sum(), output.size
    >>> above = Above("above")
    >>> above.update(cr.tensor([1.0, 3.0]), cr.tensor([2.0, 2.0])); above.result()
    0.5
    """

    higher_is_better: bool | None = None
    is_number = True
    ignore_index: int | None = None

    def __init__(self, name: str) -> None:
        self.name = name
        self.sums: dict[str, Tensor] = {}  # made on the device of the first batch, and changed in place from then on

    @property
    def total(self) -> Tensor | None:
        """The sum named so, if there is one yet."""
        return self.sums.get("total")

    @property
    def count(self) -> Tensor | None:
        """The sum named so, if there is one yet."""
        return self.sums.get("count")

    def measure(self, output: Any, target: Any) -> Any:
        """What a batch adds to the sums."""
        raise NotImplementedError(f"{type(self).__name__} needs a measure(self, output, target)")

    def update(self, output: Any, target: Any) -> None:
        """Add a batch."""
        with no_grad():
            found = self.measure(output, target)
            self.add(found if isinstance(found, Mapping) else {"total": found[0], "count": found[1]})

    def add(self, values: Mapping[str, Any]) -> None:
        """Add to the sums."""
        device = next((v.device for v in values.values() if isinstance(v, Tensor)), None)
        for key, value in values.items():
            if key not in self.sums:
                self.sums[key] = zeros(getattr(value, "shape", ()), dtype="float64", device=device)
            self.sums[key].add_(value)

    def merge(self, other: Metric) -> None:
        """Take in the batches that another metric of this kind has seen. Errors: ArgumentTypeError."""
        if type(other) is not type(self):
            raise ArgumentTypeError(f"a {type(self).__name__} cannot take in {other!r}")
        with no_grad():
            self.add(other.sums)

    def reset(self) -> None:
        """Begin again."""
        for tensor in self.sums.values():
            tensor.zero_()

    def sum_of(self, key: str) -> float:
        """A sum as a number; 0 if there is nothing."""
        return float(self.sums[key].item()) if key in self.sums else 0.0

    def result(self) -> Any:
        """The average so far; 0 if there is nothing."""
        return self.sum_of("total") / max(self.sum_of("count"), 1.0)

    def state_dict(self) -> dict[str, Any]:
        """What to go on from within an epoch."""
        return {"sums": dict(self.sums)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state_dict`` gave (tensors or arrays)."""
        device = next((tensor.device for tensor in self.sums.values()), None)
        self.sums = {key: Tensor(value, dtype="float64", device=device) for key, value in state["sums"].items()}

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r})"


class Mean(Metric):
    """The mean of a function of (output, target) over samples: the function gives the mean over its batch.

    >>> import chainrule as cr
    >>> error = Mean(lambda output, target: (output - target).abs().mean(), "error")
    >>> error.update(cr.tensor([3.0]), cr.tensor([1.0])); error.update(cr.tensor([1.0, 1.0]), cr.tensor([1.0, 1.0]))
    >>> round(error.result(), 4)
    0.6667
    """

    def __init__(self, function: Callable[[Any, Any], Any], name: str | None = None) -> None:
        self.higher_is_better = getattr(function, "higher_is_better", None)
        super().__init__(name or str(getattr(function, "__name__", type(function).__name__)))
        self.function = function

    def measure(self, output: Any, target: Any) -> tuple[Any, int]:
        """The function's value, once for each sample."""
        n = target.shape[0] if target.ndim else 1
        return self.function(output, target) * n, n
