"""The GPUs of NVIDIA's driver, through ``cuda.bindings``: each method is a call or two of the driver's interface."""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from typing import Any
from weakref import finalize

import numpy as np

from ...domain.errors import DeviceError
from . import nvrtc
from .arguments import packed
from .driver import Properties

OUT_OF_MEMORY = 2
NON_BLOCKING = 1  # a stream that does not wait for the legacy one
PORTABLE = 1  # pinned memory for all devices
OLDEST = 12000  # the driver's CUDA version, as cuDriverGetVersion says it

KERNEL_FAULT = (
    "a kernel went wrong, and this process can use the GPU no more; CUDA_LAUNCH_BLOCKING=1 tells which, "
    "compute-sanitizer where"
)
# What an error of the driver means here
HINTS = {
    "CUDA_ERROR_NOT_INITIALIZED": "a process made by fork() cannot use the GPU of its parent: start it with 'spawn'",
    "CUDA_ERROR_NO_DEVICE": "the driver sees no GPU: look at nvidia-smi and CUDA_VISIBLE_DEVICES",
    "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH": "the driver was renewed: start the machine again",
    "CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE": "the driver is older than its user part: install a newer one",
    "CUDA_ERROR_NO_BINARY_FOR_GPU": "the kernel was compiled for another kind of GPU",
    "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED": "this cannot be done while a stream is captured",
    "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED": "a call that failed before ended the capture",
    **dict.fromkeys(
        ("CUDA_ERROR_ILLEGAL_ADDRESS", "CUDA_ERROR_MISALIGNED_ADDRESS", "CUDA_ERROR_LAUNCH_FAILED", "CUDA_ERROR_ASSERT"),
        KERNEL_FAULT,
    ),
}  # fmt: skip


class Stream:
    """A stream of a device."""

    __slots__ = ("index", "handle")

    def __init__(self, index: int, handle: Any) -> None:
        self.index, self.handle = index, handle


class Owned:
    """An event or a graph of a device; ``destroy`` is told when the last who knows it is gone."""

    def __init__(self, index: int, handle: Any, destroy: Any) -> None:
        self.index, self.handle, self.destroy = index, handle, destroy

    def __del__(self, ended: Any = sys.is_finalizing) -> None:  # then the globals of modules are gone
        if not ended():
            with suppress(Exception):  # the driver may be gone
                self.destroy(self.handle)


