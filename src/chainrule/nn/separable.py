"""Convolutions that treat channels apart: depthwise ones, and separable ones, which mix the channels afterwards."""

from __future__ import annotations

from typing import Any

from ..domain.errors import ArgumentError
from ..tensor import Tensor
from .conv import Conv1d, Conv2d, Convolution, channels, check_input, each
from .layer import Layer, count, given_init, suitable
from .parameter import Parameter
from .registry import register


class Depthwise(Convolution):
    """What DepthwiseConv1d and DepthwiseConv2d have in common."""

    def __init__(
        self,
        in_channels: int | None = None,
        kernel_size: Any = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        depth_multiplier: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        init: Any = None,
        dtype: str = "float32",
    ) -> None:
        name = type(self).__name__
        if kernel_size is None:
            raise ArgumentError(
                f"{name}: kernel_size is missing: write {name}(in_channels, kernel_size), or {name}(kernel_size=...) to take "
                "the number of channels from the first input"
            )
        self.depth_multiplier = count(name, "depth_multiplier", depth_multiplier)
        self._window(kernel_size, stride, padding, dilation, padding_mode)
        self.init = given_init(init)
        first = self.init or suitable("linear")
        rows = None if in_channels is None else count(name, "in_channels", in_channels) * depth_multiplier
        shape, groups = (rows, 1, *each(self.kernel_size)), in_channels or 1
        self.weight = Parameter(shape=shape, init=first, dtype=dtype, name="weight", groups=groups)
        self.bias = Parameter(shape=(rows,), dtype=dtype, name="bias") if bias else None

    @property
    def in_channels(self) -> int | None:
        """The number of channels of x, or None until it is known."""
        rows = self.weight.sizes[0]
        return None if rows is None else rows // self.depth_multiplier

    @property
    def groups(self) -> int | None:
        """Each channel is a group."""
        return self.in_channels

    @property
    def out_channels(self) -> int | None:
        """The number of channels of the result, or None until it is known."""
        return self.weight.sizes[0]

    def _build(self, x: Tensor) -> None:
        """Take the number of channels from x."""
        check_input(f"conv{self.axes}d", x, self.axes, self.takes)
        rows = x.shape[1] * self.depth_multiplier
        self.weight.build((rows, 1, *each(self.kernel_size)))
        if self.weight.pending is not None:
            self.weight.pending.groups = x.shape[1]
        if self.bias is not None:
            self.bias.build((rows,))


@register
class DepthwiseConv1d(Depthwise):
    """DepthwiseConv2d of sequences (n, channels, length).

    >>> import chainrule as cr
    >>> DepthwiseConv1d(kernel_size=3, padding="same")(cr.zeros(2, 4, 10)).shape
    (2, 4, 10)
    """

    axes, takes, convolve = 1, Conv1d.takes, staticmethod(Conv1d.convolve)


@register
class DepthwiseConv2d(Depthwise):
    """Each channel of an image with ``depth_multiplier`` filters of its own: a Conv2d with as many groups as channels.

    ``weight`` is (channels · depth_multiplier, 1, height, width of the kernel). The number of channels of x may be left out.
    The other arguments and the errors are those of Conv2d.

    >>> import chainrule as cr
    >>> DepthwiseConv2d(4, 3, padding=1, depth_multiplier=2)(cr.zeros(2, 4, 7, 7)).shape
    (2, 8, 7, 7)
    """

    axes, takes, convolve = 2, Conv2d.takes, staticmethod(Conv2d.convolve)


class Separable(Layer):
    """What SeparableConv1d and SeparableConv2d have in common."""

    depthwise_type: type[Depthwise]
    pointwise_type: type[Convolution]

    def __init__(
        self,
        in_channels: int | None = None,
        out_channels: int | None = None,
        kernel_size: Any = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        depth_multiplier: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        dtype: str = "float32",
    ) -> None:
        name = type(self).__name__
        in_channels, out_channels = channels(name, in_channels, out_channels, kernel_size)
        self.depthwise = self.depthwise_type(
            in_channels, kernel_size, stride, padding, dilation, depth_multiplier, False, padding_mode, dtype=dtype
        )
        middle = None if in_channels is None else in_channels * depth_multiplier
        self.pointwise = self.pointwise_type(
            middle, count(name, "out_channels", out_channels), 1, bias=bias, dtype=dtype
        )

    def __getattr__(self, name: str) -> Any:
        """The arguments are those of the two convolutions."""
        if name in ("depthwise", "pointwise"):
            raise AttributeError(f"{type(self).__name__} has no {name} yet")
        return getattr(self.pointwise if name in ("out_channels", "bias", "dtype") else self.depthwise, name)

    def suit(self, activation: str) -> None:
        """Initialize for the activation that follows."""
        self.pointwise.suit(activation)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        y: Tensor = self.pointwise(self.depthwise(x))
        return y


@register
class SeparableConv1d(Separable):
    """SeparableConv2d of sequences (n, channels, length).

    >>> import chainrule as cr
    >>> SeparableConv1d(8, kernel_size=3, padding="same")(cr.zeros(2, 4, 10)).shape
    (2, 8, 10)
    """

    depthwise_type, pointwise_type = DepthwiseConv1d, Conv1d


@register
class SeparableConv2d(Separable):
    """A depthwise convolution without bias, then one of 1 x 1 that mixes the channels (Chollet, 2017): far fewer weights.

    Arguments are those of Conv2d and DepthwiseConv2d; the layers are ``depthwise`` and ``pointwise``. The number of channels
    of x may be left out.

    >>> import chainrule as cr
    >>> layer = SeparableConv2d(32, 64, 3, padding=1)
    >>> layer(cr.zeros(2, 32, 7, 7)).shape, sum(p.size for p in layer.parameters())
    ((2, 64, 7, 7), 2400)
    """

    depthwise_type, pointwise_type = DepthwiseConv2d, Conv2d
