"""What a person sees of training, on terminals of any width and in files."""

import contextlib
import io
import os
import pty
import re
import subprocess
import sys
import termios

import numpy as np
import pytest

from chainrule import nn
from chainrule.train import Callback, ProgressBar

X, Y = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32), np.arange(64) % 4


def model():
    return nn.Sequential(nn.Linear(3, 4)).compile("cross_entropy", "sgd", metrics=["accuracy"])


def screen(text):
    """What a terminal shows after ``text``: the lines that stay, and all that were drawn."""
    drawn = re.split(r"\r\x1b\[K|\n", text)
    kept = [line.rsplit("\r\x1b[K", 1)[-1] for line in text.split("\n")]
    return kept, drawn


def live(columns, monkeypatch, *, metrics=2, samples=64):
    monkeypatch.setattr("shutil.get_terminal_size", lambda: __import__("os").terminal_size((columns, 20)))
    monkeypatch.setattr("chainrule.train.progress.REDRAW", 0.0)
    file = io.StringIO()
    progress = ProgressBar(epochs=2, samples=samples, live=True, file=file)
    logs = {"loss": 0.25} | {f"metric_{i}": 0.5 for i in range(metrics)}
    for epoch in range(2):
        progress.on_epoch_begin(epoch, {})
        for batch in range(4):
            progress.on_batch_end(batch, {**logs, "samples": 16 * (batch + 1)})
        progress.on_epoch_end(epoch, logs)
    return file.getvalue()


@pytest.mark.parametrize("columns", [10, 20, 40, 80, 200])
def test_the_live_line_never_wraps(columns, monkeypatch):
    text = live(columns, monkeypatch, metrics=6)
    kept, drawn = screen(text)
    lasting = {line for line in kept if "samples/s" in line}
    assert all(len(line) < columns for line in drawn if line not in lasting)
    assert len(kept) == 3 and kept[2] == "" and kept[0].startswith("Epoch 1/2") and kept[1].startswith("Epoch 2/2")
    assert "metric_5 0.5000" in kept[1]


def test_the_live_line_shows_how_far_how_fast_and_how_long(monkeypatch):
    _, drawn = screen(live(200, monkeypatch))
    halfway = next(line for line in drawn if " 50%" in line)
    assert "Epoch 1/2" in halfway and "loss 0.2500" in halfway and "metric_1 0.5000" in halfway
    assert "█" * 10 + "░" * 10 in halfway and "samples/s" in halfway and "left" in halfway


def test_the_number_of_samples_may_be_unknown(monkeypatch):
    text = live(100, monkeypatch, samples=None)
    assert "32 samples" in text and "%" not in text


ON_A_TERMINAL = """
import time
import numpy as np
from chainrule import nn
from chainrule.train import Callback

class Waits(Callback):
    def on_batch_end(self, batch, logs):
        time.sleep(0.06)

model = nn.Sequential(nn.Linear(3, 4)).compile("cross_entropy", "sgd", ["accuracy"])
model.fit(np.ones((64, 3)), np.arange(64) % 4, epochs=2, batch_size=8, callbacks=Waits())
print("after")
"""


def test_on_a_real_terminal_of_40_columns(tmp_path):
    """What the program draws there fits; the lines of the epochs stay, and what comes after begins on its own line."""
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (24, 40))
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
    process = subprocess.Popen([sys.executable, "-c", ON_A_TERMINAL], stdin=slave, stdout=slave, env=environment)
    os.close(slave)
    out = b""
    with contextlib.suppress(OSError):  # the end of a terminal is an error on Linux
        while part := os.read(master, 4096):
            out += part
    os.close(master)
    assert process.wait(timeout=60) == 0
    kept, drawn = screen(out.decode().replace("\r\n", "\n"))
    assert [line.split(" · ")[0] for line in kept] == ["Epoch 1/2", "Epoch 2/2", "after", ""]
    running = [line for line in drawn if "%" in line]
    assert len(running) > 4 and all(len(line) < 40 for line in running)
    assert any("loss" in line for line in running)


def test_it_is_redrawn_by_time_not_by_batch(monkeypatch):
    file = io.StringIO()
    progress = ProgressBar(epochs=1, samples=10_000, live=True, file=file)
    progress.on_epoch_begin(0, {})
    reads = []

    class Logs(dict):
        def __getitem__(self, name):
            reads.append(name)
            return super().__getitem__(name)

    for batch in range(1000):
        progress.on_batch_end(batch, Logs(loss=1.0, samples=batch))
    assert len(reads) < 100  # values are read from the device when they are shown, not for each batch
    assert file.getvalue().count("Epoch") < 50


def test_a_terminal_without_unicode_gets_ascii(monkeypatch):
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="ascii")
    progress = ProgressBar(epochs=1, samples=10, live=True, file=file)
    progress.on_epoch_begin(0, {})
    progress.on_batch_end(0, {"loss": 1.0, "samples": 5})
    progress.on_epoch_end(0, {"loss": 1.0})
    assert b"loss 1.0000" in raw.getvalue()


def test_one_line_an_epoch_where_there_is_no_terminal(capsys):
    model().fit(X, Y, epochs=3, validation_split=0.25, batch_size=16)
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert len(lines) == 3 and "\r" not in out and "\x1b" not in out
    values = " · ".join(rf"{name} [\d.]+" for name in ("loss", "accuracy", "val_loss", "val_accuracy"))
    assert re.fullmatch(rf"Epoch 2/3 · [\d.]+ s · [\d.]+k? samples/s · {values}", lines[1])


def test_verbose(capsys, monkeypatch):
    model().fit(X, Y, verbose=0)
    assert capsys.readouterr().out == ""
    model().fit(X, Y, verbose=2)
    assert capsys.readouterr().out.count("\n") == 1
    model().fit(X, Y, verbose=1)
    assert "\r\x1b[K" in capsys.readouterr().out
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    model().fit(X, Y)
    assert "\r\x1b[K" in capsys.readouterr().out


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_the_line_is_ended_when_training_is(error, capsys):
    class Stops(Callback):
        def on_batch_end(self, batch, logs):
            raise error

    with contextlib.suppress(ValueError):
        model().fit(X, Y, callbacks=[Stops()], verbose=1)
    assert capsys.readouterr().out.endswith("\n")


def test_a_notebook_gets_the_live_line_without_codes_that_it_does_not_know(monkeypatch):
    file = type("OutStream", (io.StringIO,), {"__module__": "ipykernel.iostream"})()
    monkeypatch.setattr("chainrule.train.progress.REDRAW", 0.0)
    progress = ProgressBar(epochs=2, samples=64, file=file)
    assert progress.live
    progress.on_epoch_begin(0, {})
    progress.on_batch_end(0, {"loss": 0.25, "samples": 64})
    progress.on_epoch_end(0, {"loss": 0.25})
    shown = file.getvalue()
    assert "\x1b" not in shown and shown.endswith("loss 0.2500\n")
    drawn = shown.split("\r")
    assert drawn[-2].strip() == "" and len(drawn[-2]) >= len(drawn[-3])  # what was there is covered by spaces


def test_without_the_number_of_epochs():
    file = io.StringIO()
    progress = ProgressBar(file=file)
    assert not progress.live
    progress.on_epoch_begin(0, {})
    progress.on_epoch_end(0, {"loss": 0.25, "lr": 0.1})
    assert re.fullmatch(r"Epoch 1 · .* · loss 0.2500 · lr 0.1000\n", file.getvalue())
