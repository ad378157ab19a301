"""The loss room. ``reduction`` is "mean", "sum", or "none" for the loss of each element. Cross-entropy is in softmax."""

from __future__ import annotations

import math
from typing import Any

from ..domain.errors import ShapeError
from ..tensor import Tensor
from ._axes import same_shape
from ._op import OpCall, op
from ._widened import widened
from .elementwise import abs, clip, exp, log, log1p, maximum, minimum, sigmoid, where
from .reduce import sum
from .shape import unsqueeze
from .softmax import known_reduction, reduced


def loss(call: OpCall) -> None:
    """Have an op check its two tensors and its reduction."""

    @call.checks
    def _(x: Any, target: Any, *, reduction: str, **rest: Any) -> None:
        known_reduction(call.__name__, reduction)
        same_shape(call.__name__, x=x, target=target)


def shared(g: Any, x: Any, reduction: str) -> Any:
    """The gradient of each element's loss, from that of their reduction."""
    return g / x.size if reduction == "mean" else g


@op(promote="float")
@widened
def mse(x: Tensor, target: Tensor, *, reduction: str = "mean") -> Any:
    """The squared error, ``(x - target)²``. Errors: ShapeError if the shapes differ.

    Formula: ``y = (x - target)**2``. Gradient: ``dx = 2 * g * (x - target)``, ``dtarget = -dx``. Shapes: any, both the
    same; ``y`` is (), with "none" as ``x``.

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

    Formula: ``y = -target * log(x) - (1 - target) * log(1 - x)``. Gradient: ``dx = g * (x - target) / (x * (1 - x))``,
    ``dtarget = g * (log(1 - x) - log(x))``. Shapes: as in ``mse``.

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
def bce_with_logits(x: Tensor, target: Tensor, pos_weight: Tensor | None = None, *, reduction: str = "mean") -> Any:
    """``bce(sigmoid(x), target)``, exact for scores ``x`` of any size. Errors: ShapeError if the shapes differ.

    ``pos_weight``, which broadcasts to ``x``, weighs what the yes in ``target`` costs: more than 1 for rare ones.

    Formula: ``y = w t softplus(-x) + (1 - t) softplus(x)``, t = target, w = pos_weight. Gradient:
    ``dx = g · ((1 - t) σ(x) - w t σ(-x))``, σ - t without w. Shapes: as in ``mse``.

    >>> bce_with_logits(Tensor([0.0, 1000.0]), Tensor([1.0, 1.0]))
    tensor(0.3466)
    """
    if pos_weight is None:
        return reduced(maximum(x, 0) - x * target + log1p(exp(-abs(x))), reduction)
    weight = 1 + (pos_weight - 1) * target
    return reduced((1 - target) * x + weight * (log1p(exp(-abs(x))) + maximum(-x, 0)), reduction)


def weighing(target: Any, pos_weight: Any) -> Any:
    """What each element's sigmoid(-x) costs."""
    return 1 if pos_weight is None else 1 + (pos_weight - 1) * target


@bce_with_logits.vjp("x")
def _(g: Any, x: Any, target: Any, pos_weight: Any, reduction: str) -> Any:
    slope = sigmoid(x) - target if pos_weight is None else 1 - target - weighing(target, pos_weight) * sigmoid(-x)
    return shared(g, x, reduction) * slope


@bce_with_logits.vjp("target")
def _(g: Any, x: Any, pos_weight: Any, reduction: str) -> Any:
    slope = -x if pos_weight is None else (pos_weight - 1) * softplus(-x) - x
    return shared(g, x, reduction) * slope


@bce_with_logits.vjp("pos_weight")
def _(g: Any, x: Any, target: Any, reduction: str) -> Any:
    return shared(g, x, reduction) * target * softplus(-x)


def softplus(x: Any) -> Any:
    """``log(1 + exp(x))``."""
    return maximum(x, 0) + log1p(exp(-abs(x)))


