"""Hooks, functions of the user's own, recomputation, anomalies, the gradient checker."""

import gc
from weakref import ref

import numpy as np
import pytest

import chainrule as cr
from chainrule.domain.errors import AnomalyError, DTypeError, GraphError


def leaf(*values):
    return cr.tensor(values, requires_grad=True)


def test_hooks_see_complete_gradients_and_may_replace_them():
    x = leaf(1.0, 2.0)
    h = x * 3.0
    seen = []
    handle = h.register_hook(lambda g: seen.append(g.tolist()))
    x.register_hook(lambda g: g * 10)
    (h.sum() + (h * h).sum()).backward()
    assert seen == [[7, 13]]
    assert x.grad.tolist() == [210, 390]
    handle.remove()
    handle.remove()
    h = x * 3.0
    with pytest.raises(GraphError, match="requires a gradient"):
        x.detach().register_hook(print)


def test_a_function_of_the_user():
    class Scale(cr.Function):
        @staticmethod
        def forward(ctx, x, factor):
            ctx.factor = factor
            ctx.save_for_backward(x)
            return x * factor, x.sum()

        @staticmethod
        def backward(ctx, g, g_sum):
            assert ctx.needs_input_grad == (True, False)
            (x,) = ctx.saved_tensors
            return g * ctx.factor + g_sum * x * 0 + g_sum, None

    x = leaf(1.0, 2.0)
    y, total = Scale.apply(x, 3.0)
    (y.sum() + 2 * total).backward()
    assert x.grad.tolist() == [5, 5]
    with cr.no_grad():
        assert not Scale.apply(x, 3.0)[0].requires_grad


def test_a_function_refuses_a_changed_value_and_a_short_backward():
    class Square(cr.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return 2 * x * g

    class Short(Square):
        @staticmethod
        def forward(ctx, x, y):
            return x * y

        @staticmethod
        def backward(ctx, g):
            return g

    x = leaf(1.0, 2.0)
    y = Square.apply(x)
    with cr.no_grad():
        x += 1
    with pytest.raises(GraphError, match=r"\[Square\].*changed in place"):
        y.sum().backward()
    with pytest.raises(GraphError, match="1 gradients for 2 arguments"):
        Short.apply(x, x * 1).sum().backward()
    x = cr.tensor([3.0], dtype="float64", requires_grad=True)
    (first,) = cr.grad(Square.apply(x).sum(), x, create_graph=True)
    assert cr.grad(first.sum(), x)[0].item() == 2


def test_a_function_is_freed_by_reference_counting():
    class Twice(cr.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g * 2 + 0 * ctx.saved_tensors[0]

    gc.collect()
    gc.disable()
    try:
        x = leaf(1.0)
        h = x * 1.0
        y = Twice.apply(h)
        y.sum().backward()
        refs = [ref(t) for t in (h, y)] + [ref(y.edge[0])]
        del h, y
        assert [r() for r in refs] == [None] * 3
    finally:
        gc.enable()


def test_checkpoint_gives_the_same_gradients():
    w = cr.randn(4, 4, dtype="float64", generator=cr.Generator(1)).requires_grad_()
    x = cr.randn(3, 4, dtype="float64", generator=cr.Generator(2)).requires_grad_()

    def block(h):
        keep = cr.rand(3, 4, dtype="float64") > 0.5
        return (h @ w).tanh() * keep

    def run(wrapped):
        cr.manual_seed(5)
        h = wrapped(block, x * 2.0)
        return cr.grad((wrapped(block, h) ** 2).sum(), [x, w])

    for a, b in zip(run(lambda f, h: f(h)), run(cr.checkpoint), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    cr.manual_seed(5)
    cr.checkpoint(block, x).sum().backward()
    assert x.grad is not None and w.grad is not None


def test_checkpoint_can_be_differentiated_twice_and_keeps_no_intermediates():
    x = cr.tensor([0.3, 0.7], dtype="float64", requires_grad=True)
    y = cr.checkpoint(lambda x: x.exp() * x, x)
    (first,) = cr.grad(y.sum(), x, create_graph=True)
    (second,) = cr.grad(first.sum(), x)
    np.testing.assert_allclose(second.numpy(), np.exp(x.numpy()) * (x.numpy() + 2))
    kept = []

    def f(x):
        h = x.exp()
        kept.append(ref(h.array))
        return h.sin()

    y = cr.checkpoint(f, x)
    assert kept[0]() is None and y.requires_grad


def test_anomalies_are_named():
    x = leaf(0.0, 1.0)
    with cr.detect_anomaly():
        with pytest.raises(AnomalyError, match=r"\[log\] made -inf at \(0,\)"):
            x.log()
        y = x.sqrt().sum()
        with pytest.raises(
            AnomalyError, match=r"in the gradient of \[sqrt\], called at .*test_autograd.py:\d+.*made inf"
        ):
            y.backward()
        with pytest.raises(AnomalyError, match=r"\[mul\] made inf"):
            leaf(3e38, 1.0) * 10.0
    x.log()  # unwatched again


def test_gradcheck():
    x = cr.tensor([[0.3, 0.9], [0.2, 0.5]], dtype="float64", requires_grad=True)
    assert cr.gradcheck(lambda x: (x.tanh(), x.sum(axis=0)), x)

    class Wrong(cr.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g

    with pytest.raises(GraphError, match=r"input 0, element \(0, 0\): the gradient is .* but differences give"):
        cr.gradcheck(Wrong.apply, x)
    with pytest.raises(DTypeError, match="differences need float64"):
        cr.gradcheck(lambda x: x, leaf(1.0))
