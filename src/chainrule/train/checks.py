"""What is looked at once, before training: mistakes found here cost a second, not a night."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from ..domain.errors import ArgumentError, DataError, DTypeError, IndexRangeError, ShapeError
from ..losses import (
    BCE,
    MAE,
    MSE,
    SSE,
    BCEWithLogits,
    CategoricalCrossEntropy,
    CrossEntropy,
    Focal,
    GaussianNLL,
    Hinge,
    Huber,
    LogCosh,
    PoissonNLL,
    SmoothL1,
    SquaredHinge,
)
from ..nn import Linear, Sequential, Softmax

CHUNK = 1 << 22  # elements looked at together
COMPARED = (BCE, MAE, MSE, SSE, BCEWithLogits, Focal, Hinge, Huber, LogCosh, PoissonNLL, SmoothL1, SquaredHinge)


def at_least(name: str, argument: str, value: Any, least: int) -> int:
    """``value`` as an integer of at least ``least``."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or value < least:
        raise ArgumentError(f"[{name}] {argument} is {value!r}, expected an integer of at least {least}")
    return int(value)


def finite(name: str, what: str, array: Any) -> None:
    """Raise DataError at the first NaN or infinity.

    >>> finite("fit", "x", np.array([[1.0, 2.0], [np.nan, 0.0]]))
    Traceback (most recent call last):
    chainrule.domain.errors.DataError: [fit] x has nan at index (1, 0) (sample 1): remove or replace such values first
    """
    if array.dtype.kind != "f" and array.dtype.name != "bfloat16":
        return
    rows = max(1, CHUNK // max(1, math.prod(array.shape[1:])))
    for start in range(0, len(array), rows):
        part = array[start : start + rows]
        with np.errstate(all="ignore"):
            if math.isfinite(part.sum()):  # a NaN or an infinity reaches the sum; one pass, no memory
                continue
        bad = np.argwhere(~np.isfinite(part))
        if len(bad):  # else the sum alone overflowed
            index = (start + int(bad[0][0]), *map(int, bad[0][1:]))
            raise DataError(
                f"[{name}] {what} has {array[index]} at index {index} (sample {index[0]}): remove or replace such values first"
            )


def arrays_of(dataset: Any) -> tuple[Any, ...] | None:
    """The arrays that hold all samples of a data set, the target last; None if there are none."""
    found = getattr(dataset, "arrays", None)
    return found if isinstance(found, tuple) else None


def not_empty(name: str, dataset: Any) -> None:
    """Raise DataError if a data set has no samples."""
    if len(dataset) == 0:
        raise DataError(f"[{name}] the data set is empty: it needs at least one sample")


def dataset(name: str, dataset: Any) -> None:
    """Raise DataError if a data set is empty or, as far as it is in arrays, has NaN or infinity."""
    not_empty(name, dataset)
    arrays = arrays_of(dataset) or ()
    for place, array in enumerate(arrays):
        finite(name, "y" if place and place == len(arrays) - 1 else "x", array)


def labels(name: str, loss: Any, output: tuple[int, ...], target: Any, what: str = "y") -> None:
    """Raise unless cross-entropy, if that is the loss, takes ``target`` for scores of the shape ``output`` (of any number
    of samples): DTypeError, ShapeError, or IndexRangeError with the value, its row, and the number of classes.

    >>> labels("fit", CrossEntropy(), (1, 10), np.array([0, 9, 12]))
    Traceback (most recent call last):
    chainrule.domain.errors.IndexRangeError: [fit] y is 12 at row 2, but the model has 10 classes (0 to 9)
    >>> labels("fit", CrossEntropy(), (1, 10), np.array([0.0, 9.0, 1.0]))
    Traceback (most recent call last):
    chainrule.domain.errors.DTypeError: [fit] y has dtype float64 and shape (3,), but cross-entropy takes labels, ...
    """
    if not isinstance(loss, CrossEntropy) or len(output) < 2:
        return
    count, rows = output[1], len(target)
    expected, shares = (rows, *output[2:]), (rows, *output[1:])
    if target.shape == shares:
        return
    takes = f"cross-entropy takes labels, integers of shape {expected}, or probabilities of shape {shares}"
    if len(output) > 2 and target.shape in ((rows, *output[1:-1]), (rows, *output[1:-1], 1)):
        takes += f". It has classes on axis 1: nn.Permute({(0, len(output) - 1, *range(1, len(output) - 1))}) puts them there"
    if target.dtype.kind not in "iu":
        raise DTypeError(
            f"[{name}] {what} has dtype {target.dtype} and shape {target.shape}, but {takes}: "
            f"{what}.astype('int64') makes labels"
        )
    if target.shape != expected:
        hint = f": {what}.squeeze(1) makes them" if target.shape == (rows, 1, *output[2:]) else ""
        raise ShapeError(f"[{name}] {what} has shape {target.shape}, but {takes}{hint}")
    wrong = ((target < 0) | (target >= count)) & (target != loss.ignore_index)
    if wrong.any():
        index = tuple(int(i) for i in np.argwhere(wrong)[0])
        hint = ": count classes from 0" if target[index] == count and not (target == 0).any() else ""
        raise IndexRangeError(
            f"[{name}] {what} is {target[index]} at row {index[0] if len(index) == 1 else index}, but the model has {count} "
            f"classes (0 to {count - 1}){hint}"
        )


def alike(name: str, loss: Any, output: tuple[int, ...], target: Any, what: str = "y") -> None:
    """Raise ShapeError unless ``target`` has the shape of an ``output``, if the loss compares them element by element, and
    DataError unless it is from 0 to 1, if it is a yes or no.

    >>> alike("fit", MSE(), (1, 1), np.zeros(5))
    Traceback (most recent call last):
    chainrule.domain.errors.ShapeError: [fit] y has shape (5,), but MSE takes the shape of the output, (5, 1): y[:, None] ...
    """
    if type(loss) in COMPARED and target.shape[1:] != output[1:]:
        expected = (len(target), *output[1:])
        hint = ""
        if (*target.shape, 1) == expected:
            hint = f": {what}[:, None] makes it" if target.ndim == 1 else f": {what}[..., None] makes it"
        elif target.shape == expected[:1] and target.dtype.kind in "iu":
            hint = f": one_hot({what}, {output[1]}) makes it of labels, or give the loss cross_entropy"
        raise ShapeError(
            f"[{name}] {what} has shape {target.shape}, but {type(loss).__name__} takes the shape of the output, "
            f"{expected}{hint}"
        )
    if isinstance(loss, (BCE, BCEWithLogits, Focal)) and target.dtype.kind in "iuf" and target.size:
        low, high = target.min(), target.max()
        if low < 0 or high > 1:
            hint = f": ({what} + 1) / 2 makes it" if low == -1 and high == 1 else ""
            raise DataError(
                f"[{name}] {what} goes from {low} to {high}, but {type(loss).__name__} takes targets from 0 to 1{hint}"
            )


def outputs(name: str, loss: Any, outputs: Any) -> None:
    """Raise DataError if a loss of probabilities gets none, or one of variances a negative one.

    >>> from chainrule import tensor
    >>> outputs("fit", BCE(), [tensor([0.5, -2.0])])
    Traceback (most recent call last):
    chainrule.domain.errors.DataError: [fit] the model gives -2.0, but BCE takes probabilities: end it in a Sigmoid, or ...
    """
    heads = {BCE: ("Sigmoid", "bce_with_logits"), CategoricalCrossEntropy: ("Softmax", "cross_entropy")}
    if type(loss) in heads:
        found = outputs[0].numpy()
        outside = found[(found < -1e-4) | (found > 1 + 1e-4)]
        if outside.size:
            head, other = heads[type(loss)]
            raise DataError(
                f"[{name}] the model gives {outside[0]}, but {type(loss).__name__} takes probabilities: end it in a {head}, "
                f"or give the loss {other}, which works on scores"
            )
    elif isinstance(loss, GaussianNLL):
        found = outputs[1].numpy()
        if (found < 0).any():
            raise DataError(
                f"[{name}] the model gives a variance of {found.min()}, but one is never below 0: end it in a Softplus or exp"
            )


def head(name: str, head: Any, output: Any) -> None:
    """Raise ArgumentError if a softmax is along another axis than that of classes, which are on axis 1 in cross-entropy."""
    if isinstance(head, Softmax) and head.axis % output.ndim != 1:
        raise ArgumentError(
            f"[{name}] the model ends in Softmax(axis={head.axis}) of {output.shape}, but cross-entropy has classes on axis 1: "
            f"Softmax(axis=1); where they are last, nn.Permute({(0, output.ndim - 1, *range(1, output.ndim - 1))}) before it"
        )


def scores(name: str, loss: Any, output: Any) -> None:
    """Warn if cross-entropy gets probabilities: softmax twice learns slowly, and looks like a bad learning rate."""
    if isinstance(loss, CrossEntropy) and len(output.shape) > 1 and output.shape[1] > 1:
        rows = output.numpy()
        if rows.shape[0] > 1 and (rows >= 0).all() and np.allclose(rows.sum(axis=1), 1.0, atol=1e-3):
            warnings.warn(
                f"[{name}] the model gives probabilities, but cross-entropy works on scores: leave out the softmax at its "
                "end, or have it as the last layer of a Sequential, where training leaves it out",
                UserWarning,
                stacklevel=4,
            )


def not_sorted(name: str, targets: Any) -> None:
    """Warn if labels come in order, for then the last part of the data has other classes than the rest."""
    for target in targets:
        steps = np.diff(target) if target.ndim == 1 and target.dtype.kind in "iu" else np.empty(0)
        if (steps >= 0).all() and steps.any():
            warnings.warn(
                f"[{name}] y is sorted, and validation_split takes the last samples: they have classes that training "
                'sees little of. Shuffle x and y together first, or let validation_split="auto" draw them',
                UserWarning,
                stacklevel=5,
            )


def has_batch(name: str, model: Any, x: Any) -> None:
    """Raise ShapeError for one sample without the axis of the batch, where the first layer tells it from several."""
    while isinstance(model, Sequential) and len(model):
        model = model[0]
    if isinstance(model, Linear) and x.ndim == 1:
        raise ShapeError(
            f"[{name}] x has shape {x.shape}, but the model takes {(None, model.in_features)}: one sample is a batch of one, "
            "as x[None] gives it"
        )
