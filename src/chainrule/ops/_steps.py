"""What the steps of the optimizer room share, and those of Adam's relatives: a file of its own for its length."""

from __future__ import annotations

from typing import Any

from ..domain.errors import ArgumentTypeError, ShapeError
from ..modes import no_grad
from ..tensor import Tensor
from ._op import op
from ._widened import wide
from .elementwise import abs, maximum, sqrt, where
from .memory import assign, cast


def groups(tensors: Any, count: int) -> list[tuple[Any, ...]]:
    """Parameter, gradient and state of each parameter."""
    return list(zip(*[tensors[i : i + count] for i in range(0, len(tensors), count or 1)], strict=True))


def write(x: Any, v: Any) -> None:
    """``v`` into the memory of ``x``, in its dtype."""
    assign(x, v if v.dtype == x.dtype else cast(v, dtype=x.dtype))


def stepped(lr: Any, *tensors: Any, count: int, **rest: Any) -> list[Any]:
    """What a step without a count of steps writes to."""
    return [*tensors[:count], *tensors[2 * count :]]


def adapted(step: Any, lr: Any, *tensors: Any, count: int, **rest: Any) -> list[Any]:
    """What a step with a count of steps writes to."""
    return [step, *tensors[:count], *tensors[2 * count :]]


def matching(name: str, tensors: Any, count: int, states: tuple[int, ...]) -> None:
    """Raise unless there are so many tensors, and of each parameter those of one shape."""
    if count < 0 or len(tensors) not in [n * count for n in states]:
        each = " or ".join(str(n) for n in states)
        raise ArgumentTypeError(
            f"[{name}] {len(tensors)} tensors are given, but {count} parameters need {each} times as many"
        )
    shapes = [x.shape for x in tensors]
    for i in range(count):
        for shape in shapes[i + count :: count]:
            if shape != shapes[i]:
                raise ShapeError(f"[{name}] parameter {i} has shape {shapes[i]}, but a gradient or state {shape}")


@op(mutates=adapted, nondifferentiable=True)
def adamax_(
    step: Tensor,
    lr: Tensor,
    *tensors: Tensor,
    count: int,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
) -> Any:
    """One step of Adamax (Kingma and Ba, 2014, section 7.1). Counts ``step`` up first, and returns it.

    ``tensors``: ``count`` parameters, gradients, their means, and the largest of them, which is at least what is left of it:
    ``u = max(beta2 u, |g| + eps)``; ``p = p - lr / (1 - beta1^t) m / u``.

    >>> p, m, u = Tensor([1.0, 2.0]), Tensor([0.0, 0.0]), Tensor([0.0, 0.0])
    >>> _ = adamax_(Tensor(0.0), Tensor(0.1), p, Tensor([5.0, -1.0]), m, u, count=1)
    >>> p
    tensor([0.9, 2.1])
    """
    with no_grad():
        assign(step, step + 1)
        rate = lr / (1 - beta1 ** cast(step, dtype="float64"))
        for p, g, m, u in groups(tensors, count):
            d = wide(g)
            if weight_decay:
                d = d + weight_decay * wide(p)
            mean = wide(m) + (1 - beta1) * (d - wide(m))
            top = maximum(beta2 * wide(u), abs(d) + eps)
            write(m, mean)
            write(u, top)
            write(p, wide(p) - cast(rate, dtype=d.dtype) * (mean / top))
    return step


@op(mutates=adapted, nondifferentiable=True)
def nadam_(
    step: Tensor,
    lr: Tensor,
    *tensors: Tensor,
    count: int,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    momentum_decay: float = 4e-3,
) -> Any:
    """One step of NAdam (Dozat, 2016; as PyTorch writes it). Counts ``step`` up first, and returns it.

    ``tensors``: ``count`` parameters, gradients, means of the gradients and of their squares, and the products of the
    momenta so far, which are numbers. The momentum of step t is ``beta1 (1 - 0.5 · 0.96^(t · momentum_decay))``.

    >>> p, m, v = Tensor([1.0, 2.0]), Tensor([0.0, 0.0]), Tensor([0.0, 0.0])
    >>> _ = nadam_(Tensor(0.0), Tensor(0.1), p, Tensor([5.0, -1.0]), m, v, Tensor(1.0), count=1, momentum_decay=0.0)
    >>> p
    tensor([0.8944, 2.1056])
    """
    with no_grad():
        assign(step, step + 1)
        t = cast(step, dtype="float64")
        now, following = (beta1 * (1 - 0.5 * 0.96 ** (s * momentum_decay)) for s in (t, t + 1))
        for p, g, m, v, product in groups(tensors, count):
            d = wide(g)
            if weight_decay:
                d = d + weight_decay * wide(p)
            write(product, product * now)
            mean = wide(m) + (1 - beta1) * (d - wide(m))
            square = beta2 * wide(v) + (1 - beta2) * (d * d)
            write(m, mean)
            write(v, square)
            size = sqrt(square / cast(1 - beta2**t, dtype=d.dtype)) + eps
            of_gradient = cast(lr * (1 - now) / (1 - product), dtype=d.dtype)
            of_mean = cast(lr * following / (1 - product * following), dtype=d.dtype)
            write(p, wide(p) - of_gradient * (d / size) - of_mean * (mean / size))
    return step


