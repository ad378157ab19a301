"""``train``, ``resume``, ``evaluate``, ``predict``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..settings import AUGMENTS, SCHEDULES
from .shared import (
    DATA,
    MODELS,
    OPTIMIZERS,
    PANELS,
    Json,
    ModelPath,
    RunFolder,
    Threads,
    Verbose,
    as_text,
    completing,
    one_of,
    say,
    show,
    use_threads,
    verbosity,
)

DataOption = Annotated[
    str | None,
    typer.Option(
        help=f"Data by name ({', '.join(DATA)}), or a path: images in a folder for each class, .csv, .npz, .txt.",
        callback=one_of("data set", DATA, or_path=True),
        autocompletion=completing(DATA),
        show_default=False,
    ),
]


def train(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA",
            help="What to train on: as --data, mnist if neither is given.",
            callback=one_of("data set", DATA, or_path=True),
            autocompletion=completing(DATA),
        ),
    ] = None,
    data: DataOption = None,
    model: Annotated[
        str | None,
        typer.Option(
            help=f"The network: {', '.join(MODELS)}; by the data if not given.",
            callback=one_of("model", MODELS),
            autocompletion=completing(MODELS),
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Settings in a file, .toml or .yaml; other options go before.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Rounds over the data.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Samples in a step.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate at the start.")] = None,
    optimizer: Annotated[
        str | None, typer.Option(help="sgd, adam, adamw, ...", autocompletion=completing(OPTIMIZERS))
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option(
            help="Of the learning rate: linear, cosine, onecycle, constant.", autocompletion=completing(SCHEDULES)
        ),
    ] = None,
    augment: Annotated[
        str | None,
        typer.Option(help="Change images at random: crop, flip, crop+flip.", autocompletion=completing(AUGMENTS)),
    ] = None,
    validation: Annotated[float | None, typer.Option(help="Share of the data to validate with.")] = None,
    patience: Annotated[
        int | None, typer.Option(min=1, help="End after so many epochs without progress, with the best weights.")
    ] = None,
    target: Annotated[str | None, typer.Option(help="The column of a table to predict; the last if not given.")] = None,
    size: Annotated[
        int | None, typer.Option(min=1, help="Height and width that images of a folder are brought to.")
    ] = None,
    limit_train: Annotated[int | None, typer.Option(min=1, help="Take the first samples only.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="The same seed gives the same network.")] = None,
    change: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="Any setting: depth=32 of the model, data.mode=L, train.clip_norm=1."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for results; runs/DATA-MODEL if not given.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run that is in the folder.")] = False,
    threads: Threads = None,
    verbose: Verbose = None,
    as_json: Json = False,
) -> None:
    """Train a network, test it, and keep everything in a folder: settings, log, history, checkpoints, model, report.

    Ctrl-C ends training and keeps the model; `chainrule resume` goes on.
    """
    from .. import training
    from ..settings import Settings, option, read

    use_threads(threads)
    given = {
        "model.name": model,
        "data.name": data or source,
        "data.validation": validation,
        "data.target": target,
        "data.size": size,
        "data.limit": limit_train,
        "train.epochs": epochs,
        "train.batch_size": batch_size,
        "train.lr": lr,
        "train.optimizer": optimizer,
        "train.schedule": schedule,
        "train.augment": augment,
        "train.patience": patience,
        "train.seed": seed,
    }
    if data is not None and source is not None and data != source:
        raise typer.BadParameter(f"data are {source} and {data}: give one of them", param_hint="--data")
    settings = (read(config) if config else Settings()).changed(
        {**{name: value for name, value in given.items() if value is not None}, **dict(map(option, change or []))},
        "the command",
    )
    shown = verbosity(verbose, as_json)
    report = training.train(
        settings, out, overwrite=overwrite, verbose=shown, say=say if shown != 0 else lambda text: None
    )
    finished(report, as_json)


def resume(
    run: RunFolder,
    epochs: Annotated[int | None, typer.Option(min=1, help="Go on to more epochs than the run was told.")] = None,
    threads: Threads = None,
    verbose: Verbose = None,
    as_json: Json = False,
) -> None:
    """Go on with a run that was stopped, by Ctrl-C or anything else: the model is the same as without a stop."""
    from .. import training
    from ..runs import opened

    use_threads(threads)
    shown = verbosity(verbose, as_json)
    report = training.resume(opened(run), epochs=epochs, verbose=shown, say=say if shown != 0 else lambda text: None)
    finished(report, as_json)


def finished(report: dict[str, Any], as_json: bool) -> None:
    """What a training came to. Exit code 130 if Ctrl-C ended it, as of other programs."""
    if as_json:
        print(as_text(report))
    elif report["interrupted"]:
        say(
            f"interrupted after {report['epochs']} epochs; chainrule resume {report['run']} goes on from the last checkpoint"
        )
    else:
        name = next(n for n in ("test_accuracy", "test_r2", "test_loss") if n in report)
        say(
            f"{name.replace('_', ' ')} {report[name]:.4f}, {report['train_seconds']:.1f} s, saved in {report['checkpoint']}"
        )
        say(f"next: chainrule plot {report['run']}, chainrule report {report['run']}")
    if report["interrupted"]:
        raise typer.Exit(130)


def evaluate(
    model: ModelPath,
    data: DataOption = None,
    per_class: Annotated[bool, typer.Option("--per-class", help="Precision, recall and F1 of each class.")] = False,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Loss and metrics of a model on the test part of its data: that of its run, or mnist if nothing else is said."""
    from .. import testing

    use_threads(threads)
    found = testing.evaluate(model, data, progress=not as_json)
    if not per_class:
        show(found.values, as_json)
        return
    report = found.per_class()
    if as_json:
        print(as_text({**found.values, "classes": report.to_dict()}))
        return
    show(found.values, False)
    print(f"\n{report}")


