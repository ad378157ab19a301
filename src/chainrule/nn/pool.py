"""Pooling layers: images (n, channels, height, width) made smaller."""

from __future__ import annotations

from typing import Any

from ..domain.errors import ArgumentError
from ..ops._pool1d import lp_pool2d
from ..ops.pool import avg_pool2d, max_pool2d, max_pool2d_with_indices
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

    With ``ceil_mode`` a last window that reaches beyond the image counts, too. With ``return_indices`` the result is
    (y, indices): where the largest values are, row times width plus column.

    >>> import chainrule as cr
    >>> MaxPool2d(2)(cr.tensor([[[[1.0, 2.0], [4.0, 3.0]]]]))
    tensor([[[[4.]]]])
    """

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding)
        self.dilation = pair("MaxPool2d", "dilation", dilation, 1)
        self.return_indices, self.ceil_mode = return_indices, ceil_mode

    def forward(self, x: Tensor) -> Any:
        """See the class."""
        return (max_pool2d_with_indices if self.return_indices else max_pool2d)(
            x,
            kernel_size=self.kernel_size,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            ceil_mode=self.ceil_mode,
        )


@register
class AvgPool2d(Pool2d):
    """The mean of every window; zeros of the padding count, unless ``count_include_pad`` is false.

    With ``ceil_mode`` a last window that reaches beyond the image and its padding counts, too.

    >>> import chainrule as cr
    >>> AvgPool2d(2)(cr.tensor([[[[1.0, 2.0], [4.0, 3.0]]]]))
    tensor([[[[2.5]]]])
    """

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding)
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        y: Tensor = avg_pool2d(
            x,
            kernel_size=self.kernel_size,
            stride=self.stride,
            padding=self.padding,
            count_include_pad=self.count_include_pad,
            ceil_mode=self.ceil_mode,
        )
        return y


@register
class LPPool2d(Layer):
    """Of every window the root ``norm_type`` of the sum of its values to that power.

    >>> import chainrule as cr
    >>> LPPool2d(2, (1, 2))(cr.tensor([[[[3.0, 4.0]]]]))
    tensor([[[[5.]]]])
    """

    follows_as = None

    def __init__(self, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> None:
        if norm_type == 0:
            raise ArgumentError("LPPool2d: norm_type is 0, and a root of that degree is taken; give another number")
        self.norm_type, self.ceil_mode = norm_type, ceil_mode
        self.kernel_size = pair("LPPool2d", "kernel_size", kernel_size, 1)
        self.stride = self.kernel_size if stride is None else pair("LPPool2d", "stride", stride, 1)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        y: Tensor = lp_pool2d(
            x, norm_type=self.norm_type, kernel_size=self.kernel_size, stride=self.stride, ceil_mode=self.ceil_mode
        )
        return y
