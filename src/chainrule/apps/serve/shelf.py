"""The models that a server offers: each is read when it is first asked, and then kept."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...domain.errors import ArgumentError, ChainruleError, DataError, unknown
from ..corrections import Corrections
from ..image import Steps
from ..predictor import SHIPPED, DigitPredictor
from ..runs import CONFIG, Run
from .limits import Refused
from .network import exported

MOST = 20  # runs that are offered: the newest
LESSONS = 100  # corrections that a model learns here: each keeps a copy of it in memory


class Book:
    """A model with what was learnt from corrections since, and its export for the browser."""

    def __init__(self, predictor: DigitPredictor) -> None:
        self.predictor = predictor
        self.corrections: Corrections | None = None  # from the first on
        self.export: bytes | None = None
        self.lock = threading.Lock()  # of the corrections

    @property
    def learnt(self) -> int:
        """The number of corrections that it has learnt."""
        return len(self.corrections.examples) if self.corrections else 0

    @contextmanager
    def alone(self) -> Iterator[None]:
        """One correction at a time; those of others do not wait, as that would hold a thread each. Errors: Refused."""
        if not self.lock.acquire(blocking=False):
            raise Refused(503, "busy", "another correction is being learnt: ask again in a few seconds", 3)
        try:
            yield
        finally:
            self.lock.release()

    def network(self) -> bytes:
        """The model for the browser. Errors: NotSupportedError."""
        found = self.export
        if found is None:
            with self.predictor.lock:
                found = self.export = exported(self.predictor.model, self.predictor.name)
        return found

    def learn(self, steps: Steps, label: int) -> dict[str, Any]:
        """Learn that a drawing is a digit; what that changed, for JSON. Errors: ArgumentError, DataError, Refused."""
        with self.alone():
            if self.learnt >= LESSONS:
                raise DataError(f"[serve] {LESSONS} corrections are learnt, which is the most: take some back")
            self.corrections = self.corrections or Corrections(self.predictor)
            found = self.corrections.learn(steps, label)
            self.export = None
        known = dict(zip(("known_before", "known_after"), found.known, strict=True))
        return {"learnt": found.examples, "label": label, "digit": found.after.digit} | known

    def unlearn(self) -> bool:
        """Forget the last that was learnt; False if there is nothing. Errors: Refused."""
        with self.alone():
            found = self.corrections is not None and self.corrections.undo()
            self.export = None
            return found


class Shelf:
    """The models by name: ``predictor``, which answers unless another is named, and those in files.

    >>> shelf = Shelf(DigitPredictor())
    >>> shelf.names, shelf[""] is shelf[shelf.names[0]]
    (['digits (comes with chainrule)'], True)
    """

    def __init__(self, predictor: DigitPredictor, files: Mapping[str, Path] | None = None) -> None:
        self.files = dict(files or {})
        self.books = {predictor.name: Book(predictor)}
        self.names = [predictor.name, *(name for name in self.files if name != predictor.name)]
        self.lock = threading.Lock()

    def __getitem__(self, name: str) -> Book:
        """The model of a name; of "" the first. Errors: ArgumentError, those of reading."""
        name = name or self.names[0]
        with self.lock:
            if name not in self.books:
                if name not in self.files:
                    raise unknown("model", name, self.names)
                try:
                    self.books[name] = Book(DigitPredictor(self.files[name]))
                except ChainruleError as error:
                    raise ArgumentError(f"[serve] the model {name} reads no digits: {error}") from error
                self.books[name].predictor.name = name
            return self.books[name]


def at_hand(folder: Path = Path("runs")) -> dict[str, Path]:
    """The model that comes with chainrule, and those of the runs in a folder whose images are of 28 × 28 pixels, by name."""
    found = {"digits (comes with chainrule)": SHIPPED} if SHIPPED.exists() else {}
    runs = [Run(path.parent) for path in folder.glob(f"*/{CONFIG}")]
    runs = sorted((r for r in runs if r.model_path.is_file()), key=lambda r: r.model_path.stat().st_mtime, reverse=True)
    for run in runs:
        try:
            suits = run.data.get("shape") == [1, 28, 28] and len(run.data.get("classes") or []) in (0, 10)
        except ChainruleError:
            continue
        if suits and len(found) < MOST:
            found[str(run.folder)] = run.model_path
    return found
