"""Native reductions: any axes of any memory order, against NumPy in double precision."""

import itertools
import warnings

import numpy as np
import pytest

from chainrule import _native

FLOATS = ["float32", "float64"]
SHAPES = [
    (), (1,), (5,), (2, 3), (3, 1, 4), (2, 3, 4, 5), (0, 3), (3, 0), (70, 3, 130), (4, 2000), (2000, 4), (3, 40000),
    (40000, 3), (100001,), (3, 17, 1500),
]  # fmt: skip


def layouts(shape, dtype):
    """The same numbers, lying in memory in different ways."""
    x = np.asarray(np.random.default_rng(0).standard_normal(shape)).astype(dtype)
    yield x
    if x.size > 50000:  # long ones are about accuracy and pieces
        return
    yield np.asfortranarray(x)
    if x.ndim:
        yield x[::-1]
        yield np.repeat(x, 2, axis=-1)[..., ::2]
        yield np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 0, -1)), -1, 0)
    yield np.broadcast_to(x[None], (3, *x.shape))


def axes_of(rank):
    yield None
    yield from range(-rank, rank)
    for count in range(rank + 1):
        yield from itertools.combinations(range(rank), count)


def check(got, want, rtol, atol):
    np.testing.assert_allclose(got, np.asarray(want).astype(got.dtype), rtol=rtol, atol=atol, strict=True)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", FLOATS)
def test_any_axes(shape, dtype):
    rtol, atol = (3e-7, 1e-6) if dtype == "float32" else (1e-13, 1e-12)
    for x in layouts(shape, dtype):
        wide = x.astype(float)
        for axis, keepdims in itertools.product(axes_of(x.ndim), (False, True)):
            places = {"axis": axis, "keepdims": keepdims}
            check(_native.sum(x, **places), np.sum(wide, **places), rtol, atol)
            with warnings.catch_warnings():  # the mean of nothing
                warnings.simplefilter("ignore")
                check(_native.mean(x, **places), np.mean(wide, **places), rtol, atol)
            near_one = np.asarray(x / 64 + 1).astype(dtype)
            check(_native.prod(near_one, **places), np.prod(near_one.astype(float), **places), rtol * 30, 0)
            b = np.asarray(x > 0)
            check(_native.any(b, **places), np.any(b, **places), 0, 0)
            check(_native.all(b, **places), np.all(b, **places), 0, 0)
            if x.size:
                check(_native.amax(x, **places), np.amax(x, **places), 0, 0)
                check(_native.amin(x, **places), np.amin(x, **places), 0, 0)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", FLOATS)
def test_largest_and_smallest_with_indices(shape, dtype):
    """Of rounded numbers, among which many are equal: the first counts."""
    for x in layouts(shape, dtype):
        x = np.asarray(np.round(x))
        if not x.size:
            continue
        for axis, keepdims in itertools.product([None, *range(x.ndim)], (False, True)):
            places = {"axis": axis, "keepdims": keepdims}
            for name, arg, value in (("max", np.argmax, np.amax), ("min", np.argmin, np.amin)):
                values, indices = getattr(_native, name)(x, **places)
                check(values, value(x, **places), 0, 0)
                check(indices, arg(x, **places), 0, 0)
                check(getattr(_native, f"arg{name}")(x, **places), arg(x, **places), 0, 0)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("axis", [0, 1])
def test_not_a_number_is_the_largest_and_the_smallest(dtype, axis):
    x = np.random.default_rng(0).standard_normal((70, 90)).astype(dtype)
    x[[0, 5, 69, 5], [3, 89, 50, 60]] = np.nan
    x[7] = -np.inf
    for y in (x, np.asfortranarray(x)):
        for name, reference in (("max", np.argmax), ("min", np.argmin)):
            values, indices = getattr(_native, name)(y, axis=axis)
            np.testing.assert_array_equal(indices, reference(x, axis=axis))
            np.testing.assert_array_equal(values, getattr(np, name)(x, axis=axis))
        np.testing.assert_array_equal(_native.amax(y, axis=axis), np.max(x, axis=axis))
        assert np.isnan(_native.amin(y))
    np.testing.assert_array_equal(_native.amax(np.full((3, 3), -np.inf, dtype)), -np.inf)


