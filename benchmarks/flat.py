"""``python -m benchmarks.flat [names]``: what is bound by memory, as GB/s against what this machine's caches and memory give.

Each op runs on arrays that fill the level-1 cache, the level-2, the level-3 and none of them. ``share`` is its bytes (read
and written, each once) a second, over those of a plain loop that reads and writes in the same proportion
(``bandwidth.cpp``, measured in the same run), or if that is the tighter bound, its arithmetic over what one core does
(``WORK``). ``kernel`` is the same without the time of the smallest call, which a recorded step does without. The column of
PyTorch is there if it can be imported; both take turns, and the least time of many short rounds counts.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import chainrule as cr
from chainrule import _native
from chainrule.apps.bench.race import SPOILED
from chainrule.apps.bench.results import machine

LEVELS = {"L1": 24 << 10, "L2": 512 << 10, "L3": 8 << 20, "memory": 128 << 20}  # bytes of all operands of a call
COLUMNS = 512  # of the matrices


class Case(NamedTuple):
    """An op: the float32 arrays it reads and writes (as multiples of the first), and how each library calls it."""

    reads: float
    writes: float
    ours: Callable[..., Any]
    theirs: Callable[..., Any] | None
    arrays: int = 1  # random operands, all of one shape
    shape: Callable[[int], tuple[int, ...]] = lambda n: (max(1, n // COLUMNS), COLUMNS)
    prepare: Callable[..., tuple[Any, ...]] = lambda module, *arrays: arrays


def same(name: str, reads: float = 1, writes: float = 1, arrays: int = 1, theirs: str = "", **options: Any) -> Case:
    """An op that both libraries know."""
    return Case(
        reads, writes,
        lambda m, *xs: getattr(m, name)(*xs),
        lambda m, *xs: getattr(m, theirs or name)(*xs),
        arrays, **options,
    )  # fmt: skip


def both(f: Callable[..., Any], reads: float = 1, writes: float = 1, arrays: int = 1, **options: Any) -> Case:
    """An expression that is the same in both libraries."""
    return Case(reads, writes, f, f, arrays, **options)


def functional(name: str, ours: str = "") -> Case:
    """An activation."""
    return Case(
        1, 1, lambda m, x: getattr(m, ours or name)(x), lambda m, x: getattr(m.nn.functional, name)(x)
    )  # fmt: skip


def cube(n: int) -> tuple[int, ...]:
    """(8, 16, ..., 32): four axes, of which a permutation leaves none where it was."""
    return (8, 16, max(1, n // 4096), 32)


def narrow(width: int) -> Callable[[int], tuple[int, ...]]:
    """Rows of ``width``."""
    return lambda n: (max(1, n // width), width)


def places(m: Any, x: Any) -> tuple[Any, ...]:
    """``x`` and as many places along its last axis."""
    n, width = x.shape
    where = np.random.default_rng(1).integers(0, width, (n, width))
    return x, m.tensor(where)


def lines(m: Any, x: Any) -> tuple[Any, ...]:
    """``x`` and as many of its rows, in random order."""
    return x, m.tensor(np.random.default_rng(1).permutation(x.shape[0]))


def classes(m: Any, x: Any) -> tuple[Any, ...]:
    """Scores, and the number of a column for each row."""
    return x, m.tensor(np.random.default_rng(1).integers(0, x.shape[1], x.shape[0]))


def mask(m: Any, x: Any, *rest: Any) -> tuple[Any, ...]:
    """Which are positive, before the operands."""
    return (x > 0, x, *rest)


def stepped(name: str, **options: Any) -> Callable[..., tuple[Any, ...]]:
    """An optimizer of one parameter that has a gradient, after its first step."""

    def prepare(m: Any, x: Any, g: Any) -> tuple[Any, ...]:
        p = x.detach().clone()
        p.requires_grad = True
        p.grad = g
        more = {"fused": True} if m is not cr and name in ("SGD", "Adam", "AdamW") else {}
        optimizer = getattr(m.optim, name)([p], lr=1e-3, **options, **more)
        optimizer.step()
        return (optimizer,)

    return prepare


def optimizer(name: str, states: int, **options: Any) -> Case:
    """A step: parameter and states are read and written, the gradient is read."""
    step = lambda m, o: o.step()  # noqa: E731
    return Case(2 + states, 1 + states, step, step, 2, lambda n: (n,), stepped(name, **options))


def clipped(m: Any, x: Any) -> tuple[Any, ...]:
    """Eight parameters with gradients."""
    parameters = []
    for part in x.reshape(8, -1):
        p = part.detach().clone()
        p.requires_grad = True
        p.grad = part.clone()
        parameters.append(p)
    return (parameters,)


def clip_norm(m: Any, parameters: Any) -> Any:
    """The gradients scaled to length 1; read to measure, then read and written."""
    if m is cr:
        return m.optim.clip_grad_norm_(parameters, 1.0)
    return m.nn.utils.clip_grad_norm_(parameters, 1.0)


def normed(m: Any, x: Any) -> tuple[Any, ...]:
    """Rows, a weight for each column, and the statistics of the rows as the gradient of layer norm takes them."""
    w = m.ones(x.shape[1])
    mean, rstd = x.mean(1), (x.var(1) + 1e-5) ** -0.5
    if m is cr:
        return tuple(t.numpy() for t in (x, w, mean, rstd))
    return x, w, mean[:, None], rstd[:, None]


def normed_back(m: Any, x: Any, w: Any, mean: Any, rstd: Any) -> Any:
    """The gradients of layer norm of rows, weight and bias."""
    if m is cr:
        given = {"needs": (True, True, True), "normalized_shape": w.shape, "eps": 1e-5}
        return _native.layer_norm_vjp(x, x, w, mean, rstd, **given)
    return m.ops.aten.native_layer_norm_backward(x, x, w.shape, mean, rstd, w, w, [True, True, True])


def seeded(m: Any, x: Any) -> tuple[Any, ...]:
    """``x``, and for us the state of a generator."""
    return (x, m.tensor([1, 0])) if m is cr else (x,)


def square(n: int) -> tuple[int, ...]:
    """Matrices of 64 by 64."""
    return (max(1, n // 4096), 64, 64)


UNARY = (
    "neg abs sign sqrt floor ceil round exp expm1 log log1p log2 sin cos tan asin acos atan sinh cosh tanh erf sigmoid "
    "square rsqrt reciprocal"
).split()
ACTIVATIONS = (
    "relu leaky_relu silu gelu elu selu relu6 hardsigmoid hardswish softplus logsigmoid hardtanh softshrink hardshrink "
    "celu mish softsign"
).split()

CASES: dict[str, Case] = {
    **{name: same(name, prepare=lambda m, x: (abs(x) * 0.3 + 0.01,)) for name in UNARY},
    **{name: functional(name) for name in ACTIVATIONS},
    **{
        name: same(name, 2, 1, 2, theirs=theirs, prepare=lambda m, x, y: (abs(x) + 0.1, abs(y) + 0.1))
        for name, theirs in [
            ("add", ""), ("sub", ""), ("mul", ""), ("div", ""), ("maximum", ""), ("minimum", ""), ("pow", ""),
            ("atan2", ""), ("remainder", ""), ("floor_div", "floor_divide"),
        ]
    },  # fmt: skip
    "add_number": both(lambda m, x: x + 1.5),
    "add_row": both(lambda m, x, y: x + y, arrays=2, prepare=lambda m, x, y: (x, y[:1])),
    "add_column": both(lambda m, x, y: x + y, arrays=2, prepare=lambda m, x, y: (x, y[:, :1])),
    "add_transposed": both(lambda m, x, y: x + y, 2, 1, 2, prepare=lambda m, x, y: (x, y.reshape(-1, x.shape[0]).T)),
    "gt": both(lambda m, x, y: x > y, 2, 0.25, 2),
    "clip": both(lambda m, x: m.clip(x, -1.0, 1.0)),
    "where": both(lambda m, c, x, y: m.where(c, x, y), 2.25, 1, 2, prepare=mask),
    "where_number": both(lambda m, c, x: m.where(c, x, 0.0), 1.25, 1, prepare=mask),
    "where_row": both(lambda m, c, x, y: m.where(c, x, y), 2, 1, 2, prepare=lambda m, x, y: (x[:1] > 0, x, y)),
    "tril": both(lambda m, x: m.tril(x), 0.5, 1, shape=square),
    "triu": both(lambda m, x: m.triu(x), 0.5, 1, shape=square),
    "masked_fill": both(lambda m, c, x: x.masked_fill(c, -1e9), 1.25, 1, prepare=mask),
    "huber": Case(2, 0, lambda m, x, y: m.huber(x, y), lambda m, x, y: m.nn.functional.huber_loss(x, y), 2),
    "mse": Case(2, 0, lambda m, x, y: m.mse(x, y), lambda m, x, y: m.nn.functional.mse_loss(x, y), 2),
    "mae": Case(2, 0, lambda m, x, y: m.mae(x, y), lambda m, x, y: m.nn.functional.l1_loss(x, y), 2),
    "bce_with_logits": Case(
        2, 0, lambda m, x, y: m.bce_with_logits(x, y),
        lambda m, x, y: m.nn.functional.binary_cross_entropy_with_logits(x, y), 2,
    ),
    "sum": both(lambda m, x: m.sum(x), 1, 0),
    "sum_rows": both(lambda m, x: x.sum(1), 1, 0),
    "sum_columns": both(lambda m, x: x.sum(0), 1, 0),
    "mean_small": both(lambda m, x: x.mean(1), 1, 1 / 4, shape=narrow(4)),
    "mean_16": both(lambda m, x: x.mean(1), 1, 1 / 16, shape=narrow(16)),
    "mean_middle": both(lambda m, x: x.mean(1), 1, 1 / 16, shape=lambda n: (max(1, n // 512), 16, 32)),
    "max_rows": both(lambda m, x: x.max(1)[0], 1, 0),
    "max_small": both(lambda m, x: x.max(1)[0], 1, 1 / 4, shape=narrow(4)),
    "argmax_rows": both(lambda m, x: x.argmax(1), 1, 0),
    "argmax_columns": both(lambda m, x: x.argmax(0), 1, 0),
    "var_rows": both(lambda m, x: x.var(1), 1, 0),
    "var": both(lambda m, x: x.var(), 1, 0),
    "norm": both(lambda m, x: x.norm(), 1, 0),
    "norm_rows": Case(1, 0, lambda m, x: m.norm(x, axis=1), lambda m, x: m.linalg.vector_norm(x, dim=1)),
    "norm_1": Case(1, 0, lambda m, x: m.norm(x, ord=1), lambda m, x: m.linalg.vector_norm(x, 1)),
    "logsumexp": both(lambda m, x: m.logsumexp(x, 1), 1, 0),
    "cumsum": both(lambda m, x: m.cumsum(x, 1)),
    "cumsum_columns": both(lambda m, x: m.cumsum(x, 0)),
    "softmax": both(lambda m, x: m.softmax(x, 1)),
    "log_softmax": both(lambda m, x: m.log_softmax(x, 1)),
    "softmax_narrow": both(lambda m, x: m.softmax(x, 1), shape=narrow(10)),
    "layer_norm": Case(
        1, 1, lambda m, x: m.layer_norm(x, normalized_shape=x.shape[1:]),
        lambda m, x: m.nn.functional.layer_norm(x, x.shape[1:]),
    ),
    "layer_norm_128": Case(
        1, 1, lambda m, x: m.layer_norm(x, normalized_shape=x.shape[1:]),
        lambda m, x: m.nn.functional.layer_norm(x, x.shape[1:]), shape=narrow(128),
    ),
    "layer_norm_back": Case(2, 1, normed_back, normed_back, prepare=normed),
    "mean_planes": both(lambda m, x: x.mean((2, 3)), 1, 0, shape=lambda n: (max(1, n // 3136), 64, 7, 7)),
    "cross_entropy": Case(
        1, 0, lambda m, x, i: m.cross_entropy(x, i), lambda m, x, i: m.nn.functional.cross_entropy(x, i),
        prepare=classes, shape=narrow(10),
    ),
    "dropout": Case(1, 1.25, lambda m, x, *s: m.dropout(x, *s, p=0.5), lambda m, x: m.dropout(x, 0.5, True), prepare=seeded),
    "sort": Case(1, 3, lambda m, x: m.sort(x, 1), lambda m, x: m.sort(x, 1)),
    "topk": both(lambda m, x: m.topk(x, 8, 1), 1, 0),
    "clone": both(lambda m, x: x.clone()),
    "to_float64": Case(1, 2, lambda m, x: x.to("float64"), lambda m, x: x.double()),
    "transposed": both(lambda m, x: x.T.contiguous()),
    "permute_0213": both(lambda m, x: x.permute(0, 2, 1, 3).contiguous(), shape=cube),
    "permute_0231": both(lambda m, x: x.permute(0, 2, 3, 1).contiguous(), shape=cube),
    "permute_0312": both(lambda m, x: x.permute(0, 3, 1, 2).contiguous(), shape=cube),
    "permute_3210": both(lambda m, x: x.permute(3, 2, 1, 0).contiguous(), shape=cube),
    "concat": Case(2, 2, lambda m, x, y: m.concat([x, y], 1), lambda m, x, y: m.cat([x, y], 1), 2),
    "flip": both(lambda m, x: m.flip(x, (1,))),
    "zeros": both(lambda m, x: m.zeros(x.shape), 0, 1),
    "gather": Case(3, 1, lambda m, x, i: m.gather(x, i, axis=1), lambda m, x, i: m.gather(x, 1, i), prepare=places),
    "scatter_add": Case(
        4, 1, lambda m, x, i: m.scatter_add(x, i, x, axis=1), lambda m, x, i: m.scatter_add(x, 1, i, x), prepare=places,
    ),
    "rows_taken": both(lambda m, x, i: x[i], prepare=lines),
    "embedding": Case(
        1, 1, lambda m, x, i: m.embedding(i, x), lambda m, x, i: m.nn.functional.embedding(i, x), prepare=lines,
    ),
    "add_": both(lambda m, x, y: x.add_(y), 2, 1, 2),
    "mul_number_": both(lambda m, x: x.mul_(1.0)),
    "zero_": both(lambda m, x: x.zero_(), 0, 1),
    "sgd": optimizer("SGD", 0),
    "momentum": optimizer("SGD", 1, momentum=0.9),
    "adam": optimizer("Adam", 2),
    "adamw": optimizer("AdamW", 2),
    "rmsprop": optimizer("RMSprop", 1),
    "adagrad": optimizer("Adagrad", 1),
    "nadam": optimizer("NAdam", 2),
    "adamax": optimizer("Adamax", 2),
    "radam": optimizer("RAdam", 2),
    "adadelta": optimizer("Adadelta", 2),
    "clip_grad_norm": Case(2, 1, clip_norm, clip_norm, 1, lambda n: (n // 8 * 8,), clipped),
}  # fmt: skip


class Work(NamedTuple):
    """What an element costs beside memory: operations (all as multiply-adds, one vector each), and what has a unit apart."""

    operations: float = 0
    divisions: float = 0
    roots: float = 0
    widened: float = 0  # made double and added

    def seconds(self, rates: dict[str, float]) -> float:
        """The time of an element if nothing but its busiest unit counts."""
        apart = self.divisions / rates["divisions"] + self.roots / rates["roots"]  # one unit does both
        return max(self.operations / rates["operations"], apart, self.widened / rates["widened"])


# Counted in native/core/vmath.h. Of what is computed in double precision (sin to cosh, pow, atan2) nothing is counted.
WORK = {
    "exp": Work(15), "expm1": Work(22), "log": Work(32), "log2": Work(33), "log1p": Work(37, 1), "tanh": Work(23, 1),
    "erf": Work(34), "sigmoid": Work(19, 1), "silu": Work(20, 1), "gelu": Work(24), "elu": Work(24), "celu": Work(26),
    "selu": Work(25), "sqrt": Work(roots=1), "rsqrt": Work(divisions=1, roots=1), "reciprocal": Work(divisions=1),
    "div": Work(divisions=1), "softsign": Work(divisions=1), "softmax": Work(20), "log_softmax": Work(20),
    **{name: Work(widened=1) for name in "sum sum_rows sum_columns mean_small mean_16 mean_middle mean_planes".split()},
    **{name: Work(widened=1) for name in "norm norm_rows norm_1".split()},
    **{name: Work(divisions=1, roots=1) for name in "adam adamw rmsprop adagrad nadam radam adadelta".split()},
}  # fmt: skip


def limits_of(levels: dict[str, int]) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """Of one core: bytes a second by level (loops that only read, only write, copy, add), and the rates of ``Work``."""
    source = Path(__file__).with_name("bandwidth.cpp")
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "bandwidth"
        subprocess.run(["g++", "-O3", "-march=native", "-std=c++20", source, "-o", program], check=True)
        done = subprocess.run([program, *map(str, levels.values())], capture_output=True, text=True, check=True)
    kinds = ("read", "write", "copy", "add")
    lines = [[float(text) for text in line.split()] for line in done.stdout.splitlines()]
    rates = dict(zip(Work._fields, lines.pop(), strict=True))
    return {level: dict(zip(kinds, line, strict=True)) for level, line in zip(levels, lines, strict=True)}, rates


def kind(case: Case) -> str:
    """The loop whose proportion of reads and writes is nearest."""
    share = case.reads / (case.reads + case.writes)
    return min({"read": 1.0, "add": 2 / 3, "copy": 0.5, "write": 0.0}.items(), key=lambda item: abs(item[1] - share))[0]


def race(contestants: list[Callable[[], Any]], seconds: float) -> list[float]:
    """The least time of a call of each, taking turns in blocks of about half a millisecond."""
    counts = []
    for call in contestants:
        call()
        begin = time.perf_counter()
        call()
        counts.append(max(1, int(5e-4 / (time.perf_counter() - begin))))
    least = [float("inf")] * len(contestants)
    end = time.monotonic() + seconds
    rounds = 0
    while time.monotonic() < end or rounds < 5:
        rounds += 1
        for i, (call, count) in enumerate(zip(contestants, counts, strict=True)):
            begin = time.perf_counter()
            for _ in range(count):
                call()
            least[i] = min(least[i], (time.perf_counter() - begin) / count)
    return least


def operands(case: Case, total: int) -> list[Any]:
    """Random arrays, so many that a call reads and writes ``total`` bytes."""
    n = int(total / 4 / (case.reads + case.writes)) // COLUMNS * COLUMNS or COLUMNS
    random = np.random.default_rng(0)
    return [random.standard_normal(case.shape(n), dtype=np.float32) for _ in range(case.arrays)]


def call(module: Any, function: Callable[..., Any], case: Case, arrays: list[Any]) -> Callable[[], Any]:
    """``function`` on tensors of ``module`` with these values."""
    given = case.prepare(module, *(module.tensor(a) for a in arrays))
    return lambda: function(module, *given)


def measure(
    name: str, level: str, limits: dict[str, dict[str, float]], rates: dict[str, float], torch: Any, seconds: float
) -> dict[str, Any]:
    """One row: an op on arrays of one level."""
    case = CASES[name]
    arrays = operands(case, LEVELS[level])
    contestants = [call(cr, case.ours, case, arrays)]
    if torch is not None and case.theirs is not None:
        contestants.append(call(torch, case.theirs, case, arrays))
    contestants.append(call(cr, case.ours, case, operands(case, 0)))
    ours, *theirs, smallest = race(contestants, seconds)
    size = 4 * (case.reads + case.writes) * arrays[0].size
    work = WORK.get(name, Work()).seconds(rates) * arrays[0].size
    bound = max(size / limits[level][kind(case)], work)
    return {
        "op": name,
        "level": level,
        "elements": int(arrays[0].size),
        "ours_us": round(ours * 1e6, 2),
        "torch_us": round(theirs[0] * 1e6, 2) if theirs else None,
        "ratio": round(theirs[0] / ours, 2) if theirs else None,
        "gb_s": round(size / ours / 1e9, 1),
        "share": round(bound / ours, 3),
        "kernel": round(bound / max(ours - smallest, 1e-9), 3),
        "bound": "arithmetic" if bound == work else "memory",
        "threads": 1,
    }


def main() -> None:
    """Measure the ops named, or all, and print a table; ``--out`` keeps the rows as JSON lines."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.flat", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *CASES], metavar="name", help="ops; all without any")
    parser.add_argument("--levels", nargs="*", choices=[*LEVELS], default=[*LEVELS])
    parser.add_argument("--seconds", type=float, default=0.1, help="of measuring for each row")
    parser.add_argument("--out", type=Path, help="a file that the rows are added to")
    options = parser.parse_args()
    if any(name in os.environ for name in SPOILED):
        print(f"note: {' and '.join(n for n in SPOILED if n in os.environ)} is set", file=sys.stderr)
    try:
        import torch

        torch.set_num_threads(1)
    except ImportError:
        torch = None
    cr.set_num_threads(1)
    limits, rates = limits_of(LEVELS)
    for level, figures in limits.items():
        print(f"{level:7}" + "  ".join(f"{k} {v / 1e9:.0f} GB/s" for k, v in figures.items()))
    print("elements a second: " + "  ".join(f"{k} {v / 1e9:.1f}e9" for k, v in rates.items()))
    stamp = {
        "machine": machine(),
        "rates": {k: round(v / 1e9, 2) for k, v in rates.items()},
        "limits_gb_s": {k: {n: round(v / 1e9, 1) for n, v in f.items()} for k, f in limits.items()},
    }
    print(
        f"{'op':16} {'level':7} {'elements':>9} {'ours':>12} {'torch':>12} {'ratio':>7} {'GB/s':>7} {'share':>6} {'kernel':>6}"
    )
    with cr.no_grad(), torch.no_grad() if torch is not None else cr.no_grad():
        for name in options.names or CASES:
            for level in options.levels:
                row = measure(name, level, limits, rates, torch, options.seconds)
                peer = f"{row['torch_us']:9.1f} us {row['ratio']:6.2f}x" if row["ratio"] else f"{'-':>12} {'-':>7}"
                print(
                    f"{name:16} {level:7} {row['elements']:9} {row['ours_us']:9.1f} us {peer} {row['gb_s']:7.1f} "
                    f"{row['share']:6.0%} {row['kernel']:6.0%} {row['bound']}",
                    flush=True,
                )
                if options.out:
                    with options.out.open("a") as file:
                        file.write(json.dumps(row | stamp) + "\n")


if __name__ == "__main__":
    main()
