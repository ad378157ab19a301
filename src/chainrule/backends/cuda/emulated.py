"""A GPU made of the CPU: g++ compiles the same kernels against core/emulator.h. It is strict, so that what runs on it runs on
a GPU.

Device memory cannot be touched but by kernels and copies: at its addresses there is nothing for the host, which ends when it
reads there, as on a real machine. Work is done at once, but nothing may rely on that: whoever looks at memory that another
stream wrote, without an event or a wait between, gets a DeviceError, and what comes back from the device is rubbish until the
host waits for it. Memory that goes back is filled with NaN.
"""

from __future__ import annotations

import ctypes
import os
import threading
from bisect import bisect_right, insort
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...domain.errors import DeviceError, NotSupportedError
from .arena import MEMORY, Arena
from .arguments import packed
from .array import DeviceArray
from .driver import Properties
from .emulator import built, compiler
from .sources import INSTANCES

COUNT = 2  # devices, so that what belongs to which is tested


class Stream:
    """Work in order. ``clock`` counts it; ``seen`` says how far into each other stream it knows to be done."""

    def __init__(self, index: int, number: int) -> None:
        self.index, self.number = index, number
        self.clock = 0
        self.seen: dict[Any, int] = {}
        self.captured: list[Any] | None = None
        self.late: list[tuple[Any, bytes]] = []  # what the host is to see once it waited


class Event:
    """What was asked of a stream up to a point."""

    def __init__(self, stream: Stream) -> None:
        self.stream, self.clock, self.seen = stream, stream.clock, {**stream.seen, stream: stream.clock}


class Trace:
    """Who wrote to a piece of memory last, and who read it since: (stream, clock)."""

    __slots__ = ("written", "read")

    def __init__(self) -> None:
        self.written: tuple[Any, int] | None = None
        self.read: dict[Any, int] = {}


