"""CPU or GPU, how many threads, where is the boundary: the time of ops over sizes and numbers of threads."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import chainrule as cr

from ... import losses, nn, optim
from ...domain.errors import unknown
from ..about import set_threads
from ..about import threads as threads_now
from .devices import gpu, samples
from .race import Contestant, Entrant, StoppedError
from .results import quartiles

PAYS = 1.15  # a speed-up from which another thread is worth it
BLOCK = 0.004  # seconds of a block
KERNELS = {"mlp step": 20}  # launched by a call, where it is not one
Size = tuple[float, float, Callable[[str], Callable[[], Any]]]  # operations, bytes, the call on a device


@dataclass(frozen=True)
class Gpu:
    """A GPU as four figures, for an estimate where there is none to measure: a middling one, of a desk."""

    launch: float = 10e-6  # seconds from the call to the start of a kernel
    flops: float = 10e12  # a second, reached
    bandwidth: float = 500e9  # bytes a second of its memory
    link: float = 12e9  # bytes a second between its memory and that of the CPU

    def seconds(self, flops: float, moved: float, *, kernels: int = 1, resident: bool = True) -> float:
        """Of a call; its arguments are there already if ``resident``, else they and the result go over the link."""
        kernel = self.launch * kernels + max(flops / self.flops, moved / self.bandwidth)
        return kernel if resident else kernel + moved / self.link


def random(where: str, *shape: int) -> Any:
    """Random numbers on a device."""
    return cr.tensor(np.random.default_rng(0).standard_normal(shape).astype("float32")).to(where)


def matmul(n: int) -> Size:
    """n × n by n × n."""

    def make(where: str) -> Callable[[], Any]:
        a, b = random(where, n, n), random(where, n, n)
        return lambda: a @ b

    return 2.0 * n**3, 12.0 * n * n, make


def elementwise(name: str, arguments: int) -> Callable[[int], Size]:
    """An op of n numbers, in rows of 64 or more."""

    def of(n: int) -> Size:
        def make(where: str) -> Callable[[], Any]:
            xs = [random(where, max(1, n // 512), min(n, 512)) for _ in range(arguments)]
            f = getattr(cr, name)
            return lambda: f(*xs)

        return 0.0, 4.0 * n * (arguments + 1), make

    return of


def total(n: int) -> Size:
    """The sum of n numbers."""

    def make(where: str) -> Callable[[], Any]:
        x = random(where, n)
        return lambda: x.sum()

    return 0.0, 4.0 * n, make


def conv2d(n: int) -> Size:
    """3 × 3 from 32 to 64 channels of n pictures of 28 × 28."""

    def make(where: str) -> Callable[[], Any]:
        x, w = random(where, n, 32, 28, 28), random(where, 64, 32, 3, 3)
        return lambda: cr.conv2d(x, w, padding=1)

    return 2.0 * n * 784 * 64 * 32 * 9, 4.0 * n * 784 * 96, make


def pool(n: int) -> Size:
    """2 × 2 max-pooling of n pictures of 32 × 28 × 28."""

    def make(where: str) -> Callable[[], Any]:
        x = random(where, n, 32, 28, 28)
        return lambda: cr.max_pool2d(x, 2)

    return 0.0, 4.0 * n * 32 * 784 * 1.25, make


def step(n: int) -> Size:
    """A training step of 784-128-10 on a batch of n: forward, backward, Adam."""

    def make(where: str) -> Callable[[], Any]:
        model = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10)).to(where)
        x, y = random(where, n, 784), cr.tensor(np.arange(n) % 10).to(where)
        loss, optimizer = losses.CrossEntropy(), optim.Adam(model.parameters())

        def run() -> None:
            optimizer.zero_grad()
            loss(model(x), y).backward()
            optimizer.step()

        return run

    return 2.0 * n * (2 * 784 * 128 + 3 * 1280), 4.0 * n * 784, make


POWERS = [2**k for k in range(10, 25, 2)]
WORK: dict[str, tuple[Callable[[int], Size], list[int]]] = {
    "matmul": (matmul, [16, 32, 64, 128, 256, 512, 1024, 2048]),
    "add": (elementwise("add", 2), POWERS), "exp": (elementwise("exp", 1), POWERS),
    "softmax": (elementwise("softmax", 1), POWERS), "sum": (total, POWERS),
    "conv2d": (conv2d, [1, 2, 4, 8, 16, 32, 64]), "max_pool2d": (pool, [1, 2, 4, 8, 16, 32, 64]),
    "mlp step": (step, [1, 4, 16, 64, 256, 1024, 4096]),
}  # fmt: skip


def block(f: Callable[[], Any], calls: int) -> float:
    """Seconds of a call, over several."""
    begin = time.perf_counter()
    for _ in range(calls):
        f()
    return (time.perf_counter() - begin) / calls


def measured(size: Size, threads: Sequence[int], blocks: int) -> dict[int, list[float]]:
    """Seconds of blocks for each number of threads, in turns."""
    call, before = size[2]("cpu"), threads_now()
    found: dict[int, list[float]] = {t: [] for t in threads}
    try:
        for _ in range(2):  # the first call warms up
            once = block(call, 1)
        calls = max(1, round(BLOCK / max(once, 1e-9)))
        for _ in range(blocks):
            for t in threads:
                set_threads(t)
                call()
                found[t].append(block(call, calls))
    finally:
        set_threads(before)
    return found


def numpy_matmul(n: int, threads: int, blocks: int) -> list[float]:
    """NumPy's product of the same size, in a process that has so many threads. Nothing if it cannot run."""
    import sys

    spec = {"case": "gemm_2048", "scale": n / 2048, "dtype": "float32", "threads": threads}
    contestant = Contestant(sys.executable, Entrant.of("numpy"), spec)
    try:
        contestant.ask("ready")
        contestant.steps = 2
        contestant.steps = max(1, round(BLOCK / contestant.block()))
        return [contestant.block() for _ in range(blocks)]
    except StoppedError:
        return []
    finally:
        contestant.close()


