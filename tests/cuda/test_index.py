"""The index room on a GPU beyond the table: many blocks, equal indices, order, what is out of range, the same bits."""

import ml_dtypes
import numpy as np
import pytest
from tests.ops import test_index as on_any

import chainrule as cr
from chainrule import Tensor, backends, grad
from chainrule.backends.cuda import driver
from chainrule.backends.cuda.rooms import index as room
from chainrule.domain.errors import IndexRangeError


@pytest.fixture(autouse=True)
def _on_the_gpu():
    with backends.use("cuda"):
        yield


def some(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def shuffled(seed):
    if driver.connected().name == "emulated":
        driver.connected().shuffle(seed)


@on_any.each
def test_every_index(index):
    on_any.test_reading(index, "cuda")
    on_any.test_writing(index, "cuda")
    on_any.test_writing_on_the_tape(index)


def test_as_elsewhere():
    on_any.test_tensors_index()
    on_any.test_a_mask_of_a_number()
    on_any.test_sort_keeps_the_order_of_equals_and_puts_nan_last()
    on_any.test_topk_and_its_gradient()
    on_any.test_unique()
    on_any.test_an_empty_mask_is_a_mask_and_an_empty_list_is_places()


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize(("shape", "axis"), [((5000,), 0), ((3, 1025), 1), ((700, 4), 0), ((60, 2), 1), ((1, 513), -1)])
def test_order(shape, axis, descending):
    x = np.round(some(*shape) * 20)  # many are equal
    x.flat[::97] = np.nan
    x.flat[::101] = -0.0
    values, places = cr.sort(Tensor(x), axis=axis, descending=descending)
    wanted = np.argsort(-x if descending else x, axis=axis, kind="stable")
    if descending:  # NaN is the largest
        wanted = np.argsort(np.where(np.isnan(x), -np.inf, -x), axis=axis, kind="stable")
    np.testing.assert_array_equal(places.numpy(), wanted)
    np.testing.assert_array_equal(values.numpy(), np.take_along_axis(x, wanted, axis))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int8", "uint8", "int64", "bool"])
def test_order_of_dtypes(dtype):
    number = ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype
    x = np.random.default_rng(0).integers(0 if dtype in ("uint8", "bool") else -100, 2 if dtype == "bool" else 100, 700)
    x = x.astype(number)
    places = cr.sort(Tensor(x))[1].numpy()
    np.testing.assert_array_equal(places, np.argsort(x.astype(np.float64), kind="stable"))


@pytest.mark.parametrize("largest", [False, True])
@pytest.mark.parametrize(
    ("shape", "axis", "k"),
    [((5000,), 0, 7), ((3, 1500), 1, 256), ((3, 1500), 1, 300), ((2000, 3), 0, 1), ((2, 9), 1, 9)],
)
def test_the_first_in_order(shape, axis, k, largest):
    x = np.round(some(*shape) * 20)
    values, places = cr.topk(Tensor(x), k=k, axis=axis, largest=largest)
    wanted = np.argsort(-x if largest else x, axis=axis, kind="stable").take(range(k), axis)
    np.testing.assert_array_equal(places.numpy(), wanted)
    np.testing.assert_array_equal(values.numpy(), np.take_along_axis(x, wanted, axis))


def test_more_rows_than_blocks_along_an_axis(monkeypatch):
    monkeypatch.setattr(room, "MOST", 5)
    x = some(23, 600)
    np.testing.assert_array_equal(cr.sort(Tensor(x))[0].numpy(), np.sort(x))
    np.testing.assert_array_equal(cr.topk(Tensor(x), k=3)[0].numpy(), -np.sort(-x)[:, :3])


def test_what_depends_on_values():
    x = np.random.default_rng(0).integers(-5000, 5000, 100_000)
    values, inverse, counts = cr.unique(Tensor(x), return_inverse=True, return_counts=True)
    wanted = np.unique(x, return_inverse=True, return_counts=True)
    for y, e in zip((values, inverse, counts), wanted, strict=True):
        np.testing.assert_array_equal(y.numpy(), e)
    flags = (x % 7 == 0).reshape(10, 100, 100)
    np.testing.assert_array_equal(cr.nonzero(Tensor(flags)[:, ::-1]).numpy(), np.argwhere(flags[:, ::-1]))
    assert cr.nonzero(Tensor(np.zeros(3000))).shape == (0, 1)


def test_many_equal_indices_are_added_in_order():
    """The same bits in any order of threads; and in float32 as one after another."""
    index, x = np.random.default_rng(0).integers(0, 7, 3000), some(3000).astype(np.float32)
    wanted = np.zeros(9, np.float32)
    np.add.at(wanted, index, x)
    for seed in (0, 4):
        try:
            shuffled(seed)
            y = cr.zeros(9).scatter_add(Tensor(index), Tensor(x), axis=0)
            np.testing.assert_array_equal(y.numpy(), wanted)
            leaf = Tensor(np.zeros(9, np.float32), requires_grad=True)
            (g,) = grad((leaf[Tensor(index)] * Tensor(x)).sum(), leaf)
            np.testing.assert_array_equal(g.numpy(), wanted)
        finally:
            shuffled(0)


def test_the_last_of_equal_indices_counts():
    index, v = np.random.default_rng(1).integers(-50, 50, 3000), some(3000)
    e = np.zeros(50)
    e[index] = v
    for seed in (0, 4):
        try:
            shuffled(seed)
            x = cr.zeros(50, dtype="float64")
            x[Tensor(index)] = Tensor(v)
            np.testing.assert_array_equal(x.numpy(), e)
        finally:
            shuffled(0)


def test_views_are_read_and_written():
    e = some(6, 40, 30)
    x = Tensor(e)
    i, j = np.array([[0], [-2], [0]]), np.array([4, -1])
    for y, z in ((x[::-1, :, ::-2], e[::-1, :, ::-2]), (x[1:, 3:].permute((2, 0, 1)), e[1:, 3:].transpose(2, 0, 1))):
        np.testing.assert_array_equal(y[Tensor(i), :, Tensor(j)].numpy(), z[i, :, j])
        np.testing.assert_array_equal(y[:, Tensor(j)].numpy(), z[:, j])
        y[Tensor(i), :, Tensor(j)] = 7.0
        z[i, :, j] = 7.0
        y[z > 1] = 0.0
        z[z > 1] = 0.0
        np.testing.assert_array_equal(x.numpy(), e)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, i: x[i], r"\[index\] index 70 is out of range for axis 0, which has 40"),
        (lambda x, i: x.reshape(2, 20)[None, 0:, i], r"\[index\] index 70 is out of range for axis 1, which has 20"),
        (lambda x, i: x.reshape(2, 1, 20)[1, ..., i], r"\[index\] index 70 is out of range for axis 2, which has 20"),
        (lambda x, i: x.gather(i, axis=0), r"\[gather\] index 70 is out of range"),
        (lambda x, i: x.gather(-(i > 1).to("int64"), axis=0), r"\[gather\] index -1 is out of range"),
        (lambda x, i: x.scatter_add(i, i.to(x.dtype), axis=0), r"index 70 is out of range"),
    ],
)
def test_out_of_range_is_told_at_the_next_wait(call, message):
    x, i = Tensor(some(40)), Tensor(np.r_[np.zeros(500, int), 70])
    y = call(x, i)
    with pytest.raises(IndexRangeError, match=message):
        y.numpy()
    assert cr.ones(2).tolist() == [1, 1]  # and once only
