"""The memory of an emulated GPU: addresses that nobody may touch, and where kernels and copies find what lies there.

The addresses that are handed out are reserved, and never accessible: the host that reads one ends. What is there lies ``shift``
bytes further on, which only the emulated driver knows. Opening and closing one memory instead cost milliseconds a launch.
"""

from __future__ import annotations

import ctypes
import mmap

MEMORY = 1 << 30  # of each device
PAGE = mmap.PAGESIZE
SHUT = 0

libc = ctypes.CDLL(None, use_errno=True)
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
SANITIZED = hasattr(libc, "__asan_poison_memory_region")  # preloaded, for kernels built with -fsanitize=address


class Arena:
    """The memory of one device: from ``start`` on addresses for the world, ``shift`` bytes behind them the memory."""

    def __init__(self) -> None:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        self.maps = mmap.mmap(-1, MEMORY, flags=flags), mmap.mmap(-1, MEMORY, flags=flags)
        self.start, real = (ctypes.addressof(ctypes.c_char.from_buffer(m)) for m in self.maps)
        self.shift = real - self.start
        self.used = self.taken = 0
        self.gaps: dict[int, list[int]] = {}  # addresses by size
        self.sizes: dict[int, int] = {}
        libc.mprotect(self.start, MEMORY, SHUT)
        self.hide(self.start, MEMORY)

    def hide(self, address: int, nbytes: int, show: bool = False) -> None:
        """Tell the address sanitizer, if it watches, that nobody may touch these bytes; or that one may, again."""
        if SANITIZED:
            name = "__asan_unpoison_memory_region" if show else "__asan_poison_memory_region"
            getattr(libc, name)(ctypes.c_void_p(address + self.shift), ctypes.c_size_t(nbytes))

    def allocate(self, nbytes: int) -> int | None:
        size = -(-nbytes // PAGE) * PAGE
        if self.gaps.get(size):
            address = self.gaps[size].pop()
        elif self.used + size <= MEMORY:
            address = self.start + self.used
            self.used += size
        else:
            return None
        self.sizes[address] = size
        self.taken += size
        return address

    def free(self, address: int) -> None:
        size = self.sizes.pop(address)
        self.taken -= size
        self.gaps.setdefault(size, []).append(address)
