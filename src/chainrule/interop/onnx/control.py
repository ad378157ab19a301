"""If, Loop and Scan of ONNX: their bodies are graphs, which see the values around them by name."""

from __future__ import annotations

from typing import Any

from ... import ops
from .operators import constant, integers, operator


def truth(condition: Any) -> bool:
    """The value of a condition."""
    return bool(condition.numpy().reshape(-1)[0])


@operator("If")
def choose(condition: Any, *, then_branch: Any, else_branch: Any, outputs: int) -> Any:
    """One graph or the other."""
    return (then_branch if truth(condition) else else_branch)(())


@operator("Loop")
def loop(most: Any = None, condition: Any = None, *state: Any, body: Any, outputs: int) -> Any:
    """A graph again and again: while its condition holds, at most so many times. What it gives besides is stacked."""
    values, n = [*state], len(state)
    kept: list[list[Any]] = [[] for _ in range(outputs - n)]
    times = None if most is None else integers(most)[0]
    step = 0
    going = condition is None or truth(condition)
    like = next((v for v in (most, condition, *state) if v is not None and not isinstance(v, list)), None)
    while going and (times is None or step < times):
        number = constant(step, like, "int64")
        goes = constant(True, like, "bool")
        given = body((number, goes, *values))
        going, values = truth(given[0]), [*given[1 : 1 + n]]
        for row, value in zip(kept, given[1 + n :], strict=True):
            row.append(value)
        step += 1
    return (*values, *(ops.stack(*row, axis=0) if row else body.nothing(1 + n + i) for i, row in enumerate(kept)))


@operator("Scan")
def scan(
    *inputs: Any, body: Any, num_scan_inputs: int, scan_input_axes: Any = None, scan_input_directions: Any = None,
    scan_output_axes: Any = None, scan_output_directions: Any = None, directions: Any = None, outputs: int, opset: int,
) -> Any:  # fmt: skip
    """A graph for each step along an axis of the last inputs, with a state from step to step."""
    if opset < 9:
        inputs = tuple(None if v is None else v[0] for v in inputs[1:])
        if directions is not None:
            scan_input_directions = directions
    n = len(inputs) - num_scan_inputs
    values, scanned = [*inputs[:n]], inputs[n:]
    m = len(scanned)
    axes, turns = scan_input_axes or [0] * m, scan_input_directions or [0] * m
    steps = scanned[0].shape[axes[0]]
    kept: list[list[Any]] = [[] for _ in range(outputs - n)]
    for t in range(steps):
        slices = []
        for x, axis, turned in zip(scanned, axes, turns, strict=True):
            axis %= x.ndim
            slices.append(x[(*(slice(None),) * axis, steps - 1 - t if turned else t)])
        given = body((*values, *slices))
        values = [*given[:n]]
        for row, value in zip(kept, given[n:], strict=True):
            row.append(value)
    back, where = scan_output_directions or [0] * len(kept), scan_output_axes or [0] * len(kept)
    stacked = [
        ops.stack(*(reversed(row) if turned else row), axis=axis) if row else body.nothing(n + i)
        for i, (row, turned, axis) in enumerate(zip(kept, back, where, strict=True))
    ]
    results = (*values, *stacked)
    return tuple(ops.unsqueeze(v, axis=0) for v in results) if opset < 9 else results
