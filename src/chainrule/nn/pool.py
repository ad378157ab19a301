"""Pooling layers: images (n, channels, height, width) made smaller."""

from __future__ import annotations

from typing import Any

from ..domain.errors import ArgumentError
from ..ops.conv import image
from ..ops.pool import avg_pool2d, max_pool2d
from ..ops.reduce import mean
from ..tensor import Tensor
from .layer import Layer, pair
from .registry import register


class Pool2d(Layer):
    """What the pooling layers have in common: windows of a size, at a stride, with padding."""

    follows_as = None

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        name = type(self).__name__
        self.kernel_size = pair(name, "kernel_size", kernel_size, 1)
        self.stride = self.kernel_size if stride is None else pair(name, "stride", stride, 1)
        self.padding = pair(name, "padding", padding, 0)
        if any(2 * p > k for p, k in zip(self.padding, self.kernel_size, strict=True)):
            raise ArgumentError(f"{name}: padding {self.padding} is more than half of kernel_size {self.kernel_size}")


@register
class MaxPool2d(Pool2d):
    """The largest value of every window; padding never wins. ``stride`` is ``kernel_size`` if not given.

    >>> import chainrule as cr
    >>> MaxPool2d(2)(cr.tensor([[[[1.0, 2.0], [4.0, 3.0]]]]))
    tensor([[[[4.]]]])
    """

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1) -> None:
        super().__init__(kernel_size, stride, padding)
        self.dilation = pair("MaxPool2d", "dilation", dilation, 1)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        y: Tensor = max_pool2d(
            x, kernel_size=self.kernel_size, stride=self.stride, padding=self.padding, dilation=self.dilation
        )
        return y


@register
class AvgPool2d(Pool2d):
    """The mean of every window; zeros of the padding count, unless ``count_include_pad`` is false.

    >>> import chainrule as cr
    >>> AvgPool2d(2)(cr.tensor([[[[1.0, 2.0], [4.0, 3.0]]]]))
    tensor([[[[2.5]]]])
    """

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0, count_include_pad: bool = True) -> None:
        super().__init__(kernel_size, stride, padding)
        self.count_include_pad = count_include_pad

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        y: Tensor = avg_pool2d(
            x,
            kernel_size=self.kernel_size,
            stride=self.stride,
            padding=self.padding,
            count_include_pad=self.count_include_pad,
        )
        return y


@register
class GlobalAvgPool2d(Layer):
    """The mean of every channel: (n, channels, 1, 1). A ``Flatten`` after it gives (n, channels).

    >>> import chainrule as cr
    >>> GlobalAvgPool2d()(cr.ones(2, 8, 7, 7)).shape
    (2, 8, 1, 1)
    """

    follows_as = None

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        image("global_avg_pool2d", x)
        y: Tensor = mean(x, axis=(2, 3), keepdims=True)
        return y
