"""Curves of training: what was reported epoch by epoch, and the loss over the learning rate."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..domain.errors import DataError
from ..tensor import Tensor
from ..train import Trial
from ..train.plots import panels, written

Path = str | os.PathLike[str] | None
LEAVE_OUT = ("epoch", "seconds", "samples", "skipped_steps")


def groups(history: Mapping[str, Sequence[float]]) -> dict[str, list[str]]:
    """The names of a history that belong into one panel: losses, each metric with its validation, the learning rate.

    >>> groups({"loss": [1.0], "accuracy": [0.5], "val_loss": [1.0], "lr": [0.1], "epoch": [1]})
    {'loss': ['loss', 'val_loss'], 'accuracy': ['accuracy'], 'learning rate': ['lr']}
    """
    found: dict[str, list[str]] = {}
    for name in history:
        if name not in LEAVE_OUT:
            plain = name.removeprefix("val_")
            title = "loss" if "loss" in plain else "learning rate" if plain == "lr" else plain.replace("_", " ")
            found.setdefault(title, []).append(name)
    return dict(sorted(found.items(), key=lambda group: {"loss": 0, "learning rate": 2}.get(group[0], 1)))


def history(values: Mapping[str, Sequence[float]], path: Path = None) -> Any:
    """Curves over the epochs of a ``History``, or of a dict of lists: a panel for losses, for each metric, for the rate.

    Validation is dashed; the best epoch of ``val_loss`` is marked. Errors: DataError if there is no epoch.

    >>> figure = history({"loss": [0.9, 0.5], "val_loss": [1.0, 0.8], "accuracy": [0.6, 0.7]})
    >>> [axes.get_title() for axes in figure.axes]
    ['loss', 'accuracy']
    """
    shown = groups(values)
    count = max((len(values[name]) for names in shown.values() for name in names), default=0)
    if not count:
        raise DataError("[plots.history] there is nothing to plot: no epoch was finished")
    epochs = [*values["epoch"]] if "epoch" in values else [*range(1, count + 1)]
    figure, axes = panels("plots.history", [*shown])
    for one, names in zip(axes, shown.values(), strict=True):
        for name in names:
            style = "--" if name.startswith("val_") else "-"
            one.plot(epochs, values[name], style, marker="." if count < 60 else None, label=name)
        if "val_loss" in names:
            best = min(
                range(count), key=lambda k: values["val_loss"][k] if math.isfinite(values["val_loss"][k]) else math.inf
            )
            one.axvline(epochs[best], color="grey", linewidth=0.8, linestyle=":", label=f"best: epoch {epochs[best]:g}")
        named_epochs(one, epochs)
    return written(figure, path)


def named_epochs(axes: Any, epochs: Sequence[float]) -> None:
    """Whole numbers at the axis, a legend."""
    axes.set(xlabel="epoch")
    if len(epochs) == 1:
        axes.set(xticks=epochs, xlim=(epochs[0] - 1, epochs[0] + 1))
    else:
        axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend()


def compare(histories: Mapping[str, Mapping[str, Sequence[float]]], path: Path = None) -> Any:
    """Several trainings by name: a panel for each value that all report, a colour for each training, validation dashed.

    Errors: DataError if they have nothing in common.

    >>> figure = compare({"small": {"loss": [0.9, 0.5]}, "large": {"loss": [0.8, 0.3, 0.2]}})
    >>> [line.get_label() for line in figure.axes[0].lines]
    ['small', 'large']
    """
    shown = {title: names for title, names in common(histories).items() if title != "learning rate"}
    if not shown:
        raise DataError("[plots.compare] there is nothing to compare: the trainings report nothing that all of them do")
    figure, panel = panels("plots.compare", [*shown])
    for axes, names in zip(panel, shown.values(), strict=True):
        longest: Sequence[float] = []
        for k, (label, values) in enumerate(histories.items()):
            for name in names:
                held = name.startswith("val_")
                epochs = [*range(1, len(values[name]) + 1)]
                longest = max(longest, epochs, key=len)
                alone = held and len(names) > 1
                style = "--" if held else "-"
                axes.plot(epochs, values[name], style, color=f"C{k % 10}", label=None if alone else label)
        named_epochs(axes, longest)
    return written(figure, path)


def common(histories: Mapping[str, Mapping[str, Sequence[float]]]) -> dict[str, list[str]]:
    """The groups of names that all histories have."""
    first, *others = histories.values()
    kept = [name for name in first if all(name in other for other in others)]
    return groups({name: first[name] for name in kept})


def predictions(y_true: Any, y_pred: Any, path: Path = None) -> Any:
    """What is predicted over what is true, for a model of numbers: on the line it is right; and how errors are spread.

    Both are (n,), or (n, 1). Errors: DataError.

    >>> figure = predictions([1.0, 2.0, 3.0], [1.1, 1.9, 3.2])
    >>> [axes.get_title() for axes in figure.axes]
    ['predicted over true, R² 0.970', 'errors, mean 0.067']
    """
    true, said = (
        np.asarray(v.numpy() if isinstance(v, Tensor) else v, np.float64).reshape(-1) for v in (y_true, y_pred)
    )
    if true.shape != said.shape or not true.size:
        raise DataError(f"[plots.predictions] there are {true.size} targets and {said.size} predictions")
    spread = ((true - true.mean()) ** 2).sum()
    score = 1 - ((true - said) ** 2).sum() / spread if spread else math.nan
    errors = said - true
    figure, (left, right) = panels(
        "plots.predictions", [f"predicted over true, R² {score:.3f}", f"errors, mean {errors.mean():.3f}"]
    )
    ends = [min(true.min(), said.min()), max(true.max(), said.max())]
    left.plot(ends, ends, color="grey", linewidth=0.8)
    left.scatter(true, said, s=12, alpha=0.6)
    left.set(xlabel="true", ylabel="predicted")
    right.hist(errors, bins=min(60, max(10, true.size // 10)))
    right.set(xlabel="predicted - true", ylabel="samples")
    return written(figure, path)


def lr_find(trial: Trial, path: Path = None) -> Any:
    """The loss over the learning rate that ``model.lr_find(...)`` saw, with its suggestion: as ``trial.plot``.

    >>> lr_find(Trial([1e-3, 1e-2, 1e-1], [2.0, 1.0, 3.0])).axes[0].get_xscale()
    'log'
    """
    return trial.plot(path)
