"""A whole model in a file, or a folder: weights and buffers, and beside them, as JSON, how to build it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from ..domain.device import Device
from ..domain.dtype import DTYPES
from ..domain.errors import ArgumentError, ArgumentTypeError, FileFormatError, StateError
from ..nn import Module
from ..nn.parameter import LazyTensor
from ..nn.registry import create, describe
from . import training
from .filling import fill
from .folders import is_folder
from .jsonfile import is_ours
from .migrations import migrated
from .source import Source, Spec
from .weights import OWN, opened, save_weights, suffix_of

FORMAT = "chainrule.model.v1"
SUFFIXES = (".safetensors", *OWN)
OTHERS = {  # what reads files of others
    ".keras": "chainrule.interop.from_keras(path) makes a model",
    ".onnx": "chainrule.interop.from_onnx(path) makes a model",
    ".pt": "model.load_weights(path) takes the weights",
    ".pth": "model.load_weights(path) takes the weights",
}
FLOATING = {name for name, dtype in DTYPES.items() if dtype.is_floating}


def save(
    model: Module, path: str | os.PathLike[str], *, optimizer: Any = None, max_shard_size: int | str | None = None
) -> None:
    """Write ``model`` to ``path``: architecture, parameters, buffers. Also ``model.save(path)``.

    The file, ``.safetensors``, ``.npz``, ``.h5``, ``.hdf5``, ``.json`` or ``.json.gz``, is replaced as a whole or not at all.
    It is a plain file of its kind: other programs can read the weights. A path that ends in a slash, or has no suffix, is a
    folder of safetensors files of at most ``max_shard_size`` ("1GB"; a text or bytes) with the index of Hugging Face's layout.
    With ``optimizer`` its state is in it, too, and that of the LossScaler if the model was compiled with both:
    ``load_optimizer`` reads them.
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
    if not is_folder(path):
        suffixed(path, "save")
    if not isinstance(model, Module):
        raise ArgumentTypeError(f"[save] a {type(model).__name__} is not a Module; save_weights writes named arrays")
    arrays = model.state_dict()
    version = import_module("chainrule").__version__
    metadata: dict[str, Any] = {"format": FORMAT, "chainrule": version, "architecture": describe(model)}
    if optimizer is not None:
        saved = optimizer.state_dict()
        names = {name: [*values] for name, values in saved["state"].items()}
        metadata["optimizer"] = {"param_groups": saved["param_groups"], "state": names}
        arrays.update({_place(name, key): saved["state"][name][key] for name in names for key in names[name]})
        own, scaler = _trained_by(model)
        if scaler is not None and own is optimizer:
            metadata["optimizer"]["scaler"] = scaler.state_dict()
    save_weights(path, arrays, metadata, max_shard_size=max_shard_size)


def load(path: str | os.PathLike[str], *, device: str | Device | None = None, mmap: bool = False) -> Module:
    """The model that ``save`` wrote, in evaluation mode; ``model.train()``, which ``fit`` calls, goes on training it.

    Of a file of ``train.Checkpoint``, or of ``save_training`` with a part ``model``, it is the model alone; of a ``.json`` of
    KeyDNN what ``load_json`` makes of it. ``mmap`` as in ``load_weights``: the parameters are the pages of a safetensors file.

    Errors: MissingFileError; FileFormatError if the file is cut short, damaged, holds no model, or is of a later
    version; ArgumentError if it has a layer that is not registered in this program.
    """
    where = f"[load] {path}"
    if not os.path.isdir(path):
        suffixed(path, "load")
        if suffix_of(path) == ".json" and not is_ours(path, where):
            from .keydnn import load_json

            return load_json(path, device=device)
    with opened(path) as found:
        source = current(path, found)
        metadata = source.metadata
        of_training = metadata.get("format") == training.FORMAT and metadata.get("architecture")
        if not of_training and (metadata.get("format") != FORMAT or "architecture" not in metadata):
            raise FileFormatError(
                f"[load] {path} has weights but no model that chainrule wrote: build the model and have it take them by "
                "model.load_weights(path); chainrule.interop makes models of files of Keras, ConvNet and MPNeuralNetwork"
            )
        state = weights_in(path, source)
        return _filled(built(metadata["architecture"], where), source, state, where, device, mmap)


