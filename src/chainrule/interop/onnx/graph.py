"""A graph of ONNX operators as a module: every node a module inside it, with the weights that are its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

from ...creation import zeros
from ...domain.dtype import dtype as named_dtype
from ...domain.errors import ArgumentError, ArgumentTypeError, ChainruleError, DTypeError
from ...nn import LazyTensor, Module, Parameter, register
from ...nn.registry import decode, encode
from ...tensor import Tensor
from .operators import operators

Values = dict[str, Any]


class Held:
    """The tensors that a node or a graph has: by the name of the value in the graph, each under a name of its own."""

    def __init__(self, described: Mapping[str, Mapping[str, Any]]) -> None:
        self.values: dict[str, LazyTensor] = {}
        self.names: dict[str, str] = {}
        self.dtypes = {value: str(text["dtype"]) for value, text in described.items()}  # whatever ``to`` makes of them
        for value, text in described.items():
            kind = Parameter if text["trained"] else LazyTensor
            self.names[value] = name = str(text["name"])
            shape = tuple(int(n) for n in text["shape"])
            self.values[value] = kind(shape=shape, init="zeros", dtype=text["dtype"], name=name)

    def describe(self) -> dict[str, Any]:
        """What ``Held`` is made of."""
        return {
            value: {
                "name": self.names[value], "shape": [*tensor.shape], "dtype": str(tensor.dtype),
                "trained": isinstance(tensor, Parameter),
            }
            for value, tensor in self.values.items()
        }  # fmt: skip

    @property
    def buffers(self) -> dict[str, bool]:
        """The names of those that are not trained."""
        return {self.names[value]: True for value, tensor in self.values.items() if not isinstance(tensor, Parameter)}


class Body:
    """A graph inside a node, as operators call it: it sees the values around it."""

    def __init__(self, graph: OnnxGraph, around: Values) -> None:
        self.graph, self.around = graph, around

    def __call__(self, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return self.graph.run(inputs, self.around)

    def nothing(self, output: int) -> Any:
        """What an output is that was never made: no elements, in its dtype."""
        text = self.graph.config["outputs"][output]
        return zeros(0, *(n or 0 for n in text["shape"] or []), dtype=text["dtype"])


@register
class OnnxNode(Module):
    """One node: an operator of an opset, the names of its inputs ("" where one is left out) and outputs, its attributes.

    What it holds itself, under the names that the layers have where there are such (``weight``, ``bias``), is among
    its inputs and not given when it is called.
    """

    def __init__(
        self, op: str, opset: int, inputs: Any, outputs: Any, attributes: Mapping[str, Any], tensors: Mapping[str, Any]
    ) -> None:
        self.op, self.opset = str(op), int(opset)
        self.inputs, self.outputs = tuple(map(str, inputs)), tuple(map(str, outputs))
        self.attributes = dict(attributes)
        if self.op not in operators():
            raise ArgumentError(f"{self.op!r} is no operator that chainrule knows")
        self._operator = operators()[self.op]
        self._held = Held(tensors)
        self.__dict__["_buffers"] = self._held.buffers
        self.graphs = {key: value for key, value in self.attributes.items() if isinstance(value, OnnxGraph)}
        self.given = tuple(name for name in self.inputs if name and name not in self._held.values)
        around = {name for graph in self.graphs.values() for name in graph.free}
        self.needs = {*self.given, *around}
        self._named = {
            self._operator.attributes[key]: plain(value)
            for key, value in self.attributes.items()
            if key not in self.graphs
        }
        if self._operator.opset:
            self._named["opset"] = self.opset
        if self._operator.outputs:
            self._named["outputs"] = len(self.outputs)

    def members(self) -> Iterator[tuple[str, Any]]:
        """Its tensors, and the graphs inside it."""
        for value, tensor in self._held.values.items():
            yield self._held.names[value], tensor
        yield from self.graphs.items()

    def forward(self, *given: Any, around: Values | None = None) -> Any:
        """What the operator makes of the values that are given and those it holds; a tuple if that is several."""
        rest = iter(given)
        held = self._held.values
        inputs = [None if not name else held[name] if name in held else next(rest) for name in self.inputs]
        bodies = {key: Body(graph, around or {}) for key, graph in self.graphs.items()}
        try:
            return self._operator.function(*inputs, **self._named, **bodies)
        except (
            ArithmeticError,
            AttributeError,
            LookupError,
            MemoryError,
            RuntimeError,
            TypeError,
            ValueError,
        ) as error:
            if isinstance(error, ChainruleError):
                raise
            shapes = ", ".join("None" if x is None else str(getattr(x, "shape", "a list")) for x in inputs)
            raise ArgumentError(f"[{self.op}] of inputs of shapes {shapes}: {error}") from error

    def get_config(self) -> dict[str, Any]:
        """What makes such a node."""
        return {
            "op": self.op, "opset": self.opset, "inputs": [*self.inputs], "outputs": [*self.outputs],
            "attributes": {key: encode(key, value) for key, value in self.attributes.items()},
            "tensors": self._held.describe(),
        }  # fmt: skip

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A node, its values all 0."""
        return cls(**{**config, "attributes": decode(dict(config["attributes"]))})

    def extra_repr(self) -> str:
        """The operator, its attributes, what it takes and gives."""
        shown = "".join(f", {k}={v}" for k, v in self.attributes.items() if k not in self.graphs)
        return f"{self.op}{shown}: {', '.join(self.inputs)} -> {', '.join(self.outputs)}"


