"""Keras's files without Keras: ``.keras``, ``.h5`` of all versions, and weights by name."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from ..domain.device import Device
from ..domain.errors import FileFormatError, MissingFileError, StateError
from ..io.checkpoint import filled
from ..io.jsontext import parsed
from ..io.zipped import Archive, mapped
from ..nn import ChannelsLast, Module, Sequential
from ..nn.state import Differences
from .keras_graph import Functional
from .keras_hdf5 import Files, Named, Numbered, Stored, opened, root_of, texts
from .keras_layouts import layout, taken
from .keras_models import Reader
from .keras_spec import Spec
from .keras_written import CONVS, RECURRENT

MOST_JSON = 64 << 20
SIGNATURE = b"\x89HDF\r\n\x1a\n"
CLASSES = {  # of ours: Keras's, where more than the name differs
    **{kind.__name__: name for kind, name in (CONVS | RECURRENT).items()},
    "Linear": "Dense",
    "BatchNorm1d": "BatchNormalization",
    "BatchNorm2d": "BatchNormalization",
    "BatchNorm3d": "BatchNormalization",
    "LayerNorm": "LayerNormalization",
    "GroupNorm": "GroupNormalization",
}


def from_keras(
    path: str | os.PathLike[str],
    *,
    input_shape: tuple[int | None, ...] | None = None,
    device: str | Device | None = None,
) -> Module:
    """The model of a Keras file, in evaluation mode: a ``Sequential``, or an ``nn.Graph`` of a functional model.

    ``path`` is a ``.keras`` archive or a whole model in HDF5 (Keras 1 to 3). It takes the input the original takes, images as
    (n, height, width, channels), and predicts the same; layers keep their names, and an activation is a layer after its own.
    ``input_shape``, without the batch, is needed only if the file does not have it. ``model.train()`` goes on training it;
    batches then end in running variances that are unbiased, which Keras's are not.

    Nothing in the file is run: a Lambda, and any other layer that cannot be converted, is refused, all of them in one error.
    Errors: MissingFileError; FileFormatError if the file is damaged or something else; NotSupportedError for such layers.

    >>> import chainrule as cr
    >>> chainrule_model = cr.interop.from_keras("missing.keras")
    Traceback (most recent call last):
    chainrule.domain.errors.MissingFileError: [from_keras] missing.keras does not exist
    """
    where = f"[from_keras] {path}"
    with described(path, where) as (entry, version, stored):
        rank = None if input_shape is None else len(input_shape) + 1
        spec = Spec(entry, stored, rank, version, where)
        if not spec.is_model:
            raise FileFormatError(f"{where} is a {spec.written}, expected a Sequential or a functional model")
        reader = Reader(version, where, Functional)
        try:
            model, state = reader.model(spec, 0)
        except RecursionError as error:
            raise FileFormatError(f"{where} has layers inside layers too deep to build") from error
        reader.finished()
        return filled(model, state, where, device)


@contextmanager
def described(path: str | os.PathLike[str], where: str) -> Iterator[tuple[Any, int, Stored]]:
    """The config of a file's model, the version of Keras that wrote it, and its weights."""
    with holder(path, where) as (root, archive):
        if archive is not None:
            if "config.json" not in archive:
                raise FileFormatError(f"{where} is a zip archive without config.json: no file of Keras")
            config = document(archive, "config.json")
            said = document(archive, "metadata.json") if "metadata.json" in archive else {}
            version = said.get("keras_version") if isinstance(said, Mapping) else None
            yield config, generation(version or "3", where), root_of(root, where)
            return
        text = texts(root, "model_config", where)
        if not text:
            raise FileFormatError(
                f"{where} has weights without a model: build it, and take them with interop.load_keras_weights"
            )
        said = texts(root, "keras_version", where)
        yield parsed(text[0], where), generation(said[0] if said else "1", where), root_of(root, where)


@contextmanager
def holder(path: str | os.PathLike[str], where: str) -> Iterator[tuple[Any, Archive | None]]:
    """The root of the HDF5 file that is or is in ``path``, and the archive around it."""
    if Path(path).is_dir():
        raise MissingFileError(f"{where} is a folder: a SavedModel is not read; save the model as .keras")
    data = mapped(path, where)
    if data[:2].tobytes() == b"PK":
        archive = Archive(data, where)
        if "model.weights.h5" not in archive:
            raise FileFormatError(
                f"{where} is a zip archive without model.weights.h5: no file of Keras, or one in shards"
            )
        weights = archive.read("model.weights.h5").tobytes()
        with opened(BytesIO(weights), weights, where) as root:
            yield root, archive
    elif data[:8].tobytes() == SIGNATURE:
        with opened(os.fspath(path), memoryview(data), where) as root:
            yield root, None
    else:
        raise FileFormatError(f"{where} is neither a .keras archive nor HDF5")


def document(archive: Archive, name: str) -> Any:
    """A JSON text in the archive."""
    if archive.entries[name].size > MOST_JSON:
        raise FileFormatError(
            f"{archive.where}: {name} has {archive.entries[name].size} bytes, at most {MOST_JSON} are read"
        )
    return parsed(archive.read(name).tobytes(), f"{archive.where}: {name}")


