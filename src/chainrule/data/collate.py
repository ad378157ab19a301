"""Samples put together: a list of samples becomes the arrays of a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import signature
from typing import Any

import numpy as np

from ..domain.dtype import DTYPES
from ..domain.errors import ArgumentError, DataError
from ..random import Generator
from ..tensor import Tensor

Collate = Callable[[list[Any]], Any]


def collated(
    dataset: Any, indices: Any, collate_fn: Collate | None = None, generator: Generator | None = None
) -> tuple[Any, ...]:
    """The samples at ``indices`` as arrays: by the set's own ``batch`` if it has one, else one by one and stacked.

    ``collate_fn`` takes the list of samples instead. An error in a sample carries a note with its index.
    """
    whole = getattr(dataset, "batch", None) if collate_fn is None else None
    if whole is not None:
        found: tuple[Any, ...] = whole(indices, generator) if getattr(dataset, "draws", False) else whole(indices)
        return found
    samples = []
    for index in indices:
        try:
            samples.append(dataset[int(index)])
        except Exception as error:
            error.add_note(f"[DataLoader] in sample {int(index)} of {type(dataset).__name__}")
            raise
    return as_parts(default_collate(samples, indices) if collate_fn is None else collate_fn(samples))


def as_parts(batch: Any) -> tuple[Any, ...]:
    """What a ``collate_fn`` or a transform gave, as a tuple."""
    return tuple(batch) if isinstance(batch, (tuple, list)) else (batch,)


def default_collate(samples: Sequence[Any], indices: Any = None) -> tuple[Any, ...]:
    """Stack the parts of samples, each a tuple or a single value; ``indices`` name the samples in errors.

    A part may have parts: a dict, or a tuple of arrays. Python floats become float32. Errors: DataError if samples differ
    in their number of parts or in a shape.

    >>> default_collate([(1.5, 2), (2.5, 3)])
    (array([1.5, 2.5], dtype=float32), array([2, 3]))
    """
    names = range(len(samples)) if indices is None else indices
    rows = _rows(samples)
    return tuple(_stacked(column, names, k) for k, column in enumerate(zip(*rows, strict=True)))


def pad_collate(
    samples: Sequence[Any], *, value: float | Sequence[float] = 0, mask: bool = False, to: int | None = None
) -> tuple[Any, ...]:
    """Sequences of unequal lengths in one array, for ``DataLoader(..., collate_fn=pad_collate)``.

    The first part of each sample is a sequence (time, ...); shorter ones are filled up with ``value`` to the longest of
    the batch, or to ``to`` steps. It is followed by the lengths, int64 (n,), or with ``mask=True`` by a boolean
    (n, time) that is True in the sequence, and by the other parts; those that differ in length are filled up too, each
    with its own number if ``value`` is one for each part. Other options than the defaults are given by
    ``functools.partial``. Errors: DataError, ArgumentError.

    >>> x, lengths, y = pad_collate([([1.0, 2.0, 3.0], 0), ([4.0], 1)])
    >>> x.tolist(), lengths.tolist(), y.tolist()
    ([[1.0, 2.0, 3.0], [4.0, 0.0, 0.0]], [3, 1], [0, 1])
    """
    columns = [[_as_array(v) for v in column] for column in zip(*_rows(samples), strict=True)]
    fill = tuple(value) if isinstance(value, Sequence) else (value,) * len(columns)
    if len(fill) != len(columns):
        raise ArgumentError(f"[pad_collate] value has {len(fill)} numbers, but a sample has {len(columns)} parts")
    if any(a.ndim == 0 for a in columns[0]):
        raise DataError("[pad_collate] the first part of a sample is a single number, expected a sequence (time, ...)")
    lengths = np.array([len(a) for a in columns[0]], np.int64)
    steps = int(lengths.max()) if to is None else to
    if lengths.max() > steps:
        raise DataError(f"[pad_collate] a sequence has {lengths.max()} steps, more than to={to}")
    parts = [_padded(columns[0], steps, fill[0], 0)]
    parts.append(np.arange(steps) < lengths[:, None] if mask else lengths)
    for k, column in enumerate(columns[1:], 1):
        uneven = column[0].ndim and len({len(a) for a in column if a.ndim}) > 1
        parts.append(
            _padded(column, max(map(len, column)), fill[k], k) if uneven else _stacked(column, range(len(column)), k)
        )
    return tuple(parts)


def takes_generator(transform: Callable[..., Any] | None) -> bool:
    """Whether there is a transform and it has a parameter ``generator``, for its random numbers."""
    if transform is None:
        return False
    try:
        return "generator" in signature(transform).parameters
    except (TypeError, ValueError):  # a built-in function
        return False


def known(array: Any, what: str) -> Any:
    """``array``, if its dtype is one that tensors have."""
    if array.dtype.name not in DTYPES:
        raise DataError(f"{what} has dtype {array.dtype}: convert it to one of {', '.join(DTYPES)}")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _rows(samples: Sequence[Any]) -> list[Any]:
    """Each sample as a tuple of its parts."""
    rows = [row if isinstance(row, (tuple, list)) else (row,) for row in samples]
    if len({len(row) for row in rows}) > 1:
        raise DataError(f"[DataLoader] samples have {sorted({len(row) for row in rows})} parts: all need the same")
    return rows


def _as_array(value: Any) -> Any:
    """A part of a sample as an array; Python floats become float32."""
    array = value.numpy() if isinstance(value, Tensor) else np.asarray(value)
    return array.astype(np.float32) if array.dtype == np.float64 and not hasattr(value, "dtype") else array


def _stacked(values: Sequence[Any], indices: Any, part: int) -> Any:
    """One part of several samples as one array; of a tuple of arrays, or a dict, one of each."""
    first = values[0]
    if isinstance(first, dict):
        return {key: _stacked([v[key] for v in values], indices, part) for key in first}
    if isinstance(first, tuple) and any(isinstance(v, (tuple, dict)) or getattr(v, "ndim", 0) for v in first):
        return tuple(_stacked(column, indices, part) for column in zip(*values, strict=True))
    arrays = [_as_array(v) for v in values]
    for array, index in zip(arrays, indices, strict=True):
        if array.shape != arrays[0].shape:
            raise DataError(
                f"[DataLoader] part {part} of sample {index} has shape {array.shape}, but that of sample {indices[0]} "
                f"has {arrays[0].shape}: samples of one batch need one shape"
                + (" (sequences: collate_fn=pad_collate)" if array.shape[1:] == arrays[0].shape[1:] else "")
            )
    return known(np.stack(arrays), f"[DataLoader] part {part} of the samples")


def _padded(arrays: Sequence[Any], steps: int, value: float, part: int) -> Any:
    """Sequences in one array of ``steps``."""
    rest, dtype = arrays[0].shape[1:], np.result_type(*arrays)
    for index, array in enumerate(arrays):
        if array.shape[1:] != rest:
            raise DataError(
                f"[pad_collate] part {part} of sample {index} of the batch has steps of shape {array.shape[1:]}, but that "
                f"of the first has {rest}: only lengths may differ"
            )
    if dtype.kind in "iub" and not float(value).is_integer():
        raise ArgumentError(
            f"[pad_collate] value is {value!r}, but part {part} of the samples is {dtype}, which cannot hold it"
        )
    out = np.full((len(arrays), steps, *rest), value, dtype)
    for row, array in zip(out, arrays, strict=True):
        row[: len(array)] = array
    return known(out, f"[pad_collate] part {part} of the samples")
