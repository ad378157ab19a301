"""Activations that bend smoothly, and gates, as layers."""

from __future__ import annotations

from ..domain.errors import ArgumentError
from ..ops.activation import celu, elu, glu, logsigmoid, maxout, mish, selu, silu, softplus, softsign, swiglu
from .layer import Activation, count
from .registry import register


@register
class ELU(Activation):
    """``x`` where it is positive, elsewhere ``alpha * (exp(x) - 1)`` (Clevert, Unterthiner and Hochreiter, 2015).

    >>> import chainrule as cr
    >>> ELU()(cr.tensor([-1.0, 2.0]))
    tensor([-0.6321,  2.    ])
    """

    follows_as = "relu"
    function = staticmethod(elu)

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = alpha


@register
class CELU(Activation):
    """``x`` where it is positive, elsewhere ``alpha * (exp(x / alpha) - 1)`` (Barron, 2017).

    >>> import chainrule as cr
    >>> CELU(2.0)(cr.tensor([-1.0, 2.0]))
    tensor([-0.7869,  2.    ])
    """

    follows_as = "relu"
    function = staticmethod(celu)

    def __init__(self, alpha: float = 1.0) -> None:
        if alpha == 0:
            raise ArgumentError("CELU: alpha is 0, and x is divided by it; give another number")
        self.alpha = alpha


@register
class SELU(Activation):
    """``1.0507 * elu(x, alpha=1.6733)``, which keeps mean 0 and variance 1 (Klambauer et al., 2017).

    It does so after layers with ``init="lecun_normal"``, and with ``AlphaDropout``.

    >>> import chainrule as cr
    >>> SELU()(cr.tensor([-1.0, 1.0]))
    tensor([-1.1113,  1.0507])
    """

    function = staticmethod(selu)


@register
class SiLU(Activation):
    """``x * sigmoid(x)``; ``Swish`` is the same class.

    >>> import chainrule as cr
    >>> SiLU()(cr.tensor([-1.0, 1.0]))
    tensor([-0.2689,  0.7311])
    """

    follows_as = "relu"
    function = staticmethod(silu)


Swish = SiLU


@register
class Mish(Activation):
    """``x * tanh(log(1 + exp(x)))`` (Misra, 2019).

    >>> import chainrule as cr
    >>> Mish()(cr.tensor([-1.0, 1.0]))
    tensor([-0.3034,  0.8651])
    """

    follows_as = "relu"
    function = staticmethod(mish)


@register
class Softplus(Activation):
    """``log(1 + exp(beta x)) / beta``; ``x`` itself where ``beta x`` is above ``threshold``.

    >>> import chainrule as cr
    >>> Softplus()(cr.tensor([0.0, 100.0]))
    tensor([  0.6931, 100.    ])
    """

    follows_as = "relu"
    function = staticmethod(softplus)

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        if beta == 0:
            raise ArgumentError("Softplus: beta is 0, and the result is divided by it; give another number")
        self.beta, self.threshold = beta, threshold


@register
class Softsign(Activation):
    """``x / (1 + |x|)``.

    >>> import chainrule as cr
    >>> Softsign()(cr.tensor([1.0, -3.0]))
    tensor([ 0.5 , -0.75])
    """

    function = staticmethod(softsign)


@register
class LogSigmoid(Activation):
    """``log(sigmoid(x))``, without its overflow.

    >>> import chainrule as cr
    >>> LogSigmoid()(cr.tensor([-1000.0, 0.0]))
    tensor([-1.0000e+03, -6.9315e-01])
    """

    function = staticmethod(logsigmoid)


@register
class GLU(Activation):
    """Of the halves a and b of an axis, ``a * sigmoid(b)`` (Dauphin et al., 2016).

    >>> import chainrule as cr
    >>> GLU()(cr.tensor([1.0, 2.0, 0.0, 100.0]))
    tensor([0.5, 2. ])
    """

    function = staticmethod(glu)

    def __init__(self, axis: int = -1) -> None:
        self.axis = axis


@register
class SwiGLU(Activation):
    """Of the halves a and b of an axis, ``silu(a) * b`` (Shazeer, 2020): after a Linear of twice the width.

    >>> import chainrule as cr
    >>> SwiGLU()(cr.tensor([0.0, 100.0, 3.0, 2.0]))
    tensor([  0., 200.])
    """

    function = staticmethod(swiglu)

    def __init__(self, axis: int = -1) -> None:
        self.axis = axis


@register
class Maxout(Activation):
    """The largest of every ``pieces`` neighbours along an axis (Goodfellow et al., 2013).

    >>> import chainrule as cr
    >>> Maxout(2)(cr.tensor([[1.0, 5.0, 2.0, 0.0]]))
    tensor([[5., 2.]])
    """

    function = staticmethod(maxout)

    def __init__(self, pieces: int, axis: int = 1) -> None:
        self.pieces, self.axis = count("Maxout", "pieces", pieces), axis
