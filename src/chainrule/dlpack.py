"""DLPack: memory that is shared with other libraries, by way of NumPy, which knows it but not bfloat16.

A capsule points to a structure of which one byte says the kind of the elements. bfloat16 goes through NumPy as uint16, and that
byte is changed on the way. Source: DLPack 1.0, ``dlpack.h``.
"""

from __future__ import annotations

import ctypes
from typing import Any

import ml_dtypes
import numpy as np

from .domain.errors import DeviceError, DTypeError

UNSIGNED, BRAIN = 1, 4  # kinds of elements
NAMES = {b"dltensor": 0, b"dltensor_versioned": 32}  # of capsules, and where in the structure the tensor is
KIND = 20  # where in the tensor the kind of its elements is, and their bits one further


def exported(values: Any, stream: Any, max_version: Any, dl_device: Any, copy: bool | None) -> Any:
    """The capsule of a NumPy array. Errors: BufferError for what DLPack cannot say, and for another device."""
    if dl_device is not None and tuple(dl_device) != (1, 0):
        raise BufferError(f"the tensor is on the CPU, (1, 0), and cannot be handed over on {tuple(dl_device)}")
    if copy:
        values = np.array(values)
    if min(values.strides, default=0) < 0:
        raise BufferError("DLPack has no negative strides; hand over x.clone()")
    options = {} if max_version is None else {"max_version": max_version}
    if values.dtype != ml_dtypes.bfloat16:
        return values.__dlpack__(stream=stream, **options)
    capsule = values.view(np.uint16).__dlpack__(stream=stream, **options)
    relabelled(capsule, UNSIGNED, BRAIN)
    return capsule


def imported(source: Any) -> Any:
    """The NumPy array in the memory of something that speaks DLPack. Errors: DeviceError; DTypeError; those of its library."""
    kind = tuple(source.__dlpack_device__())
    if kind[0] != 1:
        raise DeviceError(
            f"from_dlpack got memory on the device {kind} of DLPack, expected the CPU, (1, 0): copy it there"
        )
    given = Given(source)
    try:
        array = np.from_dlpack(given)
    except (BufferError, RuntimeError) as error:
        if "dtype" not in str(error).lower():
            raise
        raise DTypeError(f"from_dlpack got elements that cannot be in a tensor: {error}") from error
    return array.view(ml_dtypes.bfloat16) if given.brain else array


class Given:
    """What NumPy is given in place of an array of another library: bfloat16 is called uint16."""

    def __init__(self, source: Any) -> None:
        self.source, self.brain = source, False

    def __dlpack__(self, **options: Any) -> Any:
        capsule = self.source.__dlpack__(**options)
        self.brain = relabelled(capsule, BRAIN, UNSIGNED)
        return capsule

    def __dlpack_device__(self) -> Any:
        return self.source.__dlpack_device__()


def relabelled(capsule: Any, old: int, new: int) -> bool:
    """Change the kind of elements of 16 bits that a capsule says; whether it was ``old``."""
    api = ctypes.pythonapi
    api.PyCapsule_GetName.restype, api.PyCapsule_GetName.argtypes = ctypes.c_char_p, [ctypes.py_object]
    api.PyCapsule_GetPointer.restype = ctypes.c_void_p
    api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    name = api.PyCapsule_GetName(capsule)
    if name not in NAMES:
        raise BufferError(f"the capsule is called {name!r}; expected one of {', '.join(map(repr, NAMES))}")
    kind = (ctypes.c_uint8 * 2).from_address(api.PyCapsule_GetPointer(capsule, name) + NAMES[name] + KIND)
    if (kind[0], kind[1]) != (old, 16):
        return False
    kind[0] = new
    return True
