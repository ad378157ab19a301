"""What a dataset is to a loader."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class IDataset(Protocol):
    """Samples by index."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: Any) -> Any: ...
