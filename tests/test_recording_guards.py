"""When a program stands for its function: leaves that the step makes, kinds of numbers, attributes that come and go."""

import gc
import weakref

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.domain.errors import RecordingError
from chainrule.recording import Program


@pytest.fixture
def replayed(monkeypatch):
    """How often programs ran."""
    runs, call = [], Program.__call__
    monkeypatch.setattr(Program, "__call__", lambda self, inputs: (runs.append(self), call(self, inputs))[1])
    return runs


class Applied(nn.Module):
    """A layer whose attributes say what it does."""

    factor, function = 1, None

    def forward(self, x):
        return self.function(x)


def own_leaf(x):
    x = x.detach()
    x.requires_grad = True
    (x * x).sum().backward()
    return x.grad


def own_numbers(x):
    y = cr.tensor([1.0, 2.0], requires_grad=True)
    (x * y * y).sum().backward()
    return y.grad * 2


@pytest.mark.parametrize("step", [own_leaf, own_numbers])
def test_a_leaf_that_the_step_makes(step, replayed):
    fast = cr.jit(step)
    gc.disable()  # nothing of it waits for the collector
    try:
        for i in range(6):
            x = cr.tensor([1.0 + i, -2.0])
            assert fast(x).tolist() == step(x).tolist()
    finally:
        gc.enable()
    assert len(replayed) == 4 and len(fast.programs) == 1


def test_a_leaf_of_the_step_keeps_no_gradient():
    @cr.jit
    def step(x):
        own_leaf(x)
        return x * 2

    for _ in range(4):
        step(cr.ones(2))
    (program,) = step.programs
    assert program.before == program.after == [] and [call.name for call in program.plan.calls] == ["mul"]


def test_weights_that_are_frozen_for_a_part_of_the_step(replayed):
    found = []
    for wrap in (lambda f: f, cr.jit):
        w = cr.tensor([1.0, 2.0], requires_grad=True)

        def step(x, w=w):
            w.requires_grad_(False)
            y = own_leaf(w * x)
            w.requires_grad_(True)
            (w * x * y).sum().backward()
            with cr.no_grad():
                w.sub_(0.01 * w.grad)
            return y

        step = wrap(step)
        rows = [step(cr.tensor([1.0 + i, 2.0])).tolist() for i in range(6)]
        found.append((rows, w.tolist(), w.grad.tolist()))
    assert found[0] == found[1] and len(replayed) == 4


def test_a_gradient_of_before_whose_leaf_goes():
    w = cr.tensor([1.0, 2.0], requires_grad=True)

    def step(x):
        y = w.grad * x
        w.requires_grad_(False).requires_grad_(True)
        (w * y).sum().backward()
        return y

    fast = cr.jit(step)
    (w * w).sum().backward()
    fast(cr.ones(2))
    with pytest.raises(RecordingError, match="requires_grad is then switched off"):
        fast(cr.ones(2))


def test_numbers_that_are_equal_and_not_the_same():
    fast = cr.jit(lambda x, k: x * k)
    x = cr.tensor([1, 2])
    for k in (2, 2.0, 1, 1.0, True):
        for _ in range(3):
            found, wanted = fast(x, k), x * k
            assert found.dtype == wanted.dtype and found.tolist() == wanted.tolist()
    for zero in (0.0, -0.0):
        for _ in range(3):
            assert np.signbit(fast(cr.ones(1), zero).item()) == np.signbit(zero)
    assert cr.jit(lambda k: {"n": k, "of": (1, True, "x")})(3) == {"n": 3, "of": (1, True, "x")}


def test_attributes_that_are_equal_and_not_the_same():
    layer = Applied()
    layer.function = lambda x: x * layer.factor
    fast = cr.jit(lambda x: layer(x))
    for layer.factor in (2, 2.0, True, 1.0, 0.0, -0.0):
        for _ in range(3):
            for x in (cr.ones(1), cr.tensor([1])):
                found, wanted = fast(x), layer(x)
                assert found.dtype == wanted.dtype and str(found.item()) == str(wanted.item())


def test_attributes_that_come_and_go():
    """A function may lie where one lay that is gone."""
    layer = Applied()
    fast = cr.jit(lambda x: layer(x))
    for factor in range(60):
        layer.function = None
        layer.function = lambda x, factor=float(factor): x * factor
        if factor % 3:  # some are gone before they are called
            for _ in range(3):
                assert fast(cr.ones(1)).item() == factor


def test_calls_that_never_come_again_are_not_counted_for_ever():
    fast = cr.jit(lambda x, k: x)
    x = cr.ones(1)
    for k in range(3000):
        fast(x, k)
    assert len(fast.calls) <= 1024 and not fast.programs


def test_a_layer_that_the_step_makes(replayed):
    fast = cr.jit(lambda x: nn.ReLU()(x))
    assert [fast(cr.tensor([i, -1.0])).tolist() for i in range(5)] == [[i, 0.0] for i in range(5)]
    assert len(replayed) == 3


def test_the_memory_of_a_program_goes_with_it():
    gc.collect()
    gc.disable()
    try:
        w = cr.ones(100, requires_grad=True)
        fast = cr.jit(lambda x, w=w: own_leaf(x * w.detach()))
        for _ in range(4):
            fast(cr.ones(100))
        gone = weakref.ref(w.array), weakref.ref(fast.programs[0])
        del w, fast
        assert [r() is None for r in gone] == [True, True]
    finally:
        gc.enable()
