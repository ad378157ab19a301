"""The attention room on a GPU beyond the table: sizes around those of tiles, dropped weights, memory, the same bits."""

import numpy as np
import pytest
from tests.ops import test_attention as on_any

import chainrule as cr
from chainrule import Tensor, backends, grad
from chainrule.backends.cuda import driver
from chainrule.launch import fallbacks

CASES = [  # leading axes, heads that share keys, t, s, d, e, options
    ((1, 2), 1, 65, 33, 20, 7, {}),
    ((2, 1), 2, 33, 65, 64, 64, {"is_causal": True}),
    ((1, 1), 3, 31, 34, 5, 66, {"dropout": 0.4}),
    ((1, 1), 1, 34, 31, 128, 96, {"dropout": 0.4, "is_causal": True, "scale": 0.3}),
]


def attended(backend, case, dtype, mask=None):
    """The result and its gradients."""
    lead, group, t, s, d, e, options = case
    few = (*lead[:-1], lead[-1])
    shapes = [(*lead[:-1], lead[-1] * group, t, d), (*few, s, d), (*few, s, e)]
    with backends.use(backend):
        leaves = [
            Tensor(np.random.default_rng((i, *x)).standard_normal(x), dtype=dtype, requires_grad=True)
            for i, x in enumerate(shapes)
        ]
        state = Tensor([5, 6]) if "dropout" in options else None
        added = None if mask is None else Tensor(mask, dtype=dtype if mask.dtype.kind == "f" else None)
        y = cr.ops.scaled_dot_product_attention(*leaves, added, state, **options)
        cos = Tensor(np.cos(np.arange(y.size)).reshape(y.shape), dtype=dtype)
        return [v.numpy() for v in (y, *grad((y * cos).sum(), leaves))]


@pytest.mark.parametrize("mask", [None, "bool", "float"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_tiles(case, mask):
    _, _, t, s, d, e, _ = case
    rng = np.random.default_rng(1)
    given = {None: None, "bool": rng.random((t, s)) < 0.8, "float": rng.standard_normal((1, s))}[mask]
    wanted = attended("cpu", case, "float64", given)
    before = dict(fallbacks)
    for dtype, limit in (("float64", 1e-11), ("float32", 2e-5)):
        if dtype == "float64" and max(d, e) > 64:
            continue
        for y, x in zip(attended("cuda", case, dtype, given), wanted, strict=True):
            assert y.dtype == dtype
            np.testing.assert_allclose(y, x, rtol=limit, atol=limit * np.abs(x).max())
    assert fallbacks == before  # a kernel did it


@pytest.mark.parametrize(("dtype", "limit"), [("float16", 2.0**-9), ("bfloat16", 2.0**-6)])
def test_16_bits(dtype, limit):
    for y, x in zip(attended("cuda", CASES[1], dtype), attended("cpu", CASES[1], "float64"), strict=True):
        np.testing.assert_allclose(y.astype(np.float64), x, rtol=limit, atol=2 * limit * np.abs(x).max())


def test_the_same_bits_in_any_order_of_threads():
    first = attended("cuda", CASES[2], "float32")
    for seed in (0, 5):
        try:
            if driver.connected().name == "emulated":
                driver.connected().shuffle(seed)
            for a, b in zip(attended("cuda", CASES[2], "float32"), first, strict=True):
                np.testing.assert_array_equal(a, b)
        finally:
            if driver.connected().name == "emulated":
                driver.connected().shuffle(0)


def test_memory_grows_with_the_length_and_not_its_square(gpu):
    """Of 512 queries and keys the weights alone would take 1 MiB."""
    with backends.use("cuda"):
        q, k, v = (Tensor(np.ones((512, 8)), dtype="float32", requires_grad=True) for _ in range(3))
        before = gpu.pool.peak = gpu.pool.in_use
        grad(cr.ops.scaled_dot_product_attention(q, k, v, is_causal=True).sum(), [q, k, v])
        assert gpu.pool.peak - before < 2**18


def test_as_elsewhere():
    with backends.use("cuda"):
        for mask in (np.array([[True] * 3, [False] * 3]), np.array([[0.0] * 3, [-np.inf] * 3])):
            on_any.test_a_query_that_may_look_nowhere("cuda", mask)
        on_any.test_no_keys_and_no_queries("cuda")
        on_any.test_nan_and_large_scores("cuda")
        on_any.test_causal_attention_does_not_see_the_future(65)
        on_any.test_dropout_is_that_of_the_state_and_its_gradient("cuda")


def test_results_lie_in_memory_as_queries_do():
    with backends.use("cuda"):
        x = on_any.random(2, 5, 3, 4)
        y = cr.ops.scaled_dot_product_attention(*(x.permute((0, 2, 1, 3)) for _ in range(3)))
        assert y.permute((0, 2, 1, 3)).array.dense


def test_rotations_of_strided_features():
    rng = np.random.default_rng(0)
    x, cos, sin = rng.standard_normal((3, 8, 50)), rng.standard_normal((50, 4)), rng.standard_normal((50, 1, 4))
    found = []
    for backend in ("cuda", "cpu"):
        with backends.use(backend):
            turned = Tensor(x).permute((0, 2, 1))
            found.append(cr.ops.rotary(turned, Tensor(cos), Tensor(sin)[::-1, 0]).numpy())
    np.testing.assert_allclose(*found, rtol=1e-12, atol=1e-13)
