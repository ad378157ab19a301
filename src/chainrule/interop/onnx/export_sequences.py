"""Recurrent layers, attention and transformers in ONNX."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import nn
from ...domain.errors import NotSupportedError
from ...nn.position import waves
from .export_layers import activated, gelu
from .export_masks import Packed, packed
from .exporters import Value, Writer, examples, exporter

ORDERS = {nn.LSTM: (0, 3, 1, 2), nn.GRU: (1, 0, 2), nn.RNN: (0,)}  # of the gates in ONNX: i o f g, z r n

FUNCTIONS: dict[str, Any] = {  # the activations of GatedLSTM and GatedGRU, some with alpha and beta
    "hard_sigmoid": ("HardSigmoid", 1 / 6, 0.5),
    "hard_sigmoid_fifth": ("HardSigmoid", 0.2, 0.5),
    "linear": ("Affine", 1.0, 0.0),
    "relu": ("Relu",),
    "sigmoid": ("Sigmoid",),
    "softsign": ("Softsign",),
    "tanh": ("Tanh",),
}


def refused(layer: Any, named: dict[str, Any]) -> None:
    """Raise for arguments that are not exported."""
    left = [key for key, value in named.items() if value is not None and value is not False]
    if left:
        raise NotSupportedError(f"[to_onnx] {type(layer).__name__} called with {', '.join(left)}; leave it out")


def gates(kind: type, array: Any) -> Any:
    """The blocks of a weight in the order of ONNX."""
    order = ORDERS[kind]
    blocks = np.split(array, len(order), axis=0)
    return np.concatenate([blocks[i] for i in order], axis=0)


def operator_of(
    w: Writer, kind: type, layer: Any, x: Any, ways: Any, first: list[Any], direction: str, lengths: str | None = None
) -> Any:
    """One LSTM, GRU or RNN node, of (time, batch, features), with weights of one way or both."""
    packed = []
    for part in range(2):
        packed.append(np.stack([gates(kind, weights[part].numpy()) for weights in ways]))
    bias = None
    if ways[0][2] is not None:
        rows = [np.concatenate([gates(kind, b.numpy()) for b in weights[2:]]) for weights in ways]
        bias = w.constant(np.stack(rows))
    extra: dict[str, Any] = {"hidden_size": layer.hidden_size, "direction": direction}
    if kind is nn.GRU:
        extra["linear_before_reset"] = int(layer.reset_after)
    if kind is nn.RNN:
        extra["activations"] = [{"tanh": "Tanh", "relu": "Relu"}[layer.nonlinearity]] * len(ways)
    if isinstance(layer, (nn.GatedLSTM, nn.GatedGRU)):
        acts = [layer.recurrent_activation, layer.activation, layer.activation][: 2 + (kind is nn.LSTM)]
        extra["activations"] = [FUNCTIONS[name][0] for name in acts]
        scales = [FUNCTIONS[name][1:] for name in acts if len(FUNCTIONS[name]) > 1]
        if scales:
            extra |= {"activation_alpha": [a for a, _ in scales], "activation_beta": [b for _, b in scales]}
    given = [x, w.constant(packed[0]), w.constant(packed[1]), bias, lengths, *first]
    return w.node(kind.__name__, given, 3 if kind is nn.LSTM else 2, **extra)


def sequences(
    w: Writer, layer: Any, x: Value, state: Any, backwards: bool, steps: Packed | None
) -> tuple[str, list[list[str]]]:
    """The whole sequence (time, batch, features), and the last states of each layer, (ways, batch, hidden)."""
    kind = next(cls for cls in ORDERS if isinstance(layer, cls))
    y: Any = w.transpose(x, 1, 0, 2) if layer.batch_first else x
    y = y if steps is None else steps.front(y)
    given = [] if state is None else [*state] if isinstance(state, tuple) else [state]
    each = 1 + layer.bidirectional
    direction = "bidirectional" if layer.bidirectional else "reverse" if backwards else "forward"
    last = []
    for number in range(layer.num_layers):
        ways = [layer._weights(suffix) for n, suffix in layer._suffixes() if n == number]
        first: list[Any] = []
        for s in given:
            if s.ndim == 2:
                first.append(w.node("Unsqueeze", [s, w.integers(0)]))
            else:
                first.append(s if layer.num_layers == 1 else w.slice(s, 0, number * each, (number + 1) * each))
        lengths = None if steps is None else steps.lengths
        out, *states = operator_of(w, kind, layer, y, ways, first, direction, lengths)
        if steps is not None and first:
            states = [steps.state(*pair) for pair in zip(states, first, strict=True)]
        y = w.reshape(w.transpose(out, 0, 2, 1, 3), 0, 0, each * layer.hidden_size)
        last.append(states)
    return y, last


def outputs(w: Writer, layer: Any, y: str, last: Any, x: Value, steps: Packed | None, returns: str | None) -> Any:
    """What a call returns: as Recurrent says."""
    wanted, state = layer.return_sequences, layer.return_state
    if not layer.keras_compat:
        wanted, state = wanted is not False, state is not False
    elif wanted is None and state is None:
        wanted = state = returns != "output"
    if returns == "all":
        wanted = state = True
    if wanted:
        y = y if steps is None else steps.back(y, x)
        output = w.transpose(y, 1, 0, 2) if layer.batch_first else y
    else:
        h = w.transpose(last[-1][0], 1, 0, 2)
        output = w.reshape(h, 0, (1 + layer.bidirectional) * layer.hidden_size)
    if not state or returns == "output":
        return output
    ends = []
    for i in range(layer.states):
        parts = [states[i] for states in last]
        ends.append(parts[0] if len(parts) == 1 else w.node("Concat", parts, axis=0))
    if not layer.keras_compat:
        ends = [w.node("Squeeze", [end, w.integers(0)]) for end in ends]
        if layer.states == 1 and not wanted and returns != "all":
            return ends[0]
    return output, ends[0] if layer.states == 1 else tuple(ends)


@exporter(nn.LSTM, nn.GRU, nn.RNN, nn.GatedLSTM, nn.GatedGRU)
def _(
    w: Writer,
    layer: Any,
    x: Value,
    state: Any = None,
    *,
    mask: Value | None = None,
    returns: str | None = None,
    reverse: bool = False,
    **named: Any,
) -> Any:
    refused(layer, named)
    steps = packed(w, mask, layer.batch_first)
    return outputs(w, layer, *sequences(w, layer, x, state, reverse, steps), x, steps, returns)


@exporter(nn.Bidirectional, composite=True)
def _(
    w: Writer, layer: Any, x: Value, state: Any = None, *, mask: Value | None = None, returns: str | None = None,
    **named: Any,
) -> Any:  # fmt: skip
    refused(layer, named)
    options = {"returns": "all", **({} if mask is None else {"mask": mask})}
    there, back = (None, None) if state is None else state
    y, state_there = w.call(layer.forward_layer, x, *([] if there is None else [there]), **options)
    z, state_back = w.call(layer.backward_layer, x, *([] if back is None else [back]), reverse=True, **options)
    wanted, states = layer.return_sequences, layer.return_state
    if wanted is None and states is None:
        wanted = states = returns != "output"
    if not wanted and returns != "all":
        y, z = (last_output(w, layer, s) for s in (state_there, state_back))
    name = {"concat": "Concat", "sum": "Sum", "mul": "Mul", "ave": "Mean"}[layer.merge_mode]
    output = w.node(name, [y, z], **({"axis": -1} if name == "Concat" else {}))
    plain = returns == "output" or not (states or returns == "all")
    example = layer(x.example, examples(state), mask=examples(mask), returns=returns)
    if plain:
        return Value(output, example)
    return Value(output, example[0]), (state_there, state_back)


def last_output(w: Writer, layer: Any, state: Any) -> Any:
    """The last output of one way: the state of its last layer."""
    h = state if layer.layer.states == 1 else state[0]
    if not layer.layer.keras_compat:
        return h
    end = h.shape[0]
    return w.node("Squeeze", [w.slice(h, 0, end - 1, end), w.integers(0)])


@exporter(nn.LSTMCell, nn.GRUCell, nn.RNNCell)
def _(w: Writer, cell: Any, x: Value, *state: Any) -> Any:
    kind = {nn.LSTMCell: nn.LSTM, nn.GRUCell: nn.GRU, nn.RNNCell: nn.RNN}
    cls = next(kind[c] for c in kind if isinstance(cell, c))
    given = [*state[0]] if state and isinstance(state[0], tuple) else [s for s in state if s is not None]
    first = [w.node("Unsqueeze", [s, w.integers(0)]) for s in given]
    weights = [cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh]
    step = w.node("Unsqueeze", [x, w.integers(0)])
    _, *ends = operator_of(w, cls, cell, step, [weights], first, "forward")
    flat = [w.node("Squeeze", [end, w.integers(0)]) for end in ends]
    return flat[0] if len(flat) == 1 else tuple(flat)


def projected(w: Writer, linear: Any, x: Any) -> Any:
    """A Linear of a value that has no example."""
    with w.within(linear):
        y = w.node("MatMul", [x, w.transpose(w.tensor(linear.weight), 1, 0)])
        y = y if linear.bias is None else w.node("Add", [y, w.tensor(linear.bias)])
    return activated(w, linear.activation, y)


def behind(w: Writer, q: Any, k: Any) -> Any:
    """Where queries may look that do not look ahead, (t, s)."""
    sizes = [w.node("Squeeze", [w.slice(w.node("Shape", [v]), 0, 2, 3), w.integers(0)]) for v in (q, k)]
    zero, one = w.constant(np.asarray(0, np.int64)), w.constant(np.asarray(1, np.int64))
    rows, columns = (w.node("Range", [zero, size, one]) for size in sizes)
    return w.node("LessOrEqual", [columns, w.node("Unsqueeze", [rows, w.integers(1)])])


@exporter(nn.MultiHeadAttention)
def _(
    w: Writer, layer: Any, query: Value, key: Any = None, value: Any = None, *, is_causal: bool = False,
    mask: Any = None, key_mask: Any = None, **named: Any,
) -> Any:  # fmt: skip
    refused(layer, named)
    return attention(w, layer, query, key, value, is_causal, mask, key_mask)


def attention(
    w: Writer, layer: Any, query: Any, key: Any, value: Any, is_causal: bool, mask: Any = None, key_mask: Any = None,
    like: Any = None,
) -> Any:  # fmt: skip
    """Several heads: (n, t, features), or without n, or t first."""
    like = query if like is None else like
    alone, swapped = like.ndim == 2, like.ndim == 3 and not layer.batch_first
    size, heads, narrow = layer.head_dim, layer.num_heads, layer.num_kv_heads

    def batched(x: Any) -> Any:
        return w.node("Unsqueeze", [x, w.integers(0)]) if alone else w.transpose(x, 1, 0, 2) if swapped else x

    def split(x: Any, n: int) -> Any:
        return w.transpose(w.reshape(x, 0, 0, n, size), 0, 2, 1, 3)

    x = batched(query)
    source = x if key is None else batched(key)
    content = source if value is None else batched(value)
    q = split(projected(w, layer.q_proj, x), heads)
    k = split(projected(w, layer.k_proj, source), narrow)
    v = split(projected(w, layer.v_proj, content), narrow)
    if layer.rotary:
        q, k = (turned(w, layer._turn, like, part, like.shape[-2 if layer.batch_first else 0], size) for part in (q, k))
    if narrow < heads:
        k, v = (grouped(w, part, narrow, heads // narrow, size) for part in (k, v))
    scores = w.node("Mul", [w.node("MatMul", [q, w.transpose(k, 0, 1, 3, 2)]), w.constant(size**-0.5, like)])
    seen = []  # where queries may look: masks that broadcast to (n, heads, t, s)
    if mask is not None:
        four = w.node("Unsqueeze", [mask, w.integers(1)]) if mask.ndim == 3 else mask
        if mask.example.dtype == "bool":
            seen.append(four)
        else:
            scores = w.node("Add", [scores, four])
    if key_mask is not None:
        seen.append(w.node("Unsqueeze", [key_mask, w.integers(1, 2)]))
    some = bool(seen)  # otherwise each query may look at something
    if is_causal:
        seen.append(behind(w, q, k))
    if seen:
        known = seen[0]
        for other in seen[1:]:
            known = w.node("And", [known, other])
        scores = w.node("Where", [known, scores, w.constant(np.finfo(like.example.numpy().dtype).min, like)])
    weights = w.node("Softmax", [scores], axis=-1)
    if some:  # a query that may look nowhere gives zeros
        weights = w.node("Where", [known, weights, w.constant(0.0, like)])
    y = w.node("MatMul", [weights, v])
    y = w.reshape(w.transpose(y, 0, 2, 1, 3), 0, 0, heads * size)
    y = projected(w, layer.out_proj, y)
    return w.node("Squeeze", [y, w.integers(0)]) if alone else w.transpose(y, 1, 0, 2) if swapped else y


def grouped(w: Writer, x: Any, narrow: int, times: int, size: int) -> Any:
    """Keys or values of few heads, each for several heads of the queries."""
    wide = w.node("Concat", [w.node("Unsqueeze", [x, w.integers(2)])] * times, axis=2)
    shape = w.node("Concat", [w.integers(0, narrow * times, -1, size)], axis=0)
    return w.node("Reshape", [wide, shape])


def turned(w: Writer, layer: Any, like: Value, x: Any, steps: int, size: int) -> Any:
    """Pairs of features i and i + size / 2 turned by their positions, which are those of the example."""
    c, s = (v.numpy() for v in waves(steps, size, layer.base, 0, like.example.dtype, like.example.backend))
    cos, sin = w.constant(c), w.constant(s)
    a, b = w.node("Split", [x, w.integers(size // 2, size // 2)], 2, axis=-1)
    parts = [
        w.node("Sub", [w.node("Mul", [a, cos]), w.node("Mul", [b, sin])]),
        w.node("Add", [w.node("Mul", [a, sin]), w.node("Mul", [b, cos])]),
    ]
    return w.node("Concat", parts, axis=-1)


@exporter(nn.RotaryEmbedding)
def _(w: Writer, layer: Any, x: Value) -> Any:
    return turned(w, layer, x, x, x.shape[-2], x.shape[-1])


@exporter(nn.SinusoidalPositions)
def _(w: Writer, layer: Any, x: Value) -> Any:
    t, size = x.shape[-2:]
    c, s = (v.numpy() for v in waves(t, size, layer.base, 0, x.example.dtype, x.example.backend))
    return w.node("Add", [x, w.constant(np.stack([s, c], axis=-1).reshape(t, size))])


@exporter(nn.LearnedPositions)
def _(w: Writer, layer: Any, x: Value) -> Any:
    steps = w.node("Slice", [w.node("Shape", [x]), w.integers(x.ndim - 2), w.integers(x.ndim - 1)])
    first = w.node("Slice", [w.tensor(layer.weight), w.integers(0), steps, w.integers(0)])
    return w.node("Add", [x, first])


def block(w: Writer, layer: Any, x: Any, like: Value, norm: Any, inner: Any) -> Any:
    """x plus what ``inner`` makes of it, normalized before or after."""

    def normed(v: Any) -> Any:
        return w.call(norm, Value(v.name if isinstance(v, Value) else v, like.example)).name

    if layer.norm_first:
        return w.node("Add", [x, inner(normed(x))])
    return normed(w.node("Add", [x, inner(x)]))


def each_position(w: Writer, layer: Any, x: Any, like: Value) -> Any:
    """The two linear layers."""
    y = projected(w, layer.linear1, x)
    y = gelu(w, Value(y, like.example)) if layer.activation == "gelu" else activated(w, layer.activation, y)
    return projected(w, layer.linear2, y)


def inside(w: Writer, module: Any, *arguments: Any, **named: Any) -> Any:
    """Attention inside a layer, under its own path."""
    with w.within(module):
        return attention(w, module, *arguments, **named)


@exporter(nn.TransformerEncoderLayer)
def _(
    w: Writer, layer: Any, x: Value, mask: Any = None, key_mask: Any = None, is_causal: bool = False, **named: Any
) -> Any:
    refused(layer, named)
    y = block(w, layer, x, x, layer.norm1,
              lambda v: inside(w, layer.self_attn, v, None, None, is_causal, mask, key_mask, like=x))  # fmt: skip
    return block(w, layer, y, x, layer.norm2, lambda v: each_position(w, layer, v, x))


@exporter(nn.TransformerDecoderLayer)
def _(
    w: Writer, layer: Any, x: Value, memory: Value, tgt_mask: Any = None, memory_mask: Any = None,
    tgt_key_mask: Any = None, memory_key_mask: Any = None, tgt_is_causal: bool = False, **named: Any,
) -> Any:  # fmt: skip
    refused(layer, named)
    own, other = (tgt_mask, tgt_key_mask), (memory_mask, memory_key_mask)
    y = block(w, layer, x, x, layer.norm1,
              lambda v: inside(w, layer.self_attn, v, None, None, tgt_is_causal, *own, like=x))  # fmt: skip
    y = block(w, layer, y, x, layer.norm2,
              lambda v: inside(w, layer.multihead_attn, v, memory, None, False, *other, like=x))  # fmt: skip
    return block(w, layer, y, x, layer.norm3, lambda v: each_position(w, layer, v, x))


@exporter(nn.TransformerEncoder, nn.TransformerDecoder, composite=True)
def _(w: Writer, stack: Any, x: Value, *others: Any, **named: Any) -> Any:
    for layer in stack.layers:
        x = w.call(layer, x, *others, **named)
    return x if stack.norm is None else w.call(stack.norm, x)
