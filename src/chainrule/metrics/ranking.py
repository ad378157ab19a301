"""Metrics of how well scores rank: they keep the scores of all batches, and look at them in ``result``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..domain.errors import ArgumentTypeError, ShapeError
from ..modes import no_grad
from ..ops.memory import clone
from ..tensor import Tensor
from .base import Metric


class Ranking(Metric):
    """A metric of scores and yes or no. ``output`` is (n,) or (n, 1), ``target`` 0 or 1 for each.

    Of (n, classes), ``target`` being classes or one-hot, it is the mean over classes, each against the rest; classes that
    are never or always true have no say.
    """

    higher_is_better = True

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.seen: list[tuple[Any, Any]] = []

    def update(self, output: Any, target: Any) -> None:
        """Keep a batch."""
        if output.ndim not in (1, 2) or len(target) != len(output):
            raise ShapeError(
                f"[{self.name}] output has shape {output.shape} and target {target.shape}; they should be (n,) or "
                "(n, classes), and (n,)"
            )
        with no_grad():
            self.seen.append((clone(output.detach()), clone(target.detach())))

    def merge(self, other: Metric) -> None:
        """See Metric."""
        if type(other) is not type(self) or not isinstance(other, Ranking):
            raise ArgumentTypeError(f"a {type(self).__name__} cannot take in {other!r}")
        self.seen += other.seen

    def reset(self) -> None:
        """Begin again."""
        self.seen = []

    def state_dict(self) -> dict[str, Any]:
        """See Metric."""
        return {"seen": [list(pair) for pair in self.seen]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See Metric."""
        self.seen = [(Tensor(output), Tensor(target)) for output, target in state["seen"]]

    def result(self) -> float:
        """The value so far; 0 if there is nothing that could be ranked."""
        if not self.seen:
            return 0.0
        scores = np.concatenate([x.numpy().astype(np.float64) for x, _ in self.seen])
        truth = np.concatenate([t.numpy() for _, t in self.seen])
        if scores.ndim == 1 or scores.shape[1] == 1:
            return self.value(scores.reshape(-1), truth.reshape(-1) > 0.5)
        if self.ignore_index is not None and truth.shape != scores.shape:
            counted = truth.reshape(-1) != self.ignore_index
            scores, truth = scores[counted], truth[counted]
        onehot = truth > 0.5 if truth.shape == scores.shape else truth.reshape(-1, 1) == np.arange(scores.shape[1])
        known = [c for c in range(scores.shape[1]) if 0 < onehot[:, c].sum() < len(onehot)]
        return float(np.mean([self.value(scores[:, c], onehot[:, c]) for c in known])) if known else 0.0

    def value(self, scores: Any, yes: Any) -> float:
        """The value of scores and of what is true."""
        raise NotImplementedError(f"{type(self).__name__} needs a value(self, scores, yes)")


def steps(scores: Any, yes: Any) -> tuple[Any, Any]:
    """How many are right and wrong above each threshold, from the highest: one for each score that occurs."""
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    right = np.cumsum(yes[order])[ends]
    return right, ends + 1 - right


class ROCAUC(Ranking):
    """How often a yes has a higher score than a no, ties counting half: the area under the ROC curve. See Ranking.

    >>> import chainrule as cr
    >>> area = ROCAUC()
    >>> area.update(cr.tensor([0.1, 0.4, 0.35, 0.8]), cr.tensor([0, 0, 1, 1])); area.result()
    0.75
    """

    def __init__(self, name: str = "roc_auc") -> None:
        super().__init__(name)

    def value(self, scores: Any, yes: Any) -> float:
        """See Ranking."""
        right, wrong = steps(scores, yes)
        if not right[-1] or not wrong[-1]:
            return 0.0
        x, y = np.append(0, wrong) / wrong[-1], np.append(0, right) / right[-1]
        return float((np.diff(x) * (y[1:] + y[:-1]) / 2).sum())


class PRAUC(Ranking):
    """The mean precision over the thresholds at which recall grows: average precision. See Ranking.

    >>> import chainrule as cr
    >>> area = PRAUC()
    >>> area.update(cr.tensor([0.1, 0.4, 0.35, 0.8]), cr.tensor([0, 0, 1, 1])); round(area.result(), 4)
    0.8333
    """

    def __init__(self, name: str = "pr_auc") -> None:
        super().__init__(name)

    def value(self, scores: Any, yes: Any) -> float:
        """See Ranking."""
        right, wrong = steps(scores, yes)
        if not right[-1]:
            return 0.0
        return float((np.diff(np.append(0, right)) / right[-1] * (right / (right + wrong))).sum())
