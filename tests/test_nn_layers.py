"""Layers: what they compute (against NumPy), their sizes, their errors, and how Sequential initializes them."""

from __future__ import annotations

import math

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.domain.errors import ArgumentError, ArgumentTypeError, ShapeError

RNG = np.random.default_rng(0)


def array(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


# ---- linear


def test_linear_is_its_formula_on_any_number_of_axes():
    layer, x = nn.Linear(4, 3), array(2, 5, 4)
    expected = x.astype(np.float64) @ layer.weight.numpy().T.astype(np.float64)
    np.testing.assert_allclose(layer(cr.from_numpy(x)).numpy(), expected, atol=1e-5)
    assert layer.bias.tolist() == [0.0, 0.0, 0.0] and nn.Linear(4, 3, bias=False).bias is None
    assert layer(x).shape == (2, 5, 3) and layer(cr.from_numpy(x[0, 0])).shape == (3,)  # arrays are taken, too


@pytest.mark.parametrize(
    "make",
    [lambda: nn.Linear(10), lambda: nn.Linear(None, 10), lambda: nn.Linear(out_features=10)],
)
def test_linear_takes_its_input_size_from_the_first_input(make):
    layer = make()
    assert layer.in_features is None and layer.out_features == 10 and not layer.is_built
    assert layer(cr.zeros(2, 7)).shape == (2, 10) and layer.in_features == 7 and layer.weight.shape == (10, 7)
    with pytest.raises(ShapeError, match="x has 8 features .* expects 7"):
        layer(cr.zeros(2, 8))


@pytest.mark.parametrize(
    "kind, after",
    [("relu", nn.ReLU), ("sigmoid", nn.Sigmoid), ("tanh", nn.Tanh), ("gelu", nn.GELU), ("silu", nn.SiLU)],
)
def test_linear_with_an_activation_is_linear_and_the_activation(kind, after, tmp_path):
    together = nn.Sequential(nn.Linear(4, 3, activation=kind), nn.Linear(2))
    apart = nn.Sequential(nn.Linear(4, 3), after(), nn.Linear(2))
    assert repr(together[0]) == f"Linear(in_features=4, out_features=3, activation={kind})"
    x = cr.from_numpy(array(5, 4))
    for model in (together, apart):
        cr.manual_seed(0)
        model(x).square().sum().backward()
    for p, q in zip(together.parameters(), apart.parameters(), strict=True):
        assert p.tolist() == q.tolist() and p.grad.tolist() == q.grad.tolist(), "same draws, same gradients, bit by bit"
    together.save(tmp_path / "model.safetensors")
    again = cr.load(tmp_path / "model.safetensors")
    assert again[0].activation == kind and again(x).tolist() == apart(x).tolist()


def test_an_activation_of_linear_is_one_of_some_and_decides_how_it_begins():
    with pytest.raises(ArgumentError, match="unknown activation of Linear 'rleu': did you mean 'relu'"):
        nn.Linear(4, 3, activation="rleu")
    alone = nn.Linear(400, 300, activation="relu")
    assert np.abs(alone.weight.numpy()).max() > math.sqrt(6 / 700) * 1.2, "He, not Glorot"
    before_relu = nn.Sequential(nn.Linear(400, 300, activation="tanh"), nn.ReLU())
    assert np.abs(before_relu[0].weight.numpy()).max() < math.sqrt(6 / 700)


@pytest.mark.parametrize("bad", [0, -1, 2.5, True, "3"])
def test_sizes_are_positive_integers(bad):
    with pytest.raises(ArgumentError, match="Linear: out_features is .* expected a positive integer"):
        nn.Linear(4, bad)
    with pytest.raises(ArgumentError, match="in_features"):
        nn.Linear(bad, 4)
    with pytest.raises(ArgumentError, match="kernel_size is"):
        nn.Conv2d(1, 1, bad)


def test_layers_of_float64():
    layer = nn.Linear(2, 2, dtype="float64")
    assert layer(cr.ones(1, 2, dtype="float64")).dtype == "float64" and layer.bias.dtype == "float64"


# ---- convolution


def naive_conv(x, w, stride, pads, dilation, groups):
    (top, bottom), (left, right) = pads
    x = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (top, bottom), (left, right)))
    n, c, h, wd = x.shape
    k, cg, r, s = w.shape
    p = (h - dilation[0] * (r - 1) - 1) // stride[0] + 1
    q = (wd - dilation[1] * (s - 1) - 1) // stride[1] + 1
    y = np.zeros((n, k, p, q))
    for f in range(k):
        channels = slice(f // (k // groups) * cg, (f // (k // groups) + 1) * cg)
        for i in range(p):
            for j in range(q):
                rows = slice(i * stride[0], i * stride[0] + dilation[0] * (r - 1) + 1, dilation[0])
                columns = slice(j * stride[1], j * stride[1] + dilation[1] * (s - 1) + 1, dilation[1])
                y[:, f, i, j] = (x[:, channels, rows, columns] * w[f]).sum(axis=(1, 2, 3))
    return y


@pytest.mark.parametrize(
    ("options", "pads"),
    [
        ({"kernel_size": 3}, ((0, 0), (0, 0))),
        ({"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 0)}, ((1, 1), (0, 0))),
        ({"kernel_size": 3, "padding": "same", "dilation": 2}, ((2, 2), (2, 2))),
        ({"kernel_size": (2, 4), "padding": "same"}, ((0, 1), (1, 2))),
        ({"kernel_size": 2, "padding": "valid", "groups": 2, "bias": False}, ((0, 0), (0, 0))),
    ],
)
def test_conv2d_is_its_formula(options, pads):
    layer, x = nn.Conv2d(4, 6, **options), array(2, 4, 7, 8)
    if layer.bias is not None:
        layer.bias.load(array(6))
    w = layer.weight.numpy().astype(np.float64)
    y = layer(cr.from_numpy(x)).numpy()
    expected = naive_conv(x, w, layer.stride, pads, layer.dilation, layer.groups)
    if layer.bias is not None:
        expected += layer.bias.numpy()[:, None, None]
    np.testing.assert_allclose(y, expected, atol=1e-5)
    if options.get("padding") == "same":
        assert y.shape[2:] == x.shape[2:]


def test_conv2d_takes_its_channels_from_the_first_input():
    for layer in (nn.Conv2d(8, kernel_size=3, groups=2), nn.Conv2d(out_channels=8, kernel_size=3, groups=2)):
        assert layer.in_channels is None and "in_channels" not in repr(layer)
        assert layer(cr.zeros(1, 4, 5, 5)).shape == (1, 8, 3, 3)
        assert layer.in_channels == 4 and layer.weight.shape == (8, 2, 3, 3)


def test_conv2d_says_what_is_wrong():
    with pytest.raises(ArgumentError, match="kernel_size is missing: write Conv2d"):
        nn.Conv2d(1, 8)
    with pytest.raises(ArgumentError, match="did you mean 'same'"):
        nn.Conv2d(1, 8, 3, padding="sam")
    with pytest.raises(ArgumentError, match="'same' needs stride 1"):
        nn.Conv2d(1, 8, 3, stride=2, padding="same")
    with pytest.raises(ArgumentError, match="3 in_channels and 4 out_channels cannot be divided into 2 groups"):
        nn.Conv2d(3, 4, 3, groups=2)
    with pytest.raises(ArgumentError, match="stride is 0"):
        nn.Conv2d(3, 4, 3, stride=0)
    with pytest.raises(ArgumentError, match="padding_mode of Conv2d 'circle': did you mean 'circular'"):
        nn.Conv2d(3, 4, 3, padding_mode="circle")
    model = nn.Sequential(nn.Conv2d(3, 8, 3))
    with pytest.raises(ShapeError, match=r"^0: \[conv2d\] x has 2 channels .*expects 3"):
        model(cr.zeros(1, 2, 4, 4))
    with pytest.raises(ShapeError, match=r"^0: \[conv2d\]"):
        nn.Sequential(nn.Conv2d(8, kernel_size=3))(cr.zeros(4, 4))
    with pytest.raises(ArgumentError, match="3 channels, which 2 groups do not divide"):
        nn.Conv2d(8, kernel_size=3, groups=2)(cr.zeros(1, 3, 4, 4))


# ---- pooling, activations, shapes


def test_pooling():
    x = cr.from_numpy(array(2, 3, 6, 6))
    tiles = x.numpy().reshape(2, 3, 3, 2, 3, 2)
    np.testing.assert_array_equal(nn.MaxPool2d(2)(x).numpy(), tiles.max(axis=(3, 5)))
    np.testing.assert_allclose(nn.AvgPool2d(2)(x).numpy(), tiles.mean(axis=(3, 5)), atol=1e-6)
    np.testing.assert_allclose(nn.GlobalAvgPool2d()(x).numpy(), x.numpy().mean(axis=(2, 3), keepdims=True), atol=1e-6)
    assert nn.MaxPool2d(3, 2, 1)(x).shape == (2, 3, 3, 3) and nn.MaxPool2d(2, dilation=2)(x).shape == (2, 3, 2, 2)
    corner = cr.ones(1, 1, 2, 2)
    assert nn.AvgPool2d(2, padding=1)(corner).tolist()[0][0][0][0] == 0.25
    assert nn.AvgPool2d(2, padding=1, count_include_pad=False)(corner).tolist()[0][0][0][0] == 1.0
    with pytest.raises(ArgumentError, match="more than half"):
        nn.MaxPool2d(2, padding=2)
    with pytest.raises(ShapeError, match=r"\[global_avg_pool2d\] x has shape \(2, 3\)"):
        nn.GlobalAvgPool2d()(cr.zeros(2, 3))


@pytest.mark.parametrize(
    ("layer", "formula"),
    [
        (nn.ReLU(), lambda x: np.maximum(x, 0)),
        (nn.LeakyReLU(0.2), lambda x: np.where(x > 0, x, 0.2 * x)),
        (nn.Sigmoid(), lambda x: 1 / (1 + np.exp(-x))),
        (nn.Tanh(), np.tanh),
        (nn.GELU(), lambda x: x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))),
        (nn.Softmax(), lambda x: np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)),
        (nn.Softmax(0), lambda x: np.exp(x) / np.exp(x).sum(axis=0, keepdims=True)),
        (nn.Identity(), lambda x: x),
        (nn.Flatten(), lambda x: x),
    ],
    ids=lambda v: repr(v) if isinstance(v, nn.Module) else "",
)
def test_activations(layer, formula):
    x = array(5, 7) * 3
    np.testing.assert_allclose(layer(cr.from_numpy(x)).numpy(), formula(x.astype(np.float64)), atol=2e-6)


