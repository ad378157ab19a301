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


@pytest.mark.parametrize("shape", [(), (0, 3), (5,), (3, 4, 5), (400, 300)])
@pytest.mark.parametrize(
    "dtype, values",
    [
        ("float32", [0, 1.5, True, -0.0, np.inf, np.nan, 2**24 + 1, np.float64(0.1)]),
        ("float64", [0, 1.5, False, 2**53 + 1, 1e300]),
        ("int64", [0, -7, True, 2**63 - 1, -(2**63)]),
        ("bool", [True, False]),
    ],
)
def test_full(shape, dtype, values):
    for value in values:
        y = _native.full(shape=shape, value=value, dtype=dtype)
        np.testing.assert_array_equal(y, np.full(shape, value, dtype), strict=True)
        np.testing.assert_array_equal(np.signbit(y), np.signbit(np.full(shape, value, dtype)))


@pytest.mark.parametrize(
    "value, dtype",
    [(1.5, "int64"), (2**63, "int64"), (2, "bool"), (1, "int8"), (1.0, "bfloat16"), (1e39, "float32")]
    + [(10**400, "float64"), (np.float32(1), "float32"), ("1", "float32")],
)
def test_what_full_leaves_to_the_reference(value, dtype):
    assert _native.full(shape=(2,), value=value, dtype=dtype) is NotImplemented
    assert _native.full(shape=(-1,), value=1.0, dtype="float32") is NotImplemented
