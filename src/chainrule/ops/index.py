"""The index room: taking elements out and putting them in. Each pair is one another's gradient.

Any index NumPy takes is first ``split`` into a *pattern*, a tuple of integers, slices, None, one ``...``, and ``"tensor"`` in
place of each index tensor, and those tensors (int64; a mask becomes the places where it is true). A pattern without tensors
is a view: ``getitem``. One with tensors is a copy: ``index``. Negative integers count from the end.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import index as integer
from typing import Any

from ..domain.dtype import BOOL, FLOAT
from ..domain.errors import ArgumentError, ArgumentTypeError, DTypeError, IndexRangeError, ShapeError
from ..tensor import Tensor
from ._axes import one_axis
from ._front import front
from ._op import OpCall, op, primitive
from .memory import clone, like

# any index


def split(x: Tensor, index: Any) -> tuple[tuple[Any, ...], list[Tensor]]:
    """Any index as a pattern and index tensors. Errors: IndexRangeError for what is out of range, DTypeError for floats.

    >>> split(Tensor([[1.0, 2.0]]), (0, [1, 1]))
    ((0, 'tensor', Ellipsis), [tensor([1, 1])])
    """
    items = [tensored(x, i) for i in (index if isinstance(index, tuple) else (index,))]
    used = sum(i.ndim if is_mask(i) else 1 for i in items if i is not None and i is not ... and type(i) is not bool)
    shape, axis, pattern, indices, open_ = x.shape, 0, [], [], False
    if used > len(shape):
        raise IndexRangeError(f"[getitem] the index takes {used} axes, but x has shape {shape}")
    for i in items:
        if i is ...:
            if open_:
                raise IndexRangeError("[getitem] an index can have only one '...'")
            open_, axis = True, axis + len(shape) - used
        elif isinstance(i, slice):
            axis += 1
        elif isinstance(i, Tensor):
            found = places(i, shape, axis) if is_mask(i) else [i]
            indices += found
            axis += len(found)
            pattern += ["tensor"] * len(found)
            continue
        elif i is not None and type(i) is not bool:
            if not -shape[axis] <= i < shape[axis]:
                raise IndexRangeError(f"[getitem] index {i} is out of range for axis {axis} of {shape}")
            axis += 1
        pattern.append(i)
    return tuple(pattern if open_ else [*pattern, ...]), indices


def tensored(x: Tensor, i: Any) -> Any:
    """One item of an index: an int, a slice of ints, a bool, None, ``...`` or a tensor that can index."""
    if i is None or i is ... or type(i) in (int, bool):
        return i
    if isinstance(i, slice):
        if i.step is not None and integer(i.step) == 0:
            raise ArgumentError("[getitem] the step of a slice cannot be 0")
        return slice(*[None if part is None else integer(part) for part in (i.start, i.stop, i.step)])
    if isinstance(i, (list, tuple)) or (hasattr(i, "__array_interface__") and getattr(i, "shape", ()) != ()):
        found = like(x, i, None)
        i = found.cast(dtype="int64") if isinstance(i, (list, tuple)) and not found.size else found  # [] has no dtype
    elif hasattr(i, "__array_interface__"):
        i = i.item()
    if not isinstance(i, Tensor):
        if isinstance(i, float) or not hasattr(i, "__index__"):
            raise ArgumentTypeError(
                f"[getitem] a {type(i).__name__} is no index: give integers, slices, masks, None or ..."
            )
        return i if type(i) is bool else integer(i)
    if i.dtype.category == FLOAT:
        raise DTypeError(f"[getitem] a tensor of {i.dtype} is no index; cast it to an integer or bool dtype first")
    if i.dtype.category == BOOL:
        return i if i.ndim else bool(i.item())
    return i if i.dtype == "int64" else i.cast(dtype="int64")


def is_mask(i: Any) -> bool:
    """Whether an item of an index is a tensor of bools."""
    return isinstance(i, Tensor) and i.dtype.category == BOOL


def places(mask: Tensor, shape: tuple[int, ...], axis: int) -> list[Tensor]:
    """Where a mask is true, axis by axis."""
    if mask.shape != shape[axis : axis + mask.ndim]:
        raise IndexRangeError(
            f"[getitem] the mask has shape {mask.shape}, but the axes it stands for have {shape[axis : axis + mask.ndim]}"
        )
    where = nonzero(mask)
    return [getitem(where, index=(..., k)) for k in range(mask.ndim)]


def get(x: Tensor, i: Any) -> Any:
    """``x[i]``: a view for integers, slices, None and ``...``; a copy for tensors, arrays, lists and masks."""
    pattern, indices = split(x, i)
    if indices or any(type(p) is bool for p in pattern):
        return index(x, *indices, pattern=pattern)
    return getitem(x, index=pattern)


def put(x: Tensor, v: Any, pattern: Any, indices: Any) -> Any:
    """A copy of ``x`` with ``v`` (of its dtype, or a number) where ``split`` says."""
    if indices or any(type(p) is bool for p in pattern):
        return index_set(x, v, *indices, pattern=pattern)
    return setitem(x, v, index=pattern)


# views


@primitive
def getitem(x: Tensor, *, index: Any) -> Any:
    """A view by a pattern without tensors.

    >>> getitem(Tensor([[1.0, 2.0], [3.0, 4.0]]), index=(slice(None), 1, ...))
    tensor([2., 4.])
    """


@getitem.vjp("x")
def _(g: Any, index: Any, x_shape: Any) -> Any:
    return embed(g, index=index, shape=x_shape)


@primitive
def embed(x: Tensor, *, index: Any, shape: Any) -> Any:
    """Zeros of ``shape``, with ``x`` where a pattern without tensors says.

    >>> embed(Tensor([2.0, 3.0]), index=(slice(1, 3), ...), shape=(4,))
    tensor([0., 2., 3., 0.])
    """


embed.vjp(x=lambda g, index: getitem(g, index=index))


@primitive
def setitem(x: Tensor, v: Tensor | float, *, index: Any) -> Any:
    """A copy of ``x``, with ``v`` where a pattern without tensors says; ``v`` broadcasts.

    >>> setitem(Tensor([1.0, 2.0, 3.0]), 0.5, index=(slice(0, 2), ...))
    tensor([0.5, 0.5, 3. ])
    """


setitem.vjp(x=lambda g, index: setitem(g, 0.0, index=index), v=lambda g, index: getitem(g, index=index))


# index tensors


@primitive
def index(x: Tensor, *indices: Tensor, pattern: Any) -> Any:
    """The elements that a pattern with index tensors names. Errors: IndexRangeError for an index out of range.

    >>> index(Tensor([1.0, 2.0, 3.0]), Tensor([2, 0, 2]), pattern=("tensor", ...))
    tensor([3., 1., 3.])
    """


@index.vjp("x")
def _(g: Any, indices: Any, pattern: Any, x_shape: Any) -> Any:
    return index_scatter(g, *indices, pattern=pattern, shape=x_shape)


@primitive
def index_scatter(g: Tensor, *indices: Tensor, pattern: Any, shape: Any) -> Any:
    """Zeros of ``shape``, with each element of ``g`` added where ``index`` would take it from.

    >>> index_scatter(Tensor([1.0, 2.0, 3.0]), Tensor([2, 0, 2]), pattern=("tensor", ...), shape=(3,))
    tensor([2., 0., 4.])
    """


@index_scatter.vjp("g")
def _(g_: Any, indices: Any, pattern: Any) -> Any:
    return index(g_, *indices, pattern=pattern)


@primitive
def index_set(x: Tensor, v: Tensor | float, *indices: Tensor, pattern: Any) -> Any:
    """A copy of ``x``, with ``v``, which broadcasts, where ``index`` would take elements from; the last of several counts.

    >>> index_set(Tensor([1.0, 2.0, 3.0]), 9.0, Tensor([2, 0]), pattern=("tensor", ...))
    tensor([9., 2., 9.])
    """


@index_set.vjp("x")
def _(g: Any, indices: Any, pattern: Any) -> Any:
    return index_set(g, 0.0, *indices, pattern=pattern)


@index_set.vjp("v")
def _(g: Any, indices: Any, pattern: Any) -> Any:
    return index(g, *indices, pattern=pattern)


# along one axis


def along_axis(call: OpCall) -> None:
    """Give an op of ``x``, ``indices``, perhaps ``src``, and ``axis`` its canonical axis, and check what it got."""
    name = call.__name__

    @call.normalises
    def _(x: Any, *tensors: Any, axis: int, **rest: Any) -> dict[str, Any]:
        return {"axis": one_axis(name, axis, rest.get("shape", x.shape))}

    @call.checks
    def _(x: Any, indices: Any, *src: Any, axis: int, **rest: Any) -> None:
        shape = rest.get("shape", x.shape)
        if indices.dtype.category == FLOAT:
            raise DTypeError(f"[{name}] indices are {indices.dtype}; they should be integers: cast them")
        fits = all(n <= m for a, (n, m) in enumerate(zip(indices.shape, shape, strict=False)) if a != axis)
        if indices.ndim != len(shape) or (not fits and name != "take_along_axis"):
            raise ShapeError(
                f"[{name}] indices have shape {indices.shape}, which does not go with {shape}: equally many axes are "
                f"needed, none longer but axis {axis}"
            )
        for s in src:
            if s.ndim != indices.ndim or any(n > m for n, m in zip(indices.shape, s.shape, strict=True)):
                raise ShapeError(f"[{name}] src has shape {s.shape}, smaller than that of indices, {indices.shape}")


def axis_first(call: Any) -> Any:
    """PyTorch's order too, ``x.gather(axis, indices)``: an integer before the indices is the axis."""

    def reordered(x: Any, *args: Any, **params: Any) -> Any:
        if args and not isinstance(args[0], Tensor) and hasattr(args[0], "__index__"):
            return call(x, *args[1:], axis=args[0], **params)
        return call(x, *args, **params)

    return reordered


