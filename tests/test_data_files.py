"""Data in files: memory-mapped arrays, folders of images, CSV tables, text."""

from __future__ import annotations

import gzip
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import chainrule as cr
from chainrule.data import (
    CharVocabulary,
    CSVDataset,
    DataLoader,
    GaussianNoise,
    ImageFolder,
    LineDataset,
    MemmapDataset,
    Subset,
    TextDataset,
    load_csv,
    pad_collate,
)
from chainrule.domain.errors import (
    ArgumentError,
    DataError,
    FileFormatError,
    IndexRangeError,
    MissingDependencyError,
    MissingFileError,
)

# ---- memory-mapped arrays


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    np.save(tmp_path / "x.npy", np.arange(60, dtype=np.float32).reshape(20, 3))
    np.save(tmp_path / "y.npy", np.arange(20))
    return tmp_path / "x.npy", tmp_path / "y.npy"


def test_memmap_is_an_array_data_set(files: Any, tmp_path: Path) -> None:
    data = MemmapDataset(*files)
    x, y = np.load(files[0]), np.load(files[1])
    assert len(data) == 20 and repr(data) == "MemmapDataset(x.npy: float32[20, 3], y.npy: int64[20])"
    for index in (3, -1, slice(2, 9, 2), [5, 1]):
        np.testing.assert_array_equal(data[index][0], x[index])
        np.testing.assert_array_equal(data[index][1], y[index])
    for workers, worker in ((0, "thread"), (2, "thread"), (1, "process")):
        loader = DataLoader(data, 6, shuffle=True, seed=1, workers=workers, worker=worker)
        batches = [[p.numpy() for p in batch] for batch in loader]
        assert sorted(v for _, b in batches for v in b.tolist()) == list(range(20))
        assert all((x[b] == a).all() for a, b in batches)
        loader.close()
    assert type(data.batch([1])[0]) is np.ndarray
    again = pickle.loads(pickle.dumps(data))
    assert len(pickle.dumps(data)) < 1500 and (again[4][0] == x[4]).all(), "the file goes along, not its content"
    raw = np.memmap(tmp_path / "raw", "<f8", "w+", 16, (5, 2))
    raw[:] = np.arange(10).reshape(5, 2)
    raw.flush()
    assert MemmapDataset(raw)[4][0].tolist() == [8, 9]
    np.save(tmp_path / "big.npy", np.arange(4, dtype=">f4"))
    assert MemmapDataset(tmp_path / "big.npy").batch([2])[0].dtype == np.dtype("float32")
    np.save(tmp_path / "images.npy", np.zeros((4, 1, 2, 2), np.float32))
    noisy = MemmapDataset(tmp_path / "images.npy", transform=GaussianNoise(1.0))
    (batch,) = next(iter(DataLoader(Subset(noisy, [1, 2]), 2, seed=0)))
    assert (batch.numpy() != 0).all()


def test_memmap_errors(files: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "short.npy", np.zeros(3))
    np.save(tmp_path / "text.npy", np.array(["a"]))
    np.save(tmp_path / "one.npy", np.float32(1))
    (tmp_path / "cut.npy").write_bytes(files[0].read_bytes()[:200])
    (tmp_path / "other.npy").write_bytes(b"something else")
    for names, error, message in [
        ((files[0], tmp_path / "short.npy"), DataError, r"have \[20, 3\] samples"),
        ((tmp_path / "none.npy",), MissingFileError, "none.npy does not exist"),
        ((tmp_path / "cut.npy",), FileFormatError, "cut.npy cannot be mapped"),
        ((tmp_path / "other.npy",), FileFormatError, "other.npy cannot be mapped"),
        ((tmp_path / "text.npy",), DataError, "has dtype <U1"),
        ((tmp_path / "one.npy",), DataError, "a single number"),
        ((), DataError, "no files"),
        ((np.load(files[0], mmap_mode="c"),), DataError, "save it"),
        ((np.load(files[0], mmap_mode="r")[3:],), DataError, "give the whole"),
    ]:
        with pytest.raises(error, match=message):
            MemmapDataset(*names)  # type: ignore[arg-type]


