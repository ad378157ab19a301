"""How the weights of Keras's layers lie in ours: for each layer of ours its arrays in Keras, in order, and both ways between.

Keras has kernels (in, out) and (height, width, in, out), gates i f c o of an LSTM and z r h of a GRU, and one bias of a
recurrent layer where PyTorch's have two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import nn
from ..domain.errors import FileFormatError
from ..nn.parameter import sizes_text

State = Mapping[str, Any]


class Entry(NamedTuple):
    """An array of Keras: its name there, its shape (None where it is open), and both ways between it and our state."""

    name: str
    shape: tuple[int | None, ...]
    read: Callable[[Any], dict[str, Any]]
    write: Callable[[State], Any]


def moved(name: str, shape: tuple[int | None, ...], ours: str, axes: Sequence[int] | None = None) -> Entry:
    """An array with its axes in another order."""
    order = tuple(range(len(shape))) if axes is None else tuple(axes)
    back = tuple(int(i) for i in np.argsort(order))
    return Entry(name, shape, lambda a: {ours: a.transpose(order)}, lambda state: state[ours].transpose(back))


def kernel(layer: Any, name: str, ours: str, open_axis: int) -> Entry:
    """The kernel of a convolution: (..., in, out) in Keras."""
    window = nn.conv.each(layer.kernel_size)
    n = len(window)
    weight = layer.weight.sizes
    shape: list[int | None] = [*window, weight[1], weight[0]]
    return moved(name, tuple(shape), ours, (n + 1, n, *range(n)))


def _bias(layer: Any, size: int | None, ours: str = "bias") -> list[Entry]:
    return [] if layer.bias is None else [moved("bias", (size,), ours)]


def _linear(layer: nn.Linear) -> list[Entry]:
    return [
        moved("kernel", (layer.in_features, layer.out_features), "weight", (1, 0)),
        *_bias(layer, layer.out_features),
    ]


def _conv(layer: Any) -> list[Entry]:
    return [kernel(layer, "kernel", "weight", 1), *_bias(layer, layer.out_channels)]


def _transposed(layer: Any) -> list[Entry]:
    window = nn.conv.each(layer.kernel_size)
    n = len(window)
    shape = (*window, layer.out_channels, layer.in_channels)
    return [moved("kernel", shape, "weight", (n + 1, n, *range(n))), *_bias(layer, layer.out_channels)]


def _depthwise_kernel(layer: Any, ours: str) -> Entry:
    window = nn.conv.each(layer.kernel_size)
    n, each = len(window), layer.depth_multiplier

    def read(a: Any) -> dict[str, Any]:
        return {ours: a.transpose(n, n + 1, *range(n)).reshape(-1, 1, *window)}

    def write(state: State) -> Any:
        weight = state[ours]
        return weight.reshape(-1, each, *window).transpose(*range(2, n + 2), 0, 1)

    return Entry("depthwise_kernel", (*window, layer.in_channels, each), read, write)


def _depthwise(layer: Any) -> list[Entry]:
    return [_depthwise_kernel(layer, "weight"), *_bias(layer, layer.out_channels)]


def _separable(layer: Any) -> list[Entry]:
    point = layer.pointwise
    return [
        _depthwise_kernel(layer.depthwise, "depthwise.weight"),
        kernel(point, "pointwise_kernel", "pointwise.weight", 0),
        *_bias(point, point.out_channels, "pointwise.bias"),
    ]


def _scaled(layer: Any, sizes: tuple[int | None, ...], options: Mapping[str, Any]) -> list[Entry]:
    """gamma and beta; of what the layer of Keras leaves out, ours has ones or zeros."""
    scale, center = options.get("scale", layer.weight is not None), options.get("center", layer.bias is not None)

    def read(ours: str, other: str, missing: bool, fill: float) -> Callable[[Any], dict[str, Any]]:
        return lambda a: {ours: a, **({other: np.full_like(a, fill)} if missing else {})}

    found = []
    if scale:
        lone = layer.bias is not None and not center
        found.append(Entry("gamma", sizes, read("weight", "bias", lone, 0.0), lambda state: state["weight"]))
    if center:
        lone = layer.weight is not None and not scale
        found.append(Entry("beta", sizes, read("bias", "weight", lone, 1.0), lambda state: state["bias"]))
    return found


def _batch_norm(layer: Any, options: Mapping[str, Any]) -> list[Entry]:
    sizes = (layer.num_features,)
    track = {"num_batches_tracked": np.array(0)}
    return [
        *_scaled(layer, sizes, options),
        Entry("moving_mean", sizes, lambda a: {"running_mean": a, **track}, lambda state: state["running_mean"]),
        moved("moving_variance", sizes, "running_var"),
    ]


def _layer_norm(layer: Any, options: Mapping[str, Any]) -> list[Entry]:
    return _scaled(layer, layer.normalized_shape or (None,), options)


def _blocks(a: Any, order: Sequence[int]) -> Any:
    """The blocks of the first axis in another order."""
    return np.concatenate([np.split(a, len(order))[i] for i in order])


def _recurrent(layer: Any, prefix: str = "") -> list[Entry]:
    units, blocks = layer.hidden_size, layer.blocks
    order = (1, 0, 2) if blocks == 3 else tuple(range(blocks))  # both ways: z and r change places
    names = {kind: f"{prefix}{kind}_l0" for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}

    def weights(name: str, ours: str, rows: int | None) -> Entry:
        return Entry(
            name,
            (rows, blocks * units),
            lambda a: {ours: _blocks(a.T, order)},
            lambda state: _blocks(state[ours], order).T,
        )

    def one(a: Any) -> dict[str, Any]:
        return {names["bias_ih"]: _blocks(a, order), names["bias_hh"]: np.zeros_like(a)}

    def two(a: Any) -> dict[str, Any]:
        return {names["bias_ih"]: _blocks(a[0], order), names["bias_hh"]: _blocks(a[1], order)}

    def both(state: State) -> Any:
        return np.stack([_blocks(state[names[kind]], order) for kind in ("bias_ih", "bias_hh")])

    def total(state: State) -> Any:
        return _blocks(state[names["bias_ih"]] + state[names["bias_hh"]], order)

    found = [
        weights("kernel", names["weight_ih"], layer.input_size),
        weights("recurrent_kernel", names["weight_hh"], units),
    ]
    if layer.bias and getattr(layer, "reset_after", False):
        found.append(Entry("bias", (2, blocks * units), two, both))
    elif layer.bias:
        found.append(Entry("bias", (blocks * units,), one, total))
    return found


def _attention(layer: Any) -> list[Entry]:
    heads, size = layer.num_heads, layer.head_dim
    found = []
    for part, wide in (("q", layer.embed_dim), ("k", layer.kdim), ("v", layer.vdim)):
        ours = f"{part}_proj"
        name = {"q": "query", "k": "key", "v": "value"}[part]

        def read(a: Any, ours: str = ours) -> dict[str, Any]:
            return {f"{ours}.weight": a.reshape(a.shape[0], -1).T}

        def write(state: State, ours: str = ours) -> Any:
            return state[f"{ours}.weight"].T.reshape(-1, heads, size)

        def flat(a: Any, ours: str = ours) -> dict[str, Any]:
            return {f"{ours}.bias": a.reshape(-1)}

        def split(state: State, ours: str = ours) -> Any:
            return state[f"{ours}.bias"].reshape(heads, size)

        found.append(Entry(f"{name}/kernel", (wide, heads, size), read, write))
        found += [Entry(f"{name}/bias", (heads, size), flat, split)] * bool(layer.bias)
    found.append(
        Entry(
            "attention_output/kernel",
            (heads, size, layer.embed_dim),
            lambda a: {"out_proj.weight": a.reshape(-1, a.shape[-1]).T},
            lambda state: state["out_proj.weight"].T.reshape(heads, size, -1),
        )
    )
    return found + [moved("attention_output/bias", (layer.embed_dim,), "out_proj.bias")] * bool(layer.bias)


def _prelu(layer: nn.PReLU, options: Mapping[str, Any]) -> list[Entry]:
    shape = (*[1] * (options.get("rank", 2) - 2), layer.num_parameters)
    return [Entry("alpha", shape, lambda a: {"weight": a.reshape(-1)}, lambda state: state["weight"].reshape(shape))]


def layout(module: Any, options: Mapping[str, Any] | None = None) -> list[Entry]:
    """The arrays that Keras has of a module, in its order; ``options`` say what the module does not know (scale, center).

    ChannelsLast and TimeDistributed have those of the layer in them, which may stand in a Sequential with padding or an
    activation. Modules without weights have none, and models neither.
    """
    options = options or {}
    if isinstance(module, nn.Bidirectional):
        return [
            entry
            for way, layer in (("forward", module.forward_layer), ("backward", module.backward_layer))
            for entry in _within(f"{way}_layer.", _recurrent(layer), f"{way}/")
        ]
    if isinstance(module, (nn.ChannelsLast, nn.TimeDistributed)):
        name, inner = next(module.named_children())
        options = {"rank": 2 + (module.__class__ is nn.ChannelsLast), **options}
        if isinstance(inner, nn.Sequential):
            found = [(own, one) for own, one in inner.named_children() if layout(one)]
            return _within(f"{name}.{found[0][0]}.", layout(found[0][1], options)) if len(found) == 1 else []
        return _within(f"{name}.", layout(inner, options))
    if isinstance(module, nn.Embedding):
        return [moved("embeddings", (module.num_embeddings, module.embedding_dim), "weight")]
    for kinds, make in PLAIN:
        if isinstance(module, kinds):
            return make(module)
    for kinds, choose in CHOSEN:
        if isinstance(module, kinds):
            return choose(module, options)
    return []


def _within(prefix: str, entries: list[Entry], said: str = "") -> list[Entry]:
    """The entries of a module inside another."""

    def shifted(entry: Entry) -> Entry:
        def read(a: Any) -> dict[str, Any]:
            return {prefix + name: value for name, value in entry.read(a).items()}

        def write(state: State) -> Any:
            return entry.write({n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)})

        return Entry(said + entry.name, entry.shape, read, write)

    return [shifted(entry) for entry in entries]


PLAIN: list[tuple[Any, Callable[[Any], list[Entry]]]] = [
    (nn.Linear, _linear),
    ((nn.DepthwiseConv1d, nn.DepthwiseConv2d), _depthwise),
    ((nn.SeparableConv1d, nn.SeparableConv2d), _separable),
    ((nn.Conv1d, nn.Conv2d, nn.Conv3d), _conv),
    ((nn.ConvTranspose1d, nn.ConvTranspose2d), _transposed),
    ((nn.RNN, nn.GRU, nn.LSTM), _recurrent),
    (nn.MultiHeadAttention, _attention),
]
CHOSEN: list[tuple[Any, Callable[[Any, Mapping[str, Any]], list[Entry]]]] = [
    ((nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d), _batch_norm),
    (nn.LayerNorm, _layer_norm),
    (nn.GroupNorm, lambda layer, options: _scaled(layer, (layer.num_channels,), options)),
    (nn.PReLU, _prelu),
]


def taken(entries: list[Entry], arrays: Sequence[Any], layer: str, where: str) -> dict[str, Any]:
    """The state that arrays of a file make. Errors: FileFormatError if they are others than the layer has."""
    wanted = ", ".join(f"{e.name} {sizes_text(e.shape)}" for e in entries) or "none"
    if len(arrays) != len(entries):
        got = ", ".join(f"{a.name.rsplit('/', 1)[-1]} {a.shape}" for a in arrays[:20]) or "none"
        raise FileFormatError(f"{where}: the layer {layer} has the arrays {got}; expected {wanted}")
    state: dict[str, Any] = {}
    for entry, array in zip(entries, arrays, strict=True):
        fits = len(array.shape) == len(entry.shape)
        if not fits or any(m not in (None, n) for n, m in zip(array.shape, entry.shape, strict=True)):
            raise FileFormatError(
                f"{where}: {entry.name} of the layer {layer} has shape {array.shape}, expected {sizes_text(entry.shape)}"
            )
        state.update(entry.read(array.read()))
    return state
