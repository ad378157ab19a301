"""What is trained: the losses of a model's outputs, each with its weight, on scores where the model ends in a head."""

from __future__ import annotations

import copy
from typing import Any

from .. import losses
from ..domain.errors import ArgumentTypeError, DataError
from ..losses import Loss
from ..losses.classification import Classes
from ..metrics import Mean
from ..nn import Graph, Linear, Module, Permute, Sequential, Sigmoid, Softmax
from ..nn.masking import gives_mask
from ..ops.elementwise import where
from ..ops.gemm import linear
from ..ops.memory import cast
from ..tensor import Tensor
from .structure import counted, leaves, parted


class Term:
    """One loss of a model: of the output at ``place``, called ``name``, or with ``place`` None of all outputs.

    The loss gets the outputs and then the targets, in the order of ``Loss.arguments``; it counts ``weight`` times.
    """

    def __init__(self, loss: Any, name: str = "", place: int | None = None, weight: float = 1.0) -> None:
        self.loss, self.name, self.place, self.weight = loss, name, place, weight
        self.metrics: list[Any] = []

    @property
    def prefix(self) -> str:
        """What its reported names begin with."""
        return f"{self.name}_" if self.place is not None else ""

    @property
    def takes(self) -> tuple[int, int] | None:
        """How many outputs and targets the loss takes; None if it is a function, which does not say."""
        return self.loss.takes if isinstance(self.loss, Loss) else None

    def outputs(self, given: Any, count: int) -> tuple[Tensor, ...]:
        """Those of the loss, of all that a model gave, which has ``count`` losses. Errors: DataError."""
        if self.place is None:
            return (given,) if isinstance(given, Tensor) else tuple(leaves(given))
        if isinstance(given, dict) and self.name in given:
            return tuple(leaves(given[self.name]))
        parts = tuple(given.values()) if isinstance(given, dict) else given
        if not isinstance(parts, tuple) or len(parts) <= self.place:
            found = len(parts) if isinstance(parts, tuple) else 1
            raise DataError(
                f"[fit] the model gives {counted(found, 'output')}, but it was compiled with {count} losses"
            )
        return tuple(leaves(parts[self.place]))

    def check(self, name: str, loss: Any, outputs: Any, targets: Any) -> None:
        """Raise DataError unless these are as many as the loss takes."""
        found = (len(outputs), len(targets))
        if isinstance(loss, Loss) and found != loss.takes:
            wanted = f"{counted(loss.takes[0], 'output')} of the model and {counted(loss.takes[1], 'target')}"
            hint = ": compile(loss=[...]) gives each output its own" if loss.takes[0] == 1 < found[0] else ""
            raise DataError(
                f"[{name}] {type(loss).__name__} takes {wanted}, but there are {found[0]} and {found[1]}{hint}"
            )


def arguments(loss: Any, outputs: Any, targets: Any) -> tuple[Any, ...]:
    """What a loss is called with."""
    return tuple(loss.arguments(outputs, targets)) if isinstance(loss, Loss) else (*outputs, *targets)


def measured(loss: Any, outputs: Any, targets: Any, weight: Any = None) -> Tensor:
    """The loss. Errors: ArgumentTypeError if a function returns anything but a tensor of one element."""
    given = arguments(loss, outputs, targets)
    value = loss(*given) if weight is None else loss(*given, sample_weight=weight)
    if not isinstance(loss, Module) and (not isinstance(value, Tensor) or value.size != 1):
        what = f"a tensor of shape {value.shape}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise ArgumentTypeError(f"[fit] the loss function returned {what}; it should return a tensor of one number")
    return value  # type: ignore[no-any-return]


