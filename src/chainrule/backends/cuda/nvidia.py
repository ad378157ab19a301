"""The GPUs of NVIDIA's driver, through ``cuda.bindings``: each method is a call or two of the driver's interface."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np

from ...domain.errors import DeviceError
from . import nvrtc
from .arguments import packed
from .driver import Properties

OUT_OF_MEMORY = 2
NON_BLOCKING = 1  # a stream that does not wait for the legacy one


class Stream:
    """A stream of a device."""

    __slots__ = ("index", "handle")

    def __init__(self, index: int, handle: Any) -> None:
        self.index, self.handle = index, handle


class Nvidia:
    """The Driver of NVIDIA's GPUs."""

    name = "nvidia"
    sums_in_order = False

    def __init__(self, api: Any) -> None:
        self.api = api
        self.current = threading.local()  # which device this thread works on
        self.devices = [self.call("cuDeviceGet", i) for i in range(self.call("cuDeviceGetCount"))]
        self.contexts: dict[int, Any] = {}
        self.modules: list[Any] = []
        self.pages: list[Any] = []  # of the host, which stay

    def call(self, name: str, *arguments: Any) -> Any:
        """A function of the driver: what it returns. Errors: DeviceError, with its name and what the driver says."""
        error, *found = getattr(self.api, name)(*arguments)
        if int(error):
            raise DeviceError(f"CUDA: {name} failed: {self.explained(error)}")
        return found[0] if len(found) == 1 else tuple(found)

    def explained(self, error: Any) -> str:
        _, text = self.api.cuGetErrorString(error)
        return f"{error.name} ({text.decode() if text else 'unknown'})"

    def at(self, index: int) -> None:
        """Work on a device from now on, in this thread."""
        if getattr(self.current, "index", None) == index:
            return
        context = self.contexts.get(index)
        if context is None:
            context = self.contexts[index] = self.call("cuDevicePrimaryCtxRetain", self.devices[index])
        self.call("cuCtxSetCurrent", context)
        self.current.index = index

    def count(self) -> int:
        return len(self.devices)

    def properties(self, index: int) -> Properties:
        device, kinds = self.devices[index], self.api.CUdevice_attribute

        def attribute(name: str) -> int:
            return int(self.call("cuDeviceGetAttribute", getattr(kinds, f"CU_DEVICE_ATTRIBUTE_{name}"), device))

        major, minor = attribute("COMPUTE_CAPABILITY_MAJOR"), attribute("COMPUTE_CAPABILITY_MINOR")
        return Properties(
            self.call("cuDeviceGetName", 128, device).split(b"\0")[0].decode(),
            10 * major + minor,
            attribute("MULTIPROCESSOR_COUNT"),
            int(self.call("cuDeviceTotalMem", device)),
            attribute("MAX_SHARED_MEMORY_PER_BLOCK_OPTIN"),
        )

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

    def lent(self, address: int, nbytes: int) -> None:
        """Nothing to note."""

    def returned(self, address: int) -> None:
        """Nothing to note."""

    def pinned(self, nbytes: int) -> Any:
        if not self.contexts:
            self.at(0)
        address = int(self.call("cuMemHostAlloc", max(nbytes, 1), 1))  # portable: for all devices
        page = (ctypes.c_uint8 * nbytes).from_address(address)
        self.pages.append(page)
        return np.frombuffer(memoryview(page), np.uint8)

    # ---- work

    def upload(self, index: int, address: int, host: Any, stream: Stream) -> None:
        self.at(index)
        self.call("cuMemcpyHtoDAsync", address, host.ctypes.data, host.nbytes, stream.handle)

    def download(self, index: int, host: Any, address: int, stream: Stream) -> None:
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
        capability = self.properties(index).capability
        code, name = nvrtc.kernel(room, instance, f"sm_{capability}")
        module = self.call("cuModuleLoadData", code)
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
        memory, pointers = packed(arguments)
        (error,) = self.api.cuLaunchKernel(
            handle, *blocks, *threads, shared, stream.handle, ctypes.addressof(pointers), 0
        )
        if int(error):
            raise DeviceError(
                f"CUDA: {name} was not launched with {blocks} blocks of {threads}: {self.explained(error)}"
            )
        del memory  # read by now

    # ---- streams and events

    def stream(self, index: int) -> Stream:
        self.at(index)
        return Stream(index, self.call("cuStreamCreate", NON_BLOCKING))

    def address_of(self, stream: Stream) -> int:
        return int(stream.handle)

    def synchronize(self, stream: Stream) -> None:
        self.at(stream.index)
        self.call("cuStreamSynchronize", stream.handle)

    def synchronize_device(self, index: int) -> None:
        self.at(index)
        self.call("cuCtxSynchronize")

    def record(self, stream: Stream) -> Any:
        self.at(stream.index)
        event = Event(self, self.call("cuEventCreate", 0))
        self.call("cuEventRecord", event.handle, stream.handle)
        return event

    def wait(self, stream: Stream, event: Any) -> None:
        self.at(stream.index)
        self.call("cuStreamWaitEvent", stream.handle, event.handle, 0)

    def synchronize_event(self, event: Any) -> None:
        self.call("cuEventSynchronize", event.handle)

    def elapsed(self, first: Any, second: Any) -> float:
        return float(self.call("cuEventElapsedTime", first.handle, second.handle))

    # ---- recorded work

    def begin_capture(self, stream: Stream) -> None:
        self.at(stream.index)
        mode = self.api.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        self.call("cuStreamBeginCapture", stream.handle, mode)

    def end_capture(self, stream: Stream) -> Any:
        self.at(stream.index)
        graph = self.call("cuStreamEndCapture", stream.handle)
        ready = self.call("cuGraphInstantiate", graph, 0)
        self.call("cuGraphDestroy", graph)
        return ready

    def replay(self, graph: Any, stream: Stream) -> None:
        self.at(stream.index)
        self.call("cuGraphLaunch", graph, stream.handle)


class Event:
    """An event; the driver forgets it with the last who knows it."""

    def __init__(self, driver: Nvidia, handle: Any) -> None:
        self.driver, self.handle = driver, handle

    def __del__(self) -> None:
        self.driver.api.cuEventDestroy(self.handle)


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
        raise DeviceError(
            f"NVIDIA's driver does not start ({error.name}): is there a GPU, and is the driver new enough?"
        )
    return Nvidia(api)
