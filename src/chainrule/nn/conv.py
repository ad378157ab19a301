"""The convolution layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..domain.errors import ArgumentError, ShapeError, unknown
from ..ops._conv3d import conv3d
from ..ops._conv_transpose import conv1d
from ..ops.conv import conv2d
from ..ops.shape import pad
from ..tensor import Tensor
from .layer import Weighted, count, given_init, pair, suitable
from .parameter import Parameter
from .registry import register

PADDING_MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "replicate", "circular": "circular"}


def sizes(layer: str, name: str, value: Any, least: int, axes: int) -> Any:
    """A size for each axis: of one axis an integer, of two a pair, of three a triple. Errors: ArgumentError."""
    if axes == 2:
        return pair(layer, name, value, least)
    if axes == 3:
        three = tuple(value) if isinstance(value, (tuple, list)) else (value,) * 3
        if len(three) != 3 or any(type(n) is not int or n < least for n in three):
            raise ArgumentError(
                f"{layer}: {name} is {value!r}, expected an integer of at least {least}, or three of them"
            )
        return three
    found = value[0] if isinstance(value, (tuple, list)) and len(value) == 1 else value
    if type(found) is not int or found < least:
        raise ArgumentError(f"{layer}: {name} is {value!r}, expected an integer of at least {least}")
    return found


def each(value: Any) -> tuple[int, ...]:
    """A size for each axis as a tuple."""
    return (value,) if isinstance(value, int) else value


def channels(layer: str, in_channels: Any, out_channels: Any, kernel_size: Any) -> tuple[Any, Any]:
    """The channels of x, None until they are known, and of the result. Errors: ArgumentError without a kernel_size."""
    if kernel_size is None:
        raise ArgumentError(
            f"{layer}: kernel_size is missing: write {layer}(in_channels, out_channels, kernel_size), or "
            f"{layer}(out_channels, kernel_size=...) to take the number of channels from the first input"
        )
    return (None, in_channels) if out_channels is None else (in_channels, out_channels)


def check_groups(layer: str, in_channels: Any, out_channels: Any, groups: int) -> None:
    """Raise ArgumentError unless both numbers of channels can be divided into groups."""
    if in_channels is not None:
        count(layer, "in_channels", in_channels)
    if out_channels % groups or (in_channels or 0) % groups:
        raise ArgumentError(
            f"{layer}: {in_channels or '?'} in_channels and {out_channels} out_channels cannot be divided into "
            f"{groups} groups"
        )


def check_input(op: str, x: Tensor, axes: int, takes: str, groups: int = 1) -> None:
    """Raise ShapeError unless x has ``axes`` after those of batch and channels, ArgumentError unless groups divide these."""
    if x.ndim != axes + 2:
        raise ShapeError(f"[{op}] x has shape {x.shape}; {takes}")
    if x.shape[1] % groups:
        raise ArgumentError(f"[{op}] x has {x.shape[1]} channels, which {groups} groups do not divide")


class Convolution(Weighted):
    """What Conv1d, Conv2d and Conv3d have in common."""

    axes = 0
    takes = ""
    convolve: Callable[..., Any]
    out_channels: Any
    groups: Any
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
        name = type(self).__name__
        in_channels, out_channels = channels(name, in_channels, out_channels, kernel_size)
        self.out_channels, self.groups = count(name, "out_channels", out_channels), count(name, "groups", groups)
        self._window(kernel_size, stride, padding, dilation, padding_mode)
        check_groups(name, in_channels, out_channels, groups)
        self.init = given_init(init)
        first = self.init or suitable("linear")
        shape = (self.out_channels, None if in_channels is None else in_channels // groups, *each(self.kernel_size))
        self.weight = Parameter(shape=shape, init=first, dtype=dtype, name="weight", groups=groups)
        self.bias = Parameter(shape=(self.out_channels,), dtype=dtype, name="bias") if bias else None

    def _window(self, kernel_size: Any, stride: Any, padding: Any, dilation: Any, padding_mode: str) -> None:
        """Remember how the kernel goes over x. Errors: ArgumentError."""
        name, axes = type(self).__name__, self.axes
        self.kernel_size = sizes(name, "kernel_size", kernel_size, 1, axes)
        self.stride = sizes(name, "stride", stride, 1, axes)
        self.dilation = sizes(name, "dilation", dilation, 1, axes)
        self.padding = padding if isinstance(padding, str) else sizes(name, "padding", padding, 0, axes)
        if padding_mode not in PADDING_MODES:
            raise unknown(f"padding_mode of {name}", padding_mode, PADDING_MODES)
        self.padding_mode = padding_mode
        self._before, self._around = self._pads(name)

    @property
    def in_channels(self) -> int | None:
        """The number of channels of x, or None until it is known."""
        channels = self.weight.sizes[1]
        return None if channels is None else channels * self.groups

    def _pads(self, name: str) -> tuple[tuple[int, ...] | None, Any]:
        """What to pad x with before (last axis first, before and after; or None), and what the op pads evenly."""
        nothing = 0 if self.axes == 1 else (0,) * self.axes
        if self.padding == "valid":
            return None, nothing
        if not isinstance(self.padding, str):
            ends = [(p, p) for p in each(self.padding)]
        elif self.padding != "same":
            raise unknown(f"padding of {name}", self.padding, ["same", "valid"])
        elif each(self.stride) != (1,) * self.axes:
            raise ArgumentError(
                f"{name}: padding 'same' needs stride 1, not {self.stride}: give the padding as numbers"
            )
        else:
            totals = [d * (k - 1) for d, k in zip(each(self.dilation), each(self.kernel_size), strict=True)]
            ends = [(n // 2, n - n // 2) for n in totals]
        if self.padding_mode == "zeros" and all(before == after for before, after in ends):
            return None, ends[0][0] if self.axes == 1 else tuple(before for before, _ in ends)
        flat = tuple(n for before, after in reversed(ends) for n in (before, after))
        return (flat if any(flat) else None), nothing

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        if self.weight.pending is not None and not self.weight.is_built:
            self._build(x)
        if self._before is not None:
            x = pad(x, pad=self._before, mode=PADDING_MODES[self.padding_mode])
        y: Tensor = self.convolve(
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
        check_input(f"conv{self.axes}d", x, self.axes, self.takes, self.groups)
        self.weight.build((self.out_channels, x.shape[1] // self.groups, *each(self.kernel_size)))


@register
class Conv1d(Convolution):
    """Conv2d of sequences (n, channels, length): ``weight`` is (out_channels, in_channels / groups, length of the kernel).

    >>> import chainrule as cr
    >>> Conv1d(8, kernel_size=3, padding="same")(cr.zeros(2, 4, 10)).shape
    (2, 8, 10)
    """

    axes = 1
    takes = "sequences are (n, channels, length)"
    convolve = staticmethod(conv1d)


@register
class Conv2d(Convolution):
    """2-D cross-correlation of images (n, channels, height, width) with ``out_channels`` filters.

    ``weight`` is (out_channels, in_channels / groups, height, width of the kernel), ``bias`` (out_channels,) begins with
    zeros. Sizes are integers or pairs. ``padding`` may be "valid" (none) or "same" (the result is as large as x; stride
    1 only; an even kernel has the larger half of it after the image); ``padding_mode`` says with what: "zeros", "reflect",
    "replicate" or "circular". The number of channels of x may be left out, ``Conv2d(8, kernel_size=3)``, and is then taken
    from the first input. ``init`` as in Linear. Errors: ArgumentError; ShapeError if x has another number of channels.

    >>> import chainrule as cr
    >>> Conv2d(1, 8, 3, padding="same")(cr.zeros(2, 1, 28, 28)).shape
    (2, 8, 28, 28)
    >>> Conv2d(8, kernel_size=3, stride=2)(cr.zeros(2, 1, 28, 28)).shape
    (2, 8, 13, 13)
    """

    axes = 2
    takes = "images are (n, channels, height, width)"
    convolve = staticmethod(conv2d)


@register
class Conv3d(Convolution):
    """Conv2d of volumes (n, channels, depth, height, width): the kernel has three sizes.

    >>> import chainrule as cr
    >>> Conv3d(1, 8, (2, 3, 3), padding=(0, 1, 1))(cr.zeros(2, 1, 5, 28, 28)).shape
    (2, 8, 4, 28, 28)
    """

    axes = 3
    takes = "volumes are (n, channels, depth, height, width)"
    convolve = staticmethod(conv3d)
