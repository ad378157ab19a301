"""The distance room: losses of vectors that should be near one another, or far. Vectors lie along the last axis."""

from __future__ import annotations

from typing import Any

from ..domain.errors import ArgumentError, ShapeError
from ..tensor import Tensor
from ._axes import same_shape
from ._op import op
from ._widened import widened
from .elementwise import abs, maximum, minimum, sqrt, where
from .reduce import sum
from .softmax import known_reduction, reduced

SHORT = 1e-12  # is added to squared lengths, as in PyTorch
APART = 1e-6  # is added to differences, as in PyTorch: where vectors are equal their distance has a gradient


def cosine_of(a: Any, b: Any) -> Any:
    """The cosine of the angle between vectors."""
    lengths = (sum(a * a, axis=-1) + SHORT) * (sum(b * b, axis=-1) + SHORT)
    return sum(a * b, axis=-1) / sqrt(lengths)


def apart(a: Any, b: Any, p: float) -> Any:
    """The p-distance between vectors."""
    d = a - b + APART
    return sqrt(sum(d * d, axis=-1)) if p == 2 else sum(abs(d) ** p, axis=-1) ** (1 / p)


@op(promote="float")
@widened
def cosine_loss(x: Tensor, target: Tensor, *, reduction: str = "mean") -> Any:
    """``1 - cos(x, target)`` along the last axis: 0 where both point the same way, 2 where they are opposite.

    Formula: ``1 - c``, c = x · t / (‖x‖ ‖t‖). Gradient: ``dx = -g · (t / ‖t‖ - c x / ‖x‖) / ‖x‖``, for ``target`` with both
    exchanged. Shapes: (…, d) both; ``y`` is (), with "none" (…).

    >>> cosine_loss(Tensor([[1.0, 0.0], [1.0, 1.0]]), Tensor([[2.0, 0.0], [-1.0, -1.0]]), reduction="none")
    tensor([0., 2.])
    """
    return reduced(1 - cosine_of(x, target), reduction)


@cosine_loss.checks
def _(x: Any, target: Any, *, reduction: str) -> None:
    known_reduction("cosine_loss", reduction)
    same_shape("cosine_loss", x=x, target=target)
    with_axis("cosine_loss", x)


@op(promote="float")
@widened
def cosine_embedding(x1: Tensor, x2: Tensor, target: Tensor, *, margin: float = 0.0, reduction: str = "mean") -> Any:
    """``1 - cos(x1, x2)`` for pairs whose ``target`` is 1, ``max(0, cos(x1, x2) - margin)`` for those of -1.

    ``x1`` and ``x2`` are (n, d), or (d,); ``target`` (n,), or ().

    Formula: ``1 - c`` or ``max(0, c - margin)``, c = x1 · x2 / (‖x1‖ ‖x2‖). Gradient:
    ``∓g · (x2 / ‖x2‖ - c x1 / ‖x1‖) / ‖x1‖``, for ``x2`` with both exchanged. Shapes: ``y`` is (), with "none" as
    ``target``.

    >>> a, b = Tensor([[1.0, 0.0], [1.0, 0.0]]), Tensor([[1.0, 1.0], [1.0, 1.0]])
    >>> cosine_embedding(a, b, Tensor([1.0, -1.0]), reduction="none")
    tensor([0.2929, 0.7071])
    """
    cosine = cosine_of(x1, x2)
    return reduced(where(target > 0, 1 - cosine, maximum(cosine - margin, 0.0)), reduction)


@op(promote="float")
@widened
def contrastive(x1: Tensor, x2: Tensor, target: Tensor, *, margin: float = 1.0, reduction: str = "mean") -> Any:
    """Half the squared distance of pairs whose ``target`` is 1, else half the square of what it lacks to ``margin``.

    ``x1`` and ``x2`` are (n, d), ``target`` is (n,): 1 for pairs that belong together, 0 for others (Hadsell et al., 2006).

    Formula: ``y = t D² / 2 + (1 - t) max(0, margin - D)² / 2``, D = ‖x1 - x2‖. Gradient:
    ``dx1 = g (t D - (1 - t) max(0, margin - D)) (x1 - x2) / D``, for ``x2`` its negative. Shapes: ``y`` is (), with "none"
    (n,).

    >>> a, b = Tensor([[0.0, 0.0], [0.0, 0.0]]), Tensor([[0.0, 2.0], [0.0, 0.5]])
    >>> contrastive(a, b, Tensor([1.0, 0.0]), reduction="none")
    tensor([2.   , 0.125])
    """
    d = apart(x1, x2, 2)
    short = maximum(margin - d, 0.0)
    return reduced(0.5 * where(target > 0, d * d, short * short), reduction)


def check_pairs(name: str, x1: Any, x2: Any, target: Any, reduction: str) -> None:
    """Raise unless there is a target for each pair."""
    known_reduction(name, reduction)
    same_shape(name, x1=x1, x2=x2)
    with_axis(name, x1)
    if target.shape != x1.shape[:-1]:
        raise ShapeError(
            f"[{name}] target has shape {target.shape}, expected {x1.shape[:-1]}: one for each pair of {x1.shape}"
        )


@cosine_embedding.checks
def _(x1: Any, x2: Any, target: Any, *, margin: float, reduction: str) -> None:
    check_pairs("cosine_embedding", x1, x2, target, reduction)


@contrastive.checks
def _(x1: Any, x2: Any, target: Any, *, margin: float, reduction: str) -> None:
    check_pairs("contrastive", x1, x2, target, reduction)


@op(promote="float")
@widened
def triplet_margin(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    margin: float = 1.0,
    p: float = 2.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Any:
    """``max(0, |anchor - positive| - |anchor - negative| + margin)``: the like should be nearer (Schroff et al., 2015).

    All are (n, d); distances are p-norms. With ``swap`` the nearer of anchor and positive to the negative counts.

    Formula: ``max(0, P - N + margin)``, P = ‖a - p‖, N = ‖a - n‖. Gradient: where that is not 0, and p is 2:
    ``g · (p - a) / P`` for the positive, ``g · (a - n) / N`` for the negative, and for the anchor what makes their sum 0.
    Shapes: ``y`` is (), with "none" (n,).

    >>> a, b, c = Tensor([[0.0, 0.0]]), Tensor([[0.0, 1.0]]), Tensor([[0.0, 1.5]])
    >>> triplet_margin(a, b, c)
    tensor(0.5)
    """
    far = apart(anchor, negative, p)
    if swap:
        far = minimum(far, apart(positive, negative, p))
    return reduced(maximum(apart(anchor, positive, p) - far + margin, 0.0), reduction)


@triplet_margin.checks
def _(anchor: Any, positive: Any, negative: Any, *, p: float, reduction: str, **rest: Any) -> None:
    known_reduction("triplet_margin", reduction)
    same_shape("triplet_margin", anchor=anchor, positive=positive)
    same_shape("triplet_margin", anchor=anchor, negative=negative)
    with_axis("triplet_margin", anchor)
    if not p > 0:
        raise ArgumentError(f"[triplet_margin] p is {p!r}, expected a positive number")


def with_axis(name: str, x: Any) -> None:
    """Raise unless there are vectors."""
    if not x.ndim:
        raise ShapeError(f"[{name}] a number is given where a vector is needed: (n, d) or (d,)")
