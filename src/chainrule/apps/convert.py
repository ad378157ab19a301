"""One file made into another: models and weights between our formats and those of others."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .. import interop
from ..domain.errors import ArgumentError, unknown
from ..io import load, load_json, load_metadata, load_weights, save, save_json, save_weights
from ..io.arrayfiles import opened_h5
from ..io.checkpoint import SUFFIXES
from ..io.folders import is_folder
from ..io.h5 import KERAS, KERAS_GROUPS, TEXT
from ..io.jsonfile import is_ours
from ..io.npz import npz_headers
from ..io.training import FORMAT as TRAINING
from ..io.weights import read, suffix_of
from ..io.zipped import regular
from ..nn import Module
from .contents import bytes_at

WRITTEN = {  # suffixes of what is written; the first that has a suffix is meant by it
    "chainrule": SUFFIXES,
    "pytorch": (".pt", ".pth"),
    "keydnn": (".json",),
    "keras": (".keras",),
    "onnx": (".onnx",),
    "convnet": (".hdf5", ".npz"),
    "mpneuralnetwork": (".npz",),
}
READ = (*SUFFIXES, ".pt", ".pth", ".keras", ".onnx")
NEED_A_MODEL = {"keydnn", "keras", "onnx", "convnet", "mpneuralnetwork"}


@dataclass(frozen=True)
class Converted:
    """What was made: both files with their formats, a model or weights, and how much of them."""

    source: str
    source_format: str
    target: str
    target_format: str
    content: str  # "model", "weights" or "training"
    arrays: int
    numbers: int
    bytes: int
    warnings: list[str]

    def as_dict(self) -> dict[str, Any]:
        """All of it, as JSON can hold it."""
        return asdict(self)


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    to: str | None = None,
    input_shape: tuple[int | None, ...] | None = None,
    flipped: bool = False,
) -> Converted:
    """Write what is in ``source`` as ``target``: a model where ``source`` has one and ``target`` can, weights otherwise.

    Formats are told by suffixes, and where several systems share one by what is in the file. ``to`` names the format of
    ``target`` where its suffix does not: "keydnn", "convnet", "mpneuralnetwork". A target that ends in a slash, or has no
    suffix, is a folder of safetensors files. Between files of ours all is kept, optimizers too.
    ``input_shape``, without the batch, is needed for Keras and ONNX, and for MPNeuralNetwork if there are convolutions.
    ``flipped`` is that of ``load_convnet`` and ``save_convnet``. Errors: those of the functions that read and write the
    formats; ArgumentError for a suffix that is not known, and if ``target`` needs a model and ``source`` has weights alone.

    >>> import chainrule as cr
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     cr.nn.Sequential(cr.nn.Linear(2, 3)).save(f"{folder}/m.safetensors")
    ...     found = convert(f"{folder}/m.safetensors", f"{folder}/m.json", to="keydnn")
    >>> found.source_format, found.target_format, found.content, found.numbers
    ('chainrule', 'keydnn', 'model', 9)
    """
    one, other = Path(source), Path(target)
    said = "chainrule" if to in (None, "chainrule") and is_folder(target) else _target_format(other, to)
    if not one.is_dir():
        if suffix_of(one) not in READ:
            raise ArgumentError(f"[convert] {one} ends in {one.suffix or 'nothing'!r}; known are {', '.join(READ)}")
        regular(one, f"[convert] {one}")
    written = [other, other.with_suffix(".json")] if said == "convnet" else [other]
    if any(path.exists() and path.samefile(one) for path in written):
        raise ArgumentError(f"[convert] {one} would be replaced: give another name than {other}")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = source_format(one)
        if found in ("chainrule", "weights") and said == "chainrule":
            arrays, metadata = read(one)
            save_weights(target, arrays, metadata)
            training = metadata.get("format") == TRAINING
            content = "weights" if found == "weights" else "training" if training else "model"
        else:
            content, arrays = _write(_read(one, found, input_shape, flipped), one, target, said, input_shape, flipped)
    told = [str(warning.message) for warning in caught if issubclass(warning.category, UserWarning)]
    numbers = sum(array.size for array in arrays.values())
    return Converted(str(one), found, str(other), said, content, len(arrays), numbers, bytes_at(other), told)


def shape_of(text: str | None) -> tuple[int | None, ...] | None:
    """The shape that a text says, None for an open size. Errors: ArgumentError.

    >>> shape_of("None,8,8"), shape_of(None)
    ((None, 8, 8), None)
    """
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part == "None" or (part.isdecimal() and len(part) < 10) for part in parts):
        raise ArgumentError(f"[convert] the input shape {text!r} should be sizes without the batch, as 1,28,28")
    return tuple(None if part == "None" else int(part) for part in parts)


def _target_format(path: Path, to: str | None) -> str:
    """The format that is to be written. Errors: ArgumentError."""
    suffixes = list(dict.fromkeys(suffix for names in WRITTEN.values() for suffix in names))
    if to is not None and to not in WRITTEN:
        raise unknown("format", to, WRITTEN)
    found = to or next((name for name, names in WRITTEN.items() if suffix_of(path) in names), None)
    if found is None:
        raise ArgumentError(
            f"[convert] {path} ends in {path.suffix or 'nothing'!r}; what is written ends in {', '.join(suffixes)}"
        )
    if suffix_of(path) not in WRITTEN[found]:
        raise ArgumentError(f"[convert] {path}: a file of {found} ends in {' or '.join(WRITTEN[found])}")
    return found


def source_format(path: Path) -> str:
    """Which system a file is of: "chainrule" for models and trainings, "weights" for arrays without a model.

    Errors: those of what reads the file.
    """
    plain = {".keras": "keras", ".onnx": "onnx", ".pt": "pytorch", ".pth": "pytorch"}
    if path.suffix in plain and not path.is_dir():
        return plain[path.suffix]
    if path.suffix == ".json" and not is_ours(path, f"[convert] {path}"):
        return "keydnn"
    if path.suffix == ".npz" and {"architecture", "model_config"} <= npz_headers(path, f"[convert] {path}").keys():
        return "mpneuralnetwork"
    if path.suffix in (".h5", ".hdf5"):
        with opened_h5(path, f"[convert] {path}") as file:
            keras = any(name in file.attrs for name in KERAS) or any(name in file for name in KERAS_GROUPS)
            if keras and TEXT not in file.attrs:
                return "keras"
    if str(load_metadata(path).get("format")).startswith("chainrule."):
        return "chainrule"
    text = path.with_suffix(".json")
    if path.suffix in WRITTEN["convnet"] and text.is_file():
        with open(text, "rb") as file:
            if file.read(100).lstrip()[:1] == b"[":
                return "convnet"
    return "weights"


def _read(path: Path, found: str, input_shape: tuple[int | None, ...] | None, flipped: bool) -> Any:
    """The model in a file, or its arrays by name."""
    readers: dict[str, Callable[[], Any]] = {
        "chainrule": lambda: load(path),
        "weights": lambda: load_weights(path),
        "pytorch": lambda: load_weights(path),
        "keydnn": lambda: load_json(path),
        "keras": lambda: interop.from_keras(path, input_shape=input_shape),
        "onnx": lambda: interop.from_onnx(path),
        "convnet": lambda: interop.load_convnet(path, flipped=flipped),
        "mpneuralnetwork": lambda: interop.load_mpnn(path),
    }
    return readers[found]()


def _write(
    held: Any,
    source: Path,
    path: str | os.PathLike[str],
    said: str,
    input_shape: tuple[int | None, ...] | None,
    flipped: bool,
) -> tuple[str, dict[str, Any]]:
    """Write a model, or arrays by name. What was written, and its arrays."""
    if not isinstance(held, Module):
        if said in NEED_A_MODEL:
            raise ArgumentError(
                f"[convert] {source} has weights alone, and a file of {said} needs the model: build it, "
                "model.load_weights takes them, and convert what model.save writes"
            )
        save_weights(path, held)
        return "weights", held
    arrays = {name: tensor.numpy() for name, tensor in held.state_dict().items()}
    if said == "pytorch":
        save_weights(path, arrays)
        return "weights", arrays
    batch = None if input_shape is None else (None, *input_shape)
    if said in ("keras", "onnx") and batch is None and not hasattr(held, "input_shapes"):
        raise ArgumentError(f"[convert] {path} needs the shape of an input without the batch: --input-shape 1,28,28")
    image: Any = input_shape
    writers: dict[str, Callable[[], Any]] = {
        "chainrule": lambda: save(held, path, optimizer=getattr(getattr(held, "compiled", None), "optimizer", None)),
        "keydnn": lambda: save_json(held, path),
        "keras": lambda: interop.to_keras(held, path, input_shape=input_shape),
        "onnx": lambda: interop.to_onnx(held, path, batch),
        "convnet": lambda: interop.save_convnet(held, path, flipped=flipped),
        "mpneuralnetwork": lambda: interop.save_mpnn(held, path, input_shape=image),
    }
    writers[said]()
    return "model", arrays
