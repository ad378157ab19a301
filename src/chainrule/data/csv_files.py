"""Tables in CSV files: as arrays, or row by row where they are larger than memory."""

from __future__ import annotations

import csv
import gzip
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..domain.errors import ArgumentError, DataError, FileFormatError, MissingFileError, unknown
from .iterable import IterableDataset

MISSING = ("", "na", "n/a", "nan", "null", "none", "?", "-")
CHUNK = 4096  # rows that are converted together

Column = str | int
Converter = Callable[[str], float]


class Table(NamedTuple):
    """What ``load_csv`` gives: features (n, features), targets (n,) or None, the names of the features, and of the
    classes where the targets are text."""

    x: Any
    y: Any
    columns: list[str]
    classes: list[str] | None


class CSVDataset(IterableDataset):
    """The rows of a CSV file one by one, for files larger than memory: (features, target), or features alone.

    Arguments and errors are those of ``load_csv``; targets that are text need ``classes``, and those whose first is
    written as a whole number are int64 unless ``target_dtype`` says otherwise. A DataLoader makes the batches,
    ``shuffle(buffer)`` mixes rows, and of several workers each converts its own.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     _ = Path(f"{folder}/t.csv").write_text("size,kind,price\\n1.5,a,3\\n2.5,b,4\\n")
    ...     list(CSVDataset(f"{folder}/t.csv", target="kind", classes=["a", "b"]))
    [(array([1.5, 3. ], dtype=float32), np.int64(0)), (array([2.5, 4. ], dtype=float32), np.int64(1))]
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        target: Column | None = None,
        columns: Sequence[Column] | None = None,
        classes: Sequence[str] | None = None,
        header: bool = True,
        delimiter: str = ",",
        dtype: str = "float32",
        target_dtype: str | None = None,
        converters: Mapping[Column, Converter] | None = None,
        missing: float | str | None = None,
    ) -> None:
        if isinstance(missing, str) and missing != "drop":
            raise ArgumentError(f'[load_csv] missing is {missing!r}, expected None, a number to put there, or "drop"')
        self.path, self.header, self.delimiter, self.dtype = Path(path), header, delimiter, np.dtype(dtype)
        self.target_dtype = target_dtype
        self.missing, self.classes = missing, None if classes is None else list(classes)
        first = next(self._rows(skip=False), None)
        if first is None:
            raise DataError(f"[load_csv] {path} is empty")
        self.names = [name.strip() for name in first[1]] if header else [str(k) for k in range(len(first[1]))]
        self.target = None if target is None else self._place(target)
        wanted = range(len(self.names)) if columns is None else [self._place(c) for c in columns]
        self.places = [k for k in wanted if k != self.target]
        if not self.places:
            raise ArgumentError("[load_csv] no column is left for the features: give columns")
        self.columns = [self.names[k] for k in self.places]
        self.converters = {self._place(c): f for c, f in (converters or {}).items()}
        self._part = 0, 1

    def __iter__(self) -> Iterator[Any]:
        kind = self.target_dtype
        for x, cells, lines in self.chunks():
            if self.target is None:
                yield from x
                continue
            if kind is None and cells:
                kind = "int64" if is_whole(cells[0]) else str(self.dtype)
            yield from zip(x, self.targets(cells, lines, self.classes, kind), strict=True)

    def shard(self, index: int, count: int) -> IterableDataset:
        """Every ``count``-th row; the others are read, but not converted."""
        first, step = self._part
        part = object.__new__(CSVDataset)
        vars(part).update(vars(self))
        part._part = first + index * step, step * count
        return part

    def chunks(self) -> Iterator[tuple[Any, list[str], list[int]]]:
        """Features, target cells and line numbers of some thousand rows after the other."""
        rows = islice(self._rows(), self._part[0], None, self._part[1])
        while chunk := list(islice(rows, CHUNK)):
            x = self._numbers(chunk)
            cells = [] if self.target is None else [row[self.target].strip() for _, row in chunk]
            absent = [k for k, cell in enumerate(cells) if cell.lower() in MISSING and cell not in (self.classes or ())]
            if absent and self.missing != "drop":
                raise self._is_missing(chunk[absent[0]][0], self.target or 0)
            lines = [line for line, _ in chunk]
            if self.missing == "drop":
                good = ~np.isnan(x).any(axis=1)
                good[absent] = False
                x = x[good]
                cells = [cell for cell, g in zip(cells, good, strict=False) if g]
                lines = [line for line, g in zip(lines, good, strict=True) if g]
            yield x, cells, lines

    def targets(self, cells: list[str], lines: list[int], classes: list[str] | None, dtype: str | None) -> Any:
        """Target cells as numbers, or as the places of classes, int64."""
        name, kind = self.names[self.target or 0], np.dtype("int64" if classes else dtype or "float64")
        order = {c: k for k, c in enumerate(classes or ())}
        convert: Callable[[str], float] = order.__getitem__ if classes else self.converters.get(self.target or 0, float)
        found = np.empty(len(cells), kind)
        for k, cell in enumerate(cells):
            try:
                found[k] = value = convert(cell)
            except (ValueError, TypeError, KeyError):
                where = f"{self.path}, line {lines[k]}: column {name!r}"
                if classes:
                    raise unknown(f"class ({where})", cell, classes) from None
                raise DataError(
                    f"[load_csv] {where} is {cell!r}, no number: targets that are text need their classes, a list of all"
                ) from None
            if found[k] != value and kind.kind == "i":
                raise DataError(
                    f"[load_csv] {self.path}, line {lines[k]}: the target {cell!r} is no whole number, as others are; give "
                    'target_dtype="float32"'
                )
        return found

    def _rows(self, skip: bool = True) -> Iterator[tuple[int, list[str]]]:
        """The line number and the cells of each row, without the header; empty lines are left out."""
        try:
            with (gzip.open if self.path.suffix == ".gz" else open)(
                self.path, "rt", encoding="utf-8-sig", newline=""
            ) as file:
                reader = csv.reader(file, delimiter=self.delimiter, strict=True)
                for number, row in enumerate(r for r in reader if r):
                    if number == 0 and self.header and skip:
                        continue
                    if number and len(row) != len(self.names):
                        raise FileFormatError(
                            f"[load_csv] {self.path}, line {reader.line_num} has {len(row)} cells, expected "
                            f"{len(self.names)} as in the first"
                        )
                    yield reader.line_num, row
        except FileNotFoundError:
            raise MissingFileError(f"[load_csv] {self.path} does not exist") from None
        except (csv.Error, UnicodeDecodeError, gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise FileFormatError(f"[load_csv] {self.path} cannot be read as CSV: {error}") from error

    def _numbers(self, rows: list[tuple[int, list[str]]]) -> Any:
        """The features of some rows; missing ones are NaN, where they are allowed."""
        take = itemgetter(*self.places)
        try:
            if self.converters:
                raise ValueError
            found = np.array([take(row) for _, row in rows], np.float64).reshape(len(rows), -1)
        except ValueError:  # something missing or wrong: cell by cell
            found = np.array([[self._number(line, row, k) for k in self.places] for line, row in rows])
        absent = np.isnan(found)
        if absent.any():
            if self.missing is None:
                row, column = (int(v) for v in np.argwhere(absent)[0])
                raise self._is_missing(rows[row][0], self.places[column])
            if not isinstance(self.missing, str):
                found[absent] = self.missing
        return found.astype(self.dtype)

    def _number(self, line: int, row: list[str], k: int) -> float:
        """One cell as a number, NaN if it is missing."""
        cell = row[k].strip()
        if cell.lower() in MISSING:
            return np.nan
        try:
            return float(self.converters.get(k, float)(cell))
        except (ValueError, KeyError, TypeError):
            raise DataError(
                f"[load_csv] {self.path}, line {line}, column {self.names[k]!r}: {cell!r} is no number; leave the column "
                "out with columns, or give a function for it in converters"
            ) from None

    def _is_missing(self, line: int, k: int) -> DataError:
        return DataError(
            f"[load_csv] {self.path}, line {line}, column {self.names[k]!r} is missing: missing=0.0 puts a number there, "
            'float("nan") leaves it, missing="drop" leaves such rows out'
            + (" (of the target: drop alone)" if k == self.target else "")
        )

    def _place(self, column: Column) -> int:
        """The place of a column by its name or number."""
        if isinstance(column, int):
            if -len(self.names) <= column < len(self.names):
                return column % len(self.names)
            raise ArgumentError(f"[load_csv] there is no column {column}: {self.path} has {len(self.names)}")
        if column not in self.names:
            raise unknown("column", column, self.names)
        return self.names.index(column)


def load_csv(
    path: str | os.PathLike[str],
    *,
    target: Column | None = None,
    columns: Sequence[Column] | None = None,
    classes: Sequence[str] | None = None,
    header: bool = True,
    delimiter: str = ",",
    dtype: str = "float32",
    target_dtype: str | None = None,
    converters: Mapping[Column, Converter] | None = None,
    missing: float | str | None = None,
) -> Table:
    """A CSV file, or one packed as ``.gz``, as arrays ``(x, y, columns, classes)``.

    ``x`` (n, features) in ``dtype`` are the ``columns``, by name or number (default: all but ``target``). ``y`` (n,) are
    the targets: int64 where all are written as whole numbers, else ``dtype``, or ``target_dtype``; text becomes the
    places, int64, in ``classes`` (default: all there are, sorted). Without ``header`` the first line is data, and the
    names are "0", "1", .... ``converters`` are functions from text to numbers, by column.

    A cell that is empty, or NA, N/A, NaN, null, none, ? or -, is missing: an error that names its line and column, or
    with ``missing`` a number that is put there (``float("nan")`` leaves it), or ``"drop"`` leaves out the row. Errors:
    MissingFileError, FileFormatError, DataError, ArgumentError.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     _ = Path(f"{folder}/t.csv").write_text("size,kind,price\\n1.5,b,3\\n2.5,a,4\\n")
    ...     table = load_csv(f"{folder}/t.csv", target="kind")
    >>> table.x.tolist(), table.y.tolist(), table.columns, table.classes
    ([[1.5, 3.0], [2.5, 4.0]], [1, 0], ['size', 'price'], ['a', 'b'])
    """
    data = CSVDataset(
        path,
        target=target,
        columns=columns,
        classes=classes,
        header=header,
        delimiter=delimiter,
        dtype=dtype,
        target_dtype=target_dtype,
        converters=converters,
        missing=missing,
    )
    parts, cells, lines = [], [], []
    for x, found, places in data.chunks():
        parts.append(x)
        cells += found
        lines += places
    if not sum(map(len, parts)):
        raise DataError(f"[load_csv] {path} has no rows")
    y, names = None, data.classes
    if data.target is not None:
        if (
            names is None
            and target_dtype is None
            and data.target not in data.converters
            and not all(map(is_number, cells))
        ):
            names = sorted(set(cells))
        kind = target_dtype or ("int64" if all(map(is_whole, cells)) else dtype)
        y = data.targets(cells, lines, names, kind)
    return Table(np.concatenate(parts), y, data.columns, names)


def is_number(cell: str) -> bool:
    """Whether it is written as a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def is_whole(cell: str) -> bool:
    """Whether it is written as a whole number."""
    return cell.lstrip("+-").isdigit()
