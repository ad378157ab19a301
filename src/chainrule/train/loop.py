"""The training loop. A loop written by hand says the same in ten lines (README); this one has callbacks and checks."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from ..domain.callback import ICallback
from ..domain.errors import ArgumentTypeError
from ..modes import no_grad
from ..ops import concat
from ..tensor import Tensor
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
from .compiled import Averages, compiled, objective
from .history import History
from .mode import mode
from .progress import progress_for
from .updates import Updates


def fit(
    model: Any,
    x: Any,
    y: Any = None,
    *,
    epochs: int = 1,
    batch_size: int | None = None,
    validation_data: Any = None,
    validation_split: float = 0.0,
    shuffle: bool = True,
    class_weight: Any = None,
    sample_weight: Any = None,
    callbacks: Iterable[ICallback] | ICallback | None = None,
    verbose: int | str = "auto",
    initial_epoch: int = 0,
    steps_per_epoch: int | None = None,
    validation_freq: int = 1,
) -> History:
    """Train a compiled model and return the History of its epochs.

    ``x`` and ``y`` are arrays, tensors or lists; or ``x`` is a data set, or a loader, of ``(x, y)``; the last part of a
    sample is the target. Batches have ``batch_size`` samples (32), the last one what is left, and come in a new order
    each epoch with ``shuffle`` (a loader has its own size and order). Reported losses and metrics are averages over
    samples. Validation, without gradients and in eval mode, is on ``validation_data`` (``(x, y)``, a data set, a loader)
    or on the last fraction ``validation_split`` of the samples as they are given, which are then not trained on.
    ``class_weight``, one for each class or a dict of some, and ``sample_weight`` (n,), beside arrays, multiply the losses
    of training, which must be one of ``chainrule.losses``; validation and metrics are not weighted.
    ``verbose``: 0 silent, 1 a line that is redrawn, 2 a line an epoch, "auto" 1 on a terminal and 2 elsewhere.
    An epoch is all the data, or ``steps_per_epoch`` batches, the next one going on where it stopped; validation is
    after every ``validation_freq`` epochs. ``initial_epoch`` epochs count as done. Ctrl-C ends training and keeps the
    weights and the history, whose ``interrupted`` is then True. Training mode is on meanwhile; each layer's mode is
    put back at the end.

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
    plan = compiled(model, "fit")
    at_least("fit", "epochs", epochs, 1)
    at_least("fit", "initial_epoch", initial_epoch, 0)
    at_least("fit", "validation_freq", validation_freq, 1)
    if steps_per_epoch is not None:
        at_least("fit", "steps_per_epoch", steps_per_epoch, 1)
    train, validation = training_batches(
        model, x, y, batch_size, shuffle, validation_split, validation_data, sample_weight
    )
    history, averages = History(), Averages(plan)
    body, head, loss_of = objective(model, plan.loss)
    train.weigh(loss_of, class_weight)
    updates = Updates(plan, loss_of)
    progress = progress_for(verbose, epochs, train.samples if steps_per_epoch is None else None)
    every = CallbackList(callbacks, model)
    every.expect(plan.names + [f"val_{name}" for name in plan.names if validation])
    every.add(history, *progress)
    try:
        every.on_train_begin()
        for epoch in range(initial_epoch, epochs):
            every.on_epoch_begin(epoch)
            averages.reset()
            with mode(model, training=True):
                for number, (inputs, target, weight) in enumerate(train.epoch(steps_per_epoch)):
                    every.on_batch_begin(number)
                    output = body(*inputs)
                    train.check_labels(loss_of, output, target)
                    loss = loss_of(output, target) if weight is None else loss_of(output, target, weight)
                    updates.zero_grad()
                    updates.backward(loss, output, target)
                    updates.step()
                    averages.update(loss, output if head is None else head(output.detach()), target)
                    every.on_batch_end(number, averages)
                updates.finish()
            logs = averages.results()
            if validation is not None and (epoch + 1) % validation_freq == 0:
                logs |= {f"val_{name}": value for name, value in averages_of(model, validation).items()}
            every.on_epoch_end(epoch, logs)
            if every.stop_training:
                break
    except KeyboardInterrupt:
        history.interrupted = True
    finally:
        for line in progress:
            line.close()
        every.on_train_end(history.last())  # after an error, too
    return history


