"""The loss room. ``reduction`` is "mean", "sum", or "none" for the loss of each element. Cross-entropy is in softmax."""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor
from ._axes import same_shape
from ._op import OpCall, op
from ._widened import widened
from .elementwise import abs, clip, exp, log, log1p, maximum, sigmoid
from .softmax import known_reduction, reduced


def loss(call: OpCall) -> None:
    """Have an op check its two tensors and its reduction."""

    @call.checks
    def _(x: Any, target: Any, *, reduction: str) -> None:
        known_reduction(call.__name__, reduction)
        same_shape(call.__name__, x=x, target=target)


def shared(g: Any, x: Any, reduction: str) -> Any:
    """The gradient of each element's loss, from that of their reduction."""
    return g / x.size if reduction == "mean" else g


@op(promote="float")
@widened
def mse(x: Tensor, target: Tensor, *, reduction: str = "mean") -> Any:
    """The squared error, ``(x - target)²``. Errors: ShapeError if the shapes differ.

    >>> mse(Tensor([1.0, 2.0]), Tensor([1.0, 4.0]))
    tensor(2.)
    """
    d = x - target
    return reduced(d * d, reduction)


mse.vjp(
    x=lambda g, x, target, reduction: shared(g, x, reduction) * 2 * (x - target),
    target=lambda g, x, target, reduction: shared(g, x, reduction) * 2 * (target - x),
)


@op(promote="float")
@widened
def bce(x: Tensor, target: Tensor, *, reduction: str = "mean") -> Any:
    """The cross-entropy of probabilities ``x`` with targets from 0 to 1: ``-t log(x) - (1 - t) log(1 - x)``.

    Each logarithm counts as at least -100, as in PyTorch. Errors: ShapeError if the shapes differ.

    >>> bce(Tensor([0.5, 1.0]), Tensor([1.0, 1.0]))
    tensor(0.3466)
    """
    return reduced(-(target * clip(log(x), min=-100.0) + (1 - target) * clip(log1p(-x), min=-100.0)), reduction)


bce.vjp(
    x=lambda g, x, target, reduction: shared(g, x, reduction) * ((x - target) / maximum((1 - x) * x, 1e-12)),
    target=lambda g, x, reduction: shared(g, x, reduction) * (clip(log1p(-x), min=-100.0) - clip(log(x), min=-100.0)),
)


@op(promote="float")
@widened
def bce_with_logits(x: Tensor, target: Tensor, *, reduction: str = "mean") -> Any:
    """``bce(sigmoid(x), target)``, exact for scores ``x`` of any size. Errors: ShapeError if the shapes differ.

    >>> bce_with_logits(Tensor([0.0, 1000.0]), Tensor([1.0, 1.0]))
    tensor(0.3466)
    """
    return reduced(maximum(x, 0) - x * target + log1p(exp(-abs(x))), reduction)


bce_with_logits.vjp(
    x=lambda g, x, target, reduction: shared(g, x, reduction) * (sigmoid(x) - target),
    target=lambda g, x, reduction: -shared(g, x, reduction) * x,
)

for _call in (mse, bce, bce_with_logits):
    loss(_call)
