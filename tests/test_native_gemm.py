"""The native matrix products against float64 NumPy: every layout, edges of the tiles, gradients, threads."""

from __future__ import annotations

import itertools
import sys
import threading
import time

import numpy as np
import pytest

from chainrule import _native

TOLERANCE = {"float32": 2e-6, "float64": 1e-14}


def normal(shape, dtype, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def close(actual, expected, dtype, depth):
    assert actual.dtype == dtype
    np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE[dtype] * (1 + depth) ** 0.5 * 4)


def layouts(shape, dtype, seed):
    """The same values row-major, column-major, as a window with gaps, backwards, and widened with a stride of two."""
    x = normal(shape, dtype, seed)
    yield x
    yield np.asfortranarray(x)
    wide = np.zeros((shape[0] + 2, shape[1] + 3), dtype)
    wide[1:-1, 2:-1] = x
    yield wide[1:-1, 2:-1]
    yield x[::-1, ::-1].copy()[::-1, ::-1]
    yield np.repeat(x, 2, axis=1)[:, ::2]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "m, n, k",
    [(1, 1, 1), (1, 128, 40), (3, 2, 17), (15, 33, 7), (32, 10, 128), (29, 65, 33), (70, 48, 600), (5, 16, 0)],
)
def test_matmul_layouts(m, n, k, dtype):
    for a, b in itertools.product(layouts((m, k), dtype, 1), layouts((k, n), dtype, 2)):
        close(_native.matmul(a, b), a.astype(float) @ b.astype(float), dtype, k)


@pytest.mark.parametrize("m", [1, 2, 4, 5, 13, 14, 15, 27, 28, 29])
def test_matmul_edges(m):
    for n, k in itertools.product([1, 4, 5, 15, 16, 17, 31, 32, 33], [1, 3, 16]):
        a, b = normal((m, k), "float32"), normal((k, n), "float32", 1)
        close(_native.matmul(a, b), a.astype(float) @ b, "float32", k)
        bt = np.ascontiguousarray(b.T)
        close(_native.matmul(a, bt.T), a.astype(float) @ b, "float32", k)


@pytest.mark.parametrize(
    "a, b",
    [
        ((3, 4, 5), (3, 5, 6)),
        ((3, 4, 5), (5, 6)),
        ((4, 5), (2, 3, 5, 6)),
        ((2, 1, 4, 5), (3, 5, 6)),
        ((2, 3, 1, 5), (1, 3, 5, 2)),
        ((0, 4, 5), (5, 6)),
        ((2, 0, 5), (2, 5, 3)),
        ((2, 3, 0), (2, 0, 3)),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_matmul_batches(a, b, dtype):
    x, y = normal(a, dtype), normal(b, dtype, 1)
    close(_native.matmul(x, y), x.astype(float) @ y.astype(float), dtype, a[-1])
    swapped = np.ascontiguousarray(np.swapaxes(x, -1, -2)), np.ascontiguousarray(np.swapaxes(y, -1, -2))
    close(_native.matmul(*(np.swapaxes(s, -1, -2) for s in swapped)), x.astype(float) @ y, dtype, a[-1])


def test_matmul_of_heads():
    q = normal((2, 7, 3, 8), "float32")  # (batch, time, heads, width), read as (batch, heads, time, width)
    heads = np.transpose(q, (0, 2, 1, 3))
    scores = _native.matmul(heads, np.swapaxes(heads, -1, -2))
    close(scores, np.einsum("bthd,bshd->bhts", q.astype(float), q), "float32", 8)
    folded = _native.matmul(heads, normal((8, 5), "float32", 1))
    close(folded, heads.astype(float) @ normal((8, 5), "float32", 1), "float32", 8)


@pytest.mark.parametrize("layout", range(4))
def test_big_products_are_packed_and_copied(layout):
    a = normal((600, 700), "float32") if layout & 1 else normal((700, 600), "float32").T
    b = normal((700, 530), "float32", 1) if layout & 2 else normal((530, 700), "float32", 1).T
    close(_native.matmul(a, b), a.astype(float) @ b.astype(float), "float32", 700)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_that_collide_in_the_caches_are_copied(dtype):
    b = normal((1024, 300), dtype, 1)
    for a in (normal((200, 1024), dtype), normal((150, 2048), dtype)[:, ::2], normal((1100, 1024), dtype)):
        close(_native.matmul(a, b), a.astype(float) @ b.astype(float), dtype, 1024)


@pytest.mark.parametrize("m", range(1, 15))
def test_few_rows_are_dot_products(m):
    for n, k in itertools.product([m, 37], [255, 256, 300]):
        x, w, b = normal((m, k), "float32"), normal((n, k), "float32", 1), normal((n,), "float32", 2)
        close(_native.linear(x, w, b)[0], x.astype(float) @ w.T + b, "float32", k)
        close(_native.linear(w, x, None)[0], w.astype(float) @ x.T, "float32", k)


def test_a_tall_product_is_worked_in_stripes():
    a, b = normal((9000, 520), "float32"), normal((520, 300), "float32", 1)
    close(_native.matmul(a, b), a @ b, "float32", 4 * 520)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(1, 784), (32, 784), (200, 30), (6, 7, 20), (5,), (0, 4)])
