"""The elementwise room beyond the table: gradients where it is hard, special values, dtypes, errors."""

import math

import numpy as np
import pytest

import chainrule as cr
from chainrule import Tensor, grad
from chainrule.ops import elementwise as e


def slopes(f, *values, dtype="float32"):
    """The value of ``f`` and its derivatives at points given as lists."""
    xs = [Tensor(v, dtype=dtype, requires_grad=True) for v in values]
    y = f(*xs)
    return [y.tolist(), *(g.tolist() for g in grad(y.sum(), xs))]


def test_tanh_is_honest_far_out():
    value, slope = slopes(e.tanh, [9.0, 100.0, -100.0])
    assert value == [1, 1, -1] and slope == [0, 0, 0]
    assert slopes(e.tanh, [5.0])[1] == pytest.approx([1 / math.cosh(5.0) ** 2], rel=1e-3)


def test_pow_at_zero():
    x, slope = slopes(lambda x: x**2, [0.0, 3.0])
    assert slope == [0, 6]
    assert slopes(lambda x: x**0, [0.0, 3.0])[1] == [0, 0]
    assert slopes(lambda x: x**0.5, [0.0])[1] == [math.inf]
    value, a, b = slopes(e.pow, [0.0, 0.0, 2.0], [0.0, 2.0, 3.0])
    assert value == [1, 0, 8] and a == [0, 0, 12] and b[:2] == [0, 0]
    assert slopes(lambda b: 0.0**b, [1.0, 2.0])[1] == [0, 0]
    assert slopes(lambda b: 2.0**b, [3.0])[1] == pytest.approx([8 * math.log(2)])


def test_pow_has_a_second_derivative_at_zero():
    x = Tensor(0.0, requires_grad=True)
    (first,) = grad(x**2, x, create_graph=True)
    assert grad(first, x)[0].item() == 2
    b = Tensor(2.0)
    (first,) = grad(x**b, x, create_graph=True)
    assert grad(first, x)[0].item() == 2


def test_roots_at_zero():
    assert slopes(e.sqrt, [0.0, 4.0])[1] == [math.inf, 0.25]
    assert slopes(e.rsqrt, [4.0])[1] == [-1 / 16]


def test_atan2_does_not_overflow():
    _, a, b = slopes(e.atan2, [1e30, 1e-30, 3.0], [1e30, 1e-30, 4.0])
    assert a == pytest.approx([5e-31, 5e29, 4 / 25]) and b == pytest.approx([-5e-31, -5e29, -3 / 25])


def test_the_angle_of_the_origin_has_no_slope():
    assert slopes(e.atan2, [0.0], [0.0]) == [[0], [0], [0]]


