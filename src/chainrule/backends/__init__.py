"""The registry: the only way to a backend."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import Any

import ml_dtypes
import numpy as np

from ..domain.backend import Kernel
from ..domain.device import Device
from ..domain.errors import unknown


class Host:
    """A backend whose memory is NumPy's, and whose kernels are the public functions of a module."""

    array_type: type = np.ndarray
    floating: frozenset[Any] = frozenset(np.dtype(d) for d in (np.float16, ml_dtypes.bfloat16, np.float32, np.float64))
    halves: frozenset[Any] = frozenset(d for d in floating if d.itemsize == 2)
    asarray: Callable[[Any], Any] = staticmethod(np.asarray)
    numpy: Callable[[Any], Any] = staticmethod(np.asarray)
    overlap: Callable[[Any, Any], bool] = staticmethod(np.may_share_memory)

    def __init__(
        self,
        name: str,
        kernels: Mapping[str, Any],
        reference: Mapping[str, Any],
        declines: Mapping[str, str],
        widens: frozenset[str] = frozenset(),
        half_gradients: frozenset[str] = frozenset(),
    ) -> None:
        self.name, self.device, self.widens, self.half_gradients = name, Device("cpu"), widens, half_gradients
        self.kernels: Mapping[str, Kernel] = dict(kernels)
        self.reference: Mapping[str, Kernel] = dict(reference)
        self.declines: Mapping[str, str] = dict(declines)

    def __repr__(self) -> str:
        return self.name

    def widened(self, name: str, arrays: list[Any], params: dict[str, Any]) -> Any:
        """What a kernel of ``widens`` makes of 16-bit floats: it sees them as float32, and its outputs are rounded once.

        What it saves for its gradient is the 16-bit array where that is an argument or an output, else as it is.
        NotImplemented if it declines that too, or for arguments of several floating dtypes.
        """
        found = {a.dtype for a in arrays if type(a) is np.ndarray and a.dtype in self.floating}
        if len(found) != 1 or not found <= self.halves:
            return NotImplemented
        (half,) = found
        narrow: dict[int, Any] = {}  # by the identity of what is wide
        given, cast = [], self.kernels["cast"]
        for a in arrays:
            if type(a) is np.ndarray and a.dtype in self.halves:
                wide = cast(a, dtype="float32")
                narrow[id(wide)] = a
                given.append(wide)
            else:
                given.append(a)

        def rounded(y: Any) -> Any:
            if type(y) is tuple:
                return tuple(map(rounded, y))
            if type(y) is not np.ndarray or y.dtype != np.float32:
                return y
            narrow[id(y)] = cast(y, dtype=half.name)
            return narrow[id(y)]

        raw = self.kernels[name](*given, **params)
        if raw is NotImplemented or f"{name}_vjp" not in self.kernels:
            return raw if raw is NotImplemented else rounded(raw)
        outputs, saved = raw
        return rounded(outputs), tuple(narrow.get(id(s), s) for s in saved)


@cache
def named(name: str) -> Any:
    """The backend called ``name`` ("numpy", the reference, or "cpu", the native one), loaded when first asked for."""
    if name not in ("numpy", "cpu"):
        raise unknown("backend", name, ["numpy", "cpu"])
    module = import_module(f"{__name__}.{name}")
    return Host(name, module.KERNELS, module.REFERENCE, module.DECLINES, module.WIDENS, module.HALF_GRADIENTS)


_host: Any = None  # the backend that serves the device "cpu"
_default: Any = None  # where tensors are made, if it is not that


def host() -> Any:
    """The backend of the device ``cpu``: the native one, or the reference, with one warning, if there is none."""
    global _host
    if _host is None:
        try:
            _host = named("cpu")
        except ModuleNotFoundError as error:
            if error.name != "chainrule._native":
                raise
            warnings.warn(
                "chainrule runs on its NumPy reference, which is slow: the native module was not built. For the "
                "fast path install a C++20 compiler (g++ or clang++) and reinstall: pip install --force-reinstall chainrule",
                RuntimeWarning,
                stacklevel=2,
            )
            _host = named("numpy")
    return _host


def gpu(index: int) -> Any:
    """The backend of a GPU."""
    return import_module(f"{__name__}.cuda").backend(index)


def get(device: str | Device | None = None) -> Any:
    """The backend of a device; without one, of the CPU. Errors: DeviceError if there is no such device here."""
    if device is None:
        return _default or _host or host()
    device = Device(device)
    return host() if device.kind == "cpu" else gpu(device.index or 0)


@contextmanager
def use(name: str) -> Iterator[Any]:
    """Make tensors on the backend ``name`` inside the block, where no device is given.

    "numpy" and "cpu" serve the device ``cpu`` there; "cuda" and "cuda:1" are GPUs.

    >>> import chainrule as cr
    >>> with use("numpy"):
    ...     cr.tensor([1.0]).backend
    numpy
    """
    global _host, _default
    before = _host, _default
    if name.startswith("cuda"):
        _default = get(name)
    else:
        _host, _default = named(name), None
    try:
        yield _default or _host
    finally:
        _host, _default = before
