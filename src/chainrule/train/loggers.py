"""Callbacks that write down what training reports: tables, lines of JSON, TensorBoard.

Files of CSVLogger and JSONLLogger are replaced whole after every epoch: to be watched, or kept when the program is killed.
The logs have the learning rate, ``lr``, where a callback changes it, or with LearningRateMonitor.
"""

from __future__ import annotations

import csv
import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..domain.callback import Logs
from ..domain.errors import ArgumentError, DataError, MissingDependencyError
from ..io.atomic import atomic_write
from .callbacks import Callback


class FileLogger(Callback):
    """The base of loggers with a file: rows, one an epoch. A subclass reads and writes them."""

    def __init__(self, path: str | os.PathLike[str], append: bool = False) -> None:
        self.path, self.append = os.fspath(path), append
        self.rows: list[dict[str, Any]] = []

    def on_train_begin(self, logs: Logs) -> None:
        """Begin a new file, or go on with what is there."""
        self.rows = self.read() if self.append and Path(self.path).exists() else []

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Add the epoch, counted from 1, and write."""
        self.rows.append({"epoch": epoch + 1, **{name: float(logs[name]) for name in logs}})
        with atomic_write(self.path, text=True) as file:
            self.write(file)

    def state_dict(self) -> dict[str, Any]:
        """See Callback."""
        return {"rows": self.rows}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See Callback. Rows of later epochs, which come again, go."""
        self.rows = [dict(row) for row in state["rows"]]

    def read(self) -> list[dict[str, Any]]:
        """The rows of the file."""
        raise NotImplementedError

    def write(self, file: IO[str]) -> None:
        """All rows."""
        raise NotImplementedError


class CSVLogger(FileLogger):
    """Write a table to ``path`` after every epoch: a line of names, one line an epoch (from 1), numbers in full precision.

    With ``append`` the lines of an earlier training stay before. A name that comes later is a column more, empty before.
    Errors: DataError for a file to append to that is no such table.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     logger = CSVLogger(f"{folder}/log.csv")
    ...     logger.on_train_begin({}); logger.on_epoch_end(0, {"loss": 0.5}); logger.on_epoch_end(1, {"loss": 0.25})
    ...     print(Path(folder, "log.csv").read_text())
    epoch,loss
    1,0.5
    2,0.25
    """

    def read(self) -> list[dict[str, Any]]:
        """The rows of the file."""
        with open(self.path, encoding="utf-8", newline="") as file:
            table = csv.DictReader(file)
            rows: list[dict[str, Any]] = [*table]
        if rows and (not table.fieldnames or table.fieldnames[0] != "epoch" or any(None in row for row in rows)):
            raise DataError(f"[CSVLogger] {self.path} is no table whose first column is 'epoch': give append=False")
        return [{name: text for name, text in row.items() if text} for row in rows]

    def write(self, file: IO[str]) -> None:
        """All rows."""
        write_table(file, self.rows)


def write_table(file: IO[str], rows: list[dict[str, Any]]) -> None:
    """Rows by name as CSV, under the names of all of them."""
    names = [*dict.fromkeys(name for row in rows for name in row)] or ["epoch"]
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        writer.writerow(
            [value if isinstance(value := row.get(name, ""), (str, int)) else repr(value) for name in names]
        )


class JSONLLogger(FileLogger):
    """Write a line of JSON to ``path`` after every epoch: ``{"epoch": 1, "loss": 0.5, "seconds": 2.1}``.

    ``epoch`` counts from 1, ``seconds`` since training began; NaN and infinity, which JSON lacks, are null. With ``append``
    the lines of an earlier training stay before. Errors: DataError for a file to append to that has other lines.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     logger = JSONLLogger(f"{folder}/log.jsonl")
    ...     logger.on_train_begin({}); logger.on_epoch_end(0, {"loss": 0.5})
    ...     print(Path(folder, "log.jsonl").read_text())
    {"epoch": 1, "loss": 0.5, "seconds": ...}
    """

    def on_train_begin(self, logs: Logs) -> None:
        """Begin a new file, or go on with what is there, and start the clock."""
        super().on_train_begin(logs)
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Add the epoch, and write."""
        super().on_epoch_end(epoch, {**logs, "seconds": round(time.perf_counter() - self._start, 3)})

    def state_dict(self) -> dict[str, Any]:
        """See Callback."""
        return {**super().state_dict(), "seconds": time.perf_counter() - self._start}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See Callback. The time between two runs of a training does not count."""
        super().load_state_dict(state)
        self._start = time.perf_counter() - state["seconds"]

    def read(self) -> list[dict[str, Any]]:
        """The rows of the file."""
        try:
            rows = [json.loads(line) for line in Path(self.path).read_text(encoding="utf-8").splitlines() if line]
        except ValueError as error:
            raise DataError(f"[JSONLLogger] {self.path} has a line that is not JSON: give append=False") from error
        if not all(isinstance(row, dict) for row in rows):
            raise DataError(f"[JSONLLogger] {self.path} has a line that is no object of JSON: give append=False")
        return rows

    def write(self, file: IO[str]) -> None:
        """All rows."""
        for row in self.rows:
            known = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
            file.write(json.dumps(known, ensure_ascii=False) + "\n")


