"""Recurrent layers of one step: RNNCell, GRUCell, LSTMCell."""

from __future__ import annotations

from typing import Any

from ..domain.errors import ArgumentTypeError, ShapeError
from ..ops.rnn import gru_cell, known_nonlinearity, lstm_cell, rnn_cell
from ..tensor import Tensor
from .layer import Layer, count
from .parameter import Parameter, Sizes
from .registry import register
from .rnn import first_values

BIASES = ("bias_ih", "bias_hh")


class Cell(Layer):
    """What RNNCell, GRUCell and LSTMCell have in common.

    ``x`` is (batch, features). The parameters are PyTorch's: ``weight_ih`` (k·hidden_size, features), ``weight_hh``
    (k·hidden_size, hidden_size), ``bias_ih`` and ``bias_hh``. ``init`` is as for ``nn.rnn.Recurrent``. ``Cell(hidden)`` takes
    the number of features from x.
    """

    blocks = 1
    weight_ih: Parameter
    weight_hh: Parameter
    bias_ih: Parameter | None
    bias_hh: Parameter | None

    def __init__(
        self,
        input_size: int | None = None,
        hidden_size: int | None = None,
        bias: bool = True,
        *,
        init: str = "uniform",
        dtype: str = "float32",
    ) -> None:
        name = type(self).__name__
        if hidden_size is None:
            input_size, hidden_size = None, input_size
        self.hidden_size = count(name, "hidden_size", hidden_size)
        if input_size is not None:
            count(name, "input_size", input_size)
        self.bias, self.init = bias, init
        values, rows = first_values(name, self.blocks, self.hidden_size, init), self.blocks * self.hidden_size
        shapes: dict[str, Sizes] = {"weight_ih": (rows, input_size), "weight_hh": (rows, self.hidden_size)}
        shapes |= dict.fromkeys(BIASES, (rows,))
        for kind, shape in shapes.items():
            made = Parameter(shape=shape, init=values[kind], dtype=dtype, name=kind)
            setattr(self, kind, made if bias or len(shape) == 2 else None)

    @property
    def input_size(self) -> int | None:
        """The number of features of x, or None until it is known."""
        return self.weight_ih.sizes[1]

    @property
    def dtype(self) -> str:
        """The dtype of the parameters."""
        return self.weight_ih.dtype

    def _weights(self, x: Tensor) -> list[Any]:
        """The parameters, with the number of features taken from x if it was not known."""
        if x.ndim != 2:
            raise ShapeError(f"[{type(self).__name__.lower()}] x has shape {x.shape}; it should be (batch, features)")
        if self.weight_ih.pending is not None and not self.weight_ih.is_built:
            self.weight_ih.build((self.blocks * self.hidden_size, x.shape[1]))
        return [self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh]


@register
class RNNCell(Cell):
    """``tanh(W x + b + U h + c)``: one step of ``RNN``, from the state before it (zeros if it is left out) to the one after.

    >>> import chainrule as cr
    >>> cell = RNNCell(3, 5)
    >>> h = cell(cr.zeros(2, 3))
    >>> cell(cr.ones(2, 3), h).shape
    (2, 5)
    """

    def __init__(
        self,
        input_size: int | None = None,
        hidden_size: int | None = None,
        bias: bool = True,
        nonlinearity: str = "tanh",
        *,
        init: str = "uniform",
        dtype: str = "float32",
    ) -> None:
        known_nonlinearity("RNNCell", nonlinearity)
        self.nonlinearity = nonlinearity
        super().__init__(input_size, hidden_size, bias, init=init, dtype=dtype)

    def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        """See the class."""
        y: Tensor = rnn_cell(x, *self._weights(x), h, nonlinearity=self.nonlinearity)
        return y


@register
class GRUCell(Cell):
    """One step of ``GRU``, from the state before it (zeros if it is left out) to the one after.

    >>> import chainrule as cr
    >>> GRUCell(3, 5)(cr.zeros(2, 3), cr.zeros(2, 5)).shape
    (2, 5)
    """

    blocks = 3

    def __init__(
        self,
        input_size: int | None = None,
        hidden_size: int | None = None,
        bias: bool = True,
        *,
        reset_after: bool = True,
        init: str = "uniform",
        dtype: str = "float32",
    ) -> None:
        self.reset_after = reset_after
        super().__init__(input_size, hidden_size, bias, init=init, dtype=dtype)

    def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        """See the class."""
        y: Tensor = gru_cell(x, *self._weights(x), h, reset_after=self.reset_after)
        return y


@register
class LSTMCell(Cell):
    """One step of ``LSTM``, from ``(h, c)`` before it (zeros if it is left out) to ``(h, c)`` after.

    >>> import chainrule as cr
    >>> h, c = LSTMCell(3, 5)(cr.zeros(2, 3))
    >>> h.shape, c.shape
    ((2, 5), (2, 5))
    """

    blocks = 4

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """See the class."""
        if state is not None and (not isinstance(state, (tuple, list)) or len(state) != 2):
            raise ArgumentTypeError("[lstmcell] the state is no pair; LSTMCell takes (h, c)")
        h, c = lstm_cell(x, *self._weights(x), *(state or (None, None)))
        return h, c