def test_flatten_between_axes():
    assert nn.Flatten(0)(cr.zeros(2, 3, 4)).shape == (24,) and nn.Flatten(1, 2)(cr.zeros(2, 3, 4, 5)).shape == (
        2,
        12,
        5,
    )
    assert nn.Flatten()(cr.zeros(0, 3, 4)).shape == (0, 12)


# ---- dropout


def test_dropout_keeps_its_share_and_the_mean():
    layer, x = nn.Dropout(0.3), cr.ones(100, 1000)
    y = layer(x).numpy()
    values, counts = np.unique(y, return_counts=True)
    np.testing.assert_allclose(values, [0, 1 / 0.7], rtol=1e-6)
    assert counts[0] / y.size == pytest.approx(0.3, abs=0.005)  # 3 σ = 0.0043
    columns = (y == 0).mean(axis=0)
    assert columns.std() == pytest.approx(math.sqrt(0.3 * 0.7 / 100), rel=0.15)  # independent from row to row


def test_dropout_depends_on_the_seed_and_on_the_call():
    def run(seed):
        cr.manual_seed(seed)
        return layer(cr.ones(50)).tolist(), layer(cr.ones(50)).tolist()

    layer = nn.Dropout(0.5)
    first, second = run(1)
    assert (first, second) == run(1) and first != second and run(2)[0] != first


