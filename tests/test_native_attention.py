"""The native attention, forward and backward, against float64 NumPy: few heads and many, odd sizes, keys nobody may see."""

import numpy as np
import pytest

from chainrule import _native


def attention(q, k, v, g, mask, causal):
    """The result and the gradients, in float64; heads of q share those of k and v."""
    shared = k.shape[1]
    q, k, v, g = (x.astype(np.float64) for x in (q, k, v, g))
    k, v = (np.repeat(x, q.shape[1] // shared, 1) for x in (k, v))
    scores = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1])
    seen = np.broadcast_to(np.tri(*scores.shape[-2:], dtype=bool) if causal else True, scores.shape)
    seen = seen if mask is None else seen & mask
    top = np.where(seen, scores, -1e300).max(-1, keepdims=True)
    weights = np.where(seen, np.exp(np.where(seen, scores - top, 0)), 0)
    weights /= np.maximum(weights.sum(-1, keepdims=True), 1e-300)
    y = weights @ v
    of_scores = weights * (g @ v.swapaxes(-1, -2) - (g * y).sum(-1, keepdims=True)) / np.sqrt(q.shape[-1])
    gk, gv = of_scores.swapaxes(-1, -2) @ q, weights.swapaxes(-1, -2) @ g
    gk, gv = (x.reshape(len(x), shared, -1, *x.shape[2:]).sum(2) for x in (gk, gv))
    return y, of_scores @ k, gk, gv


CASES = [
    # batch, heads of k, heads of q for each, queries, keys, size of q, size of v
    (3, 4, 1, 64, 64, 32, 32), (2, 4, 2, 65, 130, 16, 48), (1, 2, 3, 13, 200, 8, 20), (1, 1, 1, 1, 300, 64, 64),
    (2, 5, 1, 300, 17, 3, 1), (4, 2, 1, 14, 129, 32, 16), (1, 1, 1, 5, 5, 1, 8), (1, 1, 2, 130, 64, 20, 32),
]  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_results_and_gradients(case, causal, masked, dtype):
    batch, shared, group, t, s, size, out = case
    rng = np.random.default_rng(0)

    def drawn(heads, n, width):  # heads inside rows, as a model has them
        return rng.standard_normal((batch, n, heads, width)).astype(dtype).swapaxes(1, 2)

    q, k, v, g = (
        drawn(shared * group, t, size),
        drawn(shared, s, size),
        drawn(shared, s, out),
        drawn(shared * group, t, out),
    )
    mask = rng.random((batch, 1, t, s)) < 0.7 if masked else None
    options = {"is_causal": causal, "scale": None, "dropout": 0.0}
    before, found = _native.get_num_threads(), []
    try:
        for threads in (1, 2):
            _native.set_num_threads(threads)
            y, saved = _native.scaled_dot_product_attention(q, k, v, mask, None, **options)
            needs = (True, True, True, False, False)
            gradients = _native.scaled_dot_product_attention_vjp(
                g, q, k, v, mask, None, y, saved[-1], needs=needs, **options
            )
            found.append((y, *gradients[:3]))
    finally:
        _native.set_num_threads(before)
    for one, two, right in zip(*found, attention(q, k, v, g, mask, causal), strict=True):
        assert (one == two).all()
        error = np.abs(one - right).max() / max(1, np.abs(right).max())
        assert error < (4e-6 if dtype == np.float32 else 1e-14), error
