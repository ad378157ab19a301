"""What the backend asks of a GPU, and what the emulated one refuses: it has to be as strict as a real one is unforgiving."""

import signal
import subprocess
import sys

import numpy as np
import pytest

import chainrule as cr
from chainrule import backends
from chainrule.backends.cuda import arguments, array, driver, memory
from chainrule.domain.errors import DeviceError, IndexRangeError, NotSupportedError

INT64 = np.dtype(np.int64)
FLOAT = np.dtype(np.float32)


@pytest.fixture
def emulated(gpu):
    """The emulated driver."""
    assert gpu.driver.name == "emulated"
    return gpu.driver


def filled(gpu, values):
    return gpu.upload(np.asarray(values, np.float32))


def double(gpu, y, x, **more):
    gpu.each("memory", "copy<4>", x.size, y, x, cuda_layout(y, x), x.size, **more)


def cuda_layout(*arrays):
    from chainrule.backends.cuda.gpu import layout

    return layout(arrays[0].shape, *(a.steps for a in arrays))[0]


def test_memory_of_the_host_is_refused(gpu, emulated):
    x = filled(gpu, [1, 2])
    foreign = memory.Memory(np.zeros(2, np.float32).ctypes.data, 8, 512, None, None)
    with pytest.raises(DeviceError, match="none of a device's memory"):
        double(gpu, x, array.DeviceArray(gpu, foreign, (2,), FLOAT))


def test_memory_that_was_given_back_is_refused(gpu, emulated):
    x = filled(gpu, [1, 2])
    gone = gpu.empty((2,), FLOAT)
    stale = memory.Memory(gone.memory.address, 8, 512, None, None)
    del gone
    with pytest.raises(DeviceError, match="it was freed, or never was"):
        double(gpu, x, array.DeviceArray(gpu, stale, (2,), FLOAT))


def test_what_was_given_back_is_nan(gpu, emulated):
    x = filled(gpu, [1, 2])
    address = x.memory.address
    del x
    again = gpu.empty((2,), FLOAT)
    assert again.memory.address == address and np.isnan(gpu.download(again)).all()


def test_memory_beyond_a_piece_is_refused(gpu, emulated):
    x = filled(gpu, np.zeros(100))
    with pytest.raises(DeviceError, match="not in memory that is in use"):
        double(gpu, filled(gpu, np.zeros(101)), x.view((101,), (4,)))


def test_another_device_is_refused(gpu, emulated):
    other = backends.get("cuda:1").gpu
    with pytest.raises(DeviceError, match="on cuda:0 was given an array of cuda:1"):
        double(gpu, filled(gpu, [1]), filled(other, [1]))
    with pytest.raises(DeviceError, match=r"argument 1 of shape \(1,\) is on cuda:1"):
        cr.ones(1, device="cuda:0") + cr.ones(1, device="cuda:1")
    with pytest.raises(DeviceError, match="is on cpu"):
        cr.ones(1, device="cuda:0") + cr.ones(1)


