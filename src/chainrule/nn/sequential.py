"""Sequential: layers one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any, Self, overload

from ..domain.errors import ArgumentError, ArgumentTypeError
from ..modes import revisions
from .layer import Weighted
from .masking import gives_mask, through
from .module import Module
from .norm import BatchNorm
from .registry import register


@register
class Sequential(Module):
    """Layers one after the other: the output of each is the input of the next.

    Give the layers, a list of them, or a dict of names and layers; without names they are numbered. ``add`` and
    ``append`` take further ones. ``model[0]``, ``model["fc"]``, ``model[:-1]`` (sharing the layers) and ``len`` work.
    Layers whose weights are not drawn yet initialize them for the activation that follows, norms and pooling between. With
    ``bias_before_norm=False`` a layer right before a batch norm is made without its bias, which the norm would take away.
    ``model(x, mask=mask)`` tells the layers which steps of x count; a layer that makes a mask (``Masking``) does so, too.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> model = Sequential(nn.Linear(8), nn.ReLU())
    >>> model.add(nn.Linear(2), name="scores")
    Sequential(
      (0): Linear(out_features=8)
      (1): ReLU()
      (scores): Linear(out_features=2)
    )
    >>> model(cr.zeros(4, 3)).shape, [*model.state_dict()]
    ((4, 2), ['0.weight', '0.bias', 'scores.weight', 'scores.bias'])
    """

    def __init__(
        self, *layers: Module | Iterable[Module] | Mapping[str, Module], bias_before_norm: bool = True
    ) -> None:
        self._arguments = (), {}  # the layers are its children
        self._bias_before_norm = bias_before_norm  # no argument of its config: the layers themselves have no bias then
        self._layers: dict[str, Module] = {}
        given: Any = layers
        if len(layers) == 1 and not isinstance(layers[0], Module) and isinstance(layers[0], Iterable):
            given = layers[0]
        pairs = given.items() if isinstance(given, Mapping) else enumerate(given)
        for name, layer in pairs:
            self._put(str(name), layer)
        self._hint()

    @classmethod
    def from_children(cls, children: Mapping[str, Module], config: Mapping[str, Any]) -> Self:
        """A new Sequential of named layers, as files have them."""
        return cls(dict(children))

    def members(self) -> Iterator[tuple[str, Any]]:
        """The layers by name, after what a subclass adds as attributes."""
        for name, member in super().members():
            if not name.startswith("_layers."):
                yield name, member
        yield from self._layers.items()

    @property
    def makes_mask(self) -> bool:  # type: ignore[override]
        """Whether a layer in it makes a mask."""
        return any(layer.makes_mask for layer in self._layers.values())

    def masked(self, *masks: Any) -> Mapping[str, Any]:
        """It takes the mask of x, unless a subclass says otherwise what it computes."""
        return {"mask": masks[0]} if gives_mask(type(self).forward) else {}

    def forward(self, x: Any, mask: Any = None, *, masks: bool = False) -> Any:
        """The output of the last layer; with ``masks`` also its mask. ``mask`` is as the first two axes of x."""
        for layer in self._layers.values():
            if mask is None and not layer.makes_mask:
                x = layer(x, **layer.in_sequential)
            else:
                x, mask = through(layer, (x,), (mask,), layer.in_sequential)
        return (x, mask) if masks else x

    def add(self, layer: Module, name: str | None = None) -> Self:
        """Put a layer at the end, under its number or a name. Errors: ArgumentError if the name is taken."""
        self._put(self._free() if name is None else name, layer)
        self._hint()
        return self

    def append(self, layer: Module) -> Self:
        """Put a layer at the end."""
        return self.add(layer)

    def __len__(self) -> int:
        return len(self._layers)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._layers.values())

    @overload
    def __getitem__(self, index: int | str) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> Sequential: ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            part = Sequential()
            part._layers = dict([*self._layers.items()][index])
            part.training = self.training
            return part
        return self._layers[self._name(index)]

    def __setitem__(self, index: int | str, layer: Module) -> None:
        self._layers[self._name(index)] = _module(layer)
        revisions[0] += 1
        self._hint()

    def __delitem__(self, index: int | str) -> None:
        del self._layers[self._name(index)]
        revisions[0] += 1
        self._hint()

    def _name(self, index: Any) -> str:
        names = [*self._layers]
        if isinstance(index, str):
            if index not in self._layers:
                raise ArgumentError(f"Sequential has no layer {index!r}; it has {', '.join(names)}")
            return str(index)
        if not -len(names) <= index < len(names):
            raise IndexError(f"Sequential has {len(names)} layers, and none at {index}")
        name: str = names[index]
        return name

    def _free(self) -> str:
        number = len(self._layers)
        while str(number) in self._layers:
            number += 1
        return str(number)

    def _put(self, name: str, layer: Any) -> None:
        if name in self._layers:
            raise ArgumentError(f"Sequential has a layer {name!r} already: {self._layers[name]!r}")
        if not name or "." in name:
            raise ArgumentError(f"{name!r} cannot be the name of a layer: it needs characters other than dots")
        self._layers[name] = _module(layer)
        revisions[0] += 1

    def _hint(self) -> None:
        """Tell every layer with weights which activation follows it."""
        if not self._bias_before_norm:
            for layer, after in pairwise(leaves(self)):
                if isinstance(layer, Weighted) and isinstance(after, BatchNorm):
                    layer.bias = None
        suited(self, "linear")


def leaves(model: Sequential) -> Iterator[Module]:
    """The layers in order, with those of a Sequential inside in its place."""
    for layer in model:
        if isinstance(layer, Sequential):
            yield from leaves(layer)
        else:
            yield layer


def suited(layer: Any, following: str | None) -> str | None:
    """Tell a layer, or those of a Sequential, which activation follows; returns what follows a layer before it."""
    if isinstance(layer, Sequential):
        for inner in reversed([*leaves(layer)]):
            following = suited(inner, following)
        return following
    if hasattr(layer, "suit"):
        layer.suit(following)
        return "linear"
    return following if layer.follows_as is None else layer.follows_as


def _module(layer: Any) -> Module:
    if isinstance(layer, Module):
        return layer
    hint = f": write {layer.__name__}()" if isinstance(layer, type) and issubclass(layer, Module) else ""
    raise ArgumentTypeError(f"Sequential takes modules, not {layer!r}{hint}")
