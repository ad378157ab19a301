"""Networks of ``cppapi`` ("Low Level Deep Learning"), which has no files: built again from their description.

There a layer computes ``activation(x @ W + B)``, with W (inputs, units) and B (1, units); LeakyReLU has the slope 0.2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import losses, nn, optim
from ..domain.errors import ArgumentError, ArgumentTypeError, ShapeError, unknown
from ..nn import Module
from ..train.compiled import compile
from .per_sample import MSEOfSamples

ACTIVATIONS: dict[str, Callable[[], Module] | None] = {
    "Sigmoid": nn.Sigmoid,
    "Linear": None,
    "ReLU": nn.ReLU,
    "LeakyReLU": lambda: nn.LeakyReLU(0.2),
    "Tanh": nn.Tanh,
}
MOST_UNITS = 1 << 13  # what is more was not meant
LOSSES = {"MSE": MSEOfSamples, "CROSS_ENTROPY": losses.CrossEntropy}


def from_cppapi(
    layers: Sequence[Sequence[Any]], loss: Any, weights: Sequence[Sequence[Any]] | None = None, *, lr: float = 0.01
) -> Module:
    """The network ``NeuralNetwork2([Layer2(type, units, activation), ...], loss)``, compiled with SGD, as its Trainer is.

    ``layers`` are (type, units, activation) and ``loss`` is "MSE" or "CROSS_ENTROPY", words or members of its enumerations.
    ``weights`` are the pairs (W, B) of each layer; without them the layers start as those of chainrule do (there uniform from
    -1 to 1). Its MSE sums over the outputs of a sample. For CROSS_ENTROPY there is the cross-entropy of the softmax, by whose
    gradient it trains, as the mean over the batch; it forgets to divide: train with ``lr`` times the size of a batch.
    Predictions are the outputs of the last layer. Errors: ArgumentError; ArgumentTypeError; ShapeError.

    >>> import numpy as np
    >>> model = from_cppapi([("Dense", 2, "Tanh"), ("Dense", 1, "Linear")], "MSE", [(np.eye(2), [0, 0]), ([[1], [1]], [3])])
    >>> model.predict([[0.0, 0.0]])
    tensor([[3.]], dtype=float64)
    """
    if isinstance(layers, str) or not isinstance(layers, Sequence) or not layers:
        raise ArgumentTypeError(f"[from_cppapi] layers is {layers!r}, expected a list of (type, units, activation)")
    if weights is not None and len(weights) != len(layers):
        raise ArgumentError(f"[from_cppapi] there are {len(layers)} layers, but weights for {len(weights)}")
    pairs = [None] * len(layers) if weights is None else [_pair(given, i) for i, given in enumerate(weights)]
    dtype = np.result_type(np.float32, *(a for pair in pairs if pair for a in pair)).name
    made: list[Module] = []
    inputs = None
    for index, (given, pair) in enumerate(zip(layers, pairs, strict=True)):
        units, activation = _layer(given, index)
        if pair is not None:
            _fit(pair, (inputs, units), index)
        layer = nn.Linear(pair[0].shape[0] if pair else inputs, units, dtype=dtype)
        if pair is not None:
            layer.weight.load(np.ascontiguousarray(pair[0].T, dtype))
            layer.bias.load(np.ascontiguousarray(pair[1], dtype))  # type: ignore[union-attr]
        inputs, then = units, ACTIVATIONS[activation]
        made += [layer] if then is None else [layer, then()]
    model = nn.Sequential(made)
    compile(model, LOSSES[_word("loss", loss, LOSSES)](), optim.SGD(model.parameters(), lr))
    return model.eval()


def _word(what: str, given: Any, known: Any) -> str:
    """A word, or that of a member of an enumeration, however its letters are written. Errors: ArgumentError."""
    word = getattr(given, "name", given)
    found: str | None = {name.lower(): name for name in known}.get(str(word).lower())
    if found is None:
        raise unknown(f"{what} of cppapi", word, known)
    return found


def _layer(given: Any, index: int) -> tuple[int, str]:
    """The units and the activation of a layer."""
    if isinstance(given, str) or not isinstance(given, Sequence) or len(given) != 3:
        raise ArgumentTypeError(f"[from_cppapi] layer {index} is {given!r}, expected (type, units, activation)")
    kind, units, activation = given
    _word("layer type", kind, ["Dense"])
    if type(units) is not int or not 0 < units <= MOST_UNITS:
        raise ArgumentError(
            f"[from_cppapi] layer {index} has {units!r} units, expected an integer from 1 to {MOST_UNITS}"
        )
    return units, _word("activation", activation, ACTIVATIONS)


def _pair(given: Any, index: int) -> tuple[Any, Any]:
    """W and B as arrays of floats, B with one axis."""
    if isinstance(given, str) or not isinstance(given, Sequence) or len(given) != 2:
        raise ArgumentTypeError(f"[from_cppapi] the weights of layer {index} are {given!r}, expected a pair (W, B)")
    try:
        arrays = [np.asarray(a) for a in given]
    except ValueError as error:  # rows of unequal lengths
        raise ShapeError(f"[from_cppapi] the weights of layer {index} have no shape: {error}") from None
    if any(a.dtype.kind not in "fiu" for a in arrays):
        raise ArgumentTypeError(
            f"[from_cppapi] the weights of layer {index} have {[str(a.dtype) for a in arrays]}, expected numbers"
        )
    w, b = (a if a.dtype.kind == "f" else a.astype(np.float64) for a in arrays)
    return w, b[0] if b.ndim == 2 and b.shape[0] == 1 else b


def _fit(pair: tuple[Any, Any], sizes: tuple[int | None, int], index: int) -> None:
    """Raise ShapeError unless the weights of a layer have (inputs, units) and (units,)."""
    (inputs, units), (w, b) = sizes, pair
    if w.ndim != 2 or w.shape[1] != units or inputs not in (None, w.shape[0]) or b.shape != (units,):
        wanted = f"({'inputs' if inputs is None else inputs}, {units}) and (1, {units})"
        raise ShapeError(
            f"[from_cppapi] the weights of layer {index} have shapes {w.shape} and {b.shape}, expected {wanted}"
        )
