"""Weights of any file into a model: names that differ are mapped, and what does not fit is said by name and shape."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..domain.errors import ArgumentError, FileFormatError, StateError
from ..nn import Module
from ..nn.parameter import LazyTensor, sizes_text
from ..nn.state import Differences, places
from . import weights
from .checkpoint import current, weights_in
from .filling import fill
from .source import Spec

MOST_LINES = 20  # of one kind in a message
PACKED = re.compile(r"(.*)in_proj_(weight|bias)")  # of PyTorch's attention: three projections in one array


def load_weights(
    model: Module,
    path: str | os.PathLike[str],
    *,
    rename: Mapping[str, str | None] | None = None,
    prefix: str = "",
    strict: bool = True,
    mmap: bool = False,
) -> Differences:
    """Have ``model`` take the weights of a file: safetensors, ``.npz``, HDF5, JSON, or PyTorch's ``.pt`` and ``.pth``; or of a
    folder of safetensors files with an index, ours or one of Hugging Face's.

    Of a file of ``model.save`` with an optimizer, or of a training, it is the model that is taken.
    Safetensors are read array by array: beside the model no second copy is in memory. With ``mmap`` there is none at all: the
    parameters are the pages of the file itself, read when they are used, where they have its dtype; training writes to copies
    of these pages. Checksums are not verified then, and the file must not be changed in place.

    With ``prefix`` only the names that begin with it are taken, without it. Then each pattern in ``rename`` is replaced
    wherever it is in a name (``re.sub``, one after the other); names with a pattern whose replacement is None are left out.
    The packed projections of PyTorch's attention are taken apart where the model has three. Values take the dtype of the model.

    Returns the names that the file lacks (``missing``) and those it has too many (``unexpected``); unless ``strict`` these
    are no error. Errors: StateError, which lists all that does not fit, with the shapes in the file and in the model;
    MissingFileError, FileFormatError. The model is as it was then.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> from tempfile import TemporaryDirectory
    >>> model = nn.Sequential({"fc1": nn.Linear(2, 3), "fc2": nn.Linear(3, 1)})
    >>> with TemporaryDirectory() as folder:
    ...     nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4)).save_weights(f"{folder}/w.npz")
    ...     model.load_weights(f"{folder}/w.npz", rename={r"^0\\.": "fc1.", r"^1\\.": None}, strict=False)
    Differences(missing=['fc2.weight', 'fc2.bias'], unexpected=[])
    """
    with weights.opened(path) as opened:
        source = current(path, opened)
        found = weights_in(path, source)
        if prefix and not any(name.startswith(prefix) for name in found):
            found = source.specs  # another part of what is there
        state = renamed(found, rename or {}, prefix, path)
        known = dict(places(model, repeated=True))
        separate(state, known)
        lines = differences(model, state, known, strict)
        if lines:
            hint = suggestion([*found], known, path) if not (rename or prefix) else []
            raise StateError(
                "\n  ".join([f"[load_weights] {path} does not fit into {type(model).__name__}:", *lines, *hint])
            )
        return fill(model, source, state, strict=strict, mmap=mmap)


def save_weights(model: Module, path: str | os.PathLike[str], *, max_shard_size: int | str | None = None) -> None:
    """Write the parameters and buffers of ``model`` by name: safetensors, ``.npz``, HDF5, JSON, or PyTorch's ``.pt`` and
    ``.pth``; to a path that ends in a slash, or has no suffix, a folder of files of ``max_shard_size`` ("1GB").

    ``model.load_weights`` reads them into a model that is there; ``model.save`` writes the model, too.
    """
    weights.save_weights(path, model.state_dict(), max_shard_size=max_shard_size)


def renamed(
    found: Mapping[str, Spec], rename: Mapping[str, str | None], prefix: str, path: str | os.PathLike[str]
) -> dict[str, Spec]:
    """What is in the file, under the names that a model has for it."""
    state: dict[str, Spec] = {}
    try:
        patterns = [(re.compile(old), new) for old, new in rename.items()]
    except re.error as error:
        raise ArgumentError(f"[load_weights] rename has a pattern that is none: {error.pattern!r} ({error})") from error
    for name in found:
        if not name.startswith(prefix):
            continue
        new: str | None = name[len(prefix) :]
        for pattern, replacement in patterns:
            if new is not None and pattern.search(new):
                new = None if replacement is None else pattern.sub(replacement, new)
        if new is None:
            continue
        if new in state:
            raise ArgumentError(
                f"[load_weights] rename makes {new!r} of both {state[new].name!r} and {name!r} of {path}"
            )
        state[new] = found[name]
    if prefix and not state:
        first = ", ".join([*found][:5])
        raise ArgumentError(f"[load_weights] {path} has no name that begins with {prefix!r}; it begins with {first}")
    return state


def separate(state: dict[str, Spec], known: Mapping[str, Any]) -> None:
    """Take packed projections of queries, keys and values apart where the model has three."""
    for name, parts in packed({name: spec.shape for name, spec in state.items()}, known):
        spec = state.pop(name)
        for part, rows in parts.items():
            state[part] = spec._replace(shape=(rows.stop - rows.start, *spec.shape[1:]), rows=rows)


def packed(shapes: Mapping[str, tuple[int, ...]], known: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, slice]]]:
    """The packed projections of PyTorch's attention for which a model has three: the rows that are each of these."""
    for name, shape in shapes.items():
        match = PACKED.fullmatch(name)
        if match is None or name in known or not shape or shape[0] % 3:
            continue
        parts = [f"{match[1]}{kind}_proj.{match[2]}" for kind in "qkv"]
        if all(part in known and part not in shapes for part in parts):
            rows = shape[0] // 3
            yield name, {part: slice(i * rows, (i + 1) * rows) for i, part in enumerate(parts)}


