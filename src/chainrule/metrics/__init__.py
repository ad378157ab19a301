"""Metrics: how good a model is, over many batches. They keep small tensors on the device: an update reads nothing back,
``result`` does. Each knows whether more is better, and can take in what another has seen.

>>> import chainrule as cr
>>> score = F1("macro")
>>> score.update(cr.tensor([[0.9, 0.1], [0.2, 0.8]]), cr.tensor([0, 1]))
>>> other = F1("macro")
>>> other.update(cr.tensor([[0.7, 0.3]]), cr.tensor([1])); score.merge(other)
>>> round(score.result(), 4), score.higher_is_better
(0.6667, True)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..domain.errors import ArgumentError, ArgumentTypeError, unknown
from .base import Mean, Metric
from .classification import Accuracy, BinaryAccuracy, LogLoss, Perplexity, TopK
from .confusion import (
    F1,
    CohenKappa,
    Confusion,
    ConfusionMatrix,
    FBeta,
    IoU,
    MatthewsCorrCoef,
    PerClass,
    Precision,
    Recall,
)
from .ranking import PRAUC, ROCAUC, Ranking
from .regression import MAE, MAPE, MSE, R2, RMSE, CosineSimilarity, ExplainedVariance

__all__ = [
    "F1",
    "MAE",
    "MAPE",
    "MSE",
    "PRAUC",
    "R2",
    "RMSE",
    "ROCAUC",
    "Accuracy",
    "BinaryAccuracy",
    "CohenKappa",
    "Confusion",
    "ConfusionMatrix",
    "CosineSimilarity",
    "ExplainedVariance",
    "FBeta",
    "IoU",
    "LogLoss",
    "MatthewsCorrCoef",
    "Mean",
    "Metric",
    "PerClass",
    "Perplexity",
    "Precision",
    "Ranking",
    "Recall",
    "TopK",
    "get",
]

KINDS = {
    "accuracy": "auto",
    "acc": "auto",
    "binary_accuracy": "binary",
    "categorical_accuracy": "multiclass",
    "sparse_categorical_accuracy": "multiclass",
}
NAMES: dict[str, Callable[[], Metric]] = {
    **dict.fromkeys(KINDS, Accuracy),
    "top_k_accuracy": lambda: TopK(name="top_k_accuracy"),
    "precision": Precision,
    "recall": Recall,
    "f1": F1,
    "iou": IoU,
    "confusion_matrix": ConfusionMatrix,
    "matthews_corrcoef": MatthewsCorrCoef,
    "cohen_kappa": CohenKappa,
    "roc_auc": ROCAUC,
    "auc": lambda: ROCAUC("auc"),
    "pr_auc": PRAUC,
    "log_loss": LogLoss,
    "perplexity": Perplexity,
    "mae": MAE,
    "mse": MSE,
    "rmse": RMSE,
    "mape": MAPE,
    "r2": R2,
    "explained_variance": ExplainedVariance,
    "cosine_similarity": CosineSimilarity,
}


def get(metric: Any, loss: Any = None) -> Any:
    """A metric by name; a metric as it is; a function of (output, target) as its mean.

    ``loss``, that of the outputs, tells what they are: for BCE each is a yes or no above 0.5, for BCEWithLogits above 0;
    for CrossEntropy they are scores, and targets that it ignores do not count. Errors: ArgumentError for an unknown name,
    with the nearest.

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
        threshold, ignored = getattr(loss, "yes_above", None), getattr(loss, "ignore_index", None)
        if metric in KINDS:
            kind = "binary" if threshold is not None and KINDS[metric] == "auto" else KINDS[metric]
            name = "accuracy" if metric == "acc" else metric
            return Accuracy(kind, threshold=0.5 if threshold is None else threshold, ignore_index=ignored, name=name)
        made = NAMES[metric]()
        if ignored is not None:
            made.ignore_index = ignored
        if threshold is not None and isinstance(made, Confusion):
            made.kind, made.threshold = "binary", threshold
        if isinstance(made, (LogLoss, Perplexity)) and getattr(loss, "of_scores", None) is not None:
            made.from_logits = loss.of_scores
        return made
    if isinstance(metric, type) and issubclass(metric, Metric):
        return metric()  # type: ignore[call-arg]
    if hasattr(metric, "update") and hasattr(metric, "result"):
        return metric
    if not callable(metric):
        raise ArgumentTypeError(f"a metric is a name, a Metric or a function of (output, target), not {metric!r}")
    if getattr(metric, "reduction", "mean") != "mean":
        raise ArgumentError(f"a loss as a metric gives the mean over its batch; {metric!r} does not")
    return Mean(metric)
