"""What ``fit``, ``evaluate`` and ``predict`` take as data, made one thing: batches of tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import chain, islice, repeat
from typing import Any

import numpy as np

from .. import backends
from ..data import ArrayDataset, DataLoader, IterableDataset, Subset, split
from ..domain.data import IDataset
from ..domain.device import Device
from ..domain.dtype import DType, float32
from ..domain.errors import ArgumentError, ArgumentTypeError, DataError, ShapeError
from ..nn import BatchNorm1d, BatchNorm2d, BatchNorm3d
from ..tensor import Tensor, from_array, host_array
from . import checks
from .splits import automatic
from .structure import Interface, in_parts, leaves, named_leaves, parted, rebuilt

BATCH_SIZE = 32  # of training, if not given
BATCH_NORMS = BatchNorm1d, BatchNorm2d, BatchNorm3d  # one sample may have no variance
EVALUATION_BATCH_SIZE = 256  # without a tape there is memory for larger batches, and they are faster
NONE_GIVEN = (
    "the data gave no batch: it is empty, or an iterator that can be gone through only once (give a DataLoader, a data "
    "set or arrays)"
)


class Batch(tuple[Any, ...]):
    """The parts of a batch as the data gives them: ``x, y = batch``.

    ``nested``: they are (x, y) or (x, y, weights), each of one tensor, or of several in a tuple or dict; otherwise a row of
    inputs, targets and weights. ``samples`` is how many there are. The weights do not count if it is ``unweighted``.
    ``unchecked`` are (name, all of the data or None) for what has labels that nobody has looked at.
    """

    nested = False
    unweighted = False
    unchecked: list[tuple[str, Any]] = []

    @cached_property
    def samples(self) -> int:
        """See the class."""
        for part in self[1::-1]:  # the targets, if there are any
            if isinstance(part, Tensor):
                return len(part)
            for tensor in leaves(part):
                return len(tensor)
        return 0


class Batches:
    """The batches of a loader, as tensors on ``device``.

    ``tree``, or what it returns, says which parts the arrays of a batch are; without it they are as the loader gives them.
    ``samples`` is their number in an epoch, or None. ``whole`` is all the data as one batch of arrays; without it only the
    first batch is looked at before training. ``steps``: no more batches than that, the next time the next ones if the
    loader goes on.
    """

    def __init__(
        self,
        name: str,
        loader: Any,
        device: Device,
        samples: int | None = None,
        tree: Any = None,
        whole: Any = None,
        steps: int | None = None,
    ) -> None:
        self.name, self.loader, self.device, self.samples = name, loader, device, samples
        self.tree, self.steps = tree, None if steps is None else checks.at_least(name, "steps", steps, 1)
        self.unseen = whole is None  # whether the inputs are still to be looked at
        self.unchecked: list[tuple[str, Any]] = [(name, whole)]
        self.unweighted = False
        self.stream: Iterator[Batch] = chain.from_iterable(repeat(self))
        self.taken, self._before = 0, 0  # batches of this time, and those of it before a state that was loaded
        self._begun = False

    def epoch(self, steps: int | None, done: int = 0) -> Iterator[Batch]:
        """The batches of an epoch: all, or the next ``steps``, of which some are ``done``; where the data ends it begins
        anew."""
        return iter(self) if steps is None else islice(self.stream, steps - done)

    def close(self) -> None:
        """Let go of data that was not gone through: the loader ends its work on it."""
        self.stream = iter(())

    def state_dict(self) -> dict[str, Any]:
        """What the next batches depend on. A loader that has no state is gone through again, up to there."""
        known = isinstance(self.loader, DataLoader) and self.steps is not None  # leaves off anywhere, and begins anew
        state = getattr(self.loader, "state_dict", None)
        loader = (
            None if not self._begun else self.loader.rest_state() if known else state() if callable(state) else None
        )
        return {"taken": self.taken, "loader": loader}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state_dict`` gave."""
        self._before, self._begun = state["taken"], state["loader"] is not None
        if self._begun:
            self.loader.load_state_dict(state["loader"])

    def __iter__(self) -> Iterator[Batch]:
        given: Any = None
        skipped = 0 if self._begun else self._before  # by the loader itself, or here
        self.taken, self._before, self._begun = self._before, 0, True
        for given in islice(self.loader, skipped, self.steps):
            self.taken += 1
            batch = as_batch(given, self.device, self.tree() if callable(self.tree) else self.tree)
            if self.unseen:
                for part in leaves(batch):
                    checks.finite(self.name, "the first batch", part.numpy())
                self.unseen = False
            batch.unchecked, batch.unweighted = self.unchecked, self.unweighted
            yield batch
        if given is None and not self.taken:
            raise DataError(f"[{self.name}] {NONE_GIVEN}")
        self.taken = 0


