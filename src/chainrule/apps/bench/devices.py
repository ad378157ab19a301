"""The same work on the CPU and on a GPU; on the CPU alone where there is none."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

import chainrule as cr

from ... import backends
from ...domain.errors import DeviceError, unknown
from .three_way import agree

CONV = {  # images, channels, size, filters, kernel, stride, padding, bias
    "big": (8, 64, 112, 128, 3, 1, 1, True), "no-bias": (8, 64, 112, 128, 3, 1, 1, False),
    "stride-2": (8, 64, 112, 128, 3, 2, 1, True), "small-28": (8, 32, 28, 64, 3, 1, 1, True),
    "mid-56": (8, 64, 56, 128, 3, 1, 1, True), "wide-1x1": (8, 256, 56, 256, 1, 1, 0, True),
}  # fmt: skip
POOL = {"middle": (8, 32, 64, 2, 2), "big-56": (16, 64, 56, 2, 2), "overlapping": (8, 32, 64, 3, 2)}
OPS = ["add", "sub", "mul", "div", "gt", "neg", "exp", "tanh", "add_scalar", "mul_scalar"]
Make = Callable[[str], Callable[[], Any]]


def gpu() -> tuple[str | None, str]:
    """The device, or None and why there is none."""
    try:
        cr.zeros(1).to("cuda")
    except DeviceError as error:
        return None, f"CPU alone: {error}"
    return "cuda", ""


def samples(f: Callable[[], Any], repeats: int, device: str) -> list[float]:
    """Seconds of each call, after one that warms up; on a GPU until its result is there."""
    wait = None if device == "cpu" else cr.cuda.synchronize
    found = []
    for i in range(repeats + 1):
        begin = time.perf_counter()
        f()
        if wait is not None:
            wait()
        if i:
            found.append(time.perf_counter() - begin)
    return found


def both(name: str, make: Make, device: str | None, repeats: int, sanity: bool) -> dict[str, Any]:
    """The median and the 95th percentile on each device; and that results agree, with those of the reference."""
    row: dict[str, Any] = {"name": name, "seconds": {}, "p95": {}}
    for where in filter(None, ["cpu", device]):
        times = samples(make(where), repeats, where)
        label = "cpu" if where == "cpu" else "gpu"
        row["seconds"][label], row["p95"][label] = (float(np.quantile(times, q)) for q in (0.5, 0.95))
    if sanity:
        found = make("cpu")().numpy()
        with backends.use("numpy"):
            agree(f"{name}, cpu", found, make("cpu")().numpy())
        if device is not None:
            agree(f"{name}, {device}", make(device)().to("cpu").numpy(), found)
        row["sanity"] = "PASS"
    return row


def tensors(dtype: str, where: str, *shapes: tuple[int, ...]) -> list[Any]:
    """Random tensors, the same on every device."""
    r = np.random.default_rng(0)
    return [cr.tensor(r.standard_normal(s).astype(dtype) / max(1, s[-1]) ** 0.5).to(where) for s in shapes]


def linear(size: int, dtype: str) -> Iterator[tuple[str, Make]]:
    """The gradients of a dense layer, with those of its input and its bias."""

    def make(where: str) -> Callable[[], Any]:
        inputs = [t.requires_grad_() for t in tensors(dtype, where, (size, size), (size, size), (size,))]
        (g,) = tensors(dtype, where, (size, size))
        y = cr.linear(*inputs)
        return lambda: cr.grad(y, inputs, g, retain_graph=True)[1]

    yield f"linear backward {size}", make


def conv2d(size: int, dtype: str) -> Iterator[tuple[str, Make]]:
    """Convolutions forward."""
    for name, (n, c, side, filters, k, stride, padding, bias) in CONV.items():
        side = max(k, side * size // 512)

        def make(where: str, s: Any = (n, c, side, filters, k, stride, padding, bias)) -> Callable[[], Any]:
            n, c, side, filters, k, stride, padding, bias = s
            x, w, b = tensors(dtype, where, (n, c, side, side), (filters, c, k, k), (filters,))
            return lambda: cr.conv2d(x, w, b if bias else None, stride=stride, padding=padding)

        yield f"conv2d {name}", make


def conv_transpose2d(size: int, dtype: str) -> Iterator[tuple[str, Make]]:
    """A transposed convolution forward."""

    def make(where: str) -> Callable[[], Any]:
        side = max(4, 56 * size // 512)
        x, w = tensors(dtype, where, (8, 64, side, side), (64, 64, 3, 3))
        return lambda: cr.conv_transpose2d(x, w, stride=2, padding=1, output_padding=1)

    yield "conv_transpose2d", make


def pool2d(size: int, dtype: str) -> Iterator[tuple[str, Make]]:
    """Pooling forward."""
    for name, (n, c, side, k, stride) in POOL.items():
        shape = (n, c, max(k, side * size // 512), max(k, side * size // 512))
        for kind, op in (("max", cr.max_pool2d), ("avg", cr.avg_pool2d)):

            def make(where: str, shape: Any = shape, op: Any = op, k: int = k, stride: int = stride) -> Any:
                (x,) = tensors(dtype, where, shape)
                return lambda: op(x, k, stride)

            yield f"{kind} pool2d {name}", make

    def everywhere(where: str) -> Callable[[], Any]:
        (x,) = tensors(dtype, where, (8, 32, max(1, size // 8), max(1, size // 8)))
        return lambda: x.mean(axis=(2, 3))

    yield "global avg pool2d", everywhere


def ops(size: int, dtype: str) -> Iterator[tuple[str, Make]]:
    """Operations of every element of size × size numbers."""
    for name in OPS:

        def make(where: str, name: str = name) -> Callable[[], Any]:
            x, y = (t + 1.5 for t in tensors(dtype, where, (size, size), (size, size)))
            f = getattr(cr, name.removesuffix("_scalar"))
            if name.endswith("_scalar"):
                return lambda: f(x, 0.125)
            return (lambda: f(x)) if name in ("neg", "exp", "tanh") else (lambda: f(x, y))

        yield f"{name} {size} x {size}", make


def matmul(size: int, dtype: str) -> Iterator[tuple[str, Make]]:
    """A square product."""

    def make(where: str) -> Callable[[], Any]:
        x, y = tensors(dtype, where, (size, size), (size, size))
        return lambda: x @ y

    yield f"matmul {size}", make


WORK = {
    "linear": linear, "pool2d": pool2d, "conv2d": conv2d, "conv_transpose2d": conv_transpose2d, "ops": ops,
    "matmul": matmul,
}  # fmt: skip


def cpu_vs_cuda(what: Sequence[str] | None, size: int, dtype: str, repeats: int, sanity: bool) -> Iterator[Any]:
    """A message where there is no GPU, then a row for each piece of work. Errors: ArgumentError for unknown work."""
    for name in what or WORK:
        if name not in WORK:
            raise unknown("work", name, WORK)
    device, message = gpu()
    if message:
        yield message
    for name in what or WORK:
        for title, make in WORK[name](size, dtype):
            yield both(title, make, device, repeats, sanity)
