"""Functional models of Keras as ``nn.Graph``, and models inside models."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce
from typing import Any, NamedTuple

from .. import nn
from ..domain.errors import ChainruleError
from .keras_hdf5 import Stored
from .keras_models import Reader, free
from .keras_spec import Parts, Refusal, Spec

OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "Add": operator.add,
    "Subtract": operator.sub,
    "Multiply": operator.mul,
    "TrueDivide": operator.truediv,
    "Divide": operator.truediv,
    "Matmul": operator.matmul,
}
MERGES = ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate", "Dot")
RECURRENT = ("LSTM", "GRU", "SimpleRNN")


class Link(NamedTuple):
    """A value of another layer: its name, which call of it, which of its results."""

    layer: str
    call: int
    which: int


class Value(NamedTuple):
    """A node of ours and how many axes it has."""

    node: Any
    rank: int | None


def links(value: Any) -> Iterator[Link]:
    """The values of other layers in an argument."""
    if isinstance(value, Link):
        yield value
    elif isinstance(value, list):
        for v in value:
            yield from links(v)
    elif isinstance(value, Mapping):
        for v in value.values():
            yield from links(v)


class Functional:
    """A functional model on its way to a Graph."""

    def __init__(self, reader: Reader, spec: Spec, layers: Mapping[str, tuple[Any, Stored]], depth: int) -> None:
        self.reader, self.spec, self.layers, self.depth = reader, spec, layers, depth
        self.made: dict[str, tuple[Spec, Parts, str]] = {}  # and the name of the module that has the weights
        self.state: dict[str, Any] = {}
        self.values: dict[tuple[str, int], Any] = {}
        self.names: dict[str, None] = dict.fromkeys(name.replace(".", "_") for name in layers)
        self.shapes: dict[str, tuple[int | None, ...]] = {}

    def graph(self) -> tuple[nn.Module, dict[str, Any]]:
        """The model and its state."""
        ends = [self._link(end) for end in self._ends("output_layers")]
        starts = [self._link(end) for end in self._ends("input_layers")]
        self._order([*starts, *ends])
        inputs = [self.value(link).node for link in starts]
        found = [self.value(link) for link in ends]
        names: dict[str, Any] = {}
        for link, value in zip(ends, found, strict=True):
            names[free(link.layer, names)] = value.node
        if self.reader.refused:
            return nn.Identity(), {}
        try:
            graph = nn.Graph(inputs, names)
        except ChainruleError as error:
            raise self.reader.wrong(f"{self.spec.known} is no model: {error}") from error
        dtypes = dict(zip(graph.input_names, graph.input_dtypes, strict=True))
        graph._inputs = {name: (self.shapes[name], dtypes[name]) for name in graph.input_names}
        self.reader.ranks[graph] = found[0].rank if len(found) == 1 else None
        return graph, self.state

    def _ends(self, key: str) -> list[Any]:
        """The inputs or outputs, however they are nested."""
        given = self.spec.config.get(key)
        waiting, found = [given], list[Any]()
        while waiting:
            one = waiting.pop(0)
            if isinstance(one, list) and len(one) == 3 and isinstance(one[0], str):
                found.append(one)
            elif isinstance(one, Mapping):
                waiting = [*one.values(), *waiting]
            elif isinstance(one, list):
                waiting = [*one, *waiting]
            else:
                raise self.reader.wrong(f"{key} of {self.spec.known} has {str(one)[:60]!r}")
        if not found:
            raise self.reader.wrong(f"{self.spec.known} has no {key}")
        return found

    def _link(self, given: Any) -> Link:
        """A value of another layer. Errors: FileFormatError if there is no such layer or call."""
        if (
            not isinstance(given, list)
            or len(given) < 3
            or not isinstance(given[0], str)
            or any(type(n) is not int or n < 0 for n in given[1:3])
        ):
            raise self.reader.wrong(f"{str(given)[:80]!r} in {self.spec.known} is no value of a layer")
        link = Link(*given[:3])
        if link.layer not in self.layers or link.call >= max(len(self._calls(link.layer)), 1):
            raise self.reader.wrong(f"{self.spec.known} needs call {link.call} of {link.layer!r}, which there is not")
        return link

    def _calls(self, name: str) -> list[Any]:
        calls = self.layers[name][0].get("inbound_nodes") or []
        if not isinstance(calls, list):
            raise self.reader.wrong(f"inbound_nodes of {name!r} are {str(calls)[:60]!r}")
        return calls

    def _call(self, name: str, number: int) -> tuple[list[Any], dict[str, Any]]:
        """What a layer is called with: arguments in which links stand."""
        calls = self._calls(name)
        if not calls:
            return [], {}
        call = calls[number]
        if isinstance(call, Mapping):
            args, named = call.get("args", []), call.get("kwargs", {})
            if not isinstance(args, list) or not isinstance(named, Mapping):
                raise self.reader.wrong(f"the calls of {name!r} make no sense")
            return [self._argument(a) for a in args], {k: self._argument(v) for k, v in named.items() if k != "mask"}
        if not isinstance(call, list) or not call:
            raise self.reader.wrong(f"the calls of {name!r} make no sense")
        given = [call] if isinstance(call[0], str) else call
        found = [self._link(one) for one in given]
        options = given[0][3] if len(given[0]) > 3 and isinstance(given[0][3], Mapping) else {}
        named = {k: self._older(v) for k, v in options.items() if k != "mask"}
        return [found[0] if len(found) == 1 else found], named

    def _argument(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            if value.get("class_name") == "__keras_tensor__":
                config = value.get("config")
                return self._link(config.get("keras_history") if isinstance(config, Mapping) else None)
            return {k: self._argument(v) for k, v in value.items()}
        return [self._argument(v) for v in value] if isinstance(value, list) else value

    def _older(self, value: Any) -> Any:
        if isinstance(value, list):
            whole = len(value) in (3, 4) and isinstance(value[0], str) and type(value[1]) is type(value[2]) is int
            return self._link(value) if whole and value[0] in self.layers else [self._older(v) for v in value]
        return value

    def _order(self, ends: Sequence[Link]) -> None:
        """Make the values that the ends need, each after what it needs."""
        waiting = [(link.layer, link.call) for link in reversed(ends)]
        begun: set[tuple[str, int]] = set()
        while waiting:
            place = waiting[-1]
            if place in self.values:
                waiting.pop()
                continue
            args, named = self._call(*place)
            missing = [(k.layer, k.call) for k in links([args, named]) if (k.layer, k.call) not in self.values]
            if not missing:
                self.values[place] = self._evaluated(place[0], args, named)
                waiting.pop()
            elif place in begun:
                raise self.reader.wrong(f"the layers of {self.spec.known} go in a circle, through {place[0]!r}")
            else:
                begun.add(place)
                waiting += missing

    def value(self, link: Link) -> Value:
        """The value of a link: of a layer that gives several, one of them."""
        node, rank = self.values[link.layer, link.call]
        spec, parts, _ = self.made[link.layer]
        states = 2 if "LSTM" in (spec.kind, *(self._wrapped(spec))) else 1
        if spec.kind in RECURRENT and spec.get("return_state"):
            if link.which > states:
                raise self.reader.wrong(f"{spec.known} has no result {link.which}")
            if link.which == 0:
                return Value(node[0], rank)
            state = node[1]
            return Value(state[link.which - 1][0] if states == 2 else state[0], 2)
        if isinstance(parts[0][1], nn.Bidirectional) and parts[0][1].return_state:
            if link.which == 0:
                return Value(node[0], rank)
            way, which = divmod(link.which - 1, states)
            if way > 1:
                raise self.reader.wrong(f"{spec.known} has no result {link.which}")
            state = node[1][way]
            return Value(state[which][0] if states == 2 else state[0], 2)
        module = parts[0][1]
        if isinstance(module, nn.Graph) and len(module.output_names) > 1:
            if link.which >= len(module.output_names):
                raise self.reader.wrong(f"{spec.known} has no result {link.which}")
            return Value(node[link.which], None)
        if link.which and not self.reader.refused:
            raise self.reader.wrong(f"{spec.known} has no result {link.which}")
        return Value(node, rank)

    @staticmethod
    def _wrapped(spec: Spec) -> list[str]:
        inner = spec.config.get("layer")
        return [str(inner.get("class_name"))] if isinstance(inner, Mapping) else []

    def _evaluated(self, name: str, args: list[Any], named: dict[str, Any]) -> Value:
        """What a layer makes of its arguments."""
        given = [self.value(link) for link in links([args, named])]
        rank = max((v.rank for v in given if v.rank is not None), default=None)
        if name not in self.made:
            entry, stored = self.layers[name]
            first = given[0].rank if given else None
            spec = Spec(entry, stored, first, self.reader.version, self.reader.where)
            self.made[name] = spec, [("", nn.Identity())], name
            if spec.kind == "InputLayer":
                return self._input(spec)
            if self._operation(spec) is None and spec.kind not in MERGES:
                parts, state = self.reader.layer(spec, self.depth)
                own = name.replace(".", "_")
                self.made[name] = spec, parts, own
                self.state |= {f"{own}.{key}": value for key, value in state.items()}
        spec, parts, own = self.made[name]
        try:
            operation = self._operation(spec)
            if operation is None and spec.kind in OPERATORS and len(args) > 1:  # HDF5 does not say whose class it is
                operation = spec.kind
            if operation is not None or spec.kind in MERGES:
                return Value(self._merged(spec, operation, args, named), rank)
            if not given:
                raise self.reader.wrong(f"{spec.known} is called with nothing")
            node = self._called(spec, parts, own, args, named)
        except Refusal as refusal:
            self.reader.refused.append(str(refusal))
            return given[0] if given else Value(nn.Input((None,)), None)
        return Value(node, self.reader.rank_of(spec, given[0].rank, parts))

    def _input(self, spec: Spec) -> Value:
        shape = spec.config.get("batch_shape", spec.config.get("batch_input_shape"))
        if not isinstance(shape, list) or any(n is not None and (type(n) is not int or n < 0) for n in shape):
            raise self.reader.wrong(f"{spec.known} has the shape {str(shape)[:60]!r}")
        own = spec.name.replace(".", "_")
        self.shapes[own] = tuple(shape[1:])
        dtype = spec.config.get("dtype", "float32")
        dtype = dtype.get("config", {}).get("name") if isinstance(dtype, Mapping) else dtype
        if self._of_words(spec.name):
            dtype = "int64"
        try:
            node = nn.Input((None,) * len(self.shapes[own]), own, str(dtype))
        except ChainruleError as error:
            raise self.reader.wrong(f"{spec.known} has the dtype {str(dtype)[:60]!r}") from error
        return Value(node, len(shape))

    def _of_words(self, name: str) -> bool:
        """Whether an input goes into an Embedding: it is of integers then, whatever Keras says."""
        for other, (entry, _) in self.layers.items():
            if entry.get("class_name") == "Embedding" and self._calls(other):
                args, _ = self._call(other, 0)
                return any(link.layer == name for link in links(args))
        return False

    @staticmethod
    def _operation(spec: Spec) -> str | None:
        """The name of an operator of Keras 3 that is no layer, as of a + b."""
        module = str(spec.entry.get("module", ""))
        return spec.kind if module.startswith("keras.src.ops") or module == "keras.ops" else None

    def _merged(self, spec: Spec, operation: str | None, args: list[Any], named: dict[str, Any]) -> Any:
        """What operators make of several values."""
        if operation is not None:
            two = [self.value(a).node if isinstance(a, Link) else a for a in [*args, *named.values()]]
            if operation not in OPERATORS or len(two) != 2:
                raise spec.refuse("is not supported")
            if any(isinstance(v, bool) or not isinstance(v, (int, float, type(nn.Input(())))) for v in two):
                raise spec.refuse("is supported for values of layers and numbers only")
            return OPERATORS[operation](*two)
        found = [self.value(link) for link in links(args)]
        nodes, rank = [v.node for v in found], found[0].rank if found else None
        if not nodes or (len(nodes) != 2 and spec.kind in ("Subtract", "Dot")):
            raise self.reader.wrong(f"{spec.known} is called with {len(nodes)} values")
        if spec.kind in ("Add", "Average", "Multiply"):
            total = reduce(operator.mul if spec.kind == "Multiply" else operator.add, nodes)
            return total * (1 / len(nodes)) if spec.kind == "Average" else total
        if spec.kind == "Subtract":
            return nodes[0] - nodes[1]
        if spec.kind in ("Maximum", "Minimum"):
            sign = [-n for n in nodes] if spec.kind == "Minimum" else nodes
            merged = nn.Merge("max")(*sign)
            return -merged if spec.kind == "Minimum" else merged
        if spec.kind == "Concatenate":
            axis = spec.get("axis", -1)
            if type(axis) is not int:
                raise spec.refuse(f"axis {str(axis)[:40]!r} is not supported")
            return nn.Merge("concat", axis)(*nodes)
        axes = spec.get("axes")
        both = [*axes] if isinstance(axes, list) and len(axes) == 2 else [axes, axes]
        if any(type(a) is not int for a in both) or rank is None:
            raise spec.refuse(f"axes {str(axes)[:40]!r} are not supported")
        both = [a if a >= 0 else (v.rank or 0) + a for a, v in zip(both, found, strict=True)]
        return nn.Dot(both, spec.flag("normalize", False))(*nodes)

    def _called(self, spec: Spec, parts: Parts, own: str, args: list[Any], named: dict[str, Any]) -> Any:
        """The node of a layer, and of what comes with it."""
        inputs = [self.value(link).node for link in links(args)]
        options: dict[str, Any] = {}
        module = dict(parts)[""]
        if isinstance(module, nn.MultiHeadAttention):
            by = {**dict(zip(("query", "value", "key"), inputs, strict=False))}
            by |= {key: self.value(v).node for key, v in named.items() if key in ("query", "value", "key") and v}
            if isinstance(named.get("attention_mask"), Link) or len(inputs) > 3:
                raise spec.refuse("attention_mask is not supported")
            if named.get("return_attention_scores"):
                raise spec.refuse("return_attention_scores is not supported")
            if len(by) < 2:
                raise self.reader.wrong(f"{spec.known} is called without a value")
            options = {"is_causal": True} if named.get("use_causal_mask") else {}
            inputs = [by["query"], by.get("key", by["value"]), by["value"]]
        elif spec.kind in RECURRENT:
            state = inputs[1:] or [self.value(k).node for k in links(named.get("initial_state"))]
            if state:
                if len(state) != (2 if spec.kind == "LSTM" else 1):
                    raise self.reader.wrong(f"{spec.known} is given {len(state)} states")
                inputs = [inputs[0], tuple(state) if len(state) > 1 else state[0]]
        elif not spec.is_model and (len(inputs) != 1 or any(True for _ in links([*named.values()]))):
            raise spec.refuse(f"called with {len(inputs)} values is not supported")
        elif spec.is_model and any(True for _ in links([*named.values()])):
            raise spec.refuse("called with named values is not supported")
        node: Any = None
        for suffix, part in parts:
            label = own if not suffix else self._extra(f"{own}_{suffix}", part)
            if node is None:
                given = inputs if not suffix or len(inputs) == 1 else inputs[:1]
                rest = inputs[1:] if suffix else []
                node = part(*given, name=label, **(options if not suffix else {}))
            else:
                node = part(node, *(rest if not suffix else []), name=label)
        return node

    def _extra(self, name: str, part: nn.Module) -> str:
        """A name for a module that Keras has inside a layer."""
        known: dict[int, str] = self.__dict__.setdefault("extras", {})
        if id(part) not in known:
            known[id(part)] = free(name, self.names)
            self.names[known[id(part)]] = None
        return known[id(part)]
