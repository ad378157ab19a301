"""The embedding room beyond the table: the padding row, errors."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import Tensor, grad

on_both = pytest.mark.parametrize("backend", ["numpy", "cpu"])


@on_both
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("padding_idx", [1, -3])
def test_the_padding_row_gets_no_gradient(backend, padding_idx, dtype):
    with cr.backends.use(backend):
        weight = Tensor(np.arange(8.0).reshape(4, 2), dtype=dtype, requires_grad=True)
        y = cr.embedding(Tensor([[0, 1], [1, 3]]), weight, padding_idx=padding_idx)
        assert y.tolist() == [[[0, 1], [2, 3]], [[2, 3], [6, 7]]]
        assert grad(y.sum(), weight)[0].tolist() == [[1, 1], [0, 0], [0, 0], [1, 1]]


@on_both
def test_equal_indices_add_their_gradients(backend):
    with cr.backends.use(backend):
        weight = Tensor(np.zeros((3, 40), "float32"), requires_grad=True)
        indices = np.random.default_rng(0).integers(0, 3, 1000)
        (g,) = grad(cr.embedding(Tensor(indices), weight).sum(), weight)
        assert g[:, 7].tolist() == np.bincount(indices).tolist()


@on_both
@pytest.mark.parametrize("wrong", [-1, 3])
def test_no_such_row(backend, wrong):
    message = rf"\[embedding\] index {wrong} is no row: weight has 3 rows \(0 to 2\)"
    with cr.backends.use(backend), pytest.raises(IndexError, match=message):
        cr.embedding(Tensor([0, wrong]), Tensor(np.zeros((3, 2), "float32")))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda w: cr.embedding(Tensor([0.0]), w), "indices are float32; they should be integers"),
        (lambda w: cr.embedding(Tensor([0]), w[0]), r"weight has shape \(2,\); it should be \(rows, features\)"),
        (lambda w: cr.embedding(Tensor([0]), w, padding_idx=3), "padding_idx is 3, but weight has 3 rows"),
    ],
)
def test_errors(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call(Tensor(np.zeros((3, 2), "float32")))
