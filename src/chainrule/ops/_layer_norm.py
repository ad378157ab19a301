"""Norms of each sample by itself, of the normalisation room: a file of its own for its length."""

from __future__ import annotations

from typing import Any

from ..domain.errors import ArgumentError, DTypeError, ShapeError
from ..tensor import Tensor
from ._axes import sizes
from ._op import OpCall, op
from ._widened import wide
from .elementwise import rsqrt
from .memory import cast
from .reduce import mean, sum
from .shape import reshape


def last(x: Any, normalized_shape: Any) -> tuple[int, ...]:
    """The last axes of ``x``: as many as ``normalized_shape`` has."""
    return tuple(range(x.ndim - len(normalized_shape), x.ndim))


def centred(x: Any, axes: Any, eps: float) -> tuple[Any, Any]:
    """``x`` with mean 0 and variance 1 over ``axes``, and what it was multiplied by."""
    d = x - mean(x, axis=axes, keepdims=True)
    r = rsqrt(mean(d * d, axis=axes, keepdims=True) + eps)
    return d * r, r


def unit(x: Any, axes: Any, eps: float) -> tuple[Any, Any]:
    """``x`` with a mean square of 1 over ``axes``, and what it was multiplied by."""
    r = rsqrt(mean(x * x, axis=axes, keepdims=True) + eps)
    return x * r, r


def like(y: Any, dtype: Any) -> Any:
    """``y`` in a dtype."""
    return y if y.dtype == dtype else cast(y, dtype=dtype)


@op
def layer_norm(
    x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, *, normalized_shape: Any, eps: float = 1e-5
) -> Any:
    """Each sample with mean 0 and variance 1 over its last axes, times ``weight`` plus ``bias`` (Ba, Kiros, Hinton, 2016).

    ``normalized_shape`` is the shape of these axes, or the size of the last one; ``weight`` and ``bias`` have that shape.
    Errors: ShapeError if x, weight or bias do not.

    Formula: ``y = u · weight + bias``, ``u = (x - m) r``, r = 1 / √(v + eps), m and v of each sample. Gradient:
    ``dx = r (h - mean(h) - u mean(h u))``, h = g · weight; ``dweight = Σ g u``, ``dbias = Σ g``. Shapes: (…,
    normalized_shape); ``y`` as ``x``.

    >>> layer_norm(Tensor([[1.0, 3.0], [0.0, 10.0]]), normalized_shape=2, eps=0.0)
    tensor([[-1.,  1.],
            [-1.,  1.]])
    """
    y, _ = centred(wide(x), last(x, normalized_shape), eps)
    y = y if weight is None else y * wide(weight)
    return like(y if bias is None else y + wide(bias), x.dtype)


@layer_norm.vjp("x")
def _(g: Any, x: Any, weight: Any, normalized_shape: Any, eps: float) -> Any:
    axes = last(x, normalized_shape)
    y, r = centred(wide(x), axes, eps)
    g = wide(g) if weight is None else wide(g) * wide(weight)
    return like(
        r * (g - mean(g, axis=axes, keepdims=True) - y * mean(g * y, axis=axes, keepdims=True)),
        x.dtype,
    )


@layer_norm.vjp("weight")
def _(g: Any, x: Any, weight_dtype: Any, normalized_shape: Any, eps: float) -> Any:
    y, _ = centred(wide(x), last(x, normalized_shape), eps)
    return like(over_samples(wide(g) * y, normalized_shape), weight_dtype)


@layer_norm.vjp("bias")
def _(g: Any, bias_dtype: Any, normalized_shape: Any) -> Any:
    return like(over_samples(wide(g), normalized_shape), bias_dtype)


def over_samples(g: Any, normalized_shape: Any) -> Any:
    """The sum over all axes before the last."""
    axes = tuple(range(g.ndim - len(normalized_shape)))
    return sum(g, axis=axes) if axes else g


@op
def rms_norm(x: Tensor, weight: Tensor | None = None, *, normalized_shape: Any, eps: float | None = None) -> Any:
    """Each sample with a mean square of 1 over its last axes, times ``weight`` (Zhang and Sennrich, 2019).

    ``normalized_shape`` and ``weight`` as in ``layer_norm``. ``eps`` is added to the mean square; None is the difference
    between 1 and the next float32, or float64 if x is that.

    Formula: ``y = u · weight``, ``u = x r``, r = 1 / √(mean(x²) + eps). Gradient: ``dx = r (h - u mean(h u))``, h = g ·
    weight; ``dweight = Σ g u``. Shapes: (…, normalized_shape); ``y`` as ``x``.

    >>> rms_norm(Tensor([[3.0, -3.0], [0.0, 10.0]]), normalized_shape=2)
    tensor([[ 1.    , -1.    ],
            [ 0.    ,  1.4142]])
    """
    y, _ = unit(wide(x), last(x, normalized_shape), eps or 0.0)
    return like(y if weight is None else y * wide(weight), x.dtype)