def as_batch(given: Any, device: Device, tree: Any = None) -> Batch:
    """A batch of what a loader gives, or of arrays for the leaves of ``tree``."""
    if isinstance(given, Batch):
        return given
    if tree is not None:
        parts = tuple([tensor(part, device) for part in given])
        if any(map(in_parts, tree)):
            parts = rebuilt(tree, iter(parts))
    else:
        rows = given if isinstance(given, (tuple, list)) else (given,)
        parts = tuple(parted(part, True) for part in rows)
        parts = rebuilt(parts, iter([tensor(part, device) for part in leaves(parts)]))
    batch = Batch(parts)
    batch.nested = tree is not None or any(map(in_parts, batch))
    return batch


class Given:
    """Data with a length: a ``dataset``, how the arrays of its batches become (x, y, weights), and all of it in arrays."""

    def __init__(self, dataset: Any, tree: Any = None, whole: Any = None) -> None:
        self.dataset, self.tree, self.whole = dataset, tree, whole

    @property
    def targets(self) -> Any:
        """The arrays of the targets, if all is in arrays: the last part, or that before the weights."""
        if self.whole is None:
            return ()
        return tuple(leaves(self.whole[1:2])) if self.tree is not None else (self.whole[-1],)

    def part(self, dataset: Any) -> Given:
        """Some of it."""
        return Given(dataset, self.tree, self.whole)


def training_batches(
    model: Any,
    x: Any,
    y: Any,
    batch_size: int | None = None,
    shuffle: bool = True,
    fraction: float | str = 0.0,
    validation: Any = None,
    sample_weight: Any = None,
    held_size: int | None = None,
    held_steps: int | None = None,
) -> tuple[Batches, Batches | None]:
    """What to train on, and what to validate with, if anything."""
    drawn = fraction == "auto"
    if not drawn and not isinstance(fraction, (int, float)):
        raise ArgumentError(f'[fit] validation_split is {fraction!r}, expected a fraction, or "auto"')
    if drawn and (validation is not None or is_loader(x)):
        fraction = 0.0
    if fraction and validation is not None:
        raise ArgumentError("[fit] give validation_data or validation_split, not both")
    if is_loader(x):
        if fraction:
            raise ArgumentError("[fit] validation_split cannot cut a loader: give validation_data, or a data set")
        train, held = labelled("fit", model, x, y, batch_size, BATCH_SIZE, sample_weight=sample_weight), None
    else:
        given, cut = given_data("fit", model, x, y, sample_weight), None
        if fraction:
            cut = drawn_split(given) if drawn else ordered_split(given, fraction)
        train = loaded("fit", model, given if cut is None else given.part(cut[0]), batch_size, BATCH_SIZE, shuffle)
        held = None
        if cut is not None:
            held = loaded("validation", model, given.part(cut[1]), held_size, EVALUATION_BATCH_SIZE, steps=held_steps)
            held.unweighted, held.unchecked = True, []  # all labels are looked at in training
    if validation is not None:
        row = validation if isinstance(validation, (tuple, list)) and len(validation) in (2, 3) else (validation,)
        held_x, held_y, held_weight = (*row, None, None)[:3]
        held = labelled(
            "validation", model, held_x, held_y, held_size, EVALUATION_BATCH_SIZE, held_weight, steps=held_steps
        )
        if held.unchecked[0][1] is not None:  # looked at before training, not after an epoch of it
            train.unchecked, held.unchecked = train.unchecked + held.unchecked, []
    return train, held


def ordered_split(given: Given, fraction: Any) -> Any:
    """All but the last of the samples, and these."""
    checks.not_empty("fit", given.dataset)
    checks.not_sorted("fit", given.targets)
    return split(given.dataset, fraction)


