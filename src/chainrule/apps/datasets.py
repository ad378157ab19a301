"""Data by name or by path, as the commands train and test with it: what it is, its samples, its labels."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import data as sets
from ..data import (
    ArrayDataset,
    CharVocabulary,
    Compose,
    ImageFolder,
    RandomCrop,
    RandomHorizontalFlip,
    Subset,
    TextDataset,
    train_test_split,
)
from ..data.folder import EXTENSIONS
from ..domain.errors import ArgumentError, DataError, FileFormatError, unknown
from ..io.npz import read_npz_notes
from . import tables
from .settings import DataSettings

IN_MEMORY = 1 << 30  # bytes of images that are read once; more are read again in each epoch
HELD = 0.2  # of data without a test part: tested with
TEXT_HELD = 0.05  # of a text: its end
TRAIN_NAMES, TEST_NAMES = ("train", "training"), ("test", "testing", "val", "valid", "validation")


class Known(NamedTuple):
    """A public data set: its function in ``chainrule.data``, its kind, its size to fetch, its classes, what it is."""

    load: str
    kind: str
    about: str
    fetched: str = ""
    classes: tuple[str, ...] = ()
    task: str = "classes"
    columns: tuple[str, ...] = ()


DIGITS = tuple("0123456789")
KNOWN = {
    "mnist": Known("load_mnist", "images", "handwritten digits, 28 × 28", "11 MB", DIGITS),
    "fashion-mnist": Known(
        "load_fashion_mnist", "images", "clothes, 28 × 28", "31 MB", tuple(sets.FASHION_MNIST_CLASSES)
    ),
    "cifar10": Known("load_cifar10", "images", "photographs, 32 × 32", "139 MB", tuple(sets.CIFAR10_CLASSES)),
    "cifar100": Known("load_cifar100", "images", "photographs, 32 × 32", "169 MB", tuple(sets.CIFAR100_CLASSES)),
    "digits": Known("load_digits", "images", "handwritten digits, 8 × 8", classes=DIGITS),
    "iris": Known(
        "load_iris",
        "table",
        "flowers, 4 measurements",
        classes=("setosa", "versicolor", "virginica"),
        columns=("sepal length", "sepal width", "petal length", "petal width"),
    ),
    "wine": Known("load_wine", "table", "wines, 13 measurements", classes=("1", "2", "3")),
    "breast-cancer": Known("load_breast_cancer", "table", "tumours, 30 measurements", classes=("malignant", "benign")),
    "diabetes": Known("load_diabetes", "table", "patients, 10 measurements, to a number", task="regression"),
    "japanese-vowels": Known(
        "load_japanese_vowels", "sequences", "speech of nine men", "8 MB", tuple(f"speaker {k}" for k in range(1, 10))
    ),
    "shakespeare": Known("load_shakespeare", "text", "the complete works", "5 MB", task="text"),
    "moby-dick": Known("load_moby_dick", "text", "the novel", "1.5 MB", task="text"),
    "sotu": Known("load_sotu", "text", "State of the Union addresses", "7 MB", task="text"),
}


@dataclass
class Data:
    """Samples to train on and to test with. ``kind`` is one of ``zoo.KINDS``, ``task`` "classes", "regression" or "text".

    ``pool`` makes the data set of all training samples, with a transformation or without; ``labels`` (n,) and
    ``test_labels`` are their targets, None for a text. ``shape`` is that of an input without the batch. ``classes`` are
    names, ``columns`` those of a table, ``kinds`` the texts in columns of text, ``features`` the names of all inputs,
    ``symbols`` the characters of a text. ``digits``: drawings are made MNIST's first.
    """

    name: str
    kind: str
    task: str
    pool: Callable[[Any], Any]
    test: Any
    shape: tuple[int | None, ...]
    labels: Any = None
    test_labels: Any = None
    classes: list[str] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    kinds: dict[str, list[str]] = field(default_factory=dict)
    features: list[str] = field(default_factory=list)
    target: str = ""
    symbols: list[str] = field(default_factory=list)
    mode: str = ""
    scale: dict[str, Any] = field(default_factory=dict)
    digits: bool = False
    padded: bool = False  # whether steps of zeros are no steps

    @property
    def outputs(self) -> int:
        """How many numbers a model gives for a sample, or for each character."""
        return {"classes": len(self.classes), "regression": 1, "text": len(self.symbols)}[self.task]

    def describe(self) -> dict[str, Any]:
        """What later commands need to know of it, as JSON can hold it."""
        names = ("name", "kind", "task", "classes", "columns", "kinds", "target", "symbols", "mode", "digits")
        return {**{name: getattr(self, name) for name in names}, "shape": list(self.shape)}

    def parts(self, settings: DataSettings, seed: int, augment: str = "none") -> tuple[Any, Any]:
        """The data sets to train on and to validate with; None for the second if there is no validation."""
        transform = augmentation(augment, self)
        train, plain = self.pool(transform), self.pool(None)
        order = np.arange(len(plain))
        if settings.limit:
            order = order[: settings.limit]
        if not settings.validation or len(order) < 5:
            return Subset(train, order), None
        if self.kind == "text":  # its end, which nothing before it has seen
            last = max(1, round(len(order) * settings.validation))
            return Subset(train, order[:-last]), Subset(plain, order[-last:])
        held = max(1, round(len(order) * settings.validation))
        stratify = self.labels[order] if self.task == "classes" else None
        if stratify is not None and (np.unique(stratify, return_counts=True)[1].min() < 2 or held < self.outputs):
            stratify = None
        one, other = train_test_split(order, test_size=held, stratify=stratify, seed=seed)
        return Subset(train, np.sort(one)), Subset(plain, np.sort(other))


def augmentation(name: str, data: Data) -> Any:
    """What changes images at random in training, or None. Errors: ArgumentError for other data."""
    if name == "none":
        return None
    if data.kind != "images":
        raise ArgumentError(f"[train] augment is {name!r}, but {data.name} is {data.kind}, not images")
    size = int(data.shape[-1] or 0)
    found = [RandomCrop(padding=max(1, size // 8))] if "crop" in name else []
    return Compose([*found, *([RandomHorizontalFlip()] if "flip" in name else [])])


def find(settings: DataSettings, *, progress: bool = True) -> Data:
    """The data that settings name: one of KNOWN, or a path.

    Paths: a folder of images, one folder a class, perhaps below ``train`` and ``test``; ``.csv``; ``.npz`` with x_train,
    y_train, x_test, y_test, or x and y; ``.txt``. Errors: ArgumentError with the nearest name; those of the readers.
    """
    name = settings.name
    if name in KNOWN:
        return named(name, settings, progress)
    path = Path(name).expanduser()
    if path.is_dir():
        return folder(path, settings)
    if path.is_file():
        readers: dict[str, Callable[[Path, DataSettings], Data]] = {
            **dict.fromkeys((".csv", ".tsv", ".gz"), table),
            **dict.fromkeys((".txt", ".md", ".text"), text_file),
            ".npz": arrays,
        }
        if path.suffix.lower() not in readers:
            hint = f"; settings are given as --config {path}" if path.suffix in (".toml", ".yaml", ".yml") else ""
            raise ArgumentError(
                f"[data] {path} ends in {path.suffix or 'nothing'!r}; files of data are .csv, .tsv, .npz, .txt{hint}"
            )
        return readers[path.suffix.lower()](path, settings)
    error = unknown("data set", name, KNOWN)
    raise ArgumentError(f"[data] {error}; and there is no file or folder {name}")


def named(name: str, settings: DataSettings, progress: bool) -> Data:
    """A public data set, from the cache or fetched."""
    known = KNOWN[name]
    load = getattr(sets, known.load)
    if known.kind == "text":
        found = load(progress=progress)
        text = "\n\n".join(speech.text for speech in found) if name == "sotu" else found
        return written(name, text, settings)
    if name in ("digits", "iris", "wine", "breast-cancer", "diabetes"):
        x, y = load()
        if known.kind == "images":
            return one_piece(name, x, y, list(known.classes))
        return tabular(name, x, y, list(known.classes), task=known.task, columns=list(known.columns))
    if known.kind == "sequences":
        (x_train, _), y_train, (x_test, _), y_test = load(padded=True, progress=progress)
        steps = max(x_train.shape[1], x_test.shape[1])
        x_train, x_test = (np.pad(x, ((0, 0), (0, steps - x.shape[1]), (0, 0))) for x in (x_train, x_test))
    else:
        x_train, y_train, x_test, y_test = load(progress=progress)
    found = of_arrays(name, known.kind, x_train, y_train, x_test, y_test, list(known.classes))
    found.digits, found.padded = name == "mnist", known.kind == "sequences"
    return found


def of_arrays(name: str, kind: str, x: Any, y: Any, x_test: Any, y_test: Any, classes: list[str]) -> Data:
    """Data in arrays, to be classified."""
    return Data(
        name, kind, "classes", lambda transform: ArrayDataset(x, y, transform=transform), ArrayDataset(x_test, y_test),
        x.shape[1:], y, y_test, classes,
    )  # fmt: skip


def one_piece(name: str, x: Any, y: Any, classes: list[str]) -> Data:
    """Images or sequences without a test part: a fifth is held out, always the same."""
    kind = {4: "images", 3: "sequences"}.get(x.ndim, "table")
    parts = train_test_split(x, y, test_size=HELD, stratify=y, seed=0)
    return of_arrays(name, kind, parts[0], parts[2], parts[1], parts[3], classes)


def tabular(name: str, x: Any, y: Any, classes: list[str], *, task: str, columns: list[str] | None = None) -> Data:
    """A table: a fifth is held out; the columns' scales, and that of a number to predict, go into the model."""
    stratify = y if task == "classes" and np.unique(y, return_counts=True)[1].min() > 1 else None
    if task == "regression":
        y = np.asarray(y, np.float32).reshape(-1, 1)
    x, x_test, y, y_test = train_test_split(np.asarray(x, np.float32), y, test_size=HELD, stratify=stratify, seed=0)
    found = of_arrays(name, "table", x, y, x_test, y_test, classes)
    found.task, found.columns, found.features = task, columns or [], columns or []
    found.scale = {"x": scales(x)} | ({"y": scales(y)} if task == "regression" else {})
    return found


