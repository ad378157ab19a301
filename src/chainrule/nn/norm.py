"""Batch and instance normalization."""

from __future__ import annotations

from typing import Any

from ..creation import zeros
from ..domain.errors import ArgumentError, ShapeError
from ..modes import no_grad
from ..ops.norm import batch_norm_eval, batch_norm_train, group_norm
from ..ops.reduce import var_mean
from ..tensor import Tensor
from .layer import Layer, count
from .parameter import LazyTensor, Parameter
from .registry import register


class BatchNorm(Layer):
    """What the batch norms, and with other defaults the instance norms, have in common."""

    op = "batch_norm"
    follows_as = None
    ndims: tuple[int, ...] = ()
    takes = ""
    weight: Parameter | None
    bias: Parameter | None
    running_mean: LazyTensor | None
    running_var: LazyTensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self,
        num_features: int | None = None,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        dtype: str = "float32",
    ) -> None:
        name = type(self).__name__
        if num_features is not None:
            count(name, "num_features", num_features)
        if eps <= 0:
            raise ArgumentError(f"{name}: eps is {eps!r}, expected a positive number")
        if momentum is not None and (not isinstance(momentum, (int, float)) or not 0 <= momentum <= 1):
            raise ArgumentError(
                f"{name}: momentum is {momentum!r}, expected the weight of the newest batch, from 0 to 1, or None: the mean "
                "over all batches"
            )
        self.eps, self.momentum, self.affine = eps, momentum, affine
        self.track_running_stats = track_running_stats
        self._known, self._dtype = num_features, dtype
        sizes = (num_features,)
        self.weight = Parameter(shape=sizes, init="ones", dtype=dtype, name="weight") if affine else None
        self.bias = Parameter(shape=sizes, dtype=dtype, name="bias") if affine else None
        tracked = track_running_stats
        self.register_buffer("running_mean", LazyTensor(shape=sizes, dtype=dtype) if tracked else None)
        self.register_buffer("running_var", LazyTensor(shape=sizes, init="ones", dtype=dtype) if tracked else None)
        self.register_buffer("num_batches_tracked", Tensor(0) if tracked else None)

    def _sized(self) -> LazyTensor | None:
        """A tensor that has the number of features and the dtype."""
        return self.weight if self.weight is not None else self.running_mean

    @property
    def num_features(self) -> int | None:
        """The number of channels, or None until it is known."""
        tensor = self._sized()
        return self._known if tensor is None else tensor.sizes[0]

    @property
    def dtype(self) -> str:
        """The dtype of the parameters."""
        tensor = self._sized()
        return self._dtype if tensor is None else tensor.dtype

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        if x.ndim not in self.ndims or self.num_features != x.shape[1]:
            self._build(x)
        return self._normalized(x)

    def _normalized(self, x: Tensor) -> Tensor:
        mean: Tensor | None = self.running_mean
        var: Tensor | None = self.running_var
        y: Tensor
        if self.training or mean is None:
            momentum = self.momentum
            if mean is None or momentum is None:  # the op writes into these what the batch has
                dtype = "float32" if mean is None else mean.dtype
                mean, var = (zeros(x.shape[1], dtype=dtype, device=x.device) for _ in range(2))
                momentum = 1.0
            y = batch_norm_train(x, self.weight, self.bias, mean, var, momentum=momentum, eps=self.eps)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
                if self.momentum is None:
                    self._average(mean, var)
        else:
            y = batch_norm_eval(x, self.weight, self.bias, mean, var, eps=self.eps)
        return y

    def _average(self, mean: Any, var: Any) -> None:
        """Take the statistics of the newest batch into their mean over all batches."""
        with no_grad():
            for running, new in ((self.running_mean, mean), (self.running_var, var)):
                if running is not None and self.num_batches_tracked is not None:
                    share = 1.0 / self.num_batches_tracked.to(running.dtype)
                    running.add_((new.to(running.dtype) - running) * share)

    def _build(self, x: Tensor) -> None:
        """Take the number of channels from x, or raise."""
        if x.ndim not in self.ndims:
            raise ShapeError(f"[{self.op}] x has shape {x.shape}; {type(self).__name__} takes {self.takes}")
        channels = x.shape[1]
        if self.num_features is not None:
            raise ShapeError(
                f"[{self.op}] x has {channels} channels (axis 1 of {x.shape}) but {type(self).__name__} has "
                f"{self.num_features} features"
            )
        self._known = channels
        for tensor in (self.weight, self.bias, self.running_mean, self.running_var):
            if tensor is not None:
                tensor.build((channels,))