def test_dropout_in_eval_mode_and_at_its_limits():
    x = cr.ones(3)
    assert nn.Dropout(0.5).eval()(x) is x and nn.Dropout(0.0)(x) is x and nn.Dropout(1.0)(x).tolist() == [0.0] * 3
    for p in (-0.1, 1.1):
        with pytest.raises(ArgumentError, match=f"p is {p}"):
            nn.Dropout(p)


def test_the_gradient_of_dropout_has_the_same_mask():
    x = cr.ones(100, requires_grad=True)
    y = nn.Dropout(0.5)(x)
    y.sum().backward()
    assert x.grad.tolist() == y.tolist()


# ---- batch normalization


def normalized(x, axes, eps=1e-5):
    m, v = x.mean(axis=axes, keepdims=True), x.var(axis=axes, keepdims=True)
    return (x - m) / np.sqrt(v + eps), m.ravel(), v.ravel()


@pytest.mark.parametrize(
    ("layer", "shape"),
    [(nn.BatchNorm1d, (16, 3)), (nn.BatchNorm1d, (4, 3, 5)), (nn.BatchNorm2d, (4, 3, 5, 6))],
)
@pytest.mark.parametrize("size", [3, None])
def test_batch_norm_is_its_formula(layer, shape, size):
    norm, x = layer(size, momentum=0.25), array(*shape) * 2 + 1
    axes = (0, *range(2, len(shape)))
    wide = x.astype(np.float64)
    expected, m, v = normalized(wide, axes)
    np.testing.assert_allclose(norm(cr.from_numpy(x)).numpy(), expected, atol=1e-5)
    n = x.size // 3
    np.testing.assert_allclose(norm.running_mean.numpy(), 0.25 * m, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(norm.running_var.numpy(), 0.75 + 0.25 * v * n / (n - 1), rtol=1e-4)
    assert norm.num_batches_tracked.item() == 1 and norm.num_features == 3
    norm.weight.load([2.0, 3.0, 4.0])
    norm.bias.load([1.0, 0.0, -1.0])
    norm.eval()
    channel = (1, 3, *(1,) * (len(shape) - 2))
    mean, var = (b.numpy().reshape(channel) for b in (norm.running_mean, norm.running_var))
    weight, bias = (p.numpy().reshape(channel) for p in (norm.weight, norm.bias))
    for _ in range(2):  # eval does not change the statistics
        y = norm(cr.from_numpy(x)).numpy()
        np.testing.assert_allclose(y, (wide - mean) / np.sqrt(var + 1e-5) * weight + bias, rtol=1e-4, atol=1e-5)
    assert norm.num_batches_tracked.item() == 1


@pytest.mark.parametrize("layer", [nn.BatchNorm1d, nn.InstanceNorm1d])
def test_statistics_without_momentum_are_means_over_the_batches(layer):
    norm = layer(3, momentum=None, track_running_stats=True, dtype="float64")
    axes, wanted = (0, 2) if layer is nn.BatchNorm1d else (2,), []
    for n in (4, 2, 7):
        x = np.random.default_rng(n).standard_normal((n, 3, 5)) * n
        norm(cr.from_numpy(x))
        wanted.append([v.mean(0) if v.ndim > 1 else v for v in (x.mean(axes), x.var(axes, ddof=1))])
    mean, var = np.mean(wanted, axis=0)
    np.testing.assert_allclose(norm.running_mean.numpy(), mean, rtol=1e-12)
    np.testing.assert_allclose(norm.running_var.numpy(), var, rtol=1e-12)
    assert nn.create(nn.describe(norm)).momentum is None


def test_the_gradient_in_eval_mode_is_that_of_eval_mode():
    norm = nn.BatchNorm1d(2).eval()
    x = cr.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    norm(x)[0, 0].backward()
    np.testing.assert_allclose(x.grad.numpy(), [[1, 0], [0, 0]], atol=1e-4)


def test_batch_norm_without_weights_or_statistics():
    x = array(8, 3)
    expected, *_ = normalized(x.astype(np.float64), (0,))
    norm = nn.BatchNorm1d(3, affine=False, track_running_stats=False)
    assert len(norm.parameters()) == 0 and not norm.state_dict()
    for mode in (norm.train, norm.eval):  # without statistics it always uses those of the batch
        mode()
        np.testing.assert_allclose(norm(cr.from_numpy(x)).numpy(), expected, atol=1e-5)
    with pytest.raises(ShapeError, match="x has 4 channels .* 3 features"):
        norm(cr.zeros(2, 4))


def test_running_statistics_are_saved_and_loaded():
    model = nn.Sequential(nn.Linear(4), nn.BatchNorm1d())
    for _ in range(3):
        model(cr.randn(16, 5) * 3 + 2)
    other = nn.Sequential(nn.Linear(4), nn.BatchNorm1d())
    other.load_state_dict(model.state_dict())
    x = cr.randn(2, 5)
    assert (model.eval()(x).numpy() == other.eval()(x).numpy()).all()
    assert other[1].num_features == 4 and other[1].num_batches_tracked.item() == 3


def test_batch_norm_writes_its_statistics_in_place():
    norm = nn.BatchNorm1d(2)
    norm(cr.randn(4, 2))
    before = [norm.running_mean.array, norm.running_var.array, norm.num_batches_tracked.array]
    norm(cr.randn(4, 2))
    assert all(a is b for a, b in zip(before, [v.array for v in norm.buffers()], strict=True))


def test_batch_norm_says_what_is_wrong():
    model = nn.Sequential(nn.BatchNorm2d(3))
    with pytest.raises(
        ShapeError, match=r"^0: \[batch_norm\] x has 4 channels \(axis 1 of \(1, 4, 2, 2\)\).*3 features"
    ):
        model(cr.zeros(1, 4, 2, 2))
    with pytest.raises(ShapeError, match=r"BatchNorm2d takes \(n, channels, height, width\)"):
        model(cr.zeros(4, 3))
    with pytest.raises(ShapeError, match="eval"):
        model(cr.zeros(1, 3, 1, 1))
    for options in ({"momentum": "none"}, {"momentum": 2.0}, {"eps": 0.0}):
        with pytest.raises(ArgumentError):
            nn.BatchNorm1d(3, **options)


# ---- Sequential


def test_sequential_takes_layers_lists_and_names():
    a, b = nn.Linear(2, 2), nn.ReLU()
    assert [*nn.Sequential(a, b)] == [*nn.Sequential([a, b])] == [a, b]
    model = nn.Sequential({"first": a, "second": b})
    assert model["first"] is model[0] is a and model[-1] is b and len(model) == 2
    assert model.add(nn.Tanh(), name="third").append(nn.Linear(2, 1)) is model
    assert [name for name, _ in model.named_children()] == ["first", "second", "third", "3"]
    model[1] = nn.Tanh()
    assert isinstance(model["second"], nn.Tanh)
    del model["third"]
    assert len(model) == 3 and len(nn.Sequential()) == 0 and nn.Sequential()(3) == 3
    model.append(nn.ReLU())
    assert [name for name, _ in model.named_children()] == ["first", "second", "3", "4"]


def test_a_slice_shares_layers_and_names():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2), nn.Softmax())
    body = model[:-1]
    assert isinstance(body, nn.Sequential) and body[2] is model[2]
    assert [*model[2:].state_dict()] == ["2.weight", "2.bias"]


