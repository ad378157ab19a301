"""Padding as in TensorFlow, time turned round, layers step by step, fixed scales, dot products: against NumPy."""

import json

import numpy as np
import pytest

import chainrule as cr
from chainrule import Tensor, nn
from chainrule.domain.errors import ArgumentError, ShapeError

RNG = np.random.default_rng(0)
EXAMPLES = [
    (nn.Pad((1, 2, 0, -1), value=3.0), (2, 3, 4)),
    (nn.Pad((1, 2), "reflect"), (2, 3, 4)),
    (nn.SamePad((3, 2), 2, 1, -1.0), (2, 3, 5, 6)),
    (nn.SameAvgPool((3, 2), (2, 1)), (2, 3, 5, 6)),
    (nn.SameAvgPool(2), (2, 3, 5)),
    (nn.Flip(1), (2, 3, 4)),
    (nn.RepeatVector(3), (2, 4)),
    (nn.Rescaling([1.0, 2.0, 3.0, 4.0], 0.5), (2, 3, 4)),
    (nn.TimeDistributed(nn.Linear(4, 2)), (2, 3, 4)),
    (nn.Dot((2, 1), normalize=True), (2, 3, 4)),
    (nn.GatedLSTM(4, 3, batch_first=True, activation="softsign", return_sequences=True), (2, 3, 4)),
    (nn.GatedGRU(4, 3, recurrent_activation="hard_sigmoid", reset_after=False, return_sequences=True), (2, 3, 4)),
]


def same(x, kernel, stride, value):
    """Windows of the last axis as TensorFlow's "same" has them: (..., windows, kernel)."""
    n = x.shape[-1]
    count = -(-n // stride)
    total = max((count - 1) * stride + kernel - n, 0)
    x = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(total // 2, total - total // 2)], constant_values=value)
    return np.stack([x[..., i * stride : i * stride + kernel] for i in range(count)], axis=-2)


@pytest.mark.parametrize("n", range(1, 12))
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (2, 1), (3, 1), (2, 2), (3, 2), (2, 3), (5, 3), (1, 3)])
def test_same_padding(n, kernel, stride):
    x = RNG.standard_normal((2, 3, n))
    windows = same(x, kernel, stride, np.nan)
    pad = nn.SamePad(kernel, stride, value=-9.0)
    got = nn.MaxPool1d(kernel, stride)(pad(Tensor(x))).numpy()
    np.testing.assert_array_equal(got, np.nanmax(windows, axis=-1))
    np.testing.assert_allclose(
        nn.SameAvgPool(kernel, stride)(Tensor(x)).numpy(), np.nanmean(windows, axis=-1), rtol=1e-12
    )
    assert pad(Tensor(x)).shape[2] >= n


def test_values():
    x, y = RNG.standard_normal((2, 3, 4)), RNG.standard_normal((2, 5, 4))
    np.testing.assert_array_equal(nn.Pad((1, -1))(Tensor(x)).numpy(), np.pad(x, [(0, 0), (0, 0), (1, 0)])[..., :-1])
    np.testing.assert_array_equal(nn.Flip(1)(Tensor(x)).numpy(), x[:, ::-1])
    np.testing.assert_array_equal(nn.RepeatVector(2)(Tensor(x[:, 0])).numpy(), np.stack([x[:, 0]] * 2, axis=1))
    np.testing.assert_allclose(nn.Rescaling(2.0, [1, 2, 3, 4])(Tensor(x)).numpy(), x * 2 + [1, 2, 3, 4], rtol=1e-15)
    assert nn.Rescaling(0.5)(cr.tensor([3])).tolist() == [1.5]
    np.testing.assert_allclose(nn.Dot(2)(Tensor(x), Tensor(y)).numpy(), np.einsum("nak,nbk->nab", x, y), rtol=1e-12)
    unit = [v / np.linalg.norm(v, axis=-1, keepdims=True) for v in (x, y)]
    wanted = np.einsum("nak,nbk->nab", *unit)
    np.testing.assert_allclose(nn.Dot((2, 2), True)(Tensor(x), Tensor(y)).numpy(), wanted, rtol=1e-12)
    layer = nn.Linear(4, 2, dtype="float64")
    np.testing.assert_allclose(
        nn.TimeDistributed(layer)(Tensor(x)).numpy(), x @ layer.weight.numpy().T + layer.bias.numpy(), rtol=1e-12
    )


