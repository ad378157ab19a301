"""Worker processes: they make batches beside the program and hand them over in shared memory.

Each worker has one pipe and nothing else in common with the others, so that one that dies leaves no lock behind. A
program that dies closes its ends of the pipes, and the workers end.
"""

from __future__ import annotations

import os
import pickle
import random
import secrets
import signal
import time
import traceback
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any, NoReturn

import numpy as np

from ..domain.errors import ArgumentError, WorkerError
from ..random import manual_seed
from .prefetch import too_long

SMALL = 1 << 12  # bytes that go through the pipe; more go through shared memory
ALIGNMENT = 64
SHARED = "/dev/shm"  # where Linux has shared memory
START = 120.0  # seconds that a worker has to import what it needs


class ProcessPool:
    """``workers`` processes with a copy of ``make`` each; job k goes to worker k modulo their number.

    ``make`` travels by pickle, its arrays are shared by all workers. Errors: ArgumentError if it cannot be pickled,
    WorkerError for a worker that died or, with ``timeout``, gave nothing for so many seconds.
    """

    def __init__(self, make: Callable[[Any], Any], workers: int, timeout: float | None = None) -> None:
        from multiprocessing import get_all_start_methods, get_context

        self.workers, self.timeout = workers, timeout
        context: Any = get_context("forkserver" if "forkserver" in get_all_start_methods() else "spawn")
        context.set_forkserver_preload(["__main__", __name__])  # imported once, not in each worker
        try:
            packed, memory = packed_once(make)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise unsendable(error) from error
        self._memory = Memory()
        self._pending = [0] * workers  # answers to come from each
        self._processes, self._pipes = [], []
        try:
            for worker in range(workers):
                mine, its = context.Pipe()
                process = context.Process(
                    target=serve, args=(its, packed, self._memory.prefix, worker), daemon=True, name="chainrule-worker"
                )
                process.start()
                its.close()
                self._processes.append(process)
                self._pipes.append(mine)
            self.close = weakref.finalize(self, end, self._processes, self._pipes, self._memory)
            for worker in range(workers):
                self._pending[worker] += 1
                self._answer(worker, None, START)  # it is there
        except BaseException as error:
            end(self._processes, self._pipes, self._memory)
            if isinstance(error, (AttributeError, ImportError)):
                raise unsendable(error) from error
            raise
        finally:
            if memory is not None:  # all have it open, or are gone
                memory.close()
                memory.unlink()

    @property
    def alive(self) -> bool:
        """Whether it can be used."""
        return self.close.alive

    def mapped(self, jobs: Iterable[Any], depth: int) -> Iterator[Any]:
        """What becomes of each job, in their order, with up to ``depth`` under way at each worker."""
        for worker in range(self.workers):  # what is left from an epoch that was not finished
            while self._pending[worker]:
                self._answer(worker, None, self.timeout, errors=False)
        numbered, under_way = enumerate(jobs), deque[Any]()

        def feed(count: int) -> None:
            for number, job in islice(numbered, count):
                worker = number % self.workers
                under_way.append((worker, job))
                self._ask(worker, number // self.workers % depth, job)

        try:
            feed(depth * self.workers)
            while under_way:
                worker, job = under_way.popleft()
                found = self._answer(worker, job, self.timeout)
                feed(1)
                yield found
        except KeyboardInterrupt:  # it may have come in the middle of an answer
            self.close()
            raise

    def _ask(self, worker: int, slot: int, job: Any) -> None:
        self._pending[worker] += 1
        self._memory.renewals.setdefault((worker, slot), 0)
        try:
            self._pipes[worker].send((slot, job))
        except (BrokenPipeError, ConnectionResetError):
            self._died(worker, job)

    def _answer(self, worker: int, job: Any, timeout: float | None, errors: bool = True) -> Any:
        """The next answer of a worker, with its error raised."""
        from multiprocessing.connection import wait

        process, pipe = self._processes[worker], self._pipes[worker]
        if not wait([pipe, process.sentinel], timeout):
            self.close()
            raise too_long(timeout, f"worker {worker} (process {process.pid})")
        try:
            if not pipe.poll():
                raise EOFError
            kind, content = pipe.recv()
        except (EOFError, ConnectionResetError):
            self._died(worker, job)
        self._pending[worker] -= 1
        if kind == "error" and errors:
            raise self._error(worker, *content)
        # one that nobody waits for too: it may be in a new piece of memory
        return self._memory.unpacked(worker, content) if kind == "batch" else None

    def _died(self, worker: int, job: Any) -> NoReturn:
        process = self._processes[worker]
        process.join(5)
        code, pid = process.exitcode, process.pid
        self.close()
        how = (
            f"was killed by signal {-code} ({signal.Signals(-code).name})"
            if code and code < 0
            else f"ended with {code}"
        )
        at = ""
        if hasattr(job, "indices"):
            listed = ", ".join(map(str, list(job.indices)[:8])) + (", ..." if len(job.indices) > 8 else "")
            at = f" at the batch of samples {listed}"
        hint = (
            "memory may have run out"
            if code in (-signal.SIGKILL, -signal.SIGBUS)
            else "a script that uses processes begins with if __name__ == '__main__':"
            if job is None
            else "what it printed tells more"
        )
        raise WorkerError(f"[DataLoader] worker {worker} (process {pid}) {how}{at}: {hint}") from None

    def _error(self, worker: int, content: bytes | None, text: str, notes: list[str]) -> BaseException:
        """The error of a worker, as it was raised there where that can be had."""
        error: BaseException | None = None
        if content is not None:
            try:
                error = pickle.loads(content)  # noqa: S301  # from a process of ours
            except Exception:
                error = None
        if error is None:
            said = [line for line in text.strip().splitlines() if line not in notes]
            error = WorkerError(f"[DataLoader] {said[-1]}")
        for note in notes:
            if note not in getattr(error, "__notes__", []):
                error.add_note(note)
        error.add_note(f"[DataLoader] in worker {worker} (process {self._processes[worker].pid}):\n{text.rstrip()}")
        return error


def unsendable(error: BaseException) -> ArgumentError:
    """The error of a data set or a function that does not reach a worker."""
    return ArgumentError(
        f'[DataLoader] with worker="process" the data set, collate_fn and transform are sent by pickle: {error}. Use '
        'functions and classes of a file that can be imported, not lambdas or those of a notebook; or worker="thread"'
    )


def end(processes: list[Any], pipes: list[Any], memory: Memory) -> None:
    """End the workers: by closing their pipes, and those that do not listen by a signal."""
    for pipe in pipes:
        pipe.close()
    limit = time.monotonic() + 0.5
    for process in processes:
        process.join(max(0.0, limit - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join(5)
    memory.close()


class Memory:
    """The shared memory that workers write batches into, as the program sees it: one piece for each worker and slot.

    A worker makes a larger piece when it needs one, under the next name of the slot. So the program knows what a worker
    may have made before it died.
    """

    def __init__(self) -> None:
        self.prefix = f"cr_{secrets.token_hex(4)}"
        self.pieces: dict[tuple[int, int], Any] = {}
        self.renewals: dict[tuple[int, int], int] = {}  # how many pieces each slot in use has had

    def unpacked(self, worker: int, content: tuple[Any, ...]) -> Any:
        """The batch of an answer; its arrays are copies."""
        from multiprocessing.shared_memory import SharedMemory

        data, spans, slot, fresh = content
        key = worker, slot
        if fresh:
            if key in self.pieces:
                self.pieces.pop(key).close()
            piece = self.pieces[key] = SharedMemory(name_of(self.prefix, worker, slot, self.renewals[key]))
            self.renewals[key] += 1
            piece.unlink()  # both have it open: it goes when they are gone
        buffers: list[Any] = []
        for start, size in spans:
            buffers.append(np.empty(size, np.uint8))
            buffers[-1][:] = np.frombuffer(self.pieces[key].buf, np.uint8, size, start)
        return pickle.loads(buffers.pop(0) if data is None else data, buffers=buffers)  # noqa: S301

    def close(self) -> None:
        """Let go of it, after the workers have ended."""
        while self.pieces:
            self.pieces.popitem()[1].close()
        while self.renewals:
            (worker, slot), number = self.renewals.popitem()
            with suppress(FileNotFoundError):
                self._forget(name_of(self.prefix, worker, slot, number))

    def _forget(self, name: str) -> None:
        """Remove a piece that was made and never seen."""
        from multiprocessing.shared_memory import SharedMemory

        piece = SharedMemory(name)
        piece.close()
        piece.unlink()


def name_of(prefix: str, worker: int, slot: int, number: int) -> str:
    """The name of a piece of shared memory."""
    return f"{prefix}_{worker}_{slot}_{number}"


def packed(value: Any) -> tuple[bytes | None, list[Any]]:
    """``value`` pickled, its arrays apart; large pickles are the first of the buffers."""
    buffers: list[pickle.PickleBuffer] = []

    def apart(buffer: pickle.PickleBuffer) -> bool:
        if buffer.raw().nbytes <= SMALL:
            return True
        buffers.append(buffer)
        return False

    data = pickle.dumps(value, protocol=5, buffer_callback=apart)
    views = [b.raw() for b in buffers]
    return (data, views) if len(data) <= SMALL else (None, [memoryview(data), *views])


def layout(views: list[Any]) -> tuple[list[tuple[int, int]], int]:
    """Where each buffer begins and its size, and the size of all."""
    spans, total = [], 0
    for view in views:
        spans.append((total, view.nbytes))
        total += -(-view.nbytes // ALIGNMENT) * ALIGNMENT
    return spans, total


def new_memory(size: int, name: str | None = None) -> Any:
    """A piece of shared memory. Errors: WorkerError if there is no room for it, where the system would kill who writes."""
    from multiprocessing.shared_memory import SharedMemory

    if os.path.isdir(SHARED):
        found = os.statvfs(SHARED)
        free = found.f_bavail * found.f_frsize
        if size > free:
            raise WorkerError(
                f"[DataLoader] {size / 1e6:.0f} MB of shared memory are needed, but {SHARED} has {free / 1e6:.0f} MB left: "
                'enlarge it (docker run --shm-size), use fewer workers or worker="thread"'
            )
    return SharedMemory(name, create=True, size=size)


def packed_once(value: Any) -> tuple[Any, Any]:
    """What a worker needs to have ``value``, and the shared memory its arrays are in, if any."""
    data, views = packed(value)
    spans, total = layout(views)
    if not total:
        return (data, spans, None), None
    memory = new_memory(total)
    for (start, size), view in zip(spans, views, strict=True):
        memory.buf[start : start + size] = view
    return (data, spans, memory.name), memory


def serve(pipe: Any, content: tuple[Any, ...], prefix: str, worker: int) -> None:
    """What a worker process does until its pipe is closed."""
    from multiprocessing.shared_memory import SharedMemory

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the program tells when to end
    pieces: dict[int, Any] = {}
    renewals: dict[int, int] = {}
    try:
        data, spans, name = content
        whole: Any = SharedMemory(name) if name else None
        views = [whole.buf[start : start + size].toreadonly() for start, size in spans] if whole else []
        make = pickle.loads(views.pop(0) if data is None else data, buffers=views)  # noqa: S301
        pipe.send(("ready", None))
    except BaseException as error:
        pipe.send(("error", described(error)))
        return
    while True:
        try:
            slot, job = pipe.recv()
        except (EOFError, ConnectionResetError):
            break
        answer: tuple[str, Any]
        try:
            seed_all(job)
            data, views = packed(make(job))
            spans, total = layout(views)
            fresh = total > (pieces[slot].size if slot in pieces else 0)
            if fresh:
                if slot in pieces:
                    pieces.pop(slot).close()
                number = renewals.get(slot, 0)
                pieces[slot] = new_memory(total, name_of(prefix, worker, slot, number))
                renewals[slot] = number + 1
            for (start, size), view in zip(spans, views, strict=True):
                pieces[slot].buf[start : start + size] = view
            answer = "batch", (data, spans, slot, fresh)
        except BaseException as error:
            answer = "error", described(error)
        try:
            pipe.send(answer)
        except (BrokenPipeError, ConnectionResetError):
            break
    for piece in pieces.values():
        piece.close()


def described(error: BaseException) -> tuple[bytes | None, str, list[str]]:
    """An error as it can be sent: pickled if that is possible, its traceback, its notes."""
    text = "".join(traceback.format_exception(error))
    notes = list(getattr(error, "__notes__", []))
    error.__traceback__ = None
    try:
        content = pickle.dumps(error)
        pickle.loads(content)  # noqa: S301  # some can be written and not read
    except Exception:
        return None, text, notes
    return content, text, notes


def seed_all(job: Any) -> None:
    """Seed the default generators of a worker for one batch, so that it does not matter which worker makes it."""
    key = getattr(job, "key", None)
    if key is None or not getattr(job, "first", True):
        return
    place = job.start if hasattr(job, "start") else job.part
    seed = (key ^ (place + 1) * 0x9E3779B97F4A7C15) & (1 << 63) - 1
    manual_seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)
    random.seed(seed)
