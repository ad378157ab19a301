"""Labels as vectors, and data in parts: to train, to validate, to test."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..domain.data import IDataset
from ..domain.errors import ArgumentError, DataError, DTypeError, IndexRangeError
from ..random import Generator, default_generator
from ..tensor import Tensor, from_array
from .dataset import Subset
from .samplers import whole


def one_hot(labels: Any, num_classes: int | None = None, dtype: str = "float32") -> Any:
    """Integer labels of any shape (...) as vectors (..., num_classes): 1 at the label, 0 elsewhere; a tensor gives a tensor.

    ``num_classes`` is by default the largest label + 1. Errors: DTypeError, IndexRangeError with the label and its place.

    >>> one_hot([2, 0], 3)
    array([[0., 0., 1.],
           [1., 0., 0.]], dtype=float32)
    """
    given = labels.numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if given.dtype.kind not in "iu" and given.size:
        raise DTypeError(f"[one_hot] labels have dtype {given.dtype}, expected integers")
    if num_classes is None and not given.size:
        raise ArgumentError("[one_hot] there are no labels to count classes by: give num_classes")
    count = int(given.max()) + 1 if num_classes is None else whole("one_hot", "num_classes", num_classes, 1)
    bad = np.argwhere((given < 0) | (given >= count))
    if len(bad):
        place = tuple(int(i) for i in bad[0])
        raise IndexRangeError(
            f"[one_hot] the label at {place[0] if len(place) == 1 else place} is {given[place]}, expected 0 to {count - 1}"
        )
    found = (given[..., None] == np.arange(count)).astype(dtype)
    return from_array(found) if isinstance(labels, Tensor) else found


def train_test_split(
    *arrays: Any,
    test_size: float | int | None = None,
    train_size: float | int | None = None,
    shuffle: bool = True,
    stratify: Any = None,
    seed: int | None = None,
) -> list[Any]:
    """Arrays, tensors, lists or data sets of one length in two parts each: ``[x_train, x_test, y_train, y_test]``.

    Sizes are shares (floats) or numbers of samples; default: a quarter to test with, the rest to train. ``stratify``,
    labels (n,), keeps the proportions of classes in both parts. ``seed`` repeats the draw. As in scikit-learn. Errors:
    ArgumentError, DataError.

    >>> x_train, x_test, y_train, y_test = train_test_split(np.arange(8), list("abcdefgh"), test_size=2, shuffle=False)
    >>> x_train, y_test
    (array([0, 1, 2, 3, 4, 5]), ['g', 'h'])
    """
    if not arrays:
        raise ArgumentError("[train_test_split] no arrays were given: train_test_split(x, y)")
    lengths = [len(a) for a in arrays]
    if len(set(lengths)) > 1:
        raise DataError(f"[train_test_split] the arrays have {lengths} samples: they need the same number")
    n = lengths[0]
    n_train, n_test = sizes(n, train_size, test_size)
    if stratify is not None and not shuffle:
        raise ArgumentError("[train_test_split] stratify needs shuffle=True")
    if not shuffle:
        order = np.arange(n)
        train, test = order[:n_train], order[n_train : n_train + n_test]
    else:
        order = source(seed).permutation(n).numpy()
        test, train = order[:n_test], order[n_test : n_test + n_train]
        if stratify is not None:
            train, test = stratified(np.asarray(stratify), order, n_train, n_test)
    return [picked(a, part) for a in arrays for part in (train, test)]


def random_split(dataset: IDataset, lengths: Sequence[float], *, seed: int | None = None) -> list[Subset]:
    """A data set in random parts: ``lengths`` are numbers of samples that add up to all, or shares that add up to 1 (what
    is left over by rounding goes to the first parts, one each). As in PyTorch. Errors: ArgumentError.

    >>> [len(part) for part in random_split(range(10), [0.5, 0.25, 0.25], seed=0)]
    [6, 2, 2]
    """
    n = len(dataset)
    counts: list[Any] = list(lengths)
    if any(v < 0 for v in counts):
        raise ArgumentError(f"[random_split] lengths are {counts}: none can be negative")
    if math.isclose(sum(counts), 1) and not (n == 1 and all(isinstance(v, int) for v in counts)):
        counts = [math.floor(n * v) for v in lengths]
        for k in range(n - sum(counts)):
            counts[k % len(counts)] += 1
    if sum(counts) != n:
        raise ArgumentError(
            f"[random_split] lengths are {list(lengths)} and add up to {sum(lengths)}, expected {n}, or shares that add up to 1"
        )
    ends = np.cumsum(np.asarray(counts, np.int64))
    order = source(seed).permutation(n).numpy()
    return [Subset(dataset, part) for part in np.split(order, ends[:-1])]


class KFold:
    """Cross-validation: ``split(x)`` gives ``n_splits`` pairs of indices (train, test), each sample in one test part.

    Test parts are runs of the samples, in their order or with ``shuffle`` in one drawn from ``seed``. As in scikit-learn.

    >>> [test.tolist() for train, test in KFold(3).split(range(7))]
    [[0, 1, 2], [3, 4], [5, 6]]
    """

    def __init__(self, n_splits: int = 5, *, shuffle: bool = False, seed: int | None = None) -> None:
        self.n_splits = whole(type(self).__name__, "n_splits", n_splits, 2)
        self.shuffle, self.seed = shuffle, seed
        if seed is not None and not shuffle:
            raise ArgumentError(f"[{type(self).__name__}] a seed was given without shuffle=True")

    def __len__(self) -> int:
        return self.n_splits

    def split(self, x: Any, y: Any = None) -> Iterator[tuple[Any, Any]]:
        """Indices (train, test), sorted, of each fold. Errors: DataError for less samples than folds."""
        fold = self.folds(len(x), y)
        return ((np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(self.n_splits))

    def folds(self, n: int, y: Any) -> Any:
        """In the test part of which fold each sample is."""
        if n < self.n_splits:
            raise DataError(f"[{type(self).__name__}] {n} samples cannot be in {self.n_splits} folds: each needs one")
        fold = np.empty(n, np.int64)
        order = source(self.seed).permutation(n).numpy() if self.shuffle else np.arange(n)
        for k, part in enumerate(np.array_split(order, self.n_splits)):
            fold[part] = k
        return fold


class StratifiedKFold(KFold):
    """``KFold`` in which every test part has the classes in about the proportions of the whole: ``split(x, y)`` with the
    labels y (n,). Errors: DataError if no class has a sample for each fold; it warns if one has not.

    >>> [test.tolist() for train, test in StratifiedKFold(2).split(range(6), [0, 0, 0, 0, 1, 1])]
    [[0, 1, 4], [2, 3, 5]]
    """

    def folds(self, n: int, y: Any) -> Any:
        if y is None or np.shape(y) != (n,):
            raise DataError(
                f"[StratifiedKFold] y has shape {np.shape(y)}, expected a class for each sample: split(x, y)"
            )
        _, first, label = np.unique(np.asarray(y), return_index=True, return_inverse=True)
        label = np.argsort(np.argsort(first))[label]  # classes in the order in which they come
        counts = np.bincount(label)
        if self.n_splits > counts.max():
            raise DataError(
                f"[StratifiedKFold] the largest class has {counts.max()} samples, less than {self.n_splits} folds"
            )
        if self.n_splits > counts.min():
            warnings.warn(
                f"[StratifiedKFold] a class has {counts.min()} samples, less than {self.n_splits} folds: some have none of it",
                UserWarning,
                stacklevel=3,
            )
        ranked = np.sort(label)
        shares = np.array(
            [np.bincount(ranked[k :: self.n_splits], minlength=len(counts)) for k in range(self.n_splits)]
        )
        fold, generator = np.empty(n, np.int64), source(self.seed) if self.shuffle else None
        for c in range(len(counts)):
            of_class = np.repeat(np.arange(self.n_splits), shares[:, c])
            if generator is not None:
                of_class = of_class[generator.permutation(len(of_class)).numpy()]
            fold[label == c] = of_class
        return fold


def source(seed: int | None) -> Generator:
    """A generator of ``seed``, or the default one."""
    return default_generator() if seed is None else Generator(seed)


def picked(data: Any, indices: Any) -> Any:
    """The samples at ``indices``, as the kind of data that was given."""
    if isinstance(data, Tensor):
        return from_array(np.take(data.numpy(), indices, axis=0))
    if isinstance(data, np.ndarray):
        return np.take(data, indices, axis=0)
    if isinstance(data, (list, tuple)):
        return [data[i] for i in indices]
    if hasattr(data, "iloc"):  # a table of pandas
        return data.iloc[indices]
    return Subset(data, indices)


def sizes(n: int, train_size: float | int | None, test_size: float | int | None) -> tuple[int, int]:
    """The numbers of samples to train and to test with."""
    for name, size in (("train_size", train_size), ("test_size", test_size)):
        fits = size is None or (0 < size < 1 if isinstance(size, float) else 0 < size < n)
        if not fits or isinstance(size, bool):
            raise ArgumentError(
                f"[train_test_split] {name} is {size!r}, expected a share between 0 and 1 or a number from 1 to {n - 1}"
            )
    if test_size is None and train_size is None:
        test_size = 0.25
    test = None if test_size is None else math.ceil(n * test_size) if isinstance(test_size, float) else int(test_size)
    train = (
        None if train_size is None else math.floor(n * train_size) if isinstance(train_size, float) else int(train_size)
    )
    if test is None:
        test = n - (train or 0)
    if train is None:
        train = n - test
    if train < 1 or test < 1 or train + test > n:
        raise ArgumentError(f"[train_test_split] {train} samples to train and {test} to test cannot be had of {n}")
    return train, test


def stratified(labels: Any, order: Any, n_train: int, n_test: int) -> tuple[Any, Any]:
    """Indices to train and to test with, in the proportions of the classes, drawn by ``order``."""
    if labels.shape != order.shape:
        raise DataError(f"[train_test_split] stratify has shape {labels.shape}, expected ({len(order)},)")
    names, label, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if counts.min() < 2:
        name = names[counts.argmin()]
        raise DataError(
            f"[train_test_split] class {name} has one sample: stratify needs two of each, one for each part"
        )
    if min(n_train, n_test) < len(counts):
        raise ArgumentError(
            f"[train_test_split] parts of {n_train} and {n_test} cannot both have samples of {len(counts)} classes"
        )
    train = apportioned(counts, n_train)
    test = apportioned(counts - train, n_test)
    by_class = order[np.argsort(label[order], kind="stable")]
    rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    of_class = label[by_class]
    in_train = rank < train[of_class]
    in_test = ~in_train & (rank < (train + test)[of_class])
    chosen = np.zeros(len(order), np.int8)
    chosen[by_class] = in_train + 2 * in_test
    return order[chosen[order] == 1], order[chosen[order] == 2]


def apportioned(counts: Any, total: int) -> Any:
    """``total`` shared out in proportion to ``counts``: the whole parts, then one each for the largest remainders."""
    exact = counts / counts.sum() * total
    found = np.floor(exact).astype(np.int64)
    found[np.argsort(found - exact, kind="stable")[: total - found.sum()]] += 1
    return found
