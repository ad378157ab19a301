"""All that a training needs to go on, in one file: ``fit`` writes it by a callback, a loop of your own itself."""

from __future__ import annotations

import os
import random as python_random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np

from ..domain.errors import ArgumentError, ChainruleError, FileFormatError, unknown
from ..nn import Module
from ..nn.registry import describe
from ..optim import Optimizer
from ..optim.averaging import WeightAverage
from ..random import Generator, get_rng_state, set_rng_state
from ..tensor import Tensor
from .filling import fill
from .migrations import migrated, version_of
from .source import Held
from .weights import opened, save_weights

FAMILY = "chainrule.training"
FORMAT = f"{FAMILY}.v1"
ARRAY = "$array"  # the key of what stands for an array in the metadata


def save_training(path: str | os.PathLike[str], /, **parts: Any) -> None:
    """Write what a training needs to go on to ``path``, whole or not at all. Beside ``parts`` the random numbers are kept.

    A part is anything with a ``state_dict``: the model, the optimizer, a DataLoader, a schedule, an average, a LossScaler;
    or a Generator; or values: numbers, texts, None, arrays, lists and dicts of them (a tuple comes back as a list). Of
    random numbers the default generators are kept, and those of NumPy and of ``random``. ``load_training`` reads it; the
    part ``model`` can also be had by ``cr.load``. Call it between steps, when there are no gradients to keep.

    Errors: ArgumentError for a value that a file cannot hold, FileWriteError.

    >>> import chainrule as cr
    >>> from tempfile import TemporaryDirectory
    >>> model = cr.nn.Sequential(cr.nn.Linear(2, 1))
    >>> optimizer = cr.optim.Adam(model.parameters())
    >>> with TemporaryDirectory() as folder:
    ...     save_training(f"{folder}/run.safetensors", model=model, optimizer=optimizer, epoch=3)
    ...     load_training(f"{folder}/run.safetensors", model=model, optimizer=optimizer)
    {'epoch': 3}
    """
    arrays: dict[str, Any] = {}
    state = {name: _flat(_state_of(part), name, arrays) for name, part in parts.items()}
    metadata = {
        "format": FORMAT,
        "chainrule": import_module("chainrule").__version__,
        "architecture": _architecture(parts.get("model")),
        "state": state,
        "random": _flat(_random_state(), "random", arrays),
    }
    save_weights(path, arrays, metadata)


def load_training(path: str | os.PathLike[str], /, **parts: Any) -> dict[str, Any]:
    """Have ``parts`` and all random numbers go on from what ``save_training`` wrote, or ``train.Checkpoint``.

    Returns what else is in the file, by name: values, and the states of parts that were not given, with NumPy arrays.
    Everything is verified first; then the model, optimizers and averages take safetensors array by array, other parts one
    after the other. Errors: MissingFileError; FileFormatError for a file that is damaged, of another kind, or lacks a part;
    StateError for a part that has other shapes. The model is loaded last: after an error it is as it was.
    """
    state, random_state = read_training(path, "load_training")
    for name in parts:
        if name not in state:
            raise FileFormatError(f"[load_training] {path}: {unknown('part', name, state)}")
    models = [name for name in parts if isinstance(parts[name], Module)]
    # a schedule sets the rates of its optimizer, which has the last word
    for name in sorted({*parts} - {*models}, key=lambda name: hasattr(parts[name], "param_groups")):
        with taken("load_training", path, name):
            load_part(parts[name], state.pop(name))
    with taken("load_training", path, "random"):
        restore_random(random_state)  # after loaders, which may have drawn a seed
    for name in models:
        with taken("load_training", path, name):
            load_part(parts[name], state.pop(name))
    return {name: read(saved) for name, saved in state.items()}


def read_training(path: str | os.PathLike[str], name: str) -> tuple[dict[str, Any], Any]:
    """The parts in a file, and the states of random numbers. Errors: those of ``load_training``.

    All is verified, but arrays of parts are still in the file: ``load_part`` and ``read`` get them.
    """
    source = opened(path)  # closed when nobody has an array of it
    held, metadata = source.held(), source.metadata
    if version_of(FAMILY, metadata) is not None and metadata["format"] != FORMAT:
        held, metadata = migrated(path, FORMAT, dict(source.take()), metadata, name)
    if metadata.get("format") != FORMAT:
        raise FileFormatError(
            f"[{name}] {path} has no training to go on with: train.Checkpoint or io.save_training writes one"
        )
    source.verify()
    try:
        state, random_state = _deep(metadata["state"], held), _deep(metadata["random"], held)
        return dict(state), read(random_state)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise FileFormatError(f"[{name}] {path} has a header that save_training never writes: {error!r}") from error


