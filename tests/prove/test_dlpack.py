"""Memory shared with PyTorch and JAX by DLPack: every dtype, both ways, written on one side and seen on the other."""

import gc

import numpy as np
import pytest

import chainrule as cr

SHARED = ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64"]


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


@pytest.fixture(scope="module")
def jax():
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    return jax


@pytest.mark.parametrize("dtype", SHARED)
def test_pytorch(torch, dtype):
    x = cr.tensor([[0, 1, 1], [1, 0, 1]]).to(dtype)
    theirs = torch.from_dlpack(x)
    assert theirs.dtype == getattr(torch, dtype) and theirs.data_ptr() == x.numpy().ctypes.data
    one = True if dtype == "bool" else 1
    theirs[0, 0] = one
    x[1, 1] = one
    assert x.tolist() == theirs.tolist() == [[1, 1, 1], [1, 1, 1]]
    source = torch.tensor([[0, 1, 1], [1, 0, 1]]).to(getattr(torch, dtype)).T
    ours = cr.from_dlpack(source)
    assert ours.dtype == dtype and ours.shape == (3, 2) and ours.numpy().ctypes.data == source.data_ptr()
    source[0, 0] = one
    ours[1, 1] = one
    assert ours.tolist() == source.tolist() == [[1, 1], [1, 1], [1, 1]]


@pytest.mark.parametrize("dtype", SHARED)
def test_jax(jax, dtype):
    x = cr.tensor([[0, 1, 1], [1, 0, 1]]).to(dtype)
    theirs = jax.dlpack.from_dlpack(x)
    place = x.numpy().ctypes.data
    assert theirs.dtype.name == dtype
    assert (theirs.unsafe_buffer_pointer() == place) == (place % 64 == 0)  # what begins elsewhere, JAX copies
    assert theirs.tolist() == x.tolist()
    source = jax.numpy.asarray([[0, 1, 1], [1, 0, 1]], dtype)
    ours = cr.from_dlpack(source)
    assert ours.dtype == dtype and ours.numpy().ctypes.data == source.unsafe_buffer_pointer()
    assert ours.tolist() == source.tolist()
    with pytest.raises(ValueError, match="read-only"):  # arrays of JAX never change
        ours.copy_(cr.zeros_like(ours))


def test_memory_outlives_whoever_made_it(torch, jax):
    ours = [cr.from_dlpack(torch.arange(1000, dtype=torch.float32) * i) for i in range(50)]
    ours += [cr.from_dlpack(jax.numpy.arange(1000, dtype="float32") * i) for i in range(50)]
    theirs = [torch.from_dlpack(cr.arange(1000, dtype="float32") * i) for i in range(50)]
    theirs += [jax.dlpack.from_dlpack(cr.arange(1000, dtype="float32") * i) for i in range(50)]
    gc.collect()
    noise = [np.full(1000, -1.0, np.float32) for _ in range(200)]
    for arrays in (ours, theirs):
        for i, array in enumerate(arrays):
            assert float(array.sum()) == 499500.0 * (i % 50)
    assert len(noise) == 200
