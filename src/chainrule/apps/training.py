"""A training run from settings to report: what ``chainrule train``, ``chainrule resume`` and ``make demo`` do."""

from __future__ import annotations

import math
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from .. import losses, optim, zoo
from ..domain.callback import Logs
from ..domain.errors import ArgumentError, DataError, unknown
from ..nn import Module, Rescaling, Sequential
from ..optim import schedules
from ..random import manual_seed
from ..train import Checkpoint, EarlyStopping, JSONLLogger, LRScheduler, ModelCheckpoint, ProgressBar, TensorBoard
from ..train.progress import clock, watched
from .about import about, threads
from .datasets import Data, find
from .runs import BEST, CONFIG, DATA, ENVIRONMENT, HISTORY, LAST, LOG, MODEL, REPORT, Run, begun
from .settings import Settings, TrainSettings

STEPS = 1500  # of a training that is not told its epochs
FEW = 2000  # samples: smaller batches, more epochs
DEFAULT_MODEL = {"images": "cnn", "table": "mlp", "sequences": "lstm", "text": "gpt"}
NARROW = 60  # columns: less have no room for the time that is left of all epochs
LEAST = 100  # steps between two checkpoints, whatever an epoch has: writing a file takes longer than some small steps
SECONDS = 15.0  # between two checkpoints within an epoch
OPTIMIZERS = {
    name.lower(): name for name in "SGD Adam AdamW RMSprop Adagrad Adadelta Adamax NAdam RAdam LAMB Lion".split()
}


class Line(ProgressBar):
    """The progress of a run: as ``fit`` shows it, with the learning rate, and the time that is left of all epochs."""

    def __init__(self, first: int, **options: Any) -> None:
        super().__init__(**options)
        self.first, self.begun, self.between = first, time.perf_counter(), False

    def on_batch_end(self, batch: int, logs: Logs) -> None:
        """The averages so far, and the rate of the next step."""
        super().on_batch_end(batch, WithRate(logs, self.model.compiled.optimizer) if self.live else logs)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """The line of the epoch, which does not tell what is left."""
        self.between = True
        super().on_epoch_end(epoch, logs)
        self.between = False

    def _title(self) -> str:
        seen = float(self.running.get("samples", 0)) if self.live else 0.0
        done = self.epoch - self.first + (seen / self.samples if self.samples else 0.0)
        title = super()._title()
        last = not self.epochs or self.epochs - self.first < 2
        if not self.live or self.between or last or done <= 0.02 or shutil.get_terminal_size().columns < NARROW:
            return title
        left = (time.perf_counter() - self.begun) * ((self.epochs or 0) - self.first - done) / done
        return f"{title} · {clock(left)} to go" if left >= 1 else title


class WithRate(Mapping[str, float]):
    """Logs that are read when asked for, and the learning rate."""

    def __init__(self, logs: Logs, optimizer: Any) -> None:
        self.logs, self.optimizer = logs, optimizer

    def __getitem__(self, name: str) -> float:
        return float(self.optimizer.lr) if name == "lr" else self.logs[name]

    def __iter__(self) -> Iterator[str]:
        return iter([*self.logs, "lr"])

    def __len__(self) -> int:
        return len(self.logs) + 1


