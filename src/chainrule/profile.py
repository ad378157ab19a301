"""Where the time of a program goes: every kernel call of a thread, counted and timed."""

from __future__ import annotations

import json
import math
import os
import sys
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable
from time import perf_counter
from typing import Any

from .autograd import walk
from .domain.errors import ArgumentError
from .launch import fallbacks
from .modes import listen
from .tape import Leaf
from .tensor import Tensor
from .whereabouts import Whereabouts

try:
    from ._native import memory_stats
except ImportError:  # the reference has no pool of its own

    def memory_stats() -> dict[str, int]:
        """Nothing is counted."""
        return {}


class profile:
    """Inside ``with profile() as p:`` the kernel calls of this thread are counted and timed; ``print(p)`` shows a table.

    The time of a kernel runs from the end of the one before, so it has the Python between them in it, and all times sum
    to the whole, but for the time of the profiler itself. By kernel: ``calls``, ``seconds``, ``bytes`` (of arguments and
    results, views aside), ``flops`` (of products: matmul, linear, convolutions, attention, recurrent layers; 2 for a
    multiply-add). ``fallbacks`` counts the calls that a native kernel declined, which ran on the reference or as the op's
    body. ``allocations`` counts by kernel the arrays that were asked of the native pool, ``fresh`` those that it had to ask
    of the system, ``peak`` is the most bytes of arrays at the end of a call.

    With a ``model``, ``layers`` has the seconds of each layer's forward by its path, without those of layers inside it, and
    ``backward`` those of the gradients of what it did; "" is the model itself, None what no layer did, such as losses and
    updates. With ``trace`` each call is kept: ``export_chrome_trace(path)`` writes them for Perfetto.

    >>> import chainrule as cr
    >>> x = cr.ones(3, requires_grad=True)
    >>> with profile() as p:
    ...     (x * 2.0).sum().backward()
    >>> p.calls["mul"], p.calls["sum"], sum(p.seconds.values()) <= p.total
    (2, 1, True)
    >>> p.bytes["mul"], p.bytes["sum"]
    (48, 16)
    """

    forbids_reading = False

    def __init__(self, model: Any = None, *, trace: bool = False) -> None:
        self.model, self.trace = model, trace

    def __enter__(self) -> profile:
        self.calls: Counter[str] = Counter()
        self.seconds: dict[str, float] = {}
        self.bytes: Counter[str] = Counter()
        self.flops: Counter[str] = Counter()
        self.allocations: Counter[str] = Counter()
        self.layers: dict[str | None, float] = {}
        self.backward: dict[str | None, float] = {}
        self.fallbacks: Counter[tuple[str, str]] = Counter()
        self._events: list[dict[str, Any]] = []
        self._before = fallbacks.copy()
        self._where = Spans(self)
        self._listen = listen(self)
        self._listen.__enter__()
        self._memory = memory_stats()
        self.peak, self.fresh = self._memory.get("in_use", 0), 0
        self._start = self._last = perf_counter()
        return self

    def __exit__(self, *args: object) -> None:
        self.total = perf_counter() - self._start
        self._listen.__exit__(*args)
        self._where.close()
        self.fallbacks = fallbacks - self._before

    def launched(self, backend: Any, name: str, inputs: Any, params: Any, outputs: Any) -> None:
        """One kernel call is over."""
        now = perf_counter()
        taken, begin = now - self._last, self._last - self._start
        made = tensors(outputs)
        given = tensors(inputs)
        moved = 0 if any(y.storage is x.storage for y in made[:1] for x in given) else nbytes(given) + nbytes(made)
        self.calls[name] += 1
        self.seconds[name] = self.seconds.get(name, 0.0) + taken
        self.bytes[name] += moved
        if name in FLOPS:
            self.flops[name] += FLOPS[name](given, made, params)
        self._count(name)
        node = walked() if self.model is not None else None
        path = self._where.path() if node is None else self._where.maker(node)
        if self.model is not None:
            layers = self.layers if node is None else self.backward
            layers[path] = layers.get(path, 0.0) + taken
        if self.trace:
            shapes = ", ".join(f"{x.dtype}{list(x.shape)}" for x in given)
            more = {"inputs": shapes, "bytes": moved, "layer": path or "", "backward": node is not None}
            self._note(name, "kernel", begin, taken, more)
        self._last = perf_counter()  # what was written down here is nobody's time

    def _count(self, name: str) -> None:
        """What the call asked of the memory pool."""
        before, now = self._memory, memory_stats()
        if now:
            asked = now["allocations"] - before["allocations"]
            self.allocations[name] += asked
            self.fresh += asked - (now["hits"] - before["hits"])
            self.peak, self._memory = max(self.peak, now["in_use"]), now

    def _note(self, name: str, kind: str, begin: float, taken: float, more: dict[str, Any]) -> None:
        self._events.append(
            {
                "name": name, "cat": kind, "ph": "X", "pid": 0, "tid": kind, "ts": begin * 1e6, "dur": taken * 1e6,
                "args": more,
            }
        )  # fmt: skip

    def export_chrome_trace(self, path: str | os.PathLike[str]) -> None:
        """Write what was kept as JSON, to be opened in Perfetto or in chrome://tracing: kernels, and layers above them.

        Errors: ArgumentError without ``trace=True``.
        """
        if not self.trace:
            raise ArgumentError("[profile] no calls were kept: write profile(trace=True)")
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"traceEvents": self._events, "displayTimeUnit": "ms"}, file)

    def __repr__(self) -> str:
        lines = [f"{'kernel':24} {'calls':>8} {'ms':>10} {'share':>6} {'MiB':>9} {'arrays':>7} {'GFLOP/s':>8}"]
        whole = sum(self.seconds.values()) or 1.0
        for name, seconds in sorted(self.seconds.items(), key=lambda item: -item[1]):
            rate = f"{self.flops[name] / seconds / 1e9:8.1f}" if self.flops[name] else ""
            moved = f"{self.bytes[name] / 2**20:9.2f}"
            taken = f"{self.calls[name]:8} {seconds * 1e3:10.3f} {seconds / whole:6.0%}"
            lines.append(f"{name:24} {taken} {moved} {self.allocations[name]:7} {rate}".rstrip())
        lines.append(f"memory: {self.peak / 2**20:.2f} MiB at most, {self.fresh} arrays from the system")
        if self.layers or self.backward:
            lines += ["", f"{'layer':24} {'forward ms':>11} {'backward ms':>12} {'share':>6}"]
            for path in sorted({*self.layers, *self.backward}, key=lambda path: -self._both(path)):
                shown = "(not in a layer)" if path is None else path or "(the model itself)"
                there, back = (1e3 * part.get(path, 0.0) for part in (self.layers, self.backward))
                lines.append(f"{shown:24} {there:11.3f} {back:12.3f} {self._both(path) / whole:6.0%}")
        lines += [f"declined by {backend}: {name} × {n}" for (backend, name), n in self.fallbacks.most_common()]
        return "\n".join(lines)

    def _both(self, path: str | None) -> float:
        return self.layers.get(path, 0.0) + self.backward.get(path, 0.0)


