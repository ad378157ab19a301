"""Memory of a GPU that is shared with other libraries: by DLPack, and by ``__cuda_array_interface__``.

Who takes an array says on which stream it will work; who gives it makes that stream wait for its own. What is taken goes back
to its library with the last array that looks at it. Sources: DLPack 1.0, ``dlpack.h``; the array API standard,
``__dlpack__``; Numba's description of the CUDA array interface, version 3.
"""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress
from typing import Any

import numpy as np

from ...domain.errors import DTypeError
from . import Cuda, backend
from .array import DeviceArray, row_major
from .driver import connected
from .memory import Memory
from .sources import NAMES

CUDA, MANAGED = 2, 13  # kinds of devices; the memory of the second moves between host and device
INT, UINT, FLOAT, BRAIN, BOOL = 0, 1, 2, 4, 6  # kinds of elements
CODES = {"i": INT, "u": UINT, "f": FLOAT, "b": BOOL}  # by NumPy's kinds
READ_ONLY = 1
PLAIN, VERSIONED = b"dltensor", b"dltensor_versioned"  # names of capsules
USED = {name: ctypes.c_char_p(b"used_" + name) for name in (PLAIN, VERSIONED)}


class Described(ctypes.Structure):
    """DLTensor."""

    _fields_ = [
        ("data", ctypes.c_void_p), ("device", ctypes.c_int32), ("index", ctypes.c_int32), ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16), ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p), ("offset", ctypes.c_uint64),
    ]  # fmt: skip


class Managed(ctypes.Structure):
    """DLManagedTensor."""

    _fields_ = [("tensor", Described), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p)]


class Versioned(ctypes.Structure):
    """DLManagedTensorVersioned."""

    _fields_ = [
        ("major", ctypes.c_uint32), ("minor", ctypes.c_uint32), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64), ("tensor", Described),
    ]  # fmt: skip


FORMS: dict[bytes, Any] = {PLAIN: Managed, VERSIONED: Versioned}


def python(name: str, result: Any, *arguments: Any) -> Any:
    """A function of Python's C interface."""
    return ctypes.PYFUNCTYPE(result, *arguments)((name, ctypes.pythonapi))


