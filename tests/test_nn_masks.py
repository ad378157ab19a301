"""Masks of steps, and how containers hand them on: padded sequences are as each of them alone."""

import numpy as np
import pytest
from tests.listeners import Heard

import chainrule as cr
from chainrule import Tensor, nn
from chainrule.domain.errors import ShapeError
from chainrule.modes import listen

RNG = np.random.default_rng(0)
EXAMPLES = [(nn.Masking(), (2, 3, 4))]


def data(*shape):
    return Tensor(RNG.standard_normal(shape))


def padded(batch_first=True):
    """Sequences of lengths 5, 2, 4, one by one and padded with zeros."""
    each = [RNG.standard_normal((n, 3)) + 0.1 for n in (5, 2, 4)]
    x = np.zeros((3, 5, 3))
    for row, sequence in zip(x, each, strict=True):
        row[: len(sequence)] = sequence
    return each, Tensor(x if batch_first else x.swapaxes(0, 1).copy())


def functional(*layers, shape=(None, 3)):
    x = h = nn.Input(shape)
    for layer in layers:
        h = layer(h)
    return nn.Graph(x, h)


def encoder():
    return nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0)


RECURRENT = {
    "lstm": lambda f: [nn.LSTM(4, batch_first=f)],
    "stack": lambda f: [
        nn.GRU(4, batch_first=f, return_sequences=True),
        nn.ReLU(),
        nn.LayerNorm(),
        nn.RNN(4, batch_first=f),
    ],
    "both ways": lambda f: [
        nn.Bidirectional(nn.LSTM(4, batch_first=f, return_sequences=True)),
        nn.GRU(4, batch_first=f),
    ],
    "nested": lambda f: [
        nn.Sequential(nn.Linear(3), nn.Residual(nn.LSTM(3, batch_first=f, return_sequences=True))),
        nn.Parallel(nn.LSTM(4, batch_first=f), nn.GRU(3, batch_first=f)),
    ],
}
POOLED = {
    "pooled": lambda f: [nn.ChannelsLast(nn.GlobalAvgPool1d()), nn.Flatten()],
    "largest": lambda f: [nn.Linear(4), nn.ChannelsLast(nn.GlobalMaxPool1d()), nn.Flatten()],
    "attention": lambda f: [nn.Linear(4), nn.MultiHeadAttention(4, 2), nn.ChannelsLast(nn.GlobalAvgPool1d()), nn.Flatten()],
    "transformer": lambda f: [
        nn.Linear(4), nn.TransformerEncoder(encoder(), 2), encoder(), nn.ChannelsLast(nn.GlobalAvgPool1d()), nn.Flatten()
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    "container", [nn.Sequential, functional, lambda *layers: nn.Sequential(nn.Sequential(*layers))]
)
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("name", [*RECURRENT, *POOLED])
def test_padding_changes_nothing(name, batch_first, container):
    if name in POOLED and not batch_first:
        return
    layers = {**RECURRENT, **POOLED}[name](batch_first)
    model = container(nn.Masking(), *layers, nn.Linear(2))
    each, x = padded(batch_first)
    model(x)
    model.to("float64")
    y, gradients = model(x), []
    for found, sequence in zip(y, each, strict=True):
        alone = Tensor(sequence[None] if batch_first else sequence[:, None])
        np.testing.assert_allclose(found.detach().numpy(), model(alone)[0].detach().numpy(), rtol=1e-9, atol=1e-12)
        gradients.append(cr.grad(model(alone).sum(), [*model.parameters()]))
    for total, *parts in zip(cr.grad(y.sum(), [*model.parameters()]), *gradients, strict=True):
        np.testing.assert_allclose(total.numpy(), sum(p.numpy() for p in parts), rtol=1e-8, atol=1e-10)
    without = nn.Sequential(*layers, model[-1]) if container is nn.Sequential else None
    if without is not None:
        assert not np.allclose(without(x).detach().numpy(), y.detach().numpy(), atol=1e-6)


@pytest.mark.parametrize("container", [nn.Sequential, functional])
def test_training_on_padded_sequences_is_training_on_each(container):
    """One step of fit on the padded batch is the step of the gradients of the sequences alone."""
    cr.manual_seed(0)
    model = container(nn.Masking(), nn.LSTM(4, batch_first=True), nn.Linear(3), nn.Softmax())
    each, x = padded()
    model.build(x.float()).to("float64")
    labels, before = [2, 0, 1], {name: value.numpy().copy() for name, value in model.state_dict().items()}
    probabilities = cr.concat([model(Tensor(s[None])) for s in each])
    loss = -sum(probabilities[i, label].log() for i, label in enumerate(labels)) / 3
    gradients = dict(zip(before, cr.grad(loss, [*model.parameters()]), strict=True))
    model.compile("cross_entropy", cr.optim.SGD(model.parameters(), lr=0.5))
    history = model.fit(x, Tensor(labels), batch_size=3, shuffle=False, verbose=0)
    np.testing.assert_allclose(history["loss"][0], loss.item(), rtol=1e-9)
    for name, value in model.state_dict().items():
        np.testing.assert_allclose(value.numpy(), before[name] - 0.5 * gradients[name].numpy(), rtol=1e-8, atol=1e-11)
    np.testing.assert_allclose(model.predict(x).numpy(), model(x).detach().numpy(), rtol=1e-9)


def test_a_mask_may_be_given_and_goes_only_as_far_as_the_steps():
    each, x = padded()
    mask = Tensor(x.numpy().any(-1))
    layer = nn.LSTM(4, batch_first=True, return_sequences=True)
    model = nn.Sequential(nn.Linear(3), nn.Residual(nn.Linear(3)), layer)
    model(x.float())
    model.to("float64")
    y, after = model(x, mask=mask, masks=True)
    np.testing.assert_allclose(y.detach().numpy(), layer(model[:2](x), mask=mask).detach().numpy(), rtol=1e-12)
    assert after is mask
    for last in (nn.Flatten(), nn.Permute((0, 2, 1)), nn.Reshape((-1,)), nn.LSTM(5, batch_first=True)):
        square = cr.ones(2, 3, 3)
        assert nn.Sequential(last)(square, mask=cr.ones(2, 3, dtype="bool"), masks=True)[1] is None
    assert nn.Sequential(nn.Linear(2))(x.float(), masks=True)[1] is None


@nn.register
class Tagger(nn.Sequential):
    """A Sequential of one's own, that takes no mask."""

    def forward(self, x):
        return super().forward(x) * 2.0


def test_masks_pass_by_what_does_not_know_them():
    words = Tensor([[3, 4, 0], [5, 0, 0]])
    model = nn.Sequential(
        nn.Embedding(6, 4, mask_zero=True), Tagger(nn.Linear(4), nn.Tanh()), nn.LSTM(3, batch_first=True)
    )
    y = model(words).detach().numpy()
    for row, n in enumerate((2, 1)):
        np.testing.assert_allclose(model(words[row : row + 1, :n]).detach().numpy()[0], y[row], rtol=1e-5, atol=1e-6)
    assert nn.Embedding(6, 4).compute_mask(words) is None
    assert nn.Embedding(6, 4, mask_zero=True).compute_mask(words).tolist() == [
        [True, True, False],
        [True, False, False],
    ]


def test_pooling_over_no_steps_gives_zeros():
    x, mask = data(2, 3, 4), Tensor([[True, False, True, False], [False] * 4])
    wanted = x.numpy()[0][:, [0, 2]]
    for layer, right in ((nn.GlobalAvgPool1d(), wanted.mean(-1)), (nn.GlobalMaxPool1d(), wanted.max(-1))):
        y = layer(x, mask=mask).numpy()[..., 0]
        np.testing.assert_allclose(y, [right, [0, 0, 0]], rtol=1e-12)
    with pytest.raises(ShapeError, match=r"write nn.ChannelsLast\(GlobalAvgPool1d\(\)\)"):
        nn.Sequential(nn.Masking(), nn.GlobalAvgPool1d())(x)


def test_a_mask_may_be_an_input():
    x, mask = nn.Input((None, 3), name="x"), nn.Input((None,), name="mask", dtype="bool")
    model = nn.Graph([x, mask], nn.Linear(2)(nn.LSTM(4, batch_first=True)(x, mask=mask)))
    each, steps = padded()
    counted = Tensor(steps.numpy().any(-1))
    y = model(steps.float(), counted).detach().numpy()
    for row, sequence in zip(y, each, strict=True):
        alone = Tensor(sequence[None]).float()
        np.testing.assert_allclose(
            row,
            model({"mask": cr.ones(1, len(sequence), dtype="bool"), "x": alone}).detach().numpy()[0],
            rtol=1e-5,
            atol=1e-6,
        )
    model.compile("cross_entropy", "sgd")
    model.fit((steps.float(), counted), Tensor([0, 1, 1]), verbose=0)
    sequential = nn.Sequential(nn.LSTM(4, batch_first=True), nn.Linear(2)).compile("cross_entropy", "sgd")
    sequential.fit((steps.float(), counted), Tensor([0, 1, 1]), verbose=0)


@pytest.mark.parametrize(
    "layers",
    [
        lambda: [
            nn.Masking(),
            nn.Bidirectional(nn.LSTM(4, batch_first=True, return_sequences=True)),
            nn.GRU(4, batch_first=True),
        ],
        lambda: [nn.Masking(), nn.Linear(4), encoder(), nn.ChannelsLast(nn.GlobalMaxPool1d()), nn.Flatten()],
        lambda: [
            nn.BatchNorm1d(momentum=None),
            nn.SeparableConv1d(3, kernel_size=2),
            nn.AlphaDropout(0.3),
            nn.Flatten(),
        ],
    ],
)
@pytest.mark.parametrize("container", [nn.Sequential, lambda *layers: functional(*layers, shape=(5, 3))])
def test_a_step_reads_nothing_back(layers, container):
    model, x = container(*layers(), nn.Linear(2)), data(4, 5, 3).float()
    for again in range(2):
        if again:
            with listen(Heard(forbids_reading=True)):
                (model(x) ** 2).mean().backward()
        else:
            (model(x) ** 2).mean().backward()


def test_a_memory_has_a_mask_of_its_own():
    """Of a decoder's two sequences each keeps its own padding, also where they are as long."""
    source, target = nn.Input((None,), "source", dtype="int64"), nn.Input((None,), "target", dtype="int64")
    memory, h = nn.Embedding(9, 4, mask_zero=True)(source), nn.Embedding(9, 4, mask_zero=True)(target)
    h = nn.MultiHeadAttention(4, 2)(nn.TransformerDecoderLayer(4, 2, 8, dropout=0.0)(h, memory), memory)
    pooled = nn.Flatten()(nn.ChannelsLast(nn.GlobalAvgPool1d())(h))
    model = nn.Graph(
        [source, target], nn.Linear(2)(nn.TransformerDecoder(nn.TransformerDecoderLayer(4, 2, 8, 0.0), 1)(h, memory))
    )
    short = nn.Graph([source, target], pooled)
    a, b = Tensor([[3, 4, 0, 0], [5, 0, 0, 0]]), Tensor([[2, 1, 7, 0], [6, 8, 0, 0]])
    for m in (model, short):
        together = m(a, b).detach().numpy()
        for row, (n, k) in enumerate(((2, 3), (1, 2))):
            alone = m(a[row : row + 1, :n], b[row : row + 1, :k]).detach().numpy()[0]
            found = together[row, :k] if m is model else together[row]
            np.testing.assert_allclose(found, alone, rtol=1e-4, atol=1e-6)


def test_the_mask_of_a_memory_is_not_that_of_the_query():
    query, memory = nn.Input((4, 3)), nn.Input((4, 3))
    attended = nn.MultiHeadAttention(3, 1)(query, nn.Masking()(memory))
    both = nn.Graph([query, memory], {"all": attended, "mean": nn.ChannelsLast(nn.GlobalAvgPool1d())(attended)})
    steps = Tensor(RNG.standard_normal((1, 4, 3)) * (np.arange(4)[:, None] < 2)).float()
    y, mean = both(data(1, 4, 3).float(), steps)
    np.testing.assert_allclose(mean.detach().numpy(), y.detach().numpy().mean(1, keepdims=True), rtol=1e-5)


def test_one_mask_among_merged_inputs_goes_on():
    x, places = nn.Input((None, 3)), nn.Input((None, 2))
    h = nn.Merge("concat", axis=2)(places, nn.Masking()(x))
    model = nn.Graph([x, places], nn.LSTM(4, batch_first=True)(h + h))
    each, steps = padded()
    beside = data(3, 5, 2).float()
    y = model(steps.float(), beside).detach().numpy()
    for row, s in enumerate(each):
        alone = model(Tensor(s[None]).float(), beside[row : row + 1, : len(s)]).detach().numpy()[0]
        np.testing.assert_allclose(y[row], alone, rtol=1e-5, atol=1e-6)
