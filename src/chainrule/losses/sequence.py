"""Losses of sequences."""

from __future__ import annotations

from typing import Any

from ..nn.registry import register
from ..ops.ctc import ctc
from .base import Loss


@register
class CTC(Loss):
    """How unlikely log-probabilities (time, n, classes) make labels, over all ways to place them (Graves et al., 2006).

    ``target`` is (n, labels), padded with any class; the lengths are (n,). "mean" divides each loss by its number of labels
    first, as PyTorch does. Labels that do not fit into the time cost infinity, or nothing with ``zero_infinity``.

    >>> import chainrule as cr
    >>> x = cr.tensor([[[0.5, 0.5]], [[0.5, 0.5]]]).log()
    >>> CTC()(x, cr.tensor([[1]]), cr.tensor([2]), cr.tensor([1]))
    tensor(0.2877)
    """

    def __init__(self, blank: int = 0, reduction: str = "mean", zero_infinity: bool = False) -> None:
        super().__init__(reduction)
        self.blank, self.zero_infinity = blank, zero_infinity

    def forward(self, x: Any, target: Any, input_lengths: Any, target_lengths: Any) -> Any:  # type: ignore[override]
        """See the class."""
        options = {"blank": self.blank, "reduction": self.reduction, "zero_infinity": self.zero_infinity}
        return ctc(x, target, input_lengths, target_lengths, **options)
