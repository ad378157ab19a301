"""Losses of sequences."""

from __future__ import annotations

from typing import Any

from ..nn.registry import register
from ..ops.ctc import ctc
from ..ops.memory import cast
from ..tensor import Tensor
from .base import Loss


@register
class CTC(Loss):
    """How unlikely log-probabilities (time, n, classes) make labels, over all ways to place them (Graves et al., 2006).

    ``target`` is (n, labels), padded with any class; the lengths are (n,). "mean" divides each loss by its number of labels
    first, as PyTorch does. Labels that do not fit into the time cost infinity, or nothing with ``zero_infinity``. With
    ``batch_first`` the log-probabilities are (n, time, classes), as a model in ``fit`` gives them; the target is then
    (labels, input lengths, label lengths).

    >>> import chainrule as cr
    >>> x = cr.tensor([[[0.5, 0.5]], [[0.5, 0.5]]]).log()
    >>> CTC()(x, cr.tensor([[1]]), cr.tensor([2]), cr.tensor([1]))
    tensor(0.2877)
    """

    takes = (1, 3)

    def __init__(
        self, blank: int = 0, reduction: str = "mean", zero_infinity: bool = False, *, batch_first: bool = False
    ) -> None:
        super().__init__(reduction)
        self.blank, self.zero_infinity, self.batch_first = blank, zero_infinity, batch_first

    def measure(self, x: Any, target: Any, input_lengths: Any, target_lengths: Any, reduction: str) -> Any:
        """See Loss."""
        options = {"blank": self.blank, "reduction": reduction, "zero_infinity": self.zero_infinity}
        if self.batch_first:
            x = x.permute(1, 0, 2)
        return ctc(x, target, input_lengths, target_lengths, **options)

    def forward(  # type: ignore[override]
        self, x: Any, target: Any, input_lengths: Any, target_lengths: Any, sample_weight: Any = None
    ) -> Any:
        """See the class."""
        if (
            sample_weight is not None and self.reduction == "mean"
        ):  # of losses that are divided by their numbers of labels
            weight = sample_weight if isinstance(sample_weight, Tensor) else Tensor(sample_weight)
            sample_weight = weight / cast(target_lengths.clip(min=1), dtype=x.dtype)
        return self.reduced((x, target, input_lengths, target_lengths), sample_weight)
