"""The optimizer room: one step for many parameters at once, written into their memory and that of their state.

``tensors`` are ``count`` parameters, as many gradients, and as many of each state. Learning rate and step count are tensors
without axes, so that a recorded step sees them change.
"""

from __future__ import annotations

from typing import Any

from ..modes import no_grad
from ..tensor import Tensor
from ._op import op
from ._steps import adadelta_ as adadelta_
from ._steps import adamax_ as adamax_
from ._steps import adapted, groups, matching, stepped
from ._steps import nadam_ as nadam_
from ._steps import radam_ as radam_
from ._steps import write as write
from ._widened import wide
from .elementwise import clip, maximum, sign, sqrt
from .memory import assign, cast
from .reduce import norm
from .shape import stack


@op(mutates=stepped, nondifferentiable=True)
def sgd_(
    lr: Tensor,
    *tensors: Tensor,
    count: int,
    momentum: float = 0.0,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    first: bool = False,
) -> Any:
    """One step of gradient descent. ``tensors``: ``count`` parameters, gradients and, with momentum, velocities.

    g = gradient + weight_decay p; v = momentum v + (1 - dampening) g (v = g if it is the ``first`` step); p = p - lr v, or
    p - lr (g + momentum v) with ``nesterov`` (Sutskever et al., 2013; as PyTorch writes it). Returns ``lr``.

    >>> p = Tensor([1.0, 2.0])
    >>> _ = sgd_(Tensor(0.1), p, Tensor([1.0, -1.0]), count=1)
    >>> p
    tensor([0.9, 2.1])
    """
    with no_grad():
        for p, g, *v in groups(tensors, count):
            d = wide(g)
            if weight_decay:
                d = d + weight_decay * wide(p)
            if momentum:
                moving = d if first else momentum * wide(v[0]) + (1 - dampening) * d
                write(v[0], moving)
                d = d + momentum * moving if nesterov else moving
            write(p, wide(p) - cast(lr, dtype=d.dtype) * d)
    return lr


@op(mutates=adapted, nondifferentiable=True)
def adam_(
    step: Tensor,
    lr: Tensor,
    *tensors: Tensor,
    count: int,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    amsgrad: bool = False,
) -> Any:
    """One step of Adam (Kingma and Ba, 2014), or of AdamW (Loshchilov and Hutter, 2017) if ``decoupled``.

    ``tensors``: ``count`` parameters, gradients, and means of the gradients and of their squares; with ``amsgrad`` (Reddi
    et al., 2018) also the largest of those squares so far, which counts in their place. Counts ``step`` up first. Returns
    ``step``.

    >>> p, m, v = Tensor([1.0, 2.0]), Tensor([0.0, 0.0]), Tensor([0.0, 0.0])
    >>> _ = adam_(Tensor(0.0), Tensor(0.1), p, Tensor([1.0, -1.0]), m, v, count=1)
    >>> p
    tensor([0.9, 2.1])
    """
    with no_grad():
        assign(step, step + 1)
        t = cast(step, dtype="float64")  # 1 - 0.999 of float32 has four digits
        fraction1, fraction2 = 1 - beta1**t, 1 - beta2**t
        for p, g, m, v, *top in groups(tensors, count):
            x, d = wide(p), wide(g)
            rate = cast(lr, dtype=d.dtype)
            if weight_decay and decoupled:
                x = x * (1 - rate * weight_decay)
            elif weight_decay:
                d = d + weight_decay * x
            mean = wide(m) + (1 - beta1) * (d - wide(m))
            square = beta2 * wide(v) + (1 - beta2) * (d * d)
            write(m, mean)
            write(v, square)
            if amsgrad:
                square = maximum(square, wide(top[0]))
                write(top[0], square)
            size = sqrt(square) / cast(sqrt(fraction2), dtype=d.dtype) + eps
            write(p, x - cast(lr / fraction1, dtype=d.dtype) * (mean / size))
    return step


@op(mutates=stepped, nondifferentiable=True)
def rmsprop_(
    lr: Tensor,
    *tensors: Tensor,
    count: int,
    alpha: float = 0.99,
    eps: float = 1e-8,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    centered: bool = False,
) -> Any:
    """One step of RMSprop (Hinton, 2012; centered: Graves, 2013). Returns ``lr``.

    ``tensors``: ``count`` parameters, gradients, means of their squares, if ``centered`` means of the gradients, and with
    ``momentum`` velocities. The variance of the gradients counts as at least 0, whatever its rounding.

    >>> p, v = Tensor([1.0, 2.0]), Tensor([0.0, 0.0])
    >>> _ = rmsprop_(Tensor(0.01), p, Tensor([1.0, -1.0]), v, count=1)
    >>> p
    tensor([0.9, 2.1])
    """
    with no_grad():
        for p, g, v, *more in groups(tensors, count):
            d = wide(g)
            if weight_decay:
                d = d + weight_decay * wide(p)
            size = alpha * wide(v) + (1 - alpha) * (d * d)
            write(v, size)
            if centered:
                average = wide(more[0]) + (1 - alpha) * (d - wide(more[0]))
                write(more[0], average)
                size = maximum(size - average * average, 0.0)
            d = d / (sqrt(size) + eps)
            if momentum:
                d = momentum * wide(more[-1]) + d
                write(more[-1], d)
            write(p, wide(p) - cast(lr, dtype=d.dtype) * d)
    return lr


