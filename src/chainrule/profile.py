"""Where the time of a program goes: every kernel call of a thread, counted and timed."""

from __future__ import annotations

from collections import Counter
from time import perf_counter
from typing import Any

from .launch import fallbacks
from .modes import listen


class profile:
    """Inside ``with profile() as p:`` the kernel calls of this thread are counted and timed; ``print(p)`` shows a table.

    The time of a kernel runs from the end of the one before, so it has the Python between them in it, and all times sum
    to the whole. ``calls`` and ``seconds`` are by kernel; ``fallbacks`` counts the calls that a native kernel declined,
    which ran on the reference or as the op's body.

    >>> import chainrule as cr
    >>> x = cr.ones(3, requires_grad=True)
    >>> with profile() as p:
    ...     (x * 2.0).sum().backward()
    >>> p.calls["mul"], p.calls["sum"], sum(p.seconds.values()) <= p.total
    (2, 1, True)
    """

    forbids_reading = False

    def __enter__(self) -> profile:
        self.calls: Counter[str] = Counter()
        self.seconds: Counter[str] = Counter()
        self.fallbacks: Counter[tuple[str, str]] = Counter()
        self._before = fallbacks.copy()
        self._listen = listen(self)
        self._listen.__enter__()
        self._start = self._last = perf_counter()
        return self

    def __exit__(self, *args: object) -> None:
        self.total = perf_counter() - self._start
        self._listen.__exit__(*args)
        self.fallbacks = fallbacks - self._before

    def launched(self, backend: Any, name: str, inputs: Any, params: Any, outputs: Any) -> None:
        """One kernel call is over."""
        now = perf_counter()
        self.calls[name] += 1
        self.seconds[name] += now - self._last  # type: ignore[assignment]
        self._last = now

    def __repr__(self) -> str:
        lines = [f"{'kernel':24} {'calls':>8} {'ms':>10} {'share':>6}"]
        whole = sum(self.seconds.values()) or 1.0
        for name, seconds in self.seconds.most_common():
            lines.append(f"{name:24} {self.calls[name]:8} {seconds * 1e3:10.3f} {seconds / whole:6.0%}")
        lines += [f"declined by {backend}: {name} × {n}" for (backend, name), n in self.fallbacks.most_common()]
        return "\n".join(lines)
