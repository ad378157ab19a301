"""Arrays in .npz and HDF5: what comes back, and files that are damaged or out to do harm."""

from __future__ import annotations

import io
import sys
import zipfile
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from chainrule.domain.errors import ChainruleError, FileFormatError, MissingDependencyError, MissingFileError
from chainrule.io import arrayfiles
from chainrule.io.arrayfiles import read_h5, read_npz, write_h5, write_npz

ARRAYS = {
    "a": np.arange(6.0).reshape(2, 3),
    "b": np.array(7, np.int64),
    "c": np.zeros((0, 2), np.float32),
    "d": np.array([True, False]),
    "e": np.arange(3, dtype="f2"),
}


def same(found: Any, expected: Any) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert (found[name].dtype, found[name].shape) == (value.dtype.newbyteorder("="), value.shape), name
        np.testing.assert_array_equal(found[name], value)


@pytest.mark.parametrize("compressed", [True, False])
def test_npz(tmp_path: Path, compressed: bool) -> None:
    arrays = {
        **ARRAYS,
        "text": np.array('{"é": 1}'),
        "order": np.asfortranarray(ARRAYS["a"]),
        "large": np.arange(3, dtype=">f4"),
        "file": np.ones(2, np.float32),  # what np.savez calls its first argument
    }
    write_npz(tmp_path / "m.npz", arrays, compressed=compressed)
    found = read_npz(tmp_path / "m.npz", "[test]")
    same(found, arrays)
    found["a"] += 1  # the file stays as it is
    same(read_npz(tmp_path / "m.npz", "[test]"), dict(np.load(tmp_path / "m.npz")))
    (tmp_path / "again.npz").write_bytes(b"")
    write_npz(tmp_path / "again.npz", arrays, compressed=compressed)
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "m.npz").read_bytes()


def test_hdf5(tmp_path: Path) -> None:
    write_h5(tmp_path / "m.h5", ARRAYS, "[test]")
    same(read_h5(tmp_path / "m.h5", "[test]"), ARRAYS)
    with h5py.File(tmp_path / "m.h5") as file:
        same({name: file[name][()] for name in file} | {"b": ARRAYS["b"]}, ARRAYS)
    with h5py.File(tmp_path / "large.h5", "w") as file:
        file["x"] = np.arange(3, dtype=">i2")
    same(read_h5(tmp_path / "large.h5", "[test]"), {"x": np.arange(3, dtype="i2")})


@pytest.mark.parametrize("read", [read_npz, read_h5])
def test_files_that_are_not_there(tmp_path: Path, read: Any) -> None:
    with pytest.raises(MissingFileError, match=r"\[test\] m.*does not exist"):
        read(tmp_path / "m", "[test] m")
    with pytest.raises(MissingFileError, match="is not a regular file"):
        read(tmp_path, "[test] m")


@pytest.mark.parametrize("read", [read_npz, read_h5])
def test_files_cut_anywhere(tmp_path: Path, read: Any) -> None:
    path = tmp_path / "m"
    arrays = {"a": np.arange(3, dtype="f4")}
    write_npz(path, arrays) if read is read_npz else write_h5(path, arrays, "[test]")
    whole = path.read_bytes()
    for size in range(0, len(whole), 3 if read is read_npz else 41):
        path.write_bytes(whole[:size])
        with pytest.raises(FileFormatError, match=r"^\[test\] m"):
            read(path, "[test] m")


def test_one_byte_changed_in_an_npz_gives_an_error_or_the_same(tmp_path: Path) -> None:
    path = tmp_path / "m"
    arrays = {"a": np.arange(3, dtype="f4"), "b": np.array("text")}
    write_npz(path, arrays, compressed=True)
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ (0xFF if at % 2 else 0x01)]) + whole[at + 1 :])
        try:
            found = read_npz(path, "[test] m")
        except ChainruleError as error:
            assert str(error).startswith("[test] m")
        else:  # a date or the like
            assert all((found[name] == arrays[name]).all() for name in found.keys() & arrays.keys())


def npy(header: str, values: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text + values


def header(descr: str = "<f4", shape: str = "(1,)", order: str = "False") -> str:
    return f"{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no array of NumPy"),
        (b"\x93NUMPY\x09\x00" + b"\0" * 20, "is no array of NumPy"),
        (npy(header("|O"), b"\x80\x04N."), "has objects, which are never read; expected an array of numbers"),
        (
            npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", b"\0" * 4),
            "expected an array of numbers",
        ),
        (npy("__import__('os').abort()"), "expected an array of numbers"),
        (npy("(" * 60_000), "expected an array of numbers"),
        (npy(header("<f3"), b"\0" * 3), "dtype '<f3', which there is not"),
        (npy(header(shape="(2,)"), b"\0" * 4), r"has 4 bytes of values, but <f4 of shape \(2,\) takes 8"),
        (npy(header(shape="(-1,)"), b"\0" * 4), "expected an array of numbers"),
        (npy(header(shape="(0, 999999999999999999, 99)")), "which no array can have"),
        (npy(header(shape="(999999999999999999, 999999999999999999)")), "has 0 bytes of values, but"),
        (npy(header(shape="(" + "1, " * 80 + ")"), b"\0" * 4), "which no array can have"),
        (npy(header("<U0", "(99999999999999999,)")), "which no array can have"),
    ],
    ids=range(13),
)
def test_members_that_are_wrong(tmp_path: Path, content: bytes, message: str) -> None:
    with zipfile.ZipFile(tmp_path / "m.npz", "w") as archive:
        archive.writestr("a.npy", content)
    with pytest.raises(FileFormatError, match=rf"^\[test\] m\.npz: 'a' .*{message}"):
        read_npz(tmp_path / "m.npz", "[test] m.npz")


