"""Callbacks: when they are told, what they do, and that their errors are heard."""

import csv
import io
import math
import types

import numpy as np
import pytest

import chainrule as cr
from chainrule import errors, nn, optim, train
from chainrule.domain.callback import ICallback
from chainrule.train import Callback, CallbackList, EarlyStopping, History

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


def test_the_end_is_told_to_all_for_whom_training_began_though_some_fail():
    class Fails(Diary):
        def on_train_begin(self, logs):
            if self.name == "fails at the beginning ":
                raise ZeroDivisionError("mine")

        def on_train_end(self, logs):
            super().on_train_end(logs)
            raise ValueError(self.name)

    lines = []
    callbacks = CallbackList([Diary("a ", lines), Fails("b ", lines), Diary("c ", lines)], None)
    callbacks.on_train_begin()
    with pytest.raises(ValueError, match="b "):
        callbacks.on_train_end()
    callbacks.on_train_end()
    assert lines == [
        (line, []) for line in ("a train begin", "c train begin", "a train end", "b train end", "c train end")
    ]
    lines.clear()
    callbacks = CallbackList([Diary("a ", lines), Fails("fails at the beginning ", lines), Diary("c ", lines)], None)
    with pytest.raises(ZeroDivisionError, match="mine"):
        callbacks.on_train_begin()
    callbacks.on_train_end()
    assert [line[0] for line in lines] == ["a train begin", "a train end"]


def test_a_loop_may_tell_of_the_ends_of_epochs_alone():
    timer, out = train.Timer(), io.StringIO()
    callbacks = CallbackList(
        [timer, train.ProgressBar(file=out), EarlyStopping("loss", restore_best_weights=False)], None
    )
    with pytest.raises(errors.ArgumentError, match=r"call on_train_begin\(\) before the loop"):
        callbacks.on_epoch_end(0, {"loss": 1.0})
    callbacks.on_train_begin()
    for epoch in range(2):
        callbacks.on_epoch_end(epoch, {"loss": 1.0})
    callbacks.on_train_end()
    assert len(timer.epochs) == 2 and callbacks.stop_training
    assert [line.split(" · ")[0::2] for line in out.getvalue().splitlines()] == [
        ["Epoch 1", "loss 1.0000"], ["Epoch 2", "loss 1.0000"],
    ]  # fmt: skip


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


@pytest.mark.parametrize("end", ["patience", "epochs", "error", "ctrl-c"])
def test_early_stopping_restores_the_optimizer_and_training_goes_on_from_there(end):
    """However training ends, the next steps are those of a training that ended at the best epoch."""
    best = 2
    values = [3.0, 2.0, 1.0, 5.0, math.nan]

    def trained(epochs, stopping):
        cr.manual_seed(8)
        made = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))
        made.compile("cross_entropy", "adam")
        callbacks = CallbackList([stopping], made)
        callbacks.on_train_begin()
        for epoch in range(epochs):
            made.train_on_batch(X, Y)
            if epoch > best:
                made.compiled.optimizer.lr = 0.5  # a schedule's doing
            callbacks.on_epoch_end(epoch, {"val_loss": values[epoch]})
            if callbacks.stop_training:
                break
        callbacks.on_train_end()
        return made

    stopping = EarlyStopping(patience={"patience": 1}.get(end, 9))
    early, late = trained(best + 1, EarlyStopping(restore_best_weights=False)), trained(5, stopping)
    assert stopping.stop_training == (end == "patience") and stopping.best == 1.0
    assert late.compiled.optimizer.lr == early.compiled.optimizer.lr == 0.001
    for _ in range(2):
        assert late.train_on_batch(X, Y) == early.train_on_batch(X, Y)
    for a, b in zip(early.state_dict().values(), late.state_dict().values(), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


@pytest.mark.parametrize(
    ("options", "values", "stops", "best"),
    [
        ({"baseline": 1.0, "patience": 1}, [3, 2.5, 2, 0.5], 1, 2.5),  # gets better, but not to the baseline in time
        ({"baseline": 1.0, "patience": 2}, [3, 2.5, 0.5, 2, 2, 2], 5, 0.5),
        ({"baseline": 0.7, "monitor": "val_accuracy"}, [0.8, 0.75], 1, 0.8),
        ({"start_from_epoch": 2}, [1, 5, 4, 3, 3.5], 4, 3),  # what came before does not count
        ({"start_from_epoch": 3, "patience": 1}, [1, 2, 3, 4, 5, 6], 5, 4),
        ({}, [math.nan, 1], 0, math.inf),
    ],
)
def test_early_stopping_with_a_baseline_and_a_late_start(options, values, stops, best):
    stopping, marked = EarlyStopping(**options), Marked()
    assert Scripted.run(stopping, values, options.get("monitor", "val_loss"), marked) == stops
    assert stopping.best == best
    assert marked.mark.item() == (stopping.best_epoch if math.isfinite(best) else stops)


def test_the_learning_rate_is_in_the_logs_of_those_who_change_it():
    made = model(lr=0.5)
    schedule = optim.schedules.Exponential(made.compiled.optimizer, gamma=0.5)
    seen = []
    tells = train.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(logs["lr"]))  # stands before
    history = made.fit(X, Y, epochs=3, callbacks=[tells, train.LRScheduler(schedule)], verbose=0)
    assert seen == history["lr"] == [0.5, 0.25, 0.125]
    plateau = train.ReduceLROnPlateau("loss", factor=0.5, patience=0, min_delta=100.0)
    assert model(lr=0.5).fit(X, Y, epochs=3, callbacks=plateau, verbose=0)["lr"] == [0.5, 0.5, 0.25]
    assert model(lr=0.5).fit(X, Y, callbacks=train.LearningRateMonitor(), verbose=0)["lr"] == [0.5]
    assert "lr" not in model().fit(X, Y, verbose=0)


