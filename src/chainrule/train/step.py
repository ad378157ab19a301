"""A step of training or of evaluation: from a batch to what is reported of it. A model may have steps of its own."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from ..domain.errors import ArgumentError
from ..losses import Loss
from ..modes import cast_mode, no_grad
from ..ops.elementwise import where
from ..recording import Recorded
from ..tensor import Tensor
from . import checks
from .batches import Batch, as_batch, place
from .compiled import HALF_DONE, NOT_BEGUN, compiled
from .objective import Objective, in_terms, measured, over_steps, update
from .reading import Reader
from .recorded import own_code, unrecordable
from .updates import Part, Updates, total


class Outcome:
    """What came of a batch: the ``outputs``, ``targets``, ``masks`` (of outputs, or None) and ``values`` of its losses, and
    their weighted sum, ``total``."""

    def __init__(
        self, outputs: list[Any], targets: list[Any], masks: list[Any], values: list[Tensor], parts: list[Part]
    ) -> None:
        self.outputs, self.targets, self.masks, self.values, self.parts = outputs, targets, masks, values, parts

    @property
    def total(self) -> Tensor:
        """The number that is made small."""
        return total([part.loss for part in self.parts])


class Step:
    """The steps of one run of ``fit`` or ``evaluate``, called ``name`` in errors. Metrics are those of this run alone.

    ``accumulate`` batches make a step, or as many as the model was compiled with.
    """

    def __init__(self, model: Any, name: str, *, class_weight: Any = None, accumulate: int | None = None) -> None:
        self.model, self.name, self.plan = model, name, compiled(model, name)
        self.terms = self.plan.terms
        self.reader = Reader(model, name, self.plan, class_weight)
        self.objective = Objective(model, self.terms)
        self.metrics = copy.deepcopy([term.metrics for term in self.terms])
        self.updates = Updates(self.plan, self.plan.accumulate if accumulate is None else accumulate)
        self.over: dict[str, Any] = {}  # what reported means of the last batch are over, if not over samples
        self.own_train = type(model).train_step is not train_step
        self.own_test = type(model).test_step is not test_step
        self.watch: Callable[[], AbstractContextManager[Any]] = nullcontext  # around the model and its losses
        self.replay: Recorded | None = None  # the step of training or of evaluation, whichever this is for, recorded

    @property
    def names(self) -> list[str] | None:
        """What is reported; None if the model has a step of its own, which says so as it runs."""
        return None if self.own_train or self.own_test else self.plan.names

    @property
    def reported(self) -> list[Any]:
        """The metrics that see the batches: those of this run, and the compiled ones that the model's own steps use."""
        copies = [metric for metrics in self.metrics for metric in metrics]
        return [*(self.plan.metrics if self.own_train or self.own_test else ()), *copies]

    @property
    def weighted(self) -> dict[str, float]:
        """The weights of the losses that are reported one by one."""
        own = self.own_train or self.own_test
        return {} if own else {f"{t.prefix}loss": t.weight for t in self.terms if t.place is not None}

    # ---- the steps

    def record(self) -> None:
        """Have the training step recorded, if the model was compiled so and nothing speaks against it."""
        plan = self.plan
        plan.why_not = "" if plan.jit is True else "compile(jit=False)" if plan.jit is False else own_code(self)
        if not plan.why_not:
            plan.why_not = unrecordable(self)
        if not plan.why_not:
            self.replay = Recorded(self.of_parts, strict=plan.jit is True)

    def of_parts(self, *parts: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The training step of a batch of these parts, and what its means are over."""
        return self.made(batch_of(*parts)), self.over

    def judged_parts(self, *parts: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The step of evaluation of a batch of these parts, and what its means are over."""
        return self.judged(batch_of(*parts)), self.over

    def made(self, batch: Batch) -> dict[str, Any]:
        """The training step as Python makes it."""
        return self.own(batch, "train_step") if self.own_train else self.learn(batch)

    def train(self, batch: Batch) -> dict[str, Any]:
        """The model's training step. Errors: those of the step; MemoryError says what became of the parameters."""
        replayed = self.replay is not None and not batch.unchecked
        try:
            if self.replay is not None and replayed:
                logs, self.over = self.replay((*batch,), batch.nested, batch.unweighted)
                return logs  # type: ignore[no-any-return]
            return self.made(batch)
        except MemoryError as error:
            if HALF_DONE not in getattr(error, "__notes__", ()):
                error.add_note(HALF_DONE if replayed or self.own_train else NOT_BEGUN)
            raise

    def judged(self, batch: Batch) -> dict[str, Any]:
        """The step of evaluation as Python makes it."""
        return self.own(batch, "test_step") if self.own_test else self.judge(batch)

    def test(self, batch: Batch) -> dict[str, Any]:
        """The model's step of evaluation."""
        if self.replay is None or batch.unchecked:
            return self.judged(batch)
        logs, self.over = self.replay((*batch,), batch.nested, batch.unweighted)
        return logs  # type: ignore[no-any-return]

    def own(self, batch: Batch, method: str) -> dict[str, Any]:
        """A step that the model has itself. Errors: ArgumentError if it gives no logs."""
        self.plan.running = self
        try:
            with self.watch(), self.plan.precision.autocast():
                logs = getattr(self.model, method)(batch)
        finally:
            self.plan.running, self.over = None, {}
        if self.reader.class_weights and method == "train_step" and not self.reader.weighed:
            self.reader.weighed = True
            warnings.warn(
                f"[{self.name}] class_weight has no effect: the train_step of {type(self.model).__name__} does not call "
                "super().train_step, which weighs by it",
                stacklevel=4,
            )
        logs = {"loss": logs} if isinstance(logs, Tensor) else logs
        if not isinstance(logs, dict):
            raise ArgumentError(
                f"[{self.name}] {method} returned {type(logs).__name__}, expected what it reports: a dict of names and "
                "numbers, or the loss"
            )
        for key, value in logs.items():
            good = (
                value.size == 1
                if isinstance(value, Tensor)
                else hasattr(value, "__float__") or hasattr(value, "result")
            )
            if not good:
                found = f"a tensor of shape {value.shape}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
                raise ArgumentError(
                    f"[{self.name}] {method} reports {key!r} as {found}, expected one number or a metric"
                )
        return {key: value.reshape(()) if isinstance(value, Tensor) else value for key, value in logs.items()}

    def learn(self, batch: Batch) -> dict[str, Any]:
        """Forward, loss, backward, and a step of the optimizer if it is time. Reads nothing back."""
        if self.plan.uses_closure:
            return self.logs(self.solve(batch), batch.samples)
        found = self.measure(batch)
        self.updates.zero_grad()
        self.updates.backward(found.parts, batch.samples)
        self.updates.step()
        return self.logs(found, batch.samples)

    def solve(self, batch: Batch) -> Outcome:
        """A step of an optimizer that calls for the loss and its gradients itself, several times."""
        calls: list[Outcome] = []

        def closure() -> Tensor:
            found = self.measure(batch)
            self.plan.optimizer.zero_grad()
            loss = found.total
            loss.backward()
            self.plan.clip()
            calls.append(found) if not calls else None
            return loss

        self.plan.optimizer.step(closure)
        return calls[0]

    def judge(self, batch: Batch) -> dict[str, Any]:
        """Forward and loss."""
        return self.logs(self.measure(batch, training=False), batch.samples)

    def finish(self) -> None:
        """Make the step of batches that have none yet."""
        self.updates.finish()
        if self.replay is not None:
            self.plan.why_not = self.replay.why_not

    # ---- what they are made of

    def measure(self, batch: Batch, training: bool = True) -> Outcome:
        """The losses of a batch; in ``training`` with the weights of classes that were given."""
        if not self.terms:
            raise ArgumentError(
                f"[{self.name}] the model has no loss: compile it with one, or give it a step of its own"
            )
        inputs, targets, weights = self.reader.read(batch, training)
        values, parts = [], []
        with self.watch(), self.plan.precision.autocast():
            outputs, masks = self.objective(inputs)
            outputs = self.plan.precision.outputs(outputs)
            if batch.unchecked:
                self.check(batch, outputs, targets)
            exact = not training or self.updates.size > 1
            rows = zip(self.terms, self.objective.losses, masks, outputs, targets, weights, strict=True)
            for term, loss, mask, given, target, weight in rows:
                found = None if mask is None else over_steps(loss, given, target, weight, mask)
                share = self.share(loss, given, target, batch.samples, exact) if found is None else found[1]
                apart = training and exact and isinstance(share, Tensor)  # the mean of nothing would be no number
                if found is None:
                    value = measured(in_terms(loss, "sum") if apart else loss, given, target, weight)
                else:
                    value = found[0] if apart or share is None else found[0] / divisor(share)
                parts.append(Part(value if term.weight == 1 else value * term.weight, share, apart))
                values.append(value / (share if found is None else divisor(share)) if apart else value)
        return Outcome(outputs, targets, masks, values, parts)

    def share(self, loss: Any, outputs: Any, targets: Any, samples: int, counts: bool) -> Any:
        """What the mean of a loss is over, exactly if it ``counts``; None if it is no mean."""
        if getattr(loss, "reduction", "mean") == "sum":
            return None
        found = loss.count(*loss.arguments(outputs, targets)) if counts and isinstance(loss, Loss) else None
        return samples if found is None else found

    def logs(self, found: Outcome, samples: int) -> dict[str, Any]:
        """What is reported of a batch: the losses as means, and the metrics, which have seen it."""
        shares = [(f"{term.prefix}loss", part.share) for term, part in zip(self.terms, found.parts, strict=True)]
        self.over = {name: share for name, share in shares if isinstance(share, Tensor)}
        with no_grad():
            values = [
                value / samples if part.share is None else value
                for part, value in zip(found.parts, found.values, strict=True)
            ]
            weighed = [v if t.weight == 1 else v * t.weight for t, v in zip(self.terms, values, strict=True)]
            logs: dict[str, Any] = {"loss": total(weighed)}
            for term, value in zip(self.terms, values, strict=True):
                if term.place is not None:
                    logs[f"{term.prefix}loss"] = value
            for place, (term, metrics) in enumerate(zip(self.terms, self.metrics, strict=True)):
                if metrics:
                    shown = self.objective.predictions(place, found.outputs[place])
                    for metric in metrics:
                        update(metric, term.loss, shown, found.targets[place], samples, found.masks[place])
                        logs[metric.name] = metric
        return logs

    def check(self, batch: Batch, outputs: list[Any], targets: list[Any]) -> None:
        """Before the first step: raise if there are labels that a loss cannot take for a model with such an output."""
        for name, whole in batch.unchecked:
            known = targets if whole is None else self.reader.targets(self.reader.slots(whole)[1])
            for at, (term, loss) in enumerate(zip(self.terms, self.objective.losses, strict=True)):
                term.check(name, loss, outputs[at], targets[at])
                if not targets[at]:
                    continue
                first = outputs[at][0]
                checks.head(name, self.objective.heads[at], first)
                checks.scores(name, loss, first)
                checks.outputs(name, loss, outputs[at])
                of_class = self.reader.class_weights[at] if self.reader.class_weights else None
                if of_class is not None:
                    of_class.check(first)
                labels = known[at][0]
                labels = labels.numpy() if isinstance(labels, Tensor) else labels
                what = f"y[{term.name!r}]" if term.place is not None else "y"
                checks.labels(name, loss, first.shape, labels, what)
                checks.alike(name, loss, first.shape, labels, what)
        batch.unchecked.clear()


def batch_of(parts: Any, nested: bool, unweighted: bool) -> Batch:
    """A batch of these parts."""
    batch = Batch(parts)
    batch.nested, batch.unweighted = nested, unweighted
    return batch


def divisor(share: Any) -> Any:
    """What a mean is over, or 1 if no step counts, whose mean is 0."""
    return where(share > 0, share, 1.0) if isinstance(share, Tensor) else share


def train_step(model: Any, batch: Any) -> dict[str, Any]:
    """One step of training, as ``fit`` makes it; a model that trains in another way has a method of this name.

    ``batch`` has the parts that the data gives, as tensors on the model's device: ``x, y = batch``, or with weights three.
    What it returns is reported: a dict of names and means over the batch (tensors, which nobody reads yet, or numbers) or
    metrics that have seen the batch, or the loss alone. The model is in training mode.

    >>> import chainrule as cr
    >>> class Halves(cr.nn.Sequential):
    ...     def train_step(self, batch):
    ...         x, y = batch
    ...         return super().train_step((x / 2, y))
    >>> model = Halves(cr.nn.Linear(2, 1)).compile("mse", "sgd")
    >>> list(model.fit([[0.0, 1.0]], [[2.0]], verbose=0))
    ['loss']
    """
    with cast_mode(None):  # the model's own step runs under autocast
        return running(model, "train_step").learn(as_batch(batch, place(model)[0]))


def test_step(model: Any, batch: Any) -> dict[str, Any]:
    """One step of evaluation, as ``evaluate`` and validation make it; without gradients and in eval mode. See train_step.

    >>> import chainrule as cr
    >>> model = cr.nn.Sequential(cr.nn.Linear(2, 1)).compile("mse")
    >>> list(model.test_step((cr.ones(1, 2), cr.ones(1, 1))))
    ['loss']
    """
    with cast_mode(None):
        return running(model, "test_step").judge(as_batch(batch, place(model)[0]))


def running(model: Any, name: str) -> Step:
    """The step that calls the model's own, or one for this call."""
    found: Step | None = compiled(model, name).running
    return Step(model, name, accumulate=1) if found is None else found
