"""``chainrule bench``: its commands."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from .race import Plan

bench = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Measure speed: ours, beside peers, beside the machine's limit; where it goes, and what changed.",
)


Cases = Annotated[
    list[str] | None, typer.Argument(help="Cases, all if none is named; `chainrule bench list` has them.")
]
Threads = Annotated[str, typer.Option(help="Numbers of threads, `1,2`; 1 and all cores if not given.")]
Scales = Annotated[str, typer.Option(help="Multiples of the standard sizes, `0.25,1,4`.")]
DTypes = Annotated[str, typer.Option("--dtype", help="float32, float64, or both: `float32,float64`.")]
Modes = Annotated[str, typer.Option(help="Of ours: eager, jit, or both.")]
Blocks = Annotated[int, typer.Option(min=1, help="Blocks of each contestant at least.")]
Seconds = Annotated[float, typer.Option(min=0, help="Seconds of racing for each row at least.")]
Block = Annotated[float, typer.Option(min=0, help="Seconds of a block.")]
Out = Annotated[Path | None, typer.Option(help="File for the rows; benchmarks/results or runs/bench if not given.")]
Json = Annotated[bool, typer.Option("--json", help="Print rows as JSON.")]
Peers = Annotated[str, typer.Option("--peer-python", help="Interpreter that has the peers; this one if not given.")]
Check = Annotated[bool, typer.Option(help="Compare results with float64 first.")]
MODES = ("eager", "jit")
ALL = "torch, torch:compile, jax, keras, numpy, keydnn, convnet, mpneuralnetwork"


def parts(text: str, known: tuple[str, ...] = ()) -> list[str]:
    """What is between commas. Errors: BadParameter for what is not known."""
    found = [p.strip() for p in text.split(",") if p.strip()]
    for part in found:
        if known and part not in known:
            raise typer.BadParameter(f"{part!r} is none of {', '.join(known)}")
    return found


def numbers(text: str) -> list[float]:
    """The numbers between commas. Errors: BadParameter for what is none above 0."""
    try:
        found = [float(part) for part in parts(text)]
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a list of numbers") from None
    if any(not value > 0 for value in found):
        raise typer.BadParameter(f"{text!r} has numbers that are not above 0")
    return found


def plan_of(blocks: int, block_seconds: float, seconds: float, peer_python: str, check: bool) -> Plan:
    """How a race is run."""
    from .race import Plan

    return Plan(blocks, block_seconds, seconds, peer_python or sys.executable, check)


def counts(threads: str) -> list[int]:
    """The numbers of threads that were asked for."""
    from .results import cores

    return [int(t) for t in numbers(threads)] or sorted({1, cores()})


def races(
    cases: list[str] | None,
    who: list[str],
    threads: str,
    scales: str,
    dtypes: str,
    plan: Plan,
    out: Path | None,
    as_json: bool,
) -> None:
    """Race, print each row as it comes, and keep it."""
    from . import results
    from .limits import Limits
    from .race import Entrant, StoppedError, exact, names, race

    chosen, entrants = names(cases), [Entrant.of(text) for text in dict.fromkeys(who)]
    sizes, kinds, many = numbers(scales), parts(dtypes, known=("float32", "float64")), counts(threads)
    stamp, path = results.stamp(), out or results.home() / "races.jsonl"
    if not as_json:
        print(results.HEAD)
    limits = {count: Limits(count) for count in many}
    for case, scale in ((c, s) for c in chosen for s in sizes):
        try:
            expected = exact(case, entrants, plan, scale) if plan.check else None
        except StoppedError as error:
            expected = None
            print(f"{case.name}: results are not compared, for there are none in float64: {error}", file=sys.stderr)
        for dtype, count in ((d, n) for d in kinds for n in many):
            row = race(case, entrants, count, plan, limits[count], scale=scale, dtype=dtype, expected=expected) | stamp
            results.keep([row], path)
            print(*([json.dumps(row)] if as_json else results.lines(row)), sep="\n", flush=True)
            if row["sentinel"]["busy"] and not as_json:
                print(f"{'':16} {results.sentinel_line(row)}", flush=True)


@bench.command("list")
def list_cases() -> None:
    """The standard cases."""
    from .contestants.cases import CASES

    for case in CASES.values():
        print(f"{case.name:16} {case.about}")


@bench.command(epilog="Example: `chainrule bench run mlp_b128 --scales 0.25,1,4`")
def run(
    cases: Cases = None,
    threads: Threads = "",
    scales: Scales = "1",
    dtype: DTypes = "float32",
    mode: Modes = "eager,jit",
    against: Annotated[str, typer.Option(help="Folders with other copies of the package, raced in turns.")] = "",
    hogs: Annotated[int, typer.Option(min=0, help="Cores that other processes keep busy meanwhile.")] = 0,
    blocks: Blocks = 7,
    seconds: Seconds = 2.0,
    block_seconds: Block = 0.06,
    check: Check = True,
    profile: Annotated[
        bool, typer.Option("--profile", help="Do not race: say where time and memory go, with a flame graph.")
    ] = False,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Our own steps: any case, at any size, in any dtype, with any number of threads, eager and recorded."""
    if profile:
        from .profiling import profile_cases

        profile_cases(cases, out or Path("runs/profile"), counts(threads)[0], parts(mode)[0])
        return
    who = [f"chainrule:{m}" for m in parts(mode, known=MODES)]
    who += [f"chainrule@{path}:{m}" for path in parts(against) for m in parts(mode)]
    plan = plan_of(blocks, block_seconds, seconds, "", check)
    plan.hogs = hogs
    races(cases, who, threads, scales, dtype, plan, out, as_json)


@bench.command(epilog="Example: `chainrule bench peers mlp_b128 cnn_bn --peer torch,torch:compile,jax --threads 1,2`")
def peers(
    cases: Cases = None,
    peer: Annotated[str, typer.Option(help=f"Who races: {ALL}; NAME@FOLDER for a package in a folder.")] = "torch,jax",
    threads: Threads = "",
    scales: Scales = "1",
    dtype: DTypes = "float32",
    mode: Modes = "eager,jit",
    blocks: Blocks = 7,
    seconds: Seconds = 3.0,
    block_seconds: Block = 0.06,
    check: Check = True,
    peer_python: Peers = "",
    out: Out = None,
    as_json: Json = False,
) -> None:
    """The cases beside PyTorch, JAX, Keras and earlier systems: the same arrays, in turns, results compared first.

    Whoever is not installed is told and left out.
    """
    who = [f"chainrule:{m}" for m in parts(mode, known=MODES)] + parts(peer)
    races(cases, who, threads, scales, dtype, plan_of(blocks, block_seconds, seconds, peer_python, check), out, as_json)


@bench.command(epilog="Example: `chainrule bench jobs --peer torch`")
def jobs(
    peer: Annotated[str, typer.Option(help="Who is compared.")] = "torch,jax,keras",
    blocks: Blocks = 5,
    steps: Annotated[int, typer.Option(min=1, help="Of the training whose memory is measured.")] = 20,
    peer_python: Peers = "",
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Import time, installed size, and the most memory of a training."""
    from . import results
    from .jobs import job_lines
    from .jobs import jobs as measured
    from .race import Entrant

    entrants = [Entrant.of(x) for x in ["chainrule", "chainrule:jit", *parts(peer)]]
    for row in measured(entrants, plan_of(blocks, 0, 0, peer_python, False), 1, steps):
        results.keep([row | results.stamp()], out or results.home() / "jobs.jsonl")
        print(*([json.dumps(row)] if as_json else job_lines(row)), sep="\n", flush=True)
