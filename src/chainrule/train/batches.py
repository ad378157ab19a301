"""What ``fit``, ``evaluate`` and ``predict`` take as data, made one thing: batches of tensors."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice, repeat
from typing import Any

import numpy as np

from .. import backends
from ..data import ArrayDataset, DataLoader, split
from ..domain.data import IDataset
from ..domain.device import Device
from ..domain.dtype import DType, float32
from ..domain.errors import ArgumentError, ArgumentTypeError, DataError, ShapeError
from ..losses import Loss
from ..tensor import Tensor, from_array, host_array
from . import checks
from .weights import ClassWeights

BATCH_SIZE = 32  # of training, if not given
EVALUATION_BATCH_SIZE = 256  # without a tape there is memory for larger batches, and they are faster
NONE_GIVEN = (
    "the data gave no batch: it is empty, or an iterator that can be gone through only once (give a DataLoader, a data "
    "set or arrays)"
)


class Batches:
    """(inputs, target, weight) of each batch of a loader, as tensors on ``device``: a batch ends with its target.

    The weight, of each sample in the loss of training, is None without ``weighted`` (the batch then begins with the
    weights) and ``class_weights``.
    ``samples`` is their number in an epoch, or None. ``arrays`` hold the whole data, the target last; without them only
    the first batch is looked at before training.
    """

    def __init__(
        self, name: str, loader: Any, device: Device, samples: int | None = None, arrays: tuple[Any, ...] | None = None
    ) -> None:
        self.name, self.loader, self.device, self.samples = name, loader, device, samples
        self.unseen = arrays is None  # whether the inputs are still to be looked at
        self.targets: list[tuple[str, Any]] = [(name, None if arrays is None else arrays[-1])]  # to be looked at
        self.weighted = False
        self.class_weights: ClassWeights | None = None
        self.stream = chain.from_iterable(repeat(self))

    def epoch(self, steps: int | None) -> Iterator[tuple[tuple[Tensor, ...], Tensor, Tensor | None]]:
        """The batches of an epoch: all, or the next ``steps``; where the data ends it begins anew."""
        return iter(self) if steps is None else islice(self.stream, steps)

    def __iter__(self) -> Iterator[tuple[tuple[Tensor, ...], Tensor, Tensor | None]]:
        batch: Any = None
        for batch in self.loader:
            *inputs, target = parts(batch, self.device)
            if not inputs:
                raise DataError(f"[{self.name}] a batch is {len(batch)} array(s), expected inputs and a target: (x, y)")
            if self.unseen:
                for part in (*inputs, target):
                    checks.finite(self.name, "the first batch", part.numpy())
                self.unseen = False
            weight = inputs.pop(0) if self.weighted else None
            if self.class_weights is not None:
                of_class = self.class_weights(target)
                weight = of_class if weight is None else each(weight, of_class)
            yield tuple(inputs), target, weight
        if batch is None:
            raise DataError(f"[{self.name}] {NONE_GIVEN}")

    def weigh(self, loss: Any, class_weight: Any) -> None:
        """Take the weights of classes, if given; raise ArgumentError if there are weights and ``loss`` takes none."""
        if (class_weight is not None or self.weighted) and not isinstance(loss, Loss):
            raise ArgumentError(
                f"[fit] weights were given, but the loss {loss!r} takes none: use one of chainrule.losses, or weigh inside it"
            )
        if class_weight is not None:
            self.class_weights = ClassWeights(class_weight, loss, self.device)

    def check_labels(self, loss: Any, output: Tensor, target: Tensor) -> None:
        """Before the first step: raise if there are labels that ``loss`` cannot take for a model with such an output."""
        for name, whole in self.targets:
            checks.scores(name, loss, output)
            if self.class_weights is not None:
                self.class_weights.check(output)
            checks.labels(name, loss, output.shape, target.numpy() if whole is None else whole)
        self.targets = []


def training_batches(
    model: Any,
    x: Any,
    y: Any,
    batch_size: int | None,
    shuffle: bool,
    fraction: float,
    validation: Any,
    sample_weight: Any = None,
) -> tuple[Batches, Batches | None]:
    """What to train on, and what to validate with, if anything."""
    weighted = sample_weight is not None
    if weighted:
        x, y = weighted_dataset(x, y, sample_weight, place(model)[1]), None
    if fraction:
        if validation is not None:
            raise ArgumentError("[fit] give validation_data or validation_split, not both")
        if is_loader(x):
            raise ArgumentError("[fit] validation_split cannot cut a loader: give validation_data, or a data set")
        dataset = as_dataset("fit", x, y, place(model)[1])
        checks.dataset("fit", dataset)
        checks.not_sorted("fit", dataset)
        (x, validation), y = split(dataset, fraction), None
    train = labelled("fit", model, x, y, batch_size, BATCH_SIZE, shuffle)
    train.weighted = weighted
    if validation is None:
        return train, None
    pair = isinstance(validation, (tuple, list)) and len(validation) == 2
    held_x, held_y = validation if pair else (validation, None)
    held = labelled("validation", model, held_x, held_y, None, EVALUATION_BATCH_SIZE)
    if fraction:
        held.weighted = weighted
        whole = checks.arrays_of(dataset)
        train.targets, held.targets, train.unseen, held.unseen = (
            [("fit", whole and whole[-1])],
            [],
            not whole,
            not whole,
        )
    elif held.targets[0][1] is not None:  # looked at before training, not after an epoch of it
        train.targets, held.targets = train.targets + held.targets, []
    return train, held


def labelled(
    name: str, model: Any, x: Any, y: Any, batch_size: int | None, default: int, shuffle: bool = False
) -> Batches:
    """The batches of arrays ``x`` and ``y``, of a data set, or of a loader. ``name`` stands in errors.

    Data in arrays is checked whole, other data by its first batch.
    """
    device, dtype = place(model)
    if is_loader(x):
        dataset = None if getattr(x, "drop_last", False) else getattr(x, "dataset", None)
        return Batches(name, as_loader(name, x, y, batch_size), device, None if dataset is None else len(dataset))
    if y is None and not is_dataset(x):
        raise ArgumentError(f"[{name}] y is missing: give x and y, or a data set or a loader of (x, y)")
    dataset = as_dataset(name, x, y, dtype)
    checks.dataset(name, dataset)
    size = checks.at_least(name, "batch_size", default if batch_size is None else batch_size, 1)
    arrays = checks.arrays_of(dataset)
    ahead = 0 if arrays else 2  # a batch of arrays is gathered sooner than handed from one thread to another
    loader = DataLoader(dataset, size, shuffle=shuffle, device=device, prefetch=ahead)
    return Batches(name, loader, device, len(dataset), arrays)


def prediction_batches(model: Any, x: Any, batch_size: int | None) -> Iterator[tuple[Tensor, ...]]:
    """The inputs of each batch: all parts but the last, which is the target, or the only one."""
    device, dtype = place(model)
    if is_loader(x):
        loader = as_loader("predict", x, None, batch_size)
    else:
        dataset = as_dataset("predict", x, None, dtype)
        checks.not_empty("predict", dataset)
        size = EVALUATION_BATCH_SIZE if batch_size is None else batch_size
        loader = DataLoader(dataset, checks.at_least("predict", "batch_size", size, 1), device=device)
    batch: Any = None
    for batch in loader:
        found = parts(batch, device)
        yield found[:-1] or found
    if batch is None:
        raise DataError(f"[predict] {NONE_GIVEN}")


def is_loader(x: Any) -> bool:
    """Whether it gives batches: a DataLoader, a generator, anything to iterate over that has no indices."""
    return hasattr(x, "__iter__") and not hasattr(x, "__getitem__")


def is_dataset(x: Any) -> bool:
    """Whether it gives samples by index and is not itself an array."""
    return (
        isinstance(x, IDataset) and not isinstance(x, (Tensor, list, tuple, dict, str)) and not hasattr(x, "__array__")
    )


def as_loader(name: str, x: Any, y: Any, batch_size: int | None) -> Any:
    """A loader, if nothing was given that it has itself."""
    for argument, given in (("y", y), ("batch_size", batch_size)):
        if given is not None:
            raise ArgumentError(f"[{name}] {argument} was given beside a loader, which has its own: leave it out")
    return x


def as_dataset(name: str, x: Any, y: Any, dtype: DType) -> Any:
    """Arrays as a data set, floats in ``dtype``; a data set as it is."""
    if is_dataset(x):
        if y is not None:
            raise ArgumentError(f"[{name}] y was given beside a data set, which has its own: leave it out")
        return x
    arrays = [array(name, "x", x, dtype)] + ([] if y is None else [array(name, "y", y, dtype)])
    if y is not None and len(arrays[0]) != len(arrays[1]):
        raise DataError(f"[{name}] x has {len(arrays[0])} samples but y has {len(arrays[1])}: give one y for each x")
    return ArrayDataset(*arrays)


def weighted_dataset(x: Any, y: Any, sample_weight: Any, dtype: DType) -> Any:
    """A data set of (weight, x, y)."""
    if y is None or is_dataset(x) or is_loader(x):
        raise ArgumentError("[fit] sample_weight goes with arrays x and y: a data set or a loader cannot be weighed")
    weight = array("fit", "sample_weight", sample_weight, dtype)
    if weight.shape != (len(x),):
        raise ShapeError(f"[fit] sample_weight has shape {weight.shape}, expected {(len(x),)}: one for each sample")
    checks.finite("fit", "sample_weight", weight)
    return ArrayDataset(weight, *as_dataset("fit", x, y, dtype).arrays)


def each(weight: Tensor, others: Tensor) -> Tensor:
    """The weight (n,) of each sample times those (n, …) of what is in it."""
    found: Tensor = weight.reshape(-1, *(1,) * (others.ndim - 1)) * others
    return found


def array(name: str, what: str, data: Any, dtype: DType) -> Any:
    """``data`` as a NumPy array, floats in ``dtype``."""
    if isinstance(data, (dict, str, tuple)) or data is None:
        hint = f": write {name}(x, y)" if isinstance(data, tuple) else ""
        raise ArgumentTypeError(
            f"[{name}] {what} is a {type(data).__name__}, expected an array, a tensor or a list{hint}"
        )
    found = data.numpy() if isinstance(data, Tensor) else data if isinstance(data, np.ndarray) else host_array(data)
    if found.ndim == 0:
        raise DataError(f"[{name}] {what} is a single number: its first axis has to count the samples")
    return found.astype(np.dtype(dtype), copy=False) if found.dtype.kind == "f" else found


def place(model: Any) -> tuple[Device, DType]:
    """Where the model is, and the dtype of its floats."""
    for _, parameter in model.named_parameters():
        if parameter.dtype.is_floating:
            return parameter.device, parameter.dtype
    return backends.get().device, float32


def parts(batch: Any, device: Device) -> tuple[Tensor, ...]:
    """The parts of a batch as tensors on ``device``."""
    given = batch if isinstance(batch, (tuple, list)) else (batch,)
    return tuple(tensor(part, device) for part in given)


def tensor(part: Any, device: Device) -> Tensor:
    """One of them."""
    if isinstance(part, Tensor):
        return part if part.device == device else part.to(device)
    return from_array(part if isinstance(part, np.ndarray) else host_array(part), backends.get(device))
