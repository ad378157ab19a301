"""The engine without Python: it builds with a compiler and CMake alone, learns, and is the same on every instruction set."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from chainrule import _native

HOME = Path(__file__).parent.parent.parent


def run(*command, **environment):
    done = subprocess.run(
        [*map(str, command)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def test_20_a_program_in_cpp_learns(tmp_path, record_property):
    beside = Path(sys.executable).parent / "cmake"  # the one of this environment, if it has one
    cmake = beside if beside.exists() else shutil.which("cmake")
    assert cmake is not None, "cmake is a build requirement"
    run(cmake, "-S", HOME, "-B", tmp_path, "-DCHAINRULE_CPP=ON", "-DCMAKE_BUILD_TYPE=Release")
    cache = (tmp_path / "CMakeCache.txt").read_text(encoding="utf-8")
    assert not re.search(r"^_?Python", cache, re.MULTILINE), "it is not even looked for"
    run(cmake, "--build", tmp_path, "--parallel", "2")
    said = run(tmp_path / "spirals", CHAINRULE_SIMD=_native.simd())
    record_property("said", said.strip())
    assert float(re.search(r"accuracy ([\d.]+)", said)[1]) > 0.98
    for simd in ("baseline", "avx2", "avx512")[: ("baseline", "avx2", "avx512").index(_native.simd()) + 1]:
        other = run(tmp_path / "spirals", CHAINRULE_SIMD=simd)
        assert other.startswith(simd) and float(re.search(r"accuracy ([\d.]+)", other)[1]) > 0.98
    linked = run("ldd", tmp_path / "spirals") if shutil.which("ldd") else ""
    assert "python" not in linked.lower()
