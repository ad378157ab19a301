"""Memory shared by DLPack: with NumPy here, with PyTorch and JAX in tests/prove/test_dlpack.py."""

import gc
import weakref

import ml_dtypes
import numpy as np
import pytest

import chainrule as cr
from chainrule.domain.errors import ArgumentTypeError, DeviceError, DTypeError

DTYPES = ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64", "bfloat16"]


class Other:
    """A library whose arrays speak DLPack: what it hands out is what a tensor does."""

    def __init__(self, tensor, device=(1, 0)):
        self.tensor, self.device, self.asked = tensor, device, []

    def __dlpack__(self, **options):
        self.asked.append(options)
        return self.tensor.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.device


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("version", [None, (1, 0)])
def test_every_dtype_goes_there_and_back(dtype, version):
    x = cr.tensor([[0, 1, 1], [1, 0, 1]]).to(dtype)
    capsule = x.__dlpack__(max_version=version)
    name = "dltensor_versioned" if version else "dltensor"
    assert f'"{name}"' in repr(capsule)
    y = cr.from_dlpack(Other(x))
    assert y.dtype == dtype and y.shape == (2, 3) and y.tolist() == x.tolist()
    one = True if dtype == "bool" else 1
    x[0, 0] = one
    assert y.tolist() == [[1, 1, 1], [1, 0, 1]]
    y[1, 1] = one
    assert x.tolist() == [[1, 1, 1], [1, 1, 1]]


def test_strides_and_sizes_are_kept():
    x = cr.arange(24).reshape(2, 3, 4)
    for view in (x.transpose(0, 2), x[:, ::2], x[0, 0], x[1, 2, 3], x[:0]):
        y = cr.from_dlpack(view)
        assert y.tolist() == view.tolist() and y.shape == view.shape
        assert not y.size or np.shares_memory(y.numpy(), x.numpy())


def test_numpy_writes_and_sees_what_is_written():
    x = cr.zeros(3)
    a = np.from_dlpack(x)
    a[0] = 2
    x[1] = 5
    assert x.tolist() == a.tolist() == [2, 5, 0]
    given = np.ones(2)
    y = cr.from_dlpack(given)
    given[0] = 7
    y[1] = 8
    assert given.tolist() == y.tolist() == [7, 8]


def test_memory_lives_as_long_as_one_of_both():
    x = cr.arange(1000) + 1
    storage = weakref.ref(x.storage)
    y = cr.from_dlpack(x)
    del x
    gc.collect()
    assert storage() is None and int(y.sum()) == 500500  # the tensor is gone, its memory is not
    a = np.arange(1000)
    kept = weakref.ref(a)
    y = cr.from_dlpack(a)
    del a
    gc.collect()
    assert kept() is not None and int(y.sum()) == 499500
    del y
    gc.collect()
    assert kept() is None
    cr.arange(10).__dlpack__()  # a capsule that nobody takes
    cr.ones(3, dtype="bfloat16").__dlpack__()


def test_what_is_asked_of_either_side():
    x = cr.ones(3)
    assert x.__dlpack_device__() == (1, 0)
    other = Other(x)
    assert cr.from_dlpack(other, copy=True).tolist() == [1, 1, 1] and other.asked[0]["max_version"][0] >= 1
    y = cr.from_dlpack(x, copy=True)
    y[0] = 5
    assert x.tolist() == [1, 1, 1]
    z = np.from_dlpack(Copied(x))
    z[0] = 5
    assert x.tolist() == [1, 1, 1]
    with pytest.raises(BufferError, match=r"on the CPU, \(1, 0\), and cannot be handed over on \(2, 0\)"):
        x.__dlpack__(dl_device=(2, 0))
    with pytest.raises(DeviceError, match="cuda:1 was asked for, but"):
        cr.from_dlpack(Other(x, (2, 1)))
    with pytest.raises(DTypeError, match="cannot be"):
        cr.from_dlpack(np.ones(2, np.complex64))
    with pytest.raises(ArgumentTypeError, match="speaks DLPack"):
        cr.from_dlpack([1.0])


class Copied(Other):
    """Asks for a copy."""

    def __init__(self, tensor):
        super().__init__(tensor)

    def __dlpack__(self, **options):
        return self.tensor.__dlpack__(**{**options, "copy": True})


def test_memory_that_must_not_be_written():
    a = np.arange(3.0)
    a.flags.writeable = False
    y = cr.from_dlpack(a)
    assert np.shares_memory(y.numpy(), a)
    with pytest.raises(ValueError, match="read-only"):
        y += 1
    assert cr.from_dlpack(a, copy=True).add_(1).tolist() == [1, 2, 3] and a.tolist() == [0, 1, 2]


def test_bfloat16_of_numpy():
    a = np.array([1.5, -2.0], ml_dtypes.bfloat16)
    x = cr.from_numpy(a)
    y = cr.from_dlpack(Other(x))
    assert y.dtype == "bfloat16" and np.shares_memory(y.numpy(), a)
