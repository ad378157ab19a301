"""Curves of training: what was reported epoch by epoch, and the loss over the learning rate."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

from ..domain.errors import DataError
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
        one.set(xlabel="epoch")
        one.xaxis.get_major_locator().set_params(integer=True)
        one.legend()
    return written(figure, path)


def lr_find(trial: Trial, path: Path = None) -> Any:
    """The loss over the learning rate that ``model.lr_find(...)`` saw, with its suggestion: as ``trial.plot``.

    >>> lr_find(Trial([1e-3, 1e-2, 1e-1], [2.0, 1.0, 3.0])).axes[0].get_xscale()
    'log'
    """
    return trial.plot(path)
