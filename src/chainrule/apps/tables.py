"""Tables of one's own: columns of text as one number for each kind, rows with something missing left out, and told."""

from __future__ import annotations

import csv
import gzip
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..data import load_csv
from ..data.csv_files import MISSING, is_number
from ..domain.errors import ArgumentError, DataError, FileFormatError, MissingFileError, unknown

MOST_KINDS = 50  # of a column of text


class Read(NamedTuple):
    """A table: inputs (n, features) and their names; the columns they came from, with the kinds of those of text; targets."""

    x: Any
    features: list[str]
    columns: list[str]
    kinds: dict[str, list[str]]
    y: Any
    classes: list[str] | None
    target: str


def read(path: Path, target: str, drop: Sequence[str]) -> Read:
    """A CSV file without the columns ``drop``. Errors: ArgumentError, DataError for a column of too many kinds of text."""
    names, texts, rows = surveyed(path)
    for name in [*drop, *([target] if target else [])]:
        if name not in names:
            raise unknown(f"column of {path}", name, names)
    target = target or names[-1]
    columns = [name for name in names if name != target and name not in drop]
    kinds = {name: sorted(texts[name]) for name in columns if texts.get(name)}
    for name, found in kinds.items():
        if len(found) > MOST_KINDS:
            raise DataError(
                f"[data] {path}: column {name!r} is text of more than {MOST_KINDS} kinds: leave it out by --set "
                f'data.drop="{name}"'
            )
    table = load_csv(
        path, target=target, columns=columns, converters=codes(kinds), missing="drop", delimiter=delimiter(path)
    )
    if len(table.x) < rows:
        told = f"{rows - len(table.x)} of {rows} rows have something missing, and are left out"
        warnings.warn(f"[data] {path}: {told}", UserWarning, stacklevel=2)
    x, features = spread(table.x, columns, kinds)
    return Read(x, features, columns, kinds, table.y, table.classes, target)


def rows_of(path: Path, columns: Sequence[str], kinds: Mapping[str, list[str]]) -> Any:
    """The inputs in another table of the same columns. Errors: those of ``load_csv``, MissingFileError."""
    table = load_csv(path, columns=columns or None, converters=codes(kinds), delimiter=delimiter(path))
    return spread(table.x, list(columns), kinds)[0]


def delimiter(path: Path) -> str:
    """What is between cells."""
    return "\t" if path.suffix == ".tsv" else ","


def codes(kinds: Mapping[str, list[str]]) -> dict[str | int, Any]:
    """From the text of a cell to the place of its kind, for columns of text."""
    return {name: {kind: float(k) for k, kind in enumerate(found)}.__getitem__ for name, found in kinds.items()}


def spread(x: Any, columns: list[str], kinds: Mapping[str, list[str]]) -> tuple[Any, list[str]]:
    """A column for each kind of text, 1 where it is; and the names of all columns then.

    >>> x, names = spread(np.array([[5.0, 1.0], [6.0, 0.0]], np.float32), ["size", "town"], {"town": ["Bonn", "Rome"]})
    >>> x.tolist(), names
    ([[5.0, 0.0, 1.0], [6.0, 1.0, 0.0]], ['size', 'town=Bonn', 'town=Rome'])
    """
    parts, names = [], []
    for k, name in enumerate(columns or map(str, range(x.shape[1]))):
        found = kinds.get(name)
        names += [name] if found is None else [f"{name}={kind}" for kind in found]
        parts.append(x[:, k : k + 1] if found is None else (x[:, k : k + 1] == np.arange(len(found))).astype(x.dtype))
    return np.concatenate(parts, axis=1), names


def surveyed(path: Path) -> tuple[list[str], dict[str, set[str]], int]:
    """The names of the columns, the texts in those that are not of numbers (no more than are asked for), how many rows."""
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter(path))
            names = [name.strip() for name in next(reader, [])]
            if not names:
                raise DataError(f"[data] {path} is empty")
            if len(set(names)) < len(names):
                raise ArgumentError(f"[data] {path}: a name is twice in its first line, {', '.join(names)}")
            texts: dict[str, set[str]] = {}
            every: dict[str, set[str]] = {name: set() for name in names}
            rows = 0
            for row in reader:
                rows += bool(row)
                for name, cell in zip(names, map(str.strip, row), strict=False):
                    if cell.lower() not in MISSING and len(every[name]) <= MOST_KINDS and cell not in every[name]:
                        every[name].add(cell)
                    if cell.lower() not in MISSING and name not in texts and not is_number(cell):
                        texts[name] = every[name]
    except FileNotFoundError:
        raise MissingFileError(f"[data] {path} does not exist") from None
    except (csv.Error, UnicodeDecodeError, OSError, EOFError) as error:
        raise FileFormatError(f"[data] {path} cannot be read as CSV: {error}") from error
    return names, texts, rows
