"""Products with an activation run as one call, and no bit of what they give is another."""

import numpy as np
import pytest

import chainrule as cr
from chainrule.recording.epilogues import ACTIVATIONS


def numbers(*shape, seed=0, dtype="float32"):
    return cr.tensor(np.random.default_rng(seed).standard_normal(shape).astype(dtype))


def replayed(function, *args):
    """The recorded function, and what its replay gives after others, as bytes."""
    recorded = cr.jit(function)
    for _ in range(3):
        recorded(*[a * 2 for a in args])
    found = recorded(*args)
    return [call.name for call in recorded.programs[-1].plan.calls], bits(found)


def bits(found):
    return [y.numpy().tobytes() for y in (found if isinstance(found, tuple) else (found,))]


def step(activation, w, b):
    def function(x):
        y = getattr(cr, activation)(cr.linear(x, w, b))
        w.grad = None
        (y * y).sum().backward()
        return y.detach(), w.grad

    return function


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("bias", [True, False])
def test_an_activation_is_part_of_the_product(activation, bias, dtype):
    x, w = numbers(37, 65, dtype=dtype), numbers(27, 65, seed=1, dtype=dtype)
    b = numbers(27, seed=2, dtype=dtype) if bias else None
    x.numpy()[3, 4] = np.nan
    with cr.no_grad():
        names, found = replayed(lambda x: getattr(cr, activation)(cr.linear(x, w, b)), x)
        assert names == ["linear_activation"] and found == bits(getattr(cr, activation)(cr.linear(x, w, b)))
    w.requires_grad_()
    function = step(activation, w, b)
    names, found = replayed(function, x)
    assert names[0] == "linear_activation" and activation not in names and "linear" not in names
    assert found == bits(function(x))


@pytest.mark.parametrize(
    "function",
    [
        lambda x, w: (y := cr.linear(x, w), cr.relu(y)),
        lambda x, w: cr.relu(y := cr.linear(x, w)) + y,
        lambda x, w: cr.relu(cr.linear(x, w)[:, :5]),
        lambda x, w: cr.relu(y := cr.linear(x, w)) * cr.tanh(y),
        lambda x, w: cr.relu(cr.linear(x, w).add_(1.0)),
    ],
    ids=["kept", "used twice", "a part", "two activations", "changed in place"],
)
def test_what_others_look_at_stays_a_call_of_its_own(function):
    w = numbers(9, 7, seed=1)
    x = numbers(4, 7)
    with cr.no_grad():
        names, found = replayed(lambda x: function(x, w), x)
        assert "linear" in names and "linear_activation" not in names
        assert found == bits(function(x, w))


@pytest.mark.parametrize(("activation", "rows"), [("relu", 64), ("gelu", 64), ("gelu", 4096)])
def test_a_large_product_leaves_the_activation_to_its_own_call(activation, rows):
    x, w = numbers(rows, 20), numbers(64, 20, seed=1)
    with cr.no_grad():
        names, _ = replayed(lambda x: getattr(cr, activation)(cr.linear(x, w)), x)
    assert names == ["linear", activation]


def test_relu_of_what_no_cache_holds_is_part_of_the_product():
    x, w = numbers(4096, 20), numbers(64, 20, seed=1)
    with cr.no_grad():
        names, found = replayed(lambda x: cr.relu(cr.linear(x, w)), x)
        assert names == ["linear_activation"] and found == bits(cr.relu(cr.linear(x, w)))


@pytest.mark.parametrize("activation", ["gelu", "silu"])
def test_what_is_between_is_there_for_others_where_it_is_kept(activation):
    x, w = numbers(6, 8), numbers(5, 8, seed=1)

    def function(x):
        y = cr.linear(x, w)
        return getattr(cr, activation)(y), y, y * 2

    with cr.no_grad():
        names, found = replayed(function, x)
        assert found == bits(function(x)) and names == ["linear_activation", "mul"]


def test_the_approximate_gelu_is_a_call_of_its_own():
    x, w = numbers(6, 8), numbers(5, 8, seed=1)
    with cr.no_grad():
        names, found = replayed(lambda x: cr.gelu(cr.linear(x, w), approximate="tanh"), x)
        assert names == ["linear", "gelu"] and found == bits(cr.gelu(cr.linear(x, w), approximate="tanh"))


def test_products_in_16_bits_round_before_the_activation():
    x, w = numbers(6, 8), numbers(5, 8, seed=1)

    def function(x):
        with cr.autocast("bfloat16"):
            return cr.sigmoid(cr.linear(x, w)).float()

    with cr.no_grad():
        names, found = replayed(function, x)
        assert "linear_activation" not in names and found == bits(function(x))
