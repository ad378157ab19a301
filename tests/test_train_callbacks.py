"""Callbacks: when they are told, what they do, and that their errors are heard."""

import csv
import math

import numpy as np
import pytest

import chainrule as cr
from chainrule import errors, nn, optim
from chainrule.domain.callback import ICallback
from chainrule.train import Callback, CallbackList, CSVLogger, EarlyStopping, History, ModelCheckpoint

RNG = np.random.default_rng(3)
X, Y = RNG.normal(size=(24, 3)).astype(np.float32), RNG.integers(0, 4, 24)


def model(lr=0.1):
    made = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))
    return made.compile("cross_entropy", optim.SGD(made.parameters(), lr=lr), metrics=["accuracy"])


class Diary(Callback):
    """Writes down what it is told."""

    def __init__(self, name="", lines=None):
        self.name, self.lines = name, [] if lines is None else lines

    def note(self, hook, *args):
        self.lines.append((self.name + hook, *(a for a in args if isinstance(a, int)), sorted(args[-1])))

    def on_train_begin(self, logs):
        self.note("train begin", logs)

    def on_train_end(self, logs):
        self.note("train end", logs)

    def on_epoch_begin(self, epoch, logs):
        self.note("epoch begin", epoch, logs)

    def on_epoch_end(self, epoch, logs):
        self.note("epoch end", epoch, logs)

    def on_batch_begin(self, batch, logs):
        self.note("batch begin", batch, logs)

    def on_batch_end(self, batch, logs):
        self.note("batch end", batch, logs)


def test_the_hooks_are_called_in_order_with_their_logs():
    diary, trained = Diary(), model()
    trained.fit(X, Y, epochs=2, batch_size=16, validation_split=0.25, callbacks=[diary], verbose=0)
    running, finished = ["accuracy", "loss", "samples"], ["accuracy", "loss", "val_accuracy", "val_loss"]
    epoch = [
        line
        for number in (0, 1)
        for line in (
            ("epoch begin", number, []),
            ("batch begin", 0, []),
            ("batch end", 0, running),
            ("batch begin", 1, []),
            ("batch end", 1, running),
            ("epoch end", number, finished),
        )
    ]
    assert diary.lines == [("train begin", []), *epoch, ("train end", finished)]
    assert diary.model is trained


def test_callbacks_are_told_in_the_order_given():
    lines = []
    model().fit(X, Y, callbacks=[Diary("a ", lines), Diary("b ", lines)], verbose=0)
    assert [line[0] for line in lines[:4]] == ["a train begin", "b train begin", "a epoch begin", "b epoch begin"]


def test_the_averages_so_far_can_be_read_at_any_batch():
    seen = []

    class Reads(Callback):
        def on_batch_end(self, batch, logs):
            seen.append((logs["samples"], logs["loss"], dict(logs)["accuracy"]))

    history = model().fit(X, Y, batch_size=10, callbacks=Reads(), verbose=0)
    assert [samples for samples, *_ in seen] == [10, 20, 24]
    assert seen[-1][1:] == (history["loss"][0], history["accuracy"][0])


@pytest.mark.parametrize("hook", ["train_begin", "epoch_begin", "batch_begin", "batch_end", "epoch_end", "train_end"])
def test_an_error_in_a_callback_reaches_the_caller(hook):
    def fail(self, *args):
        raise ZeroDivisionError("mine")

    bad = type("Bad", (Callback,), {f"on_{hook}": fail})()
    with pytest.raises(ZeroDivisionError, match="mine"):
        model().fit(X, Y, callbacks=[bad], verbose=0)


def test_ctrl_c_keeps_the_history_and_the_weights():
    class Interrupts(Callback):
        def on_batch_end(self, batch, logs):
            if self.epoch == 2:
                raise KeyboardInterrupt

        def on_epoch_begin(self, epoch, logs):
            self.epoch = epoch

    diary, trained = Diary(), model()
    before = trained[0].weight.numpy().copy()
    history = trained.fit(X, Y, epochs=5, callbacks=[Interrupts(), diary], verbose=0)
    assert history.interrupted and history.epoch == [0, 1] and len(history["loss"]) == 2
    assert not np.array_equal(trained[0].weight.numpy(), before)
    assert diary.lines[-1][0] == "train end"
    assert all(module.training for module in trained.modules())
    assert not trained.fit(X, Y, verbose=0).interrupted


