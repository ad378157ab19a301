"""The public data sets themselves: fetched afresh by what is on this machine, and looked at."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from chainrule.data import (
    load_cifar10,
    load_cmu_pronunciations,
    load_fashion_mnist,
    load_japanese_vowels,
    load_moby_dick,
    load_names,
    load_shakespeare,
    load_sotu,
)

# of the official binary batches, as the set's users publish them
MD5 = {
    "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
    "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
    "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
    "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
}


@pytest.fixture
def size(tmp_path, record_property):
    """Records how much a test kept in its folder."""
    yield
    record_property("bytes_kept", sum(p.stat().st_size for p in tmp_path.iterdir()))
    assert not [p for p in tmp_path.iterdir() if p.is_dir()], "nothing is left of the way there"


def statistics(x):
    axes = (0, *range(2, x.ndim))
    return [np.round(f(x, axis=axes, dtype=float), 4).tolist() for f in (np.mean, np.std)]


def test_cifar10(tmp_path: Path, size):
    data = load_cifar10(tmp_path)
    assert [(a.shape, str(a.dtype)) for a in data] == [
        ((50000, 3, 32, 32), "float32"),
        ((50000,), "int64"),
        ((10000, 3, 32, 32), "float32"),
        ((10000,), "int64"),
    ]
    assert np.bincount(data.y_train).tolist() == [5000] * 10 and np.bincount(data.y_test).tolist() == [1000] * 10
    assert data.y_train[:10].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]
    assert statistics(data.x_train) == [[0.4914, 0.4822, 0.4465], [0.247, 0.2435, 0.2616]]
    assert {name: hashlib.md5((tmp_path / name).read_bytes()).hexdigest() for name in MD5} == MD5
    assert load_cifar10(tmp_path, download=False, raw=True).x_train.shape == (50000, 3, 32, 32)


def test_fashion_mnist(tmp_path: Path, size):
    data = load_fashion_mnist(tmp_path)
    assert data.x_train.shape == (60000, 1, 28, 28) and data.x_test.shape == (10000, 1, 28, 28)
    assert np.bincount(data.y_train).tolist() == [6000] * 10 and np.bincount(data.y_test).tolist() == [1000] * 10
    assert data.y_train[:10].tolist() == [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]
    assert statistics(data.x_train) == [[0.286], [0.353]]


def test_japanese_vowels(tmp_path: Path, size):
    x_train, y_train, x_test, y_test = load_japanese_vowels(tmp_path)
    assert np.bincount(y_train).tolist() == [30] * 9
    assert np.bincount(y_test).tolist() == [31, 35, 88, 44, 29, 24, 40, 50, 29]
    sequences = x_train + x_test
    assert {s.shape[1] for s in sequences} == {12}
    assert min(map(len, sequences)) == 7 and max(map(len, sequences)) == 29
    x, lengths = load_japanese_vowels(tmp_path, download=False, padded=True).x_test
    assert x.shape == (370, 29, 12) and all(np.array_equal(x[i, :n], x_test[i]) for i, n in enumerate(lengths))
    assert not any(x[i, n:].any() for i, n in enumerate(lengths))


def test_shakespeare(tmp_path: Path, size):
    text = load_shakespeare(tmp_path)
    assert len(text) == 5_057_321 and len(set(text)) == 84
    assert "To be, or not to be,--that is the question:--" in text and text.count("\nby William Shakespeare\n") == 42
    assert text.startswith("ALL'S WELL THAT ENDS WELL\n") and text.endswith("hastily lead away!\n\n[Exeunt.]\n")


def test_moby_dick(tmp_path: Path, size):
    text = load_moby_dick(tmp_path)
    assert len(text) == 1_190_317 and len(set(text)) == 83
    assert text.startswith("CHAPTER 1. Loomings.") and "\nCHAPTER 135. The Chase.—Third Day." in text


def test_sotu(tmp_path: Path, size):
    speeches = load_sotu(tmp_path)
    assert len(speeches) == 233 and (speeches[0].year, speeches[-1].year) == (1790, 2021)
    assert [s.year for s in speeches] == sorted(s.year for s in speeches)
    assert Counter(s.party for s in speeches).most_common(2) == [("Republican", 92), ("Democratic", 90)]
    assert sum(len(s.text) for s in speeches) == 10_759_831


def test_names(tmp_path: Path, size):
    names = {kind: load_names(kind, tmp_path) for kind in ("last", "female", "male")}
    assert {kind: len(set(found)) for kind, found in names.items()} == {"last": 88_799, "female": 4_275, "male": 1_219}
    assert set("".join(names["last"])) == set("abcdefghijklmnopqrstuvwxyz")
    assert len(set(names["female"]) & set(names["male"])) == 331


def test_cmu_pronunciations(tmp_path: Path, size):
    words = load_cmu_pronunciations(tmp_path)
    assert len(words) == len(dict(words)) == 126_046 and all(w.phonemes for w in words)
    assert len(load_cmu_pronunciations(tmp_path, alternatives=True)) == 135_155
    assert dict(words)["hello"] == ("HH", "AH0", "L", "OW1")
