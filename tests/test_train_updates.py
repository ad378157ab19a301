"""Steps of several batches, and gradients that are cut."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import losses, nn, optim


def data(n=22):
    rng = np.random.default_rng(1)
    return rng.normal(size=(n, 3)).astype(np.float32), rng.integers(0, 4, n), rng.uniform(size=n).astype(np.float32)


def network(loss, **options):
    cr.manual_seed(5)
    model = nn.Sequential(nn.Linear(3, 4))
    return model.compile(loss, optim.SGD(model.parameters(), lr=0.1, momentum=0.9), **options)


def weights(model):
    return np.concatenate([p.numpy().ravel() for p in model.parameters()])


@pytest.mark.parametrize(
    "loss",
    [
        losses.CrossEntropy(),
        losses.CrossEntropy(reduction="sum"),
        losses.CrossEntropy([1.0, 2.0, 0.5, 3.0], ignore_index=2),
        lambda scores, target: cr.losses.cross_entropy(scores, target),
    ],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_accumulated_batches_are_one_batch(loss, weighted):
    x, y, weight = data()
    weighted = {"sample_weight": weight} if weighted and isinstance(loss, losses.Loss) else {}
    options = {"epochs": 3, "shuffle": False, "verbose": 0, **weighted}
    whole, parts = network(loss), network(loss, accumulate=3)
    whole.fit(x, y, batch_size=12, **options)  # steps of 12 and 10 samples
    parts.fit(x, y, batch_size=4, **options)  # windows of 4 + 4 + 4 and 4 + 4 + 2
    np.testing.assert_allclose(weights(parts), weights(whole), rtol=2e-5, atol=1e-6)


def test_a_batch_in_which_nothing_counts_adds_nothing():
    x, y, weight = data()
    y[4:8] = 3  # the second of the batches of four
    loss = losses.CrossEntropy([1.0, 2.0, 0.5, 3.0], ignore_index=3)
    options = {"epochs": 2, "shuffle": False, "verbose": 0, "sample_weight": weight}
    whole, parts = network(loss), network(loss, accumulate=3)
    expected = whole.fit(x, y, batch_size=12, **options)["loss"]
    found = parts.fit(x, y, batch_size=4, **options)["loss"]
    np.testing.assert_allclose(weights(parts), weights(whole), rtol=2e-5, atol=1e-6)
    assert np.isfinite(found).all() and np.isfinite(expected).all()


def test_a_window_ends_with_the_epoch():
    x, y, _ = data()
    steps = []
    model = network("cross_entropy", accumulate=4)
    step = model.compiled.optimizer.step
    model.compiled.optimizer.step = lambda: (steps.append(1), step())
    model.fit(x, y, batch_size=4, epochs=2, verbose=0)  # 6 batches: windows of 4 and 2
    assert len(steps) == 4


@pytest.mark.parametrize("options", [{"clip_norm": 0.1}, {"clip_value": 0.01}, {"clip_norm": 0.02, "clip_value": 0.01}])
def test_clipping_is_that_of_a_loop_by_hand(options):
    x, y, _ = data()
    model, by_hand = network("cross_entropy", **options), network("cross_entropy")
    model.fit(x, y, batch_size=22, shuffle=False, epochs=2, verbose=0)
    for _ in range(2):
        by_hand.compiled.optimizer.zero_grad()
        losses.CrossEntropy()(by_hand(cr.tensor(x)), cr.tensor(y)).backward()
        if "clip_value" in options:
            optim.clip_grad_value_(by_hand.parameters(), options["clip_value"])
        if "clip_norm" in options:
            optim.clip_grad_norm_(by_hand.parameters(), options["clip_norm"])
        by_hand.compiled.optimizer.step()
    np.testing.assert_array_equal(weights(model), weights(by_hand))
    free = network("cross_entropy")
    free.fit(x, y, batch_size=22, shuffle=False, epochs=2, verbose=0)
    assert not np.array_equal(weights(free), weights(model))


def test_what_compile_cannot_take_is_told():
    for options in ({"clip_norm": 0.0}, {"clip_value": -1}, {"accumulate": 0}, {"accumulate": 1.5}):
        with pytest.raises(cr.errors.ArgumentError, match=next(iter(options))):
            network("cross_entropy", **options)

    class Own:
        def step(self):
            pass

        zero_grad = step

    with pytest.raises(cr.errors.ArgumentTypeError, match="optim.Optimizer"):
        nn.Sequential(nn.Linear(1, 1)).compile("mse", Own(), clip_norm=1.0)


def test_no_value_is_read_in_a_step_with_all_of_it(monkeypatch):
    x, y, weight = data()
    reads, watching = [], []
    real = cr.Tensor.numpy
    monkeypatch.setattr(cr.Tensor, "numpy", lambda self: (reads.append(1) if watching else None, real(self))[1])
    watch = cr.train.LambdaCallback(
        on_batch_begin=lambda batch, logs: watching.append(1) if batch else None,
        on_batch_end=lambda batch, logs: watching.clear(),
    )
    model = network("cross_entropy", accumulate=2, clip_norm=1.0, clip_value=0.5)
    weights = {"class_weight": [1, 2, 3, 4], "sample_weight": weight}
    model.fit(x, y, batch_size=4, epochs=2, callbacks=watch, verbose=0, **weights)
    assert reads == []
