"""Native activations and their gradients, against the formulas in double precision."""

import math

import numpy as np
import pytest

from chainrule import _native

erf = np.vectorize(math.erf, otypes=[float])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def density(x):
    return np.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def inner(x):
    return math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)


def inner_slope(x):
    return math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x**2)


# name: parameters, function, derivative
CASES = {
    "relu": ({}, lambda x: np.maximum(x, 0), lambda x: (x > 0) * 1.0),
    "leaky_relu": ({"negative_slope": 0.2}, lambda x: np.where(x > 0, x, 0.2 * x), lambda x: np.where(x > 0, 1, 0.2)),
    "silu": ({}, lambda x: x * sigmoid(x), lambda x: sigmoid(x) * (1 + x * (1 - sigmoid(x)))),
    "gelu": (
        {"approximate": "none"},
        lambda x: x * (1 + erf(x / math.sqrt(2))) / 2,
        lambda x: (1 + erf(x / math.sqrt(2))) / 2 + x * density(x),
    ),
    "gelu tanh": (
        {"approximate": "tanh"},
        # (1 + tanh u) / 2 is sigmoid(2 u), which keeps its digits where u is far below 0
        lambda x: x * sigmoid(2 * inner(x)),
        lambda x: sigmoid(2 * inner(x)) * (1 + x * sigmoid(-2 * inner(x)) * 2 * inner_slope(x)),
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_value_and_gradient(case, dtype):
    params, function, derivative = CASES[case]
    name = case.split()[0]
    rng = np.random.default_rng(0)
    tolerance = {"rtol": 2e-6 if dtype == "float32" else 1e-13, "atol": 1e-6 if dtype == "float32" else 1e-15}
    x = (rng.standard_normal((6, 7, 40)) * 4).astype(dtype)
    for y in (x, np.asfortranarray(x), x[::-1, :, ::3], x[0, 0, 0, ...].reshape(()), x[:0], np.zeros(3, dtype)):
        g = rng.standard_normal(y.shape).astype(dtype)
        value, saved = getattr(_native, name)(y, **params)
        np.testing.assert_allclose(value, function(y.astype(float)).astype(dtype), **tolerance, strict=True)
        (slope,) = getattr(_native, f"{name}_vjp")(g, *saved, needs=(True,), **params)
        np.testing.assert_allclose(slope, (g * derivative(y.astype(float))).astype(dtype), **tolerance, strict=True)
        assert getattr(_native, f"{name}_vjp")(g, *saved, needs=(False,), **params) == (None,)


def test_gelu_keeps_its_digits_below_zero():
    x = np.linspace(-5.5, 8, 20_001, dtype=np.float32)
    exact = np.array([v * math.erfc(-v / math.sqrt(2)) / 2 for v in x.astype(float)])
    value = _native.gelu(x, approximate="none")[0]
    np.testing.assert_allclose(value, exact, rtol=6e-4, atol=0)  # 1e-5 with AVX-512
    np.testing.assert_allclose(value[x > -3], exact[x > -3], rtol=2e-6, atol=0)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_special_values(case, dtype):
    name, params = case.split()[0], CASES[case][0]
    x = np.array([0.0, 1e4, 1e30, np.inf, np.nan, -1e-42], dtype)
    value, saved = getattr(_native, name)(x, **params)
    np.testing.assert_allclose(value[:4], x[:4])
    assert np.isnan(value[4])
    assert abs(value[5]) <= 1e-42
    (g,) = getattr(_native, f"{name}_vjp")(np.ones_like(x), *saved, needs=(True,), **params)
    np.testing.assert_allclose(g[1:3], 1, rtol=1e-6)
    if name != "relu" and name != "leaky_relu":
        far = getattr(_native, name)(np.array([-100.0, -1e30, -np.inf], dtype), **params)[0]
        np.testing.assert_allclose(far[:2], 0, atol=1e-37)
        assert np.isnan(far[2])  # infinity times 0, as in PyTorch


def test_the_gradient_of_relu_is_zero_at_zero_and_broadcasts():
    x = np.array([[-1.0, 0.0, -0.0, 2.0]], np.float32)
    y, saved = _native.relu(x)
    assert saved[0] is y
    (g,) = _native.relu_vjp(np.broadcast_to(np.float32(3.0), x.shape), *saved, needs=(True,))
    np.testing.assert_array_equal(g, [[0, 0, 0, 3]])
    assert _native.relu(np.zeros(3, np.int64)) is NotImplemented
