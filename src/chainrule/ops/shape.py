"""The shape room: the same elements, arranged otherwise. Views where the strides allow it, except where it says copy."""

from __future__ import annotations

from math import prod
from operator import index as integer
from typing import Any

from ..domain.dtype import BOOL
from ..domain.errors import ArgumentError, ShapeError
from ..tensor import Tensor
from ._axes import listed, one_axis, sizes, some_axes
from ._op import OpCall, op, primitive
from ._pad import pad as pad
from .elementwise import le, where
from .index import getitem
from .memory import clone, counted

# axes


@primitive
def reshape(x: Tensor, *, shape: Any) -> Any:
    """The elements in the same order, in another shape; one size may be -1. A copy if the strides need it.

    Errors: ShapeError if the number of elements differs.

    Formula: ``y.flat[i] = x.flat[i]``. Gradient: ``dx = reshape(g, shape=x.shape)``. Shapes: any → ``shape``.

    >>> reshape(Tensor([[1.0, 2.0], [3.0, 4.0]]), shape=(4,))
    tensor([1., 2., 3., 4.])
    """


reshape.vjp(x=lambda g, x_shape: reshape(g, shape=x_shape))


@reshape.normalises
def _(x: Any, *, shape: Any) -> dict[str, Any]:
    shape = sizes("reshape", shape)
    size = prod(x.shape)
    if -1 in shape:
        known = -prod(shape)
        if shape.count(-1) > 1 or known < 0 or (size % known if known else True):
            raise ShapeError(f"[reshape] {size} elements of {x.shape} do not fill {shape}: -1 stands for no one size")
        shape = tuple([size // known if n == -1 else n for n in shape])
    elif prod(shape) != size or min(shape, default=0) < 0:
        raise ShapeError(f"[reshape] x has {size} elements (shape {x.shape}) but {shape} has {prod(shape)}")
    return {"shape": shape}


@primitive
def permute(x: Tensor, *, axes: Any) -> Any:
    """The axes in another order: axis ``axes[0]`` comes first.

    Formula: ``y[iₐ₀, iₐ₁, …] = x[i₀, i₁, …]``, a = ``axes``. Gradient: ``g`` with the axes put back. Shapes: axis j of
    ``y`` is as long as axis ``axes[j]`` of ``x``.

    >>> permute(Tensor([[1.0, 2.0], [3.0, 4.0]]), axes=(1, 0))
    tensor([[1., 3.],
            [2., 4.]])
    """


@permute.vjp("x")
def _(g: Any, axes: Any) -> Any:
    return permute(g, axes=tuple(sorted(range(len(axes)), key=axes.__getitem__)))


@permute.normalises
def _(x: Any, *, axes: Any) -> dict[str, Any]:
    found = tuple([one_axis("permute", a, x.shape) for a in sizes("permute", axes)])
    if len(found) != x.ndim or len(set(found)) < x.ndim:
        raise ArgumentError(f"[permute] axes {tuple(axes)} should name each of the {x.ndim} axes of {x.shape} once")
    return {"axes": found}


@op
def transpose(x: Tensor, *, axis0: int = 0, axis1: int = 1) -> Any:
    """Two axes exchanged.

    Formula: ``y[…, j, …, i, …] = x[…, i, …, j, …]``. Gradient: ``dx = transpose(g, axis0=axis0, axis1=axis1)``. Shapes: any
    with two axes; their sizes change places.

    >>> transpose(Tensor([[1.0, 2.0]]), axis0=0, axis1=1).shape
    (2, 1)
    """
    axes = list(range(x.ndim))
    axes[axis0], axes[axis1] = axes[axis1], axes[axis0]
    return permute(x, axes=tuple(axes))


@transpose.normalises
def _(x: Any, *, axis0: int, axis1: int) -> dict[str, Any]:
    return {"axis0": one_axis("transpose", axis0, x.shape), "axis1": one_axis("transpose", axis1, x.shape)}


@transpose.checks
def _(x: Any, *, axis0: int, axis1: int) -> None:
    if x.ndim < 2:
        raise ShapeError(f"[transpose] x has shape {x.shape}; two axes are needed")


@primitive
def expand(x: Tensor, *, shape: Any) -> Any:
    """A read-only view, repeated along new leading axes and along axes of size 1; -1 leaves a size as it is.

    Formula: ``y[i] = x[i]``, with 0 for each index along a size of 1. Gradient: ``dx = Σ g`` over what was repeated.
    Shapes: any that broadcasts → ``shape``.

    >>> expand(Tensor([1.0, 2.0]), shape=(2, 2))
    tensor([[1., 2.],
            [1., 2.]])
    """


expand.vjp(x=lambda g: g)


@expand.normalises
def _(x: Any, *, shape: Any) -> dict[str, Any]:
    if shape == x.shape:
        return {"shape": shape}
    wanted = sizes("expand", shape)
    lead = len(wanted) - x.ndim
    found = tuple([x.shape[i - lead] if n == -1 and i >= lead else n for i, n in enumerate(wanted)])
    fits = lead >= 0 and all(n == m or m == 1 for n, m in zip(found[lead:], x.shape, strict=True))
    if not fits or min(found, default=0) < 0:
        raise ShapeError(f"[expand] x has shape {x.shape}, which does not broadcast to {wanted}")
    return {"shape": found}


@op
def squeeze(x: Tensor, *, axis: Any = None) -> Any:
    """Without axes of size 1: all such, or those of ``axis`` (an int or a tuple) that are.

    Formula: ``y = reshape(x, shape=y.shape)``. Gradient: ``dx = reshape(g, shape=x.shape)``. Shapes: any; ``y`` lacks the
    axes.

    >>> squeeze(Tensor([[[1.0], [2.0]]])), squeeze(Tensor([[[1.0], [2.0]]]), axis=0).shape
    (tensor([1., 2.]), (2, 1))
    """
    axes = listed(axis, x.ndim)
    return reshape(x, shape=tuple([n for i, n in enumerate(x.shape) if n != 1 or i not in axes]))


@squeeze.normalises
def _(x: Any, *, axis: Any) -> dict[str, Any]:
    return {"axis": some_axes("squeeze", axis, x.shape)}


@op
def unsqueeze(x: Tensor, *, axis: int) -> Any:
    """With a new axis of size 1 at place ``axis`` of the result.

    Formula: ``y = reshape(x, shape=y.shape)``. Gradient: ``dx = reshape(g, shape=x.shape)``. Shapes: any; ``y`` has one
    axis more.

    >>> unsqueeze(Tensor([1.0, 2.0]), axis=1).shape
    (2, 1)
    """
    return reshape(x, shape=(*x.shape[:axis], 1, *x.shape[axis:]))


@unsqueeze.normalises
def _(x: Any, *, axis: int) -> dict[str, Any]:
    return {"axis": one_axis("unsqueeze", axis, x.shape, room=1)}


@op
def flatten(x: Tensor, *, start: int = 0, end: int = -1) -> Any:
    """The axes from ``start`` to ``end``, both included, as one.

    Formula: ``y = reshape(x, shape=y.shape)``. Gradient: ``dx = reshape(g, shape=x.shape)``. Shapes: (a, b, c, d) → (a, b
    c, d) for 1 and 2.

    >>> flatten(Tensor([[[1.0], [2.0]], [[3.0], [4.0]]]), start=1)
    tensor([[1., 2.],
            [3., 4.]])
    """
    if not x.ndim:
        return reshape(x, shape=(1,))
    start, end = one_axis("flatten", start, x.shape), one_axis("flatten", end, x.shape)
    if end < start:
        raise ArgumentError(f"[flatten] start {start} comes after end {end} in {x.shape}")
    return reshape(x, shape=(*x.shape[:start], prod(x.shape[start : end + 1]), *x.shape[end + 1 :]))


# order


@primitive
def flip(x: Tensor, *, axis: Any) -> Any:
    """The elements in reverse order along one axis or several; a copy.

    Formula: ``y[i] = x[n - 1 - i]`` along each ``axis``. Gradient: ``dx = flip(g, axis=axis)``. Shapes: any; ``y`` as
    ``x``.

    >>> flip(Tensor([1.0, 2.0, 3.0]), axis=0)
    tensor([3., 2., 1.])
    """


flip.vjp(x=lambda g, axis: flip(g, axis=axis))


@flip.normalises
def _(x: Any, *, axis: Any) -> dict[str, Any]:
    return {"axis": some_axes("flip", axis, x.shape)}


@op
def roll(x: Tensor, *, shifts: Any, axis: Any = None) -> Any:
    """The elements moved along by ``shifts`` places, the last ones to the front; a copy. Without an axis, of all in order.

    Formula: ``y[(i + shifts) mod n] = x[i]`` along each ``axis``. Gradient: ``g`` moved back. Shapes: any; ``y`` as ``x``.

    >>> roll(Tensor([1.0, 2.0, 3.0]), shifts=1)
    tensor([3., 1., 2.])
    """
    if axis is None:
        return reshape(roll(reshape(x, shape=(-1,)), shifts=shifts, axis=(0,)), shape=x.shape)
    for shift, a in zip(shifts, axis, strict=True):
        n = x.shape[a]
        if n and shift % n:
            lead, cut = (slice(None),) * a, n - shift % n
            back = getitem(x, index=(*lead, slice(cut, n), ...))
            x = concat(back, getitem(x, index=(*lead, slice(0, cut), ...)), axis=a)
    return clone(x)


@roll.normalises
def _(x: Any, *, shifts: Any, axis: Any) -> dict[str, Any]:
    shifts = sizes("roll", shifts)
    if axis is not None:
        axis = tuple([one_axis("roll", a, x.shape) for a in sizes("roll", axis)])
    if len(shifts) != (1 if axis is None else len(axis)):
        raise ArgumentError(f"[roll] shifts {shifts} and axis {axis} should be equally many")
    return {"shifts": shifts, "axis": axis}


# joining and parting


def joined_axis(call: OpCall, room: int) -> None:
    """Give ``stack`` or ``concat`` its canonical axis."""

    @call.normalises
    def _(*xs: Any, axis: int) -> dict[str, Any]:
        return {"axis": one_axis(call.__name__, axis, xs[0].shape, room=room)} if xs else {}


@primitive(promote="common")
def stack(*xs: Tensor, axis: int = 0) -> Any:
    """Tensors of one shape, side by side along a new axis. ``stack([a, b])`` or ``stack(a, b)``; a copy.

    Formula: ``y[…, k, …] = xₖ[…]``. Gradient: ``dxₖ = g[…, k, …]``. Shapes: one shape for all; ``y`` has one axis more, as
    long as there are tensors.

    >>> stack(Tensor([1.0, 2.0]), Tensor([3.0, 4.0]), axis=1)
    tensor([[1., 3.],
            [2., 4.]])
    """


joined_axis(stack, 1)


@stack.vjp("xs")
def _(g: Any, i: int, axis: int) -> Any:
    return getitem(g, index=(slice(None),) * axis + (i, ...))


@stack.checks
def _(*xs: Any, axis: int) -> None:
    if not xs:
        raise ShapeError("[stack] there are no tensors to stack")
    for i, x in enumerate(xs):
        if x.shape != xs[0].shape:
            raise ShapeError(f"[stack] tensor {i} has shape {x.shape} but tensor 0 has {xs[0].shape}")


@primitive(promote="common")
def concat(*xs: Tensor, axis: int = 0) -> Any:
    """Tensors one after the other along one of their axes; the other sizes are equal. A copy.

    Formula: ``y = [x₀, x₁, …]`` along ``axis``. Gradient: to each ``x`` its part of ``g``. Shapes: sizes along ``axis`` add
    up, the others are equal.

    >>> concat([Tensor([1.0, 2.0]), Tensor([3.0])])
    tensor([1., 2., 3.])
    """


joined_axis(concat, 0)


@concat.vjp("xs")
def _(g: Any, xs: Any, i: int, axis: int) -> Any:
    start = sum(x.shape[axis] for x in xs[:i])
    return getitem(g, index=(slice(None),) * axis + (slice(start, start + xs[i].shape[axis]), ...))


@concat.checks
def _(*xs: Any, axis: int) -> None:
    if not xs or not xs[0].ndim:
        raise ShapeError(
            "[concat] there are no tensors to join" if not xs else "[concat] a number has no axis; use stack"
        )
    first = xs[0].shape
    for i, x in enumerate(xs):
        if x.ndim != len(first) or any(
            n != m for a, (n, m) in enumerate(zip(x.shape, first, strict=True)) if a != axis
        ):
            raise ShapeError(
                f"[concat] tensor {i} has shape {x.shape} but tensor 0 has {first}; only axis {axis} may differ"
            )


@op
def split(x: Tensor, *, sizes: Any, axis: int = 0) -> Any:
    """Views of the parts along one axis: parts of one size (the last may be smaller), or of the ``sizes`` of a list.

    Formula: ``yₖ`` is part k of ``x``. Gradient: each ``g`` at the place of its part. Shapes: the sizes along ``axis`` add
    up to that of ``x``.

    >>> split(Tensor([1.0, 2.0, 3.0]), 2), split(Tensor([1.0, 2.0, 3.0]), (1, 2))
    ((tensor([1., 2.]), tensor([3.])), (tensor([1.]), tensor([2., 3.])))
    """
    lead, ends = (slice(None),) * axis, [sum(sizes[: i + 1]) for i in range(len(sizes))]
    return tuple([getitem(x, index=(*lead, slice(e - n, e), ...)) for n, e in zip(sizes, ends, strict=True)])


@split.normalises
def _(x: Any, *, sizes: Any, axis: int) -> dict[str, Any]:
    axis = one_axis("split", axis, x.shape)
    n = x.shape[axis]
    if isinstance(sizes, (tuple, list)):
        parts = tuple([integer(size) for size in sizes])
    else:
        size = integer(sizes)
        if size < 1:
            raise ArgumentError(f"[split] a part has {size} elements; at least 1 is needed")
        parts = tuple([min(size, n - start) for start in range(0, n, size)]) or (0,)
    if sum(parts) != n or min(parts, default=0) < 0:
        raise ShapeError(f"[split] sizes {parts} add up to {sum(parts)}, but axis {axis} of {x.shape} is {n} long")
    return {"sizes": parts, "axis": axis}


@op
def chunk(x: Tensor, *, chunks: int, axis: int = 0) -> Any:
    """Views of at most ``chunks`` parts of equal size (the last may be smaller) along one axis.

    Formula: ``yₖ`` is part k of ``x``. Gradient: each ``g`` at the place of its part. Shapes: the sizes along ``axis`` add
    up to that of ``x``.

    >>> chunk(Tensor([1.0, 2.0, 3.0]), 2)
    (tensor([1., 2.]), tensor([3.]))
    """
    if chunks < 1:
        raise ArgumentError(f"[chunk] chunks is {chunks}; at least 1 is needed")
    return split(x, sizes=max(1, -(-x.shape[one_axis("chunk", axis, x.shape)] // chunks)), axis=axis)


# repeating


@op
def repeat(x: Tensor, *, repeats: Any) -> Any:
    """``x`` tiled: ``repeats[i]`` copies along axis i; more repeats than axes make new leading axes (as in PyTorch).

    Formula: ``y[i] = x[i mod n]`` along each axis. Gradient: ``dx = Σ g`` over the copies. Shapes: size i of ``y`` is that
    of ``x`` times ``repeats[i]``.

    >>> repeat(Tensor([1.0, 2.0]), repeats=(2, 2))
    tensor([[1., 2., 1., 2.],
            [1., 2., 1., 2.]])
    """
    shape = (1,) * (len(repeats) - x.ndim) + x.shape
    y = reshape(x, shape=tuple([m for n in shape for m in (1, n)]))
    y = expand(y, shape=tuple([m for r, n in zip(repeats, shape, strict=True) for m in (r, n)]))
    return clone(reshape(y, shape=tuple([r * n for r, n in zip(repeats, shape, strict=True)])))


@repeat.normalises
def _(x: Any, *, repeats: Any) -> dict[str, Any]:
    repeats = sizes("repeat", repeats)
    if len(repeats) < x.ndim or min(repeats, default=0) < 0:
        raise ArgumentError(f"[repeat] repeats {repeats} should give a number of copies for each axis of {x.shape}")
    return {"repeats": repeats}


@op
def tile(x: Tensor, *, repeats: Any) -> Any:
    """As ``repeat``, but fewer repeats than axes leave the leading axes as they are.

    Formula: ``y[i] = x[i mod n]`` along each axis. Gradient: ``dx = Σ g`` over the copies. Shapes: size i of ``y`` is that
    of ``x`` times ``repeats[i]``.

    >>> tile(Tensor([[1.0], [2.0]]), repeats=2)
    tensor([[1., 1.],
            [2., 2.]])
    """
    repeats = sizes("tile", repeats)
    return repeat(x, repeats=(1,) * (x.ndim - len(repeats)) + repeats)


# triangles


def triangle(call: OpCall, x: Any, diagonal: int, lower: bool) -> Any:
    if x.ndim < 2:
        raise ShapeError(f"[{call.__name__}] x has shape {x.shape}; a matrix is needed, or a batch of them")
    rows, columns = x.shape[-2:]
    row, column = reshape(counted(x, 0, rows), shape=(rows, 1)), counted(x, 0, columns)
    inside = le(column - row, diagonal) if lower else le(row - column, -diagonal)
    return inside & x if x.dtype.category == BOOL else where(inside, x, 0)


@op
def tril(x: Tensor, *, diagonal: int = 0) -> Any:
    """The lower triangle of matrices, zero above ``diagonal`` (0 the main one, 1 the one above it).

    Formula: ``yᵢⱼ = xᵢⱼ`` where j ≤ i + diagonal, else 0. Gradient: ``dx = tril(g, diagonal=diagonal)``. Shapes: (…, n, m);
    ``y`` as ``x``.

    >>> tril(Tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([[1., 0.],
            [3., 4.]])
    """
    return triangle(tril, x, diagonal, lower=True)


@op
def triu(x: Tensor, *, diagonal: int = 0) -> Any:
    """The upper triangle of matrices, zero below ``diagonal`` (0 the main one, 1 the one above it).

    Formula: ``yᵢⱼ = xᵢⱼ`` where j ≥ i + diagonal, else 0. Gradient: ``dx = triu(g, diagonal=diagonal)``. Shapes: (…, n, m);
    ``y`` as ``x``.

    >>> triu(Tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([[1., 2.],
            [0., 4.]])
    """
    return triangle(triu, x, diagonal, lower=False)


tril.vjp(x=lambda g, diagonal: tril(g, diagonal=diagonal))
triu.vjp(x=lambda g, diagonal: triu(g, diagonal=diagonal))
