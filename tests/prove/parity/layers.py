"""The layers: values, gradients of inputs and of parameters, buffers; in training and in eval mode."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import torch
from tests.prove.parity.measure import DTYPES, Row, gradients, tuples
from tests.prove.test_torch_attention import loaded

from chainrule import Tensor, nn

T = torch.nn
LINE, IMAGE, VOLUME = (4, 6, 11), (3, 4, 9, 8), (2, 4, 5, 6, 4)
CONV = [{}, {"stride": 2, "padding": 1}, {"groups": 2, "bias": False}, {"dilation": 2, "padding": 2}, {"padding": "same"},
        {"padding": 1, "padding_mode": "reflect"}, {"padding": 1, "padding_mode": "replicate"},
        {"padding": 1, "padding_mode": "circular"}, {"padding": "valid", "stride": 3}]  # fmt: skip
UP = [{}, {"stride": 2, "padding": 1, "output_padding": 1}, {"groups": 2, "bias": False}, {"dilation": 2}]
DEPTHWISE = [
    {},
    {"stride": 2, "padding": 1},
    {"depth_multiplier": 3, "bias": False},
    {"dilation": 2, "padding": "same"},
]
SIZES = [1, 3, 4]
RECURRENT = [{}, {"bias": False}, {"num_layers": 2}, {"bidirectional": True},
             {"num_layers": 2, "bidirectional": True, "batch_first": True}]  # fmt: skip
BOOL = [True, False]


def all_of(
    *args: Any, shape: tuple[int, ...], options: Any = ({},)
) -> list[tuple[tuple[Any, ...], dict[str, Any], tuple[int, ...]]]:
    return [(args, dict(p), shape) for p in options]


# Ours: PyTorch's name, and uses: arguments, options, the shape of the input.
LAYERS: dict[str, tuple[str, list[Any]]] = {
    "Linear": ("Linear", all_of(6, 5, shape=(7, 6), options=[{}, {"bias": False}]) + all_of(6, 5, shape=(2, 3, 6))),
    "Conv1d": ("Conv1d", all_of(6, 4, 3, shape=LINE, options=CONV)),
    "Conv2d": ("Conv2d", all_of(4, 6, 3, shape=IMAGE, options=CONV) + all_of(4, 2, (3, 2), shape=IMAGE, options=CONV[:2])),
    "Conv3d": ("Conv3d", all_of(4, 2, 2, shape=VOLUME, options=CONV[:3])),
    "ConvTranspose1d": ("ConvTranspose1d", all_of(6, 4, 3, shape=LINE, options=UP)),
    "ConvTranspose2d": ("ConvTranspose2d", all_of(4, 2, 3, shape=IMAGE, options=UP)),
    "DepthwiseConv1d": ("Conv1d(groups)", all_of(6, 3, shape=LINE, options=DEPTHWISE)),
    "DepthwiseConv2d": ("Conv2d(groups)", all_of(4, 3, shape=IMAGE, options=DEPTHWISE)),
    "BatchNorm1d": ("BatchNorm1d", all_of(6, shape=LINE, options=[{}, {"affine": False}, {"momentum": 0.4, "eps": 0.01}])
                    + all_of(6, shape=(9, 6)) + all_of(6, shape=(9, 6), options=[{"track_running_stats": False}])),
    "BatchNorm2d": ("BatchNorm2d", all_of(4, shape=IMAGE, options=[{}, {"affine": False}, {"momentum": 0.4}])),
    "BatchNorm3d": ("BatchNorm3d", all_of(4, shape=VOLUME)),
    "InstanceNorm1d": ("InstanceNorm1d", all_of(6, shape=LINE, options=[{}, {"affine": True}])),
    "InstanceNorm2d": ("InstanceNorm2d", all_of(4, shape=IMAGE, options=[{}, {"affine": True, "track_running_stats": True}])),
    "LayerNorm": ("LayerNorm", all_of((9, 8), shape=IMAGE, options=[{}, {"bias": False}]) + all_of(11, shape=LINE)),
    "RMSNorm": ("RMSNorm", all_of(11, shape=LINE, options=[{}, {"eps": 1e-3}, {"elementwise_affine": False}])),
    "GroupNorm": ("GroupNorm", all_of(2, 4, shape=IMAGE, options=[{}, {"affine": False}]) + all_of(3, 6, shape=LINE)),
    **{f"MaxPool{d}d": (f"MaxPool{d}d", all_of(2, shape=s, options=[{}, {"stride": 1, "padding": 1}, {"ceil_mode": True},
                                                                 {"dilation": 2}, {"return_indices": True}]))
       for d, s in ((1, LINE), (2, IMAGE))},
    **{f"AvgPool{d}d": (f"AvgPool{d}d", all_of(3, shape=s, options=[{}, {"stride": 2, "padding": 1}, {"ceil_mode": True},
                                                                 {"padding": 1, "count_include_pad": False}]))
       for d, s in ((1, LINE), (2, IMAGE))},
    **{f"LPPool{d}d": (f"LPPool{d}d", all_of(2.0, 3, shape=s, options=[{}, {"stride": 1}, {"ceil_mode": True}]))
       for d, s in ((1, LINE), (2, IMAGE))},
    **{f"Adaptive{k}Pool{d}d": (f"Adaptive{k}Pool{d}d", [((n,), {}, s) for n in SIZES])
       for k in ("Avg", "Max") for d, s in ((1, LINE), (2, IMAGE))},
    **{f"Global{k}Pool{d}d": (f"Adaptive{k}Pool{d}d(1)", [((), {}, s)])
       for k in ("Avg", "Max") for d, s in ((1, LINE), (2, IMAGE))},
    "Upsample": ("Upsample", [((), p, IMAGE) for p in ({"scale_factor": 2}, {"size": (5, 13)}, {"scale_factor": 2.0, "mode":
                 "bilinear"}, {"size": (13, 4), "mode": "bilinear", "align_corners": True})]),
    "PixelShuffle": ("PixelShuffle", all_of(2, shape=IMAGE)),
    "PixelUnshuffle": ("PixelUnshuffle", all_of(2, shape=(2, 3, 4, 6))),
    "Flatten": ("Flatten", all_of(shape=IMAGE) + all_of(2, 3, shape=IMAGE)),
    "Unflatten": ("Unflatten", all_of(1, (2, 2), shape=IMAGE)),
    "Identity": ("Identity", all_of(shape=IMAGE)),
    "RNN": ("RNN", all_of(6, 5, shape=(7, 4, 6), options=[*RECURRENT, {"nonlinearity": "relu"}])),
    "GRU": ("GRU", all_of(6, 5, shape=(7, 4, 6), options=RECURRENT)),
    "LSTM": ("LSTM", all_of(6, 5, shape=(7, 4, 6), options=RECURRENT)),
    "RNNCell": ("RNNCell", all_of(6, 5, shape=(7, 6), options=[{}, {"bias": False}, {"nonlinearity": "relu"}])),
    "GRUCell": ("GRUCell", all_of(6, 5, shape=(7, 6), options=[{}, {"bias": False}])),
    "LSTMCell": ("LSTMCell", all_of(6, 5, shape=(7, 6), options=[{}, {"bias": False}])),
    "TransformerEncoderLayer": ("TransformerEncoderLayer", all_of(8, 2, 12, shape=(3, 5, 8), options=[
        {"dropout": 0.0, "batch_first": True, "norm_first": n, "activation": a} for n in BOOL for a in ("relu", "gelu")])),
}  # fmt: skip
SAME = (
    "CELU ELU GELU GLU Hardshrink LeakyReLU LogSigmoid LogSoftmax Mish PReLU ReLU ReLU6 SELU SiLU Sigmoid Softmax Softplus "
    "Softshrink Softsign Tanh Threshold HardSigmoid HardSwish HardTanh"
).split()
OPTIONS: dict[str, list[Any]] = {
    "CELU": [((), {"alpha": 0.5})], "ELU": [((), {"alpha": 0.3})], "GELU": [((), {"approximate": "tanh"})],
    "GLU": [((1,), {})], "Hardshrink": [((1.0,), {})], "LeakyReLU": [((0.3,), {})], "PReLU": [((4,), {})],
    "Softplus": [((2.0, 5.0), {})], "Softshrink": [((1.0,), {})], "HardTanh": [((-0.5, 2.0), {})],
    "LogSoftmax": [((1,), {})], "Softmax": [((1,), {})],
}  # fmt: skip
for activation in SAME:
    used = [] if activation in ("Threshold", "LogSoftmax", "Softmax") else [((), {})]
    used += OPTIONS.get(activation, [((0.5, -2.0), {})] if activation == "Threshold" else [])
    LAYERS[activation] = (activation, [(a, p, IMAGE) for a, p in used])
for ours, theirs in {"HardSigmoid": "Hardsigmoid", "HardSwish": "Hardswish", "HardTanh": "Hardtanh"}.items():
    LAYERS[ours] = (theirs, LAYERS[ours][1])
LAYERS["Swish"] = ("SiLU", LAYERS["SiLU"][1])

COVERED = {
    **dict.fromkeys(["MultiHeadAttention", "TransformerEncoder", "TransformerDecoder", "TransformerDecoderLayer"],
                    "`tests/prove/test_torch_attention.py`, with and without masks"),
    "Bidirectional": "`RNN`, `GRU` and `LSTM` with `bidirectional=True`; other merges in `tests/test_nn_rnn.py`",
    "Embedding": "the op `embedding`",
    **dict.fromkeys(["SeparableConv1d", "SeparableConv2d", "ChannelsLast"], "`tests/test_nn_separable.py`"),
    **dict.fromkeys(["Masking", "Merge", "Graph"], "`tests/test_nn_masks.py`, `tests/test_nn_graph.py`"),
    **dict.fromkeys(["Maxout", "SwiGLU"], "the ops `maxout` and `swiglu`"),
    **dict.fromkeys(["LearnedPositions", "SinusoidalPositions", "RotaryEmbedding", "KVCache"], "`tests/test_nn_attention.py`"),
    **dict.fromkeys(["Permute", "Reshape"], "the ops `permute` and `reshape`"),
    **dict.fromkeys(["Lambda", "ModuleDict", "ModuleList", "Parallel", "Residual", "Sequential"],
                    "`tests/test_nn_containers.py`, `tests/test_nn_module.py`"),
    **dict.fromkeys(["Dropout", "Dropout1d", "Dropout2d", "AlphaDropout", "DropPath"],
                    "other random numbers: shares and moments in `tests/test_nn_layers.py`, `tests/test_nn_catalogue.py`"),
}  # fmt: skip


class HardSigmoid(T.Module):
    """PyTorch's own rounds 1/6 to float32, in its gradient."""

    def forward(self, x: Any) -> Any:
        return T.functional.relu6(x + 3) / 6