def test_every_callback_works_from_a_loop_written_by_hand(tmp_path):
    """Ten lines, no compile: what the callbacks need is given to them."""
    cr.manual_seed(3)
    network = nn.Sequential(nn.Linear(3, 4))
    optimizer, loss = optim.SGD(network.parameters(), lr=0.5), cr.losses.CrossEntropy()
    average = optim.EMA(network.parameters(), decay=0.5)
    timer, history, told, out = train.Timer(), History(), [], io.StringIO()
    given = [
        EarlyStopping("loss", patience=5, optimizer=optimizer),
        train.ModelCheckpoint(tmp_path / "best.safetensors", "loss", save_best_only=True),
        train.ReduceLROnPlateau("loss", patience=0, factor=0.5, min_delta=10.0, optimizer=optimizer),
        train.LRScheduler(lambda epoch, lr: lr, optimizer=optimizer),
        train.CSVLogger(tmp_path / "log.csv"),
        train.JSONLLogger(tmp_path / "log.jsonl"),
        train.TensorBoard(tmp_path / "board"),
        train.TerminateOnNaN(),
        train.ProgressBar(epochs=3, samples=len(X), file=out),
        train.LambdaCallback(on_epoch_end=lambda epoch, logs: told.append(epoch)),
        timer,
        train.AverageWeights(average),
        history,
    ]
    callbacks = CallbackList(given, network)
    callbacks.on_train_begin()
    for epoch in range(3):
        callbacks.on_epoch_begin(epoch)
        callbacks.on_batch_begin(0)
        value = loss(network(cr.tensor(X)), cr.tensor(Y))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        callbacks.on_batch_end(0, {"loss": value.item(), "samples": len(X)})
        callbacks.on_epoch_end(epoch, {"loss": value.item()})
        if callbacks.stop_training:
            break
    callbacks.on_train_end()
    assert told == history.epoch == [0, 1, 2] and history["loss"] == sorted(history["loss"], reverse=True)
    assert history["lr"] == [0.5, 0.5, 0.25] and average.updates == 3 and len(timer.epochs) == 3
    assert (tmp_path / "log.csv").read_text().count("\n") == 4
    assert (tmp_path / "log.jsonl").read_text().count("\n") == 3
    assert [p.name for p in sorted((tmp_path / "board").iterdir())] == ["train"]
    assert out.getvalue().count("Epoch ") == 3
    best = cr.load(tmp_path / "best.safetensors")[0].weight.numpy()
    np.testing.assert_array_equal(best, average.values["0.weight"].numpy())


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


