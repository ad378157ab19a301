"""3×3 convolutions in "high" precision: tiles of 4×4 results, against float64, in every layout, and in recorded steps."""

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.cpu import NATIVE
from chainrule.domain.errors import ArgumentError

SHAPES = [
    (2, 20, 13, 15, 24),
    (8, 9, 4, 4, 40),
    (3, 64, 28, 9, 33),
    (1, 33, 17, 70, 16),
    (2, 16, 3, 64, 16),
    (9, 130, 6, 5, 17),
]


@pytest.fixture(autouse=True)
def as_before():
    yield
    cr.set_float32_conv_precision("highest")


def results(n, ins, h, w, outs, dtype, last, padding, precision="highest"):
    """The convolution and the gradient of its input."""
    r = np.random.default_rng(0)
    x, weight = r.standard_normal((n, h, w, ins)), r.standard_normal((outs, ins, 3, 3)) / np.sqrt(9 * ins)
    bias, g = r.standard_normal(outs), r.standard_normal((n, outs, h + 2 * padding - 2, w + 2 * padding - 2))
    x, weight, bias, g = (a.astype("float32").astype(dtype) for a in (x, weight, bias, g))  # the same in every dtype
    x = x.transpose(0, 3, 1, 2) if last else np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    how = {"stride": (1, 1), "padding": (padding, padding), "dilation": (1, 1), "groups": 1}
    cr.set_float32_conv_precision(precision)
    y, saved = NATIVE["conv2d"](x, weight, bias, **how)
    gx, gw, gb = NATIVE["conv2d_vjp"](g, *saved, needs=(True, True, True), **how)
    return y, gx, gw, gb


@pytest.mark.parametrize("padding", [0, 1, 2])
@pytest.mark.parametrize("last", [False, True], ids=["row-major", "channels-last"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_high_is_near_float64(shape, last, padding):
    exact = results(*shape, "float64", last, padding)
    for precision, most in (("highest", 1.5e-6), ("high", 2e-5)):
        found = results(*shape, "float32", last, padding, precision)
        for y, e in zip(found, exact, strict=True):
            assert y.shape == e.shape and y.strides == tuple(s // 2 for s in e.strides)
            assert np.abs(y - e).max() <= most * np.abs(e).max()


def test_what_is_not_meant_stays_to_the_bit():
    shape = (2, 20, 16, 16, 24)
    for dtype, others in (("float64", (0, 1, 2, 3)), ("float32", (2, 3))):
        highest, high = (results(*shape, dtype, False, 1, precision) for precision in ("highest", "high"))
        for i in range(4):
            assert (highest[i].tobytes() == high[i].tobytes()) == (i in others)


def test_threads_change_no_bit():
    before, found = cr.get_num_threads(), []
    for threads in (1, 2, 3):
        cr.set_num_threads(threads)
        found.append([a.tobytes() for a in results(5, 20, 30, 30, 24, "float32", False, 1, "high")])
    cr.set_num_threads(before)
    assert found[0] == found[1] == found[2]


def test_a_recorded_step_follows():
    x, w = cr.rand(2, 16, 16, 16), cr.rand(16, 16, 3, 3)
    step = cr.jit(lambda x: cr.conv2d(x, w, padding=1))
    found = {}
    for precision in ("highest", "high", "highest", "high"):
        cr.set_float32_conv_precision(precision)
        for _ in range(3):
            found.setdefault(precision, set()).add(step(x).numpy().tobytes())
    assert [len(same) for same in found.values()] == [1, 1] and found["highest"] != found["high"]
    assert len(step.programs) == 2 and cr.get_float32_conv_precision() == "high"


def test_other_names():
    with pytest.raises(ArgumentError, match="did you mean 'high'"):
        cr.set_float32_conv_precision("hihg")
