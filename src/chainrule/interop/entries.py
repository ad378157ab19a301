"""What descriptions in files of others may say: each entry of a layer with a check and, if it may be left out, a default."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from ..domain.errors import FileFormatError, unknown
from ..nn.parameter import sizes_text

MOST = 1 << 40  # no size in a file is larger


class Said(NamedTuple):
    """What an entry has to be."""

    expected: str
    holds: Callable[[Any], bool]
    default: Any = ...


def is_size(n: Any) -> bool:
    """Whether it is an integer from 1 on."""
    return type(n) is int and 0 < n < MOST


def is_pair(value: Any) -> bool:
    """Whether it is two sizes."""
    return isinstance(value, list) and len(value) == 2 and all(map(is_size, value))


def is_share(value: Any) -> bool:
    """Whether it is a number from 0 to 1."""
    return type(value) in (int, float) and 0 <= value <= 1


def is_number(value: Any) -> bool:
    """Whether it is a number from 0 on."""
    return type(value) in (int, float) and 0 <= value < float("inf")


SIZE = Said("a size", is_size)
RATE = Said("a number from 0 to below 1", lambda v: is_share(v) and v < 1, 0.5)
POSITIVE = Said("a positive number", lambda v: is_number(v) and v > 0)


def flag(default: bool) -> Said:
    """True or false."""
    return Said("true or false", lambda v: isinstance(v, bool), default)


def one_of(words: Iterable[str], default: Any = ...) -> Said:
    """One of some words."""
    known = [*words]
    return Said(f"one of {', '.join(known)}", lambda v: isinstance(v, str) and v in known, default)


def typed(entry: Any, key: str, kinds: Mapping[str, Mapping[str, Said]], where: str) -> tuple[str, dict[str, Any]]:
    """The type that ``entry[key]`` names, and the other entries, complete. Errors: FileFormatError."""
    name = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(name, str):
        raise FileFormatError(f"{where} is {repr(entry)[:200]}; expected a dictionary with {key!r}")
    if name not in kinds:
        raise FileFormatError(f"{where}: {unknown('type', name[:200], kinds)}")
    return name, complete({k: v for k, v in entry.items() if k != key}, kinds[name], f"{where} ({name})")


def complete(config: Any, keys: Mapping[str, Said], where: str) -> dict[str, Any]:
    """A config with its defaults, checked. Errors: FileFormatError."""
    if not isinstance(config, dict):
        raise FileFormatError(f"{where} has the config {repr(config)[:200]}; expected a dictionary")
    for key in config.keys() - keys.keys():
        raise FileFormatError(f"{where}: {unknown('entry', key[:200], keys or ['none'])}")
    whole = {}
    for key, what in keys.items():
        value = config.get(key, what.default)
        if value is ... or not what.holds(value):
            given = "is missing" if value is ... else f"is {repr(value)[:200]}"
            raise FileFormatError(f"{where}: {key} {given}; expected {what.expected}")
        whole[key] = value
    return whole


def taken(arrays: Mapping[str, Any], name: str, shape: tuple[int | None, ...], where: str) -> Any:
    """An array of a file in the shape that is expected; None stands for any size but 0. Errors: FileFormatError."""
    shown = sizes_text(shape)
    if name not in arrays:
        some = sorted(arrays)
        known = ", ".join(some[:12]) + ", ..." * (len(some) > 12)
        raise FileFormatError(f"{where} lacks {name!r}, of shape {shown}; it has {known or 'nothing'}")
    array = arrays[name]
    fits = len(array.shape) == len(shape) and all(m in (None, n) for n, m in zip(array.shape, shape, strict=True))
    if not fits or 0 in array.shape:
        raise FileFormatError(f"{where}: {name!r} has the shape {array.shape}, expected {shown}")
    return array
