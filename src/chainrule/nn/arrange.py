"""Layers that models of Keras have beside the common ones: edges, time turned round, layers step by step, fixed scales."""

from __future__ import annotations

from math import prod
from typing import Any

from ..creation import ones, tensor
from ..domain.errors import ArgumentError, ShapeError
from ..ops._pool1d import avg_pool1d
from ..ops.elementwise import maximum, sqrt
from ..ops.gemm import matmul
from ..ops.pool import avg_pool2d
from ..ops.reduce import sum
from ..ops.shape import expand, flip, pad, permute, reshape, unsqueeze
from ..tensor import Tensor
from .layer import Layer, count
from .module import Module
from .registry import register
from .shape import integers

MODES = ("constant", "reflect", "replicate", "circular")


@register
class Pad(Layer):
    """More elements at the ends of the last axes, or with negative numbers fewer: PyTorch's ConstantPad and its relatives.

    ``pad`` is (before, after) of the last axis, then of the one before, ...; ``mode`` and ``value`` as in the op ``pad``.

    >>> import chainrule as cr
    >>> Pad((1, -1), value=7.0)(cr.tensor([[1.0, 2.0, 3.0]]))
    tensor([[7., 1., 2.]])
    """

    follows_as = None

    def __init__(self, pad: Any, mode: str = "constant", value: float = 0.0) -> None:
        self.pad = integers("Pad", "pad", pad)
        if len(self.pad) % 2 or not self.pad:
            raise ArgumentError(
                f"Pad: pad is {pad!r}, expected pairs in a row, before and after, the last axis first: (1, 1, 2, 2), say"
            )
        if mode not in MODES:
            raise ArgumentError(f"Pad: mode is {mode!r}, expected one of {', '.join(MODES)}")
        self.mode, self.value = mode, value

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        y: Tensor = pad(x, pad=self.pad, mode=self.mode, value=self.value)
        return y


def axes_sizes(layer: str, name: str, value: Any, axes: int) -> tuple[int, ...]:
    """A positive integer for each of some axes."""
    found = integers(layer, name, value)
    found = found * axes if len(found) == 1 else found
    if len(found) != axes or min(found) < 1:
        raise ArgumentError(f"{layer}: {name} is {value!r}, expected a positive integer, or {axes} of them")
    return found


