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


def windows(count):
    """Arrays of all dtypes that lie in memory in any order, with gaps, backwards, or repeated."""
    random = np.random.default_rng(0)
    for _ in range(count):
        rank = int(random.integers(0, 5))
        shape = tuple(random.choice([0, 1, 2, 3, 5, 16, 17, 33, 70], rank, p=[0.02, *[0.1225] * 8]))
        x = (np.asarray(random.standard_normal(shape)) * 50).astype(random.choice(DTYPES[:5] + DTYPES[6:]))
        x = x.transpose(random.permutation(rank))
        x = x[tuple(slice(None, None, int(random.choice([1, 1, 1, -1, 2, -2]))) for _ in range(rank))]
        yield np.broadcast_to(x, (3, *x.shape)) if rank and random.random() < 0.2 else np.asarray(x)


def test_contiguous_of_any_layout():
    for x in windows(400):
        y = _native.contiguous(x)
        np.testing.assert_array_equal(y, x, strict=True)
        assert y.flags.c_contiguous
        assert not x.flags.c_contiguous or np.shares_memory(x, y) or not x.size
    assert _native.contiguous(np.ones((3, 4), np.float16).T) is NotImplemented


def test_assign_to_all_of_an_array():
    for x in windows(300):
        x = x.copy("K")
        y = np.asarray(np.random.default_rng(3).integers(0, 2, x.shape)).astype(x.dtype)
        for v in (y, np.array(y, order="F")):
            assert _native._assign(x, v) is x
            np.testing.assert_array_equal(x, v, strict=True)
    x = np.ones((300, 400), np.float32).T
    for value in (0, -2.5, np.inf, np.nan, True):
        assert _native._assign(x, value) is x
        np.testing.assert_array_equal(x, np.full(x.shape, value, np.float32))
    for where, v in (
        (x, 1e300), (x[::2], 1.0), (x, np.ones(300)), (x, np.ones((400, 300))), (x[:-1], x[1:]), (x.astype(int), 1),
        (np.broadcast_to(x, (2, 400, 300)), 0.0),
    ):  # fmt: skip
        assert _native._assign(where, v) is NotImplemented


def test_flip_of_any_layout():
    random = np.random.default_rng(2)
    for x in windows(300):
        axes = tuple(int(a) for a in range(x.ndim) if random.random() < 0.5)
        np.testing.assert_array_equal(_native.flip(x, axis=axes), np.flip(x, axes), strict=True)


def test_reshape_is_a_view_where_numpy_has_one():
    random = np.random.default_rng(1)
    for x in windows(400):
        shape, rest = [], x.size
        while rest > 1:
            shape.append(int(random.choice([d for d in range(1, rest + 1) if rest % d == 0])))
            rest //= shape[-1]
        shape = tuple(random.permutation(shape)) if x.size else (0, 3)
        y, want = _native.reshape(x, shape=tuple(map(int, shape))), x.reshape(shape)
        np.testing.assert_array_equal(y, want, strict=True)
        if x.size:
            assert np.shares_memory(x, y) == np.shares_memory(x, want)
            assert not np.shares_memory(x, y) or y.flags.writeable == x.flags.writeable


@pytest.mark.parametrize("dtype", DTYPES)
def test_triangles(dtype):
    for shape in ((4, 4), (2, 3, 5), (5, 3), (0, 3), (3, 0), (200, 300)):
        x = np.asarray(np.random.default_rng(0).integers(0, 2, shape)).astype(dtype)
        for diagonal in (-300, -1, 0, 2, 300):
            np.testing.assert_array_equal(_native.tril(x, diagonal=diagonal), np.tril(x, diagonal), strict=True)
            turned = np.swapaxes(x, -1, -2)
            np.testing.assert_array_equal(
                _native.triu(turned, diagonal=diagonal), np.triu(turned, diagonal), strict=True
            )


def test_results_beyond_the_caches():
    """Long results are stored past the caches; so are those of odd lengths, and of what begins in the middle."""
    x = np.arange(7_000_003, dtype=np.float32)
    np.testing.assert_array_equal(_native.clone(x), x)
    np.testing.assert_array_equal(_native.add(x[1:], x[:-1]), x[1:] + x[:-1])
    np.testing.assert_array_equal(_native.mul(x, 3.0), x * 3)
    np.testing.assert_array_equal(_native.neg(x), -x)
    b = x[:1].view(np.uint8).repeat(25 << 20 >> 2)[: (25 << 20) + 3]
    np.testing.assert_array_equal(_native.clone(b), b)
