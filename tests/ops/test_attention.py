"""The attention room beyond the table: masks of every shape, memory, length, leaks, dropout, errors."""

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
from tests.ops.rows_attention import attention as oracle

import chainrule as cr
from chainrule import Tensor, grad
from chainrule.ops import rotary, scaled_dot_product_attention

on_both = pytest.mark.parametrize("backend", ["numpy", "cpu"])


def random(*shape, dtype="float64", seed=0, **options):
    return Tensor(np.random.default_rng((seed, *shape)).standard_normal(shape), dtype=dtype, **options)


def heads(t, s=None, d=8, count=2, dtype="float64", **options):
    s = t if s is None else s
    return [random(1, count, n, d, dtype=dtype, seed=i, **options) for i, n in enumerate((t, s, s))]


@on_both
@pytest.mark.parametrize("kind", ["bool", "float"])
def test_masks_of_every_shape(backend, kind):
    rng = np.random.default_rng(1)
    with cr.backends.use(backend):
        q, k, v = random(2, 3, 4, 5), random(2, 3, 6, 5, seed=1), random(2, 3, 6, 2, seed=2)
        for shape in itertools.product((1, 2), (1, 3), (1, 4), (1, 6)):
            for lead in range(5):
                if any(n > 1 for n in shape[:lead]):
                    continue
                mask = rng.random(shape[lead:]) < 0.7 if kind == "bool" else rng.standard_normal(shape[lead:])
                y = scaled_dot_product_attention(q, k, v, Tensor(mask))
                wanted = oracle(q.numpy(), k.numpy(), v.numpy(), mask)
                np.testing.assert_allclose(y.numpy(), wanted, rtol=1e-12, atol=1e-14)


def test_masks_in_any_memory_order():
    q, k, v = random(3, 4, 5), random(3, 70, 5, seed=1), random(3, 70, 2, seed=2)
    mask = np.random.default_rng(0).random((3, 4, 70)) < 0.5
    turned = Tensor(np.ascontiguousarray(mask.transpose(2, 0, 1))).permute((1, 2, 0))
    backward = Tensor(mask[..., ::-1].copy()).numpy()[..., ::-1]
    wanted = oracle(q.numpy(), k.numpy(), v.numpy(), mask)
    for m in (turned, Tensor(backward)):
        np.testing.assert_allclose(scaled_dot_product_attention(q, k, v, m).numpy(), wanted, rtol=1e-12, atol=1e-14)


@on_both
@pytest.mark.parametrize("mask", [np.array([[True] * 3, [False] * 3]), np.array([[0.0] * 3, [-math.inf] * 3])])
def test_a_query_that_may_look_nowhere(backend, mask):
    with cr.backends.use(backend):
        q, k, v = (random(n, 4, seed=n, requires_grad=True) for n in (2, 3, 3))
        y = scaled_dot_product_attention(q, k, v, Tensor(mask))
        assert y[1].tolist() == [0, 0, 0, 0] and all(y[0].tolist())
        gq, gk, gv = grad(y.sum(), [q, k, v])
        assert gq[1].tolist() == [0, 0, 0, 0]
        assert all(np.isfinite(g.numpy()).all() for g in (gq, gk, gv))


@on_both
def test_no_keys_and_no_queries(backend):
    with cr.backends.use(backend):
        q, k, v = random(2, 3), random(0, 3), random(0, 4)
        assert scaled_dot_product_attention(q, k, v).tolist() == [[0] * 4] * 2
        assert scaled_dot_product_attention(q[:0], random(2, 3), random(2, 4)).shape == (0, 4)


@on_both
def test_nan_and_large_scores(backend):
    with cr.backends.use(backend):
        k, v = Tensor([[1.0], [2.0]]), Tensor([[3.0], [4.0]])
        assert np.isnan(scaled_dot_product_attention(Tensor([[math.nan]]), k, v).numpy()).all()
        assert scaled_dot_product_attention(Tensor([[1e4], [-1e4]]), k, v).tolist() == [[4], [3]]


