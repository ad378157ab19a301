"""What the loaders of data sets return: arrays to train on and to test with, in a dtype of choice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from ..domain.errors import DTypeError


class TrainTest(NamedTuple):
    """Inputs and labels to train on, inputs and labels to test with."""

    x_train: Any
    y_train: Any
    x_test: Any
    y_test: Any


class Samples(NamedTuple):
    """Inputs and targets of a set that is in one piece."""

    x: Any
    y: Any


def pixels(parts: Sequence[Any], raw: bool, dtype: DTypeLike, most: int = 255) -> Any:
    """The images of all ``parts`` (uint8, 0 to ``most``) in one array: as they are, or from 0 to 1 in ``dtype``."""
    if raw:
        return parts[0] if len(parts) == 1 and parts[0].flags.writeable else np.concatenate(parts)
    kind = float_type(dtype)
    images = np.empty((sum(map(len, parts)), *parts[0].shape[1:]), kind)
    start = 0
    for part in parts:
        exact = np.float64 if kind == np.float64 else np.float32
        images[start : start + len(part)] = np.divide(part, exact(most), dtype=exact)
        start += len(part)
    return images


def float_type(dtype: DTypeLike) -> np.dtype[Any]:
    """``dtype`` as NumPy knows it, ``bfloat16`` among them. Errors: DTypeError, unless it holds fractions."""
    import ml_dtypes  # noqa: F401  (with it NumPy knows bfloat16 by name)

    try:
        kind = np.dtype(dtype)
    except TypeError:
        raise DTypeError(f"[data] {dtype!r} is no dtype; give float16, bfloat16, float32 or float64") from None
    if kind.name not in ("float16", "bfloat16", "float32", "float64"):
        raise DTypeError(f"[data] dtype {kind} holds no fractions; give float16, bfloat16, float32 or float64")
    return kind
