"""Losses of vectors that should be near one another, or far."""

from __future__ import annotations

from typing import Any

from ..nn.registry import register
from ..ops.distance import contrastive, cosine_embedding, cosine_loss, triplet_margin
from .base import Elementwise, Loss


@register
class Cosine(Elementwise):
    """``1 - cos(x, target)`` along the last axis.

    >>> import chainrule as cr
    >>> Cosine()(cr.tensor([[1.0, 0.0], [1.0, 1.0]]), cr.tensor([[2.0, 0.0], [-1.0, -1.0]]))
    tensor(1.)
    """

    function = staticmethod(cosine_loss)


@register
class CosineEmbedding(Loss):
    """``1 - cos(x1, x2)`` for pairs whose ``target`` is 1, ``max(0, cos(x1, x2) - margin)`` for those of -1.

    >>> import chainrule as cr
    >>> a, b = cr.tensor([[1.0, 0.0], [1.0, 0.0]]), cr.tensor([[1.0, 1.0], [1.0, 1.0]])
    >>> CosineEmbedding()(a, b, cr.tensor([1.0, -1.0]))
    tensor(0.5)
    """

    takes = (2, 1)

    def __init__(self, margin: float = 0.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = margin

    def measure(self, x1: Any, x2: Any, target: Any, reduction: str) -> Any:
        """See Loss."""
        return cosine_embedding(x1, x2, target, margin=self.margin, reduction=reduction)

    def forward(self, x1: Any, x2: Any, target: Any, sample_weight: Any = None) -> Any:  # type: ignore[override]
        """See the class."""
        return self.reduced((x1, x2, target), sample_weight)


@register
class Contrastive(Loss):
    """Half the squared distance of pairs whose ``target`` is 1, else half the square of what it lacks to ``margin``.

    ``x1`` and ``x2`` are (n, d), ``target`` is (n,): 1 or 0 (Hadsell et al., 2006).

    >>> import chainrule as cr
    >>> a, b = cr.tensor([[0.0, 0.0], [0.0, 0.0]]), cr.tensor([[0.0, 2.0], [0.0, 0.5]])
    >>> Contrastive("sum")(a, b, cr.tensor([1, 0]))
    tensor(2.125)
    """

    takes = (2, 1)

    def __init__(self, reduction: str = "mean", margin: float = 1.0) -> None:
        super().__init__(reduction)
        self.margin = margin

    def measure(self, x1: Any, x2: Any, target: Any, reduction: str) -> Any:
        """See Loss."""
        return contrastive(x1, x2, target, margin=self.margin, reduction=reduction)

    def forward(self, x1: Any, x2: Any, target: Any, sample_weight: Any = None) -> Any:  # type: ignore[override]
        """See the class."""
        return self.reduced((x1, x2, target), sample_weight)


@register
class TripletMargin(Loss):
    """``max(0, |anchor - positive| - |anchor - negative| + margin)``: the like should be nearer (Schroff et al., 2015).

    All are (n, d); distances are p-norms. With ``swap`` the nearer of anchor and positive to the negative counts.

    >>> import chainrule as cr
    >>> TripletMargin()(cr.tensor([[0.0, 0.0]]), cr.tensor([[0.0, 1.0]]), cr.tensor([[0.0, 1.5]]))
    tensor(0.5)
    """

    takes = (3, 0)

    def __init__(self, margin: float = 1.0, p: float = 2.0, swap: bool = False, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin, self.p, self.swap = margin, p, swap

    def measure(self, anchor: Any, positive: Any, negative: Any, reduction: str) -> Any:
        """See Loss."""
        options = {"margin": self.margin, "p": self.p, "swap": self.swap}
        return triplet_margin(anchor, positive, negative, reduction=reduction, **options)

    def forward(  # type: ignore[override]
        self, anchor: Any, positive: Any, negative: Any, sample_weight: Any = None
    ) -> Any:
        """See the class."""
        return self.reduced((anchor, positive, negative), sample_weight)
