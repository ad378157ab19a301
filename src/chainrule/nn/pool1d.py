"""Pooling layers of sequences (n, channels, length)."""

from __future__ import annotations

from typing import Any

from ..domain.errors import ArgumentError
from ..ops._pool1d import avg_pool1d, lp_pool1d, max_pool1d, max_pool1d_with_indices
from ..tensor import Tensor
from .layer import Activation, Layer, count
from .registry import register


class Pool1d(Layer):
    """What the pooling layers of sequences have in common: windows of a size, at a stride, with padding."""

    follows_as = None

    def __init__(self, kernel_size: int, stride: int | None = None, padding: int = 0) -> None:
        name = type(self).__name__
        self.kernel_size = count(name, "kernel_size", kernel_size)
        self.stride = kernel_size if stride is None else count(name, "stride", stride)
        if not isinstance(padding, int) or padding < 0 or 2 * padding > kernel_size:
            raise ArgumentError(
                f"{name}: padding is {padding!r}, expected an integer from 0 to half of kernel_size {kernel_size}"
            )
        self.padding = padding


@register
class MaxPool1d(Pool1d):
    """``MaxPool2d`` of sequences: the largest value of every window.

    >>> import chainrule as cr
    >>> MaxPool1d(2)(cr.tensor([[[1.0, 3.0, 2.0, 0.0]]]))
    tensor([[[3., 2.]]])
    """

    def __init__(
        self,
        kernel_size: int,
        stride: int | None = None,
        padding: int = 0,
        dilation: int = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding)
        self.dilation = count("MaxPool1d", "dilation", dilation)
        self.return_indices, self.ceil_mode = return_indices, ceil_mode

    def forward(self, x: Tensor) -> Any:
        """See the class."""
        return (max_pool1d_with_indices if self.return_indices else max_pool1d)(
            x,
            kernel_size=self.kernel_size,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            ceil_mode=self.ceil_mode,
        )


@register
class AvgPool1d(Pool1d):
    """``AvgPool2d`` of sequences: the mean of every window.

    >>> import chainrule as cr
    >>> AvgPool1d(2)(cr.tensor([[[1.0, 3.0, 2.0, 0.0]]]))
    tensor([[[2., 1.]]])
    """

    def __init__(
        self,
        kernel_size: int,
        stride: int | None = None,
        padding: int = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding)
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        y: Tensor = avg_pool1d(
            x,
            kernel_size=self.kernel_size,
            stride=self.stride,
            padding=self.padding,
            count_include_pad=self.count_include_pad,
            ceil_mode=self.ceil_mode,
        )
        return y


@register
class LPPool1d(Activation):
    """``LPPool2d`` of sequences: of every window the root ``norm_type`` of the sum of its values to that power.

    >>> import chainrule as cr
    >>> LPPool1d(2, 2)(cr.tensor([[[3.0, 4.0]]]))
    tensor([[[5.]]])
    """

    follows_as = None
    function = staticmethod(lp_pool1d)

    def __init__(self, norm_type: float, kernel_size: int, stride: int | None = None, ceil_mode: bool = False) -> None:
        if norm_type == 0:
            raise ArgumentError("LPPool1d: norm_type is 0, and a root of that degree is taken; give another number")
        self.norm_type, self.ceil_mode = norm_type, ceil_mode
        self.kernel_size = count("LPPool1d", "kernel_size", kernel_size)
        self.stride = kernel_size if stride is None else count("LPPool1d", "stride", stride)
