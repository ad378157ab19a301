"""The reduction room on a GPU beyond the table: many blocks, odd sizes and strides, dtypes, exactness, the same bits again."""

import ml_dtypes
import numpy as np
import pytest
from tests.ops import test_reduce as shared

import chainrule as cr
from chainrule import Tensor, backends
from chainrule.backends.numpy import KERNELS as REFERENCE

BACKEND = ["the_first_of_equals_gets_the_gradient", "nan_is_the_largest_and_the_smallest"]
PLAIN = (
    "max_with_and_without_axis sums_of_integers_are_int64 nothing_to_reduce variance gradients_where_a_root_is_zero "
    "product_with_zeros logsumexp_of_infinities axis_forms"
).split()
SHAPES = [
    (),
    (1,),
    (7,),
    (1000,),
    (70001,),
    (513, 3),
    (3, 513),
    (2, 20000),
    (20000, 2),
    (2, 300, 50),
    (700, 12),
    (6, 90, 8),
    (4, 5, 6, 7),
]
VIEWS = {
    "steps": lambda a: a[::-2, :, ::3],
    "turned": lambda a: a.transpose(2, 0, 1),
    "unaligned": lambda a: a[:, 1:, 1:],
    "broadcast": lambda a: np.broadcast_to(a[:, :1], a.shape),
    "empty": lambda a: a[:0],
    "backwards": lambda a: a[:, :, ::-1],
}


@pytest.mark.parametrize("name", [*BACKEND, *PLAIN])
def test_as_on_the_cpu(name):
    with backends.use("cuda"):
        getattr(shared, f"test_{name}")(*["cuda"] * (name in BACKEND))


def on_device(x, view):
    """A view of an array, and the same view of its copy on the GPU."""
    host = view(x)
    where = host.__array_interface__["data"][0] - x.__array_interface__["data"][0]
    return host, backends.get("cuda").asarray(x).view(host.shape, host.strides, where)


def same(name, x, view=lambda a: a, **params):
    """Whether a kernel gives what NumPy does in float64."""
    backend = backends.get("cuda")
    host, device = on_device(x, view)
    real = x.dtype.kind == "f"
    wanted = REFERENCE[name](host.astype("float64") if real else host, **params)
    found = backend.kernels[name](device, **params)
    for y, e in zip(*((v if isinstance(v, tuple) else (v,)) for v in (found, wanted)), strict=True):
        got = backend.numpy(y)
        assert got.shape == e.shape and got.dtype == (x.dtype if real and e.dtype.kind == "f" else e.dtype)
        np.testing.assert_allclose(got.astype(e.dtype), e, rtol=2e-7, atol=1e-8, err_msg=f"{name} {x.shape} {params}")


def axes_of(shape):
    several = [(0, 1), (0, 2), (1, 3), (0, 3), (1, 2)]
    return [None, *range(len(shape)), *(a for a in several if len(shape) > max(a))]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_sizes(shape):
    x = np.random.default_rng(0).standard_normal(shape).astype("float32")
    for axis in axes_of(shape):
        for name in ("sum", "prod", "any", "all"):
            same(name, x, axis=axis, keepdims=axis is not None)
    for axis in range(len(shape)):
        for name in ("max", "min"):
            same(name, np.round(3 * x), axis=axis, keepdims=False)
        for name in ("cumsum", "cumprod"):
            same(name, x, axis=axis)


@pytest.mark.parametrize("view", VIEWS)
def test_strides(view):
    x = np.random.default_rng(0).standard_normal((9, 10, 12)).astype("float32")
    view = VIEWS[view]
    for axis in axes_of(view(x).shape):
        same("sum", x, view, axis=axis, keepdims=False)
        same("all", x, view, axis=axis, keepdims=True)
    for axis in range(3):
        same("cumsum", x, view, axis=axis)
        if view(x).size:
            same("max", np.round(x), view, axis=axis, keepdims=False)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "int16", "int32", "int64", "float64"])
