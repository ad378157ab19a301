"""One GPU at work: its memory, its stream, its kernels. What the rooms of this backend are written with."""

from __future__ import annotations

import math
import os
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any
from weakref import ref

import numpy as np

from ...domain.device import Device
from ...domain.errors import DeviceError, IndexRangeError
from .array import DeviceArray
from .driver import Forked
from .memory import Memory, Pool, Rehearsal

THREADS = 256  # of a block, where nothing speaks for another number
MAX_AXES = 12  # of a Layout, core/device.cuh

# What kernels report, by number: the error, from the value, its limit and the axis
FAULTS: list[Any] = [None]


def fault(error: type[Exception], message: str) -> int:
    """A number for kernels to ``report``. ``message`` may use {value}, {limit}, {last} before it, and {axis}."""
    FAULTS.append((error, message))
    return len(FAULTS) - 1


def out_of_range(name: str) -> int:
    """The fault of an index that is not in its axis."""
    return fault(IndexRangeError, f"[{name}] index {{value}} is out of range for axis {{axis}}, which has {{limit}}")


class Gpu:
    """Device ``index`` of a driver. ``stream`` is the one on which this thread works."""

    def __init__(self, driver: Any, index: int) -> None:
        self.driver, self.index = driver, index
        self.device = Device(f"cuda:{index}")
        self.properties = driver.properties(index)
        self.pool = Pool(driver, index)
        self.default_stream = driver.stream(index)
        self.own = threading.local()
        self.functions: dict[tuple[str, str], Any] = {}
        self.copies = {"in": 0, "out": 0, "waits": 0}  # between host and device, and waits of the host
        self.faults = self.upload(np.zeros(4, np.int64))
        self.faulty = False  # whether a kernel that may report was launched since the last look
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=partial(left_behind, ref(self)))

    @property
    def stream(self) -> Any:
        """The stream on which this thread works."""
        return getattr(self.own, "stream", None) or self.default_stream

    # ---- memory

    def empty(self, shape: tuple[int, ...], dtype: Any) -> DeviceArray:
        """New memory, whatever is in it."""
        dtype = dtype if type(dtype) is np.dtype or isinstance(dtype, np.dtype) else np.dtype(str(dtype))
        nbytes = math.prod(shape) * dtype.itemsize
        pool = getattr(self.own, "pool", None) or self.pool  # a step that is captured has one of its own
        return DeviceArray(self, pool.lend(nbytes, self.stream), shape, dtype)

    def upload(self, data: Any) -> DeviceArray:
        """A copy on the device of a NumPy array, or of a number."""
        host = np.asarray(data)
        array = self.empty(host.shape, host.dtype)
        if host.size:
            self.copies["in"] += 1
            self.driver.upload(self.index, array.pointer, np.ascontiguousarray(host), self.stream)
        return array

    def download(self, array: DeviceArray) -> Any:
        """The values as a NumPy array. It waits for the stream, and raises what kernels reported."""
        host = np.empty(array.shape, array.dtype)
        source = self.dense(array)
        if host.size:
            self.copies["out"] += 1
            self.driver.download(self.index, host, source.pointer, self.stream)
        self.synchronize()
        return host

    def synchronize(self) -> None:
        """Wait until all that was asked of the stream is done. Errors: what kernels found wrong."""
        self.copies["waits"] += 1
        self.driver.synchronize(self.stream)
        if self.faulty:
            self.faulty = False
            found = np.zeros(4, np.int64)
            self.driver.download(self.index, found, self.faults.pointer, self.stream)
            self.driver.synchronize(self.stream)
            if found[0]:
                self.driver.fill(self.index, self.faults.pointer, 0, 32, self.stream)
                error, message = FAULTS[int(found[0])]
                value, limit, axis = (int(v) for v in found[1:])
                raise error(message.format(value=value, limit=limit, last=limit - 1, axis=axis))

    def dense(self, array: DeviceArray) -> DeviceArray:
        """The array if it lies in row-major order, else a copy that does."""
        return array if array.dense else copied(self, array)

    # ---- kernels

    def function(self, room: str, instance: str) -> Any:
        """A kernel of ``native/<room>/cuda.cu``, compiled. Errors: NotSupportedError, DeviceError."""
        if (room, instance) not in self.functions:
            self.functions[room, instance] = self.driver.function(self.index, room, instance)
        return self.functions[room, instance]

    def launch(
        self,
        room: str,
        instance: str,
        blocks: int | Sequence[int],
        threads: int | Sequence[int],
        *arguments: Any,
        writes: int = 1,
        shared: int = 0,
    ) -> None:
        """Run a kernel of ``native/<room>/cuda.cu``. What it writes to stands first: ``writes`` arrays or tuples of arrays.

        Arguments: DeviceArray and None are pointers, int is int64_t, float is double, bytes a structure, a tuple a structure
        of pointers.
        """
        function = self.functions.get((room, instance)) or self.function(room, instance)
        grid = (blocks, 1, 1) if isinstance(blocks, int) else (*blocks, 1, 1)[:3]
        block = (threads, 1, 1) if isinstance(threads, int) else (*threads, 1, 1)[:3]
        self.driver.launch(self.index, function, grid, block, shared, self.stream, arguments, writes)

    def each(self, room: str, instance: str, n: int, *arguments: Any, writes: int = 1) -> None:
        """Run a kernel that shares out ``n`` pieces of work with EACH; none for no work."""
        if n:
            threads = THREADS if n >= THREADS else -(-n // 32) * 32
            blocks = min(-(-n // threads), 16 * self.properties.multiprocessors)
            self.launch(room, instance, blocks, threads, *arguments, writes=writes)

    @contextmanager
    def memory_from(self, pool: Any) -> Iterator[None]:
        """New arrays of this thread lie in the memory of another pool."""
        self.own.pool = pool
        try:
            yield
        finally:
            self.own.pool = None

    # ---- recorded steps

    def rehearsal(self) -> Rehearsal:
        """A pool that notes what a step takes."""
        return Rehearsal(self.driver, self.index)

    @contextmanager
    def captured(self) -> Iterator[list[Any]]:
        """What is asked of the stream inside is kept, not done: the list holds the graph afterwards."""
        found: list[Any] = []
        self.driver.begin_capture(self.stream)
        try:
            yield found
        finally:
            found.append(self.driver.end_capture(self.stream))

    def twin(self, array: DeviceArray) -> DeviceArray:
        """New memory in which elements lie as those of ``array`` do."""
        low, high = array.extent()
        memory = self.pool.lend(high - low, self.stream)
        return DeviceArray(self, memory, array.shape, array.dtype, array.strides, array.pointer - low)

    def copy_into(self, y: DeviceArray, x: DeviceArray) -> None:
        """Write ``x``, of the same dtype, to ``y``, broadcast to its shape."""
        copy_into(self, y, x)

    def handed_out(self, array: DeviceArray, lent: dict[int, Memory]) -> DeviceArray:
        """``array`` under a name of its memory that others may hold; ``lent`` has these names, by the memory."""
        own = array.memory
        if own.pool is not None and id(own) not in lent:
            lent[id(own)] = Memory(own.address, own.nbytes, own.size, None, own.stream, own)
        memory = lent.get(id(own), own)
        return DeviceArray(self, memory, array.shape, array.dtype, array.strides, array.offset)

    def moved(self, memory: Memory) -> None:
        """Take what lies under such a name to memory of its own."""
        new = self.pool.lend(memory.nbytes, self.stream)
        self.driver.copy(self.index, new.address, memory.address, memory.nbytes, self.stream)
        memory.address, memory.size, memory.stream, memory.pool = new.address, new.size, new.stream, new.pool
        new.pool = memory.owner = None

    def reporting(self) -> DeviceArray:
        """Where a kernel reports what is wrong: its argument ``int64_t* fault``."""
        self.faulty = True
        return self.faults


def left_behind(gpu: Any) -> None:
    """In a process made by fork() nothing works that the parent began."""
    if (found := gpu()) is not None:
        found.driver = found.pool.driver = Forked()


@lru_cache(4096)
def layout(shape: tuple[int, ...], *strides: tuple[int, ...]) -> tuple[bytes, int]:
    """A Layout for kernels of axes that are walked together, as few as will do; and how many neighbours lie ``together``.

    ``strides`` are in elements, one tuple for each array.
    """
    sizes, steps = merged(shape, *strides)
    if len(sizes) > MAX_AXES:
        raise DeviceError(f"a kernel takes at most {MAX_AXES} axes that do not merge; the shape is {shape}")
    rest = MAX_AXES - len(sizes)
    apart = max(
        (sum(abs(s[k]) * (n - 1) for n, s in zip(sizes, steps, strict=True)) for k in range(len(strides))), default=0
    )
    small = max(apart, math.prod(sizes)) < 1 << 31
    neighbours = together(sizes, steps)
    words = [len(sizes), small, neighbours, *sizes, *[1] * rest]
    words += [*(divisor(n) if small else 0 for n in sizes), *[0] * rest]
    for k in range(len(strides)):
        words += [*(s[k] for s in steps), *[0] * rest]
    return struct.pack(f"{len(words)}q", *words), neighbours


def merged(shape: tuple[int, ...], *strides: tuple[int, ...]) -> tuple[list[int], list[list[int]]]:
    """Axes as few as will do: their sizes, and for each its step in each array.

    >>> merged((4, 1, 2, 3), (6, 6, 3, 1), (3, 0, 0, 1))
    ([4, 2, 3], [[6, 3], [3, 0], [1, 1]])
    """
    sizes: list[int] = []
    steps: list[list[int]] = []
    for d, n in enumerate(shape):
        if n == 1:
            continue
        mine = [s[d] for s in strides]
        if sizes and all(before == own * n for before, own in zip(steps[-1], mine, strict=True)):
            sizes[-1] *= n
            steps[-1] = mine
        else:
            sizes.append(n)
            steps.append(mine)
    return sizes, steps


def together(sizes: list[int], steps: list[list[int]]) -> int:
    """How many neighbours along the last axis, at most 16, lie one after another or are one element in each array.

    >>> together([3, 8], [[8, 8, 0], [1, 1, 1]]), together([8], [[2]]), together([8], [[1]])
    (8, 1, 16)
    """
    if not sizes or any(s not in (0, 1) for s in steps[-1]):
        return 1
    apart = [s[k] for s in steps[:-1] for k in range(len(s)) if steps[-1][k]] + sizes[-1:] * (len(sizes) > 1)
    return math.gcd(16, *apart)


def divisor(n: int) -> int:
    """What dividing a number below 2**31 by ``n`` is done with: a multiplier of 32 bits, and a shift above it.

    >>> (12345 + (12345 * (divisor(7) & 0xFFFFFFFF) >> 32)) >> (divisor(7) >> 32), 12345 // 7
    (1763, 1763)
    """
    shift = max(n - 1, 0).bit_length()
    return shift << 32 | ((1 << 32) * ((1 << shift) - n) // n + 1 if n else 1)


def spread(array: DeviceArray, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides, in elements, with which ``array`` is broadcast to ``shape``."""
    lead = len(shape) - len(array.shape)
    steps = array.steps
    return (0,) * lead + tuple(
        0 if n == 1 and m != 1 else s for n, m, s in zip(array.shape, shape[lead:], steps, strict=True)
    )


def copied(gpu: Gpu, x: DeviceArray) -> DeviceArray:
    """The same values in row-major order, in new memory."""
    y = gpu.empty(x.shape, x.dtype)
    copy_into(gpu, y, x)
    return y


def copy_into(gpu: Gpu, y: DeviceArray, x: DeviceArray) -> None:
    """Write ``x``, of the same dtype, to ``y``, broadcast to its shape."""
    if x.dense and y.dense and x.shape == y.shape:
        if y.size:
            gpu.driver.copy(gpu.index, y.pointer, x.pointer, y.nbytes, gpu.stream)
        return
    where, n, pack, tiles = copying(y.shape, y.steps, spread(x, y.shape))
    if tiles is None:
        gpu.each("memory", f"copy<{y.itemsize}>", -(-n // min(pack, 16 // y.itemsize)), y, x, where, n)
    else:
        blocks = min(tiles[0], 32 * gpu.properties.multiprocessors)
        gpu.launch("memory", f"transpose<{y.itemsize}>", blocks, (32, 8), y, x, where, *tiles)


@lru_cache(4096)
def copying(shape: tuple[int, ...], to: tuple[int, ...], of: tuple[int, ...]) -> tuple[bytes, int, int, Any]:
    """How elements are copied, whose steps are ``to`` and ``of``: a Layout, their number, how many neighbours lie together.

    And for a transposition, neighbours on either side but along different axes: the number of tiles, and the numbers that
    its kernel takes; the Layout is then of the other axes.
    """
    sizes, steps = merged(shape, to, of)
    n = math.prod(shape)
    ours = [d for d, s in enumerate(steps) if s[0] == 1 != s[1]]
    theirs = [d for d, s in enumerate(steps) if s[1] == 1 != s[0]]
    if n and len(ours) == len(theirs) == 1 and min(sizes[ours[0]], sizes[theirs[0]]) >= 8:
        a, b = ours[0], theirs[0]
        rest = [d for d in range(len(sizes)) if d not in (a, b)]
        where, _ = layout(tuple(sizes[d] for d in rest), *(tuple(steps[d][k] for d in rest) for k in (0, 1)))
        count = -(-sizes[a] // 32) * -(-sizes[b] // 32) * math.prod(sizes[d] for d in rest)
        return where, n, 1, (count, sizes[a], sizes[b], steps[b][0], steps[a][1])
    where, neighbours = layout(shape, to, of)
    return where, n, neighbours, None
