"""Fashion-MNIST: 70,000 pictures of clothes in the layout of MNIST (Xiao, Rasul and Vollgraf, 2017)."""

from __future__ import annotations

import os

from numpy.typing import DTypeLike

from .arrays import TrainTest
from .fetch import RemoteData
from .mnist import digits
from .packages import DebianPackage
from .sources import Mirror, RemoteFile

FASHION_MNIST_CLASSES = [
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
]  # fmt: skip

FASHION_MNIST = RemoteData(
    "fashion-mnist",
    files=(
        RemoteFile(
            "train-images-idx3-ubyte", 47_040_016, "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"
        ),
        RemoteFile(
            "train-labels-idx1-ubyte", 60_008, "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"
        ),
        RemoteFile(
            "t10k-images-idx3-ubyte", 7_840_016, "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"
        ),
        RemoteFile(
            "t10k-labels-idx1-ubyte", 10_008, "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"
        ),
    ),
    sources=(
        Mirror("https://storage.googleapis.com/tensorflow/tf-keras-datasets/"),
        Mirror("https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/"),
        DebianPackage("dataset-fashion-mnist", "0.0~git20200523", 30_900_652, "usr/share/datasets/fashion-mnist"),
    ),
    terms="about 31 MB; (c) 2017 Zalando SE, MIT",
)


def load_fashion_mnist(
    root: str | os.PathLike[str] | None = None,
    *,
    download: bool = True,
    raw: bool = False,
    dtype: DTypeLike = "float32",
    progress: bool = True,
) -> TrainTest:
    """The 60,000 training and 10,000 test pictures as NumPy arrays ``(x_train, y_train, x_test, y_test)``.

    Images are ``dtype`` (n, 1, 28, 28) from 0 (background) to 1, labels int64 (n,) into ``FASHION_MNIST_CLASSES``;
    ``raw=True`` leaves the images as they are in the files, uint8 (n, 28, 28). The training pixels have mean 0.2860 and
    standard deviation 0.3530. The files are kept in ``root`` (default: ``~/.cache/chainrule/fashion-mnist``), verified
    at every load, and fetched once: from public mirrors, or by apt-get. Terms: (c) 2017 Zalando SE, MIT. Errors:
    DownloadError, as ``load_mnist``.

    >>> FASHION_MNIST_CLASSES[9]
    'Ankle boot'
    """
    return digits(FASHION_MNIST, root, download=download, raw=raw, dtype=dtype, progress=progress)