def test_dtypes(dtype):
    rng = np.random.default_rng(0)
    x = (rng.integers(0, 4, (9, 37)) * (1 if dtype in ("bool", "uint8") else rng.choice([-1, 1], (9, 37)))).astype(
        dtype
    )
    for axis in (0, 1):
        for name in ("sum", "prod", "any", "all", "max", "min"):
            same(name, x, axis=axis, keepdims=False)
        for name in ("cumsum", "cumprod"):
            same(name, x, axis=axis)


@pytest.mark.parametrize("dtype", [np.dtype("float16"), np.dtype(ml_dtypes.bfloat16)], ids=str)
@pytest.mark.parametrize("shape", [(3, 40), (2, 41), (30, 8), (900, 12)], ids=str)
def test_16_bits_are_computed_wide_and_rounded_once(shape, dtype):
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    backend = backends.get("cuda")
    for axis in (0, 1, None):
        found = backend.numpy(backend.kernels["sum"](backend.asarray(x), axis=axis, keepdims=False))
        wanted = np.sum(x.astype("float64"), axis=axis).astype("float32").astype(dtype)
        assert found.dtype == dtype and np.array_equal(found, wanted)


def test_sums_are_right_to_the_last_bit():
    rng = np.random.default_rng(0)
    x = np.concatenate([[1e8, 1, -1e8, 1], rng.standard_normal(50000) * 10.0 ** rng.integers(-6, 6, 50000)]).astype(
        "float32"
    )
    with backends.use("cuda"):
        for y in (Tensor(x).sum(), Tensor(x.reshape(-1, 4)).sum(axis=0).sum(), Tensor(x).cumsum(0)[-1]):
            assert y.item() == pytest.approx(np.sum(x.astype("float64")), rel=1e-7)
        assert Tensor(x[:4]).sum().item() == 2 and Tensor(x[:4]).cumsum(0).tolist() == [1e8, 1e8, 1, 2][:1] + [
            1e8,
            1,
            2,
        ]


def test_infinities_and_nan():
    inf, nan = np.inf, np.nan
    with backends.use("cuda"):
        x = Tensor([[inf, 1.0, -inf], [-inf, -inf, -inf], [nan, inf, nan], [inf, 2.0, 3.0]])
        np.testing.assert_array_equal(x.sum(axis=1).numpy(), [nan, -inf, nan, inf])
        values, indices = x.max(axis=1)
        np.testing.assert_array_equal(values.numpy(), [inf, -inf, nan, inf])
        assert indices.tolist() == [0, 0, 0, 0] and x.argmin(axis=1).tolist() == [2, 0, 0, 1]
        assert x.any(axis=1).tolist() == [True] * 4 and Tensor([0.0, -0.0, nan]).any().item()
        assert not Tensor([0.0, -0.0]).any().item() and not Tensor([1.0, -0.0]).all().item()


def test_the_same_bits_on_every_run_and_in_every_order(gpu):
    x = np.random.default_rng(0).standard_normal((90, 700)).astype("float32")
    calls = [lambda x: x.sum(), lambda x: x.sum(axis=0), lambda x: x.sum(axis=1), lambda x: x.reshape(-1).cumsum(0)]
    calls += [lambda x: x.prod(axis=0), lambda x: x.argmax(axis=0), lambda x: x.norm()]
    with backends.use("cuda"):
        first = [f(Tensor(x)).numpy() for f in calls]
        for _ in orders(gpu):
            for f, y in zip(calls, first, strict=True):
                np.testing.assert_array_equal(f(Tensor(x)).numpy(), y)


def orders(gpu):
    """The order of threads in blocks that a GPU has, and on the emulated driver two others."""
    yield
    shuffle = getattr(gpu.driver, "shuffle", None)
    if shuffle is not None:
        try:
            for seed in (5, 6):
                shuffle(seed)
                yield
        finally:
            shuffle(0)


def test_lengths():
    x = np.random.default_rng(0).standard_normal((40, 300))
    with backends.use("cuda"):
        t = Tensor(x)
        for order in (1, 2, np.inf):
            np.testing.assert_allclose(t.norm(ord=order, axis=0).numpy(), np.linalg.norm(x, order, axis=0), rtol=1e-12)
        assert t.norm(ord="fro").item() == pytest.approx(np.linalg.norm(x))
        assert cr.mean(t, axis=(0, 1)).item() == pytest.approx(x.mean(), abs=1e-15)
