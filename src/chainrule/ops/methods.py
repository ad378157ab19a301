"""The operators and methods of Tensor: each is an op by another name."""

from __future__ import annotations

from typing import Any

from ..autograd import backward
from ..domain.device import Device
from ..domain.dtype import DTYPES, SCALAR, dtype
from ..domain.errors import unknown
from ..tensor import Tensor
from . import activation, elementwise, gemm, index, memory, reduce, shape
from .inplace import in_place, set_item, write
from .softmax import log_softmax, softmax

e, r, s = elementwise, reduce, shape


def swapped(op: Any) -> Any:
    """The operator with its operands exchanged: what ``2.0 - x`` does for sub."""
    return lambda b, a: op(a, b)


def comparison(op: Any) -> Any:
    """A comparison that leaves what is no number to Python: ``x == None`` is False."""

    def compare(a: Tensor, b: Any) -> Any:
        if isinstance(b, Tensor) or type(b) in SCALAR or hasattr(b, "__array_interface__"):
            return op(a, b)
        return NotImplemented

    return compare


def sizes(op: Any, name: str) -> Any:
    """A method that takes its sizes or axes as one tuple or one by one: ``x.reshape(2, 3)``."""

    def method(x: Tensor, *values: Any, **params: Any) -> Any:
        if not values:
            return op(x, **params)
        given = values[0] if len(values) == 1 and isinstance(values[0], (tuple, list)) else values
        return op(x, **{name: tuple(given)}, **params)

    method.__doc__ = op.__doc__
    return method


def to(x: Tensor, *args: Any, device: Any = None, dtype: Any = None, copy: bool = False) -> Tensor:
    """The tensor on another device or in another dtype, each by name, in any order; itself if nothing changes.

    >>> Tensor([1.5]).to("float64").dtype
    chainrule.float64
    """
    for a in args:
        if isinstance(a, Tensor):
            device, dtype = a.device, a.dtype
        elif isinstance(a, Device) or (isinstance(a, str) and a.partition(":")[0] in ("cpu", "cuda")):
            device = a
        elif isinstance(a, str) and a not in DTYPES:
            raise unknown("device or dtype", a, ["cpu", "cuda", "cuda:0", *DTYPES])
        else:
            dtype = a
    y = x
    if device is not None and Device(device) != x.device:
        y = memory.to_device(y, device=Device(device))
    if dtype is not None and _dtype(dtype) != y.dtype:
        y = memory.cast(y, dtype=_dtype(dtype))
    return memory.clone(y) if copy and y is x else y


def to_device(x: Tensor, device: Any, /, *, stream: Any = None) -> Tensor:
    """The tensor on another device, as the array API calls it."""
    return to(x, device=device)


_dtype = dtype


def astype(x: Tensor, dtype: Any) -> Tensor:
    """The values in another dtype."""
    return to(x, dtype=dtype)


def transposed(x: Tensor) -> Any:
    """The axes in reverse order."""
    return s.permute(x, axes=tuple(range(x.ndim))[::-1])


def last_two(x: Tensor) -> Any:
    """The last two axes exchanged."""
    return s.transpose(x, axis0=x.ndim - 2, axis1=x.ndim - 1)


def copy_(x: Tensor, v: Any) -> Tensor:
    """Write ``v``, which broadcasts, into the tensor."""
    set_item(x, ..., v)
    return x


def fill_(x: Tensor, v: Any) -> Tensor:
    """Write one number everywhere."""
    set_item(x, ..., v)
    return x


def zero_(x: Tensor) -> Tensor:
    """Write zeros."""
    write(x, 0)
    return x


for symbol, op in {
    "add": e.add, "sub": e.sub, "mul": e.mul, "truediv": e.div, "floordiv": e.floor_div, "mod": e.remainder,
    "pow": e.pow, "matmul": gemm.matmul, "and": e.bitwise_and, "or": e.bitwise_or, "xor": e.bitwise_xor,
}.items():  # fmt: skip
    setattr(Tensor, f"__{symbol}__", op)
    setattr(Tensor, f"__r{symbol}__", swapped(op))
for symbol, sign, op in [
    ("add", "+", e.add), ("sub", "-", e.sub), ("mul", "*", e.mul), ("truediv", "/", e.div), ("pow", "**", e.pow),
    ("floordiv", "//", e.floor_div), ("mod", "%", e.remainder),
]:  # fmt: skip
    setattr(Tensor, f"__i{symbol}__", in_place(op, sign))
for name in ("eq", "ne", "lt", "le", "gt", "ge"):
    setattr(Tensor, f"__{name}__", comparison(getattr(e, name)))
    setattr(Tensor, name, getattr(e, name))

DIRECT = {
    elementwise: "add sub mul div floor_div remainder pow neg abs sign exp log log1p expm1 log2 log10 sqrt rsqrt square "
    "reciprocal sin cos tan asin acos atan atan2 sinh cosh tanh erf sigmoid floor ceil round maximum minimum isfinite "
    "isnan isinf logical_and logical_or logical_xor logical_not bitwise_and bitwise_or bitwise_xor bitwise_not clip",
    activation: "relu",
    reduce: "sum mean prod max min amax amin any all argmax argmin var std var_mean logsumexp norm cumsum cumprod sum_to",
    gemm: "matmul outer dot",
    shape: "transpose squeeze unsqueeze roll pad tril triu split chunk",
    memory: "cast clone",
    index: "gather scatter_add take_along_axis sort argsort topk nonzero unique",
}
for room, names in DIRECT.items():
    for name in names.split():
        setattr(Tensor, name, getattr(room, name))
for name, parameter in (
    ("reshape", "shape"), ("permute", "axes"), ("expand", "shape"), ("flip", "axis"), ("repeat", "repeats"),
    ("tile", "repeats"),
):  # fmt: skip
    setattr(Tensor, name, sizes(getattr(shape, name), parameter))
for name, op in {
    "add": e.add, "sub": e.sub, "mul": e.mul, "div": e.div, "neg": e.neg, "exp": e.exp, "sqrt": e.sqrt, "clip": e.clip,
    "relu": activation.relu, "sigmoid": e.sigmoid, "tanh": e.tanh,
}.items():  # fmt: skip
    setattr(Tensor, name + "_", in_place(op, ""))

METHODS: dict[str, Any] = {
    "__neg__": e.neg, "__abs__": e.abs, "__invert__": e.bitwise_not, "__pos__": lambda x: x,
    "__getitem__": index.get, "__setitem__": set_item, "T": property(transposed), "mT": property(last_two),
    "backward": backward, "softmax": softmax, "log_softmax": log_softmax,
    "to": to, "to_device": to_device, "astype": astype, "copy_": copy_, "fill_": fill_, "zero_": zero_,
    "float": lambda x: to(x, dtype="float32"), "double": lambda x: to(x, dtype="float64"),
    "long": lambda x: to(x, dtype="int64"), "bool": lambda x: to(x, dtype="bool"),
    "half": lambda x: to(x, dtype="float16"), "cpu": lambda x: to(x, device="cpu"),
    "view": Tensor.reshape, "contiguous": memory.contiguous, "clamp": e.clip, "numel": lambda x: x.size,
    "flatten": shape.flatten, "where": lambda x, condition, other: e.where(condition, x, other),
    "masked_fill": lambda x, mask, value: e.where(mask, value, x),
}  # fmt: skip
for name, method in METHODS.items():
    setattr(Tensor, name, method)
