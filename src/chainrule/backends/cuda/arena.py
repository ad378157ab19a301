"""The memory of an emulated GPU: addresses that nobody may touch but its kernels and copies."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterator
from contextlib import contextmanager

MEMORY = 1 << 30  # of each device
PAGE = mmap.PAGESIZE
OPEN, SHUT = mmap.PROT_READ | mmap.PROT_WRITE, 0

libc = ctypes.CDLL(None, use_errno=True)
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
SANITIZED = hasattr(libc, "__asan_poison_memory_region")  # preloaded, for kernels built with -fsanitize=address


class Arena:
    """The memory of one device: addresses that are reserved, and accessible only inside ``open``."""

    def __init__(self) -> None:
        self.map = mmap.mmap(-1, MEMORY, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.start = ctypes.addressof(ctypes.c_char.from_buffer(self.map))
        self.used = self.taken = 0
        self.gaps: dict[int, list[int]] = {}  # addresses by size
        self.sizes: dict[int, int] = {}
        self.depth = 0
        libc.mprotect(self.start, MEMORY, SHUT)
        self.hide(self.start, MEMORY)

    def hide(self, address: int, nbytes: int, show: bool = False) -> None:
        """Tell the address sanitizer, if it watches, that nobody may touch these bytes; or that one may, again."""
        if SANITIZED:
            name = "__asan_unpoison_memory_region" if show else "__asan_poison_memory_region"
            getattr(libc, name)(ctypes.c_void_p(address), ctypes.c_size_t(nbytes))

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

    @contextmanager
    def open(self) -> Iterator[None]:
        """Inside, the host may look: it plays the device."""
        if self.depth == 0 and self.used:
            libc.mprotect(self.start, self.used, OPEN)
        self.depth += 1
        try:
            yield
        finally:
            self.depth -= 1
            if self.depth == 0 and self.used:
                libc.mprotect(self.start, self.used, SHUT)
