"""Relatives of Adam: Adamax, NAdam, RAdam, LAMB, Lion."""

from __future__ import annotations

from typing import Any, Unpack

from ..creation import full
from ..ops.elementwise import abs, maximum, sqrt, where
from ..ops.optim import lion_
from .formula import Formula, cast_like
from .optimizer import Entry, Group, Optimizer, Penalty


class Adamax(Formula):
    """Adam with the largest gradient in place of the root mean square (Kingma and Ba, 2014, section 7.1; as in PyTorch).

    Penalties as in Optimizer. State: ``step``, ``exp_avg``, ``exp_inf``.

    >>> import chainrule as cr
    >>> x = cr.tensor([1.0], requires_grad=True)
    >>> optimizer = Adamax([x], lr=0.1)
    >>> (x * x).sum().backward(); optimizer.step()
    >>> x
    tensor([0.9], requires_grad=True)
    """

    states = ("exp_avg", "exp_inf")

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

    def formula(self, group: Group, t: Any, x: Any, g: Any, mean: Any, top: Any) -> tuple[Any, ...]:
        """See Formula."""
        beta1, beta2 = group.options["betas"]
        mean = mean + (1 - beta1) * (g - mean)
        top = maximum(beta2 * top, abs(g) + group.options["eps"])
        return x - cast_like(group.rate / (1 - beta1**t), x) * (mean / top), mean, top


class NAdam(Formula):
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

    states = ("exp_avg", "exp_avg_sq", "mu_product")
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

    def formula(self, group: Group, t: Any, x: Any, g: Any, mean: Any, square: Any, product: Any) -> tuple[Any, ...]:
        """See Formula."""
        beta1, beta2 = group.options["betas"]
        slower = group.options["momentum_decay"]
        now, following = (beta1 * (1 - 0.5 * 0.96 ** (s * slower)) for s in (t, t + 1))
        product = product * now
        mean = mean + (1 - beta1) * (g - mean)
        square = beta2 * square + (1 - beta2) * (g * g)
        size = sqrt(square / cast_like(1 - beta2**t, x)) + group.options["eps"]
        from_gradient = cast_like(group.rate * (1 - now) / (1 - product), x)
        from_mean = cast_like(group.rate * following / (1 - product * following), x)
        return x - from_gradient * (g / size) - from_mean * (mean / size), mean, square, product


class RAdam(Formula):
    """Adam that begins as momentum, until the mean square is worth something (Liu et al., 2019; values as in PyTorch).

    Penalties as in Optimizer. State: ``step``, ``exp_avg``, ``exp_avg_sq``.

    >>> import chainrule as cr
    >>> x = cr.tensor([1.0], requires_grad=True)
    >>> optimizer = RAdam([x], lr=0.1)
    >>> (x * x).sum().backward(); optimizer.step()
    >>> x
    tensor([0.8], requires_grad=True)
    """

    states = ("exp_avg", "exp_avg_sq")

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

    def formula(self, group: Group, t: Any, x: Any, g: Any, mean: Any, square: Any) -> tuple[Any, ...]:
        """See Formula."""
        beta1, beta2 = group.options["betas"]
        mean = mean + (1 - beta1) * (g - mean)
        square = beta2 * square + (1 - beta2) * (g * g)
        fraction1, fraction2, longest = 1 - beta1**t, 1 - beta2**t, 2 / (1 - beta2) - 1
        length = longest - 2 * t * beta2**t / fraction2  # of the average that the mean square is
        worth = length > 5
        known = where(worth, length, 6.0)  # any number for which the root exists
        ratio = (known - 4) * (known - 2) * longest / ((longest - 4) * (longest - 2) * known)
        rate = group.rate / fraction1
        adapted = cast_like(rate * sqrt(ratio * fraction2), x) * (mean / (sqrt(square) + group.options["eps"]))
        return x - where(worth, adapted, cast_like(rate, x) * mean), mean, square


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
