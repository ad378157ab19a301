"""The tape: no cycles, saves what is named, is walked once, without recursion, to any order."""

import gc
from weakref import ref

import numpy as np
import pytest

import chainrule as cr
from chainrule import Tensor, backends, grad, no_grad, ops
from chainrule.domain.errors import DTypeError, GraphError, ShapeError
from chainrule.ops._op import op

BACKENDS = ["numpy", "cpu"]


def leaf(*shape):
    return Tensor(np.arange(1.0, 1 + np.prod(shape)).reshape(shape) / 10, requires_grad=True)


@pytest.fixture(params=BACKENDS)
def backend(request):
    with backends.use(request.param):
        yield request.param


@pytest.fixture
def own_ops(monkeypatch):
    """Ops declared in a test are forgotten after it."""
    monkeypatch.setattr("chainrule.ops._op.OPS", {})


@pytest.fixture
def no_gc():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize(
    "walk", [lambda y, x: None, lambda y, x: y.backward(), lambda y, x: grad(grad(y, x, create_graph=True)[0].sum(), x)]
)
def test_reference_counting_frees_everything(no_gc, backend, walk):
    x = leaf(2, 3)
    h = (x.tanh() * x).softmax(axis=1) @ x.T
    y = ops.stack(h.exp(), h, axis=1).max(axis=0)[0].sum()
    refs = [ref(t) for t in (x, h, y)] + [ref(t.array) for t in (h, y)] + [ref(t.edge[0]) for t in (x, h, y)]
    walk(y, x)
    del x, h, y
    assert [r() for r in refs] == [None] * len(refs)


def test_a_node_does_not_keep_its_output_tensor(no_gc):
    y = leaf(3).tanh()  # its rule names y
    node, tensor, array = y.edge[0], ref(y), ref(y.array)
    del y
    assert tensor() is None and array() is not None and node.inputs


def test_only_what_rules_name_is_saved(no_gc):
    x = leaf(3)
    a, b = x * 2.0, x * 3.0
    kept = {"add": a + b, "tanh": a.tanh(), "log": b.log()}
    arrays = {"a": ref(a.array), "b": ref(b.array)}
    del a, b
    assert arrays["a"]() is None  # add names nothing, and tanh its output
    assert arrays["b"]() is not None  # log names its argument
    kept["log"].sum().backward()
    assert arrays["b"]() is None  # released as it was consumed, though the output lives


def test_only_what_is_needed_is_saved_and_computed(monkeypatch):
    calls = []
    monkeypatch.setattr(ops.mul.op, "rules", list(ops.mul.op.rules))
    ops.mul.vjp(a=lambda g, b: calls.append("a") or g + b, b=lambda g, a: calls.append("b") or g + a)
    x, w, c = leaf(3), leaf(3), Tensor([1.0, 2.0, 3.0])
    y = x * c
    array = ref(x.array)
    del x
    assert array() is None  # only the rule of b, which needs no gradient, names a
    y.sum().backward()
    assert calls == ["a"]
    x = leaf(3)
    grad((x * w).sum(), x)
    assert calls == ["a", "a"]


def test_a_chain_of_ten_thousand(backend):
    x = leaf(2)
    y = x
    for _ in range(10_000):
        y = y + 1.0
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [1, 1])
    for _ in range(100_000):
        y = y.detach() if y.edge is None else y * 1.0
    del y  # an unwalked chain is freed without recursion too


def test_a_second_backward_needs_retain_graph():
    x = leaf(2)
    y = x.tanh().sum()
    y.backward(retain_graph=True)
    y.backward()
    with pytest.raises(GraphError, match=r"\[sum\].*retain_graph=True"):
        y.backward()
    with pytest.raises(GraphError, match=r"\[sum\].*retain_graph=True"):
        grad(y, x)
    h = x * 2.0
    grad(h.sum() * 3.0, h)  # goes no further than h
    h.sum().backward()


@pytest.mark.parametrize("n", range(1, 6))
def test_derivatives_of_every_order(backend, n):
    x = Tensor(0.3, dtype="float64", requires_grad=True)
    y, z = x.exp() * x, x**2
    for _ in range(n):
        (y,) = grad(y, x, create_graph=True)
        (z,) = grad(z, x, create_graph=True, allow_unused=True) if z is not None and z.requires_grad else (None,)
    assert y.item() == pytest.approx(np.exp(0.3) * (0.3 + n))
    assert (0.0 if z is None else z.item()) == pytest.approx({1: 0.6, 2: 2.0}.get(n, 0.0))


