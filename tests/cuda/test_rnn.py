"""The recurrent room on a GPU beyond the table: masks, halves, the number of launches, the same bits."""

import numpy as np
import pytest
from tests.ops import test_rnn as on_any

from chainrule import Tensor, backends, grad
from chainrule.backends.cuda import driver
from chainrule.launch import fallbacks


def run(name, backend, dtype="float32", **sizes):
    """The outputs and the gradients of one network."""
    rng = np.random.default_rng(3)
    with backends.use(backend):
        args = on_any.arguments(name, **sizes)
        args = [Tensor(rng.uniform(-1, 1, a.shape), dtype=dtype, requires_grad=True) for a in args]
        y = on_any.OPS[name][0](*args)
        return [v.numpy() for v in (*y, *grad(on_any.total([v.to("float32") for v in y]), args))]


@on_any.each_op
def test_as_elsewhere(name):
    with backends.use("cuda"):
        on_any.test_a_mask_is_the_same_as_shorter_sequences("cuda", name)
        on_any.test_large_numbers_stay_numbers("cuda", name)
        on_any.test_some_gradients_alone(name)


@on_any.each_op
def test_more_rows_than_a_block(name):
    sizes = {"steps": 3, "batch": 33, "features": 5, "h": 18}
    before = dict(fallbacks)
    for y, e in zip(run(name, "cuda", **sizes), run(name, "numpy", "float64", **sizes), strict=True):
        np.testing.assert_allclose(y, e, rtol=2e-5, atol=2e-5)
    assert fallbacks == before  # a kernel did it


@on_any.each_op
def test_16_bits_are_float32_rounded_once(name):
    with backends.use("cuda"):
        half = [Tensor(a.numpy(), dtype="bfloat16") for a in on_any.arguments(name)]
        wide = [a.to("float32") for a in half]
        for y, e in zip(on_any.OPS[name][0](*half), on_any.OPS[name][0](*wide), strict=True):
            np.testing.assert_array_equal(y.numpy(), e.to("bfloat16").numpy())


@on_any.each_op
def test_a_step_is_two_launches(name):
    if driver.connected().name != "emulated":
        pytest.skip("the launches of the emulated driver are counted")
    counts = []
    for steps in (3, 5):
        before = driver.connected().launches
        run(name, "cuda", steps=steps)
        counts.append(driver.connected().launches - before)
    assert counts[1] - counts[0] <= 2 * (2 + 2)  # forward and back


def test_the_same_bits_in_any_order_of_threads():
    first = run("lstm", "cuda")
    try:
        if driver.connected().name == "emulated":
            driver.connected().shuffle(3)
        for a, b in zip(run("lstm", "cuda"), first, strict=True):
            np.testing.assert_array_equal(a, b)
    finally:
        if driver.connected().name == "emulated":
            driver.connected().shuffle(0)
