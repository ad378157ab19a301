"""Modules of modules: ModuleList, ModuleDict, Residual, Parallel."""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from functools import reduce
from typing import Any, Self, overload

from ..domain.errors import ArgumentError, ArgumentTypeError, ShapeError, unknown
from ..modes import revisions
from ..ops.elementwise import maximum
from ..ops.shape import concat, permute
from ..tensor import Tensor
from .layer import Layer
from .masking import gives_mask, kept, through
from .module import Module
from .registry import register


def module(owner: str, value: Any) -> Module:
    """A module. Errors: ArgumentTypeError."""
    if not isinstance(value, Module):
        hint = f": write {value.__name__}()" if isinstance(value, type) and issubclass(value, Module) else ""
        raise ArgumentTypeError(f"{owner} takes modules, not {value!r}{hint}")
    return value


class Container(Module):
    """What the containers have in common: modules by name, which files have as children."""

    _layers: dict[str, Module]

    def members(self) -> Iterator[tuple[str, Any]]:
        """The modules by name, after what a subclass adds as attributes."""
        for name, member in super().members():
            if not name.startswith("_layers."):
                yield name, member
        yield from self._layers.items()

    def get_config(self) -> dict[str, Any]:
        """Nothing: the modules are its children."""
        return {}

    @classmethod
    def from_children(cls, children: Mapping[str, Module], config: Mapping[str, Any]) -> Self:
        """A new container of named modules, as files have them."""
        raise NotImplementedError

    @property
    def makes_mask(self) -> bool:  # type: ignore[override]
        """Whether a module in it makes a mask."""
        return any(inner.makes_mask for inner in self._layers.values())

    def masked(self, *masks: Any) -> Mapping[str, Any]:
        """A container whose forward gives a mask takes that of its input."""
        return {"mask": masks[0]} if gives_mask(type(self).forward) else {}

    def _inner(self, name: str, x: Any, mask: Any) -> tuple[Any, Any]:
        """What a module in it makes of x, and the mask of that."""
        inner = self._layers[name]
        if mask is None and not inner.makes_mask:
            return inner(x, **inner.in_sequential), None
        return through(inner, (x,), (mask,), inner.in_sequential)

    def __len__(self) -> int:
        return len(self._layers)

    def _put(self, name: str, value: Any) -> None:
        if not isinstance(name, str) or not name or "." in name:
            raise ArgumentError(f"{name!r} cannot be the name of a module: a name has characters other than dots")
        self._layers[name] = module(type(self).__name__, value)
        revisions[0] += 1