def generation(version: Any, where: str) -> int:
    """The number before the first dot of a version."""
    head = str(version).split(".")[0]
    if not head.isdecimal() or int(head[:4]) not in (1, 2, 3):
        raise FileFormatError(f"{where} is of Keras {str(version)[:20]!r}; 1, 2 and 3 are read")
    return int(head)


def load_keras_weights(
    model: Module, path: str | os.PathLike[str], *, by_name: bool = True, strict: bool = True
) -> Differences:
    """Take the weights of a Keras file (``.weights.h5``, ``.h5`` or ``.keras``) into a model of ours.

    ``by_name``: each layer gets those of the layer that has its name (the last part of its path); otherwise layers get them in
    order. The model has to compute as Keras does: channels last, as ``nn.ChannelsLast`` and ``from_keras`` have them, or what
    comes after a ``Flatten`` is in another order. Returns the layers the file lacks (``missing``), and those it has too many
    (``unexpected``). Errors: StateError for these if ``strict``; FileFormatError, also for weights of other shapes. After an
    error the model is as it was.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> cr.interop.load_keras_weights(nn.Linear(2), "missing.h5")
    Traceback (most recent call last):
    chainrule.domain.errors.MissingFileError: [load_keras_weights] missing.h5 does not exist
    """
    where = f"[load_keras_weights] {path}"
    ours = dict(weighted(model, ""))
    state: dict[str, Any] = {}
    with holder(path, where) as (root, _):
        stored = root_of(root, where)
        there = everything(stored)
        found = named(dict(there), ours) if by_name else in_order(stored, there, ours)
        for name, module in ours.items():
            if name not in found:
                continue
            arrays = found[name].arrays()
            values = taken(layout(module, options(module, arrays)), arrays, repr(name), where)
            state |= {f"{name}.{key}" if name else key: value for key, value in values.items()}
        unexpected = [name for name, s in there if not shared(s, found)]
    missing = [name for name in ours if name not in found]
    if strict and (missing or unexpected):
        lines = [f"missing: {', '.join(missing)}"] * bool(missing)
        lines += [f"unexpected: {', '.join(unexpected)}"] * bool(unexpected)
        raise StateError("\n  ".join([f"{where} does not fit into {type(model).__name__}; strict=False:", *lines]))
    try:
        model.load_state_dict(state, strict=False)
    except StateError as error:
        raise FileFormatError(f"{where}: {error}") from error
    return Differences(missing, unexpected)


def weighted(module: Module, path: str) -> Iterator[tuple[str, Module]]:
    """The layers that Keras has weights of, by path."""
    if layout(module):
        yield path, module
        return
    for name, child in module.named_children():
        yield from weighted(child, f"{path}.{name}" if path else name)


def options(module: Module, arrays: list[Any]) -> dict[str, Any]:
    """What the arrays of a normalization say of it: which of gamma and beta there are."""
    entries = layout(module)
    names = [entry.name for entry in entries]
    if "gamma" not in names or len(arrays) >= len(entries):
        return {"rank": len(arrays[0].shape) + 1} if names == ["alpha"] and arrays else {}
    said = [array.name.rsplit("/", 1)[-1].split(":")[0] for array in arrays]
    return {"scale": "gamma" in said, "center": "beta" in said}


def everything(stored: Stored) -> list[tuple[str, Stored]]:
    """The layers of a file that have weights, by name."""
    if isinstance(stored, Files):
        return [(name, one) for name, one in stored.groups.items() if one.arrays()]
    found: list[tuple[str, Stored]] = []
    waiting = [stored] if isinstance(stored, Numbered) else []
    while waiting:
        one = waiting.pop()
        for name, child in one.children():
            if child.arrays():
                said = child.said() or name
                found.append((said, child))
            waiting.append(child)
    return found


def named(there: Mapping[str, Stored], ours: Mapping[str, Module]) -> dict[str, Stored]:
    """What the file has of layers, by their paths."""
    found: dict[str, Stored] = {}
    for path in ours:
        parts = path.split(".")
        direct = there.get(path) or there.get(parts[-1])
        if direct is not None:
            found[path] = direct
        elif isinstance(there.get(parts[0]), Named) and len(parts) > 1:
            part = there[parts[0]].layers([(parts[-1], "")])[0]
            if part.arrays():
                found[path] = part
    return found


def shared(stored: Stored, found: Mapping[str, Stored]) -> bool:
    """Whether its arrays, or some of them, were taken: those of a model inside the model."""
    own = {array.name for array in stored.arrays()}
    return any(array.name in own for s in found.values() for array in s.arrays())


def in_order(stored: Stored, there: list[tuple[str, Stored]], ours: Mapping[str, Module]) -> dict[str, Stored]:
    """What the file has of layers, in their order; Keras 3 counts those of each class."""
    if isinstance(stored, Files):
        return dict(zip(ours, (s for _, s in there), strict=False))
    named_ = [(name, class_of(module)) for name, module in ours.items()]
    found = stored.layers(named_)
    return {name: s for (name, _), s in zip(named_, found, strict=True) if s.arrays()}


def class_of(module: Any) -> str:
    """The class that Keras has for a module with weights."""
    if isinstance(module, ChannelsLast):
        module = next(module.children())
        module = next(m for m in module if layout(m)) if isinstance(module, Sequential) else module
    return CLASSES.get(type(module).__name__, type(module).__name__)