@bce_with_logits.checks
def _(x: Any, target: Any, pos_weight: Any, *, reduction: str) -> None:
    known_reduction("bce_with_logits", reduction)
    same_shape("bce_with_logits", x=x, target=target)
    if pos_weight is not None and not broadcasts(pos_weight.shape, x.shape):
        raise ShapeError(
            f"[bce_with_logits] pos_weight has shape {pos_weight.shape}, which does not broadcast to {x.shape}"
        )


def broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    """Whether a tensor of ``shape`` takes the shape ``to``."""
    return len(shape) <= len(to) and all(m in (1, n) for m, n in zip(shape[::-1], to[::-1], strict=False))


@op(promote="float")
@widened
def mae(x: Tensor, target: Tensor, *, reduction: str = "mean") -> Any:
    """The absolute error, ``|x - target|``. Errors: ShapeError if the shapes differ.

    Formula: ``y = abs(x - target)``. Gradient: ``dx = g * sign(x - target)``, ``dtarget = -dx``. Shapes: as in ``mse``.

    >>> mae(Tensor([1.0, 2.0]), Tensor([1.0, 4.0]))
    tensor(1.)
    """
    return reduced(abs(x - target), reduction)


@op(promote="float")
@widened
def huber(x: Tensor, target: Tensor, *, delta: float = 1.0, reduction: str = "mean") -> Any:
    """Half the squared error up to ``delta``, and beyond it a line (Huber, 1964): ``delta (|d| - delta / 2)``.

    Formula: ``y = where(abs(d) > delta, delta * (abs(d) - delta / 2), d * d / 2)``, ``d = x - target``. Gradient:
    ``dx = g * clip(d, min=-delta, max=delta)``, ``dtarget = -dx``. Shapes: as in ``mse``.

    >>> huber(Tensor([0.0, 0.0]), Tensor([1.0, 3.0]), reduction="none")
    tensor([0.5, 2.5])
    """
    d = abs(x - target)
    near = minimum(d, delta)
    return reduced(near * (d - 0.5 * near), reduction)


@op(promote="float")
@widened
def smooth_l1(x: Tensor, target: Tensor, *, beta: float = 1.0, reduction: str = "mean") -> Any:
    """``huber(delta=beta) / beta``: for small ``beta`` the absolute error (Girshick, 2015). It is that for 0.

    Formula: ``y = where(abs(d) < beta, d * d / (2 * beta), abs(d) - beta / 2)``, ``d = x - target``. Gradient:
    ``dx = g * clip(d / beta, min=-1, max=1)``, ``dtarget = -dx``. Shapes: as in ``mse``.

    >>> smooth_l1(Tensor([0.0, 0.0]), Tensor([1.0, 3.0]), beta=2.0, reduction="none")
    tensor([0.25, 2.  ])
    """
    d = abs(x - target)
    if not beta:
        return reduced(d, reduction)
    near = minimum(d, beta)
    return reduced(near * (d - 0.5 * near) / beta, reduction)


@op(promote="float")
@widened
def log_cosh(x: Tensor, target: Tensor, *, reduction: str = "mean") -> Any:
    """``log(cosh(x - target))``: the squared error, halved, near 0, and the absolute one far from it.

    Formula: ``y = log(cosh(x - target))``. Gradient: ``dx = g * tanh(x - target)``, ``dtarget = -dx``. Shapes: as in
    ``mse``.

    >>> log_cosh(Tensor([0.0, 0.0]), Tensor([0.1, 1000.0]), reduction="none")
    tensor([4.9917e-03, 9.9931e+02])
    """
    d = abs(x - target)
    return reduced(d + log1p(exp(-2 * d)) - math.log(2), reduction)


