"""Activations on a GPU beyond the table: NaN and infinities as on the CPU, 16-bit floats, layouts, the slopes' gradient."""

import importlib
import math

import ml_dtypes
import numpy as np
import pytest

from chainrule import Tensor, backends, grad
from chainrule.backends import cuda
from chainrule.ops import activation

SIMPLE = [
    ("relu", {}), ("silu", {}), ("gelu", {"approximate": "none"}), ("gelu", {"approximate": "tanh"}), ("selu", {}),
    ("hardsigmoid", {}), ("hardswish", {}), ("softplus", {"beta": 1.0, "threshold": 20.0}), ("logsigmoid", {}), ("mish", {}),
    ("softsign", {}), ("leaky_relu", {"negative_slope": 0.1}), ("elu", {"alpha": 0.5}), ("celu", {"alpha": 2.0}),
    ("relu6", {}), ("hardtanh", {"min_val": -2.0, "max_val": 0.5}), ("threshold", {"threshold": 0.5, "value": -3.0}),
    ("softshrink", {"lambd": 0.25}), ("hardshrink", {"lambd": 0.25}),
]  # fmt: skip
HALVES = [(np.dtype(np.float16), 2e-3), (np.dtype(ml_dtypes.bfloat16), 1.6e-2)]
VALUES = [
    -math.inf,
    -100.0,
    -20.5,
    -3.0,
    -1.0,
    -0.25,
    -0.0,
    0.0,
    0.25,
    0.5,
    1.0,
    3.0,
    6.0,
    20.5,
    100.0,
    math.inf,
    math.nan,
]


def each(rows):
    return pytest.mark.parametrize(
        ("name", "params"), rows, ids=lambda v: v if isinstance(v, str) else "-".join(map(str, v.values()))
    )


def native(name):
    return importlib.import_module("chainrule.backends.cpu").KERNELS[name]


@each(SIMPLE)
def test_as_the_cpu_has_them(gpu, name, params):
    """Values and gradients, of what is finite and what is not, from what is saved."""
    x = np.resize([*VALUES, *np.linspace(-7, 7, 60)], 517)
    for dtype, tolerance in [(np.float32, 2e-6), (np.float64, 1e-13)]:
        given, g = x.astype(dtype), np.resize([1.0, -0.5, 2.0], 517).astype(dtype)
        wanted, (kept,) = native(name)(given, **params)
        y, (saved,) = cuda.kernels()[name](gpu, gpu.upload(given), **params)
        slope = cuda.kernels()[f"{name}_vjp"](gpu, gpu.upload(g), saved, needs=(True,), **params)[0]
        np.testing.assert_allclose(gpu.download(y), wanted, rtol=tolerance, atol=tolerance / 10)
        wanted_slope = native(f"{name}_vjp")(g, kept, needs=(True,), **params)[0]
        np.testing.assert_allclose(gpu.download(slope), wanted_slope, rtol=4 * tolerance, atol=tolerance)
        assert cuda.kernels()[f"{name}_vjp"](gpu, gpu.upload(g), saved, needs=(False,), **params) == (None,)


@pytest.mark.parametrize(("dtype", "tolerance"), HALVES, ids=str)
def test_halves_are_rounded_once(gpu, dtype, tolerance):
    x = np.linspace(-6, 6, 203).astype(dtype)
    g = np.linspace(1, 2, 203).astype(dtype)
    for name, params in SIMPLE:
        wanted, (kept,) = native(name)(x.astype("f4"), **params)
        y, (saved,) = cuda.kernels()[name](gpu, gpu.upload(x), **params)
        found = gpu.download(y)
        assert found.dtype == dtype and np.mean(found == wanted.astype(dtype)) > 0.97  # but for the last bit of float32
        np.testing.assert_allclose(found.astype("f4"), wanted, rtol=tolerance, atol=1e-7)
        slope = gpu.download(cuda.kernels()[f"{name}_vjp"](gpu, gpu.upload(g), saved, needs=(True,), **params)[0])
        kept = gpu.download(saved).astype("f4")
        wanted = native(f"{name}_vjp")(g.astype("f4"), kept, needs=(True,), **params)[0]
        np.testing.assert_allclose(slope.astype("f4"), wanted, rtol=tolerance, atol=1e-6)


def compared(call, *shapes, dtype="float32"):
    """Values and gradients on the GPU and on the CPU."""
    random = np.random.default_rng(0)
    hosts = [random.standard_normal(s) for s in shapes]
    results = []
    for name in ("cuda", "cpu"):
        with backends.use(name):
            xs = [Tensor(h, dtype=dtype, requires_grad=True) for h in hosts]
            y = call(*xs)
            weights = Tensor(np.cos(np.arange(y.size)).reshape(y.shape), dtype=dtype)
            results.append([v.numpy() for v in (y, *grad((y * weights).sum(), xs))])
    for found, wanted in zip(*results, strict=True):
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, rtol=3e-6, atol=1e-6 * float(np.abs(wanted).max(initial=1.0)))


@pytest.mark.parametrize("gate", [activation.glu, activation.swiglu], ids=lambda g: g.__name__)
def test_gates_of_any_axis_and_layout(gate):
    for shape in [(6, 34), (3, 256), (4, 0), (2, 4, 5), (3, 7, 6)]:
        compared(lambda x: gate(x, axis=-1), shape) if shape[-1] % 2 == 0 else None
    compared(lambda x: gate(x, axis=1), (2, 4, 5))
    compared(lambda x: gate(x, axis=0), (6, 3))
    compared(lambda x: gate(x.T, axis=0), (5, 8))
    compared(lambda x: gate(x[:, 1:-1], axis=1), (5, 8))


def test_slopes_of_channels_and_of_all():
    for shape, slopes in [
        ((4, 6), 6),
        ((4, 6), 1),
        ((2, 3, 5, 7), 3),
        ((2, 3, 5, 7), 1),
        ((5,), 1),
        ((3000, 8), 8),
        ((0, 3), 3),
    ]:
        compared(activation.prelu, shape, (slopes,))
    compared(lambda x, w: activation.prelu(x.permute((1, 0)), w), (6, 4), (6,))


def test_gradients_that_are_spread(gpu):
    """The gradient of a sum is one number for all."""
    x = gpu.upload(np.array([-1.0, 0.0, 2.0, math.nan], np.float32))
    one = cuda.kernels()["expand"](gpu, gpu.upload(np.float32(3)), shape=(4,))
    y, saved = cuda.kernels()["relu"](gpu, x)
    assert saved[0] is y
    found = gpu.download(cuda.kernels()["relu_vjp"](gpu, one, y, needs=(True,))[0])
    assert found.tolist() == [0, 0, 3, 3]


def test_integers_are_left_to_the_body():
    with backends.use("cuda"):
        assert activation.relu(Tensor([-1, 2])).tolist() == [0, 2]
        assert activation.leaky_relu(Tensor([-10, 2])).tolist() == pytest.approx([-0.1, 2])
        assert activation.softplus(Tensor([0.0]), beta=2.0).tolist() == pytest.approx([math.log(2) / 2])
