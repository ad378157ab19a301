"""MNIST itself: the real files, obtained on this machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from chainrule.data.mnist import MNIST, load_mnist
from chainrule.domain.errors import DownloadError
from chainrule.folders import cache_folder

TRAIN = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
TEST = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_the_digits() -> None:
    data = load_mnist()
    x_train, y_train, x_test, y_test = data
    assert [(x.shape, str(x.dtype)) for x in data] == [
        ((60000, 1, 28, 28), "float32"),
        ((60000,), "int64"),
        ((10000, 1, 28, 28), "float32"),
        ((10000,), "int64"),
    ]
    assert y_train[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert np.bincount(y_train).tolist() == TRAIN and np.bincount(y_test).tolist() == TEST
    assert x_train.min() == 0 and x_train.max() == 1
    assert round(float(x_train.mean(dtype=float)), 5) == 0.13066 and round(float(x_train.std(dtype=float)), 4) == 0.3081
    # A one has its ink in the middle column, a zero has none in its centre.
    assert x_test[y_test == 1][:, 0, 14, 13:16].max(1).mean() > 0.8 > 0.1 > x_test[y_test == 0][:, 0, 14, 14].mean()


def test_raw() -> None:
    x_train, y_train, x_test, y_test = load_mnist(raw=True)
    assert x_train.dtype == x_test.dtype == np.uint8 and y_train.dtype == np.int64
    assert x_train.shape == (60000, 28, 28) and x_test.shape == (10000, 28, 28)
    np.testing.assert_array_equal((load_mnist().x_test[:, 0] * 255).round(), x_test)


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    load_mnist(progress=False)
    for file in MNIST.files:
        (tmp_path / file.name).symlink_to(cache_folder() / "mnist" / file.name)
    assert load_mnist(tmp_path, download=False).y_test[0] == 7
    labels = tmp_path / "t10k-labels-idx1-ubyte"
    content = labels.read_bytes()
    labels.unlink()
    labels.write_bytes(content[:-1])
    with pytest.raises(
        DownloadError, match=r"\[mnist\] is not there whole(?s:.*)download=True.*: t10k-labels-idx1-ubyte$"
    ):
        load_mnist(tmp_path, download=False)
