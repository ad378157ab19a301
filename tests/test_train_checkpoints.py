"""ModelCheckpoint: which files stand, what is in them, and that a good one is never lost."""

import math
import os
import subprocess
import sys

import numpy as np
import pytest

import chainrule as cr
from chainrule import errors, nn, optim
from chainrule.train import Callback, CallbackList, EarlyStopping, LRScheduler, ModelCheckpoint

RNG = np.random.default_rng(3)
X, Y = RNG.normal(size=(24, 3)).astype(np.float32), RNG.integers(0, 4, 24)


def model(lr=0.1, optimizer=optim.SGD):
    made = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))
    return made.compile("cross_entropy", optimizer(made.parameters(), lr=lr), metrics=["accuracy"])


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
    ("path", "message"), [("{los}.safetensors", "unknown name in the file"), ("{}.safetensors", "cannot be filled")]
)
def test_model_checkpoint_with_a_bad_path_stops_before_training(tmp_path, path, message):
    with pytest.raises(errors.ArgumentError, match=message):
        model().fit(X, Y, callbacks=[ModelCheckpoint(tmp_path / path)], verbose=0)


def run(checkpoint, values, network=None, start=0):
    """A loop written by hand over given values: the bias of the model says which epoch it is of."""
    network = nn.Linear(1, 1) if network is None else network
    callbacks = CallbackList([checkpoint], network)
    callbacks.on_train_begin()
    for epoch, value in enumerate(values, start):
        network.bias.load([float(epoch + 1)])
        callbacks.on_batch_end(0, {"val_loss": value})
        callbacks.on_epoch_end(epoch, {"val_loss": value})
    callbacks.on_train_end()
    return network


def epochs(folder):
    """The files by name: of which epoch each is."""
    return {path.name: int(cr.load(path).bias.item()) for path in sorted(folder.glob("*.safetensors"))}


@pytest.mark.parametrize(
    ("k", "values", "kept", "best"),
    [
        (1, [3, 2, 4, 2, 1], [5], 5),
        (2, [3, 1, 4, 2, 5], [2, 4], 2),
        (3, [1, 2, 3, 4], [1, 2, 3], 1),
        (2, [math.nan, 5, math.nan, 4], [2, 4], 4),  # a file of NaN stands until there is a better
        (2, [math.nan], [1], 1),
        (2, [2, 2, 2], [1, 2], 1),  # of equals the first
        (-1, [3, 1, 2], [1, 2, 3], 3),
        (0, [3, 1, 2], [], None),
    ],
)
def test_the_k_best_have_files(tmp_path, k, values, kept, best):
    checkpoint = ModelCheckpoint(tmp_path / "{epoch}.safetensors", save_top_k=k)
    run(checkpoint, values)
    assert epochs(tmp_path) == {f"{e}.safetensors": e for e in kept}
    assert checkpoint.best_model_path == (None if best is None else tmp_path / f"{best}.safetensors")
    assert sorted(checkpoint.saved) == sorted(tmp_path.iterdir())
    if k > 0:
        assert checkpoint.best_model_score == values[best - 1] or math.isnan(values[best - 1])
    else:
        assert checkpoint.best_model_score is None


def test_larger_may_be_better(tmp_path):
    run(ModelCheckpoint(tmp_path / "{epoch}.safetensors", mode="max", save_top_k=2), [3, 1, 4, 2])
    assert [*epochs(tmp_path).values()] == [1, 3]


def test_save_best_only_keeps_each_that_was_best(tmp_path):
    checkpoint = ModelCheckpoint(tmp_path / "{epoch}.safetensors", save_best_only=True)
    run(checkpoint, [3, 4, 2, 2])
    assert [*epochs(tmp_path).values()] == [1, 3] and checkpoint.best_model_score == 2
    other = ModelCheckpoint(tmp_path / "b.safetensors", save_best_only=True, initial_value_threshold=2.5)
    run(other, [3, 2.6])
    assert other.best_model_path is None
    run(other, [2.4])
    assert other.best_model_path == tmp_path / "b.safetensors"


def test_a_name_twice_is_the_better_one(tmp_path):
    checkpoint = ModelCheckpoint(tmp_path / "{val_loss:.0f}.safetensors", save_top_k=2)
    run(checkpoint, [1.4, 1.2, 1.3])
    assert epochs(tmp_path) == {"1.safetensors": 2} and checkpoint.best_model_score == 1.2


