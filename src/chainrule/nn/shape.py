"""Layers that compute nothing: Flatten and Identity."""

from __future__ import annotations

from ..ops.shape import flatten
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


@register
class Identity(Layer):
    """The input as it is: a place to leave empty."""

    follows_as = None

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return x
