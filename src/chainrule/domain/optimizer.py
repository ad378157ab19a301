"""What an optimizer is to the training loop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class IOptimizer(Protocol):
    """Changes parameters by their gradients."""

    def step(self) -> None: ...
    def zero_grad(self) -> None: ...
    def state_dict(self) -> Mapping[str, Any]: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...
