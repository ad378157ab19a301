"""Recorded steps: what a replay does, and when it may stand for the function."""

import gc
import threading

import numpy as np
import pytest

import chainrule as cr
from chainrule import losses, metrics, nn, optim
from chainrule.domain.errors import ArgumentTypeError, GraphError, RecordingError
from chainrule.recording.engine import Engine


def arrays(*shapes, seed=0):
    r = np.random.default_rng(seed)
    return [r.standard_normal(shape).astype(np.float32) for shape in shapes]


def training(dropout=0.0, optimizer="adam"):
    """A model, its optimizer and a function that makes a step on a batch."""
    cr.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 3))
    step_of = optim.get(optimizer, model.parameters())
    loss_of = losses.CrossEntropy()

    def step(x, y):
        step_of.zero_grad()
        loss = loss_of(model(x), y)
        loss.backward()
        step_of.step()
        return loss

    return model, step_of, step


def batches(count, size=4):
    r = np.random.default_rng(1)
    for _ in range(count):
        yield cr.tensor(r.standard_normal((size, 5)).astype(np.float32)), cr.tensor(r.integers(0, 3, size))


def states(model, optimizer):
    found = {name: p.numpy().tobytes() for name, p in model.named_parameters()}
    found |= {name + ".grad": p.grad.numpy().tobytes() for name, p in model.named_parameters()}
    of = optimizer.state_dict()["state"]
    return found | {f"{n}.{k}": v.numpy().tobytes() for n, s in of.items() for k, v in s.items()}


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "rmsprop", "nadam", "lion", "adagrad"])
def test_training_by_replays_is_training(optimizer):
    found = []
    for wrap in (lambda f: f, cr.jit):
        model, of, step = training(0.3, optimizer)
        step = wrap(step)
        cr.manual_seed(3)
        values = [step(x, y).item() for x, y in batches(6)]
        found.append((values, states(model, of), cr.random.get_rng_state()))
    assert found[0] == found[1] and len(step.programs) == 1


def test_the_first_call_runs_the_second_is_recorded_and_the_rest_are_replays():
    seen = []

    @cr.jit
    def twice(x):
        seen.append(len(seen))
        return x * 2

    assert [twice(cr.tensor([float(i)])).item() for i in range(5)] == [0.0, 2.0, 4.0, 6.0, 8.0]
    assert seen == [0, 1] and len(twice.programs) == 1


def test_results_are_new_each_time_and_no_replay_changes_them():
    double = cr.jit(lambda x: x * 2)
    found = [double(cr.tensor([float(i), 1.0])) for i in range(6)]
    assert [y.tolist() for y in found] == [[2.0 * i, 2.0] for i in range(6)]


def test_other_shapes_dtypes_numbers_and_modes_are_recorded_anew():
    layer = nn.Dropout(0.5)

    @cr.jit
    def f(x, factor=1.0, flag=True):
        return layer(x) * factor if flag else x

    def calls(n, *args, **kwargs):
        for _ in range(n):
            f(*args, **kwargs)
        return len(f.programs)

    x = cr.ones(3)
    assert calls(3, x) == 1
    assert calls(3, cr.ones(4)) == 2
    assert calls(3, x.double()) == 3
    assert calls(3, x, 2.0) == 4
    assert calls(3, x, flag=False) == 5
    with cr.no_grad():
        assert calls(3, x) == 6
    layer.eval()
    assert f(x).tolist() == [1, 1, 1]
    assert calls(3, x) == 7
    layer.train()
    layer.p = 0.0
    assert f(x).tolist() == [1, 1, 1]


def test_a_view_of_the_same_shape_is_recorded_by_its_strides():
    f = cr.jit(lambda x: x.reshape(6))
    x = cr.tensor(arrays((2, 3))[0])
    for _ in range(3):
        assert f(x).tolist() == x.numpy().ravel().tolist()
        assert f(cr.tensor(x.numpy().T.copy()).permute(1, 0)).tolist() == x.numpy().ravel().tolist()


def test_two_arguments_that_are_one_array():
    f = cr.jit(lambda a, b: a.add_(b))
    for _ in range(4):
        x = cr.tensor([1.0])
        assert f(x, x).item() == 2.0 and x.item() == 2.0
        assert f(cr.tensor([1.0]), cr.tensor([5.0])).item() == 6.0


