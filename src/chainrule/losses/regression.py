"""Losses of numbers and of distributions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..domain.errors import ArgumentError
from ..nn.registry import register
from ..ops.loss import gaussian_nll, huber, kl_div, log_cosh, mae, mse, poisson_nll, smooth_l1
from .base import Elementwise, Loss


@register
class MSE(Elementwise):
    """The squared error, ``(x - target)²``.

    >>> import chainrule as cr
    >>> MSE()(cr.tensor([1.0, 2.0]), cr.tensor([1.0, 4.0]))
    tensor(2.)
    """

    function = staticmethod(mse)


@register
class SSE(MSE):
    """The sum of squared errors over the batch: ``MSE("sum")``.

    >>> import chainrule as cr
    >>> SSE()(cr.tensor([1.0, 2.0]), cr.tensor([2.0, 4.0]))
    tensor(5.)
    """

    def __init__(self) -> None:
        super().__init__("sum")


def sse(x: Any, target: Any) -> Any:
    """The sum of squared errors.

    >>> import chainrule as cr
    >>> sse(cr.tensor([1.0, 2.0]), cr.tensor([2.0, 4.0]))
    tensor(5.)
    """
    return mse(x, target, reduction="sum")


setattr(sse, "reduction", "sum")  # noqa: B010  # fit reports it by sample, as SSE


@register
class MAE(Elementwise):
    """The absolute error, ``|x - target|``.

    >>> import chainrule as cr
    >>> MAE()(cr.tensor([1.0, 2.0]), cr.tensor([1.0, 4.0]))
    tensor(1.)
    """

    function = staticmethod(mae)


@register
class Huber(Elementwise):
    """Half the squared error up to ``delta``, and beyond it a line: ``delta (|d| - delta / 2)`` (Huber, 1964).

    >>> import chainrule as cr
    >>> Huber()(cr.tensor([0.0, 0.0]), cr.tensor([1.0, 3.0]))
    tensor(1.5)
    """

    function = staticmethod(huber)
    options = ("delta",)

    def __init__(self, delta: float = 1.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        if not delta > 0:
            raise ArgumentError(f"Huber: delta is {delta!r}, expected a positive number")
        self.delta = delta


@register
class SmoothL1(Elementwise):
    """``Huber(beta) / beta``: for small ``beta`` the absolute error, and for 0 just that (Girshick, 2015).

    >>> import chainrule as cr
    >>> SmoothL1(beta=2.0)(cr.tensor([0.0, 0.0]), cr.tensor([1.0, 3.0]))
    tensor(1.125)
    """

    function = staticmethod(smooth_l1)
    options = ("beta",)

    def __init__(self, beta: float = 1.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        if not beta >= 0:
            raise ArgumentError(f"SmoothL1: beta is {beta!r}, expected 0 or more")
        self.beta = beta


@register
class LogCosh(Elementwise):
    """``log(cosh(x - target))``: the squared error, halved, near 0, and the absolute one far from it.

    >>> import chainrule as cr
    >>> LogCosh()(cr.tensor([0.0]), cr.tensor([1000.0], dtype="float64"))
    tensor(999.3069, dtype=float64)
    """

    function = staticmethod(log_cosh)


@register
class PoissonNLL(Elementwise):
    """How unlikely counts are under Poisson distributions of rates ``exp(x)``, or ``x`` without ``log_input``.

    ``full`` adds Stirling's approximation of ``log(target!)``.

    >>> import chainrule as cr
    >>> PoissonNLL()(cr.tensor([0.0, 1.0]), cr.tensor([1.0, 2.0]))
    tensor(0.8591)
    """

    function = staticmethod(poisson_nll)
    options = ("log_input", "full", "eps")

    def __init__(self, log_input: bool = True, full: bool = False, eps: float = 1e-8, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.log_input, self.full, self.eps = log_input, full, eps


@register
class KLDiv(Elementwise):
    """The Kullback-Leibler divergence of log-probabilities ``x`` from ``target``: ``target (log(target) - x)``.

    ``target`` are probabilities, or their logarithms with ``log_target``. "mean" is over elements; the reduction
    "batchmean", over the first axis, is the mathematical definition.

    >>> import chainrule as cr
    >>> KLDiv("batchmean")(cr.tensor([[0.5, 0.5]]).log(), cr.tensor([[1.0, 0.0]]))
    tensor(0.6931)
    """

    function = staticmethod(kl_div)
    options = ("log_target",)
    reductions = ("mean", "batchmean", "sum", "none")

    def __init__(self, reduction: str = "mean", log_target: bool = False) -> None:
        super().__init__(reduction)
        self.log_target = log_target

    def count(self, x: Any, target: Any) -> Any:
        """See Loss."""
        return x.shape[0] if self.reduction == "batchmean" else None


@register
class GaussianNLL(Loss):
    """How unlikely ``target`` is under normal distributions of means ``x`` and variances ``var``, which broadcast to x.

    ``(log(var) + (x - target)² / var) / 2``, with ``var`` at least ``eps``; ``full`` adds ``log(2 pi) / 2``.

    >>> import chainrule as cr
    >>> GaussianNLL()(cr.tensor([0.0, 0.0]), cr.tensor([1.0, 2.0]), cr.tensor([1.0, 4.0]))
    tensor(0.8466)
    """

    takes = (2, 1)

    def __init__(self, full: bool = False, eps: float = 1e-6, reduction: str = "mean") -> None:
        super().__init__(reduction)
        if not eps > 0:
            raise ArgumentError(f"GaussianNLL: eps is {eps!r}, expected a positive number")
        self.full, self.eps = full, eps

    def measure(self, x: Any, target: Any, var: Any, reduction: str) -> Any:
        """See Loss."""
        return gaussian_nll(x, target, var, full=self.full, eps=self.eps, reduction=reduction)

    def arguments(self, outputs: Sequence[Any], targets: Sequence[Any]) -> Sequence[Any]:
        """The mean, the target, the variance."""
        return outputs[0], *targets, *outputs[1:]

    def forward(self, x: Any, target: Any, var: Any, sample_weight: Any = None) -> Any:  # type: ignore[override]
        """See the class."""
        return self.reduced((x, target, var), sample_weight)