class Nvidia:
    """The Driver of NVIDIA's GPUs."""

    name = "nvidia"
    sums_in_order = False

    def __init__(self, api: Any) -> None:
        self.api = api
        self.version = int(self.call("cuDriverGetVersion"))
        if self.version < OLDEST:
            raise DeviceError(f"the NVIDIA driver is for CUDA {spoken(self.version)}; install one for CUDA 12 or newer")
        self.current = threading.local()  # which device this thread works on
        self.devices = [self.call("cuDeviceGet", i) for i in range(self.call("cuDeviceGetCount"))]
        self.contexts: dict[int, Any] = {}
        self.known: dict[int, Properties] = {}
        self.modules: list[Any] = []
        self.launches = 0
        self.capturing: dict[Stream, bool] = {}  # and whether the cycle collector was on before

    def call(self, name: str, *arguments: Any) -> Any:
        """A function of the driver: what it returns. Errors: DeviceError, with its name and what the driver says."""
        try:
            error, *found = getattr(self.api, name)(*arguments)
        except RuntimeError as missing:  # of bindings newer than the driver
            raise DeviceError(
                f"the NVIDIA driver, of CUDA {spoken(getattr(self, 'version', 0))}, has no {name} ({missing}): "
                "install a newer driver, or older bindings: pip install 'cuda-bindings<13'"
            ) from None
        if int(error):
            raise DeviceError(f"CUDA: {name} failed: {self.explained(error)}")
        return found[0] if len(found) == 1 else tuple(found)

    def explained(self, error: Any) -> str:
        _, text = self.api.cuGetErrorString(error)
        hint = HINTS.get(error.name)
        return f"{error.name} ({text.decode() if text else 'unknown'})" + (f": {hint}" if hint else "")

    def at(self, index: int) -> None:
        """Work on a device from now on, in this thread."""
        if len(self.devices) == 1 and getattr(self.current, "index", None) == index:
            return  # with several, other libraries may have changed it
        context = self.contexts.get(index)
        if context is None:
            context = self.contexts[index] = self.call("cuDevicePrimaryCtxRetain", self.devices[index])
        self.call("cuCtxSetCurrent", context)
        self.current.index = index

    def count(self) -> int:
        return len(self.devices)

    def properties(self, index: int) -> Properties:
        if index not in self.known:
            device, kinds = self.devices[index], self.api.CUdevice_attribute

            def attribute(name: str) -> int:
                return int(self.call("cuDeviceGetAttribute", getattr(kinds, f"CU_DEVICE_ATTRIBUTE_{name}"), device))

            major, minor = attribute("COMPUTE_CAPABILITY_MAJOR"), attribute("COMPUTE_CAPABILITY_MINOR")
            self.known[index] = Properties(
                self.call("cuDeviceGetName", 128, device).split(b"\0")[0].decode(),
                10 * major + minor,
                attribute("MULTIPROCESSOR_COUNT"),
                int(self.call("cuDeviceTotalMem", device)),
                attribute("MAX_SHARED_MEMORY_PER_BLOCK_OPTIN"),
            )
        return self.known[index]

    def memory(self, index: int) -> tuple[int, int]:
        self.at(index)
        free, total = self.call("cuMemGetInfo")
        return int(free), int(total)

    # ---- memory

    def allocate(self, index: int, nbytes: int) -> int | None:
        self.at(index)
        error, address = self.api.cuMemAlloc(nbytes)
        if int(error) == OUT_OF_MEMORY:
            return None
        if int(error):
            raise DeviceError(f"CUDA: {nbytes} bytes were asked for: {self.explained(error)}")
        return int(address)

    def free(self, index: int, address: int) -> None:
        self.at(index)
        self.call("cuMemFree", address)

    def device_of(self, address: int) -> int:
        kind = self.api.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
        return int(self.call("cuPointerGetAttribute", kind, address))

    def lent(self, address: int, nbytes: int) -> None:
        """Nothing to note."""

    def returned(self, address: int) -> None:
        """Nothing to note."""

    def pinned(self, nbytes: int) -> Any:
        self.at(getattr(self.current, "index", 0))
        address = int(self.call("cuMemHostAlloc", max(nbytes, 1), PORTABLE))
        page: Any = (ctypes.c_uint8 * max(nbytes, 1)).from_address(address)
        finalize(page, self.api.cuMemFreeHost, address).atexit = False
        return np.frombuffer(page, np.uint8)[:nbytes]

    # ---- work

    def upload(self, index: int, address: int, host: Any, stream: Stream) -> None:
        if stream in self.capturing:
            raise DeviceError(f"an array of the host is copied while a stream of cuda:{index} is captured")
        self.at(index)
        self.call("cuMemcpyHtoDAsync", address, host.ctypes.data, host.nbytes, stream.handle)

    def download(self, index: int, host: Any, address: int, stream: Stream) -> None:
        if stream in self.capturing:
            raise DeviceError("a copy to the host while the stream is captured: a replay could not give it to you")
        self.at(index)
        self.call("cuMemcpyDtoHAsync", host.ctypes.data, address, host.nbytes, stream.handle)

    def copy(self, index: int, to: int, source: int, nbytes: int, stream: Stream) -> None:
        self.at(index)
        self.call("cuMemcpyDtoDAsync", to, source, nbytes, stream.handle)

    def fill(self, index: int, address: int, byte: int, nbytes: int, stream: Stream) -> None:
        self.at(index)
        self.call("cuMemsetD8Async", address, byte, nbytes, stream.handle)

    def function(self, index: int, room: str, instance: str) -> Any:
        self.at(index)
        architecture = nvrtc.architecture(self.properties(index).capability)
        code, name = nvrtc.kernel(room, instance, architecture)
        try:
            module = self.call("cuModuleLoadData", code)
        except DeviceError as error:
            raise DeviceError(
                f"{room}: {instance}, compiled for {architecture} by NVRTC {nvrtc.version()}, is not accepted by the driver "
                f"of CUDA {spoken(self.version)}: {error}; install a newer driver, or the NVRTC of its version"
            ) from None
        self.modules.append(module)
        return [self.call("cuModuleGetFunction", module, name.encode()), 48 * 1024, f"{room}: {instance}"]

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
        self.at(index)
        handle, allowed, name = function
        if shared > allowed:
            attribute = self.api.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
            self.call("cuFuncSetAttribute", handle, attribute, shared)
            function[1] = shared
        self.launches += 1
        frame = packed(arguments)
        (error,) = self.api.cuLaunchKernel(handle, *blocks, *threads, shared, stream.handle, frame.address, 0)
        frame.free.append(frame)  # the arguments are read by now
        if int(error):
            raise DeviceError(
                f"CUDA: {name} was not launched with {blocks} blocks of {threads} threads, {shared} bytes shared: "
                f"{self.explained(error)}"
            )

    def shuffle(self, seed: int) -> None:
        """Threads run in an order that nobody chooses."""

    # ---- streams and events

    def stream(self, index: int) -> Stream:
        self.at(index)
        return Stream(index, self.call("cuStreamCreate", NON_BLOCKING))

    def address_of(self, stream: Stream) -> int:
        return int(stream.handle)

    def stream_at(self, index: int, address: int) -> Stream:
        return Stream(index, self.api.CUstream(address))

    def synchronize(self, stream: Stream) -> None:
        self.at(stream.index)
        self.call("cuStreamSynchronize", stream.handle)

    def synchronize_device(self, index: int) -> None:
        self.at(index)
        self.call("cuCtxSynchronize")

    def record(self, stream: Stream) -> Any:
        self.at(stream.index)
        event = Owned(stream.index, self.call("cuEventCreate", 0), self.api.cuEventDestroy)
        self.call("cuEventRecord", event.handle, stream.handle)
        return event

    def wait(self, stream: Stream, event: Any) -> None:
        self.at(stream.index)
        self.call("cuStreamWaitEvent", stream.handle, event.handle, 0)

    def synchronize_event(self, event: Any) -> None:
        self.at(event.index)
        self.call("cuEventSynchronize", event.handle)

    def elapsed(self, first: Any, second: Any) -> float:
        self.at(first.index)
        return float(self.call("cuEventElapsedTime", first.handle, second.handle))

    # ---- recorded work

    def begin_capture(self, stream: Stream) -> None:
        self.at(stream.index)
        on = gc.isenabled()
        gc.disable()  # what it finds may give memory back, which ends a capture
        try:
            mode = self.api.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
            self.call("cuStreamBeginCapture", stream.handle, mode)
            self.capturing[stream] = on
        finally:
            if on and stream not in self.capturing:
                gc.enable()

    def end_capture(self, stream: Stream) -> Any:
        self.at(stream.index)
        try:
            graph = self.call("cuStreamEndCapture", stream.handle)
        finally:
            if self.capturing.pop(stream, False):
                gc.enable()
        try:
            return Owned(stream.index, self.call("cuGraphInstantiate", graph, 0), self.api.cuGraphExecDestroy)
        finally:
            self.call("cuGraphDestroy", graph)

    def replay(self, graph: Any, stream: Stream) -> None:
        self.at(stream.index)
        self.call("cuGraphLaunch", graph.handle, stream.handle)


@cache
def spoken(version: int) -> str:
    """A version of CUDA, as people say it.

    >>> spoken(13000), spoken(12040)
    ('13.0', '12.4')
    """
    return f"{version // 1000}.{version % 1000 // 10}"


def connect() -> Nvidia:
    """The driver. Errors: DeviceError, which says what is missing and how to get it."""
    try:
        api = import_module("cuda.bindings.driver")
    except ImportError:
        raise DeviceError(f"NVIDIA's Python bindings are not installed: {nvrtc.INSTALL}") from None
    try:
        (error,) = api.cuInit(0)
    except RuntimeError:  # libcuda is not there
        raise DeviceError("there is no NVIDIA driver on this machine") from None
    if int(error):
        hint = HINTS.get(error.name, "is there a GPU, and is the driver new enough?")
        raise DeviceError(f"NVIDIA's driver does not start ({error.name}): {hint}")
    return Nvidia(api)
