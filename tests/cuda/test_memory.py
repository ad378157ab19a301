"""Copies, casts and new memory on a GPU, beyond the table: how elements lie, and all pairs of dtypes."""

import threading

import ml_dtypes
import numpy as np
import pytest

from chainrule.backends import cuda
from chainrule.backends import numpy as reference
from chainrule.backends.cuda import driver, emulated, emulator
from chainrule.backends.cuda.emulated import Emulated
from chainrule.backends.cuda.gpu import Gpu, copied, copy_into, copying

NAMES = "bool uint8 int8 int16 int32 int64 float16 bfloat16 float32 float64".split()
DTYPES = [np.dtype(n if n != "bfloat16" else ml_dtypes.bfloat16) for n in NAMES]


def call(gpu, name, *arrays, **params):
    """A kernel of the backend, of arrays of NumPy, as one."""
    given = [gpu.upload(a) if isinstance(a, np.ndarray) else a for a in arrays]
    return gpu.download(cuda.kernels()[name](gpu, *given, **params))


def view(gpu, host, index):
    """The view ``host[index]`` of a copy on the device, and of one on the host."""
    return cuda.kernels()["getitem"](gpu, gpu.upload(host), index=index), host[index]


@pytest.mark.parametrize("dtype", DTYPES, ids=NAMES)
def test_casts_are_those_of_numpy(gpu, dtype):
    values = np.array(
        [0.0, 1.0, -1.5, 100.7, 2.5, -0.0, 3e38, -65519.999, 65520.1, 1 + 2**-11, 1 + 2**-11 + 2**-40, np.nan, 5e-8]
    )
    if dtype.kind in "biu":
        values = np.array([0, 1, 2, 77, 100, 127])
    with np.errstate(all="ignore"):
        x = np.resize(values, 1037).astype(dtype)
        for to in DTYPES:
            given = x if to.kind not in "iu" or dtype.kind in "biu" else np.resize(x[[0, 1, 2, 3, 4]], 1037)
            if to.kind == "u":
                given = np.abs(given)
            found, wanted = call(gpu, "cast", given, dtype=to.name), given.astype(to)
            assert found.dtype == to
            numbers = ~np.isnan(wanted.astype("f8"))
            assert np.array_equal(found.view(f"u{to.itemsize}")[numbers], wanted.view(f"u{to.itemsize}")[numbers])
            np.testing.assert_array_equal(np.isnan(found.astype("f8")), np.isnan(wanted.astype("f8")))


@pytest.mark.parametrize("dtype", [np.bool_, np.int16, np.float32, np.float64])
def test_what_lies_otherwise_is_copied(gpu, dtype):
    host = np.arange(6 * 40 * 70).reshape(6, 40, 70).astype(dtype)
    for index in [
        (slice(None, None, -1),), (slice(None), slice(1, 39), slice(1, 60)), (..., slice(None, None, -2)),
        (3, slice(0, 0)), (2, 3, 4, ...), (..., slice(4, 68)),
    ]:  # fmt: skip
        x, wanted = view(gpu, host, index)
        assert np.array_equal(gpu.download(copied(gpu, x)), wanted)
    for axes in [(2, 1, 0), (0, 2, 1), (1, 2, 0), (2, 0, 1)]:
        x = cuda.kernels()["permute"](gpu, gpu.upload(host), axes=axes)
        assert np.array_equal(gpu.download(copied(gpu, x)), host.transpose(axes))
        y = gpu.upload(np.zeros_like(host))  # and into a view that lies so
        copy_into(
            gpu, cuda.kernels()["permute"](gpu, y, axes=axes), gpu.upload(np.ascontiguousarray(host.transpose(axes)))
        )
        assert np.array_equal(gpu.download(y), host)
    rows = gpu.upload(host[0, 0])
    spread = cuda.kernels()["expand"](gpu, rows, shape=(3, 70))
    assert np.array_equal(gpu.download(copied(gpu, spread)), np.broadcast_to(host[0, 0], (3, 70)))


def test_a_transposition_goes_by_tiles_in_any_order_of_threads(gpu):
    assert copying((70, 40), (40, 1), (1, 70))[3] == (6, 40, 70, 40, 70)
    assert copying((70, 4), (4, 1), (1, 70))[3] is None
    host = np.arange(33 * 65.0).reshape(33, 65)
    x = cuda.kernels()["permute"](gpu, gpu.upload(host), axes=(1, 0))
    for seed in (1, 2, 0):
        if gpu.driver.name == "emulated":
            gpu.driver.shuffle(seed)
        assert np.array_equal(gpu.download(copied(gpu, x)), host.T)


def test_counting(gpu):
    for given in [
        {"start": 3, "stop": 50, "step": 4, "dtype": "uint8"}, {"start": 0, "stop": 1, "step": 0.3, "dtype": "int64"},
        {"start": 0.0, "stop": 1.0, "step": 0.1, "dtype": "float64"}, {"start": 5, "stop": 5, "step": 1, "dtype": "int32"},
        {"start": 10, "stop": 0, "step": -3, "dtype": "float16"}, {"start": 0, "stop": 2, "step": 1, "dtype": "bool"},
        {"start": 2**53 + 1, "stop": 2**53 + 4, "step": 1, "dtype": "int64"},
    ]:  # fmt: skip
        found, wanted = call(gpu, "arange", **given), reference.KERNELS["arange"](**given)
        assert found.dtype == wanted.dtype and np.array_equal(found, wanted)


def test_filling(gpu):
    for name, dtype in zip(NAMES, DTYPES, strict=True):
        for shape in [(), (0, 3), (5, 7), (1037,)]:
            found = call(gpu, "full", shape=shape, value=1, dtype=name)
            assert found.dtype == dtype and np.array_equal(found, np.ones(shape, dtype))
    assert call(gpu, "full", shape=(2,), value=2**62 + 1, dtype="int64").tolist() == [2**62 + 1] * 2
    assert np.signbit(call(gpu, "full", shape=(2,), value=-0.0, dtype="float32")).all()


def test_memory_goes_back_while_a_room_is_compiled(monkeypatch):
    """Garbage is collected by whichever thread comes to it: also by one that waits for the compiler."""
    if driver.connected().name != "emulated":
        pytest.skip("NVIDIA's driver compiles in the thread that asks")
    fresh = Emulated()
    other = Gpu(fresh, 0)
    kept = [other.upload(np.ones(3))]
    waiting = threading.Event()

    def built(room, names):
        thread = threading.Thread(target=lambda: (kept.clear(), waiting.set()), daemon=True)
        thread.start()
        assert waiting.wait(20), "a thread that gives memory back waits for the one that waits for the compiler"
        return emulator.built(room, names)

    monkeypatch.setattr(emulated, "built", built)
    assert other.download(cuda.kernels()["full"](other, shape=(2,), value=3, dtype="int64")).tolist() == [3, 3]
