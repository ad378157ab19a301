"""Mistakes that were made once: each stays mended."""

import pickle
import subprocess
import sys

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.domain.errors import ArgumentError, ArgumentTypeError, DTypeError, GraphError, ShapeError


class Exp(cr.Function):
    """Saves its output."""

    @staticmethod
    def forward(ctx, x):
        y = x.exp()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        return g * y


def test_a_function_that_saves_its_output_has_higher_derivatives():
    x = cr.tensor([0.5], dtype="float64", requires_grad=True)
    (g,) = cr.grad((x * Exp.apply(x)).sum(), x, create_graph=True)
    (gg,) = cr.grad(g.sum(), x, create_graph=True)
    assert gg.item() == pytest.approx(2.5 * np.exp(0.5))
    assert cr.grad(gg.sum(), x)[0].item() == pytest.approx(3.5 * np.exp(0.5))


def test_an_output_that_does_not_reach_the_inputs():
    x, z = cr.tensor([1.0], requires_grad=True), cr.tensor([2.0], requires_grad=True)
    assert cr.grad([(x * 2).sum(), (z * 3).sum()], x)[0].item() == 2
    assert cr.grad((x * 1).sum(), z, allow_unused=True) == (None,)
    with pytest.raises(GraphError, match="do not depend on input 0"):
        cr.grad((x * 1).sum(), z)


def test_a_recomputation_draws_the_same_mask_though_weights_were_drawn_between():
    x = cr.ones(4, 3, requires_grad=True)
    layer, drop, seen = nn.Linear(3, 8), nn.Dropout(0.5), []

    def f(x):
        y = drop(layer(x))
        seen.append(y.numpy() != 0)
        return y

    cr.checkpoint(f, x).sum().backward()
    assert np.array_equal(*seen)


def test_initial_values_do_not_depend_on_other_draws():
    cr.manual_seed(1)
    a = nn.Linear(3, 4).weight.numpy()
    cr.manual_seed(1)
    cr.rand(7)
    assert np.array_equal(a, nn.Linear(3, 4).weight.numpy())


def test_integers_of_numpy():
    x = cr.ones(2, 3)
    assert x.sum(np.int64(0)).tolist() == [2, 2, 2] and x.mean(axis=np.int32(1)).tolist() == [1, 1]
    assert nn.Linear(np.int64(3), 2)(x).shape == (2, 2)
    assert nn.Conv2d(1, np.int64(8), 3).weight.shape == (8, 1, 3, 3)
    assert cr.manual_seed(np.int64(3)).get_state() == (3, 0)


def test_bits_and_truth():
    a, b = cr.tensor([5, 6]), cr.tensor([3, 3])
    assert (a & b).tolist() == [1, 2] and (a | b).tolist() == [7, 7] and (~a).tolist() == [-6, -7]
    assert (cr.tensor([True, False]) & True).tolist() == [True, False] and (~cr.tensor([True])).tolist() == [False]
    with pytest.raises(DTypeError, match="integers or bools"):
        cr.tensor([1.0]) & cr.tensor([2.0])


def test_what_is_too_large_becomes_infinity():
    assert cr.tensor([1e300]).tolist() == [np.inf]


def test_torch_order_of_gather():
    x = cr.tensor([[1.0, 2.0], [3.0, 4.0]])
    indices = cr.tensor([[1], [0]])
    assert x.gather(1, indices).tolist() == x.gather(indices, axis=1).tolist() == [[2], [3]]
    assert cr.zeros(2, 2).scatter_add(1, indices, cr.ones(2, 1)).tolist() == [[0, 1], [1, 0]]


def test_nothing_has_a_logsumexp():
    assert cr.zeros(0, 3).logsumexp(axis=0).tolist() == [-np.inf] * 3


@pytest.mark.parametrize(
    "make, error, message",
    [
        (lambda x: x + None, ArgumentTypeError, r"\[add\] cannot take"),
        (lambda x: cr.concat([x, 1]), ArgumentTypeError, "int among its tensors"),
        (lambda x: x.sum(dim=0, axis=0), ArgumentTypeError, "axis twice"),
        (lambda x: x.to("flot64"), ArgumentError, "did you mean 'float64'"),
        (lambda x: cr.randn(-1), ArgumentError, "negative"),
        (lambda x: cr.Generator(0).normal((-1,)), ArgumentError, "negative"),
        (lambda x: cr.from_dlpack([1]), ArgumentTypeError, "speaks DLPack"),
        (lambda x: x.expand(3, 2).zero_(), ArgumentError, "read-only"),
        (lambda x: x.__setitem__(..., [1.0, 2.0, 3.0]), ShapeError, "do not broadcast"),
        (lambda x: np.from_dlpack(x[::-1]), BufferError, "negative strides"),
        (lambda x: nn.Linear(2, 2).to("int64"), DTypeError, "floating"),
    ],
)
def test_clear_errors(make, error, message):
    with pytest.raises(error, match=message):
        make(cr.tensor([1.0, 2.0]))


def test_hooks_and_functions_that_return_what_they_should_not():
    x = cr.tensor([1.0, 2.0], requires_grad=True)
    x.register_hook(lambda g: g[:1])
    with pytest.raises(ShapeError, match=r"a hook returned \(1,\) for a gradient of shape \(2,\)"):
        x.sum().backward()

    class Raw(cr.Function):
        @staticmethod
        def forward(ctx, x):
            return x.numpy()

    with pytest.raises(ArgumentTypeError, match="returned a ndarray"):
        Raw.apply(cr.tensor([1.0], requires_grad=True))


def test_small_conveniences():
    @cr.no_grad
    def f(x):
        return x * 2

    assert not f(cr.tensor([1.0], requires_grad=True)).requires_grad
    assert cr.tensor([cr.tensor([1.0, 2.0]), [1, 2]]).tolist() == [[1, 2], [1, 2]]
    assert cr.randint(5, (3,)).shape == cr.randint(0, 5, 3).shape == (3,)
    g = cr.Generator(3)
    g.uniform((5,))
    assert pickle.loads(pickle.dumps(g)).get_state() == g.get_state()


@pytest.mark.parametrize("name, value", [("CHAINRULE_SIMD", "bogus"), ("CHAINRULE_NUM_THREADS", "abc")])
def test_a_wrong_setting_is_said_and_not_ignored(name, value):
    import os

    code = "import chainrule"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, name: value})
    assert done.returncode and name in done.stderr and value in done.stderr, done.stderr
