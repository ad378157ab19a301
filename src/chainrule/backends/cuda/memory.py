"""Memory of a GPU, kept for the next arrays: asking the driver costs a hundred times what a kernel launch does.

Small pieces are cut from segments of 2 MiB by size class, large ones are asked for by themselves. A piece that comes back is
kept for the stream on which it was lent: what follows on that stream runs after what used it.
"""

from __future__ import annotations

import sys
import threading
from bisect import bisect_right
from collections import Counter, defaultdict, deque
from contextlib import suppress
from functools import lru_cache
from typing import Any

from ...domain.errors import ChainruleError

SEGMENT = 2 << 20
SMALL = 1 << 20


class OutOfMemoryError(ChainruleError, MemoryError):
    """More memory of a GPU was asked for than there is."""


class Memory:
    """A piece of memory: ``size`` bytes from ``address`` on, of which ``nbytes`` were asked for.

    It goes back to its pool with its last array. ``owner`` is another piece that it is part of, and keeps.
    """

    __slots__ = ("address", "nbytes", "size", "pool", "stream", "owner", "__weakref__")

    def __init__(self, address: int, nbytes: int, size: int, pool: Any, stream: Any, owner: Any = None) -> None:
        self.address, self.nbytes, self.size, self.pool, self.stream = address, nbytes, size, pool, stream
        self.owner = owner

    def __del__(self, ended: Any = sys.is_finalizing) -> None:  # then the globals of modules are gone
        pool = self.pool
        if pool is not None and not ended():
            pool.take_back(self)


class Pool:
    """The memory of one GPU. ``limit`` is the most it takes from the driver, in bytes; None: all there is."""

    def __init__(self, driver: Any, index: int) -> None:
        self.driver, self.index = driver, index
        self.lock = threading.RLock()  # a piece may come back while one is lent: by the cycle collector
        self.free: dict[tuple[Any, int], list[int]] = defaultdict(list)  # addresses by stream and size
        self.whole: dict[int, tuple[int, int]] = {}  # what the driver gave, by address: bytes, and those in pieces
        self.back: deque[tuple[Any, int, int]] = deque()  # pieces that came back: their stream, size and address
        self.limit: int | None = None
        self.in_use = self.peak = self.reserved = self.allocations = self.hits = 0

    def lend(self, nbytes: int, stream: Any) -> Memory:
        """At least ``nbytes``, for work on ``stream``. Errors: OutOfMemoryError, with what is held and what helps."""
        size = rounded(nbytes)
        with self.lock:
            self.sort()
            self.allocations += 1
            places = self.free.get((stream, size))
            if places:
                self.hits += 1
                address = places.pop()
            elif size <= SMALL:
                address = self.cut(size, stream)
            else:
                address = self.ask(size, nbytes)
            self.in_use += size
            self.peak = max(self.peak, self.in_use)
            self.driver.lent(address, nbytes)
        return Memory(address, nbytes, size, self, stream)

    def take_back(self, memory: Memory) -> None:
        """Keep a piece for the next array.

        The cycle collector may call this anywhere, in a thread that has a lock of the driver, too: it waits for nobody.
        """
        self.back.append((memory.stream, memory.size, memory.address))
        if self.lock.acquire(blocking=False):
            try:
                self.sort()
            finally:
                self.lock.release()

    def sort(self) -> None:
        """Put what came back where it is found again; by the thread that has the lock."""
        while self.back:
            stream, size, address = self.back.popleft()
            self.in_use -= size
            self.driver.returned(address)
            self.free[stream, size].append(address)

    def cut(self, size: int, stream: Any) -> int:
        """A small piece, and the rest of its segment for pieces like it."""
        start = self.ask(SEGMENT, size)
        count = SEGMENT // size
        self.whole[start] = SEGMENT, count * size
        self.free[stream, size].extend(start + i * size for i in range(count - 1, 0, -1))
        return start

    def ask(self, size: int, wanted: int) -> int:
        """Memory from the driver; if there is none, once more after all that is not in use went back."""
        for again in (False, True):
            if self.limit is None or self.reserved + size <= self.limit:
                address = self.driver.allocate(self.index, size)
                if address is not None:
                    self.whole[address] = size, size
                    self.reserved += size
                    return int(address)
            if not again:
                self.empty()
        free, total = self.driver.memory(self.index)
        limit = "" if self.limit is None else f", and the limit is {mib(self.limit)} (cr.cuda.set_memory_limit)"
        raise OutOfMemoryError(
            f"cuda:{self.index} has no {mib(wanted)} more: tensors use {mib(self.in_use)} of the {mib(self.reserved)} that are "
            f"held, {mib(free)} of {mib(total)} are free{limit}; make the batch smaller, use checkpoint() or bfloat16, or "
            "drop what still holds tensors"
        )

    def empty(self) -> None:
        """Give back to the driver what no array uses: large pieces, and segments all of whose pieces are here."""
        with self.lock:
            self.sort()
            self.driver.synchronize_device(self.index)
            pieces: dict[int, int] = defaultdict(int)  # bytes that are here, by segment
            starts = sorted(self.whole)
            for (_, size), places in self.free.items():
                for address in places:
                    pieces[owner(starts, address)] += size
            gone = {start for start, held in pieces.items() if held == self.whole[start][1]}
            for key, places in [*self.free.items()]:
                self.free[key] = [a for a in places if owner(starts, a) not in gone]
            for start in gone:
                self.reserved -= self.whole.pop(start)[0]
                self.driver.free(self.index, start)

    def stats(self) -> dict[str, int]:
        """In bytes: ``in_use``, its ``peak``, ``reserved`` from the driver; how often a piece was asked for, and was here."""
        with self.lock:
            self.sort()
            return {
                "in_use": self.in_use,
                "peak": self.peak,
                "reserved": self.reserved,
                "cached": self.reserved - self.in_use,
                "allocations": self.allocations,
                "hits": self.hits,
            }


