"""Arguments of a kernel as a launch takes them: memory that holds them, and a pointer to each."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from .array import DeviceArray


class Frame:
    """Memory for arguments of some kinds, and the pointers into it at ``address``. It goes back to ``free`` when they were
    read."""

    __slots__ = ("memory", "pointers", "address", "free")

    def __init__(self, size: int, places: list[int], free: list[Frame]) -> None:
        self.memory, self.free = ctypes.create_string_buffer(size or 1), free
        start = ctypes.addressof(self.memory)
        self.pointers = (ctypes.c_uint64 * len(places))(*(start + place for place in places))
        self.address = ctypes.addressof(self.pointers)


def packed(arguments: Sequence[Any], shift: int = 0) -> Frame:
    """Arguments where a launch finds them. Arrays are ``shift`` bytes further on."""
    values: list[Any] = []
    kinds: list[str] = []
    for a in arguments:
        kind = type(a)
        if kind is DeviceArray:
            kinds.append("Q")
            values.append(a.memory.address + a.offset + shift)
        elif kind is int:
            kinds.append("q")
            values.append(a)
        elif kind is float:
            kinds.append("d")
            values.append(a)
        elif kind is bytes:
            kinds.append(f"{len(a)}s")
            values.append(a)
        elif a is None:
            kinds.append("Q")
            values.append(0)
        elif kind is tuple:
            kinds.append(f"{len(a)}Q")
            values.extend(0 if x is None else x.memory.address + x.offset + shift for x in a)
        else:
            kinds.append("q")
            values.append(int(a))
    form, places, free = shape_of(tuple(kinds))
    try:
        frame = free.pop()
    except IndexError:
        frame = Frame(form.size, places, free)
    form.pack_into(frame.memory, 0, *values)
    return frame


@lru_cache(4096)
def shape_of(kinds: tuple[str, ...]) -> tuple[struct.Struct, list[int], list[Frame]]:
    """How arguments of some kinds lie: a structure, where in it each begins, and frames of this shape that nobody uses.

    >>> shape_of(("Q", "24s", "q"))[1]
    [0, 8, 32]
    """
    sizes = [struct.calcsize(f"={kind}") for kind in kinds]
    places = [sum(sizes[:i]) for i in range(len(sizes))]
    return struct.Struct("=" + "".join(kinds)), places, []