def drawn_split(given: Given) -> Any:
    """Some samples and others, drawn at random; None if there are too few."""
    checks.not_empty("fit", given.dataset)
    labels = [y for y in given.targets if y.ndim == 1 and y.dtype.kind in "iu"]
    drawn = automatic(len(given.dataset), *labels[:1])
    return None if drawn is None else tuple(Subset(given.dataset, indices) for indices in drawn)


def labelled(
    name: str,
    model: Any,
    x: Any,
    y: Any,
    batch_size: int | None,
    default: int,
    sample_weight: Any = None,
    steps: int | None = None,
) -> Batches:
    """The batches of arrays ``x`` and ``y``, of a data set, or of a loader. ``name`` stands in errors.

    Data in arrays is checked whole, other data by its first batch.
    """
    if isinstance(x, IterableDataset) and y is None and sample_weight is None:
        size = checks.at_least(name, "batch_size", default if batch_size is None else batch_size, 1)
        return Batches(name, DataLoader(x, size), place(model)[0], steps=steps)
    if is_loader(x):
        for argument, given in (("y", y), ("batch_size", batch_size), ("sample_weight", sample_weight)):
            if given is not None:
                raise ArgumentError(f"[{name}] {argument} was given beside a loader, which has its own: leave it out")
        other = any(getattr(x, option, None) for option in ("drop_last", "sampler", "batch_sampler"))
        dataset: Any = None if other else getattr(x, "dataset", None)
        return Batches(name, x, place(model)[0], len(dataset) if hasattr(dataset, "__len__") else None, steps=steps)
    return loaded(name, model, given_data(name, model, x, y, sample_weight), batch_size, default, steps=steps)


def loaded(
    name: str,
    model: Any,
    given: Given,
    batch_size: int | None,
    default: int,
    shuffle: bool = False,
    steps: int | None = None,
) -> Batches:
    """Data with a length in batches."""
    checks.not_empty(name, given.dataset)
    size, device = (
        checks.at_least(name, "batch_size", default if batch_size is None else batch_size, 1),
        place(model)[0],
    )
    ahead = (
        2 if given.whole is None else 0
    )  # a batch of arrays is gathered sooner than handed from one thread to another
    loader = DataLoader(given.dataset, size, shuffle=shuffle, device=device, prefetch=ahead)
    loader.joins_single = name == "fit" and any(isinstance(m, BATCH_NORMS) for m in model.modules())
    return Batches(name, loader, device, len(given.dataset), given.tree, given.whole, steps)


def given_data(name: str, model: Any, x: Any, y: Any, sample_weight: Any) -> Given:
    """Arrays as a data set, floats in the dtype of the model; a data set as it is; looked at as far as it is in arrays."""
    if is_dataset(x):
        for argument, given in (("y", y), ("sample_weight", sample_weight)):
            if given is not None:
                raise ArgumentError(
                    f"[{name}] {argument} was given beside a data set, which has its own: leave it out (samples may be "
                    "(x, y, weight))"
                )
        return of_dataset(name, model, x)
    plan, interface = getattr(model, "compiled", None), Interface(model)
    several = 0 if plan is None else plan.targets
    if y is None and several != 0:
        raise ArgumentError(f"[{name}] y is missing: give x and y, or a data set or a loader of (x, y)")
    tree: tuple[Any, ...] = (parted(x, interface.least > 1),)
    if y is not None or sample_weight is not None:
        tree += (parted(y, several > 1),) if y is not None else ((),)
    if sample_weight is not None:
        tree += (parted(sample_weight, several > 1),)
    dtype = place(model)[1]
    names = [
        found
        for what, part in zip(("x", "y", "sample_weight"), tree, strict=False)
        for found in named_leaves(what, part)
    ]
    arrays = [array(name, what, part, dtype) for what, part in names]
    first = arrays[0]
    for (what, _), found in zip(names, arrays, strict=True):
        if what.startswith("sample_weight"):
            if found.shape != first.shape[:1]:
                raise ShapeError(
                    f"[{name}] {what} has shape {found.shape}, expected {first.shape[:1]}: one for each sample"
                )
        elif len(found) != len(first):
            raise DataError(
                f"[{name}] x has {len(first)} samples but {what} has {len(found)}: give one {what} for each x"
            )
        checks.finite(name, what, found)
    dataset = ArrayDataset(*arrays)
    whole = Batch(rebuilt(tree, iter(dataset.arrays)))
    whole.nested = True
    return Given(dataset, tree, whole)