def test_a_read_from_the_host_ends_the_process(emulated):
    program = (
        "import ctypes, chainrule as cr\nx = cr.ones(4, device='cuda')\nprint(x.tolist(), flush=True)\n"
        "ctypes.string_at(x.array.pointer, 4)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "[1.0, 1.0, 1.0, 1.0]\n" and done.returncode == -signal.SIGSEGV


def test_what_comes_back_is_rubbish_until_somebody_waits(gpu, emulated):
    x, host = filled(gpu, [1, 2]), np.zeros(2, np.float32)
    gpu.driver.download(0, host, x.pointer, gpu.stream)
    assert host[0] != 1
    gpu.synchronize()
    assert host.tolist() == [1, 2]


def test_another_stream_has_to_wait(gpu, emulated):
    x = cr.ones(4, device="cuda")
    side = cr.cuda.Stream()
    with cr.cuda.stream(side):
        with pytest.raises(DeviceError, match="uses memory that stream .* still writes"):
            x + x
        side.wait_stream(cr.cuda.Stream(0, handle=gpu.default_stream))
        y = x + x
    with pytest.raises(DeviceError, match="still writes"):
        y * 2
    cr.cuda.current_stream().wait_event(side.record_event())
    assert (y * 2).tolist() == [4.0] * 4


def test_memory_that_another_stream_reads_is_not_written(gpu, emulated):
    x = cr.ones(4, device="cuda")
    side = cr.cuda.Stream()
    side.wait_stream(cr.cuda.current_stream())
    with cr.cuda.stream(side):
        y = x + x
    with pytest.raises(DeviceError, match="still reads"):
        x.add_(1)
    side.synchronize()
    x.add_(1)
    assert y.tolist() == [2.0] * 4 and x.tolist() == [2.0] * 4


def test_what_a_capture_refuses(gpu, emulated):
    x, y = filled(gpu, [1, 2]), filled(gpu, [0, 0])
    gpu.driver.begin_capture(gpu.stream)
    try:
        for forbidden in (
            lambda: gpu.driver.allocate(0, 1 << 22),
            lambda: gpu.synchronize(),
            lambda: gpu.driver.download(0, np.zeros(2, np.float32), x.pointer, gpu.stream),
        ):
            with pytest.raises(DeviceError, match="captured"):
                forbidden()
        double(gpu, y, x)
    finally:
        graph = gpu.driver.end_capture(gpu.stream)
    assert gpu.download(y).tolist() == [0, 0]
    gpu.driver.replay(graph, gpu.stream)
    assert gpu.download(y).tolist() == [1, 2]


def test_what_was_captured_keeps_its_arguments(gpu):
    """Other launches of the same kernel put theirs elsewhere."""
    x, y, other = filled(gpu, [1, 2, 3]), filled(gpu, [0, 0, 0]), filled(gpu, [7, 8, 9])
    double(gpu, y, x)
    with gpu.captured() as graph:
        double(gpu, y, x)
    for _ in range(2):
        double(gpu, y, other)
        gpu.driver.replay(graph[0], gpu.stream)
        assert gpu.download(y).tolist() == [1, 2, 3] and gpu.download(other).tolist() == [7, 8, 9]


def test_arguments_lie_where_others_were(gpu):
    first = arguments.packed((1, 2.0, bytes(16), None))
    first.free.append(first)
    again = arguments.packed((3, 4.0, bytes(16), None))
    assert again is first and arguments.packed((5, 6.0, bytes(16), None)) is not first


def test_no_more_memory(gpu, emulated):
    x = cr.ones(3, device="cuda")
    with pytest.raises(MemoryError, match=r"cuda:0 has no 4096.0 MiB more: tensors use .* smaller"):
        cr.zeros(1 << 30, device="cuda")
    cr.cuda.empty_cache()
    reserved = cr.cuda.memory_stats()["reserved"]
    cr.cuda.set_memory_limit(reserved + (4 << 20))
    try:
        y = cr.zeros(1 << 20, device="cuda")
        with pytest.raises(MemoryError, match="the limit is"):
            cr.zeros(1 << 20, device="cuda")
        del y
        cr.zeros(1 << 20, device="cuda")
    finally:
        cr.cuda.set_memory_limit(None)
    assert (x * 2).tolist() == [2, 2, 2]


def test_memory_is_kept_and_given_back(gpu):
    cr.cuda.empty_cache()
    before = cr.cuda.memory_stats()
    x = cr.zeros(3 << 18, device="cuda")
    assert cr.cuda.memory_stats()["in_use"] - before["in_use"] == 4 << 20
    del x
    assert cr.cuda.memory_stats()["cached"] - before["cached"] == 4 << 20
    hits = cr.cuda.memory_stats()["hits"]
    cr.zeros(3 << 18, device="cuda")
    assert cr.cuda.memory_stats()["hits"] > hits
    cr.cuda.empty_cache()
    assert cr.cuda.memory_stats()["reserved"] <= before["reserved"]


def test_an_index_out_of_range_is_told_at_the_next_wait(gpu):
    x = cr.arange(5, device="cuda")
    y = x[cr.tensor([0, 7], device="cuda")]
    with pytest.raises(IndexRangeError, match=r"\[index\] index 7 is out of range for axis 0, which has 5"):
        y.numpy()
    assert y.numpy()[0] == 0  # told once


def test_a_kernel_that_was_not_declared(gpu, emulated):
    with pytest.raises(NotSupportedError, match=r"declare it in backends/cuda/rooms/memory.py"):
        gpu.launch("memory", "copy<3>", 1, 32)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: cr.ones(1, device="cuda:9"), "of GPUs there is cuda:0, cuda:1"),
        (lambda: cr.cuda.memory_stats("cpu"), "cpu is no GPU"),
        (lambda: cr.cuda.Event().synchronize(), "not recorded yet"),
        (lambda: np.asarray(cr.ones(1, device="cuda").array), "no NumPy array: copy it"),
    ],
)
def test_errors(call, message, emulated):
    with pytest.raises(DeviceError, match=message):
        call()


def test_a_driver_that_does_not_exist(monkeypatch):
    monkeypatch.setenv("CHAINRULE_CUDA_DRIVER", "emulatde")
    with pytest.raises(ValueError, match="did you mean 'emulated'"):
        driver.connected.__wrapped__()


def test_without_a_gpu():
    program = (
        "import os\nos.environ.pop('CHAINRULE_CUDA_DRIVER', None)\nimport sys, chainrule as cr\n"
        "sys.modules['cuda'] = None\nprint(cr.cuda.is_available(), cr.cuda.device_count())\n"
        "try: cr.ones(1, device='cuda')\nexcept cr.errors.DeviceError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == (
        "False 0\ncuda:0 was asked for, but NVIDIA's Python bindings are not installed: pip install chainrule[cuda]; "
        "use Device('cpu')\n"
    )


def test_events_tell_time(gpu):
    first = cr.cuda.Event().record()
    cr.ones(8, device="cuda") * 2
    assert first.elapsed_time(cr.cuda.Event().record()) > 0
