"""Arrays as pixels: enlarged, in colour, many side by side."""

from __future__ import annotations

from typing import Any

import numpy as np

HEAT = np.array([1.0, 0.62, 0.0])  # the colour of a pixel that moves the score


def bytes_of(values: Any) -> Any:
    """Values from 0 to 1 as uint8 from 0 to 255."""
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)


def enlarged(pixels: Any, height: int, width: int) -> Any:
    """Each pixel as a block, so that the whole is (height, width, ...)."""
    rows, columns = (np.arange(new) * old // new for new, old in zip((height, width), pixels.shape, strict=False))
    return pixels[np.ix_(rows, columns)]


def heated(image: Any, saliency: Any) -> Any:
    """A picture (h, w) in grey with its saliency in colour over it: uint8 (h, w, 3).

    >>> heated(np.array([[0.0, 1.0]]), np.array([[1.0, 0.0]]))[0].tolist()
    [[255, 158, 0], [140, 140, 140]]
    """
    share = saliency[..., None]
    return bytes_of(0.55 * image[..., None] * (1 - share) + share * HEAT)


def tiles(maps: Any, height: int, width: int, gap: int, paper: int = 0) -> Any:
    """Maps (n, h, w) side by side, as large as fits in (height, width): uint8, black is the least of all, white the most;
    ``paper`` is the grey between them. None where there is no room for a pixel of each.

    >>> tiles(np.array([[[0.0]], [[1.0]], [[0.5]]]), 21, 10, gap=1).shape
    (20, 6)
    """
    count, tall, wide = maps.shape
    best, columns = 0, 1
    for across in range(1, count + 1):
        down = -(-count // across)
        size = min((width - (across - 1) * gap) / across, ((height - (down - 1) * gap) / down) * wide / tall)
        if int(size) > best:
            best, columns = int(size), across
    high = best * tall // wide
    if best < 1 or high < 1:
        return None
    low, most = float(maps.min()), float(maps.max())
    grey = bytes_of((maps - low) / (most - low or 1.0))
    rows = -(-count // columns)
    sheet = np.full((rows * (high + gap) - gap, columns * (best + gap) - gap), paper, np.uint8)
    for i, one in enumerate(grey):
        top, left = i // columns * (high + gap), i % columns * (best + gap)
        sheet[top : top + high, left : left + best] = enlarged(one, high, best)
    return sheet