def test_every_n_epochs_and_the_last(tmp_path):
    checkpoint = ModelCheckpoint(tmp_path / "{epoch}.safetensors", every_n_epochs=2, save_last=True)
    assert checkpoint.last_model_path is None
    run(checkpoint, [1, 1, 1, 1, 1])
    assert epochs(tmp_path) == {"2.safetensors": 2, "4.safetensors": 4, "last.safetensors": 4}
    assert checkpoint.last_model_path == tmp_path / "last.safetensors"
    elsewhere = ModelCheckpoint(tmp_path / "{epoch}.safetensors", save_top_k=0, save_last=tmp_path / "z.safetensors")
    run(elsewhere, [1, 1, 1])
    assert epochs(tmp_path)["z.safetensors"] == 3


def test_an_interrupted_epoch_is_the_last(tmp_path):
    class Interrupts(Callback):
        def on_batch_end(self, batch, logs):
            if batch == 2:
                raise KeyboardInterrupt

    checkpoint = ModelCheckpoint(tmp_path / "{epoch}.safetensors", save_last=True)
    trained = model()
    history = trained.fit(X, Y, batch_size=4, callbacks=[checkpoint, Interrupts()], verbose=0)
    assert history.interrupted and checkpoint.saved == []
    again = cr.load(tmp_path / "last.safetensors")
    np.testing.assert_array_equal(again[0].weight.numpy(), trained[0].weight.numpy())


def test_a_second_fit_goes_on_and_another_model_begins_anew(tmp_path):
    checkpoint = ModelCheckpoint(tmp_path / "{epoch}.safetensors", save_top_k=2)
    network = run(checkpoint, [3, 1])
    run(checkpoint, [2, 4], network, start=2)
    assert [*epochs(tmp_path).values()] == [2, 3]
    run(checkpoint, [9])
    assert checkpoint.saved == [tmp_path / "1.safetensors"]
    assert [*epochs(tmp_path).values()] == [1, 2, 3]  # the files of the other training are not its to remove


def test_a_rerun_of_the_program_replaces_its_files(tmp_path):
    for _ in range(2):
        run(ModelCheckpoint(tmp_path / "{epoch}.safetensors", save_top_k=2), [3, 1, 2])
        assert [*epochs(tmp_path).values()] == [2, 3]


def test_weights_alone(tmp_path):
    checkpoint = ModelCheckpoint(tmp_path / "w.safetensors", save_weights_only=True)
    trained, again = model(), model()
    trained.fit(X, Y, callbacks=checkpoint, verbose=0)
    with pytest.raises(errors.FileFormatError, match="has weights but no model"):
        cr.load(tmp_path / "w.safetensors")
    again.load_state_dict(cr.io.load_weights(tmp_path / "w.safetensors"))
    np.testing.assert_array_equal(again.predict(X).numpy(), trained.predict(X).numpy())


@pytest.mark.parametrize("optimizer", [optim.Adam, optim.LBFGS])
def test_the_optimizer_goes_into_the_file(tmp_path, optimizer):
    """Training goes on from the file as it would have from memory."""
    path = tmp_path / "m.safetensors"
    trained = nn.Sequential(nn.Linear(3, 4))
    one = optimizer([("first", trained[0].weight), ("second", trained[0].bias)], lr=0.05)

    def step(network, optimizer):
        def closure():
            optimizer.zero_grad()
            loss = cr.losses.cross_entropy(network(cr.tensor(X)), cr.tensor(Y))
            loss.backward()
            return loss

        if isinstance(optimizer, optim.LBFGS):
            return optimizer.step(closure).item()
        value = closure().item()
        optimizer.step()
        return value

    step(trained, one)
    step(trained, one)
    trained.save(path, optimizer=one)
    again = cr.load(path)
    other = optimizer([("first", again[0].weight), ("second", again[0].bias)], lr=0.5)
    cr.io.load_optimizer(path, other)
    assert other.lr == 0.05
    assert [step(again, other) for _ in range(3)] == [step(trained, one) for _ in range(3)]
    with pytest.raises(errors.StateError, match="lacks: 0.weight, 0.bias"):
        cr.io.load_optimizer(path, optimizer(nn.Sequential(nn.Linear(3, 4)).parameters()))
    trained.save(path)
    with pytest.raises(errors.FileFormatError, match="has no state of an optimizer: save it by"):
        cr.io.load_optimizer(path, other)


