"""Text as numbers: vocabularies of characters, and windows and lines to train language models on."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..domain.errors import ArgumentError, DataError, FileFormatError, IndexRangeError, MissingFileError
from ..io.atomic import atomic_write
from ..random import Generator, default_generator
from .samplers import whole

FORMAT = "chainrule.characters.v1"


class CharVocabulary:
    """The characters of a text, each with a number: ``encode`` and ``decode`` translate.

    ``specials`` come first, such as ``("<pad>", "<start>", "<end>")``; then all characters of ``text``, a string or
    several, sorted. ``vocabulary[symbol]`` is its number, ``symbols`` are all. With ``unknown``, one of the specials,
    other characters become that; else they are an error.

    >>> vocabulary = CharVocabulary("hello")
    >>> vocabulary.encode("hole"), vocabulary.decode([1, 0, 2, 2, 3])
    (array([1, 3, 2, 0]), 'hello')
    """

    def __init__(self, text: str | Iterable[str], *, specials: Sequence[str] = (), unknown: str | None = None) -> None:
        characters = sorted(set(text) if isinstance(text, str) else set().union(*map(set, text)))
        self.symbols = [*specials, *(c for c in characters if c not in specials)]
        self.specials, self.unknown = list(specials), unknown
        if unknown is not None and unknown not in self.specials:
            raise ArgumentError(
                f"[CharVocabulary] unknown is {unknown!r}, expected one of the specials {self.specials}"
            )
        if len(set(self.symbols)) < len(self.symbols):
            raise ArgumentError(f"[CharVocabulary] specials are {self.specials}: each can be there once")
        self._number = {symbol: k for k, symbol in enumerate(self.symbols)}

    def __len__(self) -> int:
        return len(self.symbols)

    def __getitem__(self, symbol: str) -> int:
        if symbol not in self._number:
            raise DataError(f"[CharVocabulary] {symbol!r} is not in the vocabulary of {len(self)} symbols")
        return self._number[symbol]

    def encode(self, text: str) -> Any:
        """The numbers of the characters, int64 (n,). Errors: DataError with the character and its place."""
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        kinds, where = np.unique(codes, return_inverse=True)
        other = -1 if self.unknown is None else self._number[self.unknown]
        numbers = np.array([self._number.get(chr(c), other) for c in kinds], np.int64)
        if (numbers < 0).any():
            place = int(np.flatnonzero(numbers[where] < 0)[0])
            raise DataError(
                f"[CharVocabulary] {text[place]!r} at {place} is not in the vocabulary of {len(self)} symbols: make it of all "
                "texts, or with an unknown symbol"
            )
        return numbers[where]

    def decode(self, ids: Any) -> str:
        """The text of numbers: a list, an array, a tensor. Errors: IndexRangeError."""
        numbers = np.asarray(ids.numpy() if hasattr(ids, "numpy") else ids).reshape(-1).astype(np.int64)
        bad = numbers[(numbers < 0) | (numbers >= len(self))]
        if bad.size:
            raise IndexRangeError(
                f"[CharVocabulary] there is no symbol {bad[0]}: the vocabulary has 0 to {len(self) - 1}"
            )
        return "".join(self.symbols[k] for k in numbers.tolist())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as JSON. Errors: FileWriteError."""
        with atomic_write(path, text=True) as file:
            content = {"format": FORMAT, "symbols": self.symbols, "specials": self.specials, "unknown": self.unknown}
            json.dump(content, file, ensure_ascii=False)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> CharVocabulary:
        """One that was saved. Errors: MissingFileError, FileFormatError."""
        try:
            content = json.loads(Path(path).read_text("utf-8"))
            if content["format"] != FORMAT:
                raise ValueError(f"its format is {content['format']!r}")
            found = cls(
                content["symbols"][len(content["specials"]) :], specials=content["specials"], unknown=content["unknown"]
            )
        except FileNotFoundError:
            raise MissingFileError(f"[CharVocabulary] {path} does not exist") from None
        except (ValueError, KeyError, TypeError, ArgumentError) as error:
            raise FileFormatError(f"[CharVocabulary] {path} is no vocabulary: {error}") from error
        return found


