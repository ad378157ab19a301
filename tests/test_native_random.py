"""Native random draws: bit for bit the reference's, which gives the published answers."""

import numpy as np
import pytest

from chainrule import _native
from chainrule.backends import _philox

STATES = [(0, 0), (12345678901234, 7), (2**63 - 1, 2**40 + 3), (5, 2**32 - 2)]  # the last draws across 32 bits
SHAPES = [(), (0,), (1,), (7,), (1023,), (2049,), (50001,), (3, 5, 7)]


def draws(shape):
    yield "uniform", {"shape": shape, "dtype": "float32"}
    yield "uniform", {"shape": shape, "dtype": "float64"}
    yield "normal", {"shape": shape, "dtype": "float32"}
    yield "normal", {"shape": shape, "dtype": "float64"}
    yield "integers", {"low": -7, "high": 1000003, "shape": shape}
    yield "integers", {"low": 0, "high": 2**32 - 1, "shape": shape}
    yield "bernoulli", {"p": 0.3, "shape": shape}
    yield "bernoulli", {"p": 0.0, "shape": shape}
    yield "bernoulli", {"p": 1.0, "shape": shape}
    yield "permutation", {"n": int(np.prod(shape))}


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_known_answers(counter, key, words):
    """Those published with Random123."""
    numbers = [np.array([int(w, 16)], np.uint64) for w in counter.split()]
    drawn = _philox.philox(*numbers, *(int(w, 16) for w in key.split()))
    assert [f"{w:08x}" for w in drawn[0]] == words.split()


def test_the_first_block_of_seed_0_is_the_first_known_answer():
    drawn = _native.uniform(np.array([0, 0]), shape=(4,), dtype="float32")
    assert (drawn * 2.0**24).tolist() == [w >> 8 for w in (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)]


@pytest.mark.parametrize("state", STATES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_reference_draws_the_same_bits(state, shape):
    for name, params in draws(shape):
        here, there = np.array(state), np.array(state)
        got, want = getattr(_native, name)(here, **params), getattr(_philox, name)(there, **params)
        assert (got.dtype, got.shape) == (want.dtype, want.shape)
        assert got.tobytes() == want.tobytes(), (name, params)
        assert here.tolist() == there.tolist()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("p", [0.0, 0.25, 0.9, 1.0])
def test_dropout(dtype, p):
    x = np.random.default_rng(0).standard_normal((40, 61)).astype(dtype)
    for y in (x, np.asfortranarray(x), x[::-1, ::2], x[0, 0, ...].reshape(())):
        here, there = np.array([3, 4]), np.array([3, 4])
        got, want = _native.dropout(y, here, p=p), _philox.dropout(y, there, p=p)
        for a, b in zip(got, want, strict=True):
            np.testing.assert_array_equal(a, b, strict=True)
        assert here.tolist() == there.tolist()
        assert abs(got[1].mean() - (1 - p)) <= 0.1 or y.ndim == 0


def test_draws_follow_one_another():
    """A draw uses whole blocks; then the next begins."""
    state = np.array([9, 0])
    first, second = (_native.uniform(state, shape=(n,), dtype="float32") for n in (5, 3))
    stream = _native.uniform(np.array([9, 0]), shape=(12,), dtype="float32")
    assert state.tolist() == [9, 3]
    np.testing.assert_array_equal(first, stream[:5])
    np.testing.assert_array_equal(second, stream[8:11])


def test_the_number_of_threads_changes_no_bit():
    before, found = _native.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            _native.set_num_threads(threads)
            found.append([getattr(_native, name)(np.array([1, 2]), **p).tobytes() for name, p in draws((200_001,))])
    finally:
        _native.set_num_threads(before)
    assert found[0] == found[1] == found[2]


def test_distributions():
    state = np.array([42, 0])
    u = _native.uniform(state, shape=(200_000,), dtype="float64")
    assert 0 <= u.min() < 1e-4 < 1 - 1e-4 < u.max() < 1
    assert abs(u.mean() - 0.5) < 0.003
    z = _native.normal(state, shape=(200_000,), dtype="float32")
    assert abs(z.mean()) < 0.01
    assert abs(z.std() - 1) < 0.01
    assert abs((z < -1.959964).mean() - 0.025) < 0.002
    counts = np.bincount(_native.integers(state, low=0, high=10, shape=(200_000,)), minlength=10)
    assert (np.abs(counts - 20_000) < 600).all()
    assert sorted(_native.permutation(state, n=1000).tolist()) == list(range(1000))


def test_bad_arguments():
    with pytest.raises(ValueError, match="a random state"):
        _native.uniform(np.zeros(2), shape=(3,), dtype="float32")
    frozen = np.array([0, 0])
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="writable"):
        _native.normal(frozen, shape=(3,), dtype="float32")
    state = np.array([0, 0])
    assert _native.integers(state, low=3, high=3, shape=(2,)) is NotImplemented
    assert _native.uniform(state, shape=(2,), dtype="bfloat16") is NotImplemented
    assert state.tolist() == [0, 0], "a call that is declined draws nothing"
    with pytest.raises(ValueError, match="integers"):
        _philox.integers(state, low=0, high=2**32, shape=(2,))
