"""The graph of a computation, read from the tape or from a recorded step: which calls made what. As SVG, DOT, text."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from ..domain.errors import ArgumentError, GraphError
from ..io.atomic import atomic_write
from ..nn import Module
from ..recording import Recorded
from ..recording.passes import flat
from ..tape import Leaf
from ..tensor import Tensor

CHARACTER, LINE, PAD, GAP, RISE = 7.3, 16.0, 8.0, 18.0, 34.0  # of the drawing, in pixels
SWEEPS = 8  # through the layers of the drawing, to bring what belongs together near
MOST = 5000  # boxes
FILL = {"leaf": "#dbeafe", "op": "#ffffff", "output": "#dcfce7", "input": "#fef3c7"}


@dataclass
class Box:
    """A call, or a leaf, of the graph: ``inputs`` are the keys of the boxes that it was made of."""

    key: str
    name: str
    kind: str  # "op", "leaf", "input" or "output"
    shape: tuple[int, ...] | None = None
    inputs: list[str] = field(default_factory=list)
    rank: int = 0
    x: float = 0.0

    @property
    def lines(self) -> list[str]:
        """What is written in it."""
        return [self.name] if self.shape is None else [self.name, str(self.shape)]

    @property
    def width(self) -> float:
        """In pixels."""
        return max(map(len, self.lines)) * CHARACTER + 2 * PAD


@dataclass
class ComputationGraph:
    """Boxes by key, those that others are made of first. Printed it is text; a notebook shows the drawing."""

    boxes: dict[str, Box]

    def __str__(self) -> str:
        lines = []
        for box in self.boxes.values():
            if box.kind in ("op", "output"):
                made = ", ".join(self.boxes[k].name if k.startswith("l") else k for k in box.inputs)
                lines.append(f"{box.key:>5}  {box.name}{'' if box.shape is None else f' {box.shape}'} ← {made}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        calls = sum(box.kind in ("op", "output") for box in self.boxes.values())
        return f"ComputationGraph({calls} calls, {len(self.boxes) - calls} leaves)"

    def dot(self) -> str:
        """In the language of Graphviz.

        >>> import chainrule as cr
        >>> x = cr.ones(2, requires_grad=True)
        >>> print(computation_graph((x * 2).sum(), inputs={"x": x}).dot())
        digraph {
          node [shape=box, style="filled,rounded", fontname="sans-serif"];
          l... [label="x\\n(2,)", fillcolor="#fef3c7"];
          n... [label="mul\\n(2,)", fillcolor="#ffffff"];
          n... [label="sum\\n()", fillcolor="#dcfce7"];
          l... -> n...;
          n... -> n...;
        }
        """
        lines = ["digraph {", '  node [shape=box, style="filled,rounded", fontname="sans-serif"];']
        for box in self.boxes.values():
            label = "\\n".join(line.replace("\\", "\\\\").replace('"', '\\"') for line in box.lines)
            lines.append(f'  {box.key} [label="{label}", fillcolor="{FILL[box.kind]}"];')
        lines += [f"  {k} -> {box.key};" for box in self.boxes.values() for k in box.inputs]
        return "\n".join([*lines, "}"])

    def svg(self) -> str:
        """A drawing: leaves above what is made of them."""
        layers = arranged(self.boxes)
        height = {k: 2 * PAD + LINE * len(box.lines) for k, box in self.boxes.items()}
        tops, y = [], PAD
        for layer in layers:
            tops.append(y)
            y += max(height[k] for k in layer) + RISE
        low = min(box.x - box.width / 2 for box in self.boxes.values()) - PAD
        wide = max(box.x + box.width / 2 for box in self.boxes.values()) + PAD - low
        tall = y - RISE + PAD
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{low:.0f} 0 {wide:.0f} {tall:.0f}" '
            f'width="{wide:.0f}" height="{tall:.0f}" font-family="monospace" font-size="12">'
        ]
        for box in self.boxes.values():
            end = tops[box.rank]
            for k in box.inputs:
                source = self.boxes[k]
                begin = tops[source.rank] + height[k]
                bend = (end - begin) / 2
                parts.append(
                    f'<path d="M{source.x:.1f} {begin:.1f}C{source.x:.1f} {begin + bend:.1f} {box.x:.1f} {end - bend:.1f} '
                    f'{box.x:.1f} {end:.1f}" fill="none" stroke="#94a3b8"/>'
                )
        for key, box in self.boxes.items():
            top, left = tops[box.rank], box.x - box.width / 2
            parts.append(
                f'<rect x="{left:.1f}" y="{top:.1f}" width="{box.width:.1f}" height="{height[key]:.1f}" rx="5" '
                f'fill="{FILL[box.kind]}" stroke="#64748b"/>'
            )
            for number, line in enumerate(box.lines):
                colour = "#0f172a" if number == 0 else "#475569"
                parts.append(
                    f'<text x="{box.x:.1f}" y="{top + PAD + LINE * (number + 0.75):.1f}" text-anchor="middle" '
                    f'fill="{colour}">{escape(line)}</text>'
                )
        return "".join([*parts, "</svg>"])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it: .svg, .dot or .txt. Errors: ArgumentError for another suffix, FileWriteError."""
        made = {".svg": self.svg, ".dot": self.dot, ".txt": self.__str__}
        suffix = Path(path).suffix
        if suffix not in made:
            raise ArgumentError(
                f"[computation_graph] {path} ends in {suffix or 'nothing'!r}, expected {', '.join(made)}"
            )
        with atomic_write(path, text=True) as file:
            file.write(made[suffix]() + "\n")

    def _repr_html_(self) -> str:
        return f'<div style="overflow:auto">{self.svg()}</div>'


