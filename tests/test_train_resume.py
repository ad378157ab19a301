"""Training that is interrupted anywhere and goes on from a file ends with the same bits."""

import json
import math
import queue
import random
import resource
import signal
import threading
import warnings
from contextlib import suppress

import numpy as np
import pytest

import chainrule as cr
from chainrule import errors, metrics, nn, optim
from chainrule.data import ArrayDataset, DataLoader, GaussianNoise, IterableDataset, WeightedRandomSampler
from chainrule.io import load_training, save_training
from chainrule.optim import schedules
from chainrule.train import (
    AverageWeights,
    Callback,
    Checkpoint,
    CSVLogger,
    EarlyStopping,
    JSONLLogger,
    LRScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
    Timer,
)

RNG = np.random.default_rng(5)
IMAGES = RNG.normal(size=(34, 1, 4, 4)).astype(np.float32)
LABELS = RNG.integers(0, 3, 34)
WEIGHTS = RNG.uniform(0.5, 2.0, 34).astype(np.float32)
X = IMAGES.reshape(34, 16)


@pytest.fixture(autouse=True, scope="module")
def no_waiting_for_the_disk():
    """Nobody cuts the power here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("chainrule.io.atomic.os.fsync", lambda fd: None)
        yield


class Stop(Exception):
    """What interrupts."""


class Bomb(Callback):
    """Raises ``error`` at the ``at``-th call of ``hook``; ``when`` None: never."""

    def __init__(self, at=None, hook="on_batch_end", error=Stop):
        self.left, self.hook, self.error = at, hook, error

    def tick(self, hook):
        if self.left is not None and hook == self.hook:
            self.left -= 1
            if self.left < 0:
                raise self.error

    def on_batch_begin(self, batch, logs):
        self.tick("on_batch_begin")

    def on_batch_end(self, batch, logs):
        self.tick("on_batch_end")

    def on_epoch_end(self, epoch, logs):
        self.tick("on_epoch_end")


def weights(model):
    """Every bit of a model and of its optimizer."""
    state = {name: value.numpy().tobytes() for name, value in model.state_dict().items()}
    if hasattr(model, "compiled"):
        saved = model.compiled.optimizer.state_dict()
        state |= {f"{n}/{k}": v.numpy().tobytes() for n, s in saved["state"].items() for k, v in s.items()}
        state["groups"] = repr(saved["param_groups"])
    return state


def everything(folder, seed, bomb=None, every=1, resume=None, epochs=2):
    """A training with all that has a state; returns the model, its history and its files."""
    cr.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(3)
    )  # lazy: of no shape yet
    model.compile(cr.losses.CrossEntropy(), "adam", ["accuracy"], accumulate=3, precision="fp16-mixed", clip_norm=1.0)
    model.compiled.precision.scaler._numbers["scale"].fill_(2.0**16)  # some steps overflow, and are left out
    model.compiled.precision.scaler.growth_interval = 2
    model(cr.tensor(IMAGES[:2]))
    optimizer = model.compiled.optimizer
    callbacks = [
        LRScheduler(schedules.Cosine(optimizer, 20), every="batch"),
        ReduceLROnPlateau("loss", patience=0, min_delta=9.0, factor=0.5),
        EarlyStopping("val_loss", patience=5),
        AverageWeights(optim.EMA(model.parameters(), decay=0.7)),  # what the model has in the end
        ModelCheckpoint(folder / "best-{epoch}.safetensors", save_top_k=1, save_last=True, save_optimizer=True),
        CSVLogger(folder / "log.csv"),
        JSONLLogger(folder / "log.jsonl"),
        *([] if bomb is None else [bomb]),
        Checkpoint(folder / "run.safetensors", every=every),
    ]
    data = ArrayDataset(IMAGES, LABELS, WEIGHTS, transform=GaussianNoise(0.1))
    history = model.fit(
        data, epochs=epochs, batch_size=4, validation_split="auto", class_weight={0: 2.0}, callbacks=callbacks,
        resume=resume, verbose=0,
    )  # fmt: skip
    return model, history


def result(folder, model, history):
    """All that has to be equal."""
    files = {p.name: p.read_bytes() for p in folder.iterdir() if p.name not in ("run.safetensors", "log.jsonl")}
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    for row in rows:
        del row["seconds"]  # on a clock
    return weights(model), history.history, history.epoch, files, rows, model.predict(X).numpy().tobytes()


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    folder = tmp_path_factory.mktemp("straight")
    found = result(folder, *everything(folder, 0))
    assert found[1]["skipped_steps"] == [1, 1] and len(found[4]) == 2  # of three steps each
    return found


STOPS = [(k, "on_batch_end", (1, 2, "epoch")[k % 3]) for k in range(14)]
STOPS += [(k, "on_batch_begin", (2, "epoch", 5)[k % 3]) for k in (0, 3, 6, 7, 8, 13)]
STOPS += [(0, "on_epoch_end", 1), (1, "on_epoch_end", "epoch"), (1, "on_epoch_end", 4)]


@pytest.mark.parametrize(("at", "hook", "every"), STOPS)
def test_an_error_at_any_batch_changes_nothing(tmp_path, straight, at, hook, every):
    with pytest.raises(Stop):
        everything(tmp_path, 0, Bomb(at, hook), every)
    seed = 99 if (tmp_path / "run.safetensors").exists() else 0  # nothing but the file may say how to go on
    assert result(tmp_path, *everything(tmp_path, seed, every=every, resume=True)) == straight


def test_checkpoints_change_nothing_and_several_stops_neither(tmp_path, straight):
    for at in (2, 3, 1, 0, 4):
        with pytest.raises(Stop):
            everything(tmp_path, 0 if at == 2 else at, Bomb(at), every=1, resume=True)
    # the batch of an error has no file: it comes again
    assert result(tmp_path, *everything(tmp_path, 7, resume=tmp_path / "run.safetensors")) == straight


def test_ctrl_c_and_more_epochs_in_the_same_program(tmp_path, straight):
    model, history = everything(tmp_path, 0, Bomb(9, error=KeyboardInterrupt), every=2)
    assert history.interrupted and len(history.epoch) == 1
    model, history = everything(tmp_path, 3, resume=True)
    assert not history.interrupted and result(tmp_path, model, history) == straight
    again = everything(tmp_path, 4, resume=True)  # a training that had ended has nothing to do
    assert result(tmp_path, *again) == straight


# ---- parts, one by one


def network(optimizer=optim.SGD, **options):
    model = nn.Sequential(nn.Linear(16, 6), nn.Dropout(0.5), nn.Linear(6, 3))
    return model.compile("cross_entropy", optimizer(model.parameters(), lr=0.1), **options)


def compared(tmp_path, make, fit, at, every=1):
    """Whether a training that is broken off at batch ``at`` ends as one that is not. ``make`` is given nothing, ``fit`` the
    model, what ``make`` gave, callbacks and resume."""

    def run(seed, resume, bomb, path):
        cr.manual_seed(seed)
        model, *given = make()
        history = fit(model, *given, callbacks=[bomb, Checkpoint(path, every)], resume=resume)
        return weights(model), history.history

    whole = run(0, None, Bomb(), tmp_path / "whole.safetensors")
    with pytest.raises(Stop):
        run(0, None, Bomb(at), tmp_path / "run.safetensors")
    assert run(1, True, Bomb(), tmp_path / "run.safetensors") == whole


def plain(model, *given, callbacks, resume):
    return model.fit(X, LABELS, epochs=3, batch_size=8, callbacks=callbacks, resume=resume, verbose=0)


@pytest.mark.parametrize("name", ["adam", "lbfgs", "nadam", "radam"])
def test_optimizers(tmp_path, name):
    compared(tmp_path, lambda: [nn.Sequential(nn.Linear(16, 3)).compile("cross_entropy", name)], plain, at=8)


def test_accumulated_losses_of_several_kinds_within_a_window(tmp_path):
    class Two(nn.Module):
        output_names = ("a", "b")

        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(16, 3), nn.Linear(16, 3)

        def forward(self, x):
            return {"a": self.a(x), "b": self.b(x)}

    def make():
        masked = cr.losses.CrossEntropy(ignore_index=0)
        return [Two().compile({"a": masked, "b": "cross_entropy"}, "adam", accumulate=4)]

    def fit(model, callbacks, resume):
        y = {"a": LABELS, "b": LABELS}
        return model.fit(X, y, epochs=2, batch_size=8, callbacks=callbacks, resume=resume, verbose=0)

    compared(tmp_path, make, fit, at=3)


@pytest.mark.parametrize("steps", [None, 3])
@pytest.mark.parametrize(
    "loader",
    [
        lambda: DataLoader(ArrayDataset(IMAGES, LABELS), 8, shuffle=True, workers=2, transform=GaussianNoise(0.2)),
        lambda: DataLoader(ArrayDataset(IMAGES, LABELS), 8, sampler=WeightedRandomSampler(WEIGHTS, 20)),
        lambda: DataLoader(IterableDataset(lambda: zip(IMAGES, LABELS, strict=True)), 8),
        lambda: _Plain(),
    ],
)
def test_loaders(tmp_path, loader, steps):
    def make():
        return nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(16, 3)).compile("cross_entropy", "adam"), loader()

    def fit(model, data, callbacks, resume):
        held = DataLoader(ArrayDataset(IMAGES, LABELS), 8, shuffle=True)  # its order does not count, its draws do
        return model.fit(
            data, epochs=3, steps_per_epoch=steps, callbacks=callbacks, resume=resume, verbose=0,
            validation_data=held, validation_steps=2,
        )  # fmt: skip

    compared(tmp_path, make, fit, at=4)


class _Plain:
    """Batches that know no place."""

    def __iter__(self):
        return iter([(IMAGES[i : i + 8], LABELS[i : i + 8]) for i in range(0, 32, 8)])


def test_a_step_of_the_models_own_with_its_optimizer_metric_and_generator(tmp_path):
    class Own(nn.Sequential):
        def train_step(self, batch):
            x, y = batch
            x = x + self.noise.normal(x.shape) * 0.1
            out = self(x)
            loss = cr.losses.CrossEntropy()(out, y)
            for optimizer in (self.first, self.second):
                optimizer.zero_grad()
            loss.backward()
            for optimizer in (self.first, self.second):
                optimizer.step()
            self.seen.update(out, y)
            return {"loss": loss, "seen": self.seen}

    def make():
        model = Own(nn.Linear(16, 4), nn.Linear(4, 3))
        model.first, model.second = optim.Adam(model[0].parameters()), optim.SGD(model[1].parameters(), momentum=0.9)
        model.noise, model.seen = cr.Generator(cr.random.default_generator().fork().get_state()[0]), metrics.Accuracy()
        return [model.compile("cross_entropy", model.first)]

    compared(tmp_path, make, plain, at=3)


@pytest.mark.parametrize("at", [1, 4, 5])
def test_a_model_that_has_no_shape_before_its_first_batch(tmp_path, at):
    def make():
        model = nn.Sequential(nn.Linear(4), nn.BatchNorm1d(), nn.Linear(3))
        return [model.compile("cross_entropy", "adam", accumulate=3)]

    compared(tmp_path, make, plain, at)


def test_overfitting_a_few_batches(tmp_path):
    def fit(model, callbacks, resume):
        return model.fit(
            X, LABELS, epochs=3, batch_size=8, callbacks=callbacks, resume=resume, overfit_batches=3, verbose=0
        )

    compared(tmp_path, lambda: [network()], fit, at=4)


def test_weights_of_16_and_of_64_bits(tmp_path):
    for dtype in ("bfloat16", "float64"):

        def make(dtype=dtype):
            return [nn.Sequential(nn.Linear(16, 3)).to(dtype=dtype).compile("cross_entropy", "adam")]

        compared(tmp_path, make, plain, at=6)


def test_fewer_epochs_than_there_were(tmp_path):
    path, model = tmp_path / "run.safetensors", network()
    with pytest.raises(Stop):
        model.fit(X, LABELS, epochs=5, batch_size=8, callbacks=[Bomb(12), Checkpoint(path, 1)], verbose=0)
    kept = cr.load(path).predict(X).tolist()
    other = network()
    assert other.fit(X, LABELS, epochs=1, batch_size=8, resume=path, verbose=0).epoch == [0, 1]
    assert other.predict(X).tolist() == kept


def test_a_metric_that_keeps_all_scores(tmp_path):
    def make():
        return [nn.Sequential(nn.Linear(16, 3)).compile("cross_entropy", "sgd", ["roc_auc"])]

    compared(tmp_path, make, plain, at=3)


@pytest.mark.parametrize("of_model", [False, True])
def test_callbacks_without_a_state_and_what_they_asked_for(tmp_path, of_model):
    class Enough(Callback):
        def on_batch_end(self, batch, logs):
            (self.model if of_model else self).stop_training = True
            for parameter in self.model[0].parameters():
                parameter.requires_grad = False  # frozen from then on

    def fit(model, callbacks, resume):
        more = [Enough()] if resume is None else []
        return model.fit(X, LABELS, epochs=4, callbacks=[*more, *callbacks], batch_size=8, resume=resume, verbose=0)

    compared(tmp_path, lambda: [network()], fit, at=2)


def test_the_rate_of_a_function_is_set_once_an_epoch(tmp_path):
    def fit(model, callbacks, resume):
        halved = LRScheduler(lambda epoch, lr: lr / 2)
        return model.fit(X, LABELS, epochs=3, batch_size=8, callbacks=[halved, *callbacks], resume=resume, verbose=0)

    compared(tmp_path, lambda: [network()], fit, at=6)


def test_early_stopping_that_had_ended_training_stays_so(tmp_path):
    def run(epochs):
        stopping = EarlyStopping("loss", mode="max", patience=0)
        model = network()
        history = model.fit(
            X, LABELS, epochs=epochs, callbacks=[stopping, Checkpoint(tmp_path / "run.safetensors")], resume=True,
            verbose=0,
        )  # fmt: skip
        return history.history, weights(model)

    assert run(9) == run(12)


def test_patience_and_what_batches_are_told_go_on(tmp_path):
    class Seen(Callback):
        def __init__(self):
            self.seen = []

        def on_batch_end(self, batch, logs):
            self.seen.append((batch, dict(logs)))

    def run(at, resume):
        seen, stopping = Seen(), EarlyStopping("loss", mode="max", patience=2)
        callbacks = [Bomb(at), seen, stopping, Checkpoint(tmp_path / "run.safetensors", 1)]
        cr.manual_seed(0)
        with suppress(Stop):
            network().fit(X, LABELS, epochs=9, batch_size=8, callbacks=callbacks, resume=resume, verbose=0)
        return seen.seen, stopping.stopped_epoch

    whole, end = run(None, None)
    assert 0 < end < 8
    run(12, None)  # in the third epoch, when some patience is lost
    assert run(None, True) == (whole[12:], end)


def test_clocks_do_not_count_the_time_between(tmp_path):
    timer, logger = Timer(), JSONLLogger(tmp_path / "log.jsonl")
    for callback in (timer, logger):
        callback.on_train_begin({})
        callback._start -= 100
    states = timer.state_dict(), logger.state_dict()
    timer, logger = Timer(limit=99), JSONLLogger(tmp_path / "log.jsonl")
    for callback, state in zip((timer, logger), states, strict=True):
        callback.on_train_begin({})
        callback.load_state_dict(state)
        callback.on_epoch_end(0, {"loss": 1.0})
    assert 100 <= timer.total < 150 and timer.stop_training
    assert 100 <= json.loads((tmp_path / "log.jsonl").read_text())["seconds"] < 150


def place_in(path):
    where = cr.io.load_metadata(path)["state"]["where"]
    return where["epoch"], where["batch"], where["batches"]


def test_numbers_of_batches_go_on_counting(tmp_path):
    path = tmp_path / "run.safetensors"
    for resume, at, expected in [(None, 8, (1, 3, 8)), (True, 5, (2, 2, 12)), (True, 2, (2, 2, 12))]:
        with pytest.raises(Stop):
            network().fit(
                X, LABELS, epochs=9, batch_size=8, callbacks=[Bomb(at), Checkpoint(path, 4)], resume=resume, verbose=0
            )
        assert place_in(path) == expected


def test_seconds_write_between_epochs(tmp_path):
    path = tmp_path / "run.safetensors"
    with pytest.raises(Stop):
        network().fit(X, LABELS, batch_size=8, callbacks=[Bomb(3), Checkpoint(path, seconds=0)], verbose=0)
    assert place_in(path) == (0, 3, 3)
    later = tmp_path / "later.safetensors"
    with pytest.raises(Stop):
        network().fit(X, LABELS, batch_size=8, callbacks=[Bomb(3), Checkpoint(later, seconds=99)], verbose=0)
    assert not later.exists()


# ---- what is told


def written(tmp_path, model=None, **options):
    path = tmp_path / "run.safetensors"
    (model or network()).fit(X, LABELS, batch_size=8, callbacks=Checkpoint(path), verbose=0, **options)
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: network().fit(X, LABELS, batch_size=4, resume=path), "batch_size: 8 in the file, 4 here"),
        (lambda path: network().fit(X[:30], LABELS[:30], batch_size=8, resume=path), "samples: 34 in the file, 30"),
        (lambda path: network().fit(X + 1, LABELS, batch_size=8, resume=path), "data: "),
        (lambda path: network(optim.Adam).fit(X, LABELS, batch_size=8, resume=path), "optimizer: 'SGD' in the file"),
        (lambda path: network(accumulate=2).fit(X, LABELS, batch_size=8, resume=path), "accumulate: 1 in the file"),
        (
            lambda path: (
                nn.Sequential(nn.Linear(16, 7), nn.Linear(7, 3))
                .compile("cross_entropy", "sgd")
                .fit(X, LABELS, batch_size=8, resume=path)
            ),
            r"0.bias: shape \(6,\) in the file, \(7\) in the model|1.weight: in the model, not in the file",
        ),
    ],
)
def test_another_training_is_told(tmp_path, change, message):
    with pytest.raises(errors.StateError, match=message):
        change(written(tmp_path))


def test_files_that_are_none(tmp_path, capsys):
    model = network()
    with pytest.raises(errors.MissingFileError, match="does not exist"):
        model.fit(X, LABELS, resume=tmp_path / "none.safetensors", verbose=0)
    with pytest.raises(errors.ArgumentError, match="resume=True goes on from the file of a Checkpoint"):
        model.fit(X, LABELS, resume=True, verbose=0)
    with pytest.raises(errors.ArgumentTypeError, match="resume is 3"):
        model.fit(X, LABELS, resume=3, verbose=0)
    model.save(tmp_path / "model.safetensors")
    with pytest.raises(errors.FileFormatError, match="no training to go on with"):
        model.fit(X, LABELS, resume=tmp_path / "model.safetensors", verbose=0)
    save_training(tmp_path / "mine.safetensors", model=model)
    with pytest.raises(errors.StateError, match=r"not written by a Checkpoint: give its parts to io\.load_training"):
        model.fit(X, LABELS, resume=tmp_path / "mine.safetensors", verbose=0)
    capsys.readouterr()
    model.fit(X, LABELS, callbacks=Checkpoint(tmp_path / "new.safetensors"), resume=True, verbose=2)
    assert "there is no" in capsys.readouterr().out
    network().fit(X, LABELS, epochs=2, callbacks=Checkpoint(tmp_path / "new.safetensors"), resume=True, verbose=2)
    assert "resume: epoch 1, of " in capsys.readouterr().out
    for bad in ("x.pt", "x.onnx"):
        with pytest.raises(errors.ArgumentError, match=r"\[Checkpoint\] .*: a model file ends in \.safetensors"):
            Checkpoint(tmp_path / bad)
    for bad in (0, True, "batch", 1.5):
        with pytest.raises(errors.ArgumentError, match="every is"):
            Checkpoint(tmp_path / "x.safetensors", every=bad)
    with pytest.raises(errors.ArgumentError, match="knows what fit does"):
        Checkpoint(tmp_path / "x.safetensors").on_train_begin({})


def test_a_callback_that_is_gone_is_told(tmp_path):
    path = tmp_path / "run.safetensors"
    network().fit(X, LABELS, callbacks=[EarlyStopping("loss"), Checkpoint(path)], verbose=0)
    with pytest.warns(UserWarning, match="what EarlyStopping remembered"):
        network().fit(X, LABELS, epochs=2, resume=path, verbose=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network().fit(X, LABELS, epochs=2, callbacks=EarlyStopping("loss"), resume=path, verbose=0)


def test_fast_dev_run_leaves_the_file_alone(tmp_path):
    path = written(tmp_path)
    before = path.read_bytes()
    network().fit(X, LABELS, callbacks=Checkpoint(path), resume=True, fast_dev_run=True, verbose=0)
    assert path.read_bytes() == before


def test_the_model_alone_is_in_the_file(tmp_path):
    model = network()
    loaded = cr.load(written(tmp_path, model))
    assert loaded.predict(X).tolist() == model.predict(X).tolist()


# ---- in a loop of one's own


def test_a_loop_written_by_hand_goes_on_to_the_bit(tmp_path):
    def run(seed, batches, resume):
        cr.manual_seed(seed)
        model = nn.Sequential(nn.Linear(16, 6), nn.Dropout(0.5), nn.Linear(6, 3))
        optimizer = optim.Adam(model.parameters(), lr=0.1)
        schedule = schedules.Exponential(optimizer, 0.9)
        average, mine = optim.EMA(model.parameters(), 0.5), cr.Generator(seed)
        loader = DataLoader(ArrayDataset(X, LABELS), 8, shuffle=True)
        parts = {
            "model": model, "optimizer": optimizer, "schedule": schedule, "average": average, "loader": loader, "mine": mine
        }  # fmt: skip
        path, done, seen = tmp_path / "mine.safetensors", 0, []
        if resume:
            state = load_training(path, **parts)
            done, seen = state["done"], state["seen"]
            assert state["best"] == math.inf and state["note"] is None and state["table"].dtype == np.int16
        while done < batches:
            for x, y in loader:
                optimizer.zero_grad()
                loss = cr.losses.CrossEntropy()(model(x + mine.normal(x.shape)), y)
                loss.backward()
                optimizer.step()
                average.update()
                schedule.step()
                done += 1
                seen.append([loss.item(), random.random(), np.random.random()])
                table = np.arange(3, dtype=np.int16)
                save_training(path, **parts, done=done, seen=seen, best=math.inf, note=None, table=table)
                if done == batches:
                    break
        return weights(model), average.state_dict()["values"]["0.weight"].tolist(), seen

    random.seed(1), np.random.seed(1)
    whole = run(0, 11, False)
    for stop in (3, 5, 7):
        random.seed(1), np.random.seed(1)
        run(0, stop, False)
        random.seed(2), np.random.seed(2)
        assert run(9, 11, True) == whole


def test_what_a_file_cannot_hold_and_does_not_have(tmp_path):
    path, model = tmp_path / "mine.safetensors", nn.Sequential(nn.Linear(2, 1))
    for bad in ({1: 2}, {3}, object(), [1j], {"$array": 1}, np.array([None])):
        with pytest.raises(errors.ArgumentError, match=r"mine/a(/0)? is"):
            save_training(path, mine={"a": bad})
    save_training(path, model=model, epoch=3)
    with pytest.raises(errors.FileFormatError, match="unknown part 'modle': did you mean 'model'"):
        load_training(path, modle=model)
    with pytest.raises(errors.ArgumentError, match="int has no load_state_dict"):
        load_training(path, epoch=3)
    other, before = nn.Sequential(nn.Linear(3, 1)), None
    before = weights(other)
    with pytest.raises(errors.StateError, match="does not fit"):
        load_training(path, model=other)
    assert weights(other) == before
    optimizer = optim.Adam(nn.Linear(2, 1).parameters())
    save_training(path, model=model, optimizer=optimizer)
    fresh = nn.Sequential(nn.Linear(2, 1))
    before = weights(fresh)
    with pytest.raises(errors.StateError):
        load_training(path, model=fresh, optimizer=optim.SGD(nn.Linear(2, 1).parameters(), momentum=0.9))
    assert weights(fresh) == before


# ---- versions


def test_a_file_of_an_older_version_is_migrated(tmp_path, monkeypatch):
    from chainrule.io import migrations, weights

    monkeypatch.setattr(migrations, "MIGRATIONS", {})
    path, new, model = written(tmp_path), tmp_path / "new.safetensors", network()

    def as_old():
        """As a version 0 might have been: with "net" for the model and no versions."""
        arrays, metadata = weights.read(path)
        metadata["state"]["net"] = metadata["state"].pop("model")
        del metadata["chainrule"]
        cr.io.save_weights(new, arrays, {**metadata, "format": "chainrule.training.v0"})

    as_old()
    with pytest.raises(
        errors.FileFormatError, match=r"v0', and nothing is registered that makes chainrule\.training\.v0"
    ):
        load_training(new, model=model)

    @cr.io.migration("chainrule.training", 0)
    def first(arrays, metadata):
        state = {**metadata["state"], "model": metadata["state"]["net"]}
        del state["net"]
        return arrays, {**metadata, "state": state}

    with pytest.raises(errors.ArgumentError, match="there is one already"):
        cr.io.migration("chainrule.training", 0)(first)
    load_training(new, model=model)
    assert model.predict(X).tolist() == cr.load(path).predict(X).tolist() == cr.load(new).predict(X).tolist()
    assert network().fit(X, LABELS, epochs=2, batch_size=8, resume=new, verbose=0).epoch == [0, 1]

    arrays, metadata = weights.read(path)
    cr.io.save_weights(new, arrays, {"format": "chainrule.training.v0", "state": 3})
    with pytest.raises(errors.FileFormatError, match="has not what that version has"):
        load_training(new, model=model)
    cr.io.save_weights(new, arrays, {**metadata, "format": "chainrule.training.v7"})
    for read in (lambda: load_training(new, model=model), lambda: network().fit(X, LABELS, resume=new)):
        with pytest.raises(errors.FileFormatError, match="is of version 'chainrule.training.v7', this chainrule reads"):
            read()


def test_a_model_of_an_older_version_is_migrated(tmp_path, monkeypatch):
    from chainrule.io import migrations, weights

    monkeypatch.setattr(migrations, "MIGRATIONS", {})
    model = nn.Sequential(nn.Linear(2, 1))
    model.save(tmp_path / "model.safetensors")
    arrays, metadata = weights.read(tmp_path / "model.safetensors")
    old = {name.replace("weight", "w"): value for name, value in arrays.items()}
    weights.save_weights(tmp_path / "old.safetensors", old, {**metadata, "format": "chainrule.model.v0"})

    @cr.io.migration("chainrule.model", 0)
    def named(arrays, metadata):
        return {name.replace(".w", ".weight"): value for name, value in arrays.items()}, metadata

    assert cr.load(tmp_path / "old.safetensors").predict([[1.0, 2.0]]).item() == model.predict([[1.0, 2.0]]).item()


# ---- files


@pytest.mark.parametrize("name", ["run.npz", "run.h5", "run.json", "run.json.gz", "run"])
def test_training_goes_on_from_every_format(tmp_path, name):
    """Of the formats of ``model.save``, and of a folder; NaN and infinity are among what callbacks remember."""

    def run(folder, epochs, bomb=None):
        cr.manual_seed(0)
        model = nn.Sequential(nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 3))
        model.compile("cross_entropy", "adam", ["accuracy"], accumulate=2, precision="fp16-mixed")
        callbacks = [EarlyStopping("loss", patience=9), *([] if bomb is None else [bomb]), Checkpoint(folder / name, 1)]
        history = model.fit(X, LABELS, epochs=epochs, batch_size=8, callbacks=callbacks, resume=True, verbose=0)
        return weights(model), history["loss"], model.compiled.precision.scaler.state_dict()

    straight = run(tmp_path / "one", 3)
    for at in (2, 4):
        with pytest.raises(Stop):
            run(tmp_path / "two", 3, Bomb(at))
    assert run(tmp_path / "two", 3) == straight
    assert type(cr.load(tmp_path / "two" / name)) is nn.Sequential and (tmp_path / "two" / name).is_dir() == (
        name == "run"
    )


def test_a_damaged_file_is_told_and_changes_nothing(tmp_path):
    path, model = written(tmp_path), network()
    content, before = path.read_bytes(), weights(model)
    for cut in [*range(0, len(content), max(len(content) // 40, 1))]:
        path.write_bytes(content[:cut])
        with pytest.raises(errors.FileFormatError):
            model.fit(X, LABELS, batch_size=8, resume=path, verbose=0)
    for place in range(9, len(content), max(len(content) // 40, 1)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        with pytest.raises((errors.FileFormatError, errors.StateError)):
            model.fit(X, LABELS, batch_size=8, resume=path, verbose=0)
    assert weights(model) == before


def test_a_full_disk_ends_training_and_the_file_before_stands(tmp_path):
    path = written(tmp_path)
    before = path.read_bytes()
    large = network()
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
        with pytest.raises(errors.FileWriteError, match=r"was not written: .*unchanged"):
            large.fit(X, LABELS, epochs=3, batch_size=8, callbacks=Checkpoint(path, 1), resume=True, verbose=0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == [path.name]


def test_readers_see_a_whole_file_while_it_is_overwritten(tmp_path, monkeypatch):
    """Each write is met by two readings: one begins right before the file is replaced, one right after."""
    path, asked, seen = written(tmp_path), queue.Queue(), []
    monkeypatch.setattr("chainrule.io.atomic.os.fsync", asked.put)  # of the file, and then of its folder

    def read():
        for _ in iter(asked.get, None):
            try:
                seen.append(load_training(path)["where"]["batches"])
            except Exception as error:
                seen.append(error)
            asked.task_done()

    class Waits(Callback):
        def on_batch_begin(self, batch, logs):
            asked.join()

    reader = threading.Thread(target=read)
    reader.start()
    try:
        network().fit(X, LABELS, epochs=6, batch_size=8, callbacks=[Waits(), Checkpoint(path, 1)], verbose=0)
    finally:
        asked.put(None)
        reader.join()
    assert [one for one in seen if not isinstance(one, int)] == []
    assert len(seen) >= 60 and {*seen} >= {*range(1, 31)}
