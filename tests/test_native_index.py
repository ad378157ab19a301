"""Native sort and topk: every length, equals, nan and both zeros, along any axis, as a stable sort has them."""

import numpy as np
import pytest

from chainrule import _native
from chainrule.backends.numpy import KERNELS as REFERENCE


def numbers(shape, dtype, seed):
    """Many equals, infinities, nan and both zeros among them."""
    random = np.random.default_rng(seed)
    x = np.rint(random.standard_normal(shape) * 20).astype(dtype) / 4
    for value in (np.nan, -np.nan, np.inf, -np.inf, -0.0, 1e-42):
        x[random.random(shape) < 0.02] = value
    return x


SHAPES = [(1,), (2,), (7,), (0,), (3, 191), (3, 192), (2, 1000), (70_000,), (5, 300, 3), (300, 5), (0, 4)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_sort_and_topk(shape, dtype):
    x = numbers(shape, dtype, len(shape))
    for axis in range(len(shape)):
        for descending in (False, True):
            values, places = REFERENCE["sort"](x, axis=axis, descending=descending)
            found = _native.sort(x, axis=axis, descending=descending)
            np.testing.assert_array_equal(found[0], values, strict=True)
            np.testing.assert_array_equal(found[1], places, strict=True)
            for k in {0, 1, shape[axis] // 3, shape[axis]} & set(range(shape[axis] + 1)):
                part = (slice(None),) * axis + (slice(0, k),)
                found = _native.topk(x, k=k, axis=axis, largest=descending)
                np.testing.assert_array_equal(found[0], values[part], strict=True)
                np.testing.assert_array_equal(found[1], places[part], strict=True)


def test_sort_of_windows_and_what_is_declined():
    x = numbers((40, 60), "float32", 0)
    np.testing.assert_array_equal(_native.sort(x.T[::-2], axis=0)[0], np.sort(x.T[::-2], axis=0))
    assert _native.sort(np.arange(3)) is NotImplemented
    assert _native.sort(x, axis=2) is NotImplemented
    assert _native.topk(x, k=61) is NotImplemented
    assert _native.topk(x, k=-1) is NotImplemented


def test_an_index_outside_of_a_late_row_is_refused():
    x = np.ones((600, 50), np.float32)
    for bad in (-1, 50, 2**62, -(2**62)):
        i = np.zeros((600, 50), np.int64)
        i[599, 49] = bad
        assert _native.gather(x, i, axis=1) is NotImplemented
        assert _native.ungather(x, i, axis=1, shape=x.shape) is NotImplemented


def test_ungather_into_a_larger_array():
    x, i = np.ones((2, 3), np.float32), np.array([[0, 4, 4], [1, 1, 1]])
    want = np.zeros((4, 5), np.float32)
    want[0, [0, 4]], want[1, 1] = (1, 2), 3
    np.testing.assert_array_equal(_native.ungather(x, i, axis=1, shape=(4, 5)), want)