def computation_graph(
    output: Any, model: Module | None = None, inputs: Mapping[str, Tensor] | None = None
) -> ComputationGraph:
    """The calls that made ``output``, a tensor on the tape, as far as they want a gradient.

    Leaves are named as the parameters of ``model`` and as ``inputs`` say. Take it before ``backward``, which consumes the
    tape. Errors: GraphError if nothing is on the tape; ArgumentError for a graph of more than 5,000 boxes.

    >>> from chainrule import nn
    >>> import chainrule as cr
    >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    >>> print(computation_graph(model(cr.ones(2, 4)).sum(), model))
    n...  linear (2, 3) ← 0.weight, 0.bias
    n...  relu (2, 3) ← n...
    n...  sum () ← n...
    """
    if not isinstance(output, Tensor) or output.edge is None:
        raise GraphError(
            "[computation_graph] the output is not on the tape: nothing it was made of requires a gradient, or it was made "
            "under no_grad"
        )
    names: dict[Any, tuple[str, str]] = {}
    for name, parameter in model.named_parameters() if model is not None else ():
        if parameter.edge is not None:
            names[parameter.edge[0]] = name, "leaf"
    for name, tensor in (inputs or {}).items():
        if tensor.edge is not None:
            names[tensor.edge[0]] = name, "input"
    boxes: dict[Any, Box] = {}
    stack: list[tuple[Any, tuple[int, ...]]] = [(output.edge[0], output.shape)]
    while stack:
        node, shape = stack.pop()
        if node in boxes:
            continue
        if len(boxes) > MOST:
            raise ArgumentError(f"[computation_graph] the graph has more than {MOST:,} boxes: draw a part of the model")
        if isinstance(node, Leaf):
            name, kind = names.get(node, ("leaf", "leaf"))
            boxes[node] = Box(f"l{node.number}", name, kind, shape)
            continue
        if node.inputs is None:
            raise GraphError(
                "[computation_graph] backward has consumed the tape: take the graph before it, or retain_graph=True"
            )
        several = node.outputs is not None and len(node.outputs) > 1
        boxes[node] = Box(f"n{node.number}", node.name, "op", None if several else shape)
        stack += [(edge[0], size) for _, edge, size, _, _ in node.inputs]
    for node, box in boxes.items():
        if not isinstance(node, Leaf):
            box.inputs = list(dict.fromkeys(boxes[entry[1][0]].key for entry in node.inputs))
    boxes[output.edge[0]].kind = "output"
    return ComputationGraph({box.key: box for _, box in sorted(boxes.items(), key=lambda item: item[0].number)})