@op(promote="float")
@widened
def poisson_nll(
    x: Tensor, target: Tensor, *, log_input: bool = True, full: bool = False, eps: float = 1e-8, reduction: str = "mean"
) -> Any:
    """How unlikely counts are under Poisson distributions of rates ``exp(x)``: ``exp(x) - target x``.

    Without ``log_input`` the rates are ``x``: ``x - target log(x + eps)``. ``full`` adds Stirling's approximation of
    ``log(target!)`` where it is above 1.

    Formula: ``y = exp(x) - target · x``. Gradient: ``dx = g · (exp(x) - target)``; without ``log_input``
    ``g · (1 - target / (x + eps))``. Shapes: as in ``mse``.

    >>> poisson_nll(Tensor([0.0, 1.0]), Tensor([1.0, 2.0]), reduction="none")
    tensor([1.    , 0.7183])
    """
    losses = exp(x) - target * x if log_input else x - target * log(x + eps)
    if full:
        large = maximum(target, 1.0)
        losses = losses + where(target > 1, large * log(large) - large + 0.5 * log(2 * math.pi * large), 0.0)
    return reduced(losses, reduction)


@op(promote="float")
@widened
def gaussian_nll(
    x: Tensor, target: Tensor, var: Tensor, *, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Any:
    """How unlikely ``target`` is under normal distributions of means ``x`` and variances ``var``, which broadcast to x.

    ``(log(var) + (x - target)² / var) / 2``, with ``var`` at least ``eps``, though its gradient is that at ``eps`` below;
    ``full`` adds ``log(2 pi) / 2``. A ``var`` that lacks the last axis of x is one for all of that axis.

    Formula: ``y = (log(v) + d² / v) / 2``, d = x - target, v = max(var, eps). Gradient: ``dx = g d / v``,
    ``dtarget = -g d / v``, ``dvar = g (1 - d² / v) / (2 v)``. Shapes: as in ``mse``.

    >>> gaussian_nll(Tensor([0.0, 0.0]), Tensor([1.0, 2.0]), Tensor([1.0, 4.0]), reduction="none")
    tensor([0.5   , 1.1931])
    """
    if var.ndim and var.shape == x.shape[:-1]:
        var = unsqueeze(var, axis=-1)
    fixed = var.detach()
    size, d = maximum(fixed, eps) + (var - fixed), x - target
    losses = 0.5 * (log(size) + d * d / size)
    return reduced(losses + 0.5 * math.log(2 * math.pi) if full else losses, reduction)


@gaussian_nll.checks
def _(x: Any, target: Any, var: Any, *, reduction: str, **rest: Any) -> None:
    known_reduction("gaussian_nll", reduction)
    same_shape("gaussian_nll", x=x, target=target)
    if not broadcasts(var.shape, x.shape) and var.shape != x.shape[:-1]:
        raise ShapeError(f"[gaussian_nll] var has shape {var.shape}, which does not broadcast to {x.shape}")


@op(promote="float")
@widened
def kl_div(x: Tensor, target: Tensor, *, log_target: bool = False, reduction: str = "mean") -> Any:
    """The Kullback-Leibler divergence of log-probabilities ``x`` from ``target``: ``target (log(target) - x)``.

    ``target`` are probabilities, or with ``log_target`` their logarithms. "mean" is over elements, "batchmean", which the
    mathematical definition means, over the first axis.

    Formula: ``y = t · (log(t) - x)``, t = target. Gradient: ``dx = -g · t``, ``dtarget = g · (log(t) + 1 - x)``. Shapes: as
    in ``mse``.

    >>> kl_div(Tensor([[0.5, 0.5]]).log(), Tensor([[1.0, 0.0]]), reduction="batchmean")
    tensor(0.6931)
    """
    if log_target:
        losses = exp(target) * (target - x)
    else:
        some = target > 0
        losses = where(some, target * log(where(some, target, 1.0)), 0.0) - target * x
    return sum(losses) / x.shape[0] if reduction == "batchmean" else reduced(losses, reduction)


@kl_div.checks
def _(x: Any, target: Any, *, reduction: str, **rest: Any) -> None:
    if reduction != "batchmean":
        known_reduction("kl_div", reduction)
    elif not x.ndim:
        raise ShapeError("[kl_div] x is a number, which has no batch to take the mean over")
    same_shape("kl_div", x=x, target=target)


def way(target: Any) -> Any:
    """1 for yes, -1 for no (0 or less)."""
    return where(target > 0, 1.0, -1.0)


@op(promote="float")
@widened
def hinge(x: Tensor, target: Tensor, *, reduction: str = "mean") -> Any:
    """``max(0, 1 - target x)`` of scores ``x``; ``target`` is 1, or -1 or 0 for no.

    Formula: ``y = relu(1 - t * x)``, ``t = where(target > 0, 1.0, -1.0)``. Gradient: ``dx = -g * t * (t * x < 1)``. Shapes:
    as in ``mse``.

    >>> hinge(Tensor([0.5, 0.5, 2.0]), Tensor([1.0, -1.0, 1.0]), reduction="none")
    tensor([0.5, 1.5, 0. ])
    """
    return reduced(maximum(1 - way(target) * x, 0.0), reduction)


@op(promote="float")
@widened
def squared_hinge(x: Tensor, target: Tensor, *, reduction: str = "mean") -> Any:
    """The square of ``hinge``.

    Formula: ``y = relu(1 - t * x)**2``, ``t = where(target > 0, 1.0, -1.0)``. Gradient:
    ``dx = -2 * g * t * relu(1 - t * x)``. Shapes: as in ``mse``.

    >>> squared_hinge(Tensor([0.5, 0.5, 2.0]), Tensor([1.0, -1.0, 1.0]), reduction="none")
    tensor([0.25, 2.25, 0.  ])
    """
    short = maximum(1 - way(target) * x, 0.0)
    return reduced(short * short, reduction)


@op(promote="float")
@widened
def focal(x: Tensor, target: Tensor, *, alpha: float | None = 0.25, gamma: float = 2.0, reduction: str = "mean") -> Any:
    """``bce_with_logits`` in which what is right already counts little (Lin et al., 2017): times ``(1 - p)^gamma``.

    ``p`` is the probability that scores ``x`` give to ``target``, 0 or 1 for each. A yes weighs ``alpha`` and a no
    ``1 - alpha``; with None both weigh 1.

    Formula: ``y = -α_t (1 - p_t)^gamma log(p_t)``, p_t = σ(x) for 1, σ(-x) for 0. Gradient:
    ``dx = ±g α_t (1 - p_t)^gamma (gamma p_t log(p_t) + p_t - 1)``, + for 1. Shapes: as in ``mse``.

    >>> focal(Tensor([0.0, 1.0]), Tensor([1.0, 1.0]), alpha=None, reduction="none")
    tensor([0.1733, 0.0227])
    """
    p = sigmoid(x)
    wrong = p + target - 2 * p * target
    losses = (softplus(x) - x * target) * wrong**gamma
    return reduced(losses if alpha is None else losses * (1 - alpha + (2 * alpha - 1) * target), reduction)


@op(promote="float")
@widened
def dice(x: Tensor, target: Tensor, *, smooth: float = 1.0, reduction: str = "mean") -> Any:
    """``1 - (2 sum(x target) + smooth) / (sum(x) + sum(target) + smooth)``: how little two masks overlap (Milletari, 2016).

    ``x`` are probabilities (n, channels, d, …), summed over d, …; or (n, d), summed over d.

    Formula: ``1 - (2 Σ x t + s) / (Σ x + Σ t + s)``, t = target, s = smooth. Gradient: ``dx = -g (2 t D - N) / D²``, N and
    D what is divided, and by what. Shapes: ``y`` is (), with "none" (n, channels) or (n,).

    >>> dice(Tensor([[1.0, 0.0, 1.0]]), Tensor([[1.0, 0.0, 0.0]]))
    tensor(0.25)
    """
    over = tuple(range(min(2, x.ndim - 1), x.ndim))
    both = sum(x * target, axis=over)
    return reduced(1 - (2 * both + smooth) / (sum(x, axis=over) + sum(target, axis=over) + smooth), reduction)


for _call in (mse, bce, mae, log_cosh, hinge, squared_hinge, huber, smooth_l1, poisson_nll, focal, dice):
    loss(_call)
