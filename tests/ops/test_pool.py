"""The pooling room beyond the table: ties, padding, errors."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import Tensor, grad


@pytest.mark.parametrize("backend", ["numpy", "cpu"])
def test_the_first_of_equals_gets_the_gradient(backend):
    with cr.backends.use(backend):
        x = Tensor(np.ones((1, 1, 2, 4), "float32"), requires_grad=True)
        (g,) = grad(cr.max_pool2d(x, 2).sum(), x)
        assert g.tolist() == [[[[1, 0, 1, 0], [0, 0, 0, 0]]]]
        assert grad(cr.avg_pool2d(x, 2).sum(), x)[0].tolist() == [[[[0.25] * 4] * 2]]


@pytest.mark.parametrize("backend", ["numpy", "cpu"])
def test_padding_is_never_the_largest(backend):
    with cr.backends.use(backend):
        y = cr.max_pool2d(Tensor(np.full((1, 1, 2, 2), -5.0)), 2, padding=1)
        assert y.tolist() == [[[[-5.0, -5.0], [-5.0, -5.0]]]]
        assert cr.max_pool2d(Tensor(np.full((1, 1, 2, 2), -5)), 2, padding=1).tolist() == [[[[-5, -5], [-5, -5]]]]
        y = cr.max_pool2d(Tensor(np.full((1, 1, 2, 2), np.nan)), 2)
        assert np.isnan(y.numpy()).all()


def test_overlapping_windows_add_their_gradients():
    x = Tensor(np.arange(9.0).reshape(1, 1, 3, 3), requires_grad=True)
    (g,) = grad(cr.max_pool2d(x, 2, stride=1).sum(), x)
    assert g.tolist() == [[[[0, 0, 0], [0, 1, 1], [0, 1, 1]]]]
    x = Tensor(np.array([[[[0.0, 0, 0], [0, 9, 0], [0, 0, 0]]]]), requires_grad=True)
    assert grad(cr.max_pool2d(x, 2, stride=1).sum(), x)[0].sum().item() == 4


def test_counting_the_padding():
    x = Tensor(np.ones((1, 1, 2, 2)))
    assert cr.avg_pool2d(x, 2, padding=1).tolist() == [[[[0.25, 0.25], [0.25, 0.25]]]]
    assert cr.avg_pool2d(x, 2, padding=1, count_include_pad=False).tolist() == [[[[1, 1], [1, 1]]]]


@pytest.mark.parametrize("op", [cr.max_pool2d, cr.avg_pool2d])
@pytest.mark.parametrize(
    ("shape", "params", "message"),
    [
        ((2, 4, 4), {"kernel_size": 2}, r"x has shape \(2, 4, 4\); images"),
        ((1, 2, 4, 4), {"kernel_size": 5}, r"a window of \(5, 5\) .* does not fit"),
        ((1, 2, 4, 4), {"kernel_size": 2, "padding": 2}, r"padding \(2, 2\) is more than half of kernel_size \(2, 2\)"),
        ((1, 2, 4, 4), {"kernel_size": 0}, r"kernel_size is 0, but at least 1 is needed"),
        ((1, 2, 4, 4), {"kernel_size": (2, 2, 2)}, r"kernel_size is an integer or a pair"),
    ],
)
def test_errors(op, shape, params, message):
    with pytest.raises((ValueError, TypeError), match=rf"\[{op.__name__}\] {message}"):
        op(Tensor(np.ones(shape, "float32")), **params)