def test_checkpoints_with_the_optimizer(tmp_path):
    trained = model(optimizer=optim.Adam)
    schedule = LRScheduler(lambda epoch, lr: lr / 2)
    checkpoint = ModelCheckpoint(tmp_path / "{epoch}-{lr}.safetensors", save_optimizer=True)
    trained.fit(X, Y, epochs=2, callbacks=[schedule, checkpoint], verbose=0)
    assert [path.name for path in checkpoint.saved] == ["1-0.05.safetensors", "2-0.025.safetensors"]
    again = cr.load(checkpoint.best_model_path)
    again.compile("cross_entropy", optim.Adam(again.parameters()), metrics=["accuracy"])
    cr.io.load_optimizer(checkpoint.best_model_path, again.compiled.optimizer)
    assert again.train_on_batch(X, Y) == trained.train_on_batch(X, Y)


def test_an_optimizer_that_is_nowhere_is_told_before_training(tmp_path):
    checkpoint = ModelCheckpoint(tmp_path / "{epoch}.safetensors", save_optimizer=True)
    with pytest.raises(errors.NotCompiledError, match="ModelCheckpoint"):
        run(checkpoint, [1])
    network = nn.Linear(1, 1)
    given = ModelCheckpoint(
        tmp_path / "{epoch}.safetensors", save_optimizer=True, optimizer=optim.SGD(network.parameters(), lr=0.5)
    )
    run(given, [1], network)
    other = optim.SGD(network.parameters())
    cr.io.load_optimizer(tmp_path / "1.safetensors", other)
    assert other.lr == 0.5


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".h5", ".json", ".json.gz", ""])
def test_the_suffix_says_the_format(tmp_path, suffix):
    """As in ``model.save``; none is a folder, of which nothing stays when it is removed."""
    checkpoint = ModelCheckpoint(
        tmp_path / f"{{epoch}}{suffix}", "loss", save_top_k=1, save_last=True, save_optimizer=True
    )
    trained = model()
    trained.fit(X, Y, epochs=3, callbacks=checkpoint, verbose=0)
    best = checkpoint.best_model_path
    assert sorted(os.listdir(tmp_path)) == sorted([best.name, f"last{suffix}"])
    again = model(optimizer=optim.SGD)
    cr.io.load_optimizer(best, again)
    assert cr.load(tmp_path / f"last{suffix}").predict(X).shape == (24, 4) and checkpoint.last_model_path.exists()
    weights = ModelCheckpoint(f"{tmp_path}/w{{epoch}}.{{loss:.1f}}{suffix or '/'}", save_weights_only=True)
    trained.fit(X, Y, callbacks=weights, verbose=0)
    trained.load_weights(weights.saved[0])
    assert weights.saved[0].name.endswith(suffix) and weights.saved[0].is_dir() == (suffix == "")


def test_the_loss_scaler_is_kept_with_the_optimizer(tmp_path):
    def made():
        network = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 4))
        return network.compile("cross_entropy", "adam", precision="fp16-mixed")

    trained = made()
    trained.compiled.precision.scaler.growth_interval = 2
    trained.fit(X, Y, epochs=2, batch_size=8, verbose=0)
    scaler = trained.compiled.precision.scaler
    assert scaler.get_scale() != 2.0**16  # which it begins with
    for suffix in (".safetensors", ".json", "/"):
        trained.save(f"{tmp_path}/m{suffix}", optimizer=trained.compiled.optimizer)
        again = made()
        cr.io.load_optimizer(f"{tmp_path}/m{suffix}", again)
        assert again.compiled.precision.scaler.state_dict() == scaler.state_dict()
        plain = model(optimizer=optim.Adam)
        with pytest.raises(errors.StateError):  # of another model: neither is changed
            before = plain.compiled.optimizer.state_dict()["state"]
            cr.io.load_optimizer(f"{tmp_path}/m{suffix}", plain)
        assert plain.compiled.optimizer.state_dict()["state"] == before
    wrong = nn.Sequential(nn.Linear(3, 4)).compile("cross_entropy", "adam", precision="fp16-mixed")
    with pytest.raises(errors.StateError):
        cr.io.load_optimizer(f"{tmp_path}/m.json", wrong)
    assert wrong.compiled.precision.scaler.get_scale() == 2.0**16
    trained.save(tmp_path / "other.npz", optimizer=optim.SGD(trained.parameters()))  # not what it was compiled with
    assert "scaler" not in cr.io.load_metadata(tmp_path / "other.npz")["optimizer"]
    cr.io.load_optimizer(tmp_path / "other.npz", optim.SGD(trained.parameters()))
    with pytest.raises(errors.ArgumentError, match="the model is not compiled"):
        cr.io.load_optimizer(tmp_path / "other.npz", nn.Linear(2, 2))


