"""Every row of the table of samples on a GPU, in float32: its value and its gradient.

In float64 and the 16-bit floats, and the large rows: tests/prove/test_cuda_parity.py.
"""

import pytest
from tests.ops.samples import SAMPLES
from tests.ops.test_samples import close, differentiable, gradients, is_float, run, tensors

from chainrule import backends
from chainrule.backends.cuda import kernels
from chainrule.domain.backend import PRIMITIVES


def each(rows):
    """Rows that stay on the device; and whose dtype is not said."""
    return pytest.mark.parametrize("sample", [s for s in rows if "device" not in s.params], ids=str)


def in_float32(rows):
    return [s for s in rows if "dtype" not in s.params and any(map(is_float, s.args))]


def check_float32(sample):
    """Against float64 on the CPU."""
    scale = max(sample.size, 1) ** 0.5
    with backends.use("cuda"):
        found = run(sample, tensors(sample, "float32"))
        found_gradients = gradients(sample, "float32") if differentiable(sample) else ()
    with backends.use("cpu"):  # in float64, where it is held to the reference; that takes minutes for the large rows
        close(found, [y.numpy() for y in run(sample, tensors(sample, "float64"))], 1e-5, 2e-6 * scale)
        if found_gradients:
            close(found_gradients, [g.numpy() for g in gradients(sample)], 1e-5, 2e-6 * scale)
    assert {g.dtype for g in found_gradients} <= {"float32"}


@each(in_float32(SAMPLES))
def test_float32(sample):
    check_float32(sample)


def test_every_primitive_has_a_kernel():
    assert kernels().keys() >= PRIMITIVES
