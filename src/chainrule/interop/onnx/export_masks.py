"""Masks of steps in ONNX: what makes them, and how sequences with gaps are run through an LSTM that only knows lengths.

A mask is a tensor of bool that the file computes from its input, so it may have gaps, begin with padding, or be of nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import nn
from .exporters import NUMBERS, Value, Writer, exporter


def counted(w: Writer, layer: Any, x: Value) -> Value:
    """Which steps of Masking count: those with a feature that is not ``mask_value``."""

    def made() -> Any:
        other = w.node("Not", [w.node("Equal", [x, w.constant(layer.mask_value, x)])])
        one = w.node("Cast", [other], to=NUMBERS["int32"])  # ReduceMax knows bool only since opset 20
        return w.node("Cast", [w.reduce("ReduceMax", one, [x.ndim - 1], keepdims=0)], to=NUMBERS["bool"])

    return Value(w.once((layer, x.name), made), layer.compute_mask(x.example))


@exporter(nn.Masking, masks=counted)
def _(w: Writer, layer: Any, x: Value) -> Any:
    steps = w.node("Unsqueeze", [counted(w, layer, x), w.integers(-1)])
    return w.node("Where", [steps, x, w.constant(0.0, x)])


def known_words(w: Writer, layer: Any, x: Value) -> Value | None:
    """Which words of an Embedding count: with ``mask_zero`` those that are not 0."""
    found = layer.compute_mask(x.example)
    return None if found is None else Value(w.node("Not", [w.node("Equal", [x, w.constant(0, x)])]), found)


@exporter(nn.Embedding, masks=known_words)
def _(w: Writer, layer: Any, x: Value) -> Any:
    return w.node("Gather", [w.tensor(layer.weight), x])


class Packed:
    """The steps that count, of (time, batch, ...), moved to the front: in their order, with their number for ``sequence_lens``.

    So an LSTM skips the others wherever they are, as it does here: its state stays, its output is 0.
    """

    def __init__(self, w: Writer, mask: Value) -> None:
        self.w, self.mask = w, mask
        number = w.node("Cast", [mask], to=NUMBERS["int64"])
        self.lengths = w.node("Cast", [w.reduce("ReduceSum", number, [0], keepdims=0)], to=NUMBERS["int32"])
        time = w.node("Slice", [w.node("Shape", [mask]), w.integers(0), w.integers(1)])
        zero, one = w.constant(np.asarray(0, np.int64)), w.constant(np.asarray(1, np.int64))
        steps = w.node(
            "Unsqueeze", [w.node("Range", [zero, w.node("Squeeze", [time, w.integers(0)]), one]), w.integers(1)]
        )
        keys = w.node("Where", [mask, steps, w.node("Add", [steps, time])])
        self.order = w.node("TopK", [keys, time], 2, axis=0, largest=0)[1]
        rank = w.node("Sub", [w.node("CumSum", [number, zero]), one])
        self.rank = w.node("Max", [rank, zero])

    def moved(self, x: Any, places: str) -> Any:
        """The steps of x from other places."""
        w = self.w
        each = w.node("Expand", [w.node("Unsqueeze", [places, w.integers(2)]), w.node("Shape", [x])])
        return w.node("GatherElements", [x, each], axis=0)

    def front(self, x: Any) -> Any:
        """Steps that count, then the others."""
        return self.moved(x, self.order)

    def back(self, y: Any, like: Value) -> Any:
        """Each step where it was, and 0 where none counts."""
        w = self.w
        counts = w.node("Unsqueeze", [self.mask, w.integers(2)])
        return w.node("Where", [counts, self.moved(y, self.rank), w.constant(0.0, like)])

    def state(self, last: Any, first: Any) -> Any:
        """The last state, (ways, batch, hidden): the first one where no step counts."""
        w = self.w
        some = w.node("Greater", [self.lengths, w.constant(np.asarray(0, np.int32))])
        return w.node("Where", [w.node("Unsqueeze", [some, w.integers(0, 2)]), last, first])


def packed(w: Writer, mask: Value | None, batch_first: bool) -> Packed | None:
    """What moves the steps of sequences with this mask; None where all count."""
    if mask is None:
        return None
    turned = w.turned(mask) if batch_first else mask
    found: Packed = w.once((turned.name, "packed"), lambda: Packed(w, turned))
    return found


@exporter(nn.GlobalAvgPool1d)
def _(w: Writer, layer: Any, x: Value, mask: Value | None = None) -> Any:
    if mask is None:
        return w.node("GlobalAveragePool", [x])
    counts = w.node("Unsqueeze", [mask, w.integers(1)])
    total = w.reduce("ReduceSum", w.node("Where", [counts, x, w.constant(0.0, x)]), [2])
    number = w.reduce("ReduceSum", w.node("Cast", [counts], to=NUMBERS[str(x.example.dtype)]), [2])
    return w.node("Div", [total, w.node("Max", [number, w.constant(1.0, x)])])


@exporter(nn.GlobalMaxPool1d)
def _(w: Writer, layer: Any, x: Value, mask: Value | None = None) -> Any:
    if mask is None:
        return w.node("GlobalMaxPool", [x])
    counts = w.node("Unsqueeze", [mask, w.integers(1)])
    largest = w.reduce("ReduceMax", w.node("Where", [counts, x, w.constant(-np.inf, x)]), [2])
    some = w.reduce("ReduceMax", w.node("Cast", [counts], to=NUMBERS["int32"]), [2])
    return w.node("Where", [w.node("Cast", [some], to=NUMBERS["bool"]), largest, w.constant(0.0, x)])
