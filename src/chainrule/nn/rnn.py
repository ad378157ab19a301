"""Recurrent layers over whole sequences: RNN, GRU, LSTM."""

from __future__ import annotations

from math import sqrt
from types import MappingProxyType
from typing import Any

import numpy as np

from ..creation import arange, as_tensor
from ..domain.errors import ArgumentError, ArgumentTypeError, ShapeError, unknown
from ..ops.elementwise import lt
from ..ops.rnn import gru, known_nonlinearity, lstm, rnn
from ..ops.shape import concat, permute, stack, unsqueeze
from ..tensor import Tensor
from . import init as initializers
from .dropout import Dropout
from .init import Place
from .layer import Layer, count
from .parameter import Parameter, Sizes
from .registry import register


@initializers.register
def orthogonal_blocks(place: Place, *, blocks: int = 1) -> Tensor:
    """``blocks`` square blocks of rows, each a random orthogonal matrix (Saxe, McClelland and Ganguli, 2013)."""
    n = place.shape[1]
    q, r = np.linalg.qr(place.normal(0.0, 1.0).numpy().reshape(blocks, n, n))
    q *= np.sign(np.diagonal(r, axis1=1, axis2=2))[:, None]  # else the decomposition prefers some rotations
    return Tensor(q.reshape(place.shape), dtype=place.dtype, device=place.generator.state.device)


@initializers.register
def forget_ones(place: Place) -> Tensor:
    """1 for the forget gate of an LSTM, 0 for its other gates (Jozefowicz, Zaremba and Sutskever, 2015)."""
    n = place.shape[0] // 4
    values: Tensor = concat(place.full(0.0)[:n], place.full(1.0)[:n], place.full(0.0)[: 2 * n], axis=0)
    return values


def first_values(kind: str, blocks: int, hidden_size: int, init: str) -> dict[str, initializers.Initializer]:
    """The initializer of each of the four parameters of a cell, by its name."""
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    if init == "uniform":
        bound = 1 / sqrt(hidden_size)
        return dict.fromkeys(names, initializers.get("uniform", low=-bound, high=bound))
    if init != "orthogonal":
        raise unknown(f"init of {kind}", init, ["uniform", "orthogonal"])
    recurrent = initializers.get("orthogonal_blocks", blocks=blocks)
    bias = initializers.get("forget_ones" if blocks == 4 else "zeros")
    chosen = (initializers.get("xavier_uniform"), recurrent, bias, initializers.get("zeros"))
    return dict(zip(names, chosen, strict=True))


