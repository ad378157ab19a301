"""The memory room beyond the table."""

import numpy as np
import pytest

from chainrule import Tensor, no_grad
from chainrule.ops import memory as m


@pytest.mark.parametrize("source", ["bool", "uint8", "int16", "int64", "float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("to", ["bool", "uint8", "int32", "float16", "bfloat16", "float32", "float64"])
def test_casts(source, to):
    x = Tensor([0, 1, 1], dtype=source)
    y = m.cast(x, dtype=to)
    assert y.dtype == to and y.to("float32").tolist() == [0, 1, 1] and not np.shares_memory(x.numpy(), y.numpy())


def test_casts_of_numbers():
    assert m.cast(Tensor([2.7, -2.7]), dtype="int32").tolist() == [2, -2]
    assert m.cast(Tensor([0.5, 0.0]), dtype=bool).tolist() == [True, False]
    assert m.cast(Tensor([1e6]), dtype="float16").item() == float("inf")
    with pytest.raises(ValueError, match="unknown dtype 'float31': did you mean"):
        m.cast(Tensor([1.0]), dtype="float31")


def test_a_cast_passes_the_gradient_in_its_dtype():
    x = Tensor([1.0, 2.0], requires_grad=True)
    (x.cast(dtype="float64") * 3).sum().backward()
    assert x.grad.dtype == "float32" and x.grad.tolist() == [3, 3]


def test_clone_and_contiguous():
    x = Tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    y = x.clone()
    with no_grad():
        y[0, 0] = 9
    assert x.tolist()[0][0] == 1
    assert m.contiguous(x.T).numpy().flags.c_contiguous and m.contiguous(x.T).tolist() == [[1, 3], [2, 4]]


def test_assign_counts_a_version():
    x = Tensor([1.0, 2.0, 3.0])
    before = x.storage.version
    assert m.assign(x, 5.0, Tensor([0, 2]), pattern=("tensor", ...)) is x
    assert x.tolist() == [5, 2, 5] and x.storage.version == before + 1
