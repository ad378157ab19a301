"""The functional graph, and masks of steps through containers: oracles are the layers called by hand, and NumPy."""

import copy
import pickle

import numpy as np
import pytest

import chainrule as cr
from chainrule import Tensor, nn
from chainrule.domain.errors import ArgumentError, ArgumentTypeError, ShapeError

RNG = np.random.default_rng(0)
EXAMPLES = [(nn.Masking(), (2, 3, 4)), (nn.Merge("sum"), (2, 3))]


def data(*shape):
    return Tensor(RNG.standard_normal(shape))


def two_heads():
    x = nn.Input((6,), name="pixels")
    h = nn.ReLU()(nn.Linear(5)(x))
    h = h + nn.Linear(5)(h)
    return nn.Graph(x, {"digit": nn.Linear(3)(h), "parity": nn.Linear(2)(h)})


def test_a_skip_connection_and_two_heads_are_what_their_formula_says():
    model, x = two_heads().to("float64"), data(4, 6)
    w = {name: value.numpy() for name, value in model.state_dict().items()}

    def linear(i, v):
        return v @ w[f"linear_{i}.weight"].T + w[f"linear_{i}.bias"]

    h = np.maximum(linear(1, x.numpy()), 0)
    h = h + linear(2, h)
    for found, i in zip(model(x), (3, 4), strict=True):
        np.testing.assert_allclose(found.detach().numpy(), linear(i, h), rtol=1e-12)
    assert (model.input_names, model.output_names) == (("pixels",), ("digit", "parity"))
    assert (model.input_shapes, model.input_dtypes) == (((None, 6),), ("float32",))
    assert all(np.array_equal(a, b) for a, b in zip(model({"pixels": x}), model(x), strict=True))


def test_its_gradient():
    x = nn.Input((3,))
    h = nn.Linear(3)(x)
    model = nn.Graph(x, nn.Tanh()(h * x - 2.0 / (1.0 + h * h))[:, None] @ (nn.Linear(3)(-h) ** 2)[:, :, None]).to(
        "float64"
    )
    assert cr.gradcheck(lambda v: model(v), [data(3, 3).requires_grad_()])


def test_operators_and_indices():
    a, b = nn.Input((4,)), nn.Input((4,))
    outputs = [
        a + b,
        a - b,
        a * b,
        a / b,
        a @ b[:, :, None],
        a**2,
        -a,
        1 - a,
        2 + a,
        3 * a,
        1 / a,
        a[:, 1:3],
        a[..., -1],
    ]
    model, x, y = nn.Graph([a, b], outputs), data(4, 4), data(4, 4)
    p, q = x.numpy(), y.numpy()
    wanted = [
        p + q,
        p - q,
        p * q,
        p / q,
        p @ q[:, :, None],
        p**2,
        -p,
        1 - p,
        2 + p,
        3 * p,
        1 / p,
        p[:, 1:3],
        p[..., -1],
    ]
    for m in (model, nn.create(nn.describe(model))):
        for found, right in zip(m(x, y), wanted, strict=True):
            np.testing.assert_allclose(found.numpy(), right, rtol=1e-12)


def shared():
    """Two inputs through one encoder, compared."""
    encoder = nn.Sequential(nn.Linear(4), nn.Tanh())
    a, b = nn.Input((3,), name="left"), nn.Input((3,), name="right")
    return nn.Graph([a, b], nn.Linear(1)(nn.Merge("concat")(encoder(a, name="encoder"), encoder(b))))


def residual():
    x = nn.Input((2, 6, 6))
    h = nn.Conv2d(4, kernel_size=3, padding=1)(x)
    for _ in range(2):
        h = nn.ReLU()(h + nn.BatchNorm2d()(nn.Conv2d(4, kernel_size=3, padding=1)(h)))
    return nn.Graph(x, nn.Linear(2)(nn.Flatten()(nn.GlobalAvgPool2d()(h))))


def translator():
    """An encoder's state begins a decoder's: arguments by name, tuples, indices."""
    source, target = nn.Input((None,), "source", dtype="int64"), nn.Input((None,), "target", dtype="int64")
    coded = nn.LSTM(5, batch_first=True, return_state=True)(nn.Embedding(9, 4)(source))
    decoder = nn.LSTM(5, batch_first=True, return_sequences=True)
    h = decoder(nn.Embedding(7, 4)(target), state=(coded[1][0], coded[1][1]))
    return nn.Graph([source, target], nn.Linear(7)(h))


def attention():
    queries, memory = nn.Input((3, 4)), nn.Input((5, 4))
    return nn.Graph((queries, memory), nn.MultiHeadAttention(4, 2)(queries, memory, is_causal=False) + queries)