class Spans(Whereabouts):
    """Which layer is at work, and when each began.

    Nodes of the tape are numbered as they are made: ``numbers`` has the first that a layer could make after each change
    of layers, ``makers`` which layer that was.
    """

    def __init__(self, owner: profile) -> None:
        super().__init__(owner.model)
        self.owner, self.begun = owner, list[float]()
        self.numbers, self.makers = list[int](), list[str | None]()

    def enter(self, module: Any, inputs: Any) -> None:
        """A layer begins: what was before is not its time."""
        super().enter(module, inputs)
        self.changed()
        self.begun = [*self.begun[: len(self.stack) - 1], perf_counter()]

    def leave(self, module: Any, inputs: Any, output: Any) -> None:
        """A layer ends."""
        depth = len(self.stack)
        super().leave(module, inputs, output)
        self.changed()
        if self.owner.trace and len(self.stack) == depth - 1:
            begin = self.begun[-1]
            name = f"{self.paths[module]} {type(module).__name__}".strip()
            self.owner._note(name, "layer", begin - self.owner._start, perf_counter() - begin, {})
        self.begun = self.begun[: len(self.stack)]

    def changed(self) -> None:
        """Nodes from now on are made by another layer."""
        self.numbers.append(Leaf().number)
        self.makers.append(self.path())

    def maker(self, node: Any) -> str | None:
        """The path of the layer that made a node, None if none did."""
        at = bisect_right(self.numbers, node.number)
        return self.makers[at - 1] if at else None


def walked() -> Any:
    """The node whose gradient is being computed, if a backward is under way."""
    frame: Any = sys._getframe(1)
    while frame is not None and frame.f_code is not walk.__code__:
        frame = frame.f_back
    return None if frame is None else frame.f_locals.get("node")


def tensors(values: Any) -> list[Tensor]:
    """The tensors in arguments or results, tuples among them opened."""
    if isinstance(values, Tensor):
        return [values]
    return [x for v in values for x in tensors(v)] if isinstance(values, (tuple, list)) else []


def nbytes(given: list[Tensor]) -> int:
    """The bytes of their elements."""
    return sum(x.size * max(x.dtype.bits // 8, 1) for x in given)


def products(inner: Callable[..., int]) -> Callable[..., int]:
    """Operations of a product, whose every result is a sum of ``inner(inputs)`` products."""
    return lambda given, made, params: 2 * made[0].size * inner(given)


def of_gradient(inner: Callable[..., int]) -> Callable[..., int]:
    """Operations of its gradient: as many as forward for each of the two factors that needs one."""
    return lambda given, made, params: 2 * given[0].size * inner(given[1:]) * sum(params["needs"][:2])


def last(given: list[Tensor]) -> int:
    """The numbers in a row of the first argument."""
    return given[0].shape[-1]


def window(given: list[Tensor]) -> int:
    """The numbers in a filter."""
    return math.prod(given[1].shape[1:])


def attended(q: Tensor, k: Tensor, v: Tensor) -> int:
    """Products of queries with keys, and of weights with values."""
    return math.prod(q.shape[:-1]) * k.shape[-2] * (q.shape[-1] + v.shape[-1])


def recurrent(x: Tensor, weight_ih: Tensor, weight_hh: Tensor) -> int:
    """Products of each step of each sequence with both matrices of weights."""
    return math.prod(x.shape[:-1]) * (weight_ih.size + weight_hh.size)


FLOPS: dict[str, Callable[..., int]] = {
    "matmul": products(last), "linear": products(last), "linear_activation": products(last), "conv2d": products(window),
    "linear_vjp": of_gradient(last), "linear_activation_vjp": of_gradient(last), "conv2d_vjp": of_gradient(window),
    "scaled_dot_product_attention": lambda given, made, params: 2 * attended(*given[:3]),
    "conv3d": products(window), "conv3d_vjp": of_gradient(window),
    "conv_transpose2d": lambda given, made, params: 2 * given[0].size * window(given),
    **dict.fromkeys(["rnn", "gru", "lstm"], lambda given, made, params: 2 * recurrent(*given[:3])),
}  # fmt: skip
