"""Activations as layers."""

from __future__ import annotations

from ..domain.errors import ArgumentError, unknown
from ..ops.activation import gelu, leaky_relu, relu
from ..ops.elementwise import sigmoid, tanh
from ..ops.softmax import log_softmax, softmax
from ..tensor import Tensor
from .layer import Activation, Layer
from .registry import register


@register
class ReLU(Layer):
    """``x`` where it is positive, elsewhere 0."""

    follows_as = "relu"

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        y: Tensor = relu(x)
        return y


@register
class LeakyReLU(Layer):
    """``x`` where it is positive, elsewhere ``negative_slope * x``.

    >>> import chainrule as cr
    >>> LeakyReLU(0.1)(cr.tensor([-1.0, 1.0]))
    tensor([-0.1,  1. ])
    """

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = negative_slope
        self.follows_as = f"relu:{negative_slope}"

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        y: Tensor = leaky_relu(x, negative_slope=self.negative_slope)
        return y


@register
class GELU(Layer):
    """Gaussian error linear unit; ``approximate="tanh"`` is its usual approximation."""

    follows_as = "relu"

    def __init__(self, approximate: str = "none") -> None:
        if approximate not in ("none", "tanh"):
            raise unknown("approximation of GELU", approximate, ["none", "tanh"])
        self.approximate = approximate

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        y: Tensor = gelu(x, approximate=self.approximate)
        return y


@register
class Sigmoid(Layer):
    """``1 / (1 + exp(-x))``: a score as a probability."""

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        y: Tensor = sigmoid(x)
        return y


@register
class Tanh(Layer):
    """The hyperbolic tangent."""

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        y: Tensor = tanh(x)
        return y


@register
class Softmax(Layer):
    """Scores as probabilities: positive, with sum 1 along ``axis``.

    At the end of a compiled Sequential it is left out of the training step where the loss is cross-entropy, which works
    on the scores themselves.

    The scores are divided by ``temperature`` before: above 1 the probabilities get more alike, below less.

    >>> import chainrule as cr
    >>> Softmax()(cr.tensor([[0.0, 0.0]]))
    tensor([[0.5, 0.5]])
    """

    def __init__(self, axis: int = -1, temperature: float = 1.0) -> None:
        if not temperature > 0:
            raise ArgumentError(f"Softmax: temperature is {temperature!r}, expected a positive number")
        self.axis, self.temperature = axis, temperature

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        y: Tensor = softmax(x if self.temperature == 1 else x * (1 / self.temperature), axis=self.axis)
        return y


@register
class LogSoftmax(Activation):
    """The logarithm of ``Softmax``, without its rounding to 0.

    >>> import chainrule as cr
    >>> LogSoftmax()(cr.tensor([0.0, 1000.0]))
    tensor([-1000.,     0.])
    """

    function = staticmethod(log_softmax)

    def __init__(self, axis: int = -1) -> None:
        self.axis = axis
