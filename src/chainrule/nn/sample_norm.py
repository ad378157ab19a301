"""Normalization of each sample by itself: over its last axes, or over groups of its channels."""

from __future__ import annotations

from typing import Any

from ..domain.errors import ArgumentError, ShapeError
from ..ops.norm import group_norm, layer_norm, rms_norm
from ..tensor import Tensor
from .layer import Layer, count
from .parameter import Parameter
from .registry import register


def last_sizes(layer: str, value: Any) -> tuple[int, ...] | None:
    """The shape of the axes to normalize over: an integer, or some; None if it waits for the first input."""
    if value is None:
        return None
    some = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    if not some:
        raise ArgumentError(f"{layer}: normalized_shape is {value!r}, expected an integer or some of them")
    for n in some:
        count(layer, "normalized_shape", n)
    return some


def positive(layer: str, eps: float) -> float:
    """A number that keeps a division from 0. Errors: ArgumentError."""
    if not eps >= 0:
        raise ArgumentError(f"{layer}: eps is {eps!r}, expected a positive number")
    return eps


class LastAxes(Layer):
    """What LayerNorm and RMSNorm have in common."""

    follows_as = None
    normalized_shape: tuple[int, ...] | None
    weight: Parameter | None
    bias: Parameter | None = None
    _dtype: str

    def _shaped(self, x: Tensor) -> tuple[int, ...]:
        """The shape of the axes, that of the last axis of the first input if none was given."""
        if self.normalized_shape is None:
            if not x.ndim:
                raise ShapeError(f"{type(self).__name__}: x is a number; an axis to normalize over is needed")
            self.normalized_shape = x.shape[-1:]
        for tensor in (self.weight, self.bias):
            if tensor is not None and not tensor.is_built:
                tensor.build(self.normalized_shape)
        return self.normalized_shape

    @property
    def elementwise_affine(self) -> bool:
        """Whether it has a weight."""
        return self.weight is not None

    @property
    def dtype(self) -> str:
        """The dtype of the parameters."""
        return self._dtype if self.weight is None else self.weight.dtype


@register
class LayerNorm(LastAxes):
    """Each sample to mean 0 and variance 1 over its last axes, then times ``weight`` plus ``bias`` (Ba et al., 2016).

    ``normalized_shape`` is the shape of these axes, or the size of the last one, which may be left out and is then taken
    from the first input. Without ``elementwise_affine`` there is neither weight nor bias. Errors: ShapeError if x does not
    end in that shape.

    >>> import chainrule as cr
    >>> LayerNorm(eps=0.0)(cr.tensor([[1.0, 3.0], [0.0, 10.0]])).tolist()
    [[-1.0, 1.0], [-1.0, 1.0]]
    """

    def __init__(
        self,
        normalized_shape: Any = None,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        dtype: str = "float32",
    ) -> None:
        self.normalized_shape = last_sizes("LayerNorm", normalized_shape)
        self.eps, self._dtype = positive("LayerNorm", eps), dtype
        first, affine = self.normalized_shape or (None,), elementwise_affine
        self.weight = Parameter(shape=first, init="ones", dtype=dtype, name="weight") if affine else None
        self.bias = Parameter(shape=first, dtype=dtype, name="bias") if affine and bias else None

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        shape = self._shaped(x)
        y: Tensor = layer_norm(x, self.weight, self.bias, normalized_shape=shape, eps=self.eps)
        return y


@register
class RMSNorm(LastAxes):
    """Each sample to a mean square of 1 over its last axes, then times ``weight`` (Zhang and Sennrich, 2019).

    ``normalized_shape`` as in LayerNorm. ``eps`` is added to the mean square; None is the difference between 1 and the
    next number of the dtype.

    >>> import chainrule as cr
    >>> RMSNorm(2)(cr.tensor([[3.0, -3.0]])).tolist()
    [[1.0, -1.0]]
    """

    def __init__(
        self,
        normalized_shape: Any = None,
        eps: float | None = None,
        elementwise_affine: bool = True,
        *,
        dtype: str = "float32",
    ) -> None:
        self.normalized_shape = last_sizes("RMSNorm", normalized_shape)
        self.eps, self._dtype = None if eps is None else positive("RMSNorm", eps), dtype
        first = self.normalized_shape or (None,)
        self.weight = Parameter(shape=first, init="ones", dtype=dtype, name="weight") if elementwise_affine else None

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        shape = self._shaped(x)
        y: Tensor = rms_norm(x, self.weight, normalized_shape=shape, eps=self.eps)
        return y


@register
class GroupNorm(Layer):
    """Each sample to mean 0 and variance 1 over each group of its channels (axis 1), then scaled (Wu and He, 2018).

    ``weight`` and ``bias`` (channels,) are there if ``affine``. ``num_channels`` may be left out and is then taken from
    the first input. Errors: ArgumentError if ``num_groups`` does not divide it; ShapeError if x has another number.

    >>> import chainrule as cr
    >>> GroupNorm(2, eps=0.0)(cr.tensor([[1.0, 3.0, 0.0, 10.0]])).tolist()
    [[-1.0, 1.0, -1.0, 1.0]]
    """

    follows_as = None
    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self,
        num_groups: int,
        num_channels: int | None = None,
        eps: float = 1e-5,
        affine: bool = True,
        *,
        dtype: str = "float32",
    ) -> None:
        self.num_groups, self.eps, self.affine = count("GroupNorm", "num_groups", num_groups), eps, affine
        if num_channels is not None and count("GroupNorm", "num_channels", num_channels) % num_groups:
            raise ArgumentError(f"GroupNorm: {num_channels} channels cannot be divided into {num_groups} groups")
        positive("GroupNorm", eps)
        self.num_channels, self._dtype = num_channels, dtype
        self.weight = Parameter(shape=(num_channels,), init="ones", dtype=dtype, name="weight") if affine else None
        self.bias = Parameter(shape=(num_channels,), dtype=dtype, name="bias") if affine else None

    @property
    def dtype(self) -> str:
        """The dtype of the parameters."""
        return self._dtype if self.weight is None else self.weight.dtype

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        if x.ndim > 1 and self.num_channels is None:
            self.num_channels = x.shape[1]
        if x.ndim > 1 and self.num_channels != x.shape[1]:
            raise ShapeError(
                f"[group_norm] x has {x.shape[1]} channels (axis 1 of {x.shape}) but GroupNorm has {self.num_channels}"
            )
        for tensor in (self.weight, self.bias):
            if tensor is not None and not tensor.is_built and x.ndim > 1:
                tensor.build(x.shape[1:2])
        y: Tensor = group_norm(x, self.weight, self.bias, num_groups=self.num_groups, eps=self.eps)
        return y
