"""The transposed convolution layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..domain.errors import ArgumentError, NotSupportedError, ShapeError, unknown
from ..ops._conv_transpose import conv_transpose1d, conv_transpose2d
from ..tensor import Tensor
from .conv import channels, check_groups, check_input, each, sizes
from .layer import Weighted, count, given_init, suitable
from .parameter import Parameter
from .registry import register


class TransposedConvolution(Weighted):
    """What ConvTranspose1d and ConvTranspose2d have in common."""

    axes = 0
    takes = ""
    convolve: Callable[..., Any]
    bias: Parameter | None

    def __init__(
        self,
        in_channels: int | None = None,
        out_channels: int | None = None,
        kernel_size: Any = None,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
        padding_mode: str = "zeros",
        *,
        init: Any = None,
        dtype: str = "float32",
    ) -> None:
        name, axes = type(self).__name__, self.axes
        in_channels, out_channels = channels(name, in_channels, out_channels, kernel_size)
        self.out_channels = count(name, "out_channels", out_channels)
        self.kernel_size = sizes(name, "kernel_size", kernel_size, 1, axes)
        self.stride = sizes(name, "stride", stride, 1, axes)
        self.padding = padding if isinstance(padding, str) else sizes(name, "padding", padding, 0, axes)
        self.output_padding = sizes(name, "output_padding", output_padding, 0, axes)
        self.dilation = sizes(name, "dilation", dilation, 1, axes)
        self._pads = self._padded(name)
        self.groups = count(name, "groups", groups)
        self.padding_mode = padding_mode
        if padding_mode != "zeros":
            raise NotSupportedError(f"{name}: padding_mode {padding_mode!r} is not supported, only 'zeros'")
        for o, s, d in zip(each(self.output_padding), each(self.stride), each(self.dilation), strict=True):
            if o >= s and o >= d:
                raise ArgumentError(
                    f"{name}: output_padding is {output_padding}; it should be less than stride {stride} or dilation "
                    f"{dilation}"
                )
        check_groups(name, in_channels, out_channels, groups)
        self.init = given_init(init)
        first = self.init or suitable("linear")
        shape = (in_channels, self.out_channels // groups, *each(self.kernel_size))
        self.weight = Parameter(shape=shape, init=first, dtype=dtype, name="weight", groups=groups)
        self.bias = Parameter(shape=(self.out_channels,), dtype=dtype, name="bias") if bias else None

    def _padded(self, name: str) -> list[tuple[int, int, int]]:
        """Of each axis the padding, the output_padding, and what is cut off the end of the result besides."""
        more = each(self.output_padding)
        if not isinstance(self.padding, str):
            return [(p, o, 0) for p, o in zip(each(self.padding), more, strict=True)]
        if self.padding not in ("same", "valid"):
            raise unknown(f"padding of {name}", self.padding, ["same", "valid"])
        if self.padding == "valid":
            return [(0, o, 0) for o in more]
        if any(more):
            raise ArgumentError(f"{name}: padding 'same' says how large the result is: leave output_padding out")
        geometry = zip(each(self.dilation), each(self.kernel_size), each(self.stride), strict=True)
        surplus = [d * (k - 1) + 1 - s for d, k, s in geometry]
        return [(n // 2, 0, n % 2) if n > 0 else (0, -n, 0) for n in surplus]

    @property
    def in_channels(self) -> int | None:
        """The number of channels of x, or None until it is known."""
        return self.weight.sizes[0]

    def forward(self, x: Tensor, output_size: Any = None) -> Tensor:
        """See the class."""
        if self.weight.pending is not None and not self.weight.is_built:
            self._build(x)
        padding, more, cut = (tuple(part) for part in zip(*self._pads, strict=True))
        if output_size is not None:
            more = self._reaching(x, output_size, padding)
        y: Tensor = self.convolve(
            x,
            self.weight,
            self.bias,
            stride=self.stride,
            padding=padding if self.axes > 1 else padding[0],
            output_padding=more if self.axes > 1 else more[0],
            groups=self.groups,
            dilation=self.dilation,
        )
        if any(cut):
            y = y[(..., *(slice(0, -c if c else None) for c in cut))]
        return y

    def _reaching(self, x: Tensor, output_size: Any, padding: Any) -> tuple[int, ...]:
        """The output_padding that makes the result so large. Errors: ShapeError if none does."""
        sizes = tuple(output_size) if isinstance(output_size, (tuple, list)) else (output_size,) * self.axes
        wanted = sizes[2:] if len(sizes) == self.axes + 2 else sizes
        if self.padding == "same":
            raise ArgumentError(
                f"{type(self).__name__}: padding 'same' says how large the result is: leave output_size out"
            )
        geometry = zip(
            x.shape[2:], each(self.stride), padding, each(self.dilation), each(self.kernel_size), strict=True
        )
        least = [(n - 1) * s - 2 * p + d * (k - 1) + 1 for n, s, p, d, k in geometry]
        most = [n + s - 1 for n, s in zip(least, each(self.stride), strict=True)]
        if len(wanted) != self.axes or any(
            not low <= n <= high for low, n, high in zip(least, wanted, most, strict=True)
        ):
            raise ShapeError(
                f"[conv_transpose{self.axes}d] output_size is {output_size!r}, but of x, {x.shape}, sizes from "
                f"{tuple(least)} to {tuple(most)} can be made"
            )
        return tuple(n - low for n, low in zip(wanted, least, strict=True))

    def _build(self, x: Tensor) -> None:
        """Take the number of channels from x."""
        check_input(f"conv_transpose{self.axes}d", x, self.axes, self.takes, self.groups)
        self.weight.build((x.shape[1], self.out_channels // self.groups, *each(self.kernel_size)))


@register
class ConvTranspose1d(TransposedConvolution):
    """ConvTranspose2d of sequences (n, channels, length).

    >>> import chainrule as cr
    >>> ConvTranspose1d(8, kernel_size=4, stride=2, padding=1)(cr.zeros(2, 4, 10)).shape
    (2, 8, 20)
    """

    axes = 1
    takes = "sequences are (n, channels, length)"
    convolve = staticmethod(conv_transpose1d)


@register
class ConvTranspose2d(TransposedConvolution):
    """The gradient of Conv2d as a layer, which makes images larger by ``stride`` (Zeiler et al., 2010).

    ``weight`` is (in_channels, out_channels / groups, height, width of the kernel). The result is (h - 1) stride - 2 padding
    + dilation (kernel - 1) + output_padding + 1 high; ``output_padding`` is less than the stride or the dilation. A call with
    ``output_size=(height, width)`` chooses the output_padding that makes it so large: of what a Conv2d made smaller, the size
    that it had. ``padding`` may be "valid" (none) or "same": the result is ``stride`` times as large as x. The number of
    channels of x may be left out. Errors: ArgumentError; ShapeError if x has another number of channels, or for an output_size
    that cannot be made.

    >>> import chainrule as cr
    >>> ConvTranspose2d(8, kernel_size=3, stride=2, padding=1, output_padding=1)(cr.zeros(2, 4, 7, 7)).shape
    (2, 8, 14, 14)
    """

    axes = 2
    takes = "images are (n, channels, height, width)"
    convolve = staticmethod(conv_transpose2d)
