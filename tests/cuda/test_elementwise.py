"""Elementwise ops on a GPU beyond the table: all dtypes against NumPy, layouts, sizes, numbers on either side, errors."""

import math
import operator

import ml_dtypes
import numpy as np
import pytest

import chainrule as cr
from chainrule import Tensor, backends
from chainrule.backends import cuda
from chainrule.backends import numpy as reference
from chainrule.backends.cuda.gpu import layout
from chainrule.backends.cuda.rooms import elementwise

FLOATS = [np.dtype(d) for d in (np.float32, np.float64, np.float16, ml_dtypes.bfloat16)]
WHOLE = [np.dtype(d) for d in (np.bool_, np.uint8, np.int8, np.int16, np.int32, np.int64)]
TOLERANCE = {"float16": 2e-3, "bfloat16": 1.6e-2, "float32": 1e-6, "float64": 1e-14}  # two units in the last place
SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.5, math.inf, -math.inf, math.nan, 7.25, -30.0]


def call(gpu, name, *arrays, **params):
    """A kernel of the backend, of arrays of NumPy, as one."""
    given = [gpu.upload(a) if isinstance(a, np.ndarray) else a for a in arrays]
    return gpu.download(cuda.kernels()[name](gpu, *given, **params))


def both(gpu, name, *arrays):
    """What the GPU and NumPy make of it, compared."""
    found, wanted = call(gpu, name, *arrays), reference.KERNELS[name](*arrays)
    assert found.dtype == wanted.dtype and found.shape == wanted.shape
    if wanted.dtype.kind in "biu":
        assert np.array_equal(found, wanted)
    else:
        tolerance = TOLERANCE[wanted.dtype.name]
        np.testing.assert_allclose(found.astype("f8"), wanted.astype("f8"), rtol=tolerance, atol=tolerance / 8)
    return found, wanted


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_functions_of_floats(gpu, dtype):
    x = np.resize([*SPECIAL, *np.linspace(-4, 4, 85)], 1031).astype(dtype)  # no multiple of what is loaded together
    for name in elementwise.UNARY:
        if name in reference.KERNELS:
            both(gpu, name, x)
    for name in ("isfinite", "logical_not"):
        both(gpu, name, x)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_pairs_of_floats(gpu, dtype):
    a, b = (v.ravel().astype(dtype) for v in np.meshgrid(SPECIAL, SPECIAL))
    for name in (*elementwise.BINARY, *elementwise.RELATIONS, *elementwise.LOGICAL):
        found, wanted = both(gpu, name, a, b)
        if name in ("remainder", "floor_div", "maximum", "add") and dtype != ml_dtypes.bfloat16:
            known = ~np.isnan(wanted) & ((a != 0) | (b != 0))
            assert np.array_equal(np.signbit(found)[known], np.signbit(wanted)[known])
        both(gpu, name, a, 2.5)
        both(gpu, name, 2.5, b)
        both(gpu, name, a, 2)


@pytest.mark.parametrize("dtype", WHOLE, ids=str)
def test_integers_and_bools(gpu, dtype):
    known = [0, 1] if dtype.kind == "b" else [0, 1, 2, 3, 7, 100, 127]
    known += [-1, -2, -7, -128] if dtype.kind == "i" else []
    known += [np.iinfo(dtype).max, np.iinfo(dtype).min] if dtype.kind in "iu" else []
    a, b = (v.ravel() for v in np.meshgrid(np.array(known, dtype), np.array(known, dtype)))
    for name in (*elementwise.WHOLE, *elementwise.RELATIONS, *elementwise.LOGICAL):
        if name in ("abs", "sign") or (dtype.kind == "b" and name in elementwise.NOT_OF_BOOLS):
            continue
        divisor = np.where(b == 0, 1, b).astype(dtype) if name in ("floor_div", "remainder") else b
        divisor = np.where(b < 0, 3, b).astype(dtype) if name == "pow" else divisor
        both(gpu, name, a, divisor)
        for number in (1, 3, 2)[: 1 if dtype.kind == "b" else 3]:
            both(gpu, name, a, bool(number) if dtype.kind == "b" else number)
        both(gpu, name, True if dtype.kind == "b" else 5, divisor)
    for name in ("neg", "abs", "sign", "floor", "ceil", "round", "bitwise_not", "isfinite", "logical_not"):
        if dtype.kind != "b" or name not in elementwise.NOT_OF_BOOLS:
            both(gpu, name, a)


