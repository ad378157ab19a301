"""A model on the test part of its data: its metrics, its predictions, what it gets wrong."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from .. import plots
from ..domain.errors import ArgumentError
from ..nn import Sequential, Softmax
from .datasets import Data, find
from .predictor import probabilities
from .runs import subject
from .settings import DataSettings


@dataclass
class Evaluated:
    """A model and its data. ``values`` has loss, metrics and the number of samples."""

    model: Any
    data: Data

    @cached_property
    def values(self) -> dict[str, Any]:
        """See the class."""
        if self.gives_probabilities:
            y = self.data.test_labels
            loss = -np.log(np.maximum(self.chances[np.arange(len(y)), y].astype(np.float64), 1e-12)).mean()
            right = (self.chances.argmax(axis=1) == y).mean()
            return {"loss": float(loss), "accuracy": float(right), "samples": len(y)}
        regression = self.data.task == "regression"
        metrics = ["mae", "r2"] if regression else ["accuracy"]
        compiled = self.model.compile("mse" if regression else "cross_entropy", "sgd", metrics=metrics)
        found: dict[str, Any] = compiled.evaluate(self.data.test)
        return {**found, "samples": len(self.data.test)}

    @cached_property
    def chances(self) -> Any:
        """The probability of each class for each sample (n, classes). Errors: ArgumentError if there are no classes."""
        if self.data.task != "classes":
            raise ArgumentError(f"[test] {self.data.name} has no classes: it is {self.data.task}")
        return probabilities(self.model.predict(self.data.test))

    @property
    def gives_probabilities(self) -> bool:
        """Whether there are no scores to be had of it, as of a classifier that came from elsewhere."""
        if self.data.task != "classes" or (isinstance(self.model, Sequential) and isinstance(self.model[-1], Softmax)):
            return False
        rows = self.model.predict(self.samples([0])[0]).numpy()
        return bool((rows >= 0).all() and np.allclose(rows.sum(axis=1), 1, atol=1e-4))

    def per_class(self) -> Any:
        """Precision, recall and F1 of each class: a ``plots.ClassReport``."""
        return plots.class_report(self.data.test_labels, self.chances.argmax(axis=1), self.data.classes)

    def samples(self, places: Any) -> tuple[Any, Any]:
        """Inputs of the test part at ``places``, and their labels."""
        places = np.asarray(places, np.int64)
        x, y = self.data.test.batch(places)[:2]
        return x, y


def with_data(path: str | Path, data: str | None = None, *, progress: bool = True) -> Evaluated:
    """A run's model with its data, or a file's with ``data``, a name or a path. Errors: those of what reads them."""
    chosen = subject(path)
    if data is not None:
        settings = DataSettings(name=data)
        if chosen.run is not None:
            settings = chosen.run.settings.changed({"data.name": data}).data
    elif chosen.run is not None:
        settings = chosen.run.settings.data
    else:
        settings = DataSettings()
    found = find(settings, progress=progress)
    about = chosen.about
    if about and (list(found.shape) != about["shape"] or found.outputs != outputs_of(about)):
        told = f"samples {list(found.shape)} and {found.outputs} outputs"
        raise ArgumentError(
            f"[test] {found.name} has {told}, but the model was trained on {about['name']}: {about['shape']} and "
            f"{outputs_of(about)}"
        )
    return Evaluated(chosen.model(), found)


def outputs_of(about: dict[str, Any]) -> int:
    """How many outputs a model has for what ``Data.describe`` says."""
    return len(about["symbols"] or about["classes"]) or 1


def evaluate(path: str | Path, data: str | None = None, *, progress: bool = True) -> Evaluated:
    """The same, evaluated: what cannot be is told before anything is printed."""
    found = with_data(path, data, progress=progress)
    _ = found.values
    return found