DELETER: Any = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
DESTRUCTOR: Any = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)
new = python("PyCapsule_New", ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
name_of = python("PyCapsule_GetName", ctypes.c_char_p, ctypes.py_object)
pointer_of = python("PyCapsule_GetPointer", ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)
rename = python("PyCapsule_SetName", ctypes.c_int, ctypes.py_object, ctypes.c_char_p)
# of a capsule that is going: an object would be counted, and go a second time
is_called = python("PyCapsule_IsValid", ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)
pointer_at = python("PyCapsule_GetPointer", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)

HELD: dict[int, tuple[Any, ...]] = {}  # what others look at, by the address of its description


def exported(array: DeviceArray, stream: Any, max_version: Any, copy: bool | None) -> Any:
    """The capsule of an array. Errors: BufferError for what DLPack cannot say, and for a stream that is none."""
    gpu = array.gpu
    if stream is not None and (isinstance(stream, bool) or not isinstance(stream, int) or stream < -1 or stream == 0):
        raise BufferError(f"the stream {stream!r} is none: give -1, 1 or 2 (the default ones), or the address of one")
    if copy:
        array = copied(array)
    if min(array.strides, default=0) < 0:
        raise BufferError("DLPack has no negative strides; hand over x.clone()")
    theirs = None if stream == -1 else gpu.driver.stream_at(gpu.index, stream or 1)
    if theirs is not None:
        gpu.driver.wait(theirs, gpu.driver.record(gpu.stream))
    name = VERSIONED if max_version is not None and tuple(max_version) >= (1, 0) else PLAIN
    form = FORMS[name]()
    lists = [(ctypes.c_int64 * max(array.ndim, 1))(*values) for values in (array.shape, array.steps)]
    shape, strides = (ctypes.addressof(values) for values in lists)
    code = BRAIN if array.dtype.name == "bfloat16" else CODES[array.dtype.kind]
    bits = 8 * array.itemsize
    form.tensor = Described(array.pointer, CUDA, gpu.index, array.ndim, code, bits, 1, shape, strides, 0)
    if name == VERSIONED:
        form.major, form.minor, form.flags = 1, 0, 2 if copy else 0
    form.deleter = ctypes.cast(returned, ctypes.c_void_p).value
    place = ctypes.addressof(form)
    HELD[place] = form, lists, array, theirs
    return new(place, name, ctypes.cast(forgotten, ctypes.c_void_p).value)


@DELETER  # type: ignore[untyped-decorator]
def returned(place: int) -> None:
    """Whoever took an array needs it no more. What follows on our stream waits for theirs, which may still look at it."""
    _, _, array, theirs = HELD.pop(place)
    if theirs is not None:
        with suppress(Exception):
            array.gpu.driver.wait(array.memory.stream, array.gpu.driver.record(theirs))


@DESTRUCTOR  # type: ignore[untyped-decorator]
def forgotten(capsule: int) -> None:
    """A capsule is gone: if nobody took what is in it, it is given up."""
    for name in FORMS:
        if is_called(capsule, name):
            HELD.pop(pointer_at(capsule, name), None)


class Foreign(Memory):
    """Memory of another library, which is told when the last array that looks at it is gone."""

    __slots__ = ("gpu", "release")

    def __init__(self, address: int, nbytes: int, gpu: Any, release: Any) -> None:
        super().__init__(address, nbytes, nbytes, None, gpu.stream)
        self.gpu, self.release = gpu, release

    def __del__(self, ended: Any = sys.is_finalizing) -> None:  # then the globals of modules are gone
        if not ended():
            with suppress(Exception):  # while a stream is captured nobody waits
                self.gpu.driver.synchronize(self.stream)
            self.release()


def imported(source: Any) -> tuple[DeviceArray, Cuda]:
    """The array in the memory of something that speaks DLPack, and its backend; memory that must not be written is copied.

    Errors: DeviceError for a GPU that is not there, DTypeError, BufferError for a capsule of another form.
    """
    known = backend(int(source.__dlpack_device__()[1]))
    gpu = known.gpu
    stream = gpu.driver.address_of(gpu.stream)
    try:
        capsule = source.__dlpack__(stream=stream, max_version=(1, 0))
    except TypeError:  # it knows no versions
        capsule = source.__dlpack__(stream=stream)
    name = name_of(capsule)
    if name not in FORMS:
        raise BufferError(f"the capsule is called {name!r}; expected one of {', '.join(map(repr, FORMS))}")
    place = pointer_of(capsule, name)
    form = FORMS[name].from_address(place)
    if name == VERSIONED and form.major != 1:
        raise BufferError(f"the capsule is of DLPack {form.major}.{form.minor}; expected 1")
    told = form.tensor
    dtype = dtype_of(told.code, told.bits, told.lanes)
    shape = listed(told.shape, told.ndim)
    steps = listed(told.strides, told.ndim) if told.strides else None
    rename(capsule, USED[name])

    def release(deleter: Any = form.deleter) -> None:
        if deleter:
            DELETER(deleter)(place)

    array = looked_at(gpu, (told.data or 0) + told.offset, shape, dtype, steps, release)
    return (copied(array) if name == VERSIONED and form.flags & READ_ONLY else array), known


def taken(source: Any) -> tuple[DeviceArray, Cuda]:
    """The array of something that has a ``__cuda_array_interface__``, and its backend; as ``imported``."""
    told = source.__cuda_array_interface__
    if told.get("mask") is not None:
        raise DTypeError("an array with a mask cannot be a tensor: fill what is masked before")
    address, read_only = told["data"]
    dtype = np.dtype(told["typestr"])
    if dtype.name not in NAMES:
        raise DTypeError(f"elements of {dtype} cannot be in a tensor; known dtypes: {', '.join(NAMES)}")
    known = backend(connected().device_of(address) if address else 0)
    gpu = known.gpu
    if told.get("stream"):
        theirs = gpu.driver.stream_at(gpu.index, told["stream"])
        gpu.driver.wait(gpu.stream, gpu.driver.record(theirs))
    strides = told.get("strides")
    steps = strides and tuple(s // dtype.itemsize for s in strides)
    array = looked_at(gpu, address or 0, tuple(told["shape"]), dtype, steps, lambda keep=source: None)
    return (copied(array) if read_only else array), known


def looked_at(gpu: Any, address: int, shape: Any, dtype: Any, steps: Any, release: Any) -> DeviceArray:
    """The array of elements that lie at an address, ``steps`` elements apart."""
    if 0 in shape:
        release()
        return gpu.empty(shape, dtype)  # type: ignore[no-any-return]
    strides = row_major(shape, dtype.itemsize) if steps is None else tuple(s * dtype.itemsize for s in steps)
    reach = [(n - 1) * s for n, s in zip(shape, strides, strict=True)]
    low, high = sum(min(r, 0) for r in reach), sum(max(r, 0) for r in reach) + dtype.itemsize
    memory = Foreign(address + low, high - low, gpu, release)
    return DeviceArray(gpu, memory, shape, dtype, strides, -low)


def dtype_of(code: int, bits: int, lanes: int) -> Any:
    """NumPy's dtype. Errors: DTypeError for elements that no tensor has."""
    for name in NAMES:
        dtype = np.dtype(name)
        known = BRAIN if name == "bfloat16" else CODES[dtype.kind]
        if (known, 8 * dtype.itemsize, 1) == (code, bits, lanes):
            return dtype
    raise DTypeError(
        f"elements of kind {code} of DLPack, with {bits} bits and {lanes} lanes, cannot be in a tensor; known dtypes: "
        f"{', '.join(NAMES)}"
    )


def listed(place: int | None, n: int) -> tuple[int, ...]:
    """Numbers of 64 bits at an address."""
    return tuple((ctypes.c_int64 * n).from_address(place)) if place and n else ()


def copied(array: DeviceArray) -> DeviceArray:
    """The same values in memory of our own."""
    y = array.gpu.empty(array.shape, array.dtype)
    array.gpu.copy_into(y, array)
    return y
