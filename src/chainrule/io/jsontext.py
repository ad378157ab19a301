"""JSON out of files that may be damaged, or made to do harm."""

from __future__ import annotations

import json
from typing import Any

from ..domain.errors import FileFormatError


def parsed(text: bytes | str, where: str) -> Any:
    """What a JSON text says. ``where`` begins the message of the FileFormatError, which is raised for a text that is cut
    short, that nests too deep, that has one key twice, or numbers that JSON does not know (NaN, Infinity).

    >>> parsed(b'[1, {"a": null}]', "[load] notes.json")
    [1, {'a': None}]
    >>> parsed(b'{"eps": NaN}', "[load] notes.json")
    Traceback (most recent call last):
    chainrule.domain.errors.FileFormatError: [load] notes.json is cut short or damaged: NaN is no number of JSON
    """
    try:
        return json.loads(text, parse_constant=_constant, parse_float=_number, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError too
        raise FileFormatError(f"{where} is cut short or damaged: {error}") from error


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _number(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{text} is larger than any number here")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} comes twice")
    return found
