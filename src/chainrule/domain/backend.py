"""What a backend is: the memory of one device, and kernels by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from .device import Device

Array = Any  # opaque to all but its backend, except for ``shape``, ``dtype``, ``size`` and ``base``
Kernel = Callable[..., Any]

PRIMITIVES = frozenset(
    # elementwise
    "add sub mul div floor_div remainder pow neg abs sign exp log log1p expm1 sqrt sin cos tan asin acos atan atan2 "
    "sinh cosh tanh erf sigmoid floor ceil round maximum minimum eq ne lt le gt ge logical_and logical_or logical_xor "
    "logical_not bitwise_and bitwise_or bitwise_xor bitwise_not isfinite where "
    # reduce and gemm
    "sum prod max min any all cumsum cumprod matmul "
    # shape and memory
    "reshape permute expand stack concat flip cast clone assign full arange "
    # index, conv, random
    "getitem embed setitem index index_scatter index_set gather ungather sort nonzero unique windows unwindow "
    "uniform normal integers bernoulli permutation".split()
)


class Backend(Protocol):
    """A device. ``kernels`` has every name in PRIMITIVES, as ``kernel(*arrays, **params)``, and may have more:

    * ``<op>`` takes the place of the op's body. It returns its output, or a tuple of outputs: in new memory, or as a
      view of an argument. Or it returns NotImplemented: then ``reference`` has the primitive, or else the body runs.
    * ``<op>_vjp(g, *saved, needs, **params)`` takes the place of the op's rules: it returns one gradient for each
      argument, None where ``needs`` says False. The kernel of such an op returns ``outputs, saved``.
    * ``assign``, and the kernels of ops declared with ``mutates``, alone write to memory that they did not make.
    """

    name: str
    device: Device
    array_type: type  # of every array, also where no axis is left
    floating: frozenset[Any]  # the floating dtypes
    kernels: Mapping[str, Kernel]
    reference: Mapping[str, Kernel]  # primitives for the dtypes that a kernel of ``kernels`` declines
    declines: Mapping[str, str]  # {kernel: why it may return NotImplemented}
    halves: frozenset[Any]  # the floating dtypes of 16 bits
    half_gradients: frozenset[str]  # the kernels of gradients that take these; others are given float32
    widens: frozenset[str]  # kernels that are called on 16-bit floats by ``widened``

    def asarray(self, data: Any) -> Array: ...
    def numpy(self, array: Array) -> Any: ...
    def overlap(self, a: Array, b: Array) -> bool: ...
    def widened(self, name: str, arrays: list[Array], params: dict[str, Any]) -> Any: ...
