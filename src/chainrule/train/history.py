"""What training reported, epoch by epoch: to look at, to plot, to keep as a table."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..domain.callback import Logs
from ..domain.errors import DataError, MissingDependencyError, unknown
from ..io.atomic import atomic_write
from .callbacks import Callback


class History(Callback, Mapping[str, list[float]]):
    """The logs of every finished epoch: a mapping from names to lists, ``history["loss"]``.

    ``history.history`` is that dict of lists (as in Keras), ``epoch`` the numbers of the epochs (from 0),
    ``interrupted`` is True if Ctrl-C ended training. ``fit`` returns one; in a loop written by hand it is a callback
    like the others.

    >>> history = History()
    >>> history.on_epoch_end(0, {"loss": 0.9, "val_loss": 1.0})
    >>> history.on_epoch_end(1, {"loss": 0.4, "val_loss": 0.8})
    >>> history["loss"], history.last(), list(history), len(history.epoch)
    ([0.9, 0.4], {'loss': 0.4, 'val_loss': 0.8}, ['loss', 'val_loss'], 2)
    """

    def __init__(self) -> None:
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []
        self.interrupted = False

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Add the logs of an epoch; a name that is new has NaN for the epochs before."""
        self.epoch.append(epoch)
        for name in logs:
            self.history.setdefault(name, [float("nan")] * (len(self.epoch) - 1))
        for name, values in self.history.items():
            values.append(float(logs.get(name, float("nan"))))

    def last(self) -> dict[str, float]:
        """The logs of the last epoch; none if no epoch was finished."""
        return {name: values[-1] for name, values in self.history.items()}

    def __getitem__(self, name: str) -> list[float]:
        if name not in self.history:
            raise unknown("entry of the history", name, self.history)
        return self.history[name]

    def __contains__(self, name: object) -> bool:
        return name in self.history

    def __iter__(self) -> Iterator[str]:
        return iter(self.history)

    def __len__(self) -> int:
        return len(self.history)

    def __repr__(self) -> str:
        last = ", ".join(f"{name}={value:.4g}" for name, value in self.last().items())
        end = ", interrupted" if self.interrupted else ""
        return f"History({len(self.epoch)} epochs{': ' + last if last else ''}{end})"

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write a table: a line of names, then one line an epoch (from 1), numbers in full precision.

        >>> from tempfile import TemporaryDirectory
        >>> history = History()
        >>> history.on_epoch_end(0, {"loss": 0.5})
        >>> with TemporaryDirectory() as folder:
        ...     history.to_csv(f"{folder}/history.csv")
        ...     print(Path(folder, "history.csv").read_text())
        epoch,loss
        1,0.5
        """
        with atomic_write(path, text=True) as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["epoch", *self.history])
            for row, epoch in enumerate(self.epoch):
                writer.writerow([epoch + 1, *(repr(values[row]) for values in self.history.values())])

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Curves over epochs: losses in one panel, everything else in another. Returns the matplotlib figure.

        With ``path`` it is also written there, in the format of the suffix (.png, .svg, .pdf). Errors:
        MissingDependencyError without matplotlib, DataError if no epoch was finished.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise MissingDependencyError(
                "[History.plot] needs matplotlib: pip install 'chainrule[plot]' (History.to_csv needs nothing)"
            ) from error
        if not self.epoch:
            raise DataError("[History.plot] there is nothing to plot: no epoch was finished")
        panels = {
            "loss": [n for n in self.history if "loss" in n],
            "metrics": [n for n in self.history if "loss" not in n],
        }
        shown = {title: names for title, names in panels.items() if names}
        figure = Figure(figsize=(5.2 * len(shown), 3.6), layout="constrained")
        for axes, (title, names) in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown.items(), strict=True):
            for name in names:
                style = "--" if name.startswith("val_") else "-"
                axes.plot([e + 1 for e in self.epoch], self.history[name], style, marker=".", label=name)
            axes.set(xlabel="epoch", title=title)
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.grid(alpha=0.3)
            axes.legend()
        if path is not None:
            with atomic_write(path) as file:
                figure.savefig(file, format=Path(path).suffix.lstrip(".") or "png", dpi=120)
        return figure


class CSVLogger(History):
    """A history that is written to ``path`` after every epoch, as ``to_csv`` writes it: to be watched, or kept when the
    program is killed.

    >>> CSVLogger("runs/log.csv").path
    'runs/log.csv'
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__()
        self.path = os.fspath(path)

    def on_train_begin(self, logs: Logs) -> None:
        """Begin a new table."""
        self.history, self.epoch = {}, []

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Add the epoch and write."""
        super().on_epoch_end(epoch, logs)
        self.to_csv(self.path)
