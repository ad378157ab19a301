"""What modules become in ONNX files: one function for each class of layers, and what those functions write with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from ...domain.errors import NotSupportedError
from ...nn import LazyTensor, Module
from ...tensor import Tensor
from .operators import DTYPES

EXPORTS = "export_models export_layers export_images export_sequences export_arranged export_imported".split()
NUMBERS = {name: number for number, name in DTYPES.items()}
HARMLESS = {"__annotations__", "__dict__", "__doc__", "__init__", "__module__", "__signature__", "__weakref__"}
EXPORTERS: dict[type[Module], Callable[..., Any]] = {}
COMPOSITE: set[type[Module]] = set()


@dataclass(frozen=True)
class Value:
    """A value of the graph: its name, and what it is when the model runs on an example."""

    name: str
    example: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the example: its open sizes are others when the file is used."""
        return self.example.shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.example.ndim


def exporter(*classes: type[Module], composite: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate ``f(writer, module, *inputs, **named)`` as what modules of some classes become: it returns names of values.

    ``inputs`` are ``Value``s. ``writer.node(op, names, **attributes)`` adds a node, ``writer.constant(array)`` and
    ``writer.tensor(parameter)`` what it takes. A ``composite`` calls its modules by ``writer.call`` and returns Values.
    """

    def known(function: Callable[..., Any]) -> Callable[..., Any]:
        for cls in classes:
            EXPORTERS[cls] = function
            if composite:
                COMPOSITE.add(cls)
        return function

    return known


@cache
def load_exporters() -> None:
    """Read the files that have them."""
    for name in EXPORTS:
        import_module(f".{name}", __package__)


def exported_as(module: Module) -> type[Module] | None:
    """The class under which a module is exported, or None: a subclass that does anything otherwise is something else."""
    own: set[str] = set()
    for cls in type(module).__mro__:
        if cls in EXPORTERS:
            return cls if not any(hasattr(cls, name) for name in own - HARMLESS) else None
        own |= {*vars(cls)}
    return None


def strangers(model: Module) -> dict[str, str]:
    """Path and class of all modules that cannot be exported."""
    found: dict[str, str] = {}

    def look(path: str, module: Module) -> None:
        cls = exported_as(module)
        if cls is None:
            found[path or "the model"] = type(module).__name__
        elif cls in COMPOSITE:
            for name, child in module.named_children():
                look(f"{path}.{name}" if path else name, child)

    look("", model)
    return found


class Writer:
    """The nodes and tensors of a graph that is being made."""

    def __init__(self, model: Module, opset: int) -> None:
        self.opset = opset
        self.nodes: list[Any] = []
        self.initializers: dict[str, Any] = {}
        self.paths = {module: path for path, module in model.named_modules()}
        self.names = {tensor: path for path, *_, tensor in model.tensors()}
        self.scope = ""
        self.used: dict[str, int] = {}

    def fresh(self, base: str) -> str:
        """A name that no value has."""
        n = self.used[base] = self.used.get(base, 0) + 1
        return base if n == 1 else f"{base}_{n}"

    def node(self, op: str, inputs: Any, outputs: int = 1, **attributes: Any) -> Any:
        """Add a node; the name of its output, or a tuple of several. None among the inputs is one left out."""
        from onnx import helper

        name = self.fresh(f"{self.scope}/{op}" if self.scope else op)
        made = [f"{name}:{i}" if i else name for i in range(outputs)]
        given = ["" if one is None else one.name if isinstance(one, Value) else one for one in inputs]
        while given and not given[-1]:
            given.pop()
        self.nodes.append(helper.make_node(op, given, made, name=name, **attributes))
        return made[0] if outputs == 1 else tuple(made)

    def constant(self, array: Any, like: Value | None = None) -> str:
        """A tensor of the file that is no parameter, in the dtype of a value if one is given."""
        values = np.asarray(array)
        if like is not None:
            values = values.astype(like.example.numpy().dtype)
        name = self.fresh(f"{self.scope}/constant" if self.scope else "constant")
        self.initializers[name] = values
        return name

    def integers(self, *values: int) -> str:
        """A tensor of int64."""
        return self.constant(np.array(values, np.int64))

    def tensor(self, tensor: Any) -> str | None:
        """A parameter or buffer under its path; None for None."""
        if tensor is None:
            return None
        name = self.names.get(tensor) if isinstance(tensor, LazyTensor) else None
        if name is None:
            return self.constant(tensor.numpy())
        self.initializers.setdefault(name, tensor.numpy())
        return name

    def reshape(self, x: Any, *sizes: int) -> str:
        """x in another shape: 0 for a size that it has, -1 for what is left."""
        return str(self.node("Reshape", [x, self.integers(*sizes)]))

    def transpose(self, x: Any, *axes: int) -> str:
        """x with its axes in another order."""
        return str(self.node("Transpose", [x], perm=[*axes]))

    def slice(self, x: Any, axis: int, start: int, end: int) -> str:
        """A part of x along an axis."""
        return str(self.node("Slice", [x, self.integers(start), self.integers(end), self.integers(axis)]))

    def reduce(self, op: str, x: Any, axes: Any, keepdims: int = 1) -> str:
        """A reduction: its axes are an input since opset 18, of ReduceSum since 13."""
        if op == "ReduceSum" or self.opset >= 18:
            return str(self.node(op, [x, self.integers(*axes)], keepdims=keepdims))
        return str(self.node(op, [x], axes=[*axes], keepdims=keepdims))

    @contextmanager
    def within(self, module: Module) -> Iterator[None]:
        """What is added here is under the path of a module."""
        before, self.scope = self.scope, self.paths.get(module, self.scope)
        try:
            yield
        finally:
            self.scope = before

    def call(self, module: Module, *inputs: Any, **named: Any) -> Any:
        """What a module makes of values: a Value, or a tuple of them."""
        cls = exported_as(module)
        if cls is None:
            raise NotSupportedError(f"{type(module).__name__} cannot be exported to ONNX")
        with self.within(module):
            made = EXPORTERS[cls](self, module, *inputs, **named)
        if cls in COMPOSITE:
            return made
        return zipped(made, module(*examples(inputs), **{key: examples(value) for key, value in named.items()}))


def examples(values: Any) -> Any:
    """The examples in values, which may be tuples of them."""
    if isinstance(values, (tuple, list)):
        return tuple(examples(v) for v in values)
    return values.example if isinstance(values, Value) else values


def zipped(names: Any, tensors: Any) -> Any:
    """Names and examples as Values."""
    if isinstance(tensors, tuple):
        return tuple(zipped(n, t) for n, t in zip(names, tensors, strict=True))
    return Value(str(names), tensors)


def flat(values: Any) -> list[Any]:
    """All values, or tensors, in tuples of tuples."""
    return [one for value in values for one in flat(value)] if isinstance(values, tuple) else [values]
