"""A table of a model: its layers, the shapes they give, the parameters they have, the multiplications they do."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from typing import Any

from ..creation import zeros
from ..domain.errors import ArgumentError, ShapeError
from ..modes import listen, no_grad
from ..nn import Module
from ..profile import FLOPS, nbytes, tensors
from ..tensor import Tensor
from .batches import place
from .mode import mode

WIDTH = 100  # of the text, where there is no terminal
NUMERIC = ("parameters", "share", "MACs")  # columns that are aligned right
LEAST_NEEDED = (
    "trained",
    "kernel",
    "share",
    "MACs",
    "output",
)  # columns that a narrow terminal does without, in this order


@dataclass
class Row:
    """A layer: its path, what it is, its output, and what is its own: not of the layers inside it, which have rows.

    ``parameters`` is None where they wait for the first input; ``macs`` None where the model was not run. ``shared`` counts
    the parameters that it has, but a row above counts; ``same_as`` is the path above under which the same layer stands.
    """

    name: str
    layer: str
    kernel: str
    output: str
    parameters: int | None
    trainable: int = 0
    shared: int = 0
    macs: int | None = None
    calls: int = 0
    same_as: str | None = None

    def add(self, other: Row) -> None:
        """Take in a layer inside it."""
        known = self.parameters is not None and other.parameters is not None
        self.parameters = (self.parameters or 0) + (other.parameters or 0) if known else None
        self.trainable += other.trainable
        self.shared += other.shared
        if self.macs is not None:
            self.macs += other.macs or 0


@dataclass
class Summary:
    """What ``summary`` returns: printed, it is the table. ``rows`` and the totals are there to compute with.

    ``total`` and ``trainable`` count parameters. ``macs`` are multiplications, each with its addition, for the batch that
    was run (of 1 where its size was open); None if none was. Memory is in bytes: ``bytes`` of the parameters,
    ``input_bytes``, and ``activation_bytes``, an estimate for training: what the layers give, and its gradients.
    """

    rows: list[Row] = field(default_factory=list)
    total: int = 0
    trainable: int = 0
    bytes: int = 0
    complete: bool = True
    macs: int | None = None
    input_bytes: int | None = None
    activation_bytes: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """What JSON can hold: ``layers``, a dict for each row, and the totals."""
        found = asdict(self)
        return {"layers": found.pop("rows"), **found}

    def text(self, width: int | None = None) -> str:
        """The table, no wider than ``width``: that of the terminal, if it goes there.

        Of several outputs the first is shown, then columns are left out, before names are cut.
        """
        if width is None:
            to_terminal = sys.stdout is not None and sys.stdout.isatty()
            width = shutil.get_terminal_size().columns if to_terminal else WIDTH
        columns = self._columns()
        if whole(columns) > width and "output" in columns:
            columns["output"] = [cell.partition("), ")[0] + "), …" * ("), " in cell) for cell in columns["output"]]
        for name in LEAST_NEEDED:
            if whole(columns) > width:
                columns.pop(name, None)
        room = width - sum(breadth(c) for name, c in columns.items() if name) - 2 * (len(columns) - 1)
        columns[""] = [cut(cell, max(room, 4)) for cell in columns[""]]
        lines = [
            "  ".join(aligned(name, cell, breadth(columns[name])) for name, cell in zip(columns, row, strict=True))
            for row in zip(*columns.values(), strict=True)
        ]
        lines = [line.rstrip()[:width] for line in lines]
        rule = "─" * max(map(len, lines))
        totals = [part for line in self._totals() for part in folded(line, width)]
        return "\n".join([lines[0], rule, *lines[1:], rule, *totals])

    def __str__(self) -> str:
        return self.text()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        columns = self._columns()
        rows = zip(*columns.values(), strict=True)
        cells = [
            "".join(
                f'<{tag} style="text-align:{"right" if name in NUMERIC else "left"}">{escape(cell)}</{tag}>'
                for name, cell in zip(columns, row, strict=True)
            )
            for tag, row in zip(["th", *["td"] * len(self.rows)], rows, strict=True)
        ]
        table = "".join(f"<tr>{row}</tr>" for row in cells)
        return f"<table>{table}</table><div>{'<br>'.join(map(escape, self._totals()))}</div>"

    def _columns(self) -> dict[str, list[str]]:
        """Cells by the name of the column, which is the first of them; without columns that would say nothing."""
        rows = self.rows
        columns = {
            "": [row.name for row in rows],
            "layer": [said(row) for row in rows],
            "kernel": [row.kernel for row in rows],
            "output": [row.output for row in rows],
            "parameters": [counted(row) for row in rows],
            "share": [f"{row.parameters / self.total:.1%}" if row.parameters else "" for row in rows],
            "MACs": ["" if not row.macs else f"{row.macs:,}" for row in rows],
            "trained": [trained(row) for row in rows],
        }
        if self.trainable == self.total:
            del columns["trained"]
        return {name: [name, *cells] for name, cells in columns.items() if any(cells) or not name}

    def _totals(self) -> list[str]:
        lines = [f"{self.total:,} parameters ({size(self.bytes)})"]
        if self.trainable != self.total:
            lines[0] += f", {self.trainable:,} of them trained"
        if not self.complete:
            lines[0] += ", and those of layers that have not seen an input: summary(input_shape) counts all"
        if any(row.shared for row in self.rows):
            lines.append("* and parameters of a layer above, counted there")
        if self.macs is not None:
            lines.append(f"{self.macs:,} multiply-adds (MACs)")
        if self.input_bytes is not None and self.activation_bytes is not None:
            whole = self.input_bytes + self.activation_bytes + self.bytes
            lines.append(
                f"memory: input {size(self.input_bytes)}, forward and backward about {size(self.activation_bytes)}, with "
                f"the parameters {size(whole)}"
            )
        return lines


def summary(
    model: Any, input_shape: Any = None, *, depth: int | None = None, dtypes: Sequence[str] | None = None
) -> Summary:
    """The layers of a model in a table: output shapes, parameters and their share, multiply-adds (MACs); and totals.

    With ``input_shape``, the shape of a batch whose first axis may be None, the model runs once on zeros, in eval mode:
    this shows the shapes and counts the MACs, for a batch of 1 where None is, and builds layers that wait for their input.
    A model of several inputs takes a list of shapes, or a dict by their names, and ``dtypes`` where they are not the usual;
    an ``nn.Graph`` knows its own. Without it shapes are left open.

    MACs are those of matrix products, convolutions, recurrent layers and attention (as if nothing were masked), exactly.
    A layer called twice is counted once, its MACs with all calls (``×2``); where it stands again ``=`` names it.
    ``depth`` says how many levels of layers inside layers have rows; those deeper are counted in the row around them.
    Errors: ArgumentError, ShapeError.

    >>> from chainrule import nn
    >>> print(nn.Sequential(nn.Linear(32), nn.ReLU(), nn.Linear(10)).summary((None, 64)))
       layer   output      parameters  share   MACs
    ───────────────────────────────────────────────
    0  Linear  (None, 32)       2,080  86.3%  2,048
    1  ReLU    (None, 32)           0
    2  Linear  (None, 10)         330  13.7%    320
    ───────────────────────────────────────────────
    2,410 parameters (9.4 KiB)
    2,368 multiply-adds (MACs)
    memory: input 256 B, forward and backward about 592 B, with the parameters 10.2 KiB
    """
    if depth is not None and depth < 1:
        raise ArgumentError(f"[summary] depth is {depth}, expected at least 1")
    shapes = as_shapes(model, input_shape)
    run = None if shapes is None else Run(model, shapes, dtypes)
    result, seen = Summary(), set()
    rows: list[tuple[Row, bool]] = []  # and whether it stands for the layers inside it
    for path, module, level, first in walk(model):
        row = Row(path, type(module).__name__, kernel(module), run.outputs.get(id(module), "?") if run else "?", 0)
        row.macs, row.calls = (None, 0) if run is None else (run.macs.get(id(module), 0), run.calls.get(id(module), 0))
        own = [value for _, value in module.members() if isinstance(value, Tensor)]
        if first is not None:
            row.same_as, row.macs, own = first or "the model", None if run is None else 0, []
        buffers = {id(value) for value in module.buffers()} if own else set()
        for value in own:
            if id(value) in buffers:
                continue
            if not getattr(value, "is_built", True):
                row.parameters, result.complete = None, False
            elif id(value) in seen:
                row.shared += value.size
            else:
                seen.add(id(value))
                row.parameters = None if row.parameters is None else row.parameters + value.size
                row.trainable += value.size * value.requires_grad
                result.bytes += nbytes([value])
                result.total += value.size
        result.trainable += row.trainable
        if depth is not None and level > depth:
            around = next(known for known, encloses in reversed(rows) if encloses)
            around.add(row)
            continue
        closed = level == depth and any(True for _ in module.children())
        rows.append((row, closed))
        if closed or own or row.macs or first is not None or not any(True for _ in module.children()):
            result.rows.append(row)
    if run is not None:
        result.macs, result.input_bytes = sum(run.macs.values()), run.input_bytes
        result.activation_bytes = 2 * run.output_bytes
    return result


class Run:
    """One run of a model on zeros: what its layers gave and computed, by their ids. Also the listener to its kernels."""

    forbids_reading = False

    def __init__(self, model: Any, shapes: list[tuple[int | None, ...]], dtypes: Sequence[str] | None) -> None:
        self.outputs: dict[int, str] = {}
        self.macs: dict[int, int] = {}
        self.calls: dict[int, int] = {}
        self.output_bytes = 0
        self.open = any(shape and shape[0] is None for shape in shapes)
        self.inside: list[int] = [id(model)]
        device, dtype = place(model)
        kinds = [*(dtypes or getattr(model, "input_dtypes", None) or [model.input_dtype(dtype)])]
        kinds += [dtype] * (len(shapes) - len(kinds))
        inputs = [
            zeros(tuple(1 if n is None else n for n in shape), dtype=kind, device=device)
            for shape, kind in zip(shapes, kinds, strict=False)
        ]
        self.input_bytes = nbytes(inputs)
        with no_grad(), mode(model, training=False):
            if not model.is_built:
                model(*inputs)
            handles = [layer.register_forward_pre_hook(self.enter) for layer in model.modules()]
            handles += [layer.register_forward_hook(self.leave) for layer in model.modules()]
            try:
                with listen(self):
                    model(*inputs)
            finally:
                for handle in handles:
                    handle.remove()

    def enter(self, layer: Module, inputs: Any) -> None:
        """What follows is of this layer."""
        self.inside.append(id(layer))

    def leave(self, layer: Module, inputs: Any, output: Any) -> None:
        """Note what it gave."""
        self.inside.pop()
        given = tensors([*output.values()] if isinstance(output, dict) else output)
        shapes = [(None, *x.shape[1:]) if self.open and x.shape[:1] == (1,) else x.shape for x in given]
        self.outputs[id(layer)] = ", ".join(map(str, shapes))
        self.calls[id(layer)] = self.calls.get(id(layer), 0) + 1
        if not any(True for _ in layer.children()):
            self.output_bytes += nbytes(given)

    def launched(self, backend: Any, name: str, inputs: Any, params: Any, outputs: Any) -> None:
        """Count what a kernel multiplies."""
        if name in FLOPS:
            layer, count = self.inside[-1], FLOPS[name](tensors(inputs), tensors(outputs), params) // 2
            self.macs[layer] = self.macs.get(layer, 0) + count


def walk(
    module: Module, path: str = "", level: int = 0, seen: dict[Module, str] | None = None
) -> Iterator[tuple[str, Module, int, str | None]]:
    """(path, module, depth, the path under which it stood before) of all modules; what is inside one comes once."""
    seen = {} if seen is None else seen
    yield path, module, level, seen.get(module)
    if module not in seen:
        seen[module] = path
        for name, child in module.named_children():
            yield from walk(child, f"{path}.{name}" if path else name, level + 1, seen)


def as_shapes(model: Any, given: Any) -> list[tuple[int | None, ...]] | None:
    """The shape of each input. Errors: ShapeError."""
    if given is None:
        known = getattr(model, "input_shapes", None)
        return None if known is None else [tuple(shape) for shape in known]
    if isinstance(given, Mapping) and given.keys() == {*getattr(model, "input_names", ())}:
        given = [given[name] for name in model.input_names]
    several = isinstance(given, (list, tuple)) and bool(given) and all(isinstance(s, (list, tuple)) for s in given)
    shapes = [tuple(shape) for shape in (given if several else [given])]
    for shape in shapes:
        if not all(n is None or (hasattr(n, "__index__") and n >= 0) for n in shape):
            raise ShapeError(
                f"[summary] the input shape is {given!r}, expected that of a batch, (None, 3, 32, 32), or a list of them"
            )
    return shapes


def kernel(module: Module) -> str:
    """The window of a convolution or of a pool: ``3×3``."""
    found = getattr(module, "kernel_size", None)
    return "×".join(map(str, found)) if isinstance(found, (tuple, list)) else "" if found is None else str(found)


def said(row: Row) -> str:
    """The cell of its class: how often it is called, if more than once, or where it stands above."""
    return row.layer + (f" = {row.same_as}" if row.same_as is not None else f" ×{row.calls}" if row.calls > 1 else "")


def counted(row: Row) -> str:
    """The cell of its parameters."""
    return "?" if row.parameters is None else f"{row.parameters:,}" + "*" * bool(row.shared)


def trained(row: Row) -> str:
    """Whether its parameters are trained."""
    if not row.parameters:
        return ""
    return "yes" if row.trainable == row.parameters else "partly" if row.trainable else "no"


def size(count: int) -> str:
    """Bytes in the unit that suits them.

    >>> size(100), size(9640), size(3 << 30)
    ('100 B', '9.4 KiB', '3.0 GiB')
    """
    if count < 1024:
        return f"{count} B"
    unit = min((count.bit_length() - 1) // 10, 4)
    return f"{count / 1024**unit:,.1f} {' KMGT'[unit]}iB"


def whole(columns: dict[str, list[str]]) -> int:
    """How wide a table is."""
    return sum(map(breadth, columns.values())) + 2 * (len(columns) - 1)


def breadth(cells: list[str]) -> int:
    """How wide a column is."""
    return max(map(len, cells))


def aligned(column: str, cell: str, width: int) -> str:
    """Numbers to the right, texts to the left."""
    return cell.rjust(width) if column in NUMERIC else cell.ljust(width)


def cut(text: str, width: int) -> str:
    """The end of a path, which tells more than its beginning."""
    return text if len(text) <= width else "…" + text[-width + 1 :]


def folded(line: str, width: int) -> Iterator[str]:
    """A line as several, no wider than ``width`` unless a word is.

    >>> [*folded("one two three", 8)]
    ['one two', '  three']
    """
    start = ""
    for word in line.split(" "):
        if start.strip() and len(start) + 1 + len(word) > width:
            yield start
            start = "  " + word
        else:
            start = f"{start} {word}" if start else word
    yield start
