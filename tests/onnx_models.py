"""Models of every layer of the catalogue, with the inputs to export them for: shapes, None where the size is open."""

import chainrule as cr
from chainrule import nn

IMAGE, SEQUENCE, FEATURES = (None, 4, 9, 8), (None, 6, 8), (None, 8)


def seq(*layers):
    return nn.Sequential(*layers)


def graph():
    """Several inputs and outputs, operators, indices, a state."""
    a, b = nn.Input((6, 8), name="a"), nn.Input((8,), name="b")
    both = nn.GRU(8, 5, batch_first=True, return_sequences=True, return_state=True)(a)
    h = both[1]
    joined = nn.Merge("concat")(both[0][:, -1], b)
    z = nn.ReLU()(nn.Linear(4)(joined)) * 2.0 - 1.0
    return nn.Graph([a, b], {"scores": nn.Linear(3)(z), "state": h, "part": a[:, 1:4, ::2]})


def recurrent(*layers, first=nn.Masking):
    """Padded sequences, with what becomes of them beside their steps."""
    return seq(first(), *layers)


def words():
    """Embedding(mask_zero=True)."""
    return nn.Embedding(10, 4, mask_zero=True)


def drawn():
    """A Graph: a mask beside an operator, an output for each step and one for all, a state."""
    x, extra = nn.Input((None, 8)), nn.Input((None, 8))
    h = nn.Merge("sum")(extra, nn.Masking()(x)) * 2.0
    y = nn.GRU(8, 5, batch_first=True, return_sequences=True, return_state=True)(h)
    both = nn.Bidirectional(nn.LSTM(4, batch_first=True, return_sequences=True))(y[0], None)
    return nn.Graph([x, extra], {"steps": both, "state": y[1], "end": nn.GRU(3, batch_first=True)(both)})


def told():
    """The mask is an input; a first state is what counts where no step does."""
    x, mask, h = nn.Input((None, 8)), nn.Input((None,), "mask", dtype="bool"), nn.Input((1, 5))
    y = nn.GRU(8, 5, batch_first=True, return_sequences=True, return_state=True)
    out = y(x, nn.Permute((1, 0, 2))(h), mask=mask)
    return nn.Graph([x, mask, h], {"steps": out[0], "state": out[1]})


def translator():
    """A decoder, whose two sequences have masks of their own."""
    source, target = nn.Input((None,), "source", dtype="int64"), nn.Input((None,), "target", dtype="int64")
    memory, h = nn.Embedding(10, 8, mask_zero=True)(source), nn.Embedding(10, 8, mask_zero=True)(target)
    h = nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 16), 2)(h, memory, tgt_is_causal=True)
    pooled = nn.ChannelsLast(nn.GlobalAvgPool1d())(nn.MultiHeadAttention(8, 2)(h, memory))
    return nn.Graph([source, target], {"steps": h, "mean": pooled})


def learned(norm):
    """A norm with statistics that are not those it begins with."""
    model = seq(norm)
    for _ in range(3):
        model(cr.randn(4, 4, 9, 8) * 2 + 1) if norm.ndims == (4,) else model(cr.randn(4, 4, 9) * 2 + 1)
    return model


ACTIVATIONS = {
    name: (lambda cls=cls: seq(cls()), FEATURES)
    for name, cls in {
        "CELU": nn.CELU, "ELU": nn.ELU, "GELU": nn.GELU, "GLU": nn.GLU, "HardSigmoid": nn.HardSigmoid,
        "HardSwish": nn.HardSwish, "HardTanh": nn.HardTanh, "Hardshrink": nn.Hardshrink, "Identity": nn.Identity,
        "LeakyReLU": nn.LeakyReLU, "LogSigmoid": nn.LogSigmoid, "LogSoftmax": nn.LogSoftmax, "Mish": nn.Mish,
        "ReLU": nn.ReLU, "ReLU6": nn.ReLU6, "SELU": nn.SELU, "SiLU": nn.SiLU, "Sigmoid": nn.Sigmoid,
        "Softmax": nn.Softmax, "Softplus": nn.Softplus, "Softshrink": nn.Softshrink, "Softsign": nn.Softsign,
        "SwiGLU": nn.SwiGLU, "Swish": nn.Swish, "Tanh": nn.Tanh, "Dropout": nn.Dropout, "AlphaDropout": nn.AlphaDropout,
        "DropPath": nn.DropPath,
    }.items()
}  # fmt: skip

