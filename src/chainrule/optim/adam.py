"""Adam and AdamW."""

from __future__ import annotations

from typing import Any, Unpack

from ..ops.optim import adam_
from .optimizer import Entry, Group, Optimizer, Penalty, together


class Adam(Optimizer):
    """A step of about ``lr`` for every parameter, however large its gradients (Kingma and Ba, 2014; values as in PyTorch).

    ``betas`` are the decays of the means of the gradients and of their squares; ``amsgrad`` divides by the largest of
    these squares so far (Reddi et al., 2018). Penalties as in Optimizer. State: ``step``, ``exp_avg``, ``exp_avg_sq``,
    ``max_exp_avg_sq``.

    >>> import chainrule as cr
    >>> x = cr.tensor([1.0], requires_grad=True)
    >>> optimizer = Adam([x], lr=0.1)
    >>> for _ in range(100):
    ...     optimizer.zero_grad(); (x * x).sum().backward(); optimizer.step()
    >>> abs(x.item()) < 0.01
    True
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        **penalty: Unpack[Penalty],
    ) -> None:
        options = {"betas": tuple(betas), "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad}
        super().__init__(params, {"lr": lr, **options}, penalty)

    def update(self, group: Group, entries: list[Entry]) -> None:
        """See Optimizer."""
        (beta1, beta2), amsgrad = group.options["betas"], group.options["amsgrad"]
        states = ["exp_avg", "exp_avg_sq", *["max_exp_avg_sq"] * amsgrad]
        self.begin(group, entries, *states, step=True)
        rest = {k: group.options[k] for k in ("eps", "weight_decay", "decoupled", "amsgrad")}
        for step, members in together(group, entries):
            tensors = self.tensors(group, members, *states)
            adam_(step, group.rate, *tensors, count=len(members), beta1=beta1, beta2=beta2, **rest)


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
        amsgrad: bool = False,
        **penalty: Unpack[Penalty],
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, **penalty)
