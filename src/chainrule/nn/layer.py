"""Layer: what the layers of the framework have in common."""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter as Argument
from inspect import signature
from operator import index
from typing import Any

from ..domain.errors import ArgumentError
from ..tensor import Tensor
from . import init as initializers
from .module import Module
from .parameter import LazyTensor
from .registry import encode


class Layer(Module):
    """A module whose constructor arguments are its attributes: so its config and its repr say how it is now.

    An attribute that holds a tensor where the argument is a choice (``bias=True``) counts as True, None as False.
    """

    def get_config(self) -> dict[str, Any]:
        """The arguments that make such a layer, as JSON can hold them: with sizes found since, and attributes changed."""
        return {name: encode(name, value) for name, value, _ in self._now()}

    def extra_repr(self) -> str:
        """The arguments that differ from their defaults."""
        return ", ".join(
            f"{name}={value if isinstance(value, str) and name != 'init' else repr(value)}"
            for name, value, default in self._now()
            if value is not None and value not in (default, "float32") and value != (default, default)
        )

    def _now(self) -> list[tuple[str, Any, Any]]:
        """(name, value, default) of each argument."""
        found = []
        for name, argument in signature(type(self)).parameters.items():
            value = getattr(self, name)
            if isinstance(value, Tensor) or (value is None and isinstance(argument.default, bool)):
                value = value is not None
            found.append((name, value, None if argument.default is Argument.empty else argument.default))
        return found


class Activation(Layer):
    """A layer that is one op, ``function``, whose parameters are the constructor's arguments."""

    function: Callable[..., Any]

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        y: Tensor = self.function(x, **{name: getattr(self, name) for name in signature(type(self)).parameters})
        return y


class Weighted(Layer):
    """A layer with a ``weight`` and perhaps a ``bias``; ``init``, if given, draws the weight instead of what suits it."""

    weight: LazyTensor
    init: initializers.Initializer | None = None

    def suit(self, activation: str) -> None:
        """Initialize for the activation that follows, unless told otherwise or drawn already.

        "relu" (also for its relatives): He; "linear": Glorot; "relu:0.01": He with that negative slope.
        """
        if self.init is None and self.weight.pending is not None:
            self.weight.pending.init = suitable(activation)

    @property
    def dtype(self) -> str:
        """The dtype of the parameters."""
        return self.weight.dtype


def suitable(activation: str) -> initializers.Initializer:
    """The initializer that keeps the variance through a layer and the activation after it.

    >>> suitable("relu"), suitable("relu:0.1"), suitable("linear")
    (kaiming_uniform, kaiming_uniform(negative_slope=0.1), xavier_uniform)
    """
    kind, _, slope = activation.partition(":")
    if kind == "linear":
        return initializers.get("xavier_uniform")
    return initializers.get("kaiming_uniform", **({"negative_slope": float(slope)} if slope else {}))


def given_init(init: Any) -> initializers.Initializer | None:
    """The initializer that a user named, or None."""
    return None if init is None else initializers.get(init)


def pair(layer: str, name: str, value: Any, least: int) -> tuple[int, int]:
    """A size for both axes: an integer or two. Errors: ArgumentError."""
    two = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(two) != 2 or any(not hasattr(n, "__index__") or isinstance(n, bool) or n < least for n in two):
        raise ArgumentError(f"{layer}: {name} is {value!r}, expected an integer of at least {least}, or a pair of them")
    return index(two[0]), index(two[1])


def count(layer: str, name: str, value: Any) -> int:
    """A number of features, channels or the like. Errors: ArgumentError unless it is a positive integer."""
    if not hasattr(value, "__index__") or isinstance(value, bool) or value < 1:
        raise ArgumentError(f"{layer}: {name} is {value!r}, expected a positive integer")
    return index(value)
