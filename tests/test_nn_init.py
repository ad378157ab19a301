"""Initializers beyond the plain ones: what their values have in common, that they repeat, and what they refuse."""

import math

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.domain.errors import ArgumentError, ShapeError


def drawn(name, shape, dtype="float32", groups=1, seed=0, **options):
    given = nn.init.get(name, **options)
    return given(shape, dtype=dtype, groups=groups, generator=cr.Generator(seed)).numpy()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("name", "options", "variance"),
    [
        ("lecun_uniform", {}, 1 / 300),
        ("kaiming_uniform", {"mode": "fan_out"}, 2 / 200),
        ("kaiming_normal", {"activation": "tanh"}, (5 / 3) ** 2 / 300),
        ("kaiming_normal", {"activation": "leaky_relu", "negative_slope": 0.5}, 2 / 1.25 / 300),
        ("xavier_normal", {"gain": "relu"}, 2 * 2 / 500),
        ("xavier_uniform", {"gain": 0.5}, 0.25 * 2 / 500),
    ],
)
def test_variances(name, options, variance, dtype):
    values = drawn(name, (200, 300), dtype, **options)
    assert values.dtype == dtype and abs(values.mean()) < 4 * math.sqrt(variance / values.size)
    assert values.var() == pytest.approx(variance, rel=0.03)
    if "uniform" in name:
        assert np.abs(values).max() <= math.sqrt(3 * variance) * (1 + 1e-6)
    assert (drawn(name, (200, 300), dtype, **options) == values).all()


def test_truncated_normal():
    values = drawn("truncated_normal", (200, 300), mean=0.5, std=2.0, low=-1.0, high=1.0)
    assert values.min() >= -1 and values.max() <= 1
    a, b = -0.75, 0.25  # in standard deviations
    density = [math.exp(-x * x / 2) / math.sqrt(2 * math.pi) for x in (a, b)]
    share = (math.erf(b / math.sqrt(2)) - math.erf(a / math.sqrt(2))) / 2
    assert values.mean() == pytest.approx(0.5 + 2 * (density[0] - density[1]) / share, abs=0.01)
    with pytest.raises(ArgumentError, match="too little of the normal distribution"):
        drawn("truncated_normal", (2,), low=10.0, high=11.0)


@pytest.mark.parametrize("shape", [(5, 5), (3, 7), (7, 3), (4, 2, 3, 3), (9, 2, 2)])
def test_orthogonal(shape):
    values = drawn("orthogonal", shape, "float64", gain=2.0).reshape(shape[0], -1)
    small = values @ values.T if values.shape[0] <= values.shape[1] else values.T @ values
    np.testing.assert_allclose(small, 4 * np.eye(len(small)), atol=1e-12)
    assert (values != drawn("orthogonal", shape, "float64", seed=1, gain=2.0).reshape(values.shape)).any()


def test_identity_and_dirac_pass_on_what_comes_in():
    np.testing.assert_array_equal(drawn("identity", (2, 3), gain=2.0), [[2, 0, 0], [0, 2, 0]])
    x = cr.randn(2, 4, 5, 6)
    for groups in (1, 2):
        conv = nn.Conv2d(4, 4, 3, padding=1, groups=groups, bias=False, init="dirac")
        np.testing.assert_array_equal(conv(x).detach().numpy(), x.numpy())


def test_sparse():
    values = drawn("sparse", (10, 40), sparsity=0.25, std=2.0)
    assert ((values == 0).sum(axis=0) == 3).all() and values[values != 0].std() == pytest.approx(2.0, rel=0.15)
    assert len({tuple(np.flatnonzero(column == 0)) for column in values.T}) > 10


def test_gains():
    wanted = {"linear": 1, "sigmoid": 1, "conv": 1, "tanh": 5 / 3, "relu": 2**0.5, "selu": 0.75, "leaky_relu": 1.41414}
    for name, value in wanted.items():
        assert nn.init.gain(name) == pytest.approx(value, rel=1e-5)
    with pytest.raises(ArgumentError, match="unknown activation that has a gain 'rleu': did you mean 'relu'"):
        drawn("xavier_normal", (2, 2), gain="rleu")


def test_shapes_and_options_that_do_not_fit():
    for name, shape, options in (
        ("orthogonal", (3,), {}), ("identity", (2, 2, 2), {}), ("dirac", (2, 2), {}), ("sparse", (2,), {"sparsity": 0.5}),
    ):  # fmt: skip
        with pytest.raises(ShapeError, match=rf"\[{name}\] a weight of .* is expected, not"):
            drawn(name, shape, **options)
    with pytest.raises(ShapeError, match="3 channels go out, which 2 groups cannot share"):
        drawn("dirac", (3, 1, 3), groups=2)
    with pytest.raises(ArgumentError, match="sparsity is 1.5"):
        drawn("sparse", (2, 2), sparsity=1.5)
    with pytest.raises(ArgumentError, match="unknown mode of kaiming"):
        drawn("kaiming_normal", (2, 2), mode="fan")


@pytest.mark.parametrize("init", ["orthogonal", "truncated_normal", {"name": "sparse", "sparsity": 0.5}])
def test_a_layer_remembers_how_it_began(init, tmp_path):
    model = nn.Sequential(nn.Linear(4, 3, init=init))
    again = nn.create(nn.describe(model))
    assert again[0].weight.pending.init == model[0].weight.pending.init == nn.init.get(init)
    model.save(tmp_path / "model.safetensors")
    assert (cr.load(tmp_path / "model.safetensors")[0].weight.numpy() == model[0].weight.numpy()).all()
