"""Every row of the table of samples on a GPU, in float64 and the 16-bit floats; the large rows in float32."""

import numpy as np
from tests.cuda.conftest import _a_gpu as _a_gpu
from tests.cuda.test_parity import check_float32, each, in_float32
from tests.ops.samples import LARGE, SAMPLES
from tests.ops.test_samples import close, differentiable, expected, gradients, run, tensors

from chainrule import Tensor, backends


@each(in_float32(LARGE))
def test_large(sample):
    check_float32(sample)


@each(SAMPLES)
def test_value_and_gradient_in_float64(sample):
    with backends.use("cuda"):
        found = run(sample, tensors(sample))
        assert all(y.device == "cuda:0" for y in found)
        found_gradients = gradients(sample) if differentiable(sample) else ()
    with backends.use("numpy"):
        wanted = expected(sample) if sample.expected else [y.numpy() for y in run(sample, tensors(sample))]
    for y, e in zip(found, wanted, strict=True):
        assert np.asarray(e).dtype.kind == y.array.dtype.kind or sample.params.get("dtype")
        close([y], [e], 2e-7 if y.dtype == "float32" else 1e-11, 1e-13)
    if found_gradients:
        with backends.use("numpy"):
            close(found_gradients, [g.numpy() for g in gradients(sample)], 1e-10, 1e-12)


@each([s for s in SAMPLES if s.varied and "dtype" not in s.params])
def test_16_bits_are_float32_rounded_once(sample):
    """Values to half a unit of the last place; gradients to some, for what they are made of is rounded too."""
    with backends.use("cuda"):
        for dtype, spacing in (("float16", 2.0**-10), ("bfloat16", 2.0**-7)):
            narrow = tensors(sample, dtype)
            wide = [
                Tensor(a.to("cpu").to("float32").numpy() if a.is_floating else a, requires_grad=a.requires_grad)
                if isinstance(a, Tensor)
                else a
                for a in narrow
            ]
            for y, e in zip(run(sample, narrow), run(sample, wide), strict=True):
                assert y.dtype == (dtype if e.is_floating else e.dtype)
                close([y.to(e.dtype)], [e.numpy()], spacing, 2e-7)
            if differentiable(sample):
                found = gradients(sample, dtype, narrow)
                assert {g.dtype for g in found} == {dtype}
                exact = [e.numpy() for e in gradients(sample, "float32", wide)]
                size = max(
                    (np.abs(e).max() for e in exact if e.size), default=0.0
                )  # one of them may be 0 but for rounding
                for g, e in zip(found, exact, strict=True):
                    close([g.to("float32")], [e], 4 * spacing, 4 * spacing * size)
