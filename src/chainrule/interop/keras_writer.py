"""Models of ours in files that Keras 3 loads: ``.keras``, ``.h5``, ``.weights.h5``."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from .. import nn
from ..domain.errors import ArgumentError, MissingDependencyError, NotSupportedError
from ..io.atomic import atomic_write
from ..io.zipped import write_zip
from ..nn.graph import Ref, references
from .keras_hdf5 import snake
from .keras_spec import Refusal
from .keras_written import Written, entry, written

VERSION = "3.0.0"  # of Keras, whose files these are
MOST_ATTRIBUTE = 60_000  # bytes that HDF5 holds in an attribute
OPERATORS = {"add": "Add", "sub": "Subtract", "mul": "Multiply"}
MERGES = {"concat": "Concatenate", "sum": "Add", "mean": "Average", "mul": "Multiply", "max": "Maximum"}


def to_keras(
    model: nn.Module, path: str | os.PathLike[str], *, input_shape: tuple[int | None, ...] | None = None
) -> None:
    """Write a ``Sequential`` or an ``nn.Graph`` as Keras 3 loads it, to predict the same there.

    ``path`` says how: ``.keras``, ``.h5`` (a whole model in HDF5, as Keras 2 had them), or ``.weights.h5`` (weights alone, for
    ``load_weights`` of a model of the same layers). ``input_shape``, without the batch, is needed of a Sequential, but for
    weights alone. Layers with their channels first stay so (``data_format="channels_first"``); those in an
    ``nn.ChannelsLast`` have them last. Parameters are written as float32. Errors: NotSupportedError, naming all layers that
    Keras has not or that are not written; ArgumentError; FileWriteError; MissingDependencyError without h5py.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     cr.interop.to_keras(nn.Sequential(nn.Linear(4, 3), nn.ReLU()), f"{folder}/m.keras", input_shape=(4,))
    ...     cr.interop.from_keras(f"{folder}/m.keras")
    Sequential(
      (dense): Linear(in_features=4, out_features=3)
      (activation): ReLU()
    )
    """
    where, name = f"[to_keras] {path}", Path(path).name
    if not name.endswith((".keras", ".h5")):
        raise ArgumentError(f"{where}: the name should end in .keras, .h5 or .weights.h5")
    alone = name.endswith(".weights.h5")
    try:
        import h5py
    except ImportError as error:
        raise MissingDependencyError(f"{where}: writing HDF5 needs h5py: pip install 'chainrule[h5]'") from error
    writer = Writer(where)
    config = writer.model(model, () if alone and input_shape is None else input_shape)
    if writer.refused:
        lines = "\n  ".join(writer.refused)
        raise NotSupportedError(f"{where}: {len(writer.refused)} layers cannot be written:\n  {lines}")
    file = BytesIO()
    with h5py.File(file, "w") as root:
        if name.endswith(".keras") or alone:
            numbered_weights(root, writer.layers)
        else:
            root.attrs["model_config"] = json.dumps(config)
            root.attrs["keras_version"], root.attrs["backend"] = VERSION, "numpy"
            named_weights(root.create_group("model_weights"), writer.layers)
    if name.endswith(".keras"):
        texts = {"metadata.json": {"keras_version": VERSION}, "config.json": config}
        members = [(name, [json.dumps(said).encode()]) for name, said in texts.items()]
        write_zip(path, [*members, ("model.weights.h5", [file.getbuffer()])])
    else:
        with atomic_write(path) as target:
            target.write(file.getbuffer())


def numbered_weights(root: Any, layers: list[tuple[str, Written]]) -> None:
    """Weights as Keras 3 has them: layers by class and number, arrays by number."""
    root.create_group("vars")
    used: dict[str, int] = {}
    for name, layer in layers:
        kind = snake(layer.kind)
        number = used.get(kind, 0)
        used[kind] = number + 1
        group = root.create_group(f"layers/{kind}_{number}" if number else f"layers/{kind}")
        group.require_group("vars").attrs["name"] = name
        for place, weight in layer.arrays.items():
            group[place] = weight.values


def named_weights(group: Any, layers: list[tuple[str, Written]]) -> None:
    """Weights as Keras 1 and 2 had them: a group for each layer, which says where in it the arrays are."""
    texts_into(group, "layer_names", [name for name, _ in layers])
    group.attrs["keras_version"], group.attrs["backend"] = VERSION, "numpy"
    for name, layer in layers:
        inner = group.create_group(name)
        found = {f"{name}/{place.rpartition('vars/')[0]}{w.name}": w.values for place, w in layer.arrays.items()}
        texts_into(inner, "weight_names", [*found])
        for place, values in found.items():
            inner[place] = values


def texts_into(group: Any, name: str, texts: list[str]) -> None:
    """An attribute of texts, in several where they are too long for one: NAME0, NAME1, ..."""
    array = np.array([text.encode() for text in texts], "S") if texts else np.array([], "S1")
    parts = -(-array.nbytes // MOST_ATTRIBUTE)
    if parts <= 1:
        group.attrs[name] = array
    else:
        for i, part in enumerate(np.array_split(array, parts + 1)):
            group.attrs[f"{name}{i}"] = part


class Writer:
    """Gathers the layers of a model, and the reasons why some cannot be written."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.refused: list[str] = []
        self.layers: list[tuple[str, Written]] = []
        self.names: set[str] = set()

    def model(self, model: nn.Module, input_shape: tuple[int | None, ...] | None) -> dict[str, Any]:
        """The config of a model."""
        if isinstance(model, nn.Graph):
            config, kind = self._graph(model), "Functional"
        elif isinstance(model, nn.Sequential):
            if input_shape is None:
                raise ArgumentError(f"{self.where}: give input_shape, the shape of a sample")
            start = input_layer("input", input_shape, model.input_dtype())
            entries = [start, *(entry(layer, name) for name, layer in self._parts(model, ""))]
            config, kind = (
                {"name": "sequential", "layers": entries, "build_input_shape": [None, *input_shape]},
                "Sequential",
            )
        else:
            raise ArgumentError(
                f"{self.where}: the model is a {type(model).__name__}, expected a Sequential or a Graph"
            )
        module = "keras" if kind == "Sequential" else "keras.src.models.functional"
        return {"module": module, "class_name": kind, "config": config, "registered_name": kind}

    def _parts(self, module: nn.Module, path: str) -> list[tuple[str, Written]]:
        """The layers of a module, with names."""
        if isinstance(module, nn.Sequential):
            found = [self._parts(inner, f"{path}_{name}" if path else name) for name, inner in module.named_children()]
            return [part for parts in found for part in parts]
        try:
            made = [*written(module)]
        except Refusal as refusal:
            self.refused.append(f"{path}: {refusal}")
            return []
        return [(self._kept(path, layer), layer) for layer in made]

    def _kept(self, path: str, layer: Written) -> str:
        """Keep a layer under a name that none has."""
        name = snake(layer.kind) if path.isdigit() or not path else path
        number = 0
        while (name if not number else f"{name}_{number}") in self.names:
            number += 1
        name = f"{name}_{number}" if number else name
        self.names.add(name)
        self.layers.append((name, layer))
        return name

    def _graph(self, model: nn.Graph) -> dict[str, Any]:
        """The config of a Graph: each step is a call, or several."""
        self.names |= {*model.input_names}
        entries: dict[str, dict[str, Any]] = {}
        values: dict[str, list[Any]] = {}
        for name, shape, dtype in zip(model.input_names, model.input_shapes, model.input_dtypes, strict=True):
            entries[name] = {**input_layer(name, shape[1:], dtype), "name": name, "inbound_nodes": []}
            values[name] = [name, 0, 0]
        made: dict[str, list[tuple[str, Written]]] = {}

        def call(name: str, layer: Written, args: list[Any], named: Mapping[str, Any]) -> list[Any]:
            known = entries.setdefault(name, {**entry(layer, name), "name": name, "inbound_nodes": []})
            known["inbound_nodes"].append({"args": args, "kwargs": dict(named)})
            return [name, len(known["inbound_nodes"]) - 1, 0]

        for step in model._steps:
            args = [tensor(values[a]) if type(a) is Ref and a in values else a for a in step.arguments]
            named: dict[str, Any] = {}
            try:
                if step.operator is not None:
                    layer, args = self._operator(step.operator, args)
                    parts = [(self._kept(step.name, layer), layer)]
                else:
                    parts, args, named = self._step(model, step, made, args)
            except Refusal as refusal:
                self.refused.append(f"{step.name}: {refusal}")
                parts = []
            last = next((values[a] for a in references(step.arguments) if a in values), None)
            for i, (name, layer) in enumerate(parts):
                last = call(name, layer, args if not i else [tensor(last or [])], named if not i else {})
            if last is not None:
                values[step.name] = last
        outputs = [values[str(value)] for value in model._outputs.values() if value in values]
        if not self.refused:
            order = {name: i for i, name in enumerate(sorted_as_keras(entries, outputs))}
            self.layers.sort(key=lambda layer: order[layer[0]])
            entries = {name: entries[name] for name in order}
        return {
            "name": "functional",
            "layers": [*entries.values()],
            "input_layers": [[name, 0, 0] for name in model.input_names],
            "output_layers": outputs if len(outputs) > 1 else (outputs or [[]])[0],
        }

    def _step(
        self, model: nn.Graph, step: Any, made: dict[str, list[tuple[str, Written]]], args: list[Any]
    ) -> tuple[list[tuple[str, Written]], list[Any], dict[str, Any]]:
        """The layers of a call, their arguments, and those by name."""
        module = model[step.layer]
        if isinstance(module, nn.Merge):
            config = {"axis": module.axis} if module.merge == "concat" else {}
            layer = Written(MERGES[module.merge], config, {})
            return [(self._kept(step.name, layer), layer)], [args], {}
        if step.layer not in made:
            made[step.layer] = self._parts(module, step.layer)
        if isinstance(module, nn.MultiHeadAttention):
            query, key, value = [*args, *[args[-1]] * (3 - len(args))]
            named = {"use_causal_mask": True} if step.named.get("is_causal") else {}
            if {*step.named} - {"is_causal"}:
                raise Refusal(f"MultiHeadAttention: called with {', '.join(step.named)} is not written")
            return made[step.layer], [query, value, key], named
        if getattr(module, "return_state", False) or len(args) != 1 or step.named:
            raise Refusal(
                f"{type(module).__name__}: called with several values or by name, or returning states, is not written"
            )
        return made[step.layer], args, {}

    @staticmethod
    def _operator(name: str, args: list[Any]) -> tuple[Written, list[Any]]:
        """An operator as a layer of Keras, with its arguments."""
        numbers = [a for a in args if isinstance(a, (int, float))]
        if name == "neg":
            return Written("Rescaling", {"scale": -1.0, "offset": 0.0}, {}), args
        if name in OPERATORS and not numbers and all(isinstance(a, dict) for a in args):
            return Written(OPERATORS[name], {}, {}), [args]
        if name in (*OPERATORS, "truediv") and len(numbers) == 1 and isinstance(args[0], dict):
            n = float(numbers[0])
            scale, offset = {"add": (1.0, n), "sub": (1.0, -n), "mul": (n, 0.0), "truediv": (1 / n, 0.0)}[name]
            return Written("Rescaling", {"scale": scale, "offset": offset}, {}), args[:1]
        raise Refusal(f"the operator {name} of such values is not written")


