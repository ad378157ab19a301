"""Making tensors: from data, filled with one value, counted, or random."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from . import backends
from .dlpack import imported
from .domain.dtype import DTYPES, DType, float32
from .domain.dtype import dtype as named
from .domain.errors import ArgumentError, ArgumentTypeError
from .launch import create
from .random import Generator, default_generator
from .tensor import Storage, Tensor, from_array, wrap

GPUS = (2, 13)  # kinds of devices in DLPack


def tensor(data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor with a copy of ``data``: a number, a nested list, a NumPy array or a tensor.

    Python floats become float32, integers int64, arrays keep their dtype; ``dtype`` decides otherwise.

    >>> tensor([[1, 2], [3, 4]], dtype="float32")
    tensor([[1., 2.],
            [3., 4.]])
    """
    return Tensor(data, dtype=dtype, device=device, requires_grad=requires_grad)


def shaped(sizes: tuple[Any, ...]) -> tuple[int, ...]:
    """A shape given as one tuple or size by size. Errors: ArgumentError for a negative size."""
    given = sizes[0] if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else sizes
    for n in given:
        if isinstance(n, bool) or not hasattr(n, "__index__"):
            raise ArgumentTypeError(f"a shape is made of integers, not {n!r} (in {given!r})")
        if n < 0:
            raise ArgumentError(f"a size cannot be negative: {tuple(given)}")
    return tuple(int(n) for n in given)