@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("masked", [True, False])
def test_gated_layers_with_the_common_activations_are_the_common_layers(reset_after, masked):
    x = cr.tensor(RNG.standard_normal((2, 5, 3)), requires_grad=True)
    mask = cr.tensor(np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], dtype=bool)) if masked else None
    for gated, plain, options in [
        (nn.GatedLSTM, nn.LSTM, {}),
        (nn.GatedGRU, nn.GRU, {"reset_after": reset_after}),
    ]:
        common = {"batch_first": True, "return_sequences": True, "return_state": True, "dtype": "float64", **options}
        a, b = gated(3, 4, recurrent_activation="sigmoid", **common), plain(3, 4, **common)
        b.load_state_dict(a.state_dict())
        found = []
        for layer in (a, b):
            y, state = layer(x, mask=mask, reverse=masked)
            h = state[0] if isinstance(state, tuple) else state
            ((y * y).sum() + h.sum()).backward()
            found.append([y, h, x.grad, *[p.grad for p in layer.parameters()]])
            x.grad = None
        for one, other in zip(*found, strict=True):
            np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-10, atol=1e-12)


def test_masks_turn_round_with_the_steps():
    x = cr.tensor(RNG.standard_normal((2, 5, 3)))
    mask = cr.tensor(np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], dtype=bool))
    lstm = nn.LSTM(3, 4, batch_first=True, dtype="float64")
    y = nn.Sequential(nn.Flip(1), lstm)(x, mask=mask)
    back = lstm(x, mask=mask, reverse=True, returns="all")[1][0][0]
    np.testing.assert_allclose(y.numpy(), back.numpy(), rtol=1e-12)


@pytest.mark.parametrize(("layer", "shape"), EXAMPLES, ids=lambda v: repr(v) if isinstance(v, nn.Module) else "")
def test_descriptions_make_the_layer_again(layer, shape):
    text = json.loads(json.dumps(nn.describe(layer)))
    again = nn.create(text)
    assert nn.describe(again) == text
    again.load_state_dict(layer.state_dict())
    x = [cr.tensor(RNG.standard_normal(shape).astype("float32"))]
    x += [cr.tensor(RNG.standard_normal((2, 4, 5)).astype("float32"))] if isinstance(layer, nn.Dot) else []
    np.testing.assert_array_equal(layer(*x).numpy(), again(*x).numpy())


def test_errors():
    with pytest.raises(ArgumentError, match="pairs"):
        nn.Pad((1, 2, 3))
    with pytest.raises(ArgumentError, match="expected one of"):
        nn.Pad((1, 2), "mirror")
    with pytest.raises(ArgumentError, match="recurrent_activation of GatedLSTM"):
        nn.GatedLSTM(3, recurrent_activation="sigmoit")
    with pytest.raises(ArgumentError, match="a module"):
        nn.TimeDistributed(3)
    for layer, shape in [(nn.SamePad(2), (2, 3)), (nn.SameAvgPool(2), (2, 3)), (nn.TimeDistributed(nn.ReLU()), (2, 3))]:
        with pytest.raises(ShapeError):
            layer(cr.zeros(shape))
    with pytest.raises(ShapeError, match="do not go together"):
        nn.Dot(1)(cr.zeros(2, 3), cr.zeros(2, 4))
    with pytest.raises(ShapeError, match="features"):
        nn.RepeatVector(2)(cr.zeros(2, 3, 4))
