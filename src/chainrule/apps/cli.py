"""The command line, ``chainrule``. Exit codes: 0, 1 for what went wrong with files or data, 2 for a wrong command or setting,
130 for Ctrl-C.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from ..domain.errors import ArgumentError, ArgumentTypeError, ChainruleError, MissingFileError, ShapeError
from .bench import commands as _  # noqa: F401  (they are added to bench)
from .bench.cli import bench
from .commands import machine, models, seeing, training
from .commands.shared import PANELS, Json, Threads, any_terminal, use_threads, warn

ASKED = ArgumentError, ArgumentTypeError, MissingFileError, ShapeError  # what was asked for cannot be

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Deep learning from scratch, on the command line. Begin with `chainrule train mnist`.",
)


def print_version(wanted: bool) -> None:
    """Print it and end, if it is wanted."""
    if wanted:
        from .about import version

        print(f"chainrule {version()}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """What stands before a command."""


def file_of(model: Path | None) -> Path | None:
    """The file of a model, of a run's folder too."""
    from .runs import subject

    return None if model is None else subject(model).path


training.add(app)
models.add(app)
seeing.add(app)
app.add_typer(bench, name="bench", rich_help_panel=PANELS[3])


@app.command(epilog="Example: `chainrule draw runs/mine`", rich_help_panel=PANELS[0])
def draw(
    model: Annotated[
        Path | None, typer.Argument(help="A run, or a file of a model; the one that comes with chainrule if left out.")
    ] = None,
    selftest: Annotated[bool, typer.Option("--selftest", help="Draw by itself, check what is read, and end.")] = False,
    threads: Threads = None,
) -> None:
    """Read digits drawn in a window."""
    from .draw import draw as run
    from .predictor import SHIPPED, DigitPredictor

    use_threads(threads)
    run(DigitPredictor(file_of(model)) if model or SHIPPED.exists() else None, selftest=selftest)


@app.command(epilog="Example: `chainrule serve runs/mine --port 8080`", rich_help_panel=PANELS[0])
def serve(
    model: Annotated[
        Path | None, typer.Argument(help="A run, or a file of a model; the one that comes with chainrule if left out.")
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen at. Others than this machine's own open it to all.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 for any that is free.")] = 8000,
    learn: Annotated[
        bool | None,
        typer.Option(
            "--learn/--no-learn", help="Learn from corrections; if not said, at an address of this machine alone."
        ),
    ] = None,
    rate: Annotated[
        float, typer.Option(min=0, help="Drawings a second that a client may send; 0 for any number.")
    ] = 60,
    threads: Threads = None,
) -> None:
    """Read digits drawn in the browser."""
    from .predictor import DigitPredictor
    from .serve import serve as run

    use_threads(threads)
    predictor = DigitPredictor(file_of(model))
    predictor.name = str(model or predictor.name)  # as the page offers it
    run(predictor, host, port, learning=learn, rate=rate or None)


@app.command(epilog="Example: `chainrule inspect runs/mine/model.safetensors`", rich_help_panel=PANELS[1])
def inspect(
    file: Annotated[
        Path, typer.Argument(help="Weights or a model: .safetensors, a folder of them, .npz, .pt, .pth, .json, .h5.")
    ],
    as_json: Json = False,
) -> None:
    """What a file holds: names, dtypes, shapes and sizes of arrays, and the texts beside them. No values are read."""
    from .contents import contents, shown

    found = contents(file)
    if as_json:
        print(json.dumps(found.as_dict(), indent=2))
        return
    from rich.console import Console

    Console(width=1000).print(shown(found))  # a line for each, however long


@app.command(epilog="Example: `chainrule convert model.keras model.safetensors`", rich_help_panel=PANELS[1])
def convert(
    source: Annotated[Path, typer.Argument(help="A model or weights, of chainrule or others.")],
    target: Annotated[Path, typer.Argument(help="The file to write; it may be there already.")],
    to: Annotated[
        str | None,
        typer.Option(help="Format of the target where its suffix does not say it: keydnn, convnet, mpneuralnetwork."),
    ] = None,
    input_shape: Annotated[
        str | None, typer.Option(help="Shape of an input without the batch, for .keras and .onnx: 1,28,28.")
    ] = None,
    flipped: Annotated[
        bool, typer.Option("--flipped", help="Kernels of ConvNet are turned about, as version 2 without JAX does.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make one file into another, by their suffixes: .safetensors, .npz, .h5, .json, .pt, .keras, .onnx.

    Files of ConvNet and MPNeuralNetwork are known by what is in them.
    """
    from .convert import convert as run
    from .convert import shape_of

    done = run(source, target, to=to, input_shape=shape_of(input_shape), flipped=flipped)
    if as_json:
        print(json.dumps(done.as_dict(), indent=2))
        return
    for warning in done.warnings:
        print(f"chainrule: warning: {warning}", file=sys.stderr)
    formats = f"{done.source_format} to {done.target_format}"
    print(
        f"{done.target}: {done.content}, {formats}, {done.arrays} arrays, {done.numbers:,} numbers, {done.bytes:,} bytes"
    )


machine.add(app)


def main() -> None:
    """Run the command line; an error that a user can mend is a line on stderr, and so is a warning."""
    any_terminal()
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *_: warn(str(message))
        try:
            app(prog_name="chainrule")
        except ChainruleError as error:
            fail(str(error), 2 if isinstance(error, ASKED) else 1)
        except OSError as error:
            fail(f"{error.filename or ''} {error.strerror or error}".strip())
        except KeyboardInterrupt:
            print("", file=sys.stderr)
            sys.exit(130)


def fail(text: str, code: int = 1) -> None:
    """End with an error."""
    print(f"chainrule: {text}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
