"""``python -m benchmarks.three_way COMMAND``: what native kernels are worth, on the machine at hand.

``conv``, ``pool``: pure Python, NumPy and native, with speedups. ``linear``, ``ops``: forward and backward on the CPU, and on a
GPU where there is one. ``matmul``: NumPy and ours for several sizes and numbers of threads. ``profile``: a training under
cProfile, with its memory. ``compare BEFORE AFTER``: two files that ``--out`` wrote. Times are medians.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import pstats
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import chainrule as cr
from chainrule import backends, losses, nn, optim

HOME = Path(__file__).parent.parent
CONV = {  # images, channels, size, filters, kernel, stride, padding
    "mnist": (1, 8, 28, 8, 3, 1, 1), "tiny": (1, 8, 16, 8, 3, 1, 1), "small": (1, 16, 32, 16, 3, 1, 1),
    "downsample": (1, 8, 28, 8, 3, 2, 1), "big-32": (8, 32, 32, 32, 3, 1, 1), "big-64": (8, 32, 64, 32, 3, 1, 1),
}  # fmt: skip
POOL = {  # images, channels, size, window, stride
    "mnist": (1, 8, 28, 2, 2), "small": (8, 16, 32, 2, 2), "middle": (8, 32, 64, 2, 2), "overlapping": (8, 16, 32, 3, 2),
    "big-56": (16, 64, 56, 2, 2),
}  # fmt: skip
SLOW = 2e7  # multiply-adds above which pure Python is left out


def timed(f: Callable[[], Any], repeats: int) -> float:
    """The median seconds of a call, after one that warms up."""
    f()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        f()
        times.append(time.perf_counter() - begin)
    return median(times)


def pure_conv(x: Any, w: Any, stride: int, padding: int) -> list[Any]:
    """A convolution of nested lists, loop by loop."""
    size, k = len(x[0][0]), len(w[0][0])
    zeros = [0.0] * (size + 2 * padding)
    sides = [0.0] * padding
    x = [
        [[zeros] * padding + [sides + row + sides for row in plane] + [zeros] * padding for plane in image]
        for image in x
    ]
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


def three(
    name: str, arrays: list[Any], f: Callable[..., Any], pure: Callable[..., Any], work: float, options: Any
) -> dict[str, Any]:
    """The three times of one shape, and that they agree if asked."""
    results: dict[str, Any] = {}
    row: dict[str, Any] = {"name": name}
    for backend, key, repeats in (("cpu", "native", options.repeats), ("numpy", "numpy", max(1, options.repeats // 3))):
        with backends.use(backend):
            tensors = [cr.tensor(a) for a in arrays]
            row[f"{key}_us"] = timed(lambda t=tensors: f(*t), repeats) * 1e6  # type: ignore[misc]
            results[key] = f(*tensors).numpy()
    if not options.skip_python and work <= SLOW:
        lists = [a.tolist() for a in arrays]
        begin = time.perf_counter()
        results["python"] = np.array(pure(*lists))
        row["python_us"] = (time.perf_counter() - begin) * 1e6
    if options.sanity:
        for found in results.values():
            np.testing.assert_allclose(found, results["numpy"], rtol=1e-3, atol=1e-4)
    return row


def conv(options: Any) -> Iterator[dict[str, Any]]:
    """Convolutions forward."""
    for name in options.presets or CONV:
        n, c, size, filters, k, stride, padding = CONV[name]
        arrays = [numbers(options, n, c, size, size), numbers(options, filters, c, k, k)]
        work = n * filters * c * k * k * (size / stride) ** 2
        ours = partial(cr.conv2d, stride=stride, padding=padding)
        yield three(f"conv {name}", arrays, ours, partial(pure_conv, stride=stride, padding=padding), work, options)


def pool(options: Any) -> Iterator[dict[str, Any]]:
    """Largest and mean of windows, forward."""
    for name in options.presets or POOL:
        n, c, size, k, stride = POOL[name]
        x = numbers(options, n, c, size, size)
        for kind, op in (("max", cr.max_pool2d), ("avg", cr.avg_pool2d)):
            ours = partial(op, kernel_size=k, stride=stride)
            yield three(
                f"{kind} pool {name}",
                [x],
                ours,
                partial(pure_pool, k=k, stride=stride, kind=kind),
                x.size * k * k,
                options,
            )


def numbers(options: Any, *shape: int) -> Any:
    """An array of random numbers in the dtype wanted."""
    return np.random.default_rng(0).standard_normal(shape).astype(options.dtype)


def gpu() -> str | None:
    """The device, or None where there is no GPU."""
    try:
        cr.zeros(1).to("cuda")
    except cr.errors.DeviceError as error:
        print(f"CPU alone: {error}")
        return None
    return "cuda"


def devices(name: str, make: Callable[[str], Callable[[], Any]], device: str | None, options: Any) -> dict[str, Any]:
    """Times of a step on the CPU and, where there is one, on the GPU."""
    row: dict[str, Any] = {"name": name, "cpu_us": timed(make("cpu"), options.repeats) * 1e6}
    if device is not None:
        row["gpu_us"] = timed(make(device), options.repeats) * 1e6
    if options.sanity:
        found = make("cpu")().numpy()
        with backends.use("numpy"):
            np.testing.assert_allclose(found, make("cpu")().numpy(), rtol=1e-3, atol=1e-4)
        if device is not None:
            np.testing.assert_allclose(found, make(device)().to("cpu").numpy(), rtol=1e-3, atol=1e-4)
    return row


def linear(options: Any) -> Iterator[dict[str, Any]]:
    """The gradients of a dense layer."""
    device, n = gpu(), options.size

    def make(where: str) -> Callable[[], Any]:
        x, w, b = (cr.ones(*s, dtype=options.dtype).to(where).requires_grad_() for s in ((n, n), (n, n), (n,)))

        def step() -> Any:
            return cr.grad(cr.linear(x, w, b).sum(), [x, w, b])[2]

        return step

    yield devices(f"linear backward {n}", make, device, options)


def ops(options: Any) -> Iterator[dict[str, Any]]:
    """Operations of every element."""
    device, n = gpu(), options.size
    for name in "add sub mul div gt neg exp tanh".split():

        def make(where: str, name: str = name) -> Callable[[], Any]:
            x = (cr.ones(n, n, dtype=options.dtype) * 1.5).to(where)
            f = getattr(cr, name)
            return (lambda: f(x)) if name in ("neg", "exp", "tanh") else (lambda: f(x, x))

        yield devices(f"{name} {n} x {n}", make, device, options)


PRODUCT = """
import sys, time
import numpy as np
who, n, repeats, dtype = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
x = np.random.default_rng(0).standard_normal((n, n)).astype(dtype)
if who == "ours":
    import chainrule as cr
    x = cr.tensor(x)
