"""How a model is trained: its loss, its optimizer, its metrics, and the averages that are reported."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from .. import losses, metrics, optim
from ..creation import zeros
from ..domain.errors import ArgumentError, ArgumentTypeError, NotCompiledError
from ..modes import no_grad
from ..nn import Module, Sequential, Sigmoid, Softmax
from ..tensor import Tensor
from .checks import at_least


class Compiled:
    """What ``compile`` leaves in ``model.compiled``: ``loss``, ``optimizer``, ``metrics``, how gradients are cut and summed."""

    def __init__(
        self,
        loss: Any,
        optimizer: Any,
        metrics: list[Any],
        clip_norm: float | None = None,
        clip_value: float | None = None,
        accumulate: int = 1,
    ) -> None:
        self.loss, self.optimizer, self.metrics = loss, optimizer, metrics
        self.clip_norm, self.clip_value, self.accumulate = clip_norm, clip_value, accumulate

    def parameters(self) -> list[Any]:
        """Those that the optimizer moves."""
        return [entry.param for group in self.optimizer.param_groups for entry in group.entries]

    def step(self) -> None:
        """Cut the gradients as asked, and let the optimizer move the weights."""
        if self.clip_value is not None:
            optim.clip_grad_value_(self.parameters(), self.clip_value)
        if self.clip_norm is not None:
            optim.clip_grad_norm_(self.parameters(), self.clip_norm)
        self.optimizer.step()

    @property
    def names(self) -> list[str]:
        """What is reported."""
        return ["loss", *(metric.name for metric in self.metrics)]

    def __repr__(self) -> str:
        return f"Compiled({self.loss!r}, {self.optimizer!r}, metrics={self.metrics!r})"


def compile(
    model: Any,
    loss: Any,
    optimizer: Any = "adam",
    metrics: Any = (),
    *,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    accumulate: int = 1,
) -> Any:
    """Say how the model is to be trained, before ``fit`` and ``evaluate``; returns the model.

    ``loss`` is a name ("cross_entropy", "mse", "bce", ...), one of ``chainrule.losses``, or any
    ``f(prediction, target)`` that returns one number, the mean over the batch. ``optimizer`` is a name, with the default
    settings of the optimizer, or an optimizer made with ``model.parameters()``. ``metrics`` are names ("accuracy"),
    objects of ``chainrule.metrics``, or functions that return the mean over a batch. A Sequential that ends in Softmax or
    Sigmoid is trained on what comes before it if the loss is cross-entropy or binary cross-entropy: the result is the
    same but never overflows, and ``predict`` still gives probabilities (that last layer is not called in training, nor
    are hooks on the Sequential itself).

    Before a step ``clip_value`` cuts each element of the gradients, then ``clip_norm`` the norm of all of them. With
    ``accumulate`` each step is for so many batches together, exactly as if they were one (but batch norms see each).
    Errors: ArgumentError for an unknown name, with the nearest; ArgumentTypeError.

    >>> from chainrule import nn
    >>> model = nn.Sequential(nn.Linear(4, 3), nn.Softmax())
    >>> model.compile("cross_entropy", "sgd", metrics=["accuracy"]).compiled.names
    ['loss', 'accuracy']
    >>> model.compile("cros_entropy")
    Traceback (most recent call last):
    chainrule.domain.errors.ArgumentError: unknown loss 'cros_entropy': did you mean 'cross_entropy'? ...
    """
    loss = as_loss(loss)
    found = as_optimizer(optimizer, model)
    at_least("compile", "accumulate", accumulate, 1)
    for name, limit in (("clip_norm", clip_norm), ("clip_value", clip_value)):
        if limit is not None and not limit > 0:
            raise ArgumentError(f"[compile] {name} is {limit!r}, expected a positive number, or None")
    if (clip_norm, clip_value, accumulate) != (None, None, 1) and not isinstance(found, optim.Optimizer):
        raise ArgumentTypeError(
            f"[compile] clip_norm, clip_value and accumulate need an optim.Optimizer, not {found!r}"
        )
    model.compiled = Compiled(loss, found, as_metrics(metrics, model, loss), clip_norm, clip_value, accumulate)
    return model


def compiled(model: Any, name: str) -> Compiled:
    """What ``compile`` left. Errors: NotCompiledError."""
    found = getattr(model, "compiled", None)
    if not isinstance(found, Compiled):
        raise NotCompiledError(
            f'[{name}] the model is not compiled: call model.compile(loss="cross_entropy", optimizer="adam") first'
        )
    return found


def objective(model: Any, loss: Any) -> tuple[Any, Any, Any]:
    """(body, head, loss): what is trained, what makes predictions of its output, and the loss of that output.

    The body is the model and the head None, unless the model ends in a head that the loss can do without.
    """
    body, head = beheaded(model)
    if isinstance(head, Softmax) and isinstance(loss, losses.CrossEntropy):
        if head.temperature == 1:
            return body, head, loss
        return Sequential(*body, Divided(head.temperature)), Softmax(head.axis), loss
    if isinstance(head, Sigmoid) and isinstance(loss, (losses.BCE, losses.BCEWithLogits)):
        return body, head, losses.BCEWithLogits(loss.reduction)
    return model, None, (loss if isinstance(loss, Module) else one_number(loss))


def one_number(loss: Any) -> Any:
    """A function of the user's as a loss. Errors: ArgumentTypeError if it returns anything but a tensor of one element."""

    def checked(prediction: Tensor, target: Tensor) -> Tensor:
        value = loss(prediction, target)
        if not isinstance(value, Tensor) or value.size != 1:
            what = f"a tensor of shape {value.shape}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
            raise ArgumentTypeError(f"[fit] the loss function returned {what}; it should return a tensor of one number")
        return value

    return checked


