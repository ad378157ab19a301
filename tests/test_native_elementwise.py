"""Native elementwise kernels: accuracy over the whole range, special values, and every way operands can lie in memory."""

import itertools
import math

import numpy as np
import pytest

from chainrule import _native

FLOATS = ["float32", "float64"]
SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 1e-42, -1e-42, 1e-30, 88.7, -103.9, 1e4, -1e4, 3e38, -3e38, 9.0, 20.0]
SPECIAL += [math.inf, -math.inf, math.nan]


def sigmoid(x):
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


def erf(x):
    return np.array([math.erf(v) for v in x.ravel()]).reshape(x.shape)


# name: (NumPy's, largest error in units of the last place)
UNARY = {
    "neg": (np.negative, 0), "abs": (np.abs, 0), "sign": (np.sign, 0), "floor": (np.floor, 0), "ceil": (np.ceil, 0),
    "round": (np.rint, 0), "sqrt": (np.sqrt, 0.5), "exp": (np.exp, 1.5), "expm1": (np.expm1, 2.5), "log": (np.log, 1.5),
    "log1p": (np.log1p, 2), "tanh": (np.tanh, 2.5), "sigmoid": (sigmoid, 2.5), "erf": (erf, 2), "sin": (np.sin, 0.51),
    "cos": (np.cos, 0.51), "tan": (np.tan, 0.51), "asin": (np.arcsin, 0.51), "acos": (np.arccos, 0.51),
    "atan": (np.arctan, 0.51), "sinh": (np.sinh, 0.51), "cosh": (np.cosh, 0.51), "square": (np.square, 0.5),
    "reciprocal": (np.reciprocal, 0.5), "rsqrt": (lambda x: 1 / np.sqrt(x), 1.5),
}  # fmt: skip
BINARY = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.true_divide, "maximum": np.maximum,
    "minimum": np.minimum, "floor_div": np.floor_divide, "remainder": np.remainder, "pow": np.power, "atan2": np.arctan2,
}  # fmt: skip
COMPARISONS = {
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
}  # fmt: skip
LOGICAL = {"logical_and": np.logical_and, "logical_or": np.logical_or, "logical_xor": np.logical_xor}


def normal(shape, dtype="float32", seed=0):
    return np.asarray(np.random.default_rng(seed).standard_normal(shape)).astype(dtype)


def ulps(got, want):
    """The errors of float32 results in units of the last place; where both are finite."""
    finite = np.isfinite(want) & np.isfinite(got)
    return np.abs(got[finite] - want[finite]) / np.spacing(np.abs(want[finite]).astype(np.float32)).astype(float)


def same_kind(got, want):
    """NaN, infinities and signs as in ``want``, given in double."""
    largest = 3.4028235677973366e38  # from here on float32 is infinite
    assert (np.isnan(got) == np.isnan(want)).all()
    number = ~np.isnan(want)
    assert (np.isinf(got) == (np.abs(want) >= largest))[number].all()
    assert (np.signbit(got) == np.signbit(want))[number].all()


@pytest.mark.parametrize("name", UNARY)
def test_float32_functions_are_accurate_everywhere(name):
    """Every 9973rd of all float32 numbers, compared with double precision."""
    reference, bound = UNARY[name]
    x = np.arange(0, 2**32, 9973, dtype=np.uint64).astype(np.uint32).view(np.float32)
    with np.errstate(all="ignore"):
        want = reference(x.astype(float))
    got = getattr(_native, name)(x)
    assert got.dtype == np.float32
    same_kind(got, want)
    assert ulps(got, want).max() <= bound


@pytest.mark.parametrize("name, bound", [("pow", 0.51), ("atan2", 0.51), ("remainder", 0), ("floor_div", 0)])
def test_float32_functions_of_two_are_accurate_everywhere(name, bound):
    """Any bits, numbers of usual sizes, whole exponents, and special values with each other."""
    random = np.random.default_rng(0)
    bits = [random.integers(0, 2**32, 50_000, dtype=np.uint32).view(np.float32) for _ in range(2)]
    usual = [normal(50_000, seed=1) * np.float32(10), normal(50_000, seed=2) * np.float32(3)]
    special = np.array([*SPECIAL, 2.0, -2.0, 3.0, -3.0, 16777216.0], np.float32)
    for a, b in (bits, usual, [usual[0], np.rint(usual[1])], np.meshgrid(special, special)):
        a, b = np.ravel(a), np.ravel(b)
        with np.errstate(all="ignore"):
            wide = (a.astype(float), b.astype(float)) if bound else (a, b)
            want = BINARY[name](*wide).astype(float)
        got = getattr(_native, name)(a, b)
        if bound:
            same_kind(got, want)
            assert ulps(got, want).max() <= bound
        else:
            np.testing.assert_array_equal(got, want)
            assert (np.signbit(got) == np.signbit(want))[~np.isnan(want)].all()


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("dtype", FLOATS)
def test_special_values(name, dtype):
    x = np.array(SPECIAL, dtype)
    with np.errstate(all="ignore"):
        want = UNARY[name][0](x.astype(float))
    got = getattr(_native, name)(x)
    if dtype == "float32":
        same_kind(got, want)
    else:
        assert (np.isnan(got) == np.isnan(want)).all()
        assert (np.signbit(got) == np.signbit(want))[~np.isnan(want)].all()
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(got, want.astype(dtype), rtol=1e-6 if dtype == "float32" else 1e-14, atol=1e-44)


