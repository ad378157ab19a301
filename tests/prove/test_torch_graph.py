"""Graphs, masks, and the layers beside plain convolutions mean what PyTorch means. Runs where PyTorch is installed."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule import Tensor, grad, nn

torch = pytest.importorskip("torch")
T = torch.nn
F = T.functional
R = np.random.default_rng(0)


def weights(y):
    return np.cos(np.arange(np.prod(y.shape))).reshape(y.shape)


def compare(ours, theirs, arrays, parameters=(), rtol=1e-10):
    """Values and gradients, of the arrays and of parameters (ours, theirs), in float64."""
    xs, ts = [Tensor(a, requires_grad=True) for a in arrays], [torch.tensor(a, requires_grad=True) for a in arrays]
    y, t = ours(*xs), theirs(*ts)
    np.testing.assert_allclose(y.detach().numpy(), t.detach().numpy(), rtol=rtol, atol=1e-12)
    found = grad((y * Tensor(weights(y))).sum(), [*xs, *(p for p, _ in parameters)])
    wanted = torch.autograd.grad((t * torch.tensor(weights(t))).sum(), [*ts, *(p for _, p in parameters)])
    for g, w in zip(found, wanted, strict=True):
        np.testing.assert_allclose(g.numpy(), w.numpy().reshape(g.shape), rtol=rtol * 10, atol=1e-11)


def give(ours, theirs):
    """Their parameters the values of ours, in order; pairs of them."""
    pairs = [*zip(ours.parameters(), theirs.parameters(), strict=True)]
    with torch.no_grad():
        for p, q in pairs:
            q.copy_(torch.tensor(p.detach().numpy()).reshape(q.shape))
    return pairs


class Skips(T.Module):
    """A convolution, two residual blocks, two heads of one image and one vector."""

    def __init__(self):
        super().__init__()
        self.first = T.Conv2d(2, 4, 3, padding=1)
        self.a, self.b = T.Conv2d(4, 4, 3, padding=1), T.Conv2d(4, 4, 3, padding=1)
        self.of_vector, self.last = T.Linear(3, 4), T.Linear(8, 2)

    def forward(self, image, vector):
        h = F.relu(self.first(image))
        for conv in (self.a, self.b):
            h = F.relu(h + conv(h) * 0.5)
        return self.last(torch.cat([h.mean((2, 3)), torch.tanh(self.of_vector(vector))], 1))


def test_a_graph_of_skip_connections_and_two_inputs():
    image, vector = nn.Input((2, 5, 6)), nn.Input((3,))
    h = nn.ReLU()(nn.Conv2d(4, kernel_size=3, padding=1)(image))
    for _ in range(2):
        h = nn.ReLU()(h + nn.Conv2d(4, kernel_size=3, padding=1)(h) * 0.5)
    both = nn.Merge("concat")(nn.Flatten()(nn.GlobalAvgPool2d()(h)), nn.Tanh()(nn.Linear(4)(vector)))
    model = nn.Graph([image, vector], nn.Linear(2)(both)).to("float64")
    theirs = Skips().double()
    compare(model, theirs, [R.standard_normal((3, 2, 5, 6)), R.standard_normal((3, 3))], give(model, theirs))


@pytest.mark.parametrize("multiplier", [1, 3])
@pytest.mark.parametrize("options", [{}, {"stride": 2, "padding": 1}, {"padding": "same", "dilation": 2}])
def test_separable_and_depthwise_convolutions(multiplier, options):
    ours = nn.SeparableConv2d(4, 5, 3, depth_multiplier=multiplier, dtype="float64", **options)
    depthwise = T.Conv2d(4, 4 * multiplier, 3, groups=4, bias=False, **options)
    theirs = T.Sequential(depthwise, T.Conv2d(4 * multiplier, 5, 1)).double()
    compare(ours, theirs, [R.standard_normal((2, 4, 9, 8))], give(ours, theirs))


@pytest.mark.parametrize("size", [1, 3, 4, 7, (None, 2), (2, 9), (9, 9)])
def test_adaptive_max_pool_tells_where(size):
    x = R.standard_normal((2, 3, 7, 8))
    y, at = nn.AdaptiveMaxPool2d(size, return_indices=True)(Tensor(x))
    t, where = T.AdaptiveMaxPool2d(size, return_indices=True)(torch.tensor(x))
    np.testing.assert_array_equal(y.numpy(), t.numpy())
    np.testing.assert_array_equal(at.numpy(), where.numpy())
    if not isinstance(size, tuple):
        y, at = nn.AdaptiveMaxPool1d(size, return_indices=True)(Tensor(x[:, :, 0]))
        t, where = T.AdaptiveMaxPool1d(size, return_indices=True)(torch.tensor(x[:, :, 0]))
        np.testing.assert_array_equal(y.numpy(), t.numpy())
        np.testing.assert_array_equal(at.numpy(), where.numpy())
    compare(lambda v: nn.AdaptiveMaxPool2d(size, True)(v)[0], T.AdaptiveMaxPool2d(size), [x])


@pytest.mark.parametrize(
    "options", [{"stride": 2}, {"stride": 3, "padding": 1, "dilation": 2}, {"stride": (2, 3), "groups": 2}]
)
def test_transposed_convolutions_of_an_output_size(options):
    ours, theirs = (
        nn.ConvTranspose2d(4, 6, 3, dtype="float64", **options),
        T.ConvTranspose2d(4, 6, 3, **options).double(),
    )
    pairs, x = give(ours, theirs), R.standard_normal((2, 4, 5, 4))
    least = np.array(theirs(torch.tensor(x)).shape[2:])
    strides = np.broadcast_to(options["stride"], 2)
    for size in (least, least + 1, least + strides - 1):
        size = [int(n) for n in size]
        compare(lambda v, s=size: ours(v, output_size=s), lambda v, s=size: theirs(v, output_size=s), [x], pairs)
    for size in (least - 1, least + strides):
        with pytest.raises(ValueError, match="output"):
            theirs(torch.tensor(x), output_size=[int(n) for n in size])
        with pytest.raises(ValueError, match="output_size"):
            ours(Tensor(x), output_size=[int(n) for n in size])


@pytest.mark.parametrize("average", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
def test_the_weights_of_attention(average, batch_first):
    ours = nn.MultiHeadAttention(8, 2, batch_first=batch_first, dtype="float64")
    theirs = T.MultiheadAttention(8, 2, batch_first=batch_first).double()
    with torch.no_grad():
        for kind in ("weight", "bias"):
            packed = [getattr(ours, f"{p}_proj").state_dict()[kind].numpy() for p in "qkv"]
            getattr(theirs, f"in_proj_{kind}").copy_(torch.tensor(np.concatenate(packed)))
            getattr(theirs.out_proj, kind).copy_(torch.tensor(ours.out_proj.state_dict()[kind].numpy()))
    q, k = R.standard_normal((3, 5, 8)), R.standard_normal((3, 6, 8))
    counts = np.arange(6) < np.array([[6], [2], [4]])
    if not batch_first:
        q, k = q.swapaxes(0, 1).copy(), k.swapaxes(0, 1).copy()
    options = {"need_weights": True, "average_attn_weights": average}
    for part in (0, 1):
        compare(
            lambda a, b, part=part: ours(a, b, key_mask=Tensor(counts), **options)[part],
            lambda a, b, part=part: theirs(a, b, b, key_padding_mask=torch.tensor(~counts), **options)[part],
            [q, k],
        )


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("both_ways", [False, True])
def test_padding_is_as_packed_sequences_are(kind, both_ways):
    lengths = [5, 2, 4]
    x = R.standard_normal((3, 5, 4))
    for row, n in zip(x, lengths, strict=True):
        row[n:] = 0.0
    layer = getattr(nn, kind)(4, 6, batch_first=True, return_sequences=True, bidirectional=both_ways, dtype="float64")
    model = nn.Sequential(nn.Masking(), layer)
    theirs = getattr(T, kind)(4, 6, batch_first=True, bidirectional=both_ways).double()

    def packed(v):
        packs = T.utils.rnn.pack_padded_sequence(v, lengths, batch_first=True, enforce_sorted=False)
        return T.utils.rnn.pad_packed_sequence(theirs(packs)[0], batch_first=True)[0]

    with torch.no_grad():
        for name, value in layer.state_dict().items():
            getattr(theirs, name).copy_(torch.tensor(value.numpy()))
    pairs = [(p, getattr(theirs, name)) for name, p in layer.parameters().items()]
    compare(model, packed, [x], pairs)


def test_a_masked_transformer_encoder():
    model = nn.Sequential(nn.Embedding(9, 8, mask_zero=True), nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0))
    model.to("float64")
    words = np.array([[3, 4, 1, 8, 2], [5, 6, 0, 0, 0], [7, 2, 1, 0, 0]])
    model(Tensor(words))
    theirs = T.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True).double()
    state = {k: torch.tensor(v.numpy()) for k, v in model[1].state_dict().items()}
    for kind in ("weight", "bias"):
        state[f"self_attn.in_proj_{kind}"] = torch.cat([state.pop(f"self_attn.{p}_proj.{kind}") for p in "qkv"])
    theirs.load_state_dict(state)
    y = model(Tensor(words)).detach().numpy()
    t = theirs(torch.tensor(model[0](Tensor(words)).detach().numpy()), src_key_padding_mask=torch.tensor(words == 0))
    np.testing.assert_allclose(y[words > 0], t.detach().numpy()[words > 0], rtol=1e-10, atol=1e-12)
