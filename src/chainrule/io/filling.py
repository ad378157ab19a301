"""Values out of a file into a model, one array after the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ..nn import Module
from ..nn.parameter import LazyTensor
from ..nn.state import Differences, fitting, put
from ..tensor import Tensor, from_array
from .source import Source, Spec


def fill(
    model: Module,
    source: Source,
    state: Mapping[str, Spec],
    *,
    strict: bool = True,
    mmap: bool = False,
    new: bool = False,
    verify: bool = True,
) -> Differences:
    """Have ``model`` take what ``state`` says of each of its tensors, out of ``source``. Errors: StateError, FileFormatError.

    The values are verified before the first is taken, and the model is as it was after any error; unless it is ``new``, so
    that nobody has it yet. Without ``verify`` they have been. With ``mmap`` its parameters are the pages of the file, where
    dtypes are the same.
    """
    loading, found = fitting(model, state, strict)
    places: dict[str, list[str]] = {}  # by name in the file: there may be several parts of it
    for name in loading:
        places.setdefault(state[name].name, []).append(name)
    taken: Iterable[tuple[str, Any]]
    if mmap:
        taken = source.views(places)
    elif new or not verify:
        taken = source.take(places, verify=verify)
    elif source.mappable and all(unborn(loading[name], state[name]) for name in loading):
        taken = [*source.take(places)]  # what will be the memory of the model
    else:
        source.verify(places)
        taken = source.take(places, verify=False)
    for place, array in taken:
        for name in places[place]:
            rows = state[name].rows
            value = from_array(np.asarray(array if rows is None else array[rows], order="C"))
            own = source.mappable and (mmap or rows is None)
            if own and may_adopt(loading[name], value, mmap):
                loading[name].adopt(value)  # type: ignore[attr-defined]
            else:
                put(loading[name], value)
    return found


def unborn(tensor: Tensor, spec: Spec) -> bool:
    """Whether a tensor has no memory yet, and can have that of an array."""
    pending = isinstance(tensor, LazyTensor) and tensor.pending is not None
    return pending and tensor.dtype == spec.dtype and spec.rows is None


def may_adopt(tensor: Tensor, value: Tensor, mmap: bool) -> bool:
    """Whether the memory of ``value`` can be that of ``tensor``: one that has none yet, if it is not to be the file's."""
    if not isinstance(tensor, LazyTensor) or (tensor.pending is None and not mmap):
        return False
    array = value.array
    contiguous = array.flags.c_contiguous and array.flags.aligned and array.flags.writeable
    return contiguous and tensor.dtype == value.dtype and tensor.backend is value.backend
