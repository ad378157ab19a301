"""What a module is called with to find its sizes: batches that are given, or zeros where only their shapes are."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import Any

from ..creation import zeros
from ..domain.errors import ArgumentError, unknown
from ..tensor import Tensor


def batches_of(module: Any, x: Any, dtype: Any) -> list[Any]:
    """One batch for each input of a module: see ``Module.build``. Errors: ArgumentError."""
    if isinstance(x, Mapping):
        names = [*signature(module.forward).parameters]
        for name in x:
            if name not in names:
                raise unknown("input of the model", name, names)
        x = tuple(x[name] for name in names if name in x)
    several = isinstance(x, (tuple, list)) and len(x) > 0 and not all(is_size(n) for n in x)
    each = [*x] if several else [x]
    dtypes = [*dtype] if isinstance(dtype, (tuple, list)) else [dtype] * len(each)
    if len(dtypes) != len(each):
        raise ArgumentError(f"build: there are {len(dtypes)} dtypes for {len(each)} inputs: give one for each")
    found = []
    for one, kind in zip(each, dtypes, strict=True):
        if isinstance(one, (tuple, list)):
            if not all(is_size(n) for n in one):
                raise ArgumentError(
                    f"build: {one!r} is no shape: give sizes, and None for what may vary, as (None, 784)"
                )
            one = zeros(tuple(1 if n is None else n for n in one), dtype=kind or module.input_dtype())
        found.append(one if isinstance(one, Tensor) else Tensor(one))
    return found


def is_size(n: Any) -> bool:
    """Whether it stands for the size of an axis."""
    return n is None or (hasattr(n, "__index__") and not hasattr(n, "shape"))
