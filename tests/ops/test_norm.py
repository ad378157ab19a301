"""The normalisation room beyond the table: running statistics, dtypes, errors."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import Tensor

on_both = pytest.mark.parametrize("backend", ["numpy", "cpu"])


def channels(value, dtype="float32"):
    return Tensor([value] * 3, dtype=dtype)


@on_both
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(6, 3), (2, 3, 4), (2, 3, 4, 5)])
def test_running_statistics(backend, shape, dtype):
    with cr.backends.use(backend):
        x = np.random.default_rng(0).standard_normal(shape) * 3 + 1
        mean, var = channels(0.5, dtype), channels(2.0, dtype)
        before = mean.storage.version, var.storage.version
        arrays = mean.numpy(), var.numpy()
        y = cr.batch_norm_train(
            Tensor(x, dtype=dtype), channels(1.0, dtype), channels(0.0, dtype), mean, var, momentum=0.25
        )
        axes = (0, *range(2, x.ndim))
        np.testing.assert_allclose(arrays[0], 0.75 * 0.5 + 0.25 * x.mean(axes), rtol=1e-5)
        np.testing.assert_allclose(arrays[1], 0.75 * 2.0 + 0.25 * x.var(axes, ddof=1), rtol=1e-5)
        assert mean.storage.version > before[0] and var.storage.version > before[1]
        np.testing.assert_allclose(y.mean(axis=axes).numpy(), 0, atol=1e-6)


@on_both
def test_large_means_do_not_cancel(backend):
    with cr.backends.use(backend):
        x = np.random.default_rng(0).standard_normal((64, 3)) + 1e3
        y = cr.batch_norm_train(Tensor(x, dtype="float32"), None, None, channels(0.0), channels(1.0))
        np.testing.assert_allclose(y.numpy(), (x - x.mean(0)) / x.std(0), atol=2e-3)


@on_both
def test_16_bits_with_float32_statistics(backend):
    with cr.backends.use(backend):
        x = Tensor(np.random.default_rng(0).standard_normal((8, 3)), dtype="float16", requires_grad=True)
        mean, var = channels(0.0), channels(1.0)
        weight = channels(1.0).requires_grad_()
        y = cr.batch_norm_train(x, weight, channels(0.0), mean, var)
        y.to("float32").square().sum().backward()
        assert y.dtype == "float16" and mean.dtype == "float32" and mean.tolist() != [0, 0, 0]
        assert x.grad.dtype == "float16" and weight.grad.dtype == "float32"
        assert cr.batch_norm_eval(x, weight, None, mean, var).dtype == "float16"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, c: cr.batch_norm_train(x, c, c, c[:2], c), r"x has 3 channels .* but running_mean has shape \(2,\)"),
        (lambda x, c: cr.batch_norm_train(x[:1], c, c, c, c), r"one element in each channel \(shape \(1, 3\)\)"),
        (lambda x, c: cr.batch_norm_train(x[0], c, c, c, c), r"x has shape \(3,\); it should be \(n, channels, ...\)"),
        (lambda x, c: cr.batch_norm_eval(x, c, c[:1], c, c), r"x has 3 channels .* but bias has shape \(1,\)"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call(Tensor(np.ones((4, 3), "float32")), channels(1.0))


@on_both
def test_a_large_mean_does_not_cancel_in_layer_norm(backend):
    with cr.backends.use(backend):
        x = np.random.default_rng(0).standard_normal((4, 500)) + 1e3
        y = cr.layer_norm(Tensor(x, dtype="float32"), normalized_shape=500)
        np.testing.assert_allclose(y.numpy(), (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True), atol=2e-3)


@on_both
def test_16_bits_with_float32_weights(backend):
    with cr.backends.use(backend):
        x = Tensor(np.random.default_rng(0).standard_normal((8, 3)), dtype="float16", requires_grad=True)
        weight = channels(1.0).requires_grad_()
        for y in (
            cr.layer_norm(x, weight, channels(0.0), normalized_shape=3),
            cr.rms_norm(x, weight, normalized_shape=3),
        ):
            x.grad = weight.grad = None
            y.to("float32").square().sum().backward()
            assert (y.dtype, x.grad.dtype, weight.grad.dtype) == ("float16", "float16", "float32")


def test_the_eps_of_rms_norm():
    zeros = Tensor(np.zeros((1, 2), "float32"), requires_grad=True)
    cr.rms_norm(zeros, normalized_shape=2).sum().backward()
    assert zeros.grad.tolist()[0] == pytest.approx([2.0**11.5] * 2)  # 1 / sqrt(eps)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: cr.layer_norm(x, normalized_shape=4), r"\(4, 3\), which does not end in normalized_shape \(4,\)"),
        (
            lambda x: cr.layer_norm(x, x, normalized_shape=3),
            r"weight has shape \(4, 3\) but normalized_shape is \(3,\)",
        ),
        (lambda x: cr.rms_norm(x, normalized_shape=()), "normalized_shape is empty"),
        (lambda x: cr.group_norm(x, num_groups=2), "2 groups do not divide the 3 channels"),
        (lambda x: cr.group_norm(x, x[0, :2], num_groups=1), r"3 channels .* but weight has shape \(2,\)"),
        (lambda x: cr.layer_norm(x.to("int64"), normalized_shape=3), "x is int64; it should be floating"),
    ],
)
def test_errors_of_sample_norms(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call(Tensor(np.ones((4, 3), "float32")))