def differences(model: Module, state: Mapping[str, Spec], known: Mapping[str, Any], strict: bool) -> list[str]:
    """A line for each thing that does not fit."""
    arriving = {id(known[name]) for name in state if name in known}
    missing = [f"{name} {_sizes(value)}" for name, value in places(model, repeated=False) if id(value) not in arriving]
    unexpected = [f"{_named(name, state)} {_sizes(state[name])}" for name in state if name not in known]
    other = []
    for name in state:
        if name not in known:
            continue
        value, own = state[name], known[name]
        sizes = own.sizes if isinstance(own, LazyTensor) else own.shape
        if len(value.shape) != len(sizes) or any(m not in (None, n) for n, m in zip(value.shape, sizes, strict=True)):
            other.append(f"{_named(name, state)}: {_sizes(value)} in the file, {_sizes(own)} in the model")
    return [
        *(_listed("in the model, not in the file", missing) if strict else []),
        *(_listed("in the file, not in the model", unexpected) if strict else []),
        *_listed("of another shape", other),
    ]


def suggestion(names: list[str], known: Mapping[str, Any], path: str | os.PathLike[str]) -> list[str]:
    """What may mend it, if all names of the file have one beginning more than those of the model."""
    own = next(iter(known), "")
    begin = next((name[: -len(own)] for name in names if own and name.endswith(f".{own}")), "")
    if begin and sum(name.startswith(begin) and name[len(begin) :] in known for name in names) > len(names) // 2:
        return [f"names in the file begin with {begin!r}: load_weights({str(path)!r}, prefix={begin!r})"]
    return []


def _listed(kind: str, lines: list[str]) -> list[str]:
    """Lines under their title, if there are any; not all of very many."""
    more = [f"  and {len(lines) - MOST_LINES} more"] if len(lines) > MOST_LINES else []
    return [f"{kind}:", *(f"  {line}" for line in lines[:MOST_LINES]), *more] if lines else []


def _named(name: str, state: Mapping[str, Spec]) -> str:
    """A name in the model, and what it is in the file where that is another."""
    return name if state[name].name == name else f"{name} ({state[name].name} in the file)"


def _sizes(value: Any) -> str:
    return sizes_text(value.sizes if isinstance(value, LazyTensor) else tuple(value.shape))


def state_of(found: Any, path: str | os.PathLike[str]) -> dict[str, Any]:
    """The arrays by name of what a file of another framework holds: all of it, or the one dict of arrays that is in it."""
    if _is_state(found) or found == {}:  # of a model without parameters
        return dict(found)
    inside = found.items() if isinstance(found, Mapping) else ()
    states = {key: value for key, value in inside if _is_state(value)}
    for key in ("state_dict", "model_state_dict", "model", "model_state"):  # beside the state of an optimizer, say
        if key in states:
            return dict(states[key])
    if len(states) == 1:
        return dict(*states.values())
    what = (
        f"a dict of {', '.join(map(str, found))[:300]}" if isinstance(found, Mapping) else f"a {type(found).__name__}"
    )
    raise FileFormatError(
        f"[load_weights] {path} is {what}; expected arrays by name, or a dict with one such dict in it: take it from "
        "interop.load_torch(path) and give it to model.load_state_dict"
    )


def _is_state(found: Any) -> bool:
    return (
        isinstance(found, Mapping)
        and bool(found)
        and all(
            isinstance(name, str) and hasattr(value, "shape") and hasattr(value, "dtype")
            for name, value in found.items()
        )
    )
