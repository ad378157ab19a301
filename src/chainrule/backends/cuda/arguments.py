"""Arguments of a kernel as a launch takes them: memory that holds them, and a pointer to each."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence
from typing import Any

from .array import DeviceArray


def packed(arguments: Sequence[Any], shift: int = 0) -> tuple[Any, Any]:
    """The memory of arguments, and the array of pointers to each that a launch takes. Arrays are ``shift`` bytes further on."""
    parts, places, at = [], [], 0
    for a in arguments:
        if type(a) is DeviceArray:
            part = struct.pack("Q", a.pointer + shift)
        elif a is None:
            part = bytes(8)
        elif type(a) is tuple:
            part = struct.pack(f"{len(a)}Q", *(0 if x is None else x.pointer + shift for x in a))
        elif type(a) is float:
            part = struct.pack("d", a)
        elif type(a) is bytes:
            part = a
        else:
            part = struct.pack("q", a)
        parts.append(part)
        places.append(at)
        at += len(part)
    memory = ctypes.create_string_buffer(b"".join(parts), max(at, 1))
    start = ctypes.addressof(memory)
    return memory, (ctypes.c_void_p * len(places))(*(start + place for place in places))