def plain(value: Any) -> Any:
    """An attribute as operators take it."""
    if isinstance(value, Mapping) and "tensor" in value:
        text = value["tensor"]
        kind = named_dtype(text["dtype"])
        read = float if kind.is_floating else (lambda v: v == "True") if kind == "bool" else int
        return Tensor([read(v) for v in text["values"]], dtype=kind).reshape(*text["shape"])
    return value


def fetched(values: Values, names: Iterable[str]) -> list[Any]:
    """Values by name. Errors: ArgumentError for one that a node should have made: it has more outputs than its operator."""
    try:
        return [values[name] for name in names]
    except KeyError as error:
        raise ArgumentError(f"[onnx] the value {error.args[0]!r} was not made: a node has outputs too many") from error


@register
class OnnxGraph(Module):
    """A model that was read from an ONNX file: call it with its inputs in order, or a dict of them by name.

    It gives its output, or a tuple of several. Its nodes are modules: ``model["conv1"]``, ``model.nodes``. What was a
    floating initializer is a Parameter, as far as it is not a statistic or a size: the model can be trained, saved and
    loaded as any other. ``input_names``, ``input_shapes`` (None where open), ``input_dtypes`` and ``output_names`` say what
    goes in and comes out. ``interop.from_onnx`` makes it. Errors: ArgumentError for inputs that are missing or unknown.
    """

    def __init__(self, nodes: Mapping[str, OnnxNode], config: Mapping[str, Any]) -> None:
        self._arguments = (), {}
        self._nodes = dict(nodes)
        self.config = {key: [dict(text) for text in config[key]] for key in ("inputs", "outputs")}
        self._held = Held(config["tensors"])
        self.__dict__["_buffers"] = self._held.buffers
        last = {text["name"]: len(self._nodes) for text in self.config["outputs"]}
        known = {text["name"] for text in self.config["inputs"]} | {*self._held.values}
        self.free: set[str] = set()  # values that a graph around it has
        for node in self._nodes.values():
            if not isinstance(node, OnnxNode):
                raise ArgumentError(f"an OnnxGraph is made of OnnxNodes, not of {type(node).__name__}")
            self.free |= node.needs - known
            known |= {*node.outputs}
        self.free |= {*last} - known
        for i, node in reversed([*enumerate(self._nodes.values())]):
            for name in node.needs:
                last.setdefault(name, i)
        self._done: list[list[str]] = [[] for _ in self._nodes]
        for name, i in last.items():
            if i < len(self._done) and name not in self.free and name not in self._held.values:
                self._done[i].append(name)

    @property
    def nodes(self) -> dict[str, OnnxNode]:
        """The nodes by name, in the order in which they run."""
        return dict(self._nodes)

    def __getitem__(self, name: str) -> OnnxNode:
        if name not in self._nodes:
            raise ArgumentError(f"the graph has no node {name!r}; it has {', '.join(self._nodes)}")
        return self._nodes[name]

    @property
    def input_names(self) -> tuple[str, ...]:
        """The names of its inputs, in order."""
        return tuple(text["name"] for text in self.config["inputs"])

    @property
    def input_shapes(self) -> tuple[Any, ...]:
        """The shapes of its inputs, None where a size is open; None for one that says nothing."""
        return tuple(None if text["shape"] is None else tuple(text["shape"]) for text in self.config["inputs"])

    @property
    def input_dtypes(self) -> tuple[str, ...]:
        """The dtypes of its inputs."""
        return tuple(text["dtype"] for text in self.config["inputs"])

    @property
    def output_names(self) -> tuple[str, ...]:
        """The names of its outputs, in order."""
        return tuple(text["name"] for text in self.config["outputs"])

    def input_dtype(self, default: str = "float32") -> str:
        """The dtype of its first input: ``default``, unless that is one of integers."""
        first = self.input_dtypes[0]
        return default if named_dtype(first).is_floating else first

    def members(self) -> Iterator[tuple[str, Any]]:
        """Tensors that several nodes share, and the nodes."""
        for value, tensor in self._held.values.items():
            yield self._held.names[value], tensor
        yield from self._nodes.items()

    def forward(self, *inputs: Any) -> Any:
        """See the class."""
        names = self.input_names
        if len(inputs) == 1 and isinstance(inputs[0], Mapping):
            wrong = [name for name in inputs[0] if name not in names]
            if wrong or len(inputs[0]) != len(names):
                raise ArgumentError(f"[onnx] got the inputs {', '.join(inputs[0])}, expected {', '.join(names)}")
            inputs = tuple(inputs[0][name] for name in names)
        if len(inputs) != len(names):
            raise ArgumentError(f"[onnx] got {len(inputs)} inputs, expected {len(names)}: {', '.join(names)}")
        for x, text in zip(inputs, self.config["inputs"], strict=True):
            if isinstance(x, (list, type(None))):
                continue  # a sequence, or an optional input
            if not isinstance(x, Tensor):
                raise ArgumentTypeError(f"[onnx] the input {text['name']} is a {type(x).__name__}, expected a tensor")
            if x.is_floating != named_dtype(text["dtype"]).is_floating:
                raise DTypeError(f"[onnx] the input {text['name']} is of {x.dtype}, expected {text['dtype']}")
            if text["shape"] is not None and len(text["shape"]) != x.ndim:
                raise ArgumentError(
                    f"[onnx] the input {text['name']} has shape {x.shape}, expected {len(text['shape'])} axes: "
                    f"{tuple(text['shape'])}"
                )
        results = self.run(inputs, {})
        return results[0] if len(results) == 1 else results

    def run(self, inputs: tuple[Any, ...], around: Values) -> tuple[Any, ...]:
        """All outputs, of inputs in order and the values of the graph around it."""
        values: Values = {**around, **self._held.values, **dict(zip(self.input_names, inputs, strict=True))}
        for node, done in zip(self._nodes.values(), self._done, strict=True):
            given = fetched(values, node.given)
            y = node(*given, around=values) if node.graphs else node(*given)
            for name, value in zip(node.outputs, y if isinstance(y, tuple) else (y,), strict=False):
                if name:
                    values[name] = value
            for name in done:
                values.pop(name, None)
        return tuple(fetched(values, self.output_names))

    def get_config(self) -> dict[str, Any]:
        """Its inputs, its outputs, the tensors that nodes share; the nodes are its children."""
        return {**self.config, "tensors": self._held.describe()}

    @classmethod
    def from_children(cls, children: Mapping[str, Any], config: Mapping[str, Any]) -> Self:
        """A graph of named nodes, as files have it. Errors: ArgumentError for a config that describes none."""
        try:
            return cls(children, config)
        except (KeyError, TypeError, AttributeError) as error:
            raise ArgumentError(f"the description of an OnnxGraph is not complete: {error!r}") from error

    def extra_repr(self) -> str:
        """Its inputs and outputs."""
        starts = ", ".join(f"{name} {shape}" for name, shape in zip(self.input_names, self.input_shapes, strict=True))
        return f"{starts} -> {', '.join(self.output_names)}"
