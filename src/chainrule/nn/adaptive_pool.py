"""Pooling to a given size, and over all of an image or sequence."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

from ..domain.errors import ArgumentError, ShapeError
from ..ops._adaptive import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_max_pool1d,
    adaptive_max_pool1d_with_indices,
    adaptive_max_pool2d,
    adaptive_max_pool2d_with_indices,
)
from ..ops.elementwise import maximum, where
from ..ops.memory import cast
from ..ops.reduce import any as any_of
from ..ops.reduce import mean, sum
from ..ops.shape import unsqueeze
from ..tensor import Tensor
from .layer import Activation, Layer
from .registry import register


class Adaptive(Activation):
    """What the layers have in common that pool to a given size."""

    follows_as = None
    axes = 0

    def __init__(self, output_size: Any) -> None:
        sizes = output_size if isinstance(output_size, (tuple, list)) else (output_size,) * self.axes
        if len(sizes) != self.axes or any(m is not None and (type(m) is not int or m < 1) for m in sizes):
            expected = "a positive integer" if self.axes == 1 else "a positive integer or a pair of them"
            raise ArgumentError(
                f"{type(self).__name__}: output_size is {output_size!r}, expected {expected}; None keeps the size of x"
            )
        self.output_size = tuple(sizes)


@register
class AdaptiveAvgPool1d(Adaptive):
    """The mean of each of ``output_size`` windows that divide a sequence (n, channels, length).

    >>> import chainrule as cr
    >>> AdaptiveAvgPool1d(2)(cr.tensor([[[1.0, 2.0, 3.0]]]))
    tensor([[[1.5, 2.5]]])
    """

    axes = 1
    function = staticmethod(adaptive_avg_pool1d)


@register
class AdaptiveAvgPool2d(Adaptive):
    """The mean of each window that divides an image; the result is (n, channels, *output_size), whatever the image is.

    ``output_size`` is an integer or a pair; None keeps the size of x.

    >>> import chainrule as cr
    >>> AdaptiveAvgPool2d((3, None))(cr.zeros(2, 8, 10, 7)).shape
    (2, 8, 3, 7)
    """

    axes = 2
    function = staticmethod(adaptive_avg_pool2d)


class AdaptiveMax(Adaptive):
    """What AdaptiveMaxPool1d and AdaptiveMaxPool2d have in common."""

    with_indices: Callable[..., Any]

    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        super().__init__(output_size)
        self.return_indices = return_indices

    def forward(self, x: Tensor) -> Any:
        """See the class."""
        return (self.with_indices if self.return_indices else self.function)(x, output_size=self.output_size)


@register
class AdaptiveMaxPool1d(AdaptiveMax):
    """The largest value of each of ``output_size`` windows that divide a sequence (n, channels, length).

    With ``return_indices`` the result is (y, indices): where the largest values are.

    >>> import chainrule as cr
    >>> AdaptiveMaxPool1d(2)(cr.tensor([[[1.0, 2.0, 3.0]]]))
    tensor([[[2., 3.]]])
    """

    axes = 1
    function = staticmethod(adaptive_max_pool1d)
    with_indices = staticmethod(adaptive_max_pool1d_with_indices)


@register
class AdaptiveMaxPool2d(AdaptiveMax):
    """The largest value of each window that divides an image, as in AdaptiveAvgPool2d.

    With ``return_indices`` the result is (y, indices): where the largest values are, row times width plus column.

    >>> import chainrule as cr
    >>> AdaptiveMaxPool2d(2)(cr.zeros(2, 8, 10, 7)).shape
    (2, 8, 2, 2)
    """

    axes = 2
    function = staticmethod(adaptive_max_pool2d)
    with_indices = staticmethod(adaptive_max_pool2d_with_indices)


class Global(Layer):
    """What the layers have in common that pool over all of a channel."""

    follows_as = None
    op = ""
    axes = 0

    def _check(self, x: Tensor) -> None:
        if x.ndim != self.axes + 2:
            takes = (
                "sequences are (n, channels, length)" if self.axes == 1 else "images are (n, channels, height, width)"
            )
            raise ShapeError(f"[{self.op}] x has shape {x.shape}; {takes}")


class GlobalSteps(Global):
    """What the layers have in common that pool over all steps of a sequence: they take a mask of those that count."""

    axes = 1

    def masked(self, *masks: Any) -> dict[str, Any]:
        """It takes the mask of x."""
        return {"mask": masks[0]}

    def _counted(self, x: Tensor, mask: Tensor) -> Any:
        """The mask, (n, 1, length)."""
        if mask.shape != (x.shape[0], x.shape[2]):
            raise ShapeError(
                f"[{self.op}] mask has shape {mask.shape} but x, (n, channels, length), has {x.shape}; where features come "
                f"last, write nn.ChannelsLast({type(self).__name__}())"
            )
        return unsqueeze(mask, axis=1)


@register
class GlobalAvgPool1d(GlobalSteps):
    """The mean of every channel of a sequence: (n, channels, 1). A ``Flatten`` after it gives (n, channels).

    With ``mask`` (n, length) the steps where it is False do not count; without any that counts the mean is 0.

    >>> import chainrule as cr
    >>> GlobalAvgPool1d()(cr.ones(2, 8, 7)).shape
    (2, 8, 1)
    """

    op = "global_avg_pool1d"

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """See the class."""
        self._check(x)
        y: Tensor
        if mask is None:
            y = mean(x, axis=2, keepdims=True)
        else:
            counted = self._counted(x, mask)
            total = sum(where(counted, x, 0.0), axis=2, keepdims=True)
            y = total / maximum(sum(cast(counted, dtype=x.dtype), axis=2, keepdims=True), 1.0)
        return y


@register
class GlobalAvgPool2d(Global):
    """The mean of every channel: (n, channels, 1, 1). A ``Flatten`` after it gives (n, channels).

    >>> import chainrule as cr
    >>> GlobalAvgPool2d()(cr.ones(2, 8, 7, 7)).shape
    (2, 8, 1, 1)
    """

    op, axes = "global_avg_pool2d", 2

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        self._check(x)
        y: Tensor = mean(x, axis=(2, 3), keepdims=True)
        return y


@register
class GlobalMaxPool1d(GlobalSteps):
    """The largest value of every channel of a sequence: (n, channels, 1). ``mask`` as in GlobalAvgPool1d.

    >>> import chainrule as cr
    >>> GlobalMaxPool1d()(cr.ones(2, 8, 7)).shape
    (2, 8, 1)
    """

    op = "global_max_pool1d"

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """See the class."""
        self._check(x)
        y: Tensor
        if mask is None:
            y = adaptive_max_pool1d(x, output_size=1)
        else:
            counted = self._counted(x, mask)
            y = adaptive_max_pool1d(where(counted, x, -inf), output_size=1)
            y = where(any_of(counted, axis=2, keepdims=True), y, 0.0)
        return y


@register
class GlobalMaxPool2d(Global):
    """The largest value of every channel: (n, channels, 1, 1). A ``Flatten`` after it gives (n, channels).

    >>> import chainrule as cr
    >>> GlobalMaxPool2d()(cr.ones(2, 8, 7, 7)).shape
    (2, 8, 1, 1)
    """

    op, axes = "global_max_pool2d", 2

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        self._check(x)
        y: Tensor = adaptive_max_pool2d(x, output_size=1)
        return y
