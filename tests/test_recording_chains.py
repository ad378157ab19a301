"""Elementwise calls in a row run as one, and no bit of what they give is another."""

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.cpu import NATIVE
from chainrule.recording.chains import ONE_TO_ONE


def numbers(*shape, seed=0, dtype="float32"):
    return cr.tensor(np.random.default_rng(seed).standard_normal(shape).astype(dtype))


def names(recorded):
    return [call.name for call in recorded.programs[-1].plan.calls]


def replayed(function, *args):
    """What a replay gives, after one with other numbers."""
    recorded = cr.jit(function)
    for _ in range(3):
        recorded(*[-a if a.is_floating else a for a in args])
    found = recorded(*args)
    return recorded, found if isinstance(found, tuple) else (found,)


def same(function, *args):
    recorded, found = replayed(function, *args)
    wanted = function(*args)
    wanted = wanted if isinstance(wanted, tuple) else (wanted,)
    for y, e in zip(found, wanted, strict=True):
        assert (y.shape, y.dtype, y.array.strides) == (e.shape, e.dtype, e.array.strides)
        assert y.numpy().tobytes() == e.numpy().tobytes()
    return recorded


X, Y, Z = (numbers(67, 129, seed=i) for i in range(3))  # not a multiple of a piece, nor of a vector

CASES = {
    "gelu": (lambda x, y, z: cr.gelu(x * y + z), ["mul add gelu"]),
    "numbers": (lambda x, y, z: (x * 2 - 0.5).tanh() / 3 + 1, ["mul sub tanh div …"]),
    "twice": (lambda x, y, z: (x * x + x) * x, ["mul add"]),
    "where": (lambda x, y, z: cr.where(x > y, x * 2, z), ["gt mul where"]),
    "clip": (lambda x, y, z: (x * 3).clip(-0.5, 1.5) * y, ["mul clip"]),
    "several": (lambda x, y, z: ((a := x * y), a + z, (a + z).exp()), ["mul add exp"]),
    "apart": (lambda x, y, z: (x.exp() * 2, (y.tanh() + 1) * z), ["exp mul", "tanh add mul"]),
    "between": (lambda x, y, z: ((x * y + 1).sum(), (x * y + 1) * z), None),
    "one": (lambda x, y, z: x * y, ["mul"]),
    "bits": (lambda x, y, z: (x > 0) & (y > 0), None),
    "scalar tensor": (lambda x, y, z: x * y.sum() + z * z.mean(), None),
    "broadcast": (lambda x, y, z: (x * y[0] + z) * y[:, :1], None),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("case", CASES)
def test_chains_give_the_same(case, threads, dtype):
    function, wanted = CASES[case]
    before = cr._native.get_num_threads()
    cr._native.set_num_threads(threads)
    try:
        recorded = same(function, *(a.to(dtype) for a in (X, Y, Z)))
    finally:
        cr._native.set_num_threads(before)
    assert wanted is None or names(recorded) == wanted


def test_the_order_in_memory_stays():
    last = numbers(4, 33, 9, 16).permute(0, 3, 1, 2)
    recorded = same(lambda x: (x * 2 + 1).relu(), last)
    assert names(recorded) == ["mul add relu"]
    assert names(same(lambda x, y: (x * 2 + y).relu(), last, last.contiguous())) != ["mul add relu"]


def test_gradients_by_rules_are_chains():
    w = numbers(80, 60, seed=3)
    w.requires_grad_()

    def step(x):
        w.grad = None
        y = ((w * x).tanh() * 3 - x).square().sum()
        y.backward()
        return y

    recorded = cr.jit(step)
    for i in range(4):
        x = numbers(80, 60, seed=10 + i)
        found = recorded(x).item(), w.grad.tolist()
        assert found == (step(x).item(), w.grad.tolist())
    assert any(" " in name for name in names(recorded))


def test_small_arrays_are_left_alone():
    recorded = same(lambda x, y: (x * y + 1).tanh(), numbers(4, 4), numbers(4, 4, seed=1))
    assert names(recorded) == ["mul", "add", "tanh"]


def test_special_values_go_through():
    x = numbers(64, 128)
    x.numpy()[::7, ::5] = np.nan
    x.numpy()[1::7, ::5] = np.inf
    x.numpy()[2::7, ::5] = -0.0
    same(lambda x: (cr.relu(x) * -1).exp().log() - x, x)


def test_a_long_row_is_cut():
    def f(x):
        for _ in range(120):
            x = x * 0.99 + 0.01
        return x

    recorded = same(f, X)
    assert len(names(recorded)) == 5


def test_names_are_those_of_kernels():
    assert set(NATIVE) >= ONE_TO_ONE


def test_memory_of_what_is_only_passed_on_is_not_taken():
    recorded, _ = replayed(lambda x: ((x * 2 + 1).tanh() * 3).exp() - 1, numbers(1 << 20))
    x = numbers(1 << 20)
    recorded(x)
    cr._native.memory_stats()
    before = cr._native.memory_stats()["allocations"]
    recorded(x)
    assert cr._native.memory_stats()["allocations"] - before <= 1 + 4  # the result, and scratch of some threads