def over_steps(loss: Any, outputs: Any, targets: Any, weight: Any, mask: Any) -> tuple[Tensor, Any] | None:
    """(the sum of a loss over the steps that count in ``mask``, what its mean is over: None for a loss that is a sum).

    None if the loss is not of steps: a function, or a number for each sample.
    """
    if not isinstance(loss, Loss) or "none" not in loss.reductions:
        return None
    if isinstance(loss, Classes) and targets[0].shape == mask.shape:
        targets = (where(mask, targets[0], loss.ignore_index), *targets[1:])
    each = measured(in_terms(loss, "none"), outputs, targets, weight)
    if each.shape[:2] != mask.shape:
        return None
    value = where(mask.reshape(*mask.shape, *(1,) * (each.ndim - 2)), each, 0.0).sum()
    if loss.reduction == "sum":
        return value, None
    count = loss.count(*loss.arguments(outputs, targets))
    if count is None:
        count = cast(mask, dtype="float64" if each.dtype == "float64" else "float32").sum() * (each.size // mask.size)
    return value, count


def in_terms(loss: Any, reduction: str) -> Any:
    """The loss with that reduction."""
    found = copy.copy(loss)
    found.reduction = reduction
    return found


def update(metric: Any, loss: Any, outputs: Any, targets: Any, samples: int, mask: Any = None) -> None:
    """Show a metric a batch: the first output and target, or, if it is a function, all that the loss gets.

    With the ``mask`` of an output of steps, (n, time, …) or (n, classes, time), it is shown those that count.
    """
    if mask is not None and (len(outputs), len(targets)) == (1, 1) and targets[0].shape[:2] == mask.shape:
        steps = outputs[0] if outputs[0].shape[:2] == mask.shape else outputs[0].permute(0, 2, 1)
        outputs, targets = (steps[mask],), (targets[0][mask],)
    if isinstance(metric, Mean) and (len(outputs), len(targets)) != (1, 1):
        value = metric.function(*arguments(loss, outputs, targets))
        metric.add({"total": value * samples, "count": samples})
    else:
        metric.update(outputs[0], targets[0])


class Objective:
    """What is trained of a model with these terms: its ``body``, the ``heads`` (or None) that make predictions of what the
    body gives, and ``losses``, those of what the body gives.

    The body is the model, unless an output ends in a head that its loss can do without.
    """

    def __init__(self, model: Any, terms: list[Term]) -> None:
        self.terms = terms
        self.between: list[Any] = [None] * len(terms)  # what stays of the heads
        self.heads: list[Any] = [None] * len(terms)
        self.losses = [term.loss for term in terms]
        self.body, found = model, last_layers(model)
        self.turned = None  # a Permute at the end, which puts classes before steps
        spared = []
        for place, term in enumerate(terms):
            bare = without(found.get(term.name), term.loss)
            if bare is not None:
                self.between[place], self.heads[place], self.losses[place] = bare
                spared.append(term.name)
        if spared:
            self.body = model.before(spared) if isinstance(model, Graph) else beheaded(model)[0]
        body, last = beheaded(self.body)
        if isinstance(last, Permute) and tuple(last.axes) == (0, 2, 1) and self.body.makes_mask:
            self.body, self.turned = body, last  # the mask is of what comes before

    def __call__(self, inputs: tuple[Tensor, ...]) -> tuple[list[tuple[Tensor, ...]], list[Any]]:
        """The outputs for each loss, and their masks: bool as their steps, None where all of them count."""
        masked = gives_mask(type(self.body).forward) and (
            self.body.makes_mask or any(str(getattr(x, "dtype", "")) == "bool" for x in inputs[1:])
        )
        y, mask = self.body(*inputs, masks=True) if masked else (self.body(*inputs), None)
        given = parted(y if self.turned is None else self.turned(y), True)
        outputs = [term.outputs(given, len(self.terms)) for term in self.terms]
        pairs = zip(self.between, outputs, strict=True)
        found = [parts if between is None else (between(*parts),) for between, parts in pairs]
        masks = [
            mask[term.place] if isinstance(mask, tuple) and term.place is not None else mask for term in self.terms
        ]
        return found, [None if isinstance(mask, tuple) else mask for mask in masks]

    def predictions(self, place: int, outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """What metrics are shown of the outputs of one loss."""
        head = self.heads[place]
        return outputs if head is None else (head(outputs[0].detach()),)


def last_layers(model: Any) -> dict[str, Any]:
    """The layers that a model ends in, by the names of its outputs; "" for the one of a Sequential."""
    return model.last_layers if isinstance(model, Graph) else {"": beheaded(model)[1]}


def without(head: Any, loss: Any) -> tuple[Any, Any, Any] | None:
    """(what stays of a head, what makes predictions of that, the loss of it), if the loss can do without the head."""
    if type(head) is Sequential:
        inside, last = beheaded(head)
        bare = None if last is None else without(last, loss)
        return None if bare is None else (inside if bare[0] is None else Sequential(*inside, bare[0]), *bare[1:])
    if isinstance(head, Softmax) and isinstance(loss, losses.CrossEntropy):
        return (None, head, loss) if head.temperature == 1 else (Divided(head.temperature), Softmax(head.axis), loss)
    if isinstance(loss, (losses.BCE, losses.BCEWithLogits)):
        scored = losses.BCEWithLogits(loss.reduction) if isinstance(loss, losses.BCE) else loss
        if isinstance(head, Sigmoid):
            return None, head, scored
        if isinstance(head, Linear) and head.activation == "sigmoid":
            return Unactivated(head), Sigmoid(), scored
    return None


class Divided(Module):
    """What a softmax does first to its scores: divide them by its temperature."""

    def __init__(self, temperature: float) -> None:
        self.temperature = temperature

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return x / self.temperature


class Unactivated(Module):
    """What a Linear layer does before its activation."""

    def __init__(self, layer: Linear) -> None:
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        weight = self.layer.weight
        if not weight.is_built:
            weight.build((self.layer.out_features, x.shape[-1]))
        y: Tensor = linear(x, weight, self.layer.bias)
        return y


def beheaded(model: Any) -> tuple[Any, Any]:
    """A Sequential without its last layer, and that layer; a Sequential at its end is looked into."""
    if not isinstance(model, Sequential) or type(model).forward is not Sequential.forward or not len(model):
        return model, None
    body, last = model[:-1], model[-1]
    if type(last) is Sequential:
        inside, head = beheaded(last)
        return (model, None) if head is None else (Sequential(*body, inside), head)
    return body, last
