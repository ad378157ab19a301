"""HDF5 as a file of ours: arrays by name at its root, and our text in the attribute ``chainrule``.

HDF5 has no bfloat16: such arrays are stored as uint16, and named in the attribute ``bfloat16``. A slash in a name would make
groups: it is written %2F.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from ..domain.errors import ArgumentError, FileFormatError
from .arrayfiles import MOST_NAMES, datasets_h5, from_bits, opened_h5, to_bits, write_h5
from .h5_texts import check_lengths
from .zipped import mapped

TEXT = "chainrule"  # the attribute
BITS = "bfloat16"  # the attribute with the names of arrays that are bits of bfloat16
ESCAPES = {"%": "%25", "/": "%2F", "\0": "%00"}
MOST_TEXT = 1 << 28  # bytes of an attribute that are read
KERAS = ("model_config", "layer_names", "keras_version")  # attributes, and
KERAS_GROUPS = ("model_weights", "layers", "vars")


def write_h5_notes(path: str | os.PathLike[str], arrays: Mapping[str, Any], text: str) -> None:
    """Write C-ordered arrays and a text. Errors: DTypeError, ArgumentError, FileWriteError, MissingDependencyError."""
    where = f"[save_weights] {path}"
    if len(arrays) > MOST_NAMES:
        raise ArgumentError(
            f"{where}: an HDF5 file takes {MOST_NAMES} arrays, not {len(arrays)}; .safetensors takes all"
        )
    stored, bits = to_bits(arrays, where)
    named = {_escaped(name): array for name, array in stored.items()}
    write_h5(path, named, where, compressed=False, attributes={TEXT: text, BITS: json.dumps(bits)})


def read_h5_notes(path: str | os.PathLike[str], with_arrays: bool) -> tuple[dict[str, Any], dict[str, str]]:
    """The arrays at the root of an HDF5 file, ours or not, and our text as that of the key ``chainrule``, if it is there.

    Errors: MissingFileError, FileFormatError, MissingDependencyError.
    """
    where = f"[load_weights] {path}"
    with opened_h5(path, where) as file:
        text, bits = noted(file, where)
        if text is None and (any(a in file.attrs for a in KERAS) or any(g in file for g in KERAS_GROUPS)):
            raise FileFormatError(
                f"{where} is of Keras: interop.from_keras reads models, interop.load_keras_weights(model, path) weights"
            )
        found = datasets_h5(file, where) if with_arrays else {}
    if text is None:
        return found, {}
    return from_bits({unescaped(name): array for name, array in found.items()}, bits, where), {"chainrule": text}


def noted(file: Any, where: str) -> tuple[str | None, list[str]]:
    """Our text in an open file, if it is there, and the names of arrays that are bits of bfloat16. Errors: FileFormatError."""
    if TEXT not in file.attrs:
        return None, []
    text, names = (_text(file, name, where) for name in (TEXT, BITS))
    try:
        bits = json.loads(names)
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{where} has an attribute {BITS!r} that save_weights never writes: {error}") from error
    if type(bits) is not list or not all(type(name) is str for name in bits):
        raise FileFormatError(f"{where} has an attribute {BITS!r} that save_weights never writes: {names[:200]}")
    return text, bits


def _text(file: Any, name: str, where: str) -> str:
    """An attribute that is one text."""
    value: Any = None
    if name in file.attrs:
        check_lengths(mapped(file.filename, where), name, where)
        attribute = file.attrs.get_id(name)
        if attribute.shape == () and attribute.dtype.kind in "OS" and attribute.dtype.itemsize <= MOST_TEXT:
            value = file.attrs[name]
    value = value.decode() if isinstance(value, bytes) else value
    if (
        type(value) is not str or value != value.encode(errors="replace").decode()
    ):  # what is no UTF-8 becomes surrogates
        raise FileFormatError(f"{where} should have a text as its attribute {name!r}")
    return value


def _escaped(name: str) -> str:
    """A name as that of an array at the root."""
    if name in ("", "."):
        return f"%{ord(name):02X}" if name else "%"
    for plain, written in ESCAPES.items():
        name = name.replace(plain, written)
    return name


def unescaped(name: str) -> str:
    """The opposite.

    >>> unescaped(_escaped("optimizer/0.weight/%2F"))
    'optimizer/0.weight/%2F'
    """
    if name in ("%", "%2E"):
        return "" if name == "%" else "."
    for plain, written in reversed(ESCAPES.items()):
        name = name.replace(written, plain)
    return name
