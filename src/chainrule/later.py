"""What is read when it is first named, so that ``import chainrule`` is quick: names of a package, methods of a class."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from sys import modules
from typing import Any


def names(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` (PEP 562) of a package whose names come from its files: ``homes`` says from which.

    A name that is its own home is the file itself. For type checkers the package imports them under ``TYPE_CHECKING``.

    >>> get, _ = names("chainrule", {"data": "data", "load": "io"})
    >>> get("data").__name__, get("load").__module__
    ('chainrule.data', 'chainrule.io.checkpoint')
    """
    space = vars(modules[package])

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        file = import_module(f".{homes[name]}", package)
        space[name] = file if homes[name] == name else getattr(file, name)
        return space[name]

    return get, lambda: sorted({*space, *homes})


class Method:
    """Stands in a class for a method that a module puts in its place once it is read: when the method is looked up."""

    def __init__(self, cls: type, name: str, module: str) -> None:
        self.cls, self.name, self.module = cls, name, module

    def __get__(self, instance: Any, owner: type) -> Any:
        import_module(self.module)
        return vars(self.cls)[self.name].__get__(instance, owner)


def methods(cls: type, module: str, names: Iterable[str]) -> None:
    """Let ``cls`` have the methods that ``module`` gives it when it is imported."""
    for name in names:
        setattr(cls, name, Method(cls, name, module))
