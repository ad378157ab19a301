"""An array on a GPU: which memory, and where in it the elements lie."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ...domain.errors import DeviceError

if TYPE_CHECKING:
    from .gpu import Gpu
    from .memory import Memory


class DeviceArray:
    """``shape`` elements of ``dtype`` (NumPy's) in ``memory``: the first at byte ``offset``, ``strides`` bytes apart.

    ``base`` is the array that it is a view of, or None. Its values are on the device: ``gpu.download`` copies them.
    """

    __slots__ = ("gpu", "memory", "offset", "shape", "strides", "dtype", "base", "size", "__weakref__")

    def __init__(
        self,
        gpu: Gpu,
        memory: Memory,
        shape: tuple[int, ...],
        dtype: Any,
        strides: tuple[int, ...] | None = None,
        offset: int = 0,
        base: DeviceArray | None = None,
    ) -> None:
        self.gpu, self.memory, self.shape, self.dtype, self.offset = gpu, memory, shape, dtype, offset
        self.strides = row_major(shape, dtype.itemsize) if strides is None else strides
        self.base = base
        self.size = math.prod(shape)

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def itemsize(self) -> int:
        """The bytes of an element."""
        return int(self.dtype.itemsize)

    @property
    def nbytes(self) -> int:
        """The bytes of all elements."""
        return self.size * self.itemsize

    @property
    def pointer(self) -> int:
        """The address of the first element, on the device."""
        return self.memory.address + self.offset

    @property
    def dense(self) -> bool:
        """Whether the elements lie in row-major order without gaps."""
        return is_dense(self.shape, self.strides, self.dtype.itemsize)

    @property
    def steps(self) -> tuple[int, ...]:
        """The strides in elements."""
        return in_elements(self.strides, self.dtype.itemsize)

    def view(self, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0) -> DeviceArray:
        """Other elements of the same memory, the first ``offset`` bytes from the first of this."""
        base = self if self.base is None else self.base
        return DeviceArray(self.gpu, self.memory, shape, self.dtype, strides, self.offset + offset, base)

    def extent(self) -> tuple[int, int]:
        """The addresses from the first byte to behind the last that it looks at."""
        if not self.size:
            return self.pointer, self.pointer
        low = sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True) if s < 0)
        high = sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True) if s > 0)
        return self.pointer + low, self.pointer + high + self.itemsize

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """For other libraries on the GPU (version 3): the stream on which it was made is the current one."""
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.pointer, False),
            "strides": None if self.dense else self.strides,
            "version": 3,
            "stream": self.gpu.driver.address_of(self.gpu.stream),
        }

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise DeviceError(f"an array on {self.gpu.device} is no NumPy array: copy it with tensor.numpy() or to('cpu')")

    def __repr__(self) -> str:
        return f"DeviceArray({self.shape}, {self.dtype}, {self.gpu.device})"


@lru_cache(4096)
def is_dense(shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int) -> bool:
    """Whether elements lie in row-major order without gaps.

    >>> is_dense((2, 3), (12, 4), 4), is_dense((2, 3), (4, 8), 4)
    (True, False)
    """
    expected = itemsize
    for n, stride in zip(reversed(shape), reversed(strides), strict=True):
        if n != 1 and stride != expected:
            return 0 in shape
        expected *= n
    return True


@lru_cache(4096)
def in_elements(strides: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Strides in elements.

    >>> in_elements((12, 4), 4)
    (3, 1)
    """
    return tuple(s // itemsize for s in strides)


@lru_cache(4096)
def row_major(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """The strides of elements in row-major order.

    >>> row_major((2, 3, 4), 4)
    (48, 16, 4)
    """
    strides = []
    for n in reversed(shape):
        strides.append(itemsize)
        itemsize *= n or 1
    return tuple(reversed(strides))
