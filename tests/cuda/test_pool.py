"""Pooling and interpolation on a GPU beyond the table: several blocks, large windows, layouts, NaN, 16-bit floats."""

import ml_dtypes
import numpy as np
import pytest
from tests.ops import test_pool as on_any

import chainrule as cr
from chainrule import Tensor, backends
from chainrule.backends.cuda.rooms import pool

DTYPES = ["float32", "float64", "float16", "bfloat16"]
MAX = [
    {"kernel_size": 2},
    {"kernel_size": 3, "stride": (1, 2), "padding": 1},
    {"kernel_size": (2, 3), "stride": 2, "dilation": (3, 2), "padding": (1, 1), "ceil_mode": True},
    {"kernel_size": (17, 16), "stride": (3, 5), "padding": (8, 8)},  # more taps than a byte numbers
]
MEAN = [
    {"kernel_size": 2},
    {"kernel_size": (3, 2), "stride": (2, 1), "padding": 1},
    {"kernel_size": 3, "stride": (2, 4), "padding": 1, "ceil_mode": True},
    {"kernel_size": (5, 3), "stride": 2, "padding": (2, 1), "ceil_mode": True, "count_include_pad": False},
]


def image(dtype, shape=(3, 5, 19, 18)):
    """Elements among which there are equals."""
    x = np.random.default_rng(0).integers(-40, 40, shape) / 8
    return x.astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)


def results(device, op, x, dtype, **params):
    """The value of an op and its gradient, in float64."""
    with backends.use(device):
        x = Tensor(x.astype(np.float64), dtype=dtype, requires_grad=True)
        y = op(x, **params)
        g = np.random.default_rng(1).integers(-8, 8, y.shape) / 4.0
        y.backward(Tensor(g, dtype=dtype))
        return y.detach().numpy().astype(np.float64), x.grad.numpy().astype(np.float64)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("params", MAX, ids=str)
def test_the_largest(params, dtype):
    x = image(dtype)
    for one, other in zip(
        results("cuda", cr.max_pool2d, x, dtype, **params),
        results("numpy", cr.max_pool2d, x, "float64", **params),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)  # sums of the gradient are exact: they are of quarters
    with backends.use("cuda"):
        y, places = cr.max_pool2d_with_indices(Tensor(x), **params)
    flat = x.reshape(*x.shape[:2], -1)
    np.testing.assert_array_equal(
        np.take_along_axis(flat, places.numpy().reshape(*x.shape[:2], -1), 2).reshape(y.shape), y.numpy()
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("params", MEAN, ids=str)
def test_the_mean(params, dtype):
    x = image(dtype)
    limit = {"float32": 2.0**-22, "float64": 2.0**-50, "float16": 2.0**-10, "bfloat16": 2.0**-7}[dtype]
    for one, other in zip(
        results("cuda", cr.avg_pool2d, x, dtype, **params),
        results("numpy", cr.avg_pool2d, x, "float64", **params),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, rtol=limit, atol=limit)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [(7, 5), (19, 1), (1, 18), (25, 40)], ids=str)
def test_as_many_windows_as_are_asked_for(size, dtype):
    x = image(dtype)
    limit = {"float32": 2.0**-20, "float64": 2.0**-48, "float16": 2.0**-9, "bfloat16": 2.0**-6}[dtype]
    for op in (cr.adaptive_max_pool2d, cr.adaptive_avg_pool2d):
        for one, other in zip(
            results("cuda", op, x, dtype, output_size=size),
            results("numpy", op, x, "float64", output_size=size),
            strict=True,
        ):
            np.testing.assert_allclose(one, other, rtol=0 if op is cr.adaptive_max_pool2d else limit, atol=limit)
    found = []
    for device in ("cuda", "numpy"):
        with backends.use(device):
            found.append(cr.adaptive_max_pool2d_with_indices(Tensor(x.astype("float32")), output_size=size)[1].numpy())
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "params",
    [
        {"size": (40, 7)},
        {"scale_factor": (0.7, 2.3)},
        {"size": (40, 7), "mode": "bilinear"},
        {"size": (7, 45), "mode": "bilinear", "align_corners": True},
        {"scale_factor": (1.9, 0.3), "mode": "bilinear"},
        {"size": (1, 1), "mode": "bilinear", "align_corners": True},
        {"size": (19, 1), "mode": "bilinear"},
    ],
    ids=str,
)
def test_another_size(params, dtype):
    x = image(dtype, (2, 3, 19, 18))
    limit = {"float32": 1e-5, "float64": 1e-13, "float16": 2.0**-9, "bfloat16": 2.0**-6}[dtype]
    for one, other in zip(
        results("cuda", cr.interpolate, x, dtype, **params),
        results("numpy", cr.interpolate, x, "float64", **params),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, rtol=limit, atol=limit * 10)


@pytest.mark.parametrize("params", [{"size": 31}, {"size": 5, "mode": "linear"}], ids=str)
def test_sequences_in_another_size(params):
    x = image("float64", (2, 3, 19))
    for one, other in zip(
        *(results(d, cr.interpolate, x, "float64", **params) for d in ("cuda", "numpy")), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-13, atol=1e-13)


def test_other_layouts(gpu):
    x = image("float32", (2, 5, 8, 6))
    sizes = {"kernel_size": (2, 2), "stride": (2, 2), "padding": (0, 0), "ceil_mode": False}
    last = gpu.upload(np.ascontiguousarray(x.transpose(0, 2, 3, 1)))
    last = last.view(x.shape, tuple(last.strides[a] for a in (0, 3, 1, 2)))
    for given in (last, gpu.upload(x)):
        y, _ = pool.max_pool2d(gpu, given, dilation=(1, 1), **sizes)
        np.testing.assert_array_equal(gpu.download(y), x.reshape(2, 5, 4, 2, 3, 2).max((3, 5)))
        y, _ = pool.avg_pool2d(gpu, given, count_include_pad=True, **sizes)
        np.testing.assert_array_equal(gpu.download(y), x.reshape(2, 5, 4, 2, 3, 2).mean((3, 5)))


def test_not_a_number_and_infinities():
    x = np.zeros((1, 1, 2, 8), np.float32)
    x[0, 0, :, :4] = [[np.nan, 1, -np.inf, -np.inf], [2, np.nan, -np.inf, -np.inf]]
    x[0, 0, :, 4:6] = [[np.inf, 1], [np.inf, 2]]
    found = [results(device, cr.max_pool2d, x, "float32", kernel_size=2) for device in ("cuda", "cpu")]
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_no_images():
    with backends.use("cuda"):
        x = Tensor(np.zeros((0, 3, 8, 8), "float32"), requires_grad=True)
        for op in (cr.max_pool2d, cr.avg_pool2d):
            y = op(x, 2)
            y.sum().backward()
            assert y.shape == (0, 3, 4, 4) and x.grad.shape == x.shape


@pytest.mark.parametrize("backend", ["cuda"])
@pytest.mark.parametrize(
    "test", [on_any.test_the_first_of_equals_gets_the_gradient, on_any.test_padding_is_never_the_largest]
)
def test_as_elsewhere(test, backend):
    test(backend)


@pytest.mark.parametrize(
    "test", [on_any.test_overlapping_windows_add_their_gradients, on_any.test_counting_the_padding]
)
def test_as_on_the_cpu(test):
    with backends.use("cuda"):
        test()
