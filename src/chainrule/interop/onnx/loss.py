"""The losses of ONNX: classes are axis 1."""

from __future__ import annotations

from typing import Any

from ... import ops
from ...domain.errors import ArgumentError
from .operators import operator


def picked(scores: Any, target: Any, weight: Any, reduction: str, ignore_index: int | None) -> Any:
    """Minus the scores of the right classes, weighted and reduced; classes that are ignored count nothing."""
    places = target.to(dtype="int64")
    counts = None if ignore_index is None else ops.ne(places, ignore_index)
    if counts is not None:
        places = ops.where(counts, places, places * 0)
    chosen = ops.squeeze(ops.gather(scores, ops.unsqueeze(places, axis=1), axis=1), axis=1)
    share = chosen * 0 + 1 if weight is None else weight[places]
    if counts is not None:
        share = ops.where(counts, share, share * 0)
    loss = -chosen * share
    if reduction == "none":
        return loss
    if reduction not in ("sum", "mean"):
        raise ArgumentError(f"a loss with the reduction {reduction!r}; expected none, sum or mean")
    return ops.sum(loss) if reduction == "sum" else ops.sum(loss) / ops.sum(share)


@operator("NegativeLogLikelihoodLoss")
def negative_log_likelihood_loss(
    x: Any, target: Any, weight: Any = None, *, ignore_index: int | None = None, reduction: str = "mean"
) -> Any:
    """Of logarithms of probabilities."""
    return picked(x, target, weight, reduction, ignore_index)


@operator("SoftmaxCrossEntropyLoss")
def softmax_cross_entropy_loss(
    x: Any, target: Any, weight: Any = None, *, ignore_index: int | None = None, reduction: str = "mean", outputs: int
) -> Any:
    """Of scores; if asked for, with their log_softmax."""
    scores = ops.log_softmax(x, axis=1)
    loss = picked(scores, target, weight, reduction, ignore_index)
    return (loss, scores) if outputs > 1 else loss
