"""The state of a module by name: reading it, and loading it or saying why not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ..domain.errors import StateError
from ..modes import no_grad
from ..ops.inplace import write
from ..tensor import Tensor
from .parameter import LazyTensor, Sizes, sizes_text

if TYPE_CHECKING:
    from .module import Module


class Differences(NamedTuple):
    """The names that a loaded state lacked, and those that the module has no place for."""

    missing: list[str]
    unexpected: list[str]


def places(module: Module, repeated: bool) -> Iterator[tuple[str, Tensor]]:
    """The tensors that belong into files."""
    for path, owner, name, value in module.tensors(repeated=repeated):
        if owner._buffers.get(name, True):
            yield path, value


def state_dict(module: Module) -> dict[str, Tensor]:
    """See Module.state_dict."""
    for _ in module.parameters():
        pass  # draw in order
    return {path: value.detach() for path, value in places(module, repeated=False)}


def load_state_dict(module: Module, state: Mapping[str, Any], strict: bool) -> Differences:
    """See Module.load_state_dict."""
    given = {name: v if isinstance(v, Tensor) else Tensor(v) for name, v in state.items()}
    loading, found = fitting(module, given, strict)
    for name, tensor in loading.items():
        put(tensor, given[name])
    return found


def fitting(module: Module, given: Mapping[str, Any], strict: bool) -> tuple[dict[str, Tensor], Differences]:
    """The tensors of ``module`` that take what is ``given``, anything with a shape and a dtype of ours; nothing is loaded yet.

    Errors: StateError.
    """
    wanted = dict(places(module, repeated=False))
    known = dict(places(module, repeated=True))  # a shared tensor may come under each of its names
    loading = {name: known[name] for name in given if name in known}
    arriving = {id(tensor) for tensor in loading.values()}
    missing = [name for name, tensor in wanted.items() if id(tensor) not in arriving]
    unexpected = [name for name in given if name not in known]
    lines = [f"missing: {', '.join(missing)}"] * bool(strict and missing)
    lines += [f"unexpected: {', '.join(unexpected)}"] * bool(strict and unexpected)
    for name, tensor in loading.items():
        value, sizes = given[name], tensor.sizes if isinstance(tensor, LazyTensor) else tensor.shape
        if not fits(value.shape, sizes):
            lines.append(f"{name}: {value.shape} in the state, {sizes_text(sizes)} in the model")
        elif value.dtype.category > tensor.dtype.category:
            lines.append(f"{name}: {value.dtype} in the state, {tensor.dtype} in the model")
    if lines:
        raise StateError("\n  ".join([f"the state does not fit into {type(module).__name__}:", *lines]))
    return loading, Differences(missing, unexpected)


def put(tensor: Tensor, value: Tensor) -> None:
    """Have ``tensor`` take the values of another, in the dtype it has."""
    with no_grad():
        if isinstance(tensor, LazyTensor):
            tensor.load(value)
        else:
            write(tensor, value.to(tensor.device))


def fits(shape: tuple[int, ...], sizes: Sizes) -> bool:
    """Whether values of ``shape`` can have the sizes, of which some may not be known."""
    return len(shape) == len(sizes) and all(m in (None, n) for n, m in zip(shape, sizes, strict=True))