def test_large_integers_keep_their_value(gpu):
    x = np.array([2**53 + 1, -(2**62) - 1, 5], np.int64)
    assert call(gpu, "add", x, 2**53 + 1).tolist() == [2**54 + 2, 2**53 - 2**62, 2**53 + 6]
    assert call(gpu, "eq", x, 2**53 + 1).tolist() == [True, False, False]
    assert call(gpu, "where", x > 5, x, 2**62 + 1).tolist() == [2**53 + 1, 2**62 + 1, 2**62 + 1]


def test_numbers_that_a_dtype_has_not(gpu):
    x = np.array([0, 255], np.uint8)
    for name in elementwise.RELATIONS:
        for number in (300, -1):
            assert np.array_equal(call(gpu, name, x, number), reference.KERNELS[name](x, number))
            assert np.array_equal(call(gpu, name, number, x), reference.KERNELS[name](number, x))
    with pytest.raises(OverflowError, match="300 out of bounds for uint8"):
        call(gpu, "add", x, 300)


LAYOUTS = [
    ((64, 128), (128,)), ((64, 128), (64, 1)), ((33, 7), (7,)), ((5, 1, 9), (4, 1)), ((2, 3, 4), ()), ((0, 3), (1, 3)),
    ((1,), (1,)), ((), (3, 1)), ((7, 1, 16), (7, 16, 1)), ((3, 1, 1, 8), (1, 5, 2, 8)), ((300, 1000), (300, 1000)),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), LAYOUTS, ids=str)
def test_broadcasting(gpu, one, other):
    random = np.random.default_rng(0)
    for dtype in (np.float32, np.float16):
        a, b = (np.asarray(random.standard_normal(shape), dtype) for shape in (one, other))
        both(gpu, "sub", a, b)
        both(gpu, "sub", b, a)
        both(gpu, "where", np.asarray(a > 0), a, b)
        both(gpu, "where", np.asarray(b > 0), 1.5, a)
    both(gpu, "lt", a.astype(np.int8), b.astype(np.int8))


@pytest.mark.parametrize("dtype", [np.float32, np.int8], ids=str)
def test_views(gpu, dtype):
    """Unaligned, backwards, in steps, transposed, expanded."""
    host = np.random.default_rng(0).integers(-50, 50, (24, 40)).astype(dtype)
    x = gpu.upload(host)
    getitem, add = cuda.kernels()["getitem"], cuda.kernels()["add"]
    everything = slice(None)
    for index in [
        (everything, slice(1, None)), (everything, slice(4, 36)), (slice(None, None, -1),), (..., slice(None, None, 3)),
        (everything, slice(None, None, -1)), (3,), (..., 5), (slice(2, 2),),
    ]:  # fmt: skip
        found = gpu.download(add(gpu, getitem(gpu, x, index=index), getitem(gpu, x, index=index)))
        assert np.array_equal(found, host[index] + host[index])
    turned = cuda.kernels()["permute"](gpu, x, axes=(1, 0))
    assert np.array_equal(gpu.download(add(gpu, turned, gpu.upload(np.ascontiguousarray(host.T)))), host.T + host.T)
    wide = cuda.kernels()["expand"](gpu, getitem(gpu, x, index=(0,)), shape=(24, 40))
    assert np.array_equal(gpu.download(add(gpu, wide, x)), host[:1] + host)


def test_many_axes(gpu):
    shape = (2, 1, 3, 1, 2, 2, 1, 2, 2)
    a = np.arange(math.prod(shape), dtype=np.float64).reshape(shape)
    both(gpu, "mul", a, a.transpose(8, 1, 2, 3, 5, 4, 6, 7, 0).copy())
    x = gpu.upload(a)
    turned = cuda.kernels()["permute"](gpu, x, axes=(8, 1, 2, 3, 5, 4, 6, 7, 0))
    assert np.array_equal(gpu.download(cuda.kernels()["neg"](gpu, turned)), -a.transpose(8, 1, 2, 3, 5, 4, 6, 7, 0))


def test_places_that_32_bits_cannot_count(gpu):
    """A Layout says so, and walks with 64 bits: here one that need not."""
    packed, _ = layout((1 << 16, 1 << 16), (1 << 16, 1), (0, 1))
    assert np.frombuffer(packed, np.int64)[:5].tolist() == [2, 0, 16, 1 << 16, 1 << 16]
    host = np.arange(3 * 5 * 7, dtype=np.float32).reshape(3, 5, 7)
    x = cuda.kernels()["permute"](gpu, gpu.upload(host), axes=(2, 0, 1))
    y = gpu.empty(x.shape, x.dtype)
    words = np.frombuffer(layout(x.shape, y.steps, x.steps)[0], np.int64).copy()
    assert words[1] == 1
    words[1] = 0
    gpu.each("elementwise", "unary<neg_f, float>", x.size, y, x, words.tobytes(), x.size)
    assert np.array_equal(gpu.download(y), -host.transpose(2, 0, 1))


