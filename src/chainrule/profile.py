"""Where the time of a program goes: every kernel call of a thread, counted and timed."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Callable
from time import perf_counter
from typing import Any

from .domain.errors import ArgumentError
from .launch import fallbacks
from .modes import listen
from .tensor import Tensor
from .whereabouts import Whereabouts


class profile:
    """Inside ``with profile() as p:`` the kernel calls of this thread are counted and timed; ``print(p)`` shows a table.

    The time of a kernel runs from the end of the one before, so it has the Python between them in it, and all times sum
    to the whole, but for the time of the profiler itself. By kernel: ``calls``, ``seconds``, ``bytes`` (of arguments and
    results, views aside), ``flops`` (of products: matmul, linear, convolutions, attention, recurrent layers; 2 for a
    multiply-add). ``fallbacks`` counts the calls that a native kernel declined, which ran on the reference or as the op's
    body. With a ``model``, ``layers`` has the seconds of each layer's forward by its path, without those of layers inside
    it; "" is the model itself, None all that is outside, such as the backward. With ``trace`` each call is kept:
    ``export_chrome_trace(path)`` writes them for Perfetto.

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
        self.layers: dict[str | None, float] = {}
        self.fallbacks: Counter[tuple[str, str]] = Counter()
        self._events: list[dict[str, Any]] = []
        self._before = fallbacks.copy()
        self._where = Spans(self)
        self._listen = listen(self)
        self._listen.__enter__()
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
        path = self._where.path()
        if self.model is not None:
            self.layers[path] = self.layers.get(path, 0.0) + taken
        if self.trace:
            shapes = ", ".join(f"{x.dtype}{list(x.shape)}" for x in given)
            self._note(name, "kernel", begin, taken, {"inputs": shapes, "bytes": moved, "layer": path or ""})
        self._last = perf_counter()  # what was written down here is nobody's time

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
        lines = [f"{'kernel':24} {'calls':>8} {'ms':>10} {'share':>6} {'MiB':>9} {'GFLOP/s':>8}"]
        whole = sum(self.seconds.values()) or 1.0
        for name, seconds in sorted(self.seconds.items(), key=lambda item: -item[1]):
            rate = f"{self.flops[name] / seconds / 1e9:8.1f}" if self.flops[name] else ""
            moved = f"{self.bytes[name] / 2**20:9.2f}"
            lines.append(
                f"{name:24} {self.calls[name]:8} {seconds * 1e3:10.3f} {seconds / whole:6.0%} {moved} {rate}".rstrip()
            )
        if self.layers:
            lines += ["", f"{'layer':24} {'':8} {'ms':>10} {'share':>6}"]
            for path, seconds in sorted(self.layers.items(), key=lambda item: -item[1]):
                shown = "(not in a layer)" if path is None else path or "(the model itself)"
                lines.append(f"{shown:33} {seconds * 1e3:10.3f} {seconds / whole:6.0%}")
        lines += [f"declined by {backend}: {name} × {n}" for (backend, name), n in self.fallbacks.most_common()]
        return "\n".join(lines)


class Spans(Whereabouts):
    """Which layer is at work, and when each began."""

    def __init__(self, owner: profile) -> None:
        super().__init__(owner.model)
        self.owner, self.begun = owner, list[float]()

    def enter(self, module: Any, inputs: Any) -> None:
        """A layer begins: what was before is not its time."""
        super().enter(module, inputs)
        self.begun = [*self.begun[: len(self.stack) - 1], perf_counter()]

    def leave(self, module: Any, inputs: Any, output: Any) -> None:
        """A layer ends."""
        depth = len(self.stack)
        super().leave(module, inputs, output)
        if self.owner.trace and len(self.stack) == depth - 1:
            begin = self.begun[-1]
            name = f"{self.paths[module]} {type(module).__name__}".strip()
            self.owner._note(name, "layer", begin - self.owner._start, perf_counter() - begin, {})
        self.begun = self.begun[: len(self.stack)]


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
    "conv_transpose2d": lambda given, made, params: 2 * given[0].size * window(given),
    **dict.fromkeys(["rnn", "gru", "lstm"], lambda given, made, params: 2 * recurrent(*given[:3])),
}  # fmt: skip
