"""TerminateOnNaN, Timer, LambdaCallback; one step on one batch."""

import time

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim, train
from chainrule.data import ArrayDataset


def data(n=22):
    rng = np.random.default_rng(1)
    return rng.normal(size=(n, 3)).astype(np.float32), rng.integers(0, 4, n)


def network(**options):
    cr.manual_seed(5)
    model = nn.Sequential(nn.Linear(3, 4))
    return model.compile("cross_entropy", optim.SGD(model.parameters(), lr=0.1), metrics=["accuracy"], **options)


def test_training_ends_at_a_nan():
    x, _ = data()
    model = network()
    model.compile(lambda a, b: ((a - 1) ** 2).mean(), optim.SGD(model.parameters(), lr=1e30))
    guard = train.TerminateOnNaN()
    with pytest.warns(UserWarning, match="the loss of epoch 1 is"):
        history = model.fit(x, x, epochs=9, batch_size=4, callbacks=guard, verbose=0)
    assert len(history.epoch) == 1 and guard.stop_training
    assert len(network().fit(*data(), epochs=3, callbacks=guard, verbose=0).epoch) == 3  # it begins anew


def test_timer_counts_and_limits():
    timer = train.Timer()
    slow = train.LambdaCallback(on_batch_end=lambda batch, logs: time.sleep(0.002))
    network().fit(*data(), epochs=3, batch_size=11, callbacks=[slow, timer], verbose=0)
    assert len(timer.epochs) == 3 and min(timer.epochs) >= 0.004 and timer.total >= sum(timer.epochs)
    limited = train.Timer(limit=1e-9)
    assert len(network().fit(*data(), epochs=3, callbacks=limited, verbose=0).epoch) == 1
    with pytest.raises(cr.errors.ArgumentError, match="positive number of seconds"):
        train.Timer(limit=0)


def test_functions_are_hooks():
    told = []

    def note(hook):
        return lambda *args: told.append((hook, *args[:-1]))

    hooks = ("on_train_begin", "on_epoch_begin", "on_batch_begin", "on_batch_end", "on_epoch_end", "on_train_end")
    callback = train.LambdaCallback(**{hook: note(hook) for hook in hooks})
    network().fit(*data(), callbacks=callback, verbose=0)
    assert told == [(hook,) if "train" in hook else (hook, 0) for hook in hooks]
    with pytest.raises(cr.errors.ArgumentError, match="on_epoch_end"):
        train.LambdaCallback(on_epoch_ends=print)
    with pytest.raises(cr.errors.ArgumentTypeError, match="expected a function"):
        train.LambdaCallback(on_epoch_end=3)


@pytest.mark.parametrize("options", [{}, {"clip_norm": 0.1}])
def test_one_step_on_a_batch_is_that_of_fit(options):
    x, y = data()
    whole, single = network(**options), network(**options)
    single.eval()
    history = whole.fit(x, y, batch_size=22, shuffle=False, verbose=0)
    assert single.train_on_batch(x, y) == history.last()
    np.testing.assert_array_equal(whole[0].weight.numpy(), single[0].weight.numpy())
    assert not single.training


def test_a_batch_is_arrays():
    x, y = data()
    for given in (ArrayDataset(x, y), iter([(x, y)])):
        with pytest.raises(cr.errors.ArgumentTypeError, match="array of one batch"):
            network().train_on_batch(given, None)
    with pytest.raises(cr.errors.DataError, match="22 samples but y has 3"):
        network().train_on_batch(x, y[:3])
    with pytest.raises(cr.errors.DataError, match="empty"):
        network().train_on_batch(x[:0], y[:0])