@register
class BatchNorm1d(BatchNorm):
    """Every channel to mean 0 and variance 1 over the batch, then times ``weight`` plus ``bias`` (Ioffe and Szegedy, 2015).

    ``x`` is (n, channels) or (n, channels, length). In training the mean and the variance are those of the batch, and the
    buffers ``running_mean`` and ``running_var`` (unbiased) go towards them by ``momentum``, or with None are their means
    over all batches; in eval mode these are used.
    ``num_features`` may be left out and is then taken from the first input.

    >>> import chainrule as cr
    >>> BatchNorm1d()(cr.tensor([[1.0], [3.0]]))
    tensor([[-1.],
            [ 1.]], from='batch_norm_train')
    """

    ndims = (2, 3)
    takes = "(n, channels) or (n, channels, length)"


@register
class BatchNorm2d(BatchNorm):
    """BatchNorm1d for images (n, channels, height, width): over the batch and both axes of the image.

    >>> import chainrule as cr
    >>> BatchNorm2d(8)(cr.zeros(2, 8, 7, 7)).shape
    (2, 8, 7, 7)
    """

    ndims = (4,)
    takes = "(n, channels, height, width)"


@register
class BatchNorm3d(BatchNorm):
    """BatchNorm1d for volumes (n, channels, depth, height, width): over the batch and all three axes of the volume.

    >>> import chainrule as cr
    >>> BatchNorm3d(8)(cr.zeros(2, 8, 3, 7, 7)).shape
    (2, 8, 3, 7, 7)
    """

    ndims = (5,)
    takes = "(n, channels, depth, height, width)"


class InstanceNorm(BatchNorm):
    """What InstanceNorm1d and InstanceNorm2d have in common."""

    op = "instance_norm"

    def __init__(
        self,
        num_features: int | None = None,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        *,
        dtype: str = "float32",
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, dtype=dtype)

    def _normalized(self, x: Tensor) -> Tensor:
        mean, var = self.running_mean, self.running_var
        y: Tensor
        if mean is not None and var is not None and not self.training:
            y = batch_norm_eval(x, self.weight, self.bias, mean, var, eps=self.eps)
            return y
        axes = tuple(range(2, x.ndim))
        size = x.size // max(1, x.shape[0] * x.shape[1])
        if size == 1:
            raise ShapeError(
                f"[{self.op}] x has one element in each channel (shape {x.shape}), and so no variance: a longer x is needed"
            )
        if mean is not None and var is not None:
            with no_grad():
                new_var, new_mean = (v.mean(axis=0) for v in var_mean(x.detach(), axis=axes))
                if self.num_batches_tracked is not None:
                    self.num_batches_tracked.add_(1)
                if self.momentum is None:
                    self._average(new_mean, new_var)
                else:
                    for running, new in ((mean, new_mean), (var, new_var)):
                        running.mul_(1 - self.momentum).add_(new.to(running.dtype) * self.momentum)
        y = group_norm(x, self.weight, self.bias, num_groups=x.shape[1], eps=self.eps)
        return y


@register
class InstanceNorm1d(InstanceNorm):
    """Every channel of every sample by itself to mean 0 and variance 1 (Ulyanov et al., 2016): (n, channels, length).

    ``weight`` and ``bias`` only if ``affine``. With ``track_running_stats`` eval mode uses the mean over the samples seen,
    as BatchNorm1d does. ``num_features`` may be left out. Errors: ShapeError for a length of 1.

    >>> import chainrule as cr
    >>> InstanceNorm1d(eps=1e-9)(cr.tensor([[[1.0, 3.0], [0.0, 10.0]]])).tolist()
    [[[-1.0, 1.0], [-1.0, 1.0]]]
    """

    ndims = (3,)
    takes = "(n, channels, length)"


@register
class InstanceNorm2d(InstanceNorm):
    """InstanceNorm1d for images (n, channels, height, width): over both axes of the image.

    >>> import chainrule as cr
    >>> InstanceNorm2d(8, affine=True)(cr.rand(2, 8, 7, 7)).shape
    (2, 8, 7, 7)
    """

    ndims = (4,)
    takes = "(n, channels, height, width)"
