"""What an epoch is, and after which of them there is validation."""

import itertools

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim, train


def data(n=22):
    rng = np.random.default_rng(1)
    return rng.normal(size=(n, 3)).astype(np.float32), rng.integers(0, 4, n)


def network():
    cr.manual_seed(5)
    model = nn.Sequential(nn.Linear(3, 4))
    return model.compile("cross_entropy", optim.SGD(model.parameters(), lr=0.1))


class Count(train.Callback):
    def __init__(self):
        self.batches = []

    def on_epoch_begin(self, epoch, logs):
        self.batches.append(0)

    def on_batch_end(self, batch, logs):
        self.batches[-1] += 1


def test_an_epoch_of_some_steps_goes_on_where_the_last_stopped():
    x, y = data()
    whole, count = network(), Count()
    whole.fit(x, y, batch_size=4, epochs=2, verbose=0)  # twice 6 batches
    parts = network()
    parts.fit(x, y, batch_size=4, epochs=3, steps_per_epoch=4, callbacks=count, verbose=0)
    assert count.batches == [4, 4, 4]
    np.testing.assert_array_equal(whole[0].weight.numpy(), parts[0].weight.numpy())


def test_a_stream_without_end_has_epochs():
    x, y = data()
    stream = itertools.cycle([(x[:11], y[:11]), (x[11:], y[11:])])
    count = Count()
    history = network().fit(stream, epochs=2, steps_per_epoch=5, callbacks=count, verbose=0)
    assert count.batches == [5, 5] and len(history["loss"]) == 2


def test_a_stream_that_ends_early_is_told():
    x, y = data()
    with pytest.raises(cr.errors.DataError, match="gone through only once"):
        network().fit(iter([(x, y)]), steps_per_epoch=2, verbose=0)


def test_validation_every_second_epoch(tmp_path):
    x, y = data()
    stopping = train.EarlyStopping("val_loss", patience=1)
    saved = train.ModelCheckpoint(tmp_path / "{epoch}-{val_loss:.1f}.safetensors")
    best = train.ModelCheckpoint(tmp_path / "best-{epoch}.safetensors", save_best_only=True)
    callbacks = [stopping, saved, best, train.ReduceLROnPlateau("val_loss", patience=0), train.History()]
    history = network().fit(x, y, epochs=5, validation_data=(x, y), validation_freq=2, callbacks=callbacks, verbose=0)
    assert np.isnan(history["val_loss"]).tolist() == [True, False, True, False, True]
    assert stopping.best_epoch == 3 and stopping.wait == 0
    assert len(saved.saved) == 5 and saved.saved[0].name == "1-nan.safetensors"
    assert [path.name for path in best.saved] == ["best-2.safetensors", "best-4.safetensors"]


def test_a_missing_value_in_a_loop_by_hand_is_still_told():
    callbacks = train.CallbackList([train.EarlyStopping("val_loss")], None)
    callbacks.on_train_begin()
    with pytest.raises(cr.errors.ArgumentError, match="needs validation"):
        callbacks.on_epoch_end(0, {"loss": 1.0})


@pytest.mark.parametrize("options", [{"steps_per_epoch": 0}, {"validation_freq": 0}, {"steps_per_epoch": 1.5}])
def test_what_fit_cannot_take_is_told(options):
    with pytest.raises(cr.errors.ArgumentError, match=next(iter(options))):
        network().fit(*data(), verbose=0, **options)
