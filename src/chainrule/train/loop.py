"""The training loop. A loop written by hand says the same in ten lines (README); this one has callbacks and checks."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from contextlib import nullcontext
from functools import partial
from typing import Any

from ..domain.callback import ICallback
from ..domain.errors import ArgumentTypeError
from ..modes import no_grad
from ..ops import concat
from ..tensor import Tensor
from .anomaly import Debug
from .batches import (
    EVALUATION_BATCH_SIZE,
    Batches,
    is_dataset,
    is_loader,
    labelled,
    prediction_batches,
    training_batches,
)
from .callbacks import CallbackList
from .checks import at_least
from .compiled import Averages, Compiled, compiled
from .history import History
from .mode import mode
from .progress import progress_for
from .recorded import replays
from .rehearsal import Rehearsal
from .resume import Run
from .scaling import Precision
from .step import Step
from .structure import leaves, parted, rebuilt


def fit(
    model: Any,
    x: Any,
    y: Any = None,
    *,
    epochs: int = 1,
    batch_size: int | None = None,
    validation_data: Any = None,
    validation_split: float | str = 0.0,
    shuffle: bool = True,
    class_weight: Any = None,
    sample_weight: Any = None,
    callbacks: Iterable[ICallback] | ICallback | None = None,
    verbose: int | str = "auto",
    initial_epoch: int = 0,
    steps_per_epoch: int | None = None,
    validation_freq: int = 1,
    validation_batch_size: int | None = None,
    validation_steps: int | None = None,
    debug: str | None = None,
    fast_dev_run: bool | int = False,
    overfit_batches: int | float = 0,
    resume: bool | str | os.PathLike[str] | None = None,
) -> History:
    """Train a compiled model and return the History of its epochs.

    ``x`` and ``y`` are arrays, tensors or lists, for several inputs or outputs a tuple or a list of them, or a dict by name;
    or ``x`` is a data set, or a loader or generator of batches, of ``(x, y)`` or ``(x, y, weights)``, or of inputs and
    targets in a row. Batches have ``batch_size`` samples (32), the last one what is left, and come in a new order each
    epoch with ``shuffle`` (a loader has its own size and order). One sample that is left over joins the batch before it, if
    the model has a batch norm, which can make nothing of it. Reported losses and metrics are averages over samples.

    Validation, without gradients and in eval mode, is on ``validation_data`` (``(x, y)``, ``(x, y, weights)``, a data set, a
    loader), in ``validation_batch_size`` (256), no more than ``validation_steps`` batches; or on the last fraction
    ``validation_split`` of the samples as they are given, which are then not trained on. "auto" draws a fifth of them at
    random, always the same, in equal shares of classes where ``y`` is labels, and nothing of fewer than five samples.

    ``class_weight``, one for each class or a dict of some, and ``sample_weight`` (n,), beside arrays, multiply the losses
    of training, which must be of ``chainrule.losses``; for several outputs each is a dict by name. Metrics are not
    weighted, nor is validation but with weights of its own.
    ``verbose``: 0 silent, 1 a line that is redrawn, 2 a line an epoch, "auto" 1 on a terminal and 2 elsewhere.
    An epoch is all the data, or ``steps_per_epoch`` batches, the next one going on where it stopped; validation is
    after every ``validation_freq`` epochs. ``initial_epoch`` epochs count as done. Ctrl-C ends training and keeps the
    weights and the history, whose ``interrupted`` is then True. Training mode is on meanwhile; each layer's mode is
    put back at the end. A model that has a ``train_step`` is trained by that.

    ``debug="nan"`` looks at every number and ends training with an AnomalyError at the first NaN or infinity, which names
    epoch, batch, layer, op and what came in (see ``detect_anomaly``); slow. ``fast_dev_run=True``, or a number, makes one
    epoch of one batch, or so many, of training and validation without the callbacks that write files.
    ``overfit_batches``, a number or a fraction, trains on the same first batches in each epoch, and validates on them.

    ``resume``, the path of what a ``train.Checkpoint`` wrote, goes on from there, to the same bits as without a stop; True
    is the path of the Checkpoint among the callbacks, and begins anew, which it says, if nothing is there yet. Everything
    else is given as in the beginning: StateError where it is not. ``epochs`` counts those of the file.

    Before the first step arrays are checked: DataError (empty, unequal lengths, NaN or infinity), DTypeError, ShapeError
    and IndexRangeError (labels that cross-entropy cannot take), ArgumentError.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> model = nn.Sequential(nn.Linear(2, 1))
    >>> _ = model.compile("mse", cr.optim.SGD(model.parameters(), lr=0.1))
    >>> history = model.fit([[0.0, 1.0], [1.0, 0.0]], [[2.0], [3.0]], epochs=50, verbose=0)
    >>> history["loss"][-1] < 0.1 < history["loss"][0]
    True
    """
    at_least("fit", "epochs", epochs, 1)
    at_least("fit", "initial_epoch", initial_epoch, 0)
    at_least("fit", "validation_freq", validation_freq, 1)
    if steps_per_epoch is not None:
        at_least("fit", "steps_per_epoch", steps_per_epoch, 1)
    rehearsal = Rehearsal(fast_dev_run, overfit_batches)
    epochs = rehearsal.epochs(initial_epoch, epochs)
    step = Step(model, "fit", class_weight=class_weight)
    watch, scaler = Debug(debug, model, step.plan.precision), step.plan.precision.scaler
    step.watch = watch.forward
    if debug is None:
        step.record()
    train, validation = training_batches(
        model,
        x,
        y,
        batch_size,
        shuffle and not overfit_batches,
        validation_split,
        validation_data,
        sample_weight,
        validation_batch_size,
        validation_steps,
    )
    validation = rehearsal.data(train, validation)
    history, averages = History(), Averages(step.reported, step.weighted)
    progress = progress_for(verbose, epochs, train.samples if steps_per_epoch is None else None)
    every = CallbackList(callbacks, model)
    if step.names is not None:
        more = [] if scaler is None else ["skipped_steps"]
        every.expect(step.names + more + [f"val_{name}" for name in step.names if validation])
    rehearsal.callbacks(every, verbose)
    every.add(history, *progress)
    steps = None if rehearsal.batches else steps_per_epoch
    run = Run(step, train, validation, averages, every, epochs, steps)
    run.find(None if rehearsal.batches else resume, verbose)
    try:
        every.on_train_begin()
        for epoch in range(run.begin(initial_epoch), epochs):
            every.on_epoch_begin(epoch)
            averages.reset()
            done = run.enter(epoch)
            with mode(model, training=True):
                for number, batch in enumerate(train.epoch(steps, done), done):
                    every.on_batch_begin(number)
                    with watch.step(batch, epoch, number):
                        averages.update(step.train(batch), batch.samples, step.over)
                    run.after_batch(number)
                    every.on_batch_end(number, averages)
                step.finish()
            logs = averages.results()
            if scaler is not None:
                logs["skipped_steps"] = scaler.skipped - run.skipped
            if validation is not None and ((epoch + 1) % validation_freq == 0 or rehearsal.batches):
                found = averages_of(model, validation, partial(watch.step, epoch=epoch, what="validation "))
                logs |= {f"val_{name}": value for name, value in found.items()}
            run.after_epoch(epoch)
            every.on_epoch_end(epoch, logs)
            if run.over:
                break
    except KeyboardInterrupt:
        history.interrupted = True
    finally:
        train.close()
        for line in progress:
            line.close()
        every.on_train_end(history.last())  # after an error, too
    return history


def train_on_batch(
    model: Any, x: Any, y: Any = None, *, sample_weight: Any = None, class_weight: Any = None
) -> dict[str, float]:
    """One step of a compiled model on one batch, arrays; returns its loss and metrics, as they were before the step.

    For loops of your own; the numbers are read from the device, which waits for the step. ``accumulate`` does not count.
    Errors: those of ``fit``.

    >>> import chainrule as cr
    >>> model = cr.nn.Sequential(cr.nn.Linear(2, 1)).compile("mse", "sgd")
    >>> first = model.train_on_batch([[0.0, 1.0]], [[2.0]])
    >>> model.train_on_batch([[0.0, 1.0]], [[2.0]])["loss"] < first["loss"]
    True
    """
    step = Step(model, "train_on_batch", class_weight=class_weight, accumulate=1)
    if is_loader(x) or is_dataset(x):
        raise ArgumentTypeError(f"[train_on_batch] x is a {type(x).__name__}, expected the array of one batch")
    averages = Averages(step.reported, step.weighted)
    with mode(model, training=True):
        for batch in labelled("train_on_batch", model, x, y, None, sys.maxsize, sample_weight):
            averages.update(step.train(batch), batch.samples, step.over)
    return averages.results()


def evaluate(
    model: Any,
    x: Any,
    y: Any = None,
    *,
    batch_size: int | None = None,
    sample_weight: Any = None,
    steps: int | None = None,
) -> dict[str, float]:
    """The loss and the metrics of a compiled model on data, averaged over samples: ``{"loss": ..., "accuracy": ...}``.

    Data is given as to ``fit``, and weights of samples, which count in the loss. A loss whose mean is not over samples, but
    over labels that count or their weights, is averaged over these: it is that of all data at once, whatever the batches.
    Without gradients and in eval mode, 256 samples together unless ``batch_size`` says otherwise (more than in training,
    for nothing is kept for a backward), no more than ``steps`` batches; the modes of the layers are put back.

    >>> from chainrule import nn
    >>> model = nn.Sequential(nn.Linear(2, 1)).compile("mse")
    >>> list(model.evaluate([[0.0, 1.0], [1.0, 0.0]], [[2.0], [3.0]]))
    ['loss']
    """
    compiled(model, "evaluate")
    return averages_of(
        model, labelled("evaluate", model, x, y, batch_size, EVALUATION_BATCH_SIZE, sample_weight, steps)
    )


def averages_of(model: Any, data: Batches, around: Any = None) -> dict[str, float]:
    """The averages of a compiled model over ``data``, with the context ``around(batch, number=...)`` around each step."""
    step = Step(model, data.name)
    with no_grad(), mode(model, training=False), replays(model) as known:
        known.evaluation(step)
        averages = Averages(step.reported, step.weighted)
        for number, batch in enumerate(data):
            with nullcontext() if around is None else around(batch, number=number):
                averages.update(step.test(batch), batch.samples, step.over)
    return averages.results()


def predict(model: Any, x: Any, *, batch_size: int | None = None, steps: int | None = None) -> Any:
    """The output of a model for all of ``x``: an array, a data set or a loader (of inputs, or of inputs and targets).

    Several inputs are given as to ``fit``; several outputs come as the model gives them, in a tuple or a dict. Without
    gradients and in eval mode, batch by batch (256), no more than ``steps``; the modes of the layers are put back. A model
    that ends in Softmax or Sigmoid gives probabilities.

    >>> from chainrule import nn
    >>> model = nn.Sequential(nn.Linear(2, 3), nn.Softmax())
    >>> model.predict([[0.0, 1.0]]).shape
    (1, 3)
    """
    plan = getattr(model, "compiled", None)
    plan = plan if isinstance(plan, Compiled) else None
    precision = Precision() if plan is None else plan.precision

    def forward(*inputs: Tensor) -> Any:
        with precision.autocast():
            return precision.outputs(model(*inputs))

    with no_grad(), mode(model, training=False), replays(model) as known:
        run = known.prediction(plan, forward)
        given = [run(*inputs) for inputs in prediction_batches(model, x, batch_size, steps)]
        outputs = [parted(one, True) for one in given]
        joined = [concat(parts, axis=0) for parts in zip(*map(leaves, outputs), strict=True)]
        return rebuilt(outputs[0], iter(joined))
