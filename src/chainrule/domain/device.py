"""Devices by name."""

from __future__ import annotations

import re

from .errors import DeviceError

_NAME = re.compile(r"(cpu)|(cuda)(?::(\d+))?")


class Device:
    """A place where tensors live: ``"cpu"``, ``"cuda"`` (the first GPU) or ``"cuda:1"``. Equal to its name.

    >>> Device("cuda"), Device("cuda:1").index, Device("cpu") == "cpu"
    (Device('cuda:0'), 1, True)
    >>> Device("gpu")
    Traceback (most recent call last):
    chainrule.domain.errors.DeviceError: unknown device 'gpu': write "cpu", "cuda" or "cuda:<index>"
    """

    __slots__ = ("kind", "index")
    kind: str
    index: int | None

    def __init__(self, name: str | Device) -> None:
        match = _NAME.fullmatch(str(name))
        if match is None:
            raise DeviceError(f'unknown device {name!r}: write "cpu", "cuda" or "cuda:<index>"')
        self.kind = match[1] or match[2]
        self.index = None if match[1] else int(match[3] or 0)

    def __str__(self) -> str:
        return self.kind if self.index is None else f"{self.kind}:{self.index}"

    def __repr__(self) -> str:
        return f"Device({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, str):
            match = _NAME.fullmatch(other)
            return match is not None and str(Device(other)) == str(self)
        return isinstance(other, Device) and str(other) == str(self)

    def __hash__(self) -> int:
        return hash(str(self))
