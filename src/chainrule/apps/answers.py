"""What a trained model says of files: pictures, tables, sequences, texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..data import CharVocabulary
from ..data.folder import pillow
from ..domain.errors import ArgumentError, DataError, FileFormatError, MissingFileError, ShapeError
from ..random import Generator
from . import tables
from .predictor import probabilities
from .runs import Subject

Answer = dict[str, Any]


def answers(subject: Subject, files: Sequence[Path], top: int = 3) -> list[Answer]:
    """What the model says of each file, or of each row of a table; the ``top`` likeliest of classes.

    A model of MNIST's shape and ten outputs, of which nothing else is known, reads digits. Errors: ArgumentError for a
    model of text, MissingFileError, FileFormatError, DataError for input of another shape.
    """
    about, model = subject.about, subject.model()
    if about.get("kind") == "text":
        raise ArgumentError("[predict] the model goes on with texts: --text 'Call me'")
    if not about or about["digits"]:
        from .image import load_digit

        x = np.stack([load_digit(path) for path in files])
        try:
            chances = probabilities(model.predict(x))
        except ShapeError as error:
            raise unsaid(subject, f" ({error})") from error
        if not about and chances.shape[1:] != (10,):
            raise unsaid(subject)
        rows = [([*range(len(row))], row) for row in chances]
        return [{"image": str(path), **ranked(*row, top, "digit")} for path, row in zip(files, rows, strict=True)]
    if about["kind"] == "table":
        return [answer for path in files for answer in rows_of(model, about, path, top)]
    read = picture if about["kind"] == "images" else sequence
    x = np.stack([read(path, about) for path in files])
    chances = probabilities(model.predict(x))
    return [
        {"file": str(path), **ranked(about["classes"], row, top, "label")}
        for path, row in zip(files, chances, strict=True)
    ]


def unsaid(subject: Subject, why: str = "") -> ArgumentError:
    """The error for a model that reads no digits, of which nothing is known but its file."""
    return ArgumentError(
        f"[predict] {subject.path} does not say what it reads, and digits of 28 x 28 it is not{why}: give the folder of its "
        "run, or a file in that"
    )


def ranked(names: Sequence[Any], chances: Any, top: int, key: str) -> Answer:
    """The likeliest names with their probabilities: the first, and the first few as ``top``."""
    best = np.argsort(-chances, kind="stable")[:top]
    found = [{key: names[int(i)], "probability": round(float(chances[i]), 6)} for i in best]
    return {**found[0], "top": found}


def rows_of(model: Any, about: Answer, path: Path, top: int) -> list[Answer]:
    """The answers for each row of a table."""
    x = tables.rows_of(path, about["columns"], about["kinds"])
    if x.shape[1] != about["shape"][0]:
        raise DataError(f"[predict] {path} has {x.shape[1]} columns, expected {about['shape'][0]}")
    output = model.predict(x)
    if about["task"] == "regression":
        values = output.numpy().reshape(-1).tolist()
        return [{"file": str(path), "row": k + 1, "value": round(v, 6)} for k, v in enumerate(values)]
    chances = probabilities(output)
    return [
        {"file": str(path), "row": k + 1, **ranked(about["classes"], row, top, "label")}
        for k, row in enumerate(chances)
    ]


def picture(path: Path, about: Answer) -> Any:
    """A picture as the model takes it: float32 (channels, height, width) from 0 to 1, scaled to cover and cut."""
    channels, height, width = about["shape"]
    if path.suffix == ".npy":
        return array(path, (channels, height, width))
    exists(path)
    image_module, operations = pillow()
    try:
        with image_module.open(path) as opened:
            image = operations.exif_transpose(opened).convert("L" if channels == 1 else "RGB")
        image = operations.fit(image, (width, height), image_module.Resampling.BILINEAR)
    except (OSError, image_module.DecompressionBombError) as error:
        raise FileFormatError(f"[predict] {path} is no picture that Pillow can read: {error}") from error
    return np.asarray(image, np.float32).reshape(height, width, channels).transpose(2, 0, 1) / np.float32(255)


def exists(path: Path) -> None:
    """Raise MissingFileError for a path to no file."""
    if path.is_dir():
        raise MissingFileError(f"[predict] {path} is a folder: give its files, as {path}/*")
    if not path.is_file():
        raise MissingFileError(f"[predict] there is no file {path}")


def sequence(path: Path, about: Answer) -> Any:
    """A sequence (steps, features) of a ``.npy`` file, with zeros behind its end where it is shorter."""
    steps, features = about["shape"]
    found = array(path, (None, features))
    if len(found) > steps:
        raise DataError(f"[predict] {path} has {len(found)} steps, expected {steps} at most")
    return np.pad(found, ((0, steps - len(found)), (0, 0)))


def array(path: Path, shape: tuple[int | None, ...]) -> Any:
    """The float32 array in a ``.npy`` file. Errors: MissingFileError, FileFormatError, DataError."""
    exists(path)
    try:
        found = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise FileFormatError(f"[predict] {path} is no array in the .npy format: {error}") from error
    fits = found.ndim == len(shape) and all(n in (None, m) for n, m in zip(shape, found.shape, strict=True))
    if not fits or found.dtype.kind not in "fiub":
        wanted = ", ".join("steps" if n is None else str(n) for n in shape)
        raise DataError(f"[predict] {path} holds {found.dtype}{list(found.shape)}, expected numbers [{wanted}]")
    scale = np.float32(255) if found.dtype == np.uint8 else np.float32(1)
    return (found / scale).astype(np.float32)


def continued(subject: Subject, text: str, length: int, *, temperature: float = 0.8, seed: int = 0) -> str:
    """A text, gone on with for so many characters, each drawn by its probability.

    A smaller ``temperature`` is bolder: 0 takes the likeliest. Errors: ArgumentError for a model that knows no text,
    DataError for a character that it has not seen.
    """
    about = subject.about
    if about.get("kind") != "text":
        raise ArgumentError("[predict] --text is for models of text; give files to this one")
    if not text:
        raise ArgumentError("[predict] the text to go on with is empty: give it a character at least")
    if not temperature >= 0:
        raise ArgumentError(f"[predict] temperature is {temperature}, expected 0 or more")
    vocabulary, model, generator = CharVocabulary(about["symbols"]), subject.model(), Generator(seed)
    ids, most = [*vocabulary.encode(text)], about["shape"][0]
    for draw in generator.uniform((length,)).numpy():
        scores = model.predict(np.asarray([ids[-most:]])).numpy()[0, :, -1].astype(np.float64)
        if not temperature:
            ids.append(int(scores.argmax()))
            continue
        chances = np.exp((scores - scores.max()) / temperature).cumsum()
        ids.append(int(np.searchsorted(chances / chances[-1], draw)))
    return vocabulary.decode(ids)
