"""Recorded steps: what a plan leaves out, puts in another order and explains."""

import numpy as np
import pytest
from tests.test_recording import arrays, batches, states, training

import chainrule as cr


def pooling(x, w, b, train):
    """Convolution, relu, pooling, a loss, and perhaps their gradients."""
    y = cr.max_pool2d(cr.relu(cr.conv2d(x, w, b, padding=1)), 2)
    if not train:
        return y
    loss = (y * y).sum() + (y * 3.0).sum()
    w.grad = b.grad = None
    loss.backward()
    return loss, y.detach()


@pytest.mark.parametrize("backend", ["cpu", "numpy"])
@pytest.mark.parametrize("train", [True, False])
def test_relu_moves_behind_pooling_and_no_bit_changes(train, backend):
    with cr.backends.use(backend):
        x, w, b = map(cr.tensor, arrays((2, 3, 6, 6), (4, 3, 3, 3), (4,)))
        x.numpy()[0, 0, 2, 2] = np.nan
        x.numpy()[1, :, :3] = -0.0
        b.numpy()[1] = -100.0  # a channel of zeros
        if train:
            w.requires_grad_(), b.requires_grad_()
        step = cr.jit(lambda x: pooling(x, w, b, train))
        for _ in range(2):
            step(x)
        found, wanted = step(x), pooling(x, w, b, train)
        if backend == "cpu":
            names = [call.name for call in step.programs[0].plan.calls]
            assert names.index("max_pool2d") < names.index("relu")
        pairs = [*zip(found, wanted, strict=True)] if train else [(found, wanted)]
        assert all(one.numpy().tobytes() == other.numpy().tobytes() for one, other in pairs)


def test_relu_stays_where_others_look_at_it():
    def f(x):
        y = cr.relu(x)
        return cr.max_pool2d(y, 2), y.sum()

    step = cr.jit(f)
    x = cr.tensor(arrays((1, 2, 4, 4))[0])
    for _ in range(3):
        found = step(x)
    assert [t.tolist() for t in found] == [t.tolist() for t in f(x)]
    assert [call.name for call in step.programs[0].plan.calls] == ["relu", "max_pool2d", "sum"]


def test_explain_says_what_is_done_and_changes_nothing():
    model, of, step = training(0.2)
    recorded = cr.jit(step)
    for x, y in batches(3):
        recorded(x, y)
    before, drawn = states(model, of), cr.random.get_rng_state()
    found = recorded.programs[0].explain()
    assert states(model, of) == before and cr.random.get_rng_state() == drawn
    text = str(found).splitlines()
    assert text[0].split() == ["call", "arguments", "→", "results", "KiB", "MFLOP", "µs", "rate", "line"]
    linear = next(row for row in found.rows if row.name.startswith("linear"))
    assert linear.shapes == ([(4, 5), (8, 5), (8,)], [(4, 8)]) and linear.flops == 2 * 4 * 5 * 8
    assert linear.bytes == 4 * (20 + 40 + 8 + 32) and "test_recording.py" in linear.line
    assert (
        all(row.seconds > 0 for row in found.rows)
        and f"{len(found.rows)} calls ({found.recorded} recorded)" in text[-1]
    )
    assert "<table>" in found._repr_html_()


def test_a_program_is_drawn():
    from chainrule.plots import program_graph

    model, _, step = training()
    recorded = cr.jit(step)
    with pytest.raises(cr.errors.ArgumentError, match="nothing was recorded yet"):
        program_graph(recorded)
    for x, y in batches(3):
        recorded(x, y)
    graph = program_graph(recorded)
    assert {box.name for box in graph.boxes.values()} >= {"argument 0", "linear", "cross_entropy_vjp", "adam_", "array"}
    assert [box.name for box in graph.boxes.values() if box.kind == "output"] == ["cross_entropy"]
    assert graph.svg().count("<rect") == len(graph.boxes)


def test_what_is_recorded_takes_no_more_memory_than_a_call():
    def f(x):
        for _ in range(20):
            x = x * 1.5
        return x.sum()

    x = cr.ones(1 << 18)
    peaks = []
    for function in (f, cr.jit(f)):
        function(x)
        before = cr._native.memory_stats()["in_use"]
        seen = []

        def watched(x, function=f, seen=seen):
            for _ in range(20):
                x = x * 1.5
                seen.append(cr._native.memory_stats()["in_use"])
            return x.sum()

        run = cr.jit(watched) if function is not f else watched
        run(x)
        seen.clear()
        run(x)
        peaks.append(max(seen) - before)
    assert peaks[1] <= peaks[0] + (1 << 12)


def test_a_forward_that_only_its_gradient_follows_is_left_out():
    x, w = (cr.tensor(a, requires_grad=True) for a in arrays((3, 4), (5, 4)))

    def both(g):
        return cr.grad(cr.linear(x, w, None), (x, w), g)

    step = cr.jit(both)
    g = cr.tensor(arrays((3, 5), seed=7)[0])
    for _ in range(3):
        found = step(g)
    assert [call.name for call in step.programs[0].plan.calls] == ["linear_vjp"]
    assert [y.tolist() for y in found] == [y.tolist() for y in both(g)]