class Scripted(Callback):
    """A loop written by hand over given values."""

    @staticmethod
    def run(stopping, values, name="val_loss", model=None):
        callbacks = CallbackList([stopping], model)
        callbacks.on_train_begin()
        for epoch, value in enumerate(values):
            if model is not None:
                with cr.no_grad():
                    model.mark[...] = float(epoch)
            callbacks.on_epoch_end(epoch, {name: value})
            if callbacks.stop_training:
                break
        callbacks.on_train_end()
        return epoch


class Marked(nn.Module):
    """A model whose state says which epoch it is of."""

    def __init__(self):
        self.weight = nn.Parameter([0.0])
        self.register_buffer("mark", cr.tensor([0.0]))


@pytest.mark.parametrize(
    ("options", "values", "stops", "best"),
    [
        ({}, [3, 2, 1, 0], 3, 0),  # never
        ({}, [3, 2, 2, 1], 2, 2),  # equal is no improvement
        ({"patience": 1}, [3, 4, 2, 5, 5, 1], 4, 2),
        ({"patience": 2}, [3, 4, 4, 2, 9, 9, 9, 0], 6, 2),
        ({"min_delta": 0.5}, [3, 2.6, 2], 1, 3),
        ({"patience": 1, "min_delta": 0.5}, [3, 2.6, 2, 2, 2], 4, 2),
        ({"mode": "max"}, [1, 2, 1.5], 2, 2),
        ({"patience": 1}, [3, math.nan, 2, math.nan, math.nan, 1], 4, 2),
        ({"monitor": "val_accuracy"}, [0.5, 0.6, 0.55], 2, 0.6),
    ],
)
def test_early_stopping_stops_after_more_than_patience_epochs(options, values, stops, best):
    stopping = EarlyStopping(**options)
    marked = Marked()
    assert Scripted.run(stopping, values, options.get("monitor", "val_loss"), marked) == stops
    assert stopping.best == best
    assert values[stopping.best_epoch] == best
    assert marked.mark.item() == stopping.best_epoch  # a buffer is restored as well
    assert stopping.stopped_epoch == (stops if stopping.stop_training else -1)


def test_early_stopping_leaves_the_last_weights_if_told():
    marked = Marked()
    Scripted.run(EarlyStopping(restore_best_weights=False), [1, 2], model=marked)
    assert marked.mark.item() == 1


def test_early_stopping_in_fit_restores_the_best_parameters_and_buffers():
    states = []

    class Keeps(Callback):
        def on_epoch_end(self, epoch, logs):
            states.append({k: v.numpy().copy() for k, v in self.model.state_dict().items()})

    trained, stopping = model(lr=0.5), EarlyStopping(patience=3)
    history = trained.fit(X, Y, epochs=60, validation_split=0.25, callbacks=[stopping, Keeps()], verbose=0)
    assert len(history.epoch) < 60 and stopping.best == min(history["val_loss"])
    best = states[int(np.argmin(history["val_loss"]))]
    assert {"1.running_mean", "1.running_var"} <= best.keys()
    for name, value in trained.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), best[name])
    assert trained.evaluate(X[18:], Y[18:])["loss"] == min(history["val_loss"])


def test_early_stopping_restores_after_ctrl_c_and_starts_afresh():
    class Interrupts(Callback):
        def on_epoch_end(self, epoch, logs):
            if epoch == 3:
                raise KeyboardInterrupt

    trained, stopping = model(lr=5.0), EarlyStopping("loss", patience=10)
    history = trained.fit(X, Y, epochs=9, callbacks=[stopping, Interrupts()], verbose=0)
    assert history.interrupted and stopping.best_epoch >= 0
    assert len(trained.fit(X, Y, epochs=2, callbacks=[stopping], verbose=0)) == 2


@pytest.mark.parametrize(
    ("monitor", "message"),
    [
        ("val_loss", "'val_loss' needs validation: give fit validation_data or validation_split, or monitor='loss'"),
        ("los", "unknown value to monitor in EarlyStopping 'los': did you mean 'loss'"),
        ("val_f1", "unknown value to monitor in EarlyStopping 'val_f1'"),
    ],
)
def test_what_is_watched_has_to_be_reported(monitor, message):
    trained = model()
    before = trained[0].weight.numpy().copy()
    with pytest.raises(errors.ArgumentError, match=message):
        trained.fit(X, Y, epochs=2, callbacks=[EarlyStopping(monitor, mode="min")], verbose=0)
    np.testing.assert_array_equal(trained[0].weight.numpy(), before)


def test_bad_arguments_of_early_stopping():
    with pytest.raises(errors.ArgumentError, match="unknown mode 'mni': did you mean 'min'"):
        EarlyStopping(mode="mni")
    with pytest.raises(errors.ArgumentError, match="patience is -1"):
        EarlyStopping(patience=-1)
    with pytest.raises(errors.ArgumentError, match="min_delta"):
        EarlyStopping(min_delta=math.nan)
    with pytest.raises(errors.ArgumentError, match="cannot tell whether a smaller or a larger 'vigour'"):
        Scripted.run(EarlyStopping("vigour"), [1], "vigour")