def test_powers_have_derivatives_at_zero():
    x = Tensor(0.0, requires_grad=True)
    (first,) = grad(x**2, x, create_graph=True)
    (second,) = grad(first, x, create_graph=True)
    assert (first.item(), second.item()) == (0, 2)


def test_several_outputs(backend):
    x = Tensor([[1.0, 3.0, 3.0], [5.0, 4.0, 0.0]], requires_grad=True)
    found = x.max(axis=1)
    assert found.values.shape == (2,) and not found.indices.requires_grad and found.indices.dtype == "int64"
    found.values.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [[0, 1, 0], [1, 0, 0]])  # of equals, the first
    x = Tensor([1.0, 2.0, 6.0], requires_grad=True)
    var, mean = ops.var_mean(x, axis=0)
    np.testing.assert_allclose(grad(var, x, retain_graph=True)[0].numpy(), x.numpy() - 3)
    np.testing.assert_allclose(grad(var + mean, x)[0].numpy(), x.numpy() - 3 + 1 / 3, rtol=1e-6)


def test_a_leaf_owns_its_gradient(backend):
    a, b, seed = leaf(3), leaf(3), Tensor([1.0, 1.0, 1.0], dtype="float64")
    (a + b).backward(seed)
    c = leaf(3)
    c.sum().backward()
    for x in (a, b, c):
        x.grad *= 2.0
    for t, value in ((a.grad, 2), (b.grad, 2), (c.grad, 2), (seed, 1)):
        np.testing.assert_array_equal(t.numpy(), [value] * 3)


def test_gradients_add_up():
    x = leaf(2)
    x.sum().backward()
    (x * 2.0).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [3, 3])


def test_a_body_is_differentiated_by_its_arguments_alone(own_ops):
    """Without rules the body is differentiated: by its arguments, though one was made from another."""

    @op
    def product(a, b):
        """Three times the product."""
        return a * b * 3.0

    x = Tensor([0.5, 0.7], dtype="float64", requires_grad=True)
    (first,) = grad(product(x.exp(), x).sum(), x, create_graph=True)
    (second,) = grad(first.sum(), x)
    v = x.numpy()
    np.testing.assert_allclose(first.numpy(), 3 * np.exp(v) * (v + 1))
    np.testing.assert_allclose(second.numpy(), 3 * np.exp(v) * (v + 2))


def test_a_fused_kernel_saves_and_is_told_what_is_needed(monkeypatch):
    with backends.use("cpu") as cpu:
        seen = []
        vjp = cpu.kernels["linear_vjp"]
        monkeypatch.setitem(
            cpu.kernels, "linear_vjp", lambda *a, needs, **p: seen.append(needs) or vjp(*a, needs=needs, **p)
        )
        x, w = Tensor(np.ones((2, 3), np.float32)), Tensor(np.ones((4, 3), np.float32), requires_grad=True)
        b = Tensor(np.ones(4, np.float32), requires_grad=True)
        ops.linear(x, w, b).sum().backward()
        assert seen == [(False, True, True)]
        np.testing.assert_array_equal(b.grad.numpy(), [2] * 4)


def test_an_op_that_gives_its_argument_back_still_has_its_rule(own_ops):
    @op
    def reversal(x):
        """The argument; its gradient is turned round."""
        return x

    reversal.vjp(x=lambda g: -g)
    x = leaf(2)
    y = x * 2.0
    z = reversal(y)
    (z.sum() + y.sum() * 3.0).backward()
    np.testing.assert_array_equal(x.grad.numpy(), [4, 4])


def test_clear_errors():
    x = leaf(2)
    with pytest.raises(GraphError, match="reduce it to one element"):
        (x * 2.0).backward()
    with pytest.raises(RuntimeError, match="under no_grad"), no_grad():
        (x * 2.0).sum().backward()
    with pytest.raises(GraphError, match="do not depend on input 1"):
        grad(x.sum(), [x, leaf(2)])
    with pytest.raises(ShapeError, match=r"gradient has shape \(3,\) but its tensor has \(2,\)"):
        (x * 2.0).backward(Tensor([1.0, 1.0, 1.0]))
    with pytest.raises(DTypeError, match="only a floating tensor"):
        Tensor([1, 2], requires_grad=True)
    with pytest.raises(TypeError, match=r"\[add\] got a str"):
        x + "one"
    with pytest.raises(TypeError, match=r"\[sum\] does not know \['axes'\]"):
        x.sum(axes=0)
    with pytest.raises(TypeError, match=r"\[softmax\] the parameter axis is a tensor"):
        x.softmax(axis=cr.tensor(0))
