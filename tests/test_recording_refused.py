"""Recorded steps: what cannot be recorded is refused, with the line where it stands."""

import pytest
from tests.test_recording import arrays

import chainrule as cr
from chainrule import nn
from chainrule.domain.errors import ArgumentTypeError, RecordingError


def line_of(function, words):
    """file:line of the line of a function that has these words."""
    import inspect

    lines, first = inspect.getsourcelines(function)
    return f"{__file__}:{first + next(i for i, line in enumerate(lines) if words in line)}"


def refused(function, *args):
    f = cr.jit(function)
    f(*args)
    with pytest.raises(RecordingError) as caught:
        f(*args)
    return str(caught.value)


def test_a_value_that_is_read():
    def f(x):
        if (x.sum() > 0).item():
            return x
        return -x

    message = refused(f, cr.ones(3))
    assert "reads a value (item, numpy, print, float, if)" in message and line_of(f, ".item()") in message


def test_a_shape_that_depends_on_values():
    def f(x):
        return x[x > 0]

    message = refused(f, cr.ones(3))
    assert "whose result has a shape that depends on values" in message and line_of(f, "x[x > 0]") in message


def test_a_result_on_the_tape():
    layer = nn.Linear(3, 2)
    assert "is on the tape" in refused(lambda x: layer(x), cr.ones(1, 3))
    with cr.no_grad():
        f = cr.jit(layer)
        assert [f(cr.ones(1, 3)).tolist() == layer(cr.ones(1, 3)).tolist() for _ in range(3)] == [True] * 3


def test_a_graph_that_began_before():
    w = cr.tensor([1.0], requires_grad=True)
    y = w * 2
    assert "whose graph began before" in refused(lambda x: (x * y).sum().backward(retain_graph=True), cr.ones(1))
    assert "comes from the tape" in refused(lambda x: (x * 2).sum().backward(retain_graph=True), y)


def test_a_tensor_left_behind():
    kept = {}

    def f(x):
        kept["y"] = x + 1
        return x * 2

    message = refused(f, cr.ones(3))
    assert "by add that somebody keeps after the step" in message and line_of(f, "kept") in message


def test_sums_in_place_are_no_tensors_left_behind():
    total = cr.zeros(3)

    @cr.jit
    def f(x):
        total.add_(x)

    for _ in range(4):
        f(cr.ones(3))
    assert total.tolist() == [4.0] * 3


def test_hooks():
    layer = nn.Linear(3, 2)
    layer.register_forward_hook(lambda *_: None)
    assert "has hooks, which a replay would not call" in refused(lambda x: layer(x).detach(), cr.ones(1, 3))


def test_arguments_that_cannot_be_compared():
    with pytest.raises(ArgumentTypeError, match="cannot be compared"):
        cr.jit(lambda x, y: x)(cr.ones(1), {1, 2})


def test_an_error_in_a_replay_says_which_call_it_was():
    table = cr.tensor(arrays((4, 2))[0])

    def look_up(i):
        return cr.embedding(i, table)

    f = cr.jit(look_up)
    for _ in range(3):
        f(cr.tensor([1, 3]))
    with pytest.raises(IndexError) as caught:
        f(cr.tensor([1, 4]))
    assert any("embedding" in note and line_of(look_up, "cr.embedding") in note for note in caught.value.__notes__)
    assert f(cr.tensor([0])).shape == (1, 2)
