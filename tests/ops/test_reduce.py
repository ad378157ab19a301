"""The reduction room beyond the table: ties, zeros, nothing to reduce, dtypes, errors."""

import math

import numpy as np
import pytest

import chainrule as cr
from chainrule import Tensor, grad
from chainrule.ops import reduce as r


def slope(f, values):
    x = Tensor(values, requires_grad=True)
    return grad(f(x).sum(), x)[0].tolist()


@pytest.mark.parametrize("backend", ["numpy", "cpu"])
def test_the_first_of_equals_gets_the_gradient(backend):
    with cr.backends.use(backend):
        assert slope(lambda x: x.max(), [1.0, 3.0, 3.0]) == [0, 1, 0]
        assert slope(lambda x: x.max(axis=0).values, [1.0, 3.0, 3.0]) == [0, 1, 0]
        assert slope(lambda x: x.min(axis=0)[0], [1.0, 1.0, 3.0]) == [1, 0, 0]
        assert slope(lambda x: x.amax(axis=(0, 1)), [[1.0, 3.0], [3.0, 2.0]]) == [[0, 1], [0, 0]]
        assert Tensor([[1.0, 3.0], [3.0, 2.0]]).argmax().item() == 1


def test_max_with_and_without_axis():
    x = Tensor([[1.0, 5.0], [7.0, 2.0]])
    values, indices = x.max(1)
    assert values.tolist() == [5, 7] and indices.tolist() == [1, 0] and indices.dtype == "int64"
    assert x.max(dim=0, keepdim=True).values.shape == (1, 2)
    assert x.max().item() == 7 and x.max(keepdims=True).shape == (1, 1) and x.min(None).item() == 1
    assert Tensor(3.0).max().item() == 3 and Tensor([True, False]).max().item() is True


@pytest.mark.parametrize("backend", ["numpy", "cpu"])
def test_nan_is_the_largest_and_the_smallest(backend):
    with cr.backends.use(backend):
        x = Tensor([1.0, math.nan, 5.0])
        assert math.isnan(x.max().item()) and math.isnan(x.min().item()) and x.argmax().item() == 1


def test_sums_of_integers_are_int64():
    for dtype in ("bool", "uint8", "int32"):
        x = Tensor([1, 1, 1], dtype=dtype)
        assert x.sum().dtype == x.prod().dtype == x.cumsum(0).dtype == "int64" and x.sum().item() == 3
    assert Tensor([200, 100], dtype="uint8").sum().item() == 300
    assert Tensor([1, 2]).mean().item() == 1.5


def test_nothing_to_reduce():
    x = Tensor(np.zeros((0, 3), "float32"))
    assert x.sum(axis=0).tolist() == [0, 0, 0] and x.prod().item() == 1 and x.sum(axis=1).shape == (0,)
    assert math.isnan(x.mean().item()) and x.all().item() is True and x.any().item() is False
    with pytest.raises(ValueError, match=r"\[max\] axis 0 of \(0, 3\) is empty"):
        x.max(axis=0)
    with pytest.raises(ValueError, match=r"\[max\] axis 0 of \(0,\) is empty"):
        x.max()


def test_variance():
    x = Tensor([1.0, 2.0, 3.0, 6.0], requires_grad=True)
    assert x.var().item() == pytest.approx(14 / 3) and x.var(correction=0).item() == pytest.approx(3.5)
    assert math.isnan(Tensor([1.0]).var().item())
    v, m = x.var_mean()
    assert v.item() == pytest.approx(14 / 3) and m.item() == 3
    large = Tensor(np.array([1e4, 1e4 + 1, 1e4 + 2]), dtype="float32")
    assert large.var().item() == pytest.approx(1)  # in two passes: no cancellation


def test_gradients_where_a_root_is_zero():
    assert slope(lambda x: x.std(), [2.0, 2.0]) == [0, 0]
    assert slope(lambda x: x.norm(), [0.0, 0.0]) == [0, 0]
    assert slope(lambda x: x.norm(), [3.0, 4.0]) == pytest.approx([0.6, 0.8])


def test_product_with_zeros():
    assert slope(lambda x: x.prod(), [2.0, 0.0, 3.0]) == [0, 6, 0]
    assert slope(lambda x: x.prod(), [0.0, 0.0, 3.0]) == [0, 0, 0]
    assert slope(lambda x: x.cumprod(0), [2.0, 0.0, 3.0]) == [1, 8, 0]


def test_logsumexp_of_infinities():
    x = [-math.inf, -math.inf]
    assert Tensor(x).logsumexp().item() == -math.inf and slope(r.logsumexp, x) == [0, 0]
    assert slope(r.logsumexp, [-math.inf, 0.0]) == [0, 1]


def test_axis_forms():
    x = Tensor(np.arange(24.0).reshape(2, 3, 4))
    assert (
        x.sum(axis=()).shape == ()
        and x.sum(axis=[0, 1]).shape == (4,)
        and x.sum(dim=-1, keepdim=True).shape == (2, 3, 1)
    )
    assert Tensor(2.0).sum(axis=0).item() == 2 and Tensor(2.0).mean(-1).item() == 2


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: x.sum(axis=3), IndexError, r"\[sum\] axis 3 is not an axis of \(2, 3\); allowed: from -2 to 1"),
        (lambda x: x.sum(axis=(0, -2)), ValueError, r"\[sum\] axis \(0, -2\) names one axis"),
        (lambda x: x.sum(axis=1.0), TypeError, r"\[sum\] axis is an integer"),
        (lambda x: x.sum(axis=x), TypeError, r"\[sum\] the parameter axis is a tensor"),
        (lambda x: x.norm(ord=3), ValueError, r"\[norm\] ord is 3; it should be 1, 2, inf or 'fro'"),
        (lambda x: x.max(axis=(0, 1)), TypeError, r"\[max\] axis is an integer"),
        (lambda x: x.cumsum(axis=-3), IndexError, r"\[cumsum\] axis -3"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call(Tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]))