FULL = """
import resource, signal, sys
from pathlib import Path
import chainrule as cr
from chainrule.train import CallbackList, ModelCheckpoint

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
folder = Path(sys.argv[1])
network = cr.nn.Linear(300, 300)
checkpoint = ModelCheckpoint(folder / "{epoch}.safetensors", save_top_k=1, save_last=True)
callbacks = CallbackList([checkpoint], network)
callbacks.on_train_begin()
callbacks.on_epoch_end(0, {"val_loss": 2.0})
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    callbacks.on_epoch_end(1, {"val_loss": 1.0})
except cr.errors.FileWriteError as error:
    print(error)
assert checkpoint.best_model_path == folder / "1.safetensors"
"""


def test_a_full_disk_leaves_the_files_that_are_there(tmp_path):
    done = subprocess.run([sys.executable, "-c", FULL, tmp_path], capture_output=True, text=True, check=True)
    assert "last.safetensors was not written: file too large; free some space or give another path" in done.stdout
    assert sorted(os.listdir(tmp_path)) == ["1.safetensors", "last.safetensors"]
    for path in tmp_path.iterdir():
        assert cr.load(path).weight.shape == (300, 300)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"save_top_k": -2}, "save_top_k is -2, expected -1"),
        ({"save_top_k": 1, "save_best_only": True}, "give save_best_only or save_top_k, not both"),
        ({"save_top_k": 2}, "2 files cannot all be 'a.safetensors': put {epoch} into the name"),
        ({"every_n_epochs": 0}, "every_n_epochs is 0, expected at least 1"),
        ({"save_last": "{epoch}"}, "there is one last file"),
        ({"save_weights_only": True, "save_optimizer": True}, "give one of the two"),
        ({"initial_value_threshold": 1.0}, "goes with save_best_only=True"),
        ({"filepath": "a.pt"}, r"\[ModelCheckpoint\] a.pt ends in '.pt': a model file ends in .safetensors, .npz"),
        ({"filepath": "{val_loss:.3f}"}, "and a folder in a slash"),
        ({"save_last": "a.onnx"}, "a.onnx ends in '.onnx'"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(errors.ArgumentError, match=message):
        ModelCheckpoint(**{"filepath": "a.safetensors", **options})


def test_a_model_that_no_file_can_hold_is_told_before_training(tmp_path):
    class Own(nn.Module):
        def __init__(self):
            self.fc = nn.Linear(3, 4)

        def forward(self, x):
            return self.fc(x)

    own, path = Own().compile("cross_entropy", "sgd"), tmp_path / "m.safetensors"
    before = own.fc.weight.numpy().copy()
    with pytest.raises(errors.ArgumentError, match="decorate the class with @nn.register"):
        own.fit(X, Y, callbacks=ModelCheckpoint(path), verbose=0)
    np.testing.assert_array_equal(own.fc.weight.numpy(), before)
    own.fit(X, Y, callbacks=ModelCheckpoint(path, save_weights_only=True), verbose=0)
    assert path.exists()


def test_what_is_not_reported_stops_before_training(tmp_path):
    with pytest.raises(errors.ArgumentError, match="'val_loss' needs validation"):
        model().fit(X, Y, callbacks=ModelCheckpoint(tmp_path / "{epoch}.safetensors", save_top_k=2), verbose=0)


def test_epochs_without_validation_are_passed_over(tmp_path):
    checkpoint = ModelCheckpoint(tmp_path / "{epoch}-{val_loss:.1f}.safetensors", "loss", save_best_only=True)
    model().fit(X, Y, epochs=2, validation_split=0.25, validation_freq=2, callbacks=checkpoint, verbose=0)
    assert checkpoint.saved[0].name == "1-nan.safetensors"
