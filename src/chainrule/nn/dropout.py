"""Dropout."""

from __future__ import annotations

from ..domain.errors import ArgumentError
from ..ops.random import dropout
from ..random import default_generator
from ..tensor import Tensor
from .layer import Layer
from .registry import register


@register
class Dropout(Layer):
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

    follows_as = None

    def __init__(self, p: float = 0.5) -> None:
        if not 0 <= p <= 1:
            raise ArgumentError(f"Dropout: p is {p!r}, expected a probability, from 0 to 1")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        if not self.training or self.p == 0:
            return x
        generator = default_generator(x.device)
        with generator.lock:
            y: Tensor = dropout(x, generator.state, p=self.p)[0]
        return y