class Recurrent(Layer):
    """What RNN, GRU and LSTM have in common, and what they return.

    ``x`` is (time, batch, features), or (batch, time, features) with ``batch_first``. The **output** is the whole sequence
    of states of the last layer, or with ``return_sequences=False`` the last one alone; the **state** is ``h``, for LSTM
    ``(h, c)``, each (num_layers · directions, batch, hidden_size). What a call returns:

    * with neither ``return_sequences`` nor ``return_state`` given: ``(sequence, state)``, as in PyTorch; inside a
      Sequential only the last output, as in Keras.
    * with one of them given: what Keras returns, the other being False. ``return_state`` gives ``(output, state)``.
    * inside a Sequential: never a state, the next layer gets the output.
    * with ``keras_compat=False``: the tuples of KeyDNN. Both are True unless given; states are (batch, hidden_size); of RNN
      and GRU ``return_sequences=False, return_state=True`` gives the state alone.

    ``layer(x, state)`` begins with a state, otherwise with zeros. ``mask``, (time, batch) as x has them, is True where a step
    counts; ``lengths`` (batch,) says the same of padded sequences. A step that does not count leaves the state as it is and
    gives 0; the last output is that of the last step that counts. ``reverse=True`` goes backwards in time.
    ``bidirectional`` has a second network go backwards and puts their outputs side by side. ``dropout`` acts between layers.

    Parameters are named and laid out as PyTorch's: ``weight_ih_l0`` (k·hidden_size, features), ``weight_hh_l0``,
    ``bias_ih_l0``, ``bias_hh_l0``, then ``_l1``; ``_reverse`` for the way back. ``init="uniform"`` draws all of them from
    ±1/√hidden_size, as PyTorch; ``"orthogonal"`` makes each block of the recurrent weights orthogonal, has Glorot draw the
    input's, and begins the biases with 0, and 1 for LSTM's forget gate.
    """

    blocks = 1
    states = 1
    in_sequential = MappingProxyType({"returns": "output"})

    def __init__(
        self,
        input_size: int | None = None,
        hidden_size: int | None = None,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        return_sequences: bool | None = None,
        return_state: bool | None = None,
        keras_compat: bool = True,
        init: str = "uniform",
        dtype: str = "float32",
    ) -> None:
        name = type(self).__name__
        if hidden_size is None:
            input_size, hidden_size = None, input_size
        self.hidden_size, self.num_layers = (
            count(name, "hidden_size", hidden_size),
            count(name, "num_layers", num_layers),
        )
        if input_size is not None:
            count(name, "input_size", input_size)
        if not isinstance(dropout, (int, float)) or not 0 <= dropout <= 1:
            raise ArgumentError(f"{name}: dropout is {dropout!r}, expected a probability, from 0 to 1")
        if dropout and num_layers == 1:
            raise ArgumentError(f"{name}: dropout={dropout} acts between layers, but num_layers is 1")
        if not keras_compat and (num_layers > 1 or bidirectional):
            raise ArgumentError(f"{name}: keras_compat=False, the tuples of KeyDNN, is for one layer in one direction")
        self.bias, self.batch_first, self.dropout, self.bidirectional = bias, batch_first, dropout, bidirectional
        self.return_sequences, self.return_state, self.keras_compat = return_sequences, return_state, keras_compat
        self.init = init
        values = first_values(name, self.blocks, self.hidden_size, init)
        rows = self.blocks * self.hidden_size
        for layer, suffix in self._suffixes():
            inputs = input_size if layer == 0 else self.hidden_size * (1 + bidirectional)
            shapes: dict[str, Sizes] = {"weight_ih": (rows, inputs), "weight_hh": (rows, self.hidden_size)}
            if bias:
                shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
            for kind, shape in shapes.items():
                full = kind + suffix
                setattr(self, full, Parameter(shape=shape, init=values[kind], dtype=dtype, name=full))

    def _suffixes(self) -> list[tuple[int, str]]:
        """(layer, what ends the names of its parameters), in order."""
        ways = ("", "_reverse") if self.bidirectional else ("",)
        return [(layer, f"_l{layer}{way}") for layer in range(self.num_layers) for way in ways]

    def _weights(self, suffix: str) -> list[Any]:
        """Both weights and both biases of a layer in one direction."""
        kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        return [getattr(self, kind + suffix, None) for kind in kinds]

    @property
    def input_size(self) -> int | None:
        """The number of features of x, or None until it is known."""
        size: int | None = self._weights("_l0")[0].sizes[1]
        return size

    @property
    def dtype(self) -> str:
        """The dtype of the parameters."""
        dtype: str = self._weights("_l0")[0].dtype
        return dtype

    def masked(self, *masks: Any) -> dict[str, Any]:
        """It takes the mask of x."""
        return {"mask": masks[0]}

    def forward(
        self,
        x: Tensor,
        state: Any = None,
        *,
        mask: Any = None,
        lengths: Any = None,
        reverse: bool = False,
        returns: str | None = None,
    ) -> Any:
        """See the class. ``returns="output"`` gives the output alone; ``"all"`` (sequence, state), whatever the flags say."""
        if x.ndim != 3:
            axes = "(batch, time, features)" if self.batch_first else "(time, batch, features)"
            raise ShapeError(
                f"[{type(self).__name__.lower()}] x has shape {x.shape}; it should be {axes}. A recurrent layer before it in "
                "a Sequential gives whole sequences with return_sequences=True"
            )
        mask = valid_steps(type(self).__name__.lower(), x, mask, lengths, self.batch_first)
        x = permute(x, axes=(1, 0, 2)) if self.batch_first else x
        for layer, suffix in self._suffixes():
            weight = self._weights(suffix)[0]
            if layer == 0 and weight.pending is not None and not weight.is_built:
                weight.build((self.blocks * self.hidden_size, x.shape[2]))
        y, last = self._run(x, self._given(state), mask, reverse)
        return self._returned(y, last, returns)

    def _run(self, x: Tensor, first: list[Any], mask: Any, reverse: bool) -> tuple[Tensor, list[Any]]:
        """The sequence of the last layer, and the last states of each layer and direction."""
        last: list[Any] = []
        outputs: list[Any] = []
        for k, (layer, suffix) in enumerate(self._suffixes()):
            backwards = suffix.endswith("_reverse")
            if layer and not backwards:
                x = self._joined(outputs)
                x = Dropout(self.dropout)(x) if self.dropout and self.training else x
                outputs = []
            y, *states = self._sequence(x, *self._weights(suffix), *first[k], mask, reverse=reverse != backwards)
            outputs.append(y)
            last.append(states)
        return self._joined(outputs), last

    def _sequence(self, *args: Any, reverse: bool) -> Any:
        """The op of one layer in one direction."""
        raise NotImplementedError

    @staticmethod
    def _joined(parts: list[Any]) -> Any:
        return parts[0] if len(parts) == 1 else concat(*parts, axis=-1)

    def _given(self, state: Any) -> list[Any]:
        """The first states of each layer and direction, from what the caller gave."""
        cells = self.num_layers * (1 + self.bidirectional)
        if state is None:
            return [[None] * self.states] * cells
        given = list(state) if isinstance(state, (tuple, list)) else [state]
        name = type(self).__name__
        if len(given) != self.states or not all(isinstance(s, Tensor) for s in given):
            wanted = "a tensor h" if self.states == 1 else "a tuple (h, c) of tensors"
            raise ArgumentTypeError(
                f"[{name.lower()}] the state is {type(state).__name__} of {len(given)}, expected {wanted}"
            )
        given = [unsqueeze(s, axis=0) if s.ndim == 2 and cells == 1 else s for s in given]
        for s in given:
            if s.ndim != 3 or s.shape[0] != cells or s.shape[2] != self.hidden_size:
                raise ShapeError(
                    f"[{name.lower()}] the state has shape {s.shape}; {name} needs ({cells}, batch, {self.hidden_size})"
                )
        return [[s[k] for s in given] for k in range(cells)]

    def _returned(self, y: Any, last: list[Any], returns: str | None) -> Any:
        """What a call returns; the rule stands in the docstring of the class."""
        sequences, state = self.return_sequences, self.return_state
        if not self.keras_compat:
            sequences, state = sequences is not False, state is not False
        elif sequences is None and state is None:
            sequences = state = returns != "output"
        if returns == "all":
            sequences = state = True
        if sequences:
            output = permute(y, axes=(1, 0, 2)) if self.batch_first else y
        else:
            output = self._joined([h for h, *_ in last[-1 - self.bidirectional :]])
        if not state or returns == "output":
            return output
        if self.keras_compat:
            ends = [stack(*[cell[i] for cell in last]) for i in range(self.states)]
        else:
            ends = last[0]
            if self.states == 1 and not sequences and returns != "all":
                return ends[0]
        return output, ends[0] if self.states == 1 else tuple(ends)


