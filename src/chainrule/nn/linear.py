"""The fully connected layer."""

from __future__ import annotations

from typing import Any

from ..domain.errors import unknown
from ..ops.gemm import ACTIVATIONS, linear
from ..tensor import Tensor
from .layer import Weighted, count, given_init, suitable
from .parameter import Parameter
from .registry import register


@register
class Linear(Weighted):
    """``x @ weight.T + bias``: every output a weighted sum of all inputs.

    ``x`` is (..., in_features), the result (..., out_features); ``weight`` is (out_features, in_features), ``bias``
    (out_features,) begins with zeros. One size alone is the output's, ``Linear(10)``: the input's is then taken from
    the first input. ``activation`` is "relu", "sigmoid", "tanh", "gelu" or "silu", applied in the same pass over memory;
    others follow as layers. ``init`` names the initializer of the weight (``nn.init``); without it, it suits the
    activation, or the one that follows in a Sequential. Errors: ShapeError if x has another number of features.

    >>> import chainrule as cr
    >>> layer = Linear(10)
    >>> layer(cr.zeros(3, 784)).shape, layer
    ((3, 10), Linear(in_features=784, out_features=10))
    """

    bias: Parameter | None

    def __init__(
        self,
        in_features: int | None = None,
        out_features: int | None = None,
        bias: bool = True,
        *,
        activation: str | None = None,
        init: Any = None,
        dtype: str = "float32",
    ) -> None:
        if out_features is None:
            in_features, out_features = None, in_features
        self.out_features = count("Linear", "out_features", out_features)
        if in_features is not None:
            count("Linear", "in_features", in_features)
        if activation is not None and activation not in ACTIVATIONS:
            raise unknown("activation of Linear", activation, ACTIVATIONS)
        self.activation, self.init = activation, given_init(init)
        first = self.init or suitable(self._kind("linear"))
        self.weight = Parameter(shape=(self.out_features, in_features), init=first, dtype=dtype, name="weight")
        self.bias = Parameter(shape=(self.out_features,), dtype=dtype, name="bias") if bias else None

    @property
    def in_features(self) -> int | None:
        """The number of inputs, or None until it is known."""
        return self.weight.sizes[1]

    def suit(self, activation: str) -> None:
        """Initialize for the layer's own activation, or else for the one that follows."""
        super().suit(self._kind(activation))

    def _kind(self, following: str) -> str:
        if self.activation is None:
            return following
        return "relu" if self.activation in ("relu", "gelu", "silu") else "linear"

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        if self.weight.pending is not None and not self.weight.is_built and x.shape:
            self.weight.build((self.out_features, x.shape[-1]))
        y: Tensor = linear(x, self.weight, self.bias, activation=self.activation)
        return y
