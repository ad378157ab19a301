"""The pooling room. Images are (n, channels, height, width)."""

from __future__ import annotations

from typing import Any

from ..domain.dtype import FLOAT
from ..domain.errors import ArgumentError
from ..tensor import Tensor
from ._axes import pair
from ._op import OpCall, op
from ._widened import widened
from .conv import bordered, fitting, image, windows
from .memory import filled
from .reduce import max, sum
from .shape import pad, reshape


@op
def max_pool2d(
    x: Tensor, *, kernel_size: Any, stride: Any = None, padding: Any = (0, 0), dilation: Any = (1, 1)
) -> Any:
    """The largest element of every window; of equals the first gets the gradient.

    ``x`` is (n, c, h, w); sizes are an integer or a pair; ``stride`` is ``kernel_size`` if None; what lies outside of ``x``
    is never the largest. The result is (n, c, p, q), p = (h + 2 padding - dilation (kernel_size - 1) - 1) // stride + 1.

    >>> max_pool2d(Tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), 2)
    tensor([[[[4.]]]])
    """
    v, u = padding
    if v or u:
        least = float("-inf") if x.dtype.category == FLOAT else -(2 ** (x.dtype.bits - 1)) * (x.dtype != "uint8")
        x = pad(x, pad=(u, u, v, v), value=least)
    y = windows(x, size=kernel_size, stride=stride, dilation=dilation)
    return max(reshape(y, shape=(*y.shape[:4], y.shape[4] * y.shape[5])), axis=-1)[0]


@op(promote="float")
@widened
def avg_pool2d(
    x: Tensor, *, kernel_size: Any, stride: Any = None, padding: Any = (0, 0), count_include_pad: bool = True
) -> Any:
    """The mean of every window. Zeros of the padding count, unless ``count_include_pad`` is false.

    ``x`` is (n, c, h, w); sizes are an integer or a pair; ``stride`` is ``kernel_size`` if None.

    >>> avg_pool2d(Tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), 2)
    tensor([[[[2.5]]]])
    """
    y = sum(windows(bordered(x, padding), size=kernel_size, stride=stride), axis=(4, 5))
    if count_include_pad or padding == (0, 0):
        return y / (kernel_size[0] * kernel_size[1])
    ones = bordered(filled(x, (1, 1, *x.shape[2:]), 1, x.dtype), padding)
    return y / sum(windows(ones, size=kernel_size, stride=stride), axis=(4, 5))


def pooling(call: OpCall) -> None:
    """Give an op its sizes as pairs, and check that a window fits."""
    name = call.__name__

    @call.normalises
    def _(x: Any, *, kernel_size: Any, stride: Any, padding: Any, **rest: Any) -> dict[str, Any]:
        size = pair(name, "kernel_size", kernel_size, 1)
        found = {
            "kernel_size": size,
            "stride": size if stride is None else pair(name, "stride", stride, 1),
            "padding": pair(name, "padding", padding, 0),
        }
        return {**found, "dilation": pair(name, "dilation", rest["dilation"], 1)} if "dilation" in rest else found

    @call.checks
    def _(x: Any, *, kernel_size: Any, stride: Any, padding: Any, dilation: Any = (1, 1), **rest: Any) -> None:
        image(name, x)
        if any_beyond(padding, kernel_size):
            raise ArgumentError(f"[{name}] padding {padding} is more than half of kernel_size {kernel_size}")
        fitting(name, x, kernel_size, padding, dilation)


def any_beyond(padding: Any, size: Any) -> bool:
    """Whether a window could lie in the padding alone."""
    return bool(2 * padding[0] > size[0] or 2 * padding[1] > size[1])


pooling(max_pool2d)
pooling(avg_pool2d)
