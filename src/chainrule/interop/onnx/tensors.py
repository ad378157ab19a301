"""The tensors of ONNX files as arrays, those in files beside them too."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ...domain.errors import FileFormatError, NotSupportedError
from .operators import MOST_ELEMENTS, dtype_of

FIELDS = {1: "float_data", 7: "int64_data", 11: "double_data"}  # where values are that are not raw; else int32_data


class Store:
    """Reads tensors; those that lie in other files from one folder alone."""

    def __init__(self, where: str, folder: Path | None) -> None:
        self.where, self.folder = where, folder

    def array(self, tensor: Any) -> Any:
        """The values. Errors: FileFormatError where sizes do not fit, NotSupportedError for a dtype."""
        what = f"{self.where}: the tensor {tensor.name!r}"
        try:
            name = dtype_of(tensor.data_type)
        except NotSupportedError as error:
            raise NotSupportedError(f"{what} has {error}") from None
        shape = tuple(tensor.dims)
        n = prod(shape)
        if any(d < 0 for d in shape) or n > MOST_ELEMENTS:
            raise FileFormatError(
                f"{what} has shape {shape}, expected sizes from 0 and at most {MOST_ELEMENTS} elements"
            )
        if name == "bfloat16":
            import ml_dtypes

            dtype: Any = np.dtype(ml_dtypes.bfloat16)
        else:
            dtype = np.dtype(name)
        if tensor.data_location == 1:
            raw = self.outside(tensor, what, n * dtype.itemsize)
        elif tensor.HasField("raw_data"):
            raw = tensor.raw_data
        else:
            values = getattr(tensor, FIELDS.get(tensor.data_type, "int32_data"))
            if len(values) != n:
                raise FileFormatError(f"{what} has {len(values)} values, but its shape {shape} is of {n}")
            if name in ("float16", "bfloat16"):
                return np.array(values, np.int32).astype(np.uint16).view(dtype).reshape(shape)
            return np.array(values).astype(dtype).reshape(shape)
        if len(raw) != n * dtype.itemsize:
            raise FileFormatError(
                f"{what} has {len(raw)} bytes, but shape {shape} of {name} takes {n * dtype.itemsize}"
            )
        return np.frombuffer(raw, dtype.newbyteorder("<") if name != "bfloat16" else dtype).astype(dtype).reshape(shape)

    def outside(self, tensor: Any, what: str, size: int) -> Any:
        """The bytes of a tensor in another file of the same folder."""
        given = {entry.key: entry.value for entry in tensor.external_data}
        location = given.get("location", "")
        if self.folder is None:
            raise FileFormatError(f"{what} is in the file {location!r} beside the model: give the path of the model")
        folder = self.folder.resolve()
        path = (self.folder / location).resolve()
        if not location or not path.is_relative_to(folder) or (self.folder / location).is_symlink():
            raise FileFormatError(
                f"{what} is said to be in {location!r}, expected a file within the folder of the model"
            )
        if not path.is_file():
            raise FileFormatError(f"{what} is said to be in {location!r}, which is not there")
        try:
            offset, length = int(given.get("offset", 0)), int(given.get("length", size))
        except ValueError as error:
            raise FileFormatError(f"{what} has an offset or length that is no number: {error}") from error
        if length != size or offset < 0 or offset + length > path.stat().st_size:
            raise FileFormatError(
                f"{what} takes {size} bytes, but is said to have {length} from {offset} on in {location!r}, a file of "
                f"{path.stat().st_size}"
            )
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(length)