@pytest.mark.parametrize("name", UNARY)
def test_float64_functions(name):
    x = normal(10_001, "float64") * 3
    with np.errstate(all="ignore"):
        want = UNARY[name][0](x)
    np.testing.assert_allclose(getattr(_native, name)(x), want, rtol=4e-15)


@pytest.mark.parametrize("name", ["exp", "tanh", "log1p", "add"])
def test_a_result_does_not_depend_on_its_place(name):
    """Vectors and their ends, dense memory and steps: the same bits."""
    x = np.abs(normal(77))
    call = getattr(_native, name) if name != "add" else lambda v: _native.add(v, v)
    whole = call(x)
    for start, stop in itertools.combinations(range(0, 78, 7), 2):
        assert call(x[start:stop]).tobytes() == whole[start:stop].tobytes()
    assert call(x[::-3]).tobytes() == whole[::-3].tobytes()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", [*BINARY, *COMPARISONS])
def test_pairs_of_special_values(name, dtype):
    a, b = (v.ravel() for v in np.meshgrid(np.array(SPECIAL, dtype), np.array(SPECIAL, dtype)))
    with np.errstate(all="ignore"):
        want = {**BINARY, **COMPARISONS}[name](a, b)
    got = getattr(_native, name)(a, b)
    assert got.dtype == want.dtype
    exact = name not in ("pow", "atan2")
    np.testing.assert_allclose(got, want, rtol=0 if exact else 1e-6, atol=0)


# operands in memory


def layouts(shape, dtype, seed):
    """The same numbers, lying in memory in different ways."""
    x = normal(shape, dtype, seed)
    yield x
    yield np.asfortranarray(x)
    if x.ndim:
        yield np.repeat(x, 2, axis=-1)[..., ::2]
        yield np.ascontiguousarray(x[::-1])[::-1]
        yield np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 0, -1)), -1, 0)
        yield np.ascontiguousarray(x[..., ::-1])[..., ::-1]
        padded = np.zeros([n + 3 for n in x.shape], dtype)
        padded[tuple(slice(1, n + 1) for n in x.shape)] = x
        yield padded[tuple(slice(1, n + 1) for n in x.shape)]


PAIRS = [
    ((), ()), ((1,), ()), ((7,), (7,)), ((3, 5), (3, 5)), ((3, 5), (5,)), ((3, 5), (3, 1)), ((3, 1), (1, 5)), ((3, 5), ()),
    ((2, 3, 4, 5), (2, 3, 4, 5)), ((2, 3, 4, 5), (3, 1, 1)), ((2, 3, 4, 5), (2, 1, 4, 1)), ((1, 3, 1, 5), (2, 1, 4, 1)),
    ((0, 3), (0, 3)), ((0, 3), (3,)), ((0, 1), (1, 4)), ((130, 70), (70,)), ((130, 70), (130, 1)), ((70, 130), (70, 130)),
    ((5, 1500), (1500,)), ((3, 1, 300), (1, 2, 1)),
]  # fmt: skip


@pytest.mark.parametrize("shapes", PAIRS, ids=str)
@pytest.mark.parametrize("dtype", FLOATS)
def test_operands_broadcast_from_any_memory(shapes, dtype):
    for a in layouts(shapes[0], dtype, 1):
        for b in layouts(shapes[1], dtype, 2):
            got = _native.sub(a, b)
            np.testing.assert_array_equal(got, a - b, strict=True)
            np.testing.assert_array_equal(_native.lt(b, a), np.asarray(b < a), strict=True)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(64, 64), (8, 300), (37, 333), (3, 40, 129), (2, 3, 17, 70)])
