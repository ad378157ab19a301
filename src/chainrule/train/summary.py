"""A table of a model: its layers, the shapes they give, the parameters they have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from ..creation import zeros
from ..modes import no_grad
from ..tensor import Tensor
from .batches import place
from .mode import mode


@dataclass
class Row:
    """A layer without layers inside it: its path, what it is, its output, and how many parameters are its own."""

    name: str
    layer: str
    output: str
    parameters: int | None  # None: not known before the first input


@dataclass
class Summary:
    """What ``summary`` returns: printed, it is the table. ``rows``, ``total`` and ``trainable`` are there to compute with."""

    rows: list[Row] = field(default_factory=list)
    total: int = 0
    trainable: int = 0
    bytes: int = 0
    complete: bool = True

    def to_dict(self) -> dict[str, Any]:
        """What JSON can hold."""
        return {"layers": [vars(row) for row in self.rows], "total": self.total, "trainable": self.trainable}

    def _cells(self) -> list[list[str]]:
        counts = ["?" if row.parameters is None else f"{row.parameters:,}" for row in self.rows]
        cells = [[row.name, row.layer, row.output, count] for row, count in zip(self.rows, counts, strict=True)]
        return [["", "layer", "output", "parameters"], *cells]

    def _totals(self) -> str:
        frozen = f", {self.trainable:,} of them trained" if self.trainable != self.total else ""
        unknown = (
            "" if self.complete else " and those of layers that have not seen an input: summary(input_shape) counts all"
        )
        return f"{self.total:,} parameters ({self.bytes / 1024:,.1f} KiB){frozen}{unknown}"

    def __str__(self) -> str:
        cells = self._cells()
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [
            "  ".join([*(cell.ljust(w) for cell, w in zip(row[:3], widths[:3], strict=True)), row[3].rjust(widths[3])])
            for row in cells
        ]
        rule = "─" * len(lines[0])
        return "\n".join([lines[0], rule, *lines[1:], rule, self._totals()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head, *body = ([escape(cell) for cell in row] for row in self._cells())
        rows = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in body)
        heads = "".join(f"<th>{cell}</th>" for cell in head)
        return f"<table><tr>{heads}</tr>{rows}</table><div>{escape(self._totals())}</div>"


def summary(model: Any, input_shape: Sequence[int | None] | None = None) -> Summary:
    """The layers of a model in a table, with output shapes and numbers of parameters; a shared parameter counts once.

    With ``input_shape``, the shape of a batch whose first axis may be None, the model runs once on zeros, in eval mode:
    this shows the shapes, and builds the layers that wait for their input. Without it shapes are left open.

    >>> from chainrule import nn
    >>> print(nn.Sequential(nn.Linear(32), nn.ReLU(), nn.Linear(10)).summary((None, 64)))
       layer   output      parameters
    ─────────────────────────────────
    0  Linear  (None, 32)       2,080
    1  ReLU    (None, 32)           0
    2  Linear  (None, 10)         330
    ─────────────────────────────────
    2,410 parameters (9.4 KiB)
    """
    outputs = {} if input_shape is None else shapes(model, tuple(input_shape))
    result, seen = Summary(), set()
    for name, layer in model.named_modules():
        own = [value for _, value in layer.members() if isinstance(value, Tensor)]
        if any(True for _ in layer.children()) and not own:
            continue
        buffers = {id(value) for value in layer.buffers()}
        count = 0
        for value in own:
            if id(value) in buffers or id(value) in seen:
                continue
            seen.add(id(value))
            if getattr(value, "is_built", True):
                count += value.size
                result.total += value.size
                result.trainable += value.size * value.requires_grad
                result.bytes += value.size * value.dtype.bits // 8
            else:
                result.complete = False
        built = all(getattr(value, "is_built", True) for value in own)
        result.rows.append(Row(name, type(layer).__name__, outputs.get(id(layer), "?"), count if built else None))
    return result


def shapes(model: Any, input_shape: tuple[int | None, ...]) -> dict[int, str]:
    """The shape that each layer gives, by its id, for a batch of ``input_shape``."""
    found: dict[int, str] = {}
    free = bool(input_shape) and input_shape[0] is None

    def note(layer: Any, inputs: Any, output: Any) -> None:
        given = output if isinstance(output, tuple) else (output,)
        texts = [str(tuple(x.shape)) if not free else str((None, *x.shape[1:])) for x in given if isinstance(x, Tensor)]
        found[id(layer)] = ", ".join(texts)

    device, dtype = place(model)
    handles = [layer.register_forward_hook(note) for layer in model.modules()]
    try:
        with no_grad(), mode(model, training=False):
            model(
                zeros(tuple(1 if n is None else n for n in input_shape), dtype=model.input_dtype(dtype), device=device)
            )
    finally:
        for handle in handles:
            handle.remove()
    return found
