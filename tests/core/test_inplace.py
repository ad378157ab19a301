"""In-place changes: a new node in a graph, a counted write otherwise, an error where a gradient or a view would be wrong."""

import numpy as np
import pytest

from chainrule import Tensor, no_grad


def leaf(*values):
    return Tensor(values, requires_grad=True)


def test_in_a_graph_the_tensor_becomes_the_result():
    x = leaf(1.0, 2.0)
    y = x * 2.0
    y += x
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [3, 3])


def test_a_saved_value_survives_because_nothing_is_written():
    x = leaf(1.0, 2.0)
    y = x.exp()
    z = y * y
    y *= 3.0
    (z.sum() + y.sum()).backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * np.exp([2, 4]) + 3 * np.exp([1, 2]), rtol=1e-6)


def test_setting_an_item_in_a_graph():
    x, v = leaf(1.0, 2.0, 3.0), leaf(5.0)
    y = x * 2.0
    y[1:] = v * v
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [2, 0, 0])
    np.testing.assert_array_equal(v.grad.numpy(), [20])  # it was broadcast to two places
    buffer = Tensor([0.0, 0.0])
    buffer[0] = v.sum()
    assert buffer.requires_grad


@pytest.mark.parametrize("change", ["iadd", "isub", "imul", "itruediv", "setitem"])
def test_without_a_graph_memory_is_written(change):
    x = Tensor([1.0, 2.0])
    array, view, version = x.array, x[0:1], x.storage.version
    before = x
    if change == "setitem":
        x[...] = 7.0
    else:
        x = getattr(x, f"__{change}__")(Tensor([2.0, 2.0]))
    assert x is before and x.array is array and x.storage.version == version + 1
    expected = {"iadd": 3, "isub": -1, "imul": 2, "itruediv": 0.5, "setitem": 7}[change]
    assert x.numpy()[0] == expected == view.item()


def test_a_changed_saved_value_is_an_error_at_backward():
    w, x = leaf(1.0, 2.0), Tensor([3.0, 4.0])
    y = (w * x).sum()
    x += 1.0
    with pytest.raises(RuntimeError, match=r"\[mul\].*changed in place.*version 0 then, 1 now"):
        y.backward()


@pytest.mark.parametrize("alias", [lambda x: x.detach(), lambda x: x[0:1], lambda x: x.reshape((2, 1)).permute((1, 0))])
def test_also_through_an_alias(alias):
    w, x = leaf(1.0, 2.0), Tensor([3.0, 4.0])
    y = (w * x).sum()
    alias(x)[...] = 0.0
    with pytest.raises(RuntimeError, match=r"\[mul\].*changed in place"):
        y.backward()


def test_also_an_output_and_a_parameter():
    w = leaf(1.0, 2.0)
    y = w.exp()
    z = y * w
    with no_grad():
        w -= 0.1
    with pytest.raises(RuntimeError, match=r"\[mul\].*changed in place"):
        z.sum().backward()
    y = w.exp()
    y.detach()[...] = 0.0
    with pytest.raises(RuntimeError, match=r"\[exp\].*changed in place"):
        y.sum().backward()


@pytest.mark.parametrize("alias", [lambda y: y[0:1], lambda y: y.reshape((2, 1)), lambda y: y.detach()])
def test_views_are_refused_while_a_graph_is_recorded(alias):
    x = leaf(1.0, 2.0)
    y = x * 2.0
    view = alias(y)
    with pytest.raises(RuntimeError, match=r"has views.*write x = x \+ y"):
        y += 1.0
    if view.requires_grad:
        with pytest.raises(RuntimeError, match=r"a view.*write x = x \* y"):
            view *= x.sum()
    with pytest.raises(RuntimeError, match=r"has views.*write x = cr.where"):
        y[0] = 1.0
    del view
    y += 1.0  # nobody else looks at the memory now
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [2, 2])


def test_a_leaf_is_refused_while_a_graph_is_recorded():
    w = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match=r"a leaf .*write x = x - y, or use no_grad"):
        w -= 1.0
    with no_grad():
        w -= 1.0
    np.testing.assert_array_equal(w.numpy(), [0, 1])


def test_shape_and_dtype_stay():
    x = Tensor([1, 2])
    with pytest.raises(TypeError, match="float32 cannot be stored in place in int64"):
        x /= 2
    with pytest.raises(TypeError, match="float cannot be stored in place in int64"):
        x[0] = 0.5
    with pytest.raises(ValueError, match=r"keeps the shape \(2,\)"):
        x += Tensor([[1], [2]])
    y = leaf(1.0, 2.0) * 1.0
    y += Tensor([1.0, 1.0], dtype="float64")
    assert y.dtype == "float32"


def test_a_numpy_write_is_seen_and_not_counted():
    x = Tensor([1.0, 2.0])
    version = x.storage.version
    x.numpy()[0] = 5.0
    assert x[0].item() == 5 and x.storage.version == version


def test_methods_in_place():
    x = Tensor([4.0, 9.0])
    assert x.sqrt_() is x and x.tolist() == [2, 3]
    assert x.add_(1.0).mul_(2.0).tolist() == [6, 8]
    assert x.clip_(max=7.0).tolist() == [6, 7]
    assert x.zero_().fill_(3).copy_(Tensor([1, 2])).tolist() == [1, 2]


@pytest.mark.parametrize("name", ["add", "sub", "mul", "div"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int64"])
def test_in_place_arithmetic_of_any_memory(name, dtype):
    """Windows that overlap, an element of itself, what broadcasts, the transposed: as if the operand were copied first."""
    if dtype == "int64" and name == "div":
        return
    whole = np.arange(1, 13).reshape(3, 4).astype(dtype)
    for window, other in (
        (lambda x: x, lambda x: x),
        (lambda x: x, lambda x: x[0, 1]),
        (lambda x: x[1:], lambda x: x[:-1]),
        (lambda x: x[:, 1:], lambda x: x[:, :-1]),
        (lambda x: x.T, lambda x: x.T),
        (lambda x: x[:, ::2], lambda x: 2),
        (lambda x: x, lambda x: x[:1]),
        (lambda x: x[0, 0], lambda x: x[2, 3]),
    ):
        x, want = Tensor(whole.copy()), whole.copy()
        operand = np.array(other(want))  # a copy
        place = np.asarray(window(want)) if np.ndim(window(want)) else want[0:1, 0]
        place[...] = getattr(np, {"add": "add", "sub": "subtract", "mul": "multiply", "div": "true_divide"}[name])(
            place, operand
        )
        version = x.storage.version
        part = window(x)
        assert getattr(part, name + "_")(other(x)) is part
        assert x.storage.version == version + 1
        np.testing.assert_array_equal(x.numpy(), want)


def test_in_place_arithmetic_refuses_what_it_has_to():
    x = Tensor([1.0, 2.0])
    with pytest.raises(ValueError, match="in place, the result keeps the shape"):
        x.add_(Tensor([[1.0, 2.0], [3.0, 4.0]]))
    with pytest.raises(ValueError, match="read-only"):
        Tensor([1.0]).expand((3,)).mul_(2.0)
    with pytest.raises(TypeError, match="cannot be stored in place in int64"):
        Tensor([1, 2]).mul_(0.5)
    y = Tensor([3.0, 4.0], requires_grad=True)
    z = x * y
    x.add_(1.0)
    with pytest.raises(RuntimeError, match="changed in place"):
        z.sum().backward()