def read(state: Any) -> Any:
    """A state with its arrays read."""
    if isinstance(state, dict):
        return {key: read(one) for key, one in state.items()}
    if isinstance(state, list):
        return [read(one) for one in state]
    return np.asarray(state) if isinstance(state, Held) else state


def model_in(path: str | os.PathLike[str], found: Mapping[str, Any], metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Of what is ``found`` in a file, the weights and buffers of the part "model", by name. Errors: FileFormatError."""
    try:
        return {name: found[place[ARRAY]] for name, place in metadata["state"]["model"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FileFormatError(f"[load] {path} has a header that save_training never writes: {error!r}") from error


@contextmanager
def taken(name: str, path: str | os.PathLike[str], part: str) -> Iterator[None]:
    """Around what takes a state from a file: whatever is wrong with it is a FileFormatError."""
    try:
        yield
    except ChainruleError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise FileFormatError(f"[{name}] {path}: {part} cannot go on from the state there: {error!r}") from error


def load_part(part: Any, state: Any) -> None:
    """Have one part go on from its state, array by array where it can. Errors: ArgumentError for what has none."""
    own = getattr(type(part), "load_state_dict", None)
    if isinstance(part, Generator):
        seed, counter = state
        part.set_state((seed, counter))
    elif own is Module.load_state_dict and state and all(isinstance(one, Held) for one in state.values()):
        source = next(iter(state.values())).source
        fill(part, source, {name: one.spec for name, one in state.items()}, verify=False)
    elif own in (Optimizer.load_state_dict, WeightAverage.load_state_dict):
        part.load_state_dict(state)  # which looks at shapes, and then takes one after the other
    elif own is not None:
        part.load_state_dict(read(state))
    else:
        raise ArgumentError(f"[load_training] a {type(part).__name__} has no load_state_dict: take it from the result")


def restore_random(state: Mapping[str, Any]) -> None:
    """Have all random numbers go on."""
    set_rng_state(state["chainrule"])
    version, words, gauss = state["python"]
    python_random.setstate((version, tuple(words.tolist()), gauss))
    if state["numpy"] is not None:
        kind, keys, *rest = state["numpy"]
        np.random.set_state((kind, keys, *rest))


def _random_state() -> dict[str, Any]:
    version, words, gauss = python_random.getstate()
    numpy: Any = np.random.get_state()
    return {
        "chainrule": get_rng_state(),
        "python": [version, np.array(words, np.uint32), gauss],
        "numpy": [*numpy] if isinstance(numpy, tuple) else None,  # somebody has put another kind of generator there
    }


def _architecture(model: Any) -> Any:
    """How to build the model, if a file can say it."""
    try:
        return describe(model) if isinstance(model, Module) else None
    except ArgumentError:
        return None


def _state_of(part: Any) -> Any:
    if isinstance(part, Generator):
        return list(part.get_state())
    return part.state_dict() if hasattr(part, "state_dict") else part


def _flat(value: Any, path: str, arrays: dict[str, Any]) -> Any:
    """``value`` as JSON can hold it, with its arrays put into ``arrays``. Errors: ArgumentError."""
    if isinstance(value, Tensor):
        value = value.detach().numpy()
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        while path in arrays:
            path += "'"
        arrays[path] = value
        return {ARRAY: path}
    if isinstance(value, Mapping) and ARRAY not in value and all(isinstance(key, str) for key in value):
        return {key: _flat(one, f"{path}/{key}", arrays) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_flat(one, f"{path}/{place}", arrays) for place, one in enumerate(value)]
    raise ArgumentError(
        f"[save_training] {path} is {value!r}, expected a number, a text, an array, or lists and dicts by names of them"
    )


def _deep(value: Any, arrays: Mapping[str, Any]) -> Any:
    """What ``_flat`` was given."""
    if isinstance(value, dict):
        if ARRAY in value:
            return arrays[value[ARRAY]]
        return {key: _deep(one, arrays) for key, one in value.items()}
    return [_deep(one, arrays) for one in value] if isinstance(value, list) else value