MODELS = ACTIVATIONS | {
    "gelu tanh": (lambda: seq(nn.GELU("tanh")), FEATURES),
    "softmax temperature": (lambda: seq(nn.Softmax(1, temperature=2.0)), IMAGE),
    "Threshold": (lambda: seq(nn.Threshold(0.1, -3.0)), FEATURES),
    "PReLU": (lambda: seq(nn.PReLU(4)), IMAGE),
    "Maxout": (lambda: seq(nn.Maxout(2)), IMAGE),
    "Linear": (lambda: seq(nn.Linear(5), nn.ReLU(), nn.Linear(3, activation="tanh")), FEATURES),
    "Linear 3d": (lambda: seq(nn.Linear(5, bias=False), nn.Linear(3)), SEQUENCE),
    "Dropout1d": (lambda: seq(nn.Dropout1d()), SEQUENCE),
    "Dropout2d": (lambda: seq(nn.Dropout2d()), IMAGE),
    "Embedding": (lambda: seq(nn.Embedding(10, 4), nn.Flatten(), nn.Linear(2)), (None, 5)),
    "Flatten": (lambda: seq(nn.Flatten(2)), IMAGE),
    "Unflatten": (lambda: seq(nn.Unflatten(1, (2, -1))), IMAGE),
    "Reshape": (lambda: seq(nn.Reshape((8, -1))), IMAGE),
    "Permute": (lambda: seq(nn.Permute((0, 2, 3, 1))), IMAGE),
    "BatchNorm1d": (lambda: learned(nn.BatchNorm1d()), (None, 4, 9)),
    "BatchNorm2d": (lambda: learned(nn.BatchNorm2d(affine=False)), IMAGE),
    "BatchNorm3d": (lambda: seq(nn.BatchNorm3d()), (None, 4, 3, 5, 6)),
    "InstanceNorm1d": (lambda: seq(nn.InstanceNorm1d(affine=True)), (None, 4, 9)),
    "InstanceNorm2d": (lambda: learned(nn.InstanceNorm2d(track_running_stats=True)), IMAGE),
    "GroupNorm": (lambda: seq(nn.GroupNorm(2)), IMAGE),
    "LayerNorm": (lambda: seq(nn.LayerNorm(8)), SEQUENCE),
    "LayerNorm plain": (lambda: seq(nn.LayerNorm((6, 8), elementwise_affine=False)), SEQUENCE),
    "RMSNorm": (lambda: seq(nn.RMSNorm(8)), SEQUENCE),
    "Conv1d": (lambda: seq(nn.Conv1d(6, kernel_size=3, padding=2, dilation=2, stride=2)), (None, 4, 11)),
    "Conv2d": (lambda: seq(nn.Conv2d(6, kernel_size=(3, 2), padding=(1, 0), stride=(2, 1), groups=2)), IMAGE),
    "Conv2d same": (lambda: seq(nn.Conv2d(6, kernel_size=(4, 3), padding="same", bias=False)), IMAGE),
    "Conv2d reflect": (lambda: seq(nn.Conv2d(6, kernel_size=3, padding=1, padding_mode="reflect")), IMAGE),
    "Conv2d replicate": (lambda: seq(nn.Conv2d(6, kernel_size=3, padding=1, padding_mode="replicate")), IMAGE),
    "Conv2d circular": (lambda: seq(nn.Conv2d(6, kernel_size=3, padding=(2, 1), padding_mode="circular")), IMAGE),
    "Conv3d": (lambda: seq(nn.Conv3d(2, kernel_size=3, padding=1)), (None, 4, 3, 5, 6)),
    "DepthwiseConv1d": (lambda: seq(nn.DepthwiseConv1d(kernel_size=3, depth_multiplier=2)), (None, 4, 9)),
    "DepthwiseConv2d": (lambda: seq(nn.DepthwiseConv2d(kernel_size=3, padding="same")), IMAGE),
    "SeparableConv1d": (lambda: seq(nn.SeparableConv1d(5, kernel_size=3)), (None, 4, 9)),
    "SeparableConv2d": (lambda: seq(nn.SeparableConv2d(5, kernel_size=3, padding=1)), IMAGE),
    "ConvTranspose1d": (lambda: seq(nn.ConvTranspose1d(5, kernel_size=3, stride=2, output_padding=1)), (None, 4, 9)),
    "ConvTranspose2d": (lambda: seq(nn.ConvTranspose2d(6, kernel_size=3, stride=2, padding=1, groups=2)), IMAGE),
    "ConvTranspose2d same": (lambda: seq(nn.ConvTranspose2d(6, kernel_size=4, stride=1, padding="same")), IMAGE),
    "MaxPool1d": (lambda: seq(nn.MaxPool1d(3, 2, padding=1, ceil_mode=True)), (None, 4, 9)),
    "MaxPool2d": (lambda: seq(nn.MaxPool2d(3, 2, padding=1, dilation=(1, 2))), IMAGE),
    "MaxPool2d indices": (lambda: nn.MaxPool2d(2, return_indices=True), IMAGE),
    "AvgPool1d": (lambda: seq(nn.AvgPool1d(3, 2, padding=1)), (None, 4, 9)),
    "AvgPool2d": (lambda: seq(nn.AvgPool2d(3, 2, padding=1, count_include_pad=False)), IMAGE),
    "AvgPool2d ceil": (lambda: seq(nn.AvgPool2d(3, 2, ceil_mode=True)), IMAGE),
    "LPPool1d": (lambda: seq(nn.Softplus(), nn.LPPool1d(2, 3)), (None, 4, 9)),
    "LPPool2d": (lambda: seq(nn.Softplus(), nn.LPPool2d(3, 2)), IMAGE),
    "GlobalAvgPool1d": (lambda: seq(nn.GlobalAvgPool1d()), SEQUENCE),
    "GlobalAvgPool2d": (lambda: seq(nn.GlobalAvgPool2d()), IMAGE),
    "GlobalMaxPool1d": (lambda: seq(nn.GlobalMaxPool1d()), SEQUENCE),
    "GlobalMaxPool2d": (lambda: seq(nn.GlobalMaxPool2d()), IMAGE),
    "AdaptiveAvgPool1d": (lambda: seq(nn.AdaptiveAvgPool1d(3)), SEQUENCE),
    "AdaptiveAvgPool2d": (lambda: seq(nn.AdaptiveAvgPool2d((3, 4))), IMAGE),
    "AdaptiveMaxPool1d": (lambda: seq(nn.AdaptiveMaxPool1d(1)), SEQUENCE),
    "AdaptiveMaxPool2d": (lambda: seq(nn.AdaptiveMaxPool2d((4, 5))), IMAGE),
    "Upsample": (lambda: seq(nn.Upsample(scale_factor=2)), IMAGE),
    "Upsample bilinear": (lambda: seq(nn.Upsample(size=(13, 5), mode="bilinear")), IMAGE),
    "Upsample corners": (lambda: seq(nn.Upsample(size=20, mode="linear", align_corners=True)), SEQUENCE),
    "PixelShuffle": (lambda: seq(nn.PixelShuffle(2)), IMAGE),
    "PixelUnshuffle": (lambda: seq(nn.PixelUnshuffle(2)), (None, 4, 6, 8)),
    "RNN": (lambda: nn.RNN(8, 5, nonlinearity="relu"), (None, None, 8)),
    "GRU": (lambda: nn.GRU(8, 5, num_layers=2, bidirectional=True, batch_first=True), SEQUENCE),
    "GRU before": (lambda: seq(nn.GRU(8, 5, reset_after=False, batch_first=True)), SEQUENCE),
    "LSTM": (lambda: nn.LSTM(8, 5, num_layers=2, batch_first=True), SEQUENCE),
    "LSTM sequences": (lambda: seq(nn.LSTM(5, bias=False, batch_first=True, return_sequences=True)), SEQUENCE),
    "GatedLSTM": (lambda: nn.GatedLSTM(8, 5, activation="softsign", batch_first=True), SEQUENCE),
    "GatedGRU": (
        lambda: seq(nn.Bidirectional(nn.GatedGRU(8, 5, activation="linear", reset_after=False, batch_first=True))),
        SEQUENCE,
    ),
    "Bidirectional": (lambda: seq(nn.Bidirectional(nn.LSTM(8, 5, batch_first=True))), SEQUENCE),
    "Bidirectional sum": (
        lambda: nn.Bidirectional(nn.GRU(8, 5, batch_first=True, return_sequences=True), merge_mode="ave"),
        SEQUENCE,
    ),
    "RNNCell": (lambda: nn.RNNCell(8, 5), FEATURES),
    "GRUCell": (lambda: nn.GRUCell(8, 5), FEATURES),
    "LSTMCell": (lambda: nn.LSTMCell(8, 5), FEATURES),
    "MultiHeadAttention": (lambda: nn.MultiHeadAttention(8, 4, num_kv_heads=2, rotary=True), SEQUENCE),
    "cross attention": (lambda: nn.MultiHeadAttention(8, 2, kdim=6, vdim=6), (SEQUENCE, (None, 5, 6))),
    "time first": (lambda: nn.MultiHeadAttention(8, 2, batch_first=False), (None, None, 8)),
    "TransformerEncoder": (
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, activation="gelu"), 2, nn.LayerNorm(8)),
        SEQUENCE,
    ),
    "TransformerDecoder": (
        lambda: nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 16, norm_first=True), 2),
        (SEQUENCE, (None, 5, 8)),
    ),
    "RotaryEmbedding": (lambda: seq(nn.RotaryEmbedding()), SEQUENCE),
    "SinusoidalPositions": (lambda: seq(nn.SinusoidalPositions()), SEQUENCE),
    "LearnedPositions": (lambda: seq(nn.LearnedPositions(10)), SEQUENCE),
    "Residual": (lambda: seq(nn.Residual(seq(nn.Linear(8, 8), nn.ReLU()), nn.Linear(8, 8))), FEATURES),
    "Parallel": (lambda: seq(nn.Parallel(nn.Linear(3), nn.Linear(4))), FEATURES),
    "Parallel none": (lambda: nn.Parallel(nn.Linear(3), nn.Linear(4), merge="none"), FEATURES),
    "Merge": (lambda: nn.Merge("mean"), (FEATURES, FEATURES)),
    "ChannelsLast": (
        lambda: seq(nn.ChannelsLast(seq(nn.Conv2d(6, kernel_size=3), nn.ReLU())), nn.Flatten()),
        (None, 9, 8, 4),
    ),
    "Pad": (lambda: seq(nn.Pad((1, 2, 0, 1), value=3.0), nn.Pad((1, 1), "reflect"), nn.Pad((-1, -2))), IMAGE),
    "SamePad": (lambda: seq(nn.SamePad(3, 2), nn.Conv2d(3, kernel_size=3, stride=2)), IMAGE),
    "SameAvgPool": (lambda: seq(nn.SameAvgPool((3, 4), 2)), IMAGE),
    "Flip": (lambda: seq(nn.Flip()), SEQUENCE),
    "RepeatVector": (lambda: seq(nn.RepeatVector(4)), FEATURES),
    "Rescaling": (lambda: seq(nn.Rescaling(0.5, [*range(8)])), FEATURES),
    "TimeDistributed": (lambda: seq(nn.TimeDistributed(seq(nn.Linear(5), nn.Tanh()))), SEQUENCE),
    "Dot": (lambda: nn.Dot(2, normalize=True), (SEQUENCE, (None, 5, 8))),
    "Dot of vectors": (lambda: nn.Dot(1), (FEATURES, FEATURES)),
    "Graph": (graph, None),
}