def valid_steps(name: str, x: Tensor, mask: Any, lengths: Any, batch_first: bool) -> Any:
    """The steps that count, (time, batch), from a mask or from lengths; None if all do. Errors: ShapeError, ArgumentError."""
    batch, steps = x.shape[:2] if batch_first else (x.shape[1], x.shape[0])
    if lengths is not None:
        if mask is not None:
            raise ArgumentError(f"[{name}] got both mask and lengths, which say the same: give one")
        lengths = as_tensor(lengths, device=x.device)
        if lengths.shape != (batch,):
            raise ShapeError(
                f"[{name}] lengths has shape {lengths.shape}, expected ({batch},), one for each of the batch"
            )
        if batch and not 0 <= int(lengths.amin().item()) <= int(lengths.amax().item()) <= steps:
            raise ArgumentError(
                f"[{name}] lengths are {lengths.tolist()}, expected numbers from 0 to {steps}, the steps of x"
            )
        return lt(unsqueeze(arange(steps, device=x.device), axis=1), lengths)
    if mask is None:
        return None
    mask = as_tensor(mask, device=x.device)
    if mask.shape != x.shape[:2]:
        raise ShapeError(f"[{name}] mask has shape {mask.shape} but x {x.shape} needs {x.shape[:2]}")
    return permute(mask, axes=(1, 0)) if batch_first else mask


