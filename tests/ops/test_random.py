"""The random room beyond the table: the state, the same bits everywhere, distributions, errors."""

import numpy as np
import pytest
from tests.ops.samples import RANDOM, STATE

import chainrule as cr
from chainrule import Tensor, grad
from chainrule.ops import random as r
from chainrule.ops._op import OPS


def state(seed=1, offset=0):
    return Tensor([seed, offset])


@pytest.mark.parametrize("sample", [s for s in RANDOM if s.op != "dropout"], ids=str)
def test_both_backends_draw_the_same_bits_and_go_as_far(sample):
    found = []
    for backend in ("numpy", "cpu"):
        with cr.backends.use(backend):
            s = Tensor(STATE)
            found.append((OPS[sample.op](s, **sample.params).numpy().tobytes(), s.tolist(), s.storage.version > 0))
    assert found[0] == found[1] and found[0][2]


def test_a_draw_counts_blocks_of_four_words():
    s = state()
    r.uniform(s, shape=(5,))
    assert s.tolist() == [1, 2]
    r.normal(s, shape=(3,))  # two words each
    assert s.tolist() == [1, 4]
    first = r.uniform(state(), shape=(8,)).tolist()
    assert r.uniform(state(offset=1), shape=(4,)).tolist() == first[4:]


def test_distributions():
    n = 200_000
    u, z = r.uniform(state(), shape=(n,)).numpy(), r.normal(state(2), shape=(n,)).numpy()
    assert 0 <= u.min() and u.max() < 1 and abs(u.mean() - 0.5) < 0.003 and abs(u.var() - 1 / 12) < 0.001
    assert abs(z.mean()) < 0.01 and abs(z.std() - 1) < 0.01 and abs((z**4).mean() - 3) < 0.1
    i = r.integers(state(3), low=0, high=10, shape=(n,)).numpy()
    assert np.abs(np.bincount(i, minlength=10) / n - 0.1).max() < 0.003
    assert abs(r.bernoulli(state(4), p=0.3, shape=(n,)).to("float64").mean().item() - 0.3) < 0.005
    assert sorted(r.permutation(state(5), n=1000).tolist()) == list(range(1000))


@pytest.mark.parametrize("backend", ["numpy", "cpu"])
def test_dropout(backend):
    with cr.backends.use(backend):
        x = Tensor(np.ones((100, 100), "float32"), requires_grad=True)
        y, mask = cr.dropout(x, state(), p=0.25)
        assert set(np.unique(y.numpy())) == {np.float32(0), np.float32(1 / 0.75)}
        assert abs(mask.to("float32").mean().item() - 0.75) < 0.02
        np.testing.assert_array_equal(grad(y.sum(), x)[0].numpy(), y.numpy())
        assert cr.dropout(x, state(), p=0.0)[0].tolist() == x.tolist()
        assert cr.dropout(x, state(), p=1.0)[0].sum().item() == 0
        assert cr.dropout(x, state(), p=0.25)[0].tolist() == y.tolist()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda s: r.bernoulli(s, p=1.5, shape=(2,)), ValueError, r"\[bernoulli\] p is 1.5; a probability"),
        (lambda s: r.dropout(Tensor([1.0]), s, p=-0.1), ValueError, r"\[dropout\] p is -0.1"),
        (lambda s: r.dropout(Tensor([1]), s), TypeError, r"\[dropout\] x is int64"),
        (lambda s: r.integers(s, low=2, high=2, shape=(2,)), ValueError, r"\[integers\] low 2 to high 2"),
        (lambda s: r.uniform(s, shape=(2,), dtype="int32"), TypeError, r"\[uniform\] draws floats, not int32"),
        (lambda s: r.normal(s, shape="a"), TypeError, r"\[normal\] a shape is made of integers"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call(state())
