"""Samplers: in which order, and how often, the samples of a data set are used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import Any

import numpy as np

from ..domain.errors import ArgumentError, DataError
from ..random import Generator, default_generator


class Sampler:
    """The base: ``order()`` gives the indices of an epoch as an int64 array, a new draw at each call.

    Random samplers draw from ``generator``, from one of ``seed``, or else from one whose seed comes from the default
    generator. ``state_dict`` holds where that stands; a loader saves it with its own.
    """

    def __init__(self, seed: int | None = None, generator: Generator | None = None) -> None:
        if seed is not None and generator is not None:
            raise ArgumentError(f"[{type(self).__name__}] give a seed or a generator, not both")
        self._generator = Generator(seed) if seed is not None else generator

    @property
    def generator(self) -> Generator:
        """The generator of the orders."""
        if self._generator is None:
            self._generator = default_generator().fork()
        return self._generator

    def order(self) -> Any:
        """The indices of an epoch."""
        raise NotImplementedError(f"{type(self).__name__} has no order()")

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} has no __len__()")

    def __iter__(self) -> Iterator[int]:
        return iter(self.order().tolist())

    def state_dict(self) -> dict[str, Any]:
        """What the next order depends on, as JSON can hold it."""
        return {"generator": list(self.generator.get_state())}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a ``state_dict``."""
        seed, counter = state["generator"]
        self.generator.set_state((seed, counter))


class SequentialSampler(Sampler):
    """Every sample, in order.

    >>> list(SequentialSampler([5, 6, 7]))
    [0, 1, 2]
    """

    def __init__(self, data: Sized) -> None:
        super().__init__()
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def order(self) -> Any:
        return np.arange(len(self.data))

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        pass