@front(axis_first)
@primitive
def gather(x: Tensor, indices: Tensor, *, axis: int) -> Any:
    """The elements of ``x`` at ``indices`` along one axis; along the others each index takes from its own place.

    Errors: IndexRangeError for an index below 0 or beyond the axis.

    Formula: ``y[i, j] = x[indices[i, j], j]`` for axis 0 of two. Gradient: ``dx[indices[i, j], j] += g[i, j]``. Shapes:
    ``indices`` is no longer than ``x`` on the other axes; ``y`` as ``indices``.

    >>> gather(Tensor([[1.0, 2.0], [3.0, 4.0]]), Tensor([[1], [0]]), axis=1)
    tensor([[2.],
            [3.]])
    """


@gather.vjp("x")
def _(g: Any, indices: Any, axis: int, x_shape: Any) -> Any:
    return ungather(g, indices, axis=axis, shape=x_shape)


along_axis(gather)


@primitive
def ungather(x: Tensor, indices: Tensor, *, axis: int, shape: Any) -> Any:
    """Zeros of ``shape``, with each element of ``x`` added where ``gather`` would take it from.

    >>> ungather(Tensor([1.0, 2.0, 3.0]), Tensor([0, 3, 3]), axis=0, shape=(4,))
    tensor([1., 0., 0., 5.])
    """


