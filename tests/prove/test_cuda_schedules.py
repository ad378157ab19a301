"""The kernels of the CUDA backend with threads in other orders, and under the address and undefined-behaviour sanitizers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).parents[2]
SEEDS = (1, 2)
# these tests set a schedule themselves, ask for what another order makes different, or say what no sanitizer lets pass
OWN = "not test_a_missing_barrier and not test_the_address_sanitizer and not test_a_read_from_the_host"


def run(*options, **environment):
    """The tests of the backend in a process of their own: its exit code, and what it printed."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    environment = {**os.environ, "CHAINRULE_CUDA_DRIVER": "emulated", "CHAINRULE_STRICT": "1", **environment}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=HOME, timeout=3600)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("seed", SEEDS)
def test_in_another_order(seed):
    code, said = run("tests/cuda", "-k", OWN, CHAINRULE_CUDA_SHUFFLE=str(seed))
    assert code == 0, said[-6000:]


@pytest.mark.parametrize("test", ["test_float32", "test_16_bits_are_float32_rounded_once"])
def test_every_op_under_the_sanitizers(test):
    library = subprocess.run(["g++", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True).stdout
    undefined = subprocess.run(
        ["g++", "-print-file-name=libubsan.so"], capture_output=True, text=True, check=True
    ).stdout
    code, said = run(
        f"tests/cuda/test_parity.py::{test}",
        LD_PRELOAD=f"{library.strip()}:{undefined.strip()}",
        ASAN_OPTIONS="detect_leaks=0",
        UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1",
        CHAINRULE_CUDA_FLAGS="-fsanitize=address,undefined -fno-sanitize=vptr -fno-sanitize-recover=undefined -g",
    )
    assert code == 0, said[-6000:]
