"""What every test starts from: strict fallbacks, a fixed seed, and a piece of MNIST for those that ask."""

import os
import signal
from pathlib import Path

os.environ["CHAINRULE_STRICT"] = "1"  # before chainrule is imported: an undeclared fallback fails
SOURCE = str(Path(__file__).parent.parent / "src")  # programs that tests start see the chainrule that they see
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [SOURCE, os.environ.get("PYTHONPATH")]))
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell starts what it puts in the background so
    signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest  # noqa: E402

import chainrule as cr  # noqa: E402


@pytest.fixture(autouse=True)
def seeded():
    """Every test draws the same numbers, alone or among others."""
    cr.manual_seed(0)


@pytest.fixture(scope="session")
def mnist():
    """The whole data set, from the cache or the network: (x_train, y_train, x_test, y_test)."""
    from chainrule.data import load_mnist

    return load_mnist()


@pytest.fixture
def mnist_small(mnist):
    """2,000 training images and their labels."""
    return mnist.x_train[:2000], mnist.y_train[:2000]
