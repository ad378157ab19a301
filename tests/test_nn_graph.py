"""The functional graph: oracles are the layers called by hand, and NumPy."""

import copy
import pickle

import numpy as np
import pytest

import chainrule as cr
from chainrule import Tensor, nn
from chainrule.domain.errors import ArgumentError, ArgumentTypeError, ShapeError

RNG = np.random.default_rng(0)
EXAMPLES = [(nn.Merge("sum"), (2, 3))]


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


@nn.register_function
def further_apart(a, b, power=1):
    return (a - b) ** power


@nn.register
class Gate(nn.Module):
    """A module of one's own, of two inputs."""

    def __init__(self, width):
        self.fc = nn.Linear(width)

    def forward(self, x, by):
        return x * cr.sigmoid(self.fc(by))


def own():
    a, b = nn.Input((4,)), nn.Input((4,))
    h = nn.Lambda("further_apart", {"power": 2})(Gate(4)(a, b), b)
    return nn.Graph([a, b], {"squares": h, "score": nn.Linear(1)(h)})


def ids(*shape):
    return Tensor(RNG.integers(0, 7, shape))


MODELS = {
    "two heads": (two_heads, lambda: [data(4, 6)]),
    "shared": (shared, lambda: [data(4, 3), data(4, 3)]),
    "residual": (residual, lambda: [data(4, 2, 6, 6)]),
    "translator": (translator, lambda: [ids(4, 6), ids(4, 3)]),
    "attention": (attention, lambda: [data(2, 3, 4), data(2, 5, 4)]),
    "own": (own, lambda: [data(5, 4), data(5, 4)]),
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


def test_nodes_have_shapes_and_the_layers_do_not_notice():
    steps, image = nn.Input((None, 3)), nn.Input((1, 8, 8))
    states = nn.LSTM(5, batch_first=True, return_sequences=True)(steps)
    linear = nn.Linear(4)
    flat = linear(nn.Flatten()(nn.Conv2d(2, kernel_size=3)(image)))
    cr.manual_seed(0)
    assert (steps.shape, image.shape) == ((None, None, 3), (None, 1, 8, 8))
    assert (states.shape, (states * 2.0)[:, 0].shape, flat.shape) == ((None, None, 5), (None, 5), (None, 4))
    assert not linear.weight.is_built
    drawn = cr.rand(3).numpy()
    cr.manual_seed(0)
    np.testing.assert_array_equal(cr.rand(3).numpy(), drawn)


def test_a_node_of_several_values_has_no_one_shape():
    pair = nn.LSTM(5, batch_first=True, return_state=True)(nn.Input((4, 3)))
    assert pair[0].shape == (None, 5)
    with pytest.raises(ArgumentTypeError, match=r"several values and has no one shape: take node\[0\]"):
        _ = pair.shape
