"""What makes the batches of a loader; it goes to the threads and processes that do the work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count, islice
from typing import Any, NamedTuple

from ..random import Generator
from .collate import Collate, as_parts, collated, default_collate
from .iterable import IterableDataset
from .transforms import transformed


class Job(NamedTuple):
    """A batch to be made: the indices of its samples, the place of the first in the epoch, the key of the epoch."""

    indices: Any
    start: int
    key: int | None


class Shard(NamedTuple):
    """The next batch of one of several parts of a stream; ``first`` begins it, after ``skip`` batches."""

    part: int
    parts: int
    epoch: int
    skip: int
    key: int | None
    first: bool


@dataclass
class Indexed:
    """Batches of a data set with indices."""

    dataset: Any
    collate_fn: Collate | None
    transform: Callable[..., Any] | None

    def __call__(self, job: Job) -> tuple[Any, ...]:
        """The arrays of one batch."""
        generator = batch_generator(job.key, job.start)
        return transformed(self.transform, collated(self.dataset, job.indices, self.collate_fn, generator), generator)


@dataclass
class Streamed:
    """Batches of an iterable data set."""

    dataset: IterableDataset
    collate_fn: Collate | None
    transform: Callable[..., Any] | None
    batch_size: int
    drop_last: bool
    iterator: Iterator[tuple[Any, ...]] | None = None

    def __call__(self, job: Shard) -> tuple[Any, ...] | None:
        """The arrays of the next batch; None at the end."""
        if job.first or self.iterator is None:
            self.iterator = self.batches(job)
        return next(self.iterator, None)

    def batches(self, shard: Shard) -> Iterator[tuple[Any, ...]]:
        """All batches of a part."""
        part = self.dataset if shard.parts == 1 else self.dataset.shard(shard.part, shard.parts)
        part.set_epoch(shard.epoch)
        samples, done = iter(part), 0
        for number in count(shard.skip):
            taken = []
            try:
                if number == shard.skip:
                    done = sum(1 for _ in islice(samples, shard.skip * self.batch_size))
                for sample in islice(samples, self.batch_size):
                    taken.append(sample)
            except Exception as error:
                error.add_note(
                    f"[DataLoader] after {done + len(taken)} samples of {type(self.dataset).__name__}"
                    + (f", part {shard.part} of {shard.parts}" if shard.parts > 1 else "")
                )
                raise
            if not taken or (len(taken) < self.batch_size and self.drop_last):
                return
            done += len(taken)
            arrays = as_parts((self.collate_fn or default_collate)(taken))
            generator = batch_generator(shard.key, number * shard.parts + shard.part)
            yield transformed(self.transform, arrays, generator)


def batch_generator(key: int | None, place: int) -> Generator | None:
    """The generator of one batch: 2**34 words of the stream of the epoch, the same whoever makes the batch; None if the
    epoch has no key, for nothing is drawn."""
    if key is None:
        return None
    generator = Generator()
    generator.set_state((key, place << 32))
    return generator
