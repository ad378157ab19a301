"""Batches on their way to a GPU while it works on the one before."""

from __future__ import annotations

import threading
from functools import cache
from typing import Any

import numpy as np

SLOTS, ALIGNMENT = 2, 256


class Slot:
    """A place for a batch on the way: ``page`` in pinned memory of the host, ``array`` on the GPU."""

    def __init__(self) -> None:
        self.page: Any = np.empty(0, np.uint8)
        self.array: Any = None
        self.arrived: Any = None  # an event: what is on the page has been copied
        self.free: Any = None  # an event: what is on the GPU has been taken


class Staging:
    """The way of batches to one GPU.

    A batch is laid out in pinned memory and copied from there by a stream of its own, which waits for nothing but the slot.
    The stream of the caller waits for the copy, on the GPU, and takes the batch to memory that is the caller's. The host
    goes on at once: while the GPU makes a step the next batch is copied, and the host is at most SLOTS batches ahead.
    """

    def __init__(self, gpu: Any) -> None:
        self.gpu, self.lock = gpu, threading.Lock()
        self.stream = gpu.driver.stream(gpu.index)
        self.slots = [Slot() for _ in range(SLOTS)]

    def put(self, parts: list[Any]) -> list[Any]:
        """NumPy arrays as arrays of the GPU, in the order of this thread's stream."""
        parts = [np.ascontiguousarray(part).reshape(part.shape) for part in parts]
        starts, size = [], 0
        for part in parts:
            starts.append(size)
            size += -(-part.nbytes // ALIGNMENT) * ALIGNMENT
        gpu, driver = self.gpu, self.gpu.driver
        if not size:
            return [gpu.empty(part.shape, part.dtype) for part in parts]
        with self.lock:
            slot = self.slots[0]
            self.slots.append(self.slots.pop(0))
            if slot.arrived is not None:
                driver.synchronize_event(slot.arrived)  # SLOTS batches ago: it is over, unless the GPU lags behind
            if slot.page.size < size:
                self.widen(slot, size)
            for part, start in zip(parts, starts, strict=True):
                slot.page[start : start + part.nbytes] = part.reshape(-1).view(np.uint8)
            if slot.free is not None:
                driver.wait(self.stream, slot.free)
            gpu.copies["in"] += 1
            driver.upload(gpu.index, slot.array.pointer, slot.page[:size], self.stream)
            slot.arrived = driver.record(self.stream)
            driver.wait(gpu.stream, slot.arrived)
            found = []
            for part, start in zip(parts, starts, strict=True):
                taken = gpu.empty(part.shape, part.dtype)
                if part.size:
                    driver.copy(gpu.index, taken.pointer, slot.array.pointer + start, part.nbytes, gpu.stream)
                found.append(taken)
            slot.free = driver.record(gpu.stream)
        return found

    def widen(self, slot: Slot, size: int) -> None:
        """Make room for batches of ``size`` bytes."""
        if slot.free is not None:
            self.gpu.driver.synchronize_event(slot.free)  # another thread's stream may still take what is there
        size = 1 << max(size - 1, 0).bit_length()
        slot.page = self.gpu.driver.pinned(size)
        slot.array = self.gpu.empty((size,), np.dtype(np.uint8))
        slot.free = self.gpu.driver.record(self.gpu.stream)  # whoever had that memory before is done with it


@cache
def staging(gpu: Any) -> Staging:
    """The way to a GPU, of all loaders."""
    return Staging(gpu)
