"""The recurrent room beyond the table: masks, long chains, extreme numbers, errors."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import Tensor
from chainrule.domain.errors import ShapeError

R = np.random.default_rng(0)
OPS = {"rnn": (cr.rnn, 1, 1), "gru": (cr.gru, 3, 1), "lstm": (cr.lstm, 4, 2)}
on_both = pytest.mark.parametrize("backend", ["numpy", "cpu"])
each_op = pytest.mark.parametrize("name", OPS)


def arguments(name, steps=5, batch=3, features=2, h=4, dtype="float64"):
    """x, the weights and biases, and the states, all of which require gradients."""
    _, blocks, states = OPS[name]
    shapes = [(steps, batch, features), (blocks * h, features), (blocks * h, h), *[(blocks * h,)] * 2]
    shapes += [(batch, h)] * states
    return [Tensor(R.uniform(-1, 1, s), dtype=dtype, requires_grad=True) for s in shapes]


def total(outputs):
    """A number that depends on every output."""
    return sum((y * Tensor(np.cos(np.arange(y.size)).reshape(y.shape))).sum() for y in outputs)


@on_both
@each_op
def test_a_mask_is_the_same_as_shorter_sequences(backend, name):
    """Padded and masked, each sequence of a batch gives what it gives alone, and the same gradients."""
    op, _, states = OPS[name]
    with cr.backends.use(backend):
        x, *rest = arguments(name)
        lengths = [3, 5, 1]
        mask = Tensor(np.arange(5)[:, None] < np.array(lengths))
        for reverse in (False, True):
            y, *last = op(x, *rest, mask, reverse=reverse)
            (y.sum() + sum(s.square().sum() for s in last)).backward()
            padded = [t.grad.numpy().copy() for t in (x, *rest)]
            for t in (x, *rest):
                t.grad = None
            for n, length in enumerate(lengths):
                alone = [s[n : n + 1] for s in rest[4:]]
                ya, *lasta = op(x[:length, n : n + 1], *rest[:4], *alone, reverse=reverse)
                np.testing.assert_allclose(ya.numpy(), y.numpy()[:length, n : n + 1], rtol=1e-12)
                assert not y.numpy()[length:, n].any()
                for a, s in zip(lasta, last, strict=True):
                    np.testing.assert_allclose(a.numpy(), s.numpy()[n : n + 1], rtol=1e-12)
                (ya.sum() + sum(s.square().sum() for s in lasta)).backward()
            for t, g in zip((x, *rest), padded, strict=True):
                np.testing.assert_allclose(t.grad.numpy(), g, rtol=1e-9, atol=1e-12)
                t.grad = None


@each_op
def test_a_sequence_is_a_chain_of_cells(name):
    op, _, states = OPS[name]
    one = {"rnn": cr.rnn_cell, "gru": cr.gru_cell, "lstm": cr.lstm_cell}[name]
    x, *weights, _ = arguments(name) if states == 1 else [*arguments(name)[:-1]]
    weights, state = weights[:4], arguments(name)[5:]
    y, *last = op(x, *weights, *state)
    for t in range(len(x)):
        new = one(x[t], *weights, *state)
        state = list(new) if states > 1 else [new]
        np.testing.assert_allclose(state[0].numpy(), y.numpy()[t], rtol=1e-12)
    for s, e in zip(state, last, strict=True):
        np.testing.assert_allclose(s.numpy(), e.numpy(), rtol=1e-12)


@each_op
def test_some_gradients_alone(name):
    """Each argument's gradient is the same whether the others' are asked for or not."""
    op = OPS[name][0]
    args = arguments(name)
    full = cr.grad(total(op(*args)), args)
    for i, g in enumerate(full):
        some = [a if k == i else a.detach() for k, a in enumerate(args)]
        np.testing.assert_allclose(cr.grad(total(op(*some)), [some[i]])[0].numpy(), g.numpy(), rtol=1e-12, atol=1e-15)


@each_op
def test_one_output_alone(name):
    """The loss may use the sequence, or a last state, alone."""
    op, _, states = OPS[name]
    args = arguments(name)
    for k in range(1 + states):
        with cr.backends.use("numpy"):
            same = [Tensor(a.numpy(), requires_grad=True) for a in args]
            wanted = cr.grad(total([op(*same)[k]]), same)
        for a, b in zip(cr.grad(total([op(*args)[k]]), args), wanted, strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-10, atol=1e-13)


@on_both
@each_op
def test_long_sequences(backend, name):
    """Two thousand steps, forward and backward, without recursion."""
    op = OPS[name][0]
    with cr.backends.use(backend):
        args = arguments(name, steps=2000, batch=1, features=1, h=2)
        y, *_ = op(*args)
        y.sum().backward()
        assert y.shape == (2000, 1, 2) and all(bool(a.grad.isfinite().all()) for a in args)


@on_both
@each_op
def test_large_numbers_stay_numbers(backend, name):
    op = OPS[name][0]
    with cr.backends.use(backend):
        args = [Tensor(a.numpy() * 1e4, dtype="float32", requires_grad=True) for a in arguments(name)[:5]]
        y, *_ = op(*args)
        y.sum().backward()
        assert bool((y.abs() <= 1).all()) and all(bool(a.grad.isfinite().all()) for a in args)


def test_dtypes_meet():
    x, *rest = arguments("lstm", dtype="float32")
    assert cr.lstm(x, *[r.to("float64") for r in rest])[0].dtype == "float64"
    assert cr.lstm(Tensor(np.ones((2, 3, 2), dtype=int)), *rest[:2])[0].dtype == "float32"


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("lstm", {0: (3, 2)}, r"\[lstm\] x has shape \(3, 2\); it should be \(time, batch, features\)"),
        ("rnn", {0: (0, 3, 2)}, r"\[rnn\] x has no steps \(axis 0 of \(0, 3, 2\)\)"),
        ("lstm", {2: (12, 4)}, r"weight_hh has shape \(12, 4\); it should be \(4 h, h\)"),
        ("gru", {1: (12, 3)}, r"x has 2 features \(axis 2 of .*weight_ih has shape \(12, 3\) instead of \(12, 2\)"),
        ("gru", {3: (4,)}, r"bias_ih has shape \(4,\) but the weights need \(12,\)"),
        ("rnn", {5: (3, 5)}, r"h0 has shape \(3, 5\) but .* need \(3, 4\)"),
        ("lstm", {6: (4, 4)}, r"c0 has shape \(4, 4\) but .* need \(3, 4\)"),
        ("rnn", {6: (3, 5)}, r"mask has shape \(3, 5\) but x \(5, 3, 2\) needs \(5, 3\)"),
    ],
)
def test_errors(name, change, message):
    args = [*arguments(name), None]
    for i, shape in change.items():
        args[i] = cr.ones(shape)
    with pytest.raises(ShapeError, match=message):
        OPS[name][0](*args)


def test_an_unknown_nonlinearity():
    with pytest.raises(ValueError, match="unknown nonlinearity of rnn 'tan': did you mean 'tanh'"):
        cr.rnn(*arguments("rnn"), nonlinearity="tan")
