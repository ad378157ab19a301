"""Dropout, of elements, of channels and of whole samples."""

from __future__ import annotations

from ..creation import ones
from ..domain.errors import ArgumentError, ShapeError
from ..ops._smooth import SELU_ALPHA, SELU_SCALE
from ..ops.elementwise import where
from ..ops.random import dropout
from ..random import default_generator
from ..tensor import Tensor
from .layer import Layer
from .registry import register


class Noise(Layer):
    """What the dropouts have in common: a probability, and that nothing happens in eval mode."""

    follows_as = None

    def __init__(self, p: float = 0.5) -> None:
        if not 0 <= p <= 1:
            raise ArgumentError(f"{type(self).__name__}: p is {p!r}, expected a probability, from 0 to 1")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        if not self.training or self.p == 0:
            return x
        generator = default_generator(x.device)
        with generator.lock:
            return self._dropped(x, generator.state)

    def _dropped(self, x: Tensor, state: Tensor) -> Tensor:
        raise NotImplementedError

    def _without(self, x: Tensor, state: Tensor, shape: tuple[int, ...]) -> Tensor:
        """``x`` without parts: a mask of ``shape``, which broadcasts, says which."""
        mask: Tensor = dropout(ones(shape, dtype=x.dtype, device=x.device), state, p=self.p)[0]
        return x * mask


@register
class Dropout(Noise):
    """In training each value is 0 with probability ``p``, and the others are divided by ``1 - p`` (Srivastava et al., 2014).

    In eval mode x is returned as it is. The random numbers are those of the default generator, whose counter is a
    tensor that advances in place.

    >>> import chainrule as cr
    >>> layer = Dropout(0.5)
    >>> kept = layer(cr.ones(10_000)) == 2.0
    >>> 0.48 < kept.astype("float32").mean().item() < 0.52
    True
    >>> layer.eval()(cr.ones(2))
    tensor([1., 1.])
    """

    def _dropped(self, x: Tensor, state: Tensor) -> Tensor:
        y: Tensor = dropout(x, state, p=self.p)[0]
        return y


class ChannelDropout(Noise):
    """What Dropout1d and Dropout2d have in common."""

    ndim = 0
    takes = ""

    def _dropped(self, x: Tensor, state: Tensor) -> Tensor:
        if x.ndim != self.ndim:
            raise ShapeError(f"[dropout] x has shape {x.shape}; {type(self).__name__} takes {self.takes}")
        return self._without(x, state, (*x.shape[:2], *(1,) * (x.ndim - 2)))


@register
class Dropout1d(ChannelDropout):
    """In training each channel of each sample (n, channels, length) is 0 with probability ``p``, else divided by 1 - p.

    Neighbours in a channel are much alike, so that those of a value dropped alone would tell it (Tompson et al., 2015).

    >>> import chainrule as cr
    >>> y = Dropout1d(0.5)(cr.ones(50, 8, 3))
    >>> sorted({*y.sum(axis=2).flatten().tolist()})
    [0.0, 6.0]
    """

    ndim = 3
    takes = "(n, channels, length)"


@register
class Dropout2d(ChannelDropout):
    """Dropout1d for images (n, channels, height, width): each channel of each image is dropped as a whole.

    >>> import chainrule as cr
    >>> y = Dropout2d(0.5)(cr.ones(50, 8, 3, 2))
    >>> sorted({*y.sum(axis=(2, 3)).flatten().tolist()})
    [0.0, 12.0]
    """

    ndim = 4
    takes = "(n, channels, height, width)"


@register
class DropPath(Noise):
    """In training each sample is 0 with probability ``p``, else divided by 1 - p (stochastic depth, Huang et al., 2016).

    For the branch of a residual block: the samples dropped pass beside it.

    >>> import chainrule as cr
    >>> y = DropPath(0.5)(cr.ones(100, 3))
    >>> sorted({*y.sum(axis=1).tolist()})
    [0.0, 6.0]
    """

    def _dropped(self, x: Tensor, state: Tensor) -> Tensor:
        if not x.ndim:
            raise ShapeError("[dropout] x is a number; DropPath takes (n, ...)")
        return self._without(x, state, (x.shape[0], *(1,) * (x.ndim - 1)))


@register
class AlphaDropout(Noise):
    """Dropout that keeps mean 0 and variance 1, for SELU (Klambauer et al., 2017).

    In training each value is -1.7581, the least of SELU, with probability ``p``; then all are scaled and shifted.

    >>> import chainrule as cr
    >>> y = AlphaDropout(0.3)(cr.randn(100_000))
    >>> abs(y.mean().item()) < 0.02 and abs(y.std().item() - 1) < 0.02
    True
    """

    def _dropped(self, x: Tensor, state: Tensor) -> Tensor:
        if self.p == 1:
            return x * 0.0
        low = SELU_SCALE * SELU_ALPHA
        scale = ((1 - self.p) * (1 + self.p * low * low)) ** -0.5
        kept = dropout(x.detach(), state, p=self.p)[1]  # a mask in the memory order of x
        y: Tensor = where(kept, x, -low) * scale + low * scale * self.p
        return y
