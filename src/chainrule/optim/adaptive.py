"""Relatives of Adam: Adamax, NAdam, RAdam, LAMB, Lion."""

from __future__ import annotations

from typing import Any, Unpack

from ..creation import full
from ..ops.elementwise import sqrt, where
from ..ops.optim import adamax_, lion_, nadam_, radam_
from .formula import Formula, cast_like
from .optimizer import Entry, Group, Optimizer, Penalty, together


def launch(optimizer: Optimizer, step: Any, group: Group, entries: list[Entry], *states: str, **options: Any) -> None:
    """One of the steps with betas, eps and a weight decay, for the entries of each count of steps."""
    optimizer.begin(group, entries, *states, step=True)
    (beta1, beta2), eps = group.options["betas"], group.options["eps"]
    options = {"beta1": beta1, "beta2": beta2, "eps": eps, "weight_decay": optimizer.decay(group, entries), **options}
    for count, members in together(group, entries):
        step(count, group.rate, *optimizer.tensors(group, members, *states), count=len(members), **options)


class Adamax(Optimizer):
    """Adam with the largest gradient in place of the root mean square (Kingma and Ba, 2014, section 7.1; as in PyTorch).

    Penalties as in Optimizer. State: ``step``, ``exp_avg``, ``exp_inf``.

    >>> import chainrule as cr
    >>> x = cr.tensor([1.0], requires_grad=True)
    >>> optimizer = Adamax([x], lr=0.1)
    >>> (x * x).sum().backward(); optimizer.step()
    >>> x
    tensor([0.9], requires_grad=True)
    """

    def __init__(
        self,
        params: Any,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        **penalty: Unpack[Penalty],
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay}, penalty)

    def update(self, group: Group, entries: list[Entry]) -> None:
        """See Optimizer."""
        launch(self, adamax_, group, entries, "exp_avg", "exp_inf")


class NAdam(Optimizer):
    """Adam with Nesterov's momentum (Dozat, 2016; values as in PyTorch).

    The momentum of step t is ``beta1 (1 - 0.5 · 0.96^(t · momentum_decay))``. Penalties as in Optimizer. State: ``step``,
    ``exp_avg``, ``exp_avg_sq``, ``mu_product``, the product of the momenta so far.

    >>> import chainrule as cr
    >>> x = cr.tensor([1.0], requires_grad=True)
    >>> optimizer = NAdam([x], lr=0.1)
    >>> (x * x).sum().backward(); optimizer.step()
    >>> 0.85 < x.item() < 0.95
    True
    """

    numbers = ("step", "mu_product")

    def __init__(
        self,
        params: Any,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 4e-3,
        **penalty: Unpack[Penalty],
    ) -> None:
        options = {"betas": tuple(betas), "eps": eps, "weight_decay": weight_decay, "momentum_decay": momentum_decay}
        super().__init__(params, {"lr": lr, **options}, penalty)

    def begin(self, group: Group, entries: list[Entry], *states: str, step: bool = False) -> None:
        """See Optimizer."""
        fresh = [e for e in entries if not e.state]
        super().begin(group, entries, *states, step=step)
        for entry in fresh:
            entry.state["mu_product"] = full((), 1.0, dtype="float64", device=group.rate.device)

    def update(self, group: Group, entries: list[Entry]) -> None:
        """See Optimizer."""
        slower = {"momentum_decay": group.options["momentum_decay"]}
        launch(self, nadam_, group, entries, "exp_avg", "exp_avg_sq", "mu_product", **slower)


class RAdam(Optimizer):
    """Adam that begins as momentum, until the mean square is worth something (Liu et al., 2019; values as in PyTorch).

    Penalties as in Optimizer. State: ``step``, ``exp_avg``, ``exp_avg_sq``.

    >>> import chainrule as cr
    >>> x = cr.tensor([1.0], requires_grad=True)
    >>> optimizer = RAdam([x], lr=0.1)
    >>> (x * x).sum().backward(); optimizer.step()
    >>> x
    tensor([0.8], requires_grad=True)
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        **penalty: Unpack[Penalty],
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay}, penalty)

    def update(self, group: Group, entries: list[Entry]) -> None:
        """See Optimizer."""
        launch(self, radam_, group, entries, "exp_avg", "exp_avg_sq")


class LAMB(Formula):
    """Adam whose step for each parameter is as long as the parameter, times ``lr`` (You et al., 2019): for large batches.

    ``weight_decay · p`` is added to Adam's step before its length is measured, so there is no ``decoupled``. A parameter
    of zeros moves by Adam's step as it is. State: ``step``, ``exp_avg``, ``exp_avg_sq``.

    >>> import chainrule as cr
    >>> x = cr.tensor([3.0, 4.0], requires_grad=True)
    >>> optimizer = LAMB([x], lr=0.1, weight_decay=0.0)
    >>> (x * x).sum().backward(); optimizer.step()
    >>> x
    tensor([2.6464, 3.6464], requires_grad=True)
    """

    penalties = ("l1", "exempt", "maximize")
    states = ("exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 1e-2,
        *,
        l1: float = 0.0,
        exempt: bool = False,
        maximize: bool = False,
    ) -> None:
        options = {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, options, {"l1": l1, "exempt": exempt, "maximize": maximize})

    def decay(self, group: Group, entries: list[Entry]) -> float:
        """Nothing goes into the gradients."""
        return 0.0

    def formula(self, group: Group, t: Any, x: Any, g: Any, mean: Any, square: Any) -> tuple[Any, ...]:
        """See Formula."""
        beta1, beta2 = group.options["betas"]
        mean = mean + (1 - beta1) * (g - mean)
        square = beta2 * square + (1 - beta2) * (g * g)
        size = sqrt(square / cast_like(1 - beta2**t, x)) + group.options["eps"]
        step = mean / cast_like(1 - beta1**t, x) / size + group.options["weight_decay"] * x
        length, moved = x.norm(), step.norm()
        trust = where((length > 0).logical_and(moved > 0), length / where(moved > 0, moved, 1.0), 1.0)
        return x - cast_like(group.rate, x) * trust * step, mean, square


class Lion(Optimizer):
    """A step of ``lr`` for each element, against the sign of a mean of the gradients (Chen et al., 2023).

    A tenth of the learning rate of AdamW, and ten times its weight decay, are what its authors recommend. ``weight_decay``
    is decoupled unless ``decoupled=False``. Penalties as in Optimizer. State: ``exp_avg``.

    >>> import chainrule as cr
    >>> x = cr.tensor([1.0, -3.0], requires_grad=True)
    >>> optimizer = Lion([x], lr=0.1)
    >>> (x * x).sum().backward(); optimizer.step()
    >>> x
    tensor([ 0.9, -2.9], requires_grad=True)
    """

    decoupled = True

    def __init__(
        self,
        params: Any,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        **penalty: Unpack[Penalty],
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": tuple(betas), "weight_decay": weight_decay}, penalty)

    def update(self, group: Group, entries: list[Entry]) -> None:
        """See Optimizer."""
        self.begin(group, entries, "exp_avg")
        beta1, beta2 = group.options["betas"]
        rest = {k: group.options[k] for k in ("weight_decay", "decoupled")}
        tensors = self.tensors(group, entries, "exp_avg")
        lion_(group.rate, *tensors, count=len(entries), beta1=beta1, beta2=beta2, **rest)
