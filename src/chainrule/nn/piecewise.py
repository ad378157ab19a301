"""Activations made of pieces of lines, as layers."""

from __future__ import annotations

from ..domain.errors import ArgumentError
from ..ops.activation import (
    hardshrink,
    hardsigmoid,
    hardswish,
    hardtanh,
    prelu,
    relu6,
    softshrink,
    threshold,
)
from ..tensor import Tensor
from . import init as initializers
from .layer import Activation, Layer, count
from .parameter import Parameter
from .registry import register


@register
class ReLU6(Activation):
    """``x`` inside of [0, 6], else the nearer limit.

    >>> import chainrule as cr
    >>> ReLU6()(cr.tensor([-1.0, 2.0, 9.0]))
    tensor([0., 2., 6.])
    """

    follows_as = "relu"
    function = staticmethod(relu6)


@register
class HardTanh(Activation):
    """``x`` inside of [min_val, max_val], else the nearer limit.

    >>> import chainrule as cr
    >>> HardTanh()(cr.tensor([-2.0, 0.5, 2.0]))
    tensor([-1. ,  0.5,  1. ])
    """

    function = staticmethod(hardtanh)

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0) -> None:
        if min_val > max_val:
            raise ArgumentError(f"HardTanh: min_val {min_val} is above max_val {max_val}; give the lower limit first")
        self.min_val, self.max_val = min_val, max_val


@register
class HardSigmoid(Activation):
    """``relu6(x + 3) / 6``.

    >>> import chainrule as cr
    >>> HardSigmoid()(cr.tensor([-4.0, 0.0, 1.5]))
    tensor([0.  , 0.5 , 0.75])
    """

    function = staticmethod(hardsigmoid)


@register
class HardSwish(Activation):
    """``x * relu6(x + 3) / 6`` (Howard et al., 2019).

    >>> import chainrule as cr
    >>> HardSwish()(cr.tensor([0.0, 3.0, 6.0]))
    tensor([0., 3., 6.])
    """

    follows_as = "relu"
    function = staticmethod(hardswish)


@register
class Threshold(Activation):
    """``x`` where it is above ``threshold``, elsewhere ``value``.

    >>> import chainrule as cr
    >>> Threshold(0.5, -1.0)(cr.tensor([0.1, 0.5, 1.0]))
    tensor([-1., -1.,  1.])
    """

    follows_as = "relu"
    function = staticmethod(threshold)

    def __init__(self, threshold: float, value: float) -> None:
        self.threshold, self.value = threshold, value


class Shrink(Activation):
    """What Softshrink and Hardshrink have in common."""

    def __init__(self, lambd: float = 0.5) -> None:
        if lambd < 0:
            raise ArgumentError(f"{type(self).__name__}: lambd is {lambd}; it should be 0 or more")
        self.lambd = lambd


@register
class Softshrink(Shrink):
    """``x`` nearer to 0 by ``lambd``, and 0 where it is not as far from it.

    >>> import chainrule as cr
    >>> Softshrink()(cr.tensor([-2.0, 0.25, 2.0]))
    tensor([-1.5,  0. ,  1.5])
    """

    function = staticmethod(softshrink)


@register
class Hardshrink(Shrink):
    """``x``, but 0 where it is within ``lambd`` of 0.

    >>> import chainrule as cr
    >>> Hardshrink()(cr.tensor([-2.0, 0.25, 2.0]))
    tensor([-2.,  0.,  2.])
    """

    function = staticmethod(hardshrink)


@register
class PReLU(Layer):
    """``x`` where it is positive, elsewhere ``weight * x``, with a weight that is trained (He et al., 2015).

    ``num_parameters`` is 1, one weight for all, or the number of channels (axis 1 of x), a weight for each; ``init`` is
    what they begin with. Errors: ShapeError if x has another number of channels.

    >>> import chainrule as cr
    >>> PReLU()(cr.tensor([-1.0, 2.0])).tolist()
    [-0.25, 2.0]
    """

    weight: Parameter

    def __init__(self, num_parameters: int = 1, init: float = 0.25, *, dtype: str = "float32") -> None:
        self.num_parameters, self.init = count("PReLU", "num_parameters", num_parameters), init
        first = initializers.get("constant", value=init)
        self.weight = Parameter(shape=(num_parameters,), init=first, dtype=dtype, name="weight")
        self.follows_as = f"relu:{init}"

    @property
    def dtype(self) -> str:
        """The dtype of the weight."""
        return self.weight.dtype

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        y: Tensor = prelu(x, self.weight)
        return y