def program_graph(recorded: Recorded, which: int = -1) -> ComputationGraph:
    """The calls of a recorded step, forward, backward and update, as its plan makes them.

    ``recorded`` is what ``cr.jit`` gives; ``which`` of its programs, the newest by default. What the step finds and does not
    make, such as parameters, is a leaf. Errors: ArgumentError if nothing was recorded yet, or for more than 5,000 boxes.

    >>> import chainrule as cr
    >>> f = cr.jit(lambda x: (x @ x).sum())
    >>> _ = f(cr.ones(2, 2)), f(cr.ones(2, 2))
    >>> print(program_graph(f))
       c0  matmul (2, 2) ← argument 0
       c1  sum () ← c0
    """
    if not recorded.programs:
        raise ArgumentError(
            "[program_graph] nothing was recorded yet: call the function twice with arguments of a kind"
        )
    program = recorded.programs[which]
    plan = program.plan
    boxes: dict[str, Box] = {}
    made: dict[int, str] = {}  # by place: the box that its value comes from
    for number, place in enumerate(program.inputs):
        made[place] = f"l{place}"
        boxes[made[place]] = Box(made[place], f"argument {number}", "input", plan.kinds[place].shape)
    for number, call in enumerate(plan.calls):
        box = Box(f"c{number}", call.name, "op")
        for place in dict.fromkeys(p for p in call.arguments if p in plan.kinds):
            if place not in made:
                made[place] = f"l{place}"
                boxes[made[place]] = Box(made[place], "array", "leaf", plan.kinds[place].shape)
            box.inputs.append(made[place])
        box.inputs = list(dict.fromkeys(box.inputs))
        places = flat(call.results)
        box.shape = plan.kinds[places[0]].shape if places else None
        made.update(dict.fromkeys(places, box.key))
        boxes[box.key] = box
    if len(boxes) > MOST:
        raise ArgumentError(f"[program_graph] the program has more than {MOST:,} boxes: record a part of the step")
    for result in program.results:
        if result.place in made:
            boxes[made[result.place]].kind = "output"
    return ComputationGraph(boxes)


def arranged(boxes: dict[str, Box]) -> list[list[str]]:
    """Layers from the top, each with its keys from the left; sets ``rank`` and ``x``."""
    users: dict[str, list[str]] = {key: [] for key in boxes}
    for box in boxes.values():
        for k in box.inputs:
            users[k].append(box.key)
    depth: dict[str, int] = {}
    for key in reversed(boxes):  # what uses a box comes after it
        depth[key] = max((depth[u] + 1 for u in users[key]), default=0)
    lowest = max(depth.values())
    layers: list[list[str]] = [[] for _ in range(lowest + 1)]
    for key, box in boxes.items():
        box.rank = lowest - depth[key]
        layers[box.rank].append(key)
    for layer in layers:
        packed(layer, boxes)
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        for layer in layers if down else layers[::-1]:
            for key in layer:
                near = boxes[key].inputs if down else users[key]
                if near:
                    boxes[key].x = sum(boxes[k].x for k in near) / len(near)
            layer.sort(key=lambda key: boxes[key].x)
            spread(layer, boxes)
    return layers


def packed(layer: list[str], boxes: Mapping[str, Box]) -> None:
    """Side by side, about 0."""
    x = -sum(boxes[k].width + GAP for k in layer) / 2
    for key in layer:
        boxes[key].x = x + boxes[key].width / 2
        x += boxes[key].width + GAP


def spread(layer: list[str], boxes: Mapping[str, Box]) -> None:
    """As near to where they want to be as their widths let them: groups that overlap share their middle."""
    groups: list[tuple[list[str], float, float]] = []  # keys, width, middle
    for key in layer:
        group = [key], boxes[key].width + GAP, boxes[key].x
        while groups and groups[-1][2] + groups[-1][1] / 2 > group[2] - group[1] / 2:
            keys, width, middle = groups.pop()
            both = width + group[1]
            wanted = (middle * len(keys) + group[2] * len(group[0])) / (len(keys) + len(group[0]))
            group = keys + group[0], both, wanted
        groups.append(group)
    for keys, width, middle in groups:
        x = middle - width / 2
        for key in keys:
            boxes[key].x = x + (boxes[key].width + GAP) / 2
            x += boxes[key].width + GAP
