"""Rows of the recurrent room; NumPy says once more, step by step, what the networks are."""

import numpy as np
from tests.ops.oracles import sigmoid
from tests.ops.table import BOTH, row, rows

MASK = np.array([[True, False, True], [True, True, True], [False, True, True], [True, True, False]])
RIGHT = np.arange(4)[:, None] < np.array([2, 4, 1])  # lengths 2, 4 and 1


def relu(x):
    return np.maximum(x, 0)


def affine(x, weight, bias):
    return x @ weight.T + (0 if bias is None else bias)


def rnn_next(x, state, wi, wh, bi, bh, nonlinearity="tanh"):
    return ({"tanh": np.tanh, "relu": relu}[nonlinearity](affine(x, wi, bi) + affine(state[0], wh, bh)),)


def gru_next(x, state, wi, wh, bi, bh, reset_after=True):
    (h,) = state
    n = h.shape[1]
    a, b = affine(x, wi, bi), affine(h, wh, bh)
    r, z = sigmoid(a[:, :n] + b[:, :n]), sigmoid(a[:, n : 2 * n] + b[:, n : 2 * n])
    inner = r * b[:, 2 * n :] if reset_after else affine(r * h, wh[2 * n :], None if bh is None else bh[2 * n :])
    fresh = np.tanh(a[:, 2 * n :] + inner)
    return (z * h + (1 - z) * fresh,)


def lstm_next(x, state, wi, wh, bi, bh):
    h, c = state
    i, f, g, o = np.split(affine(x, wi, bi) + affine(h, wh, bh), 4, axis=1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def zeros(x, wh, states):
    return tuple(np.zeros((x.shape[-2], wh.shape[1])) if s is None else s for s in states)


def over(following, states):
    """The network of a cell, one element of the batch at a time: a step that the mask leaves out does not happen."""

    def run(x, wi, wh, bi=None, bh=None, *rest, reverse=False, **params):
        *first, mask = [*rest, *[None] * (states + 1 - len(rest))]
        first = zeros(x, wh, first)
        y, last = np.zeros((*x.shape[:2], wh.shape[1])), [np.zeros_like(s) for s in first]
        for n in range(x.shape[1]):
            state = tuple(s[n : n + 1] for s in first)
            for t in range(len(x))[:: -1 if reverse else 1]:
                if mask is None or mask[t, n]:
                    state = following(x[t, n : n + 1], state, wi, wh, bi, bh, **params)
                    y[t, n] = state[0][0]
            for to, s in zip(last, state, strict=True):
                to[n] = s[0]
        return y, *last

    return run


def once(following, states):
    """One step of a cell."""

    def run(x, wi, wh, bi=None, bh=None, *rest, **params):
        new = following(x, zeros(x, wh, [*rest, *[None] * (states - len(rest))]), wi, wh, bi, bh, **params)
        return new if states > 1 else new[0]

    return run


def shapes(blocks, states, t, n, d, h, biases=True, given=True, mask=None):
    """The arguments of a sequence op, as ``row`` takes them."""
    bias = (blocks * h,) if biases else None
    first = [(t, n, d), (blocks * h, d), (blocks * h, h), bias, bias]
    return [*first, *[(n, h) if given else None] * states, *([] if mask is None else [mask])]


def uses(op, oracle, blocks, states, **params):
    """Rows of an op over a sequence: with and without biases, states and masks; both ways; sizes that fit no vector."""
    small = shapes(blocks, states, 4, 3, 2, 5)
    return [
        *rows(op, oracle, small, small[:3], [*small[:3], None, small[4]], [*small[:4]], span=BOTH, **params),
        *rows(op, oracle, [*small, MASK], [*small[:5], *[None] * states, RIGHT], span=BOTH, **params),
        *rows(op, oracle, small, [*small, MASK], [*small[:3]], span=BOTH, reverse=True, **params),
        *rows(
            op, oracle, shapes(blocks, states, 1, 2, 3, 4), shapes(blocks, states, 1, 2, 3, 4)[:5], span=BOTH, **params
        ),
    ]


def cell(op, oracle, blocks, states, **params):
    """Rows of a cell."""
    args = [(3, 2), (blocks * 4, 2), (blocks * 4, 4), (blocks * 4,), (blocks * 4,), *[(3, 4)] * states]
    return rows(op, oracle, args, args[:3], [(0, 2), *args[1:5]], span=BOTH, **params)


RNN, GRU, LSTM = over(rnn_next, 1), over(gru_next, 1), over(lstm_next, 2)

SAMPLES = [
    *uses("rnn", RNN, 1, 1),
    *uses("rnn", RNN, 1, 1, nonlinearity="relu"),
    *uses("gru", GRU, 3, 1),
    *uses("gru", GRU, 3, 1, reset_after=False),
    *uses("lstm", LSTM, 4, 2),
    *rows("lstm", LSTM, shapes(4, 2, 3, 0, 2, 5), shapes(4, 2, 3, 2, 0, 5), span=BOTH),
    *cell("rnn_cell", once(rnn_next, 1), 1, 1),
    *cell("rnn_cell", once(rnn_next, 1), 1, 1, nonlinearity="relu"),
    *cell("gru_cell", once(gru_next, 1), 3, 1),
    *cell("gru_cell", once(gru_next, 1), 3, 1, reset_after=False),
    *cell("lstm_cell", once(lstm_next, 2), 4, 2),
]

MANY = np.arange(12)[:, None] < np.arange(37) % 13  # some of no length at all
LARGE = [
    *[
        row(op, *shapes(blocks, states, 12, 37, 21, 45, mask=mask), span=(-0.5, 0.5), reverse=mask is not None)
        for op, blocks, states in (("rnn", 1, 1), ("gru", 3, 1), ("lstm", 4, 2))
        for mask in (None, MANY)
    ],
    row("lstm", *shapes(4, 2, 20, 64, 40, 96, given=False), span=(-0.2, 0.2)),
]
