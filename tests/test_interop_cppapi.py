"""Networks of cppapi from their description: predictions and steps of training are those that NumPy gives."""

from __future__ import annotations

from enum import Enum
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.domain.errors import ArgumentError, ArgumentTypeError, ShapeError
from chainrule.interop import from_cppapi

RNG = np.random.default_rng(0)
FUNCTIONS: Any = {
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "Linear": lambda x: x,
    "ReLU": lambda x: np.maximum(x, 0),
    "LeakyReLU": lambda x: np.where(x > 0, x, 0.2 * x),
    "Tanh": np.tanh,
}


def weights(*sizes: int) -> list[tuple[Any, Any]]:
    return [(RNG.standard_normal((m, n)), RNG.standard_normal((1, n))) for m, n in zip(sizes, sizes[1:], strict=False)]


@pytest.mark.parametrize("activation", FUNCTIONS)
def test_predictions(activation: str) -> None:
    w, x = weights(4, 5, 3), RNG.standard_normal((7, 4))
    model = from_cppapi([("Dense", 5, activation), ("Dense", 3, "Linear")], "MSE", w)
    expected = FUNCTIONS[activation](x @ w[0][0] + w[0][1]) @ w[1][0] + w[1][1]
    np.testing.assert_allclose(model(cr.tensor(x)).detach().numpy(), expected, rtol=1e-12)


def test_a_step_by_squared_errors() -> None:
    """Summed over the outputs of a sample, the mean over the batch: 2 (p - t) / n."""
    w, x, t = weights(4, 3), RNG.standard_normal((7, 4)), RNG.standard_normal((7, 3))
    model = from_cppapi([("Dense", 3, "Linear")], "MSE", w, lr=0.1)
    logs = model.train_on_batch(x, t)
    p = x @ w[0][0] + w[0][1]
    assert logs["loss"] == pytest.approx(((p - t) ** 2).sum() / 7)
    g = 2 * (p - t) / 7
    np.testing.assert_allclose(model[0].weight.detach().numpy().T, w[0][0] - 0.1 * x.T @ g, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(model[0].bias.detach().numpy(), (w[0][1] - 0.1 * g.sum(0))[0], rtol=1e-10, atol=1e-12)


def test_a_step_by_cross_entropy() -> None:
    """(softmax - t) / n; theirs lacks the n."""
    w, x, t = weights(4, 3), RNG.standard_normal((7, 4)), np.eye(3)[RNG.integers(0, 3, 7)]
    model = from_cppapi([("Dense", 3, "Linear")], "CROSS_ENTROPY", w, lr=0.1 * 7)
    model.train_on_batch(x, t)
    e = np.exp(x @ w[0][0] + w[0][1])
    g = e / e.sum(1, keepdims=True) - t
    np.testing.assert_allclose(model[0].weight.detach().numpy().T, w[0][0] - 0.1 * x.T @ g, rtol=1e-10, atol=1e-12)


class Activation(Enum):
    Sigmoid = 0
    Tanh = 1


def test_members_of_enumerations_other_letters_and_no_weights() -> None:
    model = from_cppapi([("DENSE", 5, Activation.Tanh), ("dense", 2, Activation.Sigmoid)], "mse")
    assert repr([*model.children()]).count("Linear(out_features=5)") == 1
    assert model.predict(RNG.standard_normal((3, 4)).astype("f")).shape == (3, 2)
    narrow = from_cppapi([("Dense", 1, "ReLU")], "MSE", [(np.ones((2, 1), "f"), np.ones(1, "f"))])
    assert narrow[0].weight.dtype == "float32"


ONE = [("Dense", 3, "Linear")]


@pytest.mark.parametrize(
    ("layers", "loss", "given", "error", "message"),
    [
        ([], "MSE", None, ArgumentTypeError, r"layers is \[\], expected a list of \(type, units, activation\)"),
        ("Dense", "MSE", None, ArgumentTypeError, "layers is 'Dense'"),
        ([("Dense", 3)], "MSE", None, ArgumentTypeError, r"layer 0 is \('Dense', 3\), expected \(type, units, activation\)"),
        ([("Conv", 3, "ReLU")], "MSE", None, ArgumentError, "unknown layer type of cppapi 'Conv'"),
        ([("Dense", 0, "ReLU")], "MSE", None, ArgumentError, "layer 0 has 0 units"),
        ([("Dense", 3, "Rely")], "MSE", None, ArgumentError, "unknown activation of cppapi 'Rely': did you mean 'ReLU'"),
        (ONE, "MAE", None, ArgumentError, "unknown loss of cppapi 'MAE'"),
        (ONE, "MSE", [], ArgumentError, "there are 1 layers, but weights for 0"),
        (ONE, "MSE", [np.ones((2, 3))], ArgumentTypeError, r"expected a pair \(W, B\)"),
        (ONE, "MSE", [(["a"], [1])], ArgumentTypeError, "expected numbers"),
        (ONE, "MSE", [(np.ones((3, 2)), np.ones(3))], ShapeError, r"have shapes \(3, 2\) and \(3,\), expected \(inputs, 3\)"),
        (ONE * 2, "MSE", [(np.ones((2, 3)), np.ones(3))] * 2, ShapeError, r"of layer 1 .* expected \(3, 3\) and \(1, 3\)"),
    ],
    ids=range(12),
)  # fmt: skip
def test_descriptions_that_are_wrong(layers: Any, loss: str, given: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        from_cppapi(layers, loss, given)
