"""In-place changes. What is on the tape is not written to: the tensor becomes the result of a new call. Anything else is
written to its memory, and the version of the memory counts that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..domain.dtype import DTYPES, SCALAR
from ..domain.errors import ArgumentError, ArgumentTypeError, ChainruleError, DTypeError, GraphError, ShapeError
from ..modes import modes, revisions
from ..tensor import Tensor, from_array
from . import index as indexing
from ._op import OpCall, op
from .elementwise import add, div, mul, sub
from .memory import assign

EVERYWHERE = (...,)


def written(call: OpCall, shows: str) -> OpCall:
    """The op ``<call>_``, whose result is in the memory of its first operand; for what is not on the tape."""

    def body(x: Tensor, v: Tensor | float) -> Tensor:
        result = call(x, v)
        if result.shape != x.shape:
            raise misfit(call, x, result)
        write(x, result)
        return x

    body.__name__ = body.__qualname__ = f"{call.__name__}_"
    meaning = f"``x = {call.__name__}(x, v)`` in the memory of ``x``; for the framework itself, outside of any graph."
    body.__doc__ = f"{meaning}\n\n>>> Tensor([6.0]).{body.__name__}(2.0)\n{shows}\n"
    return op(mutates=lambda x, v: [x], nondifferentiable=True)(body)


add_, sub_ = written(add, "tensor([8.])"), written(sub, "tensor([4.])")
mul_, div_ = written(mul, "tensor([12.])"), written(div, "tensor([3.])")
DIRECT = {"add": add_.exact, "sub": sub_.exact, "mul": mul_.exact, "div": div_.exact}


def recorded(x: Tensor, v: Any) -> bool:
    """Whether ``x += v`` goes on the tape, or ``v`` is nothing that a kernel takes."""
    if isinstance(v, Tensor):
        return modes.grad and (x.edge is not None or v.edge is not None)
    return type(v) not in SCALAR or (modes.grad and x.edge is not None)


def misfit(call: Any, x: Tensor, result: Tensor) -> ShapeError:
    """The error of a result that is larger than what it should be written to."""
    return ShapeError(
        f"[{call.__name__}] in place, the result keeps the shape {x.shape} of x, but it is {result.shape}"
    )


def in_place(op: Any, symbol: str) -> Callable[..., Tensor]:
    """The in-place form of ``op``: what ``x += y`` does for add."""

    direct: Any = DIRECT.get(op.__name__)

    def apply(x: Tensor, *others: Any, **params: Any) -> Tensor:
        if direct is not None and len(others) == 1 and not params and not recorded(x, others[0]):
            direct(x, others[0])
            return x
        result = op(x, *others, **params)
        if result.shape != x.shape:
            raise misfit(op, x, result)
        if result.requires_grad:
            become(x, cast_to(x, result), f"x = x {symbol} y" if symbol else f"x = {op.__name__}(x)")
        else:
            write(x, result)
        return x

    return apply


def set_item(x: Tensor, index: Any, v: Any) -> None:
    """``x[index] = v``: any index NumPy takes, and a value that broadcasts to what it selects."""
    pattern, indices = indexing.split(x, index)
    v = cast_to(x, v)
    if modes.grad and (x.requires_grad or (isinstance(v, Tensor) and v.requires_grad)):
        become(x, indexing.put(x, v, pattern, indices), "x = cr.where(mask, v, x), or x = x.clone() first")
    else:
        write(x, v, pattern, indices)


def write(x: Tensor, v: Any, pattern: Any = EVERYWHERE, indices: Any = ()) -> None:
    """Change the memory of ``x``, and count it."""
    v = cast_to(x, v)
    try:
        assign.exact(x, v, *indices, pattern=pattern)
    except ChainruleError:
        raise
    except ValueError:
        remedy = "its memory is read-only (an expanded view, or a read-only array); clone() it first"
        raise ArgumentError(f"a tensor of shape {x.shape} cannot be changed in place: {remedy}") from None


def become(x: Tensor, result: Tensor, remedy: str) -> None:
    """Make ``x`` the tensor that ``result`` is. Nobody else may look at its memory, for they would not see the change."""
    if x.is_leaf and x.requires_grad:
        raise GraphError(
            "a leaf that requires a gradient is changed in place while a graph is recorded; "
            f"write {remedy}, or use no_grad()"
        )
    if x.storage.views:
        raise GraphError(
            f"a view, or a tensor that has views, is changed in place while a graph is recorded; write {remedy}"
        )
    x.array, x.storage, x.edge = result.array, result.storage, result.edge
    revisions[0] += 1


def cast_to(x: Tensor, v: Any) -> Any:
    """``v`` in the dtype of ``x``, unless that would lose its category (a float cannot go into integers)."""
    if type(v) not in SCALAR and not isinstance(v, Tensor):
        if getattr(v, "shape", None) == ():
            v = v.item()
        elif hasattr(v, "__array_interface__"):
            v = from_array(v, x.backend)
        elif isinstance(v, (list, tuple)):
            v = Tensor(v, device=x.device)
        else:
            raise ArgumentTypeError(f"a {type(v).__name__} cannot be stored in a tensor; make it a tensor first")
    kind = SCALAR[type(v)] if type(v) in SCALAR else DTYPES[v.dtype].category
    if kind > x.dtype.category:
        what = v.dtype if isinstance(v, Tensor) else type(v).__name__
        raise DTypeError(f"a {what} cannot be stored in place in {x.dtype}; cast x first")
    return v.cast(dtype=x.dtype) if isinstance(v, Tensor) and v.dtype != x.dtype else v