@register
class ModuleList(Container):
    """A list of modules that belong to the module that has it. What they compute, its ``forward`` says.

    A plain list as an attribute does the same; this one can be in a file by itself, and be sliced.

    >>> from chainrule import nn
    >>> blocks = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
    >>> len(blocks), [*blocks[1:].state_dict()][0]
    (3, '0.weight')
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        self._layers = {}
        self.extend(modules)

    @classmethod
    def from_children(cls, children: Mapping[str, Module], config: Mapping[str, Any]) -> Self:
        """A new list of modules, as files have them."""
        return cls(children.values())

    def append(self, module: Module) -> Self:
        """Put a module at the end."""
        self._put(str(len(self._layers)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        """Put modules at the end."""
        for value in modules:
            self.append(value)
        return self

    def insert(self, index: int, module: Module) -> None:
        """Put a module before the one at ``index``."""
        values = [*self]
        values.insert(index, module)
        self._set(values)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._layers.values())

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> ModuleList: ...
    def __getitem__(self, index: Any) -> Any:
        return ModuleList([*self][index]) if isinstance(index, slice) else [*self][index]

    def __setitem__(self, index: int, module: Module) -> None:
        values = [*self]
        values[index] = module
        self._set(values)

    def __delitem__(self, index: int | slice) -> None:
        values = [*self]
        del values[index]
        self._set(values)

    def _set(self, values: list[Module]) -> None:
        self._layers = {str(i): module("ModuleList", value) for i, value in enumerate(values)}


@register
class ModuleDict(Container):
    """Modules by name, that belong to the module that has them. What they compute, its ``forward`` says.

    >>> from chainrule import nn
    >>> heads = nn.ModuleDict({"digit": nn.Linear(8, 10), "parity": nn.Linear(8, 2)})
    >>> "digit" in heads, [*heads.state_dict()][0]
    (True, 'digit.weight')
    """

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        self._layers = {}
        self.update(modules or {})

    @classmethod
    def from_children(cls, children: Mapping[str, Module], config: Mapping[str, Any]) -> Self:
        """New modules by name, as files have them."""
        return cls(children)

    def update(self, modules: Mapping[str, Module]) -> None:
        """Put modules in; those of a name that is there take its place."""
        for name, value in modules.items():
            self._put(name, value)

    def keys(self) -> KeysView[str]:
        """The names."""
        return self._layers.keys()

    def values(self) -> ValuesView[Module]:
        """The modules."""
        return self._layers.values()

    def items(self) -> ItemsView[str, Module]:
        """(name, module)."""
        return self._layers.items()

    def pop(self, name: str) -> Module:
        """Take a module out."""
        revisions[0] += 1
        return self._layers.pop(self._known(name))

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __contains__(self, name: object) -> bool:
        return name in self._layers

    def __getitem__(self, name: str) -> Module:
        return self._layers[self._known(name)]

    def __setitem__(self, name: str, module: Module) -> None:
        self._put(name, module)

    def __delitem__(self, name: str) -> None:
        self.pop(name)

    def _known(self, name: str) -> str:
        if name not in self._layers:
            raise unknown("module of this ModuleDict", name, self._layers)
        return name


@register
class Residual(Container):
    """``body(x) + x``, or ``body(x) + shortcut(x)`` where the body changes the shape (He et al., 2015).

    Errors: ShapeError if the two do not have one shape.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> block = nn.Residual(nn.Sequential(nn.Linear(8, 8), nn.ReLU()))
    >>> nn.Sequential(block, nn.Linear(2))(cr.ones(3, 8)).shape, [*block.state_dict()]
    ((3, 2), ['body.0.weight', 'body.0.bias'])
    """

    def __init__(self, body: Module, shortcut: Module | None = None) -> None:
        self._layers = {}
        self._put("body", body)
        if shortcut is not None:
            self._put("shortcut", shortcut)

    @classmethod
    def from_children(cls, children: Mapping[str, Module], config: Mapping[str, Any]) -> Self:
        """A new block, as files have it."""
        return cls(**children)

    def forward(self, x: Any, mask: Any = None, *, masks: bool = False) -> Any:
        """See the class; ``mask`` and ``masks`` as in Sequential."""
        y, made = self._inner("body", x, mask)
        beside = self._inner("shortcut", x, mask)[0] if "shortcut" in self._layers else x
        if y.shape != beside.shape:
            raise ShapeError(
                f"[residual] the body makes {y.shape} of x, {x.shape}, but beside it is {beside.shape}: "
                "give a shortcut that makes that shape, too"
            )
        y = y + beside
        return (y, made) if masks else y


MERGES = ("concat", "sum", "mean", "mul", "max", "none")


@register
class Parallel(Container):
    """Modules beside one another: each gets x, and what they make of it is merged.

    ``merge`` is "concat" (along ``axis``), "sum", "mean", "mul", "max" (element by element), or "none": a tuple. Give the
    modules, a list of them, or a dict of names and modules. Errors: ShapeError if what is merged does not have one shape.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> nn.Parallel(nn.Linear(8, 2), nn.Linear(8, 3))(cr.ones(4, 8)).shape
    (4, 5)
    """

    def __init__(
        self, *branches: Module | Iterable[Module] | Mapping[str, Module], merge: str = "concat", axis: int = 1
    ) -> None:
        self._arguments = (), {}  # the modules are its children
        self._layers = {}
        if merge not in MERGES:
            raise unknown("merge of Parallel", merge, MERGES)
        given: Any = branches
        if len(branches) == 1 and not isinstance(branches[0], Module) and isinstance(branches[0], Iterable):
            given = branches[0]
        pairs = given.items() if isinstance(given, Mapping) else enumerate(given)
        for name, value in pairs:
            self._put(str(name), value)
        if not self._layers:
            raise ArgumentError("Parallel: there are no modules; give at least one")
        self.merge, self.axis = merge, axis

    def get_config(self) -> dict[str, Any]:
        """How it merges; the modules are its children."""
        return {"merge": self.merge, "axis": self.axis}

    @classmethod
    def from_children(cls, children: Mapping[str, Module], config: Mapping[str, Any]) -> Self:
        """New modules beside one another, as files have them."""
        return cls(dict(children), **config)

    def forward(self, x: Any, mask: Any = None, *, masks: bool = False) -> Any:
        """See the class; ``mask`` and ``masks`` as in Sequential."""
        found = {name: self._inner(name, x, mask) for name in self._layers}
        y = merged({name: y for name, (y, _) in found.items()}, self.merge, self.axis)
        return (y, kept(y, next((m for _, m in found.values() if m is not None), None))) if masks else y

    def extra_repr(self) -> str:
        """How it merges."""
        return f"merge={self.merge}" + (f", axis={self.axis}" if self.merge == "concat" else "")


def merged(values: Mapping[str, Any], merge: str, axis: int) -> Any:
    """Values by name, merged into one. Errors: ShapeError."""
    found = [*values.values()]
    if merge == "none":
        return tuple(found)
    if merge == "concat":
        return concat(*found, axis=axis)
    shapes = {name: y.shape for name, y in values.items()}
    if len({*shapes.values()}) > 1:
        raise ShapeError(f"[parallel] {merge} needs one shape, but the branches give {shapes}")
    if merge == "max":
        return reduce(maximum, found)
    total = reduce(lambda a, b: a * b if merge == "mul" else a + b, found)
    return total / len(found) if merge == "mean" else total


@register
class Merge(Layer):
    """Several inputs as one, as in Parallel: ``merge`` is "concat" (along ``axis``), "sum", "mean", "mul" or "max".

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> nn.Merge("concat")(cr.ones(4, 2), cr.ones(4, 3)).shape
    (4, 5)
    >>> a, b = nn.Input((2,)), nn.Input((3,))
    >>> nn.Graph([a, b], nn.Merge("concat")(a, b))(cr.ones(4, 2), cr.ones(4, 3)).shape
    (4, 5)
    """

    def __init__(self, merge: str = "concat", axis: int = 1) -> None:
        if merge not in MERGES[:-1]:
            raise unknown("merge of Merge", merge, MERGES[:-1])
        self.merge, self.axis = merge, axis

    def forward(self, *inputs: Tensor) -> Any:
        """See the class."""
        if not inputs:
            raise ArgumentError("[merge] there is nothing to merge: give at least one input")
        return merged({str(i): x for i, x in enumerate(inputs)}, self.merge, self.axis)


@register
class ChannelsLast(Container):
    """``body`` for input whose channels are its last axis, as images (n, height, width, channels); so is the output.

    The body sees (n, channels, ...), as its layers want it, through a view: nothing is copied, and convolutions, pooling and
    norms work on such memory as it lies. An output of two axes (n, features) stays as it is. Errors: ShapeError.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> features = nn.ChannelsLast(nn.Sequential(nn.Conv2d(8, kernel_size=3), nn.BatchNorm2d(), nn.ReLU(), nn.MaxPool2d(2)))
    >>> features(cr.rand(2, 28, 28, 1)).shape
    (2, 13, 13, 8)
    """

    def __init__(self, body: Module) -> None:
        self._layers = {}
        self._put("body", body)

    @classmethod
    def from_children(cls, children: Mapping[str, Module], config: Mapping[str, Any]) -> Self:
        """A new one around its body, as files have it."""
        return cls(**children)

    def forward(self, x: Any, mask: Any = None, *, masks: bool = False) -> Any:
        """See the class; ``mask`` as in Sequential."""
        if x.ndim < 3:
            raise ShapeError(f"[channels_last] x has shape {x.shape}; it should be (n, ..., channels), as images are")
        y, _ = self._inner("body", permute(x, axes=(0, x.ndim - 1, *range(1, x.ndim - 1))), mask)
        if y.ndim > 2:
            y = permute(y, axes=(0, *range(2, y.ndim), 1))
        return (y, kept(y, mask)) if masks else y