@op(mutates=adapted, nondifferentiable=True)
def radam_(
    step: Tensor,
    lr: Tensor,
    *tensors: Tensor,
    count: int,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
) -> Any:
    """One step of RAdam (Liu et al., 2019; as PyTorch writes it). Counts ``step`` up first, and returns it.

    ``tensors``: ``count`` parameters, gradients, and means of the gradients and of their squares. While the mean of squares
    is that of no more than 5 steps it does not count.

    >>> p, m, v = Tensor([1.0, 2.0]), Tensor([0.0, 0.0]), Tensor([0.0, 0.0])
    >>> _ = radam_(Tensor(0.0), Tensor(0.1), p, Tensor([2.0, -1.0]), m, v, count=1)
    >>> p
    tensor([0.8, 2.1])
    """
    with no_grad():
        assign(step, step + 1)
        t = cast(step, dtype="float64")
        fraction1, fraction2, longest = 1 - beta1**t, 1 - beta2**t, 2 / (1 - beta2) - 1
        length = longest - 2 * t * beta2**t / fraction2  # of the average that the mean of squares is
        worth = length > 5
        known = where(worth, length, 6.0)  # any number for which the root exists
        ratio = (known - 4) * (known - 2) * longest / ((longest - 4) * (longest - 2) * known)
        for p, g, m, v in groups(tensors, count):
            d = wide(g)
            if weight_decay:
                d = d + weight_decay * wide(p)
            mean = wide(m) + (1 - beta1) * (d - wide(m))
            square = beta2 * wide(v) + (1 - beta2) * (d * d)
            write(m, mean)
            write(v, square)
            rate = lr / fraction1
            adapted = cast(rate * sqrt(ratio * fraction2), dtype=d.dtype) * (mean / (sqrt(square) + eps))
            write(p, wide(p) - where(worth, adapted, cast(rate, dtype=d.dtype) * mean))
    return step


@op(mutates=adapted, nondifferentiable=True)
def adadelta_(
    step: Tensor,
    lr: Tensor,
    *tensors: Tensor,
    count: int,
    rho: float = 0.9,
    eps: float = 1e-6,
    weight_decay: float = 0.0,
) -> Any:
    """One step of Adadelta (Zeiler, 2012). Counts ``step`` up first, and returns it.

    ``tensors``: ``count`` parameters, gradients, and means of the squares of the gradients and of the changes:
    ``change = sqrt(moved + eps) / sqrt(square + eps) g``; ``p = p - lr change``.

    >>> p, v, moved = Tensor([1.0, 2.0]), Tensor([0.0, 0.0]), Tensor([0.0, 0.0])
    >>> _ = adadelta_(Tensor(0.0), Tensor(1.0), p, Tensor([5.0, -1.0]), v, moved, count=1, eps=1e-3)
    >>> p
    tensor([0.9   , 2.0995])
    """
    with no_grad():
        assign(step, step + 1)
        for p, g, v, moved in groups(tensors, count):
            d = wide(g)
            if weight_decay:
                d = d + weight_decay * wide(p)
            square = rho * wide(v) + (1 - rho) * (d * d)
            change = sqrt(wide(moved) + eps) / sqrt(square + eps) * d
            write(v, square)
            write(moved, rho * wide(moved) + (1 - rho) * (change * change))
            write(p, wide(p) - cast(lr, dtype=d.dtype) * change)
    return step


@adamax_.checks
def _(step: Any, lr: Any, *tensors: Any, count: int, **rest: Any) -> None:
    matching("adamax_", tensors, count, (4,))


@radam_.checks
def _(step: Any, lr: Any, *tensors: Any, count: int, **rest: Any) -> None:
    matching("radam_", tensors, count, (4,))


@adadelta_.checks
def _(step: Any, lr: Any, *tensors: Any, count: int, **rest: Any) -> None:
    matching("adadelta_", tensors, count, (4,))


@nadam_.checks
def _(step: Any, lr: Any, *tensors: Any, count: int, **rest: Any) -> None:
    if count < 0 or len(tensors) != 5 * count:
        matching("nadam_", tensors, count, (5,))
    matching("nadam_", tensors[: 4 * count], count, (4,))
    for product in tensors[4 * count :]:
        if product.shape:
            raise ShapeError(f"[nadam_] the product of the momenta is a number, but one has shape {product.shape}")
