"""What the backend asks of NVIDIA's driver, through NVIDIA's bindings as they are installed, down to a library in its place.

The library (driver.c) runs no kernel and stands for no GPU: it shows that every call gets there, with what it should have.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from chainrule.backends.cuda import nvrtc

HERE = Path(__file__).parent
CALLS = """
import gc, threading
import numpy as np
import chainrule as cr
from chainrule import backends
from chainrule.backends.cuda.gpu import layout
from chainrule.domain.errors import DeviceError

def told(f):
    try:
        f()
    except (DeviceError, MemoryError) as error:
        print("told:", error)

print(cr.cuda.device_count(), cr.cuda.get_device_properties())
gpu = backends.get("cuda").gpu
driver = gpu.driver
print("-- copies")
x = gpu.upload(np.full(6, 7, np.float32))
print(gpu.download(x).tolist())
driver.fill(0, x.pointer + 4, 0, 4, gpu.stream)
driver.copy(0, x.pointer + 8, x.pointer, 4, gpu.stream)
print(gpu.download(x).tolist())
page = driver.pinned(100)
page[:] = 3
print(int(page.sum()), driver.pinned(0).shape, driver.memory(0))
part = page[10:20]
del page
print(int(part.sum()))
del part
told(lambda: gpu.empty((1 << 34,), x.dtype))
print("-- launches")
words = layout((6,), x.steps, x.steps)[0]
gpu.launch("memory", "copy<4>", (2, 3, 4), (32, 2), x, x, words, 6)
gpu.launch("memory", "copy<4>", 1, 32, x, x, words, 6, shared=64 * 1024)
gpu.launch("memory", "copy<4>", 1, 32, x, x, words, 6, shared=60 * 1024)
told(lambda: gpu.launch("memory", "copy<4>", 1, 2048, x, x, words, 6))
print("-- streams")
first = cr.cuda.Event().record()
last = cr.cuda.Event().record()
print(first.elapsed_time(last))
side = cr.cuda.Stream()
side.wait_stream(cr.cuda.current_stream())
side.synchronize()
cr.cuda.synchronize()
capsule = side.gpu and cr.tensor([7.0], device="cuda").__dlpack__(stream=2)
del capsule
print(driver.device_of(x.pointer))
told(lambda: driver.synchronize(driver.stream_at(0, 0x999)))
print("-- graphs")
with gpu.captured() as graph:
    gpu.launch("memory", "copy<4>", 1, 32, x, x, words, 6)
    told(lambda: gpu.upload(np.ones(3)))
    told(lambda: gpu.download(x))
    print(gc.isenabled())
print(gc.isenabled())
driver.replay(graph[0], gpu.stream)
del graph
print("-- threads")
thread = threading.Thread(target=lambda: gpu.upload(np.ones(3)))
thread.start()
thread.join()
del x
cr.cuda.empty_cache()
print("-- end")
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Where the library is found, and kernels that were compiled without it."""
    folder = tmp_path_factory.mktemp("driver")
    command = ["gcc", "-shared", "-fPIC", "-w", "-o", str(folder / "libcuda.so.1"), str(HERE / "driver.c")]
    subprocess.run([*command, "-Wl,-soname,libcuda.so.1", "-ldl"], check=True)
    before = os.environ.get("CHAINRULE_CACHE")
    os.environ["CHAINRULE_CACHE"] = str(folder)
    try:
        nvrtc.kernel("memory", "copy<4>", "sm_90")
    finally:
        del os.environ["CHAINRULE_CACHE"]
        if before is not None:
            os.environ["CHAINRULE_CACHE"] = before
    paths = os.pathsep.join([str(folder), os.environ.get("LD_LIBRARY_PATH", "")])
    return {**os.environ, "CHAINRULE_CUDA_DRIVER": "nvidia", "CHAINRULE_CACHE": str(folder), "LD_LIBRARY_PATH": paths}


def run(program, environment):
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert done.returncode == 0 and not done.stderr, done.stderr[-3000:]
    return done.stdout


def test_every_call_gets_there(environment):
    found = run(CALLS, environment)
    assert found == (HERE / "driver_calls.txt").read_text(), found


def test_a_driver_that_is_too_old(environment):
    program = (
        "import chainrule as cr\ntry: cr.ones(1, device='cuda')\nexcept cr.errors.DeviceError as error: print(error)"
    )
    found = run(program, {**environment, "STUB_VERSION": "11040"})
    assert "the NVIDIA driver is for CUDA 11.4; install one for CUDA 12 or newer; use Device('cpu')" in found
