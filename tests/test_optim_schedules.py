"""Schedules: the learning rates they set, in place, and that they go on where they were."""

import math

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.domain.errors import ArgumentError, ArgumentTypeError, StateError
from chainrule.optim import schedules as s
from chainrule.train import LRScheduler, ReduceLROnPlateau, lr_find


def optimizer(cls=optim.SGD, **options):
    a, b = cr.zeros(1, requires_grad=True), cr.zeros(1, requires_grad=True)
    return cls([{"params": [a]}, {"params": [b], "lr": 0.5}], lr=1.0, **options)


def half_cosine(share):
    return (1 + math.cos(math.pi * share)) / 2


CASES = [
    (lambda o: s.Step(o, 3, 0.5), lambda n: 0.5 ** (n // 3)),
    (lambda o: s.MultiStep(o, [5, 2]), lambda n: 0.1 ** ((n >= 2) + (n >= 5))),
    (lambda o: s.Exponential(o, 0.9), lambda n: 0.9**n),
    (lambda o: s.Lambda(o, lambda n: 1 / (n + 1)), lambda n: 1 / (n + 1)),
    (lambda o: s.Linear(o, 0.2, 0.6, total=4), lambda n: 0.2 + 0.1 * min(n, 4)),
    (lambda o: s.Polynomial(o, total=4, power=2), lambda n: max(1 - n / 4, 0) ** 2),
    (lambda o: s.InverseSqrt(o, warmup=3), lambda n: n / 3 if n < 3 else (3 / n) ** 0.5),
    (lambda o: s.Cosine(o, total=5), lambda n: half_cosine(min(n, 5) / 5)),
    (
        lambda o: s.CosineWarmRestarts(o, 2, growth=2),
        lambda n: [half_cosine(x) for x in (0, 0.5, 0, 0.25, 0.5, 0.75, 0, 0.125, 0.25, 0.375)][n],
    ),
    (lambda o: s.Chain([s.Linear(o, 0.5, 1.0, 2), s.Step(o, 3)]), lambda n: min(0.5 + n / 4, 1) * 0.1 ** (n // 3)),
    (
        lambda o: s.Sequential([s.Linear(o, 0.5, 1.0, 2), s.Exponential(o, 0.5)], [3]),
        lambda n: min(0.5 + n / 4, 1) if n < 3 else 0.5 ** (n - 3),
    ),
]


@pytest.mark.parametrize(("make", "factor"), CASES)
def test_the_rates_of_all_groups(make, factor):
    given = optimizer()
    tensors = [group.rate for group in given.param_groups]
    schedule = make(given)
    resumed = None
    for n in range(10):
        rates = [group["lr"] for group in given.param_groups]
        np.testing.assert_allclose(rates, [factor(n), 0.5 * factor(n)], rtol=1e-12, atol=1e-15)
        if n == 4:
            resumed = make(optimizer())
            resumed.load_state_dict(schedule.state_dict())
        if resumed is not None:
            assert resumed.optimizer.lr == given.lr
            resumed.step()
        schedule.step()
    assert [group.rate for group in given.param_groups] == tensors  # the same tensors, written in place


def test_one_cycle():
    given = optimizer(momentum=0.5)
    schedule = s.OneCycle(given, max_lr=2.0, total=10, up=0.4)
    rates, momenta = [], []
    for n in range(10):
        rates.append([g["lr"] for g in given.param_groups])
        momenta.append(given.param_groups[1]["momentum"])
        schedule.step() if n < 9 else None
    low, end = 0.08, 0.08e-4
    rise = [2.0 + (low - 2.0) * half_cosine(n / 3) for n in range(4)]
    fall = [end + (2.0 - end) * half_cosine(n / 6) for n in range(1, 7)]
    np.testing.assert_allclose(rates, np.array([rise + fall] * 2).T, rtol=1e-12)
    assert momenta[0] == 0.95 and momenta[3] == 0.85 and momenta[9] == 0.95
    schedule.step()  # a loop steps after each batch, after the last one too
    assert given.param_groups[0]["lr"] == pytest.approx(end) and given.param_groups[1]["momentum"] == 0.95
    with pytest.raises(ArgumentError, match="step 11 is one too many: total is 10"):
        schedule.step()
    adam = optimizer(optim.Adam, betas=(0.9, 0.99))
    s.OneCycle(adam, max_lr=1.0, total=10)
    assert adam.param_groups[0]["betas"] == (0.95, 0.99)
    with pytest.raises(ArgumentError, match="Adagrad has no momentum: give cycle_momentum=False"):
        s.OneCycle(optimizer(optim.Adagrad), max_lr=1.0, total=10)


def test_plateau():
    given = optimizer()
    plateau = optim.ReduceOnPlateau(given, factor=0.5, patience=1, cooldown=2, min_lr=0.3)
    seen = []
    for value in (5.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, float("nan"), 1.0):
        plateau.step(value)
        seen.append([g["lr"] for g in given.param_groups])
    assert seen == [[1.0, 0.5]] * 3 + [[0.5, 0.3]] * 4 + [[0.3, 0.3]] * 0 + [[0.3, 0.3]] * 3
    other = optim.ReduceOnPlateau(optimizer())
    other.load_state_dict(plateau.state_dict())
    assert (other.best, other.bad) == (1.0, 0)
    best = optim.ReduceOnPlateau(optimizer(), mode="max", patience=0, threshold=0.5, threshold_mode="abs")
    for value, lr in ((-1.0, 1.0), (-0.4, 1.0), (0.0, 0.1)):
        best.step(value)
        assert best.optimizer.lr == pytest.approx(lr)


def test_schedules_say_what_is_wrong():
    o = optimizer()
    for make in (
        lambda: s.Step(o, 0),
        lambda: s.Cosine(o, total=0.5),
        lambda: s.OneCycle(o, 1.0, 10, anneal="cosine"),
        lambda: s.OneCycle(o, 1.0, 10, up=2.0),
        lambda: s.Sequential([s.Step(o, 1), s.Step(o, 2)], []),
        lambda: s.Sequential([s.Step(o, 1), s.Step(optimizer(), 2)], [1]),
        lambda: s.Chain([s.OneCycle(optimizer(momentum=0.9), 1.0, 10)]),
        lambda: optim.ReduceOnPlateau(o, mode="best"),
        lambda: optim.ReduceOnPlateau(o, factor=1.0),
    ):
        with pytest.raises(ArgumentError):
            make()
    for make in (lambda: s.Step(0.1, 2), lambda: s.Lambda(o, 0.5), lambda: s.Chain([]), lambda: s.Chain([0.1])):
        with pytest.raises(ArgumentTypeError):
            make()
    one = optim.SGD([cr.zeros(1, requires_grad=True)])
    with pytest.raises(StateError, match="2 groups in the state, 1 here"):
        s.Step(one, 1).load_state_dict(s.Step(o, 1).state_dict())


# ---- in training


def compiled(lr=1.0):
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    return model.compile("mse", optim.SGD(model.parameters(), lr=lr))


X, Y = np.random.default_rng(0).standard_normal((12, 3)).astype("f"), np.ones((12, 1), "f")


def test_the_callback_steps_a_schedule():
    for every, lr in (("epoch", 0.5**2), ("batch", 0.5**6)):
        model = compiled()
        schedule = s.Exponential(model.compiled.optimizer, 0.5)
        model.fit(X, Y, epochs=2, batch_size=4, callbacks=LRScheduler(schedule, every), verbose=0)
        assert model.compiled.optimizer.lr == lr
    seen, model = [], compiled(0.1)
    model.fit(X, Y, epochs=3, callbacks=LRScheduler(lambda epoch, lr: seen.append((epoch, lr)) or lr / 2), verbose=0)
    assert seen == [(0, 0.1), (1, 0.05), (2, 0.025)]
    with pytest.raises(ArgumentError, match="unknown every of LRScheduler"):
        LRScheduler(schedule, "step")
    with pytest.raises(ArgumentTypeError, match="made with the optimizer"):
        LRScheduler(s.Step)


def test_the_callback_reduces_on_a_plateau():
    model = compiled(0.1)
    plateau = ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=1e9)  # after the first, nothing is enough
    model.fit(X, Y, epochs=5, callbacks=plateau, verbose=0)
    assert model.compiled.optimizer.lr == 0.025 and plateau.best_epoch == 0
    with pytest.raises(ArgumentError, match="needs validation"):
        model.fit(X, Y, callbacks=ReduceLROnPlateau(), verbose=0)
    for options in ({"patience": -1}, {"factor": 1.0}):
        with pytest.raises(ArgumentError, match=next(iter(options))):
            ReduceLROnPlateau(**options)
    mine = ReduceLROnPlateau("loss", patience=0, optimizer=optim.SGD([cr.zeros(1, requires_grad=True)], lr=1.0))
    mine.on_train_begin({})
    for epoch in range(2):
        mine.on_epoch_end(epoch, {"loss": 1.0})
    assert mine.optimizer.lr == 0.1


def test_a_learning_rate_is_found_and_all_is_as_before():
    model = compiled(0.123)
    model.fit(X, Y, epochs=1, verbose=0)
    before = {k: v.numpy().copy() for k, v in model.state_dict().items()}
    trial = lr_find(model, X, Y, start=1e-4, stop=100.0, steps=60, batch_size=6)
    assert trial.suggestion == trial.rates[np.argmin(trial.losses)] / 10 and 1e-3 < trial.suggestion < 5.0
    assert len(trial.rates) == len(trial.losses) < 60  # it diverged before the end
    assert model.compiled.optimizer.lr == 0.123
    assert all((before[k] == v.numpy()).all() for k, v in model.state_dict().items())
    lazy = nn.Sequential(nn.Linear(1)).compile("mse", "adam")
    assert lazy.lr_find(X, Y, steps=5).rates[-1] == pytest.approx(1.0)
    assert not lazy.compiled.optimizer.state_dict()["state"]
    with pytest.raises(ArgumentError, match="0 < start < stop"):
        lr_find(model, X, Y, start=1.0, stop=0.1)