DRAWN = 6  # inputs for each use
ALLOWED = {"BatchNorm1d": 64.0, "BatchNorm2d": 64.0, "BatchNorm3d": 64.0, "InstanceNorm1d": 64.0, "InstanceNorm2d": 64.0,
           "LayerNorm": 64.0, "RMSNorm": 64.0, "GroupNorm": 64.0, "RNN": 64.0, "GRU": 64.0, "LSTM": 64.0,
           "TransformerEncoderLayer": 128.0}  # fmt: skip


def made(peer: str, args: Any, options: Any) -> Any:
    """PyTorch's layer; in brackets stands what it is given beside the arguments of ours."""
    name, _, fixed = peer.rstrip(")").partition("(")
    if name == "Hardsigmoid":
        return HardSigmoid()
    if fixed == "groups":  # a filter, or some, for each channel
        channels, kernel = args
        options = {**options, "groups": channels}
        return getattr(T, name)(channels, channels * options.pop("depth_multiplier", 1), kernel, **options)
    return getattr(T, name)(*args, *([int(fixed)] if fixed else []), **options)


def use(row: Row, peer: str, args: Any, options: Any, shape: tuple[int, ...], seed: int) -> None:
    """One layer of both on one input: outputs, buffers, gradients of input and parameters; in training, then in eval."""
    row.cases += 1
    for dtype in DTYPES:
        theirs = made(peer, args, options).to(getattr(torch, dtype))
        known = row.name.strip("`")
        ours = getattr(nn, known)(*args, **options).to(dtype)
        give(theirs, ours, seed)
        for mode in (True, False):
            ours.train(mode), theirs.train(mode)
            data = np.random.default_rng(seed).uniform(-2, 2, shape).astype(dtype)
            x, p = Tensor(data, requires_grad=True), torch.tensor(data, requires_grad=True)
            ys, es = tuples(ours(x)), tuples(theirs(p))
            name = f"{known}{args}{options} {'training' if mode else 'eval'}"
            for y, e in zip(ys, es, strict=True):
                row.add(dtype, "forward", y.detach().numpy(), e.detach().numpy(), name)
            for (key, b), (_, c) in zip(ours.named_buffers(), theirs.named_buffers(), strict=True):
                if "num_batches" not in key:
                    row.add(dtype, "forward", b.numpy(), c.numpy(), f"{name} {key}")
            same = len(ours.parameters()) == len([*theirs.parameters()])  # a transformer has one matrix for three there
            leaves = [(x, p), *(zip(ours.parameters(), theirs.parameters(), strict=True) if same else ())]
            gradients(row, dtype, [(y, e) for y, e in zip(ys, es, strict=True) if e.requires_grad], leaves, name)


def give(theirs: Any, ours: Any, seed: int) -> None:
    """Both get the same parameters; the names are the same."""
    random = np.random.default_rng(seed)
    with torch.no_grad():
        if any(key.endswith("in_proj_weight") for key in theirs.state_dict()):
            loaded(theirs, ours, [])
            return
        for p in theirs.parameters():
            p.copy_(torch.as_tensor(random.standard_normal(p.shape) * 0.4 + (p.ndim == 1)))
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items() if k in ours.state_dict()}, strict=False)


def layer_rows(drawn: int = DRAWN) -> tuple[list[Row], dict[str, str]]:
    """A row for each layer that PyTorch has, and the others with what covers them."""
    found = []
    for name in sorted(LAYERS):
        peer, uses = LAYERS[name]
        row = Row(f"`{name}`", f"`nn.{peer}`", ALLOWED.get(name, 16.0))
        for args, options, shape in uses:
            for i in range(drawn):
                use(row, peer, args, options, shape, zlib.crc32(name.encode()) + i)
        found.append(row)
    return found, COVERED
