"""Data sets: samples by index, and whole batches at once where the data is in arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..domain.data import IDataset
from ..domain.errors import ArgumentError, DataError
from ..random import Generator
from ..tensor import Tensor, host_array
from .collate import collated, known, takes_generator
from .transforms import transformed


class ArrayDataset:
    """Arrays whose first axis counts the samples: ``ArrayDataset(x, y)``.

    NumPy arrays and tensors are not copied; lists become arrays (floats become float32). Indexing by an integer gives
    one sample, by a slice or an array of integers a batch, always a tuple with one entry for each array. ``transform``
    is given the arrays of each batch, as the one of a DataLoader is; ``arrays`` stay as they are. Errors: DataError for
    no arrays, unequal lengths, a dtype that no tensor has.

    >>> data = ArrayDataset(np.eye(3), [2, 0, 1])
    >>> len(data), data[1]
    (3, (array([0., 1., 0.]), np.int64(0)))
    """

    def __init__(self, *arrays: Any, transform: Callable[..., Any] | None = None) -> None:
        if not arrays:
            raise DataError("[ArrayDataset] no arrays were given: ArrayDataset(x, y)")
        self.arrays = tuple(_array(a, i) for i, a in enumerate(arrays))
        lengths = [len(a) for a in self.arrays]
        if len(set(lengths)) > 1:
            shapes = " and ".join(str(a.shape) for a in self.arrays)
            raise DataError(f"[ArrayDataset] the arrays have {lengths} samples (axis 0 of {shapes}): give one of each")
        self.transform = transform
        self.draws = takes_generator(transform)  # whether a batch needs random numbers

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitem__(self, index: Any) -> tuple[Any, ...]:
        if self.transform is None:
            return tuple(a[index] for a in self.arrays)
        if isinstance(index, slice) or np.ndim(index):
            return self.batch(np.arange(len(self))[index])
        return tuple(a[0] for a in self.batch([index]))

    def batch(self, indices: Any, generator: Generator | None = None) -> tuple[Any, ...]:
        """The samples at ``indices``, copied, one array for each array of the set: no sample is touched by Python.

        ``generator`` is for the transformation; None means the default one.
        """
        return transformed(self.transform, tuple(np.take(a, indices, axis=0) for a in self.arrays), generator)

    def __repr__(self) -> str:
        return f"ArrayDataset({', '.join(f'{a.dtype}{list(a.shape)}' for a in self.arrays)})"


class Subset:
    """Some samples of a data set, by their indices.

    >>> data = Subset(ArrayDataset([10, 11, 12, 13]), [3, 0])
    >>> [data[i] for i in range(len(data))]
    [(np.int64(13),), (np.int64(10),)]
    """

    def __init__(self, dataset: IDataset, indices: Any) -> None:
        self.dataset, self.indices = dataset, np.asarray(indices, np.int64)
        bad = self.indices[(self.indices < 0) | (self.indices >= len(dataset))]
        if bad.size:
            raise DataError(f"[Subset] there is no sample {bad[0]}: the data set has {len(dataset)}")

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: Any) -> Any:
        return self.dataset[self.indices[index]]

    @property
    def draws(self) -> bool:
        """Whether a batch of the data set needs random numbers."""
        return bool(getattr(self.dataset, "draws", False))

    def batch(self, indices: Any, generator: Generator | None = None) -> tuple[Any, ...]:
        """The samples at ``indices`` of this subset, collated."""
        return collated(self.dataset, self.indices[indices], generator=generator)


def split(dataset: IDataset, fraction: float, *, seed: int | None = None) -> tuple[Subset, Subset]:
    """The set in two: all but the last ``fraction`` of the samples, and these; drawn at random if a seed is given.

    Both parts have at least one sample. Errors: ArgumentError, DataError.

    >>> train, validation = split(ArrayDataset(np.arange(10)), 0.2)
    >>> len(train), [int(validation[i][0]) for i in range(2)]
    (8, [8, 9])
    """
    if not 0 < fraction < 1:
        raise ArgumentError(f"[split] fraction is {fraction}, expected a number between 0 and 1")
    n = len(dataset)
    if n < 2:
        raise DataError(f"[split] a set of {n} cannot be split: both parts need a sample")
    order = np.arange(n) if seed is None else Generator(seed).permutation(n).numpy()
    last = min(max(round(n * fraction), 1), n - 1)
    return Subset(dataset, order[: n - last]), Subset(dataset, order[n - last :])


def _array(data: Any, place: int) -> Any:
    """``data`` as an array that can be cut into batches."""
    given = data.numpy() if isinstance(data, Tensor) else data
    array = given if isinstance(given, np.ndarray) else host_array(given)
    if array.ndim == 0:
        raise DataError(f"[ArrayDataset] array {place} is a single number: its first axis has to count the samples")
    return known(array, f"[ArrayDataset] array {place}")