MEASURED = """
import resource, sys, numpy as np
from chainrule.data import DataLoader, MemmapDataset
loader = DataLoader(MemmapDataset(sys.argv[1]), 256, shuffle=True, seed=0, prefetch=0)
before, n = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0
for (x,) in loader:
    n += len(x)
print(n, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_memory_stays_small(tmp_path: Path) -> None:
    big = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (24576, 1024))  # 96 MiB, most of it holes
    big[::1000] = 1
    del big
    command = [sys.executable, "-c", MEASURED, str(tmp_path / "x.npy")]
    samples, grown = map(int, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    unit = 1 if sys.platform == "darwin" else 1024
    assert samples == 24576 and grown * unit < 55e6, f"{grown * unit} bytes for {24576 * 4096}"


# ---- folders of images


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("b", "a", "c/deep"):
        (tmp_path / name).mkdir(parents=True)
        for k in range(3):
            Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).save(tmp_path / name / f"{k}.png")
    (tmp_path / "a" / "notes.txt").write_text("no image")
    (tmp_path / ".hidden").mkdir()
    return tmp_path


def test_image_folder(folder: Path) -> None:
    data = ImageFolder(folder, raw=True)
    assert data.classes == ["a", "b", "c"] and data.class_to_idx == {"a": 0, "b": 1, "c": 2} and len(data) == 9
    assert [(p.relative_to(folder).as_posix(), k) for p, k in data.samples[:4]] == [
        *((f"a/{k}.png", 0) for k in range(3)),
        ("b/0.png", 1),
    ]
    x, y = data.batch([8, 0])
    assert x.dtype == np.uint8 and x.shape == (2, 3, 6, 8) and y.tolist() == [2, 0]
    for image, (path, _) in zip(x, (data.samples[8], data.samples[0]), strict=True):
        np.testing.assert_array_equal(image, np.asarray(Image.open(path)).transpose(2, 0, 1))
    unit = ImageFolder(folder)
    assert unit[8][0].dtype == np.float32 and (unit[8][0] == x[0] / np.float32(255)).all()
    grey = ImageFolder(folder, mode="L", raw=True)
    np.testing.assert_array_equal(grey[0][0][0], np.asarray(Image.open(data.samples[0][0]).convert("L")))
    noisy = ImageFolder(folder, transform=GaussianNoise(0.5))
    loader = DataLoader(noisy, 4, shuffle=True, seed=0, workers=2)
    assert [b[0].shape for b in loader] == [(4, 3, 6, 8), (4, 3, 6, 8), (1, 3, 6, 8)]
    first = [b[0].numpy() for b in DataLoader(noisy, 4, shuffle=True, seed=0)]
    assert all(
        (a == b[0].numpy()).all() for a, b in zip(first, DataLoader(noisy, 4, shuffle=True, seed=0), strict=True)
    )


def test_sizes_of_images(folder: Path) -> None:
    square = ImageFolder(folder, size=6, raw=True)
    whole = ImageFolder(folder, raw=True)
    np.testing.assert_array_equal(square[0][0], whole[0][0][:, :, 1:7], err_msg="cut at the centre, not squeezed")
    assert ImageFolder(folder, size=(4, 10))[0][0].shape == (3, 4, 10)
    Image.new("RGB", (5, 5)).save(folder / "a" / "9.png")
    with pytest.raises(
        DataError, match=r"part 0 of sample 3 has shape \(3, 5, 5\), but that of sample 0 has \(3, 6, 8\)"
    ):
        list(DataLoader(ImageFolder(folder)))
    turned = Image.fromarray(np.arange(18, dtype=np.uint8).reshape(2, 3, 3))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees, as cameras write
    turned.save(folder / "a" / "0.png", exif=exif)
    assert ImageFolder(folder)[0][0].shape == (3, 3, 2)


def test_images_that_are_damaged_or_missing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = ImageFolder(folder)
    whole = (folder / "b" / "1.png").read_bytes()
    (folder / "b" / "1.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FileFormatError, match=r"b/1.png cannot be read as an image"):
        list(DataLoader(data, 2, workers=2))
    (folder / "b" / "1.png").unlink()
    with pytest.raises(MissingFileError, match=r"b/1.png does not exist any more"):
        data[4]
    (folder / "d").mkdir()
    with pytest.raises(DataError, match=r"/d has no images"):
        ImageFolder(folder)
    with pytest.raises(DataError, match="has no folders: each class needs one"):
        ImageFolder(folder / "a")
    with pytest.raises(MissingFileError, match="nowhere is not a folder"):
        ImageFolder(folder / "nowhere")
    with pytest.raises(ArgumentError, match="mode is 'CMYK'"):
        ImageFolder(folder, mode="CMYK")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'chainrule\[images\]'"):
        ImageFolder(folder)


# ---- CSV


def table(tmp_path: Path, text: str, name: str = "t.csv") -> Path:
    (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path / name


IRIS = 'id,width,"height, cm",kind\n1,0.5,2,b\n\n2,1.5,-3e2,a\n3,2.5,4.25,b\n'


def test_csv(tmp_path: Path) -> None:
    path = table(tmp_path, IRIS)
    x, y, columns, classes = load_csv(path, target="kind", columns=["width", "height, cm"])
    assert x.tolist() == [[0.5, 2], [1.5, -300], [2.5, 4.25]] and x.dtype == np.float32
    assert (
        y.tolist() == [1, 0, 1] and y.dtype == np.int64 and columns == ["width", "height, cm"] and classes == ["a", "b"]
    )
    assert load_csv(path, target=-1, columns=[2, 0], dtype="float64").x.tolist() == [[2, 1], [-300, 2], [4.25, 3]]
    assert load_csv(path, target="kind", classes=["b", "a"]).y.tolist() == [0, 1, 0]
    found = load_csv(path, target="id", converters={"kind": {"a": 10.0, "b": 20.0}.__getitem__})
    assert found.y.tolist() == [1, 2, 3] and found.y.dtype == np.int64 and found.x[:, 2].tolist() == [20, 10, 20]
    price = load_csv(path, target="width", columns=["id"])
    assert price.y.tolist() == [0.5, 1.5, 2.5] and price.y.dtype == np.float32 and price.classes is None
    assert load_csv(path, target="id", columns=["width"], target_dtype="float32").y.dtype == np.float32
    assert load_csv(path, columns=["id"]).y is None
    plain = table(tmp_path, "\ufeff1;2\r\n3;4\r\n", "plain.csv")
    assert load_csv(plain, header=False, delimiter=";").x.tolist() == [[1, 2], [3, 4]]
    assert load_csv(plain, header=False, delimiter=";").columns == ["0", "1"]
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(IRIS.encode()))
    assert (load_csv(tmp_path / "t.csv.gz", target="kind").x == load_csv(path, target="kind").x).all()


def test_csv_missing_values(tmp_path: Path) -> None:
    path = table(tmp_path, "a,b,c\n1,2,x\n3,NA,y\n,6,\n7,8,x\n")
    with pytest.raises(DataError, match=r"t.csv, line 3, column 'b' is missing: missing=0.0 puts a number there"):
        load_csv(path, target="c")
    with pytest.raises(DataError, match=r"line 4, column 'c' is missing.*of the target: drop alone"):
        load_csv(path, target="c", missing=0.0)
    assert load_csv(path, columns=["a", "b"], missing=-1.0).x.tolist() == [[1, 2], [3, -1], [-1, 6], [7, 8]]
    kept = load_csv(path, columns=["a", "b"], missing=float("nan")).x
    assert np.isnan(kept).sum() == 2
    found = load_csv(path, target="c", missing="drop")
    assert found.x.tolist() == [[1, 2], [7, 8]] and found.y.tolist() == [0, 0] and found.classes == ["x"]
    assert [y for _, y in CSVDataset(path, target="c", classes=["x", "y"], missing="drop")] == [0, 0]


def test_csv_errors(tmp_path: Path) -> None:
    path = table(tmp_path, "a,b\n1,2\n3,red\n")
    for options, error, message in [
        ({}, DataError, r"t.csv, line 3, column 'b': 'red' is no number"),
        ({"target": "c"}, ArgumentError, "unknown column 'c'"),
        ({"columns": [5]}, ArgumentError, "there is no column 5: .* has 2"),
        ({"target": "a", "columns": ["a"]}, ArgumentError, "no column is left"),
        ({"missing": "skip"}, ArgumentError, "missing is 'skip'"),
        ({"target": "b", "classes": ["2", "rot"]}, ArgumentError, r"line 3.*unknown|unknown class .*line 3.*'red'"),
    ]:
        with pytest.raises(error, match=message):
            load_csv(path, **options)  # type: ignore[arg-type]
    with pytest.raises(FileFormatError, match="line 3 has 3 cells, expected 2"):
        load_csv(table(tmp_path, "a,b\n1,2\n3,4,5\n"))
    with pytest.raises(FileFormatError, match="cannot be read as CSV"):
        load_csv(table(tmp_path, 'a,b\n1,"2\n'))
    with pytest.raises(DataError, match="is empty"):
        load_csv(table(tmp_path, ""))
    with pytest.raises(DataError, match="has no rows"):
        load_csv(table(tmp_path, "a,b\n"))
    with pytest.raises(MissingFileError, match="none.csv does not exist"):
        load_csv(tmp_path / "none.csv")
    (tmp_path / "l.csv").write_bytes(b"a\n\xff\n")
    with pytest.raises(FileFormatError, match="cannot be read as CSV"):
        load_csv(tmp_path / "l.csv")
    with pytest.raises(DataError, match="targets that are text need their classes"):
        list(CSVDataset(table(tmp_path, "a,b\n1,red\n"), target="b"))
    with pytest.raises(DataError, match="line 3: the target '2.5' is no whole number"):
        list(CSVDataset(table(tmp_path, "a,b\n1,2\n1,2.5\n"), target="b"))


def test_csv_as_a_stream(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(5_000, 3)).astype(np.float32), rng.integers(0, 5, 5_000)
    rows = "".join(f"{a!r},{b!r},{c!r},{k}\n" for (a, b, c), k in zip(x.tolist(), y.tolist(), strict=True))
    path = table(tmp_path, "a,b,c,y\n" + rows)
    loaded = load_csv(path, target="y")
    np.testing.assert_array_equal(loaded.x, x)
    np.testing.assert_array_equal(loaded.y, y)
    data = CSVDataset(path, target="y")
    batches = [[p.numpy() for p in batch] for batch in DataLoader(data, 1000)]
    np.testing.assert_array_equal(np.concatenate([b[0] for b in batches]), x)
    assert batches[0][1].dtype == np.int64 and (np.concatenate([b[1] for b in batches]) == y).all()
    mixed = DataLoader(data.shuffle(500, seed=1), 1000, workers=2)
    found = np.concatenate([b[0].numpy() for b in mixed])
    assert found.shape == x.shape and (np.sort(found[:, 0]) == np.sort(x[:, 0])).all() and (found != x).any()
    parts = [[float(row[0][0]) for row in data.shard(k, 3).shard(j, 2)] for k in range(3) for j in range(2)]
    assert sorted(v for p in parts for v in p) == sorted(x[:, 0].tolist())
    assert [v for v, _ in zip(parts[1], range(3), strict=False)] == x[[3, 9, 15], 0].tolist()
    model = cr.nn.Sequential(cr.nn.Linear(3, 5)).compile("cross_entropy", "sgd")
    history = model.fit(DataLoader(data, 500), epochs=1, steps_per_epoch=3, verbose=0)
    assert np.isfinite(history["loss"]).all()


# ---- text


def test_characters(tmp_path: Path) -> None:
    text = "naïve 東京 🎉 na"
    vocabulary = CharVocabulary(text)
    ids = vocabulary.encode(text)
    assert ids.dtype == np.int64 and vocabulary.decode(ids) == text and vocabulary.decode(cr.tensor(ids)) == text
    assert vocabulary.symbols == sorted(set(text)) and len(vocabulary) == len(set(text))
    assert vocabulary.encode("").shape == (0,) and vocabulary.decode([]) == ""
    with pytest.raises(DataError, match=r"'x' at 2 is not in the vocabulary of 9 symbols"):
        vocabulary.encode("nax")
    with pytest.raises(IndexRangeError, match="there is no symbol 11: the vocabulary has 0 to 8"):
        vocabulary.decode([0, 11])
    special = CharVocabulary(["ab", "bc"], specials=["<pad>", "<other>"], unknown="<other>")
    assert special.symbols == ["<pad>", "<other>", "a", "b", "c"] and special["<pad>"] == 0
    assert special.encode("cxa").tolist() == [4, 1, 2]
    for one in (vocabulary, special):
        one.save(tmp_path / "v.json")
        again = CharVocabulary.load(tmp_path / "v.json")
        assert again.symbols == one.symbols and again.unknown == one.unknown and again.specials == one.specials
    (tmp_path / "v.json").write_text("[1]")
    with pytest.raises(FileFormatError, match="is no vocabulary"):
        CharVocabulary.load(tmp_path / "v.json")
    with pytest.raises(MissingFileError):
        CharVocabulary.load(tmp_path / "w.json")
    with pytest.raises(ArgumentError, match="unknown is 'x'"):
        CharVocabulary("ab", unknown="x")
    with pytest.raises(DataError, match="'z' is not in the vocabulary"):
        vocabulary["z"]


@pytest.mark.parametrize("n", [9, 10, 11, 12, 13, 40])
@pytest.mark.parametrize("stride", [None, 1, 2, 7])
def test_windows(n: int, stride: int | None) -> None:
    ids = np.random.default_rng(0).integers(0, 60000, n).astype(np.uint16)
    data = TextDataset(ids, 4, stride=stride)
    step = stride or 4
    starts = [s for s in range(0, n, step) if s + 5 <= n]
    assert len(data) == len(starts)
    x, y = data.batch(np.arange(len(data)))
    assert x.dtype == y.dtype == np.int64
    for k, s in enumerate(starts):
        assert x[k].tolist() == ids[s : s + 4].tolist() and y[k].tolist() == ids[s + 1 : s + 5].tolist()
    assert (data[len(data) - 1][0] == x[-1]).all() and (data[-1][0] == x[-1]).all()
    with pytest.raises(IndexError):
        data[len(data)]


def test_random_windows() -> None:
    ids = np.arange(21)
    data = TextDataset(ids, 5, random=True)

    def starts(loader: DataLoader) -> list[int]:
        found = []
        for x, y in loader:
            assert (y == x + 1).all() and (x[:, 1:] == x[:, :-1] + 1).all()
            found += x[:, 0].tolist()
        return found

    assert len(data) == 4
    loader = DataLoader(data, 2, seed=1)
    first, second = starts(loader), starts(loader)
    assert first != second and len(first) == 4 and first == starts(DataLoader(data, 2, seed=1, workers=2))
    many = {s for _ in range(60) for s in starts(loader)}
    assert many == set(range(16)), "every place, the last too"
    for bad, message in [((np.arange(5), 5), "5 tokens are too few"), ((np.zeros(9), 2), "expected integers")]:
        with pytest.raises(DataError, match=message):
            TextDataset(*bad)
    with pytest.raises(ArgumentError, match="no stride"):
        TextDataset(ids, 5, stride=1, random=True)


def test_lines(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("anna\n\nbob\n", encoding="utf-8")
    vocabulary = CharVocabulary("abno", specials=["<pad>", "<end>"])
    data = LineDataset(tmp_path / "names.txt", vocabulary.encode, start=1, end=1)
    assert len(data) == 2 and data.lines == ["anna", "bob"]
    assert vocabulary.decode(data[1][0]) == "<end>bob" and vocabulary.decode(data[1][1]) == "bob<end>"
    x, lengths, y = next(iter(DataLoader(data, 2, collate_fn=pad_collate)))
    assert x.shape == y.shape == (2, 5) and lengths.tolist() == [5, 4] and y[1].tolist()[-1] == 0
    labelled = LineDataset(["anna", " ", "bob"], vocabulary.encode, labels=[0, 1, 2])
    assert [int(label) for _, label in (labelled[0], labelled[1])] == [0, 2]
    with pytest.raises(DataError, match="3 lines have 2 labels"):
        LineDataset(["a", "b", "a"], vocabulary.encode, labels=[0, 1])
    with pytest.raises(DataError, match="no lines"):
        LineDataset([" "], vocabulary.encode)
    with pytest.raises(MissingFileError):
        LineDataset(tmp_path / "none.txt", vocabulary.encode)
