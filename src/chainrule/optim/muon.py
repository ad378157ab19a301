"""Muon: momentum made orthogonal, for the matrices of hidden layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from ..domain.errors import ArgumentError, unknown
from .formula import Formula, cast_like
from .optimizer import Group, Penalty

COEFFICIENTS = (3.4445, -4.775, 2.0315)
ADJUSTMENTS = ("original", "match_rms_adamw")


class Muon(Formula):
    """Momentum whose matrix is replaced by the nearest with all singular values about 1 (Jordan, 2024; as in PyTorch).

    For weights of two axes or more (a convolution's counts as (out, the rest)); biases, norms, embeddings and the last
    layer go to another optimizer, such as AdamW. The orthogonal matrix comes of ``ns_steps`` Newton-Schulz iterations in
    float32. ``adjust_lr_fn``: "original" multiplies ``lr`` by ``sqrt(max(1, rows / columns))``, "match_rms_adamw" by
    ``0.2 sqrt(max(rows, columns))``. ``weight_decay`` is decoupled. Penalties as in Optimizer. State:
    ``step``, ``momentum_buffer``. Errors: ArgumentError for a parameter of fewer than two axes.

    >>> import chainrule as cr
    >>> x = cr.tensor([[1.0, 0.0], [0.0, 1.0]], requires_grad=True)
    >>> optimizer = Muon([x], lr=0.1, weight_decay=0.0)
    >>> (x * x).sum().backward(); optimizer.step()
    >>> 0.87 < x[0, 0].item() < 0.94
    True
    """

    decoupled = True
    states = ("momentum_buffer",)

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_steps: int = 5,
        eps: float = 1e-7,
        adjust_lr_fn: str = "original",
        **penalty: Unpack[Penalty],
    ) -> None:
        options = {"weight_decay": weight_decay, "momentum": momentum, "nesterov": nesterov, "ns_steps": ns_steps}
        super().__init__(params, {"lr": lr, **options, "eps": eps, "adjust_lr_fn": adjust_lr_fn}, penalty)

    def check(self, options: Mapping[str, Any]) -> None:
        """Raise if the options of a group make no sense."""
        super().check(options)
        if not 0 <= options["momentum"] < 1:
            raise ArgumentError(f"Muon: momentum is {options['momentum']!r}, expected a number from 0 to below 1")
        if options["ns_steps"] < 1:
            raise ArgumentError(f"Muon: ns_steps is {options['ns_steps']!r}, expected 1 or more")
        if options["adjust_lr_fn"] not in ADJUSTMENTS:
            raise unknown("adjust_lr_fn of Muon", options["adjust_lr_fn"], ADJUSTMENTS)

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """See Optimizer."""
        before = len(self.param_groups)
        super().add_param_group(group)
        for entry in [e for g in self.param_groups[before:] for e in g.entries]:
            if entry.param.ndim < 2:
                del self.param_groups[before:]
                raise ArgumentError(
                    f"Muon: the parameter {entry.name!r} has fewer than two axes ({entry.param.ndim}): give biases "
                    "and norms to another optimizer, such as AdamW"
                )

    def formula(self, group: Group, t: Any, x: Any, g: Any, moving: Any) -> tuple[Any, ...]:
        """See Formula."""
        o = group.options
        moving = o["momentum"] * moving + (1 - o["momentum"]) * g
        step = o["momentum"] * moving + (1 - o["momentum"]) * g if o["nesterov"] else moving
        rows, columns = x.shape[0], x.size // max(1, x.shape[0])
        step = orthogonal(step.reshape(rows, columns), o["ns_steps"], o["eps"])
        original = max(1.0, rows / max(1, columns)) ** 0.5
        factor = original if o["adjust_lr_fn"] == "original" else 0.2 * max(rows, columns) ** 0.5
        return x - cast_like(group.rate * factor, x) * step.reshape(x.shape), moving


def orthogonal(matrix: Any, steps: int, eps: float) -> Any:
    """A matrix of the same singular vectors whose singular values are near 1, by a Newton-Schulz iteration of degree 5.

    >>> import chainrule as cr
    >>> values = orthogonal(cr.tensor([[2.0, 0.0], [0.0, 0.5]]), 5, 1e-7)
    >>> bool(((values.abs() - cr.eye(2)).abs() < 0.35).all())
    True
    """
    a, b, c = COEFFICIENTS
    wide = matrix.shape[0] <= matrix.shape[1]
    x = matrix if wide else matrix.transpose(0, 1)
    x = x / x.norm().clip(min=eps)
    for _ in range(steps):
        gram = x @ x.transpose(0, 1)
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x if wide else x.transpose(0, 1)
