"""Many small images on one sheet: in one pair of axes, for a figure of a hundred takes seconds to lay out and to draw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..train.plots import blank

HEAD, LABEL, GAP = 0.4, 0.2, 0.06  # inches: of the title of the sheet, of that of an image, between images


def sheet(name: str, width: float, height: float, title: str = "") -> tuple[Any, Any]:
    """A figure of so many inches, and axes over all of it whose unit is an inch, (0, 0) at the upper left.

    Errors: MissingDependencyError, which names the function ``name``.
    """
    figure = blank(name, width, height)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set(xlim=(0, width), ylim=(height, 0))
    if title:
        figure.suptitle(title, fontsize=11, y=1 - 0.1 / height, va="top")
    return figure, axes


def put(axes: Any, image: Any, x: float, y: float, width: float, height: float, **options: Any) -> None:
    """An image, its upper left corner at (x, y) in inches."""
    limits = axes.get_xlim(), axes.get_ylim()
    axes.imshow(image, extent=(x, x + width, y + height, y), aspect="auto", **options)
    axes.set(xlim=limits[0], ylim=limits[1])


def tiled(
    name: str, images: Any, title: str, *, cell: float, columns: int, titles: Sequence[str] = (), **options: Any
) -> Any:
    """A sheet of images, each (channels, h, w) of 1 or 3, in rows of ``columns``, each with a title or none.

    ``options`` are those of matplotlib's ``imshow``, for images of one channel.
    """
    lines = -(-len(images) // columns) if len(images) else 0
    tall = cell * images[0].shape[1] / images[0].shape[2] if lines else 0.0
    label = LABEL if titles else 0.0
    width = max(columns * cell, 3.4)
    figure, axes = sheet(name, width, HEAD + lines * (tall + label) + GAP, title)
    left = (width - columns * cell) / 2
    for k, image in enumerate(images):
        x, y = left + k % columns * cell, HEAD + k // columns * (tall + label) + label
        colour = image.shape[0] == 3
        shown = np.clip(image.transpose(1, 2, 0), 0, 255 if image.dtype == np.uint8 else 1) if colour else image[0]
        put(axes, shown, x + GAP / 2, y, cell - GAP, tall - GAP, **({} if colour else options))
        if titles:
            axes.text(x + cell / 2, y - 0.04, titles[k], ha="center", va="bottom", fontsize=8)
    return figure
