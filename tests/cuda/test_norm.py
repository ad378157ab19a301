"""The normalisation room on a GPU beyond the table: many blocks, layouts, large means, statistics, 16-bit floats."""

import ml_dtypes
import numpy as np
import pytest
from tests.cuda.test_reduce import orders
from tests.ops import test_norm as shared

import chainrule as cr
from chainrule import Tensor, backends, grad


def test_as_on_the_cpu():
    with backends.use("cuda"):
        shared.test_large_means_do_not_cancel("cuda")
        shared.test_16_bits_with_float32_statistics("cuda")
        shared.test_a_large_mean_does_not_cancel_in_layer_norm("cuda")
        shared.test_16_bits_with_float32_weights("cuda")
        shared.test_the_eps_of_rms_norm()


def on(backend, dtype, function, *arrays):
    """The outputs and gradients of a function of tensors, weighted by cosines."""
    with backends.use(backend):
        tensors = [Tensor(a, dtype=dtype, requires_grad=True) for a in arrays]
        y, *others = function(*tensors)
        cos = Tensor(np.cos(np.arange(y.size)).reshape(y.shape), dtype=dtype)
        return [v.numpy() for v in (y, *others, *grad((y * cos).sum(), tensors))]


def same(function, *arrays, atol=2e-5):
    """Whether it gives on the GPU what it gives on the CPU in float64."""
    wanted = on("numpy", "float64", function, *arrays)
    for dtype, rtol, least in (("float64", 1e-10, 1e-12), ("float32", 2e-5, atol)):
        for y, e in zip(on("cuda", dtype, function, *arrays), wanted, strict=True):
            assert y.dtype == dtype
            np.testing.assert_allclose(y, e, rtol=rtol, atol=least)


def uniform(*shapes):
    return [np.random.default_rng(k).uniform(0.5, 2, shape) for k, shape in enumerate(shapes)]


@pytest.mark.parametrize("shape", [(37, 64), (200, 61), (3, 5000), (2, 30, 8), (7, 1), (1, 7000)], ids=str)
def test_samples(shape):
    n = shape[-1]
    x, w, b = uniform(shape, (n,), (n,))
    same(lambda x, w, b: [cr.layer_norm(x, w, b, normalized_shape=n)], x, w, b, atol=1e-4)
    same(lambda x: [cr.layer_norm(x, normalized_shape=shape[1:])], x, atol=1e-4)
    same(lambda x, w: [cr.rms_norm(x, w, normalized_shape=n)], x, w, atol=1e-4)


def test_samples_that_do_not_lie_in_rows():
    same(lambda x, b: [cr.layer_norm(x.T, None, b, normalized_shape=40)], *uniform((40, 30), (40,)))


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_groups(groups):
    same(lambda x, w, b: [cr.group_norm(x, w, b, num_groups=groups)], *uniform((3, 6, 5, 4), (6,), (6,)))


@pytest.mark.parametrize(
    "shape", [(40, 8), (5000, 3), (4, 6, 33), (3, 8, 30), (3, 5, 16, 16), (2, 2, 90, 91), (2, 3, 4, 4, 4)], ids=str
)
@pytest.mark.parametrize("last", [False, True], ids=["channels first", "channels last"])
def test_channels(shape, last):
    c = shape[1]

    def train(x, w, b):
        x = x.permute((0, -1 % len(shape), *range(1, len(shape) - 1))) if last else x
        mean, var = (Tensor(np.linspace(0.5, 1.5, c), dtype=x.dtype) for _ in range(2))
        return [cr.batch_norm_train(x, w, b, mean, var, momentum=0.25), mean, var]

    def evaluate(x, w, b, m, v):
        x = x.permute((0, -1 % len(shape), *range(1, len(shape) - 1))) if last else x
        return [cr.batch_norm_eval(x, w, b, m, v)]

    stored = (shape[0], *shape[2:], c) if last else shape
    same(train, *uniform(stored, (c,), (c,)), atol=1e-4)
    same(lambda x, w: train(x, w, None), *uniform(stored, (c,)), atol=1e-4)
    same(evaluate, *uniform(stored, (c,), (c,), (c,), (c,)), atol=2e-4)
    same(
        lambda x: evaluate(x, None, None, *(Tensor(v, dtype=x.dtype) for v in uniform((c,), (c,)))), uniform(stored)[0]
    )


