"""From the losses of batches to steps of the optimizer: each batch a step, or several together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

from ..modes import no_grad
from ..tensor import Tensor
from .compiled import Compiled


@dataclass
class Part:
    """A loss of a batch, times its weight, and how it adds up over batches: as a sum if ``share`` is None, else as a mean
    over ``share`` things, samples if that is an integer; ``summed`` says that it is the sum over them, not yet the mean."""

    loss: Tensor
    share: Any
    summed: bool = False


class Updates:
    """The three lines of a training step, for windows of ``size`` batches.

    With one batch they do what they say. With more, the gradients of a window are summed, each batch by its number of
    samples (or what else the mean of its loss is over), and divided once: the step is that of one batch with all the
    samples. Losses that are means over different things have their sums apart. What is left at the end of an epoch is a
    smaller window. Sums are kept in units of about as many samples as the first batch has, so that they are no larger than
    gradients of means are, and float16 can hold them.
    """

    def __init__(self, plan: Compiled, size: int) -> None:
        self.plan, self.size = plan, size
        self.batches = 0  # of this window
        self.unit = 1  # a power of two: nothing is rounded
        self.shares: dict[Any, Any] = {}  # for each kind of loss what its mean is over so far, None for a sum
        self.gradients: dict[Any, list[Any]] = {}  # and its gradients, if there are several kinds

    def zero_grad(self) -> None:
        """Forget the gradients, if a window begins."""
        if self.batches == 0:
            self.plan.optimizer.zero_grad()

    def backward(self, parts: list[Part], samples: int) -> None:
        """Add the gradients of a batch of so many samples."""
        if self.batches == 0:
            self.unit = 1 << max(samples.bit_length() - 1, 0)
        self.batches += 1
        if self.size == 1:
            self.plan.precision.scaled(total([part.loss for part in parts])).backward()
            return
        kinds: dict[Any, list[Part]] = {}
        for place, part in enumerate(parts):
            kind = "sum" if part.share is None else "samples" if isinstance(part.share, int) else place
            kinds.setdefault(kind, []).append(part)
        for place, (kind, same) in enumerate(kinds.items()):
            loss, share = total([part.loss for part in same]), same[0].share
            if len(kinds) > 1:
                self.put(self.gradients.get(kind))
            scaled = self.plan.precision.scaled(
                loss if share is None else loss / self.unit if same[0].summed else loss * (share / self.unit)
            )
            scaled.backward(retain_graph=place + 1 < len(kinds))
            with no_grad():
                self.shares[kind] = None if share is None else self.shares.get(kind, 0) + share
            if len(kinds) > 1:
                self.gradients[kind] = [parameter.grad for parameter in self.plan.parameters()]

    def put(self, gradients: list[Any] | None) -> None:
        """Have the parameters accumulate to these."""
        for place, parameter in enumerate(self.plan.parameters()):
            parameter.grad = None if gradients is None else gradients[place]

    def step(self) -> None:
        """Move the weights, if a window is full."""
        if self.batches == self.size:
            self.finish()

    def finish(self) -> None:
        """Move the weights, if there are batches that have not."""
        if self.batches == 0:
            return
        if self.size > 1:
            self.join()
        self.plan.step()
        self.batches, self.shares, self.gradients = 0, {}, {}

    def state_dict(self) -> dict[str, Any]:
        """What to go on from within a window."""
        if not self.batches:
            return {"batches": 0}
        kinds = [[kind, share, self.gradients.get(kind)] for kind, share in self.shares.items()]
        return {
            "batches": self.batches,
            "unit": self.unit,
            "kinds": kinds,
            "sum": [p.grad for p in self.plan.parameters()],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state_dict`` gave."""
        self.batches, self.shares, self.gradients = state["batches"], {}, {}
        if not self.batches:
            return
        self.unit, parameters = state.get("unit", 1), self.plan.parameters()
        for kind, share, gradients in state["kinds"]:
            whole = share is None or isinstance(share, int)
            self.shares[kind] = share if whole else Tensor(share, device=parameters[0].device)
            if gradients is not None:
                self.gradients[kind] = like(gradients, parameters)
        self.put(like(state["sum"], parameters))

    def join(self) -> None:
        """Divide the sums, each by what it is over, and add them up."""
        parameters = self.plan.parameters()
        sums = self.gradients or {kind: [p.grad for p in parameters] for kind in self.shares}
        with no_grad():
            for place, parameter in enumerate(parameters):
                found = [(sums[kind][place], share) for kind, share in self.shares.items()]
                means = [g if share is None else g / (share / self.unit) for g, share in found if g is not None]
                parameter.grad = total(means) if means else None


def like(gradients: list[Any], parameters: list[Any]) -> list[Any]:
    """Saved gradients as tensors where the parameters are."""
    pairs = zip(gradients, parameters, strict=True)
    return [None if g is None else Tensor(g, dtype=p.dtype, device=p.device) for g, p in pairs]


def total(tensors: list[Tensor]) -> Tensor:
    """Their sum."""
    return reduce(add, tensors)
