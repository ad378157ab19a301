"""The convolution room. Images are (n, channels, height, width); weights (filters, channels, height, width)."""

from __future__ import annotations

from typing import Any

from ..domain.errors import ArgumentError, ShapeError
from ..tensor import Tensor
from ._axes import pair
from ._op import op, primitive
from ._widened import widened
from .gemm import flipped, matmul
from .index import embed
from .shape import permute, reshape


@primitive
def windows(x: Tensor, *, size: Any, stride: Any = (1, 1), dilation: Any = (1, 1)) -> Any:
    """Every window of ``size`` = (r, s) over the last two of four axes, as a view: (n, c, p, q, r, s).

    >>> windows(Tensor([[[[1.0, 2.0, 3.0]]]]), size=(1, 2))
    tensor([[[[[[1., 2.]],
    <BLANKLINE>
               [[2., 3.]]]]]])
    """


@windows.vjp("x")
def _(g: Any, x_shape: Any, stride: Any, dilation: Any) -> Any:
    return unwindow(g, shape=x_shape, stride=stride, dilation=dilation)


@primitive
def unwindow(x: Tensor, *, shape: Any, stride: Any = (1, 1), dilation: Any = (1, 1)) -> Any:
    """Zeros of ``shape`` with every window of ``x`` added where ``windows`` takes it from.

    >>> unwindow(Tensor([[[[[[1.0, 2.0]], [[2.0, 3.0]]]]]]), shape=(1, 1, 1, 3))
    tensor([[[[1., 4., 3.]]]])
    """


@unwindow.vjp("x")
def _(g: Any, x_shape: Any, stride: Any, dilation: Any) -> Any:
    return windows(g, size=x_shape[4:], stride=stride, dilation=dilation)


def image(op_name: str, x: Any) -> None:
    """Raise unless ``x`` has the four axes of images."""
    if x.ndim != 4:
        raise ShapeError(f"[{op_name}] x has shape {x.shape}; images are (n, channels, height, width)")


def filtering(op_name: str, x: Any, weight: Any, bias: Any, groups: int) -> None:
    """Raise unless weight and bias fit the channels of ``x``."""
    if groups < 1 or weight.shape[0] % groups:
        raise ArgumentError(
            f"[{op_name}] groups is {groups}, which does not divide the {weight.shape[0]} filters of weight"
        )
    if x.shape[1] != weight.shape[1] * groups:
        expected = f"{weight.shape[1]}" if groups == 1 else f"{weight.shape[1]} in each of {groups} groups"
        raise ShapeError(
            f"[{op_name}] x has {x.shape[1]} channels (axis 1 of {x.shape}) but weight expects {expected} "
            f"(axis 1 of {weight.shape})"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ShapeError(f"[{op_name}] bias has shape {bias.shape} but weight {weight.shape} needs {weight.shape[:1]}")


def fitting(op_name: str, x: Any, size: Any, padding: Any, dilation: Any) -> None:
    """Raise unless a window has elements and fits into the padded image, or volume."""
    for axis, (n, p, k, d) in enumerate(zip(x.shape[2:], padding, size, dilation, strict=True), 2):
        if n + 2 * p < d * (k - 1) + 1 or k < 1:
            raise ShapeError(
                f"[{op_name}] a window of {tuple(size)} with dilation {dilation} does not fit into x, {n + 2 * p} long "
                f"on axis {axis} of {x.shape} with padding {padding}"
            )


def bordered(x: Any, padding: Any, more: Any = (0, 0)) -> Any:
    """Images with zeros around them, and ``more`` at the bottom and at the right."""
    (n, c, h, w), (v, u), (down, right) = x.shape, padding, more
    if not (v or u or down or right):
        return x
    shape = (n, c, h + 2 * v + down, w + 2 * u + right)
    return embed(x, index=(..., slice(v, v + h), slice(u, u + w)), shape=shape)


@op(promote="common")
@widened
def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: Any = (1, 1),
    padding: Any = (0, 0),
    dilation: Any = (1, 1),
    groups: int = 1,
) -> Any:
    """2-D cross-correlation: every window of ``x``, dotted with every filter of ``weight``.

    ``x`` is (n, c, h, w), ``weight`` (k, c / groups, r, s), ``bias`` (k,) or None; the result (n, k, p, q) with
    p = (h + 2 padding - dilation (r - 1) - 1) // stride + 1. ``stride``, ``padding`` and ``dilation`` are an integer or a pair.
    With ``groups``, the channels and filters are divided into as many, each for itself.

    Formula: ``y[n, k, i, j] = bias[k] + Σ x[n, c, i', j'] weight[k, c, r, s]``, i' = i · stride + r · dilation - padding,
    j' likewise. Gradient: ``dx[n, c, i', j'] = Σ g[n, k, i, j] weight[k, c, r, s]``,
    ``dweight[k, c, r, s] = Σ g[n, k, i, j] x[n, c, i', j']``, ``dbias = Σ g``. Shapes: as above.

    >>> conv2d(Tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), Tensor([[[[1.0, 1.0], [1.0, 1.0]]]]), bias=Tensor([0.5]))
    tensor([[[[10.5]]]])
    """
    (n, c, *_), (k, _, r, s) = x.shape, weight.shape
    patches = windows(bordered(x, padding), size=(r, s), stride=stride, dilation=dilation)
    p, q = patches.shape[2:4]
    patches = reshape(patches, shape=(n, groups, c // groups, p, q, r, s))
    rows = reshape(permute(patches, axes=(1, 0, 3, 4, 2, 5, 6)), shape=(groups, n * p * q, c // groups * r * s))
    filters = reshape(weight, shape=(groups, k // groups, c // groups * r * s))
    y = reshape(matmul(rows, flipped(filters)), shape=(groups, n, p, q, k // groups))
    y = reshape(permute(y, axes=(1, 0, 4, 2, 3)), shape=(n, k, p, q))
    return y if bias is None else y + reshape(bias, shape=(k, 1, 1))


@conv2d.normalises
def _(x: Any, weight: Any, bias: Any, *, stride: Any, padding: Any, dilation: Any, groups: int) -> dict[str, Any]:
    steps, margin, gaps = (
        pair("conv2d", "stride", stride, 1),
        pair("conv2d", "padding", padding, 0),
        pair("conv2d", "dilation", dilation, 1),
    )
    if max(steps) > 64 and x.ndim == weight.ndim == 4:  # beyond the only window a stride costs nothing but memory
        spans = zip(x.shape[2:], margin, gaps, weight.shape[2:], strict=True)
        steps = tuple(min(s, max(n + 2 * p - d * (k - 1), 1)) for s, (n, p, d, k) in zip(steps, spans, strict=True))
    return {"stride": steps, "padding": margin, "dilation": gaps}


@conv2d.checks
def _(x: Any, weight: Any, bias: Any, *, stride: Any, padding: Any, dilation: Any, groups: int) -> None:
    image("conv2d", x)
    if weight.ndim != 4:
        raise ShapeError(f"[conv2d] weight has shape {weight.shape}; it should be (filters, channels, height, width)")
    filtering("conv2d", x, weight, bias, groups)
    fitting("conv2d", x, weight.shape[2:], padding, dilation)
