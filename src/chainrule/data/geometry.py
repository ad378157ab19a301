"""Transformations that move pixels: crops, flips, and affine maps, each in one bilinear resampling."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..domain.errors import ArgumentError, ShapeError
from ..random import Generator
from .transforms import Transform, at_least, back, working

TOGETHER = 1 << 15  # pixels that are resampled together: they stay in the cache
MODES = ("constant", "reflect", "edge")


class RandomCrop(Transform):
    """A window of ``size`` (a number or (height, width); default: the size of the images) at a random place of each
    image, after ``padding`` pixels were added on each side: of ``fill``, or by ``mode`` "reflect" or "edge".

    Errors: ShapeError if the window is larger than the padded image.

    >>> RandomCrop(padding=4)(np.zeros((2, 3, 32, 32), np.uint8)).shape
    (2, 3, 32, 32)
    """

    def __init__(
        self,
        size: int | tuple[int, int] | None = None,
        *,
        padding: int = 0,
        fill: float = 0,
        mode: str = "constant",
    ) -> None:
        self.size = pair("RandomCrop", "size", size)
        self.padding, self.fill, self.mode = int(at_least("RandomCrop", "padding", padding, 0)), fill, mode
        if mode not in MODES:
            raise ArgumentError(f"[RandomCrop] mode is {mode!r}, expected one of {', '.join(MODES)}")

    def apply(self, images: Any, generator: Generator) -> Any:
        n, channels, height, width = images.shape
        rows, columns = self.size or (height, width)
        p = self.padding
        if rows > height + 2 * p or columns > width + 2 * p:
            raise ShapeError(
                f"[RandomCrop] images of {height}x{width} with padding {p} are too small for a window of {rows}x{columns}"
            )
        padded = images
        if p and self.mode == "constant":
            padded = np.full((n, channels, height + 2 * p, width + 2 * p), self.fill, images.dtype)
            padded[:, :, p : p + height, p : p + width] = images
        elif p:
            mode: Any = self.mode
            padded = np.pad(images, ((0, 0), (0, 0), (p, p), (p, p)), mode=mode)
        top = generator.integers(0, height + 2 * p - rows + 1, (n,)).numpy()
        left = generator.integers(0, width + 2 * p - columns + 1, (n,)).numpy()
        windows = np.lib.stride_tricks.sliding_window_view(padded, (rows, columns), axis=(2, 3))
        return np.ascontiguousarray(windows[np.arange(n), :, top, left])


class RandomHorizontalFlip(Transform):
    """Mirror each image left to right with probability ``p``.

    >>> RandomHorizontalFlip(p=1.0)(np.array([[[[1, 2, 3]]]], np.uint8)).tolist()
    [[[[3, 2, 1]]]]
    """

    axis = 3

    def __init__(self, p: float = 0.5) -> None:
        self.p = at_least(type(self).__name__, "p", p, 0, 1)

    def apply(self, images: Any, generator: Generator) -> Any:
        turned = generator.uniform((len(images),), "float64").numpy() < self.p
        out = images.copy()
        out[turned] = np.flip(images[turned], self.axis)
        return out


class RandomVerticalFlip(RandomHorizontalFlip):
    """Turn each image upside down with probability ``p``.

    >>> RandomVerticalFlip(p=1.0)(np.array([[[[1], [2]]]], np.uint8)).tolist()
    [[[[2], [1]]]]
    """

    axis = 2


class RandomAffine(Transform):
    """Each image rotated, sheared, scaled and shifted by random amounts, in one bilinear resampling.

    ``degrees`` turn counter-clockwise about the centre; ``shear`` is an angle in degrees that slants along the rows;
    ``scale`` above 1 enlarges; ``shift`` is in pixels, (down, right) or one number for both. A number a stands for the
    range (-a, a), for ``scale`` the range (1 - a, 1 + a); a pair is a range (for ``shift``: the two numbers). What comes
    from outside of the image has the value ``fill``.

    >>> image = np.array([[[[1, 2], [3, 4]]]], np.uint8)
    >>> RandomAffine(degrees=(90, 90))(image).tolist()
    [[[[2, 4], [1, 3]]]]
    """

    def __init__(
        self,
        degrees: float | tuple[float, float] = 0.0,
        *,
        shift: float | tuple[float, float] = 0.0,
        scale: float | tuple[float, float] = 0.0,
        shear: float | tuple[float, float] = 0.0,
        fill: float = 0.0,
    ) -> None:
        name = type(self).__name__
        self.degrees, self.shear = span(name, "degrees", degrees), span(name, "shear", shear)
        self.scale = span(name, "scale", scale, 1.0)
        down, right = shift if isinstance(shift, (tuple, list)) else (shift, shift)
        self.shift = at_least(name, "shift", down, 0), at_least(name, "shift", right, 0)
        self.fill = fill
        if self.scale[0] <= 0 or max(map(abs, self.shear)) >= 90:
            raise ArgumentError(
                f"[{name}] scale is {self.scale} and shear {self.shear}: scale > 0 and |shear| < 90 needed"
            )

    def apply(self, images: Any, generator: Generator) -> Any:
        u = generator.uniform((5, len(images)), "float64").numpy()
        ranges = (self.degrees, self.shear, self.scale, *((-s, s) for s in self.shift))
        angle, shear, scale, down, right = (low + (high - low) * v for (low, high), v in zip(ranges, u, strict=True))
        return affine(images, inverse(np.radians(angle), np.radians(shear), scale), down, right, self.fill)


class RandomRotation(RandomAffine):
    """Each image turned about its centre by up to ``degrees``, or by an angle of the range (low, high), counter-clockwise.

    >>> RandomRotation(15)(np.zeros((2, 1, 28, 28), np.float32)).shape
    (2, 1, 28, 28)
    """

    def __init__(self, degrees: float | tuple[float, float], *, fill: float = 0.0) -> None:
        super().__init__(degrees, fill=fill)


class RandomShift(RandomAffine):
    """Each image shifted by up to ``pixels`` (also parts of pixels), a number or (down, right).

    >>> RandomShift(2)(np.zeros((2, 1, 28, 28), np.float32)).shape
    (2, 1, 28, 28)
    """

    def __init__(self, pixels: float | tuple[float, float], *, fill: float = 0.0) -> None:
        super().__init__(shift=pixels, fill=fill)


class RandomZoom(RandomAffine):
    """Each image scaled about its centre by a factor of (1 - scale, 1 + scale), or of the range (low, high).

    >>> RandomZoom((0.9, 1.1))(np.zeros((2, 1, 28, 28), np.float32)).shape
    (2, 1, 28, 28)
    """

    def __init__(self, scale: float | tuple[float, float], *, fill: float = 0.0) -> None:
        super().__init__(scale=scale, fill=fill)


class RandomShear(RandomAffine):
    """Each image slanted along its rows by an angle of up to ``degrees``, or of the range (low, high).

    >>> RandomShear(10)(np.zeros((2, 1, 28, 28), np.float32)).shape
    (2, 1, 28, 28)
    """

    def __init__(self, degrees: float | tuple[float, float], *, fill: float = 0.0) -> None:
        super().__init__(shear=degrees, fill=fill)


def inverse(angle: Any, shear: Any, scale: Any) -> Any:
    """From where a pixel comes, (n, 2, 2) on (down, right): the inverse of rotation times shear times scale."""
    sin, cos, slant = np.sin(angle), np.cos(angle), np.tan(shear)
    # forward: (down, right) -> R S (down, right) with R = [[cos, -sin], [sin, cos]], S = scale [[1, 0], [slant, 1]]
    return np.stack([cos, sin, -sin - slant * cos, cos - slant * sin], axis=-1).reshape(-1, 2, 2) / scale[:, None, None]


def affine(images: Any, matrix: Any, down: Any, right: Any, fill: float) -> Any:
    """Each pixel of the new images taken from ``matrix @ (pixel - centre - shift) + centre`` of the old, bilinearly."""
    n, channels, height, width = images.shape
    out = np.empty(images.shape, working(images))
    few = max(1, TOGETHER // (height * width))
    for start in range(0, n, few):
        part = slice(start, start + few)
        resample(images[part], matrix[part], down[part, None], right[part, None], fill, out[part])
    return back(out, images.dtype)


def resample(images: Any, matrix: Any, down: Any, right: Any, fill: float, out: Any) -> None:
    """``affine`` of some images, written to ``out``."""
    n, channels, height, width = images.shape
    middle, dtype = ((height - 1) / 2, (width - 1) / 2), out.dtype
    y, x = np.arange(height) - middle[0] - down, np.arange(width) - middle[1] - right
    a, b, c, d = (matrix[:, i, j, None] for i in (0, 1) for j in (0, 1))
    # where each pixel comes from, in images with a border of one pixel of fill, which stands for all that is outside
    rows = (a * y + middle[0] + 1).astype(dtype)[:, :, None] + (b * x).astype(dtype)[:, None, :]
    columns = (c * y + middle[1] + 1).astype(dtype)[:, :, None] + (d * x).astype(dtype)[:, None, :]
    np.clip(rows, 0, height + 1, out=rows)
    np.clip(columns, 0, width + 1, out=columns)
    top, left = np.minimum(rows.astype(np.intp), height), np.minimum(columns.astype(np.intp), width)
    rows -= top  # now the weights of the lower and of the right pixels
    columns -= left
    bordered = np.full((n, channels, height + 2, width + 2), fill, dtype)
    bordered[:, :, 1:-1, 1:-1] = images
    flat, size = bordered.reshape(-1), (height + 2) * (width + 2)
    place = top * (width + 2) + left + (np.arange(n) * (channels * size))[:, None, None]
    for k in range(channels):
        below = place + (width + 2)
        upper, lower = flat.take(place), flat.take(below)
        upper += (flat.take(place + 1) - upper) * columns
        lower += (flat.take(below + 1) - lower) * columns
        lower -= upper
        lower *= rows
        np.add(upper, lower, out=out[:, k])
        place += size


def span(name: str, argument: str, value: Any, middle: float = 0.0) -> tuple[float, float]:
    """The range of a number about ``middle``, or of a pair."""
    if isinstance(value, (tuple, list)):
        if len(value) == 2 and value[0] <= value[1]:
            return float(value[0]), float(value[1])
        raise ArgumentError(f"[{name}] {argument} is {value!r}, expected a number or a range (low, high)")
    half = at_least(name, argument, value, 0)
    return middle - half, middle + half


def pair(name: str, argument: str, value: Any) -> tuple[int, int] | None:
    """A size as (height, width)."""
    if value is None:
        return None
    sizes = value if isinstance(value, (tuple, list)) else (value, value)
    if len(sizes) != 2 or any(isinstance(v, bool) or not hasattr(v, "__index__") or v < 1 for v in sizes):
        raise ArgumentError(f"[{name}] {argument} is {value!r}, expected a positive integer or two (height, width)")
    return int(sizes[0]), int(sizes[1])