def ids(*shape):
    return Tensor(RNG.integers(0, 7, shape))


MODELS = {
    "two heads": (two_heads, lambda: [data(4, 6)]),
    "shared": (shared, lambda: [data(4, 3), data(4, 3)]),
    "residual": (residual, lambda: [data(4, 2, 6, 6)]),
    "translator": (translator, lambda: [ids(4, 6), ids(4, 3)]),
    "attention": (attention, lambda: [data(2, 3, 4), data(2, 5, 4)]),
    "inside": (lambda: nn.Sequential(residual(), nn.ReLU(), nn.Linear(3)), lambda: [data(4, 2, 6, 6)]),
}


@pytest.mark.parametrize("name", MODELS)
def test_they_learn_and_are_described_saved_and_copied(name, tmp_path):
    make, inputs = MODELS[name]
    model, xs = make(), [x.float() if x.is_floating else x for x in inputs()]

    def outputs(m):
        y = m(*xs)
        return y if isinstance(y, tuple) else (y,)

    optimizer, losses = None, []
    for _ in range(6):
        loss = sum(((y - 0.5) ** 2).mean() for y in outputs(model))
        optimizer = optimizer or cr.optim.Adam(model.parameters(), lr=0.02)
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is not None for p in model.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    model.eval().save(tmp_path / "model.safetensors")
    for again in (cr.load(tmp_path / "model.safetensors"), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        for found, right in zip(outputs(again), outputs(model), strict=True):
            np.testing.assert_array_equal(found.numpy(), right.numpy())
        assert nn.describe(again) == nn.describe(model) and repr(again) == repr(model)
        assert len(again.parameters()) == len(model.parameters())


def test_the_weights_of_a_layer_called_twice_are_one():
    model = shared()
    assert [*model.state_dict()] == ["encoder.0.weight", "encoder.0.bias", "linear_1.weight", "linear_1.bias"]
    a, b = data(4, 3).float(), data(4, 3).float()
    encoder, last = model["encoder"], model["linear_1"]
    np.testing.assert_array_equal(model(a, b).numpy(), last(cr.concat(encoder(a), encoder(b), axis=1)).numpy())


def test_layers_have_their_sizes_at_once_where_the_shapes_are_known():
    assert two_heads().is_built and residual().is_built and not translator().is_built
    model = translator().build()
    assert model.is_built and model.training and model["lstm_1"].training
    x = nn.Input((None, 4))
    assert nn.Graph(x, nn.Linear(3)(x)).build((None, 5, 4)).is_built


def test_layers_begin_as_suits_the_activation_that_follows():
    x = nn.Input((None,))
    first, second, third = nn.Linear(4), nn.Linear(4), nn.Linear(4)
    h = nn.ReLU()(nn.Dropout(0.1)(first(x)))
    model = nn.Graph(x, nn.Sequential(nn.LeakyReLU(0.1), nn.Linear(2))(second(h)) + nn.Linear(2)(third(h) + h))
    inits = [str(layer.weight.pending.init) for layer in (first, second, third)]
    assert inits == ["kaiming_uniform", "kaiming_uniform(negative_slope=0.1)", "xavier_uniform"], model


def test_what_no_output_needs_is_no_part_of_it():
    x = nn.Input((3,))
    h = nn.Linear(2)(x)
    nn.Linear(7)(h)
    assert len(nn.Graph(x, h).parameters()) == 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x, y: nn.Graph([y, x], -y), r"no output depends on Input\(\(3,\), name='x'\)"),
        (lambda x, y: nn.Graph(x, x + y), r"need Input\(\(2,\), name='y'\), which is not among the inputs"),
        (lambda x, y: nn.Graph([x, x], x + 1), "is twice among the inputs"),
        (lambda x, y: nn.Graph(x + 1, x + 2), r"inputs are Node\(add\), expected nn.Input"),
        (lambda x, y: nn.Graph(x, nn.Linear(2)), r"outputs are Linear.*expected what layers make"),
        (lambda x, y: nn.Graph(x, []), "expected what layers make"),
        (lambda x, y: nn.Input((-1,)), r"the shape is \(-1,\)"),
        (lambda x, y: nn.Graph(x, nn.Linear(3)(x, name="a.b")), "'a.b' cannot be the name"),
        (lambda x, y: nn.Graph(x, nn.ReLU()(nn.Linear(3)(x, name="a"), name="a")), "cannot be named 'a'"),
        (lambda x, y: nn.Graph([x, y], x + y), r"^add_1: \[add\]"),
        (lambda x, y: nn.Graph(x, nn.Linear(4, 2)(x)), r"linear_1: \[linear\] x has 3 features"),
        (lambda x, y: nn.Graph(x, nn.Linear(2)(x))(cr.ones(2, 5)), r"input x has shape \(2, 5\), expected \(None, 3\)"),
        (lambda x, y: nn.Graph(x, nn.Linear(2)(x))(cr.ones(2, 3), cr.ones(2, 3)), "got 2 inputs, but it takes 1: x"),
        (lambda x, y: nn.Graph(x, nn.Linear(2)(x))({"X": cr.ones(2, 3)}), "unknown input of the Graph 'X'"),
        (lambda x, y: nn.Graph(x, nn.Linear(2)(x))([1.0]), "the input x is a list, expected a tensor"),
        (
            lambda x, y: nn.Graph(x, nn.Linear(2)(x))["linear1"],
            "unknown layer of the Graph 'linear1': did you mean 'linear_1'",
        ),
        (lambda x, y: x + cr.ones(3), "nodes and numbers, not with a Tensor"),
        (lambda x, y: nn.ReLU()(x, alpha=cr.ones(1)), "an argument of ReLU of a node is a Tensor"),
        (lambda x, y: cr.relu(x), r"functions cannot take it: .* nn.ReLU\(\)"),
        (lambda x, y: cr.concat([x, y]), r"functions cannot take it"),
        (lambda x, y: x.mean(), "a node has no values yet, and no 'mean'"),
        (lambda x, y: [*x], r"cannot be unpacked: take node\[0\]"),
        (lambda x, y: 1 if x else 2, "a Graph cannot decide"),
    ],
)
def test_mistakes_are_told(make, message):
    x, y = nn.Input((3,), name="x"), nn.Input((2,), name="y")
    with pytest.raises((ArgumentError, ArgumentTypeError, ShapeError, AttributeError), match=message):
        make(x, y)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text["config"].pop("steps"),
        lambda text: text["config"].update(inputs={}),
        lambda text: text["config"]["outputs"].update(digit="nowhere"),
        lambda text: text["config"]["steps"][0].update(layer="linear_9"),
        lambda text: text["config"]["steps"][0].update(layer=None, operator="system"),
        lambda text: text["config"]["steps"][0].update(arguments=[{"value": "linear_4"}]),
        lambda text: text["config"]["steps"].append(text["config"]["steps"][0]),
    ],
)
def test_a_description_that_describes_no_graph_is_told(spoil):
    text = nn.describe(two_heads())
    assert nn.describe(nn.create(text)) == text
    spoil(text)
    with pytest.raises(ArgumentError):
        nn.create(text)


