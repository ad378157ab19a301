"""Work done ahead: one thread makes the next items while the program uses the present one."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from queue import Empty, Queue
from typing import Any, TypeVar

T = TypeVar("T")


def ahead(items: Iterable[T], depth: int) -> Iterator[T]:
    """The same items, made by a thread up to ``depth`` ahead.

    An error in the thread is raised here, at its place among the items, with the traceback of the thread. Whoever
    leaves early (break, an error, a dropped iterator) ends the thread and waits for the item it is at.

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
            kind, value = queue.get()
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value
    finally:
        left.set()
        with suppress(Empty):
            while True:
                queue.get_nowait()  # room for the one item the thread may be waiting to hand over
        if thread is not threading.current_thread():  # garbage collection may end this generator anywhere
            thread.join()
