"""``chainrule bench``: the commands that need no race, and what is made of rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from .cli import Blocks, Json, bench, counts, numbers, parts

Repeats = Annotated[int, typer.Option(min=1, help="Calls of which the median is shown.")]
DType = Annotated[str, typer.Option(help="float32 or float64.")]
Sanity = Annotated[bool, typer.Option("--sanity", help="Compare the results, too.")]
Rows = Annotated[Path | None, typer.Option("--out", help="A file for the rows.")]


def shown(rows: Iterator[Any], out: Path | None, as_json: bool) -> None:
    """Each row as it comes: its times, and how many times faster the first is than the others."""
    from . import results

    kept = []
    for row in rows:
        if isinstance(row, str):
            print(row, flush=True)
            continue
        kept.append(row)
        first, *rest = row["seconds"]
        texts = [f"{who} {results.shown_seconds(t)}" for who, t in row["seconds"].items()]
        texts += [f"p95 {results.shown_seconds(t)}" for t in list(row.get("p95", {}).values())[:1]]
        texts += [f"{row['seconds'][who] / row['seconds'][first]:.1f}× of {who}" for who in rest]
        text = f"{row['name']:24} {'   '.join(texts)}   {row.get('sanity', '')}".rstrip()
        print(json.dumps(row) if as_json else text, flush=True)
    if out is not None:
        results.keep([row | results.stamp() for row in kept], out)


@bench.command("three-way", epilog="Example: `chainrule bench three-way conv --presets mnist,tiny --sanity`")
def three_way(
    what: Annotated[list[str] | None, typer.Argument(help="conv, pool; both if none is named.")] = None,
    presets: Annotated[str, typer.Option(help="Shapes by name: mnist, tiny, small, ...; all if not given.")] = "",
    dtype: DType = "float32",
    repeats: Repeats = 9,
    skip_python: Annotated[bool, typer.Option("--skip-python", help="Leave pure Python out.")] = False,
    sanity: Sanity = False,
    out: Rows = None,
    as_json: Json = False,
) -> None:
    """Convolution and pooling in pure Python, NumPy, and native code with one thread and with all."""
    from . import three_way as ways

    (kind,) = parts(dtype, known=("float32", "float64"))
    settings = ways.Settings(kind, repeats, not skip_python, sanity)
    for name in parts(",".join(what or ["conv", "pool"]), known=("conv", "pool")):
        shown((ways.conv if name == "conv" else ways.pool)(parts(presets) or None, settings), out, as_json)


@bench.command("cpu-vs-cuda", epilog="Example: `chainrule bench cpu-vs-cuda linear ops --sanity`")
def cpu_vs_cuda(
    what: Annotated[
        list[str] | None,
        typer.Argument(help="linear, pool2d, conv2d, conv_transpose2d, ops, matmul; all if none is named."),
    ] = None,
    size: Annotated[int, typer.Option(min=4, help="Side of matrices; pictures grow with it.")] = 512,
    dtype: DType = "float32",
    repeats: Repeats = 20,
    sanity: Sanity = False,
    out: Rows = None,
    as_json: Json = False,
) -> None:
    """The same work on the CPU and on a GPU; where there is none, on the CPU alone."""
    from .devices import cpu_vs_cuda as rows

    (kind,) = parts(dtype, known=("float32", "float64"))
    shown(rows(what, size, kind, repeats, sanity), out, as_json)


@bench.command(epilog="Example: `chainrule bench scaling matmul add --plot runs/scaling.svg`")
def scaling(
    what: Annotated[list[str] | None, typer.Argument(help="Ops, all if none is named.")] = None,
    threads: Annotated[str, typer.Option(help="Numbers of threads, `1,2,4`; 1 and all cores if not given.")] = "",
    blocks: Blocks = 9,
    largest: Annotated[int, typer.Option(min=1, help="Leave out larger sizes.")] = 1 << 30,
    numpy: Annotated[bool, typer.Option(help="Have NumPy multiply matrices, too.")] = True,
    gpu: Annotated[
        str, typer.Option(help="Figures of a GPU to estimate: µs of a launch, TFLOP/s, GB/s, GB/s of the link.")
    ] = "10,10,500,12",
    plot: Annotated[Path | None, typer.Option(help="File for plots, .svg or .png.")] = None,
    page: Annotated[
        Path | None, typer.Option(help="A page whose figures are to be replaced, as docs/scaling.md.")
    ] = None,
    out: Rows = None,
    as_json: Json = False,
) -> None:
    """CPU or GPU, how many threads, where is the boundary: ops over sizes and numbers of threads."""
    from . import results
    from . import scaling as work
    from . import scaling_report as report
    from .limits import Limits, Sentinel

    figures = numbers(gpu)
    if len(figures) != 4:
        raise typer.BadParameter(f"--gpu takes 4 figures, got {gpu!r}")
    sentinel = Sentinel(Limits(1, {}))
    sentinel.begin([])
    card = work.Gpu(figures[0] * 1e-6, figures[1] * 1e12, figures[2] * 1e9, figures[3] * 1e9)
    rows = []
    for row in work.scaling(what, sorted({1, *counts(threads)}), blocks, largest, numpy, card):
        rows.append(row | results.stamp())
        print(json.dumps(row) if as_json else report.line(row), flush=True)
    if not as_json:
        print(*(report.said(a) for a in work.answers(rows)), sep="\n")
    busy = sentinel.end()
    told = f" The machine was busy: others used {busy['others']} cores." if busy["busy"] else ""
    if told and not as_json:
        print(told.strip())
    if out is not None:
        results.keep(rows, out)
    if plot is not None:
        report.plot(rows, plot)
    if page is not None:
        stamp = results.stamp()
        report.put(rows, page, f"Measured on {stamp['machine']}, commit {stamp['commit']}, {stamp['date'][:10]}.{told}")


@bench.command(epilog="Example: `chainrule bench compare before.jsonl after.jsonl`")
def compare(
    before: Annotated[Path, typer.Argument(help="Rows of the one.")],
    after: Annotated[Path, typer.Argument(help="Rows of the other.")],
    as_json: Json = False,
) -> None:
    """What became faster and what slower, by blocks; exit code 1 if anything became slower."""
    from . import results
    from .compare import compare as found
    from .compare import named

    changes, lone = found(results.read(before), results.read(after))
    if as_json:
        print(json.dumps([vars(c) | {"verdict": c.verdict} for c in changes], indent=2))
    else:
        width = max([len(named(c.key)) for c in changes] + [4])
        print(f"{'case':{width}} {'before':>9} {'after':>9} {'change':>8}  {'95 of 100':17} {'p':>7}")
        for c in changes:
            print(
                f"{named(c.key):{width}} {results.shown_seconds(c.before):>9} {results.shown_seconds(c.after):>9} "
                f"{c.ratio - 1:+8.1%}  {c.low - 1:+7.1%} to {c.high - 1:+6.1%} {c.p:7.4f} {c.verdict}".rstrip()
            )
        print(*lone, sep="\n", end="\n" if lone else "")
    if any(c.verdict == "REGRESSION" for c in changes):
        raise typer.Exit(1)


@bench.command(epilog="Example: `chainrule bench report benchmarks/results/races.jsonl`")
def report(file: Annotated[Path, typer.Argument(help="Rows of `peers`.")]) -> None:
    """Rows as a table in Markdown: the latest of each case, beside its goal."""
    from . import results

    print(results.markdown(results.read(file)))
