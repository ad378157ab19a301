"""Transformations of whole batches in NumPy: the base of all, and those that work on values.

Each works on images (n, channels, height, width), uint8 or floating, keeps their shape and dtype, and leaves the other
arrays of the batch, such as labels, as they are. Random numbers come from a ``Generator``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..domain.errors import ArgumentError, DTypeError, ShapeError
from ..random import Generator, default_generator
from ..tensor import Tensor, from_array
from .collate import as_parts, takes_generator


class Transform:
    """The base: a subclass has ``apply(images, generator)``, which gives new images and does not write into the given.

    ``transform(x)`` gives images, ``transform(x, y)`` a tuple. Given to ``DataLoader(..., transform=)`` or
    ``ArrayDataset(..., transform=)`` it gets a generator of its own for each batch; without one it draws from the
    default generator. Errors: ShapeError, DTypeError if the first array is not a batch of images.

    >>> class Darker(Transform):
    ...     def apply(self, images, generator):
    ...         return images // 2
    >>> Darker()(np.full((1, 1, 1, 2), 9, np.uint8)).tolist()
    [[[[4, 4]]]]
    """

    def __call__(self, x: Any, *others: Any, generator: Generator | None = None) -> Any:
        images = self.checked(x)
        found = self.apply(images, default_generator() if generator is None else generator)
        if isinstance(x, Tensor):
            found = from_array(found)
        return (found, *others) if others else found

    def apply(self, images: Any, generator: Generator) -> Any:
        """The new images, float32, float64 or uint8 (n, channels, height, width)."""
        raise NotImplementedError(f"{type(self).__name__} has no apply(images, generator)")

    def checked(self, x: Any) -> Any:
        """``x`` as an array of images."""
        images = x.numpy() if isinstance(x, Tensor) else np.asarray(x)
        if images.ndim != 4:
            raise ShapeError(
                f"[{type(self).__name__}] the batch has shape {images.shape}, expected images (n, channels, height, width)"
            )
        if images.dtype != np.uint8 and images.dtype.kind != "f":
            raise DTypeError(f"[{type(self).__name__}] the images have dtype {images.dtype}, expected uint8 or a float")
        return images

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in vars(self).items() if not name.startswith("_"))
        return f"{type(self).__name__}({options})"


class Compose:
    """Transformations one after the other; functions of the arrays of a batch may be among them.

    >>> halved = Compose([Normalize(0.0, 2.0), lambda x, y: (x, y + 1)])
    >>> x, y = halved(np.ones((1, 1, 1, 2), np.float32), np.array([3]))
    >>> x.tolist(), y.tolist()
    ([[[[0.5, 0.5]]]], [4])
    """

    def __init__(self, transforms: Sequence[Callable[..., Any]]) -> None:
        for t in transforms:
            if not callable(t):
                raise ArgumentError(f"[Compose] {t!r} cannot be called: give transformations or functions")
        self.transforms = list(transforms)

    def __call__(self, *arrays: Any, generator: Generator | None = None) -> Any:
        for t in self.transforms:
            arrays = transformed(t, arrays, generator)
        return arrays if len(arrays) > 1 else arrays[0]

    def __repr__(self) -> str:
        return f"Compose({self.transforms!r})"


def transformed(
    transform: Callable[..., Any] | None, arrays: tuple[Any, ...], generator: Generator | None
) -> tuple[Any, ...]:
    """What ``transform`` makes of the arrays of a batch, which stay as they are without one; it gets the generator if it
    has a parameter for it."""
    if transform is None:
        return arrays
    if takes_generator(transform):
        return as_parts(transform(*arrays, generator=generator))
    return as_parts(transform(*arrays))


class Normalize(Transform):
    """``(x - mean) / std`` for each channel; ``mean`` and ``std`` are numbers, or one number for each channel.

    uint8 images become float32 and count as 0 to 1, so the usual means and deviations fit both kinds.

    >>> Normalize(0.5, 0.5)(np.array([[[[0, 255]]]], np.uint8)).tolist()
    [[[[-1.0, 1.0]]]]
    """

    def __init__(self, mean: float | Sequence[float], std: float | Sequence[float]) -> None:
        self.mean, self.std = mean, std
        self._mean, self._std = (np.atleast_1d(np.asarray(v, np.float64))[:, None, None] for v in (mean, std))
        if self._mean.ndim != 3 or self._std.ndim != 3 or not (self._std > 0).all():
            raise ArgumentError(
                f"[Normalize] mean={mean}, std={std}: expected numbers, or one for each channel, std > 0"
            )

    def apply(self, images: Any, generator: Generator) -> Any:
        for name, values in (("mean", self._mean), ("std", self._std)):
            if len(values) not in (1, images.shape[1]):
                raise ShapeError(
                    f"[Normalize] {name} has {len(values)} numbers, but the images have {images.shape[1]} channels"
                )
        dtype = np.dtype(np.float32) if images.dtype == np.uint8 else images.dtype
        scale = 1.0 / (self._std * (255.0 if images.dtype == np.uint8 else 1.0))
        out = np.multiply(images, scale.astype(dtype), dtype=dtype)
        out -= (self._mean / self._std).astype(dtype)
        return out


class GaussianNoise(Transform):
    """Normal noise with the deviation ``std`` added to each value; for uint8, ``std`` counts in 0 to 255 and sums are
    rounded and clipped.

    >>> GaussianNoise(0.0)(np.ones((1, 1, 1, 2), np.float32)).tolist()
    [[[[1.0, 1.0]]]]
    """

    def __init__(self, std: float) -> None:
        self.std = at_least("GaussianNoise", "std", std, 0)

    def apply(self, images: Any, generator: Generator) -> Any:
        dtype = working(images)
        noise = generator.normal(images.shape, str(dtype)).numpy()
        return back(images + noise * dtype.type(self.std), images.dtype)


class ColorJitter(Transform):
    """Brightness, contrast and saturation of each image times a factor drawn from ``[max(0, 1 - value), 1 + value]``.

    In this order: brightness scales values, contrast scales differences from the mean grey of the image, saturation
    (three channels) differences from the grey of the pixel. Values stay in 0 to 255 (uint8) or 0 to 1: put it before
    ``Normalize``.

    >>> ColorJitter(brightness=0.0)(np.full((1, 1, 1, 2), 0.5, np.float32)).tolist()
    [[[[0.5, 0.5]]]]
    """

    def __init__(self, brightness: float = 0.0, contrast: float = 0.0, saturation: float = 0.0) -> None:
        self.brightness = at_least("ColorJitter", "brightness", brightness, 0)
        self.contrast = at_least("ColorJitter", "contrast", contrast, 0)
        self.saturation = at_least("ColorJitter", "saturation", saturation, 0)

    def apply(self, images: Any, generator: Generator) -> Any:
        dtype, top = working(images), 255 if images.dtype == np.uint8 else 1
        values = [self.brightness, self.contrast, self.saturation]
        u = generator.uniform((3, len(images)), "float64").numpy()
        factors = [(max(0.0, 1 - v) + u[k] * (1 + v - max(0.0, 1 - v))).astype(dtype) for k, v in enumerate(values)]
        brightness, contrast, saturation = (f[:, None, None, None] for f in factors)
        out = images.astype(dtype)
        if self.brightness:
            out *= brightness
            np.clip(out, 0, top, out=out)
        if self.contrast:
            blend(out, grey(out).mean(axis=(2, 3), keepdims=True, dtype=np.float64).astype(dtype), contrast, top)
        if self.saturation and images.shape[1] == 3:
            blend(out, grey(out), saturation, top)
        return back(out, images.dtype)


def grey(images: Any) -> Any:
    """The luminance (n, 1, height, width) of colours (ITU-R BT.601); the mean of other numbers of channels."""
    if images.shape[1] != 3:
        return images.mean(axis=1, keepdims=True)
    red, green, blue = images[:, 0], images[:, 1], images[:, 2]
    found = red * images.dtype.type(0.299)
    found += green * images.dtype.type(0.587)
    found += blue * images.dtype.type(0.114)
    return found[:, None]


def blend(images: Any, other: Any, factor: Any, top: float) -> None:
    """Scale the difference of ``images`` from ``other`` in place, within 0 to ``top``."""
    images -= other
    images *= factor
    images += other
    np.clip(images, 0, top, out=images)


def working(images: Any) -> Any:
    """The dtype to compute in: float32 for uint8 and halves."""
    return np.dtype(np.float64 if images.dtype == np.float64 else np.float32)


def back(values: Any, dtype: Any) -> Any:
    """``values`` in ``dtype``; for uint8 rounded, and clipped to 0 to 255."""
    if dtype == np.uint8:
        values = np.clip(np.rint(values), 0, 255)
    return values.astype(dtype, copy=False)


def at_least(name: str, argument: str, value: Any, least: float, most: float = np.inf) -> float:
    """``value`` as a number from ``least`` to ``most``."""
    try:
        if least <= float(value) <= most:
            return value  # type: ignore[no-any-return]
    except (TypeError, ValueError):
        pass
    limits = f"of at least {least:g}" if most == np.inf else f"from {least:g} to {most:g}"
    raise ArgumentError(f"[{name}] {argument} is {value!r}, expected a number {limits}")
