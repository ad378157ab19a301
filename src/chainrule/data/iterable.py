"""Data sets that are gone through and not indexed: streams, generators, data larger than memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from ..domain.errors import ArgumentTypeError
from ..random import Generator
from .samplers import whole


class IterableDataset:
    """Samples one after the other: from a function that gives a new iterator for each epoch, or a subclass with
    ``__iter__``.

    A DataLoader makes batches of them. ``shuffle`` mixes samples within a buffer, ``shard`` is one of several parts.
    ``set_epoch``, which a loader calls, sets ``epoch`` for subclasses whose order depends on it.

    >>> squares = IterableDataset(lambda: (n * n for n in range(5)))
    >>> list(squares), list(squares.shard(1, 2))
    ([0, 1, 4, 9, 16], [1, 9])
    """

    epoch = 0

    def __init__(self, make: Callable[[], Iterable[Any]] | None = None) -> None:
        if make is None and type(self).__iter__ is IterableDataset.__iter__:
            raise ArgumentTypeError(
                "[IterableDataset] give a function that gives a new iterator for each epoch, or write __iter__ in a subclass"
            )
        if make is not None and not callable(make):
            raise ArgumentTypeError(
                f"[IterableDataset] a {type(make).__name__} was given, expected a function that gives a new iterator for "
                "each epoch: IterableDataset(lambda: ...)"
            )
        self.make: Any = make

    def __iter__(self) -> Iterator[Any]:
        return iter(self.make())

    def shuffle(self, buffer: int, seed: int = 0) -> ShuffledDataset:
        """The samples in random order, another for each epoch: each is drawn from ``buffer`` samples that were read ahead.

        >>> sorted(IterableDataset(lambda: range(5)).shuffle(3))
        [0, 1, 2, 3, 4]
        """
        return ShuffledDataset(self, buffer, seed)

    def shard(self, index: int, count: int) -> IterableDataset:
        """Part ``index`` of ``count``: every ``count``-th sample. The parts of all ranks or workers are the whole.

        A loader with workers gives each its part. A part reads all and leaves out the others; a subclass that can read
        its part alone, such as some of the files, has a ``shard`` of its own.
        """
        return Part(self, whole("shard", "index", index, 0), whole("shard", "count", count, 1))

    def set_epoch(self, epoch: int) -> None:
        """The number of the epoch that begins."""
        self.epoch = epoch


class Part(IterableDataset):
    """Every ``count``-th sample of a stream, from ``index`` on."""

    def __init__(self, dataset: IterableDataset, index: int, count: int) -> None:
        self.dataset, self.index, self.count = dataset, index, count

    def __iter__(self) -> Iterator[Any]:
        return islice(iter(self.dataset), self.index, None, self.count)

    def set_epoch(self, epoch: int) -> None:
        self.dataset.set_epoch(epoch)


class ShuffledDataset(IterableDataset):
    """What ``IterableDataset.shuffle`` gives."""

    def __init__(self, dataset: IterableDataset, buffer: int, seed: int = 0, stream: int = 0) -> None:
        self.dataset, self.buffer, self.seed, self.stream = dataset, whole("shuffle", "buffer", buffer, 1), seed, stream

    def __iter__(self) -> Iterator[Any]:
        generator = Generator(self.seed)
        generator.set_state((self.seed, self.epoch << 20 | self.stream))  # of all epochs and parts; each forks its own
        generator = generator.fork()
        kept: list[Any] = []
        places: list[int] = []
        for sample in self.dataset:
            if len(kept) < self.buffer:
                kept.append(sample)
                continue
            if not places:
                places = generator.integers(0, self.buffer, (1024,)).tolist()
            place = places.pop()
            yield kept[place]
            kept[place] = sample
        if kept:
            yield from (kept[place] for place in generator.permutation(len(kept)).tolist())

    def shard(self, index: int, count: int) -> IterableDataset:
        """A part is taken before it is shuffled."""
        return ShuffledDataset(
            self.dataset.shard(index, count), self.buffer, self.seed, self.stream * count + index + 1
        )

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch
        self.dataset.set_epoch(epoch)
