"""The index room beyond the table: every index that NumPy takes, read and written; gradients; errors."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import Tensor, grad, no_grad
from chainrule.domain.errors import IndexRangeError, ShapeError

SHAPE = (4, 5, 3)
MASK = np.random.default_rng(3).random(SHAPE) > 0.5
INDICES = {
    "int": 2,
    "negative": -1,
    "ints": (1, -2, 0),
    "slice": slice(1, 3),
    "step": (slice(None, None, 2), slice(4, 0, -2)),
    "backwards": (..., slice(None, None, -1)),
    "ellipsis": (1, ..., 2),
    "newaxis": (None, 1, None, slice(2)),
    "empty slice": slice(2, 2),
    "beyond": slice(-100, 100),
    "list": [0, 2, 2],
    "nested list": [[0, 1], [2, 3]],
    "array": np.array([3, -1]),
    "two arrays": ([0, 1, 2], [4, 4, 0]),
    "broadcast": (np.array([[0], [1]]), np.array([2, 3])),
    "apart": (0, slice(None), [0, 2, 1]),
    "around a slice": ([0, 1], slice(1, 3), [2, 0]),
    "array and newaxis": ([1, 2], None, 0),
    "mask": MASK,
    "mask of an axis": np.array([True, False, True, False]),
    "mask of two axes": MASK[:, :, 0],
    "mask after an int": (1, MASK[1]),
    "mask and array": (np.array([True, False, True, False]), [0, 4]),
    "list of bools": [True, False, False, True],
    "no mask true": np.zeros(4, bool),
    "empty list": [],
    "bool": True,
    "numpy integer": np.int32(1),
    "number array": np.array(1),
    "uint8": np.array([1, 2], np.uint8),
    "all": (),
    "just an ellipsis": ...,
}
each = pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)


def values():
    return np.random.default_rng(0).standard_normal(SHAPE)


@each
@pytest.mark.parametrize("backend", ["numpy", "cpu"])
def test_reading(index, backend):
    with cr.backends.use(backend):
        x = Tensor(values(), requires_grad=True)
        y = x[index]
        e = values()[index]
        assert y.shape == e.shape
        np.testing.assert_array_equal(y.numpy(), e)
        weights = np.cos(np.arange(e.size)).reshape(e.shape)
        g = np.zeros(SHAPE)
        np.add.at(g, index, weights)
        (found,) = grad((y * Tensor(weights)).sum(), x)
        np.testing.assert_allclose(found.numpy(), g, rtol=1e-12)


@each
@pytest.mark.parametrize("backend", ["numpy", "cpu"])
def test_writing(index, backend):
    with cr.backends.use(backend):
        e = values()
        v = np.random.default_rng(1).standard_normal(e[index].shape)
        e[index] = v
        x = Tensor(values())
        x[index] = Tensor(v)
        np.testing.assert_array_equal(x.numpy(), e)
        x[index] = 0.5
        e[index] = 0.5
        np.testing.assert_array_equal(x.numpy(), e)


@each
def test_writing_on_the_tape(index):
    start = Tensor(values(), requires_grad=True)
    x = start * 1.0
    v = Tensor(np.full(values()[index].shape, 2.0), requires_grad=True)
    x[index] = v
    (gx, gv) = grad((x * x).sum(), (start, v))
    e = values()
    e[index] = 2.0
    np.testing.assert_array_equal(x.numpy(), e)
    e[index] = 0.0
    np.testing.assert_allclose(gx.numpy(), 2 * e, rtol=1e-12)
    np.testing.assert_allclose(gv.numpy(), np.full(v.shape, 4.0))


def test_views_and_copies():
    x = Tensor(values())
    for i in (1, slice(1, 3), (..., None), (slice(None, None, -1), 2)):
        assert np.shares_memory(x[i].numpy(), x.numpy()) and x[i].storage is x.storage
    for i in ([1], Tensor([1]), Tensor(1), MASK, True):
        assert not np.shares_memory(x[i].numpy(), x.numpy()) and x[i].storage is not x.storage


def test_tensors_index():
    x = Tensor([1.0, 2.0, 3.0])
    assert x[Tensor([2, 0])].tolist() == [3, 1] and x[x > 1.5].tolist() == [2, 3]
    assert x[Tensor(1)].item() == 2 and x[Tensor([2], dtype="uint8")].tolist() == [3]
    with no_grad():
        x[x > 1.5] *= 2
    assert x.tolist() == [1, 4, 6]


def test_a_mask_of_a_number():
    x = Tensor(2.0)
    assert x[x > 1].tolist() == [2] and x[x > 5].shape == (0,)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: x[4], IndexError, r"index 4 is out of range for axis 0 of \(4, 5, 3\)"),
        (lambda x: x[0, 0, 0, 0], IndexError, r"takes 4 axes, but x has shape \(4, 5, 3\)"),
        (lambda x: x[..., 0, ...], IndexError, r"only one '...'"),
        (lambda x: x[1.5], TypeError, r"a float is no index"),
        (lambda x: x["a"], TypeError, r"a str is no index"),
        (lambda x: x[Tensor([1.0])], TypeError, r"a tensor of float32 is no index"),
        (lambda x: x[[4]], IndexError, r"\[index\] index 4 is out of bounds for axis 0"),
        (lambda x: x[Tensor([True, False])], IndexError, r"the mask has shape \(2,\).*\(4,\)"),
        (lambda x: x[::0], ValueError, r"step of a slice cannot be 0"),
        (
            lambda x: x.gather(Tensor([[[9]]]), axis=0),
            IndexError,
            r"\[gather\] index 9 is out of (range|bounds).* axis 0",
        ),
        (lambda x: x.gather(Tensor([[[-1]]]), axis=0), IndexError, r"\[gather\] index -1 is out of"),
        (lambda x: x.gather(Tensor([1]), axis=0), ValueError, r"\[gather\] indices have shape \(1,\)"),
        (lambda x: x.gather(Tensor([[[1.0]]]), axis=0), TypeError, r"\[gather\] indices are float32"),
        (lambda x: x.topk(6, axis=1), ValueError, r"\[topk\] k is 6, but axis 1"),
        (lambda x: Tensor(1.0).sort(), (ValueError, IndexError), r"\[sort\]"),
        (
            lambda x: x.scatter_add(Tensor([[[1]]]), x[:0], axis=0),
            ValueError,
            r"\[scatter_add\] src has shape \(0, 5, 3\)",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call(Tensor(values()))


def test_sort_keeps_the_order_of_equals_and_puts_nan_last():
    x = Tensor([2.0, float("nan"), 1.0, 2.0])
    assert x.sort().indices.tolist() == [2, 0, 3, 1] and x.sort(descending=True).indices.tolist() == [1, 0, 3, 2]
    assert x.argsort().tolist() == [2, 0, 3, 1]


def test_topk_and_its_gradient():
    x = Tensor([3.0, 1.0, 2.0], requires_grad=True)
    values, indices = x.topk(2)
    assert indices.tolist() == [0, 2] and grad(values.sum(), x)[0].tolist() == [1, 0, 1]
    assert x.topk(1, largest=False).values.item() == 1


def test_unique():
    x = Tensor([[3, 1], [1, 2]])
    assert x.unique().tolist() == [1, 2, 3]
    values, inverse, counts = x.unique(return_inverse=True, return_counts=True)
    assert values[inverse].tolist() == x.tolist() and counts.tolist() == [2, 1, 1]
    assert x.nonzero().shape == (4, 2) and Tensor(1.0).nonzero().shape == (1, 0)


def test_an_empty_mask_is_a_mask_and_an_empty_list_is_places():
    x = Tensor(np.zeros((0, 0)))
    assert x[np.zeros((0, 0), bool)].shape == (0,)
    assert Tensor(np.zeros((0, 3)))[np.zeros(0, bool)].shape == (0, 3)
    assert Tensor(np.zeros((2, 3)))[[]].shape == (0, 3)
    assert Tensor(np.zeros((2, 3)))[[[]]].shape == (1, 0, 3)


@pytest.mark.parametrize("recorded", [True, False])
def test_what_cannot_be_assigned(recorded):
    x = Tensor(np.zeros((3, 4)), requires_grad=recorded) * 1.0
    for place in (..., 0, slice(0, 2), [0, 1], np.array([True, False, True])):
        with pytest.raises(ShapeError, match=r"values of shape \(5,\) do not broadcast to their place in \(3, 4\)"):
            x[place] = Tensor(np.ones(5))
    with pytest.raises(IndexRangeError, match="index 3 is out of bounds for axis 0"):
        x[[0, 3]] = 1.0


@pytest.mark.parametrize("shape", [(1, 3), (1, 1), (1, 1, 3), ()])
@pytest.mark.parametrize("place", [slice(None), [0, 1, 2]])
def test_an_assigned_value_with_more_axes_has_a_gradient(shape, place):
    y, v = Tensor(np.zeros(3), requires_grad=True) * 1.0, Tensor(np.ones(shape), requires_grad=True)
    y[place] = v
    y.sum().backward()
    np.testing.assert_array_equal(v.grad.numpy(), np.full(shape, 3 / v.size))
