"""The emulator finds what would be wrong on a GPU, and is right where the kernels are."""

import os
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from chainrule.backends.cuda.sources import declare
from chainrule.domain.errors import DeviceError

HERE = Path(__file__).parent / "kernels" / "faulty"
declare(
    "faulty", "neighbours<true>", "neighbours<false>", "divided", "unwritten", "beyond", "collectives", "counted",
    *(f"{kernel}<{t}>" for kernel in ("there_and_back", "rounded", "one_mma") for t in ("f16", "bf16")), folder=HERE,
)  # fmt: skip
HALVES = {"f16": np.float16, "bf16": ml_dtypes.bfloat16}


@pytest.fixture
def run(gpu):
    """Launch a kernel on one block: what it writes, n floats, comes back."""

    def run(kernel, threads, n, *arguments, dtype=np.float32, shared=0, blocks=1):
        y = gpu.upload(np.zeros(n, dtype))
        given = [gpu.upload(a) if isinstance(a, np.ndarray) else a for a in arguments]
        gpu.launch("faulty", kernel, blocks, threads, y, *given, shared=shared)
        return gpu.download(y)

    return run


@pytest.fixture
def shuffled(gpu):
    """Threads of blocks in another order."""
    gpu.driver.shuffle(7)
    yield
    gpu.driver.shuffle(0)


X = np.random.default_rng(0).standard_normal(256).astype(np.float32)


def test_a_missing_barrier_shows_in_another_order(run, gpu, shuffled):
    assert run("neighbours<true>", 256, 256, X).tolist() == np.roll(X, -1).tolist()
    assert run("neighbours<false>", 256, 256, X).tolist() != np.roll(X, -1).tolist()


def test_a_barrier_that_not_all_reach(run):
    with pytest.raises(DeviceError, match=r"\[faulty: divided\] threads of block 0 wait for each other for ever"):
        run("divided", 32, 32)


def test_shared_memory_begins_as_nan(run):
    assert np.isnan(run("unwritten", 32, 32, shared=128)).all()


def test_collectives(run):
    y = run("collectives", 64, 256, X[:64]).reshape(4, 64)
    np.testing.assert_allclose(y[0], X[:64].sum(), rtol=1e-5)
    lanes = np.arange(64)
    down = np.where(lanes % 32 + 3 < 32, np.minimum(lanes + 3, 63), lanes)
    np.testing.assert_array_equal(y[1], X[:64][down])
    np.testing.assert_array_equal(y[2], X[:64][np.where(lanes % 8 >= 2, lanes - 2, lanes)])
    np.testing.assert_array_equal(y[3], np.repeat([(X[:32] > 0).sum(), (X[32:64] > 0).sum()], 32))


def test_additions_of_many_blocks(run):
    assert run("counted", 256, 1, 10_000, dtype=np.int64, blocks=8)[0] == 10_000


@pytest.mark.parametrize("name", HALVES)
def test_every_16_bit_float_there_and_back(gpu, name):
    every = np.arange(1 << 16, dtype=np.uint16).view(HALVES[name])
    y, wide = gpu.upload(np.zeros_like(every)), gpu.upload(np.zeros(every.shape, np.float32))
    gpu.each("faulty", f"there_and_back<{name}>", every.size, y, wide, gpu.upload(every), every.size, writes=2)
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(gpu.download(wide), every.astype(np.float32))
    found = gpu.download(y)
    numbers = ~np.isnan(every.astype(np.float32))
    np.testing.assert_array_equal(found[numbers].view(np.uint16), every[numbers].view(np.uint16))
    assert np.isnan(found[~numbers].astype(np.float32)).all()


@pytest.mark.parametrize("name", HALVES)
def test_floats_are_rounded_to_nearest_even(gpu, name):
    random = np.random.default_rng(3)
    x = np.concatenate([
        random.standard_normal(4000) * 10.0 ** random.integers(-12, 12, 4000),
        np.arange(1 << 12).astype(np.uint32).view(np.float32), [65519.99, 65520, 6e-8, 2.9e-8, -0.0, np.inf, -np.inf, np.nan],
    ]).astype(np.float32)  # fmt: skip
    y = gpu.upload(np.zeros(x.shape, HALVES[name]))
    gpu.each("faulty", f"rounded<{name}>", x.size, y, gpu.upload(x), x.size)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(gpu.download(y).astype(np.float32), x.astype(HALVES[name]).astype(np.float32))


@pytest.mark.parametrize("name", HALVES)
def test_a_product_on_tensor_cores(run, name):
    random = np.random.default_rng(4)
    a, b = (random.standard_normal(s).astype(HALVES[name]) for s in ((16, 16), (16, 8)))
    d = run(f"one_mma<{name}>", 32, 128, a, np.ascontiguousarray(b.T)).reshape(16, 8)
    np.testing.assert_allclose(d, a.astype(np.float64) @ b.astype(np.float64), rtol=1e-5, atol=1e-5)


def test_the_address_sanitizer_names_the_line():
    """With it, what lies behind the bytes that were asked for is told, though the piece of memory is longer."""
    program = (
        "import numpy as np\nfrom chainrule import backends\nimport tests.cuda.test_emulator\n"
        "gpu = backends.get('cuda').gpu\n"
        "gpu.launch('faulty', 'beyond', 1, 128, gpu.empty((100,), np.dtype(np.float32)), 101)\n"
    )
    library = subprocess.run(["g++", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True).stdout
    environment = {
        **os.environ, "CHAINRULE_CUDA_DRIVER": "emulated", "LD_PRELOAD": library.strip(), "ASAN_OPTIONS": "detect_leaks=0",
        "CHAINRULE_CUDA_FLAGS": "-fsanitize=address -g",
    }  # fmt: skip
    environment["PYTHONPATH"] = os.pathsep.join(["src", environment.get("PYTHONPATH", ""), "."])
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, cwd=HERE.parents[3]
    )
    line = (HERE / "cuda.cu").read_text().splitlines().index("    EACH(i, n) y[i] = 1;") + 1
    assert "use-after-poison" in done.stderr and f"faulty/cuda.cu:{line}" in done.stderr, done.stderr[:2000]