@pytest.mark.parametrize("t", [5, 64, 257])
def test_causal_attention_does_not_see_the_future(t):
    """The result and its gradients of the first queries are the same bits, whatever comes after."""
    q, k, v = heads(t, dtype="float32")
    cut = t // 2
    y = scaled_dot_product_attention(q, k, v, is_causal=True)
    k2, v2 = (x.clone() for x in (k, v))
    k2[:, :, cut:], v2[:, :, cut:] = 1e6, -1e6
    assert (scaled_dot_product_attention(q, k2, v2, is_causal=True)[:, :, :cut] == y[:, :, :cut]).all()
    assert not (scaled_dot_product_attention(q, k2, v2, is_causal=True)[:, :, cut:] == y[:, :, cut:]).any()
    k.requires_grad = True
    (g,) = grad(scaled_dot_product_attention(q, k, v, is_causal=True)[:, :, :cut].sum(), k)
    assert (g[:, :, cut:] == 0).all() and g[:, :, :cut].abs().amax() > 0


def test_a_long_sequence():
    """2,000 queries and keys against the formula in float64."""
    q, k, v = heads(2000, d=16, dtype="float32")
    y = scaled_dot_product_attention(q, k, v, is_causal=True).numpy()
    a, b, c = (x.numpy().astype(np.float64) for x in (q, k, v))
    scores = a @ b.swapaxes(-1, -2) / 4
    e = np.exp(np.where(np.tri(2000, dtype=bool), scores, -np.inf))
    np.testing.assert_allclose(y, e @ c / e.sum(-1, keepdims=True), atol=2e-5)


MEASURE = """
import numpy as np
from chainrule import Tensor, _native, grad
from chainrule.ops import scaled_dot_product_attention

for t in (1024, 2048, 4096):
    q, k, v = (Tensor(np.random.standard_normal((1, 1, t, 32)), dtype="float32", requires_grad={train}) for _ in range(3))
    mask = {mask}
    before = _native.memory_stats()["in_use"]
    y = scaled_dot_product_attention(q, k, v, mask, Tensor([0, 0]), is_causal={causal}, dropout={dropout})
    if {train}:
        grad(y.sum(), [q, k, v])
    print(_native.memory_stats()["peak"] - before)
"""


@pytest.mark.parametrize(
    "options",
    [
        {"train": False, "mask": "Tensor(np.arange(t) % 3 > 0)", "causal": False, "dropout": 0.0},
        {"train": True, "mask": "None", "causal": True, "dropout": 0.1},
    ],
)
def test_memory_grows_with_the_length_and_not_its_square(options):
    """Of 4,096 queries and keys the scores alone would take 64 MiB; q, k and v are 1.5."""
    program = [sys.executable, "-c", MEASURE.format(**options)]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    small, middle, large = map(int, done.stdout.split())
    assert large < 8 * 2**20
    assert large < 2.2 * middle < 2.2**2 * small * 1.1


@on_both
def test_dropout_is_that_of_the_state_and_its_gradient(backend):
    with cr.backends.use(backend):
        q, k, v = heads(40, 50, requires_grad=True)
        state = Tensor([3, 4])
        y = scaled_dot_product_attention(q, k, v, None, state, dropout=0.25)
        assert state.tolist() == [3, 4]
        assert (scaled_dot_product_attention(q, k, v, None, state, dropout=0.25) == y).all()
        assert not (scaled_dot_product_attention(q, k, v, None, Tensor([3, 5]), dropout=0.25) == y).any()
        assert (scaled_dot_product_attention(q, k, v, None, state, dropout=1.0) == 0).all()
        ones = scaled_dot_product_attention(q * 0, k, Tensor(np.ones((1, 2, 50, 1))), None, state, dropout=0.25)
        assert abs(ones.mean().item() - 1) < 0.02  # kept weights grow by as much as others are dropped


def test_backends_agree_on_dropout():
    found = []
    for backend in ("numpy", "cpu"):
        with cr.backends.use(backend):
            q, k, v = heads(33, 300)
            found.append(scaled_dot_product_attention(q, k, v, None, Tensor([3, 4]), dropout=0.5).numpy())
    np.testing.assert_allclose(*found, rtol=1e-12, atol=1e-14)


def test_float_masks_have_gradients():
    q, k, v = heads(3, 4)
    mask = random(3, 4, requires_grad=True)
    assert cr.gradcheck(lambda m: scaled_dot_product_attention(q, k, v, m), mask)


def test_results_lie_in_memory_as_queries_do():
    """So that heads go together again without a copy."""
    x = random(2, 5, 3, 4)
    y = scaled_dot_product_attention(*(x.permute((0, 2, 1, 3)) for _ in range(3)))
    assert y.permute((0, 2, 1, 3)).numpy().flags.c_contiguous


