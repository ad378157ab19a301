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
