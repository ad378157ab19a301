"""Training as seen by a person: one line that is redrawn on a terminal, one line an epoch elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TextIO

from ..domain.callback import Logs
from ..domain.errors import ArgumentError
from .callbacks import NO_LOGS, Callback

REDRAW = 0.1  # seconds between two drawings of the line: each reads the averages from the device
BAR = 20  # characters


class ProgressBar(Callback):
    """Shows how training goes. ``live``: redraw a line as batches pass, else one line after each epoch.

    The live line has a bar, samples per second, the time left in the epoch, and the averages so far, as far as they
    fit in the terminal; None is on a terminal and in a notebook. ``epochs`` and ``samples`` (of an epoch), where they are
    known, say how far it is. ``fit`` makes one itself, as its ``verbose`` says; loops written by hand can have this.

    >>> progress = ProgressBar(epochs=3, samples=100)
    >>> progress.on_train_begin({}); progress.on_epoch_begin(0, {})
    >>> progress.on_batch_end(0, {"loss": 0.7, "samples": 100})
    >>> progress.on_epoch_end(0, {"loss": 0.7, "accuracy": 0.5})
    Epoch 1/3 · ... · loss 0.7000 · accuracy 0.5000
    """

    def __init__(
        self,
        *,
        epochs: int | None = None,
        samples: int | None = None,
        live: bool | None = None,
        file: TextIO | None = None,
    ) -> None:
        self.epochs, self.samples, self._file = epochs, samples, file
        self.live = watched(file or sys.stdout) if live is None else live
        self.epoch, self.running = 0, NO_LOGS
        self.start = self.end = self.next = time.perf_counter()
        self._open = 0  # how long the live line is that waits to be overwritten

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        """Start the clock."""
        self.epoch, self.start = epoch, time.perf_counter()
        self.end = self.next = self.start
        self.running = NO_LOGS
        if self.live:
            self._draw()

    def on_batch_end(self, batch: int, logs: Logs) -> None:
        """Redraw if it is time."""
        self.running = logs
        self.end = time.perf_counter()
        if self.live and self.end >= self.next:
            self.next = self.end + REDRAW
            self._draw()

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """The line of the epoch. A loop may leave out what else there is to tell."""
        self.epoch, samples = epoch, self.running.get("samples", 0)
        now = time.perf_counter()
        seconds = max((self.end if samples else now) - self.start, 1e-9)
        speed = [f"{rate(samples / seconds)} samples/s"] if samples else []
        self._write(" · ".join([self._title(), f"{seconds:.1f} s", *speed, *values(logs)]) + "\n")
        self.start, self.running = now, NO_LOGS

    def on_train_end(self, logs: Logs) -> None:
        """End a live line that an error or Ctrl-C left, so that what follows begins on its own."""
        self.close()

    def close(self) -> None:
        """The same."""
        if self._open:
            self._write("\n", keep=True)

    def _title(self) -> str:
        return f"Epoch {self.epoch + 1}" + (f"/{self.epochs}" if self.epochs else "")

    def _draw(self) -> None:
        """Overwrite the live line with as many parts as fit."""
        seconds, seen = max(self.end - self.start, 1e-9), int(self.running.get("samples", 0))
        parts = [self._title()]
        if self.samples:
            done = min(seen / self.samples, 1.0)
            parts.append(f"{done:4.0%}")
            left = seconds / done - seconds if done else 0.0
            extra = ["█" * round(done * BAR) + "░" * (BAR - round(done * BAR))]
        else:
            parts.append(f"{seen} samples")
            left, extra = 0.0, []
        parts += values(self.running)
        if seen:
            extra.append(f"{rate(seen / seconds)} samples/s")
        if left:
            extra.append(f"{clock(left)} left")
        width = shutil.get_terminal_size().columns - 1
        line = parts[0]
        for part in [*parts[1:], *extra]:
            if len(line) + 3 + len(part) <= width:
                line += f" · {part}"
        self._write(line[:width])
        self._open = len(line[:width])

    def _write(self, text: str, keep: bool = False) -> None:
        file = self._file or sys.stdout
        clear = "\r" + " " * self._open + "\r" if in_notebook(file) else "\r\x1b[K"  # to the start, and clear the line
        start = clear if self._open and not keep else ""
        try:
            file.write(start + text)
        except UnicodeEncodeError:  # a terminal or a file that has only ASCII
            file.write((start + text).replace("·", "|").replace("█", "#").replace("░", "."))
        file.flush()
        self._open = 0


def progress_for(verbose: int | str, epochs: int, samples: int | None) -> list[ProgressBar]:
    """The progress that ``verbose`` asks for: none for 0, live for 1, an epoch a line for 2; "auto" looks at stdout."""
    if verbose not in (0, 1, 2, "auto"):
        raise ArgumentError(f'[fit] verbose is {verbose!r}, expected 0, 1, 2 or "auto"')
    if verbose == "auto":
        verbose = 1 if watched(sys.stdout) else 2
    return [ProgressBar(epochs=epochs, samples=samples, live=int(verbose) == 1)] if verbose else []


def watched(file: TextIO | None) -> bool:
    """Whether a person looks at it as it is written: a terminal, or the output of a notebook."""
    return file is not None and (file.isatty() or in_notebook(file))


def in_notebook(file: TextIO) -> bool:
    """Whether it is the output of a cell, which knows no codes that clear a line."""
    return type(file).__module__.startswith("ipykernel")


def values(logs: Logs) -> list[str]:
    """``name value`` for each of the logs.

    >>> values({"loss": 0.12345, "samples": 64, "val_mse": 1.5e-7})
    ['loss 0.1235', 'val_mse 1.500e-07']
    """
    return [f"{name} {number(logs[name])}" for name in logs if name != "samples"]


def number(value: float) -> str:
    """A count as it is; else four decimals, or four digits where that would say nothing."""
    if isinstance(value, int):
        return str(value)
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e5 or value != value else f"{value:.3e}"


def rate(per_second: float) -> str:
    """
    >>> rate(12345.6), rate(87.2)
    ('12.3k', '87')
    """
    return f"{per_second / 1000:.1f}k" if per_second >= 1000 else f"{per_second:.0f}"


def clock(seconds: float) -> str:
    """
    >>> clock(75), clock(3700)
    ('1:15', '1:01:40')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
