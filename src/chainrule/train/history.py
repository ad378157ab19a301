"""What training reported, epoch by epoch: to look at, to plot, to keep as a table."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from ..domain.callback import Logs
from ..domain.errors import DataError, MissingDependencyError, unknown
from ..io.atomic import atomic_write
from ..nn import Module
from . import plots
from .callbacks import Callback
from .loggers import write_table


class History(Callback, Mapping[str, list[float]]):
    """The logs of every finished epoch: a mapping from names to lists, ``history["loss"]``.

    ``history.history`` is that dict of lists (as in Keras), ``epoch`` the numbers of the epochs (from 0),
    ``interrupted`` is True if Ctrl-C ended training. ``fit`` returns one; after an error ``model.history`` has the epochs
    until then. In a loop written by hand it is a callback like the others. A notebook shows it as curves.

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

    def set_model(self, model: Any) -> None:
        """Be ``model.history``, unless that is something of the model's own."""
        known = getattr(model, "history", None)
        if isinstance(model, Module) and (known is None or isinstance(known, History)):
            model.history = self

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Add the logs of an epoch; a name that is new has NaN for the epochs before."""
        self.epoch.append(epoch)
        for name in logs:
            self.history.setdefault(name, [float("nan")] * (len(self.epoch) - 1))
        for name, values in self.history.items():
            values.append(float(logs.get(name, float("nan"))))

    def state_dict(self) -> dict[str, Any]:
        """See Callback."""
        return {"history": self.history, "epoch": self.epoch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See Callback."""
        self.history, self.epoch = {name: [*values] for name, values in state["history"].items()}, [*state["epoch"]]

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

        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> history = History()
        >>> history.on_epoch_end(0, {"loss": 0.5})
        >>> with TemporaryDirectory() as folder:
        ...     history.to_csv(f"{folder}/history.csv")
        ...     print(Path(folder, "history.csv").read_text())
        epoch,loss
        1,0.5
        """
        rows = [{"epoch": e + 1, **{k: v[i] for k, v in self.history.items()}} for i, e in enumerate(self.epoch)]
        with atomic_write(path, text=True) as file:
            write_table(file, rows)

    def to_dataframe(self) -> Any:
        """The table as a pandas DataFrame, a column for each name, indexed by epoch (from 1).

        Errors: MissingDependencyError without pandas.
        """
        try:
            import pandas
        except ImportError as error:
            raise MissingDependencyError(
                "[History.to_dataframe] needs pandas: pip install pandas (History.to_csv needs nothing)"
            ) from error
        return pandas.DataFrame(dict(self.history), index=pandas.Index([e + 1 for e in self.epoch], name="epoch"))

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Curves over epochs: losses, metrics and the learning rate in panels. Returns the matplotlib figure.

        With ``path`` it is also written there, in the format of the suffix (.png, .svg, .pdf). Errors:
        MissingDependencyError without matplotlib, DataError if no epoch was finished.
        """
        if not self.epoch:
            raise DataError("[History.plot] there is nothing to plot: no epoch was finished")
        groups = {
            "loss": [n for n in self.history if "loss" in n],
            "metrics": [n for n in self.history if "loss" not in n and n != "lr"],
            "learning rate": [n for n in self.history if n == "lr"],
        }
        shown = {title: names for title, names in groups.items() if names}
        figure, panels = plots.panels("History.plot", [*shown])
        for axes, names in zip(panels, shown.values(), strict=True):
            for name in names:
                style = "--" if name.startswith("val_") else "-"
                axes.plot([e + 1 for e in self.epoch], self.history[name], style, marker=".", label=name)
            axes.set(xlabel="epoch")
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.legend()
        return plots.written(figure, path)

    def _repr_html_(self) -> str:
        return plots.html(self)
