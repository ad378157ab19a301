"""Training and data, used in ways that were not thought of at first: each mistake found stays mended."""

import time

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.data import DataLoader, IterableDataset
from chainrule.domain.errors import ArgumentTypeError, WorkerError

X = np.random.default_rng(0).random((16, 4)).astype("f4")
Y = X.sum(1, keepdims=True)


class Stuck(IterableDataset):
    def __iter__(self):
        yield X[0]
        time.sleep(1.0)
        yield X[1]


def test_a_shard_that_is_stuck_does_not_make_the_others_wait():
    start = time.monotonic()
    with pytest.raises(WorkerError, match="within 0.2 s"):
        list(DataLoader(Stuck(), 1, workers=2, timeout=0.2))
    assert time.monotonic() - start < 0.9


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_training_goes_on_after_a_scaled_step_that_was_broken_off(error):
    model = nn.Sequential(nn.Linear(4, 1)).compile("mse", "sgd", precision="fp16-mixed")
    optimizer, step = model.compiled.optimizer, model.compiled.optimizer.step

    def broken():
        optimizer.step = step
        raise error

    optimizer.step = broken
    if error is KeyboardInterrupt:
        assert model.fit(X, Y, batch_size=4, verbose=0).interrupted
    else:
        with pytest.raises(error):
            model.fit(X, Y, batch_size=4, verbose=0)
    assert np.isfinite(model.fit(X, Y, verbose=0)["loss"][0])
    assert cr.is_grad_enabled()


def test_a_stream_may_be_a_subclass_without_a_constructor():
    class Squares(IterableDataset):
        def __iter__(self):
            return (n * n for n in range(3))

    assert [x.tolist() for (x,) in DataLoader(Squares(), 2)] == [[0, 1], [4]]
    with pytest.raises(ArgumentTypeError, match="or write __iter__ in a subclass"):
        IterableDataset()
