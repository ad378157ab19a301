"""When a program may stand for the function it was recorded of: nothing that Python looked at has changed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .. import backends
from ..modes import modes
from ..tensor import Tensor

VALUES = (bool, int, float, str, bytes, type(None))


def key(tensors: list[Tensor], around: Any) -> Any:
    """What arguments and modes have to be again: equal keys may use the same program."""
    kinds = [(x.array.shape, x.array.dtype.num, x.array.strides, x.edge is None, id(x.backend)) for x in tensors]
    alike = tuple(map(id, [x.array for x in tensors])) if len(tensors) > 1 else ()
    first = tuple(alike.index(a) for a in alike)  # which arguments are the same array
    return (*kinds, first, around, modes.grad, id(modes.autocast), id(backends.get()))


def snapshot(witness: Any) -> Any:
    """The attributes of a module, or the options and parameters of an optimizer, as something that can be compared."""
    if hasattr(witness, "param_groups"):
        return tuple(
            (frozen(group.options), tuple((id(e.param), *map(id, e.state.values())) for e in group.entries))
            for group in witness.param_groups
        )
    own = {k: v for k, v in vars(witness).items() if k not in ("_arguments", "compiled", "training")}
    return witness.training, frozen(own)


def snapshots(witnesses: Iterable[Any]) -> list[Any]:
    """Those of all."""
    return [snapshot(w) for w in witnesses]


def frozen(value: Any) -> Any:
    """A value that compares as ``value`` does to Python code that looks at it: tensors and objects by identity."""
    if isinstance(value, VALUES):
        return value
    if isinstance(value, Tensor):
        return id(value), id(value.array), id(value.edge)
    if isinstance(value, dict):
        return tuple((k, frozen(v)) for k, v in value.items())
    if isinstance(value, (tuple, list)):
        return tuple(map(frozen, value))
    return id(value)
