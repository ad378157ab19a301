"""The pooling room. Images are (n, channels, height, width)."""

from __future__ import annotations

import builtins
from typing import Any

from ..domain.dtype import FLOAT
from ..domain.errors import ArgumentError
from ..tensor import Tensor
from ._axes import pair
from ._op import OpCall, op
from ._widened import widened
from .conv import bordered, fitting, image, windows
from .elementwise import clip
from .index import ungather
from .memory import counted, filled
from .reduce import max, sum
from .shape import pad, reshape


def reached(n: int, size: int, stride: int, padding: int, dilation: int, ceil_mode: bool) -> tuple[int, int]:
    """How many windows there are along an axis, and how far the last reaches beyond the padding."""
    reach = dilation * (size - 1) + 1
    count = (n + 2 * padding - reach) // stride + 1
    if ceil_mode and (n + 2 * padding - reach) % stride and count * stride < n + padding:
        count += 1  # only a window that begins in x or in the padding before it
    return count, builtins.max(0, (count - 1) * stride + reach - n - 2 * padding)


def beyond(x: Any, size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool) -> tuple[int, int]:
    """How far the last windows of an image reach beyond the padding, vertically and horizontally."""
    axes = zip(x.shape[2:], size, stride, padding, dilation, strict=True)
    v, u = (reached(*sizes, ceil_mode)[1] for sizes in axes)
    return v, u


def least(x: Any) -> float:
    """What is never larger than an element of ``x``."""
    return float("-inf") if x.dtype.category == FLOAT else -(2 ** (x.dtype.bits - 1)) * (x.dtype != "uint8")


def surrounded(x: Any, padding: Any, more: Any) -> Any:
    """``x`` with what is never the largest around it, and ``more`` after it."""
    (v, u), (down, right) = padding, more
    return pad(x, pad=(u, u + right, v, v + down), value=least(x)) if v or u or down or right else x


@op
def max_pool2d(
    x: Tensor,
    *,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = (0, 0),
    dilation: Any = (1, 1),
    ceil_mode: bool = False,
) -> Any:
    """The largest element of every window; of equals the first gets the gradient.

    ``x`` is (n, c, h, w); sizes are an integer or a pair; ``stride`` is ``kernel_size`` if None; what lies outside of ``x``
    is never the largest. The result is (n, c, p, q), p = (h + 2 padding - dilation (kernel_size - 1) - 1) // stride + 1;
    with ``ceil_mode`` the division is rounded up, so that the last window may reach beyond the padding.

    Formula: ``y[n, c, i, j] = max of x[n, c, i', j']``, i' = i · stride + r · dilation - padding, j' likewise. Gradient:
    ``g`` added to the first largest of its window. Shapes: as above.

    >>> max_pool2d(Tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), 2)
    tensor([[[[4.]]]])
    """
    x = surrounded(x, padding, beyond(x, kernel_size, stride, padding, dilation, ceil_mode))
    y = windows(x, size=kernel_size, stride=stride, dilation=dilation)
    return max(reshape(y, shape=(*y.shape[:4], y.shape[4] * y.shape[5])), axis=-1)[0]


@op(outputs=("y", "indices"))
def max_pool2d_with_indices(
    x: Tensor,
    *,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = (0, 0),
    dilation: Any = (1, 1),
    ceil_mode: bool = False,
) -> Any:
    """``max_pool2d``, and where the largest elements are: row times width plus column, int64.

    Formula: as ``max_pool2d``. Gradient: of the values as in ``max_pool2d``, of the indices none. Shapes: both outputs as
    ``y`` in ``max_pool2d``.

    >>> y, indices = max_pool2d_with_indices(Tensor([[[[1.0, 2.0], [4.0, 3.0]]]]), 2)
    >>> indices
    tensor([[[[2]]]])
    """
    (h, w), (s, t), (d, e) = x.shape[2:], stride, dilation
    more = beyond(x, kernel_size, stride, padding, dilation, ceil_mode)
    y = windows(surrounded(x, padding, more), size=kernel_size, stride=stride, dilation=dilation)
    p, q = y.shape[2:4]
    values, taps = max(reshape(y, shape=(*y.shape[:4], y.shape[4] * y.shape[5])), axis=-1)
    across = taps // kernel_size[1]
    rows = reshape(counted(x, 0, p) * s - padding[0], shape=(p, 1)) + across * d
    columns = counted(x, 0, q) * t - padding[1] + (taps - across * kernel_size[1]) * e
    # where all of a window is the least there is, the first of equals may lie outside
    return values, clip(rows, min=0, max=h - 1) * w + clip(columns, min=0, max=w - 1)


@max_pool2d_with_indices.vjp("x")
def _(g: Any, indices: Any, x_shape: Any) -> Any:
    (n, c, h, w), size = x_shape, indices.shape[2] * indices.shape[3]
    flat = [reshape(v, shape=(n, c, size)) for v in (g[0], indices)]
    return reshape(ungather(*flat, axis=2, shape=(n, c, h * w)), shape=x_shape)


@op(promote="float")
@widened
def avg_pool2d(
    x: Tensor,
    *,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = (0, 0),
    count_include_pad: bool = True,
    ceil_mode: bool = False,
) -> Any:
    """The mean of every window. Zeros of the padding count, unless ``count_include_pad`` is false.

    ``x`` is (n, c, h, w); sizes are an integer or a pair; ``stride`` is ``kernel_size`` if None. ``ceil_mode`` as in
    ``max_pool2d``; what a window has beyond the padding does not count.

    Formula: ``y[n, c, i, j] = Σ x[n, c, i', j'] / count``, i' = i · stride + r - padding, j' likewise. Gradient:
    ``g / count`` added to each element of its window. Shapes: (n, c, h, w) → (n, c, p, q), p as in ``max_pool2d`` without
    dilation.

    >>> avg_pool2d(Tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), 2)
    tensor([[[[2.5]]]])
    """
    down, right = beyond(x, kernel_size, stride, padding, (1, 1), ceil_mode)
    y = sum(windows(bordered(x, padding, (down, right)), size=kernel_size, stride=stride), axis=(4, 5))
    if not (down or right) and (count_include_pad or padding == (0, 0)):
        return y / (kernel_size[0] * kernel_size[1])
    (h, w), (v, u) = x.shape[2:], padding
    if count_include_pad:
        ones = bordered(filled(x, (1, 1, h + 2 * v, w + 2 * u), 1, x.dtype), (0, 0), (down, right))
    else:
        ones = bordered(filled(x, (1, 1, h, w), 1, x.dtype), padding, (down, right))
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
pooling(max_pool2d_with_indices)
