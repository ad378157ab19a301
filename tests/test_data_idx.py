"""IDX files: all types there and back, and every way they can be wrong."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import numpy as np
import pytest

from chainrule.data.idx import parse_idx, read_idx, write_idx
from chainrule.domain.errors import DTypeError, FileFormatError, MissingFileError


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "float32", "float64"])
@pytest.mark.parametrize("shape", [(3,), (2, 4, 5), (0, 7), ()])
def test_round_trip(tmp_path: Path, dtype: str, shape: tuple[int, ...], suffix: str) -> None:
    array = (np.arange(np.prod(shape, dtype=int)).reshape(shape) - 3).astype(dtype)
    write_idx(tmp_path / f"a{suffix}", array)
    found = read_idx(tmp_path / f"a{suffix}")
    assert found.dtype == array.dtype and found.dtype.isnative and found.flags.writeable
    np.testing.assert_array_equal(found, array)
    assert ((tmp_path / f"a{suffix}").read_bytes()[:2] == b"\x1f\x8b") == (suffix == ".gz")


def test_the_bytes_of_the_format() -> None:
    labels = bytes.fromhex("00000801 00000003 050004")
    assert parse_idx(labels).tolist() == [5, 0, 4]
    numbers = bytes.fromhex("00000b02 00000001 00000002 0102 fffe")
    assert parse_idx(numbers).tolist() == [[258, -2]]


def test_memory_order_does_not_matter(tmp_path: Path) -> None:
    array = np.arange(24, dtype=">i4").reshape(2, 3, 4).transpose(2, 0, 1)[::-1]
    write_idx(tmp_path / "a", array)
    np.testing.assert_array_equal(read_idx(tmp_path / "a"), array)


def test_every_truncation(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_idx(path, np.arange(6, dtype=np.int16).reshape(2, 3))
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(FileFormatError, match="cut short|not an IDX file"):
            read_idx(path)
        path.write_bytes(gzip.compress(whole[:size]))
        with pytest.raises(FileFormatError, match="cut short|not an IDX file"):
            read_idx(path)
    zipped = gzip.compress(whole)
    for size in range(2, len(zipped)):
        path.write_bytes(zipped[:size])
        with pytest.raises(FileFormatError, match="a is cut short or damaged"):
            read_idx(path)


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    path = tmp_path / "images"
    write_idx(path, np.zeros((2, 3), np.uint8))
    whole = path.read_bytes()
    for content, message in {
        whole + b"\0": r"images is too long: 19 bytes, 18 expected for shape \(2, 3\)",
        whole[:-1]: r"images is cut short: 17 bytes, 18 expected for shape \(2, 3\)",
        b"\x89PNG\r\n": "images is not an IDX file: it begins with 89 50 4e 47",
        b"": "begins with nothing",
        b"\0\0\x0a\1\0\0\0\1\0": "begins with 00 00 0a 01",
        gzip.compress(whole)[:-6] + b"abcdef": "images is cut short or damaged",
    }.items():
        path.write_bytes(content)
        with pytest.raises(FileFormatError, match=message):
            read_idx(path)
    with pytest.raises(MissingFileError, match="nowhere does not exist"):
        read_idx(tmp_path / "nowhere")


def test_a_huge_shape_takes_no_memory() -> None:
    with pytest.raises(FileFormatError, match="cut short"):
        parse_idx(bytes([0, 0, 0x0E, 4]) + b"\xff" * 16)


def test_shapes_that_no_array_has() -> None:
    for sizes in ([0, 2**32 - 1, 2**32 - 1], [1] * 65):
        head = bytes([0, 0, 8, len(sizes)]) + b"".join(n.to_bytes(4, "big") for n in sizes)
        with pytest.raises(FileFormatError, match="which no array can have"):
            parse_idx(head + bytes(math.prod(sizes)))


def test_types_that_idx_has_not(tmp_path: Path) -> None:
    for dtype in ("int64", "bool", "float16", "uint16", "complex64"):
        with pytest.raises(DTypeError, match=dtype):
            write_idx(tmp_path / "a", np.zeros(2, dtype))
    assert list(tmp_path.iterdir()) == []
