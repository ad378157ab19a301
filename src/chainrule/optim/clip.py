"""Gradients cut to a length."""

from __future__ import annotations

import math
from typing import Any

from ..domain.errors import AnomalyError, ArgumentError
from ..modes import no_grad
from ..ops.optim import clip_norm_
from ..ops.shape import stack
from ..tensor import Tensor


def clip_grad_norm_(params: Any, max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False) -> Tensor:
    """Scale all gradients by one factor so that their norm, as of one vector, is at most ``max_norm``.

    Returns the norm before that, as a tensor: nothing is read back from the device. Parameters without a gradient do not
    count. Errors: ArgumentError if ``max_norm`` is not positive; with ``error_if_nonfinite``, which reads the norm,
    AnomalyError if that is NaN or infinite, and no gradient is changed.

    >>> import chainrule as cr
    >>> x = cr.tensor([3.0, 4.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> clip_grad_norm_([x], 1.0), x.grad
    (tensor(10.), tensor([0.6, 0.8]))
    """
    if not max_norm > 0:
        raise ArgumentError(f"clip_grad_norm_: max_norm is {max_norm!r}, expected a positive number")
    given = [params] if isinstance(params, Tensor) else [*params]
    gradients = [p.grad for p in given if p.grad is not None]
    if not gradients:
        return Tensor(0.0)
    with no_grad():
        if error_if_nonfinite:
            total = stack([g.norm(ord=norm_type) for g in gradients]).norm(ord=norm_type).item()
            if not math.isfinite(total):
                raise AnomalyError(
                    f"clip_grad_norm_: the norm of the gradients is {total}, so they cannot be scaled; "
                    'fit(debug="nan") finds where that began, error_if_nonfinite=False lets it pass'
                )
        norm: Tensor = clip_norm_(*gradients, max_norm=max_norm, ord=norm_type)
    return norm


def clip_grad_value_(params: Any, clip_value: float) -> None:
    """Cut every element of all gradients to [-clip_value, clip_value]. Errors: ArgumentError if it is not positive.

    >>> import chainrule as cr
    >>> x = cr.tensor([3.0, 0.25], requires_grad=True)
    >>> (x * x).sum().backward(); clip_grad_value_([x], 1.0)
    >>> x.grad
    tensor([1. , 0.5])
    """
    if not clip_value > 0:
        raise ArgumentError(f"clip_grad_value_: clip_value is {clip_value!r}, expected a positive number")
    with no_grad():
        for p in [params] if isinstance(params, Tensor) else [*params]:
            if p.grad is not None:
                p.grad.copy_(p.grad.clip(min=-clip_value, max=clip_value))
