"""``summary``, ``export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ...domain.errors import MissingFileError
from .shared import PANELS, Json, as_text, say, warn

InputShape = Annotated[str | None, typer.Option(help="Shape of an input without the batch: 1,28,28.")]


def summary(
    model: Annotated[
        str, typer.Argument(help="The folder of a run, a file of a model of any format, or a name of the zoo.")
    ],
    input_shape: InputShape = None,
    outputs: Annotated[int, typer.Option(min=1, help="Outputs of a model of the zoo.")] = 10,
    depth: Annotated[int, typer.Option(min=0, help="Levels of layers inside layers; 0 for all.")] = 0,
    as_json: Json = False,
) -> None:
    """The layers of a model: their output shapes, parameters and multiply-adds."""
    from ..convert import shape_of
    from ..models import loaded

    network, shape = loaded(model, shape_of(input_shape), outputs)
    table = network.summary(None if shape is None else (None, *shape), depth=depth or None)
    print(as_text(table.to_dict()) if as_json else table)


def export(
    run: Annotated[Path, typer.Argument(help="The folder of a run, or a file of a model.")],
    target: Annotated[
        Path, typer.Argument(help="The file to write: .onnx, .keras, .pt, .json, .npz, .h5, .safetensors.")
    ],
    input_shape: InputShape = None,
    as_json: Json = False,
) -> None:
    """Write the model of a run for other programs; the shape of its input is known from its data.

    Where ONNX Runtime is installed, an .onnx file is run by it and compared with the model.
    """
    from ..convert import convert as run_convert
    from ..convert import shape_of
    from ..runs import subject

    chosen = subject(run)
    if not chosen.path.exists():
        raise MissingFileError(f"[export] {chosen.path} does not exist")
    shape = shape_of(input_shape)
    if shape is None and chosen.about:
        shape = tuple(chosen.about["shape"])
    done = run_convert(chosen.path, target, input_shape=shape)
    differs = None
    if target.suffix == ".onnx" and shape is not None:
        from ..models import onnx_difference

        differs = onnx_difference(chosen.model(), target, shape)
    if as_json:
        print(as_text({**done.as_dict(), "largest_difference": differs}))
        return
    for warning in done.warnings:
        warn(warning)
    say(f"{done.target}: {done.content}, {done.target_format}, {done.numbers:,} numbers, {done.bytes:,} bytes")
    if differs is not None:
        say(f"ONNX Runtime computes the same: the largest difference is {differs:.1e} of the largest output")


def add(app: typer.Typer) -> None:
    """Put the commands into the command line."""
    examples: dict[Any, str] = {
        summary: "Example: `chainrule summary resnet --input-shape 3,32,32`",
        export: "Example: `chainrule export runs/mine model.onnx`",
    }
    for command, example in examples.items():
        app.command(epilog=example, rich_help_panel=PANELS[1])(command)