class Emulated:
    """The Driver of the emulator."""

    name = "emulated"
    sums_in_order = True

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.arenas = [Arena() for _ in range(COUNT)]
        self.host = Stream(-1, -1)  # what the host knows to be done
        self.traces: dict[int, Trace] = {}  # by the address of a piece that is lent
        self.sizes: dict[int, int] = {}
        self.starts: list[int] = []  # of these pieces, sorted
        self.streams: list[Stream] = []
        self.legacy: dict[tuple[int, int], Stream] = {}  # which every GPU has, by device and address
        self.libraries: list[Any] = []
        self.kernels: dict[str, dict[str, tuple[Any, int]]] = {}  # by room and instance: a library, and a number in it
        self.launches = 0

    def count(self) -> int:
        return COUNT

    def properties(self, index: int) -> Properties:
        return Properties("emulator", 90, 2, MEMORY, 48 * 1024)

    def memory(self, index: int) -> tuple[int, int]:
        return MEMORY - self.arenas[index].taken, MEMORY

    # ---- memory

    def allocate(self, index: int, nbytes: int) -> int | None:
        self.refuse_capture(index, "memory is asked of the driver")
        with self.lock:
            return self.arenas[index].allocate(nbytes)

    def free(self, index: int, address: int) -> None:
        self.refuse_capture(index, "memory is given back to the driver")
        with self.lock:
            self.arenas[index].free(address)

    def lent(self, address: int, nbytes: int) -> None:
        with self.lock:
            if address in self.sizes:
                raise DeviceError(f"the memory at {address:#x} is lent twice")
            trace = self.traces.get(address)
            self.traces[address] = trace or Trace()  # who used it before has to be done, too
            self.sizes[address] = nbytes
            insort(self.starts, address)
            self.arenas[self.device_of(address)].hide(address, nbytes, show=True)

    def returned(self, address: int) -> None:
        with self.lock:
            nbytes = self.sizes.pop(address)
            self.starts.remove(address)
            index = self.device_of(address)
            ctypes.memset(address + self.arenas[index].shift, 0xFF, nbytes)
            self.arenas[index].hide(address, nbytes)

    def device_of(self, address: int) -> int:
        """The device whose memory has an address. Errors: DeviceError for one of the host."""
        for index, arena in enumerate(self.arenas):
            if arena.start <= address < arena.start + MEMORY:
                return index
        raise DeviceError(f"the address {address:#x} is none of a device's memory")

    def piece(self, index: int, address: int, nbytes: int) -> int:
        """The start of the piece of memory that holds these bytes. Errors: DeviceError unless a piece that is lent does."""
        if self.device_of(address) != index:
            raise DeviceError(f"cuda:{index} was given memory of cuda:{self.device_of(address)}")
        place = bisect_right(self.starts, address) - 1
        if place >= 0:
            start = self.starts[place]
            if address + nbytes <= start + self.sizes[start]:
                return start
        raise DeviceError(
            f"the {nbytes} bytes at {address:#x} are not in memory that is in use: it was freed, or never was"
        )

    def pinned(self, nbytes: int) -> Any:
        return np.empty(nbytes, np.uint8)

    def piece_of(self, array: DeviceArray, index: int, name: str) -> int:
        """The piece of memory that an array looks at. Errors: DeviceError for one of another device."""
        first, last = array.extent()
        if array.gpu.driver is not self or array.gpu.index != index:
            raise DeviceError(f"[{name}] on cuda:{index} was given an array of {array.gpu.device}")
        found: int = self.piece(index, first, last - first)
        return found

    # ---- who may look at what

    def uses(self, stream: Stream, index: int, reads: Sequence[int], writes: Sequence[int]) -> None:
        """Note that work on a stream reads and writes pieces. Errors: DeviceError if others still work on them."""
        if stream.index != index:
            raise DeviceError(f"a stream of cuda:{stream.index} was given work of cuda:{index}")
        if stream.captured is not None:
            stream.captured.append((reads, writes))
            return
        stream.clock += 1
        for start in dict.fromkeys([*reads, *writes]):
            trace = self.traces[start]
            others = [] if trace.written is None else [(*trace.written, "writes")]
            if start in writes:
                others += [(s, clock, "reads") for s, clock in trace.read.items()]
            for other, clock, what in others:
                if other is not stream and max(stream.seen.get(other, 0), self.host.seen.get(other, 0)) < clock:
                    raise DeviceError(
                        f"stream {stream.number} of cuda:{index} uses memory that stream {other.number} still {what}: wait for "
                        "an event of that stream, or synchronize it, before"
                    )
            if start in writes:
                trace.written, trace.read = (stream, stream.clock), {}
            else:
                trace.read[stream] = stream.clock

    def refuse_capture(self, index: int, what: str) -> None:
        """Errors: DeviceError while a stream of the device is captured."""
        for stream in self.streams:
            if stream.index == index and stream.captured is not None:
                raise DeviceError(f"{what} while a stream of cuda:{index} is captured: it could not be done again")

    def do(self, stream: Stream, work: Any) -> None:
        """Do it now, or keep it."""
        if stream.captured is not None:
            stream.captured.append(work)
        else:
            work()

    # ---- work

    def upload(self, index: int, address: int, host: Any, stream: Stream) -> None:
        with self.lock:
            if not host.flags.c_contiguous:
                raise DeviceError("a copy to the device takes a dense array")
            self.refuse_capture(index, "an array of the host is copied")
            self.uses(stream, index, [], [self.piece(index, address, host.nbytes)])
            data = host.tobytes()
            place = address + self.arenas[index].shift
            self.do(stream, lambda: ctypes.memmove(place, data, len(data)))

    def download(self, index: int, host: Any, address: int, stream: Stream) -> None:
        with self.lock:
            self.uses(stream, index, [self.piece(index, address, host.nbytes)], [])
            if stream.captured is not None:
                raise DeviceError("a copy to the host while the stream is captured: a replay could not give it to you")
            stream.late.append((host, ctypes.string_at(address + self.arenas[index].shift, host.nbytes)))
            host.reshape(-1).view(np.uint8)[...] = 0xA5  # until somebody waits

    def copy(self, index: int, to: int, source: int, nbytes: int, stream: Stream) -> None:
        with self.lock:
            pieces = [self.piece(index, source, nbytes)], [self.piece(index, to, nbytes)]
            self.uses(stream, index, *pieces)
            shift = self.arenas[index].shift
            self.do(stream, lambda: ctypes.memmove(to + shift, source + shift, nbytes))

    def fill(self, index: int, address: int, byte: int, nbytes: int, stream: Stream) -> None:
        with self.lock:
            self.uses(stream, index, [], [self.piece(index, address, nbytes)])
            place = address + self.arenas[index].shift
            self.do(stream, lambda: ctypes.memset(place, byte, nbytes))

    def function(self, index: int, room: str, instance: str) -> Any:
        if instance not in self.kernels.get(room, {}):
            self.load(room)
        found = self.kernels[room].get(instance)
        if found is None:
            raise NotSupportedError(
                f"native/{room}/cuda.cu has no instance {instance}: declare it in backends/cuda/rooms/{room}.py"
            )
        return *found, f"{room}: {instance}"

    def load(self, room: str) -> None:
        """Compile what is new in a room, unless that was done before, and load it.

        Without the lock: the threads that wait for the compiler may collect garbage, and giving back its memory takes it.
        """
        known = self.kernels.setdefault(room, {})
        for path, names in built(room, [name for name in INSTANCES.get(room, ()) if name not in known]):
            library = ctypes.CDLL(str(path))
            library.chainrule_launch.restype = ctypes.c_char_p
            library.chainrule_launch.argtypes = [
                ctypes.c_int,
                ctypes.c_void_p,
                ctypes.c_void_p,
                ctypes.c_size_t,
                ctypes.c_void_p,
            ]
            library.chainrule_shuffle.argtypes = [ctypes.c_uint64]
            library.chainrule_shuffle(int(os.environ.get("CHAINRULE_CUDA_SHUFFLE") or 0))
            self.libraries.append(library)
            known.update((name, (library, number)) for number, name in enumerate(names))

    def shuffle(self, seed: int) -> None:
        """Run the threads of blocks in another order from now on; 0: in theirs."""
        os.environ["CHAINRULE_CUDA_SHUFFLE"] = str(seed)
        for library in self.libraries:
            library.chainrule_shuffle(seed)

    def launch(
        self,
        index: int,
        function: Any,
        blocks: Sequence[int],
        threads: Sequence[int],
        shared: int,
        stream: Stream,
        arguments: Sequence[Any],
        writes: int,
    ) -> None:
        library, number, name = function
        if not 0 < threads[0] * threads[1] * threads[2] <= 1024 or shared > 48 * 1024 or min(blocks) < 1:
            raise DeviceError(
                f"[{name}] cannot be launched with blocks {blocks}, threads {threads}, {shared} bytes shared"
            )
        with self.lock:
            pieces: list[list[int]] = []
            for a in arguments:
                if type(a) is DeviceArray or type(a) is tuple:
                    pieces.append(
                        [self.piece_of(x, index, name) for x in (a if type(a) is tuple else (a,)) if x is not None]
                    )
            self.uses(stream, index, sum(pieces[writes:], []), sum(pieces[:writes], []))
            frame = packed(arguments, self.arenas[index].shift)
            sizes = (ctypes.c_uint * 3)(*blocks), (ctypes.c_uint * 3)(*threads)
            self.launches += 1

            def work() -> None:
                error = library.chainrule_launch(number, sizes[0], sizes[1], shared, frame.pointers)
                if error:
                    raise DeviceError(f"[{name}] {error.decode()}")

            self.do(stream, work)
            if stream.captured is None:
                frame.free.append(frame)

    # ---- streams

    def stream(self, index: int) -> Stream:
        with self.lock:
            self.streams.append(Stream(index, len(self.streams)))
            return self.streams[-1]

    def address_of(self, stream: Stream) -> int:
        return stream.number + 3  # 1 and 2 mean the legacy streams

    def stream_at(self, index: int, address: int) -> Stream:
        if 3 <= address < 3 + len(self.streams):
            return self.streams[address - 3]
        if address not in (1, 2):
            raise DeviceError(f"there is no stream at {address:#x}")
        return self.legacy.setdefault((index, address), Stream(index, -1 - address))

    def synchronize(self, stream: Stream) -> None:
        self.refuse_capture(stream.index, "the host waits")
        with self.lock:
            self.known({**stream.seen, stream: stream.clock})
            for host, data in stream.late:
                host.reshape(-1).view(np.uint8)[...] = np.frombuffer(data, np.uint8)
            stream.late = []

    def known(self, seen: dict[Any, int]) -> None:
        """The host knows that this is done."""
        for stream, clock in seen.items():
            self.host.seen[stream] = max(clock, self.host.seen.get(stream, 0))

    def synchronize_device(self, index: int) -> None:
        for stream in [*self.streams]:
            if stream.index == index:
                self.synchronize(stream)

    def record(self, stream: Stream) -> Event:
        return Event(stream)

    def wait(self, stream: Stream, event: Event) -> None:
        with self.lock:
            for other, clock in event.seen.items():
                stream.seen[other] = max(clock, stream.seen.get(other, 0))

    def synchronize_event(self, event: Event) -> None:
        self.refuse_capture(event.stream.index, "the host waits")
        with self.lock:
            self.known(event.seen)

    def elapsed(self, first: Event, second: Event) -> float:
        return float(second.clock - first.clock)  # of a time that nobody can measure here: pieces of work

    # ---- recorded work

    def begin_capture(self, stream: Stream) -> None:
        if stream.captured is not None:
            raise DeviceError("the stream is being captured already")
        stream.captured = []

    def end_capture(self, stream: Stream) -> Any:
        graph, stream.captured = stream.captured, None
        return graph

    def replay(self, graph: Any, stream: Stream) -> None:
        with self.lock:
            for work in graph:
                if type(work) is tuple:
                    self.uses(stream, stream.index, *work)
                else:
                    work()


def connect() -> Emulated:
    """The driver. Errors: DeviceError without a compiler."""
    compiler()
    return Emulated()
