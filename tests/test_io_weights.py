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


@pytest.fixture(params=["w.safetensors", "w.npz", "w.h5", "w.json", "w.json.gz"])
def either(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    return tmp_path / str(request.param)


def test_round_trip(either: Path) -> None:
    save_weights(either, ARRAYS, {"epoch": 3, "nested": {"list": [1, "é", None]}})
    loaded = load_weights(either)
    assert loaded.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert same(array, loaded[name]), name
        assert loaded[name].flags.writeable, name
    assert load_metadata(either) == {"epoch": 3, "nested": {"list": [1, "é", None]}}


def test_equal_contents_equal_bytes(either: Path) -> None:
    contents = set()
    for _ in range(5):
        save_weights(either, ARRAYS, {"b": 1, "a": 2, "c": {"z": 0, "y": 1}})
        contents.add(either.read_bytes())
    assert len(contents) == 1


def test_no_arrays(either: Path) -> None:
    save_weights(either, {})
    assert load_weights(either) == {} and load_metadata(either) == {}


def test_files_of_other_libraries(path: Path) -> None:
    save_file({"w": np.ones(3)}, path, {"format": "pt"})
    assert load_weights(path)["w"].tolist() == [1, 1, 1]
    assert load_metadata(path) == {"format": "pt"}
    save_file({"w": np.ones(3)}, path)
    assert load_metadata(path) == {}


def test_refused_contents(either: Path) -> None:
    for arrays, metadata, error, message in (
        ({"w": np.array(["text"])}, {}, DTypeError, "dtype"),
        ({"w": np.ones(2, complex)}, {}, DTypeError, "complex128"),
        ({"__metadata__": np.ones(2)}, {}, ArgumentError, "cannot be the name"),
        ({3: np.ones(2)}, {}, ArgumentError, "3 cannot be the name"),
        ({"\ud800": np.ones(2)}, {}, ArgumentError, "cannot be the name"),
        ({"w": np.ones(2)}, {"x": object()}, ArgumentError, "JSON"),
    ):
        with pytest.raises(error, match=message):
            save_weights(either, arrays, metadata)  # type: ignore[arg-type]
        assert not either.exists()
    either.mkdir()
    with pytest.raises(FileWriteError, match="is a folder"):
        save_weights(either, {})


def test_missing(either: Path) -> None:
    with pytest.raises(MissingFileError, match="does not exist"):
        load_weights(either)
    with pytest.raises(FileNotFoundError, match="not a regular file"):
        load_weights(either.parent)


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


# ---- .npz


def test_npz_is_a_file_of_numpy(tmp_path: Path) -> None:
    save_weights(tmp_path / "w.npz", ARRAYS, {"epoch": 3})
    with np.load(tmp_path / "w.npz", allow_pickle=False) as found:
        assert {*found} == {*ARRAYS, "__metadata__"}
        for name, array in ARRAYS.items():
            bits = name in ("bf16", "scalar bf16")
            assert same(array.view(np.uint16) if bits else array, found[name]), name


@pytest.mark.parametrize("compressed", [False, True])
def test_npz_of_numpy(tmp_path: Path, compressed: bool) -> None:
    arrays = {
        "layer/w": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "n": np.array(3),
        "big": np.arange(3, dtype=">i2"),
    }
    (np.savez_compressed if compressed else np.savez)(tmp_path / "w.npz", **arrays)
    found = load_weights(tmp_path / "w.npz")
    assert found.keys() == arrays.keys() and all(same(arrays[name], found[name]) for name in arrays)
    assert load_metadata(tmp_path / "w.npz") == {}


def test_npz_with_objects_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", a=np.array([{"x": 1}]), allow_pickle=True)
    with pytest.raises(FileFormatError, match="'a'.*objects, which are never read"):
        load_weights(tmp_path / "w.npz")


def test_npz_cut_short_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "w.npz"
    save_weights(path, {"a": np.arange(5.0), "b": np.ones(3, ml_dtypes.bfloat16)})
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(FileFormatError, match=r"\[load_weights\] .*w\.npz"):
            load_weights(path)


def test_npz_with_any_byte_changed(tmp_path: Path) -> None:
    path, arrays = tmp_path / "w.npz", {"a": np.arange(2.0), "b": np.ones(3, ml_dtypes.bfloat16)}
    save_weights(path, arrays, {"epoch": 1})
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        try:
            loaded, metadata = read(path)
        except FileFormatError:
            continue
        # What is left are times, attributes and padding, which nothing depends on.
        assert metadata == {"epoch": 1} and loaded.keys() == arrays.keys()
        assert all(loaded[name].tobytes() == arrays[name].tobytes() for name in arrays)


@pytest.mark.parametrize(
    "note", [b"", b"null", b"{}", b"[" * 9999, b'{"text": "x", "bfloat16": ["b"]}', b'{"text": "x", "bfloat16": ["a"]}']
)
def test_npz_with_a_text_of_another_kind(tmp_path: Path, note: bytes) -> None:
    np.savez(tmp_path / "w.npz", a=np.ones(2), __metadata__=np.frombuffer(note, np.uint8))
    with pytest.raises(FileFormatError, match="save_weights never writes|'a' is float64, expected the bits"):
        load_weights(tmp_path / "w.npz")


def test_npz_names_that_lead_out(tmp_path: Path) -> None:
    for name in ("../a", "/a", "a\\b"):
        with pytest.raises(ArgumentError, match="cannot be a name"):
            save_weights(tmp_path / "w.npz", {name: np.ones(2)})
    assert not [*tmp_path.iterdir()]