class Divided(Module):
    """What a softmax does first to its scores: divide them by its temperature."""

    def __init__(self, temperature: float) -> None:
        self.temperature = temperature

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return x / self.temperature


def beheaded(model: Any) -> tuple[Any, Any]:
    """A Sequential without its last layer, and that layer; a Sequential at its end is looked into."""
    if type(model) is not Sequential or len(model) < 2:
        return model, None
    body, last = model[:-1], model[-1]
    if type(last) is Sequential:
        inside, head = beheaded(last)
        return (model, None) if head is None else (Sequential(*body, inside), head)
    return body, last


class Averages(Mapping[str, float]):
    """The averages over the samples seen so far, and their number, ``samples``, by name.

    The sums are small tensors on the device that change in place: a step reads nothing back. Looking at an average does.
    """

    def __init__(self, plan: Compiled) -> None:
        self.metrics = {
            m.name: m for m in copy.deepcopy(plan.metrics)
        }  # those of another run, as a validation, are apart
        self.summed = getattr(plan.loss, "reduction", "mean") == "sum"
        self.names = [*plan.names, "samples"]
        self.total: Tensor | None = None  # of the losses of all samples
        self.reset()

    def reset(self) -> None:
        """Begin again, with no samples seen."""
        self.samples = 0
        if self.total is not None:
            self.total.zero_()
        for metric in self.metrics.values():
            metric.reset()

    def update(self, loss: Tensor, prediction: Tensor, target: Tensor) -> None:
        """Add a batch."""
        samples = len(target)
        self.samples += samples
        with no_grad():
            if self.total is None:
                self.total = zeros(dtype="float64", device=loss.device)
            self.total.add_(loss if self.summed else loss * samples)
            for metric in self.metrics.values():
                metric.update(prediction, target)

    def results(self) -> dict[str, float]:
        """All averages, as they are now."""
        return {name: self[name] for name in self.names if name != "samples"}

    def __getitem__(self, name: str) -> float:
        if name == "samples":
            return self.samples
        if name == "loss":
            return 0.0 if self.total is None else float(self.total) / max(self.samples, 1)
        return float(self.metrics[name].result())

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


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


def as_metrics(given: Any, model: Any, loss: Any) -> list[Any]:
    """Metrics by their names, or as they are; functions become averages."""
    _, head, _ = objective(model, loss)
    heads = {Sigmoid: losses.BCE, Softmax: losses.CategoricalCrossEntropy}
    shown = (
        heads[type(head)]() if type(head) in heads else loss
    )  # metrics see probabilities, though the loss sees scores
    several = not isinstance(given, str) and hasattr(given, "__iter__")
    found = [metrics.get(metric, shown) for metric in (given if several else [given])]
    names = ["loss", "samples"]
    for metric in found:
        if not getattr(metric, "is_number", True):
            raise ArgumentError(
                f"[compile] {metric!r} gives no one number to report: update it by hand, on predictions"
            )
        if metric.name in names:
            raise ArgumentError(
                f"[compile] two values would be reported as {metric.name!r}: give the metric another name"
            )
        names.append(metric.name)
    return found
