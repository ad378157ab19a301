"""The reference kernels: every primitive, said in NumPy. Slow is fine, wrong is not."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..domain.dtype import DTYPES
from ..domain.errors import ArgumentError, ChainruleError, DTypeError, IndexRangeError, ShapeError
from . import _philox

KERNELS: dict[str, Callable[..., Any]] = {}
REFERENCE = KERNELS  # what other backends on the CPU fall back to
DECLINES: dict[str, str] = {}
WIDENS: frozenset[str] = frozenset()  # kernels to be given 16-bit floats as float32: these do that themselves
HALF_GRADIENTS: frozenset[str] = frozenset()

NUMPY = {d: np.dtype(str(d)) for d in DTYPES.values()}  # np.dtype(name) reads the name each time
HALF = "eE"  # the type codes of float16 and bfloat16


def moves(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """Register a kernel that moves elements of any dtype and computes nothing."""
    KERNELS[kernel.__name__.rstrip("_")] = kernel
    return kernel


def computes(kernel: Callable[..., Any], name: str = "", explain: Callable[..., Exception] | None = None) -> Any:
    """Register a kernel that computes: 16-bit floats as float32, rounded once; no warnings; arrays, never NumPy scalars.

    ``explain`` makes a better error of NumPy's, from that, ``name`` and the operands.
    """
    name = name or kernel.__name__.rstrip("_")
    quiet = np.errstate(all="ignore")(kernel)

    def run(*args: Any, **params: Any) -> Any:
        try:
            for a in args:
                if type(a) is np.ndarray and a.dtype.char in HALF:
                    return in_float32(quiet, args, params, a.dtype)
            y = quiet(*args, **params)
        except (ValueError, TypeError) as error:
            raise explain(name, args, error) if explain else error from None
        return y if type(y) is np.ndarray else arrays(y)

    KERNELS[name] = run
    return run


def in_float32(kernel: Callable[..., Any], args: Any, params: Any, dtype: Any) -> Any:
    """The kernel's result in ``dtype``, of 16 bits, computed in float32."""
    wide = [a.astype(np.float32) if type(a) is np.ndarray and a.dtype.char in HALF else a for a in args]

    def narrow(y: Any) -> Any:
        if type(y) is tuple:
            return tuple(map(narrow, y))
        with np.errstate(all="ignore"):
            return y.astype(dtype) if y.dtype == np.float32 else y

    return narrow(arrays(kernel(*wide, **params)))


def arrays(y: Any) -> Any:
    """NumPy gives a scalar where no axis is left: an array again."""
    return tuple(map(arrays, y)) if isinstance(y, tuple) else np.asarray(y)


# elementwise


def explained(name: str, operands: Any, error: Exception) -> Exception:
    """The error of an elementwise kernel: shapes that do not go together, or dtypes that it is not for."""
    if isinstance(error, ChainruleError):
        return error
    if isinstance(error, ValueError):
        shapes = " and ".join(str(a.shape) for a in operands if isinstance(a, np.ndarray))
        return ShapeError(f"[{name}] shapes {shapes} do not broadcast: from the last axis on, sizes must be equal or 1")
    dtypes = " and ".join(str(getattr(a, "dtype", type(a).__name__)) for a in operands)
    return DTypeError(f"[{name}] is not defined for {dtypes}; cast first")


def floor_div(a: Any, b: Any) -> Any:
    return np.floor_divide(a, divisor("floor_div", a, b))


def remainder(a: Any, b: Any) -> Any:
    return np.remainder(a, divisor("remainder", a, b))


def divisor(name: str, a: Any, b: Any) -> Any:
    """``b``, unless integers would be divided by zero."""
    if both_bool(a, b):
        raise TypeError
    if not is_float(a) and not is_float(b) and not np.all(b):
        raise ZeroDivisionError(f"[{name}] an integer is divided by zero; cast to a float for inf or nan")
    return b


def both_bool(a: Any, b: Any) -> bool:
    return bool(np.asarray(a).dtype.kind == np.asarray(b).dtype.kind == "b")


def is_float(a: Any) -> bool:
    return np.asarray(a).dtype.kind == "f"


def power(a: Any, b: Any) -> Any:
    if both_bool(a, b):
        raise TypeError  # NumPy would make int8 of it
    if not is_float(a) and not is_float(b) and np.any(np.less(b, 0)):
        raise ArgumentError("[pow] an integer to a negative power is no integer; cast it to a float first")
    return np.power(a, b)


def sigmoid(x: Any) -> Any:
    e = np.exp(-np.abs(x))  # never overflows
    return np.where(x >= 0, 1, e) / (1 + e)


