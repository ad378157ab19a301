"""What a classifier gets right and wrong: confusion matrix, a report of each class, the samples it takes for others."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from ..domain.errors import ArgumentError, DataError
from ..tensor import Tensor
from ..train.plots import blank, written
from .sheet import tiled

Path = str | os.PathLike[str] | None
MOST_NUMBERS = 30  # classes whose counts are written into the matrix


def labels(name: str, values: Any) -> Any:
    """Labels (n,) of labels, or of scores (n, classes)."""
    found = values.numpy() if isinstance(values, Tensor) else np.asarray(values)
    found = found.argmax(axis=1) if found.ndim == 2 else found
    if found.ndim != 1 or not len(found) or (found.dtype.kind not in "iub"):
        raise DataError(f"[plots.{name}] labels are {found.dtype}{list(found.shape)}, expected integers (n,)")
    if found.min() < 0:
        raise DataError(f"[plots.{name}] there is a label {found.min()}: labels count from 0")
    return found.astype(np.int64)


def counted(name: str, y_true: Any, y_pred: Any, classes: Sequence[str] | None) -> tuple[Any, list[str]]:
    """How often each class (row) was taken for each (column), and their names."""
    true, said = labels(name, y_true), labels(name, y_pred)
    if len(true) != len(said):
        raise DataError(f"[plots.{name}] there are {len(true)} labels and {len(said)} predictions")
    n = int(max(true.max(), said.max())) + 1
    names = [*map(str, range(n))] if classes is None else [*map(str, classes)]
    if len(names) < n:
        raise ArgumentError(f"[plots.{name}] there is a label {n - 1}, but {len(names)} classes")
    n = len(names)
    return np.bincount(true * n + said, minlength=n * n).reshape(n, n), names


@dataclass
class ClassReport:
    """Precision, recall, F1 and number of samples of each class, and their means: printed, a table; in a notebook, too."""

    classes: list[str]
    precision: list[float]
    recall: list[float]
    f1: list[float]
    samples: list[int]
    accuracy: float

    def to_dict(self) -> dict[str, Any]:
        """The same by class, as JSON can hold it."""
        columns = zip(self.precision, self.recall, self.f1, self.samples, strict=True)
        names = ("precision", "recall", "f1", "samples")
        return {c: dict(zip(names, row, strict=True)) for c, row in zip(self.classes, columns, strict=True)}

    def _rows(self) -> list[tuple[str, ...]]:
        columns = zip(self.classes, self.precision, self.recall, self.f1, self.samples, strict=True)
        found = [(c, f"{p:.3f}", f"{r:.3f}", f"{f:.3f}", str(n)) for c, p, r, f, n in columns]
        means = [f"{np.mean(v):.3f}" for v in (self.precision, self.recall, self.f1)]
        return [*found, ("mean", *means, str(sum(self.samples)))]

    def __str__(self) -> str:
        rows = self._rows()
        width = max(8, *(len(row[0]) for row in rows))
        titles = ("precision", "recall", "F1", "samples")
        lines = [" " * width + "  " + " ".join(f"{t:>{max(5, len(t))}}" for t in titles)]
        for name, *cells in rows:
            cut = " ".join(f"{c:>{max(5, len(t))}}" for c, t in zip(cells, titles, strict=True))
            lines += ([""] if name == "mean" and (name, *cells) == rows[-1] else []) + [f"{name:{width}}  {cut}"]
        return "\n".join([*lines, f"{'accuracy':{width}}  {self.accuracy:>9.3f}"])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = [("", "precision", "recall", "F1", "samples"), *self._rows()]
        lines = [
            f'<th style="text-align:left">{escape(name)}</th>'
            + "".join(f'<{tag} style="text-align:right">{escape(cell)}</{tag}>' for cell in cells)
            for tag, (name, *cells) in zip(["th", *["td"] * len(rows)], rows, strict=False)
        ]
        table = "".join(f"<tr>{line}</tr>" for line in lines)
        return f"<table>{table}</table><p>accuracy {self.accuracy:.3f}</p>"


def class_report(y_true: Any, y_pred: Any, classes: Sequence[str] | None = None) -> ClassReport:
    """Precision, recall and F1 of each class, from labels (n,) and predictions: labels (n,), or scores (n, classes).

    What divides by 0 is 0. Errors: DataError, ArgumentError.

    >>> report = class_report([0, 0, 1], [[0.9, 0.1], [0.3, 0.7], [0.2, 0.8]])
    >>> report.precision, report.recall, round(report.accuracy, 3)
    ([1.0, 0.5], [0.5, 1.0], 0.667)
    """
    matrix, names = counted("class_report", y_true, y_pred, classes)
    right, said, true = matrix.diagonal(), matrix.sum(axis=0), matrix.sum(axis=1)
    precision, recall, f1 = (
        np.divide(a, b, out=np.zeros(len(names)), where=b > 0).tolist()
        for a, b in ((right, said), (right, true), (2 * right, said + true))
    )
    return ClassReport(names, precision, recall, f1, true.tolist(), float(right.sum() / matrix.sum()))


def confusion_matrix(
    y_true: Any, y_pred: Any, classes: Sequence[str] | None = None, path: Path = None, *, normalize: bool = False
) -> Any:
    """How often each class (row) was taken for each (column); labels and predictions as for ``class_report``.

    Colours are shares of the row; the numbers are counts, or with ``normalize`` these shares.

    >>> figure = confusion_matrix([0, 0, 1], [0, 1, 1], ["cat", "dog"])
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['1', '1', '0', '1']
    """
    matrix, names = counted("confusion_matrix", y_true, y_pred, classes)
    n = len(names)
    rows = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, rows, out=np.zeros(matrix.shape), where=rows > 0)
    side = min(max(3.6, 0.48 * n + 1.8), 14)
    figure = blank("plots.confusion_matrix", side + 0.6, side)
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if n <= MOST_NUMBERS:
        longest = max(len(f"{v:.2f}" if normalize else str(v)) for v in (shares if normalize else matrix).ravel())
        size = min(10.0, 72 * 0.6 * (side - 1.8) / n / max(longest, 2) * 1.6)
        for i, j in np.ndindex(n, n):
            text = (f"{shares[i, j]:.2f}" if matrix[i, j] else "") if normalize else str(matrix[i, j])
            colour = "white" if shares[i, j] > 0.5 else "black" if matrix[i, j] else "#bbbbbb"
            axes.text(j, i, text, ha="center", va="center", color=colour, fontsize=size)
    step = 1 if n <= 50 else n // 25
    ticks = range(0, n, step)
    long = max(map(len, names)) > 3
    axes.set_xticks(ticks, [names[k] for k in ticks], rotation=45 if long else 0, ha="right" if long else "center")
    axes.set_yticks(ticks, [names[k] for k in ticks])
    accuracy = matrix.trace() / matrix.sum()
    axes.set(xlabel="predicted", ylabel="true", title=f"{accuracy:.2%} of {matrix.sum():,} right")
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the row")
    return written(figure, path)


def misclassified(
    x: Any,
    y_true: Any,
    probabilities: Any,
    classes: Sequence[str] | None = None,
    path: Path = None,
    *,
    most: int = 24,
) -> Any:
    """Images (n, channels, h, w) that are taken for another class, the surest mistakes first: "is → taken for, how sure".

    ``x`` may be a data set of them. ``probabilities`` is (n, classes). Errors: DataError for what are no images.

    >>> chances = np.array([[0.9, 0.1], [0.2, 0.8]])
    >>> figure = misclassified(np.zeros((2, 1, 8, 8)), [1, 1], chances, ["cat", "dog"])
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['dog → cat, 90%']
    """
    chances = probabilities.numpy() if isinstance(probabilities, Tensor) else np.asarray(probabilities)
    true, said = labels("misclassified", y_true), labels("misclassified", chances)
    if not len(x) == len(true) == len(said):
        raise DataError(f"[plots.misclassified] there are {len(x)} images, {len(true)} labels, {len(said)} predictions")
    names = [*map(str, range(chances.shape[1]))] if classes is None else [*classes]
    wrong = np.flatnonzero(true != said)
    count, share = len(wrong), len(wrong) / len(true)
    wrong = wrong[np.argsort(-chances[wrong, said[wrong]], kind="stable")][:most]
    if not count:
        return written(pictures("plots.misclassified", [], [], f"all {len(true):,} are right"), path)
    images = np.asarray(
        x.batch(wrong)[0] if hasattr(x, "batch") else (x.numpy() if isinstance(x, Tensor) else x)[wrong]
    )
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise DataError(f"[plots.misclassified] x has shape {images.shape}, expected images (n, 1 or 3, height, width)")
    titles = [f"{names[true[k]]} → {names[said[k]]}, {chances[k, said[k]]:.0%}" for k in wrong]
    title = f"{count:,} of {len(true):,} wrong ({share:.2%}): is → taken for"
    return written(pictures("plots.misclassified", images, titles, title), path)


def pictures(name: str, images: Any, titles: Sequence[str], title: str) -> Any:
    """A figure of images (n, 1 or 3, h, w), each with a title; grey ones are stretched over all greys."""
    columns = max(1, min(len(images), max(4, round((1.6 * len(images)) ** 0.5))))
    cell = min(max(1.1, 0.075 * max([9, *map(len, titles)])), 2.2)
    return tiled(name, images, title, cell=cell, columns=columns, titles=titles, cmap="gray")
