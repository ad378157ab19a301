"""Rows of a table on a GPU beyond the table of samples: widths, dtypes, many equal indices, no such row."""

import ml_dtypes
import numpy as np
import pytest
from tests.ops import test_embedding as on_any

import chainrule as cr
from chainrule import Tensor, backends

DTYPES = ["float32", "float64", "float16", "bfloat16"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [1, 3, 8, 70])
def test_rows_and_their_gradient(width, dtype):
    r = np.random.default_rng(width)
    table = r.integers(-8, 8, (40, width)) / 4.0
    indices = r.integers(0, 40, (31, 40)) * r.integers(0, 2, (31, 40))  # row 0 is every other one
    g = r.integers(-2, 2, (31, 40, width)) / 4.0
    expected = np.zeros((40, width))
    np.add.at(expected, indices, g)
    for padding_idx in (None, 0):
        with backends.use("cuda"):
            weight = Tensor(table, dtype=dtype, requires_grad=True)
            y = cr.embedding(Tensor(indices), weight, padding_idx=padding_idx)
            y.backward(Tensor(g, dtype=dtype))
            np.testing.assert_array_equal(np.float64(y.detach().numpy()), table[indices])
            found = weight.grad.numpy()
        if padding_idx == 0:
            expected[0] = 0
        own = ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype
        np.testing.assert_array_equal(np.float64(found), expected.astype(own).astype(np.float64))  # rounded once


@pytest.mark.parametrize("padding_idx", [None, 2])
@pytest.mark.parametrize("runs", [[300], [32, 32, 32], [31, 1, 33, 70], [1, 64, 1, 95], [5, 27, 100, 0, 3]], ids=str)
def test_frequent_indices(runs, padding_idx):
    """Equal indices that begin and end anywhere in the stretches that a thread sums."""
    indices = np.random.default_rng(0).permutation(np.repeat(np.arange(len(runs)), runs))
    g = np.random.default_rng(1).integers(-8, 8, (len(indices), 3)) / 4.0
    expected = np.zeros((len(runs) + 1, 3))
    np.add.at(expected, indices, g)
    if padding_idx is not None and padding_idx < len(expected):
        expected[padding_idx] = 0
    with backends.use("cuda"):
        weight = Tensor(np.zeros((max(len(runs), 2) + 1, 3)), requires_grad=True)
        cr.embedding(Tensor(indices), weight, padding_idx=padding_idx).backward(Tensor(g))
        np.testing.assert_array_equal(weight.grad.numpy()[: len(expected)], expected)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
def test_indices_of_any_integers_and_layout(dtype):
    table = np.arange(30.0).reshape(6, 5)
    indices = np.array([[5, 0, 2], [1, 5, 5]], dtype)
    with backends.use("cuda"):
        weight = Tensor(np.ascontiguousarray(table.T)).transpose(0, 1)
        y = cr.embedding(Tensor(indices).transpose(0, 1)[::-1], weight)
        np.testing.assert_array_equal(y.numpy(), table[indices.T[::-1]])


def test_unaligned_tables():
    with backends.use("cuda"):
        weight = Tensor(np.arange(33, dtype="float16"))[1:].reshape(4, 8)
        np.testing.assert_array_equal(cr.embedding(Tensor([3, 1]), weight).numpy(), [range(25, 33), range(9, 17)])


def test_no_such_row_has_no_gradient():
    with backends.use("cuda"):
        weight = Tensor(np.ones((3, 2), "float32"), requires_grad=True)
        y = cr.embedding(Tensor([0, 7]), weight)
        y.sum().backward()
        with pytest.raises(IndexError, match=r"index 7 is no row: weight has 3 rows \(0 to 2\)"):
            weight.grad.numpy()
        assert weight.grad.tolist() == [[1, 1], [0, 0], [0, 0]]


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("padding_idx", [1, -3])
def test_the_padding_row_gets_no_gradient(padding_idx, dtype):
    on_any.test_the_padding_row_gets_no_gradient("cuda", padding_idx, dtype)


def test_equal_indices_add_their_gradients():
    on_any.test_equal_indices_add_their_gradients("cuda")


@pytest.mark.parametrize("wrong", [-1, 3])
def test_no_such_row(wrong):
    with (
        backends.use("cuda"),
        pytest.raises(IndexError, match=rf"index {wrong} is no row: weight has 3 rows \(0 to 2\)"),
    ):
        cr.embedding(Tensor([0, wrong]), Tensor(np.zeros((3, 2), "float32"))).numpy()