@pytest.mark.parametrize(
    "op", [operator.iadd, operator.isub, operator.imul, operator.itruediv], ids=lambda f: f.__name__
)
def test_in_place(op):
    host = np.linspace(1, 4, 600, dtype=np.float32).reshape(20, 30)
    other = np.linspace(2, 3, 30, dtype=np.float32)
    with backends.use("cuda"):
        x = Tensor(host.copy())
        start = x.array.pointer
        wanted = host.copy()
        for mine, theirs in [(2.5, 2.5), (Tensor(other), other), (Tensor(host), host)]:
            x, wanted = op(x, mine), op(wanted, theirs)
        part, same = x[:, ::2], wanted[:, ::2]
        op(part, 1.5)
        op(same, 1.5)
        op(part, x[:, 1::2])
        op(same, wanted[:, 1::2].copy())
        y = x.T
        op(y, x[0, :20].reshape(1, 20))  # elements of what is written to
        turned = wanted.T
        op(turned, wanted[0, :20].reshape(1, 20).copy())
        assert x.array.pointer == start
        np.testing.assert_allclose(x.numpy(), wanted, rtol=1e-6)
        with pytest.raises(ValueError, match="keeps the shape"):
            op(Tensor(other), Tensor(host))


def test_what_is_reported(gpu):
    zero = gpu.upload(np.array([1, 0, 2], np.int32))
    ones = gpu.upload(np.ones(3, np.int32))
    for name in ("floor_div", "remainder"):
        y = cuda.kernels()[name](gpu, ones, zero)
        with pytest.raises(ZeroDivisionError, match=rf"\[{name}\] an integer is divided by zero; cast"):
            gpu.download(y)
        gpu.synchronize()  # once
        with pytest.raises(ZeroDivisionError, match=name):
            cuda.kernels()[name](gpu, ones, 0)
    y = cuda.kernels()["pow"](gpu, ones, gpu.upload(np.array([1, -1, 2], np.int32)))
    with pytest.raises(ValueError, match=r"\[pow\] an integer to a negative power"):
        gpu.download(y)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: x + Tensor([1.0, 2.0]), ValueError, r"\[add\].*\(3,\).*\(2,\).*do not broadcast"),
        (lambda x: x.to("int64") ** -1, ValueError, r"\[pow\].*negative power"),
        (lambda x: (x > 0) ** (x > 0), TypeError, r"\[pow\] is not defined for bool and bool"),
        (lambda x: (x > 0) // True, TypeError, r"\[floor_div\] is not defined for bool and bool"),
        (lambda x: (x > 0) - (x > 0), TypeError, r"\[sub\].*bool"),
        (lambda x: -(x > 0), TypeError, r"\[neg\].*bool"),
    ],
)
def test_errors(call, error, message):
    with backends.use("cuda"), pytest.raises(error, match=message):
        call(Tensor([1.0, 2.0, 3.0]))


def test_the_order_of_threads_does_not_matter(gpu):
    a, b = np.linspace(-1, 1, 3000, dtype=np.float32).reshape(30, 100), np.linspace(1, 2, 100, dtype=np.float32)
    expected = call(gpu, "mul", a, b).tobytes(), call(gpu, "tanh", a).tobytes()
    if gpu.driver.name == "emulated":
        gpu.driver.shuffle(7)
    assert (call(gpu, "mul", a, b).tobytes(), call(gpu, "tanh", a).tobytes()) == expected
    if gpu.driver.name == "emulated":
        gpu.driver.shuffle(0)


def test_clip_of_integers_and_of_half_the_limits():
    with backends.use("cuda"):
        x = Tensor([-3, 0, 9])
        assert x.clip(min=-1, max=4).tolist() == [-1, 0, 4]
        assert x.to("float16").clip(max=4).tolist() == [-3, 0, 4]
        y = Tensor([-3.0, 1.0, math.nan], requires_grad=True)
        y.clip(min=0).sum().backward()
        assert y.grad.tolist() == [0, 1, 0]
        assert cr.clip(y, min=0).tolist()[:2] == [0, 1]
