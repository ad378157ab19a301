"""The thread pool by itself, in a program that is compiled for it: plainly, and with the thread sanitizer."""

import subprocess

import pytest
from tests.prove.test_sanitizers import HOME, compiler, run


@pytest.mark.parametrize("flags", [["-O2"], ["-O1", "-g1", "-fsanitize=thread"]], ids=["plain", "races"])
def test_regions(tmp_path, flags):
    sources = [HOME / "tests/prove/threads.cpp", HOME / "native/core/threads.cpp"]
    run(compiler(), "-std=c++20", "-pthread", *flags, f"-I{HOME / 'native'}", *sources, "-o", tmp_path / "threads")
    done = subprocess.run([tmp_path / "threads"], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0 and done.stdout == "right\n", done.stdout + done.stderr[:4000]
