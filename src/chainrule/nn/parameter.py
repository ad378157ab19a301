"""Parameters: tensors whose values are drawn when they are first needed."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import Any

from ..domain.dtype import DType, dtype
from ..domain.errors import ArgumentError, NotBuiltError, ShapeError
from ..modes import no_grad, revisions
from ..ops.inplace import write
from ..tensor import Tensor, describe
from . import init as initializers

Sizes = tuple[int | None, ...]  # None where a size waits for the first input

_drawing = threading.RLock()  # two threads may meet a new parameter at once


@dataclass
class Pending:
    """What is known of values that are not drawn yet."""

    shape: Sizes
    init: initializers.Initializer
    dtype: DType
    groups: int = 1


class LazyTensor(Tensor):
    """A tensor whose values are drawn when they are first read; never again after that, nor once they are loaded.

    ``shape`` may have None for sizes that are not known yet; ``build`` gives them. Reading the values before that is a
    NotBuiltError. Layers keep in such tensors what they learn (``Parameter``) and what else they remember (buffers).

    >>> x = LazyTensor(shape=(None, 2), init="ones", name="scale")
    >>> x
    LazyTensor('scale', shape=(?, 2), init=ones, not drawn)
    >>> x.build((1, 2))
    >>> x + 1
    tensor([[2., 2.]])
    """

    # ``array`` stays unset until the values are drawn: Python calls __getattr__ then, and only then
    __slots__ = ("name", "pending")
    name: str
    pending: Pending | None

    def __init__(
        self,
        data: Any = None,
        *,
        shape: Sizes | None = None,
        init: Any = "zeros",
        dtype: Any = None,
        device: Any = None,
        requires_grad: bool = False,
        name: str = "",
        groups: int = 1,
    ) -> None:
        if (data is None) == (shape is None):
            raise ArgumentError(f"a {type(self).__name__} needs its data or a shape, and not both")
        self.name, self.pending = name, None
        if data is not None:
            super().__init__(data, dtype=dtype, device=device, requires_grad=requires_grad)
            return
        super().__init__(0.0, device=device)
        del self.array
        self.pending = Pending(tuple(shape or ()), initializers.get(init), _dtype(dtype or "float32"), groups)
        self.requires_grad = requires_grad

    def __getattr__(self, attribute: str) -> Any:
        if attribute != "array":
            raise AttributeError(f"a {type(self).__name__} has no attribute {attribute!r}")
        self.draw()
        return self.array

    @property
    def is_built(self) -> bool:
        """Whether its shape is known."""
        return self.pending is None or None not in self.pending.shape

    @property
    def sizes(self) -> Sizes:
        """The shape, with None for what is not known."""
        return self.array.shape if self.pending is None else self.pending.shape

    @property
    def shape(self) -> tuple[int, ...]:
        """The size of each axis. Errors: NotBuiltError while one is not known."""
        if self.pending is None:
            return self.array.shape  # type: ignore[no-any-return]
        known = [n for n in self.sizes if n is not None]
        if len(known) < len(self.sizes):
            raise self.not_built()
        return tuple(known)

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.sizes)

    @property
    def size(self) -> int:
        """The number of elements. Errors: NotBuiltError while the shape is not known."""
        size = 1
        for n in self.shape:
            size *= n
        return size

    @property
    def dtype(self) -> DType:
        """The element type."""
        pending = self.pending
        return pending.dtype if pending is not None else Tensor.dtype.fget(self)  # type: ignore[attr-defined]

    @property
    def is_floating(self) -> bool:
        """Whether it may have a gradient."""
        return self.dtype.is_floating

    def not_built(self) -> NotBuiltError:
        """The error of a use before the shape is known."""
        return NotBuiltError(
            f"the parameter {self.name or 'without a name'!r} has no shape yet ({sizes_text(self.sizes)}): call the model on "
            "a batch, or model.build(input_shape), or give the layer its input size"
        )

    def build(self, shape: tuple[int, ...]) -> None:
        """Give the sizes that were not known. Errors: ShapeError if one was, and is another."""
        self._check(shape)
        if self.pending is not None:
            self.pending.shape = tuple(shape)

    def draw(self) -> None:
        """Draw the values now, if they were not yet. Errors: NotBuiltError while the shape is not known."""
        with _drawing:
            pending = self.pending
            if pending is not None:
                with no_grad():
                    values = pending.init(
                        self.shape, groups=pending.groups, dtype=pending.dtype, device=self.backend.device
                    )
                self._set(values.array)

    def load(self, values: Any) -> None:
        """Take ``values`` (anything ``cr.tensor`` takes), in the dtype it has. Errors: ShapeError.

        >>> p = Parameter(shape=(2, None), name="weight")
        >>> p.load([[1, 2, 3], [4, 5, 6]])
        >>> p
        Parameter([[1., 2., 3.],
                   [4., 5., 6.]], requires_grad=True)
        """
        tensor = values if isinstance(values, Tensor) else Tensor(values)
        self._check(tensor.shape)
        with no_grad():
            if self.pending is None:
                write(self, tensor.to(self.device))
            else:
                self._set(tensor.to(self.device, self.dtype, copy=True).array)

    def adopt(self, values: Tensor) -> None:
        """Have the memory of ``values``, which is of its dtype and on its device, as its own. Errors: ShapeError.

        Tensors that looked at the memory it had before keep that.
        """
        self._check(values.shape)
        self.array, self.backend, self.storage, self.pending = values.array, values.backend, values.storage, None
        revisions[0] += 1

    def move(self, *, device: Any = None, dtype: Any = None) -> None:
        """Go to another device or, if floating, to another dtype. The tensor stays the same object; so does its gradient."""
        dtype = _dtype(dtype) if dtype is not None and self.is_floating else None
        if self.pending is not None:
            self.pending.dtype = dtype or self.pending.dtype
            if device is not None:
                self.backend = Tensor(0.0, device=device).backend
            return
        with no_grad():
            moved, gradient = self.detach().to(device=device, dtype=dtype), self.grad
            if gradient is not None:
                self.grad = gradient.to(device=device, dtype=dtype)
        if moved.array is not self.array:
            self.array, self.backend, self.storage = moved.array, moved.backend, moved.storage
            revisions[0] += 1

    def _set(self, array: Any) -> None:
        self.array = array
        self.pending = None

    def _check(self, shape: tuple[int, ...]) -> None:
        sizes = self.sizes
        if len(shape) != len(sizes) or any(m not in (None, n) for n, m in zip(shape, sizes, strict=True)):
            raise ShapeError(
                f"the parameter {self.name!r} has shape {sizes_text(sizes)}, but the values have {tuple(shape)}"
            )

    def __repr__(self) -> str:
        word = type(self).__name__
        if self.pending is None:
            return describe(self, word)
        extra = "" if self.dtype == "float32" else f"dtype={self.dtype}, "
        return f"{word}({self.name!r}, shape={sizes_text(self.sizes)}, {extra}init={self.pending.init}, not drawn)"

    def __deepcopy__(self, memo: dict[int, Any]) -> LazyTensor:
        copy = _rebuild(*self.__reduce__()[1])
        memo[id(self)] = copy
        return copy

    def __reduce__(self) -> tuple[Any, ...]:
        pending = self.pending
        values = self.numpy().copy() if pending is None else replace(pending)
        return (_rebuild, (type(self), values, str(self.device), self.requires_grad, self.name))


class Parameter(LazyTensor):
    """A tensor that is trained: what optimizers change.

    Made of values (which are copied), ``Parameter([1.0, 2.0])``, or of a ``shape`` and an initializer. A module that has
    it as an attribute registers it; ``name`` is the longest path that a tree of modules gave it.

    >>> Parameter([1.0, 2.0])
    Parameter([1., 2.], requires_grad=True)
    >>> Parameter(shape=(10, None), init="kaiming_uniform", name="weight")
    Parameter('weight', shape=(10, ?), init=kaiming_uniform, not drawn)
    """

    __slots__ = ()

    def __init__(self, data: Any = None, *, requires_grad: bool = True, **options: Any) -> None:
        super().__init__(data, requires_grad=requires_grad, **options)


_dtype = dtype


def sizes_text(sizes: Sizes) -> str:
    """A shape with ``?`` for what is not known."""
    inside = ", ".join("?" if n is None else str(n) for n in sizes)
    return f"({inside},)" if len(sizes) == 1 else f"({inside})"


def _rebuild(cls: type[LazyTensor], values: Any, device: str, requires_grad: bool, name: str) -> LazyTensor:
    """A parameter from its pickle, or a copy of it."""
    if not isinstance(values, Pending):
        return cls(values, device=device, requires_grad=requires_grad, name=name)
    new = cls(
        shape=values.shape, init=values.init, dtype=values.dtype, device=device, requires_grad=requires_grad, name=name
    )
    new.pending = values
    return new
