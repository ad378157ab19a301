"""Work done ahead by threads, while the program uses what is there already."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from queue import Empty, Queue, SimpleQueue
from typing import Any, TypeVar

from ..domain.errors import WorkerError

T = TypeVar("T")
J = TypeVar("J")


def ahead(items: Iterable[T], depth: int, timeout: float | None = None) -> Iterator[T]:
    """The same items, made by a thread up to ``depth`` ahead.

    An error in the thread is raised here, at its place among the items, with the traceback of the thread. Whoever
    leaves early (break, an error, a dropped iterator) ends the thread and waits for the item it is at, no longer than
    ``timeout`` seconds. Errors: WorkerError if an item takes more than these.

    >>> list(ahead((n * n for n in range(4)), depth=2))
    [0, 1, 4, 9]
    """
    queue: Queue[tuple[str, Any]] = Queue(depth)
    left = threading.Event()

    def work() -> None:
        try:
            for item in items:
                queue.put(("item", item))
                if left.is_set():
                    return
            queue.put(("end", None))
        except BaseException as error:
            queue.put(("error", error))

    thread = threading.Thread(target=work, daemon=True, name="chainrule-prefetch")
    thread.start()
    try:
        while True:
            try:
                kind, value = queue.get(timeout=timeout)
            except Empty:
                thread = threading.current_thread()  # it is stuck: not waited for
                raise too_long(timeout) from None
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value
    except KeyboardInterrupt:
        thread = threading.current_thread()  # it may take long: not waited for
        raise
    finally:
        left.set()
        with suppress(Empty):
            while True:
                queue.get_nowait()  # room for the one item the thread may be waiting to hand over
        if thread is not threading.current_thread():  # garbage collection may end this generator anywhere
            thread.join(timeout)


def mapped(
    make: Callable[[J], T], jobs: Iterable[J], workers: int, depth: int, timeout: float | None = None
) -> Iterator[T]:
    """``make`` of each job, in the order of the jobs, made by ``workers`` threads with up to ``depth`` jobs under way.

    Errors, leaving early and ``timeout`` as in ``ahead``.

    >>> list(mapped(lambda n: n * n, range(4), workers=2, depth=4))
    [0, 1, 4, 9]
    """
    from concurrent.futures import Future

    waiting: SimpleQueue[tuple[Future[T], J] | None] = SimpleQueue()
    pending: deque[Future[T]] = deque()
    left = threading.Event()
    jobs = iter(jobs)

    def work() -> None:
        while (entry := waiting.get()) is not None:
            future, job = entry
            if left.is_set():
                continue
            try:
                future.set_result(make(job))
            except BaseException as error:
                future.set_exception(error)

    def feed(count: int) -> None:
        for job in islice(jobs, count):
            pending.append(Future())
            waiting.put((pending[-1], job))

    threads = [threading.Thread(target=work, daemon=True, name="chainrule-worker") for _ in range(workers)]
    for thread in threads:
        thread.start()
    try:
        feed(depth)
        while pending:
            future = pending.popleft()
            try:
                item = future.result(timeout)
            except TimeoutError:
                if future.done():  # its own error
                    raise
                threads = []
                raise too_long(timeout) from None
            feed(1)
            yield item
    except KeyboardInterrupt:
        threads = []  # they may take long: not waited for
        raise
    finally:
        left.set()
        for _ in range(workers):
            waiting.put(None)
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(timeout)


def too_long(timeout: float | None, who: str = "a worker") -> WorkerError:
    """The error of a worker that does not answer."""
    return WorkerError(
        f"[DataLoader] {who} gave no batch within {timeout:g} s: a sample takes too long or does not end; raise timeout"
    )
