"""LSTM and GRU whose gates and states have other activations than the sigmoid and tanh, step by step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..domain.errors import unknown
from ..ops.activation import relu
from ..ops.elementwise import abs, clip, sigmoid, tanh
from ..ops.gemm import linear
from ..ops.rnn import parts, started, through
from .registry import register
from .rnn import GRU, LSTM

FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "hard_sigmoid": lambda x: clip(x * (1 / 6) + 0.5, 0.0, 1.0),
    "hard_sigmoid_fifth": lambda x: clip(x * 0.2 + 0.5, 0.0, 1.0),  # of Keras before 3
    "linear": lambda x: x,
    "relu": relu,
    "sigmoid": sigmoid,
    "softsign": lambda x: x / (1 + abs(x)),
    "tanh": tanh,
}


def function(layer: str, name: str, given: str) -> str:
    """The name of an activation. Errors: ArgumentError."""
    if given not in FUNCTIONS:
        raise unknown(f"{name} of {layer}", given, FUNCTIONS)
    return given


@register
class GatedLSTM(LSTM):
    """``LSTM`` of one layer with ``recurrent_activation`` for its gates and ``activation`` for its cell.

    They are named in ``nn.gated.FUNCTIONS``: "hard_sigmoid" is x / 6 + 0.5, "hard_sigmoid_fifth" 0.2 x + 0.5, from 0 to 1.
    Older models of Keras need it; it goes step by step, and LSTM is quicker.

    >>> import chainrule as cr
    >>> GatedLSTM(3, 5, batch_first=True, return_sequences=True)(cr.zeros(2, 7, 3)).shape
    (2, 7, 5)
    """

    def __init__(
        self,
        input_size: int | None = None,
        hidden_size: int | None = None,
        bias: bool = True,
        batch_first: bool = False,
        *,
        activation: str = "tanh",
        recurrent_activation: str = "hard_sigmoid_fifth",
        return_sequences: bool | None = None,
        return_state: bool | None = None,
        dtype: str = "float32",
    ) -> None:
        self.activation = function("GatedLSTM", "activation", activation)
        self.recurrent_activation = function("GatedLSTM", "recurrent_activation", recurrent_activation)
        super().__init__(
            input_size,
            hidden_size,
            1,
            bias,
            batch_first,
            return_sequences=return_sequences,
            return_state=return_state,
            dtype=dtype,
        )

    def _sequence(self, *args: Any, reverse: bool) -> Any:
        x, weight_ih, weight_hh, bias_ih, bias_hh, h0, c0, mask = args
        gate, act = FUNCTIONS[self.recurrent_activation], FUNCTIONS[self.activation]

        def step(sums: Any, h: Any, c: Any) -> tuple[Any, ...]:
            i, f, g, o = parts(sums + linear(h, weight_hh, bias_hh), 4)
            c = gate(f) * c + gate(i) * act(g)
            return gate(o) * act(c), c

        return through(step, linear(x, weight_ih, bias_ih), started(x, weight_hh, h0, c0), mask, reverse)


@register
class GatedGRU(GRU):
    """``GRU`` of one layer with ``recurrent_activation`` for its gates and ``activation`` for its state, as in ``GatedLSTM``.

    >>> import chainrule as cr
    >>> GatedGRU(3, 5, batch_first=True, return_sequences=True)(cr.zeros(2, 7, 3)).shape
    (2, 7, 5)
    """

    def __init__(
        self,
        input_size: int | None = None,
        hidden_size: int | None = None,
        bias: bool = True,
        batch_first: bool = False,
        *,
        activation: str = "tanh",
        recurrent_activation: str = "hard_sigmoid_fifth",
        reset_after: bool = True,
        return_sequences: bool | None = None,
        return_state: bool | None = None,
        dtype: str = "float32",
    ) -> None:
        self.activation = function("GatedGRU", "activation", activation)
        self.recurrent_activation = function("GatedGRU", "recurrent_activation", recurrent_activation)
        super().__init__(
            input_size,
            hidden_size,
            1,
            bias,
            batch_first,
            reset_after=reset_after,
            return_sequences=return_sequences,
            return_state=return_state,
            dtype=dtype,
        )

    def _sequence(self, *args: Any, reverse: bool) -> Any:
        x, weight_ih, weight_hh, bias_ih, bias_hh, h0, mask = args
        gate, act = FUNCTIONS[self.recurrent_activation], FUNCTIONS[self.activation]
        size = self.hidden_size

        def step(sums: Any, h: Any) -> tuple[Any, ...]:
            r, z, n = parts(sums, 3)
            if self.reset_after:
                hr, hz, hn = parts(linear(h, weight_hh, bias_hh), 3)
                r, z = gate(r + hr), gate(z + hz)
                n = act(n + r * hn)
            else:
                first = None if bias_hh is None else bias_hh[: 2 * size]
                hr, hz = parts(linear(h, weight_hh[: 2 * size], first), 2)
                r, z = gate(r + hr), gate(z + hz)
                n = act(n + linear(r * h, weight_hh[2 * size :], None if bias_hh is None else bias_hh[2 * size :]))
            return ((1 - z) * n + z * h,)

        return through(step, linear(x, weight_ih, bias_ih), started(x, weight_hh, h0), mask, reverse)
