"""Layers that make images larger: Upsample, PixelShuffle; and smaller: PixelUnshuffle."""

from __future__ import annotations

from typing import Any

from ..domain.errors import ArgumentError, unknown
from ..ops._resize import interpolate, pixel_shuffle, pixel_unshuffle
from ..tensor import Tensor
from .layer import Activation, Layer, count
from .registry import register


@register
class Upsample(Layer):
    """Images (n, c, h, w) or sequences (n, c, length) in another size: "nearest", "linear" (sequences) or "bilinear".

    Either ``size`` or ``scale_factor``, a number or one for each axis. ``align_corners`` as in ``interpolate``.

    >>> import chainrule as cr
    >>> Upsample(scale_factor=2)(cr.tensor([[[[1.0, 2.0]]]]))
    tensor([[[[1., 1., 2., 2.],
              [1., 1., 2., 2.]]]])
    """

    follows_as = None

    def __init__(
        self, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool = False
    ) -> None:
        if mode not in ("nearest", "linear", "bilinear"):
            raise unknown("mode of Upsample", mode, ["nearest", "linear", "bilinear"])
        if (size is None) == (scale_factor is None):
            raise ArgumentError(f"Upsample: size is {size} and scale_factor {scale_factor}; give one of the two")
        if align_corners and mode == "nearest":
            raise ArgumentError("Upsample: align_corners goes with the modes linear and bilinear, not with nearest")
        self.size, self.scale_factor, self.mode, self.align_corners = size, scale_factor, mode, align_corners

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        options = {"mode": self.mode, "align_corners": self.align_corners}
        y: Tensor = interpolate(x, size=self.size, scale_factor=self.scale_factor, **options)
        return y


@register
class PixelShuffle(Activation):
    """Channels as pixels: (n, c r², h, w) becomes (n, c, h r, w r), r the ``upscale_factor`` (Shi et al., 2016).

    >>> import chainrule as cr
    >>> PixelShuffle(2)(cr.zeros(1, 8, 3, 3)).shape
    (1, 2, 6, 6)
    """

    follows_as = None
    function = staticmethod(pixel_shuffle)

    def __init__(self, upscale_factor: int) -> None:
        self.upscale_factor = count("PixelShuffle", "upscale_factor", upscale_factor)


@register
class PixelUnshuffle(Activation):
    """Pixels as channels: (n, c, h r, w r) becomes (n, c r², h, w), r the ``downscale_factor``.

    >>> import chainrule as cr
    >>> PixelUnshuffle(2)(cr.zeros(1, 2, 6, 6)).shape
    (1, 8, 3, 3)
    """

    follows_as = None
    function = staticmethod(pixel_unshuffle)

    def __init__(self, downscale_factor: int) -> None:
        self.downscale_factor = count("PixelUnshuffle", "downscale_factor", downscale_factor)