class Stock(Pool):
    """A pool that goes: with the last array that lies in its memory."""

    def __del__(self, ended: Any = sys.is_finalizing) -> None:
        if not ended():
            with suppress(Exception):  # the driver may be gone
                self.empty()


class Rehearsal(Stock):
    """A pool that notes how many pieces of each size were out at once: a captured step cannot ask the driver for more."""

    def __init__(self, driver: Any, index: int) -> None:
        super().__init__(driver, index)
        self.out: Counter[int] = Counter()
        self.most: Counter[int] = Counter()

    def lend(self, nbytes: int, stream: Any) -> Memory:
        found = super().lend(nbytes, stream)
        self.out[found.size] += 1
        self.most[found.size] = max(self.most[found.size], self.out[found.size])
        return found

    def take_back(self, memory: Memory) -> None:
        self.out[memory.size] -= 1
        super().take_back(memory)

    def stocked(self, stream: Any) -> Pool:
        """A pool that has as many pieces of each size ready. It gives all back to the driver when nothing needs it any more."""
        pool = Stock(self.driver, self.index)
        pieces = [pool.lend(size, stream) for size, count in self.most.items() for _ in range(count)]
        del pieces
        return pool


@lru_cache(4096)
def rounded(nbytes: int) -> int:
    """The size class of a piece: a quarter of a power of two, at least 512 bytes; above 1 MiB, whole 2 MiB.

    >>> rounded(1), rounded(1100), rounded(3 << 20)
    (512, 1280, 4194304)
    """
    if nbytes > SMALL:
        return -(-nbytes // SEGMENT) * SEGMENT
    if nbytes <= 512:
        return 512
    step = 1 << max((nbytes - 1).bit_length() - 3, 8)
    return -(-nbytes // step) * step


def owner(starts: list[int], address: int) -> int:
    """The last of the sorted ``starts`` that is not behind ``address``."""
    return starts[bisect_right(starts, address) - 1]


def mib(nbytes: int) -> str:
    """A number of bytes in words.

    >>> mib(3 << 20)
    '3.0 MiB'
    """
    return f"{nbytes / (1 << 20):.1f} MiB"
