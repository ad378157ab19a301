"""Modules by name: from a module to text that says how to make it, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any

from ..domain.errors import ArgumentError, ChainruleError, unknown

if TYPE_CHECKING:
    from .module import Module

REGISTRY: dict[str, type[Module]] = {}
LATER: dict[str, Callable[[], Any]] = {}  # what loads the file that registers a name, where that is not at the import
READERS: dict[str, Callable[[str | PathLike[str]], Mapping[str, Any]]] = {}  # of weights of others, by suffix
WRITERS: dict[str, Callable[[str | PathLike[str], Mapping[str, Any]], None]] = {}


def register(cls: Any = None, *, name: str | None = None) -> Any:
    """Decorate a Module class so that files can name it. Errors: ArgumentError if another has the name.

    Its constructor's arguments are recorded as they were given; a class that needs more overrides ``get_config`` and
    ``from_config``.

    >>> from chainrule import nn
    >>> @nn.register
    ... class Twice(nn.Module):
    ...     def __init__(self, factor=2):
    ...         self.factor = factor
    ...     def forward(self, x):
    ...         return x * self.factor
    >>> nn.describe(Twice(3))
    {'type': 'Twice', 'config': {'factor': 3}}
    >>> nn.create({"type": "Twice", "config": {"factor": 3}}).factor
    3
    """
    if cls is None:
        return lambda c: register(c, name=name)
    key = name or cls.__name__
    taken = REGISTRY.get(key)
    if taken is not None and (taken.__module__, taken.__qualname__) != (cls.__module__, cls.__qualname__):
        raise ArgumentError(f"the name {key!r} is taken by {taken.__module__}.{taken.__qualname__}; give another name=")
    REGISTRY[key] = cls
    return cls


def type_name(module: Module) -> str:
    """The name a module's class is registered under. Errors: ArgumentError if it is not."""
    cls = type(module)
    for name, known in REGISTRY.items():
        if known is cls:
            return name
    raise ArgumentError(f"{cls.__qualname__} cannot be written to a file: decorate the class with @nn.register")


def find(name: str) -> type[Module]:
    """The class registered under ``name``. Errors: ArgumentError with the nearest names."""
    if name not in REGISTRY and name in LATER:
        LATER[name]()
    if name not in REGISTRY:
        raise unknown("layer type", name, REGISTRY)
    return REGISTRY[name]


def describe(module: Module) -> dict[str, Any]:
    """What JSON can hold of a module: ``{"type", "config"}`` and, of a Sequential, ``"children"`` by name.

    A layer that stands in a Sequential again is ``{"again": path}``. ``create`` makes the module, with new values.
    Errors: ArgumentError for a class that is not registered or an argument that JSON cannot hold.
    """
    return _describe(module, "", {})


def _describe(module: Module, path: str, seen: dict[Module, str]) -> dict[str, Any]:
    if module in seen:
        return {"again": seen[module]}
    seen[module] = path
    text: dict[str, Any] = {"type": type_name(module), "config": module.get_config()}
    if hasattr(module, "from_children"):
        text["children"] = {
            name: _describe(child, f"{path}.{name}" if path else name, seen) for name, child in module.named_children()
        }
    return text


def create(description: Mapping[str, Any]) -> Module:
    """The module that ``describe`` described. Errors: ArgumentError for what describes none."""
    return _create(description, "", {})


def _create(text: Any, path: str, made: dict[str, Module]) -> Module:
    if not isinstance(text, Mapping):
        raise ArgumentError(f"the description of layer {path!r} is {text!r}")
    if "again" in text:
        again = text["again"]
        if not isinstance(again, str) or again not in made:
            raise ArgumentError(f"layer {path!r} is said to be {again!r} again, which there is not before it")
        return made[again]
    if not isinstance(text.get("type"), str):
        raise ArgumentError(f"the description of layer {path!r} has no type: {dict(text)!r}")
    cls: Any = find(text["type"])
    config, within = text.get("config", {}), text.get("children", {})
    if not isinstance(config, Mapping) or not isinstance(within, Mapping):
        raise ArgumentError(f"layer {path!r} of type {text['type']} has config {config!r} and children {within!r}")
    if "children" in text and not hasattr(cls, "from_children"):
        raise ArgumentError(f"layer {path!r} of type {text['type']} has children, which this type cannot have")
    try:
        if "children" in text:
            children = {
                name: _create(child, f"{path}.{name}" if path else name, made) for name, child in within.items()
            }
            module: Module = cls.from_children(children, config)
        else:
            module = cls.from_config(config)
    except (TypeError, ValueError, OverflowError, MemoryError) as error:
        if isinstance(error, ChainruleError) and not isinstance(error, TypeError):
            raise
        raise ArgumentError(
            f"layer {path!r} of type {text['type']} cannot be made from {dict(config)!r}: {error}"
        ) from error
    made[path] = module
    return module


def encode(name: str, value: Any) -> Any:
    """An argument as JSON can hold it. Errors: ArgumentError if it cannot."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return str(value)  # a DType is a string of another class
    if isinstance(value, (list, tuple)):
        return [encode(name, v) for v in value]
    if isinstance(value, Mapping) and all(isinstance(k, str) for k in value):
        return {k: encode(name, v) for k, v in value.items()}
    if hasattr(value, "named_children"):
        return describe(value)
    if hasattr(value, "get_config"):
        return value.get_config()
    raise ArgumentError(
        f"the argument {name} is a {type(value).__name__}, which a file cannot hold; override get_config"
    )


def decode(value: Any) -> Any:
    """An argument from what ``encode`` made of it: only modules among it are changed back."""
    if isinstance(value, Mapping):
        if value.get("type") in REGISTRY and value.keys() <= {"type", "config", "children"}:
            return create(value)
        return {k: decode(v) for k, v in value.items()}
    return [decode(v) for v in value] if isinstance(value, list) else value
