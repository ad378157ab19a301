"""The operators of ONNX that change the shape, or give it."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ... import ops
from ...domain.errors import ArgumentError, NotSupportedError
from .operators import axes_in, constant, dtype_of, integers, operator, sized


@operator("Shape")
def shape(x: Any, *, start: int = 0, end: int | None = None) -> Any:
    """The sizes of the axes, or of some."""
    return constant([*x.shape][start:end], x, "int64")


@operator("Size")
def size(x: Any) -> Any:
    """The number of elements."""
    return constant(prod(x.shape), x, "int64")


@operator("Reshape")
def reshape(x: Any, sizes: Any, *, allowzero: int = 0) -> Any:
    """Another shape: -1 for what is left, 0 for the size that the axis has (not with ``allowzero``)."""
    wanted = integers(sizes)
    if not allowzero:
        if any(n == 0 and i >= x.ndim for i, n in enumerate(wanted)):
            raise ArgumentError(f"Reshape of shape {x.shape} to {wanted}: 0 stands for an axis that is not there")
        wanted = [x.shape[i] if n == 0 else n for i, n in enumerate(wanted)]
    return ops.reshape(x, shape=tuple(wanted))


@operator("Flatten")
def flatten(x: Any, *, axis: int = 1) -> Any:
    """Two axes: those before ``axis``, and those from it on."""
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(prod(x.shape[:axis]), prod(x.shape[axis:]))


@operator("Squeeze")
def squeeze(x: Any, given: Any = None, *, axes: Any = None) -> Any:
    """Without some axes of size 1."""
    chosen = axes if given is None else integers(given)
    if chosen is None:
        return ops.squeeze(x)
    chosen = axes_in(x, chosen)
    if any(x.shape[i] != 1 for i in chosen):
        raise ArgumentError(f"Squeeze of the axes {[*chosen]} of shape {x.shape}: expected axes of size 1")
    return ops.reshape(x, shape=tuple(n for i, n in enumerate(x.shape) if i not in chosen))


@operator("Unsqueeze")
def unsqueeze(x: Any, given: Any = None, *, axes: Any = None) -> Any:
    """With new axes of size 1, where they are in the result."""
    chosen = axes if given is None else integers(given)
    ndim = x.ndim + len(chosen)
    places = {axis % ndim for axis in chosen}
    if len(places) < len(chosen) or any(not -ndim <= axis < ndim for axis in chosen):
        raise ArgumentError(f"Unsqueeze of shape {x.shape} at the axes {[*chosen]}")
    rest = iter(x.shape)
    return ops.reshape(x, shape=tuple(1 if i in places else next(rest) for i in range(ndim)))


@operator("Transpose")
def transpose(x: Any, *, perm: Any = None) -> Any:
    """The axes in another order: turned round unless given."""
    return ops.permute(x, axes=tuple(reversed(range(x.ndim))) if perm is None else tuple(perm))


@operator("Concat")
def concat(*xs: Any, axis: int) -> Any:
    """One after the other along an axis."""
    return ops.concat(*xs, axis=axis)


@operator("Split")
def split(
    x: Any, sizes: Any = None, *, axis: int = 0, split_: Any = None, num_outputs: int | None = None, outputs: int
) -> Any:
    """Parts along an axis: of given sizes, or as many as there are outputs."""
    (axis,) = axes_in(x, axis)
    chosen = split_ if sizes is None else integers(sizes)
    if chosen is None:
        n = num_outputs or outputs
        each = -(-x.shape[axis] // n)
        chosen = [min(each, max(x.shape[axis] - i * each, 0)) for i in range(n)]
    return ops.split(x, sizes=tuple(chosen), axis=axis)


@operator("Slice")
def slices(x: Any, *given: Any, starts: Any = None, ends: Any = None, axes: Any = None, steps: Any = None) -> Any:
    """From a start to an end along some axes: attributes before opset 10, inputs since."""
    if given:
        starts, ends, axes, steps = (None if g is None else integers(g) for g in (*given, None, None)[:4])
    axes = axes_in(x, range(len(starts)) if axes is None else axes)
    key = [slice(None)] * x.ndim
    for axis, first, last, step in zip(axes, starts, ends, steps or [1] * len(axes), strict=True):
        n = x.shape[axis]
        if step == 0:
            raise ArgumentError("Slice: a step of 0")
        begin, end = (v + n if v < 0 else v for v in (first, last))
        begin, end = (
            (min(max(begin, 0), n), min(max(end, 0), n)) if step > 0 else (min(max(begin, 0), n - 1), max(end, -1))
        )
        key[axis] = slice(begin, end if end >= 0 else None, step)
    return x[tuple(key)]


@operator("Expand")
def expand(x: Any, sizes: Any) -> Any:
    """As large as the other, if broadcast with it."""
    return ops.expand(x, shape=sized(np.broadcast_shapes(x.shape, tuple(integers(sizes)))))


@operator("Tile")
def tile(x: Any, repeats: Any) -> Any:
    """Copies along each axis."""
    times = integers(repeats)
    sized([n * m for n, m in zip(x.shape, times, strict=True)])
    return ops.repeat(x, repeats=tuple(times)) if x.ndim else x


@operator("Cast")
def cast(x: Any, *, to: int, saturate: int = 1, round_mode: str = "up") -> Any:
    """In another dtype."""
    return x.to(dtype=dtype_of(to))


@operator("CastLike")
def cast_like(x: Any, like: Any, *, saturate: int = 1, round_mode: str = "up") -> Any:
    """In the dtype of the other."""
    return x.to(dtype=like.dtype)


@operator("Pad")
def pad(
    x: Any, sizes: Any = None, filling: Any = None, axes: Any = None, *, mode: str = "constant", pads: Any = None,
    value: float = 0.0,
) -> Any:  # fmt: skip
    """More at the ends of axes, or less: attributes before opset 11, inputs since."""
    amounts = [*pads] if sizes is None else integers(sizes)
    if filling is not None:
        value = filling.numpy().reshape(-1)[0].item()
    chosen = axes_in(x, range(x.ndim) if axes is None else integers(axes))
    if len(amounts) != 2 * len(chosen):
        raise ArgumentError(f"Pad: {len(amounts)} sizes for {len(chosen)} axes, expected two for each")
    half = len(chosen)
    ends = {axis: (amounts[i], amounts[i + half]) for i, axis in enumerate(chosen)}
    sized([n + sum(ends.get(i, (0, 0))) for i, n in enumerate(x.shape)])
    return padded(x, ends, mode, value)


def padded(x: Any, ends: dict[int, tuple[int, int]], mode: str = "constant", value: float = 0.0) -> Any:
    """``x`` with that many more elements before and after along each axis; fewer where they are negative."""
    for axis, (before, after) in ends.items():
        n = x.shape[axis]
        first, last = max(-before, 0), n - max(-after, 0)
        if (first, last) != (0, n):
            x = x[(*(slice(None),) * axis, slice(first, last))]
        if mode != "constant" and max(before, after) > 0:
            if mode not in ("reflect", "edge", "wrap"):
                raise NotSupportedError(f"Pad with the mode {mode!r}; expected constant, reflect, edge or wrap")
            places = np.pad(np.arange(x.shape[axis]), (max(before, 0), max(after, 0)), mode)  # type: ignore[call-overload]
            x = x[(*(slice(None),) * axis, constant(places, x))]
    grown = [(max(b, 0), max(a, 0)) for b, a in (ends.get(i, (0, 0)) for i in reversed(range(x.ndim)))]
    if mode == "constant" and any(b or a for b, a in grown):
        while grown[-1] == (0, 0):
            grown.pop()
        x = ops.pad(x, pad=tuple(n for both in grown for n in both), value=value)
    return x


@operator("DepthToSpace")
def depth_to_space(x: Any, *, blocksize: int, mode: str = "DCR") -> Any:
    """Channels laid out as blocks of pixels: the block is the first part of the channels, or with CRD the last."""
    n, c, h, w = x.shape
    b = blocksize
    if mode == "CRD":
        return ops.pixel_shuffle(x, upscale_factor=b)
    y = x.reshape(n, b, b, c // (b * b), h, w).permute(0, 3, 4, 1, 5, 2)
    return y.reshape(n, c // (b * b), h * b, w * b)


@operator("SpaceToDepth")
def space_to_depth(x: Any, *, blocksize: int) -> Any:
    """Blocks of pixels as channels."""
    n, c, h, w = x.shape
    b = blocksize
    y = x.reshape(n, c, h // b, b, w // b, b).permute(0, 3, 5, 1, 2, 4)
    return y.reshape(n, c * b * b, h // b, w // b)


@operator("Trilu")
def trilu(x: Any, k: Any = None, *, upper: int = 1) -> Any:
    """The triangle above a diagonal, or below it; 0 elsewhere."""
    diagonal = 0 if k is None else max(-(1 << 30), min(1 << 30, integers(k)[0]))
    return (ops.triu if upper else ops.tril)(x, diagonal=diagonal)


@operator("CenterCropPad")
def center_crop_pad(x: Any, sizes: Any, *, axes: Any = None) -> Any:
    """Cut, or padded with 0, to sizes, the middle kept."""
    chosen = axes_in(x, range(x.ndim) if axes is None else axes)
    ends = {}
    for axis, n in zip(chosen, integers(sizes), strict=True):
        more = n - x.shape[axis]
        before = more // 2 if more > 0 else -(-more // 2)
        ends[axis] = (before, more - before)
    sized([n + sum(ends.get(i, (0, 0))) for i, n in enumerate(x.shape)])
    return padded(x, ends)


@operator("ReverseSequence")
def reverse_sequence(x: Any, lengths: Any, *, batch_axis: int = 1, time_axis: int = 0) -> Any:
    """The first steps of each sequence turned round, as many as it is long."""
    steps = np.arange(x.shape[time_axis])[:, None]
    ends = np.array(integers(lengths))[None]
    places = np.where(steps < ends, ends - 1 - steps, steps)  # (time, batch)
    places = places if (time_axis, batch_axis) == (0, 1) else places.T
    batches = np.arange(x.shape[batch_axis])
    key = (places, batches[None]) if time_axis == 0 else (batches[:, None], places)
    return x[tuple(constant(k, x) for k in key)]
