"""The random room on a GPU: the bits of the CPU, from a state that moves as far; many blocks, any order of threads."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import Tensor, backends, grad
from chainrule.backends.cuda import driver
from chainrule.ops import random

SEEDS = [(1, 0), (2**40 + 7, 2**33 + 3)]
FLOATS = ("float16", "bfloat16", "float32", "float64")
DRAWS = {
    **{f"uniform {d}": lambda s, n, d=d: random.uniform(s, shape=(n,), dtype=d) for d in FLOATS},
    **{f"normal {d}": lambda s, n, d=d: random.normal(s, shape=(n,), dtype=d) for d in FLOATS},
    "integers": lambda s, n: random.integers(s, low=-3, high=2**31, shape=(n,)),
    "few integers": lambda s, n: random.integers(s, low=5, high=8, shape=(n, 1)),
    "bernoulli": lambda s, n: random.bernoulli(s, p=0.3, shape=(n,)),
    "permutation": lambda s, n: random.permutation(s, n=n),
}


def drawn(backend, call, seed, n):
    """Two draws, one after another, and the state after them."""
    with backends.use(backend):
        state = Tensor(seed)
        return [v.numpy() for v in (call(state, n), call(state, n), state)]


@pytest.mark.parametrize("call", DRAWS.values(), ids=DRAWS)
@pytest.mark.parametrize("n", [0, 1, 5, 3001])
def test_the_same_bits_as_on_the_cpu(call, n):
    for seed in SEEDS if n == 5 else SEEDS[1:]:
        for y, e in zip(drawn("cuda", call, seed, n), drawn("numpy", call, seed, n), strict=True):
            assert y.dtype == e.dtype
            np.testing.assert_array_equal(y.view(np.uint8), e.view(np.uint8))


def test_in_any_order_of_threads():
    if driver.connected().name != "emulated":
        pytest.skip("a GPU has an order of its own")
    call = DRAWS["normal float32"]
    first = drawn("cuda", call, SEEDS[0], 3001)
    try:
        driver.connected().shuffle(3)
        for a, b in zip(drawn("cuda", call, SEEDS[0], 3001), first, strict=True):
            np.testing.assert_array_equal(a, b)
    finally:
        driver.connected().shuffle(0)


@pytest.mark.parametrize("p", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("dtype", FLOATS)
def test_dropout(dtype, p):
    found = []
    for backend in ("cuda", "numpy"):
        with backends.use(backend):
            x = Tensor(np.linspace(-2, 2, 1503).reshape(3, 501), dtype=dtype, requires_grad=True)
            state = Tensor(SEEDS[1])
            y, mask = cr.ops.dropout(x.T, state, p=p)
            found.append([v.numpy() for v in (y, mask, state, *grad((y * y).sum(), x))])
    (y, mask, state, g), wanted = found
    np.testing.assert_array_equal(mask, wanted[1])
    np.testing.assert_array_equal(state, wanted[2])
    np.testing.assert_array_equal(y.astype(np.float64), wanted[0].astype(np.float64))
    limit = {"float16": 2.0**-9, "bfloat16": 2.0**-6}.get(dtype, 1e-6)
    np.testing.assert_allclose(g.astype(np.float64), wanted[3].astype(np.float64), rtol=limit)


def test_generators_agree():
    found = []
    for device in ("cuda", "cpu"):
        with backends.use(device):
            cr.manual_seed(5)
            found.append([cr.rand(7).tolist(), cr.randn(3, 3).tolist(), cr.randperm(600).tolist()])
    assert found[0] == found[1]
