"""Names and words with their pronunciations: for models of characters, and from one sequence to another."""

from __future__ import annotations

import os
import re
from typing import Literal, NamedTuple

from ..domain.errors import unknown
from .fetch import RemoteData, obtain
from .packages import NpmPackage, PypiPackage
from .sources import RemoteFile

NAMES = RemoteData(
    "names",
    files=(
        RemoteFile("dist.female.first", 149_625, "bd2f310fc4e5d5e5ea122c9d4342c9821145823118eb20db1647f305ec77b358"),
        RemoteFile("dist.male.first", 42_665, "0a5078ef6effe3b483d15b0f7f95047662126c9bfb624ecd5e5b978fc0f2470b"),
        RemoteFile("dist.all.last", 3_107_965, "b0e2b3743ccbad641ca48b344c24cdebcd1d9a1f76dc6dbf05986f2919f0b4e1"),
    ),
    sources=(PypiPackage("names", "0.3.0", 789_099, "names-0.3.0/names", wheel=False),),
    terms="0.8 MB to fetch, 3.3 MB kept; United States census of 1990, public domain",
)

CMUDICT = RemoteData(
    "cmudict",
    files=(RemoteFile("index.js", 4_699_401, "ef8b2b976d2e5801b7541ebcc7714f538d1ffa0ebb28645259536e2666bd2948"),),
    sources=(NpmPackage("cmu-pronouncing-dictionary", "3.0.0", 950_120, "package"),),
    terms="1 MB to fetch, 4.7 MB kept; (c) Carnegie Mellon University, BSD",
)

ENTRY = re.compile(r'^  "([^"(]+)(\(\d+\))?": "([^"]*)",?$', re.MULTILINE)


class Pronunciation(NamedTuple):
    """A word and how it is said, in ARPAbet: the digit behind a vowel is its stress (0 none, 1 first, 2 second)."""

    word: str
    phonemes: tuple[str, ...]


def load_names(
    kind: Literal["last", "female", "male"] = "last",
    root: str | os.PathLike[str] | None = None,
    *,
    download: bool = True,
    progress: bool = True,
) -> list[str]:
    """Names of people in the United States (census of 1990), most frequent first, in the letters a to z.

    88,799 last names, 4,275 first names of women or 1,219 of men; 331 of those are both. Fetched once with pip, kept in
    ``root`` (default: ``~/.cache/chainrule/names``) and verified at every load. Terms: public domain. Errors:
    DownloadError, as ``load_mnist``; ArgumentError.

    >>> load_names("female")[:5]
    ['mary', 'patricia', 'linda', 'barbara', 'elizabeth']
    """
    files = {"last": "dist.all.last", "female": "dist.female.first", "male": "dist.male.first"}
    if kind not in files:
        raise unknown("kind of names", kind, files)
    text = obtain(NAMES, root, download=download, progress=progress)[files[kind]].decode()
    return [line.split()[0].lower() for line in text.splitlines() if line]


def load_cmu_pronunciations(
    root: str | os.PathLike[str] | None = None,
    *,
    alternatives: bool = False,
    download: bool = True,
    progress: bool = True,
) -> list[Pronunciation]:
    """The CMU Pronouncing Dictionary: 126,046 English words in alphabetical order, each with its phonemes.

    ``alternatives=True`` also gives the other ways to say a word, behind the first. Fetched once with npm, kept in
    ``root`` (default: ``~/.cache/chainrule/cmudict``) and verified at every load. Terms: (c) Carnegie Mellon
    University, BSD. Errors: DownloadError, as ``load_mnist``.

    >>> pronunciations = dict(load_cmu_pronunciations())
    >>> pronunciations["tensor"]
    ('T', 'EH1', 'N', 'S', 'ER0')
    """
    text = obtain(CMUDICT, root, download=download, progress=progress)["index.js"].decode()
    return [
        Pronunciation(word, tuple(phonemes.split()))
        for word, other, phonemes in ENTRY.findall(text)
        if alternatives or not other
    ]
