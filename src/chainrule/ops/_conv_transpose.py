"""Transposed convolution, and convolution of sequences, of the convolution room: a file of its own for its length."""

from __future__ import annotations

from typing import Any

from ..domain.errors import ArgumentError, ShapeError
from ..tensor import Tensor
from ._axes import pair
from ._op import OpCall, op
from ._pad import pad
from ._sequences import flat, one, unflat
from ._widened import widened
from .conv import conv2d, image, unwindow
from .gemm import matmul
from .shape import permute, reshape


@op(promote="common")
@widened
def conv_transpose2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: Any = (1, 1),
    padding: Any = (0, 0),
    output_padding: Any = (0, 0),
    groups: int = 1,
    dilation: Any = (1, 1),
) -> Any:
    """The gradient of ``conv2d`` as an op: every element of ``x``, times the filters, added to a window of the result.

    ``x`` is (n, c, h, w), ``weight`` (c, k / groups, r, s), ``bias`` (k,) or None; the result (n, k, p, q) with
    p = (h - 1) stride - 2 padding + dilation (r - 1) + output_padding + 1. Sizes are an integer or a pair;
    ``output_padding`` is less than the stride or the dilation. Errors: ShapeError, ArgumentError.

    Formula: ``y[n, k, i', j'] = bias[k] + Σ x[n, c, i, j] weight[c, k, r, s]``, i' = i · stride + r · dilation - padding,
    j' likewise. Gradient: ``dx`` is ``conv2d`` of ``g``; ``dweight[c, k, r, s] = Σ x[n, c, i, j] g[n, k, i', j']``,
    ``dbias = Σ g``. Shapes: as above.

    >>> conv_transpose2d(Tensor([[[[1.0, 2.0]]]]), Tensor([[[[1.0, 10.0]]]]), stride=(1, 2))
    tensor([[[[ 1., 10.,  2., 20.]]]])
    """
    (n, c, h, w), (_, k, r, s) = x.shape, weight.shape
    rows = reshape(permute(reshape(x, shape=(n, groups, c // groups, h, w)), axes=(1, 0, 3, 4, 2)),
                   shape=(groups, n * h * w, c // groups))  # fmt: skip
    filters = reshape(weight, shape=(groups, c // groups, k * r * s))
    patches = reshape(matmul(rows, filters), shape=(groups, n, h, w, k, r, s))
    patches = reshape(permute(patches, axes=(1, 0, 4, 2, 3, 5, 6)), shape=(n, groups * k, h, w, r, s))
    reach = [(m - 1) * t + d * (i - 1) + 1 for m, t, d, i in zip((h, w), stride, dilation, (r, s), strict=True)]
    y = unwindow(patches, shape=(n, groups * k, *reach), stride=stride, dilation=dilation)
    (v, u), (down, right) = padding, output_padding
    if v or u or down or right:
        y = pad(y, pad=(-u, right - u, -v, down - v))
    return y if bias is None else y + reshape(bias, shape=(groups * k, 1, 1))


@conv_transpose2d.normalises
def _(x: Any, weight: Any, bias: Any, *, groups: int, **sizes: Any) -> dict[str, Any]:
    least = {"stride": 1, "padding": 0, "output_padding": 0, "dilation": 1}
    return {key: pair("conv_transpose2d", key, sizes[key], m) for key, m in least.items()}


@conv_transpose2d.checks
def _(x: Any, weight: Any, bias: Any, *, groups: int, **sizes: Any) -> None:
    image("conv_transpose2d", x)
    transposable("conv_transpose2d", x, weight, bias, groups, 4)
    for axis, (n, k, s, p, o, d) in enumerate(
        zip(x.shape[2:], weight.shape[2:], *(sizes[key] for key in ("stride", "padding", "output_padding", "dilation")),
            strict=True), 2):  # fmt: skip
        if o >= s and o >= d:
            raise ArgumentError(
                f"[conv_transpose2d] output_padding is {sizes['output_padding']}; it should be less than stride "
                f"{sizes['stride']} or dilation {sizes['dilation']}"
            )
        if (n - 1) * s - 2 * p + d * (k - 1) + o + 1 < 1:
            raise ShapeError(
                f"[conv_transpose2d] padding {sizes['padding']} leaves nothing of axis {axis}, made of x, {x.shape}"
            )


def transposable(name: str, x: Any, weight: Any, bias: Any, groups: int, ndim: int) -> None:
    """Raise unless weight and bias fit."""
    if weight.ndim != ndim:
        expected = "(channels, filters, height, width)" if ndim == 4 else "(channels, filters, length)"
        raise ShapeError(f"[{name}] weight has shape {weight.shape}; it should be {expected}")
    if groups < 1 or x.shape[1] % groups:
        raise ArgumentError(f"[{name}] groups is {groups}, which does not divide the {x.shape[1]} channels of x")
    if x.shape[1] != weight.shape[0]:
        raise ShapeError(
            f"[{name}] x has {x.shape[1]} channels (axis 1 of {x.shape}) but weight expects {weight.shape[0]} "
            f"(axis 0 of {weight.shape})"
        )
    if bias is not None and bias.shape != (weight.shape[1] * groups,):
        raise ShapeError(
            f"[{name}] bias has shape {bias.shape} but weight {weight.shape} needs {(weight.shape[1] * groups,)}"
        )


@op(promote="common")
def conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
) -> Any:
    """``conv2d`` of sequences: ``x`` is (n, c, length), ``weight`` (k, c / groups, r), ``bias`` (k,) or None.

    Formula: ``y[n, k, i] = bias[k] + Σ x[n, c, i'] weight[k, c, r]``, i' = i · stride + r · dilation - padding. Gradient:
    as in ``conv2d``. Shapes: (n, c, h) → (n, k, p), p as in ``conv2d``.

    >>> conv1d(Tensor([[[1.0, 2.0, 4.0]]]), Tensor([[[1.0, 1.0]]]))
    tensor([[[3., 6.]]])
    """
    sizes = {"stride": (1, stride), "padding": (0, padding), "dilation": (1, dilation)}
    return unflat(conv2d(flat(x), flat(weight), bias, **sizes, groups=groups))


@op(promote="common")
def conv_transpose1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: int = 1,
    padding: int = 0,
    output_padding: int = 0,
    groups: int = 1,
    dilation: int = 1,
) -> Any:
    """``conv_transpose2d`` of sequences: ``x`` is (n, c, length), ``weight`` (c, k / groups, r), ``bias`` (k,) or None.

    Formula: ``y[n, k, i'] = bias[k] + Σ x[n, c, i] weight[c, k, r]``, i' = i · stride + r · dilation - padding. Gradient:
    as in ``conv_transpose2d``. Shapes: (n, c, h) → (n, k, p), p as in ``conv_transpose2d``.

    >>> conv_transpose1d(Tensor([[[1.0, 2.0]]]), Tensor([[[1.0, 10.0]]]), stride=2)
    tensor([[[ 1., 10.,  2., 20.]]])
    """
    sizes = {"stride": (1, stride), "padding": (0, padding), "output_padding": (0, output_padding)}
    return unflat(conv_transpose2d(flat(x), flat(weight), bias, **sizes, groups=groups, dilation=(1, dilation)))


def of_sequences(call: OpCall) -> None:
    """Check that an op got sequences, and integers for its sizes."""
    name = call.__name__

    @call.normalises
    def _(x: Any, weight: Any, bias: Any, **params: Any) -> dict[str, Any]:
        return {key: one(name, key, value) for key, value in params.items()}

    @call.checks
    def _(x: Any, weight: Any, bias: Any, *, groups: int, **params: Any) -> None:
        if x.ndim != 3:
            raise ShapeError(f"[{name}] x has shape {x.shape}; sequences are (n, channels, length)")
        if name == "conv_transpose1d":
            transposable(name, x, weight, bias, groups, 3)
        elif weight.ndim != 3:
            raise ShapeError(f"[{name}] weight has shape {weight.shape}; it should be (filters, channels, length)")


of_sequences(conv1d)
of_sequences(conv_transpose1d)
