"""Layers that arrange values otherwise, or take functions in: Flatten, Reshape, Permute, Lambda ..."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..domain.errors import ArgumentError, ShapeError, unknown
from ..ops.shape import flatten, permute, reshape
from ..tensor import Tensor
from .layer import Layer
from .registry import register


@register
class Flatten(Layer):
    """The axes from ``start_axis`` to ``end_axis`` as one: by default all but the batch.

    >>> import chainrule as cr
    >>> Flatten()(cr.zeros(2, 8, 7, 7)).shape
    (2, 392)
    """

    follows_as = None

    def __init__(self, start_axis: int = 1, end_axis: int = -1) -> None:
        self.start_axis, self.end_axis = start_axis, end_axis

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        y: Tensor = flatten(x, self.start_axis, self.end_axis)
        return y


def integers(layer: str, name: str, value: Any) -> tuple[int, ...]:
    """Some integers. Errors: ArgumentError."""
    found = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    if any(type(n) is not int for n in found):
        raise ArgumentError(f"{layer}: {name} is {value!r}, expected integers")
    return found


@register
class Unflatten(Layer):
    """The axis ``axis`` as several, of ``sizes``; one of them may be -1. The opposite of Flatten.

    >>> import chainrule as cr
    >>> Unflatten(1, (8, -1))(cr.zeros(2, 56)).shape
    (2, 8, 7)
    """

    follows_as = None

    def __init__(self, axis: int, sizes: Any) -> None:
        self.axis, self.sizes = axis, integers("Unflatten", "sizes", sizes)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        if not -x.ndim <= self.axis < x.ndim:
            raise ShapeError(f"[unflatten] axis {self.axis} is not an axis of x, {x.shape}")
        axis = self.axis % x.ndim
        y: Tensor = reshape(x, shape=(*x.shape[:axis], *self.sizes, *x.shape[axis + 1 :]))
        return y


@register
class Reshape(Layer):
    """Each sample in the shape ``shape``, which does not name the batch; one size may be -1.

    >>> import chainrule as cr
    >>> Reshape((8, -1))(cr.zeros(2, 4, 14)).shape
    (2, 8, 7)
    """

    follows_as = None
    keeps_steps = False

    def __init__(self, shape: Any) -> None:
        self.shape = integers("Reshape", "shape", shape)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        y: Tensor = reshape(x, shape=(*x.shape[:1], *self.shape))
        return y


@register
class Permute(Layer):
    """The axes in another order; ``axes`` names all of them, the batch (0) too.

    >>> import chainrule as cr
    >>> Permute((0, 2, 1))(cr.zeros(2, 8, 7)).shape
    (2, 7, 8)
    """

    follows_as = None
    keeps_steps = False

    def __init__(self, axes: Any) -> None:
        self.axes = integers("Permute", "axes", axes)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        y: Tensor = permute(x, axes=self.axes)
        return y


FUNCTIONS: dict[str, Callable[..., Any]] = {}  # what Lambda can name


def register_function(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a function so that ``Lambda`` layers, and files with them, can name it. Errors: ArgumentError if it is taken.

    >>> @register_function
    ... def halved(x, by=2):
    ...     return x / by
    """
    name = function.__name__
    taken = FUNCTIONS.get(name)
    if taken is not None and (taken.__module__, taken.__qualname__) != (function.__module__, function.__qualname__):
        raise ArgumentError(
            f"the name {name!r} is taken by {taken.__module__}.{taken.__qualname__}; rename the function"
        )
    FUNCTIONS[name] = function
    return function


@register
class Lambda(Layer):
    """A function as a layer: ``function(x, **arguments)``, in a Graph also of several inputs.

    It is registered with ``nn.register_function``, or its name is.

    A file has the name, and the function has to be registered again where it is loaded. Errors: ArgumentError.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> @nn.register_function
    ... def scaled(x, by=2.0):
    ...     return x * by
    >>> nn.Lambda("scaled", {"by": 3.0})(cr.ones(2))
    tensor([3., 3.])
    """

    def __init__(self, function: Callable[..., Any] | str, arguments: Mapping[str, Any] | None = None) -> None:
        name = function if isinstance(function, str) else getattr(function, "__name__", repr(function))
        if isinstance(function, str) and name not in FUNCTIONS:
            raise unknown("function of Lambda", name, FUNCTIONS)
        if FUNCTIONS.get(name) is not function and not isinstance(function, str):
            raise ArgumentError(f"Lambda: {name} is not registered: put @nn.register_function above its definition")
        self.function, self.arguments = name, dict(arguments or {})

    def forward(self, *inputs: Any) -> Any:
        """See the class."""
        return FUNCTIONS[self.function](*inputs, **self.arguments)


@register
class Identity(Layer):
    """The input as it is: a place to leave empty."""

    follows_as = None

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return x
