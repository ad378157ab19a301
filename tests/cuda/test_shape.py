"""The shape room on a GPU beyond the table: views cost nothing, copies of many blocks, triangles of strided matrices."""

import ml_dtypes
import numpy as np
import pytest
from tests.ops import test_shape as on_any

import chainrule as cr
from chainrule import Tensor, backends
from chainrule.backends.cuda import driver


@pytest.fixture(autouse=True)
def _on_the_gpu():
    with backends.use("cuda"):
        yield


def test_as_elsewhere():
    on_any.test_lists_of_tensors()
    on_any.test_repeat_tiles()


def test_views_launch_nothing(gpu):
    x = Tensor(np.arange(24.0).reshape(2, 3, 4))
    before = driver.connected().launches if driver.connected().name == "emulated" else None
    views = [x[1], x[:, ::-1], x.permute((2, 0, 1)), x.reshape(6, 4), x[:, :, None], x.expand((5, 2, 3, 4)), x.T]
    if before is not None:
        assert driver.connected().launches == before
    assert all(v.array.memory is x.array.memory for v in views)
    e = np.arange(24.0).reshape(2, 3, 4)
    for v, w in zip(views, (e[1], e[:, ::-1], e.transpose(2, 0, 1), e.reshape(6, 4), e[:, :, None], e), strict=False):
        np.testing.assert_array_equal(v.numpy(), np.broadcast_to(w, v.shape))


@pytest.mark.parametrize("dtype", ["int8", "float16", "float32", "float64", "bool"])
def test_copies_of_many_blocks(dtype):
    e = np.random.default_rng(0).integers(0, 2, (70, 9, 31)).astype(dtype)
    x = Tensor(e)
    np.testing.assert_array_equal(x.permute((2, 0, 1)).reshape(31 * 70, 9).numpy(), e.transpose(2, 0, 1).reshape(-1, 9))
    np.testing.assert_array_equal(cr.concat(x[::-1], x[:, :, ::2].repeat((1, 1, 1))[:, :, :3], axis=2).numpy(),
                                  np.concatenate([e[::-1], e[:, :, ::2][:, :, :3]], 2))  # fmt: skip
    np.testing.assert_array_equal(cr.stack(x[0], x[-1], axis=1).numpy(), np.stack([e[0], e[-1]], 1))
    np.testing.assert_array_equal(cr.flip(x, axis=(0, 2)).numpy(), e[::-1, :, ::-1])


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "int8", "bool"])
@pytest.mark.parametrize("diagonal", [-40, -3, 0, 1, 2**40])
def test_triangles(diagonal, dtype):
    number = ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype
    e = np.random.default_rng(0).integers(0, 2, (3, 70, 45)).astype(number)
    x, near = Tensor(e), int(np.clip(diagonal, -200, 200))
    for y, z in (
        (x, e),
        (x[:, ::-1, ::2], e[:, ::-1, ::2]),
        (x.permute((1, 0, 2)), e.transpose(1, 0, 2)),
        (x[:0], e[:0]),
    ):
        column, row = np.arange(z.shape[-1]), np.arange(z.shape[-2])[:, None]
        np.testing.assert_array_equal(
            cr.tril(y, diagonal=diagonal).numpy(), np.where(column <= row + near, z, z.dtype.type(0))
        )
        np.testing.assert_array_equal(
            cr.triu(y, diagonal=diagonal).numpy(), np.where(column >= row + near, z, z.dtype.type(0))
        )


def test_nan_stays_out_of_the_other_triangle():
    y = cr.tril(Tensor([[1.0, np.nan], [np.inf, 2.0]]))
    assert y.tolist() == [[1.0, 0.0], [np.inf, 2.0]]
