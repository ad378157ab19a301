"""DataLoader: a data set in batches, in a new order each epoch, made ahead by threads or processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, count, islice
from typing import Any, Never, cast

import numpy as np

from .. import backends
from ..domain.data import IDataset
from ..domain.device import Device
from ..domain.errors import ArgumentError, ArgumentTypeError, DataError, unknown
from ..random import Generator, default_generator
from ..tensor import Storage, Tensor, from_array, wrap
from .batches import Indexed, Job, Shard, Streamed
from .collate import Collate, takes_generator
from .iterable import IterableDataset
from .prefetch import ahead, mapped
from .processes import ProcessPool
from .samplers import Sampler, state_of, whole
from .staging import staging

BATCH_SIZE = 32
ELSEWHERE = {  # what PyTorch has, by its name there
    "num_workers": 'it is workers=, of threads unless worker="process"',
    "pin_memory": "leave it out, for batches are made where device= says",
    "prefetch_factor": "it is prefetch=, in batches",
    "multiprocessing_context": 'worker="process" is all that there is to choose',
    "worker_init_fn": "leave it out, for workers are seeded anew for each batch",
}
MIX = 0x2545F4914F6CDD1D  # sets the keys of epochs apart from their orders


class DataLoader:
    """Iterate over ``dataset`` once for each ``for``, in tuples of tensors of ``batch_size`` samples.

    ``dataset`` has ``len()`` and indices, or is an ``IterableDataset``; one that has ``batch(indices)``, as ArrayDataset
    has, gives whole batches without a Python loop over samples. The last batch may be smaller; ``drop_last`` leaves it
    out.

    **Order**: ``shuffle`` draws a new one for each epoch from ``generator``, or from one of ``seed``, or else from a
    seed of the default generator (``manual_seed`` repeats it). Or a ``sampler`` gives the indices, any iterable of
    integers; or a ``batch_sampler`` the indices of each batch, in place of batch_size, shuffle, sampler and drop_last.

    **Content**: ``collate_fn`` makes a batch of a list of samples (``pad_collate`` for sequences); by default they are
    stacked. ``transform`` is then given the arrays of the batch and gives new ones; if it has a parameter ``generator``,
    as the transformations here have, it gets one whose numbers depend on the seed, the epoch and the place of the batch.

    **Speed**: ``prefetch`` batches are made ahead by a thread, or by each of ``workers``: threads, or with
    ``worker="process"`` processes, which start once (``persistent_workers``) and end with the loader or by ``close``.
    Batches and their order do not depend on the number of workers (of an IterableDataset each worker reads its shard).
    In a process the default generators of chainrule, NumPy and ``random`` are seeded anew for each batch.
    An error in a worker is raised here and names the sample; a worker that dies, or needs more than ``timeout`` seconds
    for a batch (0: any time), is a WorkerError.

    A copy (``copy``, ``pickle``) goes on where this one stands, with workers of its own.

    Errors: ArgumentError, ArgumentTypeError, DataError if the set is empty or nothing would be left of it.

    >>> from chainrule.data import ArrayDataset
    >>> loader = DataLoader(ArrayDataset(np.arange(5)), batch_size=2)
    >>> [x.tolist() for (x,) in loader], len(loader)
    ([[0, 1], [2, 3], [4]], 3)
    """

    def __init__(
        self,
        dataset: IDataset | IterableDataset,
        batch_size: int = BATCH_SIZE,
        *,
        shuffle: bool = False,
        sampler: Iterable[int] | None = None,
        batch_sampler: Iterable[Any] | None = None,
        drop_last: bool = False,
        seed: int | None = None,
        generator: Generator | None = None,
        collate_fn: Collate | None = None,
        transform: Callable[..., Any] | None = None,
        workers: int = 0,
        worker: str = "thread",
        prefetch: int = 2,
        timeout: float = 0,
        persistent_workers: bool = True,
        device: str | Device | None = None,
        **other: Never,
    ) -> None:
        for name in other:
            if name in ELSEWHERE:
                raise ArgumentTypeError(f"[DataLoader] there is no {name}: {ELSEWHERE[name]}")
            known = [key for key in DataLoader.__init__.__annotations__ if key not in ("other", "return")]
            raise unknown("option of DataLoader", name, known)
        self.streams = is_stream(dataset)
        check_dataset(dataset, self.streams)
        if seed is not None and generator is not None:
            raise ArgumentError("[DataLoader] give a seed or a generator, not both")
        if worker not in ("thread", "process"):
            raise ArgumentError(f'[DataLoader] worker is {worker!r}, expected "thread" or "process"')
        if timeout < 0:
            raise ArgumentError(f"[DataLoader] timeout is {timeout}, expected seconds, or 0 for none")
        self.dataset, self.batch_size = dataset, whole("DataLoader", "batch_size", batch_size, 1)
        self.shuffle, self.drop_last, self.prefetch = shuffle, drop_last, whole("DataLoader", "prefetch", prefetch, 0)
        self.sampler, self.batch_sampler = sampler, batch_sampler
        self.workers, self.worker = whole("DataLoader", "workers", workers, 0), worker
        self.timeout, self.persistent_workers = timeout or None, persistent_workers
        self.backend = backends.get(device)
        self._check_order()
        self._make: Callable[[Any], Any] = (
            Streamed(stream(dataset), collate_fn, transform, self.batch_size, drop_last)
            if self.streams
            else Indexed(dataset, collate_fn, transform)
        )
        self._keyed = takes_generator(transform) or (worker == "process" and self.workers > 0)
        self.joins_single = (
            False  # whether a last batch of one goes into the one before: fit wants that for batch norms
        )
        self._generator = Generator(seed) if seed is not None else generator
        self._start: tuple[int, int] | None = None  # of the generator, before it drew the order of this epoch
        self._sampler_start: dict[str, Any] | None = None  # its state then
        self._epoch = 0
        self._position: Any = self._beginning()  # samples given in this epoch, or batches
        self._turn = 0  # whose batch comes next of several shards
        self._resume: Any = None  # where the next epoch begins: set by load_state_dict
        self._pool: ProcessPool | None = None
        self._pool_busy = False
        if not self.streams and self._samples() == 0:
            raise DataError("[DataLoader] the data set is empty: it needs at least one sample")
        if not self.streams and drop_last and sampler is None and len(self) == 0:
            raise DataError(
                f"[DataLoader] nothing is left: {self._samples()} samples make no batch of {batch_size} and drop_last "
                "leaves out the rest; lower batch_size or set drop_last=False"
            )

    def __len__(self) -> int:
        """The number of batches in an epoch. Errors: TypeError for an IterableDataset or a sampler without a length."""
        if self.batch_sampler is not None:
            return len(self.batch_sampler)  # type: ignore[arg-type]
        samples = len(self.dataset if self.sampler is None else self.sampler)  # type: ignore[arg-type]
        parts = max(self.workers, 1) if self.streams else 1  # of a stream each worker makes batches of its own
        of_each = ((samples + parts - 1 - k) // parts for k in range(parts))
        made = sum(n // self.batch_size if self.drop_last else -(-n // self.batch_size) for n in of_each)
        return made - self._single_joins(samples)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        resume, self._resume = self._resume, None
        if self._draws:
            self._start = self._source().get_state()
        self._sampler_start = state_of(self._order_giver())
        batches = self._streamed(resume) if self.streams else self._indexed(resume or 0)
        for arrays in batches:
            yield self._tensors(arrays)
        self._start, self._sampler_start, self._epoch = None, None, self._epoch + 1
        self._position, self._turn = self._beginning(), 0

    def _indexed(self, position: int) -> Iterator[tuple[Any, ...]]:
        """The batches of an epoch from ``position`` on: of samples, or of batches where a batch_sampler makes them."""
        self._position = position
        places = self._places(position)
        key = self._key() if self._keyed or getattr(self.dataset, "draws", False) else None
        given: list[int] = []  # how far the loader is after each batch that is under way

        def jobs() -> Iterator[Job]:
            for start, indices, following in places:
                given.append(following)
                yield Job(indices, start, key)

        if self.workers and self.worker == "process":
            made = self._by_processes(jobs())
        elif self.workers:
            made = mapped(self._make, jobs(), self.workers, self.workers * max(self.prefetch, 1), self.timeout)
        else:
            made = (self._make(job) for job in jobs())  # not map, which a StopIteration in a sample would end
            if self.prefetch:
                made = ahead(made, self.prefetch, self.timeout)
        for number, arrays in enumerate(made):
            self._position, given[number] = given[number], 0
            yield arrays

    def _places(self, position: int) -> Iterator[tuple[int, Any, int]]:
        """Where each batch begins, its indices, and where the next begins. The order is drawn now."""
        if self.batch_sampler is not None:
            batches = islice(iter(self.batch_sampler), position, None)
            return ((k, np.asarray(indices, np.int64), k + 1) for k, indices in enumerate(batches, position))
        if self.sampler is not None and not isinstance(self.sampler, Sampler):
            return self._cut(islice(iter(self.sampler), position, None), position)
        if self.sampler is not None:
            order = self.sampler.order()
        else:
            n = len(self.dataset)  # type: ignore[arg-type]
            order = self._source().permutation(n).numpy() if self.shuffle else np.arange(n)
        last = len(order) - len(order) % self.batch_size if self.drop_last else len(order)
        starts = range(position, last, self.batch_size)
        starts = starts[: len(starts) - self._single_joins(last - position)]
        return ((i, order[i:end], end) for i, end in zip(starts, [*starts[1:], last], strict=False))

    def _single_joins(self, samples: int) -> bool:
        """Whether of so many the last would be a batch of its own and goes into the batch before."""
        return self.joins_single and samples > self.batch_size > 1 and samples % self.batch_size == 1

    def _cut(self, indices: Iterator[int], position: int) -> Iterator[tuple[int, Any, int]]:
        """The batches of indices that come one by one."""
        while batch := [*islice(indices, self.batch_size)]:
            if len(batch) < self.batch_size and self.drop_last:
                return
            start, position = position, position + len(batch)
            yield start, np.asarray(batch, np.int64), position

    def _streamed(self, resume: Any) -> Iterator[tuple[Any, ...]]:
        """The batches of the shards of an IterableDataset in turn."""
        parts = max(self.workers, 1)
        self._position = list(resume[0]) if resume else [0] * parts
        first = self._turn = resume[1] if resume else 0
        key = self._key() if self._keyed else None
        shards = [Shard(k, parts, self._epoch, self._position[k], key, True) for k in range(parts)]
        ended: set[int] = set()
        made: Any = self._turns(shards, first)
        try:
            for k in (n % parts for n in count(first)):
                arrays = next(made)
                if arrays is None:
                    ended.add(k)
                    if len(ended) == parts:
                        return
                else:
                    self._position[k] += 1
                    self._turn = (k + 1) % parts
                    yield arrays
        finally:
            made.close()

    def _turns(self, shards: list[Shard], first: int) -> Iterator[Any]:
        """The next batch of each shard in turn, None from those that have ended, without end."""
        parts = len(shards)
        order = [shards[(first + k) % parts] for k in range(parts)]  # worker k has the shard of its turn
        if self.workers and self.worker == "process":
            later = (order[k % parts]._replace(first=False) for k in count())
            yield from self._by_processes(chain(order, later))
            return
        streams: list[Any] = [cast(Streamed, self._make).batches(shard) for shard in order]
        if self.workers or self.prefetch:
            streams = [ahead(s, max(self.prefetch, 1), self.timeout) for s in streams]
        try:
            while True:
                for stream in streams:
                    yield next(stream, None)
        finally:
            for stream in streams:
                stream.close()

    def _by_processes(self, jobs: Iterable[Any]) -> Iterator[Any]:
        """What the workers make of the jobs. An epoch beside another that is not finished has workers of its own."""
        shared = self.persistent_workers and not self._pool_busy
        pool = self._pool if shared else None
        if pool is None or not pool.alive:
            pool = ProcessPool(self._make, self.workers, self.timeout)
        if shared:
            self._pool, self._pool_busy = pool, True
        try:
            yield from pool.mapped(jobs, max(self.prefetch, 1))
        finally:
            if shared:
                self._pool_busy = False
            else:
                pool.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "backend": self.backend.device, "_pool": None, "_pool_busy": False}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(state, backend=backends.get(state["backend"]))

    def close(self) -> None:
        """End the worker processes; the next epoch would start new ones."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def state_dict(self) -> dict[str, Any]:
        """Where the loader stands, as JSON can hold it: inside an epoch too, after the batches that were taken."""
        position = list(self._position) if self.streams else self._position
        return self._state(position, self._turn, self._start, self._sampler_start)

    def rest_state(self) -> dict[str, Any]:
        """The ``state_dict`` as it is if the rest of an epoch under way is left: the next ``for`` begins anew."""
        return self._state(self._beginning(), 0, None, None)

    def _state(
        self, position: Any, turn: int, start: tuple[int, int] | None, sampler_start: dict[str, Any] | None
    ) -> dict[str, Any]:
        """The state of an epoch at ``position``, which began with these states; None: with those of now."""
        state: dict[str, Any] = {"generator": None, "position": position, "samples": self._samples()}
        if self.streams:
            state |= {"turn": turn, "epoch": self._epoch}
        if self._draws:
            state["generator"] = list(start or self._source().get_state())
        sampler = sampler_start or state_of(self._order_giver())
        return state if sampler is None else state | {"sampler": sampler}

    def _beginning(self) -> Any:
        """The position of an epoch that begins."""
        return [0] * max(self.workers, 1) if self.streams else 0

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a ``state_dict``: the next ``for`` gives the rest of that epoch, then epochs follow as they would
        have. The batch size may differ, but not that of an IterableDataset, which is read again up to there. Errors:
        DataError if the data set has another length, or the loader another kind of order or, for an IterableDataset,
        another number of workers."""
        if state["samples"] != self._samples() or (state["generator"] is not None) != self._draws:
            raise DataError(
                f"[DataLoader] the state is of {state['samples']} samples, "
                f"{'shuffled' if state['generator'] is not None else 'in order'}; this loader has "
                f"{self._samples()}, {'shuffled' if self._draws else 'in order'}"
            )
        if self.streams and len(state["position"]) != len(self._position):
            raise DataError(
                f"[DataLoader] the state is of {len(state['position'])} workers, this loader has {len(self._position)}"
            )
        if state["generator"] is not None:
            seed, counter = state["generator"]
            self._source().set_state((seed, counter))
        if "sampler" in state:
            self._order_giver().load_state_dict(state["sampler"])
        self._start, self._sampler_start = None, None
        self._position = self._resume = state["position"]
        if self.streams:
            self._position, self._epoch = list(state["position"]), state["epoch"]
            self._turn, self._resume = state["turn"], (state["position"], state["turn"])

    @property
    def _draws(self) -> bool:
        """Whether an epoch needs random numbers."""
        return self.shuffle or self._keyed or bool(getattr(self.dataset, "draws", False))

    def _source(self) -> Generator:
        """The generator of the orders. It is apart from the default one: other draws do not change the order."""
        if self._generator is None:
            self._generator = default_generator().fork()
        return self._generator

    def _key(self) -> int:
        """A number that stands for this epoch in the random numbers of its batches; it does not change the orders."""
        seed, counter = self._start or self._source().get_state()
        aside = Generator()
        aside.set_state((seed ^ MIX, counter))
        if not self.shuffle:
            self._source().integers(0, 2, (1,))  # the order has not moved it on
        high, low = aside.integers(0, 2**31, (2,)).tolist()
        return int(high << 31 | low)

    def _tensors(self, parts: Any) -> tuple[Any, ...]:
        """The arrays of a batch as tensors on the device; a GPU is sent them while it works on the batch before."""
        gpu: Any = getattr(self.backend, "gpu", None)
        sent: dict[int, Any] = {}
        if gpu is not None:
            arrays = [part for part in flat(parts) if not isinstance(part, Tensor)]
            checked = [from_array(np.asarray(a), backends.get("cpu")).array for a in arrays]
            sent = {id(a): y for a, y in zip(arrays, staging(gpu).put(checked), strict=True)}
        return tuple(self._tensor(part, sent) for part in parts)

    def _tensor(self, part: Any, sent: Mapping[int, Any]) -> Any:
        if isinstance(part, dict):  # a part that has parts
            return {k: self._tensor(v, sent) for k, v in part.items()}
        if isinstance(part, tuple):
            return tuple(self._tensor(v, sent) for v in part)
        if isinstance(part, Tensor):
            return part if part.device == self.backend.device else part.to(self.backend.device)
        if sent:
            return wrap(sent[id(part)], self.backend, Storage())
        return from_array(np.asarray(part), self.backend)

    def _samples(self) -> int | None:
        """How many samples the data set has, if that is known."""
        return len(self.dataset) if hasattr(self.dataset, "__len__") else None

    def _order_giver(self) -> Any:
        return self.sampler if self.batch_sampler is None else self.batch_sampler

    def _check_order(self) -> None:
        """Raise ArgumentError if what was given about the order does not go together."""
        if self.batch_sampler is not None:
            given = {
                "batch_size": self.batch_size != BATCH_SIZE,
                "shuffle": self.shuffle,
                "sampler": self.sampler is not None,
                "drop_last": self.drop_last,
            }
            if any(given.values()):
                names = ", ".join(name for name, is_given in given.items() if is_given)
                raise ArgumentError(f"[DataLoader] batch_sampler makes the batches: leave out {names}")
        if self.sampler is not None and self.shuffle:
            raise ArgumentError("[DataLoader] sampler gives the order: leave out shuffle")
        if self.streams and (self.shuffle or self._order_giver() is not None):
            raise ArgumentError(
                "[DataLoader] an iterable data set has its own order: leave out shuffle and samplers; "
                "dataset.shuffle(buffer) mixes it"
            )


def flat(part: Any) -> Iterator[Any]:
    """The arrays and tensors of a batch, whose parts may have parts."""
    if isinstance(part, (tuple, dict)):
        for one in part.values() if isinstance(part, dict) else part:
            yield from flat(one)
    else:
        yield part


def is_stream(dataset: Any) -> bool:
    """Whether a data set is gone through, and has no indices; one that has no length has none, as those of PyTorch."""
    return hasattr(dataset, "__iter__") and not (hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__"))


def stream(dataset: Any) -> IterableDataset:
    """A data set that is gone through, with shards and epochs."""
    return dataset if isinstance(dataset, IterableDataset) else IterableDataset(dataset.__iter__)


def check_dataset(dataset: Any, streams: bool) -> None:
    """Raise ArgumentTypeError for what is no data set."""
    good = streams or (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__"))
    if not good or isinstance(dataset, (tuple, dict, set, str)) or hasattr(dataset, "__next__"):
        kind = type(dataset).__name__
        raise ArgumentTypeError(
            f"[DataLoader] a {kind} is no data set: wrap arrays as ArrayDataset(x, y)"
            + (", and a generator function as IterableDataset(function)" if hasattr(dataset, "__next__") else "")
        )
