"""The native module's foundation: memory, threads, arguments, instruction sets."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from chainrule import _native

PACKAGES = os.path.dirname(os.path.dirname(_native.__file__))


@pytest.fixture
def threads():
    """Set the number of threads; the old number comes back."""
    before = _native.get_num_threads()
    yield _native.set_num_threads
    _native.set_num_threads(before)


def run_python(code, **environment):
    """What a Python of its own prints, as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": PACKAGES, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# arrays


def test_results_own_aligned_memory():
    y = _native.add(np.ones((3, 5), np.float32), 1.0)
    assert y.base is None
    assert y.flags.owndata
    assert y.flags.writeable
    assert y.ctypes.data % 64 == 0


def test_results_can_be_resized_copied_and_outlive_their_arguments():
    x = np.arange(6.0)
    y = _native.mul(x, 2.0)
    del x
    y.resize(100)
    np.testing.assert_array_equal(y[:6], np.arange(6.0) * 2)
    assert not y[6:].any()
    y.resize(3)
    np.testing.assert_array_equal(y, [0.0, 2.0, 4.0])
    assert y.copy().flags.owndata


def test_a_kernel_does_not_hold_its_arguments():
    x = np.ones(4, np.float32)
    before = sys.getrefcount(x)
    for _ in range(100):
        _native.add(x, x)
        _native.clone(x)
        _native.sum(x)
        with pytest.raises(TypeError):
            _native.add(x, "a")
    assert sys.getrefcount(x) == before


@pytest.mark.parametrize("bad", [[1.0], "x", None, np.float32(1.0)])
def test_what_is_no_array_is_refused(bad):
    with pytest.raises(TypeError, match="incompatible function arguments"):
        _native.exp(bad)


@pytest.mark.parametrize("dtype", ["float16", "int64", "bool", ">f4", "complex64", "datetime64[s]", "O", "U3"])
def test_foreign_dtypes_are_declined(dtype):
    x = np.zeros(4, dtype)
    for call in (_native.exp, _native.relu, _native.sum, lambda x: _native.add(x, x), lambda x: _native.mul(x, 2)):
        assert call(x) is NotImplemented
    assert _native.add(x, np.zeros(4, np.float32)) is NotImplemented


def test_unaligned_memory_is_declined_and_readonly_is_taken():
    unaligned = np.zeros(33, np.uint8)[1:].view(np.float32)
    assert not unaligned.flags.aligned
    assert _native.exp(unaligned) is NotImplemented
    x = np.zeros(4, np.float32)
    x.flags.writeable = False
    np.testing.assert_array_equal(_native.exp(x), 1)


# memory


def test_memory_is_counted_and_used_again():
    _native.empty_cache()
    start = _native.memory_stats()
    assert start["cached"] == 0
    x = np.zeros(1 << 20, np.float32)
    y = _native.clone(x)
    one = _native.memory_stats()
    assert one["in_use"] - start["in_use"] >= 4 << 20
    assert one["peak"] >= one["in_use"]
    place = y.ctypes.data
    del y
    assert _native.memory_stats()["cached"] >= 4 << 20
    y = _native.clone(x)
    assert y.ctypes.data == place
    assert _native.memory_stats()["hits"] == one["hits"] + 1
    del y
    _native.empty_cache()
    end = _native.memory_stats()
    assert end["cached"] == 0
    assert end["in_use"] == start["in_use"]


def test_the_cache_has_a_limit():
    limit = _native.memory_stats()["limit"]
    try:
        _native.set_cache_limit(0)
        _native.clone(np.zeros(1 << 16))
        assert _native.memory_stats()["cached"] == 0
    finally:
        _native.set_cache_limit(limit)


def test_too_much_memory_is_an_error():
    with pytest.raises(MemoryError):
        _native.uniform(np.array([0, 0]), shape=(1 << 46,), dtype="float64")


def test_poison_shows_what_is_not_written():
    _native.set_poison(True)
    try:
        x = np.ones((37, 19), np.float32)
        for y in (_native.add(x, x), _native.add(x, x[:1]), _native.sum(x, axis=0), _native.cumsum(x, axis=1)):
            assert np.isfinite(y).all()
    finally:
        _native.set_poison(False)


# threads


def heavy(seed=0):
    """Results of kernels that are shared out to threads."""
    x = np.random.default_rng(seed).standard_normal((700, 900)).astype(np.float32)
    p, g, m, v = x.copy(), x * 0.1, np.zeros_like(x), np.zeros_like(x)
    _native.adam_(np.array(0.0), np.array(0.01), p, g, m, v, count=1)
    return [
        _native.exp(x), _native.add(x, x.T[:1, :700].T), _native.sum(x), _native.sum(x, axis=0), _native.sum(x, axis=1),
        _native.prod(x[:, :3] + 1), _native.max(x, axis=1)[1], _native.cumsum(x, axis=1), p, v,
        _native.mul(x, np.asfortranarray(x + 1)),
    ]  # fmt: skip


def test_the_number_of_threads_changes_no_bit(threads):
    threads(1)
    alone = heavy()
    for count in (2, 3, 5):
        threads(count)
        assert _native.get_num_threads() == count
        for a, b in zip(alone, heavy(), strict=True):
            assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("bad", [0, -1, 5000])
def test_a_senseless_number_of_threads_is_refused(bad):
    with pytest.raises(ValueError, match="from 1 to 1024"):
        _native.set_num_threads(bad)


def test_several_python_threads_at_once(threads):
    threads(2)
    expected = [y.tobytes() for y in heavy()]
    wrong = []

    def work():
        for _ in range(10):
            wrong.extend(a.tobytes() != b for a, b in zip(heavy(), expected, strict=True))

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(wrong) == 4 * 10 * len(expected)
    assert not any(wrong)


