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


FAR = {  # what they are at -1e4 and 1e4, and their slopes there
    "relu6": ([0, 6], [0, 0]),
    "hardtanh": ([-1, 1], [0, 0]),
    "hardsigmoid": ([0, 1], [0, 0]),
    "hardswish": ([0, 1e4], [0, 1]),
    "softshrink": ([-9999.5, 9999.5], [1, 1]),
    "hardshrink": ([-1e4, 1e4], [1, 1]),
    "elu": ([-1, 1e4], [0, 1]),
    "selu": ([-1.7580993, 10507.01], [0, 1.050701]),
    "celu": ([-1, 1e4], [0, 1]),
    "softplus": ([0, 1e4], [0, 1]),
    "mish": ([0, 1e4], [0, 1]),
    "softsign": ([-0.9999, 0.9999], [1e-8, 1e-8]),
    "logsigmoid": ([-1e4, 0], [1, 0]),
}


@pytest.mark.parametrize("backend", ["numpy", "cpu"])
@pytest.mark.parametrize("name", FAR)
def test_at_ten_thousand(name, backend):
    values, slopes = FAR[name]
    with cr.backends.use(backend):
        f = getattr(cr, name)
        assert f(Tensor([-1e4, 1e4])).tolist() == pytest.approx(values, rel=1e-6, abs=1e-30)
        assert slope(f, [-1e4, 1e4]) == pytest.approx(slopes, rel=1e-3, abs=1e-30)


@pytest.mark.parametrize("backend", ["numpy", "cpu"])
def test_corners(backend):
    """As in PyTorch: the limits of relu6 and hardtanh have no slope, elu has its left one at 0; nan stays nan."""
    with cr.backends.use(backend):
        assert slope(cr.relu6, [0.0, 3.0, 6.0]) == [0, 1, 0]
        assert slope(cr.hardtanh, [-1.0, 0.0, 1.0]) == [0, 1, 0]
        assert slope(cr.hardsigmoid, [-3.0, 3.0]) == [0, 0]
        assert slope(cr.hardswish, [-3.0, 3.0]) == [0, 1]
        assert slope(lambda x: cr.elu(x, alpha=0.5), [0.0]) == [0.5]
        assert slope(lambda x: cr.threshold(x, threshold=0.0, value=9.0), [0.0, 1.0]) == [0, 1]
        assert slope(cr.hardshrink, [0.5, 0.75]) == [0, 1] and slope(cr.softshrink, [0.5, 0.75]) == [0, 1]
        for name in FAR:
            assert math.isnan(getattr(cr, name)(Tensor([math.nan])).item()), name


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: cr.hardtanh(x, min_val=2.0, max_val=1.0), r"\[hardtanh\] min_val 2.0 is above max_val 1.0"),
        (lambda x: cr.softshrink(x, lambd=-1.0), r"\[softshrink\] lambd is -1.0"),
        (lambda x: cr.celu(x, alpha=0.0), r"\[celu\] alpha is 0"),
        (lambda x: cr.softplus(x, beta=0.0), r"\[softplus\] beta is 0"),
        (lambda x: cr.glu(x), r"\[glu\] axis 1 of x, \(2, 3\), cannot be halved"),
        (lambda x: cr.swiglu(x, axis=5), r"\[swiglu\] axis 5 is not an axis of \(2, 3\)"),
        (lambda x: cr.maxout(x, pieces=2), r"\[maxout\] axis 1 of x, \(2, 3\), cannot be divided into pieces of 2"),
        (lambda x: cr.prelu(x, Tensor([1.0, 2.0])), r"\[prelu\] weight has shape \(2,\) but x has \(2, 3\)"),
    ],
)
def test_errors(call, message):
    with pytest.raises((ValueError, IndexError), match=message):
        call(cr.zeros(2, 3))