def test_transposed_operands(shape, dtype):
    x, y, z = (normal(shape, dtype, seed) for seed in range(3))
    turned = [np.ascontiguousarray(v.swapaxes(-1, -2)).swapaxes(-1, -2) for v in (x > 0, y, z)]
    spaced = np.repeat(turned[1].swapaxes(-1, -2), 2, axis=-2)[..., ::2, :].swapaxes(-1, -2)
    np.testing.assert_array_equal(_native.sub(x, turned[1]), x - y, strict=True)
    np.testing.assert_array_equal(_native.sub(x, spaced), x - y, strict=True)
    np.testing.assert_array_equal(_native.sub(x[..., ::-1, :], turned[1]), x[..., ::-1, :] - y, strict=True)
    np.testing.assert_array_equal(_native.ge(x, turned[1][0]), x >= y[0], strict=True)
    for a, b in itertools.product((y, turned[1]), (z, turned[2], 3.0)):
        np.testing.assert_array_equal(_native.where(turned[0], a, b), np.where(x > 0, y, b), strict=True)
        np.testing.assert_array_equal(_native.where(x > 0, a, b), np.where(x > 0, y, b), strict=True)
    row = np.broadcast_to(z[..., :1, :], shape)
    np.testing.assert_array_equal(_native.where(turned[0], row, turned[1]), np.where(x > 0, row, y), strict=True)


def test_expanded_operands():
    x = np.broadcast_to(normal((3, 1)), (3, 200))
    np.testing.assert_array_equal(_native.neg(x), -x, strict=True)
    one = np.broadcast_to(np.float32(2.0), (4, 5))
    np.testing.assert_array_equal(_native.mul(one, one), one * one, strict=True)


def test_the_memory_order_is_kept():
    x = np.ascontiguousarray(normal((2, 3, 4, 5)).transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)  # channels last
    assert _native.exp(x).strides == x.strides
    assert _native.add(x, x).strides == x.strides
    assert _native.add(x, normal((3, 1, 1))).strides == x.strides
    assert _native.gt(x, 0.0).strides == tuple(s // 4 for s in x.strides)
    assert _native.add(x, np.ascontiguousarray(x)).strides == x.strides


def test_shapes_that_do_not_broadcast_are_left_to_the_reference():
    assert _native.add(normal((2, 3)), normal((2, 4))) is NotImplemented
    assert _native.where(np.ones(3, bool), normal(3), normal(4)) is NotImplemented


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("number", [2.0, -0.5, 3, 0, True, math.inf, math.nan, 1e-320])
def test_python_numbers(dtype, number):
    x = normal((3, 37), dtype)
    with np.errstate(all="ignore"):
        for name, reference in {**BINARY, **COMPARISONS}.items():
            call = getattr(_native, name)
            tolerance = {"rtol": 2e-7 if name in ("pow", "atan2") else 0}
            np.testing.assert_allclose(call(x, number), reference(x, x.dtype.type(number)), strict=True, **tolerance)
            np.testing.assert_allclose(call(number, x), reference(x.dtype.type(number), x), strict=True, **tolerance)


def test_numbers_alone_and_integers_beyond_double_are_not_taken():
    assert _native.add(1.0, 2.0) is NotImplemented
    with pytest.raises(TypeError):
        _native.add(normal(3), 10**400)


@pytest.mark.parametrize("name", LOGICAL)
def test_logical(name):
    a, b = np.array([[True], [False]]), np.array([True, False])
    np.testing.assert_array_equal(getattr(_native, name)(a, b), LOGICAL[name](a, b), strict=True)
    np.testing.assert_array_equal(getattr(_native, name)(a, True), LOGICAL[name](a, True), strict=True)
    assert getattr(_native, name)(normal(2), normal(2)) is NotImplemented


def test_isfinite_and_not():
    x = np.array(SPECIAL, np.float32)
    np.testing.assert_array_equal(_native.isfinite(x), np.isfinite(x), strict=True)
    np.testing.assert_array_equal(_native.logical_not(x > 0), ~(x > 0), strict=True)


@pytest.mark.parametrize("dtype", FLOATS)
def test_where(dtype):
    a, b = normal((3, 70), dtype, 1), normal((3, 70), dtype, 2)
    for condition in (a > 0, a[:1] > 0, a[:, :1] > 0, np.array(True), np.array(False), np.zeros((2, 1, 1), bool)):
        for yes, no in itertools.product((a, a[:, :1], a[0], 2.0), (b, b[:1], -1)):
            if isinstance(yes, float) and isinstance(no, int):
                continue
            want = np.where(condition, yes, no).astype(dtype)
            np.testing.assert_array_equal(_native.where(condition, yes, no), want, strict=True)
