"""``plot``, ``report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..kinds import KINDS
from .shared import PANELS, Json, RunFolder, Threads, as_text, completing, one_of, say, use_threads, warn


def check_kinds(kinds: list[str] | None) -> list[str] | None:
    """Each a known kind."""
    check = one_of("plot", KINDS)
    for kind in kinds or ():
        check(kind)
    return kinds


def plot(
    run: RunFolder,
    kinds: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KIND",
            help="; ".join(f"{kind}: {about}" for kind, about in KINDS.items()) + ". history if none is given.",
            callback=check_kinds,
            autocompletion=completing(KINDS),
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="File of the figure, .png, .svg, .pdf; RUN/plots/KIND.png if not given.")
    ] = None,
    against: Annotated[
        list[Path] | None, typer.Option(help="Another run, whose curves are drawn beside; once for each.")
    ] = None,
    text: Annotated[bool, typer.Option("--text", help="Characters alone, no file.")] = False,
    sample: Annotated[int, typer.Option(min=0, help="The sample of the test part, for features and attention.")] = 0,
    layer: Annotated[
        str | None, typer.Option(help="The layer, for filters and features: its path, as 0 or 3.body.0.")
    ] = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """See a run: curves in the terminal, figures in files. Without matplotlib there are the curves, tables and bars alone."""
    from ..figures import Figures
    from ..runs import opened

    use_threads(threads)
    wanted = kinds or ["history"]
    if out is not None and len(wanted) > 1:
        raise typer.BadParameter("one file cannot hold several figures: give one KIND", param_hint="--out")
    if against and kinds not in (None, [], ["history"]):
        raise typer.BadParameter("curves are compared, other figures are of one run", param_hint="--against")
    made = Figures(opened(run), sample=sample, layer=layer)
    found = []
    for kind in wanted:
        one = made.compare([*map(opened, against)], out, text=text) if against else made.make(kind, out, text=text)
        found.append(one)
        if as_json:
            continue
        if one.text:
            print(one.text)
        if one.note:
            warn(one.note)
        if one.path:
            say(f"written: {one.path}")
    if as_json:
        print(as_text([{"kind": one.kind, "path": one.path and str(one.path), "values": one.values} for one in found]))


def report(
    run: RunFolder,
    out: Annotated[Path | None, typer.Option(help="The file; RUN/report.html if not given.")] = None,
    fast: Annotated[
        bool, typer.Option("--fast", help="Without what needs the data: settings and curves alone.")
    ] = False,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Everything about a run in one HTML file that needs no other: settings, curves, confusion, mistakes, filters, weights."""
    from ..page import write_report
    from ..runs import opened

    use_threads(threads)
    path = write_report(opened(run), out, fast=fast)
    print(as_text({"report": str(path), "bytes": path.stat().st_size})) if as_json else say(f"written: {path}")


def add(app: typer.Typer) -> None:
    """Put the commands into the command line."""
    examples: dict[Any, str] = {
        plot: "Example: `chainrule plot runs/mine history confusion misclassified`",
        report: "Example: `chainrule report runs/mine --out mine.html`",
    }
    for command, example in examples.items():
        app.command(epilog=example, rich_help_panel=PANELS[2])(command)