@op(mutates=adapted, nondifferentiable=True)
def adagrad_(
    step: Tensor,
    lr: Tensor,
    *tensors: Tensor,
    count: int,
    lr_decay: float = 0.0,
    eps: float = 1e-10,
    weight_decay: float = 0.0,
) -> Any:
    """One step of Adagrad (Duchi et al., 2011). Counts ``step`` up first, and returns it.

    ``tensors``: ``count`` parameters, gradients, and sums of their squares.

    >>> p, v = Tensor([1.0, 2.0]), Tensor([0.0, 0.0])
    >>> _ = adagrad_(Tensor(0.0), Tensor(0.1), p, Tensor([5.0, -1.0]), v, count=1)
    >>> p
    tensor([0.9, 2.1])
    """
    with no_grad():
        assign(step, step + 1)
        slowed = lr / (1 + (cast(step, dtype="float64") - 1) * lr_decay)
        for p, g, v in groups(tensors, count):
            d = wide(g)
            if weight_decay:
                d = d + weight_decay * wide(p)
            size = wide(v) + d * d
            write(v, size)
            write(p, wide(p) - cast(slowed, dtype=d.dtype) * d / (sqrt(size) + eps))
    return step


@op(mutates=stepped, nondifferentiable=True)
def lion_(
    lr: Tensor,
    *tensors: Tensor,
    count: int,
    beta1: float = 0.9,
    beta2: float = 0.99,
    weight_decay: float = 0.0,
    decoupled: bool = False,
) -> Any:
    """One step of Lion (Chen et al., 2023): of ``lr`` for each element, whatever its gradient. Returns ``lr``.

    ``tensors``: ``count`` parameters, gradients, and their means. The step goes against the sign of
    ``beta1 m + (1 - beta1) g``; then ``m = beta2 m + (1 - beta2) g``.

    >>> p, m = Tensor([1.0, 2.0]), Tensor([0.0, 0.0])
    >>> _ = lion_(Tensor(0.1), p, Tensor([5.0, -1.0]), m, count=1)
    >>> p
    tensor([0.9, 2.1])
    """
    with no_grad():
        for p, g, m in groups(tensors, count):
            x, d, mean = wide(p), wide(g), wide(m)
            rate = cast(lr, dtype=d.dtype)
            if weight_decay and decoupled:
                x = x * (1 - rate * weight_decay)
            elif weight_decay:
                d = d + weight_decay * x
            write(m, beta2 * mean + (1 - beta2) * d)
            write(p, x - rate * sign(beta1 * mean + (1 - beta1) * d))
    return lr


@sgd_.checks
def _(lr: Any, *tensors: Any, count: int, momentum: float, **rest: Any) -> None:
    matching("sgd_", tensors, count, (3,) if momentum else (2, 3))


@adam_.checks
def _(step: Any, lr: Any, *tensors: Any, count: int, amsgrad: bool, **rest: Any) -> None:
    matching("adam_", tensors, count, (5,) if amsgrad else (4,))


@rmsprop_.checks
def _(lr: Any, *tensors: Any, count: int, momentum: float, centered: bool, **rest: Any) -> None:
    matching("rmsprop_", tensors, count, (3 + bool(centered) + bool(momentum),))


@adagrad_.checks
def _(step: Any, lr: Any, *tensors: Any, count: int, **rest: Any) -> None:
    matching("adagrad_", tensors, count, (3,))


@lion_.checks
def _(lr: Any, *tensors: Any, count: int, **rest: Any) -> None:
    matching("lion_", tensors, count, (3,))


@op(mutates=lambda *gradients, **_: gradients, nondifferentiable=True)
def clip_norm_(*gradients: Tensor, max_norm: float, ord: float = 2.0) -> Any:
    """Scale all gradients by one factor so that their norm, as of one vector, is at most ``max_norm``; return the norm before.

    >>> g = Tensor([3.0, 4.0])
    >>> clip_norm_(g, max_norm=1.0), g
    (tensor(5.), tensor([0.6, 0.8]))
    """
    with no_grad():
        total = norm(stack([norm(wide(g), ord=ord) for g in gradients]), ord=ord)
        factor = clip(max_norm / (total + 1e-6), max=1.0)
        for g in gradients:
            write(g, wide(g) * cast(factor, dtype=wide(g).dtype))
    return total
