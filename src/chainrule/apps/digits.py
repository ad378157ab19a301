"""Training on the MNIST digits from start to end, with a report: what ``make demo`` and ``chainrule train mnist`` run."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from .. import backends
from ..data import load_mnist
from ..domain.callback import Logs
from ..domain.errors import ArgumentError, FileWriteError, MissingDependencyError, unknown
from ..io.atomic import atomic_write
from ..optim import Adam
from ..random import manual_seed
from ..train import Callback
from .about import threads, version
from .models import MODELS


class Cooling(Callback):
    """Lets the learning rate fall evenly from ``lr`` to nothing over ``steps`` batches, so that training ends calmly.

    >>> from chainrule import nn
    >>> model = nn.Sequential(nn.Linear(1, 1)).compile("mse", "adam")
    >>> cooling = Cooling(0.1, steps=4)
    >>> cooling.set_model(model)
    >>> for batch in range(3):
    ...     cooling.on_batch_begin(batch, {})
    >>> model.compiled.optimizer.lr
    0.05
    """

    def __init__(self, lr: float, steps: int) -> None:
        self.lr, self.steps, self.step = lr, steps, 0

    def on_batch_begin(self, batch: int, logs: Logs) -> None:
        """Set the rate of this step."""
        self.model.compiled.optimizer.lr = self.lr * (1 - self.step / self.steps)
        self.step += 1


@dataclass
class Report:
    """What a training came to, as ``report.json`` holds it."""

    test_accuracy: float
    test_loss: float
    train_seconds: float
    samples_per_second: float
    epochs: int
    checkpoint: str
    model: str
    train_samples: int
    batch_size: int
    learning_rate: float
    seed: int
    threads: int
    backend: str
    version: str
    interrupted: bool

    def to_json(self) -> str:
        """Text for a file or a terminal."""
        return json.dumps(asdict(self), indent=2)


def writable(folder: Path) -> None:
    """Make a folder for results. Errors: FileWriteError if that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileWriteError(f"{folder} cannot be a folder for results: {error.strerror}") from None


def train_digits(
    out: str | os.PathLike[str],
    *,
    model: str = "cnn",
    epochs: int = 3,
    batch_size: int = 64,
    lr: float = 2e-3,
    seed: int = 0,
    limit_train: int | None = None,
    verbose: int | str = "auto",
) -> Report:
    """Train a network on MNIST, evaluate it on the 10,000 test images, and keep everything in the folder ``out``.

    Written are ``model.safetensors``, ``report.json``, ``history.csv`` and, with matplotlib, ``history.png``. The same
    arguments give the same network, for any number of threads. ``limit_train`` takes the first images only. Errors:
    ArgumentError, DownloadError, FileWriteError.
    """
    if model not in MODELS:
        raise unknown("model", model, MODELS)
    if limit_train is not None and limit_train < 1:
        raise ArgumentError(f"[train] limit_train is {limit_train}, expected a number of at least 1")
    folder = Path(out)
    writable(folder)  # before the work, not after it
    x_train, y_train, x_test, y_test = load_mnist(progress=verbose != 0)
    x_train, y_train = x_train[:limit_train], y_train[:limit_train]

    manual_seed(seed)
    network = MODELS[model]()
    network.compile("cross_entropy", Adam(network.parameters(), lr=lr), metrics=["accuracy"])
    cooling = Cooling(lr, steps=epochs * -(-len(x_train) // batch_size))
    start = time.perf_counter()
    history = network.fit(x_train, y_train, epochs=epochs, batch_size=batch_size, callbacks=[cooling], verbose=verbose)
    seconds = time.perf_counter() - start
    found = network.evaluate(x_test, y_test)

    checkpoint = folder / "model.safetensors"
    network.save(checkpoint)
    history.to_csv(folder / "history.csv")
    if history.epoch:
        try:
            history.plot(folder / "history.png")
        except MissingDependencyError as error:
            print(error, file=sys.stderr)
    report = Report(
        test_accuracy=found["accuracy"],
        test_loss=found["loss"],
        train_seconds=round(seconds, 3),
        samples_per_second=round(len(history.epoch) * len(x_train) / seconds, 1),
        epochs=len(history.epoch),
        checkpoint=str(checkpoint),
        model=model,
        train_samples=len(x_train),
        batch_size=batch_size,
        learning_rate=lr,
        seed=seed,
        threads=threads(),
        backend=backends.get().name,
        version=version(),
        interrupted=history.interrupted,
    )
    with atomic_write(folder / "report.json", text=True) as file:
        file.write(report.to_json() + "\n")
    return report
