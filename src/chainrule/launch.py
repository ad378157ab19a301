"""The one place where a kernel is called: from tensors to tensors."""

from __future__ import annotations

import os
import sys
from collections import Counter
from typing import Any

from .domain.dtype import BOOL, FLOAT, SCALAR, dtype, promote
from .domain.errors import ArgumentTypeError, ChainruleError, DeviceError, DTypeError, NotSupportedError
from .modes import listening, modes
from .tensor import Storage, Tensor, from_array, view, wrap

STRICT = os.environ.get("CHAINRULE_STRICT") == "1"  # hold backends to their contract
PACKAGE = __name__.partition(".")[0] + "."
fallbacks: Counter[tuple[str, str]] = Counter()  # (backend, kernel): how often it declined


def launch(name: str, inputs: Any, params: dict[str, Any], promotion: str | None = None) -> tuple[Any, Any, bool]:
    """Run the kernel ``name`` on tensors, Python scalars and None, and tell whoever listens.

    ``promotion`` says in which dtype the tensors meet before: "common", "float" (at least float32), "rest" (all but the
    first meet, as in ``where``), or None: each keeps its own. Returns what the kernel returned, each array as a tensor
    (NotImplemented if it declined, or if there is none); the inputs as it saw them; and whether the call belongs on
    the tape.
    """
    backend: Any = None
    first = None
    arrays: list[Any] = []
    mixed, taped = False, False
    for x in inputs:
        if isinstance(x, Tensor):
            array = x.array
            arrays.append(array)
            if backend is None:
                backend, first = x.backend, array.dtype
            elif x.backend is not backend:
                raise elsewhere(name, inputs)
            elif array.dtype is not first and array.dtype != first:
                mixed = True
            if x.edge is not None:
                taped = True
        elif type(x) in SCALAR or x is None:
            arrays.append(x)
        else:
            return launch(name, converted(name, inputs), params, promotion)
    if backend is None:
        raise ArgumentTypeError(f"[{name}] needs a tensor, but got only {', '.join(type(x).__name__ for x in inputs)}")
    if promotion is not None and (mixed or first not in backend.floating):
        return launch(name, promoted(name, inputs, promotion), params)
    taped = taped and modes.grad
    kernel = backend.kernels.get(name)
    if kernel is None:
        return NotImplemented, inputs, taped
    try:
        raw = kernel(*arrays, **params) if params else kernel(*arrays)
    except TypeError as error:  # a None or a number where a tensor has to be, or a parameter of another type
        raise misfit(name, inputs, params, error) from error
    if raw is NotImplemented:
        raw = declined(backend, name, arrays, params)
        if raw is NotImplemented:
            return NotImplemented, inputs, taped
    if STRICT:
        verify(backend, name, arrays, raw)
    outputs: Any
    if type(raw) is backend.array_type:
        base = raw.base
        if base is None or type(base) is not backend.array_type:
            outputs = wrap(raw, backend, Storage())
        else:
            outputs = located(raw, [x for x in inputs if isinstance(x, Tensor)], backend)
    elif type(raw) is tuple:
        y = raw[0]
        if (
            not (taped or listening)
            and type(y) is backend.array_type
            and y.base is None
            and f"{name}_vjp" in backend.kernels
        ):
            outputs = wrap(y, backend, Storage()), ()  # nobody asks for what it saved for its gradient
        else:
            outputs = wrapped(raw, [x for x in inputs if isinstance(x, Tensor)], backend)
    else:
        outputs = wrap(backend.asarray(raw), backend, Storage())
    if listening and modes.listeners:
        for listener in modes.listeners:
            listener.launched(backend, name, inputs, params, outputs)
    return outputs, inputs, taped


def create(name: str, backend: Any, params: dict[str, Any]) -> Tensor:
    """Run the kernel of a primitive that takes no tensor, such as ``full``, and tell whoever listens."""
    raw = backend.kernels[name](**params)
    if raw is NotImplemented:
        raw = declined(backend, name, [], params)
    tensor = wrap(raw, backend, Storage())
    if listening and modes.listeners:
        for listener in modes.listeners:
            listener.launched(backend, name, (), params, tensor)
    return tensor


def declined(backend: Any, name: str, arrays: list[Any], params: dict[str, Any]) -> Any:
    """What becomes of a call that a kernel declined: itself on float32, the reference, or NotImplemented if there is none."""
    if name in backend.widens:
        raw = backend.widened(name, arrays, params)
        if raw is not NotImplemented:
            return raw
    fallbacks[backend.name, name] += 1
    if STRICT and name not in backend.declines:
        dtypes = ", ".join(str(a.dtype) for a in arrays if type(a) is backend.array_type)
        raise NotSupportedError(
            f"[{name}] the {backend} kernel declined {dtypes}; backends/{backend}.py does not say that it may"
        )
    kernel = backend.reference.get(name)
    return NotImplemented if kernel is None else kernel(*arrays, **params)