class RandomSampler(Sampler):
    """Samples in random order: each once, or ``num_samples`` of them (more than there are: orders one after the other);
    with ``replacement`` each draw is of all samples.

    >>> sorted(RandomSampler(range(4), seed=0)), len(RandomSampler(range(4), replacement=True, num_samples=9))
    ([0, 1, 2, 3], 9)
    """

    def __init__(
        self,
        data: Sized,
        replacement: bool = False,
        num_samples: int | None = None,
        *,
        seed: int | None = None,
        generator: Generator | None = None,
    ) -> None:
        super().__init__(seed, generator)
        self.data, self.replacement = data, replacement
        self.num_samples = len(data) if num_samples is None else whole("RandomSampler", "num_samples", num_samples, 1)
        if len(data) == 0:
            raise DataError("[RandomSampler] the data set is empty: it needs at least one sample")

    def __len__(self) -> int:
        return self.num_samples

    def order(self) -> Any:
        n = len(self.data)
        if self.replacement:
            return self.generator.integers(0, n, (self.num_samples,)).numpy()
        orders = [self.generator.permutation(n).numpy() for _ in range(-(-self.num_samples // n))]
        return np.concatenate(orders)[: self.num_samples]


class WeightedRandomSampler(Sampler):
    """``num_samples`` draws in which sample i comes with a probability proportional to ``weights[i]``.

    Without ``replacement`` no sample comes twice: each next one is drawn in proportion among those left. Errors:
    ArgumentError for weights that are negative, not finite or all 0, or fewer samples with weight than asked for.

    >>> set(WeightedRandomSampler([0.0, 1.0, 3.0], 8, seed=0))
    {1, 2}
    """

    def __init__(
        self,
        weights: Any,
        num_samples: int,
        replacement: bool = True,
        *,
        seed: int | None = None,
        generator: Generator | None = None,
    ) -> None:
        super().__init__(seed, generator)
        self.weights, self.replacement = np.asarray(weights, np.float64), replacement
        self.num_samples = whole("WeightedRandomSampler", "num_samples", num_samples, 1)
        w = self.weights
        if w.ndim != 1 or not (np.isfinite(w).all() and (w >= 0).all() and w.any()):
            raise ArgumentError(
                f"[WeightedRandomSampler] weights of shape {w.shape}: expected one for each sample, finite, not negative and "
                "not all 0"
            )
        if not replacement and (w > 0).sum() < self.num_samples:
            raise ArgumentError(
                f"[WeightedRandomSampler] {self.num_samples} samples without replacement, but {(w > 0).sum()} have a weight"
            )

    def __len__(self) -> int:
        return self.num_samples

    def order(self) -> Any:
        if self.replacement:
            ends = np.cumsum(self.weights)
            u = self.generator.uniform((self.num_samples,), "float64").numpy() * ends[-1]
            last = np.flatnonzero(self.weights)[-1]  # a product rounded up to the sum
            return np.minimum(np.searchsorted(ends, u, side="right"), last)
        # the smallest of exponential waiting times are a weighted draw without replacement (Efraimidis, Spirakis, 2006)
        u = self.generator.uniform((len(self.weights),), "float64").numpy()
        with np.errstate(divide="ignore"):
            waits = -np.log1p(-u) / self.weights
        waits[self.weights == 0] = np.inf
        return np.argsort(waits, kind="stable")[: self.num_samples]


class StratifiedSampler(Sampler):
    """Every sample once, each class spread evenly over the epoch: any batch has the classes in about the proportions of
    the whole, whatever its size.

    ``labels`` (n,) are the classes of the samples.

    >>> labels = np.array([0, 0, 0, 0, 1, 1])
    >>> [sorted(labels[batch].tolist()) for batch in BatchSampler(StratifiedSampler(labels, seed=0), 3)]
    [[0, 0, 1], [0, 0, 1]]
    """

    def __init__(self, labels: Any, *, seed: int | None = None, generator: Generator | None = None) -> None:
        super().__init__(seed, generator)
        self.labels = np.asarray(labels)
        if self.labels.ndim != 1 or not len(self.labels):
            raise DataError(
                f"[StratifiedSampler] labels of shape {self.labels.shape}: expected one class for each sample"
            )
        _, self._class, self._counts = np.unique(self.labels, return_inverse=True, return_counts=True)

    def __len__(self) -> int:
        return len(self.labels)

    def order(self) -> Any:
        shuffled = self.generator.permutation(len(self)).numpy()
        shift = float(self.generator.uniform((1,), "float64").numpy()[0])
        classes = self._class[shuffled]
        by_class = np.argsort(classes, kind="stable")
        rank = np.empty(len(self))  # of each sample among those of its class
        rank[by_class] = np.arange(len(self)) - np.repeat(np.cumsum(self._counts) - self._counts, self._counts)
        # class c comes at the times (rank + offset) / count, with offsets apart from each other
        offset = (self.generator.permutation(len(self._counts)).numpy() + shift) / len(self._counts)
        return shuffled[np.argsort((rank + offset[classes]) / self._counts[classes], kind="stable")]


class DistributedSampler(Sampler):
    """The part of one of ``num_replicas`` processes, which train together: every ``num_replicas``-th sample from ``rank``.

    All parts have one length: the order is filled up from its beginning, or with ``drop_last`` its end is left out. With
    ``shuffle`` the order comes from ``seed`` and the epoch; ``set_epoch`` before each epoch gives each its own.

    >>> [list(DistributedSampler(range(5), 2, rank, shuffle=False)) for rank in (0, 1)]
    [[0, 2, 4], [1, 3, 0]]
    """

    def __init__(
        self, data: Sized, num_replicas: int, rank: int, shuffle: bool = True, seed: int = 0, drop_last: bool = False
    ) -> None:
        super().__init__()
        self.data, self.shuffle, self.seed, self.drop_last, self.epoch = data, shuffle, seed, drop_last, 0
        self.num_replicas = whole("DistributedSampler", "num_replicas", num_replicas, 1)
        self.rank = whole("DistributedSampler", "rank", rank, 0)
        if self.rank >= self.num_replicas:
            raise ArgumentError(f"[DistributedSampler] rank is {rank}, expected 0 to {num_replicas - 1}")
        if len(data) < (num_replicas if drop_last else 1):
            raise DataError(f"[DistributedSampler] {len(data)} samples are too few for {num_replicas} processes")

    def __len__(self) -> int:
        return len(self.data) // self.num_replicas if self.drop_last else -(-len(self.data) // self.num_replicas)

    def set_epoch(self, epoch: int) -> None:
        """The epoch that begins."""
        self.epoch = epoch

    def order(self) -> Any:
        n = len(self.data)
        order = Generator(self.seed + self.epoch).permutation(n).numpy() if self.shuffle else np.arange(n)
        return np.resize(order, len(self) * self.num_replicas)[self.rank :: self.num_replicas]

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.epoch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.epoch = state["epoch"]


class BatchSampler:
    """Lists of ``batch_size`` indices of ``sampler``; the last may be shorter, ``drop_last`` leaves it out.

    >>> list(BatchSampler(range(5), 2))
    [[0, 1], [2, 3], [4]]
    """

    def __init__(self, sampler: Iterable[int], batch_size: int, drop_last: bool = False) -> None:
        self.sampler, self.drop_last = sampler, drop_last
        self.batch_size = whole("BatchSampler", "batch_size", batch_size, 1)

    def __len__(self) -> int:
        n = len(self.sampler)  # type: ignore[arg-type]  # TypeError where it has none
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        batch: list[int] = []
        for index in self.sampler:
            batch.append(index)
            if len(batch) == self.batch_size:
                yield batch
                batch = []
        if batch and not self.drop_last:
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """That of the sampler, if it has one."""
        return state_of(self.sampler) or {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a ``state_dict``."""
        if hasattr(self.sampler, "load_state_dict"):
            self.sampler.load_state_dict(state)


def state_of(sampler: Any) -> dict[str, Any] | None:
    """The state of a sampler, if it has one."""
    return sampler.state_dict() if hasattr(sampler, "state_dict") else None


def whole(name: str, argument: str, value: Any, least: int) -> int:
    """``value`` as an integer of at least ``least``, for ``argument`` of ``name``."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or value < least:
        raise ArgumentError(f"[{name}] {argument} is {value!r}, expected an integer of at least {least}")
    return int(value)