def test_long_sums_of_float32_are_exact():
    x = np.full(10_000_001, 0.1, np.float32)
    assert abs(float(_native.sum(x)) - x.astype(float).sum()) <= np.spacing(np.float32(1e6)) / 2
    x = np.ones((1 << 25) // 16, np.float32)
    assert _native.sum(np.broadcast_to(x, (16, x.size))) == 2**25
    tiny = np.array([1e8, 1.0, -1e8], np.float32)
    assert _native.sum(tiny) == 1


def test_largest_with_indices_of_much():
    """So much that the GIL is released meanwhile."""
    x = np.zeros((9000, 1000), "float32")
    x[:, 7] = 1
    values, indices = _native.max(x, axis=-1)
    assert (values == 1).all() and (indices == 7).all()


def test_nothing_has_no_largest_element():
    for name in ("max", "min", "amax", "amin", "argmax", "argmin"):
        assert getattr(_native, name)(np.zeros((0, 3), np.float32), axis=0) is NotImplemented


def test_an_axis_that_is_not_there():
    with pytest.raises(IndexError):
        _native.sum(np.zeros((2, 3)), axis=2)
    with pytest.raises(IndexError):
        _native.max(np.zeros((2, 3)), axis=-3)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(5,), (2, 3), (4, 5, 6), (0, 3), (3, 0), (300, 400)], ids=str)
def test_running_sums_and_products(shape, dtype):
    for x in layouts(shape, dtype):
        for axis in range(-x.ndim, x.ndim):
            tolerance = 3e-6 if dtype == "float32" else 1e-12
            check(_native.cumsum(x, axis=axis), np.cumsum(x.astype(float), axis), tolerance, tolerance)
            check(_native.cumprod(x, axis=axis), np.cumprod(x.astype(float), axis), tolerance, tolerance)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 33, 64, 65])
def test_rows_of_few_elements(n, dtype):
    x = np.random.default_rng(n).standard_normal((500, n)).astype(dtype)
    x[3, 0], x[4, -1], x[5], x[6], x[7, n // 2] = np.nan, np.nan, -np.inf, 2.5, np.inf
    with np.errstate(invalid="ignore"):
        for y in (x, np.asarray(x[::3]), np.repeat(x, 2, axis=0)[::2]):
            np.testing.assert_array_equal(_native.argmax(y, axis=1), y.argmax(1))
            np.testing.assert_array_equal(_native.argmin(y, axis=1), y.argmin(1))
            np.testing.assert_array_equal(_native.max(y, axis=1)[0], y.max(1))
            check(_native.sum(y, axis=1), y.astype(float).sum(1), 3e-7 if dtype == "float32" else 1e-13, 1e-6)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", FLOATS)
def test_norms(shape, dtype):
    rtol = 3e-7 if dtype == "float32" else 1e-13
    for x in layouts(shape, dtype):
        for axis in (None, *range(x.ndim)):
            wide = x.astype(float)
            check(_native.norm(x, ord=2, axis=axis), np.sqrt((wide * wide).sum(axis)), rtol, 0)
            check(_native.norm(x, ord=1.0, axis=axis, keepdims=True), np.abs(wide).sum(axis, keepdims=True), rtol, 0)
    x = np.full(5, 1e30, dtype)
    check(_native.norm(x, ord="fro"), np.sqrt(5) * 1e30, 3e-7, 0)  # the squares would overflow float32
    assert _native.norm(x, ord=np.inf) is NotImplemented


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_row_sums_to_the_same_wherever_it_stands(dtype):
    random = np.random.default_rng(0)
    for n in (1, 3, 4, 7, 8, 16, 31, 49, 192, 193, 300):
        x = random.standard_normal((9, n)).astype(dtype)
        sums = _native.sum(x, axis=1)
        check(sums, x.astype(float).sum(1), 3e-7 if dtype == "float32" else 1e-13, 1e-7)
        for first, last in ((0, 2), (3, 9), (5, 7), (7, 9)):  # more than one
            np.testing.assert_array_equal(_native.sum(x[first:last], axis=1), sums[first:last])
        check(_native.mean(x[::2, ::-1], axis=1), x[::2].astype(float).mean(1), 3e-7, 1e-7)


@pytest.mark.parametrize("dtype", FLOATS)
def test_sums_of_what_is_not_finite_or_large(dtype):
    most = np.finfo(dtype).max
    x = np.full((5, 40), most / 64, dtype)
    check(_native.mean(x, axis=1), np.full(5, most / 64), 3e-7, 0)
    if dtype == "float32":  # which is summed in float64
        check(_native.mean(np.full((5, 40), most, dtype), axis=0), np.full(40, most), 0, 0)
    x[1, 3], x[2, 5] = np.inf, np.nan
    assert np.isposinf(_native.sum(x, axis=1)[1])
    assert np.isnan(_native.sum(x, axis=1)[2])
    assert np.isnan(_native.sum(x))
    x[1, 4] = -np.inf
    assert np.isnan(_native.sum(x, axis=1)[1])
