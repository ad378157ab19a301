"""The memory room: the same values elsewhere, or in another dtype; and new memory."""

from __future__ import annotations

from typing import Any

from ..domain.dtype import dtype as known
from ..launch import create
from ..tensor import Tensor, from_array, host_array
from ._op import op, primitive


def filled(like: Tensor, shape: tuple[int, ...], value: float, dtype: Any) -> Tensor:
    """A tensor of one value, where ``like`` is.

    >>> filled(Tensor([1.0]), (2,), 7, "int64")
    tensor([7, 7])
    """
    return create("full", like.backend, {"shape": shape, "value": value, "dtype": dtype})


def counted(like: Tensor, start: int, stop: int) -> Tensor:
    """The integers from ``start`` to before ``stop``, where ``like`` is.

    >>> counted(Tensor([1.0]), 2, 5)
    tensor([2, 3, 4])
    """
    return create("arange", like.backend, {"start": start, "stop": stop, "step": 1, "dtype": "int64"})


def like(x: Tensor, data: Any, dtype: Any = "int64") -> Tensor:
    """Data from Python as a tensor where ``x`` is.

    >>> like(Tensor([1.0]), [2, 3])
    tensor([2, 3])
    """
    return from_array(host_array(data, dtype), x.backend)


@primitive
def cast(x: Tensor, *, dtype: Any) -> Any:
    """The same values in another dtype: to integers cut towards zero, to bool true unless 0. Always a copy.

    Formula: ``y ≈ x``, as near as the dtype allows. Gradient: ``g``, in the dtype of ``x``. Shapes: any; ``y`` as ``x``.

    >>> cast(Tensor([1.5, -2.5]), dtype="int64")
    tensor([ 1, -2])
    """


cast.vjp(x=lambda g, x_dtype: cast(g, dtype=x_dtype))


@cast.normalises
def _(x: Any, *, dtype: Any) -> dict[str, Any]:
    return {"dtype": known(dtype)}


@primitive
def clone(x: Tensor) -> Any:
    """The same values in memory of their own; the gradient passes.

    Formula: ``y = x``. Gradient: ``dx = g``. Shapes: any; ``y`` as ``x``.

    >>> clone(Tensor([1.0, 2.0]))
    tensor([1., 2.])
    """


clone.vjp(x=lambda g: g)


@primitive(mutates=lambda x, v, *indices, pattern: [x], nondifferentiable=True)
def assign(x: Tensor, v: Tensor | float, *indices: Tensor, pattern: Any = (...,)) -> Any:
    """Write ``v`` to the memory of ``x`` where ``pattern`` and ``indices`` say (see ``index.split``), and return ``x``.

    For the framework itself, outside of any graph: ``x[i] = v`` and ``x += v`` are for users.

    >>> assign(Tensor([1.0, 2.0]), 3.0, pattern=(1, ...))
    tensor([1., 3.])
    """


@op
def contiguous(x: Tensor) -> Any:
    """The same values in C order: a view if they lie so, else a copy.

    Formula: ``y = x``. Gradient: ``dx = g``. Shapes: any; ``y`` as ``x``.

    >>> contiguous(Tensor([[1.0, 2.0]]).T).shape
    (2, 1)
    """
    return x.reshape((-1,)).reshape(x.shape)


contiguous.vjp(x=lambda g: g)


@op
def to_device(x: Tensor, *, device: Any) -> Any:
    """A copy on another device; the gradient comes back to the device of ``x``. Errors: DeviceError if it is not there.

    Formula: ``y = x``. Gradient: ``dx = g``. Shapes: any; ``y`` as ``x``.

    >>> to_device(Tensor([1.0]), device="cpu")
    tensor([1.])
    """
    return Tensor(x.numpy(), device=device)


to_device.vjp(x=lambda g, x: to_device(g, device=x.device))