def test_pickled_objects_are_not_run(tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> Any:
            return (open, (str(tmp_path / "harm"), "w"))

    np.savez(tmp_path / "m.npz", a=np.array([Harm()], dtype=object))
    with pytest.raises(FileFormatError, match="has objects, which are never read"):
        read_npz(tmp_path / "m.npz", "[test]")
    assert not (tmp_path / "harm").exists()


def test_archives_of_other_things(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.npz", "w") as archive:
        archive.writestr("notes.txt", "x")
    with pytest.raises(FileFormatError, match="has a member 'notes.txt'; an .npz has arrays"):
        read_npz(tmp_path / "m.npz", "[test]")


def test_a_bomb_is_not_inflated(tmp_path: Path) -> None:
    """Ten members of 1 GiB of zeros each, in 10 kB, by a made-up directory."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(10):
            archive.writestr(f"{i}.npy", b"\0" * 1000)
    text = bytearray(data.getvalue())
    at = 0
    while (at := text.find(b"PK\x01\x02", at)) >= 0:
        text[at + 24 : at + 28] = (1 << 30).to_bytes(4, "little")
        at += 4
    (tmp_path / "m.npz").write_bytes(text)
    with pytest.raises(FileFormatError, match="inflates to more than"):
        read_npz(tmp_path / "m.npz", "[test]")


def test_an_hdf5_file_is_not_larger_than_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks that were never written, or that compress well, take no place in the file."""
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.create_dataset("x", shape=(1 << 40,), dtype="f8", chunks=(1024,), compression="gzip")
    with pytest.raises(
        FileFormatError, match=r"'x': the arrays take more than \d+ bytes and 16 times the \d+ of the file"
    ):
        read_h5(tmp_path / "m.h5", "[test]")
    monkeypatch.setattr(arrayfiles, "MOST_INFLATED", 1 << 16)
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.create_dataset("x", shape=(8,), maxshape=(None,), dtype="f8", chunks=(1 << 14,), compression="gzip")
    with pytest.raises(FileFormatError, match="the arrays take more than"):
        read_h5(tmp_path / "m.h5", "[test]")


def test_an_hdf5_file_that_leads_elsewhere_is_not_followed(tmp_path: Path) -> None:
    write_h5(tmp_path / "other.h5", ARRAYS, "[test]")
    (tmp_path / "values.bin").write_bytes(b"\0" * 24)

    def made(make: Any, message: str) -> None:
        with h5py.File(tmp_path / "m.h5", "w") as file:
            make(file)
        with pytest.raises(FileFormatError, match=rf"^\[test\]: 'x' {message}"):
            read_h5(tmp_path / "m.h5", "[test]")

    def linked(file: Any) -> None:
        file["x"] = h5py.ExternalLink("other.h5", "/a")

    def soft(file: Any) -> None:
        file["x"] = h5py.SoftLink("/x")

    def outside(file: Any) -> None:
        file.create_dataset("x", (3,), "f8", external=[(str(tmp_path / "values.bin"), 0, 24)])

    def virtual(file: Any) -> None:
        layout = h5py.VirtualLayout(shape=(2, 3), dtype="f8")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "a", shape=(2, 3))
        file.create_virtual_dataset("x", layout)

    def texts(file: Any) -> None:
        file.create_dataset("x", data=["a", "b"], dtype=h5py.string_dtype())

    made(linked, r"is a link that leads elsewhere \(ExternalLink\)")
    made(soft, r"is a link that leads elsewhere \(SoftLink\)")
    made(outside, "has its values in another file")
    made(virtual, "has its values in another file")
    made(texts, "has the dtype object; expected an array of numbers")
    made(lambda file: file.create_group("x"), "is a Group; expected arrays alone")
    made(
        lambda file: file.create_dataset("x", dtype=h5py.Empty("f8").dtype, data=h5py.Empty("f8")),
        "has the dtype float64",
    )


def test_h5py_is_named_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    for do in (lambda: read_h5(tmp_path / "m", "[test]"), lambda: write_h5(tmp_path / "m", {}, "[test]")):
        with pytest.raises(
            MissingDependencyError, match=r"\[test\]: HDF5 files need h5py: pip install 'chainrule\[h5\]'"
        ):
            do()
    assert zlib.crc32(b"") == 0 and list(tmp_path.iterdir()) == []
