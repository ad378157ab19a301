"""What the backend asks of a GPU, and which of two answers: NVIDIA's driver, or the emulated one, on the CPU.

``CHAINRULE_CUDA_DRIVER`` chooses: ``nvidia`` (unless it says otherwise) or ``emulated``. What is written first in a list of
arguments is what a kernel writes to: the emulated driver checks who may look at what.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, Protocol

from ...domain.errors import DeviceError, unknown

Handle = Any  # a stream, an event, a graph: opaque to all but its driver


@dataclass(frozen=True)
class Properties:
    """What a GPU is: ``capability`` 90 is compute capability 9.0, ``memory`` its bytes."""

    name: str
    capability: int
    multiprocessors: int
    memory: int
    shared_memory: int  # the most one block may ask for, in bytes


class Driver(Protocol):
    """One kind of GPU. Devices are numbers from 0, addresses integers; sizes are bytes."""

    name: str
    sums_in_order: bool  # whether atomic additions come in the same order each time
    launches: int  # of kernels, so far

    def count(self) -> int: ...
    def properties(self, index: int) -> Properties: ...
    def memory(self, index: int) -> tuple[int, int]:
        """Free and in all."""

    # memory; ``lent`` and ``returned`` tell which pieces of it arrays use
    def allocate(self, index: int, nbytes: int) -> int | None:
        """An address, or None if there is not as much."""

    def free(self, index: int, address: int) -> None: ...
    def lent(self, address: int, nbytes: int) -> None: ...
    def returned(self, address: int) -> None: ...
    def device_of(self, address: int) -> int:
        """The device in whose memory an address is. Errors: DeviceError if it is in none's."""

    def pinned(self, nbytes: int) -> Any:
        """Bytes of the host that a copy can read or write while the host goes on (a NumPy array)."""

    # work on a stream: all of it comes back at once, and is done in order
    def upload(self, index: int, address: int, host: Any, stream: Handle) -> None:
        """Copy a dense NumPy array to the device. It may be changed afterwards unless it is pinned."""

    def download(self, index: int, host: Any, address: int, stream: Handle) -> None:
        """Copy to a dense NumPy array, whose values are there after ``synchronize``."""

    def copy(self, index: int, to: int, source: int, nbytes: int, stream: Handle) -> None: ...
    def fill(self, index: int, address: int, byte: int, nbytes: int, stream: Handle) -> None: ...
    def function(self, index: int, room: str, instance: str) -> Any:
        """A kernel of ``native/<room>/cuda.cu``, compiled: ``unary<exp_f, float>``. Errors: NotSupportedError."""

    def launch(
        self,
        index: int,
        function: Any,
        blocks: Sequence[int],
        threads: Sequence[int],
        shared: int,
        stream: Handle,
        arguments: Sequence[Any],
        writes: int,
    ) -> None:
        """Run a kernel. ``arguments``: DeviceArray or None (a pointer), int (int64_t), float (double), bytes (a structure).

        The first ``writes`` arrays are written to, the others read.
        """

    def shuffle(self, seed: int) -> None:
        """Run the threads of blocks in another order, where that can be chosen; 0: in theirs."""

    # streams and events
    def stream(self, index: int) -> Handle: ...
    def address_of(self, stream: Handle) -> int:
        """What other libraries know a stream by."""

    def stream_at(self, index: int, address: int) -> Handle:
        """The stream that another library knows by an address; 1 is the legacy default stream, 2 that of the thread."""

    def synchronize(self, stream: Handle) -> None: ...
    def synchronize_device(self, index: int) -> None: ...
    def record(self, stream: Handle) -> Handle:
        """An event: all that was asked of the stream so far."""

    def wait(self, stream: Handle, event: Handle) -> None:
        """What follows on the stream begins after the event."""

    def synchronize_event(self, event: Handle) -> None: ...
    def elapsed(self, first: Handle, second: Handle) -> float:
        """Milliseconds between two events that are over."""

    # recorded work
    def begin_capture(self, stream: Handle) -> None:
        """What is asked of the stream from now on is not done but kept."""

    def end_capture(self, stream: Handle) -> Handle:
        """What was kept: a graph."""

    def replay(self, graph: Handle, stream: Handle) -> None: ...


class Forked:
    """What is left of a driver in a process made by fork()."""

    def __getattr__(self, name: str) -> Any:
        raise DeviceError("a process made by fork() cannot use the GPU of its parent: start it with 'spawn'")

    def returned(self, address: int) -> None:
        """Memory of the parent, which has it still."""


@cache
def connected() -> Any:
    """The driver that ``CHAINRULE_CUDA_DRIVER`` names. Errors: DeviceError, which says what is missing and how to get it."""
    name = os.environ.get("CHAINRULE_CUDA_DRIVER") or "nvidia"
    if name not in ("nvidia", "emulated"):
        raise unknown("CUDA driver (CHAINRULE_CUDA_DRIVER)", name, ["nvidia", "emulated"])
    return import_module(f"{__package__}.{name}").connect()
