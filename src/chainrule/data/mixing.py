"""Transformations that leave parts out or mix images with one another: Cutout, RandomErasing, MixUp, CutMix."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..domain.errors import ArgumentError, ShapeError
from ..random import Generator, default_generator
from ..tensor import Tensor, from_array
from .geometry import span
from .samplers import whole
from .splitting import one_hot
from .transforms import Transform, at_least, back, working


class Cutout(Transform):
    """Squares of ``size`` pixels filled with ``fill``, ``holes`` in each image (DeVries and Taylor, 2017).

    The centre is any pixel, so a square may be cut by the border.

    >>> int((Cutout(2)(np.ones((1, 1, 9, 9), np.uint8)) == 0).sum()) in (1, 2, 4)
    True
    """

    def __init__(self, size: int, *, holes: int = 1, fill: float = 0) -> None:
        self.size, self.holes, self.fill = whole("Cutout", "size", size, 1), whole("Cutout", "holes", holes, 1), fill

    def apply(self, images: Any, generator: Generator) -> Any:
        n, _, height, width = images.shape
        out = images.copy()
        for _ in range(self.holes):
            rows, columns = (generator.integers(0, m, (n,)).numpy() - self.size // 2 for m in (height, width))
            inside = boxes(height, width, rows, rows + self.size, columns, columns + self.size)
            np.copyto(out, np.asarray(self.fill, images.dtype), where=inside)
        return out


class RandomErasing(Transform):
    """With probability ``p`` a rectangle of each image filled with ``fill``, or with ``fill="random"`` by noise: uniform
    from 0 to 255 for uint8, else normal (Zhong et al., 2017).

    Its area is a share of the image from the range ``scale``, height by width from the range ``ratio``; one that would
    be larger than a side is cut there.

    >>> RandomErasing(p=1.0)(np.ones((2, 3, 32, 32), np.float32)).min()
    np.float32(0.0)
    """

    def __init__(
        self,
        p: float = 0.5,
        *,
        scale: tuple[float, float] = (0.02, 0.33),
        ratio: tuple[float, float] = (0.3, 3.3),
        fill: float | str = 0,
    ) -> None:
        self.p = at_least("RandomErasing", "p", p, 0, 1)
        self.scale, self.ratio = span("RandomErasing", "scale", scale), span("RandomErasing", "ratio", ratio)
        self.fill = fill
        if (
            not 0 < self.scale[0] <= self.scale[1] <= 1
            or self.ratio[0] <= 0
            or isinstance(fill, str)
            and fill != "random"
        ):
            raise ArgumentError(
                f"[RandomErasing] scale={scale}, ratio={ratio}, fill={fill!r}: expected 0 < scale <= 1, ratio > 0, and a "
                'number or "random" to fill with'
            )

    def apply(self, images: Any, generator: Generator) -> Any:
        n, _, height, width = images.shape
        u = generator.uniform((5, n), "float64").numpy()
        area = (self.scale[0] + (self.scale[1] - self.scale[0]) * u[0]) * (height * width)
        low, high = np.log(self.ratio)
        ratio = np.exp(low + (high - low) * u[1])
        h = np.clip(np.rint(np.sqrt(area * ratio)), 1, height).astype(np.int64)
        w = np.clip(np.rint(np.sqrt(area / ratio)), 1, width).astype(np.int64)
        top, left = (u[2] * (height - h + 1)).astype(np.int64), (u[3] * (width - w + 1)).astype(np.int64)
        h[u[4] >= self.p] = 0
        inside = boxes(height, width, top, top + h, left, left + w)
        if self.fill != "random":
            return np.where(inside, np.asarray(self.fill, images.dtype), images)
        if images.dtype == np.uint8:
            return np.where(inside, generator.integers(0, 256, images.shape).numpy().astype(np.uint8), images)
        noise = generator.normal(images.shape, str(working(images))).numpy()
        return np.where(inside, noise.astype(images.dtype), images)


class MixUp:
    """Each sample mixed with another of the batch: ``l x + (1 - l) x'``, and likewise the labels, with l of
    Beta(alpha, alpha) (Zhang et al., 2018).

    ``x`` (n, ...) is uint8 or floating; ``y`` are classes (n,) or shares (n, num_classes), and become float32 shares
    that cross-entropy takes. Every sample has its own l.

    >>> x, y = MixUp(2)(np.array([[0.0], [1.0]], np.float32), np.array([0, 1]), generator=Generator(1))
    >>> np.allclose(x[:, 0], y[:, 1]), y.sum(axis=1).tolist()
    (True, [1.0, 1.0])
    """

    def __init__(self, num_classes: int, alpha: float = 1.0) -> None:
        self.num_classes = whole(type(self).__name__, "num_classes", num_classes, 2)
        self.alpha = at_least(type(self).__name__, "alpha", alpha, 1e-3)

    def __call__(self, x: Any, y: Any, *, generator: Generator | None = None) -> tuple[Any, Any]:
        generator = default_generator() if generator is None else generator
        images = x.numpy() if isinstance(x, Tensor) else np.asarray(x)
        labels = y.numpy() if isinstance(y, Tensor) else np.asarray(y)
        if labels.ndim == 1:
            labels = one_hot(labels, self.num_classes)
        if labels.shape != (len(images), self.num_classes):
            raise ShapeError(
                f"[{type(self).__name__}] y has shape {labels.shape}, expected ({len(images)},) or "
                f"({len(images)}, {self.num_classes})"
            )
        partner = generator.permutation(len(images)).numpy()
        share = beta(self.alpha, len(images), generator)
        mixed, share = self.mixed(images, images[partner], share, generator)
        kept = share[:, None].astype(np.float32)
        soft = labels * kept + labels[partner] * (1 - kept)
        return (
            from_array(mixed) if isinstance(x, Tensor) else mixed,
            from_array(soft) if isinstance(y, Tensor) else soft,
        )

    def mixed(self, images: Any, others: Any, share: Any, generator: Generator) -> tuple[Any, Any]:
        """The mixed images, and the share of the first in each."""
        kept = share.reshape(-1, *(1,) * (images.ndim - 1)).astype(working(images))
        return back(images * kept + others * (1 - kept), images.dtype), share

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.num_classes}, alpha={self.alpha})"


class CutMix(MixUp):
    """A rectangle of each image replaced by that of another of the batch, labels in proportion to the areas (Yun et al.,
    2019). Arguments, labels and results are those of MixUp; images are (n, channels, height, width).

    >>> x, y = CutMix(10)(np.zeros((4, 3, 32, 32), np.uint8), np.arange(4))
    >>> x.dtype, y.shape
    (dtype('uint8'), (4, 10))
    """

    def mixed(self, images: Any, others: Any, share: Any, generator: Generator) -> tuple[Any, Any]:
        if images.ndim != 4:
            raise ShapeError(
                f"[CutMix] the batch has shape {images.shape}, expected images (n, channels, height, width)"
            )
        n, _, height, width = images.shape
        side = np.sqrt(1 - share)
        ends = []
        for size in (height, width):
            centre, half = generator.integers(0, size, (n,)).numpy(), (size * side).astype(np.int64) // 2
            ends += [np.maximum(centre - half, 0), np.minimum(centre + half, size)]
        inside = boxes(height, width, *ends)
        return np.where(inside, others, images), 1 - inside.mean(axis=(1, 2, 3))


def boxes(height: int, width: int, top: Any, bottom: Any, left: Any, right: Any) -> Any:
    """True in the rectangle of each image, (n, 1, height, width)."""
    rows, columns = np.arange(height), np.arange(width)
    down = (rows >= top[:, None]) & (rows < bottom[:, None])
    across = (columns >= left[:, None]) & (columns < right[:, None])
    return (down[:, :, None] & across[:, None, :])[:, None]


def beta(alpha: float, n: int, generator: Generator) -> Any:
    """``n`` numbers of Beta(alpha, alpha), float64: G / (G + G') of two gamma numbers, by their logarithms."""
    logs = log_gamma_draws(alpha, 2 * n, generator)
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(logs[n:] - logs[:n]))


def log_gamma_draws(alpha: float, n: int, generator: Generator) -> Any:
    """Logarithms of ``n`` numbers of Gamma(alpha): Gamma(alpha + 1) by Marsaglia and Tsang (2000) times U**(1 / alpha)."""
    d = alpha + 1 - 1 / 3
    c, found = 1 / np.sqrt(9 * d), np.empty(0)
    while len(found) < n:
        z = generator.normal((n,), "float64").numpy()
        u = 1 - generator.uniform((n,), "float64").numpy()
        v = np.maximum(1 + c * z, 1e-90) ** 3
        good = (1 + c * z > 0) & (np.log(u) < 0.5 * z * z + d - d * v + d * np.log(v))
        found = np.concatenate([found, np.log(d * v[good])])
    u = 1 - generator.uniform((n,), "float64").numpy()
    return found[:n] + np.log(u) / alpha
