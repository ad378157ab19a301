"""Tensor: an array, the memory it looks at, and where its gradient goes. Operators and methods come from ``ops``."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any
from weakref import ref

import numpy as np

from . import backends
from .dlpack import exported
from .domain.device import Device
from .domain.dtype import DTYPES, DType, dtype
from .domain.errors import DTypeError, GraphError, ShapeError
from .modes import listening, modes, revisions
from .tape import Edge, Hook, Leaf

if TYPE_CHECKING:
    from ._methods import Methods
else:
    Methods = object


_DTYPES = {np.dtype(str(d)): d for d in DTYPES.values()}


class Storage:
    """The memory that a tensor, its views and its detached twins look at. A recorder knows it by its identity."""

    version = 0  # how often it was written to
    views: Any = None  # weak references to the views that live, once there was one


class Tensor(Methods):
    """A multi-dimensional array, perhaps with a gradient.

    ``data`` is a number, a nested list, a NumPy array or a tensor; it is copied. Python floats become float32, Python
    integers int64; arrays keep their dtype unless ``dtype`` says otherwise. Errors: DTypeError for data that is not
    numbers, DeviceError for a device that is not there.

    >>> x = Tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    tensor([[2., 4.],
            [6., 8.]])
    """

    # ``array`` belongs to ``backend`` and lies in the memory ``storage``. ``edge`` is where its gradient goes: (node,
    # output index), or (leaf, 0) for a tensor that the user made, or None if no gradient is wanted.
    __slots__ = ("array", "backend", "storage", "edge", "__weakref__")
    array: Any
    backend: Any
    storage: Storage
    edge: Edge | None
    __array_ufunc__ = None  # NumPy leaves ``array + tensor`` to the tensor
    __hash__ = object.__hash__

    def __init__(
        self,
        data: Any,
        *,
        dtype: object = None,
        device: str | Device | None = None,
        requires_grad: bool = False,
    ) -> None:
        self.backend, self.storage, self.edge = backends.get(device), Storage(), None
        self.array = self.backend.asarray(host_array(data, dtype))
        self.requires_grad = requires_grad

    @property
    def shape(self) -> tuple[int, ...]:
        """The size of each axis."""
        shape: tuple[int, ...] = self.array.shape
        return shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.array.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        size: int = self.array.size
        return size

    @property
    def dtype(self) -> DType:
        """The element type, equal to its name: ``x.dtype == "float32"``."""
        return _DTYPES[self.array.dtype]

    @property
    def device(self) -> Device:
        """Where the memory is."""
        device: Device = self.backend.device
        return device

    @property
    def is_floating(self) -> bool:
        """Whether it may have a gradient."""
        return self.array.dtype in self.backend.floating

    @property
    def is_leaf(self) -> bool:
        """Whether it was made by the user, not by an operation on the tape."""
        return self.edge is None or type(self.edge[0]) is Leaf

    @property
    def requires_grad(self) -> bool:
        """Whether operations on it are put on the tape."""
        return self.edge is not None

    @requires_grad.setter
    def requires_grad(self, on: bool) -> None:
        if on == (self.edge is not None):
            return
        if not self.is_leaf:
            raise GraphError("requires_grad can be set on a leaf only; detach() makes one")
        if on and not self.is_floating:
            raise DTypeError(f"only a floating tensor can require a gradient, not {self.dtype}; cast it first")
        self.edge = (Leaf(), 0) if on else None
        revisions[0] += 1

    def requires_grad_(self, on: bool = True) -> Tensor:
        """Set ``requires_grad`` and return the tensor."""
        self.requires_grad = on
        return self

    @property
    def grad(self) -> Tensor | None:
        """What ``backward`` added up for a leaf, or None."""
        if self.edge is None or type(leaf := self.edge[0]) is not Leaf:
            return None
        if listening and modes.recorder is not None:
            modes.recorder.reads_gradient(leaf)
        found: Tensor | None = leaf.grad
        return found

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if self.edge is None or not self.is_leaf:
            raise GraphError("only a leaf that requires a gradient has a grad to set")
        if value is not None and value.shape != self.shape:
            raise ShapeError(f"the gradient has shape {value.shape} but its tensor has {self.shape}")
        if listening and modes.recorder is not None:
            modes.recorder.writes_gradient(self.edge[0])
        self.edge[0].grad = value

    def register_hook(self, hook: Hook) -> Any:
        """Call ``hook(gradient)`` when the gradient of this tensor is complete; what it returns, if anything, replaces it.

        Returns a handle whose ``remove()`` takes the hook away. Errors: GraphError if no gradient is wanted.

        >>> x = Tensor([1.0, 2.0], requires_grad=True)
        >>> handle = x.register_hook(lambda g: g * 10)
        >>> x.sum().backward()
        >>> x.grad
        tensor([10., 10.])
        """
        if self.edge is None:
            raise GraphError("a hook needs a tensor that requires a gradient")
        node, index = self.edge
        if node.hooks is None:
            node.hooks = {}
        hooks = node.hooks.setdefault(index, [])
        hooks.append(hook)
        return HookHandle(hooks, hook)

    def detach(self) -> Tensor:
        """The same memory without the history.

        >>> Tensor([1.0], requires_grad=True).detach().requires_grad
        False
        """
        return view(self, self.array)

    def numpy(self) -> Any:
        """The values as a NumPy array that shares the memory (on the CPU).

        Writing to it changes the tensor unseen: a gradient that needs the old values would be wrong.

        >>> Tensor([1.0, 2.0]).numpy()
        array([1., 2.], dtype=float32)
        """
        _refuse_reading()
        return self.backend.numpy(self.array)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        values = self.numpy()
        if copy:
            return np.array(values, dtype)
        return np.asarray(values, dtype, copy=copy)

    def __dlpack__(
        self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: bool | None = None
    ) -> Any:
        if self.device.kind == "cpu" or (dl_device is not None and tuple(dl_device) == (1, 0)):
            return exported(self.numpy(), None if self.device.kind == "cuda" else stream, max_version, dl_device, copy)
        _refuse_reading()
        if dl_device is not None and tuple(dl_device) != self.__dlpack_device__():
            raise BufferError(f"the tensor is on {self.device} and cannot be handed over on {tuple(dl_device)}")
        return _exchange().exported(self.array, stream, max_version, copy)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0) if self.device.kind == "cpu" else (2, self.array.gpu.index)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        if self.device.kind == "cpu":
            raise AttributeError("a tensor on the CPU has no __cuda_array_interface__: x.to('cuda') has one")
        _refuse_reading()
        interface: dict[str, Any] = self.array.__cuda_array_interface__
        return interface

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        return import_module(f"{__package__}.array_api").versioned(api_version)

    def item(self) -> Any:
        """The value of the only element, as a Python scalar. Errors: ShapeError if there are several."""
        if self.size != 1:
            raise ShapeError(f"item() needs one element, but the tensor has shape {self.shape}; tolist() gives all")
        return self.numpy().item()

    def tolist(self) -> Any:
        """The values as nested Python lists."""
        return self.numpy().tolist()

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ShapeError(f"the truth of a tensor of shape {self.shape} is ambiguous; use any() or all()")
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        if self.is_floating:
            raise DTypeError(f"a {self.dtype} tensor is no index; cast it to an integer first")
        return int(self.item())

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("a tensor without axes has no len()")
        return self.shape[0]

    def __iter__(self) -> Any:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return describe(self, "tensor")

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else repr(self)

    def _repr_html_(self) -> str:
        """A table of at most 12 × 12 numbers for notebooks, under a line with shape, dtype and device."""
        from html import escape

        head = f"tensor {self.shape} {self.dtype} {self.device}"
        if self.ndim != 2 or max(self.shape) > 12:
            return f"<div>{head}</div><pre>{escape(repr(self))}</pre>"
        rows = "".join("<tr>" + "".join(f"<td>{v:.4g}</td>" for v in row) + "</tr>" for row in self.tolist())
        return f"<div>{head}</div><table>{rows}</table>"

    def __copy__(self) -> Tensor:
        return self.detach() if self.edge is None else self

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if not self.is_leaf:
            raise GraphError("only a leaf can be deep-copied; detach() first")
        copy = Tensor(self.numpy(), device=self.device, requires_grad=self.requires_grad)
        memo[id(self)] = copy
        return copy

    def __reduce__(self) -> tuple[Any, ...]:
        if not self.is_leaf:
            raise GraphError("only a leaf can be pickled; detach() first")
        return (_rebuild, (np.array(self.numpy()), str(self.device), self.requires_grad))


def _rebuild(array: Any, device: str, requires_grad: bool) -> Tensor:
    """A tensor from its pickle."""
    return Tensor(array, device=device, requires_grad=requires_grad)


class HookHandle:
    """What ``register_hook`` returns: ``remove()`` takes the hook away."""

    def __init__(self, hooks: Any, hook: Any) -> None:
        self._hooks, self._hook = hooks, hook

    def remove(self) -> None:
        """Take the hook away; again is harmless."""
        if self._hook in self._hooks:
            self._hooks.remove(self._hook)


_new = object.__new__


def _refuse_reading() -> None:
    """Errors: GraphError while somebody listens who forbids to read values."""
    if listening and any(listener.forbids_reading for listener in modes.listeners):
        raise GraphError(
            "a value is read (item, numpy, print, float, if) while a step is recorded: every replay would see "
            "this one; return the tensor from the step and read it there"
        )


def _exchange() -> Any:
    return import_module(f"{__package__}.backends.cuda.exchange")


def wrap(array: Any, backend: Any, storage: Storage, edge: Edge | None = None) -> Tensor:
    """The tensor of an array that lies in ``storage``."""
    tensor = _new(Tensor)
    tensor.array, tensor.backend = array, backend
    tensor.storage, tensor.edge = storage, edge
    return tensor


def view(base: Tensor, array: Any) -> Tensor:
    """The tensor of an array that lies in the memory of ``base``, which will know of it."""
    storage = base.storage
    tensor = wrap(array, base.backend, storage)
    if storage.views is None:
        storage.views = set()
    storage.views.add(ref(tensor, storage.views.discard))  # it leaves when it dies
    return tensor


def host_array(data: Any, dtype_: object = None) -> Any:
    """A new NumPy array, in C order, of what a user gives as data."""
    wanted = None if dtype_ is None else np.dtype(dtype(dtype_))
    if isinstance(data, Tensor):
        return np.array(data.numpy(), wanted)
    if isinstance(data, (list, tuple)) and any(isinstance(x, Tensor) for x in data):
        data = [host_array(x) for x in data]
        wanted = wanted or np.result_type(*data)
    typed = hasattr(data, "dtype")
    try:
        array = np.array(data)
    except ValueError as error:  # rows of unequal lengths
        raise ShapeError(f"the data has no shape: {error}") from None
    if wanted is None:
        if not typed and array.dtype == np.float64:
            wanted = np.dtype(np.float32)
        elif array.dtype.name not in DTYPES:
            raise DTypeError(f"data of dtype {array.dtype} cannot be a tensor; known dtypes: {', '.join(DTYPES)}")
        else:
            wanted = np.dtype(array.dtype.type)  # in native order, and the one object that kernels' results have
    elif array.dtype.kind in "OUSc":
        raise DTypeError(f"data of dtype {array.dtype} cannot be a tensor of {wanted}")
    with np.errstate(all="ignore"):  # what is too large becomes infinity
        return np.ascontiguousarray(array, wanted).reshape(array.shape)


def from_array(array: Any, backend: Any = None) -> Tensor:
    """The tensor of a NumPy array, sharing its memory where the backend can."""
    backend = backends.get(None) if backend is None else backend
    if array.dtype.name not in DTYPES or not array.dtype.isnative:
        raise DTypeError(f"an array of dtype {array.dtype} cannot be a tensor; known dtypes: {', '.join(DTYPES)}")
    return wrap(backend.asarray(np.asarray(array)), backend, Storage())


def describe(tensor: Tensor, word: str) -> str:
    """``word(values, what is not as usual)``: short, and useful for large tensors too."""
    values = np.asarray(tensor.numpy())
    if values.dtype.name == "bfloat16":
        values = values.astype(np.float32)
    prefix = word + "("
    body = np.array2string(values, precision=4, separator=", ", prefix=prefix, threshold=200, edgeitems=3)
    extra = []
    if tensor.size > 200 or tensor.size == 0:
        extra.append(f"shape={tensor.shape}")
    if tensor.dtype not in ("float32", "int64", "bool"):
        extra.append(f"dtype={tensor.dtype}")
    if tensor.device.kind != "cpu":
        extra.append(f"device={str(tensor.device)!r}")
    if tensor.edge is not None:
        extra.append("requires_grad=True" if tensor.is_leaf else f"from={tensor.edge[0].name!r}")
    return prefix + ", ".join([body, *extra]) + ")"
