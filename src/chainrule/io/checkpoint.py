"""A whole model in one file: weights and buffers, safetensors, ``.npz`` or HDF5, and beside them, as JSON, how to build it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..domain.device import Device
from ..domain.dtype import DTYPES
from ..domain.errors import ArgumentError, ArgumentTypeError, FileFormatError, StateError
from ..nn import Module
from ..nn.parameter import LazyTensor
from ..nn.registry import create, describe
from . import training
from .migrations import migrated
from .weights import read, save_weights

FORMAT = "chainrule.model.v1"
SUFFIXES = (".safetensors", ".npz", ".h5", ".hdf5")
FLOATING = {name for name, dtype in DTYPES.items() if dtype.is_floating}


def save(model: Module, path: str | os.PathLike[str], *, optimizer: Any = None) -> None:
    """Write ``model`` to ``path``: architecture, parameters, buffers. Also ``model.save(path)``.

    The file, ``NAME.safetensors``, ``NAME.npz``, ``NAME.h5`` or ``NAME.hdf5``, is replaced as a whole or not at all. It is a
    plain file of its kind: other programs can read the weights.
    With ``optimizer`` its state is in it, too: ``load_optimizer`` reads it.
    Layers of your own need ``@nn.register`` above their class. Errors: ArgumentError for another suffix or a layer that
    a file cannot name, NotBuiltError for a model that has not seen an input, FileWriteError.

    >>> import chainrule as cr
    >>> from tempfile import TemporaryDirectory
    >>> model = cr.nn.Sequential(cr.nn.Linear(2, 3), cr.nn.ReLU())
    >>> with TemporaryDirectory() as folder:
    ...     save(model, f"{folder}/model.safetensors")
    ...     again = load(f"{folder}/model.safetensors")
    >>> bool((again(cr.ones(1, 2)) == model(cr.ones(1, 2))).all())
    True
    """
    _suffixed(path, "save", "save_json")
    if not isinstance(model, Module):
        raise ArgumentTypeError(f"[save] a {type(model).__name__} is not a Module; save_weights writes named arrays")
    arrays, metadata = model.state_dict(), {"format": FORMAT, "architecture": describe(model)}
    if optimizer is not None:
        saved = optimizer.state_dict()
        names = {name: [*values] for name, values in saved["state"].items()}
        metadata["optimizer"] = {"param_groups": saved["param_groups"], "state": names}
        arrays.update({_place(name, key): saved["state"][name][key] for name in names for key in names[name]})
    save_weights(path, arrays, metadata)


def load(path: str | os.PathLike[str], *, device: str | Device | None = None) -> Module:
    """The model that ``save`` wrote, in evaluation mode; ``model.train()``, which ``fit`` calls, goes on training it.

    Of a file of ``train.Checkpoint``, or of ``save_training`` with a part ``model``, it is the model alone.

    Errors: MissingFileError; FileFormatError if the file is cut short, damaged, holds no model, or is of a later
    version; ArgumentError if it has a layer that is not registered in this program.
    """
    _suffixed(path, "load", "load_json")
    arrays, metadata = migrated(path, FORMAT, *migrated(path, training.FORMAT, *read(path)))
    if metadata.get("format") == training.FORMAT and metadata.get("architecture"):
        arrays = training.model_in(path, arrays, metadata)
    elif metadata.get("format") != FORMAT or "architecture" not in metadata:
        raise FileFormatError(
            f"[load] {path} has weights but no model that chainrule wrote: build the model and have it take them by "
            "model.load_weights(path)"
        )
    where = f"[load] {path}"
    for name, keys in metadata.get("optimizer", {}).get("state", {}).items():
        for key in keys:
            arrays.pop(_place(name, key), None)
    return filled(built(metadata["architecture"], where), arrays, where, device)


def load_optimizer(path: str | os.PathLike[str], optimizer: Any) -> None:
    """Have ``optimizer`` go on from the state that ``save(..., optimizer=...)`` wrote with its model.

    Errors: those of ``load_weights``; FileFormatError if no state is there; StateError if it is that of other parameters.

    >>> import chainrule as cr
    >>> from tempfile import TemporaryDirectory
    >>> model = cr.nn.Sequential(cr.nn.Linear(2, 3)).compile("mse", "adam")
    >>> _ = model.train_on_batch(cr.ones(1, 2), cr.ones(1, 3))
    >>> with TemporaryDirectory() as folder:
    ...     model.save(f"{folder}/model.safetensors", optimizer=model.compiled.optimizer)
    ...     again = load(f"{folder}/model.safetensors").compile("mse", "adam")
    ...     load_optimizer(f"{folder}/model.safetensors", again.compiled.optimizer)
    >>> again.train_on_batch(cr.ones(1, 2), cr.ones(1, 3)) == model.train_on_batch(cr.ones(1, 2), cr.ones(1, 3))
    True
    """
    arrays, metadata = read(path)
    found: Any = metadata.get("optimizer")
    try:
        state = {name: {key: arrays[_place(name, key)] for key in keys} for name, keys in found["state"].items()}
        groups = found["param_groups"]
    except (TypeError, KeyError, AttributeError) as error:
        raise FileFormatError(
            f"[load_optimizer] {path} has no state of an optimizer: save it by model.save(path, optimizer=optimizer)"
        ) from error
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _place(parameter: str, key: str) -> str:
    """The name, in a file, of what an optimizer remembers of a parameter."""
    return f"optimizer/{parameter}/{key}"


def built(architecture: Mapping[str, Any], where: str) -> Module:
    """The model of a description, with new values. Errors: ArgumentError."""
    try:
        return create(architecture)
    except ArgumentError as error:
        raise ArgumentError(
            f"{where}: {error}. A layer of your own is known once its class is decorated with @nn.register and the "
            "module that has it is imported"
        ) from error
    except RecursionError as error:
        raise FileFormatError(f"{where} has layers inside layers too deep to build") from error


def filled(model: Module, arrays: Mapping[str, Any], where: str, device: str | Device | None) -> Module:
    """``model`` with the values and the dtypes of ``arrays``, in evaluation mode. Errors: FileFormatError."""
    if device is not None:
        model.to(device=device)
    for name, module, own, value in [*model.tensors()]:
        dtype = arrays[name].dtype.name if name in arrays else None
        if dtype in FLOATING and value.is_floating:
            if isinstance(value, LazyTensor):
                value.move(dtype=dtype)
            else:
                setattr(module, own, value.to(dtype=dtype))
    try:
        model.load_state_dict(arrays)
    except StateError as error:
        raise FileFormatError(f"{where}: {error}") from error
    return model.eval()


def _suffixed(path: str | os.PathLike[str], function: str, other: str) -> None:
    """Raise ArgumentError unless the name says what the file is."""
    suffix = Path(path).suffix
    if suffix == ".json":
        raise ArgumentError(
            f"[{function}] {path} is JSON by its name: use {other}, or a name that ends in {SUFFIXES[0]}"
        )
    if suffix not in SUFFIXES:
        weights = " (weights alone, of PyTorch too: model.load_weights)" if function == "load" else ""
        raise ArgumentError(
            f"[{function}] {path} ends in {suffix or 'nothing'!r}: a model file ends in {', '.join(SUFFIXES[:-1])} or "
            f"{SUFFIXES[-1]}{weights}"
        )
