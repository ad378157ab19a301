"""Training that can be interrupted anywhere: Checkpoint writes all that it depends on, ``fit(resume=...)`` goes on from it."""

from __future__ import annotations

import os
import time
import warnings
import zlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..data import Subset
from ..domain.callback import Logs
from ..domain.errors import ArgumentError, ArgumentTypeError, FileFormatError, StateError
from ..io.checkpoint import suffixed
from ..io.folders import is_folder
from ..io.training import load_part, read, read_training, restore_random, save_training, taken
from ..metrics import Metric
from ..nn import Module
from ..nn.parameter import LazyTensor, sizes_text
from ..nn.state import fits, places
from ..random import Generator
from . import checks
from .batches import Batches, place
from .callbacks import Callback, CallbackList
from .compiled import Averages
from .step import Step

ROWS = 32  # of each array, by which data is known again
PARTS = {"model", "optimizer", "scaler", "more", "frozen", "updates", "averages", "train", "validation", "callbacks"}
PARTS |= {"where", "of"}
LARGE = {"model", "optimizer", "more", "updates", "callbacks"}  # what stays in the file until it is put back


class Checkpoint(Callback):
    """Write to ``path`` all that training depends on, so that ``fit(..., resume=path)`` goes on from there.

    Interrupted anywhere, by Ctrl-C, an error, a full disk or a kill, and taken up again, training ends with the same bits
    as if nothing had been. ``every`` "epoch", or so many batches; with ``seconds`` also after the first batch for which so
    much time has passed; and at the end. The file is replaced whole or not at all: on a full disk FileWriteError ends
    training, and the file before it stands.

    It holds weights and buffers, the optimizer, schedules, averages, the place in the data and in a window of
    ``accumulate``, every generator of random numbers (those of NumPy and ``random``, too), the LossScaler, the history, and
    the ``state_dict`` of each callback that has one. It is called after all others. ``cr.load(path)`` gives the model alone.
    What ``fit`` is given (data, callbacks, ``compile``) is not in it and has to be the same again.

    >>> import chainrule as cr
    >>> from tempfile import TemporaryDirectory
    >>> def run(folder, epochs):
    ...     _ = cr.manual_seed(0)
    ...     model = cr.nn.Sequential(cr.nn.Linear(2, 1)).compile("mse", "adam")
    ...     saved = cr.train.Checkpoint(f"{folder}/run.safetensors")
    ...     return model.fit(cr.ones(8, 2), cr.ones(8, 1), epochs=epochs, callbacks=saved, resume=True, verbose=0)
    >>> with TemporaryDirectory() as one, TemporaryDirectory() as two:
    ...     straight, _, resumed = run(one, 4), run(two, 2), run(two, 4)
    >>> resumed["loss"] == straight["loss"], len(resumed.epoch)
    (True, 4)
    """

    run: Any = None  # what fit is doing

    def __init__(
        self, path: str | os.PathLike[str], every: str | int = "epoch", *, seconds: float | None = None
    ) -> None:
        self.path, self._folder = Path(path), is_folder(path)
        if not self._folder:
            suffixed(path, "Checkpoint")
        if every != "epoch" and (isinstance(every, (bool, str)) or not isinstance(every, int) or every < 1):
            raise ArgumentError(f'[Checkpoint] every is {every!r}, expected "epoch" or a number of batches')
        if seconds is not None and not seconds >= 0:
            raise ArgumentError(f"[Checkpoint] seconds is {seconds!r}, expected a number from 0 on, or None")
        self.every, self.seconds = every, seconds
        self._wrote = time.perf_counter()

    def on_train_begin(self, logs: Logs) -> None:
        """Start the clock. Errors: ArgumentError in a loop that is not ``fit``."""
        if self.run is None:
            raise ArgumentError(
                "[Checkpoint] knows what fit does; in a loop of your own write chainrule.io.save_training(path, ...)"
            )
        self._wrote = time.perf_counter()

    def on_batch_end(self, batch: int, logs: Logs) -> None:
        """Write, if it is time."""
        by_number = isinstance(self.every, int) and self.run.batches % self.every == 0
        if by_number or (self.seconds is not None and time.perf_counter() - self._wrote >= self.seconds):
            self.write()

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Write, if it is time."""
        if self.every == "epoch" or self.run.ended:
            self.write()

    def on_train_end(self, logs: Logs) -> None:
        """Let go."""
        self.run = None

    def write(self) -> None:
        """Write now. Errors: FileWriteError; ArgumentError for a state that a file cannot hold."""
        save_training(f"{self.path}/" if self._folder else self.path, **self.run.parts())
        self._wrote = time.perf_counter()


class Run:
    """What one call of ``fit`` does, and where it is: batch ``batch`` of ``epoch``, None between epochs.

    Made after all callbacks are there: puts Checkpoints behind the others.
    """

    def __init__(
        self,
        step: Step,
        train: Batches,
        validation: Batches | None,
        averages: Averages,
        callbacks: CallbackList,
        epochs: int,
        steps: int | None,
    ) -> None:
        self.step, self.train, self.validation, self.averages = step, train, validation, averages
        self.model, self.plan, self.callbacks, self.epochs, self.steps = step.model, step.plan, callbacks, epochs, steps
        self.scaler = step.plan.precision.scaler
        self.epoch, self.batches, self.skipped = 0, 0, 0
        self.batch: int | None = None
        self.stopped = False  # by a callback that does not remember it
        self.loaded: Any = None
        self.found = ""
        callbacks.callbacks.sort(key=lambda callback: isinstance(callback, Checkpoint))
        self.checkpoints = [callback for callback in callbacks.callbacks if isinstance(callback, Checkpoint)]
        for checkpoint in self.checkpoints:
            checkpoint.run = self

    # ---- where it is

    def begin(self, first: int) -> int:
        """The epoch to begin with: ``first``, or that of the file; beyond the last if training had ended."""
        if self.loaded is None:
            return first
        where = self.loaded["where"]
        between = where["batch"] is None
        if between or where["epoch"] >= self.epochs:
            self.go_on()
        return self.epochs if between and self.over else int(where["epoch"])

    def enter(self, epoch: int) -> int:
        """An epoch begins, or goes on; returns how many of its batches are done."""
        self.epoch, self.batch = epoch, 0
        self.skipped = 0 if self.scaler is None else self.scaler.skipped
        if self.loaded is not None:
            self.go_on()
        return self.batch or 0

    def after_batch(self, number: int) -> None:
        """A batch is done."""
        self.batch, self.batches = number + 1, self.batches + 1

    def after_epoch(self, epoch: int) -> None:
        """An epoch is done."""
        self.epoch, self.batch = epoch + 1, None

    @property
    def over(self) -> bool:
        """Whether training ends after this epoch, though it is not the last."""
        return self.stopped or self.callbacks.stop_training

    @property
    def ended(self) -> bool:
        """Whether there is no epoch more."""
        return self.epoch >= self.epochs or self.over

    # ---- what is kept of it

    def parts(self) -> dict[str, Any]:
        """All that training depends on, as ``save_training`` takes it. Errors: ArgumentError."""
        plan = self.plan
        if not hasattr(plan.optimizer, "state_dict"):
            raise ArgumentError(
                f"[Checkpoint] the optimizer {plan.optimizer!r} has no state_dict: training cannot go on from a file"
            )
        return {
            "model": self.model,
            "optimizer": plan.optimizer,
            "scaler": None if self.scaler is None else self.scaler.state_dict(),
            "more": {name: part_state(part) for name, part in self.more()},
            "frozen": [name for name, p in self.model.named_parameters() if not p.requires_grad],
            "updates": self.step.updates,
            "averages": self.averages.state_dict(self.metrics()),
            "train": self.train,
            "validation": self.validation,
            "callbacks": [[name, state_of(callback)] for name, callback in self.named_callbacks()],
            "where": {
                "epoch": self.epoch,
                "batch": self.batch,
                "batches": self.batches,
                "skipped": self.skipped,
                "stopped": self.over,
            },
            "of": self.fingerprint,
        }

    def go_on(self) -> None:
        """Go on from what was loaded. If that fails, callbacks leave the model as it is: for them no training ends."""
        try:
            self.restore()
        except BaseException:
            self.callbacks.begun = [callback for callback in self.callbacks.begun if not state_of(callback)]
            raise

    def restore(self) -> None:
        """Put back what was loaded, the model last."""
        state, self.loaded = self.loaded, None
        where = state["where"]
        self.epoch, self.batch, self.batches = where["epoch"], where["batch"], where["batches"]
        self.skipped, self.stopped = where["skipped"], where["stopped"]
        self.restore_callbacks(state["callbacks"])
        more = dict(self.more())
        for name, saved in state["more"].items():
            if name in more:
                with taken("fit", self.found, name):
                    load_part(more[name], saved)
        with taken("fit", self.found, "training"):
            if self.scaler is not None:
                self.scaler.load_state_dict(state["scaler"])
            self.averages.load_state_dict(state["averages"], self.metrics(), place(self.model)[0])
            self.train.load_state_dict(state["train"])
            if self.validation is not None:
                self.validation.load_state_dict(state["validation"])
            restore_random(state["random"])  # after loaders, which may have drawn a seed
            load_part(self.plan.optimizer, state["optimizer"])  # after the schedules
            for name, parameter in self.model.named_parameters():
                parameter.requires_grad = name not in state["frozen"]
            parts = [(self.step.updates, "updates"), (self.model, "model")]
            for part, name in parts if self.model.is_built else reversed(parts):  # gradients need shapes
                load_part(part, state[name])

    def restore_callbacks(self, states: Any) -> None:
        """Have them go on; a warning for those that are gone."""
        here = dict(self.named_callbacks())
        for name, saved in states:
            if name in here and hasattr(here[name], "load_state_dict"):
                with taken("fit", self.found, name):
                    here[name].load_state_dict(read(saved))
            elif saved:
                warnings.warn(
                    f"[fit] {self.found} has what {name.partition(' ')[0]} remembered, but it is not among the callbacks",
                    UserWarning,
                    stacklevel=5,
                )

    def find(self, resume: Any, verbose: Any) -> None:
        """Read the file that ``resume`` of ``fit`` names, and see that it is of this training; nothing is changed yet.

        Errors: MissingFileError, FileFormatError, StateError.
        """
        if resume is None or resume is False:
            return
        if resume is True:
            if not self.checkpoints:
                raise ArgumentError(
                    "[fit] resume=True goes on from the file of a Checkpoint, but there is none among the callbacks: give "
                    "one, or the path of a file"
                )
            resume = self.checkpoints[0].path
            if not resume.exists():
                self.tell(verbose, f"resume: there is no {resume} yet, training begins")
                return
        if not isinstance(resume, (str, os.PathLike)):
            raise ArgumentTypeError(f"[fit] resume is {resume!r}, expected True or the path of a file")
        self.found = os.fspath(resume)
        state, random_state = read_training(self.found, "fit")
        if not {*state} >= PARTS:
            raise StateError(f"[fit] {self.found} was not written by a Checkpoint: give its parts to io.load_training")
        with taken("fit", self.found, "training"):
            self.check(state)
        self.loaded = {name: part if name in LARGE else read(part) for name, part in state.items()}
        self.loaded["random"] = random_state
        where = state["where"]
        begun = "" if where["batch"] is None else f", after batch {where['batch']}"
        self.tell(verbose, f"resume: epoch {where['epoch'] + (where['batch'] is not None)}{begun}, of {self.found}")

    def check(self, state: Any) -> None:
        """Raise StateError unless a file is of such a training, FileFormatError if it is of none."""
        where = state["where"]
        numbers = [where["epoch"], where["batch"] or 0, where["batches"], where["skipped"]]
        names = [name for name, _ in state["callbacks"]]
        known = isinstance(state["more"], dict) and isinstance(state["frozen"], list)
        texts = known and all(isinstance(name, str) for name in [*names, *state["frozen"]])
        if not texts or not all(isinstance(number, int) and number >= 0 for number in numbers):
            raise FileFormatError(f"[fit] {self.found} says {where} and {names}, expected a place in a training")
        here, there = self.fingerprint, state["of"]
        lines = [f"{k}: {there.get(k)!r} in the file, {here[k]!r} here" for k in here if there.get(k) != here[k]]
        if not lines:
            lines = [*misfits(self.model, state["model"])]
        if lines:
            text = "\n  ".join([f"[fit] {self.found} is of another training:", *lines])
            raise StateError(f"{text}\n  give fit what that was begun with, or leave out resume")

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        """What has to be the same again, where it can be told."""
        plan, loader = self.plan, self.train.loader
        dataset = getattr(loader, "dataset", None)
        held = None if self.validation is None else getattr(self.validation.loader, "dataset", ())
        return {
            "model": type(self.model).__name__,
            "loss": [getattr(t.loss, "__name__", type(t.loss).__name__) for t in plan.terms],
            "metrics": [metric.name for metric in plan.metrics],
            "optimizer": type(plan.optimizer).__name__,
            "precision": plan.precision.name,
            "accumulate": plan.accumulate,
            "loader": type(loader).__name__,
            "batch_size": getattr(loader, "batch_size", None),
            "steps_per_epoch": self.steps,
            "samples": size(dataset),
            "data": digest(dataset),
            "validation": None if held is None else [size(held), digest(held)],
        }

    def more(self) -> Iterator[tuple[str, Any]]:
        """What else the modules of the model have that goes on: generators, metrics, optimizers of their own."""
        for path, module in self.model.named_modules():
            for name, value in vars(module).items():
                known = isinstance(value, (Module, Callback)) or value is self.plan.optimizer
                has_state = hasattr(value, "state_dict") and hasattr(value, "load_state_dict")
                if not isinstance(value, type) and not known and (has_state or isinstance(value, Generator)):
                    yield f"{path}.{name}" if path else name, value

    def metrics(self) -> list[Any]:
        """Those among them that a step of the model's own may show."""
        return [value for _, value in self.more() if isinstance(value, Metric)]

    def named_callbacks(self) -> Iterator[tuple[str, Any]]:
        """The callbacks by class, with a number: "CSVLogger 1"."""
        counts: dict[str, int] = {}
        for callback in self.callbacks.callbacks:
            name = type(callback).__name__
            counts[name] = counts.get(name, 0) + 1
            yield f"{name} {counts[name]}", callback

    def tell(self, verbose: Any, text: str) -> None:
        """Say it, if anything is to be said."""
        if verbose != 0:
            print(text)


