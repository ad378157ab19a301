"""The convolution layer."""

from __future__ import annotations

from typing import Any

from ..domain.errors import ArgumentError, NotSupportedError, unknown
from ..ops.conv import conv2d, image
from ..ops.shape import pad
from ..tensor import Tensor
from .layer import Weighted, count, given_init, pair, suitable
from .parameter import Parameter
from .registry import register


@register
class Conv2d(Weighted):
    """2-D cross-correlation of images (n, channels, height, width) with ``out_channels`` filters.

    ``weight`` is (out_channels, in_channels / groups, height, width of the kernel), ``bias`` (out_channels,) begins with
    zeros. Sizes are integers or pairs. ``padding`` may be "valid" (none) or "same" (the result is as large as x; stride
    1 only; an even kernel has the larger half of it after the image). The number of channels of x may be left out,
    ``Conv2d(8, kernel_size=3)``, and is then taken from the first input. ``padding_mode`` is "zeros". ``init`` as in
    Linear. Errors: ArgumentError; ShapeError if x has another number of channels.

    >>> import chainrule as cr
    >>> Conv2d(1, 8, 3, padding="same")(cr.zeros(2, 1, 28, 28)).shape
    (2, 8, 28, 28)
    >>> Conv2d(8, kernel_size=3, stride=2)(cr.zeros(2, 1, 28, 28)).shape
    (2, 8, 13, 13)
    """

    bias: Parameter | None

    def __init__(
        self,
        in_channels: int | None = None,
        out_channels: int | None = None,
        kernel_size: Any = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        init: Any = None,
        dtype: str = "float32",
    ) -> None:
        if kernel_size is None:
            raise ArgumentError(
                "Conv2d: kernel_size is missing: write Conv2d(in_channels, out_channels, kernel_size), or "
                "Conv2d(out_channels, kernel_size=...) to take the number of channels from the first input"
            )
        if out_channels is None:
            in_channels, out_channels = None, in_channels
        self.out_channels = count("Conv2d", "out_channels", out_channels)
        self.kernel_size = pair("Conv2d", "kernel_size", kernel_size, 1)
        self.stride = pair("Conv2d", "stride", stride, 1)
        self.dilation = pair("Conv2d", "dilation", dilation, 1)
        self.groups = count("Conv2d", "groups", groups)
        self.padding = padding if isinstance(padding, str) else pair("Conv2d", "padding", padding, 0)
        self._before, self._around = self._pads()
        self.padding_mode = padding_mode
        if padding_mode != "zeros":
            raise NotSupportedError(
                f"Conv2d: padding_mode {padding_mode!r} is not supported, only 'zeros': pad x before"
            )
        if in_channels is not None:
            count("Conv2d", "in_channels", in_channels)
        if self.out_channels % groups or (in_channels or 0) % groups:
            raise ArgumentError(
                f"Conv2d: {in_channels or '?'} in_channels and {out_channels} out_channels cannot be divided into "
                f"{groups} groups"
            )
        self.init = given_init(init)
        first = self.init or suitable("linear")
        sizes = (self.out_channels, None if in_channels is None else in_channels // groups, *self.kernel_size)
        self.weight = Parameter(shape=sizes, init=first, dtype=dtype, name="weight", groups=groups)
        self.bias = Parameter(shape=(self.out_channels,), dtype=dtype, name="bias") if bias else None

    @property
    def in_channels(self) -> int | None:
        """The number of channels of x, or None until it is known."""
        channels = self.weight.sizes[1]
        return None if channels is None else channels * self.groups

    def _pads(self) -> tuple[tuple[int, ...] | None, tuple[int, int]]:
        """What to pad x with before (left, right, top, bottom; or None), and what the op pads evenly."""
        if not isinstance(self.padding, str):
            return None, self.padding
        if self.padding == "valid":
            return None, (0, 0)
        if self.padding != "same":
            raise unknown("padding of Conv2d", self.padding, ["same", "valid"])
        if self.stride != (1, 1):
            raise ArgumentError(
                f"Conv2d: padding 'same' needs stride 1, not {self.stride}: give the padding as numbers"
            )
        v, h = (d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True))
        if v % 2 == h % 2 == 0:
            return None, (v // 2, h // 2)
        return (h // 2, h - h // 2, v // 2, v - v // 2), (0, 0)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        if self.weight.pending is not None and not self.weight.is_built:
            self._build(x)
        if self._before is not None:
            x = pad(x, pad=self._before)
        y: Tensor = conv2d(
            x,
            self.weight,
            self.bias,
            stride=self.stride,
            padding=self._around,
            dilation=self.dilation,
            groups=self.groups,
        )
        return y

    def _build(self, x: Tensor) -> None:
        """Take the number of channels from x."""
        image("conv2d", x)
        if x.shape[1] % self.groups:
            raise ArgumentError(f"[conv2d] x has {x.shape[1]} channels, which {self.groups} groups do not divide")
        self.weight.build((self.out_channels, x.shape[1] // self.groups, *self.kernel_size))