STEPS, TIME_FIRST = (None, None, 8), (None, 5, 8)
MASKED = {
    "masked LSTM": (lambda: recurrent(nn.LSTM(5, batch_first=True), nn.Linear(2)), STEPS),
    "masked sequences": (
        lambda: recurrent(
            nn.Linear(6), nn.LSTM(6, 5, 2, batch_first=True, bidirectional=True, return_sequences=True), nn.LayerNorm(),
            nn.GRU(4, batch_first=True, return_sequences=True), nn.ReLU(), nn.RNN(3, batch_first=True),
        ),
        STEPS,
    ),
    "masked by a value": (
        lambda: recurrent(nn.GRU(5, batch_first=True, return_sequences=True), first=lambda: nn.Masking(-1.0)),
        STEPS,
    ),
    "masked, time first": (lambda: recurrent(nn.LSTM(8, 5, 2), nn.Linear(2)), TIME_FIRST),
    "masked both ways": (
        lambda: recurrent(
            nn.Bidirectional(nn.LSTM(5, batch_first=True, return_sequences=True), merge_mode="sum"),
            nn.Bidirectional(nn.GRU(4, batch_first=True)),
        ),
        STEPS,
    ),
    "masked gates": (
        lambda: recurrent(
            nn.GatedLSTM(6, 5, activation="softsign", batch_first=True, return_sequences=True),
            nn.GatedGRU(5, 4, activation="relu", reset_after=False, batch_first=True),
        ),
        (None, None, 6),
    ),
    "masked words": (
        lambda: seq(words(), nn.LSTM(5, batch_first=True, return_sequences=True), nn.Linear(3)), (None, None)
    ),
    "masked words, nested": (
        lambda: seq(
            seq(words(), nn.Residual(seq(nn.LSTM(4, batch_first=True, return_sequences=True)))), nn.Flip(1),
            nn.Parallel(nn.LSTM(5, batch_first=True), nn.GRU(4, batch_first=True)),
        ),
        (None, None),
    ),
    "masked mean": (
        lambda: recurrent(nn.Linear(4), nn.ChannelsLast(nn.GlobalAvgPool1d()), nn.Flatten(), nn.Linear(2)), STEPS
    ),
    "masked largest": (
        lambda: seq(words(), nn.Linear(6), nn.ChannelsLast(nn.GlobalMaxPool1d()), nn.Flatten()), (None, None)
    ),
    "masked attention": (
        lambda: recurrent(nn.MultiHeadAttention(8, 2), nn.ChannelsLast(nn.GlobalMaxPool1d()), nn.Flatten()), STEPS
    ),
    "masked attention, time first": (
        lambda: recurrent(nn.MultiHeadAttention(8, 2, batch_first=False), nn.GRU(8, 4)), TIME_FIRST
    ),
    "masked encoder": (
        lambda: seq(
            nn.Embedding(10, 8, mask_zero=True), nn.SinusoidalPositions(),
            nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 2),
            nn.ChannelsLast(nn.GlobalAvgPool1d()), nn.Flatten(),
        ),
        (None, 7),
    ),
    "masked, then no more": (  # where steps are others, or other axes, all of them count
        lambda: recurrent(
            nn.ChannelsLast(nn.Conv1d(5, kernel_size=3)), nn.GRU(6, batch_first=True, return_sequences=True),
            nn.Permute((0, 2, 1)), nn.LSTM(5, 4, batch_first=True),
        ),
        (None, 7, 8),
    ),
    "masked Graph": (drawn, None),
    "a mask as an input": (told, None),
    "masked decoder": (translator, None),
}  # fmt: skip
MODELS |= MASKED


