"""Positions of a sequence: what tells attention, which sees a set, where in the sequence things are."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from ..domain.errors import ArgumentError, ShapeError
from ..launch import create
from ..ops.attention import rotary
from ..ops.elementwise import cos, sin
from ..ops.shape import reshape, stack
from ..tensor import Tensor
from .layer import Layer, count
from .parameter import Parameter
from .registry import register


@lru_cache(maxsize=16)
def waves(t: int, features: int, base: float, offset: int, dtype: str, backend: Any) -> tuple[Tensor, Tensor]:
    """Cosines and sines of position times ``base ** (-2 i / features)``, each (t, features / 2); computed in float64.

    >>> c, s = waves(2, 4, 100.0, 1, "float32", Tensor([0.0]).backend)
    >>> s
    tensor([[0.8415, 0.0998],
            [0.9093, 0.1987]])
    """
    positions, pairs = (
        create("arange", backend, {"start": a, "stop": b, "step": step, "dtype": "float64"})
        for a, b, step in ((offset, offset + t, 1), (0, features, 2))
    )
    turned = reshape(positions, shape=(t, 1)) * base ** (pairs / -features)
    return cos(turned).to(dtype), sin(turned).to(dtype)


def even(layer: str, x: Tensor, features: int | None) -> int:
    """The number of features of x, (..., t, features). Errors: ShapeError if it is odd, or not ``features``."""
    if x.ndim < 2:
        raise ShapeError(f"{layer}: x has shape {x.shape}, expected (..., t, features)")
    size: int = x.shape[-1]
    if features is not None and size != features:
        raise ShapeError(f"{layer}: x has {size} features (axis -1 of {x.shape}) but the layer {features}")
    if size % 2:
        raise ShapeError(f"{layer}: x has {size} features (axis -1 of {x.shape}), and they go in pairs: an even number")
    return size


class Waves(Layer):
    """What the layers without parameters have in common: the base of their wave lengths."""

    follows_as = None

    def __init__(self, base: float = 10000.0) -> None:
        if not base > 1:
            raise ArgumentError(f"{type(self).__name__}: base is {base!r}, expected a number above 1")
        self.base = base

    def _waves(self, x: Tensor, size: int, offset: int) -> tuple[Tensor, Tensor]:
        """The cosines and sines of the angles of x's positions, each (t, size / 2)."""
        return waves(x.shape[-2], size, self.base, offset, x.dtype, x.backend)


@register
class SinusoidalPositions(Waves):
    """``x`` plus sines and cosines of the position, of wave lengths from 2π to 2π · ``base`` (Vaswani et al., 2017).

    ``x`` is (..., t, features), with features 2i the sine and 2i + 1 the cosine of ``position · base^(-2i/features)``.
    ``offset`` is the position of the first of x. Nothing is learned. Errors: ShapeError for an odd number of features.

    >>> import chainrule as cr
    >>> SinusoidalPositions()(cr.zeros(2, 2))
    tensor([[0.    , 1.    ],
            [0.8415, 0.5403]])
    """

    def forward(self, x: Tensor, *, offset: int = 0) -> Tensor:
        """See the class."""
        size = even("SinusoidalPositions", x, None)
        c, s = self._waves(x, size, offset)
        y: Tensor = x + reshape(stack(s, c, axis=-1), shape=(x.shape[-2], size))
        return y


@register
class RotaryEmbedding(Waves):
    """Queries or keys turned by their positions: features i and i + d/2 by ``position · base^(-2i/d)`` (Su et al., 2021).

    ``x`` is (..., t, d) with an even d; ``offset`` is the position of its first row. The scores of what is turned depend on
    distances alone. ``MultiHeadAttention(rotary=True)`` does it inside.

    >>> import chainrule as cr
    >>> RotaryEmbedding()(cr.ones(2, 2))
    tensor([[ 1.    ,  1.    ],
            [-0.3012,  1.3818]])
    """

    def forward(self, x: Tensor, *, offset: int = 0) -> Tensor:
        """See the class."""
        c, s = self._waves(x, even("RotaryEmbedding", x, None), offset)
        y: Tensor = rotary(x, c, s)
        return y


@register
class LearnedPositions(Layer):
    """``x`` plus a learned vector for each position (Gehring et al., 2017).

    ``x`` is (..., t, features) with t at most ``max_length``; ``offset`` is the position of its first row. ``features`` may
    be left out and is then taken from the first input. Errors: ShapeError for a longer sequence.

    >>> import chainrule as cr
    >>> LearnedPositions(16)(cr.zeros(3, 10, 8)).shape
    (3, 10, 8)
    """

    follows_as = None

    def __init__(
        self, max_length: int, features: int | None = None, *, std: float = 0.02, dtype: str = "float32"
    ) -> None:
        self.max_length = count("LearnedPositions", "max_length", max_length)
        if features is not None:
            count("LearnedPositions", "features", features)
        self.std = std
        init = {"name": "normal", "std": std}
        self.weight = Parameter(shape=(max_length, features), init=init, dtype=dtype, name="weight")

    @property
    def features(self) -> int | None:
        """The number of features, or None until it is known."""
        return self.weight.sizes[1]

    @property
    def dtype(self) -> str:
        """The dtype of the weight."""
        return self.weight.dtype

    def forward(self, x: Tensor, *, offset: int = 0) -> Tensor:
        """See the class."""
        if x.ndim < 2 or (self.weight.is_built and x.shape[-1] != self.weight.shape[1]):
            raise ShapeError(
                f"LearnedPositions: x has shape {x.shape}, expected (..., t, {self.features or 'features'})"
            )
        last = offset + x.shape[-2]
        if offset < 0 or last > self.max_length:
            raise ShapeError(
                f"LearnedPositions: x has positions {offset} to {last - 1} (axis -2 of {x.shape}), and the layer knows 0 to "
                f"{self.max_length - 1}: give it a larger max_length, or shorter sequences"
            )
        if not self.weight.is_built:
            self.weight.build((self.max_length, x.shape[-1]))
        return x + self.weight[offset:last]