def train(
    settings: Settings,
    out: str | Path | None = None,
    *,
    overwrite: bool = False,
    verbose: int | str = "auto",
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Train as ``settings`` say, test, and keep everything in a folder (see ``Run``); returns what ``report.json`` has.

    The same settings give the same model, for any number of threads. ``verbose`` as in ``fit``; ``say`` is told what is
    trained with what. Ctrl-C ends training and keeps the model; ``resume`` goes on. Errors: those of ``datasets.find``,
    ``zoo.create``, ``runs.begun`` and ``fit``.
    """
    folder = Path(out) if out is not None else None
    if folder is not None and folder.exists() and not folder.is_dir():
        begun(folder, "", overwrite)  # says that it cannot be
    data = find(settings.data, progress=verbose != 0)
    if data.task == "classes" and data.outputs < 2:
        raise DataError(f"[train] {data.name} has one class alone, {data.classes[0]}: there is nothing to tell it from")
    settings = resolved(settings, data)
    manual_seed(settings.train.seed)
    model = built(settings, data)
    train_set, validation = data.parts(settings.data, settings.train.seed, settings.train.augment)
    prepared = compiled(model, settings.train, data, len(train_set))
    run = begun(folder, f"{Path(data.name).stem}-{settings.model.name}", overwrite)
    run.write(CONFIG, settings.to_toml())
    run.write_json(DATA, data.describe())
    run.write_json(ENVIRONMENT, environment())
    introduce(say, run, settings, data, model, train_set, validation)
    return fitted(run, settings, data, model, prepared, (train_set, validation), verbose, None)


def environment() -> dict[str, Any]:
    """Where a run runs: the machine, packages, the date, the command."""
    packages = {name: metadata.version(name) for name in ("numpy", "ml_dtypes", "safetensors")}
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {**about(), **packages, "date": now, "command": " ".join(["chainrule", *sys.argv[1:]])}


def resume(
    run: Run, *, epochs: int | None = None, verbose: int | str = "auto", say: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """Go on with a run that was stopped, to the same model as without a stop; or with more ``epochs`` than it was told.

    The learning rate then follows its schedule over all of them. Errors: those of ``train``; ArgumentError for less
    epochs than are done.
    """
    settings = run.settings
    if epochs is not None:
        done = len(run.history()["epoch"]) if (run.folder / HISTORY).exists() else 0
        if epochs < done:
            raise ArgumentError(f"[resume] {run.folder} has {done} epochs already, more than {epochs}")
        settings = settings.changed({"train.epochs": epochs})
    data = find(settings.data, progress=verbose != 0)
    if data.describe() != run.data:
        raise ArgumentError(
            f"[resume] {settings.data.name} is not what it was: other classes, columns, shape or characters"
        )
    manual_seed(settings.train.seed)
    model = built(settings, data)
    train_set, validation = data.parts(settings.data, settings.train.seed, settings.train.augment)
    prepared = compiled(model, settings.train, data, len(train_set))
    run.write(CONFIG, settings.to_toml())
    introduce(say, run, settings, data, model, train_set, validation)
    last = run.folder / LAST if (run.folder / LAST).exists() else None
    say("no checkpoint was written yet: it begins anew" if last is None else f"goes on from {last}")
    return fitted(run, settings, data, model, prepared, (train_set, validation), verbose, last)


def resolved(settings: Settings, data: Data) -> Settings:
    """The settings with what was left open. Errors: ArgumentError for a name that is not known."""
    name = settings.model.name or DEFAULT_MODEL[data.kind]
    if name not in zoo.MODELS:
        raise unknown("model", name, zoo.MODELS)
    told, samples = settings.train, settings.data.limit or len(data.labels if data.labels is not None else data.test)
    batch = told.batch_size or (64 if samples >= FEW or data.kind == "text" else 16)
    suits = 3 if data.kind == "text" else min(max(math.ceil(STEPS * batch / samples), 3), 60)
    return settings.changed(
        {
            "model.name": name,
            "train.lr": told.lr or zoo.MODELS[name].lr,
            "train.batch_size": batch,
            "train.epochs": told.epochs or suits,
        }
    )


def built(settings: Settings, data: Data) -> Module:
    """The model for the data: its scales in it, its sizes known."""
    softmax, options = data.task == "classes", dict(settings.model.options)
    if settings.model.name == "gpt":
        length = settings.data.length
        if type(options.setdefault("context", length)) is int and options["context"] < length:
            raise ArgumentError(
                f"[train] gpt knows {options['context']} characters (model.context), but pieces of the text have {length} "
                f"(data.length): --set data.length={options['context']}"
            )
    if data.kind == "sequences" and "masking" in zoo.MODELS[settings.model.name].options:
        options.setdefault("masking", data.padded)
    model = zoo.create(settings.model.name, data.outputs, kind=data.kind, softmax=softmax, **options)
    if data.scale:
        mean, std = data.scale["x"]
        layers: list[Module] = [
            Rescaling([1 / s for s in std], [-m / s for m, s in zip(mean, std, strict=True)]),
            model,
        ]
        if "y" in data.scale:
            (mean,), (std,) = data.scale["y"]
            layers.append(Rescaling(std, mean))
        inner = [*model] if isinstance(model, Sequential) else [model]
        model = Sequential(layers[0], *inner, *layers[2:])
    text = data.kind == "text"
    return model.build((None, *data.shape), **({"dtype": "int64"} if text else {}))


def compiled(model: Module, told: TrainSettings, data: Data, samples: int) -> list[Any]:
    """Compile the model as it was told; returns the callbacks of its schedule."""
    if told.optimizer.lower() not in OPTIMIZERS:
        raise unknown("optimizer", told.optimizer, OPTIMIZERS)
    options: dict[str, Any] = {"weight_decay": told.weight_decay} if told.weight_decay else {}
    if told.optimizer.lower() == "sgd":
        options |= {"momentum": 0.9, "nesterov": True}
    optimizer = getattr(optim, OPTIMIZERS[told.optimizer.lower()])(model.parameters(), lr=told.lr, **options)
    regression = data.task == "regression"
    loss: Any = losses.MSE() if regression else losses.CrossEntropy(label_smoothing=told.label_smoothing)
    metrics = ["mae", "r2"] if regression else ["accuracy"]
    model.compile(loss, optimizer, metrics=metrics, precision=told.precision, clip_norm=told.clip_norm or None)
    steps = told.epochs * math.ceil(samples / told.batch_size)
    makers: dict[str, Callable[[], Any]] = {
        "linear": lambda: schedules.Linear(optimizer, 1.0, 0.0, total=steps),
        "cosine": lambda: schedules.Cosine(optimizer, total=steps),
        "onecycle": lambda: schedules.OneCycle(optimizer, max_lr=told.lr, total=steps),
        "constant": lambda: schedules.Lambda(optimizer, lambda n: 1.0),
    }
    return [LRScheduler(makers[told.schedule](), every="batch")]


def introduce(
    say: Callable[[str], None], run: Run, settings: Settings, data: Data, model: Module, train_set: Any, validation: Any
) -> None:
    """What is trained, with what, and where it is kept."""
    told, what = settings.train, {"images": "images", "table": "rows", "text": f"pieces of {settings.data.length}"}
    held = f", {len(validation):,} to validate" if validation is not None else ""
    aim = {"classes": f" ({len(data.classes)} classes)", "regression": f" (a number, {data.target or 'the target'})"}
    counts = f"{len(train_set):,} {what.get(data.kind, data.kind)} to train on{held}, {len(data.test):,} to test with"
    say(f"{data.name}: {counts}{aim.get(data.task, '')}")
    parameters = sum(parameter.size for parameter in model.parameters())
    say(
        f"{settings.model.name}: {parameters:,} parameters; {told.optimizer}, learning rate {told.lr:g} ({told.schedule}), "
        f"batches of {told.batch_size}"
    )
    say(f"kept in {run.folder}")


def fitted(
    run: Run,
    settings: Settings,
    data: Data,
    model: Module,
    callbacks: list[Any],
    parts: tuple[Any, Any],
    verbose: int | str,
    last: Path | None,
) -> dict[str, Any]:
    """Train, test, write down."""
    told, (train_set, validation) = settings.train, parts
    callbacks = [*callbacks, JSONLLogger(run.folder / HISTORY)]
    if told.tensorboard:
        callbacks.append(TensorBoard(run.folder / "tensorboard", histogram_freq=1))
    if validation is not None:
        callbacks.append(ModelCheckpoint(run.folder / BEST, monitor="val_loss", save_best_only=True))
        if told.patience:
            callbacks.append(EarlyStopping("val_loss", patience=told.patience))
    elif told.patience:
        raise ArgumentError(
            "[train] patience waits for val_loss, but there is no validation: give it a share of the data"
        )
    steps = math.ceil(len(train_set) / told.batch_size)
    callbacks.append(Checkpoint(run.folder / LAST, "epoch" if steps >= LEAST else LEAST, seconds=SECONDS))
    first = 0
    if last is not None and (run.folder / HISTORY).exists():
        first = len(run.history()["epoch"])
    known = {"epochs": told.epochs, "samples": len(train_set)}
    shown = watched(sys.stdout) if verbose == "auto" else verbose == 1
    start = time.perf_counter()
    with open(run.folder / LOG, "a", encoding="utf-8") as log:
        lines = [Line(first, live=False, file=log, **known)]
        if verbose != 0:
            lines.append(Line(first, live=shown, **known))
        history = model.fit(
            train_set,
            epochs=told.epochs,
            batch_size=told.batch_size,
            validation_data=validation,
            callbacks=[*callbacks, *lines],
            resume=last,
            verbose=0,
        )
    seconds = time.perf_counter() - start + (run.report.get("train_seconds", 0.0) if last is not None else 0.0)
    model.save(run.folder / MODEL)
    report: dict[str, Any] = {
        "run": str(run.folder),
        "checkpoint": str(run.folder / MODEL),
        "model": settings.model.name,
        "data": data.name,
        "epochs": len(history.epoch),
        "interrupted": history.interrupted,
        "train_samples": len(train_set),
        "train_seconds": round(seconds, 3),
        "samples_per_second": round(len(history.epoch) * len(train_set) / seconds, 1),
        "batch_size": told.batch_size,
        "learning_rate": told.lr,
        "seed": told.seed,
        "threads": threads(),
        "backend": about()["backend"],
        "version": about()["version"],
        **{name: value for name, value in history.last().items() if name != "lr" and math.isfinite(value)},
    }
    if not history.interrupted:
        found = model.evaluate(data.test)
        report |= {f"test_{name}": value for name, value in found.items()}
    run.write_json(REPORT, report)
    return report
