"""The normalisation room. Channels are axis 1; ``x`` is (n, c), (n, c, l) or (n, c, h, w)."""

from __future__ import annotations

from typing import Any

from ..domain.errors import ShapeError
from ..modes import no_grad
from ..tensor import Tensor
from ._axes import count
from ._layer_norm import group_norm as group_norm
from ._layer_norm import layer_norm as layer_norm
from ._layer_norm import rms_norm as rms_norm
from ._op import op
from ._widened import wide
from .elementwise import rsqrt
from .memory import assign, cast
from .reduce import mean, sum
from .shape import reshape


def others(x: Any) -> tuple[int, ...]:
    """All axes but that of the channels."""
    return (0, *range(2, x.ndim))


def channels(v: Any, x: Any) -> Any:
    """A value for each channel, in a shape that broadcasts with ``x``."""
    return wide(reshape(v, shape=(-1, *(1,) * (x.ndim - 2))))


def normalised(x: Any, eps: float) -> tuple[Any, Any, Any, Any]:
    """``x`` with mean 0 and variance 1 in each channel; what it was multiplied by; the mean and the variance."""
    m = mean(x, axis=others(x), keepdims=True)
    d = x - m
    v = mean(d * d, axis=others(x), keepdims=True)
    r = rsqrt(v + eps)
    return d * r, r, m, v


def scaled(y: Any, weight: Any, bias: Any, like: Any) -> Any:
    """``y * weight + bias`` in the dtype of ``like``."""
    y = y if weight is None else y * channels(weight, y)
    y = y if bias is None else y + channels(bias, y)
    return y if y.dtype == like.dtype else cast(y, dtype=like.dtype)


@op(mutates=lambda x, weight, bias, running_mean, running_var, **params: [running_mean, running_var])
def batch_norm_train(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor,
    running_var: Tensor,
    *,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    """Each channel with mean 0 and variance 1 over the batch, times ``weight`` plus ``bias`` (Ioffe and Szegedy, 2015).

    Writes the running statistics: ``momentum`` of the batch's mean and (unbiased) variance, the rest of what they were. The
    other arguments are (c,). Errors: ShapeError for a wrong number of channels, or one element in a channel.

    Formula: ``y = u · weight + bias``, ``u = (x - m) r``, r = 1 / √(v + eps), m and v of each channel. Gradient:
    ``dx = r (h - mean(h) - u mean(h u))``, h = g · weight; ``dweight = Σ g u``, ``dbias = Σ g``. Shapes: ``y`` as ``x``.

    >>> running_mean, running_var = Tensor([0.0]), Tensor([1.0])
    >>> batch_norm_train(Tensor([[1.0], [3.0]]), None, None, running_mean, running_var, momentum=0.5)
    tensor([[-1.],
            [ 1.]])
    >>> running_mean, running_var
    (tensor([1.]), tensor([1.5]))
    """
    y, _, m, v = normalised(wide(x), eps)
    with no_grad():
        n = count(x.shape, others(x))
        for running, new in ((running_mean, m), (running_var, v * (n / (n - 1)))):
            mixed = running * (1 - momentum) + reshape(new.detach(), shape=(-1,)) * momentum
            assign(running, cast(mixed, dtype=running.dtype))
    return scaled(y, weight, bias, x)


@batch_norm_train.vjp("x")
def _(g: Any, x: Any, weight: Any, eps: float) -> Any:
    y, r, *_ = normalised(wide(x), eps)
    g = wide(g) if weight is None else wide(g) * channels(weight, x)
    axes = others(x)
    g = r * (g - mean(g, axis=axes, keepdims=True) - y * mean(g * y, axis=axes, keepdims=True))
    return g if g.dtype == x.dtype else cast(g, dtype=x.dtype)


@batch_norm_train.vjp("weight")
def _(g: Any, x: Any, weight_dtype: Any, eps: float) -> Any:
    return cast(sum(wide(g) * normalised(wide(x), eps)[0], axis=others(x)), dtype=weight_dtype)


@batch_norm_train.vjp("bias")
def _(g: Any, bias_dtype: Any) -> Any:
    return cast(sum(wide(g), axis=others(g)), dtype=bias_dtype)


@op
def batch_norm_eval(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor, var: Tensor, *, eps: float = 1e-5
) -> Any:
    """``(x - mean) / sqrt(var + eps) * weight + bias`` for each channel: batch normalisation with given statistics.

    All but ``x`` are (c,). Errors: ShapeError for a wrong number of channels.

    Formula: ``y = (x - mean) r · weight + bias``, r = 1 / √(var + eps). Gradient: ``dx = g r weight``,
    ``dweight = Σ g (x - mean) r``, ``dbias = Σ g``. Shapes: ``y`` as ``x``.

    >>> batch_norm_eval(Tensor([[1.0], [3.0]]), None, None, Tensor([1.0]), Tensor([4.0]), eps=0.0)
    tensor([[0.],
            [1.]])
    """
    y = (wide(x) - channels(mean, x)) * rsqrt(channels(var, x) + eps)
    return scaled(y, weight, bias, x)


def check(name: str, x: Any, **per_channel: Any) -> None:
    """Raise unless ``x`` has channels, and the others a value for each."""
    if x.ndim < 2:
        raise ShapeError(f"[{name}] x has shape {x.shape}; it should be (n, channels, ...)")
    for key, v in per_channel.items():
        if v is not None and v.shape != x.shape[1:2]:
            raise ShapeError(
                f"[{name}] x has {x.shape[1]} channels (axis 1 of {x.shape}) but {key} has shape {v.shape}"
            )


@batch_norm_train.checks
def _(x: Any, weight: Any, bias: Any, running_mean: Any, running_var: Any, **params: Any) -> None:
    check("batch_norm_train", x, weight=weight, bias=bias, running_mean=running_mean, running_var=running_var)
    if count(x.shape, others(x)) == 1:
        raise ShapeError(
            f"[batch_norm_train] x has one element in each channel (shape {x.shape}), and so no variance: train on larger "
            "batches, or use eval()"
        )


@batch_norm_eval.checks
def _(x: Any, weight: Any, bias: Any, mean: Any, var: Any, *, eps: float) -> None:
    check("batch_norm_eval", x, weight=weight, bias=bias, mean=mean, var=var)
