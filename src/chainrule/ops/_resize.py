"""Images made larger or smaller, of the shape room: pixel_shuffle and interpolate."""

from __future__ import annotations

import math
from typing import Any

from ..domain.errors import ArgumentError, ArgumentTypeError, ShapeError, unknown
from ..tensor import Tensor
from ._op import op
from ._widened import widened
from .index import index
from .memory import like
from .shape import permute, reshape


@op
def pixel_shuffle(x: Tensor, *, upscale_factor: int) -> Any:
    """Channels as pixels: (n, c r², h, w) becomes (n, c, h r, w r), r the ``upscale_factor`` (Shi et al., 2016).

    Errors: ShapeError if r² does not divide the channels.

    Formula: ``y[n, c, h r + i, w r + j] = x[n, c r² + i r + j, h, w]``. Gradient:
    ``dx = pixel_unshuffle(g, downscale_factor=upscale_factor)``. Shapes: as above.

    >>> pixel_shuffle(Tensor([[[[1.0]], [[2.0]], [[3.0]], [[4.0]]]]), upscale_factor=2)
    tensor([[[[1., 2.],
              [3., 4.]]]])
    """
    (n, c, h, w), r = x.shape, upscale_factor
    y = permute(reshape(x, shape=(n, c // (r * r), r, r, h, w)), axes=(0, 1, 4, 2, 5, 3))
    return reshape(y, shape=(n, c // (r * r), h * r, w * r))


@pixel_shuffle.checks
def _(x: Any, *, upscale_factor: int) -> None:
    images("pixel_shuffle", x)
    factor("pixel_shuffle", "upscale_factor", upscale_factor)
    if x.shape[1] % (upscale_factor * upscale_factor):
        raise ShapeError(
            f"[pixel_shuffle] x has {x.shape[1]} channels (axis 1 of {x.shape}), which upscale_factor {upscale_factor} "
            "squared does not divide"
        )


@op
def pixel_unshuffle(x: Tensor, *, downscale_factor: int) -> Any:
    """Pixels as channels: (n, c, h r, w r) becomes (n, c r², h, w), what ``pixel_shuffle`` undoes.

    Errors: ShapeError if r does not divide height and width.

    Formula: ``y[n, c r² + i r + j, h, w] = x[n, c, h r + i, w r + j]``. Gradient:
    ``dx = pixel_shuffle(g, upscale_factor=downscale_factor)``. Shapes: as above.

    >>> pixel_unshuffle(Tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), downscale_factor=2).flatten()
    tensor([1., 2., 3., 4.])
    """
    (n, c, h, w), r = x.shape, downscale_factor
    y = permute(reshape(x, shape=(n, c, h // r, r, w // r, r)), axes=(0, 1, 3, 5, 2, 4))
    return reshape(y, shape=(n, c * r * r, h // r, w // r))


@pixel_unshuffle.checks
def _(x: Any, *, downscale_factor: int) -> None:
    images("pixel_unshuffle", x)
    factor("pixel_unshuffle", "downscale_factor", downscale_factor)
    if x.shape[2] % downscale_factor or x.shape[3] % downscale_factor:
        raise ShapeError(
            f"[pixel_unshuffle] downscale_factor {downscale_factor} does not divide height and width of x, {x.shape}"
        )


def images(name: str, x: Any) -> None:
    """Raise unless ``x`` has the four axes of images."""
    if x.ndim != 4:
        raise ShapeError(f"[{name}] x has shape {x.shape}; images are (n, channels, height, width)")


def factor(name: str, key: str, value: Any) -> None:
    """Raise unless ``value`` is a positive integer."""
    if not hasattr(value, "__index__") or value < 1:
        raise ArgumentError(f"[{name}] {key} is {value!r}, expected a positive integer")


MODES = {"nearest": (1, 2), "linear": (1,), "bilinear": (2,)}  # and the numbers of axes they are for


@op
@widened
def interpolate(
    x: Tensor, *, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool = False
) -> Any:
    """Images (n, c, h, w) or sequences (n, c, length) in another size: of "nearest" elements, or "linear" / "bilinear".

    Either ``size`` or ``scale_factor`` is given, a number or one for each axis; the size is then that of x times the
    factor, rounded down. Elements are taken for small areas; with ``align_corners`` for points, the corners staying where
    they are. Errors: ArgumentError; ShapeError.

    Formula: ``y[i] = Σ w x[j]`` over one or two neighbours j of each axis, w = 1 for "nearest", 1 - distance for "linear".
    Gradient: ``dx[j] = Σ w g[i]``. Shapes: (n, c, h, w) → (n, c, p, q); (n, c, h) → (n, c, p).

    >>> interpolate(Tensor([[[1.0, 3.0]]]), size=4)
    tensor([[[1., 1., 3., 3.]]])
    >>> interpolate(Tensor([[[1.0, 3.0]]]), size=4, mode="linear")
    tensor([[[1. , 1.5, 2.5, 3. ]]])
    """
    for axis, m in enumerate(size, 2):
        n = x.shape[axis]
        ratio = 1 / scale_factor[axis - 2] if scale_factor else n / m
        around = (slice(None),) * axis
        if mode == "nearest":
            x = index(
                x, like(x, [min(math.floor(i * ratio), n - 1) for i in range(m)]), pattern=(*around, "tensor", ...)
            )
            continue
        if align_corners:
            places = [i * (n - 1) / (m - 1) if m > 1 else 0.0 for i in range(m)]
        else:
            places = [max((i + 0.5) * ratio - 0.5, 0.0) for i in range(m)]
        before = [min(int(p), n - 1) for p in places]
        shares = reshape(
            like(x, [p - b for p, b in zip(places, before, strict=True)], x.dtype),
            shape=(m, *(1,) * (x.ndim - axis - 1)),
        )
        low = index(x, like(x, before), pattern=(*around, "tensor", ...))
        high = index(x, like(x, [min(b + 1, n - 1) for b in before]), pattern=(*around, "tensor", ...))
        x = low * (1 - shares) + high * shares
    return x


@interpolate.normalises
def _(x: Any, *, size: Any, scale_factor: Any, mode: str, align_corners: bool) -> dict[str, Any]:
    axes = x.ndim - 2
    if axes not in (1, 2) or not all(x.shape[2:]):
        raise ShapeError(f"[interpolate] x has shape {x.shape}; it should be (n, c, length) or (n, c, height, width)")
    if mode not in MODES:
        raise unknown("mode of interpolate", mode, [*MODES])
    if axes not in MODES[mode]:
        raise ArgumentError(f"[interpolate] mode {mode!r} is not for x of shape {x.shape}: give one of nearest, "
                            + ("linear" if axes == 1 else "bilinear"))  # fmt: skip
    if align_corners and mode == "nearest":
        raise ArgumentError("[interpolate] align_corners goes with the modes linear and bilinear, not with nearest")
    if (size is None) == (scale_factor is None):
        raise ArgumentError(f"[interpolate] size is {size} and scale_factor {scale_factor}; give one of the two")
    given = scale_factor if size is None else size
    values = tuple(given) if isinstance(given, (tuple, list)) else (given,) * axes
    if len(values) != axes or not all(isinstance(v, (int, float)) for v in values):
        raise ArgumentTypeError(f"[interpolate] {given!r} should be a number, or {axes} of them for x of {x.shape}")
    found = tuple([math.floor(n * v) if size is None else int(v) for n, v in zip(x.shape[2:], values, strict=True)])
    if min(found) < 1:
        raise ArgumentError(f"[interpolate] the size would be {found}, but at least 1 is needed")
    factors = tuple([float(v) for v in values]) if size is None and not align_corners else None
    return {"size": found, "scale_factor": factors}


@interpolate.checks
def _(x: Any, *, size: Any, scale_factor: Any, mode: str, align_corners: bool) -> None:
    if size is None:
        raise ArgumentError("[interpolate] neither size nor scale_factor is given; give one of the two")
