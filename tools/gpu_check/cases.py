"""What is measured: each case for a library, ours or PyTorch, with the same values.

``make(lib, seed)`` gives a function without arguments; several of them, of other seeds, are called in turn, so that nothing is
found in the cache of the GPU. It returns all that it computes, one tensor or several: a recorded step leaves out what nobody
needs. ``bytes`` of one set say how many are needed; ``floor`` is the time, in microseconds, that memory at 4.3 TB/s or
arithmetic at the rate of an H200's data sheet cannot go below.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

BANDWIDTH = 4.3e6  # bytes in a microsecond, measured by a large copy
RATES = {"float32": 66.9e6, "bfloat16": 788e6, "float16": 788e6, "float64": 66.9e6}  # operations in a microsecond
SIZES = {"float32": 4, "float64": 8, "bfloat16": 2, "float16": 2}


@dataclass
class Case:
    """A piece of work."""

    name: str
    make: Callable[[Any, int], Callable[[], Any]]
    bytes: int
    flops: float = 0.0
    dtype: str = "float32"
    table: bool = False  # whether it is a row of the table of targets

    @property
    def floor(self) -> float:
        return max(self.bytes / BANDWIDTH, self.flops / RATES[self.dtype])


class Ours:
    """chainrule."""

    name = "chainrule"

    def __init__(self) -> None:
        import chainrule as cr

        self.lib, self.f = cr, cr

    def tensor(self, values: Any, dtype: str) -> Any:
        return self.lib.tensor(values, device="cuda").to(dtype)

    def numpy(self, x: Any) -> Any:
        return x.detach().to("float32").numpy()

    def gradients(self, y: Any, inputs: Any, g: Any) -> Any:
        return self.lib.grad(y, inputs, g, retain_graph=True)

    def adam(self, parameter: Any) -> Any:
        return self.lib.optim.Adam([parameter], 1e-3)

    def recorded(self, f: Callable[[], Any]) -> Callable[[], Any]:
        step = self.lib.jit(f)
        for _ in range(3):
            step()
        return step  # type: ignore[no-any-return]

    def wait(self) -> None:
        self.lib.cuda.synchronize()

    def event(self) -> Any:
        return self.lib.cuda.Event().record()

    def elapsed(self, first: Any, last: Any) -> float:
        return first.elapsed_time(last) * 1e3  # type: ignore[no-any-return]


class Torch:
    """PyTorch."""

    name = "torch"

    def __init__(self) -> None:
        import torch

        if not torch.cuda.is_available():
            raise ImportError("PyTorch sees no GPU")
        self.lib, self.f = torch, torch.nn.functional
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = True

    def tensor(self, values: Any, dtype: str) -> Any:
        return self.lib.tensor(values, device="cuda").to(getattr(self.lib, dtype))

    def numpy(self, x: Any) -> Any:
        return x.detach().float().cpu().numpy()

    def gradients(self, y: Any, inputs: Any, g: Any) -> Any:
        return self.lib.autograd.grad(y, inputs, g, retain_graph=True)

    def adam(self, parameter: Any) -> Any:
        return self.lib.optim.Adam([parameter], 1e-3, fused=True, capturable=True)

    def recorded(self, f: Callable[[], Any]) -> Callable[[], Any]:
        side = self.lib.cuda.Stream()
        side.wait_stream(self.lib.cuda.current_stream())
        with self.lib.cuda.stream(side):
            for _ in range(3):
                f()
        self.lib.cuda.current_stream().wait_stream(side)
        graph = self.lib.cuda.CUDAGraph()
        with self.lib.cuda.graph(graph):
            self.kept = f()
        return graph.replay  # type: ignore[no-any-return]

    def wait(self) -> None:
        self.lib.cuda.synchronize()

    def event(self) -> Any:
        event = self.lib.cuda.Event(enable_timing=True)
        event.record()
        return event

    def elapsed(self, first: Any, last: Any) -> float:
        last.synchronize()
        return first.elapsed_time(last) * 1e3  # type: ignore[no-any-return]


@cache
def some() -> Any:
    """Random numbers to take from: as many as are wanted would take longer than the work."""
    return np.random.default_rng(0).standard_normal(1 << 22, dtype=np.float32)


def values(seed: int, *shape: int, scale: float = 1.0) -> Any:
    """Random numbers, the same for the same seed."""
    return np.resize(np.roll(some(), -12_345 * seed), shape) * np.float32(scale)


def elementwise(name: str, n: int, f: Callable[[Any, Any, Any], Any], arrays: int, table: bool = False) -> Case:
    """An op of ``n`` elements that moves so many arrays."""

    def make(lib: Any, seed: int) -> Callable[[], Any]:
        x, y = (lib.tensor(values(seed + i, n), "float32") for i in (0, 1))
        return lambda: f(lib.lib, x, y)

    return Case(f"{name} {n} float32", make, 4 * n * arrays, table=table)


def adam(n: int) -> Case:
    """One parameter of ``n`` elements; the step reads and writes 28 bytes of each."""

    def make(lib: Any, seed: int) -> Callable[[], Any]:
        p = lib.tensor(values(seed, n), "float32").requires_grad_()
        p.grad = lib.tensor(values(seed + 1, n), "float32")
        optimizer = lib.adam(p)

        def step() -> Any:
            optimizer.step()
            return p

        return step

    return Case(f"Adam {n} float32", make, 28 * n, table=True)


def linear_backward(n: int, dtype: str) -> Case:
    """The gradients of a dense layer: of its input, weight and bias."""

    def make(lib: Any, seed: int) -> Callable[[], Any]:
        scale = n**-0.5
        given = [lib.tensor(values(seed + i, *s, scale=scale), dtype) for i, s in enumerate([(n, n), (n, n), (n,)])]
        inputs = [t.requires_grad_() for t in given]
        g = lib.tensor(values(seed + 3, n, n), dtype)
        y = lib.f.linear(*inputs)
        return lambda: lib.gradients(y, inputs, g)

    return Case(f"linear backward {n} {dtype}", make, 5 * n * n * SIZES[dtype], 4.0 * n**3, dtype, table=True)


def matmul(n: int, dtype: str) -> Case:
    """A square product."""

    def make(lib: Any, seed: int) -> Callable[[], Any]:
        x, y = (lib.tensor(values(seed + i, n, n, scale=n**-0.5), dtype) for i in (0, 1))
        return lambda: x @ y

    return Case(f"matmul {n} {dtype}", make, 3 * n * n * SIZES[dtype], 2.0 * n**3, dtype)


def conv(name: str, shape: tuple[int, ...], dtype: str, backward: bool = False, table: bool = False) -> Case:
    """A convolution: images, channels, size, filters, kernel, stride, padding."""
    n, c, side, filters, k, stride, padding = shape
    out = (side + 2 * padding - k) // stride + 1

    def make(lib: Any, seed: int) -> Callable[[], Any]:
        x = lib.tensor(values(seed, n, c, side, side), dtype)
        w = lib.tensor(values(seed + 1, filters, c, k, k, scale=(c * k * k) ** -0.5), dtype)
        b = lib.tensor(values(seed + 2, filters), dtype)
        if not backward:
            return lambda: lib.f.conv2d(x, w, b, stride=stride, padding=padding)
        inputs = [t.requires_grad_() for t in (x, w, b)]
        y = lib.f.conv2d(*inputs, stride=stride, padding=padding)
        g = lib.tensor(values(seed + 3, n, filters, out, out), dtype)
        return lambda: lib.gradients(y, inputs, g)

    size = (n * c * side * side + n * filters * out * out) * SIZES[dtype]
    flops = 2.0 * n * filters * out * out * c * k * k
    title = f"conv2d {name}{' backward' if backward else ''} {dtype}"
    return Case(title, make, (2 if backward else 1) * size, (2 if backward else 1) * flops, dtype, table)


def pool(kind: str, shape: tuple[int, ...], k: int, stride: int, table: bool = False) -> Case:
    """The largest or the mean of every window."""

    def make(lib: Any, seed: int) -> Callable[[], Any]:
        x = lib.tensor(values(seed, *shape), "float32")
        f = getattr(lib.f, f"{kind}_pool2d")
        return lambda: f(x, kernel_size=k, stride=stride)

    size = int(np.prod(shape)) * 4
    return Case(f"{kind} pool {'x'.join(map(str, shape))} {k}/{stride}", make, size + size // stride**2, table=table)


def rows(name: str, shape: tuple[int, int], f: Callable[[Any, Any], Any], arrays: int) -> Case:
    """An op of each row."""

    def make(lib: Any, seed: int) -> Callable[[], Any]:
        x = lib.tensor(values(seed, *shape), "float32")
        return lambda: f(lib, x)

    return Case(f"{name} {shape[0]} x {shape[1]}", make, 4 * shape[0] * shape[1] * arrays)


def training(width: int, batch: int) -> Case:
    """A step of a perceptron of three layers: forward, loss, backward, Adam."""

    def make(lib: Any, seed: int) -> Callable[[], Any]:
        sizes = [(width, 784), (width, width), (10, width)]
        w = [
            lib.tensor(values(seed + i, *s, scale=s[1] ** -0.5), "float32").requires_grad_()
            for i, s in enumerate(sizes)
        ]
        x = lib.tensor(values(seed + 5, batch, 784), "float32")
        y = lib.tensor(np.random.default_rng(seed).integers(0, 10, batch), "int64")
        optimizers = [lib.adam(p) for p in w]
        loss_of = lib.lib.losses.cross_entropy if lib.name == "chainrule" else lib.f.cross_entropy

        def step() -> Any:
            h = x
            for i, p in enumerate(w):
                h = lib.f.linear(h, p)
                h = h if i == 2 else h.relu()
            loss = loss_of(h, y)
            for p in w:
                p.grad = None
            loss.backward()
            for optimizer in optimizers:
                optimizer.step()
            return loss

        return step

    parameters = width * (784 + width + 10)
    return Case(f"training step 784-{width}-{width}-10, batch {batch}", make, 32 * parameters, 6.0 * parameters * batch)


def cases(tiny: bool) -> Iterator[Case]:
    """The table of targets, then what the CPU is compared on, then more."""
    big, small, n = (1 << 10, 16, 32) if tiny else (1 << 26, 512, 1024)
    yield elementwise("add", small * small, lambda lib, x, y: x + y, 3, True)
    yield elementwise("add", big, lambda lib, x, y: x + y, 3, True)
    yield elementwise("neg", big, lambda lib, x, y: -x, 2, True)
    yield elementwise("exp", big, lambda lib, x, y: lib.exp(x), 2, True)
    yield elementwise("mul by a number", big, lambda lib, x, y: x * 0.125, 2, True)
    yield elementwise("sum", big, lambda lib, x, y: x.sum(), 1, True)
    yield adam(big)
    for dtype in ("float32", "bfloat16"):
        yield linear_backward(n, dtype)
        yield conv("big", (1, 4, 8, 8, 3, 1, 1) if tiny else (8, 64, 112, 128, 3, 1, 1), dtype, table=True)
    for kind in ("max", "avg"):
        yield pool(kind, (1, 2, 8, 8) if tiny else (8, 32, 64, 64), 2, 2, True)
    yield training(*((16, 8) if tiny else (512, 128)))
    for name in ("div", "gt", "tanh"):
        yield elementwise(
            name,
            small * small,
            lambda lib, x, y, name=name: getattr(lib, name)(*((x,) if name == "tanh" else (x, y))),
            3,
        )
    for size, dtype in ((16, "float32"),) if tiny else ((512, "float32"), (4096, "float32"), (4096, "bfloat16")):
        yield matmul(size, dtype)
    shape = (4, 16) if tiny else (8192, 4096)
    yield rows("softmax", shape, lambda lib, x: lib.f.softmax(x, -1), 2)
    yield rows("sum of rows", shape, lambda lib, x: x.sum(-1), 1)
    yield rows("sum of columns", shape, lambda lib, x: x.sum(0), 1)
    yield rows("transposed copy", shape, lambda lib, x: x.T.contiguous(), 2)
    if tiny:
        return
    yield conv("big", (8, 64, 112, 128, 3, 1, 1), "float32", backward=True)
    yield conv("stride-2", (8, 64, 112, 128, 3, 2, 1), "float32")
    yield conv("small-28", (8, 32, 28, 64, 3, 1, 1), "float32")
    yield conv("mid-56", (8, 64, 56, 128, 3, 1, 1), "float32")
    yield conv("wide-1x1", (8, 256, 56, 256, 1, 1, 0), "float32")
    for kind in ("max", "avg"):
        yield pool(kind, (16, 64, 56, 56), 2, 2)
        yield pool(kind, (8, 32, 64, 64), 3, 2)
    yield linear_backward(512, "float32")
