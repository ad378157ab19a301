"""CIFAR: the binary layout, the files rebuilt from PNG pictures, and the reader of PNG."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import chainrule as cr
from chainrule.data import cifar
from chainrule.data.fetch import RemoteData, obtain
from chainrule.data.png import read_png
from chainrule.data.sources import RemoteFile
from chainrule.domain.errors import ArgumentError, DownloadError, DTypeError, FileFormatError, MissingFileError


def photographs(n: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (n, 3, 32, 32), np.uint8)


def batch(images: Any, *labels: Any) -> bytes:
    """The file of these images, record by record: labels, then the red, the green, the blue lines."""
    out = b""
    for i, image in enumerate(images):
        out += bytes(int(column[i]) for column in labels)
        for channel in image:
            for line in channel:
                out += bytes(line.tolist())
    return out


def placed(folder: Path, data: RemoteData, contents: Sequence[bytes]) -> RemoteData:
    """``data`` with files of these contents, which lie in the folder."""
    files = []
    for file, content in zip(data.files, contents, strict=True):
        (folder / file.name).write_bytes(content)
        files.append(RemoteFile(file.name, len(content), hashlib.sha256(content).hexdigest()))
    return replace(data, files=tuple(files), sources=())


@pytest.fixture
def cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    images, labels = photographs(12), np.arange(12) % 10
    contents = [batch(images[i : i + 2], labels[i : i + 2]) for i in range(0, 12, 2)]
    monkeypatch.setattr(cifar, "CIFAR10", placed(tmp_path, cifar.CIFAR10, contents))
    return images, labels


def test_cifar10(tmp_path: Path, cifar10: Any) -> None:
    images, labels = cifar10
    found = cifar.load_cifar10(tmp_path, download=False)
    assert [str(a.dtype) for a in found] == ["float32", "int64", "float32", "int64"]
    np.testing.assert_array_equal(np.concatenate([found.x_train, found.x_test]), images / np.float32(255))
    np.testing.assert_array_equal(np.concatenate([found.y_train, found.y_test]), labels)
    assert found.x_train.shape == (10, 3, 32, 32) and found.x_train.flags.writeable
    raw = cifar.load_cifar10(tmp_path, download=False, raw=True)
    np.testing.assert_array_equal(np.concatenate([raw.x_train, raw.x_test]), images)
    assert raw.x_train.dtype == np.uint8 and raw.x_train.flags.writeable and raw.x_test.flags.writeable


@pytest.mark.parametrize("dtype", ["float16", "float64", np.float64, cr.float32, "bfloat16"])
def test_dtype(tmp_path: Path, cifar10: Any, dtype: Any) -> None:
    found = cifar.load_cifar10(tmp_path, download=False, dtype=dtype)
    assert found.x_test.dtype == np.dtype(dtype)
    exact = cifar10[0][10:].astype(float) / 255
    ulp = {"float16": 2**-11, "bfloat16": 2**-8, "float32": 2**-24, "float64": 0}[np.dtype(dtype).name]
    assert np.abs(found.x_test.astype(float) - exact).max() <= ulp


@pytest.mark.parametrize("dtype", ["int32", "flaot32", bool])
def test_not_a_dtype(tmp_path: Path, cifar10: Any, dtype: Any) -> None:
    with pytest.raises(DTypeError, match="give float16, bfloat16, float32 or float64"):
        cifar.load_cifar10(tmp_path, download=False, dtype=dtype)


def test_cifar100(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, coarse, fine = photographs(5), np.array([0, 19, 3, 3, 7]), np.array([99, 0, 50, 51, 7])
    contents = [batch(images[part], coarse[part], fine[part]) for part in (slice(0, 3), slice(3, 5))]
    monkeypatch.setattr(cifar, "CIFAR100", placed(tmp_path, cifar.CIFAR100, contents))
    x_train, y_train, x_test, y_test = cifar.load_cifar100(tmp_path, download=False)
    np.testing.assert_array_equal(np.concatenate([x_train, x_test]), images / np.float32(255))
    assert y_train.tolist() == [99, 0, 50] and y_test.tolist() == [51, 7]
    assert cifar.load_cifar100(tmp_path, labels="coarse", download=False).y_train.tolist() == [0, 19, 3]
    assert cifar.load_cifar100(tmp_path, labels="both", download=False).y_test.tolist() == [[3, 51], [7, 7]]
    with pytest.raises(ArgumentError, match="did you mean 'coarse'"):
        cifar.load_cifar100(tmp_path, labels="corase", download=False)  # type: ignore[arg-type]


def test_cifar100_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"Put these files \(or the same with .gz\).*: train.bin, test.bin$"):
        cifar.load_cifar100(tmp_path, download=False)


def test_read_cifar(tmp_path: Path) -> None:
    images = photographs(3)
    (tmp_path / "x.bin").write_bytes(batch(images, [1, 2, 3], [4, 5, 6]))
    found, labels = cifar.read_cifar(tmp_path / "x.bin", label_bytes=2)
    np.testing.assert_array_equal(found, images)
    assert labels.tolist() == [[1, 4], [2, 5], [3, 6]] and labels.dtype == np.int64
    with pytest.raises(FileFormatError, match="has 9222 bytes: expected a multiple of 3073"):
        cifar.read_cifar(tmp_path / "x.bin")
    with pytest.raises(MissingFileError, match="y.bin does not exist"):
        cifar.read_cifar(tmp_path / "y.bin")


def test_names_of_classes() -> None:
    assert len(set(cifar.CIFAR10_CLASSES)) == 10 and len(set(cifar.CIFAR100_SUPERCLASSES)) == 20
    assert len(set(cifar.CIFAR100_CLASSES)) == 100 and cifar.CIFAR100_CLASSES == sorted(cifar.CIFAR100_CLASSES)


class Pictures:
    """A package of CIFAR-10 as PNG pictures, of two photographs a batch."""

    label = "pictures"

    def __init__(self, images: Any, labels: Any) -> None:
        self.contents = {
            "train_lables.json": json.dumps(labels[:10]).encode(),
            "test_lables.json": json.dumps(labels[10:]).encode(),
        }
        for i, name in enumerate([f"data_batch_{k}" for k in range(1, 6)] + ["test_batch"]):
            picture = io.BytesIO()  # a photograph a line, red, green and blue side by side
            Image.fromarray(images[2 * i : 2 * i + 2].transpose(0, 2, 3, 1).reshape(2, 1024, 3)).save(picture, "png")
            self.contents[f"{name}.png"] = picture.getvalue()

    def files(self) -> list[RemoteFile]:
        return [RemoteFile(n, len(c), hashlib.sha256(c).hexdigest()) for n, c in self.contents.items()]

    def fetch(self, files: Sequence[RemoteFile], folder: Path, progress: bool) -> Iterator[tuple[RemoteFile, Path]]:
        for file in files:
            (folder / file.name).write_bytes(self.contents[file.name])
            yield file, folder / file.name


def test_the_official_files_are_rebuilt_from_pictures(tmp_path: Path, cifar10: Any) -> None:
    package = Pictures(cifar10[0], cifar10[1].tolist())
    source = cifar.PngBatches(package, package.files())  # type: ignore[arg-type]
    data = replace(cifar.CIFAR10, sources=(source,))
    expected = {file.name: (tmp_path / file.name).read_bytes() for file in data.files}
    assert obtain(data, tmp_path / "kept") == expected
    (tmp_path / "kept" / "data_batch_3.bin").unlink()
    assert obtain(data, tmp_path / "kept") == expected, "one of them alone"
    package.contents["test_batch.png"] += b"0"
    with pytest.raises(DownloadError, match=r"pictures: test_batch.png has \d+ bytes of \d+"):
        obtain(data, tmp_path / "not kept")


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(image: Any, kinds: Sequence[int], colour: int, interlaced: int = 0, bits: int = 8) -> bytes:
    """A PNG file whose lines are coded in these ways, by the definition of the format, byte by byte."""
    height, width, channels = image.shape
    image, lines = image.astype(int), b""
    for y, kind in zip(range(height), kinds, strict=True):
        lines += bytes([kind])
        for x in range(width):
            for c in range(channels):
                a = image[y, x - 1, c] if x else 0
                b = image[y - 1, x, c] if y else 0
                d = image[y - 1, x - 1, c] if x and y else 0
                p = a + b - d
                pa, pb, pc = abs(p - a), abs(p - b), abs(p - d)
                paeth = a if pa <= pb and pa <= pc else b if pb <= pc else d
                lines += bytes([(image[y, x, c] - (0, a, b, (a + b) // 2, paeth)[kind]) % 256])
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced)
    packed = zlib.compress(lines)
    parts = [(b"IHDR", header), (b"tEXt", b"a\0b"), (b"IDAT", packed[:9]), (b"IDAT", packed[9:]), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


@pytest.mark.parametrize(("colour", "channels", "mode"), [(0, 1, "L"), (2, 3, "RGB"), (4, 2, "LA"), (6, 4, "RGBA")])
def test_png(colour: int, channels: int, mode: str) -> None:
    image = np.random.default_rng(1).integers(0, 256, (11, 7, channels), np.uint8)
    image[3:6] //= 64  # near neighbours too, where ties are
    data = png(image, [0, 1, 2, 3, 4, 4, 3, 2, 1, 0, 4], colour)
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.mode == mode
        np.testing.assert_array_equal(np.asarray(picture).reshape(image.shape), image)
    np.testing.assert_array_equal(read_png(data), image)
    first = np.flip(image, 0).copy()  # the lines that need what stands above them come first
    np.testing.assert_array_equal(read_png(png(first, [4, 3, 2, 1, 0] * 2 + [3], colour)), first)


HUGE = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 2**32 - 1, 2**32 - 1, 8, 0, 0, 0, 0))
HUGE += chunk(b"IDAT", zlib.compress(bytes(1000)))


def test_pngs_that_are_not_read() -> None:
    image = np.zeros((2, 3, 3), np.uint8)
    good = png(image, [0, 0], 2)
    bad = {
        "is not a PNG file: it begins with ff d8": b"\xff\xd8",
        "begins with nothing": b"",
        "has no header": good[:8],
        "damaged or cut short in its part b'IDAT'": good[:-30],
        "16 bits, colour type 2": png(image, [0, 0], 2, bits=16),
        "colour type 3: only 8 bits": png(image[..., :1], [0, 0], 3),
        "only 8 bits, no palette": png(image, [0, 0], 2, interlaced=1),
        "holds 20 bytes of pixels, expected 26": png(image, [0, 0], 6),
        r"holds \d+ bytes of pixels, expected 18446744069414584320": HUGE,
        "holds 9 bytes of pixels, expected 8": png(image, [0, 0], 0),
    }
    changed = bytearray(good)
    changed[20] ^= 1
    bad["damaged or cut short in its part b'IHDR'"] = bytes(changed)
    bad["has a line of kind 5"] = good[:33] + chunk(b"IDAT", zlib.compress(bytes([0] * 10 + [5] + [0] * 9)))
    bad["is damaged: "] = good[:33] + chunk(b"IDAT", b"no zlib")
    for error, data in bad.items():
        with pytest.raises(FileFormatError, match=error):
            read_png(data)