def scaling(
    what: Sequence[str] | None, threads: Sequence[int], blocks: int, largest: int, beside: bool, card: Gpu
) -> Iterator[dict[str, Any]]:
    """A row for each op and size. ``largest`` leaves out sizes above it, ``beside`` has NumPy multiply, too.

    Errors: ArgumentError for an op that is not known.
    """
    for name in what or WORK:
        if name not in WORK:
            raise unknown("op", name, WORK)
    device, _ = gpu()
    for name in what or WORK:
        of, sizes = WORK[name]
        for n in (n for n in sizes if n <= largest):
            size = of(n)
            flops, moved, make = size
            row: dict[str, Any] = {"op": name, "size": n, "flops": flops, "bytes": moved}
            row["seconds"] = {str(t): times for t, times in measured(size, threads, blocks).items()}
            if device is not None:
                row["gpu"] = quartiles(samples(make(device), blocks, device))[1]
            kernels = KERNELS.get(name, 1)
            row["gpu_estimate"] = card.seconds(flops, moved, kernels=kernels)
            row["gpu_with_transfer"] = card.seconds(flops, moved, kernels=kernels, resident=False)
            if beside and name == "matmul":
                row["numpy"] = {str(t): numpy_matmul(n, t, blocks) for t in threads}
            yield row


def typical(row: dict[str, Any], threads: object) -> float:
    """The median seconds."""
    return quartiles(row["seconds"][str(threads)])[1]


def speedup(row: dict[str, Any], threads: int) -> float:
    """One thread by several, the median over neighbouring blocks."""
    one, many = row["seconds"]["1"], row["seconds"][str(threads)]
    return quartiles([a / b for a, b in zip(one, many, strict=True)])[1]


def boundary(rows: Sequence[dict[str, Any]], pays: Callable[[dict[str, Any]], bool]) -> dict[str, Any] | None:
    """The first of the rows from which on it pays in all."""
    found = None
    for row in reversed(rows):
        if not pays(row):
            break
        found = row
    return found


def answers(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each op: from where more threads pay, what they give at most, from where a GPU would pay."""
    found = []
    for name in dict.fromkeys(r["op"] for r in rows):
        mine = [r for r in rows if r["op"] == name]
        counts = sorted(int(t) for t in mine[0]["seconds"])
        most = counts[-1]
        fastest = {id(r): min(typical(r, t) for t in counts) for r in mine}
        pays = boundary(mine, lambda r, most=most: speedup(r, most) >= PAYS) if most > 1 else None  # type: ignore[misc]
        key = "gpu" if "gpu" in mine[0] else "gpu_estimate"
        there = boundary(mine, lambda r, key=key, fastest=fastest: r[key] < fastest[id(r)])  # type: ignore[misc]
        sent = boundary(mine, lambda r, fastest=fastest: r["gpu_with_transfer"] < fastest[id(r)])  # type: ignore[misc]
        found.append({
            "op": name, "threads": most, "pays_from": pays and pays["size"],
            "pays_from_seconds": pays and typical(pays, 1), "best_speedup": max(speedup(r, most) for r in mine),
            "gpu": key == "gpu", "gpu_from": there and there["size"], "gpu_with_transfer_from": sent and sent["size"],
        })  # fmt: skip
    return found