@rms_norm.vjp("x")
def _(g: Any, x: Any, weight: Any, normalized_shape: Any, eps: float) -> Any:
    axes = last(x, normalized_shape)
    y, r = unit(wide(x), axes, eps)
    g = wide(g) if weight is None else wide(g) * wide(weight)
    return like(r * (g - y * mean(g * y, axis=axes, keepdims=True)), x.dtype)


@rms_norm.vjp("weight")
def _(g: Any, x: Any, weight_dtype: Any, normalized_shape: Any, eps: float) -> Any:
    y, _ = unit(wide(x), last(x, normalized_shape), eps)
    return like(over_samples(wide(g) * y, normalized_shape), weight_dtype)


def over_last_axes(call: OpCall) -> None:
    """Give a norm its shape as a tuple and eps as a number, and check that the tensors have the shape."""
    name = call.__name__

    @call.normalises
    def _(x: Any, *tensors: Any, normalized_shape: Any, eps: float | None) -> dict[str, Any]:
        if eps is None:
            eps = 2.0**-52 if x.dtype == "float64" else 2.0**-23
        return {"normalized_shape": sizes(name, normalized_shape), "eps": float(eps)}

    @call.checks
    def _(x: Any, weight: Any = None, bias: Any = None, *, normalized_shape: Any, eps: float) -> None:
        floating(name, x)
        if not normalized_shape:
            raise ArgumentError(f"[{name}] normalized_shape is empty; give the size of the last axis, or of some")
        if x.shape[-len(normalized_shape) :] != normalized_shape:
            raise ShapeError(
                f"[{name}] x has shape {x.shape}, which does not end in normalized_shape {normalized_shape}"
            )
        for key, v in (("weight", weight), ("bias", bias)):
            if v is not None and v.shape != normalized_shape:
                raise ShapeError(f"[{name}] {key} has shape {v.shape} but normalized_shape is {normalized_shape}")


def floating(name: str, x: Any) -> None:
    """Raise unless ``x`` is of floats."""
    if not x.is_floating:
        raise DTypeError(f"[{name}] x is {x.dtype}; it should be floating: cast it")


over_last_axes(layer_norm)
over_last_axes(rms_norm)


@op
def group_norm(
    x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, *, num_groups: int, eps: float = 1e-5
) -> Any:
    """Each sample with mean 0 and variance 1 over each of ``num_groups`` groups of channels (Wu and He, 2018).

    ``x`` is (n, channels, ...); ``weight`` and ``bias`` (channels,) scale and shift each channel after that. One group is
    layer normalisation over all but the first axis; as many as channels is instance normalisation. Errors: ShapeError if
    the groups do not divide the channels, or weight or bias do not fit.

    Formula: as ``layer_norm``, m and v of each group. Gradient: as in ``layer_norm``, with the means over the group.
    Shapes: ``y`` as ``x``.

    >>> group_norm(Tensor([[1.0, 3.0, 0.0, 10.0]]), num_groups=2, eps=0.0)
    tensor([[-1.,  1., -1.,  1.]])
    """
    n, c = x.shape[:2]
    size = c // num_groups
    for k in x.shape[2:]:
        size *= k
    rows = reshape(wide(x), shape=(n, num_groups, size))
    y = reshape(layer_norm(rows, normalized_shape=(size,), eps=eps), shape=x.shape)
    per_channel = (c, *(1,) * (x.ndim - 2))
    y = y if weight is None else y * reshape(wide(weight), shape=per_channel)
    return like(y if bias is None else y + reshape(wide(bias), shape=per_channel), x.dtype)


@group_norm.checks
def _(x: Any, weight: Any, bias: Any, *, num_groups: int, eps: float) -> None:
    floating("group_norm", x)
    if x.ndim < 2:
        raise ShapeError(f"[group_norm] x has shape {x.shape}; it should be (n, channels, ...)")
    if num_groups < 1 or x.shape[1] % num_groups:
        raise ShapeError(f"[group_norm] {num_groups} groups do not divide the {x.shape[1]} channels of x, {x.shape}")
    for key, v in (("weight", weight), ("bias", bias)):
        if v is not None and v.shape != x.shape[1:2]:
            raise ShapeError(
                f"[group_norm] x has {x.shape[1]} channels (axis 1 of {x.shape}) but {key} has shape {v.shape}"
            )
