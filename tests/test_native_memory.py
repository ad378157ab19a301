"""Native copies: every pair of dtypes, every memory order, as NumPy has them."""

import numpy as np
import pytest

from chainrule import _native

DTYPES = ["bool", "int8", "int16", "int32", "int64", "uint8", "float32", "float64"]


def numbers(dtype):
    x = np.random.default_rng(0).integers(0, 100, (7, 33)) * np.array([[1], [0], [1], [-1], [1], [1], [0]])
    return np.abs(x).astype(dtype) if dtype == "uint8" else (x + (0.75 if dtype.startswith("f") else 0)).astype(dtype)


def layouts(x):
    yield x
    yield np.asfortranarray(x)
    yield x[::-2, ::3]
    yield x[0, 0, ...].reshape(())
    yield x[:0]
    yield np.broadcast_to(x[None], (2, *x.shape))
    yield np.broadcast_to(x[:, :1], x.shape)


@pytest.mark.parametrize("to", DTYPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_cast(dtype, to):
    for x in layouts(numbers(dtype)):
        if to == "uint8":
            x = np.asarray(np.abs(x))
        y = _native.cast(x, dtype=to)
        np.testing.assert_array_equal(y, x.astype(to), strict=True)
        assert y is not x
        assert not np.shares_memory(x, y)


def test_cast_of_not_a_number():
    x = np.array([np.nan, np.inf, -0.0, 1e300])
    np.testing.assert_array_equal(_native.cast(x, dtype="bool"), [True, True, False, True])
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(_native.cast(x, dtype="float32"), x.astype(np.float32))


def test_half_precision_is_declined():
    assert _native.cast(np.zeros(3, np.float16), dtype="float32") is NotImplemented
    assert _native.cast(np.zeros(3, np.float32), dtype="bfloat16") is NotImplemented
    with pytest.raises(TypeError):
        _native.cast(np.zeros(3), dtype=32)


@pytest.mark.parametrize("dtype", DTYPES)
def test_clone(dtype):
    for x in layouts(numbers(dtype)):
        y = _native.clone(x)
        np.testing.assert_array_equal(y, x, strict=True)
        assert not np.shares_memory(x, y)
    x = np.asfortranarray(numbers(dtype))
    assert _native.clone(x).strides == x.strides
