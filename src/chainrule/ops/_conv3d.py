"""Convolution of volumes (n, channels, depth, height, width), of the convolution room: a file of its own for its length."""

from __future__ import annotations

from typing import Any

from ..domain.errors import ArgumentError, ArgumentTypeError, ShapeError
from ..tensor import Tensor
from ._op import op
from ._widened import widened
from .conv import conv2d, filtering, fitting
from .index import embed, getitem
from .shape import permute, reshape


@op(promote="common")
@widened
def conv3d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: Any = (1, 1, 1),
    padding: Any = (0, 0, 0),
    dilation: Any = (1, 1, 1),
    groups: int = 1,
) -> Any:
    """3-D cross-correlation: ``conv2d`` of volumes. The slices of a filter, each over all slices of ``x``, are summed.

    ``x`` is (n, c, depth, h, w), ``weight`` (k, c / groups, t, r, s), ``bias`` (k,) or None. Sizes are an integer or three.
    Errors: ShapeError, ArgumentError.

    Formula: as ``conv2d``, summed over three offsets. Gradient: as in ``conv2d``. Shapes: (n, c, d, h, w) → (n, k, o, p,
    q), each size as p in ``conv2d``.

    >>> conv3d(Tensor([[[[[1.0]], [[2.0]], [[4.0]]]]]), Tensor([[[[[1.0]], [[10.0]]]]]))
    tensor([[[[[21.]],
    <BLANKLINE>
              [[42.]]]]])
    """
    (n, c, depth, h, w), (k, _, taps, *_) = x.shape, weight.shape
    step, before, spread = stride[0], padding[0], dilation[0]
    if before:
        inside = (slice(None), slice(None), slice(before, before + depth), ...)
        x = embed(x, index=inside, shape=(n, c, depth + 2 * before, h, w))
    slices = (depth + 2 * before - spread * (taps - 1) - 1) // step + 1
    total: Any = None
    for tap in range(taps):
        first = tap * spread
        part = getitem(x, index=(slice(None), slice(None), slice(first, first + (slices - 1) * step + 1, step), ...))
        images = reshape(permute(part, axes=(0, 2, 1, 3, 4)), shape=(n * slices, c, h, w))
        y = conv2d(
            images,
            getitem(weight, index=(slice(None), slice(None), tap, ...)),
            bias if tap == 0 else None,
            stride=stride[1:],
            padding=padding[1:],
            dilation=dilation[1:],
            groups=groups,
        )
        total = y if total is None else total + y
    return permute(reshape(total, shape=(n, slices, k, *total.shape[2:])), axes=(0, 2, 1, 3, 4))


def triple(name: str, key: str, value: Any, least: int) -> tuple[int, ...]:
    """A size for depth, height and width: one integer for all, or three."""
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,) * 3
    if len(values) != 3 or not all(hasattr(v, "__index__") for v in values):
        raise ArgumentTypeError(f"[{name}] {key} is an integer or three of them, not {value!r}")
    if min(values) < least:
        raise ArgumentError(f"[{name}] {key} is {value}, but at least {least} is needed")
    return values


@conv3d.normalises
def _(x: Any, weight: Any, bias: Any, *, stride: Any, padding: Any, dilation: Any, groups: int) -> dict[str, Any]:
    return {
        "stride": triple("conv3d", "stride", stride, 1),
        "padding": triple("conv3d", "padding", padding, 0),
        "dilation": triple("conv3d", "dilation", dilation, 1),
    }


@conv3d.checks
def _(x: Any, weight: Any, bias: Any, *, stride: Any, padding: Any, dilation: Any, groups: int) -> None:
    if x.ndim != 5:
        raise ShapeError(f"[conv3d] x has shape {x.shape}; volumes are (n, channels, depth, height, width)")
    if weight.ndim != 5:
        raise ShapeError(
            f"[conv3d] weight has shape {weight.shape}; it should be (filters, channels, depth, height, width)"
        )
    filtering("conv3d", x, weight, bias, groups)
    fitting("conv3d", x, weight.shape[2:], padding, dilation)
