"""The figures of a run by name, as files and as text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from .. import losses, plots
from ..domain.errors import ArgumentError, DataError, MissingDependencyError, unknown
from ..plots import terminal
from ..plots.classes import counted
from ..plots.curves import common, groups
from ..plots.layers import training_loss
from ..random import manual_seed
from ..train import lr_find
from .kinds import KINDS
from .runs import Run
from .testing import Evaluated, with_data
from .training import built, compiled

BATCH = 256  # samples of what looks at a batch
MOST = 5000  # samples of the test part that figures look at
TOKENS = 32  # characters of a text whose attention is drawn


@dataclass
class Made:
    """A figure that was made: where it was written, what it is as text, and its numbers, as JSON can hold them."""

    kind: str
    path: Path | None = None
    text: str = ""
    note: str = ""
    values: Any = None


@dataclass
class Figures:
    """What can be seen of a run. ``make`` makes one; the model and the data are read when they are first needed.

    Errors: those of what reads them; ArgumentError for a figure that the model or the data has not.
    """

    run: Run
    sample: int = 0
    layer: str | None = None
    progress: bool = True
    values: Any = field(default=None, init=False)

    @cached_property
    def tested(self) -> Evaluated:
        """The model with its data, compiled."""
        found = with_data(self.run.folder, progress=self.progress)
        regression = found.data.task == "regression"
        found.model.compile(losses.MSE() if regression else losses.CrossEntropy(), "sgd")
        return found

    def make(self, kind: str, out: Path | None = None, *, text: bool = False) -> Made:
        """One figure: in ``out``, or ``RUN/plots/KIND.png``; with ``text`` as characters alone. Errors: those above."""
        drawers: dict[str, Callable[[Path | None], Any]] = {name: getattr(self, name) for name in DRAWN}
        if kind not in {*drawers, *TEXTS}:
            raise unknown("plot", kind, KINDS)
        made = Made(kind)
        if kind in TEXTS:
            made.text, made.values = getattr(self, f"{kind}_text")()
        if kind not in drawers:
            return made
        if text:
            if kind not in TEXTS:
                raise ArgumentError(
                    f"[plot] {kind} is a figure, and not to be had as text; as text there are {', '.join(TEXTS)}"
                )
            return made
        path = out or self.run.folder / "plots" / f"{kind}.{'svg' if kind == 'graph' else 'png'}"
        try:
            drawers[kind](path)
            made.path = path
        except MissingDependencyError as error:
            if not made.text:
                raise
            made.note = str(error)
        return made

    # ---- what each kind is

    def history(self, path: Path | None) -> Any:
        """Curves."""
        return plots.history(self.run.history(), path)

    def history_text(self) -> tuple[str, Any]:
        """The same in characters, and the numbers."""
        values, found = self.run.history(), []
        if not values.get("epoch"):
            raise DataError(f"[plot] {self.run.folder} has no finished epoch")
        for title, names in groups(values).items():
            series = {name: values[name] for name in names}
            height = 10 if len(values["epoch"]) > 1 else 6
            drawn = terminal.lines(
                series, width=self.width, height=height, x=values["epoch"], ascii=terminal.ascii_only()
            )
            found.append(f"{title} over epochs\n{drawn}")
        return "\n\n".join(found), values

    def compare(self, others: Sequence[Run], out: Path | None = None, *, text: bool = False) -> Made:
        """The curves of this run and others, as ``make`` makes figures. Errors: DataError if they have nothing in common."""
        histories = {str(run.folder): run.history() for run in (self.run, *others)}
        found = []
        for title, names in common(histories).items():
            for name in names if title != "learning rate" else ():
                series = {label: values[name] for label, values in histories.items()}
                drawn = terminal.lines(series, width=self.width, height=10, ascii=terminal.ascii_only())
                found.append(f"{name} over epochs\n{drawn}")
        made = Made("compare", text="\n\n".join(found), values=histories)
        path = out or self.run.folder / "plots" / "compare.png"
        if not text:
            try:
                plots.compare(histories, path)
                made.path = path
            except MissingDependencyError as error:
                made.note = str(error)
        return made

    def confusion(self, path: Path | None) -> Any:
        """Which class is taken for which."""
        found = self.tested
        return plots.confusion_matrix(found.data.test_labels, found.chances, found.data.classes, path)

    def confusion_text(self) -> tuple[str, Any]:
        """The same as a table."""
        found = self.tested
        matrix, names = counted("confusion_matrix", found.data.test_labels, found.chances, found.data.classes)
        head = "rows are true, columns predicted"
        return f"{head}\n{terminal.matrix(matrix, names, width=self.width)}", {
            "classes": names,
            "matrix": matrix.tolist(),
        }

    def classes_text(self) -> tuple[str, Any]:
        """The report of each class."""
        report = self.tested.per_class()
        return str(report), report.to_dict()

    def misclassified(self, path: Path | None) -> Any:
        """Images that are taken for another class."""
        found = self.tested
        self.only("images")
        return plots.misclassified(found.data.test, found.data.test_labels, found.chances, found.data.classes, path)

    def predictions(self, path: Path | None) -> Any:
        """What is predicted over what is true."""
        found = self.tested
        if found.data.task != "regression":
            raise ArgumentError(f"[plot] {found.data.name} has no numbers to predict: it is {found.data.task}")
        return plots.predictions(found.data.test_labels, found.model.predict(found.data.test), path)

    def filters(self, path: Path | None) -> Any:
        """Weights of a layer as images."""
        if self.layer is None:
            self.only("images")
        shape = self.tested.data.shape
        size = (int(shape[1] or 0), int(shape[2] or 0)) if len(shape) == 3 and shape[0] == 1 else None
        return plots.filters(self.tested.model, self.layer, path, shape=size)

    def features(self, path: Path | None) -> Any:
        """What layers make of an image."""
        self.only("images")
        layers = None if self.layer is None else [self.layer]
        return plots.feature_maps(self.tested.model, self.one()[0], path, layers=layers)

    def weights(self, path: Path | None) -> Any:
        """How the weights are spread."""
        return plots.weights(self.tested.model, path)

    def weights_text(self) -> tuple[str, Any]:
        """The spread of each parameter in numbers, and of all as bars."""
        rows, everything = [], []
        for name, p in self.tested.model.named_parameters():
            values = p.detach().to(dtype="float32").numpy()
            everything.append(values.reshape(-1))
            rows.append(
                (name, f"{tuple(p.shape)}", f"{values.mean():.3g}", f"{values.std():.3g}", float(np.abs(values).max()))
            )
        numbers = {name: {"mean": float(m), "std": float(s), "largest": most} for name, _, m, s, most in rows}
        drawn = terminal.histogram(np.concatenate(everything), width=self.width, ascii=terminal.ascii_only())
        wide = max(len(name) for name, *_ in rows)
        lines = [f"{name:{wide}}  mean {m:>9}  std {s:>8}  largest {most:.3g}" for name, _, m, s, most in rows]
        return "\n".join([*(line[: self.width] for line in lines), "", drawn]), numbers

    def gradients(self, path: Path | None) -> Any:
        """How large gradients are."""
        return plots.gradients(self.tested.model, *self.batch(), path=path)

    def landscape(self, path: Path | None) -> Any:
        """The loss around the weights."""
        return plots.loss_landscape(self.tested.model, *self.batch(), path=path, steps=15)

    def lr(self, path: Path | None) -> Any:
        """The loss over the learning rate."""
        return self.trial.plot(path)

    def lr_text(self) -> tuple[str, Any]:
        """The same in characters."""
        trial = self.trial
        drawn = terminal.lines(
            {"loss": trial.losses}, x=trial.rates, logarithmic=True, width=self.width, ascii=terminal.ascii_only()
        )
        values = {"suggestion": trial.suggestion, "rates": trial.rates, "losses": trial.losses}
        return f"loss over the learning rate; suggestion {trial.suggestion:.1e}\n{drawn}", values

    @cached_property
    def trial(self) -> Any:
        """A new model, as the run's was in the beginning, tried at growing rates."""
        settings, data = self.run.settings, self.tested.data
        manual_seed(settings.train.seed)
        model = built(settings, data)
        train, _ = data.parts(settings.data, settings.train.seed)
        compiled(model, settings.train, data, len(train))
        found = lr_find(model, train, batch_size=settings.train.batch_size)
        if not found.rates:
            raise DataError("[plot] the first loss is no number: there is no learning rate to find")
        return found

    def boundary(self, path: Path | None) -> Any:
        """What is said of each point of the plane of the two features that tell the classes apart best."""
        self.only("table")
        found = self.tested
        if found.data.task != "classes":
            raise ArgumentError(f"[plot] {found.data.name} has no classes, so there is no boundary between them")
        x, y = found.samples(np.arange(min(len(found.data.test), MOST)))
        inner = np.stack([x[y == c].mean(axis=0) for c in np.unique(y)]).std(axis=0) / np.maximum(x.std(axis=0), 1e-9)
        one, other = (int(k) for k in np.argsort(-inner, kind="stable")[:2])
        names = found.data.features or None
        return plots.decision_boundary(
            found.model, x, y, path, features=(one, other), classes=found.data.classes, names=names
        )

    def attention(self, path: Path | None) -> Any:
        """Where attention looks in one sample."""
        x, tokens = self.one()[0], None
        if self.tested.data.kind == "text":
            x = x[:TOKENS]
            tokens = [self.tested.data.symbols[int(k)] for k in x]
        return plots.attention(self.tested.model, x[None], tokens, path)

    def graph(self, path: Path | None) -> Any:
        """The computation of the loss of two samples."""
        model = self.tested.model
        loss = training_loss("plot", model, *self.tested.samples(np.arange(2)), batch_size=2)
        drawn = plots.computation_graph(loss, model)
        if path is not None:
            drawn.save(path)
        return drawn

    def graph_text(self) -> tuple[str, Any]:
        """The same, a line a call."""
        drawn = self.graph(None)
        return str(drawn), {"calls": str(drawn).splitlines()}

    # ---- of the data

    @property
    def width(self) -> int:
        """Of what is printed."""
        return min(terminal.columns(), 120)

    def only(self, kind: str) -> None:
        """Raise ArgumentError for data of another kind."""
        if self.tested.data.kind != kind:
            raise ArgumentError(
                f"[plot] {self.tested.data.name} is {self.tested.data.kind}: this is a figure for {kind}"
            )

    def one(self) -> tuple[Any, Any]:
        """The sample that was asked for. Errors: ArgumentError."""
        if self.sample >= len(self.tested.data.test):
            raise ArgumentError(
                f"[plot] there is no sample {self.sample}: the test part has {len(self.tested.data.test)}"
            )
        x, y = self.tested.samples([self.sample])
        return x[0], y[0]

    def batch(self) -> tuple[Any, Any]:
        """The first samples of the test part."""
        return self.tested.samples(np.arange(min(BATCH, len(self.tested.data.test))))


DRAWN = tuple(kind for kind in KINDS if kind != "classes")
TEXTS = ("history", "confusion", "classes", "weights", "lr", "graph")