def test_nested_arguments_and_results():
    f = cr.jit(lambda batch, *, more: {"sum": batch["x"] + batch["y"][0], "rest": [more, (batch["x"], None, "text")]})
    for i in range(4):
        x, y, z = cr.tensor([1.0 + i]), cr.tensor([10.0]), np.array([3.0 * i], np.float32)
        found = f({"x": x, "y": (y,)}, more=z)
        assert found["sum"].item() == 11.0 + i and found["rest"][0].item() == 3.0 * i
        assert found["rest"][1][0] is x and found["rest"][1][1:] == (None, "text")


def test_running_statistics_and_versions_count_as_after_a_call():
    norm = nn.BatchNorm1d(3)
    f = cr.jit(lambda x: norm(x).detach())
    other = nn.BatchNorm1d(3)
    for i in range(4):
        x = cr.tensor(arrays((5, 3), seed=i)[0])
        f(x), other(x)
    assert norm.num_batches_tracked.item() == 4
    assert np.array_equal(norm.running_var.numpy(), other.running_var.numpy())
    w = cr.tensor([2.0], requires_grad=True)
    y = norm.running_mean * w.sum()
    with pytest.raises(GraphError, match="changed in place"):
        f(x)
        y.sum().backward()


def test_gradients_add_up_over_replays_and_clipping_counts():
    found = []
    for wrap in (lambda f: f, cr.jit):
        w = cr.tensor([1.0, -2.0], requires_grad=True)

        def add(x, w=w):
            (w * w * x).sum().backward()
            return optim.clip_grad_norm_([w], 3.0)

        add = wrap(add)
        norms = [add(cr.tensor([1.0 + i, 2.0])).item() for i in range(6)]
        found.append((norms, w.grad.tolist()))
    assert found[0] == found[1]


def test_gradients_of_an_argument():
    f = cr.jit(lambda x: (x * x).sum().backward())
    for i in range(4):
        x = cr.tensor([1.0 + i, 2.0], requires_grad=True)
        f(x)
        assert x.grad.tolist() == [2.0 + 2 * i, 4.0]


def test_a_learning_rate_that_changes_between_steps():
    model, of, step = training(optimizer="sgd")
    step = cr.jit(step)
    for x, y in batches(4):
        step(x, y)
    of.lr = 0.0
    before = model[0].weight.tolist()
    step(x, y)
    assert model[0].weight.tolist() == before and len(step.programs) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda model, of: of.param_groups[0].__setitem__("weight_decay", 0.5),
        lambda model, of: model.__setitem__(1, nn.Tanh()),
        lambda model, of: model[0].weight.requires_grad_(False),
        lambda model, of: of.load_state_dict(of.state_dict()),
        lambda model, of: model.load_state_dict({k: v * 2 for k, v in model.state_dict().items()}),
        lambda model, of: model[3].weight.adopt(model[3].weight.detach() * 2),
        lambda model, of: model.to("float64"),
    ],
    ids=["option", "layer", "frozen", "state of the optimizer", "weights", "memory", "dtype"],
)
def test_what_changes_between_steps_counts(change):
    found = []
    for wrap in (lambda f: f, cr.jit):
        model, of, step = training()
        step = wrap(step)
        values = []
        for i, (x, y) in enumerate(batches(9)):
            if i == 5:
                change(model, of)
            values.append(step(x.to(model[3].bias.dtype), y).item())
        found.append(values)
    assert found[0] == found[1]


def test_a_program_ends_with_what_it_uses():
    w = [cr.tensor([2.0])]
    f = cr.jit(lambda x: x * w[0])
    for _ in range(3):
        assert f(cr.tensor([3.0])).item() == 6.0
    w[0] = cr.tensor([5.0])
    gc.collect()
    assert f(cr.tensor([3.0])).item() == 15.0


def test_only_so_many_programs_are_kept():
    f = cr.jit(lambda x: x + 1, max_programs=2)
    for n in (1, 2, 3):
        for _ in range(3):
            f(cr.ones(n))
    assert len(f.programs) == 2
    assert f(cr.ones(1)).tolist() == [2.0]