# ---- masks of steps


def padded(batch_first=True):
    """Sequences of lengths 5, 2, 4, one by one and padded with zeros."""
    each = [RNG.standard_normal((n, 3)) + 0.1 for n in (5, 2, 4)]
    x = np.zeros((3, 5, 3))
    for row, sequence in zip(x, each, strict=True):
        row[: len(sequence)] = sequence
    return each, Tensor(x if batch_first else x.swapaxes(0, 1).copy())


def functional(*layers):
    x = h = nn.Input((None, 3))
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


def test_a_graph_is_fitted_shown_and_counted():
    model, x = two_heads(), data(40, 6).float()
    digit, parity = Tensor(np.arange(40) % 3), Tensor(np.arange(40) % 2)
    model.compile({"digit": "cross_entropy", "parity": "cross_entropy"}, cr.optim.Adam(model.parameters(), lr=0.05))
    history = model.fit(x, {"digit": digit, "parity": parity}, epochs=4, batch_size=10, verbose=0)
    assert history["loss"][-1] < history["loss"][0]
    assert [y.shape for y in model.predict(x)] == [(40, 3), (40, 2)]
    shown = model.summary()
    assert shown.total == sum(p.size for p in model.parameters()) == 5 * 7 + 5 * 6 + 3 * 6 + 2 * 6
    assert "linear_3" in str(shown) and "(None, 3)" in str(shown)


def test_known_vectors_are_used_as_they_are():
    vectors = RNG.standard_normal((5, 3))
    layer = nn.Embedding.from_pretrained(vectors, mask_zero=True)
    assert layer.dtype == "float64" and not layer.weight.requires_grad and layer.mask_zero
    np.testing.assert_array_equal(layer(Tensor([[4, 0]])).numpy(), vectors[[[4, 0]]])
    assert nn.Embedding.from_pretrained(vectors, freeze=False).weight.requires_grad
    with pytest.raises(ShapeError, match=r"the vectors have shape \(5,\)"):
        nn.Embedding.from_pretrained(vectors[:, 0])


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
