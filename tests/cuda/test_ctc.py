"""The CTC room on a GPU beyond the table: more states than threads, dtypes, strides, the same bits."""

import numpy as np
import pytest
from tests.ops import test_ctc as on_any

import chainrule as cr
from chainrule import Tensor, backends, grad
from chainrule.backends.cuda import driver
from chainrule.launch import fallbacks


def found(backend, dtype, time, n, classes, labels, **options):
    """The losses and their gradient, of scores that lie in another order."""
    rng = np.random.default_rng(0)
    scores, target = rng.standard_normal((n, classes, time)), rng.integers(0, classes, (n, labels))
    with backends.use(backend):
        lengths = Tensor(time - np.arange(n)), Tensor(labels - np.arange(n))
        x = Tensor(scores, dtype=dtype, requires_grad=True)
        loss = cr.ctc(x.log_softmax(axis=1).permute((2, 0, 1)), Tensor(target), *lengths, blank=1, **options)
        weights = Tensor(np.cos(np.arange(loss.size)).reshape(loss.shape), dtype=loss.dtype)
        return [loss.numpy(), grad((loss * weights).sum(), x)[0].numpy()]


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize(("dtype", "limit"), [("float64", 1e-11), ("float32", 1e-5), ("bfloat16", 2.0**-6)])
def test_losses_and_gradients(dtype, limit, reduction):
    before = dict(fallbacks)
    sizes = {"time": 23, "n": 3, "classes": 6, "labels": 7, "reduction": reduction}
    for y, e in zip(found("cuda", dtype, **sizes), found("numpy", "float64", **sizes), strict=True):
        np.testing.assert_allclose(y.astype(np.float64), e, rtol=limit, atol=limit * np.abs(e).max())
    assert {k: n - before.get(k, 0) for k, n in fallbacks.items() if "ctc" in k[1] and k[0] == "cuda:0"} == {}


def test_more_states_than_threads():
    sizes = {"time": 140, "n": 1, "classes": 40, "labels": 130}
    for y, e in zip(found("cuda", "float64", **sizes), found("cpu", "float64", **sizes), strict=True):
        np.testing.assert_allclose(y, e, rtol=1e-9, atol=1e-12)


def test_the_same_bits_in_any_order_of_threads():
    sizes = {"time": 12, "n": 2, "classes": 5, "labels": 4}
    first = found("cuda", "float32", **sizes)
    try:
        if driver.connected().name == "emulated":
            driver.connected().shuffle(7)
        for a, b in zip(found("cuda", "float32", **sizes), first, strict=True):
            np.testing.assert_array_equal(a, b)
    finally:
        if driver.connected().name == "emulated":
            driver.connected().shuffle(0)


def test_as_elsewhere():
    with backends.use("cuda"):
        on_any.test_what_does_not_fit_costs_infinity_or_nothing()
        on_any.test_errors()
