"""Versions of our files: what an older program wrote is made what this one reads, one version at a time."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any

from ..domain.errors import ArgumentError, FileFormatError

Contents = tuple[dict[str, Any], dict[str, Any]]  # arrays by name, and metadata
Migration = Callable[[dict[str, Any], dict[str, Any]], Contents]

MIGRATIONS: dict[tuple[str, int], Migration] = {}


def migration(family: str, version: int) -> Callable[[Migration], Migration]:
    """Register a function that makes the contents of a file of ``family`` and ``version`` those of the next version.

    It is given the arrays and the metadata of the file and returns both. The version is the end of ``metadata["format"]``:
    "chainrule.model.v1" is version 1 of "chainrule.model". Errors: ArgumentError if there is one already.

    >>> @migration("example.notes", 1)
    ... def renamed(arrays, metadata):
    ...     return {"values": arrays["data"]}, metadata
    >>> migrated("notes", "example.notes.v2", {"data": 7}, {"format": "example.notes.v1"})
    ({'values': 7}, {'format': 'example.notes.v2'})
    """

    def register(function: Migration) -> Migration:
        if (family, version) in MIGRATIONS:
            raise ArgumentError(f"[migration] there is one already for version {version} of {family}")
        MIGRATIONS[family, version] = function
        return function

    return register


def version_of(family: str, metadata: dict[str, Any]) -> int | None:
    """The version of a file of ``family``; None if it is something else."""
    found = re.fullmatch(re.escape(family) + r"\.v(\d{1,9})", str(metadata.get("format")))
    return None if found is None else int(found[1])


def migrated(
    path: str | os.PathLike[str], wanted: str, arrays: dict[str, Any], metadata: dict[str, Any], name: str = "load"
) -> Contents:
    """The contents of a file as ``wanted``, a family with a version, has them; those of another family as they are.

    Errors: FileFormatError for a later version, for one that nothing is registered for, and for contents that its
    migration cannot read.
    """
    family, _, last = wanted.rpartition(".v")
    version = version_of(family, metadata)
    if version is None or version == int(last):
        return arrays, metadata
    found = metadata["format"]
    if version > int(last):
        raise FileFormatError(f"[{name}] {path} is of version {found!r}, this chainrule reads {wanted!r}: update it")
    for old in range(version, int(last)):
        if (family, old) not in MIGRATIONS:
            raise FileFormatError(
                f"[{name}] {path} is of version {found!r}, and nothing is registered that makes {family}.v{old} newer"
            )
        try:
            arrays, metadata = MIGRATIONS[family, old](arrays, metadata)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise FileFormatError(
                f"[{name}] {path} is of version {found!r} but has not what that version has: {error!r}"
            ) from error
        metadata = {**metadata, "format": f"{family}.v{old + 1}"}
    return arrays, metadata