def made(name):
    """The model, built, and batches of another size than it is exported for."""
    factory, inputs = MODELS[name]
    cr.manual_seed(len(name))
    model = factory()
    given = model.input_shapes if inputs is None else inputs
    each = given if isinstance(given[0], tuple) else (given,)
    dtypes = model.input_dtypes if isinstance(model, nn.Graph) else [model.input_dtype()] * len(each)
    size = 7 if name in MASKED else 3
    batches = []
    for shape, dtype in zip(each, dtypes, strict=True):
        sizes = tuple((5 if axis == 0 else size) if n is None else n for axis, n in enumerate(shape))
        batches.append(cr.randint(1, 10, sizes) if dtype == "int64" else cr.randn(*sizes))
        if name in MASKED and sizes[1] > 1:  # not a state
            batches[-1] = padded(name, batches[-1], dtype)
    model.eval()
    model(*batches)
    return model, inputs, batches


def padded(name, x, dtype):
    """Sequences of which one is whole; others end in padding, begin with it, have a gap, are nothing else."""
    array, value = x.numpy().copy(), -1 if "value" in name else 0
    steps = array.swapaxes(0, 1) if "time first" in name else array
    steps[1, 4:], steps[2, :3], steps[3, 2:5], steps[4] = value, value, value, value
    if dtype == "bool":
        return cr.tensor(steps != 0)
    return cr.tensor(array)


def tensors(value):
    """All tensors of what a model gives."""
    return [one for v in value for one in tensors(v)] if isinstance(value, tuple) else [value]
