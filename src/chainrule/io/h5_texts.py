"""Texts in HDF5 files, looked at before the library HDF5 is: it believes the lengths that a file says of them.

A text is kept as a length, the place of a heap and a number in it. A heap is "GCOL", a version, its size, and objects, each
with a number and its size. Source: The HDF Group, HDF5 File Format Specification 3.0, III.E, IV.A.2.m, VIII.A.
"""

from __future__ import annotations

import re
from math import prod
from typing import Any

import numpy as np

from ..domain.errors import FileFormatError

MOST_TEXTS = 1 << 17  # in one attribute


def largest_heap(data: Any, where: str) -> int:
    """The bytes of the largest heap in the bytes of a file. Errors: FileFormatError for one that is damaged.

    Where the size of an object wraps around, HDF5 reads for ever.
    """
    largest = 0
    for mark in re.finditer(rb"GCOL\x01\0\0\0", data):
        size, at = _number(data, mark.end(), 8), 16
        heap = memoryview(data)[mark.start() : mark.start() + size]
        while len(heap) - at >= 16:
            object_, length = _number(heap, at, 2), _number(heap, at + 8, 8)
            at += 16 + -(-length // 8) * 8 if object_ else length or len(heap)  # 0 is what is free, and its head
        if at > len(heap) or size != len(heap):
            raise FileFormatError(f"{where} is damaged: a heap of {size} bytes, at {mark.start()}, has more in it")
        largest = max(largest, size)
    return largest


def check_lengths(data: Any, name: str, where: str) -> None:
    """Refuse attributes called ``name`` whose texts are said to be longer than the file: HDF5 would take that memory.

    Errors: FileFormatError.
    """
    for mark in re.finditer(re.escape(name.encode()), data):
        for version, before in ((1, 8), (2, 8), (3, 9)):
            head, padded = mark.start() - before, 8 if version == 1 else 1
            named = _number(data, head + 2, 2)  # bytes that are kept for the name, which may end before they do
            if head < 0 or data[head] != version or named < len(name):
                continue
            kind = mark.start() + -(-named // padded) * padded
            space = kind + -(-_number(data, head + 4, 2) // padded) * padded
            if _number(data, kind, 1) & 15 != 9:  # no text of any length
                continue
            if _number(data, kind + 1, 1) & 15 != 1:  # lists, and kinds that there are not, at which HDF5 breaks down
                raise FileFormatError(f"{where} should have a text as its attribute {name!r}")
            if version > 1 and data[head + 1]:
                raise FileFormatError(f"{where} has {name} of a dtype that is elsewhere in the file, which is not read")
            rank, old = _number(data, space + 1, 1), _number(data, space, 1) == 1
            count = prod(_number(data, space + (8 if old else 4) + 8 * i, 8) for i in range(rank))
            start = space + -(-_number(data, head + 6, 2) // padded) * padded
            if count > MOST_TEXTS:
                raise FileFormatError(f"{where} has {count} texts in {name}; at most {MOST_TEXTS} are read")
            whole = memoryview(data)[start : start + 16 * count]
            lengths = np.frombuffer(whole[: len(whole) // 16 * 16], "<u4")[::4]
            if len(lengths) < count or lengths.max(initial=0) > len(data):
                raise FileFormatError(
                    f"{where} is damaged: {name} is said to be of {int(lengths.max(initial=0))} bytes, the file has {len(data)}"
                )


def _number(data: Any, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "little")