class TensorBoard(Callback):
    """Write what TensorBoard shows to ``log_dir``: run ``tensorboard --logdir runs``.

    Values of training are in the run ``train``, those with ``val_`` in the run ``validation`` under the same name, so both
    are curves of one chart; steps are epochs from 1. With ``update_freq=n``, a number of batches instead of "epoch", the
    averages so far are written every n batches, too, as ``batch/loss``, which reads them from the device. With
    ``histogram_freq=n`` histograms of what is finite in the parameters are written every n epochs. Errors: ArgumentError;
    MissingDependencyError without tensorboardX.

    >>> TensorBoard("runs/first").log_dir
    'runs/first'
    """

    def __init__(
        self, log_dir: str | os.PathLike[str] = "runs", update_freq: int | str = "epoch", histogram_freq: int = 0
    ) -> None:
        if update_freq != "epoch" and (isinstance(update_freq, (bool, str)) or update_freq < 1):
            raise ArgumentError(
                f'[TensorBoard] update_freq is {update_freq!r}, expected "epoch" or a number of batches'
            )
        if histogram_freq < 0:
            raise ArgumentError(
                f"[TensorBoard] histogram_freq is {histogram_freq!r}, expected a number of epochs, or 0"
            )
        self.log_dir, self.histogram_freq = os.fspath(log_dir), histogram_freq
        self.every = 0 if update_freq == "epoch" else int(update_freq)
        self.batches = 0
        self._writers: dict[str, Any] = {}

    def on_train_begin(self, logs: Logs) -> None:
        """Look for tensorboardX before training, not after an epoch of it."""
        self._writer("train")

    def on_batch_end(self, batch: int, logs: Logs) -> None:
        """Write the averages so far, if it is time."""
        self.batches += 1
        if self.every and self.batches % self.every == 0:
            for name in logs:
                if name != "samples":
                    self._writer("train").add_scalar(f"batch/{name}", float(logs[name]), self.batches)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Write the logs, and histograms if it is time."""
        for name in logs:
            run = "validation" if name.startswith("val_") else "train"
            self._writer(run).add_scalar(name.removeprefix("val_"), float(logs[name]), epoch + 1)
        if self.histogram_freq and (epoch + 1) % self.histogram_freq == 0:
            for name, parameter in self.model.named_parameters():
                values = parameter.detach().to(dtype="float32").numpy()
                values = values[np.isfinite(values)]
                if values.size:  # there is no histogram of nothing
                    self._writer("train").add_histogram(name, values, epoch + 1)
        for writer in self._writers.values():
            writer.flush()

    def on_train_end(self, logs: Logs) -> None:
        """Close the files."""
        while self._writers:
            self._writers.popitem()[1].close()

    def state_dict(self) -> dict[str, Any]:
        """See Callback."""
        return {"batches": self.batches}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See Callback. What was written of batches that come again stays, and comes again."""
        self.batches = state["batches"]

    def _writer(self, run: str) -> Any:
        if run not in self._writers:
            try:
                from tensorboardX import SummaryWriter
            except ImportError as error:
                raise MissingDependencyError(
                    "[TensorBoard] needs tensorboardX: pip install 'chainrule[tensorboard]' (CSVLogger and JSONLLogger need "
                    "nothing)"
                ) from error
            self._writers[run] = SummaryWriter(os.path.join(self.log_dir, run))
        return self._writers[run]
