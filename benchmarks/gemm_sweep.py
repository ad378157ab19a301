"""The share of one core's peak that matrix products reach, over shapes: ``python -m benchmarks.gemm_sweep``.

Each shape is timed in rounds, beside a loop of fused multiply-adds on the same core in the same process; what counts is
processor time, in one of the best rounds. Writes ``benchmarks/results/gemm_sweep.json`` and ``docs/gemm_sweep.svg``.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes  # noqa: F401  # bfloat16 for NumPy
import numpy as np

from chainrule.apps.bench.limits import Limits

ROOT = Path(__file__).parent.parent


class Shape(NamedTuple):
    """C[m, n] = A[m, k] · B[k, n]; ``layout`` n or t each, whether A and B lie as they are read or transposed."""

    group: str
    m: int
    n: int
    k: int
    layout: str = "nt"
    batch: int = 1


def shapes() -> list[Shape]:
    """Square ones, layers at several batches with their two gradients, LSTM steps, heads of attention."""
    rows = [Shape("square", n, n, n, "nn") for n in (16, 32, 64, 128, 256, 512, 1024)]
    rows += [Shape("784 to 128", b, 128, 784) for b in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)]
    rows += [Shape("784 to 128, weights", 128, 784, b, "tn") for b in (8, 16, 32, 64, 128, 256, 512, 1024)]
    for width in (128, 256, 384, 512, 768):
        rows.append(Shape("d to 4 d, 768 rows", 768, 4 * width, width))
        rows.append(Shape("4 d to d, 768 rows", 768, width, 4 * width))
        rows.append(Shape("4 d to d, weights", width, 4 * width, 768, "tn"))
    rows += [Shape("LSTM step, 4 h sums", b, 512, 128, "nn") for b in (1, 4, 8, 16, 32, 64)]
    rows += [Shape("attention heads, 32 wide", t, t, 32, "nt", 48) for t in (16, 32, 64, 128, 256)]
    return rows


def case(s: Shape, dtype: str) -> Callable[[], Any]:
    """A call of the native product of this shape."""
    from chainrule import _native

    r = np.random.default_rng(0)

    def matrix(rows: int, columns: int, transposed: bool) -> Any:
        x = r.standard_normal((s.batch, *((columns, rows) if transposed else (rows, columns)))).astype(dtype)
        x = x.swapaxes(1, 2) if transposed else x
        return x if s.batch > 1 else x[0]

    a, b = matrix(s.m, s.k, s.layout[0] == "t"), matrix(s.k, s.n, s.layout[1] == "t")
    return lambda: _native.matmul(a, b)


def seconds(call: Callable[[], Any], rounds: int) -> float:
    """Processor time of one call in a good round of about a millisecond: one in fifty is better (a clock may slip)."""
    call()
    begin = time.thread_time()
    call()
    calls = max(1, int(1e-3 / max(time.thread_time() - begin, 1e-7)))
    times = []
    for _ in range(rounds):
        begin = time.thread_time()
        for _ in range(calls):
            call()
        times.append((time.thread_time() - begin) / calls)
    return sorted(times)[rounds // 50]


def sweep(dtype: str, rounds: int) -> dict[str, Any]:
    """All shapes, in GFLOP/s and as shares of the peak."""
    from chainrule import _native

    _native.set_num_threads(1)
    top = Limits(1).found["flops64" if dtype == "float64" else "flops32"]
    if dtype == "bfloat16":  # vdpbf16ps does twice the operations of a fused multiply-add
        if not _native._bfloat16_products():
            raise SystemExit(
                "no products of bfloat16 here: the processor has no AVX512-BF16, or CHAINRULE_SIMD names a set"
            )
        top *= 2
    rows = []
    for s in shapes():
        rate = 2.0 * s.batch * s.m * s.n * s.k / seconds(case(s, dtype), rounds)
        rows.append({**s._asdict(), "gflops": round(rate / 1e9, 1), "share_of_peak": round(rate / top, 3)})
        print(
            f"{s.group:26} {s.batch:3} x {s.m:4} x {s.n:4} x {s.k:4} {rate / 1e9:7.1f} GFLOP/s {rate / top:5.0%}",
            flush=True,
        )
    return {"dtype": dtype, "simd": _native.simd(), "peak_gflops": round(top / 1e9, 1), "rows": rows}


def draw(result: dict[str, Any], path: Path) -> None:
    """Share of the peak over the floating-point operations of a product, a line for each group."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "gemm_sweep"
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for group in dict.fromkeys(row["group"] for row in result["rows"]):
        rows = [row for row in result["rows"] if row["group"] == group]
        flops = [2.0 * row["batch"] * row["m"] * row["n"] * row["k"] for row in rows]
        axes.semilogx(flops, [100 * row["share_of_peak"] for row in rows], "o-", markersize=3, linewidth=1, label=group)
    axes.set(xlabel="floating-point operations of the call", ylabel="% of one core's peak", ylim=(0, 100))
    axes.set_title(
        f"Matrix products, {result['dtype']}, one thread, peak {result['peak_gflops']:.0f} GFLOP/s", fontsize=10
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, loc="lower right")
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Measure, write down, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", choices=("float32", "float64", "bfloat16"), default="float32")
    parser.add_argument("--rounds", type=int, default=150)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "gemm_sweep.json")
    parser.add_argument("--plot", type=Path, default=ROOT / "docs" / "gemm_sweep.svg")
    given = parser.parse_args()
    result = sweep(given.dtype, given.rounds)
    given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    draw(result, given.plot)


if __name__ == "__main__":
    main()