@pytest.mark.parametrize("out", [1, 10, 130])
def test_linear_and_gradients(shape, out, dtype):
    x, w, b = normal(shape, dtype), normal((out, shape[-1]), dtype, 1), normal((out,), dtype, 2)
    g = normal((*shape[:-1], out), dtype, 3)
    y, saved = _native.linear(x, w, b)
    close(y, x.astype(float) @ w.T.astype(float) + b, dtype, shape[-1])
    close(_native.linear(x, w, None)[0], x.astype(float) @ w.T.astype(float), dtype, shape[-1])
    gx, gw, gb = _native.linear_vjp(g, *saved, needs=(True, True, True))
    flat_g, flat_x = g.reshape(-1, out).astype(float), x.reshape(-1, shape[-1])
    close(gx, g.astype(float) @ w, dtype, out)
    close(gw, flat_g.T @ flat_x, dtype, len(flat_g))
    close(gb, flat_g.sum(0), dtype, len(flat_g))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["relu", "sigmoid", "tanh", "gelu", "silu"])
@pytest.mark.parametrize(
    "m, n, k",  # of dot products both ways round, one tile, several blocks of K, stripes, nothing to sum
    [
        (1, 33, 20),
        (50, 3, 20),
        (9, 30, 300),
        (32, 128, 78),
        (6, 70, 2500),
        (300, 520, 600),
        (3000, 290, 700),
        (5, 7, 0),
        (0, 3, 2),
    ],
)
def test_an_activation_is_the_same_bits_as_its_op(m, n, k, kind, dtype):
    if m * n * k > 1e8 and (dtype, kind) != ("float32", "tanh"):
        m //= 10
    x, w, b, g = (normal(s, dtype, i) / max(1, k) ** 0.25 for i, s in enumerate([(m, k), (n, k), (n,), (m, n)]))
    x[:1, :1] = np.nan  # passes through
    for rows, bias in ((x, b), (np.asfortranarray(x), None)):
        y, (x_saved, w_saved, y_saved) = _native.linear_activation(rows, w, bias, activation=kind)
        plain = _native.linear(rows, w, bias)[0]
        more = {"approximate": "none"} if kind == "gelu" else {}
        expected = getattr(_native, kind)(plain, **more)
        np.testing.assert_array_equal(y, expected[0] if type(expected) is tuple else expected, strict=True)
        assert x_saved is rows and w_saved is w
        if kind in ("gelu", "silu"):  # their gradients need what was before
            np.testing.assert_array_equal(y_saved, plain, strict=True)
            (slope,) = getattr(_native, kind + "_vjp")(g, plain, needs=(True,), **more)
        else:
            assert y_saved is y
            slope = {"relu": np.where(y <= 0, 0, g), "sigmoid": g * (y * (1 - y)), "tanh": g * (1 - y * y)}[kind]
        ours = _native.linear_activation_vjp(g, rows, w, y_saved, needs=(True, True, True), activation=kind)
        parts = _native.linear_vjp(slope.astype(dtype), rows, w, needs=(True, True, True))
        for one, other in zip(ours, parts, strict=True):
            np.testing.assert_array_equal(one, other, strict=True)