def test_sequential_says_what_is_wrong():
    model = nn.Sequential(nn.ReLU())
    with pytest.raises(ArgumentTypeError, match=r"not <class .*ReLU'>: write ReLU\(\)"):
        nn.Sequential(nn.ReLU)
    with pytest.raises(ArgumentTypeError, match="takes modules, not 3"):
        model.append(3)
    with pytest.raises(ArgumentError, match="has a layer '0' already"):
        model.add(nn.ReLU(), name="0")
    with pytest.raises(ArgumentError, match="cannot be the name"):
        model.add(nn.ReLU(), name="a.b")
    with pytest.raises(ArgumentError, match="no layer 'x'; it has 0"):
        model["x"]
    with pytest.raises(IndexError, match="1 layers, and none at 1"):
        model[1]


def inits(model):
    return [m.weight.pending.init.name for m in model.modules() if isinstance(m, (nn.Linear, nn.Conv2d))]


def test_weights_suit_the_activation_that_follows():
    model = nn.Sequential(
        nn.Conv2d(4, kernel_size=3), nn.BatchNorm2d(), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(8), nn.Dropout(), nn.Tanh(), nn.Linear(8), nn.LeakyReLU(0.5), nn.Linear(8), nn.GELU(), nn.Linear(2),
    )  # fmt: skip
    he, glorot = "kaiming_uniform", "xavier_uniform"
    assert inits(model) == [he, glorot, he, he, glorot]
    assert model[8].weight.pending.init.options == {"negative_slope": 0.5}
    model.append(nn.ReLU())
    assert inits(model)[-1] == he
    assert inits(nn.Sequential(nn.Sequential(nn.Linear(2)), nn.ReLU())) == [he]  # one Sequential in another
    assert inits(nn.Sequential(nn.Linear(2), nn.Linear(2), nn.ReLU())) == [glorot, he]
    assert inits(nn.Sequential(nn.Linear(2), nn.Softmax())) == inits(nn.Sequential(nn.Linear(2))) == [glorot]


