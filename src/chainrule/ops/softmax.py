"""The softmax room: from scores to probabilities, and the loss of a classifier."""

from __future__ import annotations

from typing import Any

from ..domain.dtype import FLOAT
from ..domain.errors import ArgumentError, DTypeError, IndexRangeError, ShapeError, unknown
from ..tensor import Tensor
from ._axes import one_axis
from ._op import OpCall, op
from ._widened import wide, widened
from .elementwise import exp, log, where
from .index import gather, get
from .memory import cast
from .reduce import amax, mean, sum
from .shape import reshape, unsqueeze


def largest(x: Any, axis: int) -> Any:
    """The largest score along an axis, as a constant; 0 if there is none."""
    return amax(x.detach(), axis=axis, keepdims=True) if x.shape[axis] else 0.0


@op(promote="float")
@widened
def softmax(x: Tensor, *, axis: int = -1) -> Any:
    """``exp(x) / sum(exp(x))`` along one axis: positive, with sum 1.

    Formula: ``y = exp(x) / sum(exp(x), axis=axis, keepdims=True)``. Gradient:
    ``dx = y * (g - sum(g * y, axis=axis, keepdims=True))``. Shapes: any with an axis; ``y`` as ``x``.

    >>> softmax(Tensor([0.0, 0.0, 1000.0]))
    tensor([0., 0., 1.])
    """
    e = exp(x - largest(x, axis))
    return e / sum(e, axis=axis, keepdims=True)


softmax.vjp(x=lambda g, y, axis: y * (g - sum(g * y, axis=axis, keepdims=True)))


@op(promote="float")
@widened
def log_softmax(x: Tensor, *, axis: int = -1) -> Any:
    """The logarithm of ``softmax``, without its rounding to 0.

    Formula: ``y = x - logsumexp(x, axis=axis, keepdims=True)``. Gradient:
    ``dx = g - exp(y) * sum(g, axis=axis, keepdims=True)``. Shapes: any with an axis; ``y`` as ``x``.

    >>> log_softmax(Tensor([0.0, 1000.0]))
    tensor([-1000.,     0.])
    """
    x = x - largest(x, axis)
    return x - log(sum(exp(x), axis=axis, keepdims=True))


log_softmax.vjp(x=lambda g, y, axis: g - exp(y) * sum(g, axis=axis, keepdims=True))


def over_scores(call: OpCall) -> None:
    """Give an op its canonical axis, and check that there is one."""

    @call.normalises
    def _(x: Any, *, axis: int) -> dict[str, Any]:
        return {"axis": one_axis(call.__name__, axis, x.shape)}

    @call.checks
    def _(x: Any, *, axis: int) -> None:
        if not x.ndim:
            raise ShapeError(f"[{call.__name__}] x is a number; an axis of scores is needed")


over_scores(softmax)
over_scores(log_softmax)


@op
def cross_entropy(
    x: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    ignore_index: int = -100,
) -> Any:
    """``-log softmax(x)[target]``: how unlikely the scores ``x`` make the right classes. Its mean, sum, or none of these.

    ``x`` is (n, classes) or (n, classes, d, ...). ``target`` is the class of each, integers (n, d, ...), where
    ``ignore_index`` does not count; or probabilities (one-hot rows, too) in the shape of ``x``. ``weight`` (classes,)
    weighs the classes; the mean is divided by the weights of the targets. ``label_smoothing`` spreads that share of each
    target evenly over the classes. Errors: ShapeError, DTypeError for float classes, IndexRangeError for a class that x
    lacks.

    Formula: ``yᵢ = -Σ_c w_c q_ic log p_ic``, p = softmax(x), q the (smoothed) target. Gradient:
    ``dx = g · (p Σ_c w_c q_c - w q)``. Shapes: ``y`` is (), with "none" (n, d, …).

    >>> cross_entropy(Tensor([[0.0, 0.0], [0.0, 1.0]]), Tensor([1, 1]))
    tensor(0.5032)
    """
    scores = wide(x)
    logs = log_softmax(scores, axis=1)
    classes = x.shape[1]
    weights = None if weight is None else reshape(cast(weight, dtype=logs.dtype), shape=(-1, *(1,) * (x.ndim - 2)))
    if target.ndim == x.ndim:
        share = cast(target, dtype=logs.dtype)
        if label_smoothing:
            share = share * (1 - label_smoothing) + label_smoothing / classes
        losses = -sum(logs * share if weights is None else logs * share * weights, axis=1)
        total = mean(losses) if reduction == "mean" else reduced(losses, reduction)
    else:
        counted, losses, share = weighed(logs, target, weight, ignore_index)
        if label_smoothing:
            smooth = -sum(logs if weights is None else logs * weights, axis=1)
            smooth = where(counted, smooth, 0.0)
            losses = losses * (1 - label_smoothing) + smooth * (label_smoothing / classes)
        total = sum(losses) / sum(share) if reduction == "mean" else reduced(losses, reduction)
    return total if scores is x else cast(total, dtype=x.dtype)