def part_state(part: Any) -> Any:
    """The state of what the model has."""
    return list(part.get_state()) if isinstance(part, Generator) else part.state_dict()


def state_of(callback: Any) -> Any:
    """What a callback remembers; nothing, if it does not say."""
    return callback.state_dict() if hasattr(callback, "state_dict") else {}


def misfits(model: Any, state: Any) -> Iterator[str]:
    """What of the weights in a file does not fit into a model."""
    here = dict(places(model, repeated=False))
    for name in sorted({*here} - {*state}):
        yield f"{name}: in the model, not in the file"
    for name in sorted({*state} - {*here}):
        yield f"{name}: in the file, not in the model"
    for name in (name for name in here if name in state):
        tensor, value = here[name], state[name]
        sizes = tensor.sizes if isinstance(tensor, LazyTensor) else tensor.shape
        if not fits(value.shape, sizes):
            yield f"{name}: shape {value.shape} in the file, {sizes_text(sizes)} in the model"
        elif value.dtype.name != str(tensor.dtype):
            yield f"{name}: {value.dtype.name} in the file, {tensor.dtype} in the model"


def size(dataset: Any) -> int | None:
    """How many samples there are, if it is known."""
    return len(dataset) if hasattr(dataset, "__len__") else None


def digest(dataset: Any) -> str | None:
    """A checksum of some rows of data in arrays, which tells it from other data; None if it is not in arrays."""
    chosen: Any = None
    if isinstance(dataset, Subset):
        dataset, chosen = dataset.dataset, dataset.indices
    arrays = checks.arrays_of(dataset) or ()
    if not arrays or any(array.dtype.hasobject for array in arrays):
        return None
    chosen = np.arange(len(arrays[0])) if chosen is None else chosen
    chosen = chosen[np.unique(np.linspace(0, len(chosen) - 1, ROWS).astype(np.int64))] if len(chosen) else chosen
    found = 0
    for array in arrays:
        rows = np.ascontiguousarray(array[chosen])
        found = zlib.crc32(f"{rows.dtype} {rows.shape}".encode() + rows.tobytes(), found)
    return f"{found:08x}"
