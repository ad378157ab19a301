"""Every row of the table of samples on a GPU: its value and its gradient, in float64, float32 and the 16-bit floats."""

import numpy as np
import pytest
from tests.ops.samples import LARGE, SAMPLES
from tests.ops.test_samples import close, differentiable, expected, gradients, is_float, run, tensors

from chainrule import backends
from chainrule.backends.cuda import kernels
from chainrule.domain.backend import PRIMITIVES

LATER = PRIMITIVES - kernels().keys()  # primitives without a kernel yet: their rows are not made
ROWS = [*SAMPLES, *LARGE]


def each(rows):
    return pytest.mark.parametrize("sample", rows, ids=str)


@each(ROWS)
def test_value_and_gradient_in_float64(sample):
    with backends.use("cuda"):
        found = run(sample, tensors(sample))
        assert all(y.device == "cuda:0" for y in found)
        found_gradients = gradients(sample) if differentiable(sample) else ()
    for y, e in zip(found, expected(sample), strict=True):
        assert np.asarray(e).dtype.kind == y.array.dtype.kind or sample.params.get("dtype")
        close([y], [e], 2e-7 if y.dtype == "float32" else 1e-11, 1e-13)
    if found_gradients:
        with backends.use("numpy"):
            close(found_gradients, [g.numpy() for g in gradients(sample)], 1e-10, 1e-12)


@each([s for s in ROWS if "dtype" not in s.params and any(map(is_float, s.args))])
def test_float32(sample):
    scale = max(sample.size, 1) ** 0.5
    with backends.use("cuda"):
        found = run(sample, tensors(sample, "float32"))
        found_gradients = gradients(sample, "float32") if differentiable(sample) else ()
    with backends.use("numpy"):
        close(found, [y.numpy() for y in run(sample, tensors(sample, "float64"))], 1e-5, 2e-6 * scale)
        if found_gradients:
            close(found_gradients, [g.numpy() for g in gradients(sample)], 1e-5, 2e-6 * scale)
    assert {g.dtype for g in found_gradients} <= {"float32"}