def predict(
    model: ModelPath,
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Pictures (.npy, or what Pillow reads), tables (.csv), sequences (.npy).", show_default=False
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="So many of the likeliest classes.")] = 3,
    text: Annotated[str | None, typer.Option(help="Go on with a text, for a model of text.")] = None,
    length: Annotated[int, typer.Option(min=1, help="Characters to add to the text.")] = 200,
    temperature: Annotated[
        float, typer.Option(min=0, help="Below 1 the likely, above 1 the unlikely; 0 the likeliest.")
    ] = 0.8,
    seed: Annotated[int, typer.Option(min=0, help="Draws the same text.")] = 0,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """What a model says of files. A picture for an MNIST model is read as a drawn digit, dark on light or light on dark."""
    from ..answers import answers, continued
    from ..runs import subject

    use_threads(threads)
    if (text is None) == (not files):
        raise typer.BadParameter("missing argument: give FILES, or --text for a model of text", param_hint="FILES")
    if text is not None:
        written = continued(subject(model), text, length, temperature=temperature, seed=seed)
        print(as_text({"text": written}) if as_json else written)
        return
    found = answers(subject(model), files or [], top)
    if as_json:
        print(as_text(found))
        return
    for answer in found:
        print(line(answer))


def line(answer: dict[str, Any]) -> str:
    """An answer for people."""
    place = answer.get("image", answer.get("file"))
    where = f"{place}, row {answer['row']}" if "row" in answer else place
    if "value" in answer:
        return f"{where}: {answer['value']:g}"
    key = "digit" if "digit" in answer else "label"
    rest = ", ".join(f"{other[key]} {other['probability']:.1%}" for other in answer["top"][1:])
    return f"{where}: {answer[key]} ({answer['probability']:.1%}{'; then ' + rest if rest else ''})"


def add(app: typer.Typer) -> None:
    """Put the commands into the command line."""
    examples: dict[Any, str] = {
        train: "Example: `chainrule train mnist --model cnn --epochs 3 --out runs/mine`",
        resume: "Example: `chainrule resume runs/mine --epochs 10`",
        evaluate: "Example: `chainrule evaluate runs/mine --per-class`",
        predict: "Example: `chainrule predict runs/mine digit.png other.npy`",
    }
    for command, example in examples.items():
        app.command(epilog=example, rich_help_panel=PANELS[0])(command)