def test_model_checkpoint_saves_every_epoch_under_its_name(tmp_path):
    checkpoint = ModelCheckpoint(tmp_path / "{epoch:02d}-{val_loss:.3f}.safetensors")
    trained = model()
    history = trained.fit(X, Y, epochs=2, validation_split=0.25, callbacks=[checkpoint], verbose=0)
    names = [f"{e + 1:02d}-{loss:.3f}.safetensors" for e, loss in enumerate(history["val_loss"])]
    assert [path.name for path in checkpoint.saved] == names == sorted(p.name for p in tmp_path.iterdir())
    last = cr.load(checkpoint.saved[-1])
    np.testing.assert_array_equal(last.predict(X).numpy(), trained.predict(X).numpy())


def test_model_checkpoint_keeps_the_best(tmp_path):
    best = ModelCheckpoint(tmp_path / "best.safetensors", "val_accuracy", save_best_only=True)
    stopping = EarlyStopping("val_accuracy", patience=100)
    trained = model(lr=0.5)
    history = trained.fit(X, Y, epochs=8, validation_split=0.25, callbacks=[best, stopping], verbose=0)
    assert best.best == max(history["val_accuracy"])
    np.testing.assert_array_equal(cr.load(tmp_path / "best.safetensors").predict(X).numpy(), trained.predict(X).numpy())


@pytest.mark.parametrize(
    ("path", "message"), [("{los}.safetensors", "unknown name in the file"), ("{}", "cannot be filled")]
)
def test_model_checkpoint_with_a_bad_path_stops_before_training(tmp_path, path, message):
    with pytest.raises(errors.ArgumentError, match=message):
        model().fit(X, Y, callbacks=[ModelCheckpoint(tmp_path / path)], verbose=0)


def test_history_as_a_table(tmp_path):
    history = model().fit(X, Y, epochs=3, validation_split=0.25, verbose=0)
    history.to_csv(tmp_path / "deep" / "history.csv")
    rows = list(csv.DictReader((tmp_path / "deep" / "history.csv").read_text().splitlines()))
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3]
    for name, values in history.history.items():
        assert [float(row[name]) for row in rows] == values
    assert repr(history).startswith("History(3 epochs: loss=")
    with pytest.raises(errors.ArgumentError, match="unknown entry of the history 'val_los': did you mean 'val_loss'"):
        history["val_los"]


def test_history_with_names_that_come_later():
    history = History()
    history.on_epoch_end(0, {"loss": 1.0})
    history.on_epoch_end(1, {"loss": 0.5, "lr": 0.1})
    history.on_epoch_end(2, {"lr": 0.2})
    np.testing.assert_array_equal(history["loss"], [1.0, 0.5, math.nan])
    np.testing.assert_array_equal(history["lr"], [math.nan, 0.1, 0.2])


@pytest.mark.parametrize(("suffix", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_history_plots(tmp_path, suffix, magic):
    history = model().fit(X, Y, epochs=3, validation_split=0.25, verbose=0)
    figure = history.plot(tmp_path / f"history.{suffix}")
    assert (tmp_path / f"history.{suffix}").read_bytes().startswith(magic)
    assert [[line.get_label() for line in axes.lines] for axes in figure.axes] == [
        ["loss", "val_loss"],
        ["accuracy", "val_accuracy"],
    ]


def test_history_plot_says_what_is_missing(monkeypatch):
    history = History()
    with pytest.raises(errors.DataError, match="nothing to plot"):
        history.plot()
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(errors.MissingDependencyError, match=r"pip install 'chainrule\[plot\]'"):
        history.plot()


def test_csv_logger_writes_after_every_epoch(tmp_path):
    path = tmp_path / "log.csv"
    lines = []

    class Reads(Callback):
        def on_epoch_end(self, epoch, logs):
            lines.append(len(path.read_text().splitlines()))

    logger = CSVLogger(path)
    history = model().fit(X, Y, epochs=3, callbacks=[logger, Reads()], verbose=0)
    assert lines == [2, 3, 4]
    assert logger.history == history.history
    model().fit(X, Y, epochs=1, callbacks=[logger], verbose=0)
    assert len(path.read_text().splitlines()) == 2


def test_the_contract():
    for made in (Callback(), History(), EarlyStopping(), ModelCheckpoint("a"), CSVLogger("b")):
        assert isinstance(made, ICallback)