ungather.vjp(x=lambda g, indices, axis: gather(g, indices, axis=axis))
along_axis(ungather)


@front(axis_first)
@op
def scatter_add(x: Tensor, indices: Tensor, src: Tensor, *, axis: int) -> Any:
    """A copy of ``x`` with the elements of ``src`` added at ``indices`` along one axis.

    Formula: ``y[i, j] = x[i, j]``, and then ``y[indices[i, j], j] += src[i, j]``, for axis 0 of two. Gradient: ``dx = g``,
    ``dsrc[i, j] = g[indices[i, j], j]``. Shapes: ``src`` is no smaller than ``indices``; ``y`` as ``x``.

    >>> scatter_add(Tensor([1.0, 1.0, 1.0]), Tensor([0, 2, 2]), Tensor([1.0, 2.0, 3.0]), axis=0)
    tensor([2., 1., 6.])
    """
    if src.shape != indices.shape:
        src = getitem(src, index=(*[slice(0, n) for n in indices.shape], ...))
    return x + ungather(src, indices, axis=axis, shape=x.shape)


along_axis(scatter_add)


@op
def take_along_axis(x: Tensor, indices: Tensor, *, axis: int) -> Any:
    """As ``gather``, but the axes other than ``axis`` broadcast: what ``argsort`` and ``argmax(keepdims=True)`` give.

    Formula: ``y[i, j] = x[indices[i, j], j]`` for axis 0 of two. Gradient: ``dx[indices[i, j], j] += g[i, j]``. Shapes:
    ``y`` is as long as ``indices`` along ``axis``.

    >>> x = Tensor([[3.0, 1.0], [2.0, 4.0]])
    >>> take_along_axis(x, x.argsort(axis=1), axis=1)
    tensor([[1., 3.],
            [2., 4.]])
    """
    others = [(n, m) for a, (n, m) in enumerate(zip(x.shape, indices.shape, strict=True)) if a != axis]
    if any(n != m and 1 not in (n, m) for n, m in others):
        raise ShapeError(f"[take_along_axis] indices of shape {indices.shape} do not broadcast with x, {x.shape}")
    wide = [m if n == 1 else n for n, m in others]
    x = x.expand((*wide[:axis], x.shape[axis], *wide[axis:]))
    return gather(x, indices.expand((*wide[:axis], indices.shape[axis], *wide[axis:])), axis=axis)


along_axis(take_along_axis)


# order


