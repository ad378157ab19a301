"""Tensors: making, dtypes, memory that is shared or not, NumPy and DLPack, what is printed."""

import copy
import pickle

import ml_dtypes
import numpy as np
import pytest

import chainrule as cr
from chainrule.domain.errors import ArgumentError, DeviceError, DTypeError, ShapeError
from chainrule.domain.tensor import ITensor

FLOATS = ["float16", "bfloat16", "float32", "float64"]
INTS = ["uint8", "int8", "int16", "int32", "int64"]


def test_dtypes_of_new_tensors():
    assert cr.tensor(1.5).dtype == "float32" and cr.tensor([1, 2]).dtype == cr.int64
    assert cr.tensor([True]).dtype == "bool" and cr.tensor(np.float64(2)).dtype == "float64"
    assert cr.tensor(np.zeros(2)).dtype == "float64" and cr.tensor([1, 2], dtype=float).dtype == "float32"
    assert cr.tensor(np.array([1, 2], ">f4")).tolist() == [1, 2]
    assert cr.tensor([cr.tensor([1.0, 2.0]), cr.tensor([3.0, 4.0])]).tolist() == [[1, 2], [3, 4]]
    for name in FLOATS + INTS + ["bool"]:
        x = cr.zeros(2, dtype=name)
        assert x.dtype == name and x.numpy().dtype == name and cr.zeros_like(x).dtype == name
    assert cr.tensor([1.5], dtype="bfloat16").numpy().dtype == ml_dtypes.bfloat16


@pytest.mark.parametrize(
    "make, error, message",
    [
        (lambda: cr.tensor(["a"]), DTypeError, "cannot be a tensor"),
        (lambda: cr.tensor([1 + 2j]), DTypeError, "complex128"),
        (lambda: cr.tensor([[1], [1, 2]]), ShapeError, "has no shape"),
        (lambda: cr.tensor([1.0], dtype="flaot32"), ArgumentError, "did you mean 'float32'"),
        (lambda: cr.tensor([1.0], device="gpu"), DeviceError, 'write "cpu", "cuda"'),
        (lambda: cr.tensor([1.0], device="cuda:98"), DeviceError, "cuda:98 was asked for"),
        (lambda: cr.zeros(2).to("cuda:99"), DeviceError, "cuda:99 was asked for"),
        (lambda: cr.zeros(-1), ArgumentError, "cannot be negative"),
        (lambda: cr.zeros(1.5), TypeError, "made of integers"),
        (lambda: cr.zeros(2, 2).item(), ShapeError, r"shape \(2, 2\)"),
        (lambda: bool(cr.zeros(2)), ShapeError, "ambiguous"),
        (lambda: len(cr.tensor(1.0)), TypeError, "without axes"),
        (lambda: cr.from_numpy([1.0]), TypeError, "takes a NumPy array"),
        (lambda: cr.manual_seed(-1), ArgumentError, "a seed is"),
    ],
)
def test_bad_input(make, error, message):
    with pytest.raises(error, match=message):
        make()


def category(name):
    return 2 if name in FLOATS else 1 if name in INTS else 0


@pytest.mark.parametrize("a", FLOATS + INTS + ["bool"])
@pytest.mark.parametrize("b", FLOATS + INTS + ["bool"])
def test_promotion_is_category_first(a, b):
    found = (cr.ones(2, dtype=a) + cr.ones(2, dtype=b)).dtype
    if category(a) != category(b):
        assert found == (a if category(a) > category(b) else b)
    elif {a, b} == {"float16", "bfloat16"}:
        assert found == "float32"
    elif a != b and "uint8" in (a, b):
        assert found == (np.promote_types(a, b))
    else:
        assert found == (a if cr.errors and np.dtype(a).itemsize >= np.dtype(b).itemsize else b)


@pytest.mark.parametrize("name", FLOATS + INTS + ["bool"])
def test_python_scalars_do_not_widen(name):
    x = cr.ones(2, dtype=name)
    assert (x * 2.0).dtype == (name if name in FLOATS else "float32")
    assert (x * 2).dtype == ("int64" if name == "bool" else name)
    assert (x / 2).dtype == (name if name in FLOATS else "float32")
    assert (x < 2).dtype == "bool" and x.exp().dtype == (name if name in FLOATS else "float32")


def test_what_shares_memory_and_what_does_not():
    a = np.zeros((2, 3), np.float32)
    x = cr.from_numpy(a)
    for view in (x.reshape(3, 2), x.T, x[0], x[:, ::-1], x.expand(4, 2, 3), x.detach(), x.squeeze(), x.numpy()):
        assert np.shares_memory(np.asarray(view), a)
    for own in (cr.tensor(a), x[[0, 1]], x[x == 0], x.clone(), x.T.reshape(6), x + 0, x.to("float64"), x.to(copy=True)):
        assert not np.shares_memory(np.asarray(own), a)
    assert x.to("float32") is x and x.to("cpu") is x
    x[0, 0] = 5
    assert a[0, 0] == 5 and x.reshape(6)[0].item() == 5
    assert x.reshape(6).storage is x.storage and x.storage.version == 1


