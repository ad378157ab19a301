"""ONNX files: what is in them, before it is a model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ...domain.errors import ArgumentTypeError, FileFormatError, MissingFileError

LARGEST = (1 << 31) - 1  # bytes of one protobuf message


def parsed(source: Any) -> tuple[Any, str, Path | None]:
    """The ModelProto of a path, of bytes, or as given; how to call it in errors; the folder of its weights."""
    import onnx

    if isinstance(source, onnx.ModelProto):
        return source, "the ONNX model", None
    if isinstance(source, (bytes, bytearray)):
        data, where, folder = bytes(source), "the ONNX model", None
    elif isinstance(source, (str, os.PathLike)):
        path = Path(source)
        if not path.exists():
            raise MissingFileError(f"[from_onnx] there is no file {path}")
        if not path.is_file():
            raise FileFormatError(f"[from_onnx] {path} is not a file")
        where, folder = f"[from_onnx] {path}", path.parent
        if path.stat().st_size > LARGEST:
            raise FileFormatError(
                f"{where} has {path.stat().st_size} bytes, expected at most {LARGEST}, as protobuf has it"
            )
        data = path.read_bytes()
    else:
        raise ArgumentTypeError(f"[from_onnx] got a {type(source).__name__}, expected a path, bytes or a ModelProto")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except Exception as error:  # of protobuf, which may be of several kinds
        raise FileFormatError(f"{where} is not an ONNX file: {error}") from error
    if not model.HasField("graph") or not model.opset_import:
        raise FileFormatError(f"{where} is not an ONNX file: it has no graph or no opset_import")
    return model, where, folder
