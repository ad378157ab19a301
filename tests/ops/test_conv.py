"""The convolution room beyond the table: forms of its parameters, layouts, errors."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import Tensor
from chainrule.tensor import from_array


def filled(*shape):
    return Tensor(np.random.default_rng(len(shape)).standard_normal(shape), dtype="float32", requires_grad=True)


def test_integers_and_pairs():
    x, w = filled(1, 2, 6, 6), filled(3, 2, 3, 3)
    one = cr.conv2d(x, w, stride=2, padding=1, dilation=1)
    assert one.shape == (1, 3, 3, 3)
    np.testing.assert_array_equal(one.numpy(), cr.conv2d(x, w, stride=(2, 2), padding=[1, 1]).numpy())
    np.testing.assert_array_equal(one.numpy(), cr.conv2d(x, w, None, 2, 1).numpy())


def test_channels_last_gives_the_same():
    x, w, b = filled(2, 3, 8, 8), filled(4, 3, 3, 3), filled(4)
    last = from_array(np.ascontiguousarray(x.numpy().transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2))
    y, z = cr.conv2d(x, w, b, padding=1), cr.conv2d(last, w, b, padding=1)
    np.testing.assert_allclose(y.numpy(), z.numpy(), rtol=1e-5, atol=1e-6)


def test_no_images():
    y = cr.conv2d(Tensor(np.zeros((0, 3, 8, 8), "float32")), filled(4, 3, 3, 3))
    assert y.shape == (0, 4, 6, 6)


def test_only_what_is_asked_for_gets_a_gradient():
    x, w, b = filled(2, 3, 8, 8).detach(), filled(4, 3, 3, 3), filled(4)
    cr.conv2d(x, w, b).sum().backward()
    assert x.grad is None and w.grad.shape == w.shape and b.grad.tolist() == [72.0] * 4


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: cr.conv2d(filled(1, 2, 4, 4), filled(8, 3, 3, 3)), ValueError,
         r"\[conv2d\] x has 2 channels \(axis 1 of \(1, 2, 4, 4\)\) but weight expects 3 \(axis 1 of \(8, 3, 3, 3\)\)"),
        (lambda: cr.conv2d(filled(2, 4, 4), filled(8, 2, 3, 3)), ValueError, r"\[conv2d\] x has shape \(2, 4, 4\); images"),
        (lambda: cr.conv2d(filled(1, 2, 4, 4), filled(8, 2, 3)), ValueError, r"\[conv2d\] weight has shape \(8, 2, 3\)"),
        (lambda: cr.conv2d(filled(1, 2, 4, 4), filled(8, 2, 3, 3), filled(7)), ValueError, r"bias has shape \(7,\)"),
        (lambda: cr.conv2d(filled(1, 2, 2, 4), filled(8, 2, 3, 3)), ValueError, r"window of \(3, 3\).*2 long on axis 2"),
        (lambda: cr.conv2d(filled(1, 4, 4, 4), filled(3, 2, 3, 3), groups=2), ValueError, r"groups is 2.* 3 filters"),
        (lambda: cr.conv2d(filled(1, 2, 4, 4), filled(8, 2, 3, 3), stride=0), ValueError, r"stride is 0, but at least 1"),
        (lambda: cr.conv2d(filled(1, 2, 4, 4), filled(8, 2, 3, 3), padding="same"), TypeError, r"padding is an integer"),
    ],
)  # fmt: skip
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
