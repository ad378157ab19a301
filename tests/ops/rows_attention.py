"""Rows of the attention room."""

import numpy as np
from tests.ops import oracles as o
from tests.ops.table import BOTH, row


def attention(q, k, v, mask=None, state=None, *, is_causal=False, scale=None, dropout=0.0):
    """Query by query, key by key."""
    group = q.shape[-3] // k.shape[-3] if q.ndim > 3 else 1
    k, v = (np.repeat(x, group, -3) if group > 1 else x for x in (k, v))
    s = k.shape[-2]
    k, v = (np.broadcast_to(x, (*q.shape[:-2], *x.shape[-2:])) for x in (k, v))
    mask = np.broadcast_to(np.zeros(()) if mask is None else mask, (*q.shape[:-1], s))
    added = np.where(mask, 0.0, -np.inf) if mask.dtype == bool else mask
    kept = np.ones((*q.shape[:-1], s))
    if dropout:
        kept = o.dropout(kept, state, p=dropout)[0]
    y = np.zeros((*q.shape[:-1], v.shape[-1]))
    for at in np.ndindex(q.shape[:-1]):
        head, i = at[:-1], at[-1]
        seen = [j for j in range(s) if added[at][j] > -np.inf and (not is_causal or j <= i)]
        if seen:
            scores = np.array([q[at] @ k[head][j] for j in seen]) * (q.shape[-1] ** -0.5 if scale is None else scale)
            e = np.exp(scores + added[at][seen] - (scores + added[at][seen]).max())
            y[at] = (e / e.sum() * kept[at][seen]) @ v[head][seen]
    return y


def rotary(x, cos, sin):
    """Features i and i + d/2 as a complex number, times another."""
    half = x.shape[-1] // 2
    z = (x[..., :half] + 1j * x[..., half:]) * (cos + 1j * sin)
    return np.concatenate([z.real, z.imag], -1)


STATE = np.array([2**40 + 7, 2**33 + 3])
PICK = np.random.default_rng(0).random


def some(*shape):
    """A mask that lets each query look somewhere."""
    mask = PICK(shape) < 0.6
    mask[..., 0] = True
    return mask


NOWHERE = some(4, 5) & np.array([[True], [False], [True], [True]])
QKV = [(2, 3, 4, 6), (2, 3, 5, 6), (2, 3, 5, 3)]
GROUPED = [(2, 4, 3, 4), (2, 2, 5, 4), (2, 2, 5, 4)]


def attend(*args, **params):
    return row("scaled_dot_product_attention", *args, span=BOTH, expected=attention, **params)


SAMPLES = [
    attend(*QKV), attend((4, 6), (5, 6), (5, 3)), attend((3, 4, 6), (3, 5, 6), (3, 5, 3), is_causal=True),
    attend(*QKV, is_causal=True), attend(*QKV, scale=0.25), attend((1, 2, 1, 3), (1, 2, 7, 3), (1, 2, 7, 3)),
    *[attend(*QKV, mask) for mask in (some(4, 5), some(5), some(3, 1, 5), some(2, 1, 1, 5), some(2, 3, 4, 5), some(4, 1))],
    attend(*QKV, NOWHERE), attend(*QKV, np.zeros((4, 1), bool)), attend(*QKV, some(2, 1, 1, 5), is_causal=True),
    attend(*QKV, (4, 5)), attend(*QKV, (2, 1, 4, 1)), attend(*QKV, (5,), is_causal=True),
    attend(*GROUPED), attend(*GROUPED, is_causal=True), attend((2, 4, 3, 4), (2, 1, 5, 4), (2, 1, 5, 4)),
    attend(*QKV, None, STATE, dropout=0.3), attend(*GROUPED, some(3, 5), STATE, dropout=0.5, is_causal=True),
    row("rotary", (2, 3, 4, 6), (4, 3), (4, 3), span=BOTH, expected=rotary),
    row("rotary", (4, 2), (1,), (4, 1), span=BOTH, expected=rotary),
    row("rotary", (2, 3, 4, 6), (3, 1, 3), (2, 1, 4, 3), span=BOTH, expected=rotary),
    row("rotary", (3, 10), (5,), (1, 5), span=BOTH, expected=rotary),
]  # fmt: skip

LARGE = [
    row("rotary", (4, 6, 100, 40), (100, 20), (6, 1, 20), span=BOTH),
    row("scaled_dot_product_attention", (2, 4, 150, 32), (2, 4, 170, 32), (2, 4, 170, 48), span=BOTH),
    row("scaled_dot_product_attention", (1, 2, 300, 16), (1, 2, 300, 16), (1, 2, 300, 16), span=BOTH, is_causal=True),
    row(
        "scaled_dot_product_attention",
        (3, 6, 65, 32),
        (3, 3, 65, 32),
        (3, 3, 65, 32),
        None,
        STATE,
        span=BOTH,
        dropout=0.2,
    ),
    row("scaled_dot_product_attention", (3, 4, 70, 20), (3, 4, 600, 20), (3, 4, 600, 7), some(70, 600), span=BOTH),
]