def test_what_was_asked_for_drawn_or_loaded_is_not_touched():
    asked, drawn, loaded = nn.Linear(3, 3, init="normal"), nn.Linear(3, 3), nn.Linear(3, 3)
    values = drawn.weight.numpy().copy()
    loaded.load_state_dict({"weight": np.eye(3), "bias": np.ones(3)})
    nn.Sequential(asked, nn.ReLU(), drawn, nn.ReLU(), loaded, nn.ReLU())
    assert asked.weight.pending.init.name == "normal" and (drawn.weight.numpy() == values).all()
    assert (loaded.weight.numpy() == np.eye(3)).all()


def test_activations_keep_their_variance_through_deep_networks():
    model = nn.Sequential([layer for _ in range(20) for layer in (nn.Linear(256), nn.ReLU())])
    y = model(cr.randn(64, 256)).numpy()
    assert 0.1 < (y**2).mean() < 10


# ---- learning


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_xor_is_learned_whole(seed):
    cr.manual_seed(seed)
    x = cr.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    y = cr.tensor([0, 1, 1, 0])
    model = nn.Sequential(nn.Linear(16), nn.Tanh(), nn.Linear(2))
    optimizer = optim.Adam(model.parameters(), lr=0.05)  # before the sizes are known
    for _ in range(200):
        optimizer.zero_grad()
        cr.cross_entropy(model(x), y).backward()
        optimizer.step()
    assert model(x).argmax(axis=1).tolist() == [0, 1, 1, 0]


def test_a_small_cnn_with_everything_learns_its_batch():
    model = nn.Sequential(
        nn.Conv2d(8, kernel_size=3, padding="same"), nn.BatchNorm2d(), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.1),
        nn.Conv2d(8, kernel_size=3), nn.LeakyReLU(), nn.GlobalAvgPool2d(), nn.Flatten(), nn.Linear(3),
    )  # fmt: skip
    x, y = cr.randn(12, 1, 8, 8), cr.tensor([0, 1, 2] * 4)
    optimizer = optim.Adam(model.parameters(), lr=0.02)
    losses = []
    for _ in range(100):
        optimizer.zero_grad()
        loss = cr.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
