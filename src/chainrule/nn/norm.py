"""Batch normalization."""

from __future__ import annotations

from ..creation import zeros
from ..domain.errors import ArgumentError, ShapeError
from ..ops.norm import batch_norm_eval, batch_norm_train
from ..tensor import Tensor
from .layer import Layer, count
from .parameter import LazyTensor, Parameter
from .registry import register


class BatchNorm(Layer):
    """What BatchNorm1d and BatchNorm2d have in common."""

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
        momentum: float = 0.1,
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
        if not isinstance(momentum, (int, float)) or not 0 <= momentum <= 1:
            raise ArgumentError(
                f"{name}: momentum is {momentum!r}, expected the weight of the newest batch, from 0 to 1"
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
        mean: Tensor | None = self.running_mean
        var: Tensor | None = self.running_var
        y: Tensor
        if self.training or mean is None:
            if mean is None:  # the op writes them, and they are forgotten
                mean, var = zeros(x.shape[1], device=x.device), zeros(x.shape[1], device=x.device)
            y = batch_norm_train(x, self.weight, self.bias, mean, var, momentum=self.momentum, eps=self.eps)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
        else:
            y = batch_norm_eval(x, self.weight, self.bias, mean, var, eps=self.eps)
        return y

    def _build(self, x: Tensor) -> None:
        """Take the number of channels from x, or raise."""
        if x.ndim not in self.ndims:
            raise ShapeError(f"[batch_norm] x has shape {x.shape}; {type(self).__name__} takes {self.takes}")
        channels = x.shape[1]
        if self.num_features is not None:
            raise ShapeError(
                f"[batch_norm] x has {channels} channels (axis 1 of {x.shape}) but {type(self).__name__} has "
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
    buffers ``running_mean`` and ``running_var`` (unbiased) go towards them by ``momentum``; in eval mode these are used.
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
