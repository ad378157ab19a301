"""The modules in ONNX that have others inside."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ... import nn
from ...domain.errors import NotSupportedError
from ...nn.containers import merged as merge
from ...nn.graph import Ref
from ...nn.node import OPERATORS
from .export_layers import merged
from .exporters import Value, Writer, examples, exporter, masked_by

ARITHMETIC = {
    "add": "Add",
    "sub": "Sub",
    "mul": "Mul",
    "truediv": "Div",
    "matmul": "MatMul",
    "pow": "Pow",
    "neg": "Neg",
}


@exporter(nn.Sequential, composite=True)
def _(w: Writer, model: Any, x: Any) -> Any:
    for layer in model:
        x = w.through(layer, x)
    return x


@exporter(nn.Residual, composite=True)
def _(w: Writer, model: Any, x: Value) -> Any:
    parts = dict(model.named_children())
    y = w.through(parts["body"], x)
    beside = w.through(parts["shortcut"], x) if "shortcut" in parts else x
    return Value(w.node("Add", [y, beside]), y.example + beside.example, y.mask)


@exporter(nn.Parallel, composite=True)
def _(w: Writer, model: Any, x: Value) -> Any:
    found = tuple(w.through(child, x) for _, child in model.named_children())
    mask = next((y.mask for y in found if y.mask is not None), None)
    if model.merge == "none":
        return masked_by(found, mask)
    made = merge({str(i): y.example for i, y in enumerate(found)}, model.merge, model.axis)
    return masked_by(Value(merged(w, found, model.merge, model.axis), made), mask)


@exporter(nn.ChannelsLast, composite=True)
def _(w: Writer, model: Any, x: Value) -> Any:
    n = x.ndim
    turned = w.transpose(x, 0, n - 1, *range(1, n - 1))
    (body,) = model.children()
    y = w.through(body, Value(turned, x.example.permute(0, n - 1, *range(1, n - 1)), x.mask))
    if y.ndim < 3:
        return replace(y, mask=None)
    axes = (0, *range(2, y.ndim), 1)
    return masked_by(Value(w.transpose(y, *axes), y.example.permute(*axes)), x.mask)


@exporter(nn.Graph, composite=True)
def _(w: Writer, model: Any, *inputs: Any) -> Any:
    values: dict[str, Any] = dict(zip(model.input_names, inputs, strict=True))  # the first may know its mask
    layers = dict(model.named_children())
    for step in model._steps:
        arguments = tuple(found(a, values) for a in step.arguments)
        if step.operator is None:
            layer = layers[step.layer]
            named = {} if getattr(layer, "return_state", None) else dict(layer.in_sequential)
            named |= {key: found(a, values) for key, a in step.named.items()}
            values[step.name] = w.told(layer, arguments, named)
        elif step.operator == "getitem":
            values[step.name] = chosen(w, *arguments)
        else:
            like = next(a for a in arguments if isinstance(a, Value))
            given = [a if isinstance(a, Value) else w.constant(a, like) for a in arguments]
            made = OPERATORS[step.operator](*examples(arguments))
            mask = next((a.mask for a in arguments if isinstance(a, Value) and a.mask is not None), None)
            values[step.name] = masked_by(Value(w.node(ARITHMETIC[step.operator], given), made), mask)
    results = tuple(values[name] for name in model._outputs.values())
    return results[0] if len(results) == 1 else masked_by(results, None)


def found(argument: Any, values: Any) -> Any:
    """An argument of a step, with values in place of their names."""
    if isinstance(argument, Ref):
        return values[argument]
    return tuple(found(a, values) for a in argument) if isinstance(argument, tuple) else argument


def chosen(w: Writer, x: Any, key: Any) -> Any:
    """One of several values, or a part of one."""
    if isinstance(x, tuple):
        return x[0] if key == 0 else masked_by(x[key], None)
    example = x.example[key]
    keys = key if isinstance(key, tuple) else (key,)
    if any(not isinstance(k, (int, slice, type(None), type(...))) or isinstance(k, bool) for k in keys):
        raise NotSupportedError(f"[to_onnx] the index {key!r} of a Graph; integers and slices can be exported")
    if ... in keys:
        at = keys.index(...)
        missing = x.ndim - sum(k is not None and k is not ... for k in keys)
        keys = (*keys[:at], *[slice(None)] * missing, *keys[at + 1 :])
    y, axis = x.name, 0
    dropped: list[int] = []
    added: list[int] = []
    for place, k in enumerate(keys):
        if k is None:
            added.append(place - len(dropped))
            continue
        if isinstance(k, int):
            y = w.node("Slice", [y, w.integers(k), w.integers(k + 1 if k != -1 else 1 << 62), w.integers(axis)])
            dropped.append(axis)
        elif k != slice(None):
            step = 1 if k.step is None else k.step
            start = k.start if k.start is not None else (0 if step > 0 else 1 << 62)
            stop = k.stop if k.stop is not None else (1 << 62 if step > 0 else -(1 << 62))
            y = w.node("Slice", [y, w.integers(start), w.integers(stop), w.integers(axis), w.integers(step)])
        axis += 1
    y = w.node("Squeeze", [y, w.integers(*dropped)]) if dropped else y
    y = w.node("Unsqueeze", [y, w.integers(*added)]) if added else y
    return Value(y, example)


@exporter(nn.TimeDistributed, composite=True)
def _(w: Writer, model: Any, x: Value) -> Any:
    steps = x.shape[1]
    flat = x.example.reshape(-1, *x.shape[2:])
    y = w.through(model.layer, Value(w.reshape(x, -1, *x.shape[2:]), flat))
    return Value(w.reshape(y, -1, steps, *y.shape[1:]), y.example.reshape(-1, steps, *y.shape[1:]))