def test_the_layout_of_channels_last_stays(gpu):
    with backends.use("cuda"):
        x = Tensor(np.ones((2, 4, 4, 8), "float32")).permute((0, 3, 1, 2))
        ones = Tensor(np.ones(8, "float32"))
        assert cr.batch_norm_eval(x, ones, ones, ones, ones).array.strides == x.array.strides


def test_running_statistics_are_written_where_they_are():
    x = np.random.default_rng(0).standard_normal((6, 3, 4)) * 3 + 1
    with backends.use("cuda"):
        table = Tensor(np.full((3, 2), 0.5))
        mean, var = table[:, 0], table[:, 1]
        before = mean.storage.version
        y = cr.batch_norm_train(Tensor(x), None, None, mean, var, momentum=0.25)
        np.testing.assert_allclose(table.numpy()[:, 0], 0.75 * 0.5 + 0.25 * x.mean((0, 2)), rtol=1e-12)
        np.testing.assert_allclose(table.numpy()[:, 1], 0.75 * 0.5 + 0.25 * x.var((0, 2), ddof=1), rtol=1e-12)
        assert mean.storage.version > before
        np.testing.assert_allclose(y.mean(axis=(0, 2)).numpy(), 0, atol=1e-12)


@pytest.mark.parametrize("first", [0.0, 1e6])
def test_large_means_and_outliers_do_not_cancel(first):
    x = np.random.default_rng(0).standard_normal((2000, 3)) + 3e3
    x[0] += first  # distances are taken from the first element
    x = x.astype("float32")
    exact = x.astype("float64")
    with backends.use("cuda"):
        mean, var = (Tensor(np.zeros(3, "float32")) for _ in range(2))
        y = cr.batch_norm_train(Tensor(x), None, None, mean, var, momentum=1.0)
        np.testing.assert_allclose(mean.numpy(), exact.mean(0), rtol=2e-7)
        np.testing.assert_allclose(var.numpy(), exact.var(0, ddof=1), rtol=3e-7)
        np.testing.assert_allclose(y.numpy(), (exact - exact.mean(0)) / exact.std(0), atol=1e-3)


@pytest.mark.parametrize("dtype", [np.dtype("float16"), np.dtype(ml_dtypes.bfloat16)], ids=str)
@pytest.mark.parametrize("n", [64, 61])
def test_16_bits_are_computed_wide_and_rounded_once(n, dtype):
    x, w = (v.astype(dtype) for v in uniform((6, n), (n,)))
    calls = [
        lambda x, w: cr.layer_norm(x, w, w, normalized_shape=n),
        lambda x, w: cr.rms_norm(x, w, normalized_shape=n),
        lambda x, w: cr.batch_norm_eval(x, w, w, w, w),
    ]
    with backends.use("cuda"):
        for f in calls:
            y = f(Tensor(x), Tensor(w)).numpy()
            assert y.dtype == dtype
            wide = f(Tensor(x.astype("float32")), Tensor(w.astype("float32"))).numpy()
            np.testing.assert_array_equal(y, wide.astype(dtype))


def test_the_same_bits_in_every_order(gpu):
    x, w, b = (v.astype("float32") for v in uniform((90, 700), (700,), (700,)))

    def train(x, w, b):
        return cr.batch_norm_train(x, w, b, *(Tensor(np.zeros(700, "float32")) for _ in range(2)))

    calls = [lambda x, w, b: cr.layer_norm(x, w, b, normalized_shape=700), train]
    with backends.use("cuda"):
        for f in calls:

            def run(f=f):
                tensors = [Tensor(v, requires_grad=True) for v in (x, w, b)]
                y = f(*tensors)
                return [v.numpy() for v in (y, *grad((y * y * y).sum(), tensors))]

            first = run()
            for _ in orders(gpu):
                for y, e in zip(run(), first, strict=True):
                    np.testing.assert_array_equal(y, e)


def test_few_launches(gpu):
    x, w, b = (v.astype("float32") for v in uniform((60, 64), (64,), (64,)))
    with backends.use("cuda"):
        x, w, b = (Tensor(v, requires_grad=True) for v in (x, w, b))
        g = Tensor(np.ones((60, 64), "float32"))
        copies, launches = dict(gpu.copies), getattr(gpu.driver, "launches", 0)
        cr.layer_norm(x, w, b, normalized_shape=64).backward(g)
        assert gpu.copies == copies and getattr(gpu.driver, "launches", 0) - launches <= 4
