"""Masks of steps: how containers hand them on from layer to layer, and the layer that makes one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from inspect import signature
from typing import Any

from ..domain.errors import ShapeError
from ..ops.elementwise import ne, where
from ..ops.reduce import any as any_of
from ..ops.shape import unsqueeze
from ..tensor import Tensor
from .layer import Layer
from .registry import register


@cache
def gives_mask(forward: Callable[..., Any]) -> bool:
    """Whether ``masks=True`` has it return (y, the mask of y)."""
    found = signature(forward).parameters.get("masks")
    return found is not None and found.kind is found.KEYWORD_ONLY


def through(layer: Any, inputs: tuple[Any, ...], masks: tuple[Any, ...], named: Mapping[str, Any]) -> tuple[Any, Any]:
    """What a layer makes of its inputs, given their masks (None: all steps count), and the mask of that.

    A mask is bool and as the first two axes of its tensor, time and batch in whichever order. It stays while these axes do.
    A layer that takes masks gives the steps of its first input; of others the first mask there is goes on.
    """
    given = next((m for m in masks if m is not None), None)
    if given is not None:
        taken = layer.masked(*masks)
        given, named = masks[0] if taken else given, {**taken, **named}
    if gives_mask(type(layer).forward):
        y, mask = layer(*inputs, **named, masks=True)
        return y, None if isinstance(mask, tuple) else mask
    y = layer(*inputs, **named)
    made = layer.compute_mask(*inputs) if layer.makes_mask else None
    return y, made if made is not None else kept(y, given) if layer.keeps_steps else None


def kept(y: Any, mask: Any) -> Any:
    """The mask, if it fits what has become of its tensor; of several outputs it is that of the first."""
    if isinstance(y, tuple):
        return kept(y[0], mask) if y else None
    fits = mask is not None and isinstance(y, Tensor) and y.ndim > 2 and y.shape[:2] == mask.shape
    return mask if fits else None


@register
class Masking(Layer):
    """Steps whose features are all ``mask_value`` do not count for the layers after it (padding); they become zeros.

    ``x`` is (batch, time, features) or (time, batch, features). In a Sequential or a Graph, recurrent layers, attention and
    ``GlobalAvgPool1d`` get the mask, and it goes on while the first two axes stay. ``compute_mask(x)`` gives it to others.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> model = nn.Sequential(nn.Masking(), nn.LSTM(8, batch_first=True), nn.Linear(2))
    >>> x = cr.ones(1, 3, 4)
    >>> padded = cr.concat(x, cr.zeros(1, 5, 4), axis=1)
    >>> bool(((model(x) - model(padded)).abs() < 1e-6).all())
    True
    """

    follows_as = None
    makes_mask = True

    def __init__(self, mask_value: float = 0.0) -> None:
        self.mask_value = mask_value

    def compute_mask(self, *inputs: Any) -> Any:
        """Which steps of x count: bool, without the axis of features."""
        return any_of(ne(inputs[0], self.mask_value), axis=-1)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        if x.ndim < 3:
            raise ShapeError(
                f"[masking] x has shape {x.shape}; it should have steps and features: (batch, time, features)"
            )
        y: Tensor = where(unsqueeze(self.compute_mask(x), axis=-1), x, 0.0)
        return y