def test_numpy_and_dlpack():
    x = cr.tensor([[1.0, 2.0]], requires_grad=True)
    a = np.array([10.0, 20.0], np.float32)
    for y in (a + x, x + a, a * x, a - x, a / x, a @ x.T, a > x):
        assert isinstance(y, cr.Tensor)
    assert (a + x).tolist() == [[11, 22]] and (a - x).tolist() == [[9, 18]]
    (a * x).sum().backward()
    assert x.grad.tolist() == [[10, 20]]
    assert np.float32(2) * cr.tensor([1.0]) == 2 and (np.float64(2) * cr.tensor([1.0])).dtype == "float32"
    assert np.asarray(x).dtype == "float32" and np.asarray(x, np.float64).dtype == "float64"
    assert np.shares_memory(np.asarray(x), x.array) and not np.shares_memory(np.array(x, copy=True), x.array)
    with pytest.raises(ValueError):
        np.asarray(x, np.float64, copy=False)
    back = np.from_dlpack(x.detach())
    assert np.shares_memory(back, x.array)
    assert cr.from_dlpack(a).tolist() == [10, 20] and np.shares_memory(cr.from_dlpack(a).array, a)
    assert np.mean(x.numpy()) == 1.5


def test_python_protocols():
    x = cr.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert isinstance(x, ITensor) and len(x) == 2 and [r.tolist() for r in x] == [[1, 2], [3, 4]]
    assert {x: 1}[x] == 1 and x in [x] and (x == None) is False and (x != "a") is True  # noqa: E711
    assert float(cr.tensor(2.5)) == 2.5 and int(cr.tensor(3)) == 3 and [10, 20, 30][cr.tensor(1)] == 20
    with pytest.raises(TypeError, match="is no index"):
        [10, 20][cr.tensor(1.0)]
    assert f"{cr.tensor(1.2345):.2f}" == "1.23"
    y = copy.deepcopy(cr.tensor([1.0], requires_grad=True))
    assert y.requires_grad and y.is_leaf
    z = pickle.loads(pickle.dumps(y))
    assert z.requires_grad and z.tolist() == [1]
    with pytest.raises(RuntimeError, match="only a leaf"):
        pickle.dumps(y * 2)


@pytest.mark.parametrize(
    "x, text",
    [
        (lambda: cr.tensor([1.0, 2.5]), "tensor([1. , 2.5])"),
        (lambda: cr.tensor(3), "tensor(3)"),
        (lambda: cr.tensor([True]), "tensor([ True])"),
        (lambda: cr.tensor([1.0], dtype="float64"), "tensor([1.], dtype=float64)"),
        (lambda: cr.tensor([1.5], dtype="bfloat16"), "tensor([1.5], dtype=bfloat16)"),
        (lambda: cr.tensor([1.0], requires_grad=True), "tensor([1.], requires_grad=True)"),
        (lambda: cr.tensor([1.0], requires_grad=True) * 2, "tensor([2.], from='mul')"),
        (lambda: cr.zeros(0, 3), "tensor([], shape=(0, 3))"),
    ],
)
def test_repr(x, text):
    assert repr(x()) == text


def test_a_large_repr_is_short():
    text = repr(cr.zeros(1000, 1000))
    assert "shape=(1000, 1000)" in text and len(text) < 600
    assert "<table>" in cr.zeros(2, 2)._repr_html_() and "<pre>" in cr.zeros(3, 3, 3)._repr_html_()


def test_making():
    assert cr.eye(2, 3).tolist() == [[1, 0, 0], [0, 1, 0]]
    assert cr.arange(5).dtype == "int64" and cr.arange(0, 1, 0.25).tolist() == [0, 0.25, 0.5, 0.75]
    assert cr.arange(3, dtype="float32").tolist() == [0, 1, 2] and cr.arange(5, 0, -2).tolist() == [5, 3, 1]
    assert cr.linspace(0, 1, 5).tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert cr.full((2,), True).dtype == "bool" and cr.full((), 2.0).shape == ()
    assert cr.ones((2, 3)).shape == cr.ones(2, 3).shape == (2, 3)
    x = cr.rand(1000)
    assert x.dtype == "float32" and 0 <= x.min().item() and x.max().item() < 1 and abs(x.mean().item() - 0.5) < 0.05
    assert abs(cr.randn(10_000, dtype="float64").std().item() - 1) < 0.03
    assert set(cr.randint(2, 5, (200,)).tolist()) == {2, 3, 4}
    assert sorted(cr.randperm(50).tolist()) == list(range(50)) and cr.randperm(50).tolist() != list(range(50))
    assert cr.rand(2, requires_grad=True).requires_grad and cr.zeros_like(x, dtype="int8").dtype == "int8"


def test_generators_repeat():
    g = cr.Generator(3)
    first = g.normal((5,)).tolist()
    state = g.get_state()
    second = g.normal((5,)).tolist()
    assert first != second
    g.set_state(state)
    assert g.normal((5,)).tolist() == second
    assert cr.Generator(3).normal((5,)).tolist() == first and g.fork().get_state() != g.get_state()


@pytest.mark.parametrize("dtype", ["float32", ">f4", "float64", "int64", "bool"])
def test_the_dtype_of_an_array_is_numpy_s_own_object(dtype):
    """Two tensors of one dtype are of one dtype at a glance: kernels are not asked in which they meet."""
    array = cr.tensor(np.zeros(3, dtype)).array
    assert array.dtype is np.dtype(array.dtype.type)