def erf(x: Any) -> Any:
    return np.array([math.erf(v) for v in x.ravel().tolist()], x.dtype).reshape(x.shape)


def round_(x: Any) -> Any:
    return np.rint(x) if is_float(x) else x.copy()


def where(condition: Any, a: Any, b: Any) -> Any:
    y = np.where(condition, a, b)
    wanted = next(v.dtype for v in (a, b) if isinstance(v, np.ndarray))
    return y.astype(wanted, copy=False)  # a Python scalar does not widen


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.true_divide, "pow": power,
    "floor_div": floor_div, "remainder": remainder, "maximum": np.maximum, "minimum": np.minimum, "atan2": np.arctan2,
    "neg": np.negative, "abs": np.abs, "sign": np.sign, "floor": np.floor, "ceil": np.ceil, "round": round_,
    "exp": np.exp, "expm1": np.expm1, "log": np.log, "log1p": np.log1p, "sqrt": np.sqrt, "erf": erf, "sigmoid": sigmoid,
    "sin": np.sin, "cos": np.cos, "tan": np.tan, "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan,
    "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh,
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
    "logical_and": np.logical_and, "logical_or": np.logical_or, "logical_xor": np.logical_xor,
    "bitwise_and": np.bitwise_and, "bitwise_or": np.bitwise_or, "bitwise_xor": np.bitwise_xor, "bitwise_not": np.invert,
    "logical_not": np.logical_not, "isfinite": np.isfinite, "where": where,
}  # fmt: skip
for _name, _function in FUNCTIONS.items():
    computes(_function, _name, explained)


# reduce and gemm. The sum of integers is int64, as wide as it gets


def whole(x: Any) -> Any:
    return None if is_float(x) else np.int64


@computes
def sum(x: Any, *, axis: Any, keepdims: bool) -> Any:
    return np.add.reduce(x, axis, dtype=whole(x), keepdims=keepdims)  # type: ignore[call-overload]


@computes
def prod(x: Any, *, axis: Any, keepdims: bool) -> Any:
    return np.multiply.reduce(x, axis, dtype=whole(x), keepdims=keepdims)  # type: ignore[call-overload]


def taken(x: Any, where: Any, axis: int, keepdims: bool) -> Any:
    """The element of ``x`` at ``where`` along ``axis``, and ``where``."""
    values = np.take_along_axis(x, where, axis)
    return (values, where) if keepdims else (values.squeeze(axis), where.squeeze(axis))


@computes
def max(x: Any, *, axis: int, keepdims: bool) -> Any:
    return taken(x, x.argmax(axis, keepdims=True), axis, keepdims)  # the first of equals


@computes
def min(x: Any, *, axis: int, keepdims: bool) -> Any:
    return taken(x, x.argmin(axis, keepdims=True), axis, keepdims)


@computes
def any(x: Any, *, axis: Any, keepdims: bool) -> Any:
    return np.any(x, axis, keepdims=keepdims)


@computes
def all(x: Any, *, axis: Any, keepdims: bool) -> Any:
    return np.all(x, axis, keepdims=keepdims)


@computes
def cumsum(x: Any, *, axis: int) -> Any:
    return np.cumsum(x, axis, dtype=whole(x))


@computes
def cumprod(x: Any, *, axis: int) -> Any:
    return np.cumprod(x, axis, dtype=whole(x))


@computes
def matmul(a: Any, b: Any) -> Any:
    return np.matmul(a, b)


# shape and memory


@moves
def reshape(x: Any, *, shape: Any) -> Any:
    return x.reshape(shape)


@moves
def permute(x: Any, *, axes: Any) -> Any:
    return x.transpose(axes)


@moves
def expand(x: Any, *, shape: Any) -> Any:
    if x.ndim:
        return np.broadcast_to(x, shape)
    y: Any = np.ndarray(shape, x.dtype, x, 0, (0,) * len(shape))  # the same for a number, eight times faster
    y.setflags(write=False)
    return y


@moves
def stack(*xs: Any, axis: int) -> Any:
    return np.stack(xs, axis)


@moves
def concat(*xs: Any, axis: int) -> Any:
    return np.concatenate(xs, axis)


@moves
def flip(x: Any, *, axis: Any) -> Any:
    return np.flip(x, axis).copy()


@moves
def cast(x: Any, *, dtype: Any) -> Any:
    with np.errstate(all="ignore"):
        return x.astype(dtype)


@moves
def clone(x: Any) -> Any:
    return x.copy("K")


