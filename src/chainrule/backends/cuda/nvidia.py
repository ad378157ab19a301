"""The GPUs of NVIDIA's driver."""

from __future__ import annotations

from typing import Any

from ...domain.errors import DeviceError


def connect() -> Any:
    """The driver. Errors: DeviceError, which says what to install."""
    raise DeviceError("there is no driver for it yet")
