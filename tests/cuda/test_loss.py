"""The loss room on a GPU beyond the table: many blocks, strides, 16-bit floats, what is not a number."""

import ml_dtypes
import numpy as np
import pytest
from tests.cuda.test_reduce import orders
from tests.ops import test_loss as shared

import chainrule as cr
from chainrule import Tensor, backends, grad

LOSSES = [
    (cr.mse, {}),
    (cr.mae, {}),
    (cr.huber, {"delta": 0.3}),
    (cr.smooth_l1, {"beta": 0.3}),
    (cr.bce, {}),
    (cr.bce_with_logits, {}),
]
each_loss = pytest.mark.parametrize(("op", "params"), LOSSES, ids=lambda v: getattr(v, "__name__", ""))


def test_as_on_the_cpu():
    with backends.use("cuda"):
        shared.test_bce_of_certainty()
        shared.test_logits_of_any_size()
        shared.test_losses_of_far_away()
        shared.test_a_variance_below_eps_is_kept_above_and_still_learns()


def found(op, params, reduction, backend, x, t, dtype="float64"):
    """A loss and its gradients, of every third row of a turned array."""
    with backends.use(backend):
        x, t = (Tensor(v, dtype=dtype, requires_grad=True) for v in (x, t))
        y = op(x.T[::3], t.T[::3], reduction=reduction, **params)
        cos = Tensor(np.cos(np.arange(y.size)).reshape(y.shape), dtype=dtype)
        return [y.numpy(), *(g.numpy() for g in grad((y * cos).sum(), (x, t)))]


@each_loss
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("shape", [(300, 100), (5, 7), (1, 1)], ids=str)
def test_values_and_gradients(op, params, reduction, shape):
    x, t = (np.random.default_rng(k).uniform(0.01, 0.99, shape) for k in (0, 1))
    wanted = found(op, params, reduction, "numpy", x, t)
    for dtype, rtol, atol in (("float64", 1e-11, 1e-13), ("float32", 1e-5, 2e-5)):
        for y, e in zip(found(op, params, reduction, "cuda", x, t, dtype), wanted, strict=True):
            assert y.dtype == dtype
            np.testing.assert_allclose(y, e, rtol=rtol, atol=atol)


@each_loss
@pytest.mark.parametrize("n", [0, 1, 4099, 300000])
def test_many_blocks_in_one_pass(gpu, op, params, n):
    x, t = (np.random.default_rng(k).uniform(0.01, 0.99, n).astype("float32") for k in (0, 1))
    with backends.use("numpy"):
        wanted = op(Tensor(x.astype("float64")), Tensor(t.astype("float64")), **params).item()
    with backends.use("cuda"):
        a, b = Tensor(x), Tensor(t)
        launches = getattr(gpu.driver, "launches", 0)
        y = op(a, b, **params)
        assert getattr(gpu.driver, "launches", 0) - launches <= 2
        assert y.item() == pytest.approx(wanted, rel=1e-6, nan_ok=True)
        for _ in orders(gpu):
            np.testing.assert_array_equal(op(a, b, **params).numpy(), y.numpy())


@each_loss
@pytest.mark.parametrize("dtype", [np.dtype("float16"), np.dtype(ml_dtypes.bfloat16)], ids=str)
def test_16_bits_are_computed_wide_and_rounded_once(op, params, dtype):
    x, t = (np.random.default_rng(k).uniform(0.05, 0.95, (3, 40)).astype(dtype) for k in (0, 1))
    with backends.use("cuda"):
        for reduction in ("mean", "none"):
            y = op(Tensor(x), Tensor(t), reduction=reduction, **params).numpy()
            wide = op(Tensor(x.astype("float32")), Tensor(t.astype("float32")), reduction=reduction, **params).numpy()
            np.testing.assert_array_equal(y, wide.astype(dtype))


def test_what_is_not_a_number_stays_so():
    with backends.use("cuda"):
        for op, params in LOSSES:
            x = Tensor([np.nan, 0.5], requires_grad=True)
            y = op(x, Tensor([0.5, 0.25]), reduction="none", **params)
            assert np.isnan(y.numpy()).tolist() == [True, False]
            assert np.isnan(grad(y.sum(), x)[0].numpy()).tolist() == [True, False]