class TextDataset:
    """Windows of a long text for a language model: inputs (length,) and, one further, targets (length,), int64.

    ``ids`` (n,) are the numbers of all tokens, an array or a memmap. Windows begin every ``stride`` tokens (default:
    ``length``, one after the other); with ``random=True`` anywhere, drawn anew for each batch, as many in an epoch as fit
    one after the other. Errors: DataError for a text that is too short.

    >>> data = TextDataset(np.arange(8), length=3)
    >>> len(data), data[1]
    (2, (array([3, 4, 5]), array([4, 5, 6])))
    """

    def __init__(self, ids: Any, length: int, *, stride: int | None = None, random: bool = False) -> None:
        self.ids = ids if isinstance(ids, np.ndarray) else np.asarray(ids)
        self.length = whole("TextDataset", "length", length, 1)
        self.stride = whole("TextDataset", "stride", self.length if stride is None else stride, 1)
        self.draws = random
        if self.ids.ndim != 1 or self.ids.dtype.kind not in "iu":
            raise DataError(f"[TextDataset] ids are {self.ids.dtype}{list(self.ids.shape)}, expected integers (n,)")
        if len(self.ids) <= self.length:
            raise DataError(
                f"[TextDataset] {len(self.ids)} tokens are too few for windows of {length} and their targets"
            )
        if random and stride is not None:
            raise ArgumentError("[TextDataset] windows at random have no stride: leave it out")

    def __len__(self) -> int:
        return (len(self.ids) - self.length - 1) // self.stride + 1

    def __getitem__(self, index: Any) -> tuple[Any, Any]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"[TextDataset] there is no window {index}: there are {len(self)}")
        x, y = self.batch(np.array([index % len(self)]))
        return x[0], y[0]

    def batch(self, indices: Any, generator: Generator | None = None) -> tuple[Any, Any]:
        """The windows at ``indices``, or as many at random: inputs and targets (n, length)."""
        starts = np.asarray(indices) * self.stride
        if self.draws:
            source = default_generator() if generator is None else generator
            starts = source.integers(0, len(self.ids) - self.length, (len(indices),)).numpy()
        found = self.ids[starts[:, None] + np.arange(self.length + 1)].astype(np.int64)
        return found[:, :-1].copy(), found[:, 1:].copy()


class LineDataset:
    """Lines of text one by one: for a language model inputs and, one further, targets; with ``labels`` (ids, label).

    ``lines`` are strings, or the name of a UTF-8 file; empty ones are left out. ``encode`` makes integers (n,) of a line,
    such as ``CharVocabulary.encode``; ``start`` and ``end`` are numbers put before and after. Lines differ in length:
    ``DataLoader(..., collate_fn=pad_collate)``.

    >>> vocabulary = CharVocabulary("abn", specials=["<end>"])
    >>> LineDataset(["anna"], vocabulary.encode, start=0, end=0)[0]
    (array([0, 1, 3, 3, 1]), array([1, 3, 3, 1, 0]))
    """

    def __init__(
        self,
        lines: Sequence[str] | str | os.PathLike[str],
        encode: Callable[[str], Any],
        *,
        labels: Any = None,
        start: int | None = None,
        end: int | None = None,
    ) -> None:
        if isinstance(lines, (str, os.PathLike)):
            try:
                lines = Path(lines).read_text("utf-8-sig").splitlines()
            except FileNotFoundError:
                raise MissingFileError(f"[LineDataset] {lines} does not exist") from None
            except UnicodeDecodeError as error:
                raise FileFormatError(f"[LineDataset] {lines} is no UTF-8 text: {error}") from error
        kept = [k for k, line in enumerate(lines) if line.strip()]
        if labels is not None and len(labels) != len(lines):
            raise DataError(f"[LineDataset] {len(lines)} lines have {len(labels)} labels: give one for each")
        if not kept:
            raise DataError("[LineDataset] there are no lines")
        self.lines = [lines[k] for k in kept]
        self.labels = None if labels is None else np.asarray(labels)[kept]
        self.encode = encode
        self._before = np.array([] if start is None else [start], np.int64)
        self._after = np.array([] if end is None else [end], np.int64)

    def __len__(self) -> int:
        return len(self.lines)

    def __getitem__(self, index: Any) -> tuple[Any, Any]:
        ids = np.concatenate([self._before, np.asarray(self.encode(self.lines[index]), np.int64), self._after])
        return (ids[:-1], ids[1:]) if self.labels is None else (ids, self.labels[index])
