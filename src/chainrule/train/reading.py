"""What is what in a batch: the inputs of the model, and for each loss its targets and the weights of samples."""

from __future__ import annotations

from typing import Any

from ..domain.errors import ArgumentError, DataError
from ..losses import Loss
from ..tensor import Tensor
from .batches import Batch, place
from .compiled import Compiled
from .structure import Interface, by_name, counted, in_parts, leaves
from .weights import ClassWeights


class Reader:
    """Reads the batches of one run of a compiled model, called ``name`` in errors.

    ``class_weights``, one for each loss or none at all, are made of ``class_weight``, of the only loss or a dict by output.
    """

    def __init__(self, model: Any, name: str, plan: Compiled, class_weight: Any = None) -> None:
        self.model, self.name, self.plan, self.terms = model, name, plan, plan.terms
        self.interface = Interface(model)
        self.weighed = False  # whether weights were asked for
        self.class_weights = [] if class_weight is None else self.weights_of_classes(class_weight)

    def read(self, batch: Batch, training: bool) -> tuple[tuple[Any, ...], list[Any], list[Any]]:
        """The inputs, and for each loss its targets and its weights, in ``training`` with those of classes."""
        x, y, weight = self.slots(batch)
        inputs, targets = self.interface.ordered(self.name, x), self.targets(y)
        return inputs, targets, [None] * len(targets) if batch.unweighted else self.weights(weight, targets, training)

    def slots(self, batch: Batch) -> tuple[Any, Any, Any]:
        """(x, y, weights) of a batch; of one in a row of parts by how many inputs and targets there have to be."""
        if batch.nested:
            x, y, weight = (*batch, None, None)[:3]
            return x, y, weight
        least, most = self.interface.least, self.interface.most_of(batch)
        takes = [term.takes for term in self.terms]
        if any(pair is None for pair in takes) and least == most:
            targets = max(len(batch) - least, 0)  # a function takes what there is
        else:
            targets = sum(1 if pair is None else pair[1] for pair in takes)
        inputs = len(batch) - targets
        weighted = most is not None and inputs == most + 1 and None not in takes
        inputs -= weighted
        if inputs < 1:
            raise DataError(
                f"[{self.name}] a batch is {len(batch)} array(s), expected inputs and a target: (x, y)"
                if targets == 1
                else f"[{self.name}] a batch is {len(batch)} array(s), expected inputs and {targets} targets"
            )
        if weighted and "float" not in str(batch[-1].dtype):
            raise DataError(
                f"[{self.name}] of the {len(batch)} arrays of a batch the last would be the weights, but it is "
                f"{batch[-1].dtype}: weights are floating numbers (lengths that pad_collate puts in: a mask with mask=True)"
            )
        return batch[:inputs], batch[inputs : inputs + targets], batch[-1] if weighted else None

    def targets(self, y: Any) -> list[tuple[Any, ...]]:
        """Those of each loss. Errors: ArgumentError, DataError."""
        if isinstance(y, dict):
            names = self.plan.output_names
            by_name(self.name, "y", y, names)
            missing = [term.name for term in self.terms if term.name not in y]
            if missing:
                raise ArgumentError(f"[{self.name}] y has no {missing[0]!r}, which has a loss")
            return [tuple(leaves(y[term.name])) for term in self.terms]
        if isinstance(y, tuple) and len(y) == len(self.plan.output_names) > len(self.terms):
            y = tuple(y[term.place or 0] for term in self.terms)  # some outputs have no loss
        if len(self.terms) == 1:
            return [(y,) if isinstance(y, Tensor) else () if y is None else tuple(leaves(y))]
        if isinstance(y, tuple) and len(y) == len(self.terms):
            return [tuple(leaves(part)) for part in y]
        flat, counts = [*leaves(y)], [1 if term.takes is None else term.takes[1] for term in self.terms]
        if len(flat) != sum(counts):
            raise DataError(
                f"[{self.name}] y has {counted(len(flat), 'part')}, but there are {len(self.terms)} losses "
                f"({', '.join(term.name for term in self.terms)}), which take {sum(counts)}"
            )
        return [tuple(flat[sum(counts[:i]) : sum(counts[: i + 1])]) for i in range(len(counts))]

    def weights(self, given: Any, targets: list[Any], training: bool) -> list[Any]:
        """The weights of samples for each loss; times those of their classes, in training."""
        self.weighed = True
        if isinstance(given, dict):
            by_name(self.name, "sample_weight", given, self.plan.output_names)
            found = [given.get(term.name) for term in self.terms]
        elif in_parts(given):
            if len(given) != len(self.terms):
                raise DataError(
                    f"[{self.name}] sample_weight has {counted(len(given), 'part')} for {len(self.terms)} losses"
                )
            found = [*given]
        elif given is None and not self.class_weights:
            return [None] * len(self.terms)
        else:
            found = [given] * len(self.terms)
        for at, of_class in enumerate(self.class_weights if training else ()):
            if of_class is not None:
                weight, per_class = found[at], of_class(targets[at][0])
                found[at] = (
                    per_class if weight is None else weight.reshape(-1, *(1,) * (per_class.ndim - 1)) * per_class
                )
        for term, weight in zip(self.terms, found, strict=True):
            if weight is not None:
                self.takes_weights(term.loss)
        return found

    def takes_weights(self, loss: Any) -> None:
        """Raise ArgumentError if a loss cannot be weighed."""
        if not isinstance(loss, Loss):
            raise ArgumentError(
                f"[{self.name}] weights were given, but the loss {loss!r} takes none: use one of chainrule.losses, or weigh "
                "inside it"
            )

    def weights_of_classes(self, given: Any) -> list[Any]:
        """Those for each loss. Errors: ArgumentError."""
        strings = isinstance(given, dict) and given and all(isinstance(key, str) for key in given)
        named = strings and len(self.plan.output_names) > 0
        if len(self.terms) != 1 and not named:
            raise ArgumentError(
                f"[{self.name}] class_weight is not told of which output: the model has {len(self.terms)} losses, so "
                "give a dict of their names"
            )
        of = by_name(self.name, "class_weight", given, self.plan.output_names) if named else {self.terms[0].name: given}
        device = place(self.model)[0]
        for term in self.terms:
            if term.name in of:
                self.takes_weights(term.loss)
        return [ClassWeights(of[t.name], t.loss, device) if t.name in of else None for t in self.terms]