def sorted_as_keras(entries: Mapping[str, Any], outputs: list[Any]) -> list[str]:
    """Layers as Keras orders them, by which files number those of a class: the farthest from the outputs first.

    Layers that are as far come in the order in which a walk from the outputs meets them.
    """
    met: dict[str, None] = {}
    done: dict[tuple[str, int], list[tuple[str, int]]] = {}  # a call, after those that it needs: these
    waiting = [(name, number) for name, number, _ in reversed(outputs)]
    while waiting:
        place = waiting[-1]
        met.setdefault(place[0])
        calls = entries[place[0]]["inbound_nodes"]
        needs = [*histories(calls[place[1]])] if calls else []
        missing = next((n for n in needs if n not in done), None)
        if missing is None:
            done.setdefault(place, needs)
            waiting.pop()
        else:
            waiting.append(missing)
    depths: dict[tuple[str, int], int] = {}
    layers: dict[str, int] = {}
    for place, needs in reversed(done.items()):
        depth = layers[place[0]] = max(depths.get(place, 0), layers.get(place[0], 0))
        for need in needs:
            depths[need] = max(depth + 1, depths.get(need, 0))
    order = {name: i for i, name in enumerate(met)}
    return sorted(layers, key=lambda name: (-layers[name], order[name]))


def histories(value: Any) -> Iterator[tuple[str, int]]:
    """The calls whose values are among arguments."""
    if isinstance(value, dict):
        if value.get("class_name") == "__keras_tensor__":
            yield value["config"]["keras_history"][0], value["config"]["keras_history"][1]
            return
        value = [*value.values()]
    if isinstance(value, list):
        for v in value:
            yield from histories(v)


def tensor(history: list[Any]) -> dict[str, Any]:
    """A value as Keras writes it among arguments."""
    config = {"shape": [None], "dtype": "float32", "keras_history": history}
    return {"class_name": "__keras_tensor__", "config": config}


def input_layer(name: str, shape: tuple[int | None, ...], dtype: str) -> dict[str, Any]:
    """The entry of an input."""
    layer = entry(Written("InputLayer", {}, {}), name)
    layer["config"] |= {"batch_shape": [None, *shape], "dtype": str(dtype), "sparse": False}
    return layer
