"""What a parameter is to an optimizer."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from .tensor import ITensor


@runtime_checkable
class IParameter(ITensor, Protocol):
    """A tensor that is trained. ``is_built`` is False while its shape waits for the first input."""

    @property
    def name(self) -> str: ...
    @property
    def is_built(self) -> bool: ...
