"""Native concat and flip against NumPy: any layout and dtype, and the same bits with any number of threads."""

import numpy as np
import pytest

from chainrule import _native

DTYPES = ["float32", "float64", "int64", "bool", "uint8"]


def arrays(dtype, *shapes):
    random = np.random.default_rng(0)
    return [np.asarray(random.integers(0, 100, shape)).astype(dtype) for shape in shapes]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_concat(dtype, axis):
    shapes = [[3, 5, 7], [3, 5, 7], [3, 5, 7]]
    shapes[1][axis], shapes[2][axis] = 4, 0
    xs = arrays(dtype, *shapes)
    for layout in (lambda x: x, np.asfortranarray, lambda x: x[::-1], lambda x: np.repeat(x, 2, axis=2)[..., ::2]):
        given = [layout(x) for x in xs]
        np.testing.assert_array_equal(_native.concat(*given, axis=axis), np.concatenate(given, axis), strict=True)


def test_concat_declines():
    one = np.ones((2, 3), np.float32)
    assert _native.concat(axis=0) is NotImplemented
    assert _native.concat(one, one[0], axis=0) is NotImplemented
    assert _native.concat(one, one[:, :2], axis=0) is NotImplemented
    assert _native.concat(one, one.astype(float), axis=0) is NotImplemented
    assert _native.concat(one, axis=2) is NotImplemented
    assert _native.concat(one, [1.0], axis=0) is NotImplemented


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 2), (1, 2), (0, 1, 2), ()])
def test_flip(dtype, axes):
    for n in (1, 15, 16, 17, 33, 100):
        (x,) = arrays(dtype, (3, 4, n))
        for y in (x, np.asfortranarray(x), np.repeat(x, 2, axis=2)[..., ::2]):
            np.testing.assert_array_equal(_native.flip(y, axis=axes), np.flip(y, axes), strict=True)
    assert _native.flip(np.ones((0, 20)), axis=(1,)).shape == (0, 20)


def test_threads_change_no_bit():
    x = np.random.default_rng(0).standard_normal((700, 301)).astype(np.float32)
    i = np.random.default_rng(1).integers(0, 301, x.shape)
    before = _native.get_num_threads()
    found = []
    for threads in (1, 2, 3):
        _native.set_num_threads(threads)
        found.append(
            [
                _native.concat(x, x, axis=1),
                _native.flip(x, axis=(0, 1)),
                _native.gather(x, i, axis=1),
                _native.ungather(x, i, axis=1, shape=x.shape),
                _native.cumsum(x, axis=0),
                _native.cumsum(x, axis=1),
                _native.sum(x, axis=0),
                _native.sum(x, axis=1),
                _native.sum(x),
                _native.mean(x[:, :7], axis=1),
            ]  # fmt: skip
        )
    _native.set_num_threads(before)
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b, strict=True)
