"""From JSON to what a network sees, and from what it says to JSON."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from ...domain.errors import ArgumentError, DataError, unknown
from ..image import Steps, preprocess
from ..predictor import DigitPredictor, Prediction
from .limits import Refused

MOST_DRAWINGS, MOST_PIXELS, MOST_SIDE = 64, 1_000_000, 4000
KEYS = ("strokes", "pen", "image")
MOST_MAPS = 64  # feature maps that are told


def parsed(kind: str, body: bytes) -> dict[str, Any]:
    """The object in a body of JSON. Errors: Refused."""
    if kind.partition(";")[0].strip().lower() != "application/json":
        raise Refused(415, "unsupported_media_type", "expected Content-Type: application/json")
    try:
        given = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused(400, "bad_json", f"the body is no JSON: {error}") from None
    if not isinstance(given, dict):
        raise Refused(400, "bad_request", 'expected an object {"strokes": ...}, {"image": ...} or {"drawings": ...}')
    return given


def read(drawing: Any) -> Steps:
    """What the network is to see of a drawing. Errors: Refused.

    >>> read({"strokes": [[[50, 10], [52, 90]]], "pen": 9}).image.shape
    (28, 28)
    """
    if not isinstance(drawing, dict) or ("strokes" in drawing) == ("image" in drawing):
        raise Refused(
            400, "bad_request", 'a drawing is {"strokes": [[[x, y], ...], ...]} or {"image": [[grey, ...], ...]}'
        )
    if others := [name for name in drawing if name not in KEYS]:
        raise Refused(400, "bad_request", f"{str(unknown('key', others[0], KEYS)):.200}")
    try:
        if "strokes" in drawing:
            pen = drawing.get("pen")
            if pen is not None and (isinstance(pen, bool) or not isinstance(pen, (int, float))):
                raise Refused(400, "bad_request", f"pen is {pen!r:.40}, expected a number")
            strokes = drawing["strokes"]
            return preprocess(strokes if isinstance(strokes, list) else [strokes], pen)
        return preprocess(grey(drawing["image"]))
    except DataError as error:
        raise Refused(422, "no_digit", str(error)) from None


def grey(rows: Any) -> Any:
    """The picture in rows of numbers, float64 (h, w). Errors: Refused."""
    try:
        picture = np.array(rows, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise Refused(400, "bad_request", "image: expected rows of numbers, all of one length") from None
    if picture.size > MOST_PIXELS or max(picture.shape, default=0) > MOST_SIDE:
        raise Refused(
            413,
            "too_large",
            f"the picture has {picture.size} pixels, {list(picture.shape)}; expected {MOST_PIXELS} at most and no side "
            f"above {MOST_SIDE}",
        )
    return picture


def label_of(given: dict[str, Any]) -> int:
    """The digit that a drawing is said to be. Errors: Refused."""
    label = given.pop("label", None)
    if type(label) is not int or not 0 <= label <= 9:
        raise Refused(400, "bad_request", f"label is {label!r:.40}, expected a digit from 0 to 9")
    return label


def answers(predictor: DigitPredictor, drawings: list[Any]) -> list[Any]:
    """For each drawing its answer, or the Refused that says why there is none; the network runs once for all."""
    steps: list[Any] = []
    for drawing in drawings:
        try:
            steps.append(read(drawing))
        except Refused as error:
            steps.append(error)
    found = iter(predictor.predict([one for one in steps if isinstance(one, Steps)]))
    return [one if isinstance(one, Refused) else answer(next(found)) for one in steps]


def answer(found: Prediction) -> dict[str, Any]:
    """A prediction for JSON."""
    return {
        "digit": found.digit,
        "sure": found.sure,
        "probabilities": found.probabilities,
        "top": found.top(),
        "image": np.rint(found.steps.image * 255).astype(int).tolist(),
    }


def views(predictor: DigitPredictor, steps: Steps, label: int | None) -> dict[str, Any]:
    """What goes on in the network, for JSON: feature maps, and the pixels that the score of a digit hangs on."""
    chosen = predictor.predict([steps])[0].digit if label is None else label
    try:
        layer, maps = predictor.feature_maps(steps.image)
    except ArgumentError:  # no convolution
        layer, maps = "", np.zeros((0, 0, 0))
    return {
        "label": chosen,
        "layer": layer,
        "maps": np.round(maps[:MOST_MAPS].astype(np.float64), 5).tolist(),
        "saliency": np.round(predictor.saliency(steps.image, chosen).astype(np.float64), 5).tolist(),
    }
