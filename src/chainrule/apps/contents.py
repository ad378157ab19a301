"""What is in a file of weights or of a model: names, dtypes, shapes and texts, without the values."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from ..domain.errors import ArgumentError, FileFormatError
from ..io import load_metadata
from ..io.arrayfiles import opened_h5
from ..io.h5 import noted, unescaped
from ..io.h5_texts import check_lengths
from ..io.jsonfile import is_ours, json_headers
from ..io.keydnn import read_payload
from ..io.npz import npz_headers
from ..io.weights import opened, suffix_of
from ..io.zipped import mapped, regular

MOST_ARRAYS = 1 << 17
KERAS_TEXTS = ("config.json", "metadata.json")
MOST_NESTED = 30  # branches of the tree that is shown


@dataclass(frozen=True)
class Stored:
    """An array in a file."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def numbers(self) -> int:
        """How many elements it has."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """How many bytes they take."""
        try:
            return self.numbers * np.dtype(getattr(ml_dtypes, self.dtype, self.dtype)).itemsize
        except TypeError:
            return 0


@dataclass
class Contents:
    """What a file holds: its format, its arrays, texts beside them, and the types of layers by path."""

    path: str
    format: str
    bytes: int
    arrays: list[Stored]
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def numbers(self) -> int:
        """The elements of all arrays."""
        return sum(array.numbers for array in self.arrays)

    def types(self) -> dict[str, str]:
        """The types of layers by path, where the file has an architecture."""
        return dict(_types(self.metadata.get("architecture"), ""))

    def as_dict(self) -> dict[str, Any]:
        """All of it, as JSON can hold it."""
        arrays = [{"name": a.name, "dtype": a.dtype, "shape": [*a.shape], "bytes": a.nbytes} for a in self.arrays]
        return {
            "path": self.path,
            "format": self.format,
            "bytes": self.bytes,
            "numbers": self.numbers,
            "arrays": arrays,
            "metadata": self.metadata,
        }


def contents(path: str | os.PathLike[str]) -> Contents:
    """What is in a file: safetensors or a folder of them, ``.npz``, JSON, HDF5, ``.keras``, ``.onnx``, PyTorch's ``.pt`` and
    ``.pth``. Values are not read, but for those in an ``.onnx``, which is one message.

    Errors: MissingFileError, FileFormatError, ArgumentError for another suffix, MissingDependencyError for HDF5 and Keras
    without h5py, for ONNX without onnx.
    """
    suffix, folder = suffix_of(path).lower(), os.path.isdir(path)
    if suffix not in READERS and not folder:
        raise ArgumentError(f"[inspect] {path} ends in {suffix or 'nothing'!r}; known are {', '.join(READERS)}")
    if not folder:
        regular(path, f"[inspect] {path}")
    name, arrays, metadata = (_safetensors if folder else READERS[suffix])(path)
    found = metadata.get("format")
    kind = f"{name}, {found}" if isinstance(found, str) else name
    return Contents(str(path), kind, bytes_at(path), arrays, metadata)


def bytes_at(path: str | os.PathLike[str]) -> int:
    """The size of a file; of a folder that of its files."""
    files = [Path(path)] if not os.path.isdir(path) else [one for one in Path(path).iterdir() if one.is_file()]
    return sum(file.stat().st_size for file in files)


Read = tuple[str, list[Stored], dict[str, Any]]


def _safetensors(path: Any) -> Read:
    with opened(path) as source:
        arrays = [Stored(name, str(spec.dtype), spec.shape) for name, spec in source.specs.items()]
        files = len(getattr(source, "opened", ()))
        return "safetensors" if files < 2 else f"safetensors in {files} files", arrays, source.metadata


def _npz(path: Any) -> Read:
    headers = npz_headers(path, f"[inspect] {path}")
    return "npz", [Stored(name, *header) for name, header in headers.items()], load_metadata(path)


def _torch(path: Any) -> Read:
    from ..interop import load_torch

    arrays: list[Stored] = []
    other: dict[str, Any] = {}
    stack: list[tuple[str, Any]] = [("", load_torch(path))]
    while stack:
        name, value = stack.pop()
        if isinstance(value, np.ndarray):
            arrays.append(Stored(name, value.dtype.name, value.shape))
        elif isinstance(value, (dict, list, tuple)) and value:
            pairs = value.items() if isinstance(value, dict) else enumerate(value)
            stack.extend([(f"{name}.{key}" if name else str(key), inner) for key, inner in pairs][::-1])
        else:
            other[name] = value if isinstance(value, (str, int, float, type(None))) else repr(value)[:100]
        if len(arrays) > MOST_ARRAYS or len(other) > MOST_ARRAYS:
            raise FileFormatError(f"[inspect] {path} has more than {MOST_ARRAYS} values")
    return "PyTorch", arrays, other


def _json(path: Any) -> Read:
    if is_ours(path, f"[inspect] {path}"):
        headers = json_headers(path, f"[inspect] {path}")
        return "JSON", [Stored(name, *header) for name, header in headers.items()], load_metadata(path)
    arch, state = read_payload(path)
    arrays = [Stored(name, array.dtype.name, array.shape) for name, array in state.items()]
    return "KeyDNN", arrays, {"architecture": arch}


def _hdf5(path: Any) -> Read:
    where = f"[inspect] {path}"
    with opened_h5(path, where) as file:
        text, bits = noted(file, where)
        arrays = _datasets(file, where)
        data = mapped(path, where)
        notes = {name: _attribute(file, data, name, where) for name in file.attrs} if text is None else {}
    if text is None:
        return "HDF5", arrays, notes
    ours = [replace(a, name=unescaped(a.name)) for a in arrays]
    return "HDF5", [replace(a, dtype="bfloat16") if a.name in bits else a for a in ours], load_metadata(path)


def _datasets(file: Any, where: str) -> list[Stored]:
    """The arrays in an open HDF5 file. Errors: FileFormatError for too many."""
    arrays: list[Stored] = []

    def visit(name: str, entry: Any) -> Any:
        if hasattr(entry, "dtype"):
            arrays.append(Stored(name, str(entry.dtype), tuple(entry.shape or ())))
        return len(arrays) > MOST_ARRAYS or None

    if file.visititems(visit):  # links that lead elsewhere are not followed
        raise FileFormatError(f"{where} has more than {MOST_ARRAYS} arrays")
    return arrays


def _keras(path: Any) -> Read:
    from ..interop.keras_files import document, holder

    where = f"[inspect] {path}"
    with holder(path, where) as (root, archive):
        arrays = _datasets(root, where)
        texts = [] if archive is None else [document(archive, name) for name in KERAS_TEXTS if name in archive]
    model, *others = texts or [{}]
    inside = model.get("config") if isinstance(model, Mapping) else None
    named = inside.get("layers") if isinstance(inside, Mapping) else None
    layers = (
        [layer.get("class_name") for layer in named if isinstance(layer, Mapping)] if isinstance(named, list) else []
    )
    kind = {"model": model.get("class_name"), "layers": layers} if isinstance(model, Mapping) else {}
    return "Keras", arrays, {**kind, **(others[0] if others and isinstance(others[0], Mapping) else {})}


def _onnx(path: Any) -> Read:
    from ..interop.onnx.files import parsed
    from ..interop.onnx.operators import DTYPES
    from ..interop.onnx.reader import kind, nodes_within, onnx_library

    library = onnx_library()
    model, where, _ = parsed(path)

    def dtype(number: int) -> str:
        known: list[str] = library.TensorProto.DataType.keys()
        return DTYPES.get(number) or (known[number].lower() if 0 <= number < len(known) else f"dtype {number}")

    def value(one: Any) -> str:
        of = one.type.tensor_type
        sizes = [d.dim_param or (d.dim_value if d.HasField("dim_value") else "?") for d in of.shape.dim]
        return " x ".join(map(str, [dtype(of.elem_type), *sizes]))

    graph = model.graph
    if any(n < 0 for tensor in graph.initializer for n in tensor.dims):
        raise FileFormatError(f"{where} has a tensor with a negative size")
    arrays = [Stored(tensor.name, dtype(tensor.data_type), tuple(tensor.dims)) for tensor in graph.initializer]
    given = {tensor.name for tensor in graph.initializer}
    return (
        "ONNX",
        arrays,
        {
            "producer": f"{model.producer_name} {model.producer_version}".strip(),
            "opset": {one.domain or "ai.onnx": one.version for one in model.opset_import},
            "inputs": {one.name: value(one) for one in graph.input if one.name not in given},
            "outputs": {one.name: value(one) for one in graph.output},
            "operators": dict(Counter(kind(node) for node in nodes_within(graph)).most_common()),
        },
    )


def _attribute(file: Any, data: Any, name: str, where: str) -> str:
    """An attribute as a text, if it is one that can be asked for."""
    try:
        check_lengths(data, name, where)
    except FileFormatError as error:
        return f"not shown: {error}"
    return _text(file.attrs[name])


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


READERS: dict[str, Callable[[Any], Read]] = {
    ".safetensors": _safetensors,
    ".npz": _npz,
    ".pt": _torch,
    ".pth": _torch,
    ".json": _json,
    ".json.gz": _json,
    ".h5": _hdf5,
    ".hdf5": _hdf5,
    ".keras": _keras,
    ".onnx": _onnx,
}


def _types(architecture: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(architecture, Mapping):
        yield path, str(architecture.get("type", ""))
        children = architecture.get("children", {})
        for name, child in children.items() if isinstance(children, Mapping) else ():
            yield from _types(child, f"{path}.{name}" if path else str(name))


def shown(found: Contents) -> Any:
    """What is in a file, as a tree for the terminal."""
    from rich.text import Text
    from rich.tree import Tree

    types = found.types()
    head = f"{found.path}: {found.format}, {size(found.bytes)}, {len(found.arrays)} arrays, {found.numbers:,} numbers"
    tree = Tree(Text(plain(f"{head}, {types['']}" if types.get("") else head)))
    branches: dict[str, Any] = {"": tree}
    for array in found.arrays:
        parts = array.name.replace("/", ".").split(".", MOST_NESTED)
        at = ""
        for part in parts[:-1]:
            parent, at = at, f"{at}.{part}" if at else part
            if at not in branches:
                label = f"{part}  {types[at]}" if types.get(at) else part
                branches[at] = branches[parent].add(Text(plain(label)))
        shape = " x ".join(map(str, array.shape)) or "one number"
        branches[at].add(Text(plain(f"{parts[-1]}  {array.dtype}  {shape}  {size(array.nbytes)}")))
    for name, value in found.metadata.items():
        if name != "architecture":
            text = str(value)
            tree.add(Text(plain(f"{name}: {text[:100]}{'...' if len(text) > 100 else ''}")))
    return tree


def size(count: int) -> str:
    """Bytes for people.

    >>> size(812), size(4_194_304)
    ('812 B', '4.2 MB')
    """
    for unit, power in (("GB", 9), ("MB", 6), ("kB", 3)):
        if count >= 10**power:
            return f"{count / 10**power:.1f} {unit}"
    return f"{count} B"


def plain(text: str) -> str:
    """A text without what would steer a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