times = []
for _ in range(repeats + 1):
    begin = time.perf_counter()
    y = x @ x
    times.append(time.perf_counter() - begin)
print(sorted(times[1:])[repeats // 2], float(y.sum().item() if who == "ours" else y.sum()))
"""


def matmul(options: Any) -> Iterator[dict[str, Any]]:
    """Square products of NumPy and ours, a process for each number of threads."""
    for n in options.sizes:
        for threads in options.threads:
            row: dict[str, Any] = {"name": f"matmul {n}, {threads} threads"}
            sums = []
            for who in ("ours", "numpy"):
                variables = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "CHAINRULE_NUM_THREADS")
                paths = os.pathsep.join(filter(None, [str(HOME / "src"), os.environ.get("PYTHONPATH")]))
                env = {**os.environ, **dict.fromkeys(variables, str(threads)), "PYTHONPATH": paths}
                command = [sys.executable, "-c", PRODUCT, who, str(n), str(options.repeats), options.dtype]
                done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
                seconds, total = map(float, done.stdout.split())
                row |= {f"{who}_us": seconds * 1e6, f"{who}_gflops": 2 * n**3 / seconds / 1e9}
                sums.append(total)
            if options.sanity:
                np.testing.assert_allclose(sums[0], sums[1], rtol=1e-2, atol=1e-2 * n)
            yield row


def profile(options: Any) -> Iterator[dict[str, Any]]:
    """An MLP and a CNN trained for a while: where Python spends its time, and the most memory at once."""
    folder = Path(options.out or "runs/profile").with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    nets = {
        "mlp": nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10)),
        "cnn": nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 13 * 13, 10)),
    }
    for name, model in nets.items():
        x, y = (
            random.standard_normal((options.samples, 1, 28, 28)).astype("float32"),
            random.integers(0, 10, options.samples),
        )
        model.compile(losses.CrossEntropy(), optim.Adam(model.parameters()))
        tracemalloc.start()
        watch = cProfile.Profile()
        begin = time.perf_counter()
        watch.runcall(model.fit, x, y, epochs=1, batch_size=64, verbose=0)
        seconds = time.perf_counter() - begin
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        watch.dump_stats(folder / f"{name}.prof")
        with (folder / f"{name}.txt").open("w", encoding="utf-8") as file:
            pstats.Stats(watch, stream=file).sort_stats("cumulative").print_stats(10)
        yield {
            "name": f"train {name}",
            "total_us": seconds * 1e6,
            "python_bytes": peak,
            "file": str(folder / f"{name}.prof"),
        }


def compare(before: Path, after: Path) -> None:
    """What became faster, what slower, of the rows that two files share."""
    old, new = ({r["name"]: r for r in map(json.loads, p.read_text().splitlines())} for p in (before, after))
    print(f"{'':28} {'before':>12} {'after':>12} {'change':>8}")
    for name in [n for n in old if n in new]:
        for key in [k for k in old[name] if k.endswith("_us") and old[name][k] and new[name].get(k)]:
            a, b = old[name][key], new[name][key]
            word = "" if abs(b / a - 1) < 0.05 else "faster" if b < a else "SLOWER"
            print(f"{f'{name} ({key[:-3]})':28} {a:9.1f} us {b:9.1f} us {b / a - 1:+8.1%} {word}")
    for name in sorted({*old} ^ {*new}):
        print(f"{name:28} only {'before' if name in old else 'after'}")


def show(row: dict[str, Any], sanity: bool) -> None:
    """A row as a line: its times, and how many times faster the first is than the others."""
    times = {k[:-3]: v for k, v in row.items() if k.endswith("_us")}
    first, *rest = times
    text = "".join(f"{who} {v:.1f} us   " for who, v in times.items() if v is not None)
    text += "".join(f"{times[who] / times[first]:.1f}x of {who}   " for who in rest if times[who])
    text += "".join(f"{k[:-7]} {v:.1f} GFLOP/s   " for k, v in row.items() if k.endswith("_gflops"))
    text += f"{row['python_bytes'] / 2**20:.1f} MiB   {row['file']}" if "file" in row else ""
    print(f"{row['name']:28} {text}{'PASS' if sanity else ''}".rstrip(), flush=True)


COMMANDS = {"conv": conv, "pool": pool, "linear": linear, "ops": ops, "matmul": matmul, "profile": profile}


def main(arguments: list[str] | None = None) -> None:
    """Run a command, print a line for each row, and write them where ``--out`` says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.three_way", description=__doc__)
    parser.add_argument("command", choices=[*COMMANDS, "compare"])
    parser.add_argument("files", nargs="*", type=Path, help="of compare: before and after")
    parser.add_argument(
        "--presets", nargs="*", metavar="NAME", help=f"conv: {', '.join(CONV)}; pool: {', '.join(POOL)}"
    )
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--size", type=int, default=512, help="of linear and ops")
    parser.add_argument("--sizes", type=int, nargs="*", default=[128, 512, 1024], help="of matmul")
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2, 4], help="of matmul")
    parser.add_argument("--samples", type=int, default=2000, help="of profile")
    parser.add_argument("--skip-python", action="store_true", help="leave pure Python out")
    parser.add_argument("--sanity", action="store_true", help="compare the results, too")
    parser.add_argument("--out", type=Path, help="a file for the rows, one JSON object a line")
    options = parser.parse_args(arguments)
    if (options.command == "compare") != (len(options.files) == 2):
        parser.error("compare takes two files, before and after; the other commands take none")
    if options.command == "compare":
        compare(*options.files)
        return
    known = list(CONV) if options.command == "conv" else list(POOL) if options.command == "pool" else []
    for name in options.presets or []:
        if name not in known:
            parser.error(f"{options.command} has no preset {name!r}; it has {', '.join(known) or 'none'}")
    rows = []
    for row in COMMANDS[options.command](options):
        show(row, options.sanity)
        rows.append(row)
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
