"""The folder of a training run: what is in it, and what later commands read of it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..domain.errors import ArgumentError, DataError, FileFormatError, FileWriteError, MissingFileError
from ..io import load
from ..io.atomic import atomic_write
from ..io.folders import INDEX
from . import settings

CONFIG, DATA, ENVIRONMENT, HISTORY, REPORT = (
    "config.toml",
    "data.json",
    "environment.json",
    "history.jsonl",
    "report.json",
)
MODEL, LAST, BEST, LOG = "model.safetensors", "checkpoints/last.safetensors", "checkpoints/best.safetensors", "log.txt"


@dataclass(frozen=True)
class Run:
    """A run's folder. Errors of what reads: MissingFileError, FileFormatError.

    ``config.toml`` says what it was told, ``data.json`` what the data is, ``environment.json`` where it ran,
    ``history.jsonl`` has a line of JSON an epoch, ``log.txt`` what was printed, ``report.json`` the result;
    ``model.safetensors`` is the model, ``checkpoints/last.safetensors`` what ``resume`` goes on from, ``best.safetensors``
    beside it the model with the least ``val_loss``.
    """

    folder: Path

    @cached_property
    def settings(self) -> settings.Settings:
        """What it was told."""
        return settings.read(self.folder / CONFIG)

    @cached_property
    def data(self) -> dict[str, Any]:
        """What the data is: ``Data.describe``."""
        return self._json(DATA)

    @cached_property
    def environment(self) -> dict[str, Any]:
        """Where it ran."""
        return self._json(ENVIRONMENT)

    @cached_property
    def report(self) -> dict[str, Any]:
        """What it came to; empty until it ended."""
        return self._json(REPORT) if (self.folder / REPORT).exists() else {}

    def history(self) -> dict[str, list[float]]:
        """The values of each epoch by name; ``epoch`` counts from 1."""
        path = self.folder / HISTORY
        if not path.is_file():
            raise MissingFileError(f"[run] {self.folder} has no {HISTORY}: no epoch was finished")
        try:
            rows = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line]
            names = list(dict.fromkeys(name for row in rows for name in row))
            return {n: [math.nan if row.get(n) is None else float(row[n]) for row in rows] for n in names}
        except (ValueError, TypeError, AttributeError) as error:
            raise FileFormatError(f"[run] {path} has a line that is no object of numbers: {error}") from error

    @property
    def model_path(self) -> Path:
        """The file of the model; before the training ended that of the last checkpoint."""
        paths = [self.folder / MODEL, self.folder / LAST]
        return next((path for path in paths if path.exists()), paths[0])

    def write(self, name: str, text: str) -> Path:
        """Write a file of it, whole or not at all."""
        path = self.folder / name
        with atomic_write(path, text=True) as file:
            file.write(text)
        return path

    def write_json(self, name: str, values: dict[str, Any]) -> None:
        """The same, of JSON."""
        self.write(name, json.dumps(values, indent=2, ensure_ascii=False) + "\n")

    def _json(self, name: str) -> dict[str, Any]:
        path = self.folder / name
        try:
            found = json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            raise MissingFileError(f"[run] {self.folder} has no {name}") from None
        except ValueError as error:
            raise FileFormatError(f"[run] {path} is not JSON: {error}") from error
        if not isinstance(found, dict):
            raise FileFormatError(f"[run] {path} is no object of JSON")
        return found


def opened(path: str | Path) -> Run:
    """The run in a folder. Errors: MissingFileError, ArgumentError for a folder that is none."""
    folder = Path(path)
    if not folder.is_dir():
        what = "is a file, not the folder of a run" if folder.exists() else "does not exist"
        raise MissingFileError(f"[run] {folder} {what}{beside(folder)}")
    if not (folder / CONFIG).exists():
        raise ArgumentError(
            f"[run] {folder} is no run: it has no {CONFIG}, which `chainrule train` writes{beside(folder)}"
        )
    return Run(folder)


def beside(folder: Path) -> str:
    """The runs that there are, for an error."""
    found = sorted((p.parent for root in {folder.parent, Path("runs")} for p in root.glob(f"*/{CONFIG}")), key=str)
    return f"; runs: {', '.join(map(str, dict.fromkeys(found)))}" if found else ""


def begun(out: Path | None, name: str, overwrite: bool) -> Run:
    """A new folder: ``out``, or ``runs/NAME``, or with a number where that is taken.

    Errors: FileWriteError; DataError for one that has a run, unless it may be overwritten.
    """
    folder = Path("runs") / name if out is None else out
    number = 1
    while out is None and (folder / CONFIG).exists() and not overwrite:
        number += 1
        folder = Path("runs") / f"{name}-{number}"
    if (folder / CONFIG).exists() and not overwrite:
        raise DataError(
            f"[train] {folder} has a run already: go on with it by `chainrule resume {folder}`, or give another --out, or "
            "--overwrite"
        )
    try:
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileWriteError(f"[train] {folder} cannot be a folder for results: {error.strerror}") from None
    for file in (HISTORY, REPORT, MODEL, LAST, BEST, LOG):
        (folder / file).unlink(missing_ok=True)
    return Run(folder)


@dataclass(frozen=True)
class Subject:
    """A model to work with: its file, the run it belongs to, if it does, and what is known of its data (``Data.describe``)."""

    path: Path
    run: Run | None = None

    @property
    def about(self) -> dict[str, Any]:
        """See the class; empty of a file alone."""
        return {} if self.run is None else self.run.data

    def model(self, shape: tuple[int | None, ...] | None = None) -> Any:
        """The model, of any format that ``convert`` reads; some need the ``shape`` of an input. Errors: those of readers."""
        from .convert import convert, source_format

        if not self.path.exists() or source_format(self.path) == "chainrule":
            return load(self.path)
        with TemporaryDirectory() as folder:
            done = convert(self.path, f"{folder}/model.safetensors", input_shape=shape)
            if done.content != "model":
                raise FileFormatError(
                    f"[load] {self.path} has weights, and no model: build the model and have it take them by "
                    "model.load_weights(path)"
                )
            return load(f"{folder}/model.safetensors")


def subject(path: str | Path) -> Subject:
    """A run's folder, or a file of a model; a file in a run's folder knows its data, too."""
    path = Path(path)
    if path.is_dir() and not (path / INDEX).is_file():  # which is a model in shards
        run = opened(path)
        return Subject(run.model_path, run)
    home = next((p for p in (path.parent, path.parent.parent) if (p / DATA).is_file() and (p / CONFIG).is_file()), None)
    return Subject(path, Run(home) if home is not None and path.exists() else None)