def test_history_as_a_dataframe(monkeypatch):
    history = History()
    history.on_epoch_end(4, {"loss": 0.5})
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(errors.MissingDependencyError, match="pip install pandas"):
        history.to_dataframe()
    pandas = types.SimpleNamespace(
        DataFrame=lambda data, index: (data, index), Index=lambda values, name: (values, name)
    )
    monkeypatch.setitem(__import__("sys").modules, "pandas", pandas)
    assert history.to_dataframe() == ({"loss": [0.5]}, ([5], "epoch"))


def test_history_in_a_notebook(monkeypatch):
    history = History()
    assert history._repr_html_() == "<pre>History(0 epochs)</pre>"
    history.on_epoch_end(0, {"loss": 0.5})
    shown = history._repr_html_()
    assert shown.startswith("<div><svg") and "<pre>History(1 epochs: loss=0.5)</pre>" in shown
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    assert "<svg" not in history._repr_html_()


def test_the_history_until_an_error_is_kept():
    class Fails(Callback):
        def on_batch_end(self, batch, logs):
            if self.epoch == 2:
                raise ZeroDivisionError("mine")

        def on_epoch_begin(self, epoch, logs):
            self.epoch = epoch

    trained, diary, stopping = model(lr=5.0), Diary(), EarlyStopping("loss")
    with pytest.raises(ZeroDivisionError, match="mine"):
        trained.fit(X, Y, epochs=5, callbacks=[Fails(), stopping, diary], verbose=0)
    assert trained.history.epoch == [0, 1] and len(trained.history["loss"]) == 2
    assert diary.lines[-1][0] == "train end"
    assert trained.fit(X, Y, verbose=0) is trained.history

    class Remembers(nn.Sequential):
        def __init__(self):
            super().__init__(nn.Linear(3, 4))
            self.history = "of mine"

    own = Remembers().compile("cross_entropy", "sgd")
    own.fit(X, Y, verbose=0)
    assert own.history == "of mine"


def test_history_with_names_that_come_later():
    history = History()
    history.on_epoch_end(0, {"loss": 1.0})
    history.on_epoch_end(1, {"loss": 0.5, "lr": 0.1})
    history.on_epoch_end(2, {"lr": 0.2})
    np.testing.assert_array_equal(history["loss"], [1.0, 0.5, math.nan])
    np.testing.assert_array_equal(history["lr"], [math.nan, 0.1, 0.2])


@pytest.mark.parametrize(("suffix", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_history_plots(tmp_path, suffix, magic):
    tells = train.LearningRateMonitor()
    history = model().fit(X, Y, epochs=3, validation_split=0.25, callbacks=tells, verbose=0)
    figure = history.plot(tmp_path / f"history.{suffix}")
    assert (tmp_path / f"history.{suffix}").read_bytes().startswith(magic)
    assert [[line.get_label() for line in axes.lines] for axes in figure.axes] == [
        ["loss", "val_loss"],
        ["accuracy", "val_accuracy"],
        ["lr"],
    ]


def test_lr_find_plots(tmp_path):
    trial = model().lr_find(X, Y, steps=5, start=1e-4)
    figure = trial.plot(tmp_path / "trial.png")
    assert (tmp_path / "trial.png").read_bytes().startswith(b"\x89PNG")
    curve, suggestion = figure.axes[0].lines
    assert [*curve.get_xdata()] == trial.rates and [*curve.get_ydata()] == trial.losses
    assert suggestion.get_xdata()[0] == trial.suggestion and "<svg" in trial._repr_html_()
    with pytest.raises(errors.DataError, match="nothing to plot"):
        train.Trial([], []).plot()


def test_history_plot_says_what_is_missing(monkeypatch):
    history = History()
    with pytest.raises(errors.DataError, match="nothing to plot"):
        history.plot()
    history.on_epoch_end(0, {"loss": 0.5})
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(errors.MissingDependencyError, match=r"pip install 'chainrule\[plot\]'"):
        history.plot()


def test_the_contract():
    names = "EarlyStopping TerminateOnNaN LearningRateMonitor LambdaCallback Timer History ProgressBar Callback".split()
    made = [getattr(train, name)() for name in names]
    made += [
        train.ModelCheckpoint("a.safetensors"),
        train.CSVLogger("b"),
        train.JSONLLogger("c"),
        train.TensorBoard("d"),
    ]
    made += [train.ReduceLROnPlateau(), train.LRScheduler(lambda epoch, lr: lr)]
    for callback in made:
        assert isinstance(callback, ICallback)