def test_a_recorded_function_inside_another_is_part_of_it():
    inner = cr.jit(lambda x: x * 2)
    outer = cr.jit(lambda x: inner(x) + 1)
    assert [outer(cr.tensor([float(i)])).item() for i in range(4)] == [1.0, 3.0, 5.0, 7.0]
    assert len(outer.programs) == 1


def test_a_profiler_hears_the_calls():
    f = cr.jit(lambda x: x * 2)
    for _ in range(3):
        f(cr.ones(2))
    with cr.profile() as p:
        f(cr.ones(2))
    assert p.calls["mul"] == 1


def test_methods():
    class Scale:
        def __init__(self, factor):
            self.factor = factor

        @cr.jit
        def __call__(self, x):
            return x * self.factor

    two, three = Scale(2.0), Scale(3.0)
    for _ in range(4):
        assert two(cr.ones(1)).item() == 2.0 and three(cr.ones(1)).item() == 3.0


def test_several_threads_replay_one_program():
    f = cr.jit(lambda x: (x @ x).sum())
    x = [cr.tensor(arrays((16, 16), seed=i)[0]) for i in range(4)]
    wanted = [f.function(one).item() for one in x]
    f(x[0]), f(x[0])
    wrong = []

    def run(i):
        for _ in range(200):
            if f(x[i]).item() != wanted[i]:
                wrong.append(i)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong and len(f.programs) == 1


def test_nothing_stays_in_memory():
    f = cr.jit(lambda x: (x * 2 + 1).sum())
    x = cr.ones(1000)
    for _ in range(5):
        f(x)
    stats = cr._native.memory_stats()["in_use"]
    for _ in range(50):
        f(x)
    assert cr._native.memory_stats()["in_use"] == stats


def test_the_engine_in_python_does_the_same():
    def step(x, y):
        return (x * y + 1).max(axis=0)

    x, y = map(cr.tensor, arrays((3, 4), (3, 4)))
    f = cr.jit(step)
    f(x, y), f(x, y)
    plan = f.programs[0].plan
    native = [t.numpy().tobytes() for t in f(x, y)]
    plan.engine = Engine(plan.rows(), plan.engine)
    assert [t.numpy().tobytes() for t in f(x, y)] == native


class Named(nn.Module):
    """A layer with attributes of names that ``Recorded`` has, too."""

    def __init__(self):
        self.function, self.calls, self.kept, self.strict = cr.tanh, {}, None, 0
        self.inner = nn.Linear(5, 5)

    def forward(self, x, *, times=1):
        return self.function(self.inner(x)) * times


@pytest.mark.parametrize(
    "make",
    [lambda: training(0.5)[0], Named, lambda: nn.GRU(5, 3, batch_first=True)],
    ids=["model", "own", "two results"],
)
def test_a_module_is_a_function(make):
    cr.manual_seed(0)
    module = make().eval()
    fast = cr.jit(module)
    for i in range(4):
        x = cr.tensor(arrays((4, 3, 5), seed=i)[0])
        with cr.no_grad():
            pairs = zip(*(y if isinstance(y, tuple) else (y,) for y in (fast(x), module(x))), strict=True)
            assert all(a.numpy().tobytes() == b.numpy().tobytes() for a, b in pairs)
    assert len(fast.programs) == 1 and fast.__name__ == type(module).__name__
    with cr.no_grad():
        next(p for _, p in module.named_parameters()).mul_(2.0)  # it sees changed weights
        first = [y.tolist() for y in (fast(x), module(x))] if isinstance(module(x), cr.Tensor) else [0, 0]
        assert first[0] == first[1]
        with pytest.raises(
            ArgumentTypeError, match=f"{fast.__name__} was called with arguments that cannot be compared"
        ):
            fast(x, {1})
    with pytest.raises(RecordingError, match="on the tape"):
        fast(x), fast(x)


def test_metrics_are_shown_the_batches():
    model, _, step = training()
    accuracy, plain = metrics.Accuracy(), metrics.Accuracy()

    @cr.jit
    def shown(x, y):
        with cr.no_grad():
            accuracy.update(model(x), y)

    for x, y in batches(5):
        shown(x, y)
        with cr.no_grad():
            plain.update(model(x), y)
    assert accuracy.result() == plain.result()
    accuracy.reset()
    shown(x, y)
    assert accuracy.count.item() == 4
