"""Adam and AdamW."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..creation import zeros, zeros_like
from ..domain.errors import ArgumentError
from ..ops.optim import adam_
from ..tensor import Tensor
from .optimizer import Entry, Group, Optimizer


class Adam(Optimizer):
    """A step of about ``lr`` for every parameter, however large its gradients (Kingma and Ba, 2014; values as in PyTorch).

    ``betas`` are the decays of the means of the gradients and of their squares; ``weight_decay`` adds to the gradient.
    State: ``step``, ``exp_avg``, ``exp_avg_sq``.

    >>> import chainrule as cr
    >>> x = cr.tensor([1.0], requires_grad=True)
    >>> optimizer = Adam([x], lr=0.1)
    >>> for _ in range(100):
    ...     optimizer.zero_grad(); (x * x).sum().backward(); optimizer.step()
    >>> abs(x.item()) < 0.01
    True
    """

    decoupled = False

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay})

    def check(self, options: Mapping[str, Any]) -> None:
        """Raise if the options of a group make no sense."""
        super().check(options)
        if len(options["betas"]) != 2 or not all(0 <= beta < 1 for beta in options["betas"]):
            raise ArgumentError(f"{self._name}: betas are {options['betas']!r}, expected two numbers from 0 to below 1")
        if options["eps"] < 0:
            raise ArgumentError(f"{self._name}: eps is {options['eps']!r}, expected 0 or more")

    def update(self, group: Group, entries: list[Entry]) -> None:
        """See Optimizer."""
        fresh = [e for e in entries if not e.state]
        if fresh:
            step = zeros(dtype="float64", device=group.rate.device)
            for entry in fresh:
                entry.state = {"step": step, "exp_avg": zeros_like(entry.param), "exp_avg_sq": zeros_like(entry.param)}
        (beta1, beta2), eps, weight_decay = (group.options[k] for k in ("betas", "eps", "weight_decay"))
        for step, members in together(group, entries):
            adam_(
                step,
                group.rate,
                *[e.param for e in members],
                *[e.param.grad for e in members],
                *[e.state["exp_avg"] for e in members],
                *[e.state["exp_avg_sq"] for e in members],
                count=len(members),
                beta1=beta1,
                beta2=beta2,
                eps=eps,
                weight_decay=weight_decay,
                decoupled=self.decoupled,
            )


class AdamW(Adam):
    """Adam whose ``weight_decay`` shrinks the parameters themselves, by ``lr · weight_decay`` (Loshchilov and Hutter, 2017).

    >>> import chainrule as cr
    >>> x = cr.tensor([1.0], requires_grad=True)
    >>> optimizer = AdamW([x], lr=0.1, weight_decay=0.5)
    >>> (x * 0).sum().backward(); optimizer.step()
    >>> x
    tensor([0.95], requires_grad=True)
    """

    decoupled = True

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay)


def together(group: Group, entries: list[Entry]) -> Iterator[tuple[Tensor, list[Entry]]]:
    """``entries`` by their count of steps, which is one tensor for all that were stepped as often.

    Where some are left out this time, those that are not get a count of their own.
    """
    counts: dict[int, list[Entry]] = {}
    for entry in entries:
        counts.setdefault(id(entry.state["step"]), []).append(entry)
    for members in counts.values():
        step = members[0].state["step"]
        if len(entries) < len(group.entries) and len(members) < sum(e.state.get("step") is step for e in group.entries):
            step = step.clone()
            for entry in members:
                entry.state["step"] = step
        yield step, members
