"""What commands have in common: options, names that are checked, and how results are printed."""

from __future__ import annotations

import codecs
import io
import json
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ...domain.errors import unknown

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Threads of the kernels; they change no result.")]
Verbose = Annotated[
    int | None, typer.Option(min=0, max=2, help="0 the result alone, 1 a line redrawn, 2 a line an epoch.")
]
RunFolder = Annotated[Path, typer.Argument(help="The folder of a run.")]
ModelPath = Annotated[Path, typer.Argument(help="The folder of a run, or a file of a model.")]

MODELS = "linear mlp lenet cnn vgg resnet resnet18 vit lstm gru transformer gpt".split()
DATA = (
    "mnist fashion-mnist cifar10 cifar100 digits iris wine breast-cancer diabetes japanese-vowels shakespeare moby-dick sotu"
).split()
OPTIMIZERS = "sgd adam adamw rmsprop adagrad adadelta adamax nadam radam lamb lion".split()
PLAIN = {
    "×": "x",
    "→": "->",
    "←": "<-",
    "·": "|",
    "─": "-",
    "│": "|",
    "█": "#",
    "░": ".",
    "…": "...",
    "°": "o",
    "µ": "u",
}
PLAIN |= {"“": '"', "”": '"', "‘": "'", "’": "'", "–": "-", "—": "-", "²": "2"}
NARROW = 60  # columns
PANELS = "Train and use", "Models and files", "See", "This machine"


def one_of(what: str, names: Iterable[str], *, or_path: bool = False) -> Callable[[str | None], str | None]:
    """What checks a name that was given, before anything is loaded; with ``or_path`` a file or folder will do."""
    known = list(names)

    def check(value: str | None) -> str | None:
        if value is None or value in known or (or_path and Path(value).expanduser().exists()):
            return value
        ending = "; and there is no such file or folder" if or_path else ""
        raise typer.BadParameter(f"{unknown(what, value, known)}{ending}")

    return check


def completing(names: Iterable[str]) -> Callable[[str], list[str]]:
    """What a shell offers for a name that is begun."""
    known = list(names)
    return lambda incomplete: [name for name in known if name.startswith(incomplete)]


def in_ascii(error: UnicodeError) -> tuple[str, int]:
    """What stands for characters that a stream cannot have: "x" for "×"; an error handler of codecs."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(PLAIN.get(c, "?") for c in error.object[error.start : error.end]), error.end


def any_terminal() -> None:
    """Have stdout and stderr take all texts, whatever their encoding is."""
    codecs.register_error("chainrule", in_ascii)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="chainrule")


def use_threads(count: int | None) -> None:
    """Set the number of threads, if one was given."""
    if count is not None:
        from ..about import set_threads

        set_threads(count)


def verbosity(verbose: int | None, as_json: bool) -> int | str:
    """That of ``fit``: nothing beside JSON."""
    return 0 if as_json else "auto" if verbose is None else verbose


def say(text: str) -> None:
    """A sentence, in lines no longer than a terminal is wide; to a pipe as it is."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 10_000
    for line in text.splitlines() or [""]:
        print("\n".join(textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False)) or "")


def warn(text: str) -> None:
    """A warning, on stderr."""
    print(f"chainrule: warning: {text}", file=sys.stderr)


def as_text(values: Any) -> str:
    """JSON, with null for what JSON lacks."""
    return json.dumps(plain(values), indent=2, ensure_ascii=False, allow_nan=False)


def plain(value: Any) -> Any:
    """Numbers that JSON lacks as None."""
    if isinstance(value, Mapping):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    return None if isinstance(value, float) and (value != value or abs(value) == float("inf")) else value


def show(values: Mapping[str, Any], as_json: bool) -> None:
    """Print names and values: for people, or as JSON."""
    if as_json:
        print(as_text(values))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in values.items():
        table.add_row(name.replace("_", " "), Text(shown(value)))
    Console().print(table)


def shown(value: Any) -> str:
    """A value for people."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(shown, value))
    return "none" if value is None else {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def rows(titles: list[str], lines: Iterable[list[str]], *, spare: Iterable[int] = ()) -> None:
    """Print a table; a narrow terminal does without the columns ``spare``."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console, table = Console(), Table(box=None, pad_edge=False, header_style="bold")
    kept = [k for k in range(len(titles)) if k not in {*spare} or console.width >= NARROW]
    for k in kept:
        table.add_column(titles[k], no_wrap=k == 0, overflow="fold")
    for line in lines:
        table.add_row(*(Text(line[k]) for k in kept))
    console.print(table)