def test_linear_activation_computes_what_is_needed():
    x, w, g = normal((4, 3), "float32"), normal((5, 3), "float32", 1), np.broadcast_to(np.float32(1), (4, 5))
    y = _native.linear_activation(x, w, None, activation="tanh")[0]
    found = _native.linear_activation_vjp(g, x, w, y, needs=(True, False, False), activation="tanh")
    assert found[0].shape == (4, 3) and found[1] is None and found[2] is None
    assert _native.linear_activation(x, w, None, activation="mish") is NotImplemented


def test_linear_vjp_computes_what_is_needed():
    x, w = normal((4, 3), "float32"), normal((5, 3), "float32", 1)
    assert _native.linear_vjp(normal((4, 5), "float32", 2), x, w, needs=(False, False, False)) == (None, None, None)
    gx, gw, gb = _native.linear_vjp(normal((4, 5), "float32", 2), x, w, needs=(False, True, False))
    assert gx is None and gb is None and gw.shape == (5, 3)


def test_linear_of_awkward_strides():
    x = np.transpose(normal((7, 5, 6), "float32"), (2, 0, 1))  # rows that no single stride describes
    w = normal((4, 5), "float32", 1)[::-1]
    g = np.broadcast_to(np.float32(1.5), (6, 7, 4))  # the gradient of a sum
    y, saved = _native.linear(x, w, None)
    close(y, x.astype(float) @ w.T, "float32", 5)
    gx, gw, gb = _native.linear_vjp(g, *saved, needs=(True, True, True))
    close(gx, g.astype(float) @ w, "float32", 4)
    close(gw, np.einsum("abo,abi->oi", g, x.astype(float)), "float32", 42)
    close(gb, np.full(4, 63.0), "float32", 1)


def test_thread_count_changes_no_bit():
    cases = [
        ((700, 600), (600, 700)),
        ((64, 3000), (3000, 40)),
        ((40, 64, 64),) * 2,
        ((1, 2000), (2000, 3000)),
        ((10, 900), (900, 2000)),
        ((768, 128), (128, 512)),
        ((300, 1024), (1024, 300)),
    ]
    results = []
    for threads in (1, 2, 3):
        _native.set_num_threads(threads)
        row = []
        for a, b in cases:
            x, y = normal(a, "float32"), normal(b[::-1] if len(b) == 2 else b, "float32", 1)
            row.append(_native.matmul(x, y.T if len(b) == 2 else y).tobytes())
            if len(b) == 2:
                row.append(_native.linear_activation(x, y, None, activation="sigmoid")[0].tobytes())
                parts = _native.linear_vjp(normal((len(x), len(y)), "float32", 2), x, y, needs=(True, True, True))
                row += [part.tobytes() for part in parts]
        results.append(row)
    _native.set_num_threads(2)
    assert results[0] == results[1] == results[2]


def test_a_large_product_lets_other_threads_run_and_a_small_one_does_not():
    ticks, over = [0], threading.Event()

    def tick():
        while not over.is_set():
            ticks[0] += 1
            time.sleep(0.001)

    small, large = normal((100, 100), "float32"), normal((1500, 1500), "float32")
    interval = sys.getswitchinterval()
    thread = threading.Thread(target=tick)
    thread.start()
    sys.setswitchinterval(60)  # from here on only who gives the GIL away loses it
    try:
        before = ticks[0]
        for _ in range(500):
            _native.matmul(small, small)
        assert ticks[0] == before
        _native.matmul(large, large)
        assert ticks[0] >= before + 5
    finally:
        sys.setswitchinterval(interval)
        over.set()
        thread.join()


def test_other_dtypes_and_wrong_shapes():
    i = np.ones((2, 2), "int64")
    assert _native.matmul(i, i) is NotImplemented
    assert _native.matmul(np.ones((2, 2), "float32"), np.ones((2, 2))) is NotImplemented
    assert _native.linear(i, i, None) is NotImplemented
    assert _native.matmul(np.ones((2, 2), ">f4"), np.ones((2, 2), ">f4")) is NotImplemented
    with pytest.raises(ValueError, match=r"\[matmul\]"):
        _native.matmul(np.ones((2, 3)), np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"\[linear\]"):
        _native.linear(np.ones((2, 3)), np.ones((2, 4)), None)
