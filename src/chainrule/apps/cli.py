"""The command line, ``chainrule``. Exit codes: 0, 1 for what went wrong with files or data, 2 for a wrong command."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from ..domain.errors import ChainruleError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Deep learning from scratch, on the command line. Begin with `chainrule train mnist`.",
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Threads of the kernels; they change no result.")]


class Data(StrEnum):
    """Data sets by name."""

    mnist = "mnist"


class Network(StrEnum):
    """Networks by name, as in ``models.MODELS``."""

    cnn = "cnn"
    mlp = "mlp"
    lenet = "lenet"


@app.command(epilog="Example: `chainrule train mnist --epochs 3 --out runs/mine`")
def train(
    data: Annotated[Data, typer.Argument(help="What to train on.")],
    epochs: Annotated[int, typer.Option(min=1, help="Rounds over the data.")] = 3,
    batch_size: Annotated[int, typer.Option(min=1, help="Samples in a step.")] = 64,
    lr: Annotated[float, typer.Option(help="Learning rate of Adam at the start; it falls evenly to nothing.")] = 2e-3,
    model: Annotated[Network, typer.Option(help="The network.")] = Network.cnn,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same network.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder for results; runs/MODEL if not given.")] = None,
    limit_train: Annotated[int | None, typer.Option(min=1, help="Train on the first images only.")] = None,
    threads: Threads = None,
    verbose: Annotated[
        int | None, typer.Option(min=0, max=2, help="0 silent, 1 a line redrawn, 2 a line an epoch.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train a network on the MNIST digits, evaluate it, and save it with a report."""
    from .digits import train_digits

    use_threads(threads)
    shown: int | str = "auto" if verbose is None else verbose
    report = train_digits(
        out or Path("runs") / model.value,
        model=model.value,
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        seed=seed,
        limit_train=limit_train,
        verbose=0 if as_json else shown,
    )
    if as_json:
        print(report.to_json())
        return
    end = f"interrupted after {report.epochs} epochs, " if report.interrupted else ""
    print(f"{end}test accuracy {report.test_accuracy:.4f}, {report.train_seconds:.1f} s, saved in {report.checkpoint}")


@app.command(epilog="Example: `chainrule evaluate runs/mine/model.safetensors`")
def evaluate(
    model: Annotated[Path, typer.Argument(help="A model file.")],
    data: Annotated[Data, typer.Option(help="What to evaluate on: its test part.")] = Data.mnist,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Loss and accuracy of a saved model on the 10,000 test digits."""
    from ..data import load_mnist
    from ..io import load

    use_threads(threads)
    network = load(model)
    _, _, x_test, y_test = load_mnist(progress=not as_json)
    found = network.compile("cross_entropy", "sgd", metrics=["accuracy"]).evaluate(x_test, y_test)
    show(found | {"samples": len(x_test)}, as_json)


@app.command(epilog="Example: `chainrule predict runs/mine/model.safetensors digit.png other.npy`")
def predict(
    model: Annotated[Path, typer.Argument(help="A model file.")],
    images: Annotated[list[Path], typer.Argument(help="Pictures of one digit each: .npy, or what Pillow reads.")],
    as_json: Json = False,
) -> None:
    """Read the digit in each picture: dark on light or light on dark, of any size."""
    import numpy as np

    from ..io import load
    from .image import load_digit
    from .predictor import probabilities

    network = load(model)
    digits = np.stack([load_digit(path) for path in images])
    chances = probabilities(network.predict(digits))
    results: list[dict[str, Any]] = []
    for path, row in zip(images, chances, strict=True):
        best = np.argsort(-row, kind="stable")[:3]
        top: list[dict[str, Any]] = [{"digit": int(i), "probability": round(float(row[i]), 6)} for i in best]
        results.append({"image": str(path), **top[0], "top": top})
    if as_json:
        print(json.dumps(results, indent=2))
        return
    for result in results:
        rest = ", ".join(f"{other['digit']} {other['probability']:.1%}" for other in result["top"][1:])
        print(f"{result['image']}: {result['digit']} ({result['probability']:.1%}; then {rest})")


@app.command(epilog="Example: `chainrule draw runs/mine/model.safetensors`")
def draw(
    model: Annotated[
        Path | None, typer.Argument(help="A model file; the one that comes with chainrule if left out.")
    ] = None,
    selftest: Annotated[bool, typer.Option("--selftest", help="Draw by itself, check what is read, and end.")] = False,
    threads: Threads = None,
) -> None:
    """Read digits drawn in a window."""
    from .draw import draw as run
    from .predictor import SHIPPED, DigitPredictor

    use_threads(threads)
    run(DigitPredictor(model) if model or SHIPPED.exists() else None, selftest=selftest)


@app.command(epilog="Example: `chainrule serve runs/mine/model.safetensors --port 8080`")
def serve(
    model: Annotated[
        Path | None, typer.Argument(help="A model file; the one that comes with chainrule if left out.")
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen at. Others than this machine's own open it to all.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 for any that is free.")] = 8000,
    threads: Threads = None,
) -> None:
    """Read digits drawn in the browser."""
    from .predictor import DigitPredictor
    from .serve import serve as run

    use_threads(threads)
    run(DigitPredictor(model), host, port)


@app.command(epilog="Example: `chainrule inspect runs/mine/model.safetensors`")
def inspect(
    file: Annotated[Path, typer.Argument(help="Weights or a model: .safetensors, .npz, .pt, .pth, .json, .h5, .hdf5.")],
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


@app.command(epilog="Example: `chainrule convert model.keras model.safetensors`")
def convert(
    source: Annotated[Path, typer.Argument(help="A model or weights, of chainrule or others.")],
    target: Annotated[Path, typer.Argument(help="The file to write; it may be there already.")],
    to: Annotated[
        str | None,
        typer.Option(help="Format of the target where its suffix does not say it: convnet, mpneuralnetwork."),
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


@app.command(epilog="Example: `chainrule info --json`")
def info(as_json: Json = False) -> None:
    """Version, backends, instruction set, threads, memory and GPU."""
    from .about import about

    show(about(), as_json)


def use_threads(count: int | None) -> None:
    """Set the number of threads, if one was given."""
    if count is not None:
        from .about import set_threads

        set_threads(count)


def show(values: dict[str, Any], as_json: bool) -> None:
    """Print names and values: for people, or as JSON."""
    if as_json:
        print(json.dumps(values, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, box=None)
    for name, value in values.items():
        text = (
            f"{value:.4g}" if isinstance(value, float) else ", ".join(value) if isinstance(value, list) else str(value)
        )
        table.add_row(name.replace("_", " "), "none" if value is None else text)
    Console().print(table)


def main() -> None:
    """Run the command line; an error that a user can mend is one line on stderr."""
    try:
        app(prog_name="chainrule")
    except ChainruleError as error:
        print(f"chainrule: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        print(f"chainrule: {error.filename or ''} {error.strerror or error}".replace("  ", " "), file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
