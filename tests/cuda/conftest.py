"""The tests of the CUDA backend run on the emulated driver, or, where CHAINRULE_CUDA_DRIVER says so, on a real GPU."""

import os

import pytest

from chainrule import backends
from chainrule.backends import cuda
from chainrule.backends.cuda import driver


@pytest.fixture(scope="package", autouse=True)
def _a_gpu():
    """A GPU for these tests, which no other test sees."""
    asked = os.environ.get("CHAINRULE_CUDA_DRIVER")
    os.environ["CHAINRULE_CUDA_DRIVER"] = asked or "emulated"
    driver.connected.cache_clear()
    cuda.backend.cache_clear()
    yield
    if asked is None:
        del os.environ["CHAINRULE_CUDA_DRIVER"]
        driver.connected.cache_clear()
        cuda.backend.cache_clear()


@pytest.fixture
def gpu():
    """The Gpu of cuda:0."""
    return backends.get("cuda").gpu
