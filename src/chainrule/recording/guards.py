"""When a program may stand for the function it was recorded of: nothing that Python looked at has changed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from weakref import ref

from .. import backends
from ..modes import casting, conv_precision, matmul_precision, modes
from ..tensor import Tensor
from .structure import exact

VALUES = (bool, int, float, str, bytes, type(None))
OF_TRAINING = frozenset({"_arguments", "_replays", "compiled", "history", "training"})  # no forward looks at these


def key(tensors: list[Tensor], around: Any) -> Any:
    """What arguments and modes have to be again: equal keys may use the same program."""
    kinds = []
    for x in tensors:
        array = x.array
        kinds.append((array.shape, array.strides, array.dtype.num, x.edge is None, x.backend.name))
    if len(tensors) > 1:
        arrays = [id(x.array) for x in tensors]
        if len({*arrays}) < len(arrays):  # which arguments are the same array
            kinds.append(tuple(map(arrays.index, arrays)))  # type: ignore[arg-type]
    casts = modes.autocast if casting else None
    precisions = conv_precision[0], matmul_precision[0]
    return (*kinds, around, modes.grad, casts and id(casts), backends.get().name, precisions)


def snapshot(witness: Any) -> Any:
    """The attributes of a module, or the options and parameters of an optimizer, as something that can be compared."""
    if hasattr(witness, "param_groups"):
        return tuple(
            (frozen(group.options), tuple((id(e.param), *map(id, e.state.values())) for e in group.entries))
            for group in witness.param_groups
        )
    own = {k: v for k, v in vars(witness).items() if k not in OF_TRAINING}
    return witness.training, frozen(own)


def snapshots(witnesses: Iterable[Any]) -> list[Any]:
    """Those of all."""
    return [snapshot(w) for w in witnesses]


def frozen(value: Any) -> Any:
    """A value that compares as ``value`` does to Python code that looks at it: tensors and objects by identity."""
    if isinstance(value, VALUES):
        return exact(value)
    if isinstance(value, Tensor):
        if getattr(value, "pending", None) is not None:  # a parameter whose values are not drawn, and should not be now
            return id(value), None, id(value.edge)
        return id(value), id(value.array), id(value.edge)
    if isinstance(value, dict):
        return tuple((k, frozen(v)) for k, v in value.items())
    if isinstance(value, (tuple, list)):
        return tuple(map(frozen, value))
    try:
        return id(value), ref(value)  # another object may have its identity when it is gone
    except TypeError:
        return id(value), value
