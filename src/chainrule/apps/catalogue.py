"""The public data sets: which there are, which are here, whether their files are whole, and how they look."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..data import cache_folder
from ..data.cifar import CIFAR10, CIFAR100
from ..data.fashion_mnist import FASHION_MNIST
from ..data.fetch import RemoteData, obtain, verify
from ..data.idx import unzipped
from ..data.mnist import MNIST
from ..data.texts import MOBY_DICK, SHAKESPEARE, SOTU, TINY_SHAKESPEARE
from ..data.timeseries import JAPANESE_VOWELS
from ..data.words import CMUDICT, NAMES
from ..domain.errors import ArgumentError, DownloadError, FileFormatError, unknown
from ..plots import terminal
from ..plots.classes import pictures
from ..train.plots import written
from .datasets import KNOWN, Data

REMOTE: dict[str, RemoteData] = {
    "mnist": MNIST,
    "fashion-mnist": FASHION_MNIST,
    "cifar10": CIFAR10,
    "cifar100": CIFAR100,
    "japanese-vowels": JAPANESE_VOWELS,
    "shakespeare": SHAKESPEARE,
    "tiny-shakespeare": TINY_SHAKESPEARE,
    "moby-dick": MOBY_DICK,
    "sotu": SOTU,
    "names": NAMES,
    "cmu-pronunciations": CMUDICT,
}
OTHERS = {  # not for `train`, but to fetch: kind, what, size
    "tiny-shakespeare": ("text", "40,000 lines of Shakespeare", "1 MB"),
    "names": ("words", "names of people", "0.8 MB"),
    "cmu-pronunciations": ("words", "words and their phonemes", "1 MB"),
}


def listed() -> list[dict[str, Any]]:
    """All sets: name, kind, what it is, what there is to fetch, whether it is here, and what loads it."""
    found = []
    for name, known in KNOWN.items():
        here = name not in REMOTE or is_here(REMOTE[name])
        about = {"name": name, "kind": known.kind, "about": known.about, "fetch": known.fetched}
        found.append({**about, "here": here, "function": f"chainrule.data.{known.load}"})
    for name, (kind, what, size) in OTHERS.items():
        function = {"tiny-shakespeare": "load_shakespeare(corpus='tiny')", "names": "load_names"}
        loads = f"chainrule.data.{function.get(name, 'load_cmu_pronunciations')}"
        about = {"name": name, "kind": kind, "about": what, "fetch": size}
        found.append({**about, "here": is_here(REMOTE[name]), "function": loads})
    return found


def places(data: RemoteData) -> list[tuple[Any, Path | None]]:
    """The files of a set, each with where it is in the cache, if it is."""
    root = cache_folder() / data.name
    found = []
    for file in data.files:
        paths = (root / file.name, root / f"{file.name}.gz")
        found.append((file, next((path for path in paths if path.exists()), None)))
    return found


def is_here(data: RemoteData) -> bool:
    """Whether all its files are in the cache; their content is not looked at."""
    return all(path is not None for _, path in places(data))


def fetch(name: str, *, progress: bool = True) -> dict[str, Any]:
    """Fetch a set, unless it is here, and verify it. Errors: ArgumentError for a name that is not known, DownloadError."""
    if name not in REMOTE:
        if name in KNOWN:
            return {"name": name, "files": [], "bytes": 0, "folder": "the package itself, or scikit-learn"}
        raise unknown("data set", name, [*KNOWN, *OTHERS])
    data = REMOTE[name]
    found = obtain(data, progress=progress)
    folder = str(cache_folder() / data.name)
    return {"name": name, "files": [*found], "bytes": sum(map(len, found.values())), "folder": folder}


def verified(names: Sequence[str]) -> list[dict[str, str]]:
    """The state of each file: "whole", "damaged: ..." or "missing". Errors: ArgumentError."""
    for name in names:
        if name not in REMOTE:
            if name in KNOWN:
                raise ArgumentError(f"[data] {name} is not fetched: it comes with chainrule, or with scikit-learn")
            raise unknown("data set", name, REMOTE)
    found = []
    for name in names or [name for name, data in REMOTE.items() if any(path for _, path in places(data))]:
        for file, path in places(REMOTE[name]):
            state = "missing"
            if path is not None:
                try:
                    content = path.read_bytes()
                    verify(file, unzipped(content, path) if path.name != file.name else content)
                    state = "whole"
                except (DownloadError, FileFormatError, OSError) as error:
                    state = f"damaged: {error}"
            found.append({"name": name, "file": file.name, "state": state})
    return found


def described(data: Data) -> dict[str, Any]:
    """Counts, shapes, classes, as JSON can hold them."""
    pool = data.pool(None)
    about: dict[str, Any] = {
        "name": data.name,
        "kind": data.kind,
        "task": data.task,
        "to_train_on": len(pool),
        "to_test_with": len(data.test),
        "shape_of_a_sample": [*data.shape],
    }
    if data.task == "classes":
        counts = np.bincount(data.labels, minlength=len(data.classes))
        about |= {"classes": data.classes, "samples_of_class": dict(zip(data.classes, counts.tolist(), strict=True))}
    if data.columns:
        about |= {"columns": data.columns}
    if data.symbols:
        about |= {"characters": len(data.symbols)}
    return about


def samples_text(data: Data, count: int) -> str:
    """Some samples as text: pictures, rows, the beginning; and how many there are of each class."""
    pool, found = data.pool(None), []
    count = min(count, len(pool))
    if data.task == "classes":
        counts = np.bincount(data.labels, minlength=len(data.classes))
        most = 20
        shown = dict(zip(data.classes[:most], counts.tolist(), strict=False))
        more = f"\nand {len(data.classes) - most} more classes" if len(data.classes) > most else ""
        found.append(terminal.bars(shown, width=terminal.columns(), ascii=terminal.ascii_only()) + more)
    if data.kind == "text":
        text = "".join(data.symbols[k] for k in pool.batch(np.arange(count))[0].reshape(-1))
        return "\n\n".join([*found, text])
    x, y = pool.batch(np.arange(count))[:2]
    for sample, label in zip(x, y, strict=True):
        title = data.classes[int(label)] if data.task == "classes" else f"{float(label[0]):g}"
        if data.kind == "images":
            body = terminal.picture(sample, width=min(64, terminal.columns()), ascii=terminal.ascii_only())
        else:
            body = np.array2string(
                sample, precision=3, suppress_small=True, threshold=60, max_line_width=terminal.columns()
            )
        found.append(f"{title}:\n{body}")
    return "\n\n".join(found)


def samples_figure(data: Data, count: int, path: Path) -> Any:
    """Some images as a figure, with their classes. Errors: ArgumentError for other data, MissingDependencyError."""
    if data.kind != "images":
        raise ArgumentError(f"[data] {data.name} is {data.kind}: a figure is made of images")
    pool = data.pool(None)
    x, y = pool.batch(np.arange(min(count, len(pool))))[:2]
    return written(pictures("data show", x, [data.classes[int(k)] for k in y], data.name), path)
