"""Recurrent layers are PyTorch's: values, states and gradients from the same parameters. Runs where PyTorch is installed."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn

torch = pytest.importorskip("torch")

R = np.random.default_rng(0)
KINDS = {
    "RNN": ({}, 1),
    "RNN relu": ({"nonlinearity": "relu"}, 1),
    "GRU": ({}, 1),
    "LSTM": ({}, 2),
}
SETTINGS = [
    {},
    {"bias": False},
    {"num_layers": 3},
    {"bidirectional": True},
    {"num_layers": 2, "bidirectional": True, "batch_first": True},
]
LENGTHS = [5, 7, 1, 4]


def pairs(state):
    return state if isinstance(state, tuple) else (state,)


def close(ours, theirs):
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("given", ["whole", "first states", "lengths"])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_layers(kind, settings, given):
    options, states = KINDS[kind]
    name = kind.split()[0]
    first = settings.get("batch_first", False)
    theirs = getattr(torch.nn, name)(3, 6, dtype=torch.float64, **options, **settings)
    ours = getattr(nn, name)(3, 6, dtype="float64", **options, **settings)
    ours.load_state_dict({k: v.detach().numpy() for k, v in theirs.state_dict().items()})
    assert [*ours.state_dict()] == [*theirs.state_dict()]
    data = R.standard_normal((4, 7, 3) if first else (7, 4, 3))
    x, tx = cr.tensor(data, requires_grad=True), torch.tensor(data, requires_grad=True)
    depth = settings.get("num_layers", 1) * (1 + settings.get("bidirectional", False))
    begin = [R.standard_normal((depth, 4, 6)) for _ in range(states)]
    mine = [cr.tensor(b, requires_grad=True) for b in begin]
    peer = [torch.tensor(b, requires_grad=True) for b in begin]
    if given == "lengths":
        packed = torch.nn.utils.rnn.pack_padded_sequence(tx, LENGTHS, batch_first=first, enforce_sorted=False)
        ty, ts = theirs(packed)
        ty = torch.nn.utils.rnn.pad_packed_sequence(ty, batch_first=first)[0]
        y, s = ours(x, lengths=LENGTHS)
    elif given == "first states":
        ty, ts = theirs(tx, tuple(peer) if states == 2 else peer[0])
        y, s = ours(x, tuple(mine) if states == 2 else mine[0])
    else:
        (ty, ts), (y, s) = theirs(tx), ours(x)
    close(y, ty)
    for a, b in zip(pairs(s), pairs(ts), strict=True):
        assert a.shape == tuple(b.shape)
        close(a, b)
    weight = R.standard_normal(y.shape)
    ((y * cr.tensor(weight)).sum() + sum(a.square().sum() for a in pairs(s))).backward()
    ((ty * torch.tensor(weight)).sum() + sum(b.square().sum() for b in pairs(ts))).backward()
    close(x.grad, tx.grad)
    for (key, p), (_, q) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert p.shape == tuple(q.shape), key
        close(p.grad, q.grad)
    if given == "first states":
        for a, b in zip(mine, peer, strict=True):
            close(a.grad, b.grad)


@pytest.mark.parametrize("name", ["RNNCell", "GRUCell", "LSTMCell"])
def test_cells(name):
    theirs = getattr(torch.nn, name)(3, 6, dtype=torch.float64)
    ours = getattr(nn, name)(3, 6, dtype="float64")
    ours.load_state_dict({k: v.detach().numpy() for k, v in theirs.state_dict().items()})
    data = R.standard_normal((4, 3))
    state, peer = ours(cr.tensor(data)), theirs(torch.tensor(data))
    state, peer = ours(cr.tensor(data), state), theirs(torch.tensor(data), peer)
    for a, b in zip(pairs(state), pairs(peer), strict=True):
        close(a, b)
    sum(a.square().sum() for a in pairs(state)).backward()
    sum(b.square().sum() for b in pairs(peer)).backward()
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        close(p.grad, q.grad)


@pytest.mark.parametrize("name", ["rnn", "gru", "lstm"])
def test_float32_is_as_close_to_float64(name):
    """Of a network of some size, ours is as exact as theirs."""
    kind = {"rnn": "RNN", "gru": "GRU", "lstm": "LSTM"}[name]
    theirs = getattr(torch.nn, kind)(40, 70)
    exact = getattr(torch.nn, kind)(40, 70).double()
    exact.load_state_dict(theirs.state_dict())
    ours = getattr(nn, kind)(40, 70)
    ours.load_state_dict({k: v.detach().numpy() for k, v in theirs.state_dict().items()})
    data = R.standard_normal((50, 33, 40)).astype("float32")
    wanted, _ = exact(torch.tensor(data).double())
    ty, y = theirs(torch.tensor(data))[0], ours(cr.tensor(data))[0]
    wanted.square().sum().backward()
    ty.square().sum().backward()
    y.square().sum().backward()
    error = lambda a, b: float(np.abs(a - b).max())  # noqa: E731
    assert (
        error(y.detach().numpy(), wanted.detach().numpy())
        <= 2 * error(ty.detach().numpy(), wanted.detach().numpy()) + 1e-7
    )
    for p, q, e in zip(ours.parameters(), theirs.parameters(), exact.parameters(), strict=True):
        mine, peer = error(p.grad.numpy(), e.grad.numpy()), error(q.grad.numpy(), e.grad.numpy())
        assert mine <= 2 * peer + 1e-6 * float(e.grad.abs().max())
