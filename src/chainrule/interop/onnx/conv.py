"""The convolutions of ONNX, over one to three axes."""

from __future__ import annotations

from math import prod
from typing import Any

from ... import ops
from ...domain.errors import ArgumentError, NotSupportedError
from .operators import constant, operator
from .shape import padded

CONV = {1: ops.conv1d, 2: ops.conv2d, 3: ops.conv3d}
TRANSPOSED = {1: ops.conv_transpose1d, 2: ops.conv_transpose2d}


def margins(
    sizes: tuple[int, ...], kernel: Any, strides: Any, dilations: Any, pads: Any, auto_pad: str
) -> list[tuple[int, int]]:
    """How much is added before and after each axis: as given, or as ``auto_pad`` says."""
    n = len(sizes)
    if auto_pad in ("NOTSET", ""):
        given = [0] * 2 * n if pads is None else [*pads]
        if len(given) != 2 * n:
            raise ArgumentError(f"pads are {given}, expected two for each of {n} axes")
        return [*zip(given[:n], given[n:], strict=True)]
    if auto_pad == "VALID":
        return [(0, 0)] * n
    found = []
    for size, k, s, d in zip(sizes, kernel, strides, dilations, strict=True):
        more = max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0)
        found.append((more // 2, more - more // 2) if auto_pad == "SAME_UPPER" else (more - more // 2, more // 2))
    return found


def of_rank(table: Any, x: Any, what: str) -> Any:
    """The op for as many axes as x has."""
    if x.ndim - 2 not in table:
        raise NotSupportedError(f"{what} of a tensor of shape {x.shape}; expected one of {', '.join(map(str, table))} axes "
                                "besides batch and channels")  # fmt: skip
    return table[x.ndim - 2]


def one(values: Any) -> Any:
    """A single size by itself, as the ops over one axis take it."""
    return values[0] if len(values) == 1 else tuple(values)


@operator("Conv")
def conv(
    x: Any, weight: Any, bias: Any = None, *, auto_pad: str = "NOTSET", dilations: Any = None, group: int = 1,
    kernel_shape: Any = None, pads: Any = None, strides: Any = None,
) -> Any:  # fmt: skip
    """A convolution."""
    n = x.ndim - 2
    strides, dilations = strides or [1] * n, dilations or [1] * n
    ends = margins(x.shape[2:], weight.shape[2:], strides, dilations, pads, auto_pad)
    if any(before != after for before, after in ends):
        x = padded(x, {i + 2: both for i, both in enumerate(ends)})
        ends = [(0, 0)] * n
    op = of_rank(CONV, x, "Conv")
    both = one([before for before, _ in ends])
    return op(x, weight, bias, stride=one(strides), padding=both, dilation=one(dilations), groups=group)


@operator("ConvTranspose")
def conv_transpose(
    x: Any, weight: Any, bias: Any = None, *, auto_pad: str = "NOTSET", dilations: Any = None, group: int = 1,
    kernel_shape: Any = None, output_padding: Any = None, output_shape: Any = None, pads: Any = None, strides: Any = None,
) -> Any:  # fmt: skip
    """The gradient of a convolution: of its full result, what is asked for."""
    n = x.ndim - 2
    strides, dilations = strides or [1] * n, dilations or [1] * n
    extra = output_padding or [0] * n
    kernel = weight.shape[2:]
    full = [(m - 1) * s + (k - 1) * d + 1 for m, s, k, d in zip(x.shape[2:], strides, kernel, dilations, strict=True)]
    if output_shape is not None or auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        wanted = (
            output_shape[-n:]
            if output_shape is not None
            else [m * s for m, s in zip(x.shape[2:], strides, strict=True)]
        )
        less = [f + e - w for f, e, w in zip(full, extra, wanted, strict=True)]
        ends = [(m // 2, m - m // 2) if auto_pad == "SAME_UPPER" else (m - m // 2, m // 2) for m in less]
    else:
        ends = margins(x.shape[2:], kernel, strides, dilations, pads, auto_pad)
    if n == 3:
        y = transposed3d(x, weight, strides, dilations, group)
    else:
        op = of_rank(TRANSPOSED, x, "ConvTranspose")
        fits = all(b == a and (e < max(s, d)) for (b, a), e, s, d in zip(ends, extra, strides, dilations, strict=True))
        if fits and all(b >= 0 for b, _ in ends):
            both = one([before for before, _ in ends])
            return op(
                x, weight, bias, stride=one(strides), padding=both, output_padding=one(extra), groups=group,
                dilation=one(dilations),
            )  # fmt: skip
        y = op(x, weight, stride=one(strides), groups=group, dilation=one(dilations))
    y = padded(y, {i + 2: (-before, e - after) for i, ((before, after), e) in enumerate(zip(ends, extra, strict=True))})
    return y if bias is None else y + bias.reshape(-1, *[1] * n)


def transposed3d(x: Any, weight: Any, strides: Any, dilations: Any, group: int) -> Any:
    """A convolution of x, with zeros between its elements, and the filters turned round."""
    for axis, stride in enumerate(strides, 2):
        if stride > 1:
            shape = [*x.shape]
            spread = ops.unsqueeze(x, axis=axis + 1)
            zeros = constant(0.0, x, x.dtype)
            blank = ops.expand(zeros, shape=(*shape[: axis + 1], stride - 1, *shape[axis + 1 :]))
            shape[axis] *= stride
            x = ops.concat(spread, blank, axis=axis + 1).reshape(*shape)
            x = padded(x, {axis: (0, 1 - stride)})
    c, k = weight.shape[0], weight.shape[1]
    turned = ops.flip(weight, axis=(2, 3, 4)).reshape(group, c // group, k, *weight.shape[2:])
    turned = turned.permute(0, 2, 1, 3, 4, 5).reshape(group * k, c // group, *weight.shape[2:])
    around = tuple((r - 1) * d for r, d in zip(weight.shape[2:], dilations, strict=True))
    return ops.conv3d(x, turned, padding=around, dilation=tuple(dilations), groups=group)


@operator("Col2Im")
def col2im(
    x: Any, image_shape: Any, block_shape: Any, *, dilations: Any = None, pads: Any = None, strides: Any = None
) -> Any:
    """Columns added up where their windows lie in the image."""
    image, block = ([int(v) for v in s.numpy().tolist()] for s in (image_shape, block_shape))
    n, k = len(image), prod(block)
    eye = constant([[float(i == j) for j in range(k)] for i in range(k)], x, x.dtype).reshape(k, 1, *block)
    dilations, strides, pads = dilations or [1] * n, strides or [1] * n, pads or [0] * 2 * n
    counts = [
        (m + pads[i] + pads[i + n] - dilations[i] * (block[i] - 1) - 1) // strides[i] + 1 for i, m in enumerate(image)
    ]
    channels = x.shape[1] // k
    columns = x.reshape(x.shape[0] * channels, k, *counts)
    full = [(m - 1) * s + (b - 1) * d + 1 for m, s, b, d in zip(counts, strides, block, dilations, strict=True)]
    if n == 3:
        y = transposed3d(columns, eye, strides, dilations, 1)
    else:
        y = of_rank(TRANSPOSED, columns, "Col2Im")(columns, eye, stride=one(strides), dilation=one(dilations))
    y = padded(y, {i + 2: (-pads[i], image[i] - full[i] + pads[i]) for i in range(n)})
    return y.reshape(x.shape[0], channels, *image)
