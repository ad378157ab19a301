"""Native optimizer steps: many parameters in one call, against the formulas in double precision."""

import itertools

import numpy as np
import pytest

from chainrule import _native

SHAPES = [(3, 4), (100_001,), (), (0,), (5, 6, 7), (33,)]


def tensors(dtype, seed, positive=False):
    rng = np.random.default_rng(seed)
    found = [np.asarray(rng.standard_normal(shape)).astype(dtype) for shape in SHAPES]
    found[4] = np.asfortranarray(found[4]) if seed % 2 else found[4]
    found[0] = np.asfortranarray(found[0])
    return [np.abs(x, out=x) for x in found] if positive else found


def close(got, want, dtype):
    for x, y in zip(got, want, strict=True):
        np.testing.assert_allclose(x, y, rtol=2e-6 if dtype == "float32" else 1e-13, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("momentum", "dampening", "decay", "nesterov", "first"),
    [
        c
        for c in itertools.product((0.0, 0.9), (0.0, 0.3), (0.0, 0.1), (False, True), (False, True))
        if c[0] or not c[1]
    ],
)
def test_sgd(dtype, momentum, dampening, decay, nesterov, first):
    p, g, v = (tensors(dtype, seed) for seed in (1, 2, 3))
    want_p, want_v = [], []
    for x, d, s in zip(*([t.astype(float) for t in group] for group in (p, g, v)), strict=True):
        d = d + decay * x
        moving = d if first else momentum * s + (1 - dampening) * d
        want_v.append(moving if momentum else s)
        step = d if not momentum else d + momentum * moving if nesterov else moving
        want_p.append(x - 0.1 * step)
    states = v if momentum else []
    lr = np.array(0.1, dtype)
    result = _native.sgd_(
        lr, *p, *g, *states, count=len(p), momentum=momentum, dampening=dampening, weight_decay=decay,
        nesterov=nesterov, first=first,
    )  # fmt: skip
    assert result == lr
    assert result is not lr
    close(p, want_p, dtype)
    close(v, want_v, dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("decay", "decoupled"), [(0.0, False), (0.1, False), (0.1, True)])
def test_adam(dtype, decay, decoupled):
    p, g, m, v = (tensors(dtype, seed, positive=seed == 4) for seed in (1, 2, 3, 4))
    t, lr, beta1, beta2, eps = 4, 0.01, 0.8, 0.99, 1e-6
    want = [[], [], []]
    for x, d, a, b in zip(*([t.astype(float) for t in group] for group in (p, g, m, v)), strict=True):
        if decoupled:
            x = x * (1 - lr * decay)
        else:
            d = d + decay * x
        a = beta1 * a + (1 - beta1) * d
        b = beta2 * b + (1 - beta2) * d * d
        x = x - lr * (a / (1 - beta1**t)) / (np.sqrt(b / (1 - beta2**t)) + eps)
        for found, value in zip(want, (x, a, b), strict=True):
            found.append(value)
    step = np.array(3, "float32")
    result = _native.adam_(
        step, np.array(lr), *p, *g, *m, *v, count=len(p), beta1=beta1, beta2=beta2, eps=eps, weight_decay=decay,
        decoupled=decoupled,
    )  # fmt: skip
    assert step == result == t
    for got, expected in zip((p, m, v), want, strict=True):
        close(got, expected, dtype)


def test_what_is_declined_is_left_alone():
    p, g = np.ones(3, np.float32), np.ones(3, np.float32)
    frozen = np.ones(3, np.float32)
    frozen.flags.writeable = False
    lr = np.array(0.1)
    assert _native.sgd_(lr, p, p.astype(np.float16), g, g, count=2) is NotImplemented
    assert _native.sgd_(lr, p, frozen, g, g, count=2) is NotImplemented
    assert _native.sgd_(lr, p, p[:2], g, g, count=2) is NotImplemented
    assert _native.sgd_(lr, p, g, count=2) is NotImplemented
    assert _native.sgd_(lr, p, [1.0], count=1) is NotImplemented
    step = np.array(0.0)
    assert _native.adam_(step, lr, p, g, count=1) is NotImplemented
    assert step == 0
    np.testing.assert_array_equal(p, 1)
    assert _native.sgd_(lr, count=0) == lr
    assert _native.rmsprop_(lr, p, g, count=1) is NotImplemented
    assert _native.adagrad_(step, lr, p, g, count=1) is NotImplemented
    assert _native.lion_(lr, p, g, count=1) is NotImplemented
    for name in ("adamax_", "radam_", "adadelta_"):
        assert getattr(_native, name)(step, lr, p, g, g, count=1) is NotImplemented
    assert _native.nadam_(step, lr, p, g, p, g, p, count=1) is NotImplemented  # the product is no number
    assert step == 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("order", [1.0, 2.0])
def test_clip_norm(dtype, order):
    random = np.random.default_rng(0)
    whole = [random.standard_normal(shape).astype(dtype) for shape in ((3,), (300, 400), (), (0, 2), (50, 60))]
    gradients = [*whole[:-1], whole[-1][::2, ::3]]  # the last has gaps
    before = [g.copy() for g in gradients]
    untouched = whole[-1][1::2].copy()
    length = np.linalg.norm(np.concatenate([np.ravel(g) for g in before]).astype(float), order)
    rtol = 2e-7 if dtype == "float32" else 1e-12
    same = _native.clip_norm_(*gradients, max_norm=2 * length, ord=order)
    np.testing.assert_allclose(same, length, rtol=rtol)
    assert all((g == b).all() for g, b in zip(gradients, before, strict=True))
    found = _native.clip_norm_(*gradients, max_norm=length / 4, ord=order)
    np.testing.assert_allclose(found, length, rtol=rtol)
    for g, b in zip(gradients, before, strict=True):
        np.testing.assert_allclose(g, b * (length / 4 / (length + 1e-6)), rtol=4 * rtol)
    assert (whole[-1][1::2] == untouched).all()


def test_clip_norm_of_what_is_no_number():
    g = np.array([1.0, np.nan], np.float32)
    assert np.isnan(_native.clip_norm_(g, np.ones(2, np.float32), max_norm=1.0))
    assert np.isnan(g).all()


def test_clip_norm_declines():
    one, other = np.ones(2, np.float32), np.ones(2)
    assert _native.clip_norm_(one, other, max_norm=1.0) is NotImplemented
    assert _native.clip_norm_(one, max_norm=1.0, ord=np.inf) is NotImplemented
    one.flags.writeable = False
    assert _native.clip_norm_(one, max_norm=1.0) is NotImplemented
