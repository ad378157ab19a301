"""The layout ``keydnn.json.ckpt.v1``: a model and its weights as one JSON text.

``{"format", "arch": {"type", "config", "children": {name: arch}}, "state": {path: {"b64", "dtype", "order", "shape"}}}``.
Recurrent layers have their weights transposed there, the gates of a GRU are z, r, n, and both ways of a Bidirectional stand
there twice (if once, either is read). KeyDNN's own files lack the running statistics of batch normalization; ours add
them as ``PATH.running_mean`` and ``PATH.running_var``, which KeyDNN skips.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..domain.device import Device
from ..domain.errors import ArgumentError, FileFormatError, NotSupportedError, unknown
from ..nn import Bidirectional, Module
from ..nn.registry import type_name
from .atomic import atomic_write
from .checkpoint import built, filled
from .jsontext import parsed
from .zipped import regular

FORMAT = "keydnn.json.ckpt.v1"
DTYPES = {"<f2", "<f4", "<f8"}


@dataclass(frozen=True)
class Kind:
    """How a layer of the layout says what a layer of ours says."""

    ours: str
    keys: Mapping[str, str] = field(default_factory=dict)  # their key of the config: ours
    constants: Mapping[str, Any] = field(default_factory=dict)  # keys they write that say nothing to us
    states: Mapping[str, str] = field(default_factory=dict)  # their name of a parameter: ours, where they differ
    implied: Mapping[str, Any] = field(default_factory=dict)  # of our config, what their layer always means
    gates: tuple[int, ...] = ()  # of a recurrent layer, whose weights are transposed: our blocks in their order


PLACE = {"device": "cpu", "dtype": "float32"}
WINDOW = {"kernel_size": "kernel_size", "stride": "stride", "padding": "padding"}
CONV = {"in_channels": "in_channels", "out_channels": "out_channels", "bias": "bias", **WINDOW}
TRANSPOSED = {**CONV, "output_padding": "output_padding"}
LINEAR = {"in_features": "in_features", "out_features": "out_features", "bias": "bias"}
BATCH_NORM = {"num_features": "num_features", "eps": "eps", "momentum": "momentum", "affine": "affine"}
LAYER_NORM = {"normalized_shape": "normalized_shape", "eps": "eps", "affine": "elementwise_affine"}
GAMMA = {"gamma": "weight", "beta": "bias"}

CELL = {"input_size": "input_size", "hidden_size": "hidden_size", "bias": "bias"}
RETURNS = {"return_sequences": "return_sequences", "return_state": "return_state"}
SEQUENCE = {**CELL, **RETURNS, "keras_compat": "keras_compat"}
ONE_STEP = {"W_ih": "weight_ih", "W_hh": "weight_hh", "b_ih": "bias_ih", "b_hh": "bias_hh"}
STEPS = {f"cell.{theirs}": f"{ours}_l0" for theirs, ours in ONE_STEP.items()}
LSTM_GATES, GRU_GATES, RESET_FIRST = (0, 1, 2, 3), (1, 0, 2), {"reset_after": False}

KINDS = {
    "Sequential": Kind("Sequential"),
    "Linear": Kind("Linear", LINEAR, {**PLACE, "initializer": "xavier_uniform"}),
    "Dense": Kind("Linear", LINEAR, {**PLACE, "initializer": "xavier_uniform"}),
    "Conv2d": Kind("Conv2d", CONV, PLACE),
    "Conv2dTranspose": Kind("ConvTranspose2d", TRANSPOSED, PLACE),
    "LayerNorm": Kind("LayerNorm", LAYER_NORM, {"device": "cpu"}, GAMMA),
    "BatchNorm1d": Kind("BatchNorm1d", BATCH_NORM, {"device": "cpu"}, GAMMA),
    "BatchNorm2d": Kind("BatchNorm2d", BATCH_NORM, {"device": "cpu"}, GAMMA),
    "MaxPool2d": Kind("MaxPool2d", WINDOW),
    "AvgPool2d": Kind("AvgPool2d", WINDOW),
    "GlobalAvgPool2d": Kind("GlobalAvgPool2d"),
    "Flatten": Kind("Flatten"),
    "Dropout": Kind("Dropout", {"p": "p"}),
    "ReLU": Kind("ReLU"),
    "LeakyReLU": Kind("LeakyReLU", {"alpha": "negative_slope"}),
    "Sigmoid": Kind("Sigmoid"),
    "Tanh": Kind("Tanh"),
    "Softmax": Kind("Softmax", {"axis": "axis"}),
    "RNNCell": Kind("RNNCell", CELL, states=ONE_STEP, gates=(0,)),
    "GRUCell": Kind("GRUCell", CELL, states=ONE_STEP, implied=RESET_FIRST, gates=GRU_GATES),
    "LSTMCell": Kind("LSTMCell", CELL, states=ONE_STEP, gates=LSTM_GATES),
    "RNN": Kind("RNN", SEQUENCE, states=STEPS, gates=(0,)),
    "GRU": Kind("GRU", SEQUENCE, states=STEPS, implied=RESET_FIRST, gates=GRU_GATES),
    "LSTM": Kind("LSTM", SEQUENCE, states=STEPS, gates=LSTM_GATES),
    "Bidirectional": Kind("Bidirectional", {"merge_mode": "merge_mode", **RETURNS}),
    "MSE": Kind("MSE"),
    "SSE": Kind("SSE"),
    "BinaryCrossEntropy": Kind("BCE"),
    "CategoricalCrossEntropy": Kind("CategoricalCrossEntropy"),
}
WAYS = {"forward_layer": "forward_rnn", "backward_layer": "backward_rnn"}  # they write both ways twice
INNER = ("linear", "_linear")
UNSAID = {"init", "dtype", "layer"}  # of our config, what makes no difference here, or is said elsewhere
RUNNING = ("running_mean", "running_var")
MOST_FEATURES = 1 << 20  # that a file may have batch normalization over without values for them
OURS = {kind.ours: name for name, kind in KINDS.items() if name != "Dense"}


def save_json(model: Module, path: str | os.PathLike[str]) -> None:
    """Write a model in the layout of KeyDNN, which can load it. Also ``model.save_json(path)``.

    Values are stored as float32. Keys are sorted there: a Sequential whose names would come in another order has numbers
    instead. Warns of a Bidirectional that gives its last step alone, which KeyDNN computes otherwise.
    Errors: NotSupportedError for a layer, or an argument of one, that the layout has no word for (``model.save`` has);
    NotBuiltError; FileWriteError.

    >>> import chainrule as cr
    >>> from tempfile import TemporaryDirectory
    >>> model = cr.nn.Sequential(cr.nn.Linear(2, 3), cr.nn.Softmax())
    >>> with TemporaryDirectory() as folder:
    ...     save_json(model, f"{folder}/model.json")
    ...     load_json(f"{folder}/model.json")
    Sequential(
      (0): Linear(in_features=2, out_features=3)
      (1): Softmax()
    )
    """
    arrays = model.state_dict()
    arch = _written(model, "", set())
    _warn_of_last_steps(model, f"[save_json] {path}")
    places = dict(_places(model, "", ""))
    state = {_placed(name, places): _theirs(arrays[ours].numpy(), gates) for ours, name, gates in _names(model)}
    write_payload(path, arch, state)


def load_json(path: str | os.PathLike[str], *, device: str | Device | None = None) -> Module:
    """The model of a file in the layout of KeyDNN, in evaluation mode.

    Warns if the file has batch normalization without running statistics, as KeyDNN's own files have, or a Bidirectional that
    gives its last step alone: KeyDNN takes of the way back what it gives at that step, having read that one alone; here it is
    what the way back ends in. Errors: MissingFileError; FileFormatError; ArgumentError for an unknown type of layer.
    """
    where = f"[load_json] {path}"
    arch, state = read_payload(path)
    try:
        description = _read(arch, "", where)
    except RecursionError as error:
        raise FileFormatError(f"{where} has layers inside layers too deep to read") from error
    model = built(description, where)
    found = {ours: (_place(state, theirs), gates) for ours, theirs, gates in _names(model) if _place(state, theirs)}
    arrays = {ours: _ours(state[place], gates) for ours, (place, gates) in found.items()}
    missing = {name: b for name, b in model.named_buffers() if name not in arrays}
    sizes = {name: getattr(b, "sizes", ()) for name, b in missing.items()}
    if any(None in shape for shape in sizes.values()):
        name = next(name for name, shape in sizes.items() if None in shape).rpartition(".")[0]
        raise FileFormatError(f"{where} does not say the num_features of layer {name!r}")
    features = sum(math.prod(shape) for shape in sizes.values())
    if features > MOST_FEATURES + sum(array.size for array in arrays.values()):
        raise FileFormatError(f"{where} has batch normalization over {features} features, but no values for so many")
    counters = {name: b.numpy() for name, b in missing.items()}
    lost = [name for name, _ in model.named_buffers() if name.rpartition(".")[2] in RUNNING and name not in arrays]
    if lost:
        layers = ", ".join(sorted({name.rpartition(".")[0] for name in lost}))
        warnings.warn(
            f"{where} has no running statistics for the batch normalization in {layers}: until the model has seen data "
            "in training mode, it normalizes by mean 0 and variance 1",
            stacklevel=2,
        )
    _warn_of_last_steps(model, where)
    return filled(model, {**counters, **arrays}, where, device)


def _place(state: Mapping[str, Any], name: str) -> str:
    """Where a file has a parameter: under its name, or in the Linear that a Dense of 2.0.0a1 has within, twice; or ""."""
    path, dot, own = name.rpartition(".")
    return next((n for n in (name, *(f"{path}{dot}{inner}.{own}" for inner in INNER)) if n in state), "")


def _warn_of_last_steps(model: Module, where: str) -> None:
    """Warn of every Bidirectional whose result KeyDNN computes otherwise."""
    paths = [name for name, m in model.named_modules() if isinstance(m, Bidirectional) and not _sequences(m)]
    if paths:
        warnings.warn(
            f"{where}: KeyDNN computes the last step of Bidirectional otherwise (in {', '.join(map(repr, paths))}): of the way "
            "back it takes what that has read first, chainrule what it ends in; with return_sequences=True both agree",
            stacklevel=3,
        )


def _sequences(layer: Bidirectional) -> bool:
    """Whether it gives all steps, in a Sequential."""
    return bool(_numbers(layer.get_config())["return_sequences"])


def _names(model: Module) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """What a file holds of a model: (our name, theirs, the order of gates). Of two names for one, the last is the one."""
    for path, module, name, _ in model.tensors():
        if name != "num_batches_tracked":  # serves no layer that the layout has
            kind = KINDS[OURS[type_name(module)]]
            theirs = {ours: theirs for theirs, ours in kind.states.items()}
            found = path.removesuffix(name) + theirs.get(name, name)
            twice = ".".join(WAYS.get(part, part) for part in found.split("."))
            yield from ((path, one, kind.gates) for one in dict.fromkeys((twice, found)))


def _children(module: Module) -> list[str]:
    """The names of layers in a file: ours, or numbers where the sorted keys of a file would bring them into another order."""
    names = [name for name, _ in module.named_children()]
    kept = sorted(names, key=int) if all(name.isdecimal() for name in names) else sorted(names)
    return names if kept == names or type_name(module) != "Sequential" else [str(i) for i in range(len(names))]


def _places(module: Module, path: str, theirs: str) -> Iterator[tuple[str, str]]:
    """The paths of layers, here and in a file."""
    for name, (own, child) in zip(_children(module), module.named_children(), strict=True):
        place = f"{path}.{own}" if path else own, f"{theirs}.{name}" if theirs else name
        yield place
        yield from _places(child, *place)


def _placed(name: str, places: Mapping[str, str]) -> str:
    """The name of an array in a file."""
    parts = name.split(".")
    ends = (k for k in range(len(parts), 0, -1) if ".".join(parts[:k]) in places)
    k = next(ends, 0)
    return ".".join([places[".".join(parts[:k])], *parts[k:]]) if k else name


def _theirs(array: Any, gates: tuple[int, ...]) -> Any:
    """Values of a recurrent layer in their layout: gates in their order, (features, gates) where ours are (gates, features)."""
    return _ordered(array, gates).T if gates else array


def _ours(array: Any, gates: tuple[int, ...]) -> Any:
    """The inverse of ``_theirs``: exchanging gates twice changes nothing."""
    return _ordered(array.T, gates) if gates else array


def _ordered(array: Any, gates: tuple[int, ...]) -> Any:
    """The blocks of rows in another order; an array that has no such blocks, as it is."""
    if not array.ndim or array.shape[0] % len(gates):
        return array
    blocks = np.split(array, len(gates))
    return np.concatenate([blocks[k] for k in gates])


def _written(module: Module, path: str, seen: set[Module]) -> dict[str, Any]:
    """The part of an architecture tree that says what ``module`` is."""
    name, where = type_name(module), f"[save_json] layer {path!r}"
    remedy = "model.save(path) can write every model"
    if name not in OURS:
        raise NotSupportedError(f"{where} is a {name}, which {FORMAT} has no word for ({', '.join(OURS)}); {remedy}")
    if module in seen:
        raise NotSupportedError(f"{where} stands in the model twice, which {FORMAT} cannot say; {remedy}")
    seen.add(module)
    kind, config = KINDS[OURS[name]], _numbers(module.get_config())
    said = {theirs: config[ours] for theirs, ours in kind.keys.items()}
    known = {ours: said[theirs] for theirs, ours in kind.keys.items()}
    parts = {"layer": config["layer"]} if "layer" in config else {}
    again = type(module).from_config({**kind.implied, **known, **parts}).get_config()
    for key, value in config.items():
        wordy = key == "padding" and isinstance(value, str)  # "same" around an even kernel
        if (again.get(key) != value or wordy) and key not in UNSAID:
            raise NotSupportedError(f"{where} ({name}) has {key}={value!r}, which {FORMAT} cannot say; {remedy}")
    inner = zip(_children(module), module.named_children(), strict=True)
    children = {given: _written(child, f"{path}.{n}" if path else n, seen) for given, (n, child) in inner}
    if name == "Bidirectional":
        if said["merge_mode"] != "concat":
            raise NotSupportedError(
                f"{where} ({name}) has merge_mode={said['merge_mode']!r}; KeyDNN has 'concat' only; {remedy}"
            )
        children, said = _both_ways(children, said)
    elif "cell.W_ih" in kind.states:
        children = {"cell": {"type": f"{name}Cell", "config": {key: said[key] for key in CELL}, "children": {}}}
    return {"type": OURS[name], "config": {**kind.constants, **said}, "children": children}


def _both_ways(children: dict[str, Any], said: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The children of a Bidirectional, each under both of its names, and its config. What they return alone never counts."""
    for child in children.values():
        child["config"].update(return_sequences=True, return_state=True, keras_compat=True)
    layer = children["forward_layer"]
    doubled = {WAYS[name]: child for name, child in children.items()}
    return {**children, **doubled}, {**said, "layer_type": layer["type"], "layer": layer["config"]}