def scales(values: Any) -> list[list[float]]:
    """Mean and standard deviation of each column; 1 for a column of equal numbers."""
    mean, std = values.mean(axis=0, dtype=np.float64), values.std(axis=0, dtype=np.float64)
    return [mean.tolist(), np.where(std > 0, std, 1.0).tolist()]


def table(path: Path, settings: DataSettings) -> Data:
    """A CSV file; its target is the column that settings name, or the last."""
    found = tables.read(path, settings.target, [name.strip() for name in settings.drop.split(",") if name.strip()])
    y, classes = found.y, found.classes
    kinds = np.unique(y)
    if settings.task == "regression" and classes is not None:
        raise ArgumentError(
            f"[data] {path}: column {found.target!r} is text, no number to predict: leave out data.task"
        )
    few = y.dtype.kind == "i" and len(kinds) <= max(2, min(20, len(y) // 5))
    if classes is None and settings.task != "regression" and (few or settings.task == "classes"):
        classes = [f"{k:g}" for k in kinds]
        y = np.searchsorted(kinds, y)
    task = "regression" if classes is None else "classes"
    made = tabular(str(path), found.x, y, classes or [], task=task, columns=found.columns)
    made.target, made.kinds, made.features = found.target, found.kinds, found.features
    return made


def arrays(path: Path, settings: DataSettings) -> Data:
    """An ``.npz`` of arrays: images (n, c, h, w), sequences (n, steps, features) or a table (n, features), and labels."""
    try:
        held, _ = read_npz_notes(path, with_arrays=True)
    except FileFormatError as error:
        raise FileFormatError(str(error).replace("[load_weights]", "[data]", 1)) from error
    if {"x", "y"} <= held.keys():
        pairs = ["x", "y"]
    elif {"x_train", "y_train", "x_test", "y_test"} <= held.keys():
        pairs = ["x_train", "y_train", "x_test", "y_test"]
    else:
        raise DataError(f"[data] {path} has {', '.join(held)}; expected x and y, or x_train, y_train, x_test, y_test")
    parts = [held[name] for name in pairs]
    for name, array in zip(pairs, parts, strict=True):
        if array.dtype.kind not in "fiub" or array.ndim < 1 or not len(array):
            raise DataError(
                f"[data] {path}: {name} is {array.dtype}{list(array.shape)}, expected numbers, samples first"
            )
    parts[::2] = [
        (x / np.float32(255) if x.dtype == np.uint8 else x).astype(np.float32, copy=False) for x in parts[::2]
    ]
    if parts[1].dtype.kind == "f":
        if len(pairs) > 2 or parts[0].ndim != 2:
            raise DataError(f"[data] {path}: targets of numbers are taken of tables x (n, features), y (n,) alone")
        return tabular(str(path), parts[0], parts[1], [], task="regression")
    parts[1::2] = [y.astype(np.int64).reshape(-1) for y in parts[1::2]]
    lowest, highest = min(y.min() for y in parts[1::2]), max(y.max() for y in parts[1::2])
    if lowest < 0 or parts[0].ndim not in (2, 3, 4):
        raise DataError(
            f"[data] {path}: expected labels from 0 on, and x (n, features), (n, steps, features), (n, c, h, w)"
        )
    classes = [str(k) for k in range(int(highest) + 1)]
    kind = {2: "table", 3: "sequences", 4: "images"}[parts[0].ndim]
    if len(pairs) == 2:
        if kind == "table":
            return tabular(str(path), parts[0], parts[1], classes, task="classes")
        return one_piece(str(path), parts[0], parts[1], classes)
    x, y, x_test, y_test = parts
    return of_arrays(str(path), kind, x, y, x_test, y_test, classes)


def folder(path: Path, settings: DataSettings) -> Data:
    """Images in folders by class; ``train`` and ``test`` folders of them are taken as such."""
    inner = {p.name.lower(): p for p in path.iterdir() if p.is_dir()}
    train = next((inner[name] for name in TRAIN_NAMES if name in inner), None)
    test = next((inner[name] for name in TEST_NAMES if name in inner), None)
    if not inner and any(p.suffix.lower() in EXTENSIONS for p in path.iterdir()):
        raise DataError(f"[data] {path} has images, but no folders: put those of each class into a folder by its name")
    options: dict[str, Any] = {"size": settings.size, "mode": settings.mode}
    pool = ImageFolder(train if train and test else path, **options)
    held = ImageFolder(test, **options) if train and test else None
    channels = 3 if settings.mode == "RGB" else 1
    shape = (channels, settings.size, settings.size)
    small = 4 * len(pool) * int(np.prod(shape)) <= IN_MEMORY
    if small:
        for part in filter(None, (pool, held)):
            leave_out_broken(part)
    if held is not None and held.classes != pool.classes:
        raise DataError(f"[data] {test} has the classes {', '.join(held.classes)}, {train} {', '.join(pool.classes)}")
    chosen, others = np.arange(len(pool)), None
    if held is None:
        enough = np.bincount(pool.targets).min() > 1 and len(pool) * HELD >= len(pool.classes)
        split = train_test_split(chosen, test_size=HELD, stratify=pool.targets if enough else None, seed=0)
        chosen, others = (np.sort(part) for part in split)
    whole: list[Any] = []

    def images(transform: Any) -> Any:
        """The training images; read once, if they are few."""
        if not small:
            return Subset(ImageFolder(pool.root, **options, transform=transform), chosen)
        if not whole:
            whole.extend(pool.batch(chosen))
        return ArrayDataset(*whole, transform=transform)

    tested = Subset(pool, others) if held is None else held
    labels = pool.targets[others] if held is None else held.targets
    return Data(
        str(path), "images", "classes", images, tested, shape, pool.targets[chosen], labels, pool.classes,
        mode=settings.mode,
    )  # fmt: skip


def leave_out_broken(images: ImageFolder) -> None:
    """Do without files that cannot be read, and say so. Errors: DataError if a class has no other."""
    errors = {}
    for path, _ in images.samples:
        try:
            images.read(path)
        except FileFormatError as error:
            errors[path] = str(error).removeprefix("[ImageFolder] ")
    if not errors:
        return
    count = len(images)
    images.samples = [(path, label) for path, label in images.samples if path not in errors]
    images.targets = np.array([label for _, label in images.samples], np.int64)
    first = next(iter(errors.values()))
    if len(np.unique(images.targets)) < len(images.classes):
        raise DataError(f"[data] {images.root}: a class has no image that can be read: {first}")
    rest = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
    warnings.warn(f"[data] {len(errors)} of {count} images are left out: {first}{rest}", stacklevel=2)


def text_file(path: Path, settings: DataSettings) -> Data:
    """A text of one's own."""
    try:
        return written(str(path), path.read_text("utf-8-sig"), settings)
    except UnicodeDecodeError as error:
        raise FileFormatError(f"[data] {path} is no UTF-8 text: {error}") from error


def written(name: str, text: str, settings: DataSettings) -> Data:
    """A text, in pieces; its end is tested with."""
    vocabulary = CharVocabulary(text)
    ids = vocabulary.encode(text)
    end = round(len(ids) * (1 - TEXT_HELD))
    train, test = TextDataset(ids[:end], settings.length), TextDataset(ids[end:], settings.length)
    shape = (settings.length,)
    return Data(name, "text", "text", lambda transform: train, test, shape, symbols=vocabulary.symbols)
