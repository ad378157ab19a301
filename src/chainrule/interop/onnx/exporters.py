"""What modules become in ONNX files: one function for each class of layers, and what those functions write with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from ...creation import zeros
from ...domain.errors import NotSupportedError
from ...nn import LazyTensor, Module
from ...nn.masking import gives_mask, kept
from ...tensor import Tensor
from .operators import DTYPES

EXPORTS = (
    "export_models export_layers export_images export_sequences export_masks export_arranged export_imported".split()
)
NUMBERS = {name: number for number, name in DTYPES.items()}
HARMLESS = {"__annotations__", "__dict__", "__doc__", "__init__", "__module__", "__signature__", "__weakref__"}
EXPORTERS: dict[type[Module], Callable[..., Any]] = {}
MASKS: dict[type[Module], Callable[..., Any]] = {}  # how layers that make a mask make it
COMPOSITE: set[type[Module]] = set()


@dataclass(frozen=True)
class Value:
    """A value of the graph: its name, what it is when the model runs on an example, and which of its steps count."""

    name: str
    example: Tensor
    mask: Value | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the example: its open sizes are others when the file is used."""
        return self.example.shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.example.ndim


def exporter(
    *classes: type[Module], composite: bool = False, masks: Callable[..., Any] | None = None
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate ``f(writer, module, *inputs, **named)`` as what modules of some classes become: it returns names of values.

    ``inputs`` are ``Value``s. ``writer.node(op, names, **attributes)`` adds a node, ``writer.constant(array)`` and
    ``writer.tensor(parameter)`` what it takes. A ``composite`` calls its modules by ``writer.call`` and returns Values.
    ``masks(writer, module, *inputs)`` makes the mask of a layer that has ``makes_mask``: a Value of bool, or None.
    """

    def known(function: Callable[..., Any]) -> Callable[..., Any]:
        for cls in classes:
            EXPORTERS[cls] = function
            if masks is not None:
                MASKS[cls] = masks
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
        self.made: dict[Any, Any] = {}

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

    def once(self, key: Any, make: Callable[[], Any]) -> Any:
        """What several layers need, made for the first."""
        if key not in self.made:
            self.made[key] = make()
        return self.made[key]

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

    def through(self, layer: Module, *inputs: Any) -> Any:
        """What a layer of a container makes of values, which know their masks: as ``nn.masking.through`` says."""
        return self.told(layer, inputs, dict(layer.in_sequential))

    def told(self, layer: Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """The same, with what it is called with by name."""
        masks = [one.mask if isinstance(one, Value) else None for one in inputs]
        plain = [replace(one, mask=None) if isinstance(one, Value) else one for one in inputs]
        given = next((mask for mask in masks if mask is not None), None)
        if given is not None:
            taken = self.taken(layer, masks)
            given, named = masks[0] if taken else given, {**taken, **named}
        if gives_mask(type(layer).forward):
            if "mask" in named:
                plain[0] = replace(plain[0], mask=named.pop("mask"))
            return self.call(layer, *plain, **named)
        y = self.call(layer, *plain, **named)
        if layer.makes_mask:
            made = self.mask_of(layer, *plain)
            given = given if made is None else made
        return masked_by(y, given if layer.keeps_steps else None)

    def mask_of(self, layer: Module, *inputs: Any) -> Value | None:
        """The mask that a layer makes."""
        cls = exported_as(layer)
        if cls not in MASKS:
            name = type(layer).__name__
            raise NotSupportedError(
                f"[to_onnx] {name} makes a mask, which masks= of interop.onnx.exporter({name}) exports"
            )
        with self.within(layer):
            made: Value | None = MASKS[cls](self, layer, *inputs)
        return made

    def taken(self, layer: Module, masks: list[Any]) -> dict[str, Value]:
        """The masks that a layer takes, by name, as it wants them: its ``masked`` is asked by tensors of known sizes."""
        tokens = [None if mask is None else zeros(1, i + 2, dtype="bool") for i, mask in enumerate(masks)]
        found: dict[str, Value] = {}
        for name, token in layer.masked(*tokens).items():
            if token is not None:
                mask = masks[max(token.shape) - 2]
                found[name] = mask if token.shape[0] == 1 else self.turned(mask)
        return found

    def turned(self, mask: Value) -> Value:
        """A mask with its two axes in the other order."""
        name: str = self.once((mask.name, "turned"), lambda: self.transpose(mask, 1, 0))
        return Value(name, mask.example.permute(1, 0))


def masked_by(y: Any, mask: Any) -> Any:
    """A value whose steps count by a mask, if it fits what the value is; of several the first."""
    if isinstance(y, tuple):
        return (masked_by(y[0], mask), *(masked_by(one, None) for one in y[1:])) if y else y
    fits = mask is not None and kept(y.example, mask.example) is not None
    return replace(y, mask=mask if fits else None)


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