def train_on_batch(model: Any, x: Any, y: Any) -> dict[str, float]:
    """One step of a compiled model on one batch, arrays; returns its loss and metrics, as they were before the step.

    For loops of your own; the numbers are read from the device, which waits for the step. ``accumulate`` does not count.
    Errors: those of ``fit``.

    >>> import chainrule as cr
    >>> model = cr.nn.Sequential(cr.nn.Linear(2, 1)).compile("mse", "sgd")
    >>> first = model.train_on_batch([[0.0, 1.0]], [[2.0]])
    >>> model.train_on_batch([[0.0, 1.0]], [[2.0]])["loss"] < first["loss"]
    True
    """
    plan = compiled(model, "train_on_batch")
    averages = Averages(plan)
    body, head, loss_of = objective(model, plan.loss)
    if is_loader(x) or is_dataset(x):
        raise ArgumentTypeError(f"[train_on_batch] x is a {type(x).__name__}, expected the array of one batch")
    batch = labelled("train_on_batch", model, x, y, None, sys.maxsize)
    with mode(model, training=True):
        for inputs, target, _ in batch:
            output = body(*inputs)
            batch.check_labels(loss_of, output, target)
            loss = loss_of(output, target)
            plan.optimizer.zero_grad()
            loss.backward()
            plan.step()
            averages.update(loss, output if head is None else head(output.detach()), target)
    return averages.results()


def evaluate(model: Any, x: Any, y: Any = None, *, batch_size: int | None = None) -> dict[str, float]:
    """The loss and the metrics of a compiled model on data, averaged over samples: ``{"loss": ..., "accuracy": ...}``.

    Data is given as to ``fit``. Without gradients and in eval mode, 256 samples together unless ``batch_size`` says
    otherwise (more than in training, for nothing is kept for a backward); the modes of the layers are put back.

    >>> from chainrule import nn
    >>> model = nn.Sequential(nn.Linear(2, 1)).compile("mse")
    >>> list(model.evaluate([[0.0, 1.0], [1.0, 0.0]], [[2.0], [3.0]]))
    ['loss']
    """
    compiled(model, "evaluate")
    return averages_of(model, labelled("evaluate", model, x, y, batch_size, EVALUATION_BATCH_SIZE))


def averages_of(model: Any, data: Batches) -> dict[str, float]:
    """The averages of a compiled model over ``data``."""
    plan = compiled(model, "evaluate")
    averages = Averages(plan)
    body, head, loss_of = objective(model, plan.loss)
    with no_grad(), mode(model, training=False):
        for inputs, target, _ in data:
            output = body(*inputs)
            data.check_labels(loss_of, output, target)
            averages.update(loss_of(output, target), output if head is None else head(output), target)
    return averages.results()


def predict(model: Any, x: Any, *, batch_size: int | None = None) -> Tensor:
    """The output of a model for all of ``x``: an array, a data set or a loader (of inputs, or of inputs and a target).

    Without gradients and in eval mode, batch by batch (256); the modes of the layers are put back. A model that ends in
    Softmax or Sigmoid gives probabilities.

    >>> from chainrule import nn
    >>> model = nn.Sequential(nn.Linear(2, 3), nn.Softmax())
    >>> model.predict([[0.0, 1.0]]).shape
    (1, 3)
    """
    with no_grad(), mode(model, training=False):
        outputs = [model(*inputs) for inputs in prediction_batches(model, x, batch_size)]
        joined: Tensor = concat(outputs, axis=0)
        return joined
