"""Products of bfloat16 against those of float32: the same sums, rounded once; where the processor multiplies such pairs."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest

import chainrule as cr
from chainrule import _native

BRAIN = ml_dtypes.bfloat16
here = _native._bfloat16_products()


def served(test):
    """A test only where the processor multiplies such pairs and CHAINRULE_SIMD asks for no less."""
    test.__test__ = here
    return test


def normal(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(BRAIN)


def close(actual, expected, terms):
    """Half a unit of the last place of bfloat16, and what float32 sums of ``terms`` (of their sizes) lose."""
    assert actual.dtype == BRAIN and actual.shape == expected.shape
    limit = np.abs(expected) * 2.0**-8 + 2.0**-22 * terms
    assert (np.abs(actual.astype(float) - expected) <= limit).all()


def layouts(shape, seed):
    """Row-major, column-major, a window with odd strides, backwards, every second."""
    x = normal(shape, seed)
    yield x
    yield np.asfortranarray(x)
    wide = np.full((shape[0] + 2, shape[1] + 3), np.nan, BRAIN)
    wide[1:-1, 2:-1] = x
    yield wide[1:-1, 2:-1]
    yield x[::-1, ::-1].copy()[::-1, ::-1]
    yield np.repeat(x, 2, axis=1)[:, ::2]


@served
@pytest.mark.parametrize(
    "m, n, k",
    [(1, 1, 1), (3, 2, 17), (15, 33, 7), (32, 10, 128), (2, 70, 301), (9, 40, 600), (70, 48, 2500), (5, 16, 0)],
)
def test_matmul_layouts(m, n, k):
    for a, b in itertools.product(layouts((m, k), 1), layouts((k, n), 2)):
        wide = a.astype(float), b.astype(float)
        close(_native.matmul(a, b), wide[0] @ wide[1], np.abs(wide[0]) @ np.abs(wide[1]))


@served
@pytest.mark.parametrize(
    "a, b", [((3, 4, 5), (3, 5, 6)), ((3, 4, 6), (6, 7)), ((2, 1, 4, 6), (3, 6, 5)), ((2, 0, 5), (2, 5, 3))]
)
def test_matmul_batches(a, b):
    x, y = normal(a), normal(b, 1)
    close(_native.matmul(x, y), x.astype(float) @ y.astype(float), 10.0)


@served
@pytest.mark.parametrize(
    "shape, out", [((1, 784), 10), ((32, 78), 130), ((6, 7, 21), 33), ((300, 520), 640), ((0, 4), 3)]
)
def test_linear_and_gradients(shape, out):
    x, w, b, g = normal(shape), normal((out, shape[-1]), 1), normal((out,), 2), normal((*shape[:-1], out), 3)
    wide = [v.astype(np.float32) for v in (x, w, b, g)]
    y, saved = _native.linear(x, w, b)
    assert saved[0] is x and saved[1] is w
    close(y, _native.linear(*wide[:3])[0].astype(float), np.abs(wide[0]) @ np.abs(wide[1]).T + 4)
    flat_g, flat_x = (np.abs(v).reshape(-1, v.shape[-1]) for v in (wide[3], wide[0]))
    terms = (np.abs(wide[3]) @ np.abs(wide[1]), flat_g.T @ flat_x, flat_g.sum(0))
    ours = _native.linear_vjp(g, x, w, needs=(True, True, True))
    theirs = _native.linear_vjp(wide[3], *wide[:2], needs=(True, True, True))
    for one, other, sizes in zip(ours, theirs, terms, strict=True):
        close(one, other.astype(float), sizes)
    np.testing.assert_array_equal(ours[2], theirs[2].astype(BRAIN), strict=True)  # sums of the same blocks


@served
@pytest.mark.parametrize("kind", ["relu", "sigmoid", "tanh", "gelu", "silu"])
@pytest.mark.parametrize("m, n, k", [(3, 40, 20), (33, 50, 64), (20, 40, 2500)])
def test_activations_are_of_the_sums_and_rounded_once(m, n, k, kind):
    x, w, b = normal((m, k)), normal((n, k), 1), normal((n,), 2)
    y, (*_, kept) = _native.linear_activation(x, w, b, activation=kind)
    wide = _native.linear_activation(*(v.astype(np.float32) for v in (x, w, b)), activation=kind)[0]
    close(y, wide.astype(float), 8.0 * k)
    if kind in ("gelu", "silu"):
        np.testing.assert_array_equal(kept, _native.linear(x, w, b)[0], strict=True)
    else:
        assert kept is y


@served
def test_special_numbers():
    x = np.array([[np.inf, 1], [np.nan, 1], [3e38, 3e38], [1e-40, 0], [-0.0, 0]], BRAIN)
    y = _native.matmul(x, np.ones((2, 1), BRAIN))[:, 0].astype(np.float32)
    assert y[0] == np.inf and np.isnan(y[1]) and y[2] == np.inf and y[4] == 0
    assert y[3] == 0, "a denormal operand counts as zero"
    halfway = _native.matmul(np.array([[1, 2.0**-8], [1, 3 * 2.0**-8]], BRAIN), np.ones((2, 1), BRAIN))
    assert halfway[:, 0].tolist() == [1, 1 + 2.0**-6], "to the even neighbour"


@served
def test_thread_count_changes_no_bit():
    found = []
    for threads in (1, 2, 3):
        cr.set_num_threads(threads)
        for m, n, k in ((700, 600, 600), (64, 40, 3000), (1, 3000, 2000), (768, 512, 128)):
            x, w, g = normal((m, k)), normal((n, k), 1), normal((m, n), 2)
            parts = _native.linear(x, w, None)[0], *_native.linear_vjp(g, x, w, needs=(True, True, True))
            found.append([part.tobytes() for part in parts])
    cr.set_num_threads(2)
    assert found[:4] == found[4:8] == found[8:]


TRAIN = """
import hashlib, numpy as np, chainrule as cr
from chainrule import _native, nn
cr.manual_seed(0)
model = nn.Sequential(nn.Linear(20, 33, activation="gelu"), nn.Linear(33, 7))
x = cr.tensor(np.random.default_rng(0).standard_normal((40, 20)).astype("f4"))
with cr.autocast("bfloat16"):
    loss = model(x).square().mean()
loss.backward()
print(_native._bfloat16_products(), float(loss), *(float(p.grad.square().sum()) for p in model.parameters()))
"""


def test_other_processors_take_the_way_over_float32():
    said = {}
    for simd in ("", _native.simd()):
        done = subprocess.run(
            [sys.executable, "-c", TRAIN], env={**os.environ, "CHAINRULE_SIMD": simd}, capture_output=True, check=True
        )
        said[simd] = done.stdout.decode().split()
    assert said[_native.simd()][0] == "False", "a set that is named is that and no more"
    for one, other in zip(said[""][1:], said[_native.simd()][1:], strict=True):
        assert float(one) == pytest.approx(float(other), rel=2e-2)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_gradients_of_halves_have_their_dtype(dtype):
    x, w, b = (cr.tensor(normal(s, i).astype(np.float32), dtype=dtype, requires_grad=True)
               for i, s in enumerate([(5, 6), (4, 6), (4,)]))  # fmt: skip
    (cr.linear(x, w, b) * 2.0).sum().backward()
    assert {str(v.grad.dtype) for v in (x, w, b)} == {dtype} and b.grad.tolist() == [10.0] * 4
    np.testing.assert_allclose(
        w.grad.numpy().astype(float)[0], 2 * x.detach().numpy().astype(float).sum(0), rtol=2e-2, atol=2e-2
    )