@primitive(outputs=("values", "indices"))
def sort(x: Tensor, *, axis: int = -1, descending: bool = False) -> Any:
    """The elements in order along one axis, and where they were (int64). Equals keep their order; nan is the largest.

    Formula: ``y[k] = x[indices[k]]``, y₀ ≤ y₁ ≤ …. Gradient: ``dx[indices[k]] = g[k]``. Shapes: any with an axis; both
    outputs as ``x``.

    >>> values, indices = sort(Tensor([2.0, 3.0, 1.0]))
    >>> values, indices
    (tensor([1., 2., 3.]), tensor([2, 0, 1]))
    """


@sort.vjp("x")
def _(g: Any, indices: Any, x_shape: Any, axis: int) -> Any:
    return ungather(g[0], indices, axis=axis % len(x_shape), shape=x_shape)


def ordered_axis(call: OpCall) -> None:
    """Give an op of one ``axis`` its canonical axis; a number has none to put in order."""

    @call.normalises
    def _(x: Any, *, axis: int, **rest: Any) -> dict[str, Any]:
        return {"axis": one_axis(call.__name__, axis, x.shape)}

    @call.checks
    def _(x: Any, **rest: Any) -> None:
        if not x.ndim:
            raise ShapeError(f"[{call.__name__}] x is a number; an axis to put in order is needed")


@op(nondifferentiable=True)
def argsort(x: Tensor, *, axis: int = -1, descending: bool = False) -> Any:
    """Where the elements in order along one axis are (int64). Equals keep their order.

    Formula: the ``indices`` of ``sort``. Gradient: none, the result is an integer. Shapes: any with an axis; ``y`` as
    ``x``.

    >>> argsort(Tensor([2.0, 3.0, 1.0]))
    tensor([2, 0, 1])
    """
    return clone(sort(x, axis=axis, descending=descending)[1])


@op(outputs=("values", "indices"))
def topk(x: Tensor, *, k: int, axis: int = -1, largest: bool = True) -> Any:
    """The ``k`` largest elements (or smallest) along one axis, the most extreme first, and where they are (int64).

    Formula: ``y[j] = x[indices[j]]``, y₀ ≥ y₁ ≥ …. Gradient: ``dx[indices[j]] = g[j]``, else 0. Shapes: both outputs are
    ``k`` long along ``axis``.

    >>> values, indices = topk(Tensor([2.0, 3.0, 1.0]), 2)
    >>> values, indices
    (tensor([3., 2.]), tensor([1, 0]))
    """
    values, indices = sort(x, axis=axis, descending=largest)
    first = (slice(None),) * (axis % x.ndim) + (slice(0, k), ...)
    return getitem(values, index=first), getitem(indices, index=first)


@topk.vjp("x")
def _(g: Any, indices: Any, x_shape: Any, axis: int) -> Any:
    return ungather(g[0], indices, axis=axis % len(x_shape), shape=x_shape)


for _call in (sort, argsort, topk):
    ordered_axis(_call)


@topk.checks
def _(x: Any, *, k: int, axis: int, largest: bool) -> None:
    if not x.ndim or not 0 <= k <= x.shape[axis]:
        raise ShapeError(f"[topk] k is {k}, but axis {axis} of {x.shape} does not have so many elements")


# what depends on the values


@primitive(nondifferentiable=True)
def nonzero(x: Tensor) -> Any:
    """The places of the elements that are true (not 0), in order: int64, (how many, axes of x).

    Formula: all i with ``x[i] ≠ 0``. Gradient: none, the result is an integer. Shapes: any → (how many, axes of ``x``).

    >>> nonzero(Tensor([[1.0, 0.0], [0.0, 2.0]]))
    tensor([[0, 0],
            [1, 1]])
    """


def as_asked(call: OpCall) -> Callable[..., Any]:
    """The values alone unless more is asked for."""

    def unique(x: Tensor, *, return_inverse: bool = False, return_counts: bool = False) -> Any:
        values, inverse, counts = call(x)
        asked = (values, *([inverse] if return_inverse else []), *([counts] if return_counts else []))
        return asked if len(asked) > 1 else values

    return unique


@front(as_asked)
@primitive(outputs=("values", "inverse", "counts"), nondifferentiable=True)
def unique(x: Tensor) -> Any:
    """The different elements in order; if asked for, where each element of ``x`` is among them, and how often each occurs.

    Formula: the set of all ``xᵢ``. Gradient: none, its length depends on values. Shapes: any → (how many,).

    >>> unique(Tensor([3, 1, 3])), unique(Tensor([3, 1, 3]), return_inverse=True, return_counts=True)
    (tensor([1, 3]), (tensor([1, 3]), tensor([1, 0, 1]), tensor([1, 2])))
    """