@register
class RNN(Recurrent):
    """``h' = tanh(W x + b + U h + c)`` along a sequence (Elman, 1990); ``nonlinearity`` is "tanh" or "relu".

    ``nn.rnn.Recurrent`` says what the other arguments are and what a call returns; ``RNN(hidden)`` takes the size of the
    input from x.

    >>> import chainrule as cr
    >>> layer = RNN(3, 5)
    >>> y, h = layer(cr.zeros(7, 2, 3))
    >>> y.shape, h.shape
    ((7, 2, 5), (1, 2, 5))
    >>> RNN(3, 5, batch_first=True, return_sequences=True)(cr.zeros(2, 7, 3)).shape
    (2, 7, 5)
    """

    def __init__(
        self,
        input_size: int | None = None,
        hidden_size: int | None = None,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        return_sequences: bool | None = None,
        return_state: bool | None = None,
        keras_compat: bool = True,
        init: str = "uniform",
        dtype: str = "float32",
    ) -> None:
        known_nonlinearity("RNN", nonlinearity)
        self.nonlinearity = nonlinearity
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
            return_sequences=return_sequences, return_state=return_state, keras_compat=keras_compat, init=init, dtype=dtype,
        )  # fmt: skip

    def _sequence(self, *args: Any, reverse: bool) -> Any:
        return rnn(*args, nonlinearity=self.nonlinearity, reverse=reverse)


@register
class GRU(Recurrent):
    """A gated recurrent unit along a sequence (Cho et al., 2014), with PyTorch's equations and gates r, z, n.

    ``nn.rnn.Recurrent`` says what the arguments are and what a call returns. With ``reset_after=False`` the reset gate
    acts before the recurrent product, as in the paper and in KeyDNN; PyTorch, and Keras by default, have it after.

    >>> import chainrule as cr
    >>> y, h = GRU(3, 5, num_layers=2, bidirectional=True)(cr.zeros(7, 2, 3))
    >>> y.shape, h.shape
    ((7, 2, 10), (4, 2, 5))
    """

    blocks = 3

    def __init__(
        self,
        input_size: int | None = None,
        hidden_size: int | None = None,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        reset_after: bool = True,
        return_sequences: bool | None = None,
        return_state: bool | None = None,
        keras_compat: bool = True,
        init: str = "uniform",
        dtype: str = "float32",
    ) -> None:
        self.reset_after = reset_after
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
            return_sequences=return_sequences, return_state=return_state, keras_compat=keras_compat, init=init, dtype=dtype,
        )  # fmt: skip

    def _sequence(self, *args: Any, reverse: bool) -> Any:
        return gru(*args, reset_after=self.reset_after, reverse=reverse)


@register
class LSTM(Recurrent):
    """A long short-term memory along a sequence (Hochreiter and Schmidhuber, 1997), gates i, f, g, o.

    ``nn.rnn.Recurrent`` says what the arguments are and what a call returns.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> y, (h, c) = LSTM(3, 5)(cr.zeros(7, 2, 3), lengths=[7, 4])
    >>> y.shape, h.shape, c.shape
    ((7, 2, 5), (1, 2, 5), (1, 2, 5))
    >>> nn.Sequential(LSTM(16, return_sequences=True), LSTM(8), nn.Linear(1))(cr.zeros(7, 2, 3)).shape
    (2, 1)
    """

    blocks = 4
    states = 2

    def _sequence(self, *args: Any, reverse: bool) -> Any:
        return lstm(*args, reverse=reverse)
