"""GPUs: what there are, their memory, and work on several streams.

Everything else is said with a device: ``cr.tensor(data, device="cuda")``, ``model.to("cuda:1")``. Without a GPU all of this
can be imported, and ``is_available()`` is False.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from . import backends
from .domain.device import Device
from .domain.errors import ArgumentError, DeviceError, unknown
from .modes import matmul_precision


def gpu_of(device: Any) -> Any:
    """The Gpu of a device; of the first, if it is None. Errors: DeviceError if it is not there."""
    found = Device("cuda" if device is None else f"cuda:{device}" if isinstance(device, int) else device)
    if found.kind != "cuda":
        raise DeviceError(f"{found} is no GPU: give 'cuda:0' or a number")
    return backends.get(found).gpu


def is_available() -> bool:
    """Whether there is a GPU that can be used.

    >>> is_available() == (device_count() > 0)
    True
    """
    return device_count() > 0


def device_count() -> int:
    """How many GPUs can be used; 0 without a driver, or without the packages that ``chainrule[cuda]`` installs.

    >>> device_count() >= 0
    True
    """
    try:
        return int(gpu_of(0).driver.count())
    except DeviceError:
        return 0


def get_device_properties(device: Any = None) -> Any:
    """Name, compute capability (90 is 9.0), multiprocessors and memory, in bytes, of a GPU. Errors: DeviceError."""
    return gpu_of(device).properties


def synchronize(device: Any = None) -> None:
    """Wait until a GPU has done all that was asked of it by this thread's stream, and then of all others.

    Errors: what kernels found wrong since the last wait, such as IndexRangeError.
    """
    gpu = gpu_of(device)
    gpu.synchronize()
    gpu.driver.synchronize_device(gpu.index)


def memory_stats(device: Any = None) -> dict[str, int]:
    """In bytes: ``in_use`` by tensors, its ``peak``, ``reserved`` from the driver, ``cached``, and ``limit`` if one is set.

    ``allocations`` counts pieces that were asked for, ``hits`` those that were there.
    """
    stats: dict[str, int] = gpu_of(device).pool.stats()
    return stats


def reset_peak_memory_stats(device: Any = None) -> None:
    """Begin to look for the ``peak`` anew."""
    pool = gpu_of(device).pool
    pool.peak = pool.in_use


def empty_cache(device: Any = None) -> None:
    """Give the memory that no tensor uses back to the driver."""
    gpu_of(device).pool.empty()


def set_memory_limit(nbytes: int | None, device: Any = None) -> None:
    """Take at most so many bytes from the driver; None: all there are. Errors: ArgumentError below 0."""
    if nbytes is not None and (isinstance(nbytes, bool) or not isinstance(nbytes, int) or nbytes < 0):
        raise ArgumentError(f"[set_memory_limit] nbytes is {nbytes!r}; give a number of bytes, 0 or more, or None")
    gpu_of(device).pool.limit = nbytes


def set_float32_matmul_precision(precision: str) -> None:
    """How products and convolutions of float32 are computed: "highest" in float32, "high" in TF32, on tensor cores.

    TF32 has the range of float32 and 10 bits of fraction; sums stay in float32. For all threads; steps
    recorded before are recorded anew. Source: NVIDIA A100 Tensor Core GPU Architecture, 2020. Errors: ArgumentError.

    >>> set_float32_matmul_precision("highest")
    >>> get_float32_matmul_precision()
    'highest'
    """
    if precision not in ("highest", "high"):
        raise unknown("precision of float32 products", precision, ["highest", "high"])
    matmul_precision[0] = precision


def get_float32_matmul_precision() -> str:
    """What ``set_float32_matmul_precision`` was told; "highest" unless it was."""
    return matmul_precision[0]


class Event:
    """A point in the work of a stream: what was asked of it before ``record``."""

    def __init__(self) -> None:
        self.gpu: Any = None
        self.handle: Any = None

    def record(self, stream: Stream | None = None) -> Event:
        """All that was asked so far of a stream; of this thread's, if it is None."""
        stream = stream or current_stream()
        self.gpu, self.handle = stream.gpu, stream.gpu.driver.record(stream.handle)
        return self

    def synchronize(self) -> None:
        """Wait for it."""
        self._recorded().driver.synchronize_event(self.handle)

    def elapsed_time(self, later: Event) -> float:
        """Milliseconds from this event to a later one; waits for both."""
        self.synchronize()
        later.synchronize()
        return float(self._recorded().driver.elapsed(self.handle, later.handle))

    def _recorded(self) -> Any:
        if self.gpu is None:
            raise DeviceError("the event was not recorded yet: event.record() first")
        return self.gpu


class Stream:
    """Work in order on a GPU, beside that of other streams: ``with cr.cuda.stream(Stream()): ...``.

    A tensor that one stream makes and another uses needs ``wait_stream`` or ``wait_event`` between.
    """

    def __init__(self, device: Any = None, *, handle: Any = None) -> None:
        self.gpu = gpu_of(device)
        self.handle = self.gpu.driver.stream(self.gpu.index) if handle is None else handle

    @property
    def device(self) -> Device:
        """Its GPU."""
        device: Device = self.gpu.device
        return device

    def synchronize(self) -> None:
        """Wait until its work is done."""
        self.gpu.driver.synchronize(self.handle)

    def record_event(self) -> Event:
        """What was asked of it so far."""
        return Event().record(self)

    def wait_event(self, event: Event) -> None:
        """What follows begins after the event."""
        event._recorded()
        self.gpu.driver.wait(self.handle, event.handle)

    def wait_stream(self, other: Stream) -> None:
        """What follows begins after what was asked of another stream so far."""
        self.wait_event(other.record_event())

    def __repr__(self) -> str:
        return f"Stream({str(self.device)!r})"


def current_stream(device: Any = None) -> Stream:
    """The stream on which this thread works."""
    gpu = gpu_of(device)
    return Stream(gpu.index, handle=gpu.stream)


@contextmanager
def stream(given: Stream) -> Iterator[Stream]:
    """Work on a stream inside the block, in this thread."""
    own = given.gpu.own
    before = getattr(own, "stream", None)
    own.stream = given.handle
    try:
        yield given
    finally:
        own.stream = before
