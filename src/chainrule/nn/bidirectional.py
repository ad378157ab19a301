"""Bidirectional: a recurrent layer, and another of its kind that goes backwards in time."""

from __future__ import annotations

from typing import Any

from ..domain.errors import ArgumentError, ArgumentTypeError, unknown
from ..ops.shape import concat
from ..tensor import Tensor
from .layer import Layer
from .registry import register
from .rnn import Recurrent

MERGES = {
    "concat": lambda a, b: concat(a, b, axis=-1),
    "sum": lambda a, b: a + b,
    "mul": lambda a, b: a * b,
    "ave": lambda a, b: (a + b) * 0.5,
}


@register
class Bidirectional(Layer):
    """``layer`` forwards in time, and one made like it backwards; at each step their outputs are merged.

    ``merge_mode`` is "concat" (features side by side), "sum", "mul" or "ave". Without ``return_sequences`` the result merges
    the last states of both, that of the way back belonging to the first step. The state is a tuple of those of both. A flag
    that is not given is that of ``layer``; what a call returns then follows the rule of ``nn.rnn.Recurrent``. The layers are
    ``forward_layer`` and ``backward_layer``. Errors: ArgumentTypeError for a layer that is not recurrent.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> layer = Bidirectional(nn.LSTM(16, 32, return_sequences=True))
    >>> layer(cr.zeros(7, 2, 16)).shape, len(layer.parameters())
    ((7, 2, 64), 8)
    """

    in_sequential = Recurrent.in_sequential

    def __init__(
        self,
        layer: Recurrent,
        *,
        merge_mode: str = "concat",
        return_sequences: bool | None = None,
        return_state: bool | None = None,
    ) -> None:
        if not isinstance(layer, Recurrent):
            raise ArgumentTypeError(f"Bidirectional takes a layer RNN, GRU or LSTM, not {layer!r}")
        if layer.bidirectional:
            raise ArgumentError(
                "Bidirectional takes a layer that goes one way, but this one has bidirectional=True already"
            )
        if merge_mode not in MERGES:
            raise unknown("merge_mode of Bidirectional", merge_mode, MERGES)
        self.merge_mode = merge_mode
        self.return_sequences = layer.return_sequences if return_sequences is None else return_sequences
        self.return_state = layer.return_state if return_state is None else return_state
        self.forward_layer = layer
        self.backward_layer = type(layer).from_config(layer.get_config())

    @property
    def layer(self) -> Recurrent:
        """The layer that goes forwards."""
        return self.forward_layer

    def extra_repr(self) -> str:
        """The arguments but for the layer, which is shown below them."""
        return ", ".join(
            part for part in super().extra_repr().split(", ") if part.startswith(("merge_mode", "return_"))
        )

    def masked(self, *masks: Any) -> dict[str, Any]:
        """It takes the mask of x."""
        return {"mask": masks[0]}

    def forward(
        self, x: Tensor, state: Any = None, *, mask: Any = None, lengths: Any = None, returns: str | None = None
    ) -> Any:
        """See the class; ``state`` is a tuple of one for each way, ``mask``, ``lengths``, ``returns`` as for its layer."""
        there, back = (None, None) if state is None else state
        options = {"mask": mask, "lengths": lengths, "returns": "all"}
        y, state_there = self.forward_layer(x, there, **options)
        y_back, state_back = self.backward_layer(x, back, reverse=True, **options)
        sequences, wanted = self.return_sequences, self.return_state
        if sequences is None and wanted is None:
            sequences = wanted = returns != "output"
        if not sequences and returns != "all":
            y, y_back = (self._last(s) for s in (state_there, state_back))
        output = MERGES[self.merge_mode](y, y_back)
        return (
            output if returns == "output" or not (wanted or returns == "all") else (output, (state_there, state_back))
        )

    def _last(self, state: Any) -> Tensor:
        """The last output of one way: the state of its last layer."""
        h: Tensor = state if self.layer.states == 1 else state[0]
        return h[-1] if self.layer.keras_compat else h
