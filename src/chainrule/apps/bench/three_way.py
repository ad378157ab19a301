"""Convolution and pooling three ways: loops of pure Python, NumPy, native code with one thread and with all."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import numpy as np

import chainrule as cr

from ... import backends
from ...domain.errors import ChainruleError, unknown
from ..about import set_threads, threads
from .race import deviation
from .results import cores

CONV = {  # images, channels, size, filters, kernel, stride, padding
    "mnist": (1, 8, 28, 8, 3, 1, 1), "tiny": (1, 8, 16, 8, 3, 1, 1), "small": (1, 16, 32, 16, 3, 1, 1),
    "downsample": (1, 8, 28, 8, 3, 2, 1), "big-32": (8, 32, 32, 32, 3, 1, 1), "big-64": (8, 32, 64, 32, 3, 1, 1),
}  # fmt: skip
POOL = {  # images, channels, size, window, stride
    "mnist": (1, 8, 28, 2, 2), "small": (8, 16, 32, 2, 2), "middle": (8, 32, 64, 2, 2), "overlapping": (8, 16, 32, 3, 2),
    "big-56": (16, 64, 56, 2, 2),
}  # fmt: skip
SLOW = 2e7  # multiply-adds above which pure Python is left out


@dataclass
class Settings:
    """How much is measured."""

    dtype: str = "float32"
    repeats: int = 9
    python: bool = True
    sanity: bool = False


def timed(f: Callable[[], Any], repeats: int) -> float:
    """The median seconds of a call, after one that warms up."""
    f()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        f()
        times.append(time.perf_counter() - begin)
    return median(times)


def numbers(dtype: str, *shape: int) -> Any:
    """Random numbers, always the same."""
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)


def agree(name: str, found: Any, expected: Any) -> None:
    """Errors: ChainruleError if results differ by more than rounding does."""
    most = 1e-12 if found.dtype == expected.dtype == "float64" else 1e-5
    away = deviation({"": found}, {"": expected})
    if not away <= most:
        raise ChainruleError(f"[{name}] is {away:.1e} away from NumPy, expected at most {most:.0e}")


def pure_conv(x: Any, w: Any, stride: int, padding: int) -> list[Any]:
    """A convolution of nested lists, loop by loop."""
    size, k = len(x[0][0]), len(w[0][0])
    zeros, sides = [0.0] * (size + 2 * padding), [0.0] * padding
    x = [[[zeros] * padding + [sides + row + sides for row in c] + [zeros] * padding for c in image] for image in x]
    places = range(0, size + 2 * padding - k + 1, stride)

    def pixel(image: Any, kernel: Any, i: int, j: int) -> float:
        total = 0.0
        for plane, weights in zip(image, kernel, strict=True):
            for r in range(k):
                row, values = plane[i + r], weights[r]
                for s in range(k):
                    total += row[j + s] * values[s]
        return total

    return [[[[pixel(image, kernel, i, j) for j in places] for i in places] for kernel in w] for image in x]


def pure_pool(x: Any, k: int, stride: int, kind: str) -> list[Any]:
    """Pooling of nested lists."""
    places = range(0, len(x[0][0]) - k + 1, stride)

    def pixel(plane: Any, i: int, j: int) -> float:
        values = [v for row in plane[i : i + k] for v in row[j : j + k]]
        return float(max(values) if kind == "max" else sum(values) / len(values))

    return [[[[pixel(plane, i, j) for j in places] for i in places] for plane in image] for image in x]


def three(name: str, arrays: list[Any], f: Any, pure: Any, work: float, settings: Settings) -> dict[str, Any]:
    """The times of one shape, in seconds, and that the results agree if asked. Errors: ChainruleError if they do not."""
    row: dict[str, Any] = {"name": name, "dtype": settings.dtype, "seconds": {}}
    results: dict[str, Any] = {}
    before = threads()
    ways = [("native", "cpu", count) for count in sorted({1, cores()})] + [("numpy", "numpy", 0)]
    for way, backend, count in ways:
        label = f"{way} {count}t" if count else way
        try:
            if count:
                set_threads(count)
            with backends.use(backend):
                tensors = [cr.tensor(a) for a in arrays]
                repeats = settings.repeats if count else max(1, settings.repeats // 3)
                row["seconds"][label] = timed(lambda t=tensors: f(*t), repeats)  # type: ignore[misc]
                results[label] = f(*tensors).numpy()
        finally:
            set_threads(before)
    if settings.python and work <= SLOW:
        lists = [a.tolist() for a in arrays]
        begin = time.perf_counter()
        results["python"] = np.array(pure(*lists))
        row["seconds"]["python"] = time.perf_counter() - begin
    if settings.sanity:
        for way, found in results.items():
            agree(f"{name}, {way}", found, results["numpy"])
        row["sanity"] = "PASS"
    return row


def conv(presets: Sequence[str] | None, settings: Settings) -> Iterator[dict[str, Any]]:
    """Convolutions forward, by the names of their shapes. Errors: ArgumentError for a name that is not known."""
    for name in presets or CONV:
        if name not in CONV:
            raise unknown("preset of conv", name, CONV)
        n, c, size, filters, k, stride, padding = CONV[name]
        arrays = [numbers(settings.dtype, n, c, size, size), numbers(settings.dtype, filters, c, k, k)]
        work = n * filters * c * k * k * (size / stride) ** 2
        ours, pure = (partial(f, stride=stride, padding=padding) for f in (cr.conv2d, pure_conv))
        yield three(f"conv {name}", arrays, ours, pure, work, settings)


def pool(presets: Sequence[str] | None, settings: Settings) -> Iterator[dict[str, Any]]:
    """Largest and mean of windows, forward. Errors: ArgumentError for a name that is not known."""
    for name in presets or POOL:
        if name not in POOL:
            raise unknown("preset of pool", name, POOL)
        n, c, size, k, stride = POOL[name]
        x = numbers(settings.dtype, n, c, size, size)
        for kind, op in (("max", cr.max_pool2d), ("avg", cr.avg_pool2d)):
            ours, pure = partial(op, kernel_size=k, stride=stride), partial(pure_pool, k=k, stride=stride, kind=kind)
            yield three(f"{kind} pool {name}", [x], ours, pure, x.size * k * k, settings)