def test_kinks():
    assert slopes(abs, [0.0, -2.0])[1] == [0, -1]
    assert slopes(lambda x: e.clip(x, min=-1, max=1), [-2.0, -1.0, 0.0, 1.0, 2.0])[1] == [0, 1, 1, 1, 0]
    _, a, b = slopes(e.maximum, [1.0, 2.0, 3.0], [2.0, 2.0, 2.0])
    assert a == [0, 0.5, 1] and b == [1, 0.5, 0]
    _, a, b = slopes(e.minimum, [1.0, 2.0, 3.0], [2.0, 2.0, 2.0])
    assert a == [1, 0.5, 0] and b == [0, 0.5, 1]
    assert slopes(lambda x: x.round() + x.floor() + x.sign(), [1.5])[1] == [0]
    assert slopes(lambda x: x // 2.0 + x % 2.0, [5.0])[1] == [1]


def test_where_keeps_infinite_gradients_apart():
    x = Tensor([0.0, 4.0], requires_grad=True)
    y = e.where(x > 0, e.log(e.where(x > 0, x, 1.0)), 0.0)
    y.sum().backward()
    assert x.grad.tolist() == [0, 0.25]


def test_halves_round_to_even_and_floors_go_down():
    assert e.round(Tensor([0.5, 1.5, 2.5, -0.5])).tolist() == [0, 2, 2, 0]
    assert (Tensor([7, -7]) // 2).tolist() == [3, -4] and (Tensor([7, -7]) % 3).tolist() == [1, 2]
    assert (Tensor([7.0, -7.0]) // 2).tolist() == [3, -4] and (Tensor([7.0, -7.0]) % -3).tolist() == [-2, -1]


def test_no_warning_outside_of_the_domain():
    assert e.log(Tensor([0.0, -1.0])).numpy()[0] == -math.inf
    assert math.isnan(e.sqrt(Tensor([-1.0])).item()) and math.isnan(e.asin(Tensor([2.0])).item())
    assert (Tensor([1.0]) / 0.0).item() == math.inf
    assert e.exp(Tensor([1000.0])).item() == math.inf
    assert e.sigmoid(Tensor([-1000.0, 1000.0])).tolist() == [0, 1]


@pytest.mark.parametrize("backend", ["numpy", "cpu"])
def test_nan_goes_through(backend):
    with cr.backends.use(backend):
        x = Tensor([math.nan, 1.0])
        for y in (e.maximum(x, 0.0), e.minimum(x, 0.0), e.clip(x, min=-1, max=2), cr.relu(x), abs(x), e.sigmoid(x)):
            assert math.isnan(y.tolist()[0]) and y.isfinite().tolist() == [False, True]


def test_dtypes_meet_by_category():
    i, f, d = Tensor([1, 2]), Tensor([1.0, 2.0]), Tensor([1.0, 2.0], dtype="float64")
    assert (i + f).dtype == "float32" and (f + d).dtype == "float64" and (i / i).dtype == "float32"
    assert (i + 1.5).dtype == "float32" and (i + 1).dtype == "int64" and (Tensor([True]) + 1).dtype == "int64"
    assert (f.to("float16") * 2.0).dtype == "float16" and e.exp(i).dtype == "float32"
    assert (f.to("float16") + f.to("bfloat16")).dtype == "float32"
    assert e.where(Tensor([True, False]), 1.0, 2).dtype == "float32"
    assert e.where(i > 1, f, i).dtype == "float32" and e.where(i > 1, i, 0).dtype == "int64"


def test_bfloat16_rounds_once():
    x = Tensor(np.full(1000, 1.0), dtype="bfloat16")
    assert x.sum().item() == 1000  # sums in bfloat16 stop at 256


@pytest.mark.parametrize("backend", ["numpy", "cpu"])
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: x + Tensor([1.0, 2.0]), ValueError, r"\[add\].*\(3,\).*\(2,\)"),
        (lambda x: x.to("int64") // 0, ZeroDivisionError, r"\[floor_div\]"),
        (lambda x: x.to("int64") % Tensor([1, 0, 1]), ZeroDivisionError, r"\[remainder\]"),
        (lambda x: x.to("int64") ** -1, ValueError, r"\[pow\].*negative power"),
        (lambda x: (x > 0) ** (x > 0), TypeError, r"\[pow\] is not defined for bool and bool"),
        (lambda x: (x > 0) // True, TypeError, r"\[floor_div\] is not defined for bool and bool"),
        (lambda x: (x > 0) - (x > 0), TypeError, r"\[sub\].*bool"),
        (lambda x: -(x > 0), TypeError, r"\[neg\].*bool"),
        (lambda x: x.clip(), ValueError, r"\[clip\] min and max are both None"),
        (lambda x: x + [1.0, 2.0, 3.0], TypeError, r"\[add\] got a list"),
        (lambda x: e.add(x), TypeError, r"\[add\] b is missing"),
    ],
)
def test_errors(call, error, message, backend):
    with cr.backends.use(backend), pytest.raises(error, match=message):
        call(Tensor([1.0, 2.0, 3.0]))
