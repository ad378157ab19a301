"""The native module under sanitizers: no byte touched that was not asked for, nothing undefined, no data race.

Each build goes to a temporary folder, with a copy of the package and of the tests that run on it; the module in use here is
left alone. A program with a fault of that kind shows first that the sanitizer would say so.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest
from tests.prove.fuzz import SEED

from chainrule import _native

HOME = Path(__file__).parent.parent.parent
TOOLS = os.path.dirname(sys.executable)  # cmake and ninja of this environment
KERNELS = "equals_reference or any_strides or empty_and_number or fresh_memory or threads or only_what"

BEYOND_THE_END = """
import numpy as np
from chainrule import _native
x = _native.add(np.ones(5), 1.0)
_native.add(np.lib.stride_tricks.as_strided(x, (64,), (8,)), 1.0)
"""
AFTER_THE_END = """
import ctypes, numpy as np
from chainrule import _native
x = _native.add(np.ones(500), 1.0)
place = x.ctypes.data
del x
ctypes.memmove(place, bytes(8), 8)
"""
RACE = """
import threading, numpy as np
from chainrule import _native
_native.set_num_threads(1)
p = np.zeros((2000, 2000), np.float32)
g = np.ones_like(p)
work = lambda: [_native.sgd_(np.array(0.1), p, g, count=1) for _ in range(20)]
threads = [threading.Thread(target=work) for _ in range(3)]
[t.start() for t in threads]
[t.join() for t in threads]
"""
STRESS = """
import threading, numpy as np
from chainrule import _native as n
x = np.random.default_rng(0).standard_normal((300, 400)).astype(np.float32)
images, filters = x.reshape(4, 3, 100, 100), x.reshape(-1)[:108].reshape(4, 3, 3, 3)
sizes = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1)}
def work(i):
    for step in range(8):
        n.set_num_threads(1 + (i + step) % 4)
        n.exp(x), n.sum(x), n.sum(x, axis=0), n.matmul(x, x.T), n.softmax(x, axis=-1), n.cumsum(x, axis=1)
        n.conv2d(images, filters, None, groups=1, **sizes)
        n.normal(np.array([0, 0]), shape=(50_000,), dtype="float32")
        n.contiguous(x.T), n.sort(x), n.mse(x, x), n.clip_norm_(x.copy(), x.copy(), max_norm=1.0), n.norm(x)
        n.empty_cache(), n.memory_stats()
threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
[t.start() for t in threads]
[t.join() for t in threads]
"""


def compiler():
    found = [c for c in (os.environ.get("CXX"), "g++", "c++") if c and shutil.which(c)]
    assert found, "the sanitized builds need a C++ compiler"
    return found[0]


def library(name):
    """The path of a library of the compiler."""
    command = [compiler(), f"-print-file-name={name}"]
    path = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert os.path.isabs(path), f"{compiler()} has no {name}: install the sanitizers of GCC"
    return path


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


class Build:
    """A sanitized module, and a place where Python finds it."""

    def __init__(self, folder, runtime, options, flags):
        self.folder, self.runtime, self.options = folder, runtime, options
        start = time.monotonic()
        tools = {**os.environ, "PATH": TOOLS + os.pathsep + os.environ["PATH"], "CXX": compiler()}
        configure = [
            "cmake", "-S", HOME, "-B", folder / "build", "-G", "Ninja", f"-DPython_EXECUTABLE={sys.executable}",
            "-DCMAKE_BUILD_TYPE=RelWithDebInfo", "-DCMAKE_CXX_FLAGS_RELWITHDEBINFO=-O1 -g1", *flags,
        ]  # fmt: skip
        build = ["cmake", "--build", folder / "build", "--parallel", "2", "--target", "_native"]
        run(*configure, env=tools)
        run(*build, env=tools)
        self.seconds = round(time.monotonic() - start, 1)
        without = shutil.ignore_patterns("*.so", "__pycache__")
        for name in ("src/chainrule", "tests", "native"):
            shutil.copytree(HOME / name, folder / name, ignore=without)
        (folder / "tests" / "prove" / "conftest.py").unlink()  # it records the whole proof
        shutil.copy(HOME / "pyproject.toml", folder)
        run(sys.executable, "-m", "venv", "--without-pip", folder / "venv")
        (own,) = (folder / "venv").glob("lib/python*/site-packages")
        # its packages, but not the hooks among them: that of an editable installation would find the module in use
        paths = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
        (own / "outer.pth").write_text("".join(f"{path}\n" for path in sorted(paths)))
        (module,) = (folder / "build").glob("_native.*.so")
        shutil.copy(module, folder / "src" / "chainrule")

    def python(self, *arguments, **environment):
        """Run Python on the sanitized module. Returns what it printed, and what the sanitizers reported."""
        variables = {
            **os.environ, "PYTHONPATH": str(self.folder / "src"), "OPENBLAS_NUM_THREADS": "1",
            "LD_PRELOAD": f"{self.runtime} {library('libstdc++.so.6')}",
            **{name: f"{said}:log_path={self.folder}/report" for name, said in self.options.items()}, **environment,
        }  # fmt: skip
        command = [self.folder / "venv" / "bin" / "python", *arguments]
        done = subprocess.run(
            command, env=variables, cwd=self.folder, capture_output=True, text=True, timeout=1200, check=False
        )
        reports = sorted(self.folder.glob("report*"))
        found = "\n".join(path.read_text(errors="replace") for path in reports)
        for path in reports:
            path.unlink()
        return done, found

    def tests(self, *arguments, **environment):
        """Run tests; they pass, and the sanitizers have nothing to say. Returns how many passed."""
        done, found = self.python("-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments, **environment)
        assert not found, found[:6000]
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        return int(re.search(r"(\d+) passed", done.stdout)[1])


@pytest.fixture(scope="module")
def addresses(tmp_path_factory):
    """A build with the address and undefined-behaviour sanitizers."""
    options = {"ASAN_OPTIONS": "detect_leaks=0", "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1"}
    return Build(tmp_path_factory.mktemp("asan"), library("libasan.so"), options, ["-DCHAINRULE_SANITIZE=ON"])


@pytest.fixture(scope="module")
def races(tmp_path_factory):
    """A build with the thread sanitizer."""
    options = {"TSAN_OPTIONS": "halt_on_error=1:exitcode=66"}
    return Build(
        tmp_path_factory.mktemp("tsan"), library("libtsan.so"), options, ["-DCMAKE_CXX_FLAGS=-fsanitize=thread"]
    )


def test_the_sanitizer_would_see_a_bad_address(addresses, record_property):
    record_property("build_seconds", addresses.seconds)
    for program in (BEYOND_THE_END, AFTER_THE_END):
        done, found = addresses.python("-c", program)
        assert done.returncode != 0 and "ERROR: AddressSanitizer" in found, done.stderr


def test_native_tests(addresses, record_property):
    files = sorted(str(path.relative_to(HOME)) for path in (HOME / "tests").glob("test_native_*.py"))
    record_property("passed", addresses.tests(*files))


# AVX-512 masks the end of a row, which the sanitizer cannot see into; the others read and write it plainly.
LEVELS = ["baseline", "avx2", "avx512"]
each_level = pytest.mark.parametrize("simd", LEVELS[: LEVELS.index(_native.simd()) + 1])


@each_level
def test_the_table_of_ops(addresses, simd, record_property):
    record_property("passed", addresses.tests("tests/ops/test_samples.py", "-k", KERNELS, CHAINRULE_SIMD=simd))


@each_level
def test_fuzzed_kernels(addresses, simd, record_property):
    """A wrong address need not change a result: the fuzzers' cases once more, where it would be seen."""
    files = ["tests/prove/test_fuzz_kernels.py", "tests/prove/test_fuzz_windows.py"]
    settings = {"CHAINRULE_FUZZ_SEED": str(SEED), "CHAINRULE_FUZZ_TIMES": "0.2", "CHAINRULE_SIMD": simd}
    record_property("passed", addresses.tests(*files, **settings))


def test_the_sanitizer_would_see_a_race(races, record_property):
    record_property("build_seconds", races.seconds)
    done, found = races.python("-c", RACE)
    assert done.returncode == 66 and "data race" in found, done.stderr


def test_python_threads_and_native_threads_do_not_race(races):
    done, found = races.python("-c", STRESS)
    assert not found, found[:6000]
    assert done.returncode == 0, done.stderr


def test_kernels_on_two_threads_do_not_race(races, record_property):
    record_property("passed", races.tests("tests/ops/test_samples.py", "-k", "threads_do_not_change_a_bit"))
