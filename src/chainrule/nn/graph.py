"""Graph: a model of layers that are not one after the other: skip connections, several inputs, several outputs."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from ..domain.dtype import dtype as named_dtype
from ..domain.errors import ArgumentError, ArgumentTypeError, ChainruleError, ShapeError, unknown
from .containers import Container
from .masking import gives_mask, kept, through
from .module import Module
from .node import OPERATORS, Node, nodes
from .registry import register
from .sequential import suited


class Ref(str):
    """The name of an earlier value, among the arguments of a step."""


@dataclass
class Step:
    """One call of a layer, or one operator: ``name`` is that of its value."""

    name: str
    layer: str | None
    operator: str | None
    arguments: tuple[Any, ...]
    named: dict[str, Any]
    done: list[str] = field(default_factory=list)  # values that nothing after it needs

    def needs(self) -> Iterator[str]:
        """The values it is made of."""
        yield from references((self.arguments, tuple(self.named.values())))


@register
class Graph(Container):
    """A model from ``nn.Input`` to what layers and operators make of it: the functional way, as in Keras.

    ``inputs`` is a node, or a list or tuple of them; ``outputs`` too, or a dict of names and nodes. Call it with as many
    tensors as there are inputs, or a dict of them by name; it gives a tensor, or a tuple of several in order. A layer called
    twice shares its weights. Layers are named as ``layer(x, name="fc")`` says, or by their class and number: ``linear_1``;
    ``model["fc"]`` is the layer. Recurrent layers give their output, as in a Sequential, unless they ``return_state``.

    ``input_names``, ``input_shapes`` (with None for the batch), ``input_dtypes`` and ``output_names`` say what goes in and
    comes out. If no size is open the layers find theirs when the Graph is made. Masks go with their values, as in a
    Sequential. Errors: ArgumentError for an input that is missing or leads nowhere, ShapeError with the name of the layer.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> x = nn.Input((784,), name="pixels")
    >>> h = nn.ReLU()(nn.Linear(64)(x))
    >>> h = h + nn.Linear(64)(h)
    >>> model = nn.Graph(x, {"digit": nn.Linear(10)(h), "parity": nn.Linear(2)(h)})
    >>> digit, parity = model(cr.zeros(5, 784))
    >>> digit.shape, model.input_names, model.output_names
    ((5, 10), ('pixels',), ('digit', 'parity'))
    >>> model
    Graph(
      pixels (None, 784) -> digit, parity
      (linear_1): Linear(in_features=784, out_features=64)
      (relu_1): ReLU()
      (linear_2): Linear(in_features=64, out_features=64)
      (linear_3): Linear(in_features=64, out_features=10)
      (linear_4): Linear(in_features=64, out_features=2)
    )
    """

    def __init__(self, inputs: Any, outputs: Any) -> None:
        self._draw(inputs, outputs)
        if all(n is not None for shape, _ in self._inputs.values() for n in shape):
            self.build()

    def _draw(self, inputs: Any, outputs: Any) -> None:
        """Find the steps and the layers."""
        self._arguments = (), {}  # the layers are its children, its config is the rest
        starts = tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)
        if not starts or any(not isinstance(node, Node) or not node.is_input for node in starts):
            raise ArgumentTypeError(f"Graph: inputs are {inputs!r}, expected nn.Input(...), or a list of them")
        ends = outputs if isinstance(outputs, Mapping) else outputs if isinstance(outputs, (tuple, list)) else [outputs]
        found = [*ends.values()] if isinstance(ends, Mapping) else [*ends]
        if not found or any(not isinstance(node, Node) for node in found):
            raise ArgumentTypeError(
                f"Graph: outputs are {outputs!r}, expected what layers make of the inputs: a node, or a list or dict of them"
            )
        order = needed(found)
        for node in order:
            if node.is_input and node not in starts:
                raise ArgumentError(f"Graph: the outputs need {node!r}, which is not among the inputs: {[*starts]}")
        for i, node in enumerate(starts):
            if node not in order:
                raise ArgumentError(f"Graph: no output depends on {node!r}; leave it out")
            if node in starts[:i]:
                raise ArgumentError(f"Graph: {node!r} is twice among the inputs")
        names = Names([node.name for node in order])
        for node in starts:
            names.value(node, "input")
        steps = []
        self._layers = {}
        for node in order:
            if not node.is_input:
                steps.append(names.step(node, self._layers))
        given = [*ends] if isinstance(ends, Mapping) else None
        labels = given or Names([]).distinct([names.values[node] for node in found])
        self._plan(
            {names.values[node]: (node.named["shape"], node.named["dtype"]) for node in starts},
            steps,
            dict(zip(labels, (Ref(names.values[node]) for node in found), strict=True)),
        )

    def _plan(self, inputs: dict[str, Any], steps: list[Step], outputs: dict[str, Ref]) -> None:
        """Remember what is computed, and tell the layers which activations follow."""
        self._inputs, self._steps, self._outputs = inputs, steps, outputs
        release(steps, outputs)
        follows: dict[str, str | None] = {}
        for step in reversed(steps):
            following = follows.get(step.name, "linear")
            before = "linear" if step.layer is None else suited(self._layers[step.layer], following)
            for name in step.needs():
                follows[name] = before  # of several, the first that takes it

    def __getitem__(self, name: str) -> Module:
        if name not in self._layers:
            raise unknown("layer of the Graph", name, self._layers)
        return self._layers[name]

    @property
    def input_names(self) -> tuple[str, ...]:
        """The names of its inputs, in order."""
        return tuple(self._inputs)

    @property
    def input_shapes(self) -> tuple[tuple[int | None, ...], ...]:
        """The shapes of its inputs, None for the batch and where a size is open."""
        return tuple((None, *shape) for shape, _ in self._inputs.values())

    @property
    def input_dtypes(self) -> tuple[str, ...]:
        """The dtypes of its inputs."""
        return tuple(dtype for _, dtype in self._inputs.values())

    @property
    def output_names(self) -> tuple[str, ...]:
        """The names of its outputs, in order."""
        return tuple(self._outputs)

    def input_dtype(self, default: str = "float32") -> str:
        """The dtype of its first input: ``default``, unless that is one of integers."""
        first = self.input_dtypes[0]
        return default if named_dtype(first).is_floating else first

    def build(self, x: Any = None, *, dtype: Any = None) -> Self:
        """As of every module; without ``x`` for the shapes of the inputs, 1 where a size is open, in their dtypes."""
        if isinstance(x, Mapping):
            x = self._in_order(x)
        return super().build(self.input_shapes if x is None else x, dtype=dtype or self.input_dtypes)

    @property
    def last_layers(self) -> dict[str, Module]:
        """The layers that make outputs, each of one value, by the names of the outputs."""
        made = {step.name: step for step in self._steps}
        found = {}
        for name, value in self._outputs.items():
            step = made.get(value)
            if step is not None and step.layer is not None and not step.named and [*step.needs()] == [*step.arguments]:
                found[name] = self._layers[step.layer]
        return found

    def before(self, names: Collection[str]) -> Self:
        """The same layers, but the outputs ``names`` are what their last layers get."""
        made = {step.name: step for step in self._steps}
        part = copy.copy(self)
        part._hooks = None
        part._outputs = {n: made[v].arguments[0] if n in names else v for n, v in self._outputs.items()}
        part._steps, wanted = [], {str(value) for value in part._outputs.values()}
        for step in reversed(self._steps):
            if step.name in wanted:
                wanted.update(step.needs())
                part._steps.insert(0, replace(step, done=[]))
        release(part._steps, part._outputs)
        return part

    def forward(self, *inputs: Any, mask: Any = None, masks: bool = False) -> Any:
        """See the class. ``mask`` is of the first input; with ``masks`` it returns (output, its mask), several in tuples."""
        values: dict[str, Any] = self._given(inputs)
        found: dict[str, Any] = {} if mask is None else {self.input_names[0]: mask}
        for step in self._steps:
            arguments = fetched(step.arguments, values)
            if step.operator is not None:
                try:
                    values[step.name] = OPERATORS[step.operator](*arguments)
                except ChainruleError as error:
                    error.path.insert(0, step.name)
                    raise
                if found:
                    found[step.name] = self._of_operator(step, values, found)
            elif step.layer is not None:
                layer = self._layers[step.layer]
                named = self._named(layer, step, values)
                if found or layer.makes_mask:
                    known = tuple(found.get(a) if type(a) is Ref else None for a in step.arguments)
                    values[step.name], found[step.name] = through(layer, arguments, known, named)
                else:
                    values[step.name] = layer(*arguments, **named)
            for name in step.done:
                del values[name]
        results = tuple(values[name] for name in self._outputs.values())
        y = results[0] if len(results) == 1 else results
        if not masks:
            return y
        made = tuple(found.get(name) for name in self._outputs.values())
        return y, made[0] if len(made) == 1 else made

    def _named(self, layer: Module, step: Step, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """What a layer is called with by name; a recurrent one that was told to return its state does."""
        defaults = {} if getattr(layer, "return_state", None) else layer.in_sequential
        if not step.named:
            return defaults
        return {**defaults, **dict(zip(step.named, fetched(tuple(step.named.values()), values), strict=True))}

    @staticmethod
    def _of_operator(step: Step, values: Mapping[str, Any], found: Mapping[str, Any]) -> Any:
        """The mask of what an operator made: that of the first operand that has one."""
        if (
            step.operator == "getitem"
        ):  # steps chosen or turned round would have another; the output of a layer with state not
            first, key = step.arguments
            return found.get(first) if key == 0 and isinstance(values.get(first), tuple) else None
        return kept(values[step.name], next((found[a] for a in step.needs() if found.get(a) is not None), None))

    def _in_order(self, given: Mapping[str, Any]) -> tuple[Any, ...]:
        """What is given by the names of inputs, in their order."""
        for name in given:
            if name not in self._inputs:
                raise unknown("input of the Graph", name, self._inputs)
        return tuple(given[name] for name in self._inputs if name in given)

    def _given(self, inputs: tuple[Any, ...]) -> dict[str, Any]:
        """The inputs by name. Errors: ArgumentError, ShapeError."""
        if len(inputs) == 1 and isinstance(inputs[0], Mapping):
            inputs = self._in_order(inputs[0])
        if len(inputs) != len(self._inputs):
            raise ArgumentError(
                f"[graph] got {len(inputs)} input{'s' * (len(inputs) != 1)}, but it takes {len(self._inputs)}: "
                f"{', '.join(self._inputs)}, one by one or in a dict"
            )
        for x, (name, (shape, _)) in zip(inputs, self._inputs.items(), strict=True):
            got = getattr(x, "shape", None)
            if got is None:
                raise ArgumentTypeError(f"[graph] the input {name} is a {type(x).__name__}, expected a tensor")
            if len(got) != len(shape) + 1 or any(n not in (None, m) for n, m in zip(shape, got[1:], strict=True)):
                raise ShapeError(f"[graph] the input {name} has shape {tuple(got)}, expected {(None, *shape)}")
        return dict(zip(self._inputs, inputs, strict=True))

    @property
    def makes_mask(self) -> bool:  # type: ignore[override]
        """Whether a layer in it makes a mask."""
        return any(layer.makes_mask for layer in self._layers.values())

    def masked(self, *masks: Any) -> Mapping[str, Any]:
        """It takes the mask of its first input."""
        return {"mask": masks[0]} if gives_mask(type(self).forward) and masks[0] is not None else {}

    def extra_repr(self) -> str:
        """Its inputs and outputs."""
        starts = ", ".join(f"{name} {shape}" for name, shape in zip(self._inputs, self.input_shapes, strict=True))
        return f"{starts} -> {', '.join(self._outputs)}"

    def get_config(self) -> dict[str, Any]:
        """Its inputs, its steps, its outputs; the layers are its children."""
        return {
            "inputs": {name: {"shape": [*shape], "dtype": dtype} for name, (shape, dtype) in self._inputs.items()},
            "steps": [
                {
                    "name": step.name,
                    **({"layer": step.layer} if step.operator is None else {"operator": step.operator}),
                    "arguments": [written(a) for a in step.arguments],
                    **({"named": {key: written(a) for key, a in step.named.items()}} if step.named else {}),
                }
                for step in self._steps
            ],
            "outputs": dict(self._outputs),
        }

    @classmethod
    def from_children(cls, children: Mapping[str, Module], config: Mapping[str, Any]) -> Self:
        """A new Graph of named layers, as files have it. Errors: ArgumentError for a config that describes none."""
        self = cls.__new__(cls)
        self._arguments, self._layers = ((), {}), {}
        for name, layer in children.items():
            self._put(name, layer)
        try:
            inputs = {
                str(name): (tuple(text["shape"]), str(named_dtype(text["dtype"])))
                for name, text in config["inputs"].items()
            }
            known, steps = {*inputs}, []
            for text in config["steps"]:
                step = Step(
                    text["name"], text.get("layer"), text.get("operator"), read([*text["arguments"]]),
                    {key: read(value) for key, value in text.get("named", {}).items()},
                )  # fmt: skip
                wrong = [name for name in step.needs() if name not in known]
                if wrong or step.name in known or (step.layer in self._layers) == (step.operator in OPERATORS):
                    raise ArgumentError(f"step {dict(text)!r} is of values, a layer or an operator that there is not")
                known.add(step.name)
                steps.append(step)
            outputs = {str(name): Ref(value) for name, value in config["outputs"].items()}
        except (KeyError, AttributeError, TypeError) as error:
            raise ArgumentError(f"the description of a Graph is not complete: {error!r}") from error
        if not inputs or not outputs or not known.issuperset(outputs.values()):
            raise ArgumentError(
                f"the description of a Graph has the inputs {[*inputs]} and the outputs {[*outputs.values()]}"
            )
        self._plan(inputs, steps, outputs)
        return self


class Names:
    """Names for the values and layers of a graph: those given, and numbered ones."""

    def __init__(self, given: list[str | None]) -> None:
        self.taken: set[str] = set()
        self.values: dict[Node, str] = {}
        self.layers: dict[Module, str] = {}
        self.reserved = {name for name in given if name is not None}

    def numbered(self, kind: str) -> str:
        """``kind`` with the first number that is free."""
        n = 1
        while f"{kind}_{n}" in self.taken or f"{kind}_{n}" in self.reserved:
            n += 1
        return f"{kind}_{n}"

    def distinct(self, names: list[str]) -> list[str]:
        """Names, with a number where one comes again."""
        for i, name in enumerate(names):
            names[i] = name if name not in names[:i] else self.numbered(name)
            self.taken.add(names[i])
        return names

    def take(self, name: str | None, kind: str, what: str) -> str:
        """A name, if it is free, or a numbered one. Errors: ArgumentError."""
        if name is None:
            name = self.numbered(kind)
        elif not isinstance(name, str) or not name or "." in name:
            raise ArgumentError(f"{name!r} cannot be the name of {what}: a name has characters other than dots")
        elif name in self.taken:
            raise ArgumentError(f"Graph: {what} cannot be named {name!r}: something else in the graph is")
        self.taken.add(name)
        return name

    def value(self, node: Node, kind: str) -> None:
        """Name an input or the result of an operator."""
        self.values[node] = self.take(node.name, kind, repr(node))

    def step(self, node: Node, layers: dict[str, Module]) -> Step:
        """The step that makes the value of a node, whose layer comes among ``layers``."""
        if isinstance(node.what, str):
            self.value(node, node.what)
            name = self.values[node]
            return Step(name, None, node.what, self.named(node.arguments), {})
        layer = node.what
        if layer not in self.layers:
            kind = type(layer).__name__.lower()
            self.layers[layer] = self.values[node] = self.take(node.name, kind, f"a {type(layer).__name__}")
            layers[self.layers[layer]] = layer
        elif node.name not in (None, self.layers[layer]):
            raise ArgumentError(
                f"Graph: the layer {self.layers[layer]!r} is called again as {node.name!r}; it is one layer"
            )
        else:
            self.values[node] = self.take(None, self.layers[layer] + "_again", "")
        named = {key: self.named(value) for key, value in node.named.items()}
        return Step(self.values[node], self.layers[layer], None, self.named(node.arguments), named)

    def named(self, value: Any) -> Any:
        """An argument with the names of nodes in their places."""
        if isinstance(value, Node):
            return Ref(self.values[value])
        return tuple(self.named(v) for v in value) if isinstance(value, tuple) else value


def release(steps: list[Step], outputs: Mapping[str, Ref]) -> None:
    """Have each step forget the values that nothing after it needs."""
    last = {name: step for step in steps for name in step.needs()}
    for name, step in last.items():
        if name not in outputs.values():
            step.done.append(name)


def needed(outputs: list[Node]) -> list[Node]:
    """All nodes that the outputs are made of, and these, in the order in which they were made."""
    found: set[Node] = set()
    waiting = [*outputs]
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting += nodes((node.arguments, tuple(node.named.values())))
    return sorted(found, key=lambda node: node.serial)


def references(value: Any) -> Iterator[str]:
    """The names of values in an argument."""
    if type(value) is Ref:
        yield value
    elif isinstance(value, tuple):
        for v in value:
            yield from references(v)


def fetched(value: Any, values: Mapping[str, Any]) -> Any:
    """An argument with values in place of their names."""
    if type(value) is Ref:
        return values[value]
    return tuple([fetched(v, values) for v in value]) if type(value) is tuple else value


def written(value: Any) -> Any:
    """An argument as JSON can hold it."""
    if type(value) is Ref:
        return {"value": str(value)}
    if isinstance(value, tuple):
        return [written(v) for v in value]
    if isinstance(value, slice):
        return {"slice": [value.start, value.stop, value.step]}
    return {"ellipsis": True} if value is ... else value


def read(text: Any) -> Any:
    """An argument from what ``written`` made of it."""
    if isinstance(text, list):
        return tuple(read(v) for v in text)
    if not isinstance(text, Mapping):
        return text
    if "value" in text:
        return Ref(text["value"])
    return slice(*text["slice"]) if "slice" in text else ...
