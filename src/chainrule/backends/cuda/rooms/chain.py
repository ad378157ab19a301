"""Elementwise calls in a row as one kernel: its type says what it does, so that each kind of chain is compiled once."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..array import DeviceArray
from ..gpu import Gpu
from ..sources import FLOATS, c_name, declare
from . import Kernels
from .activation import FUNCTORS
from .elementwise import BINARY, RELATIONS, UNARY, limits, walk

KERNELS = Kernels()


class Request(NamedTuple):
    """How a call runs in a chain: its functor computes in the wide type of ``dtype`` and is rounded to ``result``. Operands are
    numbers of arguments (int), or numbers (float)."""

    functor: str
    dtype: Any
    result: Any
    operands: list[int | float]


def request(name: str, given: Sequence[Any], params: dict[str, Any]) -> Request | None:
    """How a call runs in a chain; None if it cannot. ``given`` are its arguments: of arrays what they are like, and numbers."""
    link = LINKS.get(name)
    return None if link is None or not hasattr(given[0], "dtype") and len(given) < 2 else link(name, given, params)


def arithmetic(name: str, given: Sequence[Any], params: dict[str, Any]) -> Request | None:
    """Of one or two arrays of one dtype, or an array and a number."""
    arrays = [x for x in given if hasattr(x, "dtype")]
    dtype = arrays[0].dtype
    if params or dtype.name not in FLOATS or any(x.dtype != dtype for x in arrays):
        return None
    if name == "pow" and not hasattr(given[1], "dtype") and given[1] == 2:
        name, given = "square", given[:1]
    result = np.dtype(bool) if name in RELATIONS or name == "isfinite" else dtype
    return Request(f"{name}_f", dtype, result, [i if hasattr(x, "dtype") else float(x) for i, x in enumerate(given)])


def choice(_: str, given: Sequence[Any], params: dict[str, Any]) -> Request | None:
    """``where``, whose numbers are rounded as elements are."""
    condition, *both = given
    arrays = [x for x in both if hasattr(x, "dtype")]
    if not arrays or condition.dtype.kind != "b" or arrays[0].dtype.name not in FLOATS:
        return None
    dtype = arrays[0].dtype
    if any(x.dtype != dtype for x in arrays):
        return None
    with np.errstate(all="ignore"):
        numbers = [i if hasattr(x, "dtype") else float(np.asarray(x).astype(dtype)) for i, x in enumerate(both, 1)]
    return Request("where_f", dtype, dtype, [0, *numbers])


def cast(_: str, given: Sequence[Any], params: dict[str, Any]) -> Request | None:
    """Between floats of at most 32 bits, and of bools."""
    of, to = given[0].dtype, np.dtype(str(params["dtype"]))
    if to.name not in FLOATS or of == to or not (of.kind == "b" or (of.name in FLOATS and max(of, to) != np.float64)):
        return None
    return Request("cast_f", of, to, [0])


def between(name: str, given: Sequence[Any], params: dict[str, Any]) -> Request | None:
    """``clip`` and its gradient."""
    return formula(given, params, f"{name}_f", lambda min=None, max=None: limits(min, max))


def activation(name: str, given: Sequence[Any], params: dict[str, Any]) -> Request | None:
    """An activation or its gradient."""
    return formula(given, params, *FUNCTORS[name])


def gelu(name: str, given: Sequence[Any], params: dict[str, Any]) -> Request | None:
    """One of its two formulas, or the gradient of it."""
    form = "gelu" if params.get("approximate", "none") == "none" else "gelu_tanh"
    return formula(given, params, name.replace("gelu", form), lambda approximate="none": ())


def softplus(name: str, given: Sequence[Any], params: dict[str, Any]) -> Request | None:
    """With the parameters that its kernel is for."""
    usual = params.get("beta", 1.0) == 1 and params.get("threshold", 20.0) == 20
    return formula(given, params, name, lambda beta=1.0, threshold=20.0: ()) if usual else None


def formula(given: Sequence[Any], params: dict[str, Any], functor: str, numbers: Callable[..., Any]) -> Request | None:
    """A functor of arrays of one dtype, and of numbers that are made of the parameters."""
    needs = params.get("needs", (True,))
    dtype = given[0].dtype
    if not needs[0] or dtype.name not in FLOATS or any(x.dtype != dtype for x in given):
        return None
    rest = numbers(**{name: value for name, value in params.items() if name != "needs"})
    return Request(functor, dtype, dtype, [*range(len(given)), *rest])


LINKS: dict[str, Callable[..., Request | None]] = {
    **dict.fromkeys((*UNARY, *BINARY, *RELATIONS, "isfinite"), arithmetic),
    **dict.fromkeys(("clip", "clip_vjp"), between),
    **dict.fromkeys(FUNCTORS, activation),
    **dict.fromkeys(("gelu", "gelu_vjp"), gelu),
    **dict.fromkeys(("softplus", "softplus_vjp"), softplus),
    "where": choice,
    "cast": cast,
}


class Chain:
    """Does ``steps`` at once, called with arrays: (functor, dtype, result, operands, number of the output or -1).

    Operands: (0, number of an array), (1, number of a step), or a number. ``dtypes`` are those of the arrays.
    """

    def __init__(self, gpu: Gpu, steps: Sequence[Any], dtypes: Sequence[Any]) -> None:
        self.gpu = gpu
        numbers = [o for *_, operands, _ in steps for o in operands if type(o) is float]
        first = len(dtypes) + max(len(numbers), 1)  # of the results among the values
        count, rows, outputs = len(dtypes), [], {}
        for number, (functor, dtype, result, operands, output) in enumerate(steps):
            places = []
            for operand in operands:
                if type(operand) is float:
                    places.append(count)
                    count += 1
                else:
                    places.append(operand[1] + first * operand[0])
            rows.append(f"Step<{functor}, {c_name(dtype)}, {c_name(result)}, {', '.join(map(str, places))}>")
            if output >= 0:
                outputs[output] = result, first + number
        self.results = [outputs[k][0] for k in range(len(outputs))]
        self.numbers = struct.pack(f"{max(len(numbers), 1)}d", *(numbers or [0.0]))
        out = ", ".join(f"Out<{c_name(dtype)}, {value}>" for dtype, value in (outputs[k] for k in range(len(outputs))))
        self.instance = (
            f"chain<In<{', '.join(map(c_name, dtypes))}>, Outs<{out}>, Steps<{', '.join(rows)}>, "
            f"{len(dtypes)}, {len(outputs)}, {max(len(numbers), 1)}>"
        )
        self.most = max(d.itemsize for d in (*dtypes, *self.results))
        declare("chain", self.instance)

    def ready(self) -> None:
        """Have it compiled. Errors: DeviceError if that cannot be done."""
        self.gpu.function("chain", self.instance)

    def __call__(self, *arrays: DeviceArray) -> Any:
        shape, where, n, together = walk(*((a.shape, a.steps) for a in arrays))
        made = tuple(self.gpu.empty(shape, dtype) for dtype in self.results)
        work = -(-n // min(together, 16 // self.most))
        self.gpu.each("chain", self.instance, work, made, arrays, self.numbers, where, n)
        return made if len(made) > 1 else made[0]
