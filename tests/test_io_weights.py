"""Weights in safetensors files: every kind of array comes back as it was, and no damage passes for weights."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from chainrule.domain.errors import ArgumentError, DTypeError, FileFormatError, FileWriteError, MissingFileError
from chainrule.io.weights import load_metadata, load_weights, read, save_weights

ARRAYS: dict[str, Any] = {
    "f32": np.array([1.5, -0.0, np.inf, np.nan], np.float32),
    "f64": np.array([[np.pi]]),
    "f16": np.array([65504.0, 6e-8], np.float16),
    "bf16": np.array([1.0, 3.0e38, -2.5], ml_dtypes.bfloat16),
    "bool": np.array([True, False, True]),
    "scalar": np.array(7, np.int64),
    "scalar bf16": np.array(2.5, ml_dtypes.bfloat16),
    "empty": np.zeros((0, 3), np.float32),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "strided": np.arange(20, dtype=np.int16)[::-3],
    "transposed": np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(2, 0, 1),
    "big endian": np.arange(3, dtype=">f4"),
    "broadcast": np.broadcast_to(np.float32(2), (2, 2)),
    **{name: np.array([1, 2, 100], name) for name in ("uint8", "int8", "int16", "int32", "int64")},
}


def same(a: Any, b: Any) -> bool:
    """Equal bit for bit, in native order."""
    a = np.asarray(a, a.dtype.newbyteorder("="), order="C")
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "w.safetensors"


def test_round_trip(path: Path) -> None:
    save_weights(path, ARRAYS, {"epoch": 3, "nested": {"list": [1, "é", None]}})
    loaded = load_weights(path)
    assert loaded.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert same(array, loaded[name]), name
        assert loaded[name].flags.writeable, name
    assert load_metadata(path) == {"epoch": 3, "nested": {"list": [1, "é", None]}}


def test_equal_contents_equal_bytes(path: Path) -> None:
    contents = set()
    for _ in range(5):
        save_weights(path, ARRAYS, {"b": 1, "a": 2, "c": {"z": 0, "y": 1}})
        contents.add(path.read_bytes())
    assert len(contents) == 1


def test_no_arrays(path: Path) -> None:
    save_weights(path, {})
    assert load_weights(path) == {} and load_metadata(path) == {}


def test_files_of_other_libraries(path: Path) -> None:
    save_file({"w": np.ones(3)}, path, {"format": "pt"})
    assert load_weights(path)["w"].tolist() == [1, 1, 1]
    assert load_metadata(path) == {"format": "pt"}
    save_file({"w": np.ones(3)}, path)
    assert load_metadata(path) == {}


def test_refused_contents(path: Path) -> None:
    for arrays, metadata, error, message in (
        ({"w": np.array(["text"])}, {}, DTypeError, "dtype"),
        ({"w": np.ones(2, complex)}, {}, DTypeError, "complex128"),
        ({"__metadata__": np.ones(2)}, {}, ArgumentError, "cannot be the name"),
        ({3: np.ones(2)}, {}, ArgumentError, "3 cannot be the name"),
        ({"w": np.ones(2)}, {"x": object()}, ArgumentError, "JSON"),
    ):
        with pytest.raises(error, match=message):
            save_weights(path, arrays, metadata)  # type: ignore[arg-type]
        assert not path.exists()
    with pytest.raises(FileWriteError, match="is a folder"):
        save_weights(path.parent, {})


def test_missing(path: Path) -> None:
    with pytest.raises(MissingFileError, match="does not exist"):
        load_weights(path)
    with pytest.raises(FileNotFoundError, match="not a regular file"):
        load_weights(path.parent)


def test_every_truncation_is_found(path: Path) -> None:
    save_weights(path, {"a": np.arange(5.0), "b": np.ones(3, np.int8)})
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(FileFormatError, match=r"w\.safetensors is (cut short|not a safetensors file)"):
            load_weights(path)
    path.write_bytes(whole + b"xx")
    with pytest.raises(FileFormatError, match="2 bytes follow"):
        load_weights(path)


def test_every_flipped_bit_is_found(path: Path) -> None:
    arrays = {"a": np.arange(2.0), "b": np.ones(3, np.int8), "c": np.zeros((2, 0))}
    save_weights(path, arrays, {"epoch": 1})
    whole = path.read_bytes()
    for bit in range(8 * len(whole)):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        try:
            loaded, metadata = read(path)
        except FileFormatError:
            continue
        # Only where the flip hit the word that says whose file it is: it reads as a file of another library.
        assert content.find(b'"chainrule"') < 0 and metadata.keys() != {"epoch"}
        assert all(same(a, b) for a, b in zip(arrays.values(), loaded.values(), strict=True))


def test_the_damaged_array_is_named(path: Path) -> None:
    save_weights(path, {"fc1.weight": np.ones(100), "fc2.weight": np.ones(100)})
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=r"'fc2\.weight' do not match their checksum"):
        load_weights(path)


@pytest.mark.parametrize(
    "text", ["null", "{}", '{"crc32": null, "metadata": {}}', '{"crc32": {}, "metadata": 3}', "[" * 9999]
)
def test_a_signed_header_of_another_kind(path: Path, text: str) -> None:
    save_file({"a": np.ones(2)}, path, {"chainrule": f"{zlib.crc32(text.encode()):08x} {text}"})
    with pytest.raises(FileFormatError, match="a header that save_weights never writes"):
        load_weights(path)


def test_offsets_that_are_no_numbers(path: Path) -> None:
    for offsets in ([0, "8"], [0, {}], "ab"):
        header = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": offsets}}).encode()
        path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
        with pytest.raises(FileFormatError, match="its header is not what a safetensors file has"):
            load_weights(path)


def test_other_formats(path: Path) -> None:
    for content in (b"PK\x03\x04" + bytes(100), b"{}" * 50, json.dumps({"a": 1}).encode(), b"\x89HDF\r\n\x1a\n" * 9):
        path.write_bytes(content)
        with pytest.raises(FileFormatError, match="is not a safetensors file"):
            load_weights(path)