def same_ends(x: Tensor, kernel: Any, stride: Any, dilation: Any, layer: str) -> tuple[int, ...]:
    """What "same" padding adds to x (n, channels, ...), so that a window gives a result for every ``stride`` elements."""
    axes = x.ndim - 2
    if axes < 1:
        raise ShapeError(f"{layer}: x has shape {x.shape}; it should be (n, channels, ...)")
    found: list[int] = []
    sizes = [
        axes_sizes(layer, name, value, axes)
        for name, value in (("kernel_size", kernel), ("stride", stride), ("dilation", dilation))
    ]
    for n, k, s, d in zip(x.shape[2:], *sizes, strict=True):
        total = max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0)
        found = [total // 2, total - total // 2, *found]
    return tuple(found)


@register
class SamePad(Layer):
    """The padding of "same" in TensorFlow, for x (n, channels, ...): then a layer gives ⌈size / stride⌉ values along an axis.

    ``kernel_size``, ``stride`` and ``dilation`` are those of the layer after it. If the number is odd there is one more at
    the end. How many there are depends on x; with a stride above 1, not even their half is the same for all sizes.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> nn.Sequential(SamePad(3, 2), nn.Conv2d(4, kernel_size=3, stride=2))(cr.zeros(1, 3, 28, 27)).shape
    (1, 4, 14, 14)
    """

    follows_as = None

    def __init__(self, kernel_size: Any, stride: Any = 1, dilation: Any = 1, value: float = 0.0) -> None:
        self.kernel_size = integers("SamePad", "kernel_size", kernel_size)
        self.stride = integers("SamePad", "stride", stride)
        self.dilation = integers("SamePad", "dilation", dilation)
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        ends = same_ends(x, self.kernel_size, self.stride, self.dilation, "SamePad")
        if not any(ends):
            return x
        y: Tensor = pad(x, pad=ends, value=self.value)
        return y


@register
class SameAvgPool(Layer):
    """The mean of what each window has of x (n, channels, length) or (n, channels, height, width), padded as by ``SamePad``.

    >>> import chainrule as cr
    >>> SameAvgPool(2)(cr.tensor([[[1.0, 3.0, 5.0]]]))
    tensor([[[2., 5.]]])
    """

    follows_as = None

    def __init__(self, kernel_size: Any, stride: Any = None) -> None:
        self.kernel_size = integers("SameAvgPool", "kernel_size", kernel_size)
        self.stride = self.kernel_size if stride is None else integers("SameAvgPool", "stride", stride)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        if x.ndim not in (3, 4):
            raise ShapeError(
                f"SameAvgPool: x has shape {x.shape}; it should be (n, channels, length) or (n, channels, height, width)"
            )
        ends = same_ends(x, self.kernel_size, self.stride, 1, "SameAvgPool")
        axes = x.ndim - 2
        kernel, stride = (axes_sizes("SameAvgPool", "size", v, axes) for v in (self.kernel_size, self.stride))
        parts = []
        for part in (x, ones(1, 1, *x.shape[2:], dtype=x.dtype, device=x.device)):
            padded = pad(part, pad=ends) if any(ends) else part
            parts.append(
                avg_pool1d(padded, kernel_size=kernel[0], stride=stride[0])
                if axes == 1
                else avg_pool2d(padded, kernel_size=kernel, stride=stride)
            )
        y: Tensor = parts[0] / parts[1]
        return y


@register
class Flip(Layer):
    """The elements along an axis in reverse order; ``axis`` 1 turns the steps of (batch, time, features), and their mask.

    >>> import chainrule as cr
    >>> Flip(1)(cr.tensor([[1.0, 2.0, 3.0]]))
    tensor([[3., 2., 1.]])
    """

    follows_as = None

    def __init__(self, axis: int = 1) -> None:
        self.axis = axis

    def masked(self, *masks: Any) -> dict[str, Any]:
        """It takes the mask of x."""
        return {"mask": masks[0]}

    def forward(self, x: Tensor, mask: Any = None, *, masks: bool = False) -> Any:
        """See the class; with ``masks`` (y, the mask of y)."""
        y = flip(x, axis=self.axis)
        if mask is not None and self.axis in (0, 1):
            mask = flip(mask, axis=self.axis)
        return (y, mask) if masks else y


@register
class RepeatVector(Layer):
    """(n, features) ``times`` over: (n, times, features).

    >>> import chainrule as cr
    >>> RepeatVector(3)(cr.zeros(2, 8)).shape
    (2, 3, 8)
    """

    follows_as = None

    def __init__(self, times: int) -> None:
        self.times = count("RepeatVector", "times", times)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        if x.ndim != 2:
            raise ShapeError(f"[repeat_vector] x has shape {x.shape}; it should be (n, features)")
        y: Tensor = expand(unsqueeze(x, axis=1), shape=(x.shape[0], self.times, x.shape[1]))
        return y


@register
class Rescaling(Layer):
    """``x * scale + offset``: numbers, or a list of them for each element of the last axis. They are not trained.

    >>> import chainrule as cr
    >>> Rescaling(1 / 255)(cr.tensor([0.0, 255.0]))
    tensor([0., 1.])
    >>> Rescaling([1.0, 2.0], [0.0, -1.0])(cr.tensor([[3.0, 4.0]]))
    tensor([[3., 7.]])
    """

    follows_as = None
    _scale: Tensor
    _offset: Tensor

    def __init__(self, scale: Any = 1.0, offset: Any = 0.0) -> None:
        self.scale, self.offset = (
            [float(v) for v in value] if isinstance(value, (tuple, list)) else float(value) for value in (scale, offset)
        )
        for name, value in (("_scale", self.scale), ("_offset", self.offset)):
            self.register_buffer(name, tensor(value, dtype="float64"), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        dtype = x.dtype if x.is_floating else "float32"
        scale, offset = (part.to(device=x.device, dtype=dtype) for part in (self._scale, self._offset))
        y: Tensor = x.to(dtype=dtype) * scale + offset
        return y


@register
class TimeDistributed(Layer):
    """A layer for every step of (batch, time, ...) by itself, as if each were a sample.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> TimeDistributed(nn.Conv2d(8, kernel_size=3))(cr.zeros(2, 5, 3, 9, 9)).shape
    (2, 5, 8, 7, 7)
    """

    def __init__(self, layer: Module) -> None:
        if not isinstance(layer, Module):
            raise ArgumentError(f"TimeDistributed: layer is {layer!r}, expected a module")
        self.layer = layer

    def extra_repr(self) -> str:
        """Nothing: the layer is shown below."""
        return ""

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        if x.ndim < 3:
            raise ShapeError(f"[time_distributed] x has shape {x.shape}; it should be (batch, time, ...)")
        y = self.layer(reshape(x, shape=(x.shape[0] * x.shape[1], *x.shape[2:])), **self.layer.in_sequential)
        result: Tensor = reshape(y, shape=(*x.shape[:2], *y.shape[1:]))
        return result


@register
class Dot(Layer):
    """Products of two inputs, summed along ``axes`` (one, or one for each), sample by sample; ``normalize``: of unit vectors.

    (n, a, k) and (n, b, k) along their axes 2 give (n, a, b); (n, k) and (n, k) along 1 give (n, 1).

    >>> import chainrule as cr
    >>> Dot(1, normalize=True)(cr.tensor([[3.0, 4.0]]), cr.tensor([[4.0, 3.0]]))
    tensor([[0.96]])
    """

    def __init__(self, axes: Any, normalize: bool = False) -> None:
        self.axes = axes_sizes("Dot", "axes", integers("Dot", "axes", axes), 2)
        self.normalize = normalize

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """See the class."""
        a, b = self.axes
        if x.ndim <= a or y.ndim <= b or x.shape[a] != y.shape[b] or x.shape[0] != y.shape[0]:
            raise ShapeError(f"[dot] {x.shape} along axis {a} and {y.shape} along axis {b} do not go together")
        if self.normalize:
            x, y = (v / sqrt(maximum(sum(v * v, axis=i, keepdims=True), 1e-12)) for v, i in ((x, a), (y, b)))
        left = [i for i in range(1, x.ndim) if i != a]
        right = [i for i in range(1, y.ndim) if i != b]
        rows, columns = tuple(x.shape[i] for i in left), tuple(y.shape[i] for i in right)
        x = reshape(permute(x, axes=(0, *left, a)), shape=(x.shape[0], prod(rows), x.shape[a]))
        y = reshape(permute(y, axes=(0, b, *right)), shape=(y.shape[0], y.shape[b], prod(columns)))
        result: Tensor = reshape(matmul(x, y), shape=(x.shape[0], *(rows + columns or (1,))))
        return result