def weighed(
    logs: Any, target: Any, weight: Any, ignore_index: int, name: str = "cross_entropy"
) -> tuple[Any, Any, Any]:
    """Which targets count; what each costs, times the weight of its class; and that weight."""
    counted = target != ignore_index
    places = where(counted, target, 0)
    losses = -reshape(picked(logs, places, name), shape=target.shape)
    share = cast(counted, dtype=logs.dtype)
    if weight is not None:
        share = share * get(cast(weight, dtype=logs.dtype), places)
    return counted, where(counted, losses * share, 0.0), share


@op
def nll(
    x: Tensor, target: Tensor, weight: Tensor | None = None, *, reduction: str = "mean", ignore_index: int = -100
) -> Any:
    """``-x[target]`` of log-probabilities ``x`` (n, classes, …): ``cross_entropy`` is this of ``log_softmax``.

    ``target`` (n, …) are classes, integers; ``weight`` and ``ignore_index`` as in ``cross_entropy``, and its errors.

    Formula: ``yᵢ = -w_c x_ic`` for c = ``target[i]``. Gradient: ``dx_ic = -g w_c`` there, else 0. Shapes: ``y`` is (), with
    "none" (n, …).

    >>> nll(Tensor([[0.25, 0.75]]).log(), Tensor([1]))
    tensor(0.2877)
    """
    _, losses, share = weighed(wide(x), target, weight, ignore_index, "nll")
    total = sum(losses) / sum(share) if reduction == "mean" else reduced(losses, reduction)
    return cast(total, dtype=x.dtype)


@nll.checks
def _(x: Any, target: Any, weight: Any, *, reduction: str, ignore_index: int) -> None:
    known_reduction("nll", reduction)
    if x.ndim < 2 or target.shape != x.shape[:1] + x.shape[2:]:
        raise ShapeError(
            f"[nll] x has shape {x.shape} and target {target.shape}; they should be (n, classes, …) and (n, …), a class each"
        )
    if target.dtype.category == FLOAT:
        raise DTypeError(f"[nll] target is {target.dtype}; classes are integers: cast it to int64")
    if not x.is_floating:
        raise DTypeError(f"[nll] x is {x.dtype}; log-probabilities are floats: cast it")
    if weight is not None and weight.shape != x.shape[1:2]:
        raise ShapeError(f"[nll] weight has shape {weight.shape} but x {x.shape} has {x.shape[1]} classes")


def picked(logs: Any, target: Any, name: str) -> Any:
    """Of each row of ``logs`` the element of its target."""
    try:
        return gather(logs, unsqueeze(target, axis=1), axis=1)
    except IndexRangeError:
        classes = logs.shape[1]
        row, label = next((i, t) for i, t in enumerate(reshape(target, shape=(-1,)).tolist()) if not 0 <= t < classes)
        raise IndexRangeError(
            f"[{name}] target {label} at row {row} is not a class: x has {classes} classes (0 to {classes - 1})"
        ) from None


def reduced(losses: Any, reduction: str) -> Any:
    """The mean or the sum of losses, or all of them."""
    return mean(losses) if reduction == "mean" else sum(losses) if reduction == "sum" else losses


def known_reduction(op_name: str, reduction: str) -> None:
    """Raise unless ``reduction`` is one."""
    if reduction not in ("mean", "sum", "none"):
        raise unknown(f"reduction of {op_name}", reduction, ["mean", "sum", "none"])


@cross_entropy.checks
def _(x: Any, target: Any, weight: Any, *, reduction: str, label_smoothing: float, ignore_index: int) -> None:
    known_reduction("cross_entropy", reduction)
    if x.ndim < 2 or target.shape not in (x.shape, x.shape[:1] + x.shape[2:]):
        raise ShapeError(
            f"[cross_entropy] x has shape {x.shape} and target {target.shape}; target should be "
            f"{x.shape[:1] + x.shape[2:]}, a class each, or {x.shape}, probabilities"
            if x.ndim >= 2
            else f"[cross_entropy] x has shape {x.shape}; it should be (n, classes) or (n, classes, d, ...)"
        )
    if target.ndim < x.ndim and target.dtype.category == FLOAT:
        raise DTypeError(
            f"[cross_entropy] target of shape {target.shape} is {target.dtype}; classes are integers: cast it to int64 "
            f"(probabilities would have the shape of x, {x.shape})"
        )
    if not x.is_floating:
        raise DTypeError(f"[cross_entropy] x is {x.dtype}; scores are floats: cast it")
    if weight is not None and weight.shape != x.shape[1:2]:
        raise ShapeError(f"[cross_entropy] weight has shape {weight.shape} but x {x.shape} has {x.shape[1]} classes")
    if target.ndim == x.ndim and ignore_index >= 0:
        raise ArgumentError(
            f"[cross_entropy] ignore_index is {ignore_index}, but probabilities have no index to ignore"
        )
    if not 0 <= label_smoothing <= 1:
        raise ArgumentError(f"[cross_entropy] label_smoothing is {label_smoothing}; it is a share, from 0 to 1")