@moves
def full(*, shape: Any, value: Any, dtype: Any) -> Any:
    y = np.empty(shape, NUMPY.get(dtype) or dtype)  # a third of the time of np.full
    y.fill(value)
    return y


@moves
def arange(*, start: Any, stop: Any, step: Any, dtype: Any) -> Any:
    return np.arange(start, stop, step).astype(dtype)


# index. A pattern is an index with ``"tensor"`` in place of each index tensor


def filled(pattern: Any, indices: Any) -> Any:
    """The index that ``pattern`` and ``indices`` make together."""
    following = iter(indices)
    return tuple([next(following) if type(p) is str else p for p in pattern])


@moves
def assign(x: Any, v: Any, *indices: Any, pattern: Any) -> Any:
    return written("assign", x, filled(pattern, indices), v)


def written(name: str, y: Any, place: Any, v: Any) -> Any:
    """``y`` after ``y[place] = v``."""
    try:
        y[place] = v
    except IndexError as error:
        raise IndexRangeError(f"[{name}] {error}, where x has shape {y.shape}") from None
    except ValueError as error:
        if not y.flags.writeable:
            raise
        given = np.shape(v)
        raise ShapeError(
            f"[{name}] values of shape {given} do not broadcast to their place in {y.shape}: {error}"
        ) from None
    return y


@moves
def getitem(x: Any, *, index: Any) -> Any:
    return x[index]


@moves
def embed(x: Any, *, index: Any, shape: Any) -> Any:
    y = np.zeros(shape, x.dtype)
    y[index] = x
    return y


@moves
def setitem(x: Any, v: Any, *, index: Any) -> Any:
    return written("setitem", x.copy(), index, v)


@moves
def index(x: Any, *indices: Any, pattern: Any) -> Any:
    try:
        return np.array(x[filled(pattern, indices)])
    except IndexError as error:
        raise IndexRangeError(f"[index] {error}, where x has shape {x.shape}") from None


@computes
def index_scatter(g: Any, *indices: Any, pattern: Any, shape: Any) -> Any:
    y = np.zeros(shape, g.dtype)
    np.add.at(y, filled(pattern, indices), g)
    return y


@moves
def index_set(x: Any, v: Any, *indices: Any, pattern: Any) -> Any:
    return written("index_set", x.copy(), filled(pattern, indices), v)


def along(name: str, indices: Any, axis: int, shape: Any) -> Any:
    """``indices`` along one axis of an array of ``shape``, and every other place as it is."""
    wrong = indices[(indices < 0) | (indices >= shape[axis])]
    if wrong.size:
        raise IndexRangeError(f"[{name}] index {wrong[0]} is out of range for axis {axis} of {tuple(shape)}")
    places = list(np.ogrid[tuple(map(slice, indices.shape))])
    places[axis] = indices
    return tuple(places)


@moves
def gather(x: Any, indices: Any, *, axis: int) -> Any:
    return np.asarray(x[along("gather", indices, axis, x.shape)])


@computes
def ungather(x: Any, indices: Any, *, axis: int, shape: Any) -> Any:
    y = np.zeros(shape, x.dtype)
    np.add.at(y, along("ungather", indices, axis, shape), x)
    return y


@computes
def sort(x: Any, *, axis: int, descending: bool) -> Any:
    if descending:  # of equals the first first, here too
        order = np.flip(x.shape[axis] - 1 - np.argsort(np.flip(x, axis), axis, kind="stable"), axis).copy()
    else:
        order = np.argsort(x, axis, kind="stable")
    return np.take_along_axis(x, order, axis), order


@moves
def nonzero(x: Any) -> Any:
    return np.argwhere(x)


@computes
def unique(x: Any) -> Any:
    values, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
    return values, inverse.reshape(x.shape), counts


# conv and pool


@moves
def windows(x: Any, *, size: Any, stride: Any, dilation: Any) -> Any:
    reach = [(n - 1) * d + 1 for n, d in zip(size, dilation, strict=True)]
    y = np.lib.stride_tricks.sliding_window_view(x, reach, (2, 3))
    return y[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]


@computes
def unwindow(x: Any, *, shape: Any, stride: Any, dilation: Any) -> Any:
    y = np.zeros(shape, x.dtype)
    p, q, r, s = x.shape[2:]
    for i in range(r):
        for j in range(s):
            top, left = i * dilation[0], j * dilation[1]
            y[:, :, top : top + stride[0] * p : stride[0], left : left + stride[1] * q : stride[1]] += x[..., i, j]
    return y


# random: bits that do not depend on the machine, see _philox

for _kernel in (_philox.uniform, _philox.normal, _philox.integers, _philox.bernoulli, _philox.permutation):
    moves(_kernel)
