"""The activation room beyond the table."""

import math

import pytest

import chainrule as cr
from chainrule import Tensor, grad
from chainrule.ops import activation as a


def slope(f, values):
    x = Tensor(values, requires_grad=True)
    return grad(f(x).sum(), x)[0].tolist()


def test_relu_at_zero():
    assert slope(cr.relu, [-1.0, 0.0, 2.0]) == [0, 0, 1]
    assert slope(lambda x: a.leaky_relu(x, negative_slope=0.25), [-1.0, 0.0, 2.0]) == [0.25, 0.25, 1]


def test_far_out():
    x = Tensor([-1e4, -20.0, 20.0, 1e4])
    for f in (a.gelu, lambda x: a.gelu(x, approximate="tanh"), a.silu):
        y = f(x).tolist()
        assert y[:2] == pytest.approx([0, 0], abs=1e-6) and y[2:] == pytest.approx([20, 1e4])
        assert slope(f, [-1e4, 1e4]) == pytest.approx([0, 1], abs=1e-6)


def test_gelu_of_one():
    assert a.gelu(Tensor(1.0, dtype="float64")).item() == pytest.approx(0.5 * (1 + math.erf(math.sqrt(0.5))), rel=1e-14)


def test_unknown_form():
    with pytest.raises(ValueError, match=r"approximation of gelu 'tan': did you mean 'tanh'"):
        a.gelu(Tensor([1.0]), approximate="tan")


def test_integers():
    assert cr.relu(Tensor([-1, 2])).tolist() == [0, 2] and a.gelu(Tensor([0, 0])).dtype == "float32"
