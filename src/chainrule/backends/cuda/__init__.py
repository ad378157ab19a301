"""The CUDA backend: arrays in the memory of a GPU, and a kernel for every primitive.

Reading order: ``array`` (what an array is), ``memory``, ``gpu`` (how a kernel is launched), a room such as
``elementwise`` beside its kernels in ``native/elementwise/cuda.cu``, ``driver`` (what is asked of a GPU), then
``emulated`` and ``nvidia``, which answer.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from importlib import import_module
from typing import Any

import ml_dtypes
import numpy as np

from ...domain.device import Device
from ...domain.errors import DeviceError
from .array import DeviceArray
from .driver import connected
from .gpu import Gpu

# A room is a module here; its functions in KERNELS take a Gpu first.
ROOMS = (
    "memory",
    "shape",
    "elementwise",
    "index",
    "random",
    "gemm",
    "conv",
    "pool",
    "embedding",
    "reduce",
    "loss",
    "softmax",
    "optim",
    "norm",
    "activation",
    "chain",
    "attention",
    "rnn",
    "ctc",
)


@cache
def kernels() -> dict[str, Callable[..., Any]]:
    """Every kernel of every room, by name."""
    found: dict[str, Callable[..., Any]] = {}
    for room in ROOMS:
        found.update(import_module(f"{__name__}.rooms.{room}").KERNELS)
    return found


class Cuda:
    """The backend of one GPU."""

    array_type: type = DeviceArray
    floating: frozenset[Any] = frozenset(np.dtype(d) for d in (np.float16, ml_dtypes.bfloat16, np.float32, np.float64))
    halves: frozenset[Any] = frozenset(d for d in floating if d.itemsize == 2)
    widens: frozenset[str] = frozenset()
    reference: dict[str, Any] = {}  # noqa: RUF012  # nothing is done elsewhere: what declines has a body of primitives

    def __init__(self, gpu: Gpu) -> None:
        self.gpu, self.device, self.name = gpu, gpu.device, str(gpu.device)
        self.kernels = {name: partial(kernel, gpu) for name, kernel in kernels().items()}
        self.half_gradients = frozenset(self.kernels)
        self.declines = dict.fromkeys(self.kernels, "dtypes that it is not for; the body is made of kernels, too")

    def __repr__(self) -> str:
        return self.name

    def asarray(self, data: Any) -> DeviceArray:
        """A NumPy array in the memory of the GPU."""
        return data if type(data) is DeviceArray else self.gpu.upload(data)

    def numpy(self, array: DeviceArray) -> Any:
        """A copy in the memory of the host."""
        return self.gpu.download(array)

    def overlap(self, a: DeviceArray, b: DeviceArray) -> bool:
        """Whether two arrays may have an element in common."""
        if a.memory is not b.memory:
            return False
        (first, last), (start, end) = a.extent(), b.extent()
        return first < end and start < last

    def link(self, name: str, given: list[Any], params: dict[str, Any]) -> Any:
        """How a call can run as a part of a chain, its operands last; None if it cannot: see rooms/chain.py."""
        from .rooms.chain import request

        return request(name, given, params)

    def chain(self, steps: list[Any], dtypes: list[Any]) -> Any:
        """A kernel that does several elementwise calls. Errors: DeviceError if it cannot be compiled."""
        from .rooms.chain import Chain

        made = Chain(self.gpu, steps, dtypes)
        made.ready()
        return made

    def widened(self, name: str, arrays: list[Any], params: dict[str, Any]) -> Any:
        """No kernel asks for it: each has its own way with 16-bit floats."""
        return NotImplemented


@cache
def backend(index: int = 0) -> Cuda:
    """The backend of GPU ``index``. Errors: DeviceError if it is not there, or no driver is."""
    try:
        known = connected()
    except DeviceError as error:
        raise DeviceError(f"cuda:{index} was asked for, but {error}; use Device('cpu')") from None
    if index >= known.count():
        there = ", ".join(f"cuda:{i}" for i in range(known.count())) or "none"
        raise DeviceError(f"{Device(f'cuda:{index}')} was asked for, but of GPUs there is {there}")
    return Cuda(Gpu(known, index))
