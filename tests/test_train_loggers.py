"""Loggers: what stands in their files after each epoch, and when training begins again."""

import csv
import json
import math
import struct

import numpy as np
import pytest

from chainrule import errors, nn
from chainrule.train import Callback, CallbackList, CSVLogger, JSONLLogger, LearningRateMonitor, TensorBoard

RNG = np.random.default_rng(3)
X, Y = RNG.normal(size=(24, 3)).astype(np.float32), RNG.integers(0, 4, 24)


def model():
    return nn.Sequential(nn.Linear(3, 4)).compile("cross_entropy", "sgd", metrics=["accuracy"])


def run(logger, *epochs, start=0):
    callbacks = CallbackList([logger], None)
    callbacks.on_train_begin()
    for epoch, logs in enumerate(epochs, start):
        callbacks.on_epoch_end(epoch, logs)
    callbacks.on_train_end()


def test_csv_logger_writes_after_every_epoch(tmp_path):
    path = tmp_path / "deep" / "log.csv"
    lines = []

    class Reads(Callback):
        def on_epoch_end(self, epoch, logs):
            lines.append(len(path.read_text().splitlines()))

    logger = CSVLogger(path)
    history = model().fit(X, Y, epochs=3, callbacks=[logger, Reads(), LearningRateMonitor()], verbose=0)
    assert lines == [2, 3, 4]
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert [row.pop("epoch") for row in rows] == ["1", "2", "3"]
    assert {name: [float(row[name]) for row in rows] for name in rows[0]} == history.history
    assert list(history) == ["loss", "accuracy", "lr"]
    model().fit(X, Y, epochs=1, callbacks=[logger], verbose=0)
    assert len(path.read_text().splitlines()) == 2


def test_csv_logger_appends(tmp_path):
    path = tmp_path / "log.csv"
    run(CSVLogger(path, append=True), {"loss": 1.0}, {"loss": 0.1})
    run(CSVLogger(path, append=True), {"loss": math.nan, "lr": 0.5}, start=2)
    assert path.read_text() == "epoch,loss,lr\n1,1.0,\n2,0.1,\n3,nan,0.5\n"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(errors.DataError, match="is no table whose first column is 'epoch': give append=False"):
        run(CSVLogger(path, append=True))
    assert path.read_text() == "a,b\n1,2\n"


def test_jsonl_logger(tmp_path):
    path = tmp_path / "log.jsonl"
    run(JSONLLogger(path), {"loss": 1.0}, {"loss": math.nan})
    run(JSONLLogger(path, append=True), {"loss": 0.1, "val_loss": math.inf}, start=2)
    lines = [json.loads(line, parse_constant=pytest.fail) for line in path.read_text().splitlines()]
    assert all(line.pop("seconds") >= 0 for line in lines)
    assert lines == [
        {"epoch": 1, "loss": 1.0},
        {"epoch": 2, "loss": None},
        {"epoch": 3, "loss": 0.1, "val_loss": None},
    ]
    run(JSONLLogger(path), {"loss": 1.0})
    assert len(path.read_text().splitlines()) == 1
    for wrong, message in (("{'a': 1}", "is not JSON"), ("[1]", "no object")):
        path.write_text(wrong)
        with pytest.raises(errors.DataError, match=message):
            run(JSONLLogger(path, append=True))


def events(folder):
    """The summaries in the event files of a folder, read by the format: length, checksum, message, checksum."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        while data:
            (size,) = struct.unpack("<Q", data[:8])
            event = Event.FromString(data[12 : 12 + size])
            data = data[16 + size :]
            found += [(value.tag, event.step, value) for value in event.summary.value]
    return found


def scalars(folder):
    return [(tag, step, value.simple_value) for tag, step, value in events(folder) if value.HasField("simple_value")]


def test_tensorboard(tmp_path):
    board = TensorBoard(tmp_path, histogram_freq=2)
    history = model().fit(X, Y, epochs=2, validation_split=0.25, callbacks=[board, LearningRateMonitor()], verbose=0)

    def told(names, prefix=""):
        single = {name: np.float32(history[prefix + name]).tolist() for name in names}
        return [(name, epoch + 1, single[name][epoch]) for epoch in range(2) for name in names]

    assert scalars(tmp_path / "train") == told(["loss", "accuracy", "lr"])
    assert scalars(tmp_path / "validation") == told(["loss", "accuracy"], "val_")
    histograms = [(tag, step, v.histo.num) for tag, step, v in events(tmp_path / "train") if v.HasField("histo")]
    assert histograms == [("0.weight", 2, 12), ("0.bias", 2, 4)]


def test_tensorboard_of_batches(tmp_path):
    model().fit(X, Y, batch_size=8, callbacks=TensorBoard(tmp_path, update_freq=2), verbose=0)
    found = scalars(tmp_path / "train")
    assert [(tag, step) for tag, step, _ in found if tag.startswith("batch/")] == [
        ("batch/loss", 2),
        ("batch/accuracy", 2),
    ]


def test_tensorboard_says_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "tensorboardX", None)
    with pytest.raises(errors.MissingDependencyError, match=r"pip install 'chainrule\[tensorboard\]'"):
        model().fit(X, Y, callbacks=TensorBoard(tmp_path), verbose=0)
    for options in ({"update_freq": 0}, {"update_freq": "batch"}, {"histogram_freq": -1}):
        with pytest.raises(errors.ArgumentError, match=next(iter(options))):
            TensorBoard(**options)