def converted(name: str, inputs: Any) -> Any:
    """NumPy scalars as Python scalars and arrays as tensors. Nothing else is taken for a tensor."""
    for x in inputs:
        if not (isinstance(x, Tensor) or x is None or type(x) in SCALAR):
            break
    else:
        return inputs
    backend = next((x.backend for x in inputs if isinstance(x, Tensor)), None)
    found: list[Any] = []
    for x in inputs:
        if isinstance(x, Tensor) or x is None or type(x) in SCALAR:
            found.append(x)
        elif getattr(x, "shape", None) == ():
            found.append(x.item())
        elif hasattr(x, "__array_interface__"):
            found.append(from_array(x, backend))
        else:
            raise ArgumentTypeError(f"[{name}] got a {type(x).__name__}; make it a tensor first: cr.tensor(...)")
    return found


def promoted(name: str, inputs: Any, promotion: str) -> list[Any]:
    """The tensors cast to the dtype in which all inputs meet."""
    start = 1 if promotion == "rest" else 0
    mixing = inputs[start:]
    if not any(isinstance(x, Tensor) for x in mixing):  # where(condition, 1.0, 0.0)
        return like_first(inputs)
    least = [SCALAR[type(x)] for x in mixing if type(x) in SCALAR] + [FLOAT if promotion == "float" else BOOL]
    meet = promote([x.dtype for x in mixing if isinstance(x, Tensor)], max(least))
    cast = [x.cast(dtype=meet) if isinstance(x, Tensor) and x.dtype != meet else x for x in mixing]
    return [*inputs[:start], *cast]


def like_first(inputs: Any) -> list[Any]:
    """Python scalars after the first input as tensors of the dtype in which they meet."""
    first, *scalars = inputs
    meet = promote([dtype("bool")], max(SCALAR[type(x)] for x in scalars))
    params = [{"shape": (), "value": x, "dtype": meet} for x in scalars]
    return [first, *(create("full", first.backend, p) for p in params)]


def misfit(name: str, inputs: Any, params: dict[str, Any], error: TypeError) -> TypeError:
    """The error of a kernel that cannot take what it got."""
    if isinstance(error, ChainruleError):
        return error
    given = [f"tensor {x.shape}" if isinstance(x, Tensor) else repr(x) for x in inputs]
    given += [f"{k}={v!r}" for k, v in params.items()]
    return ArgumentTypeError(f"[{name}] cannot take ({', '.join(given)})")


def elsewhere(name: str, inputs: Any) -> DeviceError:
    """The error of a call on two devices."""
    places = "; ".join(
        f"argument {i} of shape {x.shape} is on {x.backend.device} ({x.backend})"
        for i, x in enumerate(inputs)
        if isinstance(x, Tensor)
    )
    return DeviceError(f"[{name}] its tensors are on different devices: {places}. Move one with x.to(device)")


def located(array: Any, known: list[Tensor], backend: Any) -> Tensor:
    """The tensor of an array: one of the known, or a view of one, or in memory of its own."""
    base = array.base
    for t in known:
        if t.array is array:
            return t
    if base is not None and type(base) is backend.array_type:
        for t in known:
            if base is t.array or backend.overlap(array, t.array):
                return view(t, array)
    return wrap(array, backend, Storage())


def wrapped(raw: Any, known: list[Tensor], backend: Any) -> Any:
    """Nested tuples of arrays, scalars and None: the same, of tensors. A later array may be an earlier one again."""
    found: list[Any] = []
    for r in raw:
        if r is None:
            found.append(None)
        elif type(r) is tuple:
            found.append(wrapped(r, known, backend))
        else:  # NumPy gives a scalar where no axis is left
            y = located(r if type(r) is backend.array_type else backend.asarray(r), known, backend)
            known.append(y)
            found.append(y)
    return tuple(found)


def verify(backend: Any, name: str, arrays: list[Any], raw: Any) -> None:
    """Raise if a kernel that does not write to it gave an argument back, whose memory would then have two versions."""
    if name != "assign" and name[-1] != "_" and any(raw is a for a in arrays if a is not None):
        raise DTypeError(f"[{name}] the {backend} kernel returned an argument; it has to return a copy or a view")


def caller() -> str:
    """Where the call under way was made: the nearest line outside this package."""
    frame: Any = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(PACKAGE):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
