"""From the losses of batches to steps of the optimizer: each batch a step, or several together."""

from __future__ import annotations

from typing import Any

from ..losses import Loss
from ..modes import no_grad
from ..tensor import Tensor
from .compiled import Compiled


class Updates:
    """The three lines of a training step, for windows of ``plan.accumulate`` batches.

    With one batch they do what they say. With more, the gradients of a window are summed, each batch by its number of
    samples (or what else the mean of its loss is over), and divided once: the step is that of one batch with all the
    samples. What is left at the end of an epoch is a smaller window.
    """

    def __init__(self, plan: Compiled, loss: Any) -> None:
        self.plan, self.count = plan, loss.count if isinstance(loss, Loss) else None
        self.summed = getattr(loss, "reduction", "mean") == "sum"
        self.batches, self.total = 0, 0  # of this window; the total becomes a tensor if the loss counts on the device

    def zero_grad(self) -> None:
        """Forget the gradients, if a window begins."""
        if self.batches == 0:
            self.plan.optimizer.zero_grad()

    def backward(self, loss: Tensor, output: Tensor, target: Tensor) -> None:
        """Add the gradients of a batch."""
        self.batches += 1
        if self.plan.accumulate == 1 or self.summed:
            loss.backward()
            return
        counted = None if self.count is None else self.count(output, target)
        share = len(target) if counted is None else counted
        (loss * share).backward()
        with no_grad():
            self.total = self.total + share

    def step(self) -> None:
        """Move the weights, if a window is full."""
        if self.batches == self.plan.accumulate:
            self.finish()

    def finish(self) -> None:
        """Move the weights, if there are batches that have not."""
        if self.batches == 0:
            return
        if self.plan.accumulate > 1 and not self.summed:
            with no_grad():
                for parameter in self.plan.parameters():
                    if parameter.grad is not None:
                        parameter.grad.copy_(parameter.grad / self.total)
        self.plan.step()
        self.batches, self.total = 0, 0