def of_dataset(name: str, model: Any, dataset: Any) -> Given:
    """A data set as it is given; samples with parts in parts come in a row."""
    checks.dataset(name, dataset)
    arrays = checks.arrays_of(dataset)
    if arrays is None and not hasattr(dataset, "batch"):
        plan = getattr(model, "compiled", None)
        rows = InARow(dataset, (Interface(model).least > 1, plan is not None and plan.targets > 1))
        return Given(rows, lambda: rows.tree)
    return Given(dataset, None, None if arrays is None else Batch(arrays))


class InARow:
    """A data set whose samples may have parts in parts, ``((a, b), y)``, with all of them in a row: ``(a, b, y)``.

    Parts are what a dict holds, and a tuple of arrays; or of numbers, where ``several`` says so of the inputs and the
    targets. ``tree`` is None until there was a sample, and if samples are in a row already.
    """

    def __init__(self, dataset: IDataset, several: tuple[bool, bool]) -> None:
        self.dataset, self.several = dataset, several
        self.tree: Any = None

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: Any) -> Any:
        sample = self.dataset[index]
        if not isinstance(sample, (tuple, list)) or not any(map(in_parts, sample)):
            return sample
        tree = [part if self.has_parts(k, part) else None for k, part in enumerate(sample)]
        if not any(map(in_parts, tree)):
            return sample
        self.tree = tuple(tree)
        return tuple(chain.from_iterable(leaves(p) if in_parts(t) else (p,) for p, t in zip(sample, tree, strict=True)))

    def has_parts(self, k: int, part: Any) -> bool:
        """Whether part ``k`` of a sample is several."""
        if isinstance(part, tuple):
            several = len(part) == 1 or (k < 2 and self.several[k])
            return several or any(in_parts(p) or getattr(p, "ndim", 0) for p in part)
        return isinstance(part, dict)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.dataset, name)


def prediction_batches(
    model: Any, x: Any, batch_size: int | None, steps: int | None = None
) -> Iterator[tuple[Tensor, ...]]:
    """The inputs of each batch: as many parts as the model takes, or, if it does not say, all but the last."""
    interface = Interface(model)
    if is_loader(x):
        batches = labelled("predict", model, x, None, batch_size, EVALUATION_BATCH_SIZE, steps=steps)
    else:
        device, dtype = place(model)
        if is_dataset(x):
            given = of_dataset("predict", model, x)
        else:
            tree = (parted(x, interface.least > 1),)
            arrays = [array("predict", what, part, dtype) for what, part in named_leaves("x", tree[0])]
            checks.has_batch("predict", model, arrays[0])
            if len({len(a) for a in arrays}) > 1:
                raise DataError(f"[predict] the parts of x have {[len(a) for a in arrays]} samples: give one of each")
            given = Given(ArrayDataset(*arrays), tree, Batch())
        batches = loaded("predict", model, given, batch_size, EVALUATION_BATCH_SIZE, steps=steps)
    batches.unseen = False
    for batch in batches:
        x = batch[0] if batch.nested else row_of_inputs(batch, interface)
        yield interface.ordered("predict", x)


def row_of_inputs(batch: Batch, interface: Interface) -> tuple[Any, ...]:
    """The inputs among the parts of a batch: as many as the model takes, but not the last if that may be a target."""
    most = interface.most_of(batch)
    if interface.masks or most == interface.least:
        return batch[:most]
    return batch[: min(max(interface.least, 1, len(batch) - 1), len(batch) if most is None else most)]


def is_loader(x: Any) -> bool:
    """Whether it gives batches: a DataLoader, a generator, anything to iterate over that has no indices."""
    return hasattr(x, "__iter__") and not hasattr(x, "__getitem__")


def is_dataset(x: Any) -> bool:
    """Whether it gives samples by index and is not itself an array."""
    return (
        isinstance(x, IDataset) and not isinstance(x, (Tensor, list, tuple, dict, str)) and not hasattr(x, "__array__")
    )


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


def tensor(part: Any, device: Device) -> Tensor:
    """One of them."""
    if isinstance(part, Tensor):
        return part if part.device == device else part.to(device)
    return from_array(part if isinstance(part, np.ndarray) else host_array(part), backends.get(device))