FORK = """
import json, os, threading
import numpy as np
from chainrule import _native

_native.set_num_threads(2)
x = np.random.default_rng(0).standard_normal((600, 600)).astype(np.float32)
expected = _native.exp(x).tobytes()
stop = threading.Event()

def busy():  # the pool is at work while the process forks
    while not stop.is_set():
        _native.exp(x)

worker = threading.Thread(target=busy)
worker.start()
codes = []
for _ in range(20):
    child = os.fork()
    if not child:
        os._exit(0 if all(_native.exp(x).tobytes() == expected for _ in range(5)) else 1)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
stop.set()
worker.join()
print(json.dumps([codes, _native.exp(x).tobytes() == expected]))
"""


def test_a_forked_process_computes_on():
    codes, here = run_python(FORK, PYTHONWARNINGS="ignore")
    assert codes == [0] * 20
    assert here


COUNT = "import json; from chainrule import _native; print(json.dumps([_native.get_num_threads(), _native.simd()]))"


def test_the_environment_says_how_many_threads():
    available = len(os.sched_getaffinity(0))
    unset = {"CHAINRULE_NUM_THREADS": "", "OMP_NUM_THREADS": ""}
    assert 1 <= run_python(COUNT, **unset)[0] <= available
    assert run_python(COUNT, **{**unset, "OMP_NUM_THREADS": "3,2"})[0] == 3
    assert run_python(COUNT, CHAINRULE_NUM_THREADS="5", OMP_NUM_THREADS="3")[0] == 5
    pinned = f"import os; os.sched_setaffinity(0, [{min(os.sched_getaffinity(0))}]); {COUNT}"
    assert run_python(pinned, **unset)[0] == 1


IDLE = """
import json, os, time
import numpy as np
from chainrule import _native

def tasks():
    return len(os.listdir("/proc/self/task"))

_native.set_num_threads(3)
before = tasks()
small = np.ones(4000, np.float32)
for _ in range(100):
    _native.add(small, small), _native.exp(small), _native.sum(small), _native.max(small, axis=0)
after_small = tasks()
large = np.ones(4_000_000, np.float32)
_native.exp(large)
after_large = tasks()
start = time.process_time()
time.sleep(0.5)
print(json.dumps([after_small - before, after_large - before, time.process_time() - start]))
"""


def test_small_work_stays_on_the_caller_and_idle_threads_sleep():
    small, large, spent = run_python(IDLE, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    assert small == 0
    assert large == 2
    assert spent < 0.02  # of half a second that they could have spun


@pytest.mark.parametrize(
    "files, membership, cores",
    [
        ({"cpu.max": "150000 100000"}, "0::/", 2),
        ({"cpu.max": "max 100000"}, "0::/", 0),
        ({"cpu.max": "400000 100000", "a/cpu.max": "100000 100000", "a/b/cpu.max": "max 100000"}, "0::/a/b", 1),
        ({"cpu.max": "300000 100000"}, "0::/of/the/host", 3),
        ({"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, "4:cpu,cpuacct:/", 1),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000", "cpu/a/cpu.cfs_quota_us": "600000",
          "cpu/a/cpu.cfs_period_us": "100000"}, "5:memory:/a/b\n4:cpu,cpuacct:/a", 6),
        ({}, "0::/", 0),
    ],
)  # fmt: skip
def test_the_quota_of_control_groups_is_read(tmp_path, files, membership, cores):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    (tmp_path / "membership").write_text(membership + "\n")
    assert _native._cgroup_limit(str(tmp_path), str(tmp_path / "membership")) == cores


# instruction sets

LEVELS = ["baseline", "avx2", "avx512"]


def lower_levels():
    """The instruction sets below the one in use."""
    return LEVELS[: LEVELS.index(_native.simd())]


def test_an_unknown_instruction_set_is_refused():
    code = "import json\ntry:\n from chainrule import _native\nexcept Exception as e: print(json.dumps(str(e)))"
    assert "use baseline, avx2 or avx512" in run_python(code, CHAINRULE_SIMD="sse9")


@pytest.mark.parametrize("level", lower_levels())
def test_kernels_pass_their_tests_on_lower_instruction_sets(level):
    """The rooms' own tests, in a process that may use no more than ``level``."""
    assert run_python(COUNT, CHAINRULE_SIMD=level)[1] == level
    here = os.path.dirname(__file__)
    rooms = ["activation", "elementwise", "memory", "optim", "random", "reduce"]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, *(os.path.join(here, f"test_native_{room}.py") for room in rooms)],
        env={**os.environ, "CHAINRULE_SIMD": level},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]


# builds in this checkout: their object files of kernels, by instruction set; sanitizers add symbols of their own
OBJECTS = [
    folder
    for folder in sorted(Path(__file__).parents[1].glob("build/*/CMakeFiles/kernels_*.dir"))
    if "CHAINRULE_SANITIZE:BOOL=ON" not in (folder.parents[1] / "CMakeCache.txt").read_text()
]


@pytest.mark.parametrize("folder", OBJECTS, ids=lambda folder: f"{folder.parent.parent.name}-{folder.stem}")
def test_kernels_stay_in_the_namespace_of_their_instruction_set(folder):
    """A function that an AVX file shares with others could be the copy that the linker keeps for all processors."""
    space = f"chainrule::{folder.stem.removeprefix('kernels_')}::"
    for file in folder.rglob("*.o"):
        listed = subprocess.run(["nm", "-C", "--defined-only", file], capture_output=True, text=True, check=True).stdout
        found = [line.split(maxsplit=2) for line in listed.splitlines()]
        foreign = [name for _, kind, name in found if kind not in "tdrbn" and space not in name]
        assert not foreign, f"{file.name} defines {foreign} for every instruction set"