def full(shape: Any, value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """One value everywhere; the dtype is that of a tensor made from the value, if not given.

    >>> full((2,), 7), full((1,), 0.5).dtype
    (tensor([7, 7]), chainrule.float32)
    """
    wanted = named(type(value)) if dtype is None else named(dtype)
    params = {"shape": shaped((shape,) if isinstance(shape, int) else tuple(shape)), "value": value, "dtype": wanted}
    return create("full", backends.get(device), params).requires_grad_(requires_grad)


def zeros(*shape: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Zeros, float32 unless said otherwise: ``zeros(2, 3)`` or ``zeros((2, 3))``.

    >>> zeros(2, 2)
    tensor([[0., 0.],
            [0., 0.]])
    """
    return full(shaped(shape), 0, dtype=dtype or float32, device=device, requires_grad=requires_grad)


def ones(*shape: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones, float32 unless said otherwise.

    >>> ones(3)
    tensor([1., 1., 1.])
    """
    return full(shaped(shape), 1, dtype=dtype or float32, device=device, requires_grad=requires_grad)


def empty(*shape: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Memory without a promise about its values (zeros here): write before you read.

    >>> empty(2, 0).shape
    (2, 0)
    """
    return zeros(*shape, dtype=dtype, device=device, requires_grad=requires_grad)


def like(x: Any, dtype: Any, device: Any) -> dict[str, Any]:
    """The dtype and device of ``x``, unless others are given."""
    return {"dtype": dtype or x.dtype, "device": device or x.device}


def zeros_like(x: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Zeros of the shape, dtype and device of ``x``.

    >>> zeros_like(tensor([1, 2]))
    tensor([0, 0])
    """
    return full(x.shape, 0, **like(x, dtype, device), requires_grad=requires_grad)


def ones_like(x: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones of the shape, dtype and device of ``x``.

    >>> ones_like(tensor([1, 2]))
    tensor([1, 1])
    """
    return full(x.shape, 1, **like(x, dtype, device), requires_grad=requires_grad)


def full_like(x: Any, value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """One value in the shape, dtype and device of ``x``.

    >>> full_like(tensor([1.0, 2.0]), 3)
    tensor([3., 3.])
    """
    return full(x.shape, value, **like(x, dtype, device), requires_grad=requires_grad)


def empty_like(x: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Memory of the shape, dtype and device of ``x``, without a promise about its values.

    >>> empty_like(tensor([1, 2])).shape
    (2,)
    """
    return zeros_like(x, dtype=dtype, device=device, requires_grad=requires_grad)


def eye(n: int, m: int | None = None, *, dtype: Any = None, device: Any = None) -> Tensor:
    """Ones on the diagonal of an ``n`` × ``m`` matrix (square unless ``m`` is given), zeros elsewhere.

    >>> eye(2)
    tensor([[1., 0.],
            [0., 1.]])
    """
    rows, columns = shaped((n, n if m is None else m))
    return tensor(np.eye(rows, columns, dtype=np.dtype(named(dtype or float32))), device=device)


def arange(
    start: Any, stop: Any = None, step: Any = 1, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Numbers from ``start`` (0 if only one is given) up to but without ``stop``. Integers give int64, floats float32.

    >>> arange(4), arange(1, 2, 0.5)
    (tensor([0, 1, 2, 3]), tensor([1. , 1.5]))
    """
    if stop is None:
        start, stop = 0, start
    if step == 0:
        raise ArgumentError("arange needs a step other than 0")
    wanted = named(dtype) if dtype is not None else named(max((type(v) for v in (start, stop, step)), key=_rank))
    params = {"start": start, "stop": stop, "step": step, "dtype": wanted}
    return create("arange", backends.get(device), params).requires_grad_(requires_grad)


def _rank(kind: type) -> int:
    return 1 if issubclass(kind, float) or kind not in (int, bool) else 0


def linspace(start: float, stop: float, steps: int, *, dtype: Any = None, device: Any = None) -> Tensor:
    """``steps`` numbers from ``start`` to ``stop``, both included, at equal distances.

    >>> linspace(0, 1, 3)
    tensor([0. , 0.5, 1. ])
    """
    (n,) = shaped((steps,))
    return tensor(np.linspace(start, stop, n), dtype=dtype or float32, device=device)


def _generator(generator: Generator | None, device: Any) -> Generator:
    return default_generator(device) if generator is None else generator


def _random_dtype(dtype: Any) -> DType:
    return float32 if dtype is None else named(dtype)


def rand(
    *shape: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False, generator: Generator | None = None
) -> Tensor:
    """Uniform random numbers in [0, 1).

    >>> rand(2, 3).shape
    (2, 3)
    """
    drawn = _generator(generator, device).uniform(shaped(shape), _random_dtype(dtype))
    return drawn.requires_grad_(requires_grad)


def randn(
    *shape: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False, generator: Generator | None = None
) -> Tensor:
    """Random numbers of the standard normal distribution.

    >>> randn(1000).mean().abs().item() < 0.2
    True
    """
    drawn = _generator(generator, device).normal(shaped(shape), _random_dtype(dtype))
    return drawn.requires_grad_(requires_grad)


def randint(*bounds_and_shape: Any, device: Any = None, generator: Generator | None = None) -> Tensor:
    """Random integers, int64: ``randint(high, shape)`` from 0, or ``randint(low, high, shape)``, to ``high - 1``.

    >>> bool((randint(5, (100,)) < 5).all()), randint(2, 4, 3).shape
    (True, (3,))
    """
    if len(bounds_and_shape) not in (2, 3):
        raise ArgumentTypeError("randint takes (high, shape) or (low, high, shape)")
    *bounds, shape = bounds_and_shape
    low, high = bounds if len(bounds) == 2 else (0, *bounds)
    return _generator(generator, device).integers(low, high, shaped((shape,)))


def randperm(n: int, *, device: Any = None, generator: Generator | None = None) -> Tensor:
    """The integers below ``n`` in random order, int64.

    >>> sorted(randperm(4).tolist())
    [0, 1, 2, 3]
    """
    return _generator(generator, device).permutation(n)


def from_numpy(array: Any) -> Tensor:
    """The tensor of a NumPy array, sharing its memory: a change of one is seen in the other.

    Errors: DTypeError for an array that does not hold numbers of a known dtype.

    >>> a = np.zeros(2, np.float32)
    >>> x = from_numpy(a)
    >>> a[0] = 5
    >>> x
    tensor([5., 0.])
    """
    if not isinstance(array, np.ndarray):
        raise ArgumentTypeError(f"from_numpy takes a NumPy array, not a {type(array).__name__}; use cr.tensor(...)")
    return from_array(array)


def from_dlpack(source: Any, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """The tensor of another library's array, by DLPack, sharing its memory, of the CPU or a GPU; ``copy=True`` copies it.

    Memory that must not be written, as that of JAX's arrays, cannot be changed in place here either; on a GPU it is copied.
    Errors: ArgumentTypeError for something else, DeviceError for memory on another device, DTypeError, BufferError.

    >>> a = np.array([1.0, 2.0], np.float32)
    >>> x = from_dlpack(a)
    >>> a[0] = 5
    >>> x
    tensor([5., 2.])
    """
    if not hasattr(source, "__dlpack__"):
        raise ArgumentTypeError(f"from_dlpack takes an array that speaks DLPack, not a {type(source).__name__}")
    if source.__dlpack_device__()[0] in GPUS:
        found = _of_gpu(source, "imported")
        return (found.clone() if copy else found).to(device=device)
    array = imported(source)
    return from_array(np.array(array) if copy else array).to(device=device)


def _of_gpu(source: Any, way: str) -> Tensor:
    array, backend = getattr(import_module(f"{__package__}.backends.cuda.exchange"), way)(source)
    return wrap(array, backend, Storage())


def as_tensor(data: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
    """``data`` as a tensor, without a copy where that is possible (a tensor, a NumPy array, memory of a GPU that has a
    ``__cuda_array_interface__``).

    >>> x = tensor([1.0])
    >>> as_tensor(x) is x
    True
    """
    if isinstance(data, np.ndarray) and data.dtype.name in DTYPES and data.dtype.isnative:
        data = from_array(data)
    elif not isinstance(data, Tensor) and hasattr(data, "__cuda_array_interface__"):
        data = _of_gpu(data, "taken")
    if isinstance(data, Tensor):
        return data.to(device=device or data.device, dtype=dtype or data.dtype)
    return tensor(data, dtype=dtype, device=device)
