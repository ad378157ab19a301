"""DataLoader: a data set in batches, in a new order each epoch, made ahead by a thread."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from .. import backends
from ..domain.data import IDataset
from ..domain.device import Device
from ..domain.errors import ArgumentError, ArgumentTypeError, DataError
from ..random import Generator, default_generator
from ..tensor import Tensor, from_array
from .collate import Collate, collated, takes_generator
from .prefetch import ahead
from .transforms import transformed


class DataLoader:
    """Iterate over ``dataset`` once for each ``for``, in tuples of tensors of ``batch_size`` samples.

    ``dataset`` has ``len()`` and indices; one that has ``batch(indices)``, as ArrayDataset has, gives whole batches
    without a Python loop over samples. ``shuffle`` draws a new order for each epoch from ``generator``, or from
    one of ``seed``, or else from a seed of the default generator (``manual_seed`` repeats it). The last batch may be
    smaller; ``drop_last`` leaves it out. ``prefetch`` batches are made ahead by a thread; 0 means none.

    ``collate_fn`` makes a batch of a list of samples (``pad_collate`` for sequences); by default they are stacked.
    ``transform`` is then given the arrays of the batch and gives new ones; if it has a parameter ``generator``, as the
    transformations here have, it gets one whose numbers depend on the seed, the epoch and the place of the batch alone.
    Errors: ArgumentError, ArgumentTypeError, DataError if the set is empty or nothing would be left of it.

    >>> from chainrule.data import ArrayDataset
    >>> loader = DataLoader(ArrayDataset(np.arange(5)), batch_size=2)
    >>> [x.tolist() for (x,) in loader], len(loader)
    ([[0, 1], [2, 3], [4]], 3)
    """

    def __init__(
        self,
        dataset: IDataset,
        batch_size: int = 32,
        *,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int | None = None,
        generator: Generator | None = None,
        collate_fn: Collate | None = None,
        transform: Callable[..., Any] | None = None,
        prefetch: int = 2,
        device: str | Device | None = None,
    ) -> None:
        if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")) or isinstance(dataset, (tuple, dict)):
            kind = type(dataset).__name__
            raise ArgumentTypeError(f"[DataLoader] a {kind} is no data set: wrap arrays as ArrayDataset(x, y)")
        if seed is not None and generator is not None:
            raise ArgumentError("[DataLoader] give a seed or a generator, not both")
        self.dataset, self.batch_size = dataset, count(batch_size, "batch_size", 1)
        self.shuffle, self.drop_last, self.prefetch = shuffle, drop_last, count(prefetch, "prefetch", 0)
        self.collate_fn, self.transform = collate_fn, transform
        self.backend = backends.get(device)
        self._transform_draws = transform is not None and takes_generator(transform)
        self._generator = Generator(seed) if seed is not None else generator
        self._start: tuple[int, int] | None = None  # of the generator, before it drew the order of this epoch
        self._position = 0  # samples given in this epoch
        self._resume = 0  # where the next epoch begins: elsewhere than at 0 after load_state_dict only
        if len(dataset) == 0:
            raise DataError("[DataLoader] the data set is empty: it needs at least one sample")
        if len(self) == 0:
            raise DataError(
                f"[DataLoader] nothing is left: {len(dataset)} samples make no batch of {batch_size} and drop_last "
                "leaves out the rest; lower batch_size or set drop_last=False"
            )

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        whole, rest = divmod(len(self.dataset), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        n, self._position, self._resume = len(self.dataset), self._resume, 0
        if self._draws:
            self._start = self._source().get_state()
        order = self._source().permutation(n).numpy() if self.shuffle else np.arange(n)
        key = self._key() if self._batches_draw else None
        last = n - n % self.batch_size if self.drop_last else n
        places = [order[i : min(i + self.batch_size, last)] for i in range(self._position, last, self.batch_size)]
        starts = range(self._position, last, self.batch_size)
        made: Iterator[tuple[Any, ...]] = (self._made(p, i, key) for p, i in zip(places, starts, strict=True))
        if self.prefetch:
            made = ahead(made, self.prefetch)
        for indices, arrays in zip(places, made, strict=True):
            self._position += len(indices)
            yield tuple(from_array(a, self.backend) for a in arrays)
        self._start, self._position = None, 0

    def state_dict(self) -> dict[str, Any]:
        """Where the loader stands, as JSON can hold it: inside an epoch too, after the batches that were taken."""
        state = None
        if self._draws:
            state = list(self._start or self._source().get_state())
        return {"generator": state, "position": self._position, "samples": len(self.dataset)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a ``state_dict``: the next ``for`` gives the rest of that epoch, then epochs follow as they would
        have. The batch size may differ. Errors: DataError if the data set has another length, or shuffle differs."""
        if state["samples"] != len(self.dataset) or (state["generator"] is not None) != self._draws:
            raise DataError(
                f"[DataLoader] the state is of {state['samples']} samples, "
                f"{'shuffled' if state['generator'] is not None else 'in order'}; this loader has "
                f"{len(self.dataset)}, {'shuffled' if self.shuffle else 'in order'}"
            )
        if state["generator"] is not None:
            seed, counter = state["generator"]
            self._source().set_state((seed, counter))
        self._start, self._position = None, state["position"]
        self._resume = state["position"]

    @property
    def _batches_draw(self) -> bool:
        """Whether a batch needs random numbers."""
        return self._transform_draws or bool(getattr(self.dataset, "draws", False))

    @property
    def _draws(self) -> bool:
        return self.shuffle or self._batches_draw

    def _key(self) -> int:
        """A number that stands for this epoch in the random numbers of its batches."""
        high, low = self._source().integers(0, 2**31, (2,)).tolist()
        return int(high << 31 | low)

    def _made(self, indices: Any, start: int, key: int | None) -> tuple[Any, ...]:
        """The arrays of one batch."""
        generator = None
        if key is not None:
            generator = Generator()
            generator.set_state((key, start << 32))  # every batch has 2**34 words of the stream of the epoch
        arrays = collated(self.dataset, indices, self.collate_fn, generator)
        return arrays if self.transform is None else transformed(self.transform, arrays, generator)

    def _source(self) -> Generator:
        """The generator of the orders. It is apart from the default one: other draws do not change the order."""
        if self._generator is None:
            self._generator = default_generator().fork()
        return self._generator


def count(value: Any, name: str, least: int) -> int:
    """``value`` as an integer of at least ``least``, for the argument ``name``."""
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if isinstance(value, bool) or number < least:
        raise ArgumentError(f"[DataLoader] {name} is {value!r}, expected an integer of at least {least}")
    return number
