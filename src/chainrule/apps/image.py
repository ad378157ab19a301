"""A picture of one digit, made what MNIST is: 28 × 28, ink 1 on paper 0, 20 pixels high or wide, centred by its mass.

The recipe is that of the data set (LeCun et al., 1998). Without it a network that knows MNIST guesses.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from ..domain.errors import DataError, FileFormatError, MissingDependencyError, MissingFileError
from .strokes import drawn

SIDE, BOX, CENTRE = 28, 20, 14  # of the picture, of the digit in it, and the pixel its mass is centred on
CONTRAST = 0.05  # of the range of the picture: less is a blank sheet
INK = 0.15  # of the darkest ink: less is paper
SPECK = 12  # pixels of ink: less is no digit
LARGE = 1024  # pixels of a picture's longer side: more tell nothing of a digit
FULL = 0.7  # of the 20 × 20 pixels: more is no line


def load_digit(path: str | os.PathLike[str]) -> Any:
    """The digit in a picture file, float32 (1, 28, 28). Light digits on dark and dark ones on light are told apart.

    ``.npy`` holds an array (h, w) or (1, h, w); other formats are read by Pillow. Errors: MissingFileError,
    FileFormatError, MissingDependencyError without Pillow, DataError for what is no digit.
    """
    return prepare(read_grey(path))


def read_grey(path: str | os.PathLike[str]) -> Any:
    """A picture as an array (h, w) of grey values from 0 to 1; what is transparent is white."""
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"[predict] there is no file {path}")
    if path.suffix == ".npy":
        try:
            array = np.load(path, allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise FileFormatError(f"[predict] {path} is no array in the .npy format: {error}") from error
        if array.ndim == 3 and array.shape[0] == 1:
            array = array[0]
        if array.ndim != 2 or array.dtype.kind not in "fiub" or array.size == 0:
            raise DataError(f"[predict] {path} holds {array.dtype}{list(array.shape)}, expected one picture (h, w)")
        if not np.isfinite(array).all():
            raise DataError(f"[predict] {path} holds NaN or infinity")
        return array / (255.0 if array.dtype == np.uint8 else 1.0)
    with path.open("rb") as file:
        return grey_of(file, path.name)


def grey_of(file: BinaryIO, name: str) -> Any:
    """The picture in an open file of a format that Pillow reads, as ``read_grey`` gives it; ``name`` is for errors.

    Turned as its camera says, and brought to 1,024 pixels at most. Errors: FileFormatError, MissingDependencyError.
    """
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError as error:
        raise MissingDependencyError(
            f"[predict] reading {name} needs Pillow: pip install 'chainrule[gui]' (.npy needs nothing)"
        ) from error
    try:
        with Image.open(file) as image:
            turned = ImageOps.exif_transpose(image).convert("RGBA")
        turned.thumbnail((LARGE, LARGE), Image.Resampling.BOX)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError) as error:
        raise FileFormatError(f"[predict] {name} is no picture that Pillow can read: {error}") from error
    rgba = np.asarray(turned, np.float64) / 255
    grey, alpha = rgba[..., :3] @ (0.299, 0.587, 0.114), rgba[..., 3]
    return grey * alpha + 1 - alpha


class Steps(NamedTuple):
    """What ``preprocess`` made, step by step: each float32, ink 1 on paper 0."""

    ink: Any  #: (h, w): as drawn, light on dark, cut to where ink is
    box: Any  #: fitted into 20 × 20
    image: Any  #: (28, 28): what the network sees


def preprocess(source: Any, pen: float | None = None) -> Steps:
    """A drawing as MNIST would have it, (28, 28), with the steps to it. NumPy alone; all that reads digits uses it.

    ``source`` is an array (h, w), a grey picture of any size and polarity, told by its edge; or a list of strokes, each of
    points [x, y], whose ``pen`` is as wide as given in their unit. Errors: DataError for what is empty, a speck, or a
    filled area.

    >>> sheet = np.ones((100, 60)); sheet[20:80, 28:33] = 0.0  # a dark stroke on a light sheet
    >>> steps = preprocess(sheet)
    >>> steps.image.shape, float(steps.image.max()), steps.box.shape
    ((28, 28), 1.0, (20, 2))
    >>> preprocess([[[30, 20], [30, 80]]], pen=5).box.shape
    (20, 2)
    """
    ink = isolated(source if isinstance(source, np.ndarray) else np.pad(drawn(source, pen), 1))
    height, width = (max(1, round(n * BOX / max(ink.shape))) for n in ink.shape)
    box = shrink(height, ink.shape[0]) @ ink @ shrink(width, ink.shape[1]).T
    box /= box.max()
    if box.sum() > FULL * BOX * BOX:
        raise DataError("[digits] this is a filled area, not lines: draw a digit")
    total = box.sum()
    corner = []
    for axis, size in enumerate(box.shape):
        middle = (box.sum(axis=1 - axis) @ np.arange(size)) / total
        corner.append(
            int(np.clip(round(round(CENTRE - middle, 9)), 0, SIDE - size))
        )  # halves, whatever the last bits are
    image = np.zeros((SIDE, SIDE), np.float32)
    image[corner[0] : corner[0] + height, corner[1] : corner[1] + width] = box
    return Steps(ink.astype(np.float32), box.astype(np.float32), image)


def prepare(source: Any, pen: float | None = None) -> Any:
    """The image of ``preprocess`` as a network takes it: float32 (1, 28, 28).

    >>> prepare([[[30, 20], [30, 80]]]).shape
    (1, 28, 28)
    """
    return preprocess(source, pen).image[None]


def isolated(grey: Any) -> Any:
    """The ink of a picture (h, w), 1 on 0, without the paper around it and without its grain. Errors: DataError."""
    grey = np.asarray(grey, np.float64)
    if grey.ndim != 2 or grey.size == 0:
        raise DataError(f"[digits] the picture has shape {list(grey.shape)}, expected grey values [h, w]")
    if not np.isfinite(grey).all():
        raise DataError("[digits] the picture holds NaN or infinity")
    edge = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    paper = np.median(edge)
    ink = np.abs(grey - paper)
    if ink.max() < CONTRAST * max(1.0, np.abs(grey).max()):
        raise DataError("[digits] the picture is blank, all its pixels are alike: draw a digit")
    grain = min(3 * np.median(np.abs(edge - paper)), ink.max() / 2)
    ink = np.maximum(ink - grain, 0) / (ink.max() - grain)
    if np.count_nonzero(ink > INK) < SPECK:
        raise DataError("[digits] this is a speck, hardly any ink: draw a digit")
    rows, columns = (np.flatnonzero((ink > INK).any(axis=axis)) for axis in (1, 0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def shrink(new: int, old: int) -> Any:
    """The matrix (new, old) that averages ``old`` cells into ``new`` ones by the area they share.

    >>> shrink(2, 3)
    array([[0.66666667, 0.33333333, 0.        ],
           [0.        , 0.33333333, 0.66666667]])
    """
    ends = np.arange(new + 1) * (old / new)
    cells = np.arange(old)
    shared = np.minimum(ends[1:, None], cells + 1) - np.maximum(ends[:-1, None], cells)
    return np.maximum(shared, 0) * (new / old)