def _numbers(config: dict[str, Any]) -> dict[str, Any]:
    """A config with numbers where ours has words for them (padding), and flags where it leaves them open."""
    for key in RETURNS.keys() & config.keys():
        if config[key] is None:  # what it means in a Sequential
            config = {**config, key: config.get("keras_compat") is False}
    if config.get("padding") == "valid":
        return {**config, "padding": [0, 0]}
    if config.get("padding") == "same":
        around = [d * (k - 1) for d, k in zip(config["dilation"], config["kernel_size"], strict=True)]
        if not any(n % 2 for n in around):
            return {**config, "padding": [n // 2 for n in around]}
    return config


def _read(arch: Any, path: str, where: str) -> dict[str, Any]:
    """The description, as ``nn.create`` takes it, of a part of an architecture tree."""
    found = arch if isinstance(arch, dict) else {"config": None}
    name, config, children = found.get("type"), found.get("config", {}), found.get("children") or {}
    if not isinstance(config, dict) or not isinstance(children, dict):
        raise FileFormatError(f"{where} is damaged: layer {path!r} is {arch!r}")
    if not isinstance(name, str) or name not in KINDS:
        raise ArgumentError(f"{where}: layer {path!r}: {unknown('layer type', name, KINDS)}")
    kind = KINDS[name]
    said = {ours: config[theirs] for theirs, ours in kind.keys.items() if theirs in config}
    description: dict[str, Any] = {"type": kind.ours, "config": {**kind.implied, **said}}
    if kind.ours == "Bidirectional":
        inner = {"type": config.get("layer_type"), "config": config.get("layer")}
        description["config"]["layer"] = _read(inner, f"{path}.forward_layer" if path else "forward_layer", where)
    if kind.ours == "Sequential":
        numbered = all(n.isdecimal() and len(n) < 10 for n in children)
        order = sorted(children, key=int) if numbered else children
        description["children"] = {n: _read(children[n], f"{path}.{n}" if path else n, where) for n in order}
    return description


def read_payload(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The architecture tree and the arrays of a file, as they stand there. Errors: MissingFileError, FileFormatError."""
    regular(path, f"[load_json] {path}")
    payload = parsed(Path(path).read_bytes(), f"[load_json] {path}")
    found = payload.get("format") if isinstance(payload, dict) else None
    if found != FORMAT:
        ours = "; cr.load reads it" if str(found).startswith("chainrule.") else ""
        raise FileFormatError(f"[load_json] {path} has the format {found!r}, expected {FORMAT!r}{ours}")
    arch, state = payload.get("arch"), payload.get("state")
    if not isinstance(arch, dict) or not isinstance(state, dict):
        raise FileFormatError(f"[load_json] {path} is damaged: it lacks 'arch' or 'state'")
    return arch, {name: _decoded(entry, f"[load_json] {path}: state {name!r}") for name, entry in state.items()}


def write_payload(path: str | os.PathLike[str], arch: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Write an architecture tree and arrays (stored as float32). Errors: FileWriteError."""
    payload = {"format": FORMAT, "arch": arch, "state": {name: _encoded(a) for name, a in state.items()}}
    text = json.dumps(payload, indent=2, sort_keys=True, ensure_ascii=False)
    with atomic_write(path, text=True) as file:
        file.write(text)


def _encoded(array: Any) -> dict[str, Any]:
    values = np.asarray(array, "<f4", order="C")
    return {
        "b64": base64.b64encode(values.tobytes()).decode("ascii"),
        "dtype": "<f4",
        "order": "C",
        "shape": list(values.shape),
    }


def _decoded(entry: Any, where: str) -> Any:
    """The float32 array of an entry of the state."""
    try:
        text, dtype, order, shape = entry["b64"], entry["dtype"], entry["order"], tuple(entry["shape"])
        data = base64.b64decode(text, validate=True)
    except (TypeError, KeyError, binascii.Error, ValueError) as error:
        raise FileFormatError(f"{where} is damaged: {error!r}") from error
    if not isinstance(dtype, str) or dtype not in DTYPES or order != "C" or not all(map(_is_size, shape)):
        raise FileFormatError(
            f"{where} has dtype {dtype!r}, order {order!r}, shape {shape}; expected '<f4', 'C', sizes"
        )
    expected = math.prod(shape) * np.dtype(dtype).itemsize
    if len(data) != expected:
        raise FileFormatError(f"{where} has {len(data)} bytes, but shape {shape} takes {expected}")
    try:
        return np.frombuffer(data, dtype).reshape(shape).astype(np.float32)
    except ValueError as error:  # too many axes for NumPy, or sizes beyond any memory beside one of 0
        raise FileFormatError(f"{where} has shape {shape}, which no array can have: {error}") from error


def _is_size(n: Any) -> bool:
    return type(n) is int and n >= 0
