"""Models of Keras from their configs, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .. import nn
from ..domain.errors import ChainruleError, FileFormatError, NotSupportedError
from .keras_hdf5 import Stored
from .keras_layers import made, rank_after
from .keras_layouts import layout, taken
from .keras_spec import Parts, Refusal, Spec

MOST_DEEP = 40  # models inside models
MOST_LAYERS = 100_000


class Reader:
    """Makes modules of configs, and gathers their state and the reasons why layers cannot be converted."""

    def __init__(self, version: int, where: str, functional: Callable[..., Any]) -> None:
        self.version, self.where, self.functional = version, where, functional
        self.refused: list[str] = []
        self.layers_seen = 0
        self.ranks: dict[nn.Module, int | None] = {}  # how many axes the result of a model has

    def wrong(self, what: str) -> FileFormatError:
        """The error for a config that says nonsense."""
        return FileFormatError(f"{self.where}: {what}")

    def finished(self) -> None:
        """Raise NotSupportedError if there were layers that cannot be converted, naming all of them."""
        if self.refused:
            lines = "\n  ".join(self.refused[:100])
            raise NotSupportedError(f"{self.where} has {len(self.refused)} layers that cannot be converted:\n  {lines}")

    def layer(self, spec: Spec, depth: int) -> tuple[Parts, dict[str, Any]]:
        """The modules of a layer, and the state of the one named ""."""
        self.layers_seen += 1
        if self.layers_seen > MOST_LAYERS or depth > MOST_DEEP:
            raise self.wrong("has too many layers, or models too deep inside one another")
        try:
            if spec.is_model:
                module, state = self.model(spec, depth + 1)
                return [("", module)], state
            if spec.kind == "TimeDistributed":
                return self._each_step(spec, depth)
            parts = made(spec)
            module = dict(parts)[""]
            options = {key: spec.flag(key, True) for key in ("scale", "center") if "Normalization" in spec.kind}
            options = {} if spec.kind == "Normalization" else options
            entries = layout(module, {**options, "rank": spec.rank or 2})
            state = taken(entries, spec.arrays() if entries else [], spec.known, self.where)
            freeze(module, state, options, spec.get("trainable", True) is not False)
            return parts, state
        except Refusal as refusal:
            self.refused.append(str(refusal))
        except FileFormatError:
            raise
        except ChainruleError as error:  # what a layer of ours says of its arguments
            self.refused.append(f"{spec.known}: {error}")
        return [("", nn.Identity())], {}

    def _each_step(self, spec: Spec, depth: int) -> tuple[Parts, dict[str, Any]]:
        rank = None if spec.rank is None else spec.rank - 1
        inner = Spec(spec.get("layer"), spec.stored.inner(), rank, self.version, self.where)
        parts, state = self.layer(inner, depth + 1)
        module, prefix = joined(parts)
        return [("", nn.TimeDistributed(module))], {f"layer.{prefix}{name}": value for name, value in state.items()}

    def model(self, spec: Spec, depth: int) -> tuple[nn.Module, dict[str, Any]]:
        """A model and its state."""
        written = spec.entry["config"]
        layers = written if isinstance(written, list) else written.get("layers")
        if not isinstance(layers, list):
            raise self.wrong(f"{spec.known} has no list of layers")
        for entry in layers:
            if not isinstance(entry, Mapping) or not isinstance(entry.get("config"), (Mapping, list)):
                raise self.wrong(f"{str(entry)[:100]!r} among the layers of {spec.known} describes none")
        named = [(name_of(entry), str(entry.get("class_name"))) for entry in layers]
        stored = spec.stored.layers(named)
        if isinstance(written, list) or "input_layers" not in written:
            return self._sequential(spec, layers, stored, depth)
        found = {name: (entry, part) for (name, _), entry, part in zip(named, layers, stored, strict=True)}
        if len(found) < len(layers):
            raise self.wrong(f"{spec.known} has two layers of one name")
        graph: tuple[nn.Module, dict[str, Any]] = self.functional(self, spec, found, depth).graph()
        return graph

    def rank_of(self, spec: Spec, rank: int | None, parts: Parts) -> int | None:
        """How many axes a layer's result has, of an input with ``rank``."""
        if spec.kind == "TimeDistributed":
            inner = Spec(spec.get("layer"), spec.stored, None if rank is None else rank - 1, self.version, self.where)
            found = self.rank_of(inner, inner.rank, [("", next(parts[0][1].children(), parts[0][1]))])
            return None if found is None else found + 1
        return self.ranks.get(parts[0][1]) if spec.is_model else rank_after(spec, rank)

    def _sequential(
        self, spec: Spec, layers: Sequence[Any], stored: Sequence[Stored], depth: int
    ) -> tuple[nn.Module, dict[str, Any]]:
        shape = spec.config.get("build_input_shape")
        rank = len(shape) if isinstance(shape, list) else spec.rank
        modules: dict[str, nn.Module] = {}
        state: dict[str, Any] = {}
        for entry, part in zip(layers, stored, strict=True):
            one = Spec(entry, part, rank, self.version, self.where)
            rank = one.rank
            if one.kind == "InputLayer":
                continue
            parts, values = self.layer(one, depth)
            for suffix, module in parts:
                name = free(f"{one.name}_{suffix}" if suffix else one.name, modules)
                modules[name] = module
                if not suffix:
                    state |= {f"{name}.{key}": value for key, value in values.items()}
            rank = self.rank_of(one, rank, parts)
        model = nn.Sequential(modules)
        self.ranks[model] = rank
        return model, state


def joined(parts: Parts) -> tuple[nn.Module, str]:
    """The modules of a layer as one, and where its state is in it."""
    if len(parts) == 1:
        return parts[0][1], ""
    return nn.Sequential({suffix or "layer": module for suffix, module in parts}), "layer."


def name_of(entry: Mapping[str, Any]) -> str:
    """The name of a layer."""
    config = entry.get("config")
    name = entry.get("name") or (config.get("name") if isinstance(config, Mapping) else None)
    return name if isinstance(name, str) else str(entry.get("class_name")).lower()


def free(name: str, taken_: Mapping[str, Any]) -> str:
    """A name that a module can have and none has."""
    name = name.replace(".", "_") or "_"
    while name in taken_:
        name += "_"
    return name


def freeze(module: nn.Module, state: dict[str, Any], options: Mapping[str, bool], trainable: bool) -> None:
    """Keep what Keras does not train as it is."""
    if not trainable:
        module.requires_grad_(False)
    for key, ours in (("scale", "weight"), ("center", "bias")):
        if options.get(key) is False:
            for name, parameter in module.named_parameters():
                if name.rsplit(".", 1)[-1] == ours:
                    parameter.requires_grad = False
