"""What reads digits: the window, the page and the command line ask the same object."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..domain.errors import ArgumentError, ChainruleError
from ..io import load
from ..nn import Module
from . import insight
from .image import SIDE, Steps, preprocess

SHIPPED = Path(__file__).parent / "files" / "digits.safetensors"
SURE = 0.7  # probability: below it the answer is a guess, and is told as one


class Prediction(NamedTuple):
    """The answer for one drawing."""

    digit: int  #: the most probable
    sure: bool  #: whether its probability is at least ``SURE``
    probabilities: tuple[float, ...]  #: of the digits 0 to 9
    steps: Steps  #: what the network saw, and how it came to it

    def top(self, count: int = 3) -> list[tuple[int, float]]:
        """The most probable digits with their probabilities."""
        order = np.argsort(-np.asarray(self.probabilities), kind="stable")[:count]
        return [(int(i), self.probabilities[i]) for i in order]


class DigitPredictor:
    """Reads drawings of digits with a model: the one that comes with chainrule, a file, or a module.

    The model takes (n, 1, 28, 28) and gives ten probabilities or scores. It is read once; threads may share the predictor.
    Errors: those of ``load``; ArgumentError for a model of other shapes.

    >>> predictor = DigitPredictor()
    >>> one = predictor([[[50, 10], [52, 90]]])
    >>> one.digit, one.sure, one.top(1)[0][0], one.steps.image.shape
    (1, True, 1, (28, 28))
    """

    def __init__(self, model: Module | str | os.PathLike[str] | None = None) -> None:
        self.name = "digits (comes with chainrule)" if model is None else type(model).__name__
        self.file: Path | None = None  # that the model was read from
        if not isinstance(model, Module):
            path = self.file = SHIPPED if model is None else Path(model)
            self.name = self.name if model is None else path.name
            model = load(path)
        self.model = model.to("float32").eval()
        self.lock = threading.Lock()
        try:
            shape = self.scores(np.zeros((1, 1, SIDE, SIDE), np.float32)).shape
        except ChainruleError as error:
            raise ArgumentError(f"[digits] {self.name} takes no images (n, 1, 28, 28): {error}") from error
        if shape != (1, 10):
            raise ArgumentError(f"[digits] {self.name} gives {list(shape)} for an image, expected ten scores: [1, 10]")

    def __call__(self, drawing: Any, pen: float | None = None) -> Prediction:
        """The digit in strokes or in a grey picture: see ``preprocess``, whose errors it raises."""
        return self.predict([preprocess(drawing, pen)])[0]

    def predict(self, drawings: Sequence[Steps]) -> list[Prediction]:
        """The digits in what ``preprocess`` made of drawings, in one pass of the network."""
        if not drawings:
            return []
        chances = self.scores(np.stack([steps.image for steps in drawings])[:, None])
        found = []
        for row, steps in zip(chances.astype(np.float64), drawings, strict=True):
            digit = int(row.argmax())
            found.append(Prediction(digit, bool(row[digit] >= SURE), tuple(map(float, row / row.sum())), steps))
        return found

    def scores(self, images: Any) -> Any:
        """Probabilities (n, 10) of float32 images (n, 1, 28, 28)."""
        with self.lock:
            return probabilities(self.model.predict(images))

    def feature_maps(self, picture: Any) -> insight.FeatureMaps:
        """What the first convolution makes of a picture (28, 28): see ``insight.feature_maps``, whose errors it raises."""
        with self.lock:
            return insight.feature_maps(self.model, picture)

    def saliency(self, picture: Any, label: int | None = None) -> Any:
        """How much each pixel of a picture (28, 28) moves the score of a digit: see ``insight.saliency``."""
        with self.lock:
            return insight.saliency(self.model, picture, label)

    def replace(self, model: Module) -> None:
        """Read with another model from now on, one that takes and gives what this one does; answers on the way are whole."""
        with self.lock:
            self.model = model


def probabilities(output: Any) -> Any:
    """The output of a classifier as probabilities (n, classes): as it is, or scores through softmax."""
    rows = output.numpy()
    if (rows >= 0).all() and np.allclose(rows.sum(axis=1), 1.0, atol=1e-4):
        return rows
    return output.softmax(axis=1).numpy()