def load_optimizer(path: str | os.PathLike[str], optimizer: Any) -> None:
    """Have ``optimizer`` go on from the state that ``save(..., optimizer=...)`` wrote with its model.

    Given a compiled model its optimizer does, and its LossScaler if there is one here and in the file.
    Errors: those of ``load_weights``; FileFormatError if no state is there; StateError if it is that of other parameters.

    >>> import chainrule as cr
    >>> from tempfile import TemporaryDirectory
    >>> model = cr.nn.Sequential(cr.nn.Linear(2, 3)).compile("mse", "adam")
    >>> _ = model.train_on_batch(cr.ones(1, 2), cr.ones(1, 3))
    >>> with TemporaryDirectory() as folder:
    ...     model.save(f"{folder}/model.safetensors", optimizer=model.compiled.optimizer)
    ...     again = load(f"{folder}/model.safetensors").compile("mse", "adam")
    ...     load_optimizer(f"{folder}/model.safetensors", again)
    >>> again.train_on_batch(cr.ones(1, 2), cr.ones(1, 3)) == model.train_on_batch(cr.ones(1, 2), cr.ones(1, 3))
    True
    """
    target, scaler = _trained_by(optimizer) if isinstance(optimizer, Module) else (optimizer, None)
    if target is None:
        raise ArgumentError("[load_optimizer] the model is not compiled: call model.compile(loss, optimizer) first")
    where = f"[load_optimizer] {path}"
    with opened(path) as found:
        source = current(path, found)
        said: Any = source.metadata.get("optimizer")
        if not isinstance(said, dict) or "param_groups" not in said:
            raise FileFormatError(
                f"{where} has no state of an optimizer: save it by model.save(path, optimizer=optimizer)"
            )
        places = _places(said, where)
        lost = next((name for name in places if name not in source.specs), None)
        if lost is not None:
            raise FileFormatError(f"{where} lacks {lost!r}, of the state of its optimizer")
        source.verify(places)
        held = source.held()
        state: dict[str, dict[str, Any]] = {name: {} for name in said["state"]}
        for place, (name, key) in places.items():
            state[name][key] = held[place]
        before = None if scaler is None else scaler.state_dict()
        with training.taken("load_optimizer", path, "optimizer"):
            if scaler is not None and "scaler" in said:
                scaler.load_state_dict(said["scaler"])
            try:
                training.load_part(target, {"state": state, "param_groups": said["param_groups"]})
            except BaseException:
                if scaler is not None:
                    scaler.load_state_dict(before)
                raise


def current(path: str | os.PathLike[str], source: Source) -> Source:
    """The contents of a file as this version has them; if it is of that, as they are there, not read yet."""
    metadata = source.metadata
    if metadata.get("format") in (FORMAT, training.FORMAT) or "format" not in metadata:
        return source
    arrays = dict(source.take())
    return Source(*migrated(path, FORMAT, *migrated(path, training.FORMAT, arrays, metadata)), source.where)


def weights_in(path: str | os.PathLike[str], source: Source) -> dict[str, Spec]:
    """The weights and buffers of the model in a file, without what is of its training; all of a file that is not ours."""
    metadata, state = source.metadata, source.specs
    parts = metadata.get("state")
    if metadata.get("format") == training.FORMAT and isinstance(parts, dict) and "model" in parts:
        return training.model_in(path, state, metadata)
    if metadata.get("format") == FORMAT:
        for name in _places(metadata.get("optimizer"), source.where):
            state.pop(name, None)
    return state


def _trained_by(model: Any) -> tuple[Any, Any]:
    """The optimizer and the LossScaler of a compiled model; None, where there is none."""
    plan = getattr(model, "compiled", None)
    return getattr(plan, "optimizer", None), getattr(getattr(plan, "precision", None), "scaler", None)


def _places(said: Any, where: str) -> dict[str, tuple[str, str]]:
    """What an optimizer remembers, (parameter, key), by name in the file. Errors: FileFormatError."""
    try:
        state = {} if said is None else said["state"]
        return {_place(name, key): (name, key) for name, keys in state.items() for key in keys}
    except (TypeError, KeyError, AttributeError) as error:
        raise FileFormatError(f"{where} has a header that save never writes: {error!r}") from error


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
    source = Source(arrays, {}, where)
    return _filled(model, source, source.specs, where, device)


def _filled(
    model: Module, source: Source, state: Mapping[str, Spec], where: str, device: Any, mmap: bool = False
) -> Module:
    if device is not None:
        model.to(device=device)
    for name, module, own, value in [*model.tensors()]:
        dtype = state[name].dtype if name in state else None
        if dtype in FLOATING and value.is_floating:
            if isinstance(value, LazyTensor):
                value.move(dtype=dtype)
            else:
                setattr(module, own, value.to(dtype=dtype))
    try:
        fill(model, source, state, mmap=mmap, new=True)
    except StateError as error:
        raise FileFormatError(f"{where}: {error}") from error
    return model.eval()


def suffixed(path: str | os.PathLike[str], function: str) -> None:
    """Raise ArgumentError unless the name says what the file is."""
    suffix = suffix_of(path)
    if suffix not in SUFFIXES:
        other = f"; of {suffix} files {OTHERS[suffix]}" if function == "load" and suffix in OTHERS else ""
        raise ArgumentError(
            f"[{function}] {path} ends in {suffix or 'nothing'!r}: a model file ends in {', '.join(SUFFIXES[:-1])} or "
            f"{SUFFIXES[-1]}, and a folder in a slash{other}"
        )