@pytest.mark.parametrize(
    ("shapes", "params", "error", "message"),
    [
        ([(3,), (3,), (3,)], {}, ValueError, r"q has shape \(3,\)"),
        ([(2, 3), (4, 5), (4, 3)], {}, ValueError, "differ in their last axis, the size of a key"),
        ([(2, 3), (4, 3), (5, 3)], {}, ValueError, "a value for each key"),
        ([(2, 3), (1, 4, 3), (4, 3)], {}, ValueError, "should be"),
        ([(3, 2, 3), (2, 4, 3), (2, 4, 3)], {}, ValueError, "leading axes"),
        ([(1, 4, 2, 3), (1, 3, 4, 3), (1, 3, 4, 3)], {}, ValueError, "q's heads or a divisor of them"),
        ([(1, 4, 2, 3), (1, 2, 4, 3), (1, 4, 4, 3)], {}, ValueError, "leading axes"),
        ([(2, 3), (4, 3), (4, 3), (3, 4)], {}, ValueError, r"mask of shape \(3, 4\) does not broadcast to the scores"),
        ([(2, 3), (4, 3), (4, 3)], {"dropout": 1.5}, ValueError, "p is 1.5"),
        ([(2, 3), (4, 3), (4, 3)], {"dropout": 0.5}, ValueError, "needs state"),
    ],
)  # fmt: skip
def test_bad_arguments(shapes, params, error, message):
    with pytest.raises(error, match=rf"\[scaled_dot_product_attention\].*{message}|\[scaled.*\] {message}"):
        scaled_dot_product_attention(*(random(*s) for s in shapes), **params)


def test_wrong_dtypes():
    q, k, v = heads(2)
    with pytest.raises(TypeError, match=r"q is float64 and k float32.*cast one"):
        scaled_dot_product_attention(q, k.to("float32"), v)
    with pytest.raises(TypeError, match="mask is int64; it should be bool, True where a query may look, or float64"):
        scaled_dot_product_attention(q, k, v, Tensor([[1, 0]]))


def test_rotated_scores_depend_on_the_distance():
    x, y = random(1, 8), random(1, 8, seed=1)
    angles = np.arange(20)[:, None] * 0.7 ** np.arange(4)
    cos, sin = Tensor(np.cos(angles)), Tensor(np.sin(angles))
    score = rotary(x.expand((20, 8)), cos, sin) @ rotary(y.expand((20, 8)), cos, sin).T
    for distance in range(-5, 6):
        assert np.ptp(np.diagonal(score.numpy(), distance)) < 1e-12


@pytest.mark.parametrize(
    ("shapes", "message"),
    [([(4,), (2,), (2,)], "even d"), ([(2, 3), (1,), (1,)], "even d"), ([(2, 4), (3, 2), (2, 2)], "cos of shape")],
)
def test_rotary_errors(shapes, message):
    with pytest.raises(ValueError, match=rf"\[rotary\].*{message}"):
        rotary(*(random(*s) for s in shapes))


def test_the_kernel_is_the_body_at_every_size():
    """Random sizes around those of its blocks, with everything on and off."""
    rng = np.random.default_rng(7)
    for _ in range(25):
        n, group, shared = (int(x) for x in rng.integers(1, 4, 3))
        t, s = (int(rng.choice([1, 2, 13, 15, 31, 64, 65, 129, 257])) for _ in range(2))
        d, e = (int(x) for x in rng.integers(1, 40, 2))
        shapes = [(n, group * shared, t, d), (n, shared, s, d), (n, shared, s, e)]
        params = {"is_causal": bool(rng.random() < 0.5), "dropout": float(rng.choice([0.0, 0.4]))}
        mask = rng.random((t, s)) < 0.8 if rng.random() < 0.5 else rng.standard_normal((n, 1, 1, s))
        arrays, found = [rng.standard_normal(x) for x in shapes], []
        for backend in ("numpy", "cpu"):
            with cr.backends.use(backend):
                leaves = [Tensor(a, requires_grad=True) for a in arrays]
                y = scaled_dot_product_attention(*leaves, Tensor(mask), Tensor([5, 6]), **params)
                weights = Tensor(np.cos(np.arange(y.size)).reshape(y.shape))
                found.append([y, *grad((y * weights).sum(), leaves)])
        for reference, native in zip(*found, strict=True):
            np.testing.assert_allclose(native.numpy(), reference.numpy(), rtol=1e-10, atol=1e-11)
