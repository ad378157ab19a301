"""How a model is trained: its loss, its optimizer, its metrics, and the averages that are reported."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .. import losses, metrics, optim
from ..creation import zeros
from ..domain.errors import ArgumentError, ArgumentTypeError, NotCompiledError
from ..modes import no_grad
from ..nn import Module, Sigmoid, Softmax
from ..ops.elementwise import where
from ..tensor import Tensor
from .checks import at_least
from .objective import Objective, Term
from .scaling import Precision
from .structure import by_name, counted

HALF_DONE = (
    "memory ran out while the optimizer stepped: some parameters may have moved and others not; go on from a checkpoint"
)
NOT_BEGUN = (
    "memory ran out before the optimizer stepped: parameters and optimizer are as before this batch; the running statistics "
    "of batch norms and the random numbers may have moved on"
)


class Compiled:
    """What ``compile`` leaves in ``model.compiled``: ``loss``, ``optimizer``, ``metrics``, how gradients are cut and summed.

    ``terms`` are the losses one by one, each with its metrics; ``output_names`` the outputs that there is a choice of.
    """

    def __init__(
        self,
        loss: Any,
        optimizer: Any,
        terms: list[Term],
        output_names: tuple[str, ...] = (),
        clip_norm: float | None = None,
        clip_value: float | None = None,
        accumulate: int = 1,
        precision: Precision | None = None,
        jit: bool | str = "auto",
    ) -> None:
        self.precision = Precision() if precision is None else precision
        self.loss, self.optimizer, self.terms, self.output_names = loss, optimizer, terms, output_names
        self.metrics = [metric for term in terms for metric in term.metrics]
        self.clip_norm, self.clip_value, self.accumulate = clip_norm, clip_value, accumulate
        self.jit, self.why_not = jit, ""  # whether fit records its step, and why the last one did not
        self.running: Any = None  # the step of ``fit`` that is calling the model's own

    def parameters(self) -> list[Any]:
        """Those that the optimizer moves."""
        return [entry.param for group in self.optimizer.param_groups for entry in group.entries]

    def clip(self) -> None:
        """Cut the gradients as asked."""
        if self.clip_value is not None:
            optim.clip_grad_value_(self.parameters(), self.clip_value)
        if self.clip_norm is not None:
            optim.clip_grad_norm_(self.parameters(), self.clip_norm)

    def step(self) -> None:
        """Cut the gradients as asked, and let the optimizer move the weights."""
        try:
            self.precision.unscale(self.optimizer)
            self.clip()
            self.precision.step(self.optimizer)
        except BaseException as error:  # Ctrl-C, too: training can go on
            self.precision.forget()
            if isinstance(error, MemoryError):
                error.add_note(HALF_DONE)
            raise

    @property
    def uses_closure(self) -> bool:
        """Whether the optimizer calls for the loss and its gradients itself."""
        return bool(getattr(self.optimizer, "uses_closure", False))

    @property
    def targets(self) -> int:
        """How many targets the losses take together."""
        return sum(1 if term.takes is None else term.takes[1] for term in self.terms)

    @property
    def names(self) -> list[str]:
        """What is reported."""
        losses = [f"{term.prefix}loss" for term in self.terms if term.place is not None]
        return ["loss", *losses, *(metric.name for metric in self.metrics)]

    def __repr__(self) -> str:
        return f"Compiled({self.loss!r}, {self.optimizer!r}, metrics={self.metrics!r})"


def compile(
    model: Any,
    loss: Any = None,
    optimizer: Any = "adam",
    metrics: Any = (),
    *,
    loss_weights: Any = None,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    accumulate: int = 1,
    precision: str | None = None,
    jit: bool | str = "auto",
) -> Any:
    """Say how the model is to be trained, before ``fit`` and ``evaluate``; returns the model.

    ``loss`` is a name ("cross_entropy", "mse", "bce", ...), one of ``chainrule.losses``, or any
    ``f(prediction, target)`` that returns one number, the mean over the batch. ``optimizer`` is a name, with the default
    settings of the optimizer, or an optimizer made with ``model.parameters()``. ``metrics`` are names ("accuracy"),
    objects of ``chainrule.metrics``, or functions that return the mean over a batch. A Sequential or Graph that ends in
    Softmax or Sigmoid is trained on what comes before it if the loss is cross-entropy or binary cross-entropy: the result
    is the same but never overflows, and ``predict`` still gives probabilities (that last layer is not called in training,
    nor are hooks on the model itself).

    A model of several outputs has a list of losses, one for each (None: it is not trained), or a dict by their names; the
    sum of them, times ``loss_weights``, is made small. ``metrics`` are then a list or a dict of what each output has. One
    loss that takes several outputs and targets gets the outputs and then the targets, as functions do.

    Before a step ``clip_value`` cuts each element of the gradients, then ``clip_norm`` the norm of all of them. With
    ``accumulate`` each step is for so many batches together, exactly as if they were one (but batch norms see each). An
    optimizer that calls a closure, as LBFGS, does so in each step, with the same batch.
    ``precision`` is "32" (or None), "bf16-mixed" or "fp16-mixed": products of matrices in 16 bits (see ``autocast``), with
    weights and their gradients in float32, and for float16 a LossScaler; outputs come as float32.

    ``jit`` says whether ``fit``, ``evaluate`` and ``predict`` record a step and replay it without Python (see
    ``chainrule.jit``), to the same bits:
    "auto" does so if the model, its losses and its metrics are made of the layers, losses and metrics of chainrule, which do
    the same in each step; True also with code of your own, whose Python then runs no more after the second step, and raises
    RecordingError where that cannot be; False never. ``model.compiled.why_not`` says why the last ``fit`` did not.
    Errors: ArgumentError for an unknown name, with the nearest; ArgumentTypeError.

    >>> from chainrule import nn
    >>> model = nn.Sequential(nn.Linear(4, 3), nn.Softmax())
    >>> model.compile("cross_entropy", "sgd", metrics=["accuracy"]).compiled.names
    ['loss', 'accuracy']
    >>> model.compile("cros_entropy")
    Traceback (most recent call last):
    chainrule.domain.errors.ArgumentError: unknown loss 'cros_entropy': did you mean 'cross_entropy'? ...
    """
    mixed = Precision(precision)
    terms, names = as_terms(model, loss, loss_weights)
    found = as_optimizer(optimizer, model)
    at_least("compile", "accumulate", accumulate, 1)
    if jit not in (True, False, "auto"):
        raise ArgumentError(f'[compile] jit is {jit!r}, expected "auto", True or False')
    for name, limit in (("clip_norm", clip_norm), ("clip_value", clip_value)):
        if limit is not None and not limit > 0:
            raise ArgumentError(f"[compile] {name} is {limit!r}, expected a positive number, or None")
    asked = (clip_norm, clip_value, accumulate, mixed.scaler) != (None, None, 1, None)
    if asked and not isinstance(found, optim.Optimizer):
        raise ArgumentTypeError(
            f"[compile] clip_norm, clip_value, accumulate and fp16-mixed need an optim.Optimizer, not {found!r}"
        )
    if mixed.scaler is not None and getattr(found, "uses_closure", False):
        raise ArgumentError(f"[compile] {type(found).__name__} takes no scaled losses: use bf16-mixed")
    if accumulate > 1 and getattr(found, "uses_closure", False):
        raise ArgumentError(f"[compile] {type(found).__name__} takes each batch by itself: leave out accumulate")
    if terms:
        add_metrics(metrics, model, terms, names)
    shown = terms[0].loss if len(terms) == 1 else loss
    plan = Compiled(shown, found, terms, names, clip_norm, clip_value, accumulate, mixed, jit)
    if not terms:  # the model's own steps show them what they are to see
        plan.metrics = as_metrics(metrics)
    model.compiled = plan
    return model


def compiled(model: Any, name: str) -> Compiled:
    """What ``compile`` left. Errors: NotCompiledError."""
    found = getattr(model, "compiled", None)
    if not isinstance(found, Compiled):
        raise NotCompiledError(
            f'[{name}] the model is not compiled: call model.compile(loss="cross_entropy", optimizer="adam") first'
        )
    return found


class Averages(Mapping[str, float]):
    """The averages over the samples seen so far, and their number, ``samples``, by name.

    The sums are small tensors on the device that change in place: a step reads nothing back. Looking at an average does.
    With ``weights`` the loss is the sum of the losses that they name, each times its weight.
    """

    def __init__(self, metrics: Iterable[Any] = (), weights: Mapping[str, float] | None = None) -> None:
        self.given = [*metrics]  # to begin again with each epoch, whoever shows them the batches
        self.metrics: dict[str, Any] = {}
        self.totals: dict[str, Tensor] = {}  # of the means of batches, each times what it is over
        self.counts: dict[str, Any] = {}  # what they are over: samples, unless a step says otherwise
        self.weights = weights or {}
        self.names: list[str] = []
        self.reset()

    def reset(self) -> None:
        """Begin again, with no samples seen."""
        self.samples = 0
        for name, total in self.totals.items():
            total.zero_()
            self.counts[name] = self.counts[name] * 0
        for metric in (*self.given, *self.metrics.values()):
            metric.reset()

    def update(self, logs: Mapping[str, Any], samples: int, over: Mapping[str, Any] | None = None) -> None:
        """Add a batch: means over it, of its samples or as ``over`` says, and metrics that have seen it."""
        self.samples += samples
        over = over or {}
        with no_grad():
            for name, value in logs.items():
                if name not in self.names:
                    self.names.append(name)
                if hasattr(value, "result"):
                    self.metrics[name] = value
                    continue
                if name not in self.totals:
                    self.totals[name] = zeros(dtype="float64", device=getattr(value, "device", None))
                    self.counts[name] = zeros(dtype="float64", device=value.device) if name in over else 0
                count = over.get(name, samples)
                some = value * count
                if isinstance(count, Tensor):  # the mean over nothing is no number, and adds nothing
                    some = where(count > 0, some, 0.0)
                self.totals[name].add_(some)
                self.counts[name] += count

    def state_dict(self, metrics: Iterable[Any] = ()) -> dict[str, Any]:
        """What to go on from within an epoch; ``metrics`` are more that a step may show, whose states are kept elsewhere."""
        known = [*self.given, *metrics]
        return {
            "samples": self.samples,
            "names": [*self.names],
            "totals": dict(self.totals),
            "counts": dict(self.counts),
            "given": [metric.state_dict() if hasattr(metric, "state_dict") else None for metric in self.given],
            "metrics": {n: i for n, m in self.metrics.items() for i, other in enumerate(known) if other is m},
        }

    def load_state_dict(self, state: Mapping[str, Any], metrics: Iterable[Any] = (), device: Any = None) -> None:
        """Go on from what ``state_dict`` gave, with as many metrics."""
        known = [*self.given, *metrics]
        for metric, saved in zip(self.given, state["given"], strict=True):
            if saved is not None:
                metric.load_state_dict(saved)
        self.metrics = {name: known[place] for name, place in state["metrics"].items()}
        self.samples = state["samples"]
        kept: dict[str, Any] = {
            what: {n: v if isinstance(v, int) else Tensor(v, dtype="float64", device=device) for n, v in some.items()}
            for what, some in (("totals", state["totals"]), ("counts", state["counts"]))
        }
        self.totals, self.counts = kept["totals"], kept["counts"]
        self.names = [name for name in state["names"] if name in self.totals or name in self.metrics]

    def results(self) -> dict[str, float]:
        """All averages, as they are now."""
        return {name: self[name] for name in self.names}

    def __getitem__(self, name: str) -> float:
        if name == "samples":
            return self.samples
        if name == "loss" and self.weights and self.totals:
            return sum(weight * self[part] for part, weight in self.weights.items())
        if name in self.totals:
            return float(self.totals[name]) / (float(self.counts[name]) or 1.0)
        return float(self.metrics[name].result())

    def __iter__(self) -> Iterator[str]:
        return iter([*self.names, "samples"])

    def __len__(self) -> int:
        return len(self.names) + 1


def as_loss(loss: Any) -> Any:
    """A loss by its name, or as it is."""
    found = losses.get(loss)
    if getattr(found, "reduction", None) == "none":
        raise ArgumentError(
            '[compile] a loss with reduction="none" gives no one number to minimize: use "mean" or "sum"'
        )
    return found


def as_optimizer(optimizer: Any, model: Any) -> Any:
    """An optimizer by its name, with its defaults, or as it is."""
    if isinstance(optimizer, str):
        return optim.get(optimizer, model.parameters())
    if isinstance(optimizer, type) or not (hasattr(optimizer, "step") and hasattr(optimizer, "zero_grad")):
        raise ArgumentTypeError(
            f'[compile] optimizer is {optimizer!r}, expected a name like "adam", or an optimizer: '
            "optim.Adam(model.parameters(), lr=1e-3)"
        )
    if isinstance(optimizer, optim.Optimizer):
        own = {id(p) for _, p in model.named_parameters()}
        if own and not any(id(entry.param) in own for group in optimizer.param_groups for entry in group.entries):
            raise ArgumentError(
                "[compile] the optimizer has none of this model's parameters: make it with model.parameters()"
            )
    return optimizer


def as_terms(model: Any, loss: Any, loss_weights: Any) -> tuple[list[Term], tuple[str, ...]]:
    """The losses one by one with their weights and metrics, and the names of the outputs they choose from."""
    names = tuple(getattr(model, "output_names", ()))
    if loss is None:
        if loss_weights is not None or type(model).train_step is Module.train_step:
            raise ArgumentError(
                '[compile] loss is None, but the model has no train_step of its own: give one like "mse"'
            )
        return [], names
    if isinstance(loss, Mapping):
        names = names or tuple(loss)
        by_name("compile", "loss", dict(loss), names)
        terms = [Term(as_loss(loss[name]), name, names.index(name)) for name in names if loss.get(name) is not None]
    elif isinstance(loss, (list, tuple)):
        names = names or tuple(f"output_{number + 1}" for number in range(len(loss)))
        if len(names) != len(loss):
            raise ArgumentError(
                f"[compile] there are {len(loss)} losses, but the model has {counted(len(names), 'output')}"
            )
        terms = [
            Term(as_loss(one), name, at)
            for at, (name, one) in enumerate(zip(names, loss, strict=True))
            if one is not None
        ]
    else:
        only = as_loss(loss)
        if len(names) > 1 and isinstance(only, losses.Loss) and only.takes == (1, 1):
            terms = [Term(only, name, at) for at, name in enumerate(names)]
        else:
            terms = [Term(only, names[0] if len(names) == 1 else "")]
    if not terms:
        raise ArgumentError("[compile] no output has a loss")
    if len(names) == 1:
        terms[0].place = None
    for term, weight in zip(terms, each_output("loss_weights", loss_weights, terms, names), strict=True):
        term.weight = 1.0 if weight is None else number(weight)
    return terms, names


def number(weight: Any) -> float:
    """The weight of a loss. Errors: ArgumentError."""
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight < float("inf"):
        raise ArgumentError(f"[compile] loss_weights has {weight!r}, expected a number from 0 on")
    return float(weight)


def each_output(what: str, given: Any, terms: list[Term], names: tuple[str, ...]) -> list[Any]:
    """What is given for each loss: in a list, in a dict by output, or for the only one."""
    if given is None:
        return [None] * len(terms)
    if isinstance(given, Mapping):
        by_name("compile", what, dict(given), [term.name for term in terms])
        return [given.get(term.name) for term in terms]
    if len(terms) == 1 and what == "metrics":
        return [given]
    if not isinstance(given, (list, tuple)):
        return [given] * len(terms)
    if len(given) == len(terms):
        return [*given]
    if len(given) == len(names):
        return [given[term.place or 0] for term in terms]
    raise ArgumentError(
        f"[compile] {what} has {counted(len(given), 'part')}, but there are {len(terms)} losses: give one for each, or a dict "
        f"by {', '.join(term.name for term in terms)}"
    )


def listed(given: Any) -> list[Any]:
    """One metric, several or none as a list."""
    several = not isinstance(given, str) and hasattr(given, "__iter__")
    return [*given] if several else [] if given is None else [given]


def as_metrics(given: Any, loss: Any = None) -> list[Any]:
    """Metrics of outputs with such a loss. Errors: ArgumentError if one gives no number to report."""
    found = [metrics.get(one, loss) for one in listed(given)]
    for metric in found:
        if not getattr(metric, "is_number", True):
            raise ArgumentError(
                f"[compile] {metric!r} gives no one number to report: update it by hand, on predictions"
            )
    return found


def add_metrics(given: Any, model: Any, terms: list[Term], names: tuple[str, ...]) -> None:
    """Give the terms their metrics. Errors: ArgumentError if two values would be reported under one name."""
    heads = {Sigmoid: losses.BCE, Softmax: losses.CategoricalCrossEntropy}
    objective = Objective(model, terms)
    taken = ["loss", "samples", *(f"{term.prefix}loss" for term in terms)]
    for term, head, some in zip(
        terms, objective.heads, each_output("metrics", given or None, terms, names), strict=True
    ):
        # metrics see probabilities, though the loss sees scores
        shown = heads[type(head)]() if type(head) in heads else term.loss
        for metric in as_metrics(some, shown):
            if term.takes is not None and not term.takes[1] and not isinstance(metric, metrics.Mean):
                raise ArgumentError(
                    f"[compile] {metric!r} needs a target, and {term.loss!r} takes none: give a function"
                )
            if term.prefix:
                metric = copy.deepcopy(metric)
                metric.name = term.prefix + metric.name
            if metric.name in taken:
                raise ArgumentError(
                    f"[compile] two values would be reported as {metric.name!r}: give the metric another name"
                )
            taken.append(metric.name)
            term.metrics.append(metric)
